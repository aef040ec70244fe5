/*
 * Ranges of RAM that are missing in a dump
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "dump/dump-holes.h"

static DumpHoles *some_holes(void)
{
    DumpHoles *h = dump_holes_new();

    g_assert_true(dump_holes_add(h, 0x1000, 0x2000));
    g_assert_true(dump_holes_add(h, 0x2000, 0x4000));   /* touches the first */
    g_assert_true(dump_holes_add(h, 0x8000, 0x9000));
    g_assert_true(dump_holes_add(h, 0xf000, 0x10000));
    return h;
}

static void test_below(void)
{
    DumpHoles *h = some_holes();

    g_assert_cmphex(dump_holes_below(h, 0), ==, 0);
    g_assert_cmphex(dump_holes_below(h, 0x1000), ==, 0);
    g_assert_cmphex(dump_holes_below(h, 0x1001), ==, 1);
    g_assert_cmphex(dump_holes_below(h, 0x4000), ==, 0x3000);
    g_assert_cmphex(dump_holes_below(h, 0x7fff), ==, 0x3000);
    g_assert_cmphex(dump_holes_below(h, 0x8800), ==, 0x3800);
    g_assert_cmphex(dump_holes_below(h, 0x9000), ==, 0x4000);
    g_assert_cmphex(dump_holes_below(h, HWADDR_MAX), ==, 0x5000);
    dump_holes_free(h);
}

static void assert_next(const DumpHoles *h, hwaddr gpa, hwaddr start,
                        hwaddr end)
{
    hwaddr s, e;

    g_assert_true(dump_holes_next(h, gpa, &s, &e));
    g_assert_cmphex(s, ==, start);
    g_assert_cmphex(e, ==, end);
}

static void test_next(void)
{
    DumpHoles *h = some_holes();
    hwaddr s, e;

    assert_next(h, 0, 0x1000, 0x4000);
    assert_next(h, 0x3fff, 0x1000, 0x4000);
    assert_next(h, 0x4000, 0x8000, 0x9000);
    assert_next(h, 0x9000, 0xf000, 0x10000);
    g_assert_false(dump_holes_next(h, 0x10000, &s, &e));
    dump_holes_free(h);
}

static void test_none(void)
{
    DumpHoles *h = dump_holes_new();
    hwaddr s, e;

    g_assert_cmphex(dump_holes_below(h, HWADDR_MAX), ==, 0);
    g_assert_false(dump_holes_next(h, 0, &s, &e));
    dump_holes_free(h);
}

static void test_too_many(void)
{
    DumpHoles *h = dump_holes_new();

    for (hwaddr i = 0; i < DUMP_HOLES_MAX; i++) {
        g_assert_true(dump_holes_add(h, i * 0x2000, i * 0x2000 + 0x1000));
    }
    /* the last one may grow, but there is no room for another */
    g_assert_true(dump_holes_add(h, (DUMP_HOLES_MAX - 1) * 0x2000 + 0x1000,
                                 DUMP_HOLES_MAX * 0x2000));
    g_assert_false(dump_holes_add(h, DUMP_HOLES_MAX * 0x2000 + 0x1000,
                                  DUMP_HOLES_MAX * 0x2000 + 0x2000));
    g_assert_cmphex(dump_holes_below(h, HWADDR_MAX), ==,
                    DUMP_HOLES_MAX * 0x1000 + 0x1000);
    dump_holes_free(h);
}

static void list_add(MemoryMappingList *list, hwaddr phys, vaddr virt,
                     ram_addr_t length)
{
    MemoryMapping *m = g_new0(MemoryMapping, 1);

    m->phys_addr = phys;
    m->virt_addr = virt;
    m->length = length;
    QTAILQ_INSERT_TAIL(&list->head, m, next);
    list->num++;
}

/* Remove the first mapping, which is this one */
static void list_take(MemoryMappingList *list, hwaddr phys, vaddr virt,
                      ram_addr_t length)
{
    MemoryMapping *m = QTAILQ_FIRST(&list->head);

    g_assert_nonnull(m);
    g_assert_cmphex(m->phys_addr, ==, phys);
    g_assert_cmphex(m->virt_addr, ==, virt);
    g_assert_cmphex(m->length, ==, length);
    QTAILQ_REMOVE(&list->head, m, next);
    list->num--;
    g_free(m);
}

static void test_split(void)
{
    MemoryMappingList list = { .head = QTAILQ_HEAD_INITIALIZER(list.head) };
    DumpHoles *h = some_holes();

    list_add(&list, 0, 0, 0x20000);                 /* around all of them */
    list_add(&list, 0x2000, 0xffff8000, 0x7000);    /* starts, ends in one */
    list_add(&list, 0x8000, 0x5000, 0x1000);        /* is one */
    list_add(&list, 0x4000, 0x6000, 0x4000);        /* between two */
    list_add(&list, 0x10000, 0x7000, 0x1000);       /* above */
    dump_holes_split(h, &list);

    g_assert_cmpint(list.num, ==, 7);
    list_take(&list, 0, 0, 0x1000);
    list_take(&list, 0x4000, 0, 0x4000);
    list_take(&list, 0x9000, 0, 0x6000);
    list_take(&list, 0x10000, 0, 0x10000);
    list_take(&list, 0x4000, 0xffffa000, 0x4000);
    list_take(&list, 0x4000, 0x6000, 0x4000);
    list_take(&list, 0x10000, 0x7000, 0x1000);
    g_assert_cmpint(list.num, ==, 0);
    dump_holes_free(h);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/dump-holes/below", test_below);
    g_test_add_func("/dump-holes/next", test_next);
    g_test_add_func("/dump-holes/none", test_none);
    g_test_add_func("/dump-holes/too-many", test_too_many);
    g_test_add_func("/dump-holes/split", test_split);
    return g_test_run();
}
