/* SPDX-License-Identifier: GPL-2.0-or-later */
/* KVM_MEMORY_ENCRYPT_READ_MEMORY and KVM_MEMORY_ENCRYPT_WRITE_MEMORY */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "self-test.h"

#define DEBUG_TD 1
#define SHARED_BIT (1ULL << 47)

static void absent(void)
{
    struct guest g = tdx_guest(0);
    uint64_t len = 16;

    CHECK(!call(g.vm, KVM_CHECK_EXTENSION,
                (void *)KVM_CAP_ENCRYPT_MEMORY_DEBUG));
    CHECK(unified(&g, false, 0, bounce(), &len) == -ENOTTY);
    CHECK(unified(&g, true, 0, bounce(), &len) == -ENOTTY);
}

static void read_td(void)
{
    struct guest g = tdx_guest(DEBUG_TD);
    uint8_t *buf = bounce();
    uint64_t len = 100;

    CHECK(call(g.vm, KVM_CHECK_EXTENSION,
               (void *)KVM_CAP_ENCRYPT_MEMORY_DEBUG) == 1);
    CHECK(!unified(&g, false, 0x123, buf, &len) && len == 100);
    CHECK(is_launched_text(buf, 0x123, 100) && !buf[100]);
    CHECK(!g.ram[0x123]);
}

static void shared_bit_is_stripped(void)
{
    struct guest g = tdx_guest(DEBUG_TD);
    uint8_t *buf = bounce();
    uint64_t len = 16;

    CHECK(!unified(&g, false, SHARED_BIT, buf, &len) && len == 16);
    CHECK(is_launched_text(buf, 0, 16));
}

static void write_td(void)
{
    struct guest g = tdx_guest(DEBUG_TD);
    uint8_t *buf = bounce();
    uint64_t len = 5;

    memcpy(buf, "hello", 5);
    CHECK(!unified(&g, true, 0x103, buf, &len) && len == 5);
    len = 16;
    CHECK(!unified(&g, false, 0x100, buf, &len) && len == 16);
    CHECK(is_launched_text(buf, 0x100, 3) && !memcmp(buf + 3, "hello", 5));
    CHECK(is_launched_text(buf + 8, 0x108, 8));
}

/* The kernel knows which page is which; page 1 is shared. */
static void private_and_shared_in_one_read(void)
{
    struct guest g = tdx_guest(DEBUG_TD);
    uint8_t *buf = bounce();
    uint64_t len = PAGE + 16;

    CHECK(!set_shared(&g, PAGE, PAGE, true));
    memset(g.ram + PAGE, 's', PAGE);
    CHECK(!unified(&g, false, 0, buf, &len) && len == PAGE + 16);
    CHECK(is_launched_text(buf, 0, PAGE) && buf[PAGE] == 's');
}

/* Page 0 is there, page 1 has not been touched by the guest. */
static void unmapped_page_ends_the_read(void)
{
    struct guest g = tdx_guest(DEBUG_TD);
    uint8_t *buf = bounce();
    uint64_t len = PAGE + 16;

    CHECK(unified(&g, false, 16, buf, &len) == -EINVAL && len == PAGE - 16);
    CHECK(is_launched_text(buf, 16, PAGE - 16));
    len = 16;
    CHECK(unified(&g, false, PAGE, buf, &len) == -EINVAL && len == 0);
    len = 16;
    CHECK(unified(&g, true, PAGE, buf, &len) == -EINVAL && len == 0);
}

static void td_without_debug(void)
{
    struct guest g = tdx_guest(0);
    uint64_t len = 16;

    CHECK(unified(&g, false, 0, bounce(), &len) == -EINVAL && len == 0);
}

static void read_snp(void)
{
    struct guest g = snp_guest(0xb0000);
    uint8_t *buf = bounce();
    uint64_t len = 64;

    CHECK(!unified(&g, false, 0x40, buf, &len) && len == 64);
    CHECK(is_launched_text(buf, 0x40, 64));
}

static void snp_without_debug(void)
{
    struct guest g = snp_guest(0x30000);
    uint64_t len = 16;

    CHECK(unified(&g, false, 0, bounce(), &len) == -EINVAL && len == 0);
}

/* SEV takes the caller's address of the memory. */
static void sev_by_host_address(void)
{
    struct guest g = sev_guest(0);
    uint8_t *buf = bounce();
    uint64_t len = 20;

    CHECK(!unified(&g, false, (uint64_t)g.ram + 5, buf, &len) && len == 20);
    CHECK(is_launched_text(buf, 5, 20));
    memcpy(buf, "hello", 5);
    len = 5;
    CHECK(!unified(&g, true, (uint64_t)g.ram + 14, buf, &len) && len == 5);
    CHECK(!sev_dbg(&g, true, g.ram, buf, 32, NULL));
    CHECK(is_launched_text(buf, 0, 14) && !memcmp(buf + 14, "hello", 5) &&
          is_launched_text(buf + 19, 19, 13));
    len = 16;
    CHECK(unified(&g, false, 0, buf, &len) == -EINVAL);
}

static void unified_arguments_are_checked(void)
{
    struct guest g = tdx_guest(DEBUG_TD);
    uint8_t *buf = bounce();
    uint64_t len = 0;

    CHECK(unified(&g, false, 0, buf, &len) == -EINVAL);
    len = 16;
    CHECK(unified(&g, false, 0, NULL, &len) == -EINVAL && len == 0);
    len = -8;
    CHECK(unified(&g, false, 16, buf, &len) == -EINVAL && len == 0);
    len = 16;
    CHECK(unified(&g, false, RAM_SIZE, buf, &len) == -EINVAL && len == 0);
    len = 16;
    CHECK(unified(&g, false, 0, (void *)0x1000, &len) == -EFAULT && len == 0);
}

static void interrupted_in_the_middle(void)
{
    struct guest g = tdx_guest(DEBUG_TD);
    uint8_t *buf = bounce();
    uint64_t len = 64;

    CHECK(unified(&g, false, 0, buf, &len) == -EINTR && len == 24);
    CHECK(is_launched_text(buf, 0, 24) && !buf[24]);
    len = 40;
    CHECK(!unified(&g, false, 24, buf + 24, &len) && len == 40);
    CHECK(is_launched_text(buf, 0, 64));
}

static void module_call_fails(void)
{
    struct guest g = tdx_guest(DEBUG_TD);
    uint64_t len = 16;

    CHECK(unified(&g, false, 0, bounce(), &len) == -EIO && len == 0);
}

static void latency_is_paid_by_each_call(void)
{
    struct guest g = tdx_guest(DEBUG_TD);
    struct timespec before, after;
    uint64_t len = 16;

    clock_gettime(CLOCK_MONOTONIC, &before);
    for (int i = 0; i < 10; i++) {
        CHECK(!unified(&g, false, 0, bounce(), &len));
    }
    clock_gettime(CLOCK_MONOTONIC, &after);
    CHECK((after.tv_sec - before.tv_sec) * 1000 +
          (after.tv_nsec - before.tv_nsec) / 1000000 >= 20);
}

#define CASE(name) { #name, name }
const struct test_case unified_cases[] = {
    CASE(absent),
    CASE(read_td),
    CASE(shared_bit_is_stripped),
    CASE(write_td),
    CASE(private_and_shared_in_one_read),
    CASE(unmapped_page_ends_the_read),
    CASE(td_without_debug),
    CASE(read_snp),
    CASE(snp_without_debug),
    CASE(sev_by_host_address),
    CASE(unified_arguments_are_checked),
    CASE(interrupted_in_the_middle),
    CASE(module_call_fails),
    CASE(latency_is_paid_by_each_call),
    { NULL, NULL },
};
