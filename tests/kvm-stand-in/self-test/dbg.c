/* SPDX-License-Identifier: GPL-2.0-or-later */
/* KVM_SEV_DBG_DECRYPT and KVM_SEV_DBG_ENCRYPT */
#include <errno.h>
#include <string.h>

#include "self-test.h"

static void decrypt_gives_the_launched_bytes(void)
{
    struct guest g = sev_guest(0);
    uint8_t *buf = bounce();
    int fw;

    CHECK(!is_launched_text(g.ram, 0, 16));
    CHECK(!sev_dbg(&g, true, g.ram, buf, PAGE, &fw));
    CHECK(fw == 0 && is_launched_text(buf, 0, PAGE));
    memset(buf, 0, PAGE);
    CHECK(!sev_dbg(&g, true, g.ram + 0x120, buf + 0x120, 32, &fw));
    CHECK(is_launched_text(buf + 0x120, 0x120, 32));
    CHECK(!buf[0x11f] && !buf[0x140]);
}

static void decrypt_serves_any_alignment(void)
{
    struct guest g = sev_guest(0);
    uint8_t *buf = bounce();

    CHECK(!sev_dbg(&g, true, g.ram + 0x123, buf + 0x123, 7, NULL));
    CHECK(is_launched_text(buf + 0x123, 0x123, 7));
    CHECK(!buf[0x122] && !buf[0x12a]);
}

static void encrypt_changes_what_decrypt_gives(void)
{
    struct guest g = sev_guest(0);
    uint8_t *buf = bounce();

    memcpy(buf + 0x40, "sixteen bytes OK", 16);
    CHECK(!sev_dbg(&g, false, buf + 0x40, g.ram + 0x40, 16, NULL));
    CHECK(memcmp(g.ram + 0x40, "sixteen bytes OK", 16));
    memset(buf, 0, PAGE);
    CHECK(!sev_dbg(&g, true, g.ram, buf, PAGE, NULL));
    CHECK(is_launched_text(buf, 0, 0x40));
    CHECK(!memcmp(buf + 0x40, "sixteen bytes OK", 16));
    CHECK(is_launched_text(buf + 0x50, 0x50, PAGE - 0x50));
}

static void one_byte_changes_its_whole_block(void)
{
    struct guest g = sev_guest(0);
    uint8_t *buf = bounce(), before[32];
    int same = 0;

    memcpy(before, g.ram, 32);
    CHECK(!sev_dbg(&g, true, g.ram, buf, 16, NULL));
    buf[3] ^= 1;
    CHECK(!sev_dbg(&g, false, buf, g.ram, 16, NULL));
    for (int i = 0; i < 16; i++) {
        same += before[i] == g.ram[i];
    }
    CHECK(same < 8);
    CHECK(!memcmp(before + 16, g.ram + 16, 16));
}

static void a_shared_page_decrypts_to_garbage(void)
{
    struct guest g = sev_guest(0);
    uint8_t *buf = bounce();

    memset(g.ram + PAGE, 'S', PAGE);        /* the guest wrote it with C=0 */
    CHECK(!sev_dbg(&g, true, g.ram + PAGE, buf, PAGE, NULL));
    CHECK(memcmp(buf, g.ram + PAGE, 16) && memcmp(buf, g.ram + PAGE + 16, 16));
}

static void policy_forbids(void)
{
    struct guest g = sev_guest(1);
    uint8_t *buf = bounce();
    int fw;

    CHECK(sev_dbg(&g, true, g.ram, buf, 16, &fw) == -EIO && fw == 7);
    CHECK(sev_dbg(&g, false, buf, g.ram, 16, &fw) == -EIO && fw == 7);
    CHECK(!buf[0]);
}

static void guest_is_not_launched(void)
{
    struct guest g = sev_guest_unfinished(0);
    int fw;

    CHECK(sev_dbg(&g, true, g.ram, bounce(), 16, &fw) == -EIO && fw == 2);
}

static void arguments_are_checked(void)
{
    struct guest g = sev_guest(0);
    uint8_t *buf = bounce();
    void *unmapped = (void *)0x1000;

    CHECK(sev_dbg(&g, true, g.ram, buf, 0, NULL) == -EINVAL);
    CHECK(sev_dbg(&g, true, g.ram, NULL, 16, NULL) == -EINVAL);
    CHECK(sev_dbg(&g, true, (void *)-16, buf, 32, NULL) == -EINVAL);
    CHECK(sev_dbg(&g, true, unmapped, buf, 16, NULL) == -ENOMEM);
    CHECK(sev_dbg(&g, true, g.ram, unmapped, 16, NULL) == -ENOMEM);
}

static void a_plain_vm_has_no_command(void)
{
    struct guest g = open_vm(KVM_X86_DEFAULT_VM);

    CHECK(sev_dbg(&g, true, g.ram, bounce(), 16, NULL) == -ENOTTY);
}

static void snp_is_not_permitted(void)
{
    struct guest g = snp_guest(0xb0000);

    CHECK(sev_dbg(&g, true, g.ram, bounce(), 16, NULL) == -EPERM);
    CHECK(sev_dbg(&g, false, bounce(), g.ram, 16, NULL) == -EPERM);
}

/* Old kernels bound a chunk by the source page only. */
static void cross(bool loses)
{
    struct guest g = sev_guest(0);
    uint8_t *buf = bounce();

    CHECK(!sev_dbg(&g, true, g.ram, buf + PAGE - 32, 64, NULL));
    CHECK(is_launched_text(buf + PAGE - 32, 0, 32));
    CHECK(is_launched_text(buf + PAGE, 32, 32) == !loses);
}

static void old_decrypt_across_a_page_loses(void)
{
    cross(true);
}

static void fixed_decrypt_across_a_page_works(void)
{
    cross(false);
}

/* Old kernels write back only round_up(len, 16) bytes. */
static void unaligned(bool loses)
{
    struct guest g = sev_guest(0);
    uint8_t *buf = bounce(), *plain = buf + 64;     /* in one page */

    memset(buf, 'x', 16);
    CHECK(!sev_dbg(&g, false, buf, g.ram + 8, 16, NULL));
    CHECK(!sev_dbg(&g, true, g.ram, plain, 32, NULL));
    CHECK(is_launched_text(plain, 0, 8));
    CHECK(!memcmp(plain + 8, "xxxxxxxx", 8));
    CHECK(!memcmp(plain + 16, "xxxxxxxx", 8) == !loses);
    CHECK(is_launched_text(plain + 24, 24, 8));
}

static void old_unaligned_encrypt_loses(void)
{
    unaligned(true);
}

static void fixed_unaligned_encrypt_works(void)
{
    unaligned(false);
}

static void strict_refuses_a_crossing_destination(void)
{
    struct guest g = sev_guest(0);

    CHECK(sev_dbg(&g, true, g.ram, bounce() + PAGE - 32, 64, NULL) == -EINVAL);
}

static void strict_refuses_more_than_a_page(void)
{
    struct guest g = sev_guest(0);

    CHECK(sev_dbg(&g, true, g.ram + 16, bounce() + 16, PAGE, NULL) == -EINVAL);
}

static void strict_refuses_an_unaligned_encrypt(void)
{
    struct guest g = sev_guest(0);

    CHECK(sev_dbg(&g, false, bounce(), g.ram + 8, 16, NULL) == -EINVAL);
}

static void strict_refuses_what_is_no_guest_memory(void)
{
    struct guest g = sev_guest(0);

    CHECK(sev_dbg(&g, true, bounce(), bounce(), 16, NULL) == -EINVAL);
}

static void strict_lets_a_careful_caller_pass(void)
{
    struct guest g = sev_guest(0);
    uint8_t *buf = bounce();

    CHECK(!sev_dbg(&g, true, g.ram + 0x20, buf + 0x20, PAGE - 0x20, NULL));
    CHECK(!sev_dbg(&g, false, buf + 0x20, g.ram + 0x20, 16, NULL));
}

static void fault_by_number(void)
{
    struct guest g = sev_guest(0);
    uint8_t *buf = bounce();
    int fw;

    CHECK(!sev_dbg(&g, true, g.ram, buf, 16, &fw));
    CHECK(sev_dbg(&g, true, g.ram, buf, 16, &fw) == -EIO && fw == 17);
    CHECK(sev_dbg(&g, true, g.ram, buf, 16, &fw) == -EIO && fw == 17);
    CHECK(!sev_dbg(&g, true, g.ram, buf, 16, &fw) && fw == 0);
}

static void fault_by_address(void)
{
    struct guest g = sev_guest(0);
    uint8_t *buf = bounce();

    CHECK(!sev_dbg(&g, true, g.ram, buf, PAGE, NULL));
    CHECK(sev_dbg(&g, true, g.ram + PAGE, buf, 16, NULL) == -EBUSY);
    CHECK(sev_dbg(&g, true, g.ram + 2 * PAGE - 16, buf, 16, NULL) == -EBUSY);
    CHECK(!sev_dbg(&g, true, g.ram + 2 * PAGE, buf, 16, NULL));
    CHECK(!sev_dbg(&g, false, buf, g.ram + PAGE, 16, NULL));
}

#define CASE(name) { #name, name }
const struct test_case dbg_cases[] = {
    CASE(decrypt_gives_the_launched_bytes),
    CASE(decrypt_serves_any_alignment),
    CASE(encrypt_changes_what_decrypt_gives),
    CASE(one_byte_changes_its_whole_block),
    CASE(a_shared_page_decrypts_to_garbage),
    CASE(policy_forbids),
    CASE(guest_is_not_launched),
    CASE(arguments_are_checked),
    CASE(a_plain_vm_has_no_command),
    CASE(snp_is_not_permitted),
    CASE(old_decrypt_across_a_page_loses),
    CASE(fixed_decrypt_across_a_page_works),
    CASE(old_unaligned_encrypt_loses),
    CASE(fixed_unaligned_encrypt_works),
    CASE(strict_refuses_a_crossing_destination),
    CASE(strict_refuses_more_than_a_page),
    CASE(strict_refuses_an_unaligned_encrypt),
    CASE(strict_refuses_what_is_no_guest_memory),
    CASE(strict_lets_a_careful_caller_pass),
    CASE(fault_by_number),
    CASE(fault_by_address),
    { NULL, NULL },
};
