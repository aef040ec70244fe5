/*
 * Fuzz target: the cache of decrypted pages, against a list
 * FUZZ SOURCES: system/debug-page-cache.c
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "system/debug-page-cache.h"
#include "fuzz.h"

#define PAGE    DEBUG_PAGE_CACHE_PAGE_SIZE
#define REGIONS 3

/* What the cache has to hold: the page used last comes first */
typedef struct Entry {
    const void *region;
    uint64_t offset;
    uint8_t value;          /* of all its bytes */
    const uint8_t *data;    /* where the cache keeps it */
} Entry;

typedef struct Model {
    Entry entries[DEBUG_PAGE_CACHE_PAGES];
    int count;
} Model;

static void model_remove(Model *m, int i)
{
    m->count--;
    memmove(&m->entries[i], &m->entries[i + 1],
            (m->count - i) * sizeof(Entry));
}

static void model_to_front(Model *m, Entry entry)
{
    memmove(&m->entries[1], &m->entries[0], m->count * sizeof(Entry));
    m->entries[0] = entry;
    m->count++;
}

static int model_find(Model *m, const void *region, uint64_t offset)
{
    int i;

    for (i = 0; i < m->count; i++) {
        if (m->entries[i].region == region && m->entries[i].offset == offset) {
            return i;
        }
    }
    return -1;
}

/* What was dropped is wiped where it was */
static void check_wiped(const Entry *e)
{
    CHECK(buffer_is_zero(e->data, PAGE));
}

static void read_page(DebugPageCache *cache, Model *m, const void *region,
                      uint64_t offset, uint8_t value)
{
    const uint8_t *data = debug_page_cache_find(cache, region, offset);
    int i = model_find(m, region, offset);
    uint8_t *room;
    Entry entry;

    CHECK(!data == (i < 0));
    if (data) {
        entry = m->entries[i];
        CHECK(data == entry.data);
        CHECK(*data == entry.value && !memcmp(data, data + 1, PAGE - 1));
        model_remove(m, i);
    } else {
        room = debug_page_cache_claim(cache, region, offset);
        if (m->count == DEBUG_PAGE_CACHE_PAGES) {
            CHECK(room == m->entries[m->count - 1].data);
            model_remove(m, m->count - 1);
        }
        for (i = 0; i < m->count; i++) {
            CHECK(room != m->entries[i].data);
        }
        entry = (Entry) { region, offset, value, room };
        check_wiped(&entry);
        memset(room, value, PAGE);
    }
    model_to_front(m, entry);
}

static void drop_page(DebugPageCache *cache, Model *m, const void *region,
                      uint64_t offset)
{
    int i = model_find(m, region, offset);

    debug_page_cache_drop(cache, region, offset);
    if (i >= 0) {
        check_wiped(&m->entries[i]);
        model_remove(m, i);
    }
    CHECK(!debug_page_cache_find(cache, region, offset));
}

static void drop_all(DebugPageCache *cache, Model *m)
{
    debug_page_cache_drop_all(cache);
    while (m->count) {
        check_wiped(&m->entries[0]);
        model_remove(m, 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char regions[REGIONS];   /* only their addresses count */
    FuzzInput in = { data, size };
    DebugPageCache *cache = debug_page_cache_new();
    Model m = {};

    while (in.left) {
        uint8_t what = fuzz_take(&in, 1);
        const void *region = &regions[(what >> 4) % REGIONS];
        uint64_t offset = fuzz_take(&in, 1) * PAGE;

        if ((what & 15) == 15) {
            drop_all(cache, &m);
        } else if ((what & 15) >= 12) {
            drop_page(cache, &m, region, offset);
        } else if (what & 8) {      /* a whole run, to fill the cache */
            for (int i = 0; i < 24; i++) {
                read_page(cache, &m, region, offset + i * PAGE, what + i);
            }
        } else {
            read_page(cache, &m, region, offset, what | 1);
        }
    }
    debug_page_cache_free(cache);
    return 0;
}
