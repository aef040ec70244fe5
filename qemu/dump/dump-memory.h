/*
 * Reading the memory of a confidential guest for a dump
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef DUMP_MEMORY_H
#define DUMP_MEMORY_H

#include "qapi/qapi-types-dump.h"
#include "system/memory_mapping.h"

/*
 * Reads RAM through the debug layer (system/memory-debug.h), in windows of up
 * to 1 MiB, by threads that work ahead of the one that writes the dump.
 * If a read fails, it is halved until the missing pages are found: either
 * they are absent, because the guest has no such page yet, or they cannot be
 * read.  This is independent of the dump format.
 *
 * All functions are for the thread that writes the dump, with or without the
 * BQL, unless stated otherwise.
 */
typedef struct DumpMemory DumpMemory;

/**
 * dump_memory_new: prepare to read
 *
 * @readers: number of threads; one where the guest's backend serialises them
 * @allow_incomplete: leave out pages that cannot be read, instead of failing
 */
DumpMemory *dump_memory_new(unsigned int readers, bool allow_incomplete);

/**
 * dump_memory_stop: end the threads, wipe and free the windows
 *
 * The counters remain valid until dump_memory_free().
 */
void dump_memory_stop(DumpMemory *m);
void dump_memory_free(DumpMemory *m);

/**
 * dump_memory_read: get memory of a block
 *
 * @block: member of a list that stays the same until dump_memory_stop() or
 *     dump_memory_remove_missing()
 * @gpa: guest-physical address in @block
 * @len: in bytes; cut to what is available at once, or missing, from @gpa on
 *
 * Reading in order is fastest: one window after the other, then the next
 * block.
 *
 * Returns the bytes, valid until the next call.  Returns NULL if they are
 * missing, or, with @errp set, if the dump has to fail.
 */
const void *dump_memory_read(DumpMemory *m, const GuestPhysBlock *block,
                             hwaddr gpa, hwaddr *len, Error **errp);

/**
 * dump_memory_add_missing: count more memory as missing, which is useless
 * without what is missing
 *
 * @start, @end: guest-physical range around what the last read did not find
 */
void dump_memory_add_missing(DumpMemory *m, hwaddr start, hwaddr end);

/* Was the byte at guest-physical address @gpa missing when it was read? */
bool dump_memory_is_missing(DumpMemory *m, hwaddr gpa);

/**
 * dump_memory_remove_missing: leave only blocks that can be read
 *
 * Nothing counts as missing afterwards.  Returns false with @errp set, and
 * @blocks unchanged, if there would be more than @max blocks.
 */
bool dump_memory_remove_missing(DumpMemory *m, GuestPhysBlockList *blocks,
                                unsigned int max, Error **errp);

/**
 * dump_memory_expects_missing: take samples
 *
 * Returns whether pages of @blocks are known, or likely, to be missing.
 */
bool dump_memory_expects_missing(DumpMemory *m,
                                 const GuestPhysBlockList *blocks);

/* Forget what was missing; everything will be read again */
void dump_memory_restart(DumpMemory *m);

/* Let every further read fail.  Any thread; does not wait. */
void dump_memory_cancel(DumpMemory *m);

/* Add to @result what is missing.  Any thread; does not wait for a read. */
void dump_memory_query(DumpMemory *m, DumpQueryResult *result);

#endif
