/*
 * A simulated encrypted guest, for development and tests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TARGET_I386_SIM_ENCRYPTED_GUEST_H
#define TARGET_I386_SIM_ENCRYPTED_GUEST_H

#define TYPE_SIM_ENCRYPTED_GUEST "sim-encrypted-guest"

#endif
