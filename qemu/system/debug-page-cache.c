/*
 * A few decrypted pages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "debug-page-cache.h"

typedef struct DebugPage {
    const void *region;     /* NULL: free */
    uint64_t offset;
    uint64_t used;          /* of DebugPageCache::clock */
    uint8_t data[DEBUG_PAGE_CACHE_PAGE_SIZE];
} DebugPage;

struct DebugPageCache {
    uint64_t clock;
    DebugPage pages[DEBUG_PAGE_CACHE_PAGES];
};

DebugPageCache *debug_page_cache_new(void)
{
    return g_new0(DebugPageCache, 1);
}

void debug_page_cache_free(DebugPageCache *cache)
{
    debug_page_cache_drop_all(cache);
    g_free(cache);
}

static DebugPage *debug_page_lookup(DebugPageCache *cache,
                                    const void *region, uint64_t offset)
{
    for (int i = 0; i < DEBUG_PAGE_CACHE_PAGES; i++) {
        DebugPage *page = &cache->pages[i];

        if (page->region == region && page->offset == offset) {
            return page;
        }
    }
    return NULL;
}

const uint8_t *debug_page_cache_find(DebugPageCache *cache,
                                     const void *region, uint64_t offset)
{
    DebugPage *page = debug_page_lookup(cache, region, offset);

    if (!page) {
        return NULL;
    }
    page->used = ++cache->clock;
    return page->data;
}

uint8_t *debug_page_cache_claim(DebugPageCache *cache,
                                const void *region, uint64_t offset)
{
    DebugPage *oldest = &cache->pages[0];

    assert(region && !debug_page_lookup(cache, region, offset));
    for (int i = 1; i < DEBUG_PAGE_CACHE_PAGES; i++) {
        if (cache->pages[i].used < oldest->used) {
            oldest = &cache->pages[i];
        }
    }
    *oldest = (DebugPage) {
        .region = region,
        .offset = offset,
        .used = ++cache->clock,
    };
    return oldest->data;
}

void debug_page_cache_drop(DebugPageCache *cache,
                           const void *region, uint64_t offset)
{
    DebugPage *page = debug_page_lookup(cache, region, offset);

    if (page) {
        *page = (DebugPage) {};
    }
}

void debug_page_cache_drop_all(DebugPageCache *cache)
{
    for (int i = 0; i < DEBUG_PAGE_CACHE_PAGES; i++) {
        if (cache->pages[i].region) {
            cache->pages[i] = (DebugPage) {};
        }
    }
}
