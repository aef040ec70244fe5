/*
 * Memory mappings for a dump with paging
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "cpu.h"
#include "qapi/error.h"
#include "system/memory.h"
#include "system/runstate.h"
#include "paging-dump.h"

/* Pages in a row, of virtual and of physical addresses */
typedef struct PageRun {
    hwaddr gpa;
    vaddr va;
    uint64_t size;
} PageRun;

typedef struct MappingVisit {
    const X86PageTables *tables;
    GArray *runs;
} MappingVisit;

static bool too_many_runs(Error **errp)
{
    error_setg(errp, "the guest's page tables map more than %d ranges of "
               "memory, too many for a dump", X86_PAGING_DUMP_RUNS);
    return false;
}

static PageRun *run_at(GArray *runs, guint i)
{
    return &g_array_index(runs, PageRun, i);
}

static bool mapping_go_on(void *opaque, Error **errp)
{
    if (qemu_shutdown_requested_get() != SHUTDOWN_CAUSE_NONE) {
        error_setg(errp, "QEMU has been asked to quit");
        return false;
    }
    return true;
}

static bool mapping_add_leaf(const X86PageLeaf *leaf, void *opaque,
                             Error **errp)
{
    MappingVisit *v = opaque;
    PageRun *last = v->runs->len ? run_at(v->runs, v->runs->len - 1) : NULL;
    PageRun run = { leaf->gpa, leaf->va, leaf->size };

    if (address_space_is_io(v->tables->cpu->as, leaf->gpa)) {
        return true;
    }
    if (last && last->gpa + last->size == run.gpa &&
        last->va + last->size == run.va) {
        last->size += run.size;
        return true;
    }
    if (v->runs->len == X86_PAGING_DUMP_RUNS) {
        return too_many_runs(errp);
    }
    g_array_append_val(v->runs, run);
    return true;
}

/* Those that may be one stand together */
static int compare_offsets(const void *a, const void *b)
{
    const PageRun *run_a = a, *run_b = b;
    uint64_t offset_a = run_a->va - run_a->gpa;
    uint64_t offset_b = run_b->va - run_b->gpa;

    if (offset_a != offset_b) {
        return offset_a < offset_b ? -1 : 1;
    }
    return run_a->gpa < run_b->gpa ? -1 : run_a->gpa > run_b->gpa;
}

/* As the list is sorted */
static int compare_addresses(const void *a, const void *b)
{
    const PageRun *run_a = a, *run_b = b;

    if (run_a->gpa != run_b->gpa) {
        return run_a->gpa < run_b->gpa ? -1 : 1;
    }
    return run_a->va < run_b->va ? -1 : run_a->va > run_b->va;
}

/* Of runs that overlap or touch and mean the same, make one */
static void merge_runs(GArray *runs)
{
    guint i, n = 0;

    g_array_sort(runs, compare_offsets);
    for (i = 1; i < runs->len; i++) {
        PageRun *last = run_at(runs, n), *run = run_at(runs, i);

        if (run->va - run->gpa == last->va - last->gpa &&
            run->gpa <= last->gpa + last->size) {
            last->size = MAX(last->size, run->gpa + run->size - last->gpa);
        } else {
            *run_at(runs, ++n) = *run;
        }
    }
    g_array_set_size(runs, MIN(runs->len, n + 1));
    g_array_sort(runs, compare_addresses);
}

/* What other vCPUs map */
static void add_list(GArray *runs, const MemoryMappingList *list)
{
    MemoryMapping *map;

    QTAILQ_FOREACH(map, &list->head, next) {
        PageRun run = { map->phys_addr, map->virt_addr, map->length };

        g_array_append_val(runs, run);
    }
}

static void replace_list(GArray *runs, MemoryMappingList *list)
{
    memory_mapping_list_free(list);
    for (guint i = 0; i < runs->len; i++) {
        MemoryMapping *map = g_new0(MemoryMapping, 1);

        map->phys_addr = run_at(runs, i)->gpa;
        map->virt_addr = run_at(runs, i)->va;
        map->length = run_at(runs, i)->size;
        QTAILQ_INSERT_TAIL(&list->head, map, next);
        list->num++;
    }
}

bool x86_page_tables_map(const X86PageTables *tables, MemoryMappingList *list,
                         Error **errp)
{
    static const X86PageVisitor visitor = {
        .max_tables = X86_PAGE_VISIT_TABLES,
        .go_on = mapping_go_on,
        .leaf = mapping_add_leaf,
        .unreadable = x86_page_visit_needs_tables,
    };
    g_autoptr(GArray) runs = g_array_new(FALSE, FALSE, sizeof(PageRun));
    MappingVisit v = { tables, runs };
    ERRP_GUARD();
    bool ok = x86_page_visit(tables, &visitor, &v, errp);

    if (ok) {
        add_list(runs, list);
        merge_runs(runs);
        ok = runs->len <= X86_PAGING_DUMP_RUNS || too_many_runs(errp);
    }
    if (!ok) {
        error_append_hint(errp, "A dump without paging needs no page "
                          "tables.\n");
        return false;
    }
    replace_list(runs, list);
    return true;
}
