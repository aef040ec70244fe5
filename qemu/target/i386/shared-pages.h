/*
 * Pages that x86 page tables call shared
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TARGET_I386_SHARED_PAGES_H
#define TARGET_I386_SHARED_PAGES_H

#include "system/encrypted-guest.h"

/* EncryptedGuestClass::find_shared by the page tables of all vCPUs */
bool x86_find_shared_pages(EncryptedGuest *eg, EncryptedGuestFoundFunc *found,
                           void *opaque, Error **errp);

#endif
