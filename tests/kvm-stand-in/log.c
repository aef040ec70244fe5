/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The log that tests assert on, the counters, and strict mode's verdict. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "standin.h"

#define MAX_COUNTERS 96

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static unsigned sequence;
static unsigned violations;
static struct counter {
    const char *name;
    unsigned calls;
    unsigned errors;
} counters[MAX_COUNTERS];

static void log_line(const char *line, int len)
{
    if (log_fd < 0 && config.log_path) {
        log_fd = open(config.log_path,
                      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (log_fd < 0) {
            fprintf(stderr, "stand-in: cannot write %s: %s\n",
                    config.log_path, strerror(errno));
            exit(2);
        }
    }
    /* One write() a line: lines of several threads do not mix. */
    if (log_fd >= 0 && write(log_fd, line, len) != len) {
        fprintf(stderr, "stand-in: log: %s\n", strerror(errno));
    }
}

static void count(const char *name, long ret)
{
    struct counter *c = counters;

    while (c->name && strcmp(c->name, name)) {
        if (++c == counters + MAX_COUNTERS) {
            return;
        }
    }
    c->name = name;
    c->calls++;
    c->errors += ret < 0;
}

void log_call(const char *name, long ret, const char *fmt, ...)
{
    char details[400], line[512];
    va_list ap;
    int len, saved = errno;

    va_start(ap, fmt);
    vsnprintf(details, sizeof(details), fmt, ap);
    va_end(ap);
    pthread_mutex_lock(&log_lock);
    count(name, ret);
    len = snprintf(line, sizeof(line), "%u %s %s%sret=%ld%s%s\n", ++sequence,
                   name, details, *details ? " " : "", ret,
                   ret < 0 ? " errno=" : "",
                   ret < 0 ? strerrorname_np(-ret) : "");
    log_line(line, len);
    pthread_mutex_unlock(&log_lock);
    errno = saved;
}

static void log_event_va(const char *kind, const char *fmt, va_list ap)
{
    char details[400], line[512];
    int len;

    vsnprintf(details, sizeof(details), fmt, ap);
    pthread_mutex_lock(&log_lock);
    len = snprintf(line, sizeof(line), "%u %s %s\n", ++sequence, kind, details);
    log_line(line, len);
    pthread_mutex_unlock(&log_lock);
}

void log_event(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_event_va("event", fmt, ap);
    va_end(ap);
}

bool log_violation(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_event_va("VIOLATION", fmt, ap);
    va_end(ap);
    __atomic_add_fetch(&violations, 1, __ATOMIC_RELAXED);
    return config.strict;
}

__attribute__((destructor))
static void log_end(void)
{
    struct counter *c;

    for (c = counters; c < counters + MAX_COUNTERS && c->name; c++) {
        log_event("count %s calls=%u errors=%u", c->name, c->calls, c->errors);
    }
    if (config.strict && violations) {
        fprintf(stderr, "stand-in: %u strict mode violations, see %s\n",
                violations, config.log_path ? config.log_path : "STANDIN_LOG");
        abort();
    }
}
