/*
 * Debug accesses to guest memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "exec/cpu-common.h"
#include "exec/target_page.h"
#include "exec/translation-block.h"
#include "hw/boards.h"
#include "hw/core/cpu.h"
#include "hw/core/sysemu-cpu-ops.h"
#include "system/address-spaces.h"
#include "system/hw_accel.h"
#include "system/memory.h"
#include "system/memory-debug.h"
#include "system/physmem.h"
#include "system/ramblock.h"
#include "system/reset.h"
#include "system/runstate.h"
#include "system/system.h"
#include "system/tcg.h"
#include "debug-page-cache.h"
#include "trace.h"

QEMU_BUILD_BUG_ON(MEMORY_DEBUG_PAGE_SIZE != DEBUG_PAGE_CACHE_PAGE_SIZE);

static struct {
    QemuMutex lock;         /* see memory_debug_lock(); guards all below */
    EncryptedGuest *guest;  /* constant once the machine is initialised */
    RAMBlockNotifier ram_notifier;
    Notifier machine_done;
    bool vm_stopped;        /* no vCPU runs: decrypted pages may be kept */
    unsigned readers;       /* and so they may for these */
    DebugPageCache *cache;
    MemoryDebugLimit limit;
    char *limit_why;
    MemoryDebugStats stats;
    MemoryDebugLastFailure last_failure;
    Error *last_error;
} memory_debug;

static void __attribute__((constructor)) memory_debug_lock_init(void)
{
    qemu_mutex_init(&memory_debug.lock);
}

void memory_debug_lock(void)
{
    qemu_mutex_lock(&memory_debug.lock);
}

void memory_debug_unlock(void)
{
    qemu_mutex_unlock(&memory_debug.lock);
}

EncryptedGuest *memory_debug_guest(void)
{
    return memory_debug.guest;
}

EncryptedPageBit memory_debug_page_bit(void)
{
    EncryptedGuest *eg = memory_debug.guest;

    if (!eg) {
        return (EncryptedPageBit) {};
    }
    return ENCRYPTED_GUEST_GET_CLASS(eg)->page_bit(eg);
}

EncryptedGuestRegisters memory_debug_registers(void)
{
    EncryptedGuest *eg = memory_debug.guest;

    return eg ? ENCRYPTED_GUEST_GET_CLASS(eg)->registers(eg) :
                ENCRYPTED_GUEST_REGISTERS_READABLE;
}

bool memory_debug_registers_protected(void)
{
    return memory_debug_registers() == ENCRYPTED_GUEST_REGISTERS_PROTECTED;
}

/*
 * What is allowed
 */

void memory_debug_limit(MemoryDebugLimit limit, const char *why)
{
    QEMU_LOCK_GUARD(&memory_debug.lock);
    if (limit > memory_debug.limit) {
        g_free(memory_debug.limit_why);
        memory_debug.limit_why = g_strdup(why);
        memory_debug.limit = limit;
        memory_debug_drop_cache();
    }
}

/* Called with memory_debug.lock held */
static bool within_limit(bool is_write, Error **errp)
{
    if (memory_debug.limit == MEMORY_DEBUG_OFF) {
        error_setg(errp, "access to guest memory by debuggers is turned off: "
                   "%s", memory_debug.limit_why);
        return false;
    }
    if (is_write && memory_debug.limit == MEMORY_DEBUG_READ_ONLY) {
        error_setg(errp, "guest memory is read-only for debuggers: %s",
                   memory_debug.limit_why);
        return false;
    }
    return true;
}

bool memory_debug_within_limit(bool is_write, Error **errp)
{
    QEMU_LOCK_GUARD(&memory_debug.lock);
    return within_limit(is_write, errp);
}

/* Called with memory_debug.lock held */
static bool policy_allows(Error **errp)
{
    EncryptedGuest *eg = memory_debug.guest;

    return !eg || ENCRYPTED_GUEST_GET_CLASS(eg)->debug_allowed(eg, errp);
}

bool memory_debug_allowed(Error **errp)
{
    QEMU_LOCK_GUARD(&memory_debug.lock);
    return within_limit(false, errp) && policy_allows(errp);
}

bool memory_debug_host_view(Error **errp)
{
    ERRP_GUARD();
    if (!memory_debug.guest) {
        return memory_debug_within_limit(false, errp);
    }
    error_setg(errp, "the memory of this guest is encrypted: the host's page "
               "does not hold what the guest sees");
    error_append_hint(errp, "Use 'x' or 'xp', which decrypt.\n");
    return false;
}

MemoryDebugStats memory_debug_stats(void)
{
    QEMU_LOCK_GUARD(&memory_debug.lock);
    return memory_debug.stats;
}

uint64_t memory_debug_failures(void)
{
    MemoryDebugStats stats = memory_debug_stats();
    uint64_t sum = 0;

    for (int i = 0; i < ARRAY_SIZE(stats.failures); i++) {
        sum += stats.failures[i];
    }
    return sum;
}

MemoryDebugLastFailure memory_debug_last_failure(void)
{
    MemoryDebugLastFailure last;

    QEMU_LOCK_GUARD(&memory_debug.lock);
    last = memory_debug.last_failure;
    last.reason = g_strdup(last.reason);
    return last;
}

Error *memory_debug_last_error(void)
{
    QEMU_LOCK_GUARD(&memory_debug.lock);
    return memory_debug.last_error ? error_copy(memory_debug.last_error) : NULL;
}

static void count_failure(MemoryDebugFailure failure)
{
    QEMU_LOCK_GUARD(&memory_debug.lock);
    memory_debug.stats.failures[failure]++;
}

static void remember_failure(uint64_t addr, bool is_virtual, bool is_write,
                             Error *err)
{
    QEMU_LOCK_GUARD(&memory_debug.lock);
    g_free(memory_debug.last_failure.reason);
    error_free(memory_debug.last_error);
    memory_debug.last_error = error_copy(err);
    memory_debug.last_failure = (MemoryDebugLastFailure) {
        .addr = addr,
        .is_virtual = is_virtual,
        .is_write = is_write,
        .reason = g_strdup(error_get_pretty(err)),
    };
}

void memory_debug_drop_cache(void)
{
    if (memory_debug.cache) {
        debug_page_cache_drop_all(memory_debug.cache);
    }
}

void memory_debug_begin_reads(void)
{
    QEMU_LOCK_GUARD(&memory_debug.lock);
    memory_debug.readers++;
}

void memory_debug_end_reads(void)
{
    QEMU_LOCK_GUARD(&memory_debug.lock);
    if (!--memory_debug.readers && !memory_debug.vm_stopped) {
        memory_debug_drop_cache();
    }
}

void memory_region_set_ram_debug_ops(MemoryRegion *mr,
                                     const MemoryRegionRAMReadWriteOps *ops)
{
    assert(!mr->alias);
    mr->ram_debug_ops = ops;
}

static MemTxResult access_result(MemTxResult result, hwaddr addr,
                                 Error **errp)
{
    if (result & MEMTX_DECODE_ERROR) {
        count_failure(MEMORY_DEBUG_FAILURE_UNMAPPED);
        error_setg(errp, "nothing is mapped at physical address 0x%"
                   HWADDR_PRIx, addr);
    } else if (result & MEMTX_ACCESS_ERROR) {
        count_failure(MEMORY_DEBUG_FAILURE_DEVICE);
        error_setg(errp, "the device at physical address 0x%" HWADDR_PRIx
                   " denied the access", addr);
    } else if (result) {
        count_failure(MEMORY_DEBUG_FAILURE_DEVICE);
        error_setg(errp, "the device at physical address 0x%" HWADDR_PRIx
                   " reported an error", addr);
    }
    return result;
}

static bool range_wraps(hwaddr addr, hwaddr len, Error **errp)
{
    if (len && addr + len - 1 < addr) {
        count_failure(MEMORY_DEBUG_FAILURE_UNMAPPED);
        error_setg(errp, "0x%" HWADDR_PRIx " bytes from physical address 0x%"
                   HWADDR_PRIx " reach beyond the end of the address space",
                   len, addr);
        return true;
    }
    return false;
}

/*
 * Every access by MemoryDebugOps begins with access_begin() and ends with
 * access_end(); both want an @errp that is not NULL.
 */
static MemTxResult access_begin(hwaddr addr, bool is_write, Error **errp)
{
    if (memory_debug_within_limit(is_write, errp)) {
        return MEMTX_OK;
    }
    count_failure(MEMORY_DEBUG_FAILURE_LIMIT);
    error_prepend(errp, "cannot %s physical address 0x%" HWADDR_PRIx ": ",
                  is_write ? "write" : "read", addr);
    return MEMTX_ACCESS_ERROR;
}

static MemTxResult access_end(hwaddr addr, bool is_write, MemTxResult result,
                              Error **errp)
{
    if (result != MEMTX_OK) {
        remember_failure(addr, false, is_write, *errp);
    }
    return result;
}

/*
 * Normal guests: the ordinary accessors
 */

static MemTxResult normal_rw(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                             void *buf, hwaddr len, bool is_write,
                             Error **errp)
{
    ERRP_GUARD();
    MemTxResult result = access_begin(addr, is_write, errp);

    if (result == MEMTX_OK) {
        if (range_wraps(addr, len, errp)) {
            result = MEMTX_DECODE_ERROR;
        } else {
            /* attrs.debug lets it write to ROM */
            result = access_result(address_space_rw(as, addr, attrs, buf, len,
                                                    is_write), addr, errp);
        }
    }
    return access_end(addr, is_write, result, errp);
}

static MemTxResult normal_memory_read_debug(AddressSpace *as, hwaddr addr,
                                            MemTxAttrs attrs, void *buf,
                                            hwaddr len, Error **errp)
{
    return normal_rw(as, addr, attrs, buf, len, false, errp);
}

static MemTxResult normal_memory_write_debug(AddressSpace *as, hwaddr addr,
                                             MemTxAttrs attrs,
                                             const void *buf, hwaddr len,
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
 * Encrypted guests: the RAM step
 */

typedef enum RamAccess {
    RAM_READ,
    RAM_READ_ONCE,      /* past the page cache */
    RAM_WRITE,
} RamAccess;

/* What invalidate_and_set_dirty() does in physmem.c after a write */
static void debug_write_done(MemoryRegion *mr, hwaddr offset, hwaddr len)
{
    uint8_t mask = memory_region_get_dirty_log_mask(mr);
    ram_addr_t addr = memory_region_get_ram_addr(mr) + offset;

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
    memory_debug.stats.reads++;
    memory_debug.stats.bytes_read += len;
    memory_debug.stats.failures[MEMORY_DEBUG_FAILURE_BACKEND] +=
        result != MEMTX_OK;
    trace_memory_debug_private_read(gpa, len, result);
    return result;
}

static MemTxResult private_write(MemoryRegion *mr, hwaddr offset, hwaddr gpa,
                                 const void *buf, hwaddr len, Error **errp)
{
    MemTxResult result;

    for (hwaddr page = QEMU_ALIGN_DOWN(offset, MEMORY_DEBUG_PAGE_SIZE);
         page < offset + len; page += MEMORY_DEBUG_PAGE_SIZE) {
        debug_page_cache_drop(memory_debug.cache, mr, page);
    }
    result = mr->ram_debug_ops->write(mr, offset, gpa, buf, len, errp);
    debug_write_done(mr, offset, len);
    memory_debug.stats.writes++;
    memory_debug.stats.bytes_written += len;
    memory_debug.stats.failures[MEMORY_DEBUG_FAILURE_BACKEND] +=
        result != MEMTX_OK;
    trace_memory_debug_private_write(gpa, len, result);
    return result;
}

/* A read within one page, of which all is decrypted and kept */
static MemTxResult private_read_cached(MemoryRegion *mr, hwaddr offset,
                                       hwaddr gpa, void *buf, hwaddr len,
                                       Error **errp)
{
    hwaddr in_page = offset % MEMORY_DEBUG_PAGE_SIZE;
    const uint8_t *data = debug_page_cache_find(memory_debug.cache, mr,
                                                offset - in_page);
    MemTxResult result;
    uint8_t *page;

    if (data) {
        memory_debug.stats.cache_hits++;
        memcpy(buf, data + in_page, len);
        return MEMTX_OK;
    }
    page = debug_page_cache_claim(memory_debug.cache, mr, offset - in_page);
    result = private_read(mr, offset - in_page, gpa - in_page, page,
                          MEMORY_DEBUG_PAGE_SIZE, errp);
    if (result == MEMTX_OK) {
        memcpy(buf, page + in_page, len);
    } else {
        debug_page_cache_drop(memory_debug.cache, mr, offset - in_page);
    }
    return result;
}

/* Small reads come again and again to the same page, large ones do not */
static bool use_cache(hwaddr offset, hwaddr gpa, hwaddr len)
{
    return (memory_debug.vm_stopped || memory_debug.readers) &&
           len <= MEMORY_DEBUG_PAGE_SIZE &&
           (offset - gpa) % MEMORY_DEBUG_PAGE_SIZE == 0;
}

static MemTxResult private_rw(MemoryRegion *mr, hwaddr offset, hwaddr gpa,
                              void *buf, hwaddr *len, RamAccess access,
                              Error **errp)
{
    if (access == RAM_WRITE) {
        return private_write(mr, offset, gpa, buf, *len, errp);
    }
    if (access == RAM_READ_ONCE || !use_cache(offset, gpa, *len)) {
        return private_read(mr, offset, gpa, buf, *len, errp);
    }
    *len = MIN(*len, MEMORY_DEBUG_PAGE_SIZE - offset % MEMORY_DEBUG_PAGE_SIZE);
    return private_read_cached(mr, offset, gpa, buf, *len, errp);
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

/*
 * May @len bytes be accessed, and how?  *@state is that of the run which
 * *@len is cut to.  Called with memory_debug.lock held.
 */
static bool encrypted_ram_state(MemoryRegion *mr, hwaddr offset, hwaddr gpa,
                                MemTxAttrs attrs, hwaddr *len,
                                EncryptedPageState *state, Error **errp)
{
    ERRP_GUARD();
    EncryptedGuest *eg = memory_debug.guest;

    if (!within_limit(false, errp)) {
        memory_debug.stats.failures[MEMORY_DEBUG_FAILURE_LIMIT]++;
        return false;
    }
    if (!policy_allows(errp)) {
        memory_debug.stats.failures[MEMORY_DEBUG_FAILURE_POLICY]++;
        return false;
    }
    *len = MIN(*len, MEMORY_DEBUG_RUN_MAX);
    *state = ENCRYPTED_GUEST_GET_CLASS(eg)->page_state(eg, mr, offset, gpa,
                                                       attrs, len);
    assert(*len);
    if (*state == ENCRYPTED_PAGE_CONFLICT) {
        memory_debug.stats.failures[MEMORY_DEBUG_FAILURE_CONFLICT]++;
        error_setg(errp, "the page-table entry says that the page is private,"
                   " but it is shared with the host");
        error_append_hint(errp, "The guest cannot access it either. Its "
                          "shared contents are at the physical address.\n");
        return false;
    }
    return true;
}

/* One run of RAM; *@len is cut to it */
static MemTxResult encrypted_ram_run(MemoryRegion *mr, hwaddr offset,
                                     hwaddr gpa, MemTxAttrs attrs, void *buf,
                                     hwaddr *len, RamAccess access,
                                     Error **errp)
{
    EncryptedPageState state;

    QEMU_LOCK_GUARD(&memory_debug.lock);
    if (!encrypted_ram_state(mr, offset, gpa, attrs, len, &state, errp)) {
        return MEMTX_ACCESS_ERROR;
    }
    if (state == ENCRYPTED_PAGE_PRIVATE) {
        return private_rw(mr, offset, gpa, buf, len, access, errp);
    }
    host_rw(mr, offset, buf, *len, access == RAM_WRITE);
    return MEMTX_OK;
}

/* If it fails, *@gpa is where the run that failed begins */
static MemTxResult encrypted_ram_runs(MemoryRegion *mr, hwaddr offset,
                                      hwaddr *gpa, MemTxAttrs attrs,
                                      void *buf, hwaddr len,
                                      RamAccess access, Error **errp)
{
    while (len) {
        hwaddr run = len;
        MemTxResult result = encrypted_ram_run(mr, offset, *gpa, attrs, buf,
                                               &run, access, errp);

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

static MemTxResult encrypted_ram_rw(MemoryRegion *mr, hwaddr offset,
                                    hwaddr gpa, MemTxAttrs attrs, void *buf,
                                    hwaddr len, bool is_write, Error **errp)
{
    ERRP_GUARD();
    MemTxResult result = encrypted_ram_runs(mr, offset, &gpa, attrs, buf, len,
                                            is_write ? RAM_WRITE : RAM_READ,
                                            errp);

    if (result != MEMTX_OK) {
        error_prepend(errp, "cannot %s physical address 0x%" HWADDR_PRIx ": ",
                      is_write ? "write" : "read", gpa);
    }
    return result;
}

MemTxResult memory_debug_read_ram(MemoryRegion *mr, hwaddr offset, hwaddr gpa,
                                  MemTxAttrs attrs, void *buf, hwaddr len,
                                  Error **errp)
{
    if (!memory_debug.guest || !mr->ram_debug_ops) {
        host_rw(mr, offset, buf, len, false);
        return MEMTX_OK;
    }
    return encrypted_ram_runs(mr, offset, &gpa, attrs, buf, len,
                              RAM_READ_ONCE, errp);
}

/*
 * Encrypted guests: the FlatView
 */

/*
 * The region behind @addr, with a reference taken, so that it stays when
 * the RCU critical section has ended.
 */
static MemoryRegion *section_at(AddressSpace *as, hwaddr addr,
                                hwaddr *offset, hwaddr *len, bool is_write,
                                MemTxAttrs attrs)
{
    MemoryRegion *mr;

    RCU_READ_LOCK_GUARD();
    mr = address_space_translate(as, addr, offset, len, is_write, attrs);
    memory_region_ref(mr);
    return mr;
}

static bool has_encrypted_ram(MemoryRegion *mr)
{
    return memory_region_supports_direct_access(mr) && !mr->alias &&
           mr->ram_debug_ops;
}

static MemTxResult section_rw(AddressSpace *as, hwaddr addr,
                              MemTxAttrs attrs, void *buf, hwaddr *len,
                              bool is_write, Error **errp)
{
    hwaddr offset;
    MemoryRegion *mr = section_at(as, addr, &offset, len, is_write, attrs);
    MemTxResult result;

    if (has_encrypted_ram(mr)) {
        result = encrypted_ram_rw(mr, offset, addr, attrs, buf, *len,
                                  is_write, errp);
    } else {
        result = access_result(address_space_rw(as, addr, attrs, buf, *len,
                                                is_write), addr, errp);
    }
    memory_region_unref(mr);
    return result;
}

/* Would the first access to every part of the range be refused? */
static MemTxResult section_check_write(AddressSpace *as, hwaddr addr,
                                       MemTxAttrs attrs, hwaddr *len,
                                       Error **errp)
{
    ERRP_GUARD();
    hwaddr offset;
    MemoryRegion *mr = section_at(as, addr, &offset, len, true, attrs);
    MemTxResult result = MEMTX_OK;
    EncryptedPageState state;

    if (has_encrypted_ram(mr)) {
        QEMU_LOCK_GUARD(&memory_debug.lock);
        if (!encrypted_ram_state(mr, offset, addr, attrs, len, &state,
                                 errp)) {
            error_prepend(errp, "cannot write physical address 0x%"
                          HWADDR_PRIx ": ", addr);
            result = MEMTX_ACCESS_ERROR;
        }
    } else if (!memory_region_supports_direct_access(mr)) {
        *len = memory_access_size(mr, *len, offset);
        if (!memory_region_access_valid(mr, offset, *len, true, attrs)) {
            result = access_result(MEMTX_DECODE_ERROR, addr, errp);
        }
    }
    memory_region_unref(mr);
    return result;
}

static MemTxResult range_check_write(AddressSpace *as, hwaddr addr,
                                     MemTxAttrs attrs, hwaddr len,
                                     Error **errp)
{
    while (len) {
        hwaddr l = len;
        MemTxResult result = section_check_write(as, addr, attrs, &l, errp);

        if (result != MEMTX_OK) {
            return result;
        }
        addr += l;
        len -= l;
    }
    return MEMTX_OK;
}

static MemTxResult range_rw(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                            void *buf, hwaddr len, bool is_write,
                            Error **errp)
{
    while (len) {
        hwaddr l = len;
        MemTxResult result;

        result = section_rw(as, addr, attrs, buf, &l, is_write, errp);
        if (result != MEMTX_OK) {
            return result;
        }
        addr += l;
        buf += l;
        len -= l;
    }
    return MEMTX_OK;
}

MemTxResult address_space_read_debug(AddressSpace *as, hwaddr addr,
                                     MemTxAttrs attrs, void *buf, hwaddr len,
                                     Error **errp)
{
    if (range_wraps(addr, len, errp)) {
        return MEMTX_DECODE_ERROR;
    }
    return range_rw(as, addr, attrs, buf, len, false, errp);
}

MemTxResult address_space_write_rom_debug(AddressSpace *as, hwaddr addr,
                                          MemTxAttrs attrs, const void *buf,
                                          hwaddr len, Error **errp)
{
    MemTxResult result;

    if (range_wraps(addr, len, errp)) {
        return MEMTX_DECODE_ERROR;
    }
    attrs.debug = 1;    /* ROM can be written */
    result = range_check_write(as, addr, attrs, len, errp);
    if (result != MEMTX_OK) {
        return result;
    }
    return range_rw(as, addr, attrs, (void *)buf, len, true, errp);
}

/* Move the page-table bit of *@addr to the attributes */
static MemTxAttrs strip_page_bit(hwaddr *addr, MemTxAttrs attrs)
{
    EncryptedPageBit bit = memory_debug_page_bit();

    if (*addr & bit.mask) {
        *addr &= ~bit.mask;
        attrs.encryption = bit.set_means_private ? MEMTX_ENCRYPTION_PRIVATE :
                                                   MEMTX_ENCRYPTION_SHARED;
    }
    return attrs;
}

MemTxResult
address_space_encrypted_memory_read_debug(AddressSpace *as, hwaddr addr,
                                          MemTxAttrs attrs, void *buf,
                                          hwaddr len, Error **errp)
{
    ERRP_GUARD();
    MemTxResult result = access_begin(addr, false, errp);

    if (result == MEMTX_OK) {
        attrs = strip_page_bit(&addr, attrs);
        result = address_space_read_debug(as, addr, attrs, buf, len, errp);
    }
    return access_end(addr, false, result, errp);
}

MemTxResult
address_space_encrypted_rom_write_debug(AddressSpace *as, hwaddr addr,
                                        MemTxAttrs attrs, const void *buf,
                                        hwaddr len, Error **errp)
{
    ERRP_GUARD();
    MemTxResult result = access_begin(addr, true, errp);

    if (result == MEMTX_OK) {
        attrs = strip_page_bit(&addr, attrs);
        result = address_space_write_rom_debug(as, addr, attrs, buf, len,
                                               errp);
    }
    return access_end(addr, true, result, errp);
}

static const MemoryDebugOps encrypted_debug_ops = {
    .read = address_space_encrypted_memory_read_debug,
    .write = address_space_encrypted_rom_write_debug,
};

/*
 * Entry points
 */

#define MEMTXATTRS_DEBUG ((MemTxAttrs) { .unspecified = true, .debug = 1 })

MemTxResult cpu_physical_memory_read_debug(hwaddr addr, void *buf,
                                           hwaddr len, Error **errp)
{
    return physical_memory_debug_op->read(&address_space_memory, addr,
                                          MEMTXATTRS_DEBUG, buf, len, errp);
}

MemTxResult cpu_physical_memory_write_debug(hwaddr addr, const void *buf,
                                            hwaddr len, Error **errp)
{
    return physical_memory_debug_op->write(&address_space_memory, addr,
                                           MEMTXATTRS_DEBUG, buf, len, errp);
}

MemTxResult cpu_physical_memory_rw_debug(hwaddr addr, void *buf, hwaddr len,
                                         bool is_write, Error **errp)
{
    if (is_write) {
        return cpu_physical_memory_write_debug(addr, buf, len, errp);
    }
    return cpu_physical_memory_read_debug(addr, buf, len, errp);
}

MemTxResult memory_debug_read_physical(CPUState *cpu, hwaddr addr, void *buf,
                                       hwaddr len, Error **errp)
{
    AddressSpace *as = cpu ? cpu->as : &address_space_memory;

    return physical_memory_debug_op->read(as, addr, MEMTXATTRS_DEBUG, buf,
                                          len, errp);
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

hwaddr memory_debug_translate(CPUState *cpu, vaddr addr, MemTxAttrs *attrs,
                              Error **errp)
{
    vaddr page = addr & TARGET_PAGE_MASK;
    hwaddr phys;

    if (cpu->cc->sysemu_ops->translate_debug) {
        phys = cpu->cc->sysemu_ops->translate_debug(cpu, page, attrs, errp);
        attrs->debug = 1;
        return phys;
    }
    phys = cpu_get_phys_page_attrs_debug(cpu, page, attrs);
    if (phys == -1) {
        error_setg(errp, "no page is mapped at virtual address 0x%"
                   VADDR_PRIx, addr);
    }
    return phys;
}

/*
 * The length, at most @len, from @addr on that is contiguous in physical
 * memory and has the same attributes
 */
static size_t contiguous_run(CPUState *cpu, vaddr addr, hwaddr phys,
                             MemTxAttrs attrs, size_t len)
{
    size_t run = MIN(len, -(addr | TARGET_PAGE_MASK));

    len = MIN(len, MEMORY_DEBUG_RUN_MAX);
    while (run < len) {
        MemTxAttrs next_attrs;
        hwaddr next = memory_debug_translate(cpu, addr + run, &next_attrs,
                                             NULL);

        if (next != phys + run || memcmp(&attrs, &next_attrs, sizeof(attrs))) {
            break;
        }
        run = MIN(len, run + TARGET_PAGE_SIZE);
    }
    return run;
}

/* One run of memory_debug_rw_virtual(); *@len is cut to it */
static MemTxResult virtual_run(CPUState *cpu, vaddr addr, void *buf,
                               size_t *len, bool is_write, Error **errp)
{
    ERRP_GUARD();
    MemTxAttrs attrs;
    hwaddr phys = memory_debug_translate(cpu, addr, &attrs, errp);
    AddressSpace *as;
    MemTxResult result;

    if (phys == -1) {
        count_failure(MEMORY_DEBUG_FAILURE_VIRTUAL);
        return MEMTX_DECODE_ERROR;
    }
    as = cpu_get_address_space(cpu, cpu_asidx_from_attrs(cpu, attrs));
    phys += addr & ~TARGET_PAGE_MASK;
    *len = contiguous_run(cpu, addr, phys, attrs, *len);
    if (is_write) {
        result = physical_memory_debug_op->write(as, phys, attrs, buf, *len,
                                                 errp);
    } else {
        result = physical_memory_debug_op->read(as, phys, attrs, buf, *len,
                                                errp);
    }
    if (result != MEMTX_OK) {
        error_prepend(errp, "virtual address 0x%" VADDR_PRIx ": ", addr);
    }
    return result;
}

MemTxResult memory_debug_rw_virtual(CPUState *cpu, vaddr addr, void *buf,
                                    size_t len, bool is_write, Error **errp)
{
    ERRP_GUARD();
    MemTxResult result = MEMTX_OK;

    cpu_synchronize_state(cpu);
    memory_debug_begin_reads();     /* of page tables, page by page */
    while (len) {
        size_t run = len;

        result = virtual_run(cpu, addr, buf, &run, is_write, errp);
        if (result != MEMTX_OK) {
            remember_failure(addr, true, is_write, *errp);
            break;
        }
        addr += run;
        buf += run;
        len -= run;
    }
    memory_debug_end_reads();
    return result;
}

/* virtual memory access for debug (includes writing to ROM) */
int cpu_memory_rw_debug(CPUState *cpu, vaddr addr, void *ptr, size_t len,
                        bool is_write)
{
    return memory_debug_rw_virtual(cpu, addr, ptr, len, is_write,
                                   NULL) == MEMTX_OK ? 0 : -1;
}

/*
 * Life of the machine
 */

static void memory_debug_vm_state(void *opaque, bool running, RunState state)
{
    QEMU_LOCK_GUARD(&memory_debug.lock);
    memory_debug.vm_stopped = !running;
    memory_debug_drop_cache();
}

static void memory_debug_forget(void *opaque)
{
    QEMU_LOCK_GUARD(&memory_debug.lock);
    memory_debug_drop_cache();
}

static void memory_debug_ram_added(RAMBlockNotifier *n, void *host,
                                   size_t size, size_t max_size)
{
    EncryptedGuest *eg = memory_debug.guest;
    ram_addr_t offset;
    MemoryRegion *mr = memory_region_from_host(host, &offset);

    if (mr && !memory_region_is_ram_device(mr)) {
        ENCRYPTED_GUEST_GET_CLASS(eg)->attach_ram(eg, mr);
    }
}

static void memory_debug_ram_changed(RAMBlockNotifier *n, void *host,
                                     size_t size, size_t max_size)
{
    memory_debug_forget(NULL);
}

/* As the last handler, so that it sees what the others have written */
static void memory_debug_machine_done(Notifier *n, void *data)
{
    qemu_register_reset(memory_debug_forget, NULL);
}

void memory_debug_init(MachineState *ms)
{
    if (!object_dynamic_cast(OBJECT(ms->cgs), TYPE_ENCRYPTED_GUEST)) {
        return;
    }
    memory_debug.guest = ENCRYPTED_GUEST(ms->cgs);
    memory_debug.cache = debug_page_cache_new();
    memory_debug.vm_stopped = true;
    physical_memory_debug_op = &encrypted_debug_ops;

    memory_debug.ram_notifier = (RAMBlockNotifier) {
        .ram_block_added = memory_debug_ram_added,
        .ram_block_removed = memory_debug_ram_changed,
        .ram_block_resized = memory_debug_ram_changed,
    };
    ram_block_notifier_add(&memory_debug.ram_notifier);
    qemu_add_vm_change_state_handler_prio(memory_debug_vm_state, NULL,
                                          INT_MIN);
    memory_debug.machine_done.notify = memory_debug_machine_done;
    qemu_add_machine_init_done_notifier(&memory_debug.machine_done);
}

static const TypeInfo encrypted_guest_info = {
    .name = TYPE_ENCRYPTED_GUEST,
    .parent = TYPE_INTERFACE,
    .class_size = sizeof(EncryptedGuestClass),
};

static void memory_debug_register_types(void)
{
    type_register_static(&encrypted_guest_info);
}

type_init(memory_debug_register_types)
