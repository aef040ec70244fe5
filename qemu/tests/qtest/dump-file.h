/*
 * Reading guest memory dumps, for tests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef QTEST_DUMP_FILE_H
#define QTEST_DUMP_FILE_H

#include "elf.h"

#define DUMP_PAGE   4096

/* A 64-bit ELF or a kdump-compressed dump; a flattened one is rearranged */
typedef struct DumpFile {
    char *data;
    gsize len;
} DumpFile;

/* A page in a dump */
typedef struct DumpPage {
    bool exists;            /* the guest has it; always true in ELF */
    bool present;
    const char *data;       /* in ELF plain, in kdump perhaps compressed */
    size_t size;
    uint32_t flags;         /* of kdump's page descriptor: which compression */
} DumpPage;

/* @name: a file; g_assert()s that it is a dump */
DumpFile *dump_file_load(const char *name);
void dump_file_free(DumpFile *f);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DumpFile, dump_file_free)

bool dump_file_is_elf(const DumpFile *f);
const Elf64_Ehdr *dump_file_ehdr(const DumpFile *f);
const Elf64_Phdr *dump_file_phdr(const DumpFile *f, unsigned i);

/* The page at guest-physical address @gpa */
DumpPage dump_file_page(const DumpFile *f, uint64_t gpa);

/* kdump: what Linux calls the machine */
const char *dump_file_machine(const DumpFile *f);

/* The notes; NULL if their size is 0 */
const char *dump_file_notes(const DumpFile *f, size_t *size);

#endif
