/*
 * x86 page-table walker for debuggers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TARGET_I386_PAGE_WALK_H
#define TARGET_I386_PAGE_WALK_H

#include "hw/core/cpu.h"
#include "system/memory-debug.h"
#include "page-table.h"

/*
 * Reads the guest's page tables through the debug access layer, so that it
 * works on encrypted guests, too: the C-bit or shared bit is cleared in the
 * walker's copy of each entry.  Permissions, reserved bits and the accessed
 * and dirty bits play no role.  Page tables are hostile input: a walk takes
 * at most as many steps as there are levels, and tables are read from RAM
 * and ROM only, never from a device's registers.
 *
 * All functions are called with the BQL held, as they look at the memory
 * map and, at the start, at a vCPU's registers.
 */

/**
 * X86PageTables: a set of page tables, and how to read them
 *
 * @mode: paging mode
 * @root: guest-physical address of the root table, without page-table bit
 * @page_bit: tells private from shared in each entry; mask 0: not there
 * @a20_mask: applied to the addresses of entries, and to what 32-bit entries
 *     map, as in the CPU
 * @cpu: the vCPU whose address space holds the tables
 * @attrs: how to read them: as the vCPU would, in SMM or not
 */
typedef struct X86PageTables {
    X86PagingMode mode;
    hwaddr root;
    EncryptedPageBit page_bit;
    uint64_t a20_mask;
    CPUState *cpu;
    MemTxAttrs attrs;
} X86PageTables;

/**
 * X86PageLeaf: a page, as a leaf entry maps it
 *
 * @va: virtual address of its first byte, canonical
 * @gpa: guest-physical address of its first byte, without page-table bit
 * @size: in bytes
 * @level: of the leaf entry; 0 without paging
 * @entry: the leaf entry as it lies in guest memory
 * @prot: X86_ENTRY_RW and X86_ENTRY_USER, where the entries of all levels
 *     have it
 * @attrs: how to access the page; .encryption says what @entry said
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
 * x86_page_tables_init: the page tables that @cpu uses
 *
 * @cpu: its registers must have been synchronised
 *
 * Returns false with @errp set when they are not known, because the
 * registers of the guest are protected.
 */
bool x86_page_tables_init(CPUState *cpu, X86PageTables *tables, Error **errp);

/**
 * x86_page_walk: translate one virtual address
 *
 * @addr: any byte of the page
 * @leaf: set to the page
 *
 * Reads one entry a level.  Returns false with @errp set when @addr is not
 * mapped (the entry which is not present is named) or a table cannot be read.
 */
bool x86_page_walk(const X86PageTables *tables, vaddr addr, X86PageLeaf *leaf,
                   Error **errp);

/*
 * For X86PageVisitor.max_tables, where nobody can end a visit that has no
 * end: the tables of 512 GiB in pages of 4 KiB, or some seconds.
 */
#define X86_PAGE_VISIT_TABLES   (1 << 18)

/**
 * X86PageVisitor: called back for what the page tables hold
 *
 * @max_tables: fail after so many tables, 0: never.  When all entries of a
 *     table lead back to it, there are 2^36 pages, or 2^45.
 * @once: visit a table that many entries lead to only once, for those who
 *     do not care about virtual addresses
 * @go_on: before each table: is there still someone who wants to know?
 * @leaf: for each present leaf entry
 * @unreadable: for each table that cannot be read.  @va is the first virtual
 *     address it would translate.  @result is MEMTX_DECODE_ERROR where there
 *     is no memory at all (the CPU finds no page there either), and
 *     MEMTX_ACCESS_ERROR or MEMTX_ERROR where it might.  @err, which names
 *     the table, is for the callee to free.
 *
 * Each callback returns false with @errp set to end the visit.
 */
typedef struct X86PageVisitor {
    uint64_t max_tables;
    bool once;
    bool (*go_on)(void *opaque, Error **errp);
    bool (*leaf)(const X86PageLeaf *leaf, void *opaque, Error **errp);
    bool (*unreadable)(vaddr va, MemTxResult result, Error *err,
                       void *opaque, Error **errp);
} X86PageVisitor;

/**
 * x86_page_visit_needs_tables: an X86PageVisitor.unreadable
 *
 * For those who need to know all pages: a table that cannot be read ends the
 * visit, unless there is no memory where it should be.
 */
bool x86_page_visit_needs_tables(vaddr va, MemTxResult result, Error *err,
                                 void *opaque, Error **errp);

/**
 * x86_page_visit: visit all pages, in order of their virtual addresses
 *
 * Tables are read one at a time, as a whole, once for each entry that
 * points to them; only once for all entries of a table in a row that point to
 * the same.  Non-canonical addresses do not exist: the upper half follows the
 * lower.  Without paging there is nothing to visit.
 *
 * A guest that runs may change its tables meanwhile: each of them is seen as
 * it was at some moment, not all at the same.
 *
 * Returns false with @errp set if a callback ended the visit, or there were
 * too many tables.
 */
bool x86_page_visit(const X86PageTables *tables,
                    const X86PageVisitor *visitor, void *opaque, Error **errp);

/**
 * x86_ldl_phys_debug, x86_ldq_phys_debug: read a page-table entry
 *
 * @addr: guest-physical address of the entry, in @cpu's address space
 * @attrs: secure: @cpu is in SMM; encryption: private or shared, if known
 *
 * Unlike x86_ldl_phys() and x86_ldq_phys(), which the CPU itself uses, these
 * go through the debug access layer and can fail.
 */
MemTxResult x86_ldl_phys_debug(CPUState *cpu, hwaddr addr, MemTxAttrs attrs,
                               uint32_t *val, Error **errp);
MemTxResult x86_ldq_phys_debug(CPUState *cpu, hwaddr addr, MemTxAttrs attrs,
                               uint64_t *val, Error **errp);

/**
 * x86_cpu_translate_debug: SysemuCPUOps::translate_debug
 *
 * The stock function's answer for a normal guest, and a reason if it has
 * none; the walker's for an encrypted guest.
 */
hwaddr x86_cpu_translate_debug(CPUState *cpu, vaddr addr, MemTxAttrs *attrs,
                               Error **errp);

/**
 * x86_cpu_get_phys_page_attrs_encrypted_debug: what
 * x86_cpu_get_phys_page_attrs_debug() does for an encrypted guest
 *
 * Returns -1 where x86_cpu_translate_debug() has an error.
 */
hwaddr x86_cpu_get_phys_page_attrs_encrypted_debug(CPUState *cpu, vaddr addr,
                                                   MemTxAttrs *attrs);

#endif
