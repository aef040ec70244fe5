/*
 * A few decrypted pages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "debug-page-cache.h"

typedef struct DebugPage {
    uint64_t view;          /* 0: free */
    const void *region;
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

static DebugPage *debug_page_lookup(DebugPageCache *cache, uint64_t view,
                                    const void *region, uint64_t offset)
{
    for (int i = 0; i < DEBUG_PAGE_CACHE_PAGES; i++) {
        DebugPage *page = &cache->pages[i];

        if (page->view == view && page->region == region &&
            page->offset == offset) {
            return page;
        }
    }
    return NULL;
}

const uint8_t *debug_page_cache_find(DebugPageCache *cache, uint64_t view,
                                     const void *region, uint64_t offset)
{
    DebugPage *page = debug_page_lookup(cache, view, region, offset);

    if (!page) {
        return NULL;
    }
    page->used = ++cache->clock;
    return page->data;
}

static DebugPage *debug_page_oldest(DebugPageCache *cache)
{
    DebugPage *oldest = &cache->pages[0];

    for (int i = 1; i < DEBUG_PAGE_CACHE_PAGES; i++) {
        if (cache->pages[i].used < oldest->used) {
            oldest = &cache->pages[i];
        }
    }
    return oldest;
}

void debug_page_cache_insert(DebugPageCache *cache, uint64_t view,
                             const void *region, uint64_t offset,
                             const uint8_t *data)
{
    DebugPage *page = debug_page_lookup(cache, view, region, offset) ?:
                      debug_page_oldest(cache);

    assert(view);
    page->view = view;
    page->region = region;
    page->offset = offset;
    page->used = ++cache->clock;
    memcpy(page->data, data, sizeof(page->data));
}

static void debug_page_wipe(DebugPage *page)
{
    memset(page, 0, sizeof(*page));
}

void debug_page_cache_drop(DebugPageCache *cache, const void *region,
                           uint64_t offset)
{
    for (int i = 0; i < DEBUG_PAGE_CACHE_PAGES; i++) {
        DebugPage *page = &cache->pages[i];

        if (page->view && page->region == region && page->offset == offset) {
            debug_page_wipe(page);
        }
    }
}

void debug_page_cache_drop_view(DebugPageCache *cache, uint64_t view)
{
    for (int i = 0; i < DEBUG_PAGE_CACHE_PAGES; i++) {
        if (cache->pages[i].view == view) {
            debug_page_wipe(&cache->pages[i]);
        }
    }
}

void debug_page_cache_drop_all(DebugPageCache *cache)
{
    for (int i = 0; i < DEBUG_PAGE_CACHE_PAGES; i++) {
        if (cache->pages[i].view) {
            debug_page_wipe(&cache->pages[i]);
        }
    }
}
