/*
 * Block driver whose content is an ELF core of the guest
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/module.h"
#include "qemu/rcu.h"
#include "qemu/units.h"
#include "elf.h"
#include "block/block-io.h"
#include "block/block_int.h"
#include "block/thread-pool.h"
#include "hw/boards.h"
#include "hw/core/cpu.h"
#include "hw/misc/vmcoreinfo.h"
#include "hw/qdev-core.h"
#include "qapi/error.h"
#include "system/address-spaces.h"
#include "system/cpus.h"
#include "system/dump.h"
#include "system/hw_accel.h"
#include "system/memory.h"
#include "system/memory-debug.h"
#include "system/memory_mapping.h"
#include "system/reset.h"
#include "system/runstate.h"
#include "trace.h"

/*
 * The file is a head of fixed size, then RAM, block by block, each of them
 * aligned to CORE_ALIGN.  The head has the ELF header, the program headers
 * (PT_NOTE, and a PT_LOAD for each block), the notes, and zeros.
 */
#define CORE_ALIGN      4096

/* A block of RAM.  What is mapped there is looked up by each read. */
typedef struct CoreBlock {
    hwaddr gpa;
    uint64_t size;
    uint64_t offset;            /* in the file */
} CoreBlock;

typedef struct GuestCore {
    GArray *blocks;             /* of CoreBlock, in the order of the file */
    uint64_t notes_offset;
    uint64_t head_size;
    uint64_t length;
    VMChangeStateEntry *vm_state;
    MemoryListener memory;
    bool warned;

    QemuMutex lock;             /* guards what follows */
    uint8_t *head;              /* NULL: it could not be written */
    QLIST_HEAD(, CoreSparse) sparse;
} GuestCore;

/*
 * The head
 */

/* Some targets' writers of notes cast their opaque pointer to a DumpState */
typedef struct CoreHead {
    DumpState dump;
    uint8_t *bytes;
    uint64_t used, size;
} CoreHead;

static bool head_append(CoreHead *head, const void *buf, size_t size)
{
    if (size > head->size - head->used) {
        return false;
    }
    memcpy(head->bytes + head->used, buf, size);
    head->used += size;
    return true;
}

static int append_note(const void *buf, size_t size, void *opaque)
{
    CoreHead *head = container_of(opaque, CoreHead, dump);

    return head_append(head, buf, size) ? 0 : -1;
}

static bool append_registers(CoreHead *head, Error **errp)
{
    CPUState *cpu;
    int ret = 0;

    if (memory_debug_registers_protected()) {
        return true;
    }
    cpu_synchronize_all_states();
    CPU_FOREACH(cpu) {
        ret = ret ?: cpu_write_elf64_note(append_note, cpu,
                                          cpu->cpu_index + 1, &head->dump);
    }
    CPU_FOREACH(cpu) {
        ret = ret ?: cpu_write_elf64_qemunote(append_note, cpu, &head->dump);
    }
    if (ret) {
        error_setg(errp, "the registers of this guest cannot be written as "
                   "64-bit ELF notes");
    }
    return !ret;
}

/* A core is useful without it, too */
static void append_vmcoreinfo(CoreHead *head)
{
    VmcoreinfoGuest info;
    Error *err = NULL;
    const char *end;

    if (!vmcoreinfo_guest_read(&info, &err)) {
        trace_guest_core_no_vmcoreinfo(error_get_pretty(err));
        error_free(err);
        return;
    }
    end = info.text.text + info.text.len;
    if (head_append(head, info.note, end - (char *)info.note)) {
        head->used = ROUND_UP(head->used, 4);
    }
    memory_debug_wipe(info.note, info.size);
    g_free(info.note);
}

/* As in a dump without paging, the virtual addresses are physical ones */
static void append_phdr(CoreHead *head, uint32_t type, uint64_t offset,
                        hwaddr gpa, uint64_t size)
{
    DumpState *s = &head->dump;
    Elf64_Phdr phdr = {
        .p_type = cpu_to_dump32(s, type),
        .p_offset = cpu_to_dump64(s, offset),
        .p_vaddr = cpu_to_dump64(s, gpa),
        .p_paddr = cpu_to_dump64(s, gpa),
        .p_filesz = cpu_to_dump64(s, size),
        .p_memsz = cpu_to_dump64(s, size),
    };

    head_append(head, &phdr, sizeof(phdr));
}

static void append_headers(CoreHead *head, GuestCore *core,
                           uint64_t notes_size)
{
    DumpState *s = &head->dump;
    Elf64_Ehdr ehdr = {
        .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
                     s->dump_info.d_endian, EV_CURRENT },
        .e_type = cpu_to_dump16(s, ET_CORE),
        .e_machine = cpu_to_dump16(s, s->dump_info.d_machine),
        .e_version = cpu_to_dump32(s, EV_CURRENT),
        .e_phoff = cpu_to_dump64(s, sizeof(ehdr)),
        .e_ehsize = cpu_to_dump16(s, sizeof(ehdr)),
        .e_phentsize = cpu_to_dump16(s, sizeof(Elf64_Phdr)),
        .e_phnum = cpu_to_dump16(s, core->blocks->len + 1),
    };

    head_append(head, &ehdr, sizeof(ehdr));
    append_phdr(head, PT_NOTE, core->notes_offset, 0, notes_size);
    for (guint i = 0; i < core->blocks->len; i++) {
        CoreBlock *block = &g_array_index(core->blocks, CoreBlock, i);

        append_phdr(head, PT_LOAD, block->offset, block->gpa, block->size);
    }
    assert(head->used == core->notes_offset);
}

static void get_ram(GuestPhysBlockList *list)
{
    guest_phys_blocks_init(list);
    if (memory_debug_guest()) {
        guest_phys_blocks_append_private(list);
    } else {
        guest_phys_blocks_append(list);
    }
}

static bool get_dump_info(ArchDumpInfo *info, Error **errp)
{
    GuestPhysBlockList list;
    int ret;

    get_ram(&list);
    ret = cpu_get_dump_info(info, &list);
    guest_phys_blocks_free(&list);
    if (ret < 0) {
        error_setg(errp, "guest-core does not support this target");
    }
    return !ret;
}

static void replace_head(GuestCore *core, uint8_t *bytes)
{
    WITH_QEMU_LOCK_GUARD(&core->lock) {
        uint8_t *old = core->head;

        core->head = bytes;
        bytes = old;
    }
    if (bytes) {
        memory_debug_wipe(bytes, core->head_size);
        g_free(bytes);
    }
}

/*
 * Write CPU type, registers and VMCOREINFO as they are now; called with the
 * BQL held
 */
static bool update_head(GuestCore *core, Error **errp)
{
    CoreHead head = {
        .used = core->notes_offset,
        .size = core->head_size,
    };
    uint64_t notes_size;

    head.bytes = g_malloc0(core->head_size);
    if (!get_dump_info(&head.dump.dump_info, errp) ||
        !append_registers(&head, errp)) {
        g_free(head.bytes);
        replace_head(core, NULL);
        return false;
    }
    append_vmcoreinfo(&head);
    notes_size = head.used - core->notes_offset;
    head.used = 0;
    append_headers(&head, core, notes_size);
    replace_head(core, head.bytes);
    trace_guest_core_head(core, notes_size);
    return true;
}

/*
 * RAM of which the guest has only parts (virtio-mem).  The rest would read as
 * zeros.
 */

typedef struct CoreSparse {
    RamDiscardListener listener;
    GuestCore *core;
    MemoryRegion *mr;
    hwaddr gpa;
    uint64_t size, granularity;
    unsigned long *plugged;
    QLIST_ENTRY(CoreSparse) next;
} CoreSparse;

/* Called with core->lock held */
static void sparse_set(CoreSparse *sparse, const MemoryRegionSection *part,
                       bool plugged)
{
    hwaddr offset = part->offset_within_address_space - sparse->gpa;
    uint64_t first = offset / sparse->granularity;
    uint64_t end = DIV_ROUND_UP(offset + int128_get64(part->size),
                                sparse->granularity);

    if (plugged) {
        bitmap_set(sparse->plugged, first, end - first);
    } else {
        bitmap_clear(sparse->plugged, first, end - first);
    }
}

static int sparse_populate(RamDiscardListener *listener,
                           MemoryRegionSection *part)
{
    CoreSparse *sparse = container_of(listener, CoreSparse, listener);

    QEMU_LOCK_GUARD(&sparse->core->lock);
    sparse_set(sparse, part, true);
    return 0;
}

static void sparse_discard(RamDiscardListener *listener,
                           MemoryRegionSection *part)
{
    CoreSparse *sparse = container_of(listener, CoreSparse, listener);

    QEMU_LOCK_GUARD(&sparse->core->lock);
    sparse_set(sparse, part, false);
}

static void guest_core_region_add(MemoryListener *listener,
                                  MemoryRegionSection *section)
{
    GuestCore *core = container_of(listener, GuestCore, memory);
    RamDiscardManager *manager;
    CoreSparse *sparse;

    /* A confidential guest's manager distinguishes private from shared RAM */
    manager = memory_region_get_ram_discard_manager(section->mr);
    if (!manager || memory_debug_guest()) {
        return;
    }
    sparse = g_new0(CoreSparse, 1);
    sparse->core = core;
    sparse->mr = section->mr;
    sparse->gpa = section->offset_within_address_space;
    sparse->size = int128_get64(section->size);
    sparse->granularity =
        ram_discard_manager_get_min_granularity(manager, section->mr);
    sparse->plugged = bitmap_new(DIV_ROUND_UP(sparse->size,
                                              sparse->granularity));
    WITH_QEMU_LOCK_GUARD(&core->lock) {
        QLIST_INSERT_HEAD(&core->sparse, sparse, next);
    }
    ram_discard_listener_init(&sparse->listener, sparse_populate,
                              sparse_discard, true);
    ram_discard_manager_register_listener(manager, &sparse->listener, section);
}

static void guest_core_region_del(MemoryListener *listener,
                                  MemoryRegionSection *section)
{
    GuestCore *core = container_of(listener, GuestCore, memory);
    CoreSparse *sparse;

    /* The BQL is held: nobody else changes the list */
    QLIST_FOREACH(sparse, &core->sparse, next) {
        if (sparse->mr == section->mr &&
            sparse->gpa == section->offset_within_address_space) {
            break;
        }
    }
    if (!sparse) {
        return;
    }
    ram_discard_manager_unregister_listener(
        memory_region_get_ram_discard_manager(section->mr), &sparse->listener);
    WITH_QEMU_LOCK_GUARD(&core->lock) {
        QLIST_REMOVE(sparse, next);
    }
    g_free(sparse->plugged);
    g_free(sparse);
}

/* Does the guest have @mr's RAM at @gpa?  *@len is cut to what it has. */
static bool is_plugged(GuestCore *core, MemoryRegion *mr, hwaddr gpa,
                       uint64_t *len)
{
    CoreSparse *sparse;
    unsigned long first, end, last;

    QEMU_LOCK_GUARD(&core->lock);
    QLIST_FOREACH(sparse, &core->sparse, next) {
        if (gpa < sparse->gpa || gpa - sparse->gpa >= sparse->size) {
            continue;
        }
        first = (gpa - sparse->gpa) / sparse->granularity;
        last = DIV_ROUND_UP(MIN(gpa - sparse->gpa + *len, sparse->size),
                            sparse->granularity);
        end = find_next_zero_bit(sparse->plugged, last, first);
        *len = MIN(*len, sparse->gpa + end * sparse->granularity - gpa);
        return end > first;
    }
    /* It may be mapped anew at this moment */
    return memory_debug_guest() || !memory_region_has_ram_discard_manager(mr);
}

/*
 * Reads run in a worker thread, without the BQL: a drain may hold it while it
 * waits for them
 */

/* A region's last reference must be dropped with the BQL held */
typedef struct RamReference {
    struct rcu_head rcu;
    MemoryRegion *mr;
} RamReference;

static void ram_unref(RamReference *ram)
{
    memory_region_unref(ram->mr);
    g_free(ram);
}

/* The RAM that is mapped at @gpa now, for call_rcu(ram_unref); or NULL */
static RamReference *ram_at(hwaddr gpa, hwaddr *offset, hwaddr *len)
{
    RamReference *ram;
    MemoryRegion *mr;

    RCU_READ_LOCK_GUARD();
    mr = address_space_translate(&address_space_memory, gpa, offset, len,
                                 false, MEMTXATTRS_UNSPECIFIED);
    if (!memory_region_is_ram(mr) || memory_region_is_ram_device(mr)) {
        return NULL;
    }
    ram = g_new(RamReference, 1);
    ram->mr = mr;
    memory_region_ref(mr);
    return ram;
}

/* *@len is cut to what one region has */
static bool read_ram(GuestCore *core, hwaddr gpa, void *buf, uint64_t *len,
                     MemoryDebugScope *scope, Error **errp)
{
    MemTxResult result = MEMTX_DECODE_ERROR;
    bool gone = true;
    RamReference *ram;
    hwaddr offset;

    if (!memory_debug_check(false, errp)) {
        return false;
    }
    ram = ram_at(gpa, &offset, len);
    if (ram && is_plugged(core, ram->mr, gpa, len)) {
        result = memory_debug_read_ram(ram->mr, offset, gpa, buf, *len, scope,
                                       errp);
        gone = result == MEMTX_OK && !is_plugged(core, ram->mr, gpa, len);
    }
    if (ram) {
        call_rcu(ram, ram_unref, rcu);
    }
    if (gone) {
        error_setg(errp, "the guest no longer has the RAM there that it had "
                   "when the core was opened");
    }
    return result == MEMTX_OK && !gone;
}

static bool read_head(GuestCore *core, uint64_t offset, void *buf,
                      uint64_t len)
{
    Error *err = NULL;

    if (!memory_debug_check(false, &err)) {
        trace_guest_core_head_refused(core, error_get_pretty(err));
        error_free(err);
        return false;
    }
    QEMU_LOCK_GUARD(&core->lock);
    if (core->head) {
        memcpy(buf, core->head + offset, len);
    }
    return core->head;
}

/* The last block that does not begin after @offset */
static CoreBlock *block_at(GuestCore *core, uint64_t offset)
{
    guint i = core->blocks->len - 1;

    while (g_array_index(core->blocks, CoreBlock, i).offset > offset) {
        i--;
    }
    return &g_array_index(core->blocks, CoreBlock, i);
}

/* Read up to *@len bytes, which is cut to what was read */
static bool read_piece(GuestCore *core, uint64_t offset, void *buf,
                       uint64_t *len, MemoryDebugScope *scope)
{
    CoreBlock *block;
    hwaddr gpa;
    Error *err = NULL;

    if (offset < core->head_size) {
        *len = MIN(*len, core->head_size - offset);
        return read_head(core, offset, buf, *len);
    }
    block = block_at(core, offset);
    offset -= block->offset;
    if (offset >= block->size) {        /* padding */
        *len = MIN(*len, CORE_ALIGN - offset % CORE_ALIGN);
        memset(buf, 0, *len);
        return true;
    }
    *len = MIN(*len, block->size - offset);
    gpa = block->gpa + offset;
    if (!read_ram(core, gpa, buf, len, scope, &err)) {
        trace_guest_core_read_failed(core, gpa, *len, error_get_pretty(err));
        memory_debug_remember_failure(gpa, false, false, err);
        error_free(err);
        return false;
    }
    return true;
}

static bool read_range(GuestCore *core, uint64_t offset, void *buf,
                       uint64_t len, MemoryDebugScope *scope)
{
    while (len) {
        uint64_t piece = len;

        if (!read_piece(core, offset, buf, &piece, scope)) {
            return false;
        }
        offset += piece;
        buf += piece;
        len -= piece;
    }
    return true;
}

typedef struct CoreRequest {
    GuestCore *core;
    uint64_t offset;
    QEMUIOVector *qiov;
} CoreRequest;

static int read_request(void *opaque)
{
    CoreRequest *request = opaque;
    uint64_t offset = request->offset;
    MemoryDebugScope scope;
    bool ok = true;

    rcu_register_thread();      /* threads of the pool are not */
    memory_debug_scope_begin(&scope);
    for (int i = 0; i < request->qiov->niov && ok; i++) {
        struct iovec *iov = &request->qiov->iov[i];

        ok = read_range(request->core, offset, iov->iov_base, iov->iov_len,
                        &scope);
        offset += iov->iov_len;
    }
    memory_debug_scope_end(&scope);
    rcu_unregister_thread();
    return ok ? 0 : -EIO;
}

static int coroutine_fn guest_core_co_preadv(BlockDriverState *bs,
                                             int64_t offset, int64_t bytes,
                                             QEMUIOVector *qiov,
                                             BdrvRequestFlags flags)
{
    CoreRequest request = { bs->opaque, offset, qiov };

    return thread_pool_submit_co(read_request, &request);
}

/*
 * Life of a node
 */

/* Which pages are shared is looked up here, as reads are without the BQL */
static void find_shared_or_warn(GuestCore *core)
{
    Error *err = NULL;

    if (!memory_debug_find_mapped(&err)) {
        warn_report_once_cond(&core->warned, "guest-core: pages that the "
                              "guest shares with the host are read as if "
                              "they were private, and appear as garbage: %s",
                              error_get_pretty(err));
        error_free(err);
    }
}

/* Bring the core up to date with the guest; called with the BQL held */
static bool refresh(GuestCore *core, Error **errp)
{
    if (!memory_debug_check(false, errp)) {
        replace_head(core, NULL);
        return false;
    }
    find_shared_or_warn(core);
    return update_head(core, errp);
}

static void refresh_or_warn(GuestCore *core)
{
    Error *err = NULL;

    if (!refresh(core, &err)) {
        warn_reportf_err(err, "guest-core: the headers and notes of the core "
                         "cannot be read until the VM stops again: ");
    }
}

static void guest_core_vm_state(void *opaque, bool running, RunState state)
{
    if (running) {
        find_shared_or_warn(opaque);
    } else {
        refresh_or_warn(opaque);
    }
}

/* The state of a snapshot is loaded after the reset, and nobody is told when */
static void guest_core_reset(void *opaque)
{
    if (!runstate_is_running()) {
        replace_head(opaque, NULL);
    }
}

static void guest_core_reset_without_snapshot(void *opaque)
{
    if (!runstate_is_running()) {
        refresh_or_warn(opaque);
    }
}

/* Room for the notes of as many vCPUs as there can be, in 64-bit mode */
static bool notes_room(uint64_t *room, Error **errp)
{
    ArchDumpInfo info = {};
    ssize_t size;

    if (!get_dump_info(&info, errp)) {
        return false;
    }
    size = cpu_get_note_size(ELFCLASS64, info.d_machine,
                             current_machine->smp.max_cpus);
    assert(size >= 0);
    *room = 2 * size + VMCOREINFO_NOTE_MAX;
    return true;
}

/* Called with the BQL held */
static bool lay_out(GuestCore *core, Error **errp)
{
    GuestPhysBlockList list;
    GuestPhysBlock *ram;
    uint64_t room;

    if (!notes_room(&room, errp)) {
        return false;
    }
    get_ram(&list);
    core->notes_offset = sizeof(Elf64_Ehdr) +
                         (list.num + 1) * sizeof(Elf64_Phdr);
    core->head_size = ROUND_UP(core->notes_offset + room, CORE_ALIGN);
    core->length = core->head_size;
    QTAILQ_FOREACH(ram, &list.head, next) {
        CoreBlock block = {
            .gpa = ram->target_start,
            .size = ram->target_end - ram->target_start,
            .offset = core->length,
        };

        g_array_append_val(core->blocks, block);
        core->length += ROUND_UP(block.size, CORE_ALIGN);
    }
    guest_phys_blocks_free(&list);
    if (!core->blocks->len || core->blocks->len >= PN_XNUM - 1) {
        error_setg(errp, "the guest has %u blocks of RAM; a core can have 1 "
                   "to %u", core->blocks->len, PN_XNUM - 2);
        return false;
    }
    return true;
}

static void free_core(GuestCore *core)
{
    replace_head(core, NULL);
    g_array_unref(core->blocks);
    qemu_mutex_destroy(&core->lock);
}

static int guest_core_open(BlockDriverState *bs, QDict *options, int flags,
                           Error **errp)
{
    GuestCore *core = bs->opaque;
    int ret;

    bdrv_graph_rdlock_main_loop();
    ret = bdrv_apply_auto_read_only(bs, "guest-core nodes are read-only: add "
                                    "read-only=on", errp);
    bdrv_graph_rdunlock_main_loop();
    if (ret < 0) {
        return ret;
    }
    if (!phase_check(PHASE_MACHINE_READY)) {
        error_setg(errp, "there is no guest yet: add the node with "
                   "blockdev-add when there is one");
        return -ENOENT;
    }
    if (!memory_debug_check(false, errp)) {
        return -EACCES;
    }

    qemu_mutex_init(&core->lock);
    QLIST_INIT(&core->sparse);
    core->blocks = g_array_new(FALSE, FALSE, sizeof(CoreBlock));
    if (!lay_out(core, errp) || !refresh(core, errp)) {
        free_core(core);
        return -ENOTSUP;
    }
    /* After the handlers that encrypt memory and drop decrypted pages */
    core->vm_state = qemu_add_vm_change_state_handler_prio(guest_core_vm_state,
                                                           core, INT_MIN);
    qemu_register_reset(guest_core_reset, core);
    qemu_register_reset_nosnapshotload(guest_core_reset_without_snapshot,
                                       core);
    core->memory = (MemoryListener) {
        .name = "guest-core",
        .priority = MEMORY_LISTENER_PRIORITY_MIN,
        .region_add = guest_core_region_add,
        .region_del = guest_core_region_del,
    };
    memory_listener_register(&core->memory, &address_space_memory);
    trace_guest_core_open(core, core->blocks->len, core->length);
    return 0;
}

static void guest_core_close(BlockDriverState *bs)
{
    GuestCore *core = bs->opaque;

    memory_listener_unregister(&core->memory);
    qemu_unregister_reset(guest_core_reset, core);
    qemu_unregister_reset(guest_core_reset_without_snapshot, core);
    qemu_del_vm_change_state_handler(core->vm_state);
    free_core(core);
}

static int64_t coroutine_fn guest_core_co_getlength(BlockDriverState *bs)
{
    GuestCore *core = bs->opaque;

    return core->length;
}

static void guest_core_refresh_limits(BlockDriverState *bs, Error **errp)
{
    bs->bl.max_transfer = MEMORY_DEBUG_RUN_MAX;
}

static BlockDriver bdrv_guest_core = {
    .format_name            = "guest-core",
    .protocol_name          = "guest-core",
    .instance_size          = sizeof(GuestCore),
    .bdrv_open              = guest_core_open,
    .bdrv_close             = guest_core_close,
    .bdrv_co_getlength      = guest_core_co_getlength,
    .bdrv_refresh_limits    = guest_core_refresh_limits,
    .bdrv_co_preadv         = guest_core_co_preadv,
};

static void bdrv_guest_core_init(void)
{
    bdrv_register(&bdrv_guest_core);
}

block_init(bdrv_guest_core_init);
