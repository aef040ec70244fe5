/*
 * The page tables of a Linux kernel, as its VMCOREINFO tells
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TARGET_I386_LINUX_PAGE_TABLES_H
#define TARGET_I386_LINUX_PAGE_TABLES_H

#include "exec/hwaddr.h"
#include "system/vmcoreinfo-note.h"

/**
 * linux_page_tables_root: where the kernel's own page tables are
 *
 * @text: VMCOREINFO of an x86-64 kernel
 * @root: set to the guest-physical address of the root table,
 *     SYMBOL(swapper_pg_dir) - __START_KERNEL_map + NUMBER(phys_base), or
 *     the same of init_top_pgt
 *
 * They map the kernel, not what processes have.  Returns false with @errp
 * set when something is missing or cannot be true.
 */
bool linux_page_tables_root(const VmcoreinfoText *text, hwaddr *root,
                            Error **errp);

/**
 * linux_page_tables_la57: do the tables have five levels?
 *
 * From NUMBER(pgtable_l5_enabled), which kernels since 4.17 have.
 */
bool linux_page_tables_la57(const VmcoreinfoText *text, bool *la57,
                            Error **errp);

/**
 * linux_page_tables_check_mask: do kernel and host mean the same C-bit?
 *
 * @mask: AMD's C-bit as the host has it, or 0
 *
 * NUMBER(sme_mask) is 0 where the kernel does not use a C-bit, and older
 * kernels lack it: nothing is wrong with that.  Returns false with @errp set
 * when the masks differ, which would make every address wrong.
 */
bool linux_page_tables_check_mask(const VmcoreinfoText *text, uint64_t mask,
                                  Error **errp);

#endif
