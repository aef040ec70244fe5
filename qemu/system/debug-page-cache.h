/*
 * A few decrypted pages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef SYSTEM_DEBUG_PAGE_CACHE_H
#define SYSTEM_DEBUG_PAGE_CACHE_H

/*
 * The cache holds plaintext of a guest: its size is fixed, and a page is
 * wiped when it is dropped.  Locking is up to the user.
 *
 * A page is identified by
 * @view: a moment, or what counts as one; not 0
 * @region: whose page it is, compared by address and never dereferenced
 * @offset: of the page in @region, in bytes, page-aligned
 */
#define DEBUG_PAGE_CACHE_PAGES      64
#define DEBUG_PAGE_CACHE_PAGE_SIZE  4096

typedef struct DebugPageCache DebugPageCache;

DebugPageCache *debug_page_cache_new(void);
void debug_page_cache_free(DebugPageCache *cache);

/* The page's bytes, or NULL; valid until the next call of another function */
const uint8_t *debug_page_cache_find(DebugPageCache *cache, uint64_t view,
                                     const void *region, uint64_t offset);

/* Copy a page in, evicting the least recently used one */
void debug_page_cache_insert(DebugPageCache *cache, uint64_t view,
                             const void *region, uint64_t offset,
                             const uint8_t *data);

/* Wipe and forget one page in all views, all of one view, or all */
void debug_page_cache_drop(DebugPageCache *cache, const void *region,
                           uint64_t offset);
void debug_page_cache_drop_view(DebugPageCache *cache, uint64_t view);
void debug_page_cache_drop_all(DebugPageCache *cache);

#endif
