/*
 * x86 page-table walker for debuggers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/rcu.h"
#include "cpu.h"
#include "exec/target_page.h"
#include "system/memory.h"
#include "page-walk.h"
#include "protected-paging.h"

#define TABLE_SIZE  4096
#define PROT_MASK   (X86_ENTRY_RW | X86_ENTRY_USER)

QEMU_BUILD_BUG_ON(X86_ENTRY_PRESENT != PG_PRESENT_MASK);
QEMU_BUILD_BUG_ON(X86_ENTRY_RW != PG_RW_MASK);
QEMU_BUILD_BUG_ON(X86_ENTRY_USER != PG_USER_MASK);
QEMU_BUILD_BUG_ON(X86_ENTRY_LARGE != PG_PSE_MASK);
QEMU_BUILD_BUG_ON(X86_ENTRY_ADDRESS != PG_ADDRESS_MASK);

/* Where the page tables of a guest with protected registers come from */
static bool tables_of_protected_cpu(X86PageTables *tables, Error **errp)
{
    static const X86PagingMode modes[] = {
        [MEMORY_DEBUG_PAGING_AUTO] = X86_PAGING__MAX,
        [MEMORY_DEBUG_PAGING_PAE] = X86_PAGING_PAE,
        [MEMORY_DEBUG_PAGING_4LEVEL] = X86_PAGING_4LEVEL,
        [MEMORY_DEBUG_PAGING_5LEVEL] = X86_PAGING_5LEVEL,
    };
    MemoryDebugPaging paging;

    QEMU_BUILD_BUG_ON(ARRAY_SIZE(modes) != MEMORY_DEBUG_PAGING__MAX);
    if (!x86_protected_paging(tables->cpu, &paging, &tables->root, errp)) {
        return false;
    }
    tables->mode = modes[paging];
    assert(tables->mode != X86_PAGING__MAX);
    return true;
}

static X86PagingMode cpu_paging_mode(const CPUX86State *env)
{
    if (!(env->cr[0] & CR0_PG_MASK)) {
        return X86_PAGING_NONE;
    }
    if (!(env->cr[4] & CR4_PAE_MASK)) {
        return env->cr[4] & CR4_PSE_MASK ? X86_PAGING_32BIT_PSE
                                         : X86_PAGING_32BIT;
    }
    if (!(env->hflags & HF_LMA_MASK)) {
        return X86_PAGING_PAE;
    }
    return env->cr[4] & CR4_LA57_MASK ? X86_PAGING_5LEVEL : X86_PAGING_4LEVEL;
}

bool x86_page_tables_init(CPUState *cpu, X86PageTables *tables, Error **errp)
{
    CPUX86State *env = cpu_env(cpu);
    EncryptedPageBit page_bit = memory_debug_page_bit();

    *tables = (X86PageTables) {
        .page_bit = page_bit,
        .a20_mask = (int64_t)x86_get_a20_mask(env),
        .cpu = cpu,
        .attrs = cpu_get_mem_attrs(env),
    };
    tables->attrs.debug = 1;
    if (page_bit.mask) {
        /* whatever the entries that point to them say */
        tables->attrs.encryption = MEMTX_ENCRYPTION_PRIVATE;
    }
    if (memory_debug_registers_protected()) {
        return tables_of_protected_cpu(tables, errp);
    }
    tables->mode = cpu_paging_mode(env);
    tables->root = env->cr[3] & x86_paging_format(tables->mode)->root_mask &
                   ~page_bit.mask;
    return true;
}

static MemTxResult refuse_table(AddressSpace *as, hwaddr addr, Error **errp)
{
    if (memory_region_present(as->root, addr)) {
        error_setg(errp, "at physical address 0x%" HWADDR_PRIx
                   " there is a device, not RAM", addr);
        return MEMTX_ACCESS_ERROR;
    }
    error_setg(errp, "nothing is mapped at physical address 0x%" HWADDR_PRIx,
               addr);
    return MEMTX_DECODE_ERROR;
}

/* Page tables lie in RAM or ROM; a device's registers change when read */
static MemTxResult check_is_ram(AddressSpace *as, hwaddr addr, hwaddr len,
                                MemTxAttrs attrs, Error **errp)
{
    RCU_READ_LOCK_GUARD();

    while (len) {
        hwaddr offset, run = len;
        MemoryRegion *mr = address_space_translate(as, addr, &offset, &run,
                                                   false, attrs);

        if (!memory_region_supports_direct_access(mr)) {
            return refuse_table(as, addr, errp);
        }
        addr += run;
        len -= run;
    }
    return MEMTX_OK;
}

static MemTxResult read_table(CPUState *cpu, hwaddr addr, MemTxAttrs attrs,
                              void *buf, hwaddr len, Error **errp)
{
    AddressSpace *as = cpu_addressspace(cpu, attrs);
    MemTxResult result = check_is_ram(as, addr, len, attrs, errp);

    if (result != MEMTX_OK) {
        return result;
    }
    return physical_memory_debug_op->read(as, addr, attrs, buf, len, errp);
}

MemTxResult x86_ldl_phys_debug(CPUState *cpu, hwaddr addr, MemTxAttrs attrs,
                               uint32_t *val, Error **errp)
{
    MemTxResult r = read_table(cpu, addr, attrs, val, sizeof(*val), errp);

    if (r == MEMTX_OK) {
        le32_to_cpus(val);
    }
    return r;
}

MemTxResult x86_ldq_phys_debug(CPUState *cpu, hwaddr addr, MemTxAttrs attrs,
                               uint64_t *val, Error **errp)
{
    MemTxResult r = read_table(cpu, addr, attrs, val, sizeof(*val), errp);

    if (r == MEMTX_OK) {
        le64_to_cpus(val);
    }
    return r;
}

static bool read_entry(const X86PageTables *tables, hwaddr addr,
                       uint64_t *entry, Error **errp)
{
    MemTxResult r;
    uint32_t val = 0;

    if (x86_paging_format(tables->mode)->entry_size == 8) {
        r = x86_ldq_phys_debug(tables->cpu, addr, tables->attrs, entry, errp);
    } else {
        r = x86_ldl_phys_debug(tables->cpu, addr, tables->attrs, &val, errp);
        *entry = val;
    }
    return r == MEMTX_OK;
}

/* What the entries of one level add to the permissions of those above */
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

static X86PageLeaf unpaged_leaf(const X86PageTables *tables, vaddr addr)
{
    const X86PagingFormat *format = x86_paging_format(X86_PAGING_NONE);
    X86PageLeaf leaf = {
        .va = addr & TARGET_PAGE_MASK,
        .gpa = addr & tables->a20_mask & X86_ENTRY_ADDRESS,
        .size = TARGET_PAGE_SIZE,
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
    ERRP_GUARD();

    if (!read_entry(tables, entry_gpa, entry, errp)) {
        error_prepend(errp, "cannot read the %s of virtual address 0x%"
                      VADDR_PRIx " at 0x%" HWADDR_PRIx ": ",
                      x86_entry_name(level), addr, entry_gpa);
        return false;
    }
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

/* One visit: a table of each level, and where it was read from */
typedef struct Visit {
    const X86PageTables *tables;
    const X86PagingFormat *format;
    const X86PageVisitor *visitor;
    void *opaque;
    uint64_t n_tables;          /* until now */
    GHashTable *seen;           /* NULL unless each is visited once */
    hwaddr table_gpa[X86_PAGING_MAX_LEVELS];
    uint8_t table[X86_PAGING_MAX_LEVELS][TABLE_SIZE];
} Visit;

/* Read a table unless it is the one that was visited last on this level */
static MemTxResult visit_read_table(Visit *v, int level, hwaddr gpa,
                                    Error **errp)
{
    const X86PageTables *tables = v->tables;
    hwaddr len = x86_table_entries(v->format, level) * v->format->entry_size;
    hwaddr addr = gpa & tables->a20_mask;
    MemTxResult result;
    ERRP_GUARD();

    if (v->table_gpa[level - 1] == gpa) {
        return MEMTX_OK;
    }
    v->table_gpa[level - 1] = -1;
    result = read_table(tables->cpu, addr, tables->attrs, v->table[level - 1],
                        len, errp);
    if (result == MEMTX_OK) {
        v->table_gpa[level - 1] = gpa;
    } else {
        error_prepend(errp, "cannot read the page table at 0x%" HWADDR_PRIx
                      ": ", addr);
    }
    return result;
}

/* May the visit take one more table? */
static bool visit_go_on(Visit *v, Error **errp)
{
    uint64_t max = v->visitor->max_tables;

    if (max && v->n_tables == max) {
        error_setg(errp, "the guest has more than %" PRIu64 " page tables, or "
                   "entries which lead to the same tables again and again",
                   max);
        return false;
    }
    v->n_tables++;
    return v->visitor->go_on(v->opaque, errp);
}

/* A table may serve as one of several levels; it is aligned to 32 bytes */
static bool visit_is_done(Visit *v, int level, hwaddr gpa)
{
    uint64_t key = gpa | level;

    return v->seen && !g_hash_table_add(v->seen, g_memdup2(&key, sizeof(key)));
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

        return v->visitor->leaf(&leaf, v->opaque, errp);
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

    if (visit_is_done(v, level, gpa)) {
        return true;
    }
    if (!visit_go_on(v, errp)) {
        return false;
    }
    result = visit_read_table(v, level, gpa, &err);
    if (result != MEMTX_OK) {
        return v->visitor->unreadable(x86_va_canonical(v->format, va), result,
                                      err, v->opaque, errp);
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

bool x86_page_visit_needs_tables(vaddr va, MemTxResult result, Error *err,
                                 void *opaque, Error **errp)
{
    /* Where there is no memory the CPU finds no pages either */
    if (result == MEMTX_DECODE_ERROR) {
        error_free(err);
        return true;
    }
    error_propagate(errp, err);
    return false;
}

bool x86_page_visit(const X86PageTables *tables,
                    const X86PageVisitor *visitor, void *opaque, Error **errp)
{
    const X86PagingFormat *format = x86_paging_format(tables->mode);
    g_autoptr(GHashTable) seen = NULL;
    g_autofree Visit *v = g_new(Visit, 1);

    if (tables->mode == X86_PAGING_NONE) {
        return true;
    }
    if (visitor->once) {
        seen = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free,
                                     NULL);
    }
    v->tables = tables;
    v->format = format;
    v->visitor = visitor;
    v->opaque = opaque;
    v->n_tables = 0;
    v->seen = seen;
    memset(v->table_gpa, -1, sizeof(v->table_gpa));
    return visit_table(v, format->levels, tables->root, 0, PROT_MASK, errp);
}

/* The walker's answer for a 4 KiB page, as SysemuCPUOps want it */
static hwaddr walk_to_page(CPUState *cpu, vaddr addr, MemTxAttrs *attrs,
                           Error **errp)
{
    X86PageTables tables;
    X86PageLeaf leaf;
    ERRP_GUARD();

    if (!x86_page_tables_init(cpu, &tables, errp)) {
        error_prepend(errp, "cannot translate virtual address 0x%" VADDR_PRIx
                      ": ", addr);
        *attrs = tables.attrs;
        return -1;
    }
    *attrs = tables.attrs;
    if (!x86_page_walk(&tables, addr, &leaf, errp)) {
        return -1;
    }
    *attrs = leaf.attrs;
    return leaf.gpa | (addr & (leaf.size - 1) & TARGET_PAGE_MASK);
}

hwaddr x86_cpu_translate_debug(CPUState *cpu, vaddr addr, MemTxAttrs *attrs,
                               Error **errp)
{
    if (!memory_debug_guest()) {
        hwaddr page = x86_cpu_get_phys_page_attrs_debug(cpu, addr, attrs);

        if (page != -1) {
            return page;
        }
    }
    return walk_to_page(cpu, addr, attrs, errp);
}

hwaddr x86_cpu_get_phys_page_attrs_encrypted_debug(CPUState *cpu, vaddr addr,
                                                   MemTxAttrs *attrs)
{
    return walk_to_page(cpu, addr, attrs, NULL);
}
