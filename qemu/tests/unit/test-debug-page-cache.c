/*
 * The cache of decrypted pages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "../../system/debug-page-cache.h"

static int region_a, region_b;

static void put(DebugPageCache *cache, const void *region, uint64_t offset,
                int byte)
{
    memset(debug_page_cache_claim(cache, region, offset), byte,
           DEBUG_PAGE_CACHE_PAGE_SIZE);
}

static int get(DebugPageCache *cache, const void *region, uint64_t offset)
{
    const uint8_t *data = debug_page_cache_find(cache, region, offset);

    return data ? data[DEBUG_PAGE_CACHE_PAGE_SIZE - 1] : -1;
}

static void test_find(void)
{
    DebugPageCache *cache = debug_page_cache_new();

    put(cache, &region_a, 0, 1);
    put(cache, &region_a, 4096, 2);
    put(cache, &region_b, 0, 3);
    g_assert_cmpint(get(cache, &region_a, 0), ==, 1);
    g_assert_cmpint(get(cache, &region_a, 4096), ==, 2);
    g_assert_cmpint(get(cache, &region_b, 0), ==, 3);
    g_assert_cmpint(get(cache, &region_b, 4096), ==, -1);
    debug_page_cache_free(cache);
}

static void test_empty_slot_is_no_page(void)
{
    DebugPageCache *cache = debug_page_cache_new();

    g_assert_cmpint(get(cache, &region_a, 0), ==, -1);
    debug_page_cache_drop(cache, &region_a, 0);
    debug_page_cache_free(cache);
}

static void test_bounded(void)
{
    DebugPageCache *cache = debug_page_cache_new();
    int found = 0;

    for (int i = 0; i < 3 * DEBUG_PAGE_CACHE_PAGES; i++) {
        put(cache, &region_a, i * 4096, i & 0xff);
    }
    for (int i = 0; i < 3 * DEBUG_PAGE_CACHE_PAGES; i++) {
        found += get(cache, &region_a, i * 4096) != -1;
    }
    g_assert_cmpint(found, ==, DEBUG_PAGE_CACHE_PAGES);
    debug_page_cache_free(cache);
}

static void test_least_recently_used_goes(void)
{
    DebugPageCache *cache = debug_page_cache_new();

    for (int i = 0; i < DEBUG_PAGE_CACHE_PAGES; i++) {
        put(cache, &region_a, i * 4096, i);
    }
    g_assert_cmpint(get(cache, &region_a, 0), ==, 0);
    put(cache, &region_b, 0, 99);
    g_assert_cmpint(get(cache, &region_a, 0), ==, 0);
    g_assert_cmpint(get(cache, &region_a, 4096), ==, -1);
    g_assert_cmpint(get(cache, &region_b, 0), ==, 99);
    debug_page_cache_free(cache);
}

static void test_drop(void)
{
    DebugPageCache *cache = debug_page_cache_new();

    put(cache, &region_a, 0, 1);
    put(cache, &region_a, 4096, 2);
    debug_page_cache_drop(cache, &region_a, 0);
    g_assert_cmpint(get(cache, &region_a, 0), ==, -1);
    g_assert_cmpint(get(cache, &region_a, 4096), ==, 2);
    debug_page_cache_drop_all(cache);
    g_assert_cmpint(get(cache, &region_a, 4096), ==, -1);
    debug_page_cache_free(cache);
}

/* A page that was dropped must not be found in the next user's page */
static void test_dropped_pages_are_wiped(void)
{
    DebugPageCache *cache = debug_page_cache_new();

    for (int i = 0; i < DEBUG_PAGE_CACHE_PAGES; i++) {
        put(cache, &region_a, i * 4096, 0xaa);
    }
    debug_page_cache_drop_all(cache);
    for (int i = 0; i < DEBUG_PAGE_CACHE_PAGES; i++) {
        uint8_t *data = debug_page_cache_claim(cache, &region_b, i * 4096);

        for (int j = 0; j < DEBUG_PAGE_CACHE_PAGE_SIZE; j++) {
            g_assert_cmpint(data[j], ==, 0);
        }
    }
    debug_page_cache_free(cache);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/debug-page-cache/find", test_find);
    g_test_add_func("/debug-page-cache/empty-slot-is-no-page",
                    test_empty_slot_is_no_page);
    g_test_add_func("/debug-page-cache/bounded", test_bounded);
    g_test_add_func("/debug-page-cache/least-recently-used-goes",
                    test_least_recently_used_goes);
    g_test_add_func("/debug-page-cache/drop", test_drop);
    g_test_add_func("/debug-page-cache/dropped-pages-are-wiped",
                    test_dropped_pages_are_wiped);
    return g_test_run();
}
