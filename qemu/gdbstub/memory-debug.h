/*
 * gdbstub: memory through the debug access layer, protected registers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GDBSTUB_MEMORY_DEBUG_H
#define GDBSTUB_MEMORY_DEBUG_H

#include "exec/hwaddr.h"

/* All functions are called with the BQL held */

/**
 * gdb_memory_rw_debug: read or write guest memory for gdb
 *
 * @cpu: vCPU whose page tables translate
 * @addr: guest-virtual address, or guest-physical where @physical
 *
 * Returns 0, or -1 if any byte of the range could not be accessed; of an
 * encrypted guest, and when the operator forbids it, the reason goes to
 * QEMU's error output.
 */
int gdb_memory_rw_debug(CPUState *cpu, hwaddr addr, uint8_t *buf, int len,
                        bool is_write, bool physical);

/**
 * gdb_may_insert_breakpoint: do the guest's owner and the operator allow a
 * breakpoint?
 *
 * @type: a GDB_BREAKPOINT_* constant
 *
 * Software breakpoints are writes to guest memory, or stand in for them
 * (TCG), and take the same permission.  If it is missing, QEMU's user is
 * told so.
 */
bool gdb_may_insert_breakpoint(int type);

#endif
