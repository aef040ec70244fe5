/*
 * x86 page-table formats
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TARGET_I386_PAGE_TABLE_H
#define TARGET_I386_PAGE_TABLE_H

#include "exec/hwaddr.h"
#include "exec/vaddr.h"
#include "system/encrypted-guest.h"

/*
 * What the bits of addresses and page-table entries mean in each paging mode
 * (AMD APM volume 2, chapter 5; Intel SDM volume 3, chapter 4).  No guest, no
 * memory: see page-walk.h for walking the tables.
 *
 * Levels are counted as the APM does: a level 1 table holds PTEs, level 2
 * PDEs, level 3 PDPTEs, level 4 PML4Es, level 5 PML5Es.
 *
 * Reserved bits are ignored, as everywhere in QEMU's debug accesses: what a
 * guest has set up by mistake can still be looked at.
 */

typedef enum X86PagingMode {
    X86_PAGING_NONE,
    X86_PAGING_32BIT,           /* CR4.PSE clear: 4 KiB pages only */
    X86_PAGING_32BIT_PSE,       /* with 4 MiB pages, up to 40 bits of address */
    X86_PAGING_PAE,
    X86_PAGING_4LEVEL,
    X86_PAGING_5LEVEL,
    X86_PAGING__MAX,
} X86PagingMode;

#define X86_PAGING_MAX_LEVELS   5

#define X86_ENTRY_PRESENT       (1 << 0)
#define X86_ENTRY_RW            (1 << 1)
#define X86_ENTRY_USER          (1 << 2)
#define X86_ENTRY_LARGE         (1 << 7)        /* PS, above level 1 */
#define X86_ENTRY_ADDRESS       0x000ffffffffff000ULL

/**
 * X86PagingFormat: one paging mode's tables
 *
 * @name: for messages
 * @levels: number of levels, 0 without paging
 * @entry_size: bytes of an entry
 * @index_bits: log2 of the number of entries of a table of 4 KiB
 * @va_bits: bits of a virtual address that are translated
 * @root_mask: the bits of CR3 that hold the address of the root table
 * @large_levels: bit N is set when an entry of level N may map a page
 */
typedef struct X86PagingFormat {
    const char *name;
    uint8_t levels;
    uint8_t entry_size;
    uint8_t index_bits;
    uint8_t va_bits;
    uint64_t root_mask;
    uint8_t large_levels;
} X86PagingFormat;

/* Never fails; @mode is one of the enum's modes */
const X86PagingFormat *x86_paging_format(X86PagingMode mode);

/* "PTE", "PDE" ...; @level from 1 to X86_PAGING_MAX_LEVELS */
const char *x86_entry_name(int level);

/* Bytes of virtual address space that one entry of @level covers */
uint64_t x86_entry_span(const X86PagingFormat *format, int level);

/* Entries in a table of @level: 1024, 512, or 4 in a PAE root */
unsigned x86_table_entries(const X86PagingFormat *format, int level);

/* Which entry of its table of @level translates @va */
unsigned x86_table_index(const X86PagingFormat *format, int level, vaddr va);

/* Entry number @index of a table as it lies in guest memory */
uint64_t x86_table_entry(const X86PagingFormat *format, const void *table,
                         unsigned index);

/* Is a present @entry a leaf, i.e. does it map a page? */
bool x86_entry_is_leaf(const X86PagingFormat *format, int level,
                       uint64_t entry);

/**
 * x86_entry_address: guest-physical address a present @entry points to
 *
 * The first byte of the page when it is a leaf, of the next table otherwise;
 * @page_bit is cleared.
 */
hwaddr x86_entry_address(const X86PagingFormat *format, int level,
                         uint64_t entry, EncryptedPageBit page_bit);

/**
 * x86_entry_encryption: is the page a leaf @entry maps private or shared?
 *
 * Returns a MEMTX_ENCRYPTION_* value, MEMTX_ENCRYPTION_UNKNOWN where page
 * tables do not say.  32-bit entries have no room for the bit: what they map
 * is private (APM volume 2, 15.34.4), and so is everything without paging.
 */
uint8_t x86_entry_encryption(const X86PagingFormat *format, uint64_t entry,
                             EncryptedPageBit page_bit);

/* @va with the bits that are not translated as the CPU wants them */
vaddr x86_va_canonical(const X86PagingFormat *format, vaddr va);

/**
 * x86_va_valid: can @va be translated at all?
 *
 * False for non-canonical addresses in long mode.  Outside of long mode the
 * upper 32 bits are ignored.
 */
bool x86_va_valid(const X86PagingFormat *format, vaddr va);

#endif
