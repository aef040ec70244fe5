/*
 * Paging of vCPUs whose registers are protected
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TARGET_I386_PROTECTED_PAGING_H
#define TARGET_I386_PROTECTED_PAGING_H

#include "disas/dis-asm.h"
#include "exec/hwaddr.h"
#include "hw/core/cpu.h"
#include "qapi/qapi-types-memory-debug-object.h"

/**
 * x86_protected_paging: what CR0, CR3, CR4 and EFER would tell
 *
 * @paging: set to the paging mode, never MEMORY_DEBUG_PAGING_AUTO
 * @root: set to the guest-physical address of the root table, without
 *     page-table bit
 *
 * From the memory-debug object's properties or, if it says so, from the
 * guest's VMCOREINFO, which is read at each call.  Called with the BQL held.
 * Returns false with @errp set when they are not known; the error says how
 * they could be.
 */
bool x86_protected_paging(CPUState *cpu, MemoryDebugPaging *paging,
                          hwaddr *root, Error **errp);

/**
 * x86_protected_disas_set_info: what code to expect where CS is not known
 *
 * 32-bit code if the memory-debug object says that the paging is PAE, otherwise
 * 64-bit: such guests leave 16-bit code long before anybody can debug them.
 */
void x86_protected_disas_set_info(CPUState *cpu, disassemble_info *info);

#endif
