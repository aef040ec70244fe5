/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "standin.h"

struct config config;

static unsigned env_number(const char *name, unsigned otherwise)
{
    const char *text = getenv(name);
    char *end;
    unsigned long value;

    if (!text || !*text) {
        return otherwise;
    }
    value = strtoul(text, &end, 0);
    if (*end) {
        fprintf(stderr, "stand-in: %s=%s is not a number\n", name, text);
        exit(2);
    }
    return value;
}

static bool env_word(const char *name, const char *no, const char *yes,
                     bool otherwise)
{
    const char *text = getenv(name);

    if (!text || !*text) {
        return otherwise;
    }
    if (strcmp(text, yes) && strcmp(text, no)) {
        fprintf(stderr, "stand-in: %s=%s is neither '%s' nor '%s'\n",
                name, text, no, yes);
        exit(2);
    }
    return !strcmp(text, yes);
}

void config_init(void)
{
    config.log_path = getenv("STANDIN_LOG");
    config.script = getenv("STANDIN_SCRIPT");
    config.fault = getenv("STANDIN_FAULT");
    config.latency_us = env_number("STANDIN_LATENCY_US", 0);
    config.page_latency_us = env_number("STANDIN_PAGE_LATENCY_US", 0);
    config.cbit = env_number("STANDIN_CBIT", 51);
    config.phys_bits = env_number("STANDIN_PHYS_BITS", 0);
    config.strict = env_word("STANDIN_STRICT", "0", "1", false);
    config.unified = env_word("STANDIN_UNIFIED", "0", "1", false);
    config.old_kernel = env_word("STANDIN_KERNEL_BUGS", "fixed", "old", true);
    config.announced = env_word("STANDIN_SHARING", "access", "announced",
                                false);
    config.tdx_debug = env_word("STANDIN_TDX_DEBUG", "0", "1", false);
    config.td_registers = env_word("STANDIN_TD_REGISTERS", "protected",
                                   "readable", false);
}
