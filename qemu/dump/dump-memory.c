/*
 * Dumps of encrypted guests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "elf.h"
#include "qapi/clone-visitor.h"
#include "qapi/error.h"
#include "qapi/qapi-builtin-visit.h"
#include "qapi/qapi-commands-dump.h"
#include "system/memory-debug.h"
#include "system/runstate.h"
#include "system/vmcoreinfo-guest.h"
#include "dump-holes.h"
#include "dump-memory.h"
#include "dump-reader.h"

/* What a thread that is told to end gets before QEMU goes on to quit */
#define QUIT_WAIT_MS    1000

struct DumpMemory {
    DumpReader *reader;
    DumpShared *shared;         /* NULL: the host knows, or nobody does */
    off_t start;                /* of the output in its file, or -1: a pipe */
    EncryptedGuestRegisters registers;
    strList *warnings;          /* constant once the dump runs */

    /* kdump-compressed */
    uint8_t *no_page;
    bool page_missing;
    Error *error;               /* why dump_memory_page() failed */
    uint8_t *bitmap[2];
    uint64_t bitmap_block;      /* where it goes in its bitmap, in blocks */

    /* ELF */
    DumpHoles *holes;
    bool probed;                /* the holes are known */
    bool may_rewind;
    hwaddr probe_from;          /* all below can be read */
};

/*
 * Life of a dump
 */

/* Of the current dump or the last one; guarded by the BQL */
static DumpMemory *dump_memory;

static void dump_memory_shutdown(Notifier *n, void *data)
{
    if (!dump_memory || !qemu_system_dump_in_progress()) {
        return;
    }
    dump_reader_cancel(dump_memory->reader);
    /* The thread may need the BQL; or it hangs in write() for ever */
    for (int i = 0; i < QUIT_WAIT_MS && qemu_system_dump_in_progress(); i++) {
        bql_unlock();
        g_usleep(1000);
        bql_lock();
        aio_poll(qemu_get_aio_context(), false);    /* dump_complete() */
    }
}

static void watch_shutdown(void)
{
    static Notifier notifier = { .notify = dump_memory_shutdown };
    static bool registered;

    if (!registered) {
        qemu_register_shutdown_notifier(&notifier);
        registered = true;
    }
}

DumpMemory *dump_memory_new(bool incomplete)
{
    DumpMemory *m;

    if (!memory_debug_guest()) {
        return NULL;
    }
    m = g_new0(DumpMemory, 1);
    m->reader = dump_reader_new(incomplete);
    m->holes = dump_holes_new();
    m->registers = memory_debug_registers();
    dump_memory = m;
    watch_shutdown();
    return m;
}

void dump_memory_free(DumpMemory *m)
{
    if (!m) {
        return;
    }
    dump_memory = NULL;
    dump_reader_free(m->reader);
    dump_shared_free(m->shared);
    dump_holes_free(m->holes);
    qapi_free_strList(m->warnings);
    g_free(m->no_page);
    g_free(m->bitmap[0]);
    g_free(m->bitmap[1]);
    error_free(m->error);
    g_free(m);
}

void dump_memory_append_blocks(DumpState *s)
{
    if (s->memory) {
        guest_phys_blocks_append_private(&s->guest_phys_blocks);
    } else {
        guest_phys_blocks_append(&s->guest_phys_blocks);
    }
}

/*
 * What the user has to be told
 */

void dump_memory_read_note(DumpState *s, hwaddr addr, void *buf, size_t size)
{
    if (!s->memory) {
        cpu_physical_memory_read(addr, buf, size);
    } else if (cpu_physical_memory_read_debug(addr, buf, size,
                                              NULL) != MEMTX_OK) {
        memset(buf, 0, size);
    }
}

void dump_memory_note_error(DumpState *s, const char *what, Error **errp)
{
    ERRP_GUARD();
    VmcoreinfoGuest note = {};
    bool readable;

    dump_memory_lock(s);
    readable = !s->memory || vmcoreinfo_guest_read(&note, errp);
    dump_memory_unlock(s);
    g_free(note.note);
    if (readable) {
        error_setg(errp, "win-dump: %s", what);
    } else {
        error_prepend(errp, "win-dump: %s: ", what);
    }
}

/* Why the dump has no VMCOREINFO note */
static char *note_problem(void)
{
    VmcoreinfoGuest note;
    Error *err = NULL;
    char *problem;

    if (vmcoreinfo_guest_read(&note, &err)) {
        g_free(note.note);
        return g_strdup("it cannot be an ELF note of this dump");
    }
    problem = g_strdup(error_get_pretty(err));
    error_free(err);
    return problem;
}

static void add_warning(DumpMemory *m, char *text)
{
    strList **tail = &m->warnings;

    while (*tail) {
        tail = &(*tail)->next;
    }
    QAPI_LIST_APPEND(tail, text);
}

static void found_shared(hwaddr gpa, hwaddr size, void *opaque)
{
    dump_shared_add(opaque, gpa, size);
}

/* Ask the page tables where the host has no record */
static void find_shared(DumpState *s)
{
    EncryptedGuest *eg = memory_debug_guest();
    EncryptedGuestClass *egc = ENCRYPTED_GUEST_GET_CLASS(eg);
    DumpMemory *m = s->memory;
    Error *err = NULL;

    if (!egc->find_shared || !egc->launched(eg)) {
        return;
    }
    m->shared = dump_shared_new(&s->guest_phys_blocks);
    if (egc->find_shared(eg, found_shared, m->shared, &err)) {
        return;
    }
    g_clear_pointer(&m->shared, dump_shared_free);
    add_warning(m, g_strdup_printf(
        "pages that the guest shares with the host are in the dump as if they "
        "were private, which makes garbage of them: only page tables tell "
        "them apart (%s)", error_get_pretty(err)));
    error_free(err);
}

void dump_memory_check(DumpState *s)
{
    DumpMemory *m = s->memory;

    if (!m) {
        return;
    }
    if (!s->guest_note) {
        g_autofree char *problem = note_problem();

        add_warning(m, g_strdup_printf(
            "the dump has no VMCOREINFO, with which crash and makedumpfile "
            "find the guest's kernel; makedumpfile can neither filter pages "
            "nor print the kernel's log (%s)", problem));
    }
    find_shared(s);
    if (m->registers == ENCRYPTED_GUEST_REGISTERS_PROTECTED) {
        add_warning(m, g_strdup("the guest's registers are protected: the "
                                "dump has no register notes, and debuggers "
                                "show no current function"));
    } else if (m->registers == ENCRYPTED_GUEST_REGISTERS_PARTIAL) {
        add_warning(m, g_strdup("of the guest's registers, CR2, "
                                "KERNEL_GS_BASE, x87 and SSE are protected: "
                                "the dump has zeros for them"));
    }
}

bool dump_memory_hides_registers(DumpState *s)
{
    return s->memory &&
           s->memory->registers == ENCRYPTED_GUEST_REGISTERS_PROTECTED;
}

const char *dump_memory_machine_name(DumpState *s)
{
    return dump_memory_hides_registers(s) &&
           s->dump_info.d_machine == EM_X86_64 ? "x86_64" : NULL;
}

/*
 * kdump-compressed formats
 */

uint8_t *dump_memory_page(DumpState *s, const GuestPhysBlock *block,
                          hwaddr gpa, size_t len)
{
    DumpMemory *m = s->memory;
    hwaddr start, end;
    const uint8_t *page;

    dump_reader_window(m->reader, &start, &end);
    if ((gpa < start || gpa >= end) && !m->error) {
        dump_reader_read(m->reader, block, gpa, block->target_end, &m->error);
    }
    page = dump_reader_get(m->reader, gpa, len);
    if (!page) {
        m->page_missing = true;
        return m->no_page;
    }
    return (uint8_t *)page;
}

/* Write the bitmaps' blocks before number @block */
static bool bitmap_write_until(DumpState *s, uint64_t block,
                               DumpWriteFunc *write, Error **errp)
{
    DumpMemory *m = s->memory;
    size_t size = s->dump_info.page_size;

    for (; m->bitmap_block < block; m->bitmap_block++) {
        for (int i = 0; i < 2; i++) {
            off_t offset = s->offset_dump_bitmap + i * s->len_dump_bitmap +
                           m->bitmap_block * size;

            if (write(s, offset, m->bitmap[i], size) < 0) {
                error_setg_errno(errp, errno,
                                 "dump: failed to write dump_bitmap");
                return false;
            }
            memset(m->bitmap[i], 0, size);
        }
    }
    return true;
}

int dump_memory_mark_page(DumpState *s, uint64_t pfn, DumpWriteFunc *write,
                          Error **errp)
{
    DumpMemory *m = s->memory;
    uint64_t bits = (uint64_t)s->dump_info.page_size * CHAR_BIT;
    bool present = !m->page_missing;

    m->page_missing = false;
    if (m->error) {
        error_propagate(errp, m->error);
        m->error = NULL;
        return -1;
    }
    if (!bitmap_write_until(s, pfn / bits, write, errp)) {
        return -1;
    }
    m->bitmap[0][pfn % bits / CHAR_BIT] |= 1 << pfn % CHAR_BIT;
    if (present) {
        m->bitmap[1][pfn % bits / CHAR_BIT] |= 1 << pfn % CHAR_BIT;
    }
    return present;
}

bool dump_memory_finish_bitmap(DumpState *s, DumpWriteFunc *write,
                               Error **errp)
{
    return bitmap_write_until(s, s->memory->bitmap_block + 1, write, errp);
}

/*
 * ELF
 */

static bool probe_page(DumpState *s, const GuestPhysBlock *block, hwaddr gpa,
                       hwaddr end, Error **errp)
{
    ERRP_GUARD();
    DumpMemory *m = s->memory;
    bool readable;

    if (!dump_reader_probe(m->reader, block, gpa, &readable, errp)) {
        return false;
    }
    if (!readable && !dump_holes_add(m->holes, gpa, end)) {
        error_setg(errp, "dump: the unreadable pages are scattered over more "
                   "than %d places, too many for an ELF file",
                   DUMP_HOLES_MAX);
        error_append_hint(errp, "A kdump-compressed format can hold such a "
                          "dump.\n");
        return false;
    }
    return true;
}

static bool probe_block(DumpState *s, const GuestPhysBlock *block,
                        hwaddr gpa, hwaddr end, Error **errp)
{
    for (hwaddr next; gpa < end; gpa = next) {
        next = MIN(end, QEMU_ALIGN_DOWN(gpa, MEMORY_DEBUG_PAGE_SIZE) +
                        MEMORY_DEBUG_PAGE_SIZE);
        if (!probe_page(s, block, gpa, next, errp)) {
            return false;
        }
    }
    return true;
}

/* Find out which pages from @from on cannot be read */
static bool probe_memory(DumpState *s, hwaddr from, Error **errp)
{
    GuestPhysBlock *block;

    dump_reader_recount(s->memory->reader);
    QTAILQ_FOREACH(block, &s->guest_phys_blocks.head, next) {
        int64_t offset = dump_filtered_memblock_start(block,
                                                      s->filter_area_begin,
                                                      s->filter_area_length);
        hwaddr start = block->target_start + offset;
        hwaddr end = start + dump_filtered_memblock_size(block,
                                                         s->filter_area_begin,
                                                         s->filter_area_length);

        if (offset != -1 &&
            !probe_block(s, block, MAX(start, from), end, errp)) {
            return false;
        }
    }
    s->memory->probed = true;
    return true;
}

/* The headers grow with the number of segments, the memory shrinks */
static void split_segments(DumpState *s)
{
    unsigned int old = s->list.num, added;
    size_t size = s->dump_info.d_class == ELFCLASS64 ? sizeof(Elf64_Phdr) :
                                                       sizeof(Elf32_Phdr);

    dump_holes_split(s->memory->holes, &s->list);
    added = s->list.num - old;      /* may wrap: fewer are possible, too */
    s->phdr_num += added;
    s->note_offset += (int)added * (hwaddr)size;
    s->memory_offset += (int)added * (hwaddr)size;
    s->section_offset += (int)added * (hwaddr)size -
                         dump_holes_below(s->memory->holes, HWADDR_MAX);
}

static bool is_elf(DumpState *s)
{
    return !s->has_format || s->format == DUMP_GUEST_MEMORY_FORMAT_ELF;
}

bool dump_memory_begin(DumpState *s, Error **errp)
{
    DumpMemory *m = s->memory;

    if (!m) {
        return true;
    }
    m->start = lseek(s->fd, 0, SEEK_CUR);
    dump_reader_expect(m->reader, s->total_size, m->shared);
    if (!is_elf(s)) {
        m->no_page = g_malloc0(s->dump_info.page_size);
        m->bitmap[0] = g_malloc0(s->dump_info.page_size);
        m->bitmap[1] = g_malloc0(s->dump_info.page_size);
    } else if (m->start == (off_t)-1) {
        if (!probe_memory(s, 0, errp)) {
            return false;
        }
        split_segments(s);
    }
    return true;
}

/* Write the window, if all of it could be read */
static bool write_window(DumpState *s, Error **errp)
{
    DumpMemory *m = s->memory;
    const uint8_t *data;
    hwaddr start, end;

    dump_reader_window(m->reader, &start, &end);
    data = dump_reader_get(m->reader, start, end - start);
    if (!data) {
        m->may_rewind = !m->probed;
        m->probe_from = start;
        error_setg(errp, "dump: a page at or above 0x%" HWADDR_PRIx
                   " cannot be read any more", start);
        return false;
    }
    if (qemu_write_full(s->fd, data, end - start) != end - start) {
        error_setg_errno(errp, errno, "dump: failed to save memory");
        return false;
    }
    s->written_size += end - start;
    return true;
}

static bool write_range(DumpState *s, const GuestPhysBlock *block,
                        hwaddr gpa, hwaddr end, Error **errp)
{
    hwaddr start;

    while (gpa < end) {
        if (!dump_reader_read(s->memory->reader, block, gpa, end, errp) ||
            !write_window(s, errp)) {
            return false;
        }
        dump_reader_window(s->memory->reader, &start, &gpa);
    }
    return true;
}

void dump_memory_write_block(DumpState *s, const GuestPhysBlock *block,
                             hwaddr start, hwaddr size, Error **errp)
{
    hwaddr gpa = block->target_start + start, end = gpa + size;
    hwaddr hole, hole_end;

    while (dump_holes_next(s->memory->holes, gpa, &hole, &hole_end) &&
           hole < end) {
        if (!write_range(s, block, gpa, hole, errp)) {
            return;
        }
        gpa = hole_end;
    }
    write_range(s, block, gpa, end, errp);
}

static bool empty_file(DumpState *s)
{
    struct stat st;

    if (s->memory->start == (off_t)-1 || fstat(s->fd, &st)) {
        return false;
    }
    if (S_ISREG(st.st_mode) && ftruncate(s->fd, s->memory->start)) {
        return false;
    }
    return lseek(s->fd, s->memory->start, SEEK_SET) != (off_t)-1;
}

bool dump_memory_rewind(DumpState *s, Error **errp)
{
    DumpMemory *m = s->memory;

    if (!m || !m->may_rewind) {
        return false;
    }
    m->may_rewind = false;
    error_free(*errp);
    *errp = NULL;
    if (!probe_memory(s, m->probe_from, errp)) {
        return false;
    }
    if (!empty_file(s)) {
        error_setg_errno(errp, errno, "dump: failed to start the file again");
        return false;
    }
    split_segments(s);
    /* The section headers' names are added again */
    g_array_set_size(s->string_table_buf, 1);
    s->written_size = 0;
    return true;
}

hwaddr dump_memory_missing_below(DumpState *s, hwaddr gpa)
{
    return s->memory ? dump_holes_below(s->memory->holes, gpa) : 0;
}

/*
 * Windows crash dumps
 */

void dump_memory_lock(DumpState *s)
{
    if (s->memory && s->detached) {
        bql_lock();
    }
}

void dump_memory_unlock(DumpState *s)
{
    if (s->memory && s->detached) {
        bql_unlock();
    }
}

static GuestPhysBlock *find_block(DumpState *s, hwaddr gpa)
{
    GuestPhysBlock *block;

    QTAILQ_FOREACH(block, &s->guest_phys_blocks.head, next) {
        if (gpa >= block->target_start && gpa < block->target_end) {
            return block;
        }
    }
    return NULL;
}

void dump_memory_write_run(DumpState *s, hwaddr addr, hwaddr size,
                           Error **errp)
{
    ERRP_GUARD();
    g_autofree uint8_t *buf = g_malloc(MEMORY_DEBUG_RUN_MAX);
    hwaddr len;

    for (; size; addr += len, size -= len) {
        GuestPhysBlock *block = find_block(s, addr);

        if (!block) {
            error_setg(errp, "win-dump: the guest lists memory at 0x%"
                       HWADDR_PRIx ", where there is no RAM", addr);
            return;
        }
        len = MIN(size, block->target_end - addr);
        len = MIN(len, MEMORY_DEBUG_RUN_MAX);
        if (!dump_reader_read_all(s->memory->reader, block, addr, buf, len,
                                  errp)) {
            error_append_hint(errp, "Other dump formats can leave out what "
                              "cannot be read.\n");
            return;
        }
        if (qemu_write_full(s->fd, buf, len) != len) {
            error_setg_errno(errp, errno, "win-dump: failed to save memory");
            return;
        }
        s->written_size += len;
    }
}

/*
 * The end
 */

void dump_memory_finish(DumpState *s, Error **errp)
{
    ERRP_GUARD();

    if (!s->memory) {
        return;
    }
    dump_reader_drop_window(s->memory->reader);
    if (!*errp) {
        dump_reader_check(s->memory->reader, errp);
    }
    if (*errp) {
        empty_file(s);
    }
}

void dump_memory_query(DumpMemory *m, DumpQueryResult *result)
{
    if (!m) {
        return;
    }
    result->unreadable = dump_reader_query(m->reader);
    if (m->warnings) {
        result->has_warnings = true;
        result->warnings = QAPI_CLONE(strList, m->warnings);
    }
}

/* What the command returns: what is known of the dump that it started */
static DumpGuestMemoryResult *dump_memory_result(bool detached)
{
    DumpGuestMemoryResult *result = g_new0(DumpGuestMemoryResult, 1);
    g_autoptr(DumpQueryResult) query = qmp_query_dump(NULL);

    result->has_warnings = query->has_warnings;
    result->warnings = g_steal_pointer(&query->warnings);
    if (!detached) {
        result->unreadable = g_steal_pointer(&query->unreadable);
    }
    return result;
}

DumpGuestMemoryResult *
qmp_dump_guest_memory(bool paging, const char *protocol,
                      bool has_detach, bool detach,
                      bool has_begin, int64_t begin,
                      bool has_length, int64_t length,
                      bool has_format, DumpGuestMemoryFormat format,
                      bool has_allow_incomplete, bool allow_incomplete,
                      Error **errp)
{
    ERRP_GUARD();

    /* Before a file is created or truncated */
    if (!memory_debug_allowed(errp)) {
        error_prepend(errp, "cannot dump guest memory: ");
        return NULL;
    }
    dump_guest_memory(paging, protocol, has_detach, detach, has_begin, begin,
                      has_length, length, has_format, format,
                      has_allow_incomplete && allow_incomplete, errp);
    return *errp ? NULL : dump_memory_result(has_detach && detach);
}
