/*
 * Debug accesses to guest memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/stats64.h"
#include "qemu/thread.h"
#include "qemu/units.h"
#include "exec/cpu-common.h"
#include "exec/target_page.h"
#include "exec/translation-block.h"
#include "hw/boards.h"
#include "hw/core/cpu.h"
#include "hw/core/sysemu-cpu-ops.h"
#include "hw/qdev-core.h"
#include "migration/misc.h"
#include "system/address-spaces.h"
#include "system/hw_accel.h"
#include "system/memory.h"
#include "system/memory-debug.h"
#include "system/memory-debug-object.h"
#include "system/physmem.h"
#include "system/ramblock.h"
#include "system/reset.h"
#include "system/runstate.h"
#include "system/system.h"
#include "system/tcg.h"
#include "debug-page-cache.h"
#include "trace.h"

QEMU_BUILD_BUG_ON(MEMORY_DEBUG_PAGE_SIZE != DEBUG_PAGE_CACHE_PAGE_SIZE);

/* Limit on the ranges of mapped pages kept; a hostile guest can make more */
#define MAPPED_RANGES_MAX   (1 << 20)

/* Guest-physical addresses, in bytes; @end is exclusive */
typedef struct MappedRange {
    hwaddr start, end;
} MappedRange;

/* What the guest's page tables map, see memory_debug_find_mapped() */
typedef struct MappedPages {
    uint64_t stop;              /* valid for this one */
    uint64_t changes;           /* up to date with these */
    GArray *ranges[2];          /* private and shared, of MappedRange, sorted */
    Error *error;               /* why they are not known */
} MappedPages;

static struct {
    ConfidentialGuestSupport *guest;    /* constant after initialisation */
    RAMBlockNotifier ram_notifier;
    MemoryListener listener;
    Notifier machine_done;

    /* Transfers and conversions */
    QemuMutex lock;
    QemuCond changed;
    unsigned transfers;         /* under way */
    unsigned conversions;       /* nested, all of @converter */
    QemuThread converter;

    /* Never held during a transfer */
    QemuMutex cache_lock;       /* guards what follows */
    DebugPageCache *cache;
    uint64_t changes;           /* of memory, or of how it is translated */
    uint64_t last_view;
    uint64_t stopped_view;      /* 0: the VM runs */
    uint64_t stop;              /* the first view since it stopped, or reset */
    MappedPages mapped;
    bool finding_mapped;        /* guarded by the BQL */
    MemoryDebugLastFailure last_failure;

    struct {
        Stat64 reads, writes, bytes_read, bytes_written, cache_hits;
    } stats;
} memory_debug;

static void __attribute__((constructor)) memory_debug_init_locks(void)
{
    qemu_mutex_init(&memory_debug.lock);
    qemu_cond_init(&memory_debug.changed);
    qemu_mutex_init(&memory_debug.cache_lock);
}

ConfidentialGuestSupport *memory_debug_guest(void)
{
    return memory_debug.guest;
}

static ConfidentialGuestSupportClass *guest_class(void)
{
    return CONFIDENTIAL_GUEST_SUPPORT_GET_CLASS(memory_debug.guest);
}

ConfidentialGuestPageBit memory_debug_page_bit(void)
{
    if (!memory_debug.guest) {
        return (ConfidentialGuestPageBit) {};
    }
    return guest_class()->debug_page_bit(memory_debug.guest);
}

bool memory_debug_registers_protected(void)
{
    return memory_debug.guest &&
           guest_class()->debug_registers_protected(memory_debug.guest);
}

/*
 * What is allowed
 */

/* During postcopy, a read with the BQL held would wait forever */
static bool check_not_incoming(Error **errp)
{
    if (runstate_check(RUN_STATE_INMIGRATE) ||
        migration_in_incoming_postcopy()) {
        error_setg(errp, "the guest's memory has not arrived yet: an incoming "
                   "migration is in progress");
        return false;
    }
    return true;
}

bool memory_debug_check(bool is_write, Error **errp)
{
    if (!check_not_incoming(errp)) {
        return false;
    }
    return !memory_debug.guest ||
           (memory_debug_object_check(is_write, errp) &&
            guest_class()->debug_check(memory_debug.guest, errp));
}

bool memory_debug_check_host_view(Error **errp)
{
    ERRP_GUARD();

    if (!memory_debug.guest) {
        return true;
    }
    error_setg(errp, "the memory of this guest is encrypted: the host's page "
               "does not hold what the guest sees");
    error_append_hint(errp, "Use 'x' or 'xp', which decrypt it.\n");
    return false;
}

/*
 * Transfers and conversions
 */

void memory_debug_transfer_begin(void)
{
    QEMU_LOCK_GUARD(&memory_debug.lock);
    while (memory_debug.conversions) {
        qemu_cond_wait(&memory_debug.changed, &memory_debug.lock);
    }
    memory_debug.transfers++;
}

void memory_debug_transfer_end(void)
{
    QEMU_LOCK_GUARD(&memory_debug.lock);
    if (!--memory_debug.transfers) {
        qemu_cond_broadcast(&memory_debug.changed);
    }
}

static void drop_cache(void)
{
    QEMU_LOCK_GUARD(&memory_debug.cache_lock);
    if (memory_debug.cache) {
        debug_page_cache_drop_all(memory_debug.cache);
    }
}

/* New transfers wait from now on, so that conversions do not starve */
void memory_debug_convert_begin(void)
{
    QEMU_LOCK_GUARD(&memory_debug.lock);
    while (memory_debug.conversions &&
           !qemu_thread_is_self(&memory_debug.converter)) {
        qemu_cond_wait(&memory_debug.changed, &memory_debug.lock);
    }
    memory_debug.conversions++;
    qemu_thread_get_self(&memory_debug.converter);
    while (memory_debug.transfers) {
        qemu_cond_wait(&memory_debug.changed, &memory_debug.lock);
    }
}

void memory_debug_convert_end(void)
{
    drop_cache();
    QEMU_LOCK_GUARD(&memory_debug.lock);
    if (!--memory_debug.conversions) {
        qemu_cond_broadcast(&memory_debug.changed);
    }
}

/*
 * Scopes
 */

void memory_debug_scope_begin(MemoryDebugScope *scope)
{
    *scope = (MemoryDebugScope) {};
    if (memory_debug.guest) {
        QEMU_LOCK_GUARD(&memory_debug.cache_lock);
        scope->view = memory_debug.stopped_view ?: ++memory_debug.last_view;
    }
}

void memory_debug_scope_end(MemoryDebugScope *scope)
{
    if (scope->view) {
        QEMU_LOCK_GUARD(&memory_debug.cache_lock);
        if (scope->view != memory_debug.stopped_view) {
            debug_page_cache_drop_view(memory_debug.cache, scope->view);
        }
    }
}

/* Without a scope, pages are kept only while the VM is stopped */
static uint64_t scope_view(const MemoryDebugScope *scope)
{
    if (scope) {
        return scope->view;
    }
    QEMU_LOCK_GUARD(&memory_debug.cache_lock);
    return memory_debug.stopped_view;
}

void memory_debug_new_view(void)
{
    QEMU_LOCK_GUARD(&memory_debug.cache_lock);
    if (memory_debug.stopped_view) {
        memory_debug.stopped_view = ++memory_debug.last_view;
        memory_debug.changes++;
        debug_page_cache_drop_all(memory_debug.cache);
    }
}

/*
 * Counters
 */

MemoryDebugStats memory_debug_stats(void)
{
    return (MemoryDebugStats) {
        .reads = stat64_get(&memory_debug.stats.reads),
        .writes = stat64_get(&memory_debug.stats.writes),
        .bytes_read = stat64_get(&memory_debug.stats.bytes_read),
        .bytes_written = stat64_get(&memory_debug.stats.bytes_written),
        .cache_hits = stat64_get(&memory_debug.stats.cache_hits),
    };
}

MemoryDebugLastFailure memory_debug_last_failure(void)
{
    MemoryDebugLastFailure last;

    QEMU_LOCK_GUARD(&memory_debug.cache_lock);
    last = memory_debug.last_failure;
    last.reason = g_strdup(last.reason);
    return last;
}

void memory_debug_remember_failure(uint64_t addr, bool is_virtual,
                                   bool is_write, const Error *err)
{
    QEMU_LOCK_GUARD(&memory_debug.cache_lock);
    g_free(memory_debug.last_failure.reason);
    memory_debug.last_failure = (MemoryDebugLastFailure) {
        .addr = addr,
        .is_virtual = is_virtual,
        .is_write = is_write,
        .reason = g_strdup(error_get_pretty(err)),
    };
}

/*
 * Confidential guests: what the page tables map
 */

static bool mapped_page(hwaddr gpa, hwaddr size, bool shared, void *opaque,
                        Error **errp)
{
    GArray **ranges = opaque;
    GArray *array = ranges[shared];
    MappedRange *last = array->len ?
                        &g_array_index(array, MappedRange, array->len - 1) :
                        NULL;
    MappedRange range = { gpa, gpa + size };

    if (last && gpa >= last->start && gpa <= last->end) {
        last->end = MAX(last->end, range.end);
        return true;
    }
    if (array->len == MAPPED_RANGES_MAX) {
        error_setg(errp, "the guest's page tables map more than %d ranges of "
                   "memory", MAPPED_RANGES_MAX);
        return false;
    }
    g_array_append_val(array, range);
    return true;
}

static int compare_ranges(const void *a, const void *b)
{
    const MappedRange *x = a, *y = b;

    return x->start < y->start ? -1 : x->start > y->start;
}

/* Sort, and merge what overlaps or touches */
static void mapped_sort(GArray *array)
{
    guint n = 0;

    g_array_sort(array, compare_ranges);
    for (guint i = 1; i < array->len; i++) {
        MappedRange *last = &g_array_index(array, MappedRange, n);
        MappedRange *range = &g_array_index(array, MappedRange, i);

        if (range->start <= last->end) {
            last->end = MAX(last->end, range->end);
        } else {
            g_array_index(array, MappedRange, ++n) = *range;
        }
    }
    g_array_set_size(array, MIN(array->len, n + 1));
}

/* Is @gpa in one of the ranges?  Cut *@len to where that changes. */
static bool mapped_lookup(GArray *array, hwaddr gpa, hwaddr *len)
{
    guint low = 0, high = array->len;
    MappedRange *range;

    while (low < high) {
        guint middle = low + (high - low) / 2;

        if (g_array_index(array, MappedRange, middle).end > gpa) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    if (low == array->len) {
        return false;
    }
    range = &g_array_index(array, MappedRange, low);
    if (range->start > gpa) {
        *len = MIN(*len, range->start - gpa);
        return false;
    }
    *len = MIN(*len, range->end - gpa);
    return true;
}

static ConfidentialGuestPageState mapped_state(hwaddr gpa, hwaddr *len)
{
    MappedPages *mapped = &memory_debug.mapped;

    QEMU_LOCK_GUARD(&memory_debug.cache_lock);
    if (!mapped->stop || mapped->stop != memory_debug.stop || mapped->error) {
        return CGS_PAGE_UNKNOWN;
    }
    /* Kernels leave the private mappings of shared pages in place */
    if (mapped_lookup(mapped->ranges[true], gpa, len)) {
        return CGS_PAGE_HOST;
    }
    return mapped_lookup(mapped->ranges[false], gpa, len) ?
           CGS_PAGE_PRIVATE : CGS_PAGE_UNKNOWN;
}

static void mapped_replace(MappedPages *mapped)
{
    MappedPages old;

    WITH_QEMU_LOCK_GUARD(&memory_debug.cache_lock) {
        old = memory_debug.mapped;
        memory_debug.mapped = *mapped;
    }
    if (old.stop) {
        g_array_unref(old.ranges[0]);
        g_array_unref(old.ranges[1]);
        error_free(old.error);
    }
}

bool memory_debug_find_mapped(Error **errp)
{
    ConfidentialGuestSupport *guest = memory_debug.guest;
    MappedPages mapped = {};

    /* What the search itself reads, like the VMCOREINFO note, is private */
    if (!guest || !guest_class()->debug_find_mapped ||
        memory_debug.finding_mapped) {
        return true;
    }
    WITH_QEMU_LOCK_GUARD(&memory_debug.cache_lock) {
        mapped.stop = memory_debug.stop;
        mapped.changes = memory_debug.changes;
    }
    if (!mapped.stop || runstate_is_running()) {
        error_setg(errp, "the VM is running");
        return false;
    }
    /* Threads without the BQL use the old result meanwhile */
    if (mapped.stop != memory_debug.mapped.stop ||
        mapped.changes != memory_debug.mapped.changes) {
        mapped.ranges[0] = g_array_new(FALSE, FALSE, sizeof(MappedRange));
        mapped.ranges[1] = g_array_new(FALSE, FALSE, sizeof(MappedRange));
        memory_debug.finding_mapped = true;
        guest_class()->debug_find_mapped(guest, mapped_page, mapped.ranges,
                                         &mapped.error);
        memory_debug.finding_mapped = false;
        mapped_sort(mapped.ranges[0]);
        mapped_sort(mapped.ranges[1]);
        mapped_replace(&mapped);
    }
    if (memory_debug.mapped.error) {
        error_propagate(errp, error_copy(memory_debug.mapped.error));
        return false;
    }
    return true;
}

/*
 * Confidential guests: the RAM step
 */

void memory_region_set_ram_debug_ops(MemoryRegion *mr,
                                     const MemoryRegionRAMReadWriteOps *ops)
{
    assert(!mr->alias);
    mr->ram_debug_ops = ops;
}

bool memory_debug_parallel(void)
{
    RAMBlock *block;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(block) {
        if (block->mr->ram_debug_ops) {
            return block->mr->ram_debug_ops->parallel;
        }
    }
    return false;
}

bool memory_debug_is_device_ram(MemoryRegion *mr)
{
    return object_dynamic_cast(mr->owner, TYPE_DEVICE) && !mr->rom_device;
}

/* Readers that have already begun must not keep what they have read */
static void forget_pages(MemoryRegion *mr, hwaddr offset, hwaddr len)
{
    hwaddr page = QEMU_ALIGN_DOWN(offset, MEMORY_DEBUG_PAGE_SIZE);

    QEMU_LOCK_GUARD(&memory_debug.cache_lock);
    memory_debug.changes++;
    for (; page < offset + len; page += MEMORY_DEBUG_PAGE_SIZE) {
        debug_page_cache_drop(memory_debug.cache, mr, page);
    }
}

/*
 * What invalidate_and_set_dirty() does in physmem.c after a write.  A page
 * that is shared here may be mapped, and have been read, as private elsewhere.
 */
static void debug_write_done(MemoryRegion *mr, hwaddr offset, hwaddr len)
{
    uint8_t mask = memory_region_get_dirty_log_mask(mr);
    ram_addr_t addr = memory_region_get_ram_addr(mr) + offset;

    forget_pages(mr, offset, len);
    if (mask & (1 << DIRTY_MEMORY_CODE)) {
        assert(tcg_enabled());
        tb_invalidate_phys_range(NULL, addr, addr + len - 1);
        mask &= ~(1 << DIRTY_MEMORY_CODE);
    }
    physical_memory_set_dirty_range(addr, len, mask);
}

static MemTxResult private_read(MemoryRegion *mr, hwaddr offset, hwaddr gpa,
                                void *buf, hwaddr len, Error **errp)
{
    MemTxResult result;

    result = mr->ram_debug_ops->read(mr, offset, gpa, buf, len, errp);
    stat64_add(&memory_debug.stats.reads, 1);
    stat64_add(&memory_debug.stats.bytes_read, len);
    trace_memory_debug_private_read(gpa, len, result);
    return result;
}

static MemTxResult private_write(MemoryRegion *mr, hwaddr offset, hwaddr gpa,
                                 const void *buf, hwaddr len, Error **errp)
{
    MemTxResult result;

    result = mr->ram_debug_ops->write(mr, offset, gpa, buf, len, errp);
    debug_write_done(mr, offset, len);
    stat64_add(&memory_debug.stats.writes, 1);
    stat64_add(&memory_debug.stats.bytes_written, len);
    trace_memory_debug_private_write(gpa, len, result);
    return result;
}

static bool read_from_cache(uint64_t view, MemoryRegion *mr, hwaddr page,
                            hwaddr in_page, void *buf, hwaddr len,
                            uint64_t *changes)
{
    const uint8_t *data;

    QEMU_LOCK_GUARD(&memory_debug.cache_lock);
    *changes = memory_debug.changes;
    data = debug_page_cache_find(memory_debug.cache, view, mr, page);
    if (data) {
        memcpy(buf, data + in_page, len);
    }
    return data;
}

/* Read from one page, which is decrypted and kept as a whole */
static MemTxResult private_read_cached(uint64_t view, MemoryRegion *mr,
                                       hwaddr offset, hwaddr gpa, void *buf,
                                       hwaddr len, Error **errp)
{
    hwaddr in_page = offset % MEMORY_DEBUG_PAGE_SIZE;
    hwaddr page = offset - in_page;
    uint8_t data[MEMORY_DEBUG_PAGE_SIZE];
    MemTxResult result;
    uint64_t changes;

    if (read_from_cache(view, mr, page, in_page, buf, len, &changes)) {
        stat64_add(&memory_debug.stats.cache_hits, 1);
        return MEMTX_OK;
    }
    result = private_read(mr, page, gpa - in_page, data, sizeof(data), errp);
    if (result == MEMTX_OK) {
        memcpy(buf, data + in_page, len);
        QEMU_LOCK_GUARD(&memory_debug.cache_lock);
        if (changes == memory_debug.changes) {
            debug_page_cache_insert(memory_debug.cache, view, mr, page, data);
        }
    }
    memory_debug_wipe(data, sizeof(data));
    return result;
}

static MemTxResult private_rw(MemoryRegion *mr, hwaddr offset, hwaddr gpa,
                              void *buf, hwaddr *len, bool is_write,
                              MemoryDebugScope *scope, Error **errp)
{
    uint64_t view;

    if (is_write) {
        return private_write(mr, offset, gpa, buf, *len, errp);
    }
    /* Small reads hit the same page again and again, large ones do not */
    view = *len <= MEMORY_DEBUG_PAGE_SIZE &&
           QEMU_IS_ALIGNED(offset - gpa, MEMORY_DEBUG_PAGE_SIZE) ?
           scope_view(scope) : 0;
    if (!view) {
        return private_read(mr, offset, gpa, buf, *len, errp);
    }
    *len = MIN(*len, MEMORY_DEBUG_PAGE_SIZE - offset % MEMORY_DEBUG_PAGE_SIZE);
    return private_read_cached(view, mr, offset, gpa, buf, *len, errp);
}

static void host_rw(MemoryRegion *mr, hwaddr offset, void *buf, hwaddr len,
                    bool is_write)
{
    uint8_t *host = qemu_map_ram_ptr(mr->ram_block, offset);

    if (is_write) {
        memcpy(host, buf, len);
        debug_write_done(mr, offset, len);
    } else {
        memcpy(buf, host, len);
    }
}

static void conflict_error(MemTxAttrs attrs, Error **errp)
{
    ERRP_GUARD();
    bool private = attrs.encryption == MEMTX_ENCRYPTION_PRIVATE;

    error_setg(errp, "the page-table entry says that the page is %s, but it is"
               " %s", private ? "private" : "shared",
               private ? "shared with the host" : "private");
    error_append_hint(errp, "The guest cannot access it either. Its contents "
                      "are at the physical address without the page-table "
                      "bit.\n");
}

static void unknown_error(Error **errp)
{
    ERRP_GUARD();
    ConfidentialGuestPageBit bit = memory_debug_page_bit();
    Error *why;

    WITH_QEMU_LOCK_GUARD(&memory_debug.cache_lock) {
        why = memory_debug.mapped.error;
        error_setg(errp, "it is not known whether the page is private or "
                   "shared: %s", !memory_debug.stop ?
                   "the VM is running" : why ? error_get_pretty(why) :
                   "no page table maps it");
    }
    error_append_hint(errp, "Write to a virtual address, or set the C-bit (0x%"
                      PRIx64 ") in the address if the page is private.\n",
                      bit.mask);
}

/* Is @mr's RAM at @offset mapped at @gpa?  Cut *@len to what is. */
static bool is_mapped_at(MemoryRegion *mr, hwaddr offset, hwaddr gpa,
                         hwaddr *len)
{
    hwaddr mapped;

    RCU_READ_LOCK_GUARD();
    return address_space_translate(&address_space_memory, gpa, &mapped, len,
                                   false, MEMTXATTRS_UNSPECIFIED) == mr &&
           mapped == offset;
}

/*
 * May *@len bytes be accessed, and how?  *@len is cut to the run that has the
 * state *@state.  Called during a transfer.
 */
static bool encrypted_ram_state(MemoryRegion *mr, hwaddr offset, hwaddr gpa,
                                MemTxAttrs attrs, hwaddr *len, bool is_write,
                                ConfidentialGuestPageState *state,
                                Error **errp)
{
    if (!memory_debug_check(is_write, errp)) {
        return false;
    }
    *len = MIN(*len, MEMORY_DEBUG_RUN_MAX);
    *state = CGS_PAGE_HOST;
    if (mr->ram_debug_ops) {
        *state = guest_class()->debug_page_state(memory_debug.guest, mr,
                                                 offset, gpa, attrs, len);
    }
    assert(*len);
    if (*state == CGS_PAGE_UNKNOWN) {
        *state = mapped_state(gpa, len);
    }
    if (*state == CGS_PAGE_CONFLICT) {
        conflict_error(attrs, errp);
        return false;
    }
    if (*state == CGS_PAGE_UNKNOWN && is_write) {
        unknown_error(errp);
        return false;
    }
    if (*state == CGS_PAGE_MEASURED) {
        if (is_write) {
            error_setg(errp, "the page is part of what is measured at launch "
                       "and cannot be changed before the guest runs");
            return false;
        }
        *state = CGS_PAGE_HOST;
    }
    if (*state != CGS_PAGE_HOST && mr->ram_debug_ops->by_gpa &&
        !is_mapped_at(mr, offset, gpa, len)) {
        error_setg(errp, "RAM '%s' is not mapped at 0x%" HWADDR_PRIx
                   " any more", memory_region_name(mr), gpa);
        return false;
    }
    return true;
}

/* Access one run of RAM; *@len is cut to it */
static MemTxResult encrypted_ram_run(MemoryRegion *mr, hwaddr offset,
                                     hwaddr gpa, MemTxAttrs attrs, void *buf,
                                     hwaddr *len, bool is_write,
                                     MemoryDebugScope *scope, Error **errp)
{
    MemTxResult result = MEMTX_OK;
    ConfidentialGuestPageState state;

    memory_debug_transfer_begin();
    if (!encrypted_ram_state(mr, offset, gpa, attrs, len, is_write, &state,
                             errp)) {
        result = MEMTX_ACCESS_ERROR;
    } else if (state == CGS_PAGE_HOST) {
        host_rw(mr, offset, buf, *len, is_write);
    } else {
        result = private_rw(mr, offset, gpa, buf, len, is_write, scope, errp);
        if (state == CGS_PAGE_UNKNOWN && scope) {
            scope->assumed_private += *len;
        }
    }
    memory_debug_transfer_end();
    return result;
}

/* On failure, *@gpa is the start of the run that failed */
static MemTxResult encrypted_ram_runs(MemoryRegion *mr, hwaddr offset,
                                      hwaddr *gpa, MemTxAttrs attrs,
                                      void *buf, hwaddr len, bool is_write,
                                      MemoryDebugScope *scope, Error **errp)
{
    while (len) {
        hwaddr run = len;
        MemTxResult result = encrypted_ram_run(mr, offset, *gpa, attrs, buf,
                                               &run, is_write, scope, errp);

        if (result != MEMTX_OK) {
            return result;
        }
        offset += run;
        *gpa += run;
        buf += run;
        len -= run;
    }
    return MEMTX_OK;
}

MemTxResult memory_debug_read_ram(MemoryRegion *mr, hwaddr offset, hwaddr gpa,
                                  void *buf, hwaddr len,
                                  MemoryDebugScope *scope, Error **errp)
{
    if (!memory_debug.guest) {
        host_rw(mr, offset, buf, len, false);
        return MEMTX_OK;
    }
    return encrypted_ram_runs(mr, offset, &gpa, MEMTXATTRS_UNSPECIFIED, buf,
                              len, false, scope, errp);
}

/*
 * Confidential guests: the FlatView
 */

typedef struct SectionSearch {
    hwaddr addr;
    hwaddr len;
    MemoryRegion *mr;
    hwaddr offset;
} SectionSearch;

/* flatview_cb: is this the first range that ends after the address? */
static bool search_section(Int128 start, Int128 size, const MemoryRegion *mr,
                           hwaddr offset_in_region, void *opaque)
{
    SectionSearch *s = opaque;
    Int128 addr = int128_make64(s->addr);
    Int128 end = int128_add(start, size);

    if (int128_ge(addr, end)) {
        return false;
    }
    if (int128_lt(addr, start)) {
        end = start;    /* of the hole */
    } else {
        s->mr = (MemoryRegion *)mr;
        s->offset = offset_in_region +
                    int128_get64(int128_sub(addr, start));
    }
    s->len = int128_get64(int128_min(int128_make64(s->len),
                                     int128_sub(end, addr)));
    return true;
}

/*
 * Return the region at @addr, with a reference, and the offset of @addr in it,
 * or NULL if @addr is in a hole; *@len is cut to the section or hole.
 * memory_region_find() would need the BQL, which vCPU threads do not hold.
 */
static MemoryRegion *region_at(AddressSpace *as, hwaddr addr, hwaddr *len,
                               hwaddr *offset)
{
    SectionSearch s = { .addr = addr, .len = *len };

    if (addr) {
        s.len = MIN(s.len, -addr);      /* the end of the address space */
    }
    RCU_READ_LOCK_GUARD();
    flatview_for_each_range(address_space_to_flatview(as), search_section, &s);
    if (s.mr) {
        memory_region_ref(s.mr);
    }
    *len = s.len;
    *offset = s.offset;
    return s.mr;
}

static bool is_ram(MemoryRegion *mr)
{
    return mr && memory_region_supports_direct_access(mr);
}

static MemTxResult access_result(MemTxResult result, hwaddr addr,
                                 Error **errp)
{
    if (result & MEMTX_DECODE_ERROR) {
        error_setg(errp, "nothing is mapped at physical address 0x%"
                   HWADDR_PRIx, addr);
    } else if (result & MEMTX_ACCESS_ERROR) {
        error_setg(errp, "the device at physical address 0x%" HWADDR_PRIx
                   " denied the access", addr);
    } else if (result) {
        error_setg(errp, "the device at physical address 0x%" HWADDR_PRIx
                   " reported an error", addr);
    }
    return result;
}

/* Access the region directly, as another may be mapped there by now */
static MemTxResult mmio_rw(MemoryRegion *mr, hwaddr offset, MemTxAttrs attrs,
                           void *buf, hwaddr len, bool is_write)
{
    MemTxResult result = MEMTX_OK;
    bool locked = prepare_mmio_access(mr);

    while (len) {
        hwaddr l = memory_access_size(mr, MIN(len, sizeof(uint64_t)), offset);
        uint64_t val = is_write ? ldn_he_p(buf, l) : 0;

        if (is_write) {
            result |= memory_region_dispatch_write(mr, offset, val,
                                                   size_memop(l), attrs);
        } else {
            result |= memory_region_dispatch_read(mr, offset, &val,
                                                  size_memop(l), attrs);
            stn_he_p(buf, l, val);
        }
        offset += l;
        buf += l;
        len -= l;
    }
    if (locked) {
        bql_unlock();
    }
    return result;
}

static MemTxResult section_rw(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                              void *buf, hwaddr *len, bool is_write,
                              MemoryDebugScope *scope, Error **errp)
{
    ERRP_GUARD();
    hwaddr gpa = addr, offset;
    MemoryRegion *mr = region_at(as, addr, len, &offset);
    MemTxResult result;

    if (!mr) {
        result = access_result(MEMTX_DECODE_ERROR, addr, errp);
    } else if (!is_ram(mr)) {
        result = mmio_rw(mr, offset, attrs, buf, *len, is_write);
        access_result(result, addr, errp);
    } else {
        result = encrypted_ram_runs(mr, offset, &gpa, attrs, buf, *len,
                                    is_write, scope, errp);
        if (result != MEMTX_OK) {
            error_prepend(errp, "cannot %s physical address 0x%" HWADDR_PRIx
                          ": ", is_write ? "write" : "read", gpa);
        }
        if (result == MEMTX_DECODE_ERROR) {
            result = MEMTX_ERROR;   /* there is RAM, but no such page yet */
        }
    }
    memory_region_unref(mr);
    return result;
}

/* Continue after holes, like the ordinary accessors; return the first error */
static MemTxResult range_rw(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                            void *buf, hwaddr len, bool is_write,
                            MemoryDebugScope *scope, Error **errp)
{
    MemTxResult first = MEMTX_OK;

    while (len) {
        hwaddr l = len;
        MemTxResult result = section_rw(as, addr, attrs, buf, &l, is_write,
                                        scope, first ? NULL : errp);

        first = first ?: result;
        if (result != MEMTX_OK && result != MEMTX_DECODE_ERROR) {
            break;
        }
        addr += l;
        buf += l;
        len -= l;
    }
    return first;
}

/* Would any part of a write to RAM be refused?  Then nothing is written. */
static bool range_check_write(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                              hwaddr len, Error **errp)
{
    ERRP_GUARD();
    bool ok = true;

    while (len && ok) {
        hwaddr l = len, offset;
        MemoryRegion *mr = region_at(as, addr, &l, &offset);
        ConfidentialGuestPageState state;

        if (is_ram(mr)) {
            memory_debug_transfer_begin();
            ok = encrypted_ram_state(mr, offset, addr, attrs, &l, true, &state,
                                     errp);
            memory_debug_transfer_end();
        }
        memory_region_unref(mr);
        if (!ok) {
            error_prepend(errp, "cannot write physical address 0x%" HWADDR_PRIx
                          ": ", addr);
        }
        addr += l;
        len -= l;
    }
    return ok;
}

/* Move the page-table bit of *@addr to the attributes */
static MemTxAttrs strip_page_bit(hwaddr *addr, MemTxAttrs attrs)
{
    ConfidentialGuestPageBit bit = memory_debug_page_bit();

    if (*addr & bit.mask) {
        *addr &= ~bit.mask;
        attrs.encryption = bit.set_means_private ? MEMTX_ENCRYPTION_PRIVATE :
                                                   MEMTX_ENCRYPTION_SHARED;
    }
    return attrs;
}

/* Common beginning of all accesses by encrypted_debug_ops */
static bool access_begin(hwaddr *addr, MemTxAttrs *attrs, bool is_write,
                         Error **errp)
{
    ERRP_GUARD();

    if (!memory_debug_object_check(is_write, errp)) {
        error_prepend(errp, "cannot %s physical address 0x%" HWADDR_PRIx ": ",
                      is_write ? "write" : "read", *addr);
        return false;
    }
    *attrs = strip_page_bit(addr, *attrs);
    if (attrs->encryption == MEMTX_ENCRYPTION_UNKNOWN && bql_locked()) {
        memory_debug_find_mapped(NULL);
    }
    return true;
}

static MemTxResult encrypted_rw(AddressSpace *as, hwaddr addr,
                                MemTxAttrs attrs, void *buf, hwaddr len,
                                bool is_write, MemoryDebugScope *scope,
                                Error **errp)
{
    ERRP_GUARD();
    MemTxResult result = MEMTX_ACCESS_ERROR;

    if (access_begin(&addr, &attrs, is_write, errp) &&
        (!is_write || range_check_write(as, addr, attrs, len, errp))) {
        result = range_rw(as, addr, attrs, buf, len, is_write, scope, errp);
    }
    if (result != MEMTX_OK) {
        memory_debug_remember_failure(addr, false, is_write, *errp);
    }
    return result;
}

static MemTxResult
address_space_encrypted_memory_read_debug(AddressSpace *as, hwaddr addr,
                                          MemTxAttrs attrs, void *buf,
                                          hwaddr len, MemoryDebugScope *scope,
                                          Error **errp)
{
    return encrypted_rw(as, addr, attrs, buf, len, false, scope, errp);
}

static MemTxResult
address_space_encrypted_rom_write_debug(AddressSpace *as, hwaddr addr,
                                        MemTxAttrs attrs, const void *buf,
                                        hwaddr len, MemoryDebugScope *scope,
                                        Error **errp)
{
    return encrypted_rw(as, addr, attrs, (void *)buf, len, true, scope, errp);
}

static const MemoryDebugOps encrypted_debug_ops = {
    .read = address_space_encrypted_memory_read_debug,
    .write = address_space_encrypted_rom_write_debug,
};

/*
 * Normal guests: the ordinary accessors
 */

/* The first address from @addr on that can have failed with @result */
static hwaddr failed_at(AddressSpace *as, hwaddr addr, hwaddr len,
                        MemTxResult result)
{
    hwaddr offset, end = addr + len, l = len;
    MemoryRegion *mr;

    while ((mr = region_at(as, addr, &l, &offset)) &&
           (result & MEMTX_DECODE_ERROR || is_ram(mr)) && l < end - addr) {
        memory_region_unref(mr);
        addr += l;
        l = end - addr;
    }
    memory_region_unref(mr);
    return addr;
}

static MemTxResult normal_rw(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                             void *buf, hwaddr len, bool is_write,
                             Error **errp)
{
    /* attrs.debug lets it write to ROM */
    MemTxResult result = address_space_rw(as, addr, attrs, buf, len, is_write);

    return result == MEMTX_OK ? result :
           access_result(result, failed_at(as, addr, len, result), errp);
}

static MemTxResult normal_memory_read_debug(AddressSpace *as, hwaddr addr,
                                            MemTxAttrs attrs, void *buf,
                                            hwaddr len,
                                            MemoryDebugScope *scope,
                                            Error **errp)
{
    return normal_rw(as, addr, attrs, buf, len, false, errp);
}

static MemTxResult normal_memory_write_debug(AddressSpace *as, hwaddr addr,
                                             MemTxAttrs attrs,
                                             const void *buf, hwaddr len,
                                             MemoryDebugScope *scope,
                                             Error **errp)
{
    return normal_rw(as, addr, attrs, (void *)buf, len, true, errp);
}

static const MemoryDebugOps normal_debug_ops = {
    .read = normal_memory_read_debug,
    .write = normal_memory_write_debug,
};

const MemoryDebugOps *physical_memory_debug_op = &normal_debug_ops;

/*
 * Entry points
 */

#define MEMTXATTRS_DEBUG ((MemTxAttrs) { .unspecified = true, .debug = 1 })

static MemTxResult debug_rw(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                            void *buf, hwaddr len, bool is_write,
                            MemoryDebugScope *scope, Error **errp)
{
    return is_write ?
           physical_memory_debug_op->write(as, addr, attrs, buf, len, scope,
                                           errp) :
           physical_memory_debug_op->read(as, addr, attrs, buf, len, scope,
                                          errp);
}

MemTxResult cpu_physical_memory_rw_debug(hwaddr addr, void *buf, hwaddr len,
                                         bool is_write,
                                         MemoryDebugScope *scope,
                                         Error **errp)
{
    return debug_rw(&address_space_memory, addr, MEMTXATTRS_DEBUG, buf, len,
                    is_write, scope, errp);
}

MemTxResult cpu_physical_memory_read_debug(hwaddr addr, void *buf, hwaddr len,
                                           MemoryDebugScope *scope,
                                           Error **errp)
{
    return cpu_physical_memory_rw_debug(addr, buf, len, false, scope, errp);
}

MemTxResult cpu_physical_memory_write_debug(hwaddr addr, const void *buf,
                                            hwaddr len,
                                            MemoryDebugScope *scope,
                                            Error **errp)
{
    return cpu_physical_memory_rw_debug(addr, (void *)buf, len, true, scope,
                                        errp);
}

const char *memory_debug_encryption_name(MemTxAttrs attrs)
{
    switch (attrs.encryption) {
    case MEMTX_ENCRYPTION_PRIVATE:
        return "private";
    case MEMTX_ENCRYPTION_SHARED:
        return "shared";
    default:
        return "";
    }
}

bool memory_debug_translate(CPUState *cpu, vaddr addr,
                            MemoryDebugTranslation *translation,
                            MemoryDebugScope *scope, Error **errp)
{
    vaddr page = addr & TARGET_PAGE_MASK;
    hwaddr gpa;

    if (cpu->cc->sysemu_ops->translate_debug) {
        return cpu->cc->sysemu_ops->translate_debug(cpu, addr, translation,
                                                    scope, errp);
    }
    gpa = cpu_get_phys_page_attrs_debug(cpu, page, &translation->attrs);
    if (gpa == -1) {
        error_setg(errp, "no page is mapped at virtual address 0x%"
                   VADDR_PRIx, addr);
        return false;
    }
    translation->gpa = gpa + (addr - page);
    translation->len = TARGET_PAGE_SIZE - (addr - page);
    return true;
}

/*
 * Translate the longest run of at most *@len bytes that is contiguous in
 * physical memory and has the same attributes; for a write, at most a page, so
 * that nothing after a page that cannot be written changes.
 */
static bool translate_run(CPUState *cpu, vaddr addr, size_t *len,
                          bool is_write, MemoryDebugTranslation *run,
                          MemoryDebugScope *scope, Error **errp)
{
    size_t max = MIN(*len, is_write ? -(addr | TARGET_PAGE_MASK) :
                                      MEMORY_DEBUG_RUN_MAX);

    if (!memory_debug_translate(cpu, addr, run, scope, errp)) {
        return false;
    }
    while (run->len < max) {
        MemoryDebugTranslation next;

        if (!memory_debug_translate(cpu, addr + run->len, &next, scope,
                                    NULL) ||
            next.gpa != run->gpa + run->len ||
            memcmp(&next.attrs, &run->attrs, sizeof(next.attrs))) {
            break;
        }
        run->len += next.len;
    }
    *len = MIN(max, run->len);
    return true;
}

/* Access one run for memory_debug_rw_virtual(); *@len is cut to it */
static MemTxResult virtual_run(CPUState *cpu, vaddr addr, void *buf,
                               size_t *len, bool is_write,
                               MemoryDebugScope *scope, Error **errp)
{
    ERRP_GUARD();
    MemoryDebugTranslation run;
    AddressSpace *as;
    MemTxResult result;

    if (!translate_run(cpu, addr, len, is_write, &run, scope, errp)) {
        return MEMTX_DECODE_ERROR;
    }
    as = cpu_get_address_space(cpu, cpu_asidx_from_attrs(cpu, run.attrs));
    run.attrs.debug = 1;
    result = debug_rw(as, run.gpa, run.attrs, buf, *len, is_write, scope,
                      errp);
    if (result != MEMTX_OK) {
        error_prepend(errp, "virtual address 0x%" VADDR_PRIx ": ", addr);
    }
    return result;
}

static MemTxResult virtual_rw(CPUState *cpu, vaddr addr, void *buf, size_t len,
                              bool is_write, MemoryDebugScope *scope,
                              Error **errp)
{
    ERRP_GUARD();

    while (len) {
        size_t run = len;
        MemTxResult result = virtual_run(cpu, addr, buf, &run, is_write,
                                         scope, errp);

        if (result != MEMTX_OK) {
            if (memory_debug.guest) {
                memory_debug_remember_failure(addr, true, is_write,
                                              *errp);
            }
            return result;
        }
        addr += run;
        buf += run;
        len -= run;
    }
    return MEMTX_OK;
}

MemTxResult memory_debug_rw_virtual(CPUState *cpu, vaddr addr, void *buf,
                                    size_t len, bool is_write,
                                    MemoryDebugScope *scope, Error **errp)
{
    MemoryDebugScope own;
    MemTxResult result;

    cpu_synchronize_state(cpu);
    if (scope) {
        return virtual_rw(cpu, addr, buf, len, is_write, scope, errp);
    }
    memory_debug_scope_begin(&own);     /* for the page tables */
    result = virtual_rw(cpu, addr, buf, len, is_write, &own, errp);
    memory_debug_scope_end(&own);
    return result;
}

static MemTxResult debug_read(CPUState *cpu, uint64_t addr, void *buf,
                              hwaddr len, MemoryDebugScope *scope,
                              Error **errp)
{
    return cpu ? memory_debug_rw_virtual(cpu, addr, buf, len, false, scope,
                                         errp) :
                 cpu_physical_memory_read_debug(addr, buf, len, scope, errp);
}

bool memory_debug_read_some(CPUState *cpu, uint64_t addr, void *buf,
                            hwaddr *len, MemoryDebugScope *scope, Error **errp)
{
    hwaddr max = MIN(*len, MEMORY_DEBUG_RUN_MAX), page;

    *len = max;
    if (debug_read(cpu, addr, buf, max, scope, NULL) == MEMTX_OK) {
        return true;
    }
    for (*len = 0; *len < max; *len += page) {
        page = MIN(max - *len, MEMORY_DEBUG_PAGE_SIZE -
                               (addr + *len) % MEMORY_DEBUG_PAGE_SIZE);
        if (debug_read(cpu, addr + *len, buf + *len, page, scope,
                       *len ? NULL : errp) != MEMTX_OK) {
            break;
        }
    }
    return *len;
}

bool memory_debug_is_ram(hwaddr addr, hwaddr *len)
{
    MemoryRegion *mr;
    hwaddr offset;
    bool ram;

    if (addr) {
        *len = MIN(*len, -addr);    /* up to the end of the address space */
    }
    addr &= ~memory_debug_page_bit().mask;
    mr = region_at(&address_space_memory, addr, len, &offset);
    ram = is_ram(mr);
    memory_region_unref(mr);
    return ram;
}

void memory_debug_scope_warn(const MemoryDebugScope *scope)
{
    if (scope->assumed_private) {
        warn_report("it is not known whether all of this memory is private; "
                    "what is shared shows up as garbage");
    }
}

/*
 * Life of the machine
 */

static void memory_debug_vm_state(void *opaque, bool running, RunState state)
{
    QEMU_LOCK_GUARD(&memory_debug.cache_lock);
    memory_debug.stopped_view = running ? 0 : ++memory_debug.last_view;
    memory_debug.stop = memory_debug.stopped_view;
    debug_page_cache_drop_all(memory_debug.cache);
}

static void memory_debug_reset(void *opaque)
{
    memory_debug_new_view();
    QEMU_LOCK_GUARD(&memory_debug.cache_lock);
    memory_debug.stop = memory_debug.stopped_view;
}

static void memory_debug_ram_added(RAMBlockNotifier *n, void *host,
                                   size_t size, size_t max_size)
{
    ram_addr_t offset;
    MemoryRegion *mr = memory_region_from_host(host, &offset);

    if (mr && !memory_region_is_ram_device(mr)) {
        guest_class()->debug_attach_ram(memory_debug.guest, mr);
    }
}

static void memory_debug_ram_changed(RAMBlockNotifier *n, void *host,
                                     size_t size, size_t max_size)
{
    memory_debug_convert_begin();
    memory_debug_convert_end();
}

/* What backs a guest-physical address does not change during a transfer */

static void memory_debug_map_begin(MemoryListener *listener)
{
    memory_debug_convert_begin();
}

static void memory_debug_map_commit(MemoryListener *listener)
{
    memory_debug_convert_end();
}

/* Run after the other handlers, so as to see what they have written */
static void memory_debug_machine_done(Notifier *n, void *data)
{
    qemu_register_reset(memory_debug_reset, NULL);
}

static void memory_debug_watch_machine(void)
{
    memory_debug.ram_notifier = (RAMBlockNotifier) {
        .ram_block_added = memory_debug_ram_added,
        .ram_block_removed = memory_debug_ram_changed,
        .ram_block_resized = memory_debug_ram_changed,
    };
    ram_block_notifier_add(&memory_debug.ram_notifier);

    memory_debug.listener = (MemoryListener) {
        .name = "memory-debug",
        .begin = memory_debug_map_begin,
        .commit = memory_debug_map_commit,
        .priority = INT_MAX,    /* commit after the accelerator */
    };
    memory_listener_register(&memory_debug.listener, &address_space_memory);

    /* INT_MIN is for those that look at the guest when it has stopped */
    qemu_add_vm_change_state_handler_prio(memory_debug_vm_state, NULL,
                                          INT_MIN + 1);
    memory_debug.machine_done.notify = memory_debug_machine_done;
    qemu_add_machine_init_done_notifier(&memory_debug.machine_done);
}

void memory_debug_init(MachineState *ms)
{
    if (!ms->cgs) {
        return;
    }
    memory_debug.guest = ms->cgs;
    memory_debug.cache = debug_page_cache_new();
    memory_debug.stopped_view = ++memory_debug.last_view;
    memory_debug.stop = memory_debug.stopped_view;
    physical_memory_debug_op = &encrypted_debug_ops;
    memory_debug_watch_machine();
}
