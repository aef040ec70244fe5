/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * STANDIN_FAULT: rules that make the n-th matching call fail. They are in the
 * variable itself, or in the file that it names, which is read at each call.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "standin.h"

#define MAX_RULES 16
#define MAX_TEXT 4096

static struct rule {
    char name[48];
    uint64_t first, last;       /* guest-physical addresses, inclusive */
    unsigned nth;               /* the first matching call that fails, from 1 */
    unsigned count;             /* so many calls fail; 0: all from then on */
    unsigned seen;
    struct fault fault;
} rules[MAX_RULES];
static unsigned nr_rules;
static char rules_text[MAX_TEXT];       /* what rules[] was made from */
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

    if (!strcmp(name, "none")) {
        return 0;
    }
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
    } else if (!strcmp(field, "claim")) {
        r->fault.claim = strtoll(value, NULL, 0);
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
    *r = (struct rule) {
        .last = UINT64_MAX,
        .nth = 1,
        .fault = { .fires = true, .err = EIO, .partial = -1, .claim = -1 },
    };
    strcpy(r->name, field);
    while ((field = strtok_r(NULL, ",", &save))) {
        parse_field(r, field);
    }
}

static void parse(const char *new_text)
{
    char text[MAX_TEXT];
    char *save, *rule;

    strcpy(rules_text, new_text);
    strcpy(text, new_text);
    nr_rules = 0;
    for (rule = strtok_r(text, ";\n", &save); rule;
         rule = strtok_r(NULL, ";\n", &save)) {
        if (nr_rules == MAX_RULES) {
            bad_rule(rule);
        }
        parse_rule(rule);
    }
}

static void read_rules(char *text, const char *path)
{
    FILE *file = fopen(path, "re");
    size_t len = file ? fread(text, 1, MAX_TEXT, file) : 0;

    if (!file || len == MAX_TEXT) {
        fprintf(stderr, "stand-in: cannot read '%s' of STANDIN_FAULT\n", path);
        exit(2);
    }
    text[len] = 0;
    fclose(file);
}

/* With fault_lock held */
static void update_rules(void)
{
    char text[MAX_TEXT];

    if (config.fault[0] == '@') {
        read_rules(text, config.fault + 1);
    } else if (strlen(config.fault) < MAX_TEXT) {
        strcpy(text, config.fault);
    } else {
        bad_rule(config.fault);
    }
    if (strcmp(text, rules_text)) {
        parse(text);
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
    struct fault result = { .partial = -1, .claim = -1 };
    unsigned i;

    if (!config.fault) {
        return result;
    }
    pthread_mutex_lock(&fault_lock);
    update_rules();
    for (i = 0; i < nr_rules && !result.fires; i++) {
        if (rule_fires(&rules[i], name, addr, len)) {
            result = rules[i].fault;
            if (result.partial < 0) {
                /* what lies before the rule's addresses is fine */
                result.partial = rules[i].first > addr ? rules[i].first - addr
                                                       : 0;
            }
        }
    }
    pthread_mutex_unlock(&fault_lock);
    return result;
}
