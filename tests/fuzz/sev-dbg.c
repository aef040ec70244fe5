/*
 * Fuzz target: SEV's debug commands, any range in whole blocks
 * FUZZ SOURCES: target/i386/sev-dbg-blocks.c
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qapi/error.h"
#include "target/i386/sev-dbg-blocks.h"
#include "fuzz.h"

#define PAGES   4
#define SIZE    (PAGES * SEV_DBG_PAGE_SIZE)
#define KEY     0x5a        /* of the cipher */

static uint8_t guest[SIZE] QEMU_ALIGNED(SEV_DBG_PAGE_SIZE);     /* encrypted */
static uint8_t model[SIZE];                                     /* plaintext */
static uint8_t bounce[SEV_DBG_PAGE_SIZE] QEMU_ALIGNED(SEV_DBG_PAGE_SIZE);

typedef struct Firmware {
    unsigned fail_at;       /* number of the command that fails, 0: none */
    unsigned commands;
    uint8_t *first, *last;  /* blocks of the transfer under way */
} Firmware;

/* The rules that every kernel obeys */
static bool command(Firmware *f, uint64_t addr, const uint8_t *p,
                    uint32_t len, Error **errp)
{
    uint64_t in_page = addr % SEV_DBG_PAGE_SIZE;

    CHECK(len && len % SEV_DBG_BLOCK_SIZE == 0);
    CHECK(addr % SEV_DBG_BLOCK_SIZE == 0);
    CHECK(in_page + len <= SEV_DBG_PAGE_SIZE);
    CHECK(p == bounce + in_page);
    CHECK((uint8_t *)addr >= f->first && (uint8_t *)addr + len <= f->last);
    if (++f->commands == f->fail_at) {
        error_setg(errp, "command %u fails", f->commands);
        return false;
    }
    return true;
}

static void cipher(uint8_t *to, const uint8_t *from, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        to[i] = from[i] ^ KEY;
    }
}

static bool decrypt(void *opaque, uint64_t addr, uint8_t *p, uint32_t len,
                    Error **errp)
{
    bool ok = command(opaque, addr, p, len, errp);

    cipher(p, (uint8_t *)addr, ok ? len : len / 2);     /* half of it */
    return ok;
}

static bool encrypt(void *opaque, uint64_t addr, uint8_t *p, uint32_t len,
                    Error **errp)
{
    if (!command(opaque, addr, p, len, errp)) {
        return false;
    }
    cipher((uint8_t *)addr, p, len);
    return true;
}

/* The guest's memory is the model's, but for what is between @from and @to */
static void check_guest(uint64_t from, uint64_t to)
{
    static uint8_t plain[SIZE];

    cipher(plain, guest, SIZE);
    CHECK(!memcmp(plain, model, from));
    CHECK(!memcmp(plain + to, model + to, SIZE - to));
}

/* One transfer; a write that fails may have been done in part */
static void transfer(Firmware *f, FuzzInput *in)
{
    static uint8_t buf[SIZE];
    uint64_t start = fuzz_range(in, 0, SIZE - 1);
    uint64_t len = fuzz_range(in, 0, SIZE - start);
    SevDbgFirmware fw = { decrypt, encrypt, f, bounce };
    bool is_write = fuzz_take(in, 1) & 1, ok;
    uint8_t value = fuzz_take(in, 1);
    Error *err = NULL;

    f->commands = 0;
    f->fail_at = fuzz_take(in, 1) & 7;
    f->first = guest + ROUND_DOWN(start, SEV_DBG_BLOCK_SIZE);
    f->last = guest + ROUND_UP(start + len, SEV_DBG_BLOCK_SIZE);
    memset(buf, value, len);
    if (is_write) {
        ok = sev_dbg_write(&fw, (uintptr_t)guest + start, buf, len, &err);
        check_guest(start, start + len);
    } else {
        ok = sev_dbg_read(&fw, (uintptr_t)guest + start, buf, len, &err);
        check_guest(0, 0);
    }
    CHECK(ok == !err);
    CHECK(ok == !(f->fail_at && f->commands >= f->fail_at));
    error_free(err);
    if (ok && is_write) {
        memset(model + start, value, len);
        check_guest(0, 0);
    } else if (ok) {
        CHECK(!memcmp(buf, model + start, len));
    } else if (is_write) {
        cipher(model + start, guest + start, len);
    }
    CHECK(buffer_is_zero(bounce, sizeof(bounce)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = { data, size };
    Firmware f = {};

    for (int i = 0; i < SIZE; i++) {
        model[i] = i * 7 + i / 256;
    }
    cipher(guest, model, SIZE);
    while (in.left) {
        transfer(&f, &in);
    }
    return 0;
}
