/*
 * Reading an encrypted guest's RAM for a dump
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef DUMP_READER_H
#define DUMP_READER_H

#include "qapi/qapi-types-dump-memory.h"
#include "dump-shared.h"

/*
 * Reads RAM through the debug access layer into one buffer, the window: up
 * to 1 MiB at once, and page by page where that fails, so that one unreadable
 * page does not spoil the others.  Knows nothing of dump formats.
 *
 * Blocks are read in the order of their addresses, by the one thread that
 * writes the dump, without the BQL and outside of RCU critical sections.  A
 * thread of the reader's own reads the next window while that one is busy
 * with the contents of this, so that decrypting and compressing overlap.
 * dump_reader_cancel() and dump_reader_query() may be called meanwhile from
 * any other thread.
 */
typedef struct DumpReader DumpReader;

/**
 * dump_reader_new: a reader without a window yet
 *
 * @incomplete: go on even when most pages cannot be read
 */
DumpReader *dump_reader_new(bool incomplete);
void dump_reader_free(DumpReader *r);

/**
 * dump_reader_expect: what the dump shall have; called once, before reads
 *
 * @size: bytes of RAM
 * @shared: which of it is shared, NULL where the guest's host knows; it must
 *     stay as long as there are reads
 */
void dump_reader_expect(DumpReader *r, uint64_t size,
                        const DumpShared *shared);

/**
 * dump_reader_read: read the window that starts at @gpa
 *
 * @block: from the dump's list; its mr is referenced by that
 * @gpa: guest-physical address in @block, any byte
 * @end: the window ends here at the latest
 *
 * That pages cannot be read is no error, but it is counted.  Returns false
 * with @errp set when there are too many of them, or on a cancelled dump.
 */
bool dump_reader_read(DumpReader *r, const GuestPhysBlock *block, hwaddr gpa,
                      hwaddr end, Error **errp);

/**
 * dump_reader_get: a part of the window
 *
 * Returns its bytes, valid until the next read; NULL if the range is not
 * inside of the window or a page of it could not be read.
 */
const uint8_t *dump_reader_get(DumpReader *r, hwaddr gpa, hwaddr len);

/* The range [*@gpa, *@end) that the window covers */
void dump_reader_window(DumpReader *r, hwaddr *gpa, hwaddr *end);

/**
 * dump_reader_probe: can the page at @gpa be read?
 *
 * Reads a few bytes of it only, and leaves the window as it is.  An
 * unreadable page counts as with dump_reader_read().
 * Returns false with @errp set as dump_reader_read() does.
 */
bool dump_reader_probe(DumpReader *r, const GuestPhysBlock *block, hwaddr gpa,
                       bool *readable, Error **errp);

/**
 * dump_reader_read_all: read part of a block, all or nothing
 *
 * Past the window, and not counted.
 */
bool dump_reader_read_all(DumpReader *r, const GuestPhysBlock *block,
                          hwaddr gpa, void *buf, hwaddr len, Error **errp);

/* Are there few enough unreadable pages? If not, set @errp */
bool dump_reader_check(DumpReader *r, Error **errp);

/* Count from the start again */
void dump_reader_recount(DumpReader *r);

/**
 * dump_reader_cancel: let every further read fail
 *
 * On return none is under way.
 */
void dump_reader_cancel(DumpReader *r);

/* What could not be read, or NULL; for the caller to free */
DumpUnreadable *dump_reader_query(DumpReader *r);

/* Wipe and free the windows, end the thread; what was counted stays */
void dump_reader_drop_window(DumpReader *r);

#endif
