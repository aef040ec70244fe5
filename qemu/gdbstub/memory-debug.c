/*
 * gdbstub: memory through the debug access layer, protected registers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "gdbstub/commands.h"
#include "hw/core/cpu.h"
#include "gdbstub/enums.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "system/memory-debug.h"
#include "internals.h"
#include "memory-debug.h"

/*
 * The remote protocol has no way to tell gdb's user why a memory access
 * failed.  Tell QEMU's user, and tell it once: gdb tries again and again.
 */
static void report_once(Error *err)
{
    static char *last;

    if (g_strcmp0(last, error_get_pretty(err))) {
        g_free(last);
        last = g_strdup(error_get_pretty(err));
        warn_reportf_err(err, "gdbstub: ");
    } else {
        error_free(err);
    }
}

/*
 * Unmapped addresses are everyday business, unless page tables may be not
 * known.  At 0, gdb looks for the code that gdb_put_protected() led it to.
 */
static bool is_worth_a_report(MemTxResult result, hwaddr addr, bool physical)
{
    if (result != MEMTX_DECODE_ERROR) {
        return memory_debug_guest() || !memory_debug_within_limit(true, NULL);
    }
    return !physical && addr && memory_debug_registers_protected();
}

int gdb_memory_rw_debug(CPUState *cpu, hwaddr addr, uint8_t *buf, int len,
                        bool is_write, bool physical)
{
    Error *err = NULL;
    MemTxResult result;

    if (physical) {
        result = cpu_physical_memory_rw_debug(addr, buf, len, is_write, &err);
    } else {
        result = memory_debug_rw_virtual(cpu, addr, buf, len, is_write, &err);
    }
    if (result == MEMTX_OK) {
        return 0;
    }
    if (is_worth_a_report(result, addr, physical)) {
        report_once(err);
    } else {
        error_free(err);
    }
    return -1;
}

bool gdb_may_insert_breakpoint(int type)
{
    Error *err = NULL;

    if (type != GDB_BREAKPOINT_SW ||
        (memory_debug_allowed(&err) && memory_debug_within_limit(true, &err))) {
        return true;
    }
    error_prepend(&err, "cannot plant a breakpoint: ");
    report_once(err);
    return false;
}
