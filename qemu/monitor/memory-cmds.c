/*
 * memsave, pmemsave and sum: commands that read much guest memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "hw/core/cpu.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-machine.h"
#include "qapi/qmp/qerror.h"
#include "qobject/qdict.h"
#include "system/memory-debug.h"

/* One debug access; a whole run of an encrypted guest's backend */
#define CHUNK_SIZE  MEMORY_DEBUG_RUN_MAX

/* A range of guest memory, virtual where @cpu is set, else physical */
typedef struct GuestRange {
    CPUState *cpu;
    uint64_t addr;
    uint64_t size;
} GuestRange;

/* Consume @len bytes of the range at @buf; false with @errp set ends it */
typedef bool GuestRangeFunc(const uint8_t *buf, size_t len, void *opaque,
                            Error **errp);

static bool guest_range_read(GuestRange range, uint8_t *buf, size_t len,
                             Error **errp)
{
    MemTxResult result;

    if (range.cpu) {
        result = memory_debug_rw_virtual(range.cpu, range.addr, buf, len,
                                         false, errp);
    } else {
        result = cpu_physical_memory_read_debug(range.addr, buf, len, errp);
    }
    return result == MEMTX_OK;
}

/* What lies before a page that cannot be read is read, page by page then */
static bool guest_range_foreach(GuestRange range, GuestRangeFunc *func,
                                void *opaque, Error **errp)
{
    g_autofree uint8_t *buf = g_malloc(MIN(range.size, CHUNK_SIZE));
    bool wraps = range.size && range.addr + range.size - 1 < range.addr;
    bool by_page = false;

    memory_debug_begin_reads();     /* page tables serve many chunks */
    while (range.size) {
        size_t len = MIN(range.size, by_page ? MEMORY_DEBUG_PAGE_SIZE -
                         range.addr % MEMORY_DEBUG_PAGE_SIZE : CHUNK_SIZE);
        bool last_try = by_page || wraps;

        if (!guest_range_read(range, buf, len, last_try ? errp : NULL)) {
            if (last_try) {
                break;
            }
            by_page = true;
            continue;
        }
        if (!func(buf, len, opaque, errp)) {
            break;
        }
        range.addr += len;
        range.size -= len;
    }
    memory_debug_end_reads();
    return !range.size;
}

typedef struct SaveFile {
    FILE *f;
    const char *name;
    uint64_t written;
} SaveFile;

static bool save_chunk(const uint8_t *buf, size_t len, void *opaque,
                       Error **errp)
{
    SaveFile *file = opaque;

    if (fwrite(buf, 1, len, file->f) != len) {
        error_setg_errno(errp, errno, "writing memory to '%s' failed",
                         file->name);
        return false;
    }
    file->written += len;
    return true;
}

static void guest_range_save(GuestRange range, const char *filename,
                             Error **errp)
{
    ERRP_GUARD();
    SaveFile file = { .name = filename };

    /* Before a file is created or truncated */
    if (!memory_debug_allowed(errp)) {
        error_prepend(errp, "cannot save guest memory: ");
        return;
    }
    file.f = fopen(filename, "wb");
    if (!file.f) {
        error_setg_file_open(errp, errno, filename);
        return;
    }
    if (!guest_range_foreach(range, save_chunk, &file, errp)) {
        error_append_hint(errp, "'%s' is not complete: %" PRIu64 " of %"
                          PRIu64 " bytes were saved.\n", filename,
                          file.written, range.size);
    }
    if (fclose(file.f) && !*errp) {
        error_setg_errno(errp, errno, "writing memory to '%s' failed",
                         filename);
    }
}

void qmp_memsave(uint64_t addr, uint64_t size, const char *filename,
                 bool has_cpu, int64_t cpu_index, Error **errp)
{
    CPUState *cpu = qemu_get_cpu(has_cpu ? cpu_index : 0);

    if (!cpu) {
        error_setg(errp, QERR_INVALID_PARAMETER_VALUE, "cpu-index",
                   "a CPU number");
        return;
    }
    guest_range_save((GuestRange) { cpu, addr, size }, filename, errp);
}

void qmp_pmemsave(uint64_t addr, uint64_t size, const char *filename,
                  Error **errp)
{
    guest_range_save((GuestRange) { NULL, addr, size }, filename, errp);
}

/* BSD sum algorithm ('sum' Unix command) */
static bool sum_chunk(const uint8_t *buf, size_t len, void *opaque,
                      Error **errp)
{
    uint16_t *sum = opaque;

    for (size_t i = 0; i < len; i++) {
        *sum = (uint16_t)((*sum >> 1) | (*sum << 15)) + buf[i];
    }
    return true;
}

void hmp_sum(Monitor *mon, const QDict *qdict)
{
    uint32_t start = qdict_get_int(qdict, "start");
    uint32_t size = qdict_get_int(qdict, "size");
    uint16_t sum = 0;
    Error *err = NULL;

    if (!guest_range_foreach((GuestRange) { NULL, start, size }, sum_chunk,
                             &sum, &err)) {
        hmp_handle_error(mon, err);
        return;
    }
    monitor_printf(mon, "%05d\n", sum);
}
