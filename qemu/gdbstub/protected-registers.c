/*
 * gdbstub: guests whose registers are protected from the host
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "gdbstub/commands.h"
#include "qemu/error-report.h"
#include "system/memory-debug.h"
#include "internals.h"
#include "protected-registers.h"

bool gdb_can_trap(const char *what)
{
    static const char *told;

    if (!memory_debug_registers_protected()) {
        return true;
    }
    if (told != what) {     /* gdb may try again and again */
        told = what;
        warn_report("gdbstub: cannot %s: the registers of this guest are "
                    "protected from the host", what);
    }
    return false;
}

bool gdb_refuse_protected(const char *what)
{
    g_autofree char *packet = NULL;

    if (!memory_debug_registers_protected()) {
        return false;
    }
    packet = g_strdup_printf("E.cannot %s: the registers of this guest are "
                             "protected", what);
    gdb_put_packet(packet);
    gdbserver_state.allow_stop_reply = false;
    return true;
}

void gdb_registers_tohex(GString *buf, const uint8_t *mem, int len)
{
    if (!memory_debug_registers_protected()) {
        gdb_memtohex(buf, mem, len);
        return;
    }
    for (int i = 0; i < len; i++) {
        g_string_append(buf, "xx");
    }
}
