/*
 * A simulated encrypted guest, for development and tests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/*
 * The guest itself runs in plaintext and never notices.  From the first
 * start on, whenever the VM is stopped, its RAM is sealed: each page is
 * encrypted in place with AES-XTS (mode=cipher), or moved elsewhere and
 * zeroed (mode=hidden), and unsealed again when the VM goes on.  Who reads
 * guest RAM without the debug access layer thus gets what the host of a
 * real encrypted guest would get.
 *
 * The XTS tweak of a page is its number in ram_addr_t space.  Below the PCI
 * hole that is the guest-physical page number; unlike that it exists, and is
 * unique, for a page that is mapped twice or not at all at the moment.
 *
 * Pages of zeros stay as they are: they hold nothing to hide, and a sparse
 * guest stays sparse.
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/cutils.h"
#include "block/block.h"
#include "confidential-guest.h"
#include "crypto/cipher.h"
#include "crypto/random.h"
#include "hw/boards.h"
#include "hw/resettable.h"
#include "migration/blocker.h"
#include "qapi/error.h"
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
    void *host;                 /* what RAMBlockNotifier names it by */
    size_t pages;
    unsigned long *sealed;      /* one bit a page */
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
    uint32_t latency_us;

    /* Changed with the BQL and memory_debug_lock() held */
    bool active;                /* it is the machine's guest */
    bool launched;              /* the VM has run */
    bool sealed;
    bool reset_unsealed;        /* between the phases of a reset */
    QCryptoCipher *cipher;
    QLIST_HEAD(, SimBlock) blocks;

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
                                          { TYPE_ENCRYPTED_GUEST },
                                          { TYPE_RESETTABLE_INTERFACE },
                                          { NULL })

/*
 * One page
 */

static void sim_page_setiv(SimEncryptedGuest *sim, SimBlock *b, size_t page)
{
    uint64_t number = b->rb->offset / SIM_PAGE_SIZE + page;
    uint8_t iv[16] = {};

    stq_le_p(iv, number);
    qcrypto_cipher_setiv(sim->cipher, iv, sizeof(iv), &error_abort);
}

/* Seal @plain as the contents of a page */
static void sim_page_seal(SimEncryptedGuest *sim, SimBlock *b, size_t page,
                          const uint8_t *plain)
{
    uint8_t *ram = (uint8_t *)b->host + page * SIM_PAGE_SIZE;

    set_bit(page, b->sealed);
    if (b->hidden) {
        memcpy(b->hidden + page * SIM_PAGE_SIZE, plain, SIM_PAGE_SIZE);
        memset(ram, 0, SIM_PAGE_SIZE);
        return;
    }
    sim_page_setiv(sim, b, page);
    qcrypto_cipher_encrypt(sim->cipher, plain, ram, SIM_PAGE_SIZE,
                           &error_abort);
}

/* The contents of a page, sealed or not; @plain may be the page itself */
static void sim_page_open(SimEncryptedGuest *sim, SimBlock *b, size_t page,
                          uint8_t *plain)
{
    uint8_t *ram = (uint8_t *)b->host + page * SIM_PAGE_SIZE;

    if (!test_bit(page, b->sealed)) {
        memmove(plain, ram, SIM_PAGE_SIZE);
    } else if (b->hidden) {
        memcpy(plain, b->hidden + page * SIM_PAGE_SIZE, SIM_PAGE_SIZE);
    } else {
        sim_page_setiv(sim, b, page);
        qcrypto_cipher_decrypt(sim->cipher, ram, plain, SIM_PAGE_SIZE,
                               &error_abort);
    }
}

/*
 * Sealing and unsealing; called with memory_debug_lock() held
 */

/* What a display shows is for the host to see */
static bool sim_is_display(MemoryRegion *mr)
{
    return memory_region_get_dirty_log_mask(mr) & (1 << DIRTY_MEMORY_VGA);
}

static void sim_block_seal(SimEncryptedGuest *sim, SimBlock *b,
                           const unsigned long *shared)
{
    if (b->rb->flags & RAM_READONLY || sim_is_display(b->rb->mr)) {
        return;     /* a file that the guest cannot have written to, too */
    }
    for (size_t page = 0; page < b->pages; page++) {
        uint8_t *ram = (uint8_t *)b->host + page * SIM_PAGE_SIZE;

        if (!test_bit(page, shared) && !buffer_is_zero(ram, SIM_PAGE_SIZE)) {
            sim_page_seal(sim, b, page, ram);
        }
    }
}

static void sim_block_unseal(SimEncryptedGuest *sim, SimBlock *b)
{
    size_t page;

    for (page = find_first_bit(b->sealed, b->pages); page < b->pages;
         page = find_next_bit(b->sealed, b->pages, page + 1)) {
        sim_page_open(sim, b, page, (uint8_t *)b->host + page * SIM_PAGE_SIZE);
    }
    bitmap_zero(b->sealed, b->pages);
}

/* Mark the pages of @b which are mapped at @range */
static void sim_mark_shared(SimBlock *b, const SimEncryptedGuestRange *range,
                            unsigned long *shared)
{
    hwaddr gpa = range->start, left = range->size;

    RCU_READ_LOCK_GUARD();
    while (left) {
        hwaddr offset, len = left;
        MemoryRegion *mr = address_space_translate(&address_space_memory, gpa,
                                                   &offset, &len, false,
                                                   MEMTXATTRS_UNSPECIFIED);

        if (mr->ram_block == b->rb) {
            bitmap_set(shared, offset / SIM_PAGE_SIZE,
                       DIV_ROUND_UP(len, SIM_PAGE_SIZE));
        }
        gpa += len;
        left -= len;
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
    memory_debug_drop_cache();
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
    memory_debug_drop_cache();
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

/* What every access of the real thing has: a price, and a way to fail */
static SimBlock *sim_begin_access(MemoryRegion *mr, hwaddr gpa, hwaddr len,
                                  Error **errp)
{
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(memory_debug_guest());

    if (sim->latency_us) {
        g_usleep(sim->latency_us);
    }
    if (!sim_range_at(sim->fault, gpa)) {
        hwaddr good = len;

        sim_cut_run(sim->fault, gpa, &good);
        if (good == len) {
            return sim_find_block(sim, mr->ram_block);
        }
        gpa += good;
    }
    error_setg(errp, "the simulated guest fails at 0x%" HWADDR_PRIx
               " (property x-fault)", gpa);
    return NULL;
}

static MemTxResult sim_private_read(MemoryRegion *mr, hwaddr offset,
                                    hwaddr gpa, void *buf, hwaddr len,
                                    Error **errp)
{
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(memory_debug_guest());
    SimBlock *b = sim_begin_access(mr, gpa, len, errp);
    uint8_t plain[SIM_PAGE_SIZE];

    if (!b) {
        return MEMTX_ERROR;
    }
    while (len) {
        hwaddr in_page = offset % SIM_PAGE_SIZE;
        hwaddr l = MIN(len, SIM_PAGE_SIZE - in_page);

        if (l == SIM_PAGE_SIZE) {
            sim_page_open(sim, b, offset / SIM_PAGE_SIZE, buf);
        } else {
            sim_page_open(sim, b, offset / SIM_PAGE_SIZE, plain);
            memcpy(buf, plain + in_page, l);
        }
        offset += l;
        buf += l;
        len -= l;
    }
    return MEMTX_OK;
}

static MemTxResult sim_private_write(MemoryRegion *mr, hwaddr offset,
                                     hwaddr gpa, const void *buf, hwaddr len,
                                     Error **errp)
{
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(memory_debug_guest());
    SimBlock *b = sim_begin_access(mr, gpa, len, errp);
    uint8_t plain[SIM_PAGE_SIZE];

    if (!b) {
        return MEMTX_ERROR;
    }
    if (b->rb->flags & RAM_READONLY) {
        error_setg(errp, "RAM block '%s' is a read-only file", b->rb->idstr);
        return MEMTX_ERROR;
    }
    if (!sim->sealed) {
        memcpy((uint8_t *)b->host + offset, buf, len);
        return MEMTX_OK;
    }
    while (len) {
        hwaddr in_page = offset % SIM_PAGE_SIZE;
        hwaddr l = MIN(len, SIM_PAGE_SIZE - in_page);

        sim_page_open(sim, b, offset / SIM_PAGE_SIZE, plain);
        memcpy(plain + in_page, buf, l);
        sim_page_seal(sim, b, offset / SIM_PAGE_SIZE, plain);
        offset += l;
        buf += l;
        len -= l;
    }
    return MEMTX_OK;
}

static const MemoryRegionRAMReadWriteOps sim_ram_debug_ops = {
    .read = sim_private_read,
    .write = sim_private_write,
};

/*
 * EncryptedGuest
 */

static const char *sim_kind(EncryptedGuest *eg)
{
    return "simulated";
}

static const char *sim_backend(EncryptedGuest *eg, const char **why)
{
    *why = "the guest is simulated in this process";
    return "simulated";
}

static bool sim_debug_allowed(EncryptedGuest *eg, Error **errp)
{
    ERRP_GUARD();
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(eg);

    if (!sim->policy_debug) {
        error_setg(errp, "the guest's policy forbids debugging: property "
                   "'policy-debug' of the sim-encrypted-guest object '%s' is "
                   "off", object_get_canonical_path_component(OBJECT(sim)));
        error_append_hint(errp, "It would take policy-debug=on.\n");
        return false;
    }
    return true;
}

static bool sim_launched(EncryptedGuest *eg)
{
    return SIM_ENCRYPTED_GUEST(eg)->launched;
}

static EncryptedPageBit sim_page_bit(EncryptedGuest *eg)
{
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(eg);

    return (EncryptedPageBit) {
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

static EncryptedPageState sim_page_state(EncryptedGuest *eg, MemoryRegion *mr,
                                         hwaddr offset, hwaddr gpa,
                                         MemTxAttrs attrs, hwaddr *len)
{
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(eg);
    const SimEncryptedGuestRange *shared = sim_range_at(sim->shared, gpa);

    if (shared) {
        *len = MIN(*len, shared->size - (gpa - shared->start));
    } else {
        sim_cut_run(sim->shared, gpa, len);
    }
    if (!sim->launched || attrs.encryption == MEMTX_ENCRYPTION_SHARED ||
        sim_is_display(mr)) {
        return ENCRYPTED_PAGE_HOST;
    }
    if (shared && attrs.encryption == MEMTX_ENCRYPTION_PRIVATE) {
        return ENCRYPTED_PAGE_CONFLICT;
    }
    return shared && !sim_sealed_elsewhere(sim, mr, offset, len) ?
           ENCRYPTED_PAGE_HOST : ENCRYPTED_PAGE_PRIVATE;
}

static bool sim_raw_view(EncryptedGuest *eg, Error **errp)
{
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(eg);

    if (sim->launched && !sim->sealed) {
        error_setg(errp, "there is no raw view of a simulated guest that runs:"
                   " its memory is encrypted when the VM is stopped");
        return false;
    }
    return true;
}

static EncryptedGuestRegisters sim_registers(EncryptedGuest *eg)
{
    return SIM_ENCRYPTED_GUEST(eg)->protect_registers ?
           ENCRYPTED_GUEST_REGISTERS_PROTECTED :
           ENCRYPTED_GUEST_REGISTERS_READABLE;
}

static void sim_attach_ram(EncryptedGuest *eg, MemoryRegion *mr)
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
    /* Resizable blocks as a whole: the part not in use is zeros */
    b->pages = max_size / SIM_PAGE_SIZE;
    b->sealed = bitmap_new(b->pages);
    if (sim->mode == SIM_ENCRYPTED_GUEST_MODE_HIDDEN) {
        b->hidden = g_malloc0(b->pages * SIM_PAGE_SIZE);
    }

    memory_debug_lock();
    QLIST_INSERT_HEAD(&sim->blocks, b, next);
    if (sim->sealed) {
        sim_block_seal_private(sim, b);
    }
    memory_debug_unlock();
}

static void sim_block_free(SimBlock *b)
{
    QLIST_REMOVE(b, next);
    g_free(b->hidden);
    g_free(b->sealed);
    g_free(b);
}

static void sim_ram_removed(RAMBlockNotifier *n, void *host, size_t size,
                            size_t max_size)
{
    SimEncryptedGuest *sim = container_of(n, SimEncryptedGuest, ram_notifier);
    SimBlock *b, *next;

    memory_debug_lock();
    QLIST_FOREACH_SAFE(b, &sim->blocks, next, next) {
        if (b->host == host) {
            /* The memory's owner may keep it */
            sim_block_unseal(sim, b);
            sim_block_free(b);
        }
    }
    memory_debug_unlock();
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
    memory_debug_lock();
    sim->launched |= running;
    if (running && sim->sealed) {
        sim_unseal(sim);
    } else if (!running && sim->launched && !sim->sealed) {
        sim_seal(sim);
    }
    memory_debug_unlock();
}

/* A reset of a stopped VM writes to its RAM: firmware, tables */

static void sim_reset_enter(Object *obj, ResetType type)
{
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(obj);

    memory_debug_lock();
    if (sim->sealed) {
        sim_unseal(sim);
        sim->reset_unsealed = true;
    }
    memory_debug_unlock();
}

static void sim_reset_exit(Object *obj, ResetType type)
{
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(obj);

    memory_debug_lock();
    if (sim->reset_unsealed) {
        sim->reset_unsealed = false;
        sim_seal(sim);
    }
    memory_debug_unlock();
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

    memory_debug_lock();
    QLIST_FOREACH(b, &sim->blocks, next) {
        if (qemu_ram_is_shared(b->rb)) {
            sim_block_unseal(sim, b);
        }
    }
    memory_debug_unlock();
}

static bool sim_new_key(SimEncryptedGuest *sim, Error **errp)
{
    uint8_t key[SIM_KEY_SIZE];

    if (qcrypto_random_bytes(key, sizeof(key), errp) < 0) {
        return false;
    }
    sim->cipher = qcrypto_cipher_new(QCRYPTO_CIPHER_ALGO_AES_256,
                                     QCRYPTO_CIPHER_MODE_XTS, key,
                                     sizeof(key), errp);
    memset(key, 0, sizeof(key));
    return sim->cipher != NULL;
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
    /* First to act when the VM starts, last when it stops */
    qemu_add_vm_change_state_handler_prio(sim_vm_state, sim, INT_MIN);
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

    if (!sim_new_key(sim, errp)) {
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

/* The policy and all that is sealed at launch is fixed from then on */
static bool sim_may_configure(SimEncryptedGuest *sim, const char *name,
                              Error **errp)
{
    if (sim->active) {
        error_setg(errp, "property '%s' cannot be changed once the machine "
                   "is there", name);
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

    memory_debug_lock();
    sealed = sim->sealed;
    if (sealed) {
        sim_unseal(sim);
    }
    qapi_free_SimEncryptedGuestRangeList(*member);
    *member = list;
    if (sealed) {
        sim_seal(sim);
    }
    memory_debug_drop_cache();
    memory_debug_unlock();
}

static SimEncryptedGuestRangeList **sim_ranges(Object *obj, const char *name)
{
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(obj);

    return g_str_equal(name, "shared") ? &sim->shared : &sim->fault;
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

/* Other threads access memory meanwhile */
static void sim_set_latency(Object *obj, Visitor *v, const char *name,
                            void *opaque, Error **errp)
{
    uint32_t value;

    if (visit_type_uint32(v, name, &value, errp)) {
        memory_debug_lock();
        SIM_ENCRYPTED_GUEST(obj)->latency_us = value;
        memory_debug_unlock();
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
        "page-table bit that tells private from shared pages; 0: none");
    object_class_property_add_enum(oc, "cbit-set", "SimEncryptedGuestBit",
                                   &SimEncryptedGuestBit_lookup,
                                   sim_get_cbit_set, sim_set_cbit_set);
    object_class_property_set_description(oc, "cbit-set",
        "what it means that the page-table bit is set: private or shared");
    object_class_property_add(oc, "shared", "SimEncryptedGuestRange list",
                              sim_get_ranges, sim_set_ranges, NULL, NULL);
    object_class_property_set_description(oc, "shared",
        "guest-physical ranges that are shared with the host");
    object_class_property_add(oc, "x-fault", "SimEncryptedGuestRange list",
                              sim_get_ranges, sim_set_ranges, NULL, NULL);
    object_class_property_set_description(oc, "x-fault",
        "guest-physical ranges where private accesses fail");
    object_class_property_add(oc, "x-latency-us", "uint32", sim_get_latency,
                              sim_set_latency, NULL, NULL);
    object_class_property_set_description(oc, "x-latency-us",
        "microseconds that each access to private memory takes");
}

static void sim_encrypted_guest_class_init(ObjectClass *oc, const void *data)
{
    UserCreatableClass *ucc = USER_CREATABLE_CLASS(oc);
    EncryptedGuestClass *egc = ENCRYPTED_GUEST_CLASS(oc);
    ResettableClass *rc = RESETTABLE_CLASS(oc);

    ucc->complete = sim_complete;
    ucc->can_be_deleted = sim_can_be_deleted;

    egc->kind = sim_kind;
    egc->backend = sim_backend;
    egc->debug_allowed = sim_debug_allowed;
    egc->launched = sim_launched;
    egc->page_bit = sim_page_bit;
    egc->page_state = sim_page_state;
    egc->raw_view = sim_raw_view;
    egc->registers = sim_registers;
    egc->attach_ram = sim_attach_ram;

    rc->phases.enter = sim_reset_enter;
    rc->phases.exit = sim_reset_exit;
    rc->get_state = sim_reset_state;

    sim_add_properties(oc);
}

static void sim_encrypted_guest_init(Object *obj)
{
    SIM_ENCRYPTED_GUEST(obj)->policy_debug = true;
}

static void sim_encrypted_guest_finalize(Object *obj)
{
    SimEncryptedGuest *sim = SIM_ENCRYPTED_GUEST(obj);

    if (sim->machine_done.notify) {
        qemu_remove_machine_init_done_notifier(&sim->machine_done);
    }
    qcrypto_cipher_free(sim->cipher);
    qapi_free_SimEncryptedGuestRangeList(sim->shared);
    qapi_free_SimEncryptedGuestRangeList(sim->fault);
}
