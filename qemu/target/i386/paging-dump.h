/*
 * Memory mappings for a dump with paging
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TARGET_I386_PAGING_DUMP_H
#define TARGET_I386_PAGING_DUMP_H

#include "system/memory_mapping.h"
#include "page-walk.h"

/* So many ranges of contiguous pages, of all vCPUs, can be in a dump */
#define X86_PAGING_DUMP_RUNS    (1 << 20)

/**
 * x86_page_tables_map: add all pages that lie in RAM to @list
 *
 * What the list and @tables have in common is in it once.  It is sorted by
 * physical addresses.
 *
 * Returns false with @errp set when a table cannot be read, or when page
 * tables or ranges are too many: the list would be incomplete.  It is left
 * as it was.
 */
bool x86_page_tables_map(const X86PageTables *tables, MemoryMappingList *list,
                         Error **errp);

#endif
