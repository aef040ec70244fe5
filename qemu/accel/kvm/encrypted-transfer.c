/*
 * KVM: transfers that complete in parts
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "encrypted-transfer.h"

int encrypted_transfer(EncryptedTransferStep *step, void *opaque,
                       uint64_t len, uint64_t *done)
{
    int stalls = 0;

    *done = 0;
    while (*done < len) {
        uint64_t asked = len - *done, part = asked;
        int ret = step(opaque, *done, &part);

        if (ret < 0 && part == asked) {
            part = 0;       /* it failed before it could store the length */
        }
        if (part > asked) {
            return -EPROTO;
        }
        *done += part;
        if (ret < 0 && ret != -EINTR) {
            return ret;
        }
        stalls = part ? 0 : stalls + 1;
        if (stalls >= (ret ? ENCRYPTED_TRANSFER_MAX_STALLS : 1)) {
            return -ETIMEDOUT;
        }
    }
    return 0;
}
