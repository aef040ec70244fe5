/*
 * query-memory-debug, memory-debug-read, memory-debug-write, query-vmcoreinfo,
 * and their HMP counterparts
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/base64.h"
#include "qemu/ctype.h"
#include "qemu/cutils.h"
#include "qemu/units.h"
#include "block/block.h"
#include "hw/boards.h"
#include "hw/core/cpu.h"
#include "hw/misc/vmcoreinfo.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-memory-debug.h"
#include "qobject/qdict.h"
#include "system/address-spaces.h"
#include "system/memory.h"
#include "system/memory-debug.h"
#include "system/memory-debug-object.h"

/* There are several copies of a command's response in memory at once */
#define MAX_SIZE    (1 * MiB)
#define LINE_BYTES  16

/*
 * query-memory-debug
 */

static MemoryDebugGuestInfo *guest_info(void)
{
    MemoryDebugGuestInfo *info = g_new0(MemoryDebugGuestInfo, 1);
    ConfidentialGuestSupport *cgs = memory_debug_guest();

    if (cgs) {
        CONFIDENTIAL_GUEST_SUPPORT_GET_CLASS(cgs)->debug_describe(cgs, info);
    }
    return info;
}

static MemoryDebugPageTables page_tables(void)
{
    MemoryDebugTables tables;

    if (!memory_debug_registers_protected()) {
        return MEMORY_DEBUG_PAGE_TABLES_REGISTERS;
    }
    if (!memory_debug_object_tables(0, &tables, NULL)) {
        return MEMORY_DEBUG_PAGE_TABLES_UNKNOWN;
    }
    return tables.from_vmcoreinfo ? MEMORY_DEBUG_PAGE_TABLES_VMCOREINFO :
                                    MEMORY_DEBUG_PAGE_TABLES_OPERATOR;
}

static MemoryDebugPageBit *page_bit(void)
{
    ConfidentialGuestPageBit bit = memory_debug_page_bit();
    MemoryDebugPageBit *info;

    if (!bit.mask) {
        return NULL;
    }
    info = g_new0(MemoryDebugPageBit, 1);
    info->number = ctz64(bit.mask);
    info->set_means = bit.set_means_private ? MEMORY_DEBUG_BIT_MEANING_PRIVATE
                                            : MEMORY_DEBUG_BIT_MEANING_SHARED;
    return info;
}

static MemoryDebugCounts *counts(void)
{
    MemoryDebugStats stats = memory_debug_stats();
    MemoryDebugCounts *info = g_new0(MemoryDebugCounts, 1);

    *info = (MemoryDebugCounts) {
        .reads = stats.reads,
        .writes = stats.writes,
        .bytes_read = stats.bytes_read,
        .bytes_written = stats.bytes_written,
        .cache_hits = stats.cache_hits,
    };
    return info;
}

static MemoryDebugFailure *last_failure(void)
{
    MemoryDebugLastFailure last = memory_debug_last_failure();
    MemoryDebugFailure *info;

    if (!last.reason) {
        return NULL;
    }
    info = g_new0(MemoryDebugFailure, 1);
    info->address = last.addr;
    info->space = last.is_virtual ? MEMORY_DEBUG_SPACE_VIRTUAL :
                                    MEMORY_DEBUG_SPACE_PHYSICAL;
    info->write = last.is_write;
    info->reason = last.reason;
    return info;
}

static void describe_access(MemoryDebugInfo *info)
{
    Error *err = NULL;

    if (!memory_debug_check(false, &err)) {
        info->access = MEMORY_DEBUG_ACCESS_NONE;
    } else if (!memory_debug_check(true, &err)) {
        info->access = MEMORY_DEBUG_ACCESS_READ_ONLY;
    } else {
        info->access = MEMORY_DEBUG_ACCESS_READ_WRITE;
    }
    if (err) {
        info->forbidden_by = g_strdup(error_get_pretty(err));
        error_free(err);
    }
}

static strList *core_nodes(void)
{
    strList *names = NULL, **tail = &names;
    BlockDriverState *bs = NULL;

    while ((bs = bdrv_next_node(bs))) {
        if (!g_strcmp0(bdrv_get_format_name(bs), "guest-core")) {
            QAPI_LIST_APPEND(tail, g_strdup(bdrv_get_node_name(bs)));
        }
    }
    return names;
}

MemoryDebugInfo *qmp_query_memory_debug(Error **errp)
{
    MemoryDebugInfo *info = g_new0(MemoryDebugInfo, 1);
    MemoryDebugObject *object = current_machine->memory_debug;

    info->guest = guest_info();
    describe_access(info);
    if (object) {
        info->object = object_get_canonical_path(OBJECT(object));
    }
    info->page_bit = page_bit();
    info->registers = memory_debug_registers_protected() ?
                      MEMORY_DEBUG_REGISTERS_PROTECTED :
                      MEMORY_DEBUG_REGISTERS_READABLE;
    info->page_tables = page_tables();
    info->counts = memory_debug_guest() ? counts() : NULL;
    info->last_failure = last_failure();
    info->core_nodes = core_nodes();
    return info;
}

/*
 * memory-debug-read and memory-debug-write
 */

/* Set *@cpu to the vCPU that translates, or NULL for a physical address */
static bool find_cpu(MemoryDebugSpace space, bool has_cpu_index,
                     int64_t cpu_index, CPUState **cpu, Error **errp)
{
    *cpu = NULL;
    if (space == MEMORY_DEBUG_SPACE_PHYSICAL) {
        if (has_cpu_index) {
            error_setg(errp, "'cpu-index' is for virtual addresses only");
            return false;
        }
        return true;
    }
    *cpu = cpu_index == (int)cpu_index ? qemu_get_cpu(cpu_index) : NULL;
    if (!*cpu) {
        error_setg(errp, "there is no vCPU %" PRId64, cpu_index);
        return false;
    }
    return true;
}

static bool check_size(uint64_t size, Error **errp)
{
    if (size > MAX_SIZE) {
        error_setg(errp, "%" PRIu64 " bytes exceed the limit of %" PRIu64
                   " bytes per command", size, MAX_SIZE);
        return false;
    }
    return true;
}

static bool guest_rw(CPUState *cpu, uint64_t addr, void *buf, size_t len,
                     bool is_write, bool *assumed_private, Error **errp)
{
    MemoryDebugScope scope;
    MemTxResult result;

    /* For a confidential guest, each access is checked with its address */
    if (!memory_debug_guest() && !memory_debug_check(is_write, errp)) {
        return false;
    }
    memory_debug_scope_begin(&scope);
    if (cpu) {
        result = memory_debug_rw_virtual(cpu, addr, buf, len, is_write, &scope,
                                         errp);
    } else {
        result = cpu_physical_memory_rw_debug(addr, buf, len, is_write, &scope,
                                              errp);
    }
    memory_debug_scope_end(&scope);
    *assumed_private = scope.assumed_private;
    return result == MEMTX_OK;
}

/* Copy up to *@len bytes of RAM as they are in the host's memory */
static bool raw_copy(hwaddr addr, void *buf, hwaddr *len, Error **errp)
{
    MemoryRegion *mr;
    hwaddr offset;

    if (!memory_debug_is_ram(addr, len)) {
        error_setg(errp, "no RAM or ROM at physical address 0x%" HWADDR_PRIx,
                   addr);
        return false;
    }
    RCU_READ_LOCK_GUARD();
    mr = address_space_translate(&address_space_memory, addr, &offset, len,
                                 false, MEMTXATTRS_UNSPECIFIED);
    memcpy(buf, qemu_map_ram_ptr(mr->ram_block, offset), *len);
    return true;
}

/* The guest's policy does not cover what the host sees */
static bool check_raw_view(Error **errp)
{
    ConfidentialGuestSupport *cgs = memory_debug_guest();

    if (!cgs) {
        return memory_debug_check(false, errp);
    }
    return memory_debug_object_check(false, errp) &&
           CONFIDENTIAL_GUEST_SUPPORT_GET_CLASS(cgs)->debug_check_raw_view(
               cgs, errp);
}

static bool raw_read(hwaddr addr, uint8_t *buf, size_t size, Error **errp)
{
    hwaddr len;

    if (!check_raw_view(errp)) {
        return false;
    }
    addr &= ~memory_debug_page_bit().mask;
    for (hwaddr done = 0; done < size; done += len) {
        len = size - done;
        if (!raw_copy(addr + done, buf + done, &len, errp)) {
            return false;
        }
    }
    return true;
}

static bool read_view(uint64_t address, uint8_t *buf, size_t size,
                      CPUState *cpu, MemoryDebugView view,
                      bool *assumed_private, Error **errp)
{
    if (view == MEMORY_DEBUG_VIEW_GUEST) {
        return guest_rw(cpu, address, buf, size, false, assumed_private, errp);
    }
    if (cpu) {
        error_setg(errp, "the raw view is for physical addresses only");
        return false;
    }
    return raw_read(address, buf, size, errp);
}

MemoryDebugData *qmp_memory_debug_read(uint64_t address, uint64_t size,
                                       MemoryDebugSpace space,
                                       bool has_cpu_index, int64_t cpu_index,
                                       bool has_view, MemoryDebugView view,
                                       Error **errp)
{
    g_autofree uint8_t *buf = NULL;
    MemoryDebugData *data = NULL;
    bool assumed_private = false;
    CPUState *cpu;

    if (!find_cpu(space, has_cpu_index, cpu_index, &cpu, errp) ||
        !check_size(size, errp)) {
        return NULL;
    }
    buf = g_malloc(size + 1);   /* not NULL if size is 0 */
    if (read_view(address, buf, size, cpu, view, &assumed_private, errp)) {
        data = g_new0(MemoryDebugData, 1);
        data->data = g_base64_encode(buf, size);
        data->assumed_private = assumed_private;
    }
    memory_debug_wipe(buf, size);
    return data;
}

void qmp_memory_debug_write(uint64_t address, const char *data,
                            MemoryDebugSpace space, bool has_cpu_index,
                            int64_t cpu_index, Error **errp)
{
    g_autofree uint8_t *buf = NULL;
    bool assumed_private;
    CPUState *cpu;
    size_t size;

    if (!find_cpu(space, has_cpu_index, cpu_index, &cpu, errp)) {
        return;
    }
    buf = qbase64_decode(data, -1, &size, errp);
    if (buf && check_size(size, errp)) {
        guest_rw(cpu, address, buf, size, true, &assumed_private, errp);
        memory_debug_wipe(buf, size);
    }
}

/*
 * query-vmcoreinfo
 */

static char *encode_text(const VmcoreinfoText *text, DataFormat format,
                         Error **errp)
{
    if (format == DATA_FORMAT_BASE64) {
        return g_base64_encode((const uint8_t *)text->text, text->len);
    }
    if (!g_utf8_validate(text->text, text->len, NULL)) {
        error_setg(errp, "the text of the guest's VMCOREINFO note is not UTF-8"
                   ": use format base64");
        return NULL;
    }
    return g_strndup(text->text, text->len);
}

VmcoreinfoInfo *qmp_query_vmcoreinfo(bool has_format, DataFormat format,
                                     Error **errp)
{
    VmcoreinfoGuest guest;
    VmcoreinfoInfo *info = NULL;
    char *data;

    if (!vmcoreinfo_guest_read(&guest, errp)) {
        return NULL;
    }
    data = encode_text(&guest.text, format, errp);
    if (data) {
        info = g_new0(VmcoreinfoInfo, 1);
        info->address = guest.addr;
        info->size = guest.size;
        info->data = data;
    }
    g_free(guest.note);
    return info;
}

/*
 * HMP
 */

static void print_guest(Monitor *mon, const MemoryDebugGuestInfo *guest)
{
    monitor_printf(mon, "Guest:          %s%s\n",
                   MemoryDebugGuest_str(guest->kind),
                   !guest->has_launched ? "" :
                   guest->launched ? ", launched" : ", not launched yet");
    if (guest->has_backend || guest->backend_reason) {
        monitor_printf(mon, "Backend:        %s%s%s\n", guest->has_backend ?
                       MemoryDebugBackend_str(guest->backend) : "none",
                       guest->backend_reason ? ": " : "",
                       guest->backend_reason ?: "");
    }
}

static void print_access(Monitor *mon, const MemoryDebugInfo *info)
{
    monitor_printf(mon, "Access:         %s%s%s\n",
                   MemoryDebugAccess_str(info->access),
                   info->forbidden_by ? ": " : "", info->forbidden_by ?: "");
    if (info->object) {
        monitor_printf(mon, "Debug object:   %s\n", info->object);
    }
}

static void print_tables(Monitor *mon, const MemoryDebugInfo *info)
{
    static const char *const sources[] = {
        [MEMORY_DEBUG_PAGE_TABLES_REGISTERS] = "from the vCPU's registers",
        [MEMORY_DEBUG_PAGE_TABLES_OPERATOR] = "from the memory-debug object",
        [MEMORY_DEBUG_PAGE_TABLES_VMCOREINFO] = "from the guest's VMCOREINFO",
        [MEMORY_DEBUG_PAGE_TABLES_UNKNOWN] =
            "unknown, virtual addresses cannot be translated",
    };

    if (info->page_bit) {
        monitor_printf(mon, "Page-table bit: %" PRId64 ", set on %s pages\n",
                       info->page_bit->number,
                       MemoryDebugBitMeaning_str(info->page_bit->set_means));
    }
    monitor_printf(mon, "Registers:      %s%s\n",
                   MemoryDebugRegisters_str(info->registers),
                   info->registers == MEMORY_DEBUG_REGISTERS_PROTECTED ?
                   "; gdb shows a program counter of 0, which is not the "
                   "guest's" : "");
    monitor_printf(mon, "Page tables:    %s\n", sources[info->page_tables]);
}

static void print_counts(Monitor *mon, const MemoryDebugInfo *info)
{
    const MemoryDebugCounts *c = info->counts;

    if (c) {
        monitor_printf(mon, "Private memory: %" PRIu64 " reads (%" PRIu64
                       " bytes), %" PRIu64 " writes (%" PRIu64 " bytes), %"
                       PRIu64 " cache hits\n", c->reads, c->bytes_read,
                       c->writes, c->bytes_written, c->cache_hits);
    }
    if (info->last_failure) {
        monitor_printf(mon, "Last failure:   %s of %s address 0x%" PRIx64
                       ": %s\n", info->last_failure->write ? "write" : "read",
                       MemoryDebugSpace_str(info->last_failure->space),
                       info->last_failure->address,
                       info->last_failure->reason);
    }
}

void hmp_info_memory_debug(Monitor *mon, const QDict *qdict)
{
    MemoryDebugInfo *info = qmp_query_memory_debug(&error_abort);

    print_guest(mon, info->guest);
    print_access(mon, info);
    print_tables(mon, info);
    print_counts(mon, info);
    for (strList *name = info->core_nodes; name; name = name->next) {
        monitor_printf(mon, "Core node:      %s\n", name->value);
    }
    qapi_free_MemoryDebugInfo(info);
}

static void print_bytes(Monitor *mon, uint64_t address, const uint8_t *buf,
                        size_t size)
{
    for (size_t done = 0; done < size; done += LINE_BYTES) {
        size_t len = MIN(size - done, LINE_BYTES);
        g_autoptr(GString) hex = qemu_hexdump_line(NULL, buf + done, len, 1,
                                                   0);
        char text[LINE_BYTES + 1] = "";

        for (size_t i = 0; i < len; i++) {
            text[i] = qemu_isprint(buf[done + i]) ? buf[done + i] : '.';
        }
        monitor_printf(mon, "%016" PRIx64 ": %-*s  %s\n", address + done,
                       LINE_BYTES * 3 - 1, hex->str, text);
    }
}

void hmp_memory_debug_read(Monitor *mon, const QDict *qdict)
{
    uint64_t address = qdict_get_int(qdict, "addr");
    uint64_t size = qdict_get_int(qdict, "size");
    g_autofree uint8_t *buf = NULL;
    Error *err = NULL;

    if (check_size(size, &err)) {
        buf = g_malloc(size + 1);   /* not NULL if size is 0 */
        raw_read(address, buf, size, &err);
    }
    if (!hmp_handle_error(mon, err)) {
        monitor_printf(mon, "RAW: what the host sees, which is not what an "
                       "encrypted guest sees\n");
        print_bytes(mon, address, buf, size);
    }
}

/* Keep the guest from sending escape sequences to the user's terminal */
void hmp_info_vmcoreinfo(Monitor *mon, const QDict *qdict)
{
    VmcoreinfoGuest guest;
    g_autoptr(GString) text = NULL;
    Error *err = NULL;

    if (!vmcoreinfo_guest_read(&guest, &err)) {
        hmp_handle_error(mon, err);
        return;
    }
    monitor_printf(mon, "%" PRIu32 " bytes at physical address 0x%"
                   HWADDR_PRIx ":\n", guest.size, guest.addr);
    text = g_string_new_len(guest.text.text, guest.text.len);
    for (size_t i = 0; i < text->len; i++) {
        if (text->str[i] != '\n' && !qemu_isprint(text->str[i])) {
            text->str[i] = '.';
        }
    }
    monitor_puts(mon, text->str);
    g_free(guest.note);
}
