/*
 * Ranges of RAM that are missing in a dump
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "dump-holes.h"

typedef struct DumpHole {
    hwaddr start, end;
    hwaddr below;           /* bytes of holes below @start */
} DumpHole;

struct DumpHoles {
    GArray *array;
};

DumpHoles *dump_holes_new(void)
{
    DumpHoles *h = g_new0(DumpHoles, 1);

    h->array = g_array_new(FALSE, FALSE, sizeof(DumpHole));
    return h;
}

void dump_holes_free(DumpHoles *h)
{
    g_array_unref(h->array);
    g_free(h);
}

static DumpHole *hole_at(const DumpHoles *h, guint i)
{
    return &g_array_index(h->array, DumpHole, i);
}

bool dump_holes_add(DumpHoles *h, hwaddr start, hwaddr end)
{
    DumpHole *last = h->array->len ? hole_at(h, h->array->len - 1) : NULL;
    DumpHole hole = { .start = start, .end = end };

    assert(start < end && (!last || last->end <= start));
    if (last && last->end == start) {
        last->end = end;
        return true;
    }
    if (h->array->len == DUMP_HOLES_MAX) {
        return false;
    }
    if (last) {
        hole.below = last->below + (last->end - last->start);
    }
    g_array_append_val(h->array, hole);
    return true;
}

/* Index of the first hole that ends above @gpa; the number if there is none */
static guint hole_index(const DumpHoles *h, hwaddr gpa)
{
    guint low = 0, high = h->array->len;

    while (low < high) {
        guint middle = low + (high - low) / 2;

        if (hole_at(h, middle)->end > gpa) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

hwaddr dump_holes_below(const DumpHoles *h, hwaddr gpa)
{
    guint i = hole_index(h, gpa);
    DumpHole *hole;

    if (i < h->array->len) {
        hole = hole_at(h, i);
        return hole->below + (gpa > hole->start ? gpa - hole->start : 0);
    }
    if (!i) {
        return 0;
    }
    hole = hole_at(h, i - 1);
    return hole->below + (hole->end - hole->start);
}

bool dump_holes_next(const DumpHoles *h, hwaddr gpa, hwaddr *start,
                     hwaddr *end)
{
    guint i = hole_index(h, gpa);

    if (i == h->array->len) {
        return false;
    }
    *start = hole_at(h, i)->start;
    *end = hole_at(h, i)->end;
    return true;
}

/* Move the start of @map up to @gpa */
static void mapping_advance(MemoryMapping *map, hwaddr gpa)
{
    hwaddr skip = gpa - map->phys_addr;

    map->phys_addr = gpa;
    map->length -= skip;
    if (map->virt_addr) {
        map->virt_addr += skip;
    }
}

/* Take the holes out of one mapping; what is left stands before or in it */
static void mapping_split(const DumpHoles *h, MemoryMappingList *list,
                          MemoryMapping *map)
{
    hwaddr start, end;

    while (map->length &&
           dump_holes_next(h, map->phys_addr, &start, &end) &&
           start < map->phys_addr + map->length) {
        if (start > map->phys_addr) {
            MemoryMapping *part = g_new(MemoryMapping, 1);

            *part = *map;
            part->length = start - map->phys_addr;
            QTAILQ_INSERT_BEFORE(map, part, next);
            list->num++;
        }
        mapping_advance(map, MIN(end, map->phys_addr + map->length));
    }
    if (!map->length) {
        QTAILQ_REMOVE(&list->head, map, next);
        list->num--;
        g_free(map);
    }
}

void dump_holes_split(const DumpHoles *h, MemoryMappingList *list)
{
    MemoryMapping *map, *next;

    QTAILQ_FOREACH_SAFE(map, &list->head, next, next) {
        mapping_split(h, list, map);
    }
    list->last_mapping = NULL;
}
