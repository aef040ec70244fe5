/*
 * A few decrypted pages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef SYSTEM_DEBUG_PAGE_CACHE_H
#define SYSTEM_DEBUG_PAGE_CACHE_H

/*
 * The cache holds plaintext of a guest: its size is fixed, and a page is
 * wiped when it is dropped.  It knows nothing of locks; its user has one.
 */
#define DEBUG_PAGE_CACHE_PAGES      64
#define DEBUG_PAGE_CACHE_PAGE_SIZE  4096

typedef struct DebugPageCache DebugPageCache;

DebugPageCache *debug_page_cache_new(void);
void debug_page_cache_free(DebugPageCache *cache);

/**
 * debug_page_cache_find: the page's bytes, or NULL
 *
 * @region: whose page it is, compared by address and never followed
 * @offset: of the page in @region, in bytes, page-aligned
 */
const uint8_t *debug_page_cache_find(DebugPageCache *cache,
                                     const void *region, uint64_t offset);

/**
 * debug_page_cache_claim: room for a page that is not in the cache
 *
 * The page used longest ago makes room.  The caller fills all of the
 * returned page, or drops it again.
 */
uint8_t *debug_page_cache_claim(DebugPageCache *cache,
                                const void *region, uint64_t offset);

/* Wipe and forget one page (it need not be there), or all of them */
void debug_page_cache_drop(DebugPageCache *cache,
                           const void *region, uint64_t offset);
void debug_page_cache_drop_all(DebugPageCache *cache);

#endif
