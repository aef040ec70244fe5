/*
 * Fuzz target: walking and listing hostile page tables
 * FUZZ SOURCES: target/i386/page-table.c
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "cpu.h"
#include "system/memory.h"
#include "system/memory-debug.h"
#include "target/i386/page-table.h"
#include "fuzz.h"

/* In a visit, so that inputs with loops do not take seconds */
#define MAX_TABLES  16
#undef X86_PAGE_VISIT_TABLES
#define X86_PAGE_VISIT_TABLES   MAX_TABLES
#include "target/i386/arch_memory_mapping.c"

/*
 * Physical memory: RAM with tables and pages, of which one cannot be read, a
 * page of ROM, one of a device and one of nothing; then all that again and
 * again, so that most entries point to something.
 */
#define PAGE        4096
#define PAGES       16
#define MEMORY      (PAGES * PAGE)
#define FAULTY      (12 * PAGE)
#define ROM         (13 * PAGE)
#define DEVICE      (14 * PAGE)
#define NOTHING     (15 * PAGE)

static uint8_t memory[MEMORY];
static ConfidentialGuestPageBit page_bit;
static X86CPU *vcpu;
static X86CPU *vcpus[2];
CPUTailQ cpus_queue = QTAILQ_HEAD_INITIALIZER(cpus_queue);

/*
 * What page-table.c and arch_memory_mapping.c ask for
 */

static hwaddr page_of(hwaddr addr)
{
    return addr & (MEMORY - 1) & ~(hwaddr)(PAGE - 1);
}

static bool is_ram(hwaddr addr)
{
    return page_of(addr) != DEVICE && page_of(addr) != NOTHING;
}

bool address_space_is_io(AddressSpace *as, hwaddr addr)
{
    return !is_ram(addr);
}

static MemTxResult read_memory(const X86PageTables *tables, hwaddr addr,
                               void *buf, hwaddr len, Error **errp)
{
    CHECK(len <= PAGE && addr % PAGE + len <= PAGE);
    if (page_of(addr) == NOTHING) {
        error_setg(errp, "nothing is there");
        return MEMTX_DECODE_ERROR;
    }
    if (page_of(addr) == FAULTY || page_of(addr) == DEVICE) {
        memset(buf, 0xff, len);         /* nothing of it may be used */
        error_setg(errp, "the firmware refuses");
        return MEMTX_ERROR;
    }
    memcpy(buf, memory + (addr & (MEMORY - 1)), len);
    return MEMTX_OK;
}

void memory_debug_scope_begin(MemoryDebugScope *scope)
{
}

void memory_debug_scope_end(MemoryDebugScope *scope)
{
}

static X86PagingMode paging_mode(const CPUX86State *env)
{
    if (!(env->cr[4] & CR4_PAE_MASK)) {
        return env->cr[4] & CR4_PSE_MASK ? X86_PAGING_32BIT_PSE
                                         : X86_PAGING_32BIT;
    }
    if (!(env->hflags & HF_LMA_MASK)) {
        return X86_PAGING_PAE;
    }
    return env->cr[4] & CR4_LA57_MASK ? X86_PAGING_5LEVEL : X86_PAGING_4LEVEL;
}

bool x86_page_tables_init(CPUState *cpu, MemoryDebugScope *scope,
                          X86PageTables *tables, Error **errp)
{
    CPUX86State *env = &container_of(cpu, X86CPU, parent_obj)->env;

    *tables = (X86PageTables) {
        .mode = paging_mode(env),
        .page_bit = page_bit,
        .a20_mask = (int64_t)env->a20_mask,
        .read = read_memory,
        .cpu = cpu,
        .scope = scope,
    };
    tables->root = env->cr[3] & x86_paging_format(tables->mode)->root_mask &
                   ~page_bit.mask;
    return true;
}

void memory_mapping_list_append(MemoryMappingList *list, hwaddr phys_addr,
                                hwaddr virt_addr, ram_addr_t length)
{
    MemoryMapping *map = g_new0(MemoryMapping, 1);

    map->phys_addr = phys_addr;
    map->virt_addr = virt_addr;
    map->length = length;
    QTAILQ_INSERT_TAIL(&list->head, map, next);
    list->num++;
}

static void free_list(MemoryMappingList *list)
{
    MemoryMapping *map, *next;

    QTAILQ_FOREACH_SAFE(map, &list->head, next, next) {
        QTAILQ_REMOVE(&list->head, map, next);
        g_free(map);
    }
}

/*
 * The model: a walk as the manuals have it, with a case for each mode
 */

typedef enum Result { MAPPED, NOT_MAPPED, UNREADABLE } Result;

typedef struct Page {
    uint64_t va, gpa, size, entry;
    bool write, user;
} Page;

static bool model_read(uint64_t addr, int size, uint64_t *entry)
{
    addr &= (int64_t)vcpu->env.a20_mask;
    if (page_of(addr) == DEVICE || page_of(addr) == NOTHING ||
        page_of(addr) == FAULTY) {
        return false;
    }
    *entry = size == 8 ? ldq_le_p(memory + (addr & (MEMORY - 1))) :
                         (uint32_t)ldl_le_p(memory + (addr & (MEMORY - 1)));
    return true;
}

static void model_rights(Page *page, uint64_t entry)
{
    page->entry = entry;
    page->write &= !!(entry & 2);
    page->user &= !!(entry & 4);
}

static Result model_walk_32(uint64_t va, Page *page)
{
    uint64_t entry;

    va = (uint32_t)va;
    if (!model_read((vcpu->env.cr[3] & 0xfffff000) + (va >> 22) * 4, 4,
                    &entry)) {
        return UNREADABLE;
    }
    if (!(entry & 1)) {
        return NOT_MAPPED;
    }
    model_rights(page, entry);
    if ((entry & 0x80) && (vcpu->env.cr[4] & CR4_PSE_MASK)) {
        page->size = 4 * MiB;
        page->gpa = (entry & 0xffc00000) | (entry >> 13 & 0xff) << 32;
    } else {
        if (!model_read((entry & 0xfffff000) + (va >> 12 & 0x3ff) * 4, 4,
                        &entry)) {
            return UNREADABLE;
        }
        if (!(entry & 1)) {
            return NOT_MAPPED;
        }
        model_rights(page, entry);
        page->size = PAGE;
        page->gpa = entry & 0xfffff000;
    }
    page->gpa &= (int64_t)vcpu->env.a20_mask;
    page->va = va & -page->size;
    return MAPPED;
}

static Result model_walk_64(uint64_t va, Page *page)
{
    bool long_mode = vcpu->env.hflags & HF_LMA_MASK;
    int shift = !long_mode ? 30 : vcpu->env.cr[4] & CR4_LA57_MASK ? 48 : 39;
    uint64_t table = vcpu->env.cr[3] & (long_mode ? 0xffffffffff000
                                                  : 0xffffffe0);
    uint64_t entry;

    if (!long_mode) {
        va = (uint32_t)va;
    } else if ((int64_t)va >> (shift + 8) != 0 &&
               (int64_t)va >> (shift + 8) != -1) {
        return NOT_MAPPED;
    }
    for (table &= ~page_bit.mask;; shift -= 9) {
        if (!model_read(table + (va >> shift & 0x1ff) * 8, 8, &entry)) {
            return UNREADABLE;
        }
        if (!(entry & 1)) {
            return NOT_MAPPED;
        }
        if (long_mode || shift < 30) {
            model_rights(page, entry);
        }
        if (shift == 12 || (shift == 21 && (entry & 0x80)) ||
            (shift == 30 && long_mode && (entry & 0x80))) {
            break;
        }
        table = entry & 0xffffffffff000 & ~page_bit.mask;
    }
    page->size = 1ULL << shift;
    page->gpa = entry & 0xffffffffff000 & -page->size & ~page_bit.mask;
    page->va = va & -page->size;
    return MAPPED;
}

static Result model_walk(uint64_t va, Page *page)
{
    *page = (Page) { .write = true, .user = true };
    return vcpu->env.cr[4] & CR4_PAE_MASK ? model_walk_64(va, page) :
                                            model_walk_32(va, page);
}

static uint8_t model_encryption(const Page *page)
{
    if (!page_bit.mask) {
        return MEMTX_ENCRYPTION_UNKNOWN;
    }
    if (!(vcpu->env.cr[4] & CR4_PAE_MASK)) {
        return MEMTX_ENCRYPTION_PRIVATE;
    }
    return !!(page->entry & page_bit.mask) == page_bit.set_means_private ?
           MEMTX_ENCRYPTION_PRIVATE : MEMTX_ENCRYPTION_SHARED;
}

/*
 * Checks
 */

static void check_leaf(const X86PageLeaf *leaf, const Page *page)
{
    CHECK(leaf->va == page->va && leaf->gpa == page->gpa);
    CHECK(leaf->size == page->size && leaf->entry == page->entry);
    CHECK(leaf->prot == ((page->write ? X86_ENTRY_RW : 0) |
                         (page->user ? X86_ENTRY_USER : 0)));
    CHECK(leaf->attrs.encryption == model_encryption(page));
}

static void check_walk(const X86PageTables *tables, uint64_t va)
{
    X86PageLeaf leaf;
    Error *err = NULL;
    Page page;
    Result wanted = model_walk(va, &page);
    bool ok = x86_page_walk(tables, va, &leaf, &err);

    CHECK(ok == !err && ok == (wanted == MAPPED));
    if (ok) {
        check_leaf(&leaf, &page);
    } else {
        CHECK(!!strstr(error_get_pretty(err), "cannot read the ") ==
              (wanted == UNREADABLE));
        error_free(err);
    }
}

/* A visit goes up through the addresses and leaves out what is not mapped */
typedef struct Visit {
    const X86PageTables *page_tables;
    uint64_t next;          /* all below is done */
    bool wrapped;           /* at the end of the address space */
} Visit;

static void check_nothing_before(Visit *v, uint64_t va)
{
    Page page;

    CHECK(!v->wrapped && v->next <= va);
    if (v->next < va) {
        CHECK(model_walk(v->next, &page) != MAPPED);
        CHECK(model_walk(v->next + (va - v->next) / 2, &page) != MAPPED);
        CHECK(model_walk(va - 1, &page) != MAPPED);
    }
}

static bool visit_leaf(const X86PageLeaf *leaf, void *opaque, Error **errp)
{
    Visit *v = opaque;
    Page page;

    check_nothing_before(v, leaf->va);
    CHECK(model_walk(leaf->va, &page) == MAPPED);
    check_leaf(leaf, &page);
    check_walk(v->page_tables, leaf->va + leaf->size - 1);
    v->next = leaf->va + leaf->size;
    v->wrapped = v->next <= leaf->va;
    return true;
}

static bool visit_unreadable(vaddr va, MemTxResult result, Error *err,
                             void *opaque, Error **errp)
{
    Visit *v = opaque;
    Page page;

    check_nothing_before(v, va);
    CHECK(model_walk(va, &page) == UNREADABLE);
    CHECK(err && strstr(error_get_pretty(err), "cannot read the page table"));
    error_free(err);
    v->next = va;
    return true;
}

static bool check_visit(const X86PageTables *tables, uint64_t max_tables)
{
    Visit v = { tables };
    X86PageVisitor visitor = {
        .max_tables = max_tables,
        .leaf = visit_leaf,
        .unreadable = visit_unreadable,
        .opaque = &v,
    };
    Error *err = NULL;
    bool ok = x86_page_visit(tables, &visitor, &err);

    CHECK(ok == !err);
    CHECK(visitor.n_tables <= max_tables);
    CHECK(ok || visitor.n_tables == max_tables);
    error_free(err);
    return ok;
}

/* Each table once: no more tables, and the same pages */
static GHashTable *new_pages(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
}

static bool once_leaf(const X86PageLeaf *leaf, void *opaque, Error **errp)
{
    g_hash_table_add(opaque, g_strdup_printf(
        "%" PRIx64 " %" PRIx64 " %d", leaf->gpa, leaf->size,
        leaf->attrs.encryption));
    return true;
}

static bool once_unreadable(vaddr va, MemTxResult result, Error *err,
                            void *opaque, Error **errp)
{
    error_free(err);
    return true;
}

static void check_once(const X86PageTables *tables)
{
    g_autoptr(GHashTable) seen = x86_seen_tables_new();
    g_autoptr(GHashTable) all = new_pages();
    g_autoptr(GHashTable) once = new_pages();
    X86PageVisitor visitor = {
        .max_tables = MAX_TABLES,
        .leaf = once_leaf,
        .unreadable = once_unreadable,
        .opaque = all,
    };
    uint64_t n_tables;
    GHashTableIter iter;
    gpointer key;

    CHECK(x86_page_visit(tables, &visitor, NULL));
    n_tables = visitor.n_tables;
    visitor.n_tables = 0;
    visitor.seen = seen;
    visitor.any_va = true;
    visitor.opaque = once;
    CHECK(x86_page_visit(tables, &visitor, NULL));
    CHECK(visitor.n_tables <= n_tables);
    CHECK(g_hash_table_size(once) == g_hash_table_size(all));
    g_hash_table_iter_init(&iter, all);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        CHECK(g_hash_table_contains(once, key));
    }
}

/* All pages of the list are mapped, by one of the roots */
static void check_list(const MemoryMappingList *list, const uint64_t *roots)
{
    const MemoryMapping *map;
    hwaddr last = 0;
    unsigned num = 0;
    Page page;

    QTAILQ_FOREACH(map, &list->head, next) {
        CHECK(map->length && map->length % PAGE == 0);
        CHECK(map->phys_addr >= last);
        last = map->phys_addr;
        num++;
        for (hwaddr at = 0; at < MIN(map->length, 8 * PAGE); at += PAGE) {
            bool mapped = false;

            for (int i = 0; i < 2; i++) {
                vcpu->env.cr[3] = roots[i];
                mapped |= model_walk(map->virt_addr + at, &page) == MAPPED &&
                    page.gpa + map->virt_addr + at - page.va ==
                    map->phys_addr + at;
            }
            CHECK(mapped);
        }
    }
    CHECK(num == list->num);
}

static bool in_list(const MemoryMappingList *list, uint64_t va, uint64_t gpa)
{
    const MemoryMapping *map;
    int found = 0;

    QTAILQ_FOREACH(map, &list->head, next) {
        found += va >= map->virt_addr && va - map->virt_addr < map->length &&
                 gpa == map->phys_addr + (va - map->virt_addr);
    }
    CHECK(found <= 1);
    return found;
}

/* Each page of RAM is in the list */
static bool list_leaf(const X86PageLeaf *leaf, void *opaque, Error **errp)
{
    if (is_ram(leaf->gpa)) {
        CHECK(in_list(opaque, leaf->va, leaf->gpa));
        CHECK(in_list(opaque, leaf->va + leaf->size - 1,
                      leaf->gpa + leaf->size - 1));
    }
    return true;
}

static bool list_unreadable(vaddr va, MemTxResult result, Error *err,
                            void *opaque, Error **errp)
{
    CHECK(result == MEMTX_DECODE_ERROR);    /* else it had failed */
    error_free(err);
    return true;
}

/* Two vCPUs' tables in one list */
static void check_mappings(uint64_t other_root)
{
    uint64_t roots[2] = { vcpu->env.cr[3], other_root };
    MemoryMappingList list = {};
    X86PageVisitor visitor = {
        .max_tables = UINT64_MAX, .leaf = list_leaf,
        .unreadable = list_unreadable, .opaque = &list,
    };
    bool ok;

    vcpus[1]->env = vcpu->env;
    vcpus[1]->env.cr[3] = other_root;
    QTAILQ_INIT(&list.head);
    ok = x86_cpu_get_memory_mapping(CPU(vcpu), &list, NULL);
    CHECK(ok || !list.num);
    check_list(&list, roots);
    vcpu->env.cr[3] = roots[0];
    for (int i = 0; i < 2 && ok && list.num < 50; i++) {
        X86PageTables tables;

        x86_page_tables_init(CPU(vcpus[i]), NULL, &tables, &error_abort);
        CHECK(x86_page_visit(&tables, &visitor, NULL));
    }
    free_list(&list);
}

/*
 * Input
 */

static void take_registers(FuzzInput *in)
{
    CPUX86State *env = &vcpu->env;
    uint8_t mode = fuzz_take(in, 1), how = fuzz_take(in, 1);
    uint64_t c_bit = 1ULL << (how & 1 ? 47 : 51);

    memset(env, 0, sizeof(*env));
    env->a20_mask = how & 8 ? ~(1 << 20) : -1;
    env->cr[0] = CR0_PE_MASK | CR0_PG_MASK;
    env->cr[4] = mode % 5 == 0 ? 0 : mode % 5 == 1 ? CR4_PSE_MASK :
                 CR4_PAE_MASK;
    if (mode % 5 >= 3) {
        env->hflags = HF_LMA_MASK;
        env->cr[4] |= mode % 5 == 4 ? CR4_LA57_MASK : 0;
    }
    page_bit = (ConfidentialGuestPageBit) {
        .mask = how & 2 ? c_bit : 0, .set_means_private = how & 4,
    };
    env->cr[3] = fuzz_take(in, 2) << 4 | (how & 16 ? c_bit : 0);
}

/* An entry: 6 bits of address, 2 bits to be large and absent, and the rest */
static uint64_t take_entry(FuzzInput *in)
{
    uint64_t what = fuzz_take(in, 2);
    uint64_t entry = (what & 0x3f) * PAGE;

    entry |= what & 0x40 ? 0 : X86_ENTRY_PRESENT;
    entry |= what & 0x80 ? X86_ENTRY_LARGE : 0;
    entry |= what & 0x100 ? X86_ENTRY_RW : 0;
    entry |= what & 0x200 ? X86_ENTRY_USER : 0;
    entry |= what & 0x400 ? page_bit.mask : 0;
    if (what & 0x800) {
        entry ^= fuzz_take(in, 8);
    }
    return entry;
}

/* Some entries, each here and there in a row of places */
static void take_tables(FuzzInput *in)
{
    bool wide = vcpu->env.cr[4] & CR4_PAE_MASK;

    memset(memory, 0, sizeof(memory));
    for (int i = fuzz_take(in, 1) & 31; i; i--) {
        unsigned at = fuzz_take(in, 2);
        unsigned n = 1 + (at >> 15) * fuzz_take(in, 2) % 512;
        uint64_t entry = take_entry(in);

        for (at = at % (MEMORY / 8) * 8; n && at < MEMORY; n--) {
            if (wide) {
                stq_le_p(memory + at, entry);
            } else {
                stl_le_p(memory + at, entry);
            }
            at += wide ? 8 : 4;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = { data, size };
    X86PageTables tables;

    if (!vcpu) {
        for (int i = 0; i < 2; i++) {
            vcpus[i] = g_new0(X86CPU, 1);
            QTAILQ_INSERT_TAIL(&cpus_queue, CPU(vcpus[i]), node);
        }
        vcpu = vcpus[0];
    }
    take_registers(&in);
    take_tables(&in);
    x86_page_tables_init(CPU(vcpu), NULL, &tables, &error_abort);
    if (check_visit(&tables, MAX_TABLES)) {
        check_once(&tables);
    }
    check_visit(&tables, 1 + (size & 15));
    check_mappings(vcpu->env.cr[3] ^ fuzz_take(&in, 1) << 12);
    while (in.left) {
        uint64_t va = fuzz_take(&in, 8);

        check_walk(&tables, va);
        check_walk(&tables, (int64_t)va >> 20);
        check_walk(&tables, (int64_t)va >> 8);
    }
    return 0;
}
