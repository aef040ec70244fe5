/*
 * Dumps of encrypted guests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef DUMP_MEMORY_H
#define DUMP_MEMORY_H

#include "system/dump.h"

/*
 * What dump.c does differently for a guest whose memory the host cannot
 * read.  DumpState::memory is NULL for every other guest, and then dump.c
 * reads through host pointers as ever.
 *
 * Every byte of RAM comes through the debug access layer (dump-reader.h), and
 * is read once.  A page that cannot be read is left out: in the
 * kdump-compressed formats it has no page descriptor and is set in the first
 * bitmap only, which means "excluded"; in ELF no segment covers it.  It is
 * never written as something else, and the command's result names it.
 *
 * The functions with a DumpState are called by the thread that writes the
 * dump, with or without the BQL, unless it says otherwise.
 */
typedef struct DumpMemory DumpMemory;

/**
 * dump_memory_new: to be kept in DumpState::memory, NULL for a normal guest
 *
 * @incomplete: write the dump even when most pages cannot be read
 *
 * Called with the BQL held, as is dump_memory_free().
 */
DumpMemory *dump_memory_new(bool incomplete);

/* @m may be NULL */
void dump_memory_free(DumpMemory *m);

/**
 * dump_memory_append_blocks: what the dump is of
 *
 * guest_phys_blocks_append(), with the private RAM of an encrypted guest.
 * Called with the BQL held.
 */
void dump_memory_append_blocks(DumpState *s);

/* Preparing; called with the BQL held */

/**
 * dump_memory_read_note: read the guest's VMCOREINFO note
 *
 * @addr: guest-physical address, as the guest gave it
 *
 * If it cannot be read, @buf is all zeros, and no valid note.
 */
void dump_memory_read_note(DumpState *s, hwaddr addr, void *buf,
                           size_t size);

/**
 * dump_memory_check: find out what the user has to be told, and remember it
 *
 * Called when DumpState::guest_note and guest_phys_blocks are what they
 * will be.
 */
void dump_memory_check(DumpState *s);

/* The registers QEMU holds are not the guest's: write no notes of them */
bool dump_memory_hides_registers(DumpState *s);

/**
 * dump_memory_machine_name: what Linux calls the machine
 *
 * For the headers of a dump in which no register note tells it; else NULL.
 */
const char *dump_memory_machine_name(DumpState *s);

/**
 * dump_memory_begin: note where the output starts and how large it will be
 *
 * True for a normal guest.
 * An ELF file's headers come first and number its segments.  If they cannot
 * be corrected later, because the output is a pipe, all pages are probed now.
 */
bool dump_memory_begin(DumpState *s, Error **errp);

/* kdump-compressed formats */

/**
 * dump_memory_page: the bytes of a page, or of a part of it
 *
 * @gpa, @len: guest-physical range in @block, inside of one page
 *
 * Returns them, valid until the next call.  If they cannot be read it returns
 * other bytes, and dump_memory_mark_page() says so.
 */
uint8_t *dump_memory_page(DumpState *s, const GuestPhysBlock *block,
                          hwaddr gpa, size_t len);

/* dump.c's write_buffer() */
typedef int DumpWriteFunc(DumpState *s, off_t offset, const void *buf,
                          size_t size);

/**
 * dump_memory_mark_page: set the bits of a page that has been read
 *
 * Both bitmaps are written as the pages come, in increasing order of @pfn.
 *
 * Returns 1 when the page is to be written, 0 when it could not be read,
 * and -1 with @errp set when the dump has to end.
 */
int dump_memory_mark_page(DumpState *s, uint64_t pfn, DumpWriteFunc *write,
                          Error **errp);

/* Write what is left of the bitmaps */
bool dump_memory_finish_bitmap(DumpState *s, DumpWriteFunc *write,
                               Error **errp);

/* ELF */

/**
 * dump_memory_write_block: write RAM to the ELF file
 *
 * @start: offset in @block, in bytes
 * @size: in bytes
 */
void dump_memory_write_block(DumpState *s, const GuestPhysBlock *block,
                             hwaddr start, hwaddr size, Error **errp);

/**
 * dump_memory_rewind: can the ELF file be written after all?
 *
 * Called when writing it has failed.  If the reason was the first unreadable
 * page, the others are probed, the mappings split, the file emptied, and @errp
 * cleared: headers and memory can be written again.
 */
bool dump_memory_rewind(DumpState *s, Error **errp);

/* How much of the RAM below @gpa the file does not have, in bytes */
hwaddr dump_memory_missing_below(DumpState *s, hwaddr gpa);

/* Windows crash dumps, which know no missing pages */

/**
 * dump_memory_note_error: there is no Windows header in the guest's note
 *
 * @what: what is wrong, if not that the note cannot be read, which is told
 */
void dump_memory_note_error(DumpState *s, const char *what, Error **errp);

/**
 * dump_memory_write_run: write a run of guest-physical memory
 *
 * @addr, @size: as the guest gave them
 *
 * Fails if any of it is no RAM or cannot be read.
 */
void dump_memory_write_run(DumpState *s, hwaddr addr, hwaddr size,
                           Error **errp);

/*
 * The BQL, in a detached dump of an encrypted guest; nothing otherwise.  It is
 * needed where virtual addresses are translated.
 */
void dump_memory_lock(DumpState *s);
void dump_memory_unlock(DumpState *s);

/* The end */

/**
 * dump_memory_finish: is the dump a good one?
 *
 * @errp: why it failed, if it has.  Set if too much is missing.
 *
 * A file of a failed dump is emptied, so that nobody takes it for a whole one.
 * No more RAM is read.
 */
void dump_memory_finish(DumpState *s, Error **errp);

/* Add what is known by now to @result; any thread */
void dump_memory_query(DumpMemory *m, DumpQueryResult *result);

/* dump.c's part of the command */
void dump_guest_memory(bool paging, const char *protocol, bool has_detach,
                       bool detach, bool has_begin, int64_t begin,
                       bool has_length, int64_t length, bool has_format,
                       DumpGuestMemoryFormat format, bool incomplete,
                       Error **errp);

#endif
