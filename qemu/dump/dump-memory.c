/*
 * Reading the memory of a confidential guest for a dump
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/lockable.h"
#include "qemu/memalign.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "qemu/units.h"
#include "system/memory.h"
#include "system/memory-debug.h"
#include "dump-memory.h"

#define PAGE_BYTES      MEMORY_DEBUG_PAGE_SIZE
#define WINDOW_BYTES    MEMORY_DEBUG_RUN_MAX
#define WINDOW_PAGES    (WINDOW_BYTES / PAGE_BYTES)
/* Readers must wait neither for each other nor for the writer */
#define WINDOWS_PER_READER  2
/* One sample of as many bytes of memory: less than 1 % of all reads */
#define SAMPLE_DISTANCE (128 * MiB)
/* The smallest block that every backend can read on its own */
#define SAMPLE_BYTES    16

typedef struct DumpWindow {
    /* Owned by its reader until @is_read is set, then by the writer */
    uint8_t *buf;               /* a page has the same place in every window */
    const GuestPhysBlock *block;
    hwaddr start, end;
    DECLARE_BITMAP(missing, WINDOW_PAGES);
    uint64_t absent, unreadable;    /* pages */
    uint64_t assumed_private;   /* bytes */
    hwaddr unreadable_at;       /* the first one */
    Error *error;               /* and why */

    bool is_read;
    bool is_counted;
} DumpWindow;

typedef struct DumpHole {
    hwaddr start, end;
} DumpHole;

struct DumpMemory {
    bool allow_incomplete;
    bool cancelled;             /* atomic */
    GArray *holes;              /* DumpHole, by address; they do not touch */
    unsigned int nr_readers, nr_windows;
    QemuThread *readers;
    DumpWindow *windows;        /* NULL: the readers do not run */

    /* Guards what follows, and is never held while memory is read */
    QemuMutex lock;
    QemuCond changed;
    const GuestPhysBlock *next_block;   /* where the next window begins, or */
    hwaddr next_gpa;                    /* NULL: there is none */
    unsigned int current;       /* number of the window being written */
    unsigned int claimed;       /* number of the next one that is not claimed */
    unsigned int busy;          /* readers that read */
    bool stop;
    uint64_t absent;
    uint64_t assumed_private;   /* bytes */
    DumpUnreadable unreadable;
};

/*
 * Readers
 */

static MemTxResult read_ram(const GuestPhysBlock *block, hwaddr gpa, void *buf,
                            hwaddr len, MemoryDebugScope *scope, Error **errp)
{
    uint8_t *ram = memory_region_get_ram_ptr(block->mr);
    hwaddr offset = block->host_addr - ram + (gpa - block->target_start);

    return memory_debug_read_ram(block->mr, offset, gpa, buf, len, scope, errp);
}

static void window_miss_page(DumpWindow *w, hwaddr gpa, MemTxResult result,
                             Error *err)
{
    set_bit(gpa % WINDOW_BYTES / PAGE_BYTES, w->missing);
    if (result == MEMTX_DECODE_ERROR) {
        w->absent++;
        error_free(err);
    } else if (w->unreadable++) {
        error_free(err);
    } else {
        w->unreadable_at = QEMU_ALIGN_DOWN(gpa, PAGE_BYTES);
        w->error = err;
    }
}

/* Read a part of the window, in halves if that fails */
static void window_read(DumpMemory *m, DumpWindow *w, hwaddr start, hwaddr end)
{
    MemoryDebugScope scope = {};
    Error *err = NULL;
    MemTxResult result;
    hwaddr middle;

    if (qatomic_read(&m->cancelled)) {
        return;
    }
    result = read_ram(w->block, start, w->buf + start % WINDOW_BYTES,
                      end - start, &scope, &err);
    if (result == MEMTX_OK) {
        w->assumed_private += scope.assumed_private;
        return;
    }
    if (start / PAGE_BYTES == (end - 1) / PAGE_BYTES) {
        window_miss_page(w, start, result, err);
        return;
    }
    error_free(err);
    middle = QEMU_ALIGN_DOWN(start + (end - start) / 2, PAGE_BYTES);
    if (middle <= start) {
        middle += PAGE_BYTES;
    }
    window_read(m, w, start, middle);
    window_read(m, w, middle, end);
}

static DumpWindow *window_at(DumpMemory *m, unsigned int number)
{
    return &m->windows[number % m->nr_windows];
}

static void window_clear(DumpWindow *w)
{
    bitmap_zero(w->missing, WINDOW_PAGES);
    w->absent = w->unreadable = w->assumed_private = 0;
    g_clear_pointer(&w->error, error_free);
    w->is_read = w->is_counted = false;
}

/* The next window to read, or NULL.  Called with the lock held. */
static DumpWindow *claim_window(DumpMemory *m)
{
    DumpWindow *w;

    if (!m->next_block || m->claimed - m->current == m->nr_windows) {
        return NULL;
    }
    w = window_at(m, m->claimed++);
    window_clear(w);
    w->block = m->next_block;
    w->start = m->next_gpa;
    w->end = MIN(QEMU_ALIGN_DOWN(w->start, WINDOW_BYTES) + WINDOW_BYTES,
                 w->block->target_end);
    m->next_gpa = w->end;
    if (m->next_gpa == w->block->target_end) {
        m->next_block = QTAILQ_NEXT(w->block, next);
        m->next_gpa = m->next_block ? m->next_block->target_start : 0;
    }
    return w;
}

static void *reader_thread(void *opaque)
{
    DumpMemory *m = opaque;

    rcu_register_thread();
    qemu_mutex_lock(&m->lock);
    while (!m->stop) {
        DumpWindow *w = claim_window(m);

        if (!w) {
            qemu_cond_wait(&m->changed, &m->lock);
            continue;
        }
        m->busy++;
        qemu_mutex_unlock(&m->lock);
        window_read(m, w, w->start, w->end);
        qemu_mutex_lock(&m->lock);
        m->busy--;
        w->is_read = true;
        qemu_cond_broadcast(&m->changed);
    }
    qemu_mutex_unlock(&m->lock);
    rcu_unregister_thread();
    return NULL;
}

static void start_readers(DumpMemory *m)
{
    m->windows = g_new0(DumpWindow, m->nr_windows);
    for (unsigned int i = 0; i < m->nr_windows; i++) {
        m->windows[i].buf = qemu_memalign(PAGE_BYTES, WINDOW_BYTES);
    }
    m->stop = false;
    m->readers = g_new(QemuThread, m->nr_readers);
    for (unsigned int i = 0; i < m->nr_readers; i++) {
        qemu_thread_create(&m->readers[i], "dump-reader", reader_thread, m,
                           QEMU_THREAD_JOINABLE);
    }
}

void dump_memory_stop(DumpMemory *m)
{
    if (!m->windows) {
        return;
    }
    WITH_QEMU_LOCK_GUARD(&m->lock) {
        m->stop = true;
        m->next_block = NULL;
        qemu_cond_broadcast(&m->changed);
    }
    for (unsigned int i = 0; i < m->nr_readers; i++) {
        qemu_thread_join(&m->readers[i]);
    }
    for (unsigned int i = 0; i < m->nr_windows; i++) {
        memory_debug_wipe(m->windows[i].buf, WINDOW_BYTES);
        qemu_vfree(m->windows[i].buf);
        error_free(m->windows[i].error);
    }
    g_clear_pointer(&m->windows, g_free);
    g_clear_pointer(&m->readers, g_free);
    m->current = m->claimed = 0;
}

/*
 * Writer
 */

DumpMemory *dump_memory_new(unsigned int readers, bool allow_incomplete)
{
    DumpMemory *m = g_new0(DumpMemory, 1);

    m->allow_incomplete = allow_incomplete;
    m->nr_readers = memory_debug_parallel() ? readers : 1;
    m->nr_windows = m->nr_readers * WINDOWS_PER_READER;
    m->holes = g_array_new(FALSE, FALSE, sizeof(DumpHole));
    qemu_mutex_init(&m->lock);
    qemu_cond_init(&m->changed);
    return m;
}

void dump_memory_free(DumpMemory *m)
{
    dump_memory_stop(m);
    g_array_unref(m->holes);
    g_free(m->unreadable.reason);
    qemu_cond_destroy(&m->changed);
    qemu_mutex_destroy(&m->lock);
    g_free(m);
}

/* Count what the window misses; called with the lock held */
static bool count_missing(DumpMemory *m, DumpWindow *w, Error **errp)
{
    unsigned long i = find_first_bit(w->missing, WINDOW_PAGES);
    hwaddr base = QEMU_ALIGN_DOWN(w->start, WINDOW_BYTES);

    w->is_counted = true;
    for (; i < WINDOW_PAGES; i = find_next_bit(w->missing, WINDOW_PAGES,
                                               i + 1)) {
        dump_memory_add_missing(m, MAX(base + i * PAGE_BYTES, w->start),
                                MIN(base + (i + 1) * PAGE_BYTES, w->end));
    }
    m->absent += w->absent;
    m->assumed_private += w->assumed_private;
    if (!w->unreadable) {
        return true;
    }
    if (!m->unreadable.pages) {
        m->unreadable.address = w->unreadable_at;
        m->unreadable.reason = g_strdup(error_get_pretty(w->error));
    }
    m->unreadable.pages += w->unreadable;
    if (!m->allow_incomplete) {
        error_setg(errp, "failed to read guest memory at 0x%" HWADDR_PRIx
                   ": %s (allow-incomplete, -i in HMP, leaves out such "
                   "pages)", w->unreadable_at, error_get_pretty(w->error));
    }
    return m->allow_incomplete;
}

static bool window_has(const DumpWindow *w, const GuestPhysBlock *block,
                       hwaddr gpa)
{
    return w->block == block && gpa >= w->start && gpa < w->end;
}

/* Let the readers begin at @gpa; called with the lock held */
static void seek(DumpMemory *m, const GuestPhysBlock *block, hwaddr gpa)
{
    m->next_block = NULL;
    while (m->busy) {
        qemu_cond_wait(&m->changed, &m->lock);
    }
    m->current = m->claimed = 0;
    m->next_block = block;
    m->next_gpa = gpa;
    qemu_cond_broadcast(&m->changed);
}

/* The window with @gpa, which becomes the current one */
static DumpWindow *get_window(DumpMemory *m, const GuestPhysBlock *block,
                              hwaddr gpa, Error **errp)
{
    DumpWindow *w;
    bool next;

    QEMU_LOCK_GUARD(&m->lock);
    if (m->current != m->claimed &&
        !window_has(window_at(m, m->current), block, gpa)) {
        m->current++;
        qemu_cond_broadcast(&m->changed);
    }
    next = m->current != m->claimed ?
           window_has(window_at(m, m->current), block, gpa) :
           m->next_block == block && m->next_gpa == gpa;
    if (!next) {
        seek(m, block, gpa);
    }
    w = window_at(m, m->current);
    while (m->current == m->claimed || !w->is_read) {
        qemu_cond_wait(&m->changed, &m->lock);
    }
    if (qatomic_read(&m->cancelled)) {
        error_setg(errp, "the dump was cancelled because QEMU is quitting");
        return NULL;
    }
    return w->is_counted || count_missing(m, w, errp) ? w : NULL;
}

const void *dump_memory_read(DumpMemory *m, const GuestPhysBlock *block,
                             hwaddr gpa, hwaddr *len, Error **errp)
{
    unsigned long page = gpa % WINDOW_BYTES / PAGE_BYTES, end;
    DumpWindow *w;
    bool missing;

    if (!m->windows) {
        start_readers(m);
    }
    w = get_window(m, block, gpa, errp);
    if (!w) {
        return NULL;
    }
    missing = test_bit(page, w->missing);
    end = missing ? find_next_zero_bit(w->missing, WINDOW_PAGES, page) :
                    find_next_bit(w->missing, WINDOW_PAGES, page);
    *len = MIN(*len, end * PAGE_BYTES - gpa % WINDOW_BYTES);
    *len = MIN(*len, w->end - gpa);
    return missing ? NULL : w->buf + gpa % WINDOW_BYTES;
}

static bool sample_is_missing(const GuestPhysBlock *block, hwaddr gpa)
{
    MemoryDebugScope scope = {};
    uint8_t buf[SAMPLE_BYTES];
    MemTxResult result;

    result = read_ram(block, gpa, buf, sizeof(buf), &scope, NULL);
    memory_debug_wipe(buf, sizeof(buf));
    return result != MEMTX_OK;
}

bool dump_memory_expects_missing(DumpMemory *m,
                                 const GuestPhysBlockList *blocks)
{
    GuestPhysBlock *block;
    hwaddr end;

    if (m->allow_incomplete) {
        return true;
    }
    QTAILQ_FOREACH(block, &blocks->head, next) {
        end = QEMU_ALIGN_UP(block->target_start + PAGE_BYTES, SAMPLE_DISTANCE);
        for (; end <= block->target_end; end += SAMPLE_DISTANCE) {
            if (sample_is_missing(block, end - PAGE_BYTES)) {
                return true;
            }
        }
    }
    return false;
}

/*
 * What is missing
 */

void dump_memory_add_missing(DumpMemory *m, hwaddr start, hwaddr end)
{
    DumpHole hole = { .start = start, .end = end }, *last;

    if (m->holes->len) {
        last = &g_array_index(m->holes, DumpHole, m->holes->len - 1);
        if (start <= last->end) {
            last->start = MIN(last->start, start);
            last->end = MAX(last->end, end);
            return;
        }
    }
    g_array_append_val(m->holes, hole);
}

static int compare_hole(const void *key, const void *member)
{
    const DumpHole *hole = member;
    hwaddr gpa = *(const hwaddr *)key;

    return gpa < hole->start ? -1 : gpa >= hole->end;
}

bool dump_memory_is_missing(DumpMemory *m, hwaddr gpa)
{
    return m->holes->len &&
           bsearch(&gpa, m->holes->data, m->holes->len, sizeof(DumpHole),
                   compare_hole);
}

bool dump_memory_remove_missing(DumpMemory *m, GuestPhysBlockList *blocks,
                                unsigned int max, Error **errp)
{
    if (m->holes->len + blocks->num > max) {
        error_setg(errp, "dump: the missing pages form %u separate ranges, "
                   "too many for ELF: use a kdump-compressed format",
                   m->holes->len);
        return false;
    }
    dump_memory_stop(m);
    /* From the end on, so that blocks that have been split are not searched */
    for (guint i = m->holes->len; i-- > 0; ) {
        DumpHole *hole = &g_array_index(m->holes, DumpHole, i);

        guest_phys_blocks_remove(blocks, hole->start, hole->end);
    }
    g_array_set_size(m->holes, 0);
    /* What is not missing is read, and counted, once more */
    QEMU_LOCK_GUARD(&m->lock);
    m->assumed_private = 0;
    return true;
}

void dump_memory_restart(DumpMemory *m)
{
    dump_memory_stop(m);
    g_array_set_size(m->holes, 0);
    QEMU_LOCK_GUARD(&m->lock);
    m->absent = m->assumed_private = 0;
    g_free(m->unreadable.reason);
    m->unreadable = (DumpUnreadable) {};
}

void dump_memory_cancel(DumpMemory *m)
{
    qatomic_set(&m->cancelled, true);
}

void dump_memory_query(DumpMemory *m, DumpQueryResult *result)
{
    QEMU_LOCK_GUARD(&m->lock);
    result->has_absent_pages = m->absent;
    result->absent_pages = m->absent;
    result->assumed_private_pages = DIV_ROUND_UP(m->assumed_private,
                                                 PAGE_BYTES);
    result->has_assumed_private_pages = m->assumed_private;
    if (m->unreadable.pages) {
        result->unreadable = g_memdup2(&m->unreadable, sizeof(m->unreadable));
        result->unreadable->reason = g_strdup(m->unreadable.reason);
    }
}
