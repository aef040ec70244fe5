/*
 * Paging of vCPUs whose registers are protected
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "disas/capstone.h"
#include "qapi/error.h"
#include "system/memory-debug.h"
#include "system/memory-debug-object.h"
#include "system/vmcoreinfo-guest.h"
#include "linux-page-tables.h"
#include "protected-paging.h"

static uint64_t c_bit_mask(void)
{
    EncryptedPageBit bit = memory_debug_page_bit();

    return bit.set_means_private ? bit.mask : 0;
}

static bool paging_of_text(const VmcoreinfoText *text,
                           MemoryDebugPaging *paging, hwaddr *root,
                           Error **errp)
{
    bool la57;

    if (!linux_page_tables_root(text, root, errp) ||
        !linux_page_tables_check_mask(text, c_bit_mask(), errp)) {
        return false;
    }
    if (*paging == MEMORY_DEBUG_PAGING_AUTO) {
        if (!linux_page_tables_la57(text, &la57, errp)) {
            return false;
        }
        *paging = la57 ? MEMORY_DEBUG_PAGING_5LEVEL :
                         MEMORY_DEBUG_PAGING_4LEVEL;
    }
    return true;
}

static bool paging_of_vmcoreinfo(MemoryDebugPaging *paging, hwaddr *root,
                                 Error **errp)
{
    ERRP_GUARD();
    VmcoreinfoGuest info;
    bool ok;

    if (!vmcoreinfo_guest_read(&info, errp)) {
        error_prepend(errp, "root=vmcoreinfo: ");
        return false;
    }
    ok = paging_of_text(&info.text, paging, root, errp);
    g_free(info.note);
    if (!ok) {
        error_prepend(errp, "root=vmcoreinfo: ");
    }
    return ok;
}

/* CR3 of PAE paging points to 32 bytes, in long mode to a page */
static bool check_alignment(MemoryDebugPaging paging, hwaddr root,
                            Error **errp)
{
    hwaddr align = paging == MEMORY_DEBUG_PAGING_PAE ? 32 : 4096;

    if (!QEMU_IS_ALIGNED(root, align)) {
        error_setg(errp, "root=0x%" HWADDR_PRIx " is no multiple of %"
                   HWADDR_PRIu ", as paging=%s wants it", root, align,
                   MemoryDebugPaging_str(paging));
        return false;
    }
    return true;
}

bool x86_protected_paging(CPUState *cpu, MemoryDebugPaging *paging,
                          hwaddr *root, Error **errp)
{
    MemoryDebugTables tables;

    if (!memory_debug_object_tables(cpu->cpu_index, &tables, errp)) {
        return false;
    }
    *paging = tables.paging;
    if (tables.from_vmcoreinfo) {
        return paging_of_vmcoreinfo(paging, root, errp);
    }
    *root = tables.root & ~memory_debug_page_bit().mask;
    return check_alignment(*paging, *root, errp);
}

void x86_protected_disas_set_info(CPUState *cpu, disassemble_info *info)
{
    MemoryDebugTables tables;
    bool pae = memory_debug_object_tables(cpu->cpu_index, &tables, NULL) &&
               tables.paging == MEMORY_DEBUG_PAGING_PAE;

    info->mach = pae ? bfd_mach_i386_i386 : bfd_mach_x86_64;
    info->cap_mode = pae ? CS_MODE_32 : CS_MODE_64;
}
