/*
 * A simulated encrypted guest, for development and tests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/*
 * The guest itself runs in plaintext and never notices.  From the first
 * start on, whenever the VM is stopped, its RAM is sealed: each page is
 * encrypted in place with AES-XTS (mode=cipher), or moved elsewhere and
 * zeroed (mode=hidden), and unsealed again when the VM is resumed.  Code that
 * reads guest RAM without the debug layer thus gets what the host of a real
 * encrypted guest would get.
 *
 * The XTS tweak of a page is its number in ram_addr_t space.  Below the PCI
 * hole that is the guest-physical page number, but it also exists and is
 * unique for pages that are currently mapped twice or not at all.
 *
 * Pages of zeros stay as they are: they hold nothing to hide, and a sparse
 * guest stays sparse.
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/cutils.h"
#include "qemu/seqlock.h"
#include "qemu/units.h"
#include "block/block.h"
#include "confidential-guest.h"
#include "crypto/cipher.h"
#include "crypto/random.h"
#include "hw/boards.h"
#include "hw/resettable.h"
#include "migration/blocker.h"
#include "qapi/error.h"
#include "qapi/qapi-types-memory-debug.h"
#include "qapi/qapi-visit-sim-encrypted-guest.h"
#include "qapi/visitor.h"
#include "qom/object_interfaces.h"
#include "system/address-spaces.h"
#include "system/memory.h"
#include "system/memory-debug.h"
#include "system/ramblock.h"
#include "system/reset.h"
#include "system/runstate.h"
#include "system/system.h"
#include "sim-encrypted-guest.h"
#include "trace.h"

OBJECT_DECLARE_SIMPLE_TYPE(SimEncryptedGuest, SIM_ENCRYPTED_GUEST)

#define SIM_PAGE_SIZE   MEMORY_DEBUG_PAGE_SIZE
#define SIM_KEY_SIZE    64      /* two AES-256 keys: data and tweak */

/* A RAMBlock that is sealed when the VM stops */
typedef struct SimBlock {
    RAMBlock *rb;
    void *host;                 /* identifies it to RAMBlockNotifier */
    size_t pages;
    unsigned long *sealed;      /* one bit per page */
    uint8_t *hidden;            /* mode=hidden: the pages' real contents */
    QLIST_ENTRY(SimBlock) next;
} SimBlock;

struct SimEncryptedGuest {
    X86ConfidentialGuest parent_obj;

    SimEncryptedGuestMode mode;
    bool policy_debug;
    bool protect_registers;
    uint8_t cbitpos;
    SimEncryptedGuestBit cbit_set;
    SimEncryptedGuestRangeList *shared;
    SimEncryptedGuestRangeList *fault;
    SimEncryptedGuestRangeList *absent;
    uint32_t latency_us;

    /* Changed with the BQL held, and during a conversion */
    bool active;                /* it is the machine's guest */
    bool launched;              /* the VM has run */
    bool sealed;
    bool reset_unsealed;        /* between the phases of a reset */
    QLIST_HEAD(, SimBlock) blocks;

    /* Writers of sealed pages; readers retry */
    QemuMutex write_lock;
    QemuSeqLock writes;

    /* Idle ciphers; they have state, so each thread needs its own */
    uint8_t key[SIM_KEY_SIZE];
    QemuMutex cipher_lock;
    GPtrArray *ciphers;

    RAMBlockNotifier ram_notifier;
    ResettableState reset_state;
    Notifier machine_done;
    Notifier exit;
    Error *migration_blocker;
};

OBJECT_DEFINE_SIMPLE_TYPE_WITH_INTERFACES(SimEncryptedGuest,
                                          sim_encrypted_guest,
                                          SIM_ENCRYPTED_GUEST,
                                          X86_CONFIDENTIAL_GUEST,
                                          { TYPE_USER_CREATABLE },
                                          { TYPE_RESETTABLE_INTERFACE },
                                          { NULL })

/*
 * One page
 */

static QCryptoCipher *sim_cipher_get(SimEncryptedGuest *sim)
{
    WITH_QEMU_LOCK_GUARD(&sim->cipher_lock) {
        if (sim->ciphers->len) {
            return g_ptr_array_steal_index_fast(sim->ciphers,
                                                 sim->ciphers->len - 1);
        }
    }
    return qcrypto_cipher_new(QCRYPTO_CIPHER_ALGO_AES_256,
                              QCRYPTO_CIPHER_MODE_XTS, sim->key,
                              sizeof(sim->key), &error_abort);
}

static void sim_cipher_put(SimEncryptedGuest *sim, QCryptoCipher *cipher)
{
    QEMU_LOCK_GUARD(&sim->cipher_lock);
    g_ptr_array_add(sim->ciphers, cipher);
}

static void sim_page_setiv(QCryptoCipher *cipher, SimBlock *b, size_t page)
{
    uint64_t number = b->rb->offset / SIM_PAGE_SIZE + page;
    uint8_t iv[16] = {};

    stq_le_p(iv, number);
    qcrypto_cipher_setiv(cipher, iv, sizeof(iv), &error_abort);
}

/* Seal @plain as the contents of a page */
static void sim_page_seal(QCryptoCipher *cipher, SimBlock *b, size_t page,
                          const uint8_t *plain)
{
    uint8_t *ram = (uint8_t *)b->host + page * SIM_PAGE_SIZE;

    set_bit(page, b->sealed);
    if (b->hidden) {
        memcpy(b->hidden + page * SIM_PAGE_SIZE, plain, SIM_PAGE_SIZE);
        memset(ram, 0, SIM_PAGE_SIZE);
        return;
    }
    sim_page_setiv(cipher, b, page);
    qcrypto_cipher_encrypt(cipher, plain, ram, SIM_PAGE_SIZE, &error_abort);
}

/* The contents of a page, sealed or not; @plain may be the page itself */
static void sim_page_open(QCryptoCipher *cipher, SimBlock *b, size_t page,
                          uint8_t *plain)
{
    uint8_t *ram = (uint8_t *)b->host + page * SIM_PAGE_SIZE;

    if (!test_bit(page, b->sealed)) {
        memmove(plain, ram, SIM_PAGE_SIZE);
    } else if (b->hidden) {
        memcpy(plain, b->hidden + page * SIM_PAGE_SIZE, SIM_PAGE_SIZE);
    } else {
        sim_page_setiv(cipher, b, page);
        qcrypto_cipher_decrypt(cipher, ram, plain, SIM_PAGE_SIZE,
                               &error_abort);
    }
}

/*
 * Which pages have been touched.  Reading the others would allocate them,
 * permanently for shared memory, or kill QEMU if no huge pages are left.
 */

static void sim_mark_file_data(SimBlock *b, unsigned long *touched)
{
    off_t begin = b->rb->fd_offset, end = begin + b->pages * SIM_PAGE_SIZE;
    off_t data = begin, hole;

    while (data < end) {
        data = lseek(b->rb->fd, data, SEEK_DATA);
        if (data < 0 || data >= end) {
            break;
        }
        hole = lseek(b->rb->fd, data, SEEK_HOLE);
        hole = hole < 0 ? end : MIN(hole, end);
        bitmap_set(touched, (data - begin) / SIM_PAGE_SIZE,
                   DIV_ROUND_UP(hole - data, SIM_PAGE_SIZE));
        data = hole;
    }
}

/* Linux: Documentation/admin-guide/mm/pagemap.rst */
static bool sim_mark_mapped(SimBlock *b, unsigned long *touched)
{
    const uint64_t present_or_swapped = BIT_ULL(63) | BIT_ULL(62);
    const size_t entries = 64 * KiB;
    size_t host_page = qemu_real_host_page_size();
    g_autofree uint64_t *entry = g_new(uint64_t, entries);
    size_t n = b->pages * SIM_PAGE_SIZE / host_page, done = 0, got = 1;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

    while (fd >= 0 && got && done < n) {
        ssize_t len = pread(fd, entry,
                            MIN(entries, n - done) * sizeof(*entry),
                            ((uintptr_t)b->host / host_page + done) *
                            sizeof(*entry));

        got = len > 0 ? len / sizeof(*entry) : 0;
        for (size_t i = 0; i < got; i++) {
            if (entry[i] & present_or_swapped) {
                bitmap_set(touched, (done + i) * host_page / SIM_PAGE_SIZE,
                           host_page / SIM_PAGE_SIZE);
            }
        }
        done += got;
    }
    if (fd >= 0) {
        close(fd);
    }
    return done == n;
}

static unsigned long *sim_touched_pages(SimBlock *b)
{
    unsigned long *touched = bitmap_new(b->pages);

    if (!sim_mark_mapped(b, touched)) {
        bitmap_set(touched, 0, b->pages);   /* unknown: assume all */
    } else if (b->rb->fd >= 0 &&
               b->rb->page_size == qemu_real_host_page_size()) {
        /* hugetlbfs has no holes; pages that other files miss stay plain */
        sim_mark_file_data(b, touched);
    }
    return touched;
}

/*
 * Sealing and unsealing; called during a conversion
 */

/* Device memory, or a file that the guest cannot have written to */
static bool sim_is_plain(RAMBlock *rb)
{
    return rb->flags & RAM_READONLY || memory_debug_is_device_ram(rb->mr) ||
           memory_region_get_dirty_log_mask(rb->mr) & (1 << DIRTY_MEMORY_VGA);
}

static void sim_block_seal(SimEncryptedGuest *sim, SimBlock *b,
                           const unsigned long *shared)
{
    g_autofree unsigned long *touched = NULL;
    QCryptoCipher *cipher;

    if (sim_is_plain(b->rb)) {
        return;
    }
    touched = sim_touched_pages(b);
    cipher = sim_cipher_get(sim);
    for (size_t page = find_first_bit(touched, b->pages); page < b->pages;
         page = find_next_bit(touched, b->pages, page + 1)) {
        uint8_t *ram = (uint8_t *)b->host + page * SIM_PAGE_SIZE;

        if (!test_bit(page, shared) && !buffer_is_zero(ram, SIM_PAGE_SIZE)) {
            sim_page_seal(cipher, b, page, ram);
        }
    }
    sim_cipher_put(sim, cipher);
}

static void sim_block_unseal(SimEncryptedGuest *sim, SimBlock *b)
{
    QCryptoCipher *cipher = sim_cipher_get(sim);
    size_t page;

    for (page = find_first_bit(b->sealed, b->pages); page < b->pages;
         page = find_next_bit(b->sealed, b->pages, page + 1)) {
        sim_page_open(cipher, b, page,
                      (uint8_t *)b->host + page * SIM_PAGE_SIZE);
    }
    sim_cipher_put(sim, cipher);
    bitmap_zero(b->sealed, b->pages);
}

/* Mark the pages of @b that are mapped in @range */
static void sim_mark_shared(SimBlock *b, const SimEncryptedGuestRange *range,
                            unsigned long *shared)
{
    hwaddr gpa = range->start, left = range->size, len;

    for (; left; gpa += len, left -= len) {
        MemoryRegionSection section = memory_region_find(get_system_memory(),
                                                         gpa, left);

        if (!section.mr) {
            break;
        }
        len = int128_get64(section.size);
        if (section.mr->ram_block == b->rb) {
            bitmap_set(shared, section.offset_within_region / SIM_PAGE_SIZE,
                       DIV_ROUND_UP(len, SIM_PAGE_SIZE));
        }
        len += section.offset_within_address_space - gpa;   /* a hole */
        memory_region_unref(section.mr);
    }
}

static void sim_block_seal_private(SimEncryptedGuest *sim, SimBlock *b)
{
    g_autofree unsigned long *shared = bitmap_new(b->pages);

    for (SimEncryptedGuestRangeList *l = sim->shared; l; l = l->next) {
        sim_mark_shared(b, l->value, shared);
    }
    sim_block_seal(sim, b, shared);
}

static void sim_seal(SimEncryptedGuest *sim)
{
    int64_t start = g_get_monotonic_time();
    SimBlock *b;

    assert(!sim->sealed);
    QLIST_FOREACH(b, &sim->blocks, next) {
        sim_block_seal_private(sim, b);
    }
    sim->sealed = true;
    trace_sim_encrypted_guest_seal(g_get_monotonic_time() - start);
}

static void sim_unseal(SimEncryptedGuest *sim)
{
    int64_t start = g_get_monotonic_time();
    SimBlock *b;

    assert(sim->sealed);
    QLIST_FOREACH(b, &sim->blocks, next) {
        sim_block_unseal(sim, b);
    }
    sim->sealed = false;
    trace_sim_encrypted_guest_unseal(g_get_monotonic_time() - start);
}

/*
 * Private memory for the debug layer
 */

static SimBlock *sim_find_block(SimEncryptedGuest *sim, RAMBlock *rb)
{
    SimBlock *b;

    QLIST_FOREACH(b, &sim->blocks, next) {
        if (b->rb == rb) {
            return b;
        }
    }
    return NULL;
}

static const SimEncryptedGuestRange *
sim_range_at(const SimEncryptedGuestRangeList *list, hwaddr gpa)
{
    for (; list; list = list->next) {
        if (gpa - list->value->start < list->value->size) {
            return list->value;
        }
    }
    return NULL;
}

/* Cut *@len so that gpa to gpa + len - 1 does not enter another range */
static void sim_cut_run(const SimEncryptedGuestRangeList *list, hwaddr gpa,
                        hwaddr *len)
{
    for (; list; list = list->next) {
        hwaddr start = list->value->start;

        if (start > gpa && start - gpa < *len) {
            *len = start - gpa;
        }
    }
}

/* Does the access touch one of the ranges?  Set *@at to the first address. */
static bool sim_touches(const SimEncryptedGuestRangeList *list, hwaddr gpa,
                        hwaddr len, hwaddr *at)
{
    hwaddr before = len;

    if (sim_range_at(list, gpa)) {
        *at = gpa;
        return true;
    }
    sim_cut_run(list, gpa, &before);
    *at = gpa + before;
    return before < len;
}

/* Simulate the cost and the failures of accesses to real hardware */
static MemTxResult sim_begin_access(MemoryRegion *mr, hwaddr gpa, hwaddr len,
                                    SimBlock **b, Error **errp)
{
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(memory_debug_guest());
    hwaddr at;

    if (sim->latency_us) {
        g_usleep(sim->latency_us);
    }
    if (sim_touches(sim->fault, gpa, len, &at)) {
        error_setg(errp, "the simulated guest fails at 0x%" HWADDR_PRIx
                   " (property x-fault)", at);
        return MEMTX_ERROR;
    }
    if (sim_touches(sim->absent, gpa, len, &at)) {
        error_setg(errp, "the simulated guest has no page at 0x%" HWADDR_PRIx
                   " yet (property x-absent)", at);
        return MEMTX_DECODE_ERROR;
    }
    *b = sim_find_block(sim, mr->ram_block);
    return MEMTX_OK;
}

/* Read the page again if it was written meanwhile */
static void sim_page_read(SimEncryptedGuest *sim, QCryptoCipher *cipher,
                          SimBlock *b, size_t page, uint8_t *plain)
{
    unsigned seq;

    do {
        seq = seqlock_read_begin(&sim->writes);
        sim_page_open(cipher, b, page, plain);
    } while (seqlock_read_retry(&sim->writes, seq));
}

static void sim_page_write(SimEncryptedGuest *sim, QCryptoCipher *cipher,
                           SimBlock *b, hwaddr offset, const void *buf,
                           size_t len)
{
    uint8_t plain[SIM_PAGE_SIZE];

    sim_page_open(cipher, b, offset / SIM_PAGE_SIZE, plain);
    memcpy(plain + offset % SIM_PAGE_SIZE, buf, len);
    seqlock_write_begin(&sim->writes);
    sim_page_seal(cipher, b, offset / SIM_PAGE_SIZE, plain);
    seqlock_write_end(&sim->writes);
    memory_debug_wipe(plain, sizeof(plain));
}

static MemTxResult sim_private_read(MemoryRegion *mr, hwaddr offset,
                                    hwaddr gpa, void *buf, hwaddr len,
                                    Error **errp)
{
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(memory_debug_guest());
    QCryptoCipher *cipher;
    MemTxResult result;
    SimBlock *b;
    hwaddr l;

    result = sim_begin_access(mr, gpa, len, &b, errp);
    if (result != MEMTX_OK) {
        return result;
    }
    cipher = sim_cipher_get(sim);
    for (; len; offset += l, buf += l, len -= l) {
        hwaddr in_page = offset % SIM_PAGE_SIZE;
        uint8_t plain[SIM_PAGE_SIZE];

        l = MIN(len, SIM_PAGE_SIZE - in_page);
        if (l == SIM_PAGE_SIZE) {
            sim_page_read(sim, cipher, b, offset / SIM_PAGE_SIZE, buf);
        } else {
            sim_page_read(sim, cipher, b, offset / SIM_PAGE_SIZE, plain);
            memcpy(buf, plain + in_page, l);
            memory_debug_wipe(plain, sizeof(plain));
        }
    }
    sim_cipher_put(sim, cipher);
    return MEMTX_OK;
}

static MemTxResult sim_private_write(MemoryRegion *mr, hwaddr offset,
                                     hwaddr gpa, const void *buf, hwaddr len,
                                     Error **errp)
{
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(memory_debug_guest());
    QCryptoCipher *cipher;
    MemTxResult result;
    SimBlock *b;
    hwaddr l;

    result = sim_begin_access(mr, gpa, len, &b, errp);
    if (result != MEMTX_OK) {
        return result;
    }
    if (b->rb->flags & RAM_READONLY) {
        error_setg(errp, "RAM block '%s' is a read-only file", b->rb->idstr);
        return MEMTX_ERROR;
    }
    if (!sim->sealed) {
        memcpy((uint8_t *)b->host + offset, buf, len);
        return MEMTX_OK;
    }
    QEMU_LOCK_GUARD(&sim->write_lock);
    cipher = sim_cipher_get(sim);
    for (; len; offset += l, buf += l, len -= l) {
        l = MIN(len, SIM_PAGE_SIZE - offset % SIM_PAGE_SIZE);
        sim_page_write(sim, cipher, b, offset, buf, l);
    }
    sim_cipher_put(sim, cipher);
    return MEMTX_OK;
}

static const MemoryRegionRAMReadWriteOps sim_ram_debug_ops = {
    .read = sim_private_read,
    .write = sim_private_write,
    .parallel = true,
};

/*
 * Methods of ConfidentialGuestSupportClass for debuggers
 */

static void sim_debug_describe(ConfidentialGuestSupport *cgs,
                               MemoryDebugGuestInfo *info)
{
    info->kind = MEMORY_DEBUG_GUEST_SIMULATED;
    info->has_launched = true;
    info->launched = SIM_ENCRYPTED_GUEST(cgs)->launched;
    info->has_backend = true;
    info->backend = MEMORY_DEBUG_BACKEND_SIMULATED;
    info->backend_reason = g_strdup("the guest is simulated in this process");
}

static bool sim_debug_check(ConfidentialGuestSupport *cgs, Error **errp)
{
    ERRP_GUARD();
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(cgs);

    if (!sim->policy_debug) {
        error_setg(errp, "the guest's policy forbids debugging: property "
                   "'policy-debug' of the sim-encrypted-guest object '%s' is "
                   "off", object_get_canonical_path_component(OBJECT(sim)));
        error_append_hint(errp, "Launch it with policy-debug=on to allow "
                          "debugging.\n");
        return false;
    }
    return true;
}

static ConfidentialGuestPageBit
sim_debug_page_bit(ConfidentialGuestSupport *cgs)
{
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(cgs);

    return (ConfidentialGuestPageBit) {
        .mask = sim->cbitpos ? BIT_ULL(sim->cbitpos) : 0,
        .set_means_private = sim->cbit_set == SIM_ENCRYPTED_GUEST_BIT_PRIVATE,
    };
}

/*
 * Was the page sealed before it was mapped where the guest shares it?  Cut
 * *@len to where that changes.
 */
static bool sim_sealed_elsewhere(SimEncryptedGuest *sim, MemoryRegion *mr,
                                 hwaddr offset, hwaddr *len)
{
    SimBlock *b = sim_find_block(sim, mr->ram_block);
    size_t page = offset / SIM_PAGE_SIZE, end;
    bool sealed;

    if (!b || page >= b->pages) {
        return false;
    }
    sealed = test_bit(page, b->sealed);
    end = sealed ? find_next_zero_bit(b->sealed, b->pages, page) :
                   find_next_bit(b->sealed, b->pages, page);
    *len = MIN(*len, end * SIM_PAGE_SIZE - offset);
    return sealed;
}

static ConfidentialGuestPageState
sim_debug_page_state(ConfidentialGuestSupport *cgs, MemoryRegion *mr,
                     hwaddr offset, hwaddr gpa, MemTxAttrs attrs, hwaddr *len)
{
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(cgs);
    const SimEncryptedGuestRange *range = sim_range_at(sim->shared, gpa);
    bool shared;

    if (range) {
        *len = MIN(*len, range->size - (gpa - range->start));
    } else {
        sim_cut_run(sim->shared, gpa, len);
    }
    if (!sim->launched || sim_is_plain(mr->ram_block)) {
        return CGS_PAGE_HOST;
    }
    if (attrs.encryption == (range ? MEMTX_ENCRYPTION_PRIVATE :
                                     MEMTX_ENCRYPTION_SHARED)) {
        return CGS_PAGE_CONFLICT;
    }
    shared = range && !sim_sealed_elsewhere(sim, mr, offset, len);
    return shared ? CGS_PAGE_HOST : CGS_PAGE_PRIVATE;
}

static bool sim_debug_check_raw_view(ConfidentialGuestSupport *cgs,
                                     Error **errp)
{
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(cgs);

    if (sim->launched && !sim->sealed) {
        error_setg(errp, "there is no raw view of a running simulated guest: "
                   "its memory is encrypted only while the VM is stopped");
        return false;
    }
    return true;
}

static bool sim_debug_registers_protected(ConfidentialGuestSupport *cgs)
{
    return SIM_ENCRYPTED_GUEST(cgs)->protect_registers;
}

static void sim_debug_attach_ram(ConfidentialGuestSupport *cgs,
                                 MemoryRegion *mr)
{
    memory_region_set_ram_debug_ops(mr, &sim_ram_debug_ops);
}

/*
 * RAM that comes and goes
 */

static void sim_ram_added(RAMBlockNotifier *n, void *host, size_t size,
                          size_t max_size)
{
    SimEncryptedGuest *sim = container_of(n, SimEncryptedGuest, ram_notifier);
    ram_addr_t offset;
    RAMBlock *rb = qemu_ram_block_from_host(host, false, &offset);
    SimBlock *b;

    if (!rb || memory_region_is_ram_device(rb->mr)) {
        return;
    }
    b = g_new0(SimBlock, 1);
    b->rb = rb;
    b->host = host;
    /* Seal all of a resizable block: its unused part is zeros */
    b->pages = max_size / SIM_PAGE_SIZE;
    b->sealed = bitmap_new(b->pages);
    if (sim->mode == SIM_ENCRYPTED_GUEST_MODE_HIDDEN) {
        /* What the host accepts for the RAM itself, it accepts for its copy */
        b->hidden = qemu_anon_ram_alloc(b->pages * SIM_PAGE_SIZE, NULL, false,
                                        qemu_ram_is_noreserve(rb));
    }

    memory_debug_convert_begin();
    QLIST_INSERT_HEAD(&sim->blocks, b, next);
    if (sim->sealed) {
        sim_block_seal_private(sim, b);
    }
    memory_debug_convert_end();
}

static void sim_block_free(SimBlock *b)
{
    QLIST_REMOVE(b, next);
    qemu_anon_ram_free(b->hidden, b->pages * SIM_PAGE_SIZE);
    g_free(b->sealed);
    g_free(b);
}

static void sim_ram_removed(RAMBlockNotifier *n, void *host, size_t size,
                            size_t max_size)
{
    SimEncryptedGuest *sim = container_of(n, SimEncryptedGuest, ram_notifier);
    SimBlock *b, *next;

    memory_debug_convert_begin();
    QLIST_FOREACH_SAFE(b, &sim->blocks, next, next) {
        if (b->host == host) {
            /* The owner of the memory may continue to use it */
            sim_block_unseal(sim, b);
            sim_block_free(b);
        }
    }
    memory_debug_convert_end();
}

/*
 * Run state
 */

static void sim_vm_state(void *opaque, bool running, RunState state)
{
    SimEncryptedGuest *sim = opaque;

    if (!running) {
        /* Requests in flight must not write into sealed RAM */
        bdrv_drain_all();
    }
    memory_debug_convert_begin();
    sim->launched |= running;
    if (running && sim->sealed) {
        sim_unseal(sim);
    } else if (!running && sim->launched && !sim->sealed) {
        sim_seal(sim);
    }
    memory_debug_convert_end();
}

/* Resetting a stopped VM writes firmware and tables to its RAM */

static void sim_reset_enter(Object *obj, ResetType type)
{
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(obj);

    memory_debug_convert_begin();
    if (sim->sealed) {
        sim_unseal(sim);
        sim->reset_unsealed = true;
    }
    memory_debug_convert_end();
}

static void sim_reset_exit(Object *obj, ResetType type)
{
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(obj);

    memory_debug_convert_begin();
    if (sim->reset_unsealed) {
        sim->reset_unsealed = false;
        sim_seal(sim);
    }
    memory_debug_convert_end();
}

static ResettableState *sim_reset_state(Object *obj)
{
    return &SIM_ENCRYPTED_GUEST(obj)->reset_state;
}

/* Memory that outlives QEMU (a file) must not stay encrypted */
static void sim_exit(Notifier *n, void *data)
{
    SimEncryptedGuest *sim = container_of(n, SimEncryptedGuest, exit);
    SimBlock *b;

    memory_debug_convert_begin();
    QLIST_FOREACH(b, &sim->blocks, next) {
        if (qemu_ram_is_shared(b->rb)) {
            sim_block_unseal(sim, b);
        }
    }
    memory_debug_convert_end();
}

/* Only now is it known which object is the machine's guest */
static void sim_machine_done(Notifier *n, void *data)
{
    SimEncryptedGuest *sim = container_of(n, SimEncryptedGuest, machine_done);

    if (current_machine->cgs != CONFIDENTIAL_GUEST_SUPPORT(sim)) {
        return;
    }
    sim->active = true;
    sim->ram_notifier.ram_block_added = sim_ram_added;
    sim->ram_notifier.ram_block_removed = sim_ram_removed;
    ram_block_notifier_add(&sim->ram_notifier);
    /* First to act when the VM starts, last to change memory when it stops */
    qemu_add_vm_change_state_handler_prio(sim_vm_state, sim, INT_MIN + 1);
    qemu_register_resettable(OBJECT(sim));
    sim->exit.notify = sim_exit;
    qemu_add_exit_notifier(&sim->exit);

    error_setg(&sim->migration_blocker, "sim-encrypted-guest: a guest whose "
               "memory is encrypted can be neither migrated nor saved");
    migrate_add_blocker(&sim->migration_blocker, &error_fatal);
}

static void sim_complete(UserCreatable *uc, Error **errp)
{
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(uc);

    if (qcrypto_random_bytes(sim->key, sizeof(sim->key), errp) < 0) {
        return;
    }
    sim->machine_done.notify = sim_machine_done;
    qemu_add_machine_init_done_notifier(&sim->machine_done);
    CONFIDENTIAL_GUEST_SUPPORT(sim)->ready = true;
}

static bool sim_can_be_deleted(UserCreatable *uc)
{
    return !SIM_ENCRYPTED_GUEST(uc)->active;
}

/*
 * Properties
 */

/* The policy, and what is sealed at launch, must not change afterwards */
static bool sim_may_configure(SimEncryptedGuest *sim, const char *name,
                              Error **errp)
{
    if (sim->active) {
        error_setg(errp, "property '%s' cannot be changed after the machine "
                   "has been created", name);
        return false;
    }
    return true;
}

static bool sim_check_ranges(SimEncryptedGuestRangeList *list,
                             const char *name, Error **errp)
{
    for (; list; list = list->next) {
        SimEncryptedGuestRange *r = list->value;

        if (!r->size || !QEMU_IS_ALIGNED(r->start | r->size, SIM_PAGE_SIZE) ||
            r->start + r->size - 1 < r->start) {
            error_setg(errp, "property '%s': start and size must be multiples "
                       "of %d, and size must not be 0", name, SIM_PAGE_SIZE);
            return false;
        }
    }
    return true;
}

static void sim_replace_ranges(SimEncryptedGuest *sim,
                               SimEncryptedGuestRangeList **member,
                               SimEncryptedGuestRangeList *list)
{
    bool sealed;

    memory_debug_convert_begin();
    sealed = sim->sealed;
    if (sealed) {
        sim_unseal(sim);
    }
    qapi_free_SimEncryptedGuestRangeList(*member);
    *member = list;
    if (sealed) {
        sim_seal(sim);
    }
    memory_debug_convert_end();
}

static SimEncryptedGuestRangeList **sim_ranges(Object *obj, const char *name)
{
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(obj);

    return g_str_equal(name, "shared") ? &sim->shared :
           g_str_equal(name, "x-fault") ? &sim->fault : &sim->absent;
}

static void sim_get_ranges(Object *obj, Visitor *v, const char *name,
                           void *opaque, Error **errp)
{
    visit_type_SimEncryptedGuestRangeList(v, name, sim_ranges(obj, name),
                                          errp);
}

static void sim_set_ranges(Object *obj, Visitor *v, const char *name,
                           void *opaque, Error **errp)
{
    SimEncryptedGuestRangeList *list = NULL;

    if (!visit_type_SimEncryptedGuestRangeList(v, name, &list, errp)) {
        return;
    }
    if (!sim_check_ranges(list, name, errp)) {
        qapi_free_SimEncryptedGuestRangeList(list);
        return;
    }
    sim_replace_ranges(SIM_ENCRYPTED_GUEST(obj), sim_ranges(obj, name), list);
}

static int sim_get_mode(Object *obj, Error **errp)
{
    return SIM_ENCRYPTED_GUEST(obj)->mode;
}

static void sim_set_mode(Object *obj, int value, Error **errp)
{
    if (sim_may_configure(SIM_ENCRYPTED_GUEST(obj), "mode", errp)) {
        SIM_ENCRYPTED_GUEST(obj)->mode = value;
    }
}

/* Atomic, as other threads may be accessing memory */
static void sim_set_latency(Object *obj, Visitor *v, const char *name,
                            void *opaque, Error **errp)
{
    uint32_t value;

    if (visit_type_uint32(v, name, &value, errp)) {
        memory_debug_convert_begin();
        SIM_ENCRYPTED_GUEST(obj)->latency_us = value;
        memory_debug_convert_end();
    }
}

static void sim_get_latency(Object *obj, Visitor *v, const char *name,
                            void *opaque, Error **errp)
{
    visit_type_uint32(v, name, &SIM_ENCRYPTED_GUEST(obj)->latency_us, errp);
}

static int sim_get_cbit_set(Object *obj, Error **errp)
{
    return SIM_ENCRYPTED_GUEST(obj)->cbit_set;
}

static void sim_set_cbit_set(Object *obj, int value, Error **errp)
{
    if (sim_may_configure(SIM_ENCRYPTED_GUEST(obj), "cbit-set", errp)) {
        SIM_ENCRYPTED_GUEST(obj)->cbit_set = value;
    }
}

static void sim_get_cbitpos(Object *obj, Visitor *v, const char *name,
                            void *opaque, Error **errp)
{
    visit_type_uint8(v, name, &SIM_ENCRYPTED_GUEST(obj)->cbitpos, errp);
}

static void sim_set_cbitpos(Object *obj, Visitor *v, const char *name,
                            void *opaque, Error **errp)
{
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(obj);
    uint8_t value;

    if (!sim_may_configure(sim, name, errp) ||
        !visit_type_uint8(v, name, &value, errp)) {
        return;
    }
    if (value && (value < 32 || value > 62)) {
        error_setg(errp, "property 'cbitpos' must be 0 (none) or from 32 to "
                   "62, not %u", value);
        return;
    }
    sim->cbitpos = value;
}

static bool sim_get_policy_debug(Object *obj, Error **errp)
{
    return SIM_ENCRYPTED_GUEST(obj)->policy_debug;
}

static void sim_set_policy_debug(Object *obj, bool value, Error **errp)
{
    if (sim_may_configure(SIM_ENCRYPTED_GUEST(obj), "policy-debug", errp)) {
        SIM_ENCRYPTED_GUEST(obj)->policy_debug = value;
    }
}

static bool sim_get_protect_registers(Object *obj, Error **errp)
{
    return SIM_ENCRYPTED_GUEST(obj)->protect_registers;
}

static void sim_set_protect_registers(Object *obj, bool value, Error **errp)
{
    if (sim_may_configure(SIM_ENCRYPTED_GUEST(obj), "protect-registers",
                          errp)) {
        SIM_ENCRYPTED_GUEST(obj)->protect_registers = value;
    }
}

static void sim_add_properties(ObjectClass *oc)
{
    object_class_property_add_enum(oc, "mode", "SimEncryptedGuestMode",
                                   &SimEncryptedGuestMode_lookup,
                                   sim_get_mode, sim_set_mode);
    object_class_property_set_description(oc, "mode",
        "what the host sees of private memory: ciphertext or zeros");
    object_class_property_add_bool(oc, "policy-debug", sim_get_policy_debug,
                                   sim_set_policy_debug);
    object_class_property_set_description(oc, "policy-debug",
        "the guest's owner allows debugging");
    object_class_property_add_bool(oc, "protect-registers",
                                   sim_get_protect_registers,
                                   sim_set_protect_registers);
    object_class_property_set_description(oc, "protect-registers",
        "debuggers must not show the guest's registers");
    object_class_property_add(oc, "cbitpos", "uint8", sim_get_cbitpos,
                              sim_set_cbitpos, NULL, NULL);
    object_class_property_set_description(oc, "cbitpos",
        "page-table bit that distinguishes private from shared pages; 0: none");
    object_class_property_add_enum(oc, "cbit-set", "SimEncryptedGuestBit",
                                   &SimEncryptedGuestBit_lookup,
                                   sim_get_cbit_set, sim_set_cbit_set);
    object_class_property_set_description(oc, "cbit-set",
        "meaning of the page-table bit when it is set: private or shared");
    object_class_property_add(oc, "shared", "SimEncryptedGuestRange list",
                              sim_get_ranges, sim_set_ranges, NULL, NULL);
    object_class_property_set_description(oc, "shared",
        "guest-physical ranges that are shared with the host");
    object_class_property_add(oc, "x-fault", "SimEncryptedGuestRange list",
                              sim_get_ranges, sim_set_ranges, NULL, NULL);
    object_class_property_set_description(oc, "x-fault",
        "guest-physical ranges where private accesses fail");
    object_class_property_add(oc, "x-absent", "SimEncryptedGuestRange list",
                              sim_get_ranges, sim_set_ranges, NULL, NULL);
    object_class_property_set_description(oc, "x-absent",
        "guest-physical ranges that the guest has not accepted yet");
    object_class_property_add(oc, "x-latency-us", "uint32", sim_get_latency,
                              sim_set_latency, NULL, NULL);
    object_class_property_set_description(oc, "x-latency-us",
        "duration of each access to private memory in microseconds");
}

static void sim_encrypted_guest_class_init(ObjectClass *oc, const void *data)
{
    UserCreatableClass *ucc = USER_CREATABLE_CLASS(oc);
    ConfidentialGuestSupportClass *cgsc = CONFIDENTIAL_GUEST_SUPPORT_CLASS(oc);
    ResettableClass *rc = RESETTABLE_CLASS(oc);

    ucc->complete = sim_complete;
    ucc->can_be_deleted = sim_can_be_deleted;

    cgsc->debug_check = sim_debug_check;
    cgsc->debug_attach_ram = sim_debug_attach_ram;
    cgsc->debug_page_state = sim_debug_page_state;
    cgsc->debug_page_bit = sim_debug_page_bit;
    cgsc->debug_registers_protected = sim_debug_registers_protected;
    cgsc->debug_check_raw_view = sim_debug_check_raw_view;
    cgsc->debug_describe = sim_debug_describe;

    rc->phases.enter = sim_reset_enter;
    rc->phases.exit = sim_reset_exit;
    rc->get_state = sim_reset_state;

    sim_add_properties(oc);
}

static void sim_encrypted_guest_init(Object *obj)
{
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(obj);

    sim->policy_debug = true;
    qemu_mutex_init(&sim->write_lock);
    seqlock_init(&sim->writes);
    qemu_mutex_init(&sim->cipher_lock);
    sim->ciphers = g_ptr_array_new_with_free_func(
        (GDestroyNotify)qcrypto_cipher_free);
}

static void sim_encrypted_guest_finalize(Object *obj)
{
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(obj);

    if (sim->machine_done.notify) {
        qemu_remove_machine_init_done_notifier(&sim->machine_done);
    }
    g_ptr_array_unref(sim->ciphers);
    qemu_mutex_destroy(&sim->cipher_lock);
    qemu_mutex_destroy(&sim->write_lock);
    memory_debug_wipe(sim->key, sizeof(sim->key));
    qapi_free_SimEncryptedGuestRangeList(sim->shared);
    qapi_free_SimEncryptedGuestRangeList(sim->fault);
    qapi_free_SimEncryptedGuestRangeList(sim->absent);
}
