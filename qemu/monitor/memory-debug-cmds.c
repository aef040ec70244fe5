/*
 * query-memory-debug, memory-debug-read, memory-debug-write,
 * query-vmcoreinfo, and HMP's forms of them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/base64.h"
#include "qemu/ctype.h"
#include "qemu/cutils.h"
#include "qemu/log.h"
#include "qemu/units.h"
#include "hw/boards.h"
#include "hw/core/cpu.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-memory-debug.h"
#include "qobject/qdict.h"
#include "system/address-spaces.h"
#include "system/memory.h"
#include "system/memory-debug.h"
#include "system/memory-debug-object.h"
#include "system/vmcoreinfo-guest.h"

/* A command's answer is kept in memory several times over */
#define MAX_SIZE    (1 * MiB)
#define LINE_BYTES  16

/*
 * query-memory-debug
 */

static MemoryDebugRegisters registers(void)
{
    switch (memory_debug_registers()) {
    case ENCRYPTED_GUEST_REGISTERS_READABLE:
        return MEMORY_DEBUG_REGISTERS_READABLE;
    case ENCRYPTED_GUEST_REGISTERS_PARTIAL:
        return MEMORY_DEBUG_REGISTERS_PARTIAL;
    default:
        return MEMORY_DEBUG_REGISTERS_PROTECTED;
    }
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
    EncryptedPageBit bit = memory_debug_page_bit();
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
    MemoryDebugFailureCounts *failures = g_new0(MemoryDebugFailureCounts, 1);

    *failures = (MemoryDebugFailureCounts) {
        .limit = stats.failures[MEMORY_DEBUG_FAILURE_LIMIT],
        .policy = stats.failures[MEMORY_DEBUG_FAILURE_POLICY],
        .conflict = stats.failures[MEMORY_DEBUG_FAILURE_CONFLICT],
        .unmapped = stats.failures[MEMORY_DEBUG_FAILURE_UNMAPPED],
        .device = stats.failures[MEMORY_DEBUG_FAILURE_DEVICE],
        .backend = stats.failures[MEMORY_DEBUG_FAILURE_BACKEND],
        .q_virtual = stats.failures[MEMORY_DEBUG_FAILURE_VIRTUAL],
    };
    *info = (MemoryDebugCounts) {
        .reads = stats.reads,
        .writes = stats.writes,
        .bytes_read = stats.bytes_read,
        .bytes_written = stats.bytes_written,
        .cache_hits = stats.cache_hits,
        .failures = failures,
    };
    return info;
}

static MemoryDebugLastFailureInfo *last_failure(void)
{
    MemoryDebugLastFailure last = memory_debug_last_failure();
    MemoryDebugLastFailureInfo *info;

    if (!last.reason) {
        return NULL;
    }
    info = g_new0(MemoryDebugLastFailureInfo, 1);
    info->address = last.addr;
    info->space = last.is_virtual ? MEMORY_DEBUG_SPACE_VIRTUAL :
                                    MEMORY_DEBUG_SPACE_PHYSICAL;
    info->write = last.is_write;
    info->reason = last.reason;
    return info;
}

static void describe_guest(MemoryDebugInfo *info)
{
    EncryptedGuest *eg = memory_debug_guest();
    EncryptedGuestClass *egc;
    const char *backend, *why = NULL;

    if (!eg) {
        info->guest = g_strdup(current_machine->cgs ? "unsupported" :
                                                      "normal");
        return;
    }
    egc = ENCRYPTED_GUEST_GET_CLASS(eg);
    backend = egc->backend(eg, &why);
    info->guest = g_strdup(egc->kind(eg));
    info->has_launched = true;
    info->launched = egc->launched(eg);
    info->backend = g_strdup(backend);
    info->backend_reason = g_strdup(why);
}

static void describe_access(MemoryDebugInfo *info)
{
    Error *err = NULL;

    info->readable = memory_debug_allowed(&err);
    info->writable = info->readable && memory_debug_within_limit(true, &err);
    if (err) {
        info->forbidden_by = g_strdup(error_get_pretty(err));
        error_free(err);
    }
}

MemoryDebugInfo *qmp_query_memory_debug(Error **errp)
{
    MemoryDebugInfo *info = g_new0(MemoryDebugInfo, 1);
    MemoryDebugObject *object = memory_debug_object();

    describe_guest(info);
    describe_access(info);
    if (object) {
        info->object = object_get_canonical_path(OBJECT(object));
    }
    info->page_bit = page_bit();
    info->registers = registers();
    info->page_tables = page_tables();
    info->counts = counts();
    info->last_failure = last_failure();
    return info;
}

/*
 * memory-debug-read and memory-debug-write
 */

/* The vCPU that translates, NULL for a physical address */
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
        error_setg(errp, "%" PRIu64 " bytes are too many: one command takes "
                   "up to %" PRIu64, size, MAX_SIZE);
        return false;
    }
    return true;
}

static MemTxResult guest_rw(CPUState *cpu, uint64_t addr, void *buf,
                            size_t len, bool is_write, Error **errp)
{
    if (cpu) {
        return memory_debug_rw_virtual(cpu, addr, buf, len, is_write, errp);
    }
    return cpu_physical_memory_rw_debug(addr, buf, len, is_write, errp);
}

/* Copy up to *@len bytes of RAM, as they lie in the host's memory */
static bool raw_copy(hwaddr addr, void *buf, hwaddr *len, Error **errp)
{
    MemoryRegion *mr;
    hwaddr offset;

    RCU_READ_LOCK_GUARD();
    mr = address_space_translate(&address_space_memory, addr, &offset, len,
                                 false, MEMTXATTRS_UNSPECIFIED);
    if (!memory_region_supports_direct_access(mr)) {
        error_setg(errp, "there is no RAM or ROM at physical address 0x%"
                   HWADDR_PRIx " for the host to see", addr);
        return false;
    }
    memcpy(buf, qemu_map_ram_ptr(mr->ram_block, offset), *len);
    return true;
}

static bool raw_view_allowed(Error **errp)
{
    EncryptedGuest *eg = memory_debug_guest();

    return memory_debug_within_limit(false, errp) &&
           (!eg || !ENCRYPTED_GUEST_GET_CLASS(eg)->raw_view ||
            ENCRYPTED_GUEST_GET_CLASS(eg)->raw_view(eg, errp));
}

static bool raw_read(hwaddr addr, uint8_t *buf, size_t size, Error **errp)
{
    hwaddr done, len;

    if (!raw_view_allowed(errp)) {
        return false;
    }
    addr &= ~memory_debug_page_bit().mask;
    for (done = 0; done < size; done += len) {
        len = size - done;
        if (!raw_copy(addr + done, buf + done, &len, errp)) {
            return false;
        }
    }
    return true;
}

/* For g_free(); NULL with @errp set on failure */
static uint8_t *read_view(uint64_t address, uint64_t size, CPUState *cpu,
                          MemoryDebugView view, Error **errp)
{
    g_autofree uint8_t *buf = NULL;

    if (!check_size(size, errp)) {
        return NULL;
    }
    if (view == MEMORY_DEBUG_VIEW_RAW && cpu) {
        error_setg(errp, "the raw view is for physical addresses only");
        return NULL;
    }
    /* not g_malloc(0), which is NULL */
    buf = g_malloc(size + 1);
    if (view == MEMORY_DEBUG_VIEW_RAW ?
        !raw_read(address, buf, size, errp) :
        guest_rw(cpu, address, buf, size, false, errp) != MEMTX_OK) {
        return NULL;
    }
    return g_steal_pointer(&buf);
}

MemoryDebugData *qmp_memory_debug_read(uint64_t address, uint64_t size,
                                       MemoryDebugSpace space,
                                       bool has_cpu_index, int64_t cpu_index,
                                       bool has_view, MemoryDebugView view,
                                       Error **errp)
{
    g_autofree uint8_t *buf = NULL;
    MemoryDebugData *data;
    CPUState *cpu;

    if (!find_cpu(space, has_cpu_index, cpu_index, &cpu, errp)) {
        return NULL;
    }
    buf = read_view(address, size, cpu, view, errp);
    if (!buf) {
        return NULL;
    }
    data = g_new0(MemoryDebugData, 1);
    data->view = view;
    data->data = g_base64_encode(buf, size);
    return data;
}

static bool write_bytes(uint64_t address, void *buf, size_t size,
                        CPUState *cpu, Error **errp)
{
    return check_size(size, errp) &&
           guest_rw(cpu, address, buf, size, true, errp) == MEMTX_OK;
}

void qmp_memory_debug_write(uint64_t address, const char *data,
                            MemoryDebugSpace space, bool has_cpu_index,
                            int64_t cpu_index, Error **errp)
{
    g_autofree uint8_t *buf = NULL;
    CPUState *cpu;
    size_t size;

    if (!find_cpu(space, has_cpu_index, cpu_index, &cpu, errp)) {
        return;
    }
    buf = qbase64_decode(data, -1, &size, errp);
    if (buf) {
        write_bytes(address, buf, size, cpu, errp);
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
        error_setg(errp, "the text of the guest's VMCOREINFO note is no UTF-8:"
                   " ask for format base64");
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

static void print_access(Monitor *mon, const MemoryDebugInfo *info)
{
    monitor_printf(mon, "Access:         %s%s%s\n",
                   info->writable ? "read and write" :
                   info->readable ? "read only" : "none",
                   info->forbidden_by ? ": " : "", info->forbidden_by ?: "");
    if (info->object) {
        monitor_printf(mon, "Debug object:   %s\n", info->object);
    }
}

static void print_guest(Monitor *mon, const MemoryDebugInfo *info)
{
    monitor_printf(mon, "Guest:          %s%s\n", info->guest,
                   !info->has_launched ? "" :
                   info->launched ? ", launched" : ", not launched yet");
    if (info->backend_reason) {
        monitor_printf(mon, "Backend:        %s: %s\n",
                       info->backend ?: "none", info->backend_reason);
    }
    print_access(mon, info);
    if (info->page_bit) {
        monitor_printf(mon, "Page-table bit: %" PRId64 ", set on %s pages\n",
                       info->page_bit->number,
                       MemoryDebugBitMeaning_str(info->page_bit->set_means));
    }
    monitor_printf(mon, "Registers:      %s\n",
                   MemoryDebugRegisters_str(info->registers));
    monitor_printf(mon, "Page tables:    %s\n",
                   info->page_tables == MEMORY_DEBUG_PAGE_TABLES_REGISTERS ?
                   "from the vCPU's registers" :
                   info->page_tables == MEMORY_DEBUG_PAGE_TABLES_OPERATOR ?
                   "from the memory-debug object" :
                   info->page_tables == MEMORY_DEBUG_PAGE_TABLES_VMCOREINFO ?
                   "from the guest's VMCOREINFO" :
                   "not known, so virtual addresses cannot be used");
}

static void print_counts(Monitor *mon, const MemoryDebugInfo *info)
{
    const MemoryDebugCounts *c = info->counts;
    const MemoryDebugFailureCounts *f = c->failures;

    monitor_printf(mon, "Private memory: %" PRIu64 " reads (%" PRIu64
                   " bytes), %" PRIu64 " writes (%" PRIu64 " bytes), %" PRIu64
                   " cache hits\n", c->reads, c->bytes_read, c->writes,
                   c->bytes_written, c->cache_hits);
    monitor_printf(mon, "Failures:       limit %" PRIu64 ", policy %" PRIu64
                   ", conflict %" PRIu64 ", unmapped %" PRIu64 ", device %"
                   PRIu64 ", backend %" PRIu64 ", virtual %" PRIu64 "\n",
                   f->limit, f->policy, f->conflict, f->unmapped, f->device,
                   f->backend, f->q_virtual);
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

    print_guest(mon, info);
    print_counts(mon, info);
    qapi_free_MemoryDebugInfo(info);
}

static bool hmp_find_cpu(Monitor *mon, const QDict *qdict, CPUState **cpu,
                         Error **errp)
{
    if (!qdict_get_try_bool(qdict, "virtual", false)) {
        *cpu = NULL;
        return true;
    }
    return find_cpu(MEMORY_DEBUG_SPACE_VIRTUAL, true,
                    monitor_get_cpu_index(mon), cpu, errp);
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
    bool raw = qdict_get_try_bool(qdict, "raw", false);
    g_autofree uint8_t *buf = NULL;
    Error *err = NULL;
    CPUState *cpu;

    if (hmp_find_cpu(mon, qdict, &cpu, &err)) {
        buf = read_view(address, size, cpu, raw ? MEMORY_DEBUG_VIEW_RAW :
                        MEMORY_DEBUG_VIEW_GUEST, &err);
    }
    if (hmp_handle_error(mon, err)) {
        return;
    }
    if (raw) {
        monitor_printf(mon, "RAW: what the host sees, which is not what an "
                       "encrypted guest sees\n");
    }
    print_bytes(mon, address, buf, size);
}

/* TCG's logs that show the guest's code, or what it was made to */
#define LOG_CODE    (CPU_LOG_TB_IN_ASM | CPU_LOG_TB_OUT_ASM | CPU_LOG_TB_OP | \
                     CPU_LOG_TB_OP_OPT | CPU_LOG_TB_OP_IND | CPU_LOG_PLUGIN)

bool hmp_may_log(int mask, Error **errp)
{
    if (!(mask & LOG_CODE) || memory_debug_allowed(errp)) {
        return true;
    }
    error_prepend(errp, "cannot log the guest's code: ");
    return false;
}

/* "de ad be ef", with or without blanks between the bytes */
static GByteArray *parse_hex(const char *text, Error **errp)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();

    while (*text) {
        int high, low;
        uint8_t byte;

        if (*text == ' ') {
            text++;
            continue;
        }
        high = g_ascii_xdigit_value(text[0]);
        low = high < 0 ? -1 : g_ascii_xdigit_value(text[1]);
        if (low < 0) {
            error_setg(errp, "the data must be bytes of two hexadecimal "
                       "digits each, not '%s'", text);
            return NULL;
        }
        byte = high << 4 | low;
        g_byte_array_append(bytes, &byte, 1);
        text += 2;
    }
    return g_steal_pointer(&bytes);
}

void hmp_memory_debug_write(Monitor *mon, const QDict *qdict)
{
    uint64_t address = qdict_get_int(qdict, "addr");
    g_autoptr(GByteArray) bytes = NULL;
    Error *err = NULL;
    CPUState *cpu;

    bytes = parse_hex(qdict_get_str(qdict, "data"), &err);
    if (bytes && hmp_find_cpu(mon, qdict, &cpu, &err)) {
        write_bytes(address, bytes->data, bytes->len, cpu, &err);
    }
    hmp_handle_error(mon, err);
}

/* The guest must not get to write to the user's terminal as it likes */
void hmp_info_vmcoreinfo(Monitor *mon, const QDict *qdict)
{
    VmcoreinfoGuest guest;
    Error *err = NULL;

    if (!vmcoreinfo_guest_read(&guest, &err)) {
        hmp_handle_error(mon, err);
        return;
    }
    monitor_printf(mon, "%" PRIu32 " bytes at physical address 0x%"
                   HWADDR_PRIx ":\n", guest.size, guest.addr);
    for (size_t i = 0; i < guest.text.len; i++) {
        char c = guest.text.text[i];

        monitor_printf(mon, "%c", c == '\n' || qemu_isprint(c) ? c : '.');
    }
    g_free(guest.note);
}
