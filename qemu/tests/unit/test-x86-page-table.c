/*
 * Unit tests of x86 page tables
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qapi/error.h"
#include "target/i386/page-table.h"

#define C_BIT       (1ULL << 51)
#define NX          (1ULL << 63)

static const ConfidentialGuestPageBit no_bit;
static const ConfidentialGuestPageBit c_bit = {
    C_BIT, .set_means_private = true
};
static const ConfidentialGuestPageBit shared_bit = { C_BIT };

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

/*
 * Walks and visits, of tables in this memory
 */

#define PAGE        4096
#define MEMORY      (64 * PAGE)
#define ROOT        0
#define TABLE(n)    ((n) * PAGE)
#define RW          X86_ENTRY_RW
#define USER        X86_ENTRY_USER
#define P           X86_ENTRY_PRESENT
#define LARGE       X86_ENTRY_LARGE

static uint8_t memory[MEMORY];
static unsigned reads;

static MemTxResult read_memory(const X86PageTables *tables, hwaddr addr,
                               void *buf, hwaddr len, Error **errp)
{
    reads++;
    if (addr >= MEMORY) {
        error_setg(errp, "beyond the end");
        return MEMTX_DECODE_ERROR;
    }
    g_assert_cmpuint(addr % PAGE + len, <=, PAGE);
    memcpy(buf, memory + addr, len);
    return MEMTX_OK;
}

static X86PageTables new_tables(X86PagingMode mode)
{
    memset(memory, 0, sizeof(memory));
    reads = 0;
    return (X86PageTables) {
        .mode = mode, .root = ROOT, .a20_mask = -1, .read = read_memory,
    };
}

static void set_entry(hwaddr table, unsigned index, uint64_t entry)
{
    stq_le_p(memory + table + index * 8, entry);
}

/* A 4-level chain to a PTE at index 0 of TABLE(3) */
static X86PageTables new_chain(uint64_t flags)
{
    X86PageTables tables = new_tables(X86_PAGING_4LEVEL);

    for (int i = 0; i < 3; i++) {
        set_entry(TABLE(i), 0, TABLE(i + 1) | flags | P);
    }
    return tables;
}

static void test_walk(void)
{
    X86PageTables tables = new_chain(RW | USER | C_BIT);
    X86PageLeaf leaf;

    tables.page_bit = c_bit;
    tables.attrs.secure = 1;
    set_entry(TABLE(3), 5, NX | 0x123456000 | USER | P);
    g_assert_true(x86_page_walk(&tables, 0x5678, &leaf, &error_abort));
    g_assert_cmphex(leaf.va, ==, 0x5000);
    g_assert_cmphex(leaf.gpa, ==, 0x123456000);
    g_assert_cmphex(leaf.size, ==, PAGE);
    g_assert_cmphex(leaf.prot, ==, USER);
    g_assert_cmphex(leaf.entry, ==, NX | 0x123456000 | USER | P);
    g_assert_true(leaf.attrs.secure);
    g_assert_cmpint(leaf.attrs.encryption, ==, MEMTX_ENCRYPTION_SHARED);
    g_assert_cmpuint(reads, ==, 4);
}

static void test_walk_large(void)
{
    X86PageTables tables = new_chain(0);
    X86PageLeaf leaf;

    set_entry(TABLE(1), 511, 0x1c0000000 | LARGE | P);
    g_assert_true(x86_page_walk(&tables, 0x7fc0123456, &leaf, &error_abort));
    g_assert_cmphex(leaf.va, ==, 0x7fc0000000);
    g_assert_cmphex(leaf.gpa, ==, 0x1c0000000);
    g_assert_cmphex(leaf.size, ==, 1 << 30);
    g_assert_cmpint(leaf.level, ==, 3);
}

static void test_walk_without_paging(void)
{
    X86PageTables tables = new_tables(X86_PAGING_NONE);
    X86PageLeaf leaf;

    tables.a20_mask = ~(1ULL << 20);
    g_assert_true(x86_page_walk(&tables, 0x312345, &leaf, &error_abort));
    g_assert_cmphex(leaf.gpa + (0x312345 & (leaf.size - 1)), ==, 0x212345);
    g_assert_cmphex(leaf.va + leaf.size, ==, 0x400000);
    g_assert_cmpuint(reads, ==, 0);
}

/* A20 masks the addresses of entries, and the pages that 32-bit ones map */
static void test_walk_a20(void)
{
    X86PageTables tables = new_tables(X86_PAGING_32BIT);
    X86PageLeaf leaf;

    tables.a20_mask = ~(1ULL << 20);
    tables.root = 1 << 20;
    stl_le_p(memory, 1 << 20 | TABLE(1) | P);
    stl_le_p(memory + TABLE(1) + 4, 0x345000 | P);
    g_assert_true(x86_page_walk(&tables, 0x1000, &leaf, &error_abort));
    g_assert_cmphex(leaf.gpa, ==, 0x245000);
}

static void check_walk_fails(const X86PageTables *tables, vaddr addr,
                             const char *message)
{
    X86PageLeaf leaf;
    Error *err = NULL;

    g_assert_false(x86_page_walk(tables, addr, &leaf, NULL));
    g_assert_false(x86_page_walk(tables, addr, &leaf, &err));
    g_assert_cmpstr(error_get_pretty(err), ==, message);
    error_free(err);
}

static void test_walk_reasons(void)
{
    X86PageTables tables = new_chain(0);

    set_entry(TABLE(2), 1, 0x7777000 | P);
    set_entry(TABLE(3), 2, 0xff0);
    check_walk_fails(&tables, 0x2345, "virtual address 0x2345 is not mapped: "
                     "its PTE at 0x3010 is 0xff0, not present");
    check_walk_fails(&tables, 0x201000, "cannot read the PTE of virtual "
                     "address 0x201000 at 0x7777008: beyond the end");
    check_walk_fails(&tables, 1ULL << 47, "virtual address 0x800000000000 is "
                     "not canonical: 4-level paging translates 48 bits");
}

/* What a visit found, as text */
static bool note_leaf(const X86PageLeaf *leaf, void *opaque, Error **errp)
{
    g_string_append_printf(opaque, "%" PRIx64 "+%" PRIx64 "=%" PRIx64 " ",
                           (uint64_t)leaf->va, leaf->size, leaf->gpa);
    return true;
}

static bool note_unreadable(vaddr va, MemTxResult result, Error *err,
                            void *opaque, Error **errp)
{
    g_string_append_printf(opaque, "%" PRIx64 "? ", (uint64_t)va);
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "cannot read the page table at 0x7777000: beyond the end");
    error_free(err);
    return true;
}

static X86PageVisitor new_visitor(GString *found)
{
    return (X86PageVisitor) {
        .max_tables = 100, .leaf = note_leaf, .unreadable = note_unreadable,
        .opaque = found,
    };
}

static void check_visit(const X86PageTables *tables, X86PageVisitor *visitor,
                        const char *wanted, unsigned wanted_reads)
{
    GString *found = visitor->opaque;

    g_string_truncate(found, 0);
    reads = 0;
    g_assert_true(x86_page_visit(tables, visitor, &error_abort));
    g_assert_cmpstr(found->str, ==, wanted);
    g_assert_cmpuint(reads, ==, wanted_reads);
}

static void test_visit(void)
{
    g_autoptr(GString) found = g_string_new(NULL);
    X86PageTables tables = new_chain(0);
    X86PageVisitor visitor = new_visitor(found);

    set_entry(TABLE(3), 1, 0x5000 | P);
    set_entry(TABLE(2), 3, 0x7777000 | P);
    set_entry(ROOT, 256, TABLE(4) | P);
    set_entry(TABLE(4), 0, 0x40000000 | LARGE | P);
    check_visit(&tables, &visitor, "1000+1000=5000 600000? "
                "ffff800000000000+40000000=40000000 ", 6);
}

/* A table that consecutive entries point to is read once, but shown for each */
static void test_visit_repeated_table(void)
{
    g_autoptr(GString) found = g_string_new(NULL);
    X86PageTables tables = new_chain(0);
    X86PageVisitor visitor = new_visitor(found);

    set_entry(TABLE(2), 1, TABLE(3) | P);
    set_entry(TABLE(3), 0, 0x5000 | P);
    check_visit(&tables, &visitor, "0+1000=5000 200000+1000=5000 ", 4);
}

/* Several vCPUs have their kernel's tables in common */
static void test_visit_seen(void)
{
    g_autoptr(GHashTable) seen = x86_seen_tables_new();
    g_autoptr(GString) found = g_string_new(NULL);
    X86PageTables tables = new_chain(0);
    X86PageVisitor visitor = new_visitor(found);

    set_entry(TABLE(3), 0, 0x5000 | P);
    set_entry(TABLE(4), 0, TABLE(1) | P);
    set_entry(TABLE(5), 1, TABLE(1) | P);
    visitor.seen = seen;
    check_visit(&tables, &visitor, "0+1000=5000 ", 4);
    check_visit(&tables, &visitor, "", 0);
    tables.root = TABLE(4);
    check_visit(&tables, &visitor, "", 1);
    tables.root = TABLE(5);
    check_visit(&tables, &visitor, "8000000000+1000=5000 ", 4);

    /* The same page of memory may serve as another kind of table */
    tables.root = ROOT;
    tables.attrs.secure = 1;
    check_visit(&tables, &visitor, "0+1000=5000 ", 4);
    tables.mode = X86_PAGING_PAE;
    check_visit(&tables, &visitor, "0+1000=3000 ", 3);
}

static void test_visit_seen_anywhere(void)
{
    g_autoptr(GHashTable) seen = x86_seen_tables_new();
    g_autoptr(GString) found = g_string_new(NULL);
    X86PageTables tables = new_chain(0);
    X86PageVisitor visitor = new_visitor(found);

    set_entry(TABLE(3), 0, 0x5000 | P);
    set_entry(ROOT, 7, TABLE(1) | P);
    visitor.seen = seen;
    visitor.any_va = true;
    check_visit(&tables, &visitor, "0+1000=5000 ", 4);
}

/* All entries point back to their table */
static void test_visit_without_end(void)
{
    g_autoptr(GHashTable) seen = x86_seen_tables_new();
    g_autoptr(GString) found = g_string_new(NULL);
    X86PageTables tables = new_tables(X86_PAGING_5LEVEL);
    X86PageVisitor visitor = new_visitor(found);
    Error *err = NULL;

    for (int i = 0; i < 512; i++) {
        set_entry(ROOT, i, ROOT | P);
    }
    g_assert_false(x86_page_visit(&tables, &visitor, &err));
    g_assert_cmpstr(error_get_pretty(err), ==, "the guest has more than 100 "
                    "page tables, or entries that lead to the same tables "
                    "again and again");
    error_free(err);
    g_assert_cmpuint(visitor.n_tables, ==, 100);

    visitor.seen = seen;
    visitor.any_va = true;
    visitor.n_tables = 0;
    g_assert_true(x86_page_visit(&tables, &visitor, &error_abort));
    g_assert_cmpuint(visitor.n_tables, ==, 5);
}

static void test_visit_fails_unreadable(void)
{
    Error *err = NULL, *why = NULL;

    error_setg(&why, "no memory");
    g_assert_true(x86_page_visit_fail_unreadable(0, MEMTX_DECODE_ERROR, why,
                                                 NULL, &err));
    g_assert_null(err);
    why = NULL;
    error_setg(&why, "refused");
    g_assert_false(x86_page_visit_fail_unreadable(0, MEMTX_ERROR, why, NULL,
                                                  &err));
    g_assert_cmpstr(error_get_pretty(err), ==, "refused");
    error_free(err);
}

static void add_walk_tests(void)
{
    g_test_add_func("/x86-page-table/walk", test_walk);
    g_test_add_func("/x86-page-table/walk/large", test_walk_large);
    g_test_add_func("/x86-page-table/walk/no-paging", test_walk_without_paging);
    g_test_add_func("/x86-page-table/walk/a20", test_walk_a20);
    g_test_add_func("/x86-page-table/walk/reasons", test_walk_reasons);
    g_test_add_func("/x86-page-table/visit", test_visit);
    g_test_add_func("/x86-page-table/visit/repeated-table",
                    test_visit_repeated_table);
    g_test_add_func("/x86-page-table/visit/seen", test_visit_seen);
    g_test_add_func("/x86-page-table/visit/seen-anywhere",
                    test_visit_seen_anywhere);
    g_test_add_func("/x86-page-table/visit/without-end",
                    test_visit_without_end);
    g_test_add_func("/x86-page-table/visit/fail-unreadable",
                    test_visit_fails_unreadable);
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
    add_walk_tests();
    return g_test_run();
}
