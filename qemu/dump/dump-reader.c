/*
 * Reading an encrypted guest's RAM for a dump
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/memalign.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "qemu/units.h"
#include "qapi/clone-visitor.h"
#include "qapi/qapi-visit-dump-memory.h"
#include "system/memory.h"
#include "system/memory-debug.h"
#include "dump-reader.h"

#define PAGE_BYTES      MEMORY_DEBUG_PAGE_SIZE
#define WINDOW_BYTES    MEMORY_DEBUG_RUN_MAX
#define WINDOW_PAGES    (WINDOW_BYTES / PAGE_BYTES)
/* The least that every backend can read without reading more */
#define PROBE_BYTES     16
/* So many reasons are kept: what fails first says what is wrong */
#define REASONS         4

/* The window that comes next, read by a thread while this one is written */
typedef struct ReadAhead {
    enum { AHEAD_IDLE, AHEAD_ASKED, AHEAD_READ, AHEAD_END } state;
    uint8_t *buf;
    const GuestPhysBlock *block;
    hwaddr start, end;
    bool good;              /* all of it could be read */
} ReadAhead;

struct DumpReader {
    /* The window; of the thread that writes the dump */
    uint8_t *buf;
    hwaddr start, end;
    DECLARE_BITMAP(missing, WINDOW_PAGES);
    const DumpShared *shared;
    QemuThread thread;

    QemuMutex lock;         /* guards what follows, held while RAM is read */
    QemuCond asked;         /* ahead.state has changed */
    ReadAhead ahead;
    bool incomplete;
    bool cancelled;
    uint64_t pages;         /* that the dump shall have */
    hwaddr last_missing;    /* an address in the last one */
    DumpUnreadable unreadable;
};

DumpReader *dump_reader_new(bool incomplete)
{
    DumpReader *r = g_new0(DumpReader, 1);

    r->incomplete = incomplete;
    qemu_mutex_init(&r->lock);
    qemu_cond_init(&r->asked);
    return r;
}

static void wipe_and_free(uint8_t *buf)
{
    memset(buf, 0, WINDOW_BYTES);
    barrier();      /* or the compiler drops the memset() */
    qemu_vfree(buf);
}

static void reader_ask(DumpReader *r, int state)
{
    r->ahead.state = state;
    qemu_cond_signal(&r->asked);
}

void dump_reader_drop_window(DumpReader *r)
{
    if (r->buf) {
        WITH_QEMU_LOCK_GUARD(&r->lock) {
            reader_ask(r, AHEAD_END);
        }
        qemu_thread_join(&r->thread);
        wipe_and_free(r->buf);
        wipe_and_free(r->ahead.buf);
        r->buf = NULL;
    }
    r->start = r->end = 0;
}

void dump_reader_free(DumpReader *r)
{
    dump_reader_drop_window(r);
    qapi_free_DumpUnreadablePageList(r->unreadable.first);
    qemu_cond_destroy(&r->asked);
    qemu_mutex_destroy(&r->lock);
    g_free(r);
}

/* Called with the lock held */
static bool reader_may_go_on(DumpReader *r, Error **errp)
{
    ERRP_GUARD();
    DumpUnreadable *u = &r->unreadable;

    if (r->cancelled) {
        error_setg(errp, "the dump was cancelled: QEMU is quitting");
        return false;
    }
    if (r->incomplete || u->pages <= r->pages - u->pages) {
        return true;
    }
    error_setg(errp, "most of the guest's RAM cannot be read: at least %"
               PRIu64 " of %" PRIu64 " pages, first 0x%" PRIx64 ": %s",
               u->pages, r->pages, u->first->value->address,
               u->first->value->reason);
    error_append_hint(errp, "A dump of what can be read has to be asked for: "
                      "QMP allow-incomplete=true, HMP -i.\n");
    return false;
}

bool dump_reader_check(DumpReader *r, Error **errp)
{
    QEMU_LOCK_GUARD(&r->lock);
    return reader_may_go_on(r, errp);
}

/* Count a page; neighbours of the last one fail for the same reason */
static void reader_count_missing(DumpReader *r, hwaddr gpa, Error *err)
{
    DumpUnreadable *u = &r->unreadable;
    DumpUnreadablePageList **tail = &u->first;
    DumpUnreadablePage *page;
    bool neighbour = u->pages && gpa - r->last_missing <= PAGE_BYTES;
    int n = 0;

    u->pages++;
    r->last_missing = gpa;
    while (*tail) {
        tail = &(*tail)->next;
        n++;
    }
    if (neighbour || n == REASONS) {
        return;
    }
    page = g_new0(DumpUnreadablePage, 1);
    page->address = QEMU_ALIGN_DOWN(gpa, PAGE_BYTES);
    page->reason = g_strdup(error_get_pretty(err));
    QAPI_LIST_APPEND(tail, page);
}

static bool read_ram(DumpReader *r, const GuestPhysBlock *block, hwaddr gpa,
                     uint8_t *buf, hwaddr len, Error **errp)
{
    uint8_t *ram = memory_region_get_ram_ptr(block->mr);
    hwaddr run;

    for (; len; gpa += run, buf += run, len -= run) {
        hwaddr offset = block->host_addr - ram + (gpa - block->target_start);
        MemTxAttrs attrs = MEMTXATTRS_UNSPECIFIED;

        run = len;
        if (r->shared && dump_shared_run(r->shared, block, gpa, &run)) {
            attrs.encryption = MEMTX_ENCRYPTION_SHARED;
        }
        if (memory_debug_read_ram(block->mr, offset, gpa, attrs, buf, run,
                                  errp) != MEMTX_OK) {
            return false;
        }
    }
    return true;
}

static void *reader_thread(void *opaque)
{
    DumpReader *r = opaque;
    ReadAhead *ahead = &r->ahead;

    rcu_register_thread();
    qemu_mutex_lock(&r->lock);
    while (ahead->state != AHEAD_END) {
        if (ahead->state != AHEAD_ASKED) {
            qemu_cond_wait(&r->asked, &r->lock);
            continue;
        }
        ahead->good = !r->cancelled &&
                      read_ram(r, ahead->block, ahead->start, ahead->buf,
                               ahead->end - ahead->start, NULL);
        ahead->state = AHEAD_READ;
    }
    qemu_mutex_unlock(&r->lock);
    rcu_unregister_thread();
    return NULL;
}

void dump_reader_expect(DumpReader *r, uint64_t size,
                        const DumpShared *shared)
{
    r->shared = shared;
    r->buf = qemu_memalign(PAGE_BYTES, WINDOW_BYTES);
    r->ahead.buf = qemu_memalign(PAGE_BYTES, WINDOW_BYTES);
    WITH_QEMU_LOCK_GUARD(&r->lock) {
        r->pages = DIV_ROUND_UP(size, PAGE_BYTES);
    }
    qemu_thread_create(&r->thread, "dump-reader", reader_thread, r,
                       QEMU_THREAD_JOINABLE);
}

/* Where the window that starts at @gpa ends */
static hwaddr window_end(hwaddr gpa, hwaddr end)
{
    /* Aligned, so that a page has the same place in every window */
    return MIN(end, QEMU_ALIGN_DOWN(gpa, WINDOW_BYTES) + WINDOW_BYTES);
}

/* Fill the window, by what was read ahead if it was this.  Under the lock. */
static bool reader_fill(DumpReader *r, const GuestPhysBlock *block)
{
    ReadAhead *ahead = &r->ahead;

    if (ahead->state == AHEAD_READ && ahead->block == block &&
        ahead->start == r->start && ahead->end == r->end) {
        uint8_t *buf = r->buf;

        r->buf = ahead->buf;
        ahead->buf = buf;
        return ahead->good;
    }
    return read_ram(r, block, r->start, r->buf, r->end - r->start, NULL);
}

/* Called with the lock held */
static void reader_read_ahead(DumpReader *r, const GuestPhysBlock *block,
                              hwaddr end)
{
    r->ahead.state = AHEAD_IDLE;
    if (r->end < end) {
        r->ahead.block = block;
        r->ahead.start = r->end;
        r->ahead.end = window_end(r->end, end);
        reader_ask(r, AHEAD_ASKED);
    }
}

/* Read the window again, and find out which of its pages cannot be read */
static void reader_read_pages(DumpReader *r, const GuestPhysBlock *block)
{
    hwaddr gpa, next;

    for (gpa = r->start; gpa < r->end; gpa = next) {
        uint8_t *buf = r->buf + (gpa - r->start);
        Error *err = NULL;

        next = MIN(r->end, QEMU_ALIGN_DOWN(gpa, PAGE_BYTES) + PAGE_BYTES);
        if (!read_ram(r, block, gpa, buf, next - gpa, &err)) {
            memset(buf, 0, next - gpa);
            set_bit(gpa % WINDOW_BYTES / PAGE_BYTES, r->missing);
            reader_count_missing(r, gpa, err);
            error_free(err);
        }
    }
}

bool dump_reader_read(DumpReader *r, const GuestPhysBlock *block, hwaddr gpa,
                      hwaddr end, Error **errp)
{
    QEMU_LOCK_GUARD(&r->lock);
    if (!reader_may_go_on(r, errp)) {
        return false;
    }
    r->start = gpa;
    r->end = window_end(gpa, end);
    bitmap_zero(r->missing, WINDOW_PAGES);
    if (!reader_fill(r, block)) {
        reader_read_pages(r, block);
    }
    reader_read_ahead(r, block, end);
    return true;
}

const uint8_t *dump_reader_get(DumpReader *r, hwaddr gpa, hwaddr len)
{
    unsigned long first = gpa % WINDOW_BYTES / PAGE_BYTES;
    unsigned long last = (gpa + len - 1) % WINDOW_BYTES / PAGE_BYTES;

    if (gpa < r->start || gpa + len > r->end ||
        find_next_bit(r->missing, last + 1, first) <= last) {
        return NULL;
    }
    return r->buf + (gpa - r->start);
}

void dump_reader_window(DumpReader *r, hwaddr *gpa, hwaddr *end)
{
    *gpa = r->start;
    *end = r->end;
}

bool dump_reader_probe(DumpReader *r, const GuestPhysBlock *block, hwaddr gpa,
                       bool *readable, Error **errp)
{
    uint8_t buf[PROBE_BYTES];
    Error *err = NULL;

    QEMU_LOCK_GUARD(&r->lock);
    if (!reader_may_go_on(r, errp)) {
        return false;
    }
    *readable = read_ram(r, block, gpa, buf,
                         MIN(sizeof(buf), block->target_end - gpa), &err);
    if (!*readable) {
        reader_count_missing(r, gpa, err);
        error_free(err);
    }
    return true;
}

bool dump_reader_read_all(DumpReader *r, const GuestPhysBlock *block,
                          hwaddr gpa, void *buf, hwaddr len, Error **errp)
{
    QEMU_LOCK_GUARD(&r->lock);
    return reader_may_go_on(r, errp) &&
           read_ram(r, block, gpa, buf, len, errp);
}

void dump_reader_recount(DumpReader *r)
{
    QEMU_LOCK_GUARD(&r->lock);
    qapi_free_DumpUnreadablePageList(r->unreadable.first);
    r->unreadable = (DumpUnreadable) {};
}

void dump_reader_cancel(DumpReader *r)
{
    QEMU_LOCK_GUARD(&r->lock);
    r->cancelled = true;
}

DumpUnreadable *dump_reader_query(DumpReader *r)
{
    QEMU_LOCK_GUARD(&r->lock);
    return r->unreadable.pages ?
           QAPI_CLONE(DumpUnreadable, &r->unreadable) : NULL;
}
