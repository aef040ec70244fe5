/*
 * The VMCOREINFO note of this guest
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/target-info.h"
#include "qemu/units.h"
#include "hw/misc/vmcoreinfo.h"
#include "qapi/error.h"
#include "system/memory-debug.h"
#include "system/vmcoreinfo-guest.h"

/* What the guest has written to the device, checked */
static bool announced(VmcoreinfoGuest *info, Error **errp)
{
    VMCoreInfoState *s = vmcoreinfo_find();
    uint16_t format;

    if (!s) {
        error_setg(errp, "the guest has no VMCOREINFO device to announce its "
                   "note to: it takes -device vmcoreinfo");
        return false;
    }
    if (!s->has_vmcoreinfo) {
        error_setg(errp, "the guest's kernel has not announced a VMCOREINFO "
                   "note yet");
        return false;
    }
    format = le16_to_cpu(s->vmcoreinfo.guest_format);
    if (format != FW_CFG_VMCOREINFO_FORMAT_ELF) {
        error_setg(errp, "the guest has announced a VMCOREINFO of format %u, "
                   "which is not ELF", format);
        return false;
    }
    info->addr = le64_to_cpu(s->vmcoreinfo.paddr);
    info->size = le32_to_cpu(s->vmcoreinfo.size);
    if (info->size > VMCOREINFO_NOTE_MAX) {
        error_setg(errp, "the guest has announced a VMCOREINFO note of %" PRIu32
                   " bytes; more than %" PRIu64 " are refused", info->size,
                   VMCOREINFO_NOTE_MAX);
        return false;
    }
    return true;
}

bool vmcoreinfo_guest_read(VmcoreinfoGuest *info, Error **errp)
{
    ERRP_GUARD();
    g_autofree uint8_t *note = NULL;

    if (!announced(info, errp)) {
        return false;
    }
    note = g_malloc(info->size);
    if (cpu_physical_memory_read_debug(info->addr, note, info->size, errp) ||
        !vmcoreinfo_note_text(note, info->size, target_big_endian(),
                              &info->text, errp)) {
        error_prepend(errp, "the guest's VMCOREINFO note at physical address "
                      "0x%" HWADDR_PRIx ": ", info->addr);
        return false;
    }
    info->note = g_steal_pointer(&note);
    return true;
}
