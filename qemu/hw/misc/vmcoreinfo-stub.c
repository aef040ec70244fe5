/*
 * Machines without a vmcoreinfo device
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/misc/vmcoreinfo.h"

bool vmcoreinfo_guest_read(VmcoreinfoGuest *info, Error **errp)
{
    error_setg(errp, "this QEMU has no vmcoreinfo device");
    return false;
}
