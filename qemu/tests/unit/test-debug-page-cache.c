/*
 * The cache of decrypted pages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "../../system/debug-page-cache.h"

#define VIEW 1

static int region_a, region_b;

static void put_in(DebugPageCache *cache, uint64_t view, const void *region,
                   uint64_t offset, int byte)
{
    uint8_t data[DEBUG_PAGE_CACHE_PAGE_SIZE];

    memset(data, byte, sizeof(data));
    debug_page_cache_insert(cache, view, region, offset, data);
}

static void put(DebugPageCache *cache, const void *region, uint64_t offset,
                int byte)
{
    put_in(cache, VIEW, region, offset, byte);
}

static int get_in(DebugPageCache *cache, uint64_t view, const void *region,
                  uint64_t offset)
{
    const uint8_t *data = debug_page_cache_find(cache, view, region, offset);

    return data ? data[DEBUG_PAGE_CACHE_PAGE_SIZE - 1] : -1;
}

static int get(DebugPageCache *cache, const void *region, uint64_t offset)
{
    return get_in(cache, VIEW, region, offset);
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

/* Each view has its own copy of a page; a write drops it from all views */
static void test_views(void)
{
    DebugPageCache *cache = debug_page_cache_new();

    put_in(cache, 1, &region_a, 0, 1);
    put_in(cache, 2, &region_a, 0, 2);
    g_assert_cmpint(get_in(cache, 1, &region_a, 0), ==, 1);
    g_assert_cmpint(get_in(cache, 2, &region_a, 0), ==, 2);
    g_assert_cmpint(get_in(cache, 3, &region_a, 0), ==, -1);
    debug_page_cache_drop_view(cache, 1);
    g_assert_cmpint(get_in(cache, 1, &region_a, 0), ==, -1);
    g_assert_cmpint(get_in(cache, 2, &region_a, 0), ==, 2);
    put_in(cache, 1, &region_a, 0, 1);
    debug_page_cache_drop(cache, &region_a, 0);
    g_assert_cmpint(get_in(cache, 1, &region_a, 0), ==, -1);
    g_assert_cmpint(get_in(cache, 2, &region_a, 0), ==, -1);
    debug_page_cache_free(cache);
}

static void test_insert_replaces(void)
{
    DebugPageCache *cache = debug_page_cache_new();

    put(cache, &region_a, 0, 1);
    put(cache, &region_a, 0, 2);
    g_assert_cmpint(get(cache, &region_a, 0), ==, 2);
    debug_page_cache_drop(cache, &region_a, 0);
    g_assert_cmpint(get(cache, &region_a, 0), ==, -1);
    debug_page_cache_free(cache);
}

static void test_dropped_pages_are_wiped(void)
{
    DebugPageCache *cache = debug_page_cache_new();
    const uint8_t *data[3];

    for (int i = 0; i < 3; i++) {
        put_in(cache, i + 1, &region_a, i * 4096, 0xaa);
        data[i] = debug_page_cache_find(cache, i + 1, &region_a, i * 4096);
    }
    debug_page_cache_drop(cache, &region_a, 0);
    debug_page_cache_drop_view(cache, 2);
    g_assert_true(buffer_is_zero(data[0], DEBUG_PAGE_CACHE_PAGE_SIZE));
    g_assert_true(buffer_is_zero(data[1], DEBUG_PAGE_CACHE_PAGE_SIZE));
    g_assert_false(buffer_is_zero(data[2], DEBUG_PAGE_CACHE_PAGE_SIZE));
    debug_page_cache_drop_all(cache);
    g_assert_true(buffer_is_zero(data[2], DEBUG_PAGE_CACHE_PAGE_SIZE));
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
    g_test_add_func("/debug-page-cache/views", test_views);
    g_test_add_func("/debug-page-cache/insert-replaces", test_insert_replaces);
    g_test_add_func("/debug-page-cache/dropped-pages-are-wiped",
                    test_dropped_pages_are_wiped);
    return g_test_run();
}
