/*
 * x86 page tables, as debuggers read them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "page-table.h"

#define PAGE_BITS   12
#define TABLE_SIZE  4096
#define PROT_MASK   (X86_ENTRY_RW | X86_ENTRY_USER)

static const X86PagingFormat formats[X86_PAGING__MAX] = {
    [X86_PAGING_NONE] = {
        .name = "no",
    },
    [X86_PAGING_32BIT] = {
        .name = "32-bit", .levels = 2, .entry_size = 4, .index_bits = 10,
        .va_bits = 32, .root_mask = 0xfffff000,
    },
    [X86_PAGING_32BIT_PSE] = {
        .name = "32-bit", .levels = 2, .entry_size = 4, .index_bits = 10,
        .va_bits = 32, .root_mask = 0xfffff000, .large_levels = BIT(2),
    },
    [X86_PAGING_PAE] = {
        .name = "PAE", .levels = 3, .entry_size = 8, .index_bits = 9,
        .va_bits = 32, .root_mask = 0xffffffe0, .large_levels = BIT(2),
    },
    [X86_PAGING_4LEVEL] = {
        .name = "4-level", .levels = 4, .entry_size = 8, .index_bits = 9,
        .va_bits = 48, .root_mask = X86_ENTRY_ADDRESS,
        .large_levels = BIT(2) | BIT(3),
    },
    [X86_PAGING_5LEVEL] = {
        .name = "5-level", .levels = 5, .entry_size = 8, .index_bits = 9,
        .va_bits = 57, .root_mask = X86_ENTRY_ADDRESS,
        .large_levels = BIT(2) | BIT(3),
    },
};

const X86PagingFormat *x86_paging_format(X86PagingMode mode)
{
    assert(mode < X86_PAGING__MAX);
    return &formats[mode];
}

const char *x86_entry_name(int level)
{
    static const char *const names[] = {
        "PTE", "PDE", "PDPTE", "PML4E", "PML5E",
    };

    assert(level >= 1 && level <= X86_PAGING_MAX_LEVELS);
    return names[level - 1];
}

static unsigned level_shift(const X86PagingFormat *format, int level)
{
    return PAGE_BITS + format->index_bits * (level - 1);
}

uint64_t x86_entry_span(const X86PagingFormat *format, int level)
{
    return 1ULL << level_shift(format, level);
}

unsigned x86_table_entries(const X86PagingFormat *format, int level)
{
    return 1U << MIN(format->index_bits,
                     format->va_bits - level_shift(format, level));
}

unsigned x86_table_index(const X86PagingFormat *format, int level, vaddr va)
{
    return (va >> level_shift(format, level)) &
           (x86_table_entries(format, level) - 1);
}

uint64_t x86_table_entry(const X86PagingFormat *format, const void *table,
                         unsigned index)
{
    const uint8_t *p = table;

    p += index * format->entry_size;
    return format->entry_size == 4 ? (uint32_t)ldl_le_p(p) : ldq_le_p(p);
}

bool x86_entry_is_leaf(const X86PagingFormat *format, int level,
                       uint64_t entry)
{
    return level == 1 ||
           ((format->large_levels & BIT(level)) && (entry & X86_ENTRY_LARGE));
}

hwaddr x86_entry_address(const X86PagingFormat *format, int level,
                         uint64_t entry, ConfidentialGuestPageBit page_bit)
{
    uint64_t mask = X86_ENTRY_ADDRESS;

    if (x86_entry_is_leaf(format, level, entry)) {
        mask &= ~(x86_entry_span(format, level) - 1);
    }
    if (format->entry_size == 8) {
        mask &= ~page_bit.mask;
    } else if (level == 2 && x86_entry_is_leaf(format, level, entry)) {
        /* PSE-36: bits 20:13 are bits 39:32 of the address */
        entry |= (entry & 0x1fe000) << (32 - 13);
    }
    return entry & mask;
}

uint8_t x86_entry_encryption(const X86PagingFormat *format, uint64_t entry,
                             ConfidentialGuestPageBit page_bit)
{
    if (!page_bit.mask) {
        return MEMTX_ENCRYPTION_UNKNOWN;
    }
    if (format->entry_size != 8) {
        return MEMTX_ENCRYPTION_PRIVATE;
    }
    return !!(entry & page_bit.mask) == page_bit.set_means_private
           ? MEMTX_ENCRYPTION_PRIVATE : MEMTX_ENCRYPTION_SHARED;
}

vaddr x86_va_canonical(const X86PagingFormat *format, vaddr va)
{
    if (format->va_bits <= 32) {
        return extract64(va, 0, 32);
    }
    return sextract64(va, 0, format->va_bits);
}

bool x86_va_valid(const X86PagingFormat *format, vaddr va)
{
    return format->va_bits <= 32 || va == x86_va_canonical(format, va);
}

/*
 * Walks
 */

/* Combine the permissions of the levels above with those of one entry */
static uint64_t entry_prot(const X86PageTables *tables, int level,
                           uint64_t entry)
{
    /* A PDPTE of PAE paging has no permissions */
    if (tables->mode == X86_PAGING_PAE && level == 3) {
        return PROT_MASK;
    }
    return entry & PROT_MASK;
}

static X86PageLeaf make_leaf(const X86PageTables *tables, int level,
                             vaddr va, uint64_t entry, uint64_t prot)
{
    const X86PagingFormat *format = x86_paging_format(tables->mode);
    X86PageLeaf leaf = {
        .size = x86_entry_span(format, level),
        .gpa = x86_entry_address(format, level, entry, tables->page_bit),
        .level = level,
        .entry = entry,
        .prot = prot & entry_prot(tables, level, entry),
        .attrs = tables->attrs,
    };

    if (format->entry_size == 4) {
        leaf.gpa &= tables->a20_mask;
    }
    leaf.va = x86_va_canonical(format, va & ~(leaf.size - 1));
    leaf.attrs.encryption = x86_entry_encryption(format, entry,
                                                 tables->page_bit);
    return leaf;
}

/* The A20 mask clears bit 20: addresses below that bit are contiguous */
static X86PageLeaf unpaged_leaf(const X86PageTables *tables, vaddr addr)
{
    const X86PagingFormat *format = x86_paging_format(X86_PAGING_NONE);
    X86PageLeaf leaf = {
        .va = QEMU_ALIGN_DOWN(addr, 1 * MiB),
        .gpa = QEMU_ALIGN_DOWN(addr, 1 * MiB) & tables->a20_mask &
               X86_ENTRY_ADDRESS,
        .size = 1 * MiB,
        .prot = PROT_MASK,
        .attrs = tables->attrs,
    };

    leaf.attrs.encryption = x86_entry_encryption(format, 0, tables->page_bit);
    return leaf;
}

/* Follow one entry: true if it is present */
static bool follow_entry(const X86PageTables *tables, vaddr addr, int level,
                         hwaddr entry_gpa, uint64_t *entry, Error **errp)
{
    const X86PagingFormat *format = x86_paging_format(tables->mode);
    uint8_t buf[8];
    Error *err = NULL;

    if (tables->read(tables, entry_gpa, buf, format->entry_size,
                     errp ? &err : NULL) != MEMTX_OK) {
        error_propagate_prepend(errp, err, "cannot read the %s of virtual "
                                "address 0x%" VADDR_PRIx " at 0x%" HWADDR_PRIx
                                ": ", x86_entry_name(level), addr, entry_gpa);
        return false;
    }
    *entry = x86_table_entry(format, buf, 0);
    if (!(*entry & X86_ENTRY_PRESENT)) {
        error_setg(errp, "virtual address 0x%" VADDR_PRIx " is not mapped: "
                   "its %s at 0x%" HWADDR_PRIx " is 0x%" PRIx64
                   ", not present", addr, x86_entry_name(level), entry_gpa,
                   *entry);
        return false;
    }
    return true;
}

bool x86_page_walk(const X86PageTables *tables, vaddr addr, X86PageLeaf *leaf,
                   Error **errp)
{
    const X86PagingFormat *format = x86_paging_format(tables->mode);
    hwaddr entry_gpa, table = tables->root;
    uint64_t entry, prot = PROT_MASK;
    int level;

    if (!x86_va_valid(format, addr)) {
        error_setg(errp, "virtual address 0x%" VADDR_PRIx " is not canonical: "
                   "%s paging translates %d bits", addr, format->name,
                   format->va_bits);
        return false;
    }
    for (level = format->levels; level; level--) {
        entry_gpa = (table + x86_table_index(format, level, addr) *
                     format->entry_size) & tables->a20_mask;
        if (!follow_entry(tables, addr, level, entry_gpa, &entry, errp)) {
            return false;
        }
        if (x86_entry_is_leaf(format, level, entry)) {
            *leaf = make_leaf(tables, level, addr, entry, prot);
            return true;
        }
        prot &= entry_prot(tables, level, entry);
        table = x86_entry_address(format, level, entry, tables->page_bit);
    }
    *leaf = unpaged_leaf(tables, addr);
    return true;
}

/*
 * Visits
 */

/* A table that has been visited, and how it was used */
typedef struct SeenTable {
    uint64_t table;
    vaddr va;
} SeenTable;

/* One visit: a table of each level, and the address it was read from */
typedef struct Visit {
    const X86PageTables *tables;
    const X86PagingFormat *format;
    X86PageVisitor *visitor;
    hwaddr table_gpa[X86_PAGING_MAX_LEVELS];
    uint8_t table[X86_PAGING_MAX_LEVELS][TABLE_SIZE];
} Visit;

static guint seen_table_hash(gconstpointer key)
{
    const SeenTable *seen = key;
    uint64_t hash = seen->table * 31 + seen->va;

    return g_int64_hash(&hash);
}

static gboolean seen_table_equal(gconstpointer a, gconstpointer b)
{
    return memcmp(a, b, sizeof(SeenTable)) == 0;
}

GHashTable *x86_seen_tables_new(void)
{
    return g_hash_table_new_full(seen_table_hash, seen_table_equal, g_free,
                                 NULL);
}

static bool visit_is_done(Visit *v, int level, hwaddr gpa, vaddr va)
{
    const X86PageTables *tables = v->tables;
    SeenTable key = {
        /* Table addresses have 52 bits and are aligned to 32 bytes */
        .table = gpa | level | (uint64_t)tables->mode << 52 |
                 (uint64_t)tables->attrs.secure << 56,
        .va = v->visitor->any_va ? 0 : va,
    };

    return v->visitor->seen &&
           !g_hash_table_add(v->visitor->seen, g_memdup2(&key, sizeof(key)));
}

/* Read a table unless it is the one visited last at this level */
static MemTxResult visit_read_table(Visit *v, int level, hwaddr gpa,
                                    Error **errp)
{
    ERRP_GUARD();
    hwaddr len = x86_table_entries(v->format, level) * v->format->entry_size;
    hwaddr addr = gpa & v->tables->a20_mask;
    MemTxResult result;

    if (v->table_gpa[level - 1] == gpa) {
        return MEMTX_OK;
    }
    v->table_gpa[level - 1] = -1;
    result = v->tables->read(v->tables, addr, v->table[level - 1], len, errp);
    if (result == MEMTX_OK) {
        v->table_gpa[level - 1] = gpa;
    } else {
        error_prepend(errp, "cannot read the page table at 0x%" HWADDR_PRIx
                      ": ", addr);
    }
    return result;
}

static bool visit_count_table(Visit *v, Error **errp)
{
    if (v->visitor->n_tables == v->visitor->max_tables) {
        error_setg(errp, "the guest has more than %" PRIu64 " page tables, or "
                   "entries that lead to the same tables again and again",
                   v->visitor->max_tables);
        return false;
    }
    v->visitor->n_tables++;
    return true;
}

static bool visit_table(Visit *v, int level, hwaddr gpa, vaddr va,
                        uint64_t prot, Error **errp);

static bool visit_entry(Visit *v, int level, uint64_t entry, vaddr va,
                        uint64_t prot, Error **errp)
{
    const X86PageTables *tables = v->tables;

    if (!(entry & X86_ENTRY_PRESENT)) {
        return true;
    }
    if (x86_entry_is_leaf(v->format, level, entry)) {
        X86PageLeaf leaf = make_leaf(tables, level, va, entry, prot);

        return v->visitor->leaf(&leaf, v->visitor->opaque, errp);
    }
    return visit_table(v, level - 1,
                       x86_entry_address(v->format, level, entry,
                                         tables->page_bit),
                       va, prot & entry_prot(tables, level, entry), errp);
}

static bool visit_table(Visit *v, int level, hwaddr gpa, vaddr va,
                        uint64_t prot, Error **errp)
{
    MemTxResult result;
    Error *err = NULL;
    unsigned i;

    if (visit_is_done(v, level, gpa, va)) {
        return true;
    }
    if (!visit_count_table(v, errp)) {
        return false;
    }
    result = visit_read_table(v, level, gpa, &err);
    if (result != MEMTX_OK) {
        return v->visitor->unreadable(x86_va_canonical(v->format, va), result,
                                      err, v->visitor->opaque, errp);
    }
    for (i = 0; i < x86_table_entries(v->format, level); i++) {
        uint64_t entry = x86_table_entry(v->format, v->table[level - 1], i);

        if (!visit_entry(v, level, entry, va, prot, errp)) {
            return false;
        }
        va += x86_entry_span(v->format, level);
    }
    return true;
}

bool x86_page_visit_fail_unreadable(vaddr va, MemTxResult result, Error *err,
                                    void *opaque, Error **errp)
{
    if (result == MEMTX_DECODE_ERROR) {
        error_free(err);
        return true;
    }
    error_propagate(errp, err);
    return false;
}

bool x86_page_visit(const X86PageTables *tables, X86PageVisitor *visitor,
                    Error **errp)
{
    const X86PagingFormat *format = x86_paging_format(tables->mode);
    Visit *v;
    bool ok;

    if (tables->mode == X86_PAGING_NONE) {
        return true;
    }
    v = g_new(Visit, 1);
    v->tables = tables;
    v->format = format;
    v->visitor = visitor;
    memset(v->table_gpa, -1, sizeof(v->table_gpa));
    ok = visit_table(v, format->levels, tables->root, 0, PROT_MASK, errp);
    memory_debug_wipe(v, sizeof(*v));
    g_free(v);
    return ok;
}
