/* SPDX-License-Identifier: GPL-2.0-or-later */
/* KVM_MEMORY_ENCRYPT_READ_MEMORY and KVM_MEMORY_ENCRYPT_WRITE_MEMORY */
#include <errno.h>
#include <pthread.h>
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

static void shared_bit_is_no_address(void)
{
    struct guest g = tdx_guest(DEBUG_TD);
    uint8_t *buf = bounce();
    uint64_t len = 16;

    CHECK(unified(&g, false, SHARED_BIT, buf, &len) == -EINVAL && len == 0);
    CHECK(!buf[0]);
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

/* Page 1 is shared: that the caller can read by itself. */
static void shared_page_ends_the_read(void)
{
    struct guest g = tdx_guest(DEBUG_TD);
    uint8_t *buf = bounce();
    uint64_t len = PAGE + 16;

    CHECK(!set_shared(&g, PAGE, PAGE, true));
    memset(g.ram + PAGE, 's', PAGE);
    CHECK(unified(&g, false, 0, buf, &len) == -EINVAL && len == PAGE);
    CHECK(is_launched_text(buf, 0, PAGE) && !buf[PAGE]);
    len = 16;
    CHECK(unified(&g, true, PAGE, buf, &len) == -EINVAL && len == 0);
    CHECK(g.ram[PAGE] == 's');
}

/* Page 0 is there, page 1 has not been touched by the guest. */
static void unmapped_page_ends_the_read(void)
{
    struct guest g = tdx_guest(DEBUG_TD);
    uint8_t *buf = bounce();
    uint64_t len = PAGE + 16;

    CHECK(unified(&g, false, 16, buf, &len) == -ENOENT && len == PAGE - 16);
    CHECK(is_launched_text(buf, 16, PAGE - 16));
    len = 16;
    CHECK(unified(&g, false, PAGE, buf, &len) == -ENOENT && len == 0);
    len = 16;
    CHECK(unified(&g, true, PAGE, buf, &len) == -ENOENT && len == 0);
}

static void td_without_debug(void)
{
    struct guest g = tdx_guest(0);
    uint64_t len = 16;

    CHECK(unified(&g, false, 0, bounce(), &len) == -EPERM && len == 0);
    len = 16;
    CHECK(unified(&g, true, 0, bounce(), &len) == -EPERM && len == 0);
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

    CHECK(unified(&g, false, 0, bounce(), &len) == -EPERM && len == 0);
}

/* Their memory is not in a guest_memfd: they have KVM_SEV_DBG_*. */
static void sev_has_no_unified_ioctl(void)
{
    struct guest g = sev_guest(0);
    uint64_t len = 20;

    CHECK(!call(g.vm, KVM_CHECK_EXTENSION,
                (void *)KVM_CAP_ENCRYPT_MEMORY_DEBUG));
    CHECK(unified(&g, false, (uint64_t)g.ram, bounce(), &len) == -ENOTTY);
    CHECK(unified(&g, false, 0, bounce(), &len) == -ENOTTY);
    CHECK(unified(&g, true, 0, bounce(), &len) == -ENOTTY && len == 20);
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

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000ULL + now.tv_nsec / 1000000;
}

static void latency_is_paid_by_each_call(void)
{
    struct guest g = tdx_guest(DEBUG_TD);
    uint64_t len = 16, start = now_ms();

    for (int i = 0; i < 10; i++) {
        CHECK(!unified(&g, false, 0, bounce(), &len));
    }
    CHECK(now_ms() - start >= 20);
}

#define READERS 8
#define READS 10

static void *read_page_0(void *guest)
{
    uint8_t *buf = bounce();

    for (int i = 0; i < READS; i++) {
        uint64_t len = PAGE;

        CHECK(!unified(guest, false, 0, buf, &len) && len == PAGE);
    }
    CHECK(is_launched_text(buf, 0, PAGE));
    return NULL;
}

/* With 20 ms a page */
static void pages_of_several_calls_take_their_time_at_once(void)
{
    struct guest g = tdx_guest(DEBUG_TD);
    uint64_t start = now_ms(), alone;
    pthread_t readers[READERS];

    read_page_0(&g);
    alone = now_ms() - start;
    CHECK(alone >= READS * 20);
    start = now_ms();
    for (int i = 0; i < READERS; i++) {
        CHECK(!pthread_create(&readers[i], NULL, read_page_0, &g));
    }
    for (int i = 0; i < READERS; i++) {
        CHECK(!pthread_join(readers[i], NULL));
    }
    CHECK(now_ms() - start < 2 * alone);
}

/* With 100 ms a page: what QEMU must not do while one is read */
static struct guest guest_being_read(pthread_t *reader)
{
    static struct guest g;
    struct timespec pause = { .tv_nsec = 50000000 };

    g = tdx_guest(DEBUG_TD);
    CHECK(!pthread_create(reader, NULL, read_page_0, &g));
    nanosleep(&pause, NULL);
    return g;
}

static void conversion_during_a_read(void)
{
    pthread_t reader;
    struct guest g = guest_being_read(&reader);

    CHECK(!set_shared(&g, PAGE, PAGE, true));   /* another page */
    CHECK(!set_shared(&g, 0, PAGE, false));
    CHECK(!pthread_join(reader, NULL));
}

static void removal_of_a_slot_during_a_read(void)
{
    pthread_t reader;
    struct guest g = guest_being_read(&reader);

    slot_set_size(&g, 0);
    slot_set_size(&g, RAM_SIZE);
    CHECK(!pthread_join(reader, NULL));
}

#define CASE(name) { #name, name }
const struct test_case unified_cases[] = {
    CASE(absent),
    CASE(read_td),
    CASE(shared_bit_is_no_address),
    CASE(write_td),
    CASE(shared_page_ends_the_read),
    CASE(unmapped_page_ends_the_read),
    CASE(td_without_debug),
    CASE(read_snp),
    CASE(snp_without_debug),
    CASE(sev_has_no_unified_ioctl),
    CASE(unified_arguments_are_checked),
    CASE(interrupted_in_the_middle),
    CASE(module_call_fails),
    CASE(latency_is_paid_by_each_call),
    CASE(pages_of_several_calls_take_their_time_at_once),
    CASE(conversion_during_a_read),
    CASE(removal_of_a_slot_during_a_read),
    { NULL, NULL },
};
