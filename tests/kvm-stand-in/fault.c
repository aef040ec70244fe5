/* SPDX-License-Identifier: GPL-2.0-or-later */
/* STANDIN_FAULT: rules that make the n-th matching call fail. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "standin.h"

#define MAX_RULES 16

static struct rule {
    char name[48];
    uint64_t first, last;       /* guest-physical addresses, inclusive */
    unsigned nth;               /* the first matching call that fails, from 1 */
    unsigned count;             /* so many calls fail; 0: all from then on */
    unsigned seen;
    struct fault fault;
} rules[MAX_RULES];
static unsigned nr_rules;
static pthread_once_t parsed = PTHREAD_ONCE_INIT;
static pthread_mutex_t fault_lock = PTHREAD_MUTEX_INITIALIZER;

static void bad_rule(const char *text)
{
    fprintf(stderr, "stand-in: cannot understand '%s' in STANDIN_FAULT\n",
            text);
    exit(2);
}

static int errno_of_name(const char *name)
{
    int i;

    for (i = 1; i < 134; i++) {
        const char *known = strerrorname_np(i);

        if (known && !strcmp(known, name)) {
            return i;
        }
    }
    bad_rule(name);
    return 0;
}

static void parse_field(struct rule *r, char *field)
{
    char *value = strchr(field, '=');
    char *end;

    if (!value) {
        bad_rule(field);
    }
    *value++ = 0;
    if (!strcmp(field, "addr")) {
        r->first = strtoull(value, &end, 16);
        r->last = *end == '-' ? strtoull(end + 1, NULL, 16) : r->first;
    } else if (!strcmp(field, "nth")) {
        r->nth = strtoul(value, NULL, 0);
    } else if (!strcmp(field, "count")) {
        r->count = strtoul(value, NULL, 0);
    } else if (!strcmp(field, "errno")) {
        r->fault.err = errno_of_name(value);
    } else if (!strcmp(field, "fw")) {
        r->fault.fw_error = strtol(value, NULL, 0);
    } else if (!strcmp(field, "partial")) {
        r->fault.partial = strtoll(value, NULL, 0);
    } else {
        bad_rule(field);
    }
}

static void parse_rule(char *text)
{
    struct rule *r = &rules[nr_rules++];
    char *save, *field = strtok_r(text, ",", &save);

    if (!field || strlen(field) >= sizeof(r->name)) {
        bad_rule(text);
    }
    strcpy(r->name, field);
    r->last = UINT64_MAX;
    r->nth = 1;
    r->fault.err = EIO;
    r->fault.partial = -1;
    while ((field = strtok_r(NULL, ",", &save))) {
        parse_field(r, field);
    }
}

static void parse(void)
{
    char *text = config.fault ? strdup(config.fault) : NULL;
    char *save, *rule;

    if (!text) {
        return;
    }
    for (rule = strtok_r(text, ";", &save); rule;
         rule = strtok_r(NULL, ";", &save)) {
        if (nr_rules == MAX_RULES) {
            bad_rule(rule);
        }
        parse_rule(rule);
    }
}

static bool rule_fires(struct rule *r, const char *name, uint64_t addr,
                       uint64_t len)
{
    uint64_t end = addr + (len ? len - 1 : 0);

    if (strcmp(r->name, name) || addr > r->last || end < r->first) {
        return false;
    }
    r->seen++;
    return r->seen >= r->nth && (!r->count || r->seen < r->nth + r->count);
}

struct fault fault_check(const char *name, uint64_t addr, uint64_t len)
{
    struct fault result = { .partial = -1 };
    unsigned i;

    pthread_once(&parsed, parse);
    pthread_mutex_lock(&fault_lock);
    for (i = 0; i < nr_rules && !result.err; i++) {
        if (rule_fires(&rules[i], name, addr, len)) {
            result = rules[i].fault;
        }
    }
    pthread_mutex_unlock(&fault_lock);
    return result;
}
