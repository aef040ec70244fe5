/*
 * Finding a Linux kernel's page tables with VMCOREINFO
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TARGET_I386_PAGE_TABLE_ROOT_H
#define TARGET_I386_PAGE_TABLE_ROOT_H

#include "exec/hwaddr.h"
#include "system/vmcoreinfo-note.h"

/*
 * For guests whose CR3 is unknown, or does not map the kernel.  The text is
 * the guest's, and thus hostile: everything found has to be checked.
 */

/**
 * linux_page_tables_va: virtual address of the kernel's own root table,
 * SYMBOL(init_top_pgt) or SYMBOL(swapper_pg_dir), which are the same
 */
bool linux_page_tables_va(const VmcoreinfoText *text, uint64_t *va,
                          Error **errp);

/**
 * linux_page_tables_root: where the kernel's own page tables are
 *
 * @text: VMCOREINFO of an x86-64 kernel
 * @root: set to the guest-physical address of the root table,
 *     its virtual address - __START_KERNEL_map + NUMBER(phys_base)
 *
 * They map the kernel, not processes.  Returns false with @errp set if
 * something is missing or cannot be true.
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
 * linux_page_tables_check_mask: do kernel and host use the same C-bit?
 *
 * @mask: the host's C-bit (AMD), or 0
 *
 * NUMBER(sme_mask) is 0 if the kernel does not use a C-bit, and older kernels
 * lack it; neither is an error.  Returns false with @errp set if the masks
 * differ, which would make every address wrong.
 */
bool linux_page_tables_check_mask(const VmcoreinfoText *text, uint64_t mask,
                                  Error **errp);

#endif
