/*
 * Reading the memory of a confidential guest for a dump
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/thread.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "system/memory.h"
#include "system/memory-debug.h"
#include "../dump/dump-memory.h"

#define PAGE            MEMORY_DEBUG_PAGE_SIZE
#define RAM_SIZE        (16 * MiB)

/*
 * The guest: the byte at @gpa of its memory is byte_at(@gpa)
 */

static uint8_t ram[RAM_SIZE];   /* its host pointers, never read */
static hwaddr absent, unreadable;   /* addresses of pages; or 0 */
static int calls;               /* atomic */
static int delay_us;

static uint8_t byte_at(hwaddr gpa)
{
    return gpa ^ gpa >> 8 ^ gpa >> 16;
}

static bool touches(hwaddr page, hwaddr gpa, hwaddr len)
{
    return page && gpa < page + PAGE && gpa + len > page;
}

MemTxResult memory_debug_read_ram(MemoryRegion *mr, hwaddr offset, hwaddr gpa,
                                  void *buf, hwaddr len,
                                  MemoryDebugScope *scope, Error **errp)
{
    qatomic_inc(&calls);
    g_assert_cmpint(offset, ==, gpa);
    g_assert_cmpint(len, <=, MEMORY_DEBUG_RUN_MAX);
    /* later windows are ready first */
    g_usleep(delay_us ? g_random_int_range(0, delay_us) : 0);
    if (touches(unreadable, gpa, len)) {
        error_setg(errp, "bad");
        return MEMTX_ERROR;
    }
    if (touches(absent, gpa, len)) {
        error_setg(errp, "not yet");
        return MEMTX_DECODE_ERROR;
    }
    for (hwaddr i = 0; i < len; i++) {
        ((uint8_t *)buf)[i] = byte_at(gpa + i);
    }
    return MEMTX_OK;
}

bool memory_debug_parallel(void)
{
    return true;
}

void *memory_region_get_ram_ptr(MemoryRegion *mr)
{
    return ram;
}

void guest_phys_blocks_remove(GuestPhysBlockList *list, hwaddr start,
                              hwaddr end)
{
    g_assert_not_reached();
}

/* Two blocks that begin and end within pages */
static GuestPhysBlock blocks[] = {
    { .target_start = 0x1800, .target_end = 0x9f123,
      .host_addr = ram + 0x1800 },
    { .target_start = 0x100004, .target_end = RAM_SIZE - 7,
      .host_addr = ram + 0x100004 },
};
static GuestPhysBlockList list;

static void setup(void)
{
    QTAILQ_INIT(&list.head);
    for (int i = 0; i < ARRAY_SIZE(blocks); i++) {
        QTAILQ_INSERT_TAIL(&list.head, &blocks[i], next);
    }
    list.num = ARRAY_SIZE(blocks);
    absent = unreadable = 0;
    calls = delay_us = 0;
}

/* Read a block in pieces of @piece bytes; returns what is missing */
static hwaddr read_block(DumpMemory *m, GuestPhysBlock *block, hwaddr piece)
{
    hwaddr gpa, len, missing = 0;

    for (gpa = block->target_start; gpa < block->target_end; gpa += len) {
        const uint8_t *data;

        len = MIN(piece, block->target_end - gpa);
        data = dump_memory_read(m, block, gpa, &len, &error_abort);
        g_assert_cmpint(len, >, 0);
        if (!data) {
            missing += len;
            g_assert_true(dump_memory_is_missing(m, gpa));
            g_assert_true(dump_memory_is_missing(m, gpa + len - 1));
            continue;
        }
        for (hwaddr i = 0; i < len; i++) {
            g_assert_cmphex(data[i], ==, byte_at(gpa + i));
        }
    }
    return missing;
}

/*
 * Tests
 */

static void test_all(const void *readers)
{
    DumpMemory *m;

    setup();
    delay_us = 2000;
    m = dump_memory_new(GPOINTER_TO_UINT(readers), false);
    for (int i = 0; i < ARRAY_SIZE(blocks); i++) {
        g_assert_cmpint(read_block(m, &blocks[i], PAGE), ==, 0);
    }
    g_assert_cmpint(calls, ==, 1 + 15);
    dump_memory_free(m);
}

static void test_pieces(void)
{
    static const hwaddr pieces[] = { 1000, PAGE + 1, 5 * MiB };

    for (int i = 0; i < ARRAY_SIZE(pieces); i++) {
        DumpMemory *m;

        setup();
        m = dump_memory_new(3, false);
        g_assert_cmpint(read_block(m, &blocks[1], pieces[i]), ==, 0);
        dump_memory_free(m);
    }
}

static void test_out_of_order(void)
{
    DumpMemory *m = dump_memory_new(4, false);
    uint8_t *data;

    setup();
    delay_us = 500;
    for (int i = 0; i < 200; i++) {
        hwaddr gpa = g_random_int_range(blocks[1].target_start,
                                        blocks[1].target_end);
        hwaddr len = 1;

        data = (uint8_t *)dump_memory_read(m, &blocks[1], gpa, &len,
                                           &error_abort);
        g_assert_cmphex(*data, ==, byte_at(gpa));
    }
    dump_memory_free(m);
}

static void test_absent_page(void)
{
    g_autoptr(DumpQueryResult) result = g_new0(DumpQueryResult, 1);
    DumpMemory *m = dump_memory_new(2, false);

    setup();
    absent = 0x523000;
    g_assert_cmpint(read_block(m, &blocks[1], PAGE), ==, PAGE);
    /* 15 windows, and 2 calls each time that one is halved */
    g_assert_cmpint(calls, ==, 15 + 2 * 8);
    g_assert_false(dump_memory_is_missing(m, 0x522fff));
    g_assert_false(dump_memory_is_missing(m, 0x524000));
    dump_memory_query(m, result);
    g_assert_true(result->has_absent_pages);
    g_assert_cmpint(result->absent_pages, ==, 1);
    g_assert_null(result->unreadable);
    dump_memory_free(m);
}

/* The block covers only part of the page */
static void test_absent_page_at_the_end(void)
{
    DumpMemory *m = dump_memory_new(1, false);

    setup();
    absent = 0x9f000;
    g_assert_cmpint(read_block(m, &blocks[0], PAGE), ==, 0x123);
    g_assert_false(dump_memory_is_missing(m, 0x9f123));
    dump_memory_add_missing(m, 0x9f000, 0xa0000);
    g_assert_true(dump_memory_is_missing(m, 0x9f123));
    g_assert_false(dump_memory_is_missing(m, 0xa0000));
    dump_memory_free(m);
}

static void test_unreadable_page(void)
{
    g_autoptr(DumpQueryResult) result = g_new0(DumpQueryResult, 1);
    DumpMemory *m = dump_memory_new(2, true);

    setup();
    unreadable = 0x7ff000;
    absent = 0x800000;
    g_assert_cmpint(read_block(m, &blocks[1], 100), ==, 2 * PAGE);
    dump_memory_query(m, result);
    g_assert_cmpint(result->absent_pages, ==, 1);
    g_assert_cmpint(result->unreadable->pages, ==, 1);
    g_assert_cmphex(result->unreadable->address, ==, 0x7ff000);
    g_assert_cmpstr(result->unreadable->reason, ==, "bad");
    dump_memory_free(m);
}

static void test_unreadable_page_is_an_error(void)
{
    DumpMemory *m = dump_memory_new(2, false);
    hwaddr gpa = blocks[1].target_start, len = 1;
    Error *err = NULL;

    setup();
    unreadable = 0x555000;
    while (dump_memory_read(m, &blocks[1], gpa, &len, &err)) {
        gpa += len;
        len = PAGE;
    }
    g_assert_nonnull(err);
    g_assert_nonnull(strstr(error_get_pretty(err), "at 0x555000: bad"));
    error_free(err);
    dump_memory_free(m);
}

static void test_samples(void)
{
    static GuestPhysBlock large = { .target_end = RAM_SIZE, .host_addr = ram };
    DumpMemory *m = dump_memory_new(1, false);

    setup();
    QTAILQ_INIT(&list.head);
    QTAILQ_INSERT_TAIL(&list.head, &large, next);
    g_assert_false(dump_memory_expects_missing(m, &list));
    g_assert_cmpint(calls, ==, 0);
    large.target_end = 640 * MiB - 1;
    g_assert_false(dump_memory_expects_missing(m, &list));
    g_assert_cmpint(calls, ==, 4);
    absent = 256 * MiB - PAGE;
    g_assert_true(dump_memory_expects_missing(m, &list));
    dump_memory_free(m);

    absent = 0;
    m = dump_memory_new(1, true);
    g_assert_true(dump_memory_expects_missing(m, &list));
    dump_memory_free(m);
}

static void *cancel(void *m)
{
    g_usleep(20000);
    dump_memory_cancel(m);
    return NULL;
}

static void test_cancel(void)
{
    DumpMemory *m = dump_memory_new(4, false);
    hwaddr gpa = blocks[1].target_start, len;
    Error *err = NULL;
    QemuThread thread;

    setup();
    delay_us = 20000;
    qemu_thread_create(&thread, "cancel", cancel, m, QEMU_THREAD_JOINABLE);
    for (;;) {
        len = PAGE;
        if (!dump_memory_read(m, &blocks[1], gpa, &len, &err)) {
            break;
        }
        gpa += len;
        g_assert_cmphex(gpa, <, blocks[1].target_end);
    }
    error_free_or_abort(&err);
    qemu_thread_join(&thread);
    dump_memory_free(m);
}

static void test_restart(void)
{
    g_autoptr(DumpQueryResult) result = g_new0(DumpQueryResult, 1);
    DumpMemory *m = dump_memory_new(2, true);

    setup();
    unreadable = 0x7ff000;
    g_assert_cmpint(read_block(m, &blocks[1], PAGE), ==, PAGE);
    unreadable = 0;
    dump_memory_restart(m);
    g_assert_cmpint(read_block(m, &blocks[1], PAGE), ==, 0);
    g_assert_false(dump_memory_is_missing(m, 0x7ff000));
    dump_memory_query(m, result);
    g_assert_null(result->unreadable);
    dump_memory_free(m);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_data_func("/dump-memory/all/1", GUINT_TO_POINTER(1), test_all);
    g_test_add_data_func("/dump-memory/all/8", GUINT_TO_POINTER(8), test_all);
    g_test_add_func("/dump-memory/pieces", test_pieces);
    g_test_add_func("/dump-memory/out-of-order", test_out_of_order);
    g_test_add_func("/dump-memory/absent", test_absent_page);
    g_test_add_func("/dump-memory/absent/end", test_absent_page_at_the_end);
    g_test_add_func("/dump-memory/unreadable", test_unreadable_page);
    g_test_add_func("/dump-memory/unreadable/error",
                    test_unreadable_page_is_an_error);
    g_test_add_func("/dump-memory/samples", test_samples);
    g_test_add_func("/dump-memory/cancel", test_cancel);
    g_test_add_func("/dump-memory/restart", test_restart);
    return g_test_run();
}
