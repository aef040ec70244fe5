/*
 * Finding a Linux kernel's page tables with VMCOREINFO
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "page-table-root.h"

/*
 * Linux: Documentation/arch/x86/x86_64/mm.rst.  The kernel's image lies in
 * the one GiB of virtual addresses from __START_KERNEL_map on.
 */
#define START_KERNEL_MAP    0xffffffff80000000ULL
#define KERNEL_MAP_SIZE     (1 * GiB)
#define PAGE_MASK_4K        0xfffULL
/* Physical addresses have at most 52 bits (APM volume 2, 5.1) */
#define MAX_PHYSICAL        (1ULL << 52)

bool linux_page_tables_va(const VmcoreinfoText *text, uint64_t *va,
                          Error **errp)
{
    /* One table with two names, of which either may be missing */
    return vmcoreinfo_symbol(text, "init_top_pgt", va, NULL) ||
           vmcoreinfo_symbol(text, "swapper_pg_dir", va, errp);
}

bool linux_page_tables_root(const VmcoreinfoText *text, hwaddr *root,
                            Error **errp)
{
    uint64_t va, offset;
    int64_t phys_base;

    if (!linux_page_tables_va(text, &va, errp) ||
        !vmcoreinfo_number(text, "phys_base", &phys_base, errp)) {
        return false;
    }
    offset = va - START_KERNEL_MAP;
    if (offset >= KERNEL_MAP_SIZE || va & PAGE_MASK_4K) {
        error_setg(errp, "VMCOREINFO places the page tables at 0x%" PRIx64
                   ", which is not a page of an x86-64 kernel's image", va);
        return false;
    }
    /* wraps where phys_base is negative, as in the kernel */
    *root = offset + phys_base;
    if (*root >= MAX_PHYSICAL || *root & PAGE_MASK_4K) {
        error_setg(errp, "VMCOREINFO places the page tables at 0x%" PRIx64
                   " and phys_base at 0x%" PRIx64 ", which do not yield the "
                   "address of a page", va, (uint64_t)phys_base);
        return false;
    }
    return true;
}

bool linux_page_tables_la57(const VmcoreinfoText *text, bool *la57,
                            Error **errp)
{
    int64_t value;

    if (!vmcoreinfo_number(text, "pgtable_l5_enabled", &value, errp)) {
        return false;
    }
    if (value != 0 && value != 1) {
        error_setg(errp, "VMCOREINFO has NUMBER(pgtable_l5_enabled)=%" PRId64
                   ", which must be 0 or 1", value);
        return false;
    }
    *la57 = value;
    return true;
}

bool linux_page_tables_check_mask(const VmcoreinfoText *text, uint64_t mask,
                                  Error **errp)
{
    int64_t sme_mask;

    if (!mask || !vmcoreinfo_number(text, "sme_mask", &sme_mask, NULL) ||
        !sme_mask || (uint64_t)sme_mask == mask) {
        return true;
    }
    error_setg(errp, "the guest's kernel uses the C-bit mask 0x%" PRIx64
               " (NUMBER(sme_mask) of VMCOREINFO), the host 0x%" PRIx64,
               (uint64_t)sme_mask, mask);
    return false;
}
