/*
 * gdbstub: guests whose registers are protected from the host
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "exec/gdbstub.h"
#include "gdbstub/commands.h"
#include "hw/core/cpu.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "system/hw_accel.h"
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

bool gdb_refuse_protected(const char *what, bool partial)
{
    EncryptedGuestRegisters registers = memory_debug_registers();
    g_autofree char *packet = NULL;

    if (registers == ENCRYPTED_GUEST_REGISTERS_READABLE ||
        (registers == ENCRYPTED_GUEST_REGISTERS_PARTIAL && !partial)) {
        return false;
    }
    packet = g_strdup_printf("E.cannot %s: the registers of this guest are "
                             "protected", what);
    gdb_put_packet(packet);
    gdbserver_state.allow_stop_reply = false;
    return true;
}

/* Those of ENCRYPTED_GUEST_REGISTERS_PARTIAL */
static const char *const partial[] = {
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10",
    "r11", "r12", "r13", "r14", "r15", "rip", "eflags", "cs", "ss", "ds", "es",
    "fs", "gs", "fs_base", "gs_base", "cr0", "cr3", "cr4", "efer", NULL
};

static const char *register_name(CPUState *cpu, int reg)
{
    g_autoptr(GArray) regs = gdb_get_register_list(cpu);

    for (guint i = 0; i < regs->len; i++) {
        GDBRegDesc *desc = &g_array_index(regs, GDBRegDesc, i);

        if (desc->gdb_reg == reg) {
            return desc->name;  /* lives as long as the CPU */
        }
    }
    return "";
}

static bool is_program_counter(const char *name)
{
    return !strcmp(name, "pc") || !strcmp(name, "rip") || !strcmp(name, "eip");
}

/* Returns the register's size in bytes, 0 if there is none */
static int append_register(CPUState *cpu, int reg)
{
    g_autoptr(GByteArray) value = g_byte_array_new();
    int len = gdb_read_register(cpu, value, reg);
    const char *name = register_name(cpu, reg);
    GString *packet = gdbserver_state.str_buf;

    if (!memory_debug_registers_protected() && g_strv_contains(partial, name)) {
        gdb_memtohex(packet, value->data, len);
        g_string_truncate(packet, packet->len - 1);     /* without the NUL */
        return len;
    }
    for (int i = 0; i < len; i++) {
        g_string_append(packet, is_program_counter(name) ? "00" : "xx");
    }
    return len;
}

bool gdb_put_protected(CPUState *cpu, int reg)
{
    if (memory_debug_registers() == ENCRYPTED_GUEST_REGISTERS_READABLE) {
        return false;
    }
    cpu_synchronize_state(cpu);
    if (reg >= 0 && !append_register(cpu, reg)) {
        gdb_put_packet("E14");
        return true;
    }
    for (int i = 0; reg < 0 && i < cpu->gdb_num_g_regs; i++) {
        append_register(cpu, i);
    }
    gdb_put_strbuf();
    return true;
}

static bool write_partial(CPUState *cpu, int reg, const char *hex,
                          Error **errp)
{
    EncryptedGuest *eg = memory_debug_guest();
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    size_t len = strlen(hex) / 2;
    uint64_t value = 0;

    if (len > sizeof(value)) {
        error_setg(errp, "it has more than 64 bits");
        return false;
    }
    gdb_hextomem(bytes, hex, len);
    memcpy(&value, bytes->data, len);
    return ENCRYPTED_GUEST_GET_CLASS(eg)->write_register(
        eg, cpu, register_name(cpu, reg), le64_to_cpu(value), errp);
}

bool gdb_write_protected(CPUState *cpu, int reg, const char *hex)
{
    g_autofree char *packet = NULL;
    Error *err = NULL;

    if (memory_debug_registers() != ENCRYPTED_GUEST_REGISTERS_PARTIAL) {
        return gdb_refuse_protected("write registers", false);
    }
    if (write_partial(cpu, reg, hex, &err)) {
        gdb_put_packet("OK");
        return true;
    }
    packet = g_strdup_printf("E.cannot write register: %s",
                             error_get_pretty(err));
    error_free(err);
    gdb_put_packet(packet);
    return true;
}
