/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads STANDIN_SCRIPT: one step a line, per vCPU. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "standin.h"

static struct script_program programs[MAX_VCPUS];
static pthread_once_t parsed = PTHREAD_ONCE_INIT;

static const struct {
    const char *name;
    enum script_op op;
    int nr_args;
    bool has_text;
} ops[] = {
    { "copy", OP_COPY, 3, false },
    { "text", OP_TEXT, 3, false },
    { "convert", OP_CONVERT, 3, false },
    { "put", OP_PUT, 3, false },
    { "out", OP_OUT, 3, false },
    { "print", OP_PRINT, 0, true },
    { "check", OP_CHECK, 2, true },
    { "long-mode", OP_LONG_MODE, 2, false },
    { "nop", OP_NOP, 0, false },
    { "inc", OP_INC, 2, false },
    { "report", OP_REPORT, 2, true },
    { "flip", OP_FLIP, 7, true },
};

static void bad_line(unsigned number, const char *why)
{
    fprintf(stderr, "stand-in: %s:%u: %s\n", config.script, number, why);
    exit(2);
}

static uint64_t number(char **save, unsigned line)
{
    char *word = strtok_r(NULL, " ", save);
    char *end;
    uint64_t value;

    if (!word) {
        bad_line(line, "a number is missing");
    }
    value = strtoull(word, &end, 0);
    if (*end) {
        bad_line(line, "not a number");
    }
    return value;
}

/* "\n" in a text is a newline; "|" separates a second text. */
static char *unescape(const char *text)
{
    char *copy = strdup(text), *in = copy, *out = copy;

    while (*in) {
        if (in[0] == '\\' && in[1] == 'n') {
            *out++ = '\n';
            in += 2;
        } else {
            *out++ = *in++;
        }
    }
    *out = 0;
    return copy;
}

static void parse_op(struct script_step *s, char *word, char **save,
                     unsigned line)
{
    unsigned i = 0;
    char *text, *bar;

    while (strcmp(ops[i].name, word)) {
        if (++i == sizeof(ops) / sizeof(*ops)) {
            bad_line(line, "unknown step");
        }
    }
    s->op = ops[i].op;
    for (int n = 0; n < ops[i].nr_args; n++) {
        s->arg[n] = number(save, line);
    }
    if (ops[i].has_text) {
        text = strtok_r(NULL, "", save);
        text = unescape(text ? text : "");
        bar = strchr(text, '|');
        s->text = text;
        if (bar) {
            *bar = 0;
            s->otherwise = bar + 1;
        }
    }
}

static void parse_step(struct script_program *p, char *word, char **save,
                       unsigned line)
{
    struct script_step *s;

    p->steps = realloc(p->steps, (p->nr_steps + 1) * sizeof(*s));
    s = memset(&p->steps[p->nr_steps++], 0, sizeof(*s));
    if (!strcmp(word, "at")) {
        s->is_instruction = true;
        s->rip = number(save, line);
        s->rip_gpa = number(save, line);
        word = strtok_r(NULL, " ", save);
        if (!word) {
            bad_line(line, "a step is missing after 'at'");
        }
    }
    parse_op(s, word, save, line);
}

static void parse_line(struct script_program **p, char *text, unsigned line)
{
    char *save, *word;
    uint64_t cpu;

    text[strcspn(text, "\n")] = 0;
    word = strtok_r(text, " ", &save);
    if (!word || *word == '#') {
        return;
    }
    if (!strcmp(word, "vcpu")) {
        cpu = number(&save, line);
        if (cpu >= MAX_VCPUS) {
            bad_line(line, "no such vCPU");
        }
        *p = &programs[cpu];
    } else if (!strcmp(word, "loop")) {
        (*p)->loop = (*p)->nr_steps;
    } else {
        parse_step(*p, word, &save, line);
    }
}

static void parse(void)
{
    struct script_program *p = &programs[0];
    FILE *file = fopen(config.script, "r");
    unsigned number = 0;
    size_t room = 0;
    char *text = NULL;

    if (!file) {
        fprintf(stderr, "stand-in: STANDIN_SCRIPT=%s: %s\n", config.script,
                strerror(errno));
        exit(2);
    }
    while (getline(&text, &room, file) >= 0) {
        parse_line(&p, text, ++number);
    }
    free(text);
    fclose(file);
}

struct script_program *script_program(unsigned index)
{
    pthread_once(&parsed, parse);
    return &programs[index];
}
