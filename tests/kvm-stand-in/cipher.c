/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The memory controller's cipher: Speck128/128 (eprint.iacr.org/2013/404) in
 * an XEX construction, so that equal blocks at different addresses differ and
 * one changed bit changes its whole 16-byte block, as with AES on hardware.
 * Of its 32 rounds this takes so many as that needs: nobody attacks it.
 */
#include <string.h>
#include <sys/random.h>

#include "standin.h"

#define ROUNDS 10
#define TWEAK_ROUNDS 4

static uint64_t round_keys[ROUNDS];
static pthread_once_t keyed = PTHREAD_ONCE_INIT;

static inline uint64_t ror(uint64_t x, int n)
{
    return x >> n | x << (64 - n);
}

static void mix(uint64_t *x, uint64_t *y, uint64_t key)
{
    *x = (ror(*x, 8) + *y) ^ key;
    *y = ror(*y, 61) ^ *x;
}

static void unmix(uint64_t *x, uint64_t *y, uint64_t key)
{
    *y = ror(*y ^ *x, 3);
    *x = ror((*x ^ key) - *y, 56);
}

static void make_key(void)
{
    uint64_t key[2];
    int i;

    if (getrandom(key, sizeof(key), 0) != sizeof(key)) {
        __builtin_trap();
    }
    for (i = 0; i < ROUNDS; i++) {
        round_keys[i] = key[0];
        mix(&key[1], &key[0], i);
    }
}

static void rounds(uint64_t b[2], int n)
{
    int i;

    for (i = 0; i < n; i++) {
        mix(&b[1], &b[0], round_keys[i]);
    }
}

static void encrypt_block(uint64_t b[2])
{
    rounds(b, ROUNDS);
}

static void decrypt_block(uint64_t b[2])
{
    int i;

    for (i = ROUNDS - 1; i >= 0; i--) {
        unmix(&b[1], &b[0], round_keys[i]);
    }
}

static void crypt(uint8_t *dst, const uint8_t *src, size_t len, uint64_t tweak,
                  void (*block)(uint64_t b[2]))
{
    uint64_t mask[2], b[2];
    size_t i;

    pthread_once(&keyed, make_key);
    for (i = 0; i < len; i += 16) {
        mask[0] = tweak + i;
        mask[1] = ~mask[0];
        rounds(mask, TWEAK_ROUNDS);
        memcpy(b, src + i, 16);
        b[0] ^= mask[0];
        b[1] ^= mask[1];
        block(b);
        b[0] ^= mask[0];
        b[1] ^= mask[1];
        memcpy(dst + i, b, 16);
    }
}

void cipher_encrypt(uint8_t *dst, const uint8_t *src, size_t len,
                    uint64_t tweak)
{
    crypt(dst, src, len, tweak, encrypt_block);
}

void cipher_decrypt(uint8_t *dst, const uint8_t *src, size_t len,
                    uint64_t tweak)
{
    crypt(dst, src, len, tweak, decrypt_block);
}
