/*
 * SEV: access any range of guest memory, in blocks that all kernels get right
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/memalign.h"
#include "qapi/error.h"
#include "../../target/i386/sev-dbg-blocks.h"

#define PAGE    SEV_DBG_PAGE_SIZE
#define PAGES   4
#define SIZE    (PAGES * PAGE)
#define KEY     0x5a
/* Not a valid pointer: only the firmware knows where guest memory is */
#define GUEST   0x7f0000000000ULL

/*
 * A firmware with the rules of the strictest kernel, and a guest whose
 * memory is "encrypted" with a key that depends on the address.
 */
typedef struct Firmware {
    uint8_t memory[SIZE];       /* ciphertext */
    unsigned decrypts, encrypts;
    unsigned fail_at;           /* the command, from 1, that fails */
    uint8_t *bounce;
    SevDbgFirmware fw;
} Firmware;

static uint8_t cipher(uint64_t guest, uint8_t byte)
{
    return byte ^ KEY ^ (guest / SEV_DBG_BLOCK_SIZE);
}

static bool command(Firmware *f, uint64_t guest, uint8_t *bounce,
                    uint32_t len, Error **errp)
{
    g_assert_cmpuint(guest % SEV_DBG_BLOCK_SIZE, ==, 0);
    g_assert_cmpuint(len % SEV_DBG_BLOCK_SIZE, ==, 0);
    g_assert_cmpuint(len, >, 0);
    g_assert_cmpuint(guest % PAGE + len, <=, PAGE);
    g_assert_cmpuint(guest % PAGE, ==, bounce - f->bounce);
    g_assert_cmpuint(guest - GUEST + len, <=, SIZE);
    if (f->decrypts + f->encrypts == f->fail_at) {
        error_setg(errp, "command %u failed", f->fail_at);
        return false;
    }
    return true;
}

static bool decrypt(void *opaque, uint64_t guest, uint8_t *bounce,
                    uint32_t len, Error **errp)
{
    Firmware *f = opaque;

    f->decrypts++;
    if (!command(f, guest, bounce, len, errp)) {
        return false;
    }
    for (uint32_t i = 0; i < len; i++) {
        bounce[i] = cipher(guest + i, f->memory[guest - GUEST + i]);
    }
    return true;
}

static bool encrypt(void *opaque, uint64_t guest, uint8_t *bounce,
                    uint32_t len, Error **errp)
{
    Firmware *f = opaque;

    f->encrypts++;
    if (!command(f, guest, bounce, len, errp)) {
        return false;
    }
    for (uint32_t i = 0; i < len; i++) {
        f->memory[guest - GUEST + i] = cipher(guest + i, bounce[i]);
    }
    return true;
}

static uint8_t pattern(uint64_t offset)
{
    return offset * 7 + offset / 256;
}

static Firmware *firmware_new(void)
{
    Firmware *f = g_new0(Firmware, 1);

    f->bounce = qemu_memalign(PAGE, PAGE);
    memset(f->bounce, 0, PAGE);
    f->fw = (SevDbgFirmware) { decrypt, encrypt, f, f->bounce };
    for (uint64_t i = 0; i < SIZE; i++) {
        f->memory[i] = cipher(GUEST + i, pattern(i));
    }
    return f;
}

static void check_bounce_is_wiped(const Firmware *f)
{
    for (unsigned i = 0; i < PAGE; i++) {
        g_assert_cmpuint(f->bounce[i], ==, 0);
    }
}

static void firmware_free(Firmware *f)
{
    check_bounce_is_wiped(f);
    qemu_vfree(f->bounce);
    g_free(f);
}

static uint64_t commands_for(uint64_t offset, uint64_t len)
{
    return len ? (offset + len - 1) / PAGE - offset / PAGE + 1 : 0;
}

/* The borders of blocks and pages are where things may go wrong */
static const uint64_t offsets[] = {
    0, 1, 8, 15, 16, 17, PAGE - 17, PAGE - 16, PAGE - 1, PAGE, PAGE + 1
};
static const uint64_t lengths[] = {
    0, 1, 4, 15, 16, 17, 31, 32, 33, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 5
};

static void check_read(uint64_t offset, uint64_t len)
{
    Firmware *f = firmware_new();
    uint8_t buf[SIZE];

    g_assert_true(sev_dbg_read(&f->fw, GUEST + offset, buf, len,
                               &error_abort));
    for (uint64_t i = 0; i < len; i++) {
        g_assert_cmpuint(buf[i], ==, pattern(offset + i));
    }
    g_assert_cmpuint(f->decrypts, ==, commands_for(offset, len));
    g_assert_cmpuint(f->encrypts, ==, 0);
    firmware_free(f);
}

static void check_write(uint64_t offset, uint64_t len)
{
    Firmware *f = firmware_new();
    uint8_t buf[SIZE];

    for (uint64_t i = 0; i < len; i++) {
        buf[i] = ~pattern(offset + i);
    }
    g_assert_true(sev_dbg_write(&f->fw, GUEST + offset, buf, len,
                                &error_abort));
    for (uint64_t i = 0; i < SIZE; i++) {
        bool written = i >= offset && i - offset < len;
        uint8_t expected = written ? ~pattern(i) : pattern(i);

        g_assert_cmpuint(cipher(GUEST + i, f->memory[i]), ==, expected);
    }
    g_assert_cmpuint(f->encrypts, ==, commands_for(offset, len));
    g_assert_cmpuint(f->decrypts, <=, f->encrypts);
    firmware_free(f);
}

static void for_all(void (*check)(uint64_t offset, uint64_t len))
{
    for (unsigned i = 0; i < ARRAY_SIZE(offsets); i++) {
        for (unsigned j = 0; j < ARRAY_SIZE(lengths); j++) {
            check(offsets[i], lengths[j]);
        }
    }
}

static void test_read(void)
{
    for_all(check_read);
}

static void test_write_keeps_the_rest(void)
{
    for_all(check_write);
}

static void test_whole_blocks_are_not_read_first(void)
{
    Firmware *f = firmware_new();
    uint8_t buf[2 * PAGE] = {};

    g_assert_true(sev_dbg_write(&f->fw, GUEST + 16, buf, 2 * PAGE,
                                &error_abort));
    g_assert_cmpuint(f->decrypts, ==, 0);
    g_assert_cmpuint(f->encrypts, ==, 3);
    firmware_free(f);
}

static void test_failure_ends_the_read(void)
{
    Firmware *f = firmware_new();
    uint8_t buf[SIZE];
    Error *err = NULL;

    f->fail_at = 2;
    g_assert_false(sev_dbg_read(&f->fw, GUEST, buf, SIZE, &err));
    g_assert_cmpstr(error_get_pretty(err), ==, "command 2 failed");
    g_assert_cmpuint(f->decrypts, ==, 2);
    error_free(err);
    firmware_free(f);
}

/* Nothing is written to a block whose other bytes could not be read */
static void test_failed_read_modify_write(void)
{
    Firmware *f = firmware_new();
    uint8_t byte = 0xcc;
    Error *err = NULL;

    f->fail_at = 1;
    g_assert_false(sev_dbg_write(&f->fw, GUEST + 3, &byte, 1, &err));
    g_assert_cmpuint(f->encrypts, ==, 0);
    for (uint64_t i = 0; i < SIZE; i++) {
        g_assert_cmpuint(cipher(GUEST + i, f->memory[i]), ==, pattern(i));
    }
    error_free(err);
    firmware_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sev-dbg-blocks/read", test_read);
    g_test_add_func("/sev-dbg-blocks/write/keeps-the-rest",
                    test_write_keeps_the_rest);
    g_test_add_func("/sev-dbg-blocks/write/whole-blocks",
                    test_whole_blocks_are_not_read_first);
    g_test_add_func("/sev-dbg-blocks/failure/read",
                    test_failure_ends_the_read);
    g_test_add_func("/sev-dbg-blocks/failure/read-modify-write",
                    test_failed_read_modify_write);
    return g_test_run();
}
