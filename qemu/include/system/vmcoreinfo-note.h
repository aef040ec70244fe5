/*
 * VMCOREINFO: what a Linux kernel tells to debuggers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef SYSTEM_VMCOREINFO_NOTE_H
#define SYSTEM_VMCOREINFO_NOTE_H

/*
 * VMCOREINFO is an ELF note (Elf64_Nhdr, type 0, name "VMCOREINFO") whose
 * descriptor is text: lines "KEY=VALUE\n" (Linux:
 * Documentation/admin-guide/kdump/vmcoreinfo.rst, kernel/vmcore_info.c).
 *
 * It is made by the guest, and thus hostile: nothing here reads beyond the
 * sizes given, follows an address, or trusts a value to be what it should.
 */

/* Larger notes are refused.  Those of Linux have a page and some bytes. */
#define VMCOREINFO_NOTE_MAX (64 * KiB)

/**
 * VmcoreinfoText: the text of a note; it points into the note
 *
 * @text: not terminated, may contain any byte
 * @len: in bytes
 */
typedef struct VmcoreinfoText {
    const char *text;
    size_t len;
} VmcoreinfoText;

/**
 * vmcoreinfo_note_text: find the text in a note
 *
 * @note: @size bytes; what follows the note in them is ignored
 * @big_endian: byte order of the guest
 *
 * Returns false with @errp set if @note is no VMCOREINFO note.
 */
bool vmcoreinfo_note_text(const void *note, size_t size, bool big_endian,
                          VmcoreinfoText *text, Error **errp);

/**
 * vmcoreinfo_number: the value of NUMBER(@name)=, which is decimal
 *
 * Returns false with @errp set where there is no such line or it has no
 * decimal number of 64 bits.  Of several such lines, the first counts.
 */
bool vmcoreinfo_number(const VmcoreinfoText *text, const char *name,
                       int64_t *value, Error **errp);

/**
 * vmcoreinfo_symbol: the value of SYMBOL(@name)=, a virtual address
 *
 * As vmcoreinfo_number(), but the number is hexadecimal.
 */
bool vmcoreinfo_symbol(const VmcoreinfoText *text, const char *name,
                       uint64_t *value, Error **errp);

#endif
