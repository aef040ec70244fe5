/*
 * x86 page-table formats
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "qemu/bswap.h"
#include "page-table.h"

#define PAGE_BITS   12

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
                         uint64_t entry, EncryptedPageBit page_bit)
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
                             EncryptedPageBit page_bit)
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
