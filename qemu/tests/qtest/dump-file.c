/*
 * Reading guest memory dumps, for tests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/*
 * The kdump-compressed format is that of makedumpfile (its IMPLEMENTATION
 * file) and crash (diskdump.h): a header block, a sub header, two bitmaps of
 * page frames (1: exists, 2: is in the dump), a descriptor for each page that
 * is in the dump, and the pages' data.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "dump-file.h"

#define FLAT_HEADER     4096    /* and then records: offset, size, data */
#define FLAT_END        (-1)

/* Offsets in struct disk_dump_header and struct kdump_sub_header */
#define UTS_MACHINE     272
#define BLOCK_SIZE      428
#define SUB_HDR_BLOCKS  432
#define BITMAP_BLOCKS   436
#define SUB_HDR         DUMP_PAGE
#define OFFSET_NOTE     (SUB_HDR + 48)
#define SIZE_NOTE       (SUB_HDR + 56)

typedef struct QEMU_PACKED PageDesc {
    uint64_t offset;
    uint32_t size;
    uint32_t flags;
    uint64_t page_flags;
} PageDesc;

/* The next record of @f; *@p is moved past it.  NULL at the end. */
static const char *next_record(const DumpFile *f, const char **p,
                               int64_t *offset, int64_t *size)
{
    const char *end = f->data + f->len, *data = *p + 16;

    g_assert_cmpint(end - *p, >=, 16);
    *offset = ldq_be_p(*p);
    *size = ldq_be_p(*p + 8);
    if (*offset == FLAT_END) {
        g_assert_true(data == end);
        return NULL;
    }
    g_assert_cmpint(end - data, >=, *size);
    *p = data + *size;
    return data;
}

static void unflatten(DumpFile *f)
{
    const char *p = f->data + FLAT_HEADER, *data;
    int64_t offset, size, len = 0;
    char *unflat;

    while (next_record(f, &p, &offset, &size)) {
        len = MAX(len, offset + size);
    }
    unflat = g_malloc0(len);
    p = f->data + FLAT_HEADER;
    while ((data = next_record(f, &p, &offset, &size))) {
        memcpy(unflat + offset, data, size);
    }
    g_free(f->data);
    f->data = unflat;
    f->len = len;
}

DumpFile *dump_file_load(const char *name)
{
    DumpFile *f = g_new0(DumpFile, 1);
    g_autoptr(GError) err = NULL;

    g_file_get_contents(name, &f->data, &f->len, &err);
    g_assert_no_error(err);
    g_assert_cmpint(f->len, >, sizeof(Elf64_Ehdr));
    if (!memcmp(f->data, "makedumpfile", 13)) {
        unflatten(f);
    }
    g_assert_true(dump_file_is_elf(f) || !memcmp(f->data, "KDUMP   ", 8));
    return f;
}

void dump_file_free(DumpFile *f)
{
    g_free(f->data);
    g_free(f);
}

bool dump_file_is_elf(const DumpFile *f)
{
    return !memcmp(f->data, ELFMAG, SELFMAG);
}

const Elf64_Ehdr *dump_file_ehdr(const DumpFile *f)
{
    const Elf64_Ehdr *ehdr = (const Elf64_Ehdr *)f->data;

    g_assert_true(dump_file_is_elf(f));
    g_assert_cmpint(f->data[EI_CLASS], ==, ELFCLASS64);
    g_assert_cmpint(ehdr->e_ehsize, ==, sizeof(*ehdr));
    /* makedumpfile up to 1.7.8 expects them there */
    g_assert_cmpint(ehdr->e_phoff, ==, sizeof(*ehdr));
    return ehdr;
}

const Elf64_Phdr *dump_file_phdr(const DumpFile *f, unsigned i)
{
    return (const Elf64_Phdr *)(f->data + dump_file_ehdr(f)->e_phoff) + i;
}

static DumpPage elf_page(const DumpFile *f, uint64_t gpa)
{
    DumpPage page = { .exists = true };

    for (unsigned i = 0; i < dump_file_ehdr(f)->e_phnum; i++) {
        const Elf64_Phdr *p = dump_file_phdr(f, i);

        if (p->p_type == PT_LOAD && gpa >= p->p_paddr &&
            gpa - p->p_paddr < p->p_memsz) {
            /* readers would take the rest of the segment for zeros */
            g_assert_cmpint(p->p_filesz, ==, p->p_memsz);
            g_assert_cmpint(p->p_offset + p->p_filesz, <=, f->len);
            g_assert_false(page.present);
            page.present = true;
            page.data = f->data + p->p_offset + (gpa - p->p_paddr);
            page.size = MIN(DUMP_PAGE, p->p_filesz - (gpa - p->p_paddr));
        }
    }
    return page;
}

static bool bit(const char *bitmap, uint64_t n)
{
    return bitmap[n / 8] >> n % 8 & 1;
}

static DumpPage kdump_page(const DumpFile *f, uint64_t gpa)
{
    size_t bitmap_size = ldl_le_p(f->data + BITMAP_BLOCKS) / 2 * DUMP_PAGE;
    const char *bitmap1 = f->data + DUMP_PAGE *
                          (1 + ldl_le_p(f->data + SUB_HDR_BLOCKS));
    const char *bitmap2 = bitmap1 + bitmap_size;
    const PageDesc *desc = (const PageDesc *)(bitmap2 + bitmap_size);
    uint64_t pfn = gpa / DUMP_PAGE;
    DumpPage page = {};

    g_assert_cmpint(ldl_le_p(f->data + BLOCK_SIZE), ==, DUMP_PAGE);
    if (pfn >= bitmap_size * 8) {
        return page;
    }
    page.exists = bit(bitmap1, pfn);
    page.present = bit(bitmap2, pfn);
    if (page.present) {
        for (uint64_t i = 0; i < pfn; i++) {
            desc += bit(bitmap2, i);
        }
        page.data = f->data + desc->offset;
        page.size = desc->size;
        page.flags = desc->flags;
        g_assert_cmpint(page.size, >, 0);
        g_assert_cmpint(desc->offset + desc->size, <=, f->len);
    }
    return page;
}

DumpPage dump_file_page(const DumpFile *f, uint64_t gpa)
{
    return dump_file_is_elf(f) ? elf_page(f, gpa) : kdump_page(f, gpa);
}

const char *dump_file_machine(const DumpFile *f)
{
    g_assert_false(dump_file_is_elf(f));
    return f->data + UTS_MACHINE;
}

const char *dump_file_notes(const DumpFile *f, size_t *size)
{
    uint64_t offset;

    if (dump_file_is_elf(f)) {
        const Elf64_Phdr *p = dump_file_phdr(f, 0);

        g_assert_cmpint(p->p_type, ==, PT_NOTE);
        offset = p->p_offset;
        *size = p->p_filesz;
    } else {
        offset = ldq_le_p(f->data + OFFSET_NOTE);
        *size = ldq_le_p(f->data + SIZE_NOTE);
    }
    g_assert_cmpint(offset + *size, <=, f->len);
    return *size ? f->data + offset : NULL;
}
