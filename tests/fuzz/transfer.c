/*
 * Fuzz target: transfers that complete in parts
 * FUZZ SOURCES: accel/kvm/encrypted-transfer.c
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "accel/kvm/encrypted-transfer.h"
#include "fuzz.h"

#define LEN 300

/* A kernel that copies from @from to @to, as far as the input wants it */
typedef struct Kernel {
    FuzzInput *in;
    uint8_t from[LEN], to[LEN];
    uint64_t len;           /* of the whole transfer */
    uint64_t copied;
    unsigned calls;
    unsigned stalls;        /* calls in a row without a byte */
    bool lied;              /* it claimed more than was asked */
    int last;               /* what the last call returned */
} Kernel;

static int kernel_copy(void *opaque, uint64_t done, uint64_t *len)
{
    static const int results[] = { 0, 0, -EINTR, -EINTR, -EIO, -EINVAL };
    Kernel *k = opaque;
    uint64_t part;

    /* It goes on where the last call has stopped, and only if it may */
    CHECK(done == k->copied);
    CHECK(*len && *len == k->len - done);
    CHECK(!k->lied && (k->last == 0 || k->last == -EINTR));
    CHECK(k->stalls < ENCRYPTED_TRANSFER_MAX_STALLS);
    k->calls++;
    k->last = results[fuzz_take(k->in, 1) % ARRAY_SIZE(results)];
    part = fuzz_range(k->in, 0, *len + 1);
    if (part > *len) {
        if (k->last < 0) {      /* an error before anything was done */
            part = *len;
        } else {
            k->lied = true;
        }
    }
    if (k->last < 0 && part == *len) {
        part = 0;               /* the length is left alone */
    } else {
        *len = part;
    }
    if (!k->lied) {
        memcpy(k->to + done, k->from + done, part);
        k->copied += part;
    }
    k->stalls = part ? 0 : k->stalls + 1;
    return k->last;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = { data, size };
    Kernel k = { .in = &in };
    uint64_t done = -1;
    int ret;

    k.len = fuzz_range(&in, 0, LEN);
    memset(k.from, 0xa5, sizeof(k.from));
    ret = encrypted_transfer(kernel_copy, &k, k.len, &done);

    CHECK(done == k.copied && done <= k.len);
    CHECK(!memcmp(k.to, k.from, done));
    CHECK(buffer_is_zero(k.to + done, LEN - done));
    CHECK((ret == 0) == (done == k.len && !k.lied &&
                         (k.last == 0 || k.last == -EINTR)));
    CHECK((ret == -EPROTO) == k.lied);
    if (ret == -ETIMEDOUT) {
        CHECK(k.stalls && (k.last == 0 || k.last == -EINTR));
    }
    if (ret == -EIO || ret == -EINVAL) {
        CHECK(ret == k.last);
    }
    return 0;
}
