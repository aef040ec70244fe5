/*
 * SEV, SEV-ES and SEV-SNP guests under a debugger: what sev.c tells
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef I386_SEV_DEBUG_H
#define I386_SEV_DEBUG_H

#include "qom/object.h"

/* Implement EncryptedGuest for sev-guest and for sev-snp-guest */
void sev_guest_debug_class_init(ObjectClass *oc);
void sev_snp_guest_debug_class_init(ObjectClass *oc);

/**
 * sev_debug_start: LAUNCH_START or SNP_LAUNCH_START has succeeded
 *
 * @guest: the machine's sev-guest or sev-snp-guest; the policy that it has
 *     now is the one that the firmware will enforce
 * @sev_fd: file descriptor of the SEV device
 *
 * Called with the BQL held, before the machine has RAM.
 */
void sev_debug_start(Object *guest, int sev_fd);

/**
 * sev_debug_launch_data: from now on @len bytes at @hva belong to the launch
 *
 * For SEV and SEV-ES they are about to be encrypted in place; for SEV-SNP
 * the guest gets a copy at the end of the launch.  A debugger does not change
 * them before the guest runs: they are measured.
 *
 * Called with the BQL held.
 */
void sev_debug_launch_data(const void *hva, size_t len);

/**
 * sev_debug_set_launched: has the guest been launched?
 *
 * Called with the BQL held.
 */
void sev_debug_set_launched(bool launched);

/* In sev.c: the name of a firmware error, SEV API specification, 5.1.1 */
const char *fw_error_to_str(int code);

#endif
