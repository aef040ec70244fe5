/*
 * gdbstub: guests whose registers are protected from the host
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "exec/gdbstub.h"
#include "gdbstub/commands.h"
#include "hw/core/cpu.h"
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

static int program_counter(CPUState *cpu)
{
    g_autoptr(GArray) regs = gdb_get_register_list(cpu);

    for (guint i = 0; i < regs->len; i++) {
        GDBRegDesc *reg = &g_array_index(regs, GDBRegDesc, i);

        if (!g_strcmp0(reg->name, "pc") || !g_strcmp0(reg->name, "rip") ||
            !g_strcmp0(reg->name, "eip")) {
            return reg->gdb_reg;
        }
    }
    return -1;
}

/* Returns the register's size in bytes, 0 if there is none */
static int append_protected(CPUState *cpu, int reg, int pc)
{
    g_autoptr(GByteArray) size = g_byte_array_new();
    int len = gdb_read_register(cpu, size, reg);

    for (int i = 0; i < len; i++) {
        g_string_append(gdbserver_state.str_buf, reg == pc ? "00" : "xx");
    }
    return len;
}

bool gdb_put_protected(CPUState *cpu, int reg)
{
    int pc;

    if (!memory_debug_registers_protected()) {
        return false;
    }
    pc = program_counter(cpu);
    if (reg >= 0 && !append_protected(cpu, reg, pc)) {
        gdb_put_packet("E14");
        return true;
    }
    for (int i = 0; reg < 0 && i < cpu->gdb_num_g_regs; i++) {
        append_protected(cpu, i, pc);
    }
    gdb_put_strbuf();
    return true;
}
