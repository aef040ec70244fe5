/*
 * Which RAM of a dump is shared with the host
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "system/memory-debug.h"
#include "dump-shared.h"

#define PAGE_BYTES  MEMORY_DEBUG_PAGE_SIZE

struct DumpShared {
    const GuestPhysBlockList *blocks;
    GHashTable *bitmaps;    /* by block; absent: nothing of it is shared */
};

DumpShared *dump_shared_new(const GuestPhysBlockList *blocks)
{
    DumpShared *shared = g_new0(DumpShared, 1);

    shared->blocks = blocks;
    shared->bitmaps = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    return shared;
}

void dump_shared_free(DumpShared *shared)
{
    if (shared) {
        g_hash_table_unref(shared->bitmaps);
        g_free(shared);
    }
}

/* Number of the page with @gpa; a block may start or end inside of a page */
static unsigned long page_index(const GuestPhysBlock *block, hwaddr gpa)
{
    return gpa / PAGE_BYTES - block->target_start / PAGE_BYTES;
}

static void block_add(DumpShared *shared, const GuestPhysBlock *block,
                      hwaddr start, hwaddr end)
{
    unsigned long *bitmap = g_hash_table_lookup(shared->bitmaps, block);
    unsigned long first = page_index(block, start);

    if (!bitmap) {
        bitmap = bitmap_new(page_index(block, block->target_end - 1) + 1);
        g_hash_table_insert(shared->bitmaps, (void *)block, bitmap);
    }
    bitmap_set(bitmap, first, page_index(block, end - 1) + 1 - first);
}

void dump_shared_add(DumpShared *shared, hwaddr gpa, hwaddr size)
{
    GuestPhysBlock *block;

    QTAILQ_FOREACH(block, &shared->blocks->head, next) {
        hwaddr start = MAX(gpa, block->target_start);
        hwaddr end = MIN(gpa + size, block->target_end);

        if (start < end) {
            block_add(shared, block, start, end);
        }
    }
}

bool dump_shared_run(const DumpShared *shared, const GuestPhysBlock *block,
                     hwaddr gpa, hwaddr *len)
{
    unsigned long *bitmap = g_hash_table_lookup(shared->bitmaps, block);
    unsigned long first, last, next;
    bool is_shared;

    if (!bitmap) {
        return false;
    }
    first = page_index(block, gpa);
    last = page_index(block, gpa + *len - 1);
    is_shared = test_bit(first, bitmap);
    next = is_shared ? find_next_zero_bit(bitmap, last + 1, first) :
                       find_next_bit(bitmap, last + 1, first);
    if (next <= last) {
        *len = QEMU_ALIGN_DOWN(gpa, PAGE_BYTES) +
               (hwaddr)(next - first) * PAGE_BYTES - gpa;
    }
    return is_shared;
}
