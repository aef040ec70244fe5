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

typedef struct MappingVisit {
    const X86PageTables *tables;
    MemoryMappingList *list;
    Error **errp;
} MappingVisit;

/* The guest can make page tables that take forever to visit */
static bool mapping_go_on(void *opaque)
{
    MappingVisit *v = opaque;

    if (qemu_shutdown_requested_get() != SHUTDOWN_CAUSE_NONE) {
        error_setg(v->errp, "QEMU has been asked to quit");
        return false;
    }
    return true;
}

static bool mapping_add_leaf(const X86PageLeaf *leaf, void *opaque)
{
    MappingVisit *v = opaque;

    if (!address_space_is_io(v->tables->cpu->as, leaf->gpa)) {
        memory_mapping_list_add_merge_sorted(v->list, leaf->gpa, leaf->va,
                                             leaf->size);
    }
    return true;
}

static bool mapping_unreadable(vaddr va, MemTxResult result, Error *err,
                               void *opaque)
{
    MappingVisit *v = opaque;

    /* Where there is no memory the CPU finds no pages either */
    if (result == MEMTX_DECODE_ERROR) {
        error_free(err);
        return true;
    }
    error_append_hint(&err, "A dump without paging needs no page tables.\n");
    error_propagate(v->errp, err);
    return false;
}

bool x86_page_tables_map(const X86PageTables *tables, MemoryMappingList *list,
                         Error **errp)
{
    static const X86PageVisitor visitor = {
        .go_on = mapping_go_on,
        .leaf = mapping_add_leaf,
        .unreadable = mapping_unreadable,
    };
    MappingVisit v = { tables, list, errp };

    return x86_page_visit(tables, &visitor, &v);
}
