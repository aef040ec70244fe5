/*
 * Fuzz target: ranges that are missing in a dump, against a bitmap
 * FUZZ SOURCES: dump/dump-holes.c
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "dump/dump-holes.h"
#include "fuzz.h"

#define UNITS   256         /* of the address space */
#define UNIT    0x10000000000ULL
#define OFFSET  0x123456789000ULL   /* of virtual addresses */

/* For each unit of physical memory: is it missing? */
static DECLARE_BITMAP(missing, UNITS);

static DumpHoles *take_holes(FuzzInput *in)
{
    DumpHoles *h = dump_holes_new();
    unsigned unit = 0, end;

    bitmap_zero(missing, UNITS);
    while (fuzz_take(in, 1) & 1) {
        unit += fuzz_take(in, 1) & 15;
        end = unit + 1 + (fuzz_take(in, 1) & 7);
        if (end > UNITS) {
            break;
        }
        CHECK(dump_holes_add(h, unit * UNIT, end * UNIT));
        bitmap_set(missing, unit, end - unit);
        unit = end;
    }
    return h;
}

static void check_queries(const DumpHoles *h, FuzzInput *in)
{
    unsigned unit = fuzz_take(in, 1), below = 0, first, last;
    hwaddr gpa = unit * UNIT + fuzz_take(in, 4) % UNIT, start, end;

    for (unsigned i = 0; i < unit; i++) {
        below += test_bit(i, missing);
    }
    CHECK(dump_holes_below(h, gpa) == below * UNIT +
          (test_bit(unit, missing) ? gpa % UNIT : 0));
    CHECK(dump_holes_below(h, HWADDR_MAX) ==
          bitmap_count_one(missing, UNITS) * UNIT);

    first = find_next_bit(missing, UNITS, unit);
    CHECK(dump_holes_next(h, gpa, &start, &end) == (first < UNITS));
    if (first < UNITS) {
        last = find_next_zero_bit(missing, UNITS, first);
        while (first && test_bit(first - 1, missing)) {
            first--;
        }
        CHECK(start == first * UNIT && end == last * UNIT);
    }
}

static void add_mapping(MemoryMappingList *list, unsigned unit, unsigned n,
                        bool is_virtual)
{
    MemoryMapping *map = g_new0(MemoryMapping, 1);

    map->phys_addr = unit * UNIT;
    map->length = n * UNIT;
    map->virt_addr = is_virtual ? map->phys_addr + OFFSET : 0;
    QTAILQ_INSERT_TAIL(&list->head, map, next);
    list->num++;
}

/* In @list are the wanted units of each mapping, in order, and nothing else */
static void check_list(MemoryMappingList *list, const uint8_t *wanted,
                       unsigned n_wanted, const bool *is_virtual)
{
    MemoryMapping *map, *next;
    unsigned i = 0, num = 0;

    QTAILQ_FOREACH_SAFE(map, &list->head, next, next) {
        CHECK(map->length && map->length % UNIT == 0);
        for (hwaddr at = 0; at < map->length; at += UNIT, i++) {
            CHECK(i < n_wanted && map->phys_addr + at == wanted[i] * UNIT);
            CHECK(map->virt_addr ==
                  (is_virtual[i] ? map->phys_addr + OFFSET : 0));
        }
        num++;
        g_free(map);
    }
    CHECK(i == n_wanted && num == list->num);
}

static void check_split(const DumpHoles *h, FuzzInput *in)
{
    MemoryMappingList list = {};
    uint8_t wanted[16 * 64];
    bool is_virtual[16 * 64];
    unsigned n_wanted = 0;

    QTAILQ_INIT(&list.head);
    for (int i = fuzz_take(in, 1) & 15; i; i--) {
        unsigned unit = fuzz_take(in, 1);
        unsigned n = 1 + (fuzz_take(in, 1) & 63);
        bool has_va = fuzz_take(in, 1) & 1;

        n = MIN(n, UNITS - unit);
        add_mapping(&list, unit, n, has_va);
        for (unsigned j = unit; j < unit + n; j++) {
            if (!test_bit(j, missing)) {
                is_virtual[n_wanted] = has_va;
                wanted[n_wanted++] = j;
            }
        }
    }
    dump_holes_split(h, &list);
    check_list(&list, wanted, n_wanted, is_virtual);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = { data, size };
    DumpHoles *h = take_holes(&in);

    check_split(h, &in);
    while (in.left) {
        check_queries(h, &in);
    }
    dump_holes_free(h);
    return 0;
}
