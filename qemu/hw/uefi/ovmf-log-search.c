/*
 * Search guest memory for OVMF's debug log
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "system/memory-debug.h"
#include "ovmf-log-search.h"

/* Read what can be read; pages that cannot are zero in @buf */
static void read_pages(hwaddr addr, uint8_t *buf, hwaddr len, Error **why)
{
    hwaddr run;

    if (cpu_physical_memory_read_debug(addr, buf, len, NULL) == MEMTX_OK) {
        return;
    }
    for (; len; addr += run, buf += run, len -= run) {
        Error *err = NULL;

        run = MIN(len, MEMORY_DEBUG_PAGE_SIZE);
        if (cpu_physical_memory_read_debug(addr, buf, run, &err) == MEMTX_OK) {
            continue;
        }
        memset(buf, 0, run);
        if (*why) {
            error_free(err);
        } else {
            *why = err;
        }
    }
}

hwaddr ovmf_log_search(hwaddr start, hwaddr end, const void *magic,
                       size_t len, Error **why)
{
    g_autofree uint8_t *buf = g_malloc(MEMORY_DEBUG_RUN_MAX);
    hwaddr run;

    for (; start < end; start += run) {
        run = MIN(end - start, MEMORY_DEBUG_RUN_MAX);
        read_pages(start, buf, run, why);
        for (hwaddr page = 0; page + len <= run;
             page += MEMORY_DEBUG_PAGE_SIZE) {
            if (!memcmp(buf + page, magic, len)) {
                return start + page;
            }
        }
    }
    return -1;
}
