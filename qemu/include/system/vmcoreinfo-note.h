/*
 * VMCOREINFO: what a Linux kernel publishes for debuggers
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
 * It is under the guest's control and thus hostile: nothing here reads beyond
 * the sizes given, follows an address, or trusts a value.
 */

/* Larger notes are refused.  Linux's are slightly larger than a page. */
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
 * @note: @size bytes; those that follow the note are ignored
 * @big_endian: byte order of the guest
 *
 * Returns false with @errp set if @note is not a VMCOREINFO note.
 */
bool vmcoreinfo_note_text(const void *note, size_t size, bool big_endian,
                          VmcoreinfoText *text, Error **errp);

/**
 * vmcoreinfo_number: the value of NUMBER(@name)=, which is decimal
 *
 * Returns false with @errp set if there is no such line or its value is not a
 * 64-bit decimal number.  If there are several such lines, the first counts.
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
