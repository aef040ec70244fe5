/*
 * KVM: transfers that complete in parts
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef ACCEL_KVM_ENCRYPTED_TRANSFER_H
#define ACCEL_KVM_ENCRYPTED_TRANSFER_H

/* So many interruptions in a row, none with progress, end a transfer */
#define ENCRYPTED_TRANSFER_MAX_STALLS 16

/**
 * EncryptedTransferStep: transfer what follows the first @done bytes
 *
 * @len: bytes asked for; set to the number of bytes completed, or left alone
 *     by a call that fails at once
 *
 * Returns 0 or -errno.
 */
typedef int EncryptedTransferStep(void *opaque, uint64_t done, uint64_t *len);

/**
 * encrypted_transfer: transfer @len bytes in as many steps as it takes
 *
 * @done: set to the number of bytes completed
 *
 * A step that was interrupted (-EINTR) or stopped early is continued.
 * Returns 0 or the -errno of the step that failed; -ETIMEDOUT where there is
 * no progress, -EPROTO where a step claims to have done more than was asked.
 */
int encrypted_transfer(EncryptedTransferStep *step, void *opaque,
                       uint64_t len, uint64_t *done);

#endif
