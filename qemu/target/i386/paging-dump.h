/*
 * Memory mappings for a dump with paging
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TARGET_I386_PAGING_DUMP_H
#define TARGET_I386_PAGING_DUMP_H

#include "system/memory_mapping.h"
#include "page-walk.h"

/**
 * x86_page_tables_map: add all pages that lie in RAM to @list
 *
 * Returns false with @errp set when a table cannot be read: the list would
 * be incomplete.
 */
bool x86_page_tables_map(const X86PageTables *tables, MemoryMappingList *list,
                         Error **errp);

#endif
