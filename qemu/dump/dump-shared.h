/*
 * Which RAM of a dump is shared with the host
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef DUMP_SHARED_H
#define DUMP_SHARED_H

#include "system/memory_mapping.h"

/*
 * For guests whose host has no record of that (AMD SEV, SEV-ES): what their
 * page tables say.  One bit for each page of the blocks.
 */
typedef struct DumpShared DumpShared;

/* Nothing is shared.  @blocks must stay as long as the result. */
DumpShared *dump_shared_new(const GuestPhysBlockList *blocks);
void dump_shared_free(DumpShared *shared);

/* The guest-physical range is shared; what of it is no RAM is ignored */
void dump_shared_add(DumpShared *shared, hwaddr gpa, hwaddr size);

/**
 * dump_shared_run: is the page at @gpa shared?
 *
 * @block: one of the list; @gpa lies in it
 * @len: bytes asked about, cut to what is the same
 */
bool dump_shared_run(const DumpShared *shared, const GuestPhysBlock *block,
                     hwaddr gpa, hwaddr *len);

#endif
