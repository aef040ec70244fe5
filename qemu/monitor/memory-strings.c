/*
 * Strings in guest memory, for x/s and xp/s
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "monitor/hmp.h"
#include "monitor/memory-strings.h"
#include "monitor/monitor.h"
#include "qapi/error.h"
#include "system/memory-debug.h"

/* As many characters as gdb prints of a string, and reads at once */
#define LINE_MAX_CHARS  200

/*
 * Read a string to @text, up to its NUL or LINE_MAX_CHARS.  *@len is its
 * length, or what could be read of it if the return value is false.
 */
static bool read_string(CPUState *cpu, uint64_t addr, bool physical,
                        char *text, size_t *len, Error **errp)
{
    *len = 0;
    while (*len < LINE_MAX_CHARS) {
        uint64_t from = addr + *len;
        size_t run = MIN(LINE_MAX_CHARS - *len, MEMORY_DEBUG_PAGE_SIZE -
                                                from % MEMORY_DEBUG_PAGE_SIZE);
        MemTxResult result;
        size_t part;

        /* Not beyond the page: the next may not be there */
        if (physical) {
            result = memory_debug_read_physical(cpu, from, text + *len, run,
                                                errp);
        } else {
            result = memory_debug_rw_virtual(cpu, from, text + *len, run,
                                             false, errp);
        }
        if (result != MEMTX_OK) {
            return false;
        }
        part = strnlen(text + *len, run);
        *len += part;
        if (part < run) {
            break;
        }
    }
    return true;
}

void monitor_print_strings(Monitor *mon, CPUState *cpu, uint64_t addr,
                           int count, bool physical)
{
    char text[LINE_MAX_CHARS + 1];
    Error *err = NULL;
    size_t len;

    while (count-- > 0 && !err) {
        g_autofree char *escaped = NULL;

        read_string(cpu, addr, physical, text, &len, &err);
        text[len] = '\0';
        escaped = g_strescape(text, NULL);
        monitor_printf(mon, HWADDR_FMT_plx ":", addr);
        if (len || !err) {
            monitor_printf(mon, " \"%s\"%s", escaped,
                           len == LINE_MAX_CHARS ? "..." : "");
        }
        monitor_printf(mon, "%s\n", err ? " Cannot access memory" : "");
        addr += len + (len < LINE_MAX_CHARS);
    }
    hmp_handle_error(mon, err);
}
