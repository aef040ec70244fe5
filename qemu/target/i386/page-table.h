/*
 * x86 page tables, as debuggers read them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TARGET_I386_PAGE_TABLE_H
#define TARGET_I386_PAGE_TABLE_H

#include "exec/hwaddr.h"
#include "exec/vaddr.h"
#include "system/confidential-guest-support.h"
#include "system/memory-debug.h"

/*
 * The formats of all paging modes (AMD APM volume 2, chapter 5; Intel SDM
 * volume 3, chapter 4), and a walker for debuggers.  A vCPU's own accesses
 * are translated elsewhere, see tcg/sysemu/excp_helper.c.
 *
 * Levels are counted as the APM does: a level 1 table holds PTEs, level 2
 * PDEs, level 3 PDPTEs, level 4 PML4Es, level 5 PML5Es.
 *
 * Reserved bits, permissions and the accessed and dirty bits are ignored, so
 * that a guest's mistakes can still be looked at.  Page tables are hostile
 * input: a walk has at most as many steps as there are levels, and a visit
 * ends after X86PageVisitor::max_tables.
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
 * @entry_size: size of an entry in bytes
 * @index_bits: log2 of the number of entries of a table of 4 KiB
 * @va_bits: number of virtual address bits that are translated
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
                         uint64_t entry, ConfidentialGuestPageBit page_bit);

/**
 * x86_entry_encryption: is the page a leaf @entry maps private or shared?
 *
 * Returns a MEMTX_ENCRYPTION_* value, MEMTX_ENCRYPTION_UNKNOWN where page
 * tables do not say.  32-bit entries have no room for the bit: what they map
 * is private (APM volume 2, 15.34.4), and so is everything without paging.
 */
uint8_t x86_entry_encryption(const X86PagingFormat *format, uint64_t entry,
                             ConfidentialGuestPageBit page_bit);

/* @va with the untranslated bits set as the CPU requires */
vaddr x86_va_canonical(const X86PagingFormat *format, vaddr va);

/**
 * x86_va_valid: can @va be translated at all?
 *
 * False for non-canonical addresses in long mode.  Outside of long mode the
 * upper 32 bits are ignored.
 */
bool x86_va_valid(const X86PagingFormat *format, vaddr va);

/**
 * X86PageTables: a set of page tables, and how to read them
 *
 * @mode: paging mode
 * @root: guest-physical address of the root table, without page-table bit
 * @page_bit: private or shared, in each entry; mask 0 if there is none
 * @a20_mask: applied to the addresses of entries, and to what 32-bit entries
 *     map, as the CPU does
 * @attrs: how @cpu accesses memory, in SMM or not
 * @read: read one entry (@len is 4 or 8 bytes), or a whole table, at
 *     guest-physical address @addr.  Returns MEMTX_OK, or fails with @errp
 *     set: with MEMTX_DECODE_ERROR where there is no memory at all, so that
 *     the CPU finds no page there either.
 * @cpu, @scope: for @read
 */
typedef struct X86PageTables X86PageTables;
struct X86PageTables {
    X86PagingMode mode;
    hwaddr root;
    ConfidentialGuestPageBit page_bit;
    uint64_t a20_mask;
    MemTxAttrs attrs;
    MemTxResult (*read)(const X86PageTables *tables, hwaddr addr, void *buf,
                        hwaddr len, Error **errp);
    CPUState *cpu;
    MemoryDebugScope *scope;
};

/**
 * X86PageLeaf: a page, as a leaf entry maps it
 *
 * @va: virtual address of its first byte, canonical
 * @gpa: guest-physical address of its first byte, without page-table bit
 * @size: in bytes
 * @level: of the leaf entry; 0 without paging
 * @entry: the leaf entry as it lies in guest memory
 * @prot: X86_ENTRY_RW and X86_ENTRY_USER, if set in the entries of all levels
 * @attrs: for accessing the page; .encryption is what @entry says
 */
typedef struct X86PageLeaf {
    vaddr va;
    hwaddr gpa;
    uint64_t size;
    int level;
    uint64_t entry;
    uint64_t prot;
    MemTxAttrs attrs;
} X86PageLeaf;

/**
 * x86_page_walk: translate one virtual address
 *
 * @addr: any byte of the page
 * @leaf: set to the page
 *
 * Reads one entry per level.  Returns false with @errp set if @addr is not
 * mapped (the entry that is not present is named) or a table cannot be read.
 */
bool x86_page_walk(const X86PageTables *tables, vaddr addr, X86PageLeaf *leaf,
                   Error **errp);

/*
 * X86PageVisitor::max_tables where each table is read once: the tables of
 * 2 TiB in pages of 4 KiB
 */
#define X86_PAGE_VISIT_TABLES   (1 << 20)

/**
 * X86PageVisitor: callbacks for the contents of page tables
 *
 * @max_tables: fail after this many tables, in all visits together.  If all
 *     entries of a table lead back to it, there are 2^36 pages, or 2^45.
 * @n_tables: number of tables visited so far
 * @seen: NULL, or from x86_seen_tables_new(): skip tables that this visit, or
 *     an earlier one with the same @seen, has visited at the same virtual
 *     address
 * @any_va: with @seen: skip them at any virtual address
 * @leaf: called for each present leaf entry
 * @unreadable: called for each table that cannot be read.  @va is the first
 *     virtual address that it would translate, @result what
 *     X86PageTables::read returned.  Takes ownership of @err, which names the
 *     table.
 * @opaque: for the callbacks, which return false with @errp set to end the
 *     visit
 */
typedef struct X86PageVisitor {
    uint64_t max_tables;
    uint64_t n_tables;
    GHashTable *seen;
    bool any_va;
    bool (*leaf)(const X86PageLeaf *leaf, void *opaque, Error **errp);
    bool (*unreadable)(vaddr va, MemTxResult result, Error *err,
                       void *opaque, Error **errp);
    void *opaque;
} X86PageVisitor;

/* For X86PageVisitor::seen; free it with g_hash_table_unref() */
GHashTable *x86_seen_tables_new(void);

/**
 * x86_page_visit_fail_unreadable: an X86PageVisitor::unreadable
 *
 * A table that cannot be read ends the visit, unless there is no memory at
 * its address.
 */
bool x86_page_visit_fail_unreadable(vaddr va, MemTxResult result, Error *err,
                                    void *opaque, Error **errp);

/**
 * x86_page_visit: visit all pages, in order of their virtual addresses
 *
 * Tables are read one at a time, as a whole, once for each entry that points
 * to them; consecutive entries of a table that point to the same table count
 * as one.  Non-canonical addresses are skipped: the upper half follows the
 * lower.  Without paging there is nothing to visit.
 *
 * A running guest may change its tables meanwhile: each of them is seen as it
 * was at some moment, but not all at the same moment.
 *
 * Returns false with @errp set if a callback ended the visit, or there were
 * too many tables.
 */
bool x86_page_visit(const X86PageTables *tables, X86PageVisitor *visitor,
                    Error **errp);

/**
 * x86_page_tables_init: the page tables that @cpu uses
 *
 * @cpu: its registers must have been synchronised
 * @scope: for reading the tables; must outlive @tables, not NULL
 *
 * For a normal guest, single entries are read by x86_ldq_phys(), as the CPU
 * would.  For a confidential guest, and for whole tables, they are read by
 * physical_memory_debug_op, from RAM and ROM only.
 *
 * Called with the BQL held.  Returns false with @errp set if the page tables
 * are unknown because the registers of the guest are protected.
 */
bool x86_page_tables_init(CPUState *cpu, MemoryDebugScope *scope,
                          X86PageTables *tables, Error **errp);

/**
 * x86_find_mapped_pages: for ConfidentialGuestSupportClass::debug_find_mapped
 *
 * Reports what the page tables of all vCPUs map and, where the guest has
 * announced a VMCOREINFO note, what the kernel's own tables map.
 */
bool x86_find_mapped_pages(ConfidentialGuestMappedFunc *mapped, void *opaque,
                           Error **errp);

#endif
