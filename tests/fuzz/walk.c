/*
 * Fuzz target: walking and listing hostile page tables
 * FUZZ SOURCES: target/i386/page-walk.c target/i386/page-table.c
 * FUZZ SOURCES: target/i386/paging-dump.c
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
#include "system/runstate.h"
#include "target/i386/page-walk.h"
#include "target/i386/paging-dump.h"
#include "target/i386/protected-paging.h"
#include "fuzz.h"

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
#define MAX_TABLES  16      /* in a visit */

static uint8_t memory[MEMORY];
static MemoryRegion ram = { .ram = true };
static MemoryRegion rom = { .ram = true, .readonly = true };
static MemoryRegion device, nothing;
static FlatView view;
static AddressSpace address_space = { .current_map = &view };
static EncryptedPageBit page_bit;
static X86CPU *vcpu;
static int visited;

/*
 * What page-walk.c and paging-dump.c ask for
 */

static hwaddr page_of(hwaddr addr)
{
    return addr & (MEMORY - 1) & ~(hwaddr)(PAGE - 1);
}

static MemoryRegion *region_at(hwaddr addr)
{
    switch (page_of(addr)) {
    case ROM:
        return &rom;
    case DEVICE:
        return &device;
    case NOTHING:
        return &nothing;
    default:
        return &ram;
    }
}

MemoryRegion *flatview_translate(FlatView *fv, hwaddr addr, hwaddr *xlat,
                                 hwaddr *len, bool is_write, MemTxAttrs attrs)
{
    CHECK(fv == &view && !is_write);
    *xlat = addr;
    *len = MIN(*len, PAGE - addr % PAGE);
    return region_at(addr);
}

bool memory_region_is_ram_device(MemoryRegion *mr)
{
    return false;
}

bool memory_region_present(MemoryRegion *container, hwaddr addr)
{
    return region_at(addr) != &nothing;
}

bool address_space_is_io(AddressSpace *as, hwaddr addr)
{
    return !region_at(addr)->ram;
}

static MemTxResult read_memory(AddressSpace *as, hwaddr addr,
                               MemTxAttrs attrs, void *buf, hwaddr len,
                               Error **errp)
{
    CHECK(as == &address_space && attrs.debug);
    CHECK(len <= PAGE && addr % PAGE + len <= PAGE);
    CHECK(attrs.encryption == (page_bit.mask ? MEMTX_ENCRYPTION_PRIVATE
                                             : MEMTX_ENCRYPTION_UNKNOWN));
    CHECK(region_at(addr)->ram);        /* no device is touched */
    if (page_of(addr) == FAULTY) {
        memset(buf, 0xff, len);         /* nothing of it may be used */
        error_setg(errp, "the firmware does not want to");
        return MEMTX_ERROR;
    }
    memcpy(buf, memory + (addr & (MEMORY - 1)), len);
    return MEMTX_OK;
}

static const MemoryDebugOps ops = { .read = read_memory };
const MemoryDebugOps *physical_memory_debug_op = &ops;

AddressSpace *cpu_get_address_space(CPUState *cpu, int asidx)
{
    return &address_space;
}

int cpu_asidx_from_attrs(CPUState *cpu, MemTxAttrs attrs)
{
    return 0;
}

EncryptedGuest *memory_debug_guest(void)
{
    return NULL;
}

EncryptedPageBit memory_debug_page_bit(void)
{
    return page_bit;
}

bool memory_debug_registers_protected(void)
{
    return false;
}

bool x86_protected_paging(CPUState *cpu, MemoryDebugPaging *paging,
                          hwaddr *root, Error **errp)
{
    g_assert_not_reached();
}

hwaddr x86_cpu_get_phys_page_attrs_debug(CPUState *cpu, vaddr addr,
                                         MemTxAttrs *attrs)
{
    g_assert_not_reached();
}

ShutdownCause qemu_shutdown_requested_get(void)
{
    return visited++ < MAX_TABLES ? SHUTDOWN_CAUSE_NONE :
                                    SHUTDOWN_CAUSE_HOST_SIGNAL;
}

void memory_mapping_list_free(MemoryMappingList *list)
{
    MemoryMapping *map, *next;

    QTAILQ_FOREACH_SAFE(map, &list->head, next, next) {
        QTAILQ_REMOVE(&list->head, map, next);
        g_free(map);
    }
    list->num = 0;
    list->last_mapping = NULL;
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
    int tables;
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

static bool visit_go_on(void *opaque, Error **errp)
{
    Visit *v = opaque;

    if (v->tables++ == MAX_TABLES) {
        error_setg(errp, "enough");
        return false;
    }
    return true;
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
    const X86PageVisitor visitor = {
        .max_tables = max_tables,
        .go_on = visit_go_on,
        .leaf = visit_leaf,
        .unreadable = visit_unreadable,
    };
    Visit v = { tables };
    Error *err = NULL;
    bool ok = x86_page_visit(tables, &visitor, &v, &err);

    CHECK(ok == !err);
    CHECK(v.tables <= MAX_TABLES + 1);
    CHECK(!max_tables || v.tables <= max_tables);
    CHECK(ok || v.tables == MAX_TABLES + 1 || v.tables == max_tables);
    error_free(err);
    return ok;
}

/* Each table once: as many as there may be, and the same pages */
typedef struct Once {
    GHashTable *pages;      /* keys: what is mapped, and how */
    int tables;
} Once;

static bool once_go_on(void *opaque, Error **errp)
{
    Once *o = opaque;

    /* Addresses repeat; entries have 40 bits of them */
    return visit_go_on(&(Visit) { .tables = o->tables++ }, errp);
}

static bool once_leaf(const X86PageLeaf *leaf, void *opaque, Error **errp)
{
    Once *o = opaque;

    g_hash_table_add(o->pages, g_strdup_printf(
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
    X86PageVisitor visitor = {
        .go_on = once_go_on,
        .leaf = once_leaf,
        .unreadable = once_unreadable,
    };
    Once all = { g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                       NULL) };
    Once once = { g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                        NULL) };
    GHashTableIter iter;
    gpointer key;

    CHECK(x86_page_visit(tables, &visitor, &all, NULL));
    visitor.once = true;
    CHECK(x86_page_visit(tables, &visitor, &once, NULL));
    CHECK(once.tables <= all.tables);
    CHECK(g_hash_table_size(once.pages) == g_hash_table_size(all.pages));
    g_hash_table_iter_init(&iter, all.pages);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        CHECK(g_hash_table_contains(once.pages, key));
    }
    g_hash_table_destroy(all.pages);
    g_hash_table_destroy(once.pages);
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
    if (region_at(leaf->gpa)->ram) {
        CHECK(in_list(opaque, leaf->va, leaf->gpa));
        CHECK(in_list(opaque, leaf->va + leaf->size - 1,
                      leaf->gpa + leaf->size - 1));
    }
    return true;
}

static bool list_go_on(void *opaque, Error **errp)
{
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
    static const X86PageVisitor visitor = {
        .go_on = list_go_on, .leaf = list_leaf, .unreadable = list_unreadable,
    };
    uint64_t roots[2] = { vcpu->env.cr[3], other_root };
    MemoryMappingList list = {};
    X86PageTables tables[2];
    int i, mapped = 0;

    QTAILQ_INIT(&list.head);
    for (i = 0; i < 2; i++) {
        unsigned num = list.num;

        visited = 0;
        vcpu->env.cr[3] = roots[i];
        CHECK(x86_page_tables_init(CPU(vcpu), &tables[i], &error_abort));
        if (x86_page_tables_map(&tables[i], &list, NULL)) {
            mapped++;
        } else {
            CHECK(list.num == num);
        }
    }
    check_list(&list, roots);
    for (i = 0; i < 2 && mapped == 2 && list.num < 50; i++) {
        CHECK(x86_page_visit(&tables[i], &visitor, &list, NULL));
    }
    vcpu->env.cr[3] = roots[0];
    memory_mapping_list_free(&list);
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
    page_bit = (EncryptedPageBit) {
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
        vcpu = g_new0(X86CPU, 1);
        CPU(vcpu)->as = &address_space;
    }
    take_registers(&in);
    take_tables(&in);
    CHECK(x86_page_tables_init(CPU(vcpu), &tables, &error_abort));
    if (check_visit(&tables, 0)) {
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
