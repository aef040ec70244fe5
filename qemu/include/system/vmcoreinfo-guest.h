/*
 * The VMCOREINFO note of this guest
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef SYSTEM_VMCOREINFO_GUEST_H
#define SYSTEM_VMCOREINFO_GUEST_H

#include "exec/hwaddr.h"
#include "system/vmcoreinfo-note.h"

/**
 * VmcoreinfoGuest: the note, as it was when it was read
 *
 * @addr, @size: where it is in guest-physical memory
 * @note: its @size bytes, for g_free()
 * @text: its text, which points into @note
 */
typedef struct VmcoreinfoGuest {
    hwaddr addr;
    uint32_t size;
    uint8_t *note;
    VmcoreinfoText text;
} VmcoreinfoGuest;

/**
 * vmcoreinfo_guest_read: read the note that the guest has announced to the
 * vmcoreinfo device (docs/specs/vmcoreinfo.rst)
 *
 * It is read through the debug access layer and checked.  Called with the
 * BQL held.  Returns false with @errp set where there is none; then there
 * is nothing to free.
 */
bool vmcoreinfo_guest_read(VmcoreinfoGuest *info, Error **errp);

#endif
