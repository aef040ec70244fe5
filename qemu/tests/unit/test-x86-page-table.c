/*
 * Unit tests of the x86 page-table formats
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "target/i386/page-table.h"

#define C_BIT       (1ULL << 51)
#define NX          (1ULL << 63)

static const EncryptedPageBit no_bit;
static const EncryptedPageBit c_bit = { C_BIT, .set_means_private = true };
static const EncryptedPageBit shared_bit = { C_BIT };

/* The address that walking with these indices from the root would lead to */
static vaddr compose(const X86PagingFormat *f, const unsigned *index)
{
    vaddr va = 0;
    int level;

    for (level = f->levels; level; level--) {
        va += index[level - 1] * x86_entry_span(f, level);
    }
    return x86_va_canonical(f, va);
}

static void check_index(X86PagingMode mode, int levels)
{
    const X86PagingFormat *f = x86_paging_format(mode);
    int i, level;

    g_assert_cmpint(f->levels, ==, levels);
    for (i = 0; i < 1000; i++) {
        unsigned index[X86_PAGING_MAX_LEVELS];
        vaddr va;

        for (level = 1; level <= levels; level++) {
            index[level - 1] = g_test_rand_int_range(
                0, x86_table_entries(f, level));
        }
        va = compose(f, index) + g_test_rand_int_range(0, 4096);
        g_assert_true(x86_va_valid(f, va));
        for (level = 1; level <= levels; level++) {
            g_assert_cmpuint(x86_table_index(f, level, va), ==,
                             index[level - 1]);
        }
    }
}

static void test_index(void)
{
    check_index(X86_PAGING_NONE, 0);
    check_index(X86_PAGING_32BIT, 2);
    check_index(X86_PAGING_32BIT_PSE, 2);
    check_index(X86_PAGING_PAE, 3);
    check_index(X86_PAGING_4LEVEL, 4);
    check_index(X86_PAGING_5LEVEL, 5);
}

static void test_table_size(void)
{
    X86PagingMode mode;

    for (mode = X86_PAGING_32BIT; mode <= X86_PAGING_5LEVEL; mode++) {
        const X86PagingFormat *f = x86_paging_format(mode);
        int level;

        for (level = 1; level <= f->levels; level++) {
            bool pae_root = mode == X86_PAGING_PAE && level == 3;

            g_assert_cmpuint(x86_table_entries(f, level) * f->entry_size, ==,
                             pae_root ? 32 : 4096);
        }
    }
}

static void test_canonical(void)
{
    const X86PagingFormat *pae = x86_paging_format(X86_PAGING_PAE);
    const X86PagingFormat *la48 = x86_paging_format(X86_PAGING_4LEVEL);
    const X86PagingFormat *la57 = x86_paging_format(X86_PAGING_5LEVEL);

    g_assert_cmphex(x86_va_canonical(pae, 0xffffffff80000000), ==, 0x80000000);
    g_assert_true(x86_va_valid(pae, 0xffffffff80000000));

    g_assert_cmphex(x86_va_canonical(la48, 0x0000800000000000), ==,
                    0xffff800000000000);
    g_assert_true(x86_va_valid(la48, 0x00007fffffffffff));
    g_assert_true(x86_va_valid(la48, 0xffff800000000000));
    g_assert_false(x86_va_valid(la48, 0x0000800000000000));
    g_assert_false(x86_va_valid(la48, 0xffff7fffffffffff));

    g_assert_true(x86_va_valid(la57, 0x0000800000000000));
    g_assert_true(x86_va_valid(la57, 0xff00000000000000));
    g_assert_false(x86_va_valid(la57, 0x0100000000000000));
}

static void test_entry_little_endian(void)
{
    const X86PagingFormat *pae = x86_paging_format(X86_PAGING_PAE);
    const X86PagingFormat *pse = x86_paging_format(X86_PAGING_32BIT_PSE);
    uint8_t table[32] = {};

    stq_le_p(table + 24, 0x8000000012345067);
    g_assert_cmphex(x86_table_entry(pae, table, 3), ==, 0x8000000012345067);
    stl_le_p(table + 12, 0xfedcb063);
    g_assert_cmphex(x86_table_entry(pse, table, 3), ==, 0xfedcb063);
}

/* Which levels map pages when the large page bit is set in the entry */
static void test_leaf(void)
{
    static const uint8_t large[X86_PAGING__MAX] = {
        [X86_PAGING_32BIT] = 0x2, [X86_PAGING_32BIT_PSE] = 0x6,
        [X86_PAGING_PAE] = 0x6, [X86_PAGING_4LEVEL] = 0xe,
        [X86_PAGING_5LEVEL] = 0xe,
    };
    X86PagingMode mode;

    for (mode = X86_PAGING_32BIT; mode <= X86_PAGING_5LEVEL; mode++) {
        const X86PagingFormat *f = x86_paging_format(mode);
        int level;

        for (level = 1; level <= f->levels; level++) {
            g_assert_cmpint(x86_entry_is_leaf(f, level, 0x80), ==,
                            !!(large[mode] & (1 << level)));
            g_assert_cmpint(x86_entry_is_leaf(f, level, ~0x80ULL), ==,
                            level == 1);
        }
    }
}

static void test_address(void)
{
    const X86PagingFormat *la48 = x86_paging_format(X86_PAGING_4LEVEL);
    const X86PagingFormat *nopse = x86_paging_format(X86_PAGING_32BIT);
    const X86PagingFormat *pse = x86_paging_format(X86_PAGING_32BIT_PSE);
    uint64_t e = NX | 0x7ff0000000000000 | 0x000f123456789000;

    g_assert_cmphex(x86_entry_address(la48, 1, e | 0xfe7, no_bit), ==,
                    0xf123456789000);
    g_assert_cmphex(x86_entry_address(la48, 2, e | 0xf67, no_bit), ==,
                    0xf123456789000);
    g_assert_cmphex(x86_entry_address(la48, 2, e | 0xfe7, no_bit), ==,
                    0xf123456600000);
    g_assert_cmphex(x86_entry_address(la48, 3, e | 0xfe7, no_bit), ==,
                    0xf123440000000);
    g_assert_cmphex(x86_entry_address(la48, 4, e | 0xfe7, no_bit), ==,
                    0xf123456789000);

    g_assert_cmphex(x86_entry_address(nopse, 2, 0xffffffe7, no_bit), ==,
                    0xfffff000);
    g_assert_cmphex(x86_entry_address(pse, 2, 0xffc000e7, no_bit), ==,
                    0xffc00000);
    g_assert_cmphex(x86_entry_address(pse, 2, 0xffdfe0e7, no_bit), ==,
                    0xffffc00000);
    g_assert_cmphex(x86_entry_address(pse, 1, 0xffdfe0e7, no_bit), ==,
                    0xffdfe000);
}

static void test_page_bit(void)
{
    const X86PagingFormat *la48 = x86_paging_format(X86_PAGING_4LEVEL);
    uint64_t e = C_BIT | 0x123456000 | 0x63;

    g_assert_cmphex(x86_entry_address(la48, 1, e, c_bit), ==, 0x123456000);
    g_assert_cmphex(x86_entry_address(la48, 3, e, c_bit), ==, 0x123456000);
    g_assert_cmphex(x86_entry_address(la48, 3, e | 0x80, c_bit), ==,
                    0x100000000);
    g_assert_cmphex(x86_entry_address(la48, 1, e, no_bit), ==,
                    C_BIT | 0x123456000);

    g_assert_cmpint(x86_entry_encryption(la48, e, c_bit), ==,
                    MEMTX_ENCRYPTION_PRIVATE);
    g_assert_cmpint(x86_entry_encryption(la48, e & ~C_BIT, c_bit), ==,
                    MEMTX_ENCRYPTION_SHARED);
    g_assert_cmpint(x86_entry_encryption(la48, e, shared_bit), ==,
                    MEMTX_ENCRYPTION_SHARED);
    g_assert_cmpint(x86_entry_encryption(la48, e & ~C_BIT, shared_bit), ==,
                    MEMTX_ENCRYPTION_PRIVATE);
    g_assert_cmpint(x86_entry_encryption(la48, e, no_bit), ==,
                    MEMTX_ENCRYPTION_UNKNOWN);
}

/* No room for the bit in the entry: always private */
static void test_page_bit_32bit(void)
{
    const X86PagingFormat *none = x86_paging_format(X86_PAGING_NONE);
    const X86PagingFormat *pse = x86_paging_format(X86_PAGING_32BIT_PSE);

    g_assert_cmpint(x86_entry_encryption(pse, 0x1063, c_bit), ==,
                    MEMTX_ENCRYPTION_PRIVATE);
    g_assert_cmpint(x86_entry_encryption(pse, 0x1063, shared_bit), ==,
                    MEMTX_ENCRYPTION_PRIVATE);
    g_assert_cmpint(x86_entry_encryption(none, 0, shared_bit), ==,
                    MEMTX_ENCRYPTION_PRIVATE);
    g_assert_cmpint(x86_entry_encryption(pse, 0x1063, no_bit), ==,
                    MEMTX_ENCRYPTION_UNKNOWN);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86-page-table/index", test_index);
    g_test_add_func("/x86-page-table/table-size", test_table_size);
    g_test_add_func("/x86-page-table/canonical", test_canonical);
    g_test_add_func("/x86-page-table/entry", test_entry_little_endian);
    g_test_add_func("/x86-page-table/leaf", test_leaf);
    g_test_add_func("/x86-page-table/address", test_address);
    g_test_add_func("/x86-page-table/page-bit", test_page_bit);
    g_test_add_func("/x86-page-table/page-bit-32bit", test_page_bit_32bit);
    return g_test_run();
}
