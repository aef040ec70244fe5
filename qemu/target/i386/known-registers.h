/*
 * x86 registers of a vCPU whose other registers are protected
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef I386_KNOWN_REGISTERS_H
#define I386_KNOWN_REGISTERS_H

/*
 * Print those of ENCRYPTED_GUEST_REGISTERS_PARTIAL for 'info registers', each
 * as cpu_dump_state() names it.  Called with the BQL held; the state has been
 * synchronised.
 */
void x86_dump_known_registers(CPUX86State *env, FILE *f);

#endif
