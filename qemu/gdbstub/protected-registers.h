/*
 * gdbstub: guests whose registers are protected from the host
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GDBSTUB_PROTECTED_REGISTERS_H
#define GDBSTUB_PROTECTED_REGISTERS_H

/* All of these are called with the BQL held. */
#ifdef CONFIG_USER_ONLY
#define gdb_can_trap(what)          true
#define gdb_refuse_protected(what, partial) false
#define gdb_put_protected(cpu, reg) false
#define gdb_write_protected(cpu, reg, hex) false
#else
/**
 * gdb_can_trap: can the guest be made to stop by itself?
 *
 * @what: what gdb asked for, e.g. "single-step", for the message; a
 *     string constant
 *
 * False where the registers are protected: the debug registers cannot be set,
 * no exception of the guest comes to the host, and page tables cannot be
 * found to plant a breakpoint.  QEMU's user is told.
 */
bool gdb_can_trap(const char *what);

/**
 * gdb_refuse_protected: refuse what needs the guest's registers
 *
 * @what: to do, e.g. "write registers"
 * @partial: also where only some of them are protected
 *
 * Returns true where they are; then an error packet that says so has been
 * sent, and the command has to end.
 */
bool gdb_refuse_protected(const char *what, bool partial);

/**
 * gdb_put_protected: send registers that are protected
 *
 * @reg: number of a register, or -1 for those of a g packet
 *
 * Returns true where they are, or some of them; then they have been sent,
 * what is protected as 'x' digits, unavailable.  All but the program counter,
 * which is sent as 0: gdb does not connect to a target without one, nor lets
 * it continue.
 */
bool gdb_put_protected(CPUState *cpu, int reg);

/**
 * gdb_write_protected: write a register that may be protected
 *
 * @reg: its number
 * @hex: its value, the hexadecimal digits of a P packet
 *
 * Returns true where all registers are protected, or some of them; then it
 * has been written, or refused with an error packet that says why, and the
 * command has to end.
 */
bool gdb_write_protected(CPUState *cpu, int reg, const char *hex);
#endif

#endif
