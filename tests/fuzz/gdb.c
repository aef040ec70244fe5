/*
 * Fuzz target: gdb's packets about memory, through the whole gdbstub
 * FUZZ SOURCES: gdbstub/gdbstub.c gdbstub/system.c
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "accel/accel-cpu-ops.h"
#include "accel/accel-ops.h"
#include "chardev/char.h"
#include "chardev/char-fe.h"
#include "exec/gdbstub.h"
#include "gdbstub/enums.h"
#include "gdbstub/internals.h"
#include "hw/core/cpu.h"
#include "hw/cpu/cluster.h"
#include "monitor/monitor.h"
#include "qapi/error.h"
#include "qapi/qapi-types-qom.h"
#include "qemu/error-report.h"
#include "system/address-spaces.h"
#include "system/cpus.h"
#include "system/memory.h"
#include "system/memory-debug.h"
#include "system/replay.h"
#include "system/runstate.h"
#include "semihosting/semihost.h"
#include "fuzz.h"

/* What differs between QEMU 10.2 and 11; the names are those of 11 */
#if QEMU_VERSION_MAJOR >= 11
#include "hw/core/boards.h"
typedef const AddressSpace ConstAddressSpace;
typedef unsigned StepFlags;
#else
#include "hw/boards.h"
typedef AddressSpace ConstAddressSpace;
typedef int StepFlags;
typedef int GdbBreakpointType;
#define insert_gdbstub_breakpoint insert_breakpoint
#define remove_gdbstub_breakpoint remove_breakpoint
#endif

/*
 * Guest memory: a few pages, virtual addresses begin at VIRTUAL.  The last
 * page cannot be read or written; what was read before that must not be shown.
 */
#define PAGE        4096
#define SIZE        (3 * PAGE)
#define BAD         (2 * PAGE)
#define PHYSICAL    0x123000
#define VIRTUAL     0xffffffff81000000ULL
#define POISON      0xd9

static uint8_t memory[SIZE];
static CPUState *vcpu;
static bool running, ended, registers_protected;
static MemoryDebugAccess access_allowed = MEMORY_DEBUG_ACCESS_READ_WRITE;
static bool policy_forbids;
static GString *output;
static int breakpoints;         /* inserted since the last packet */

/*
 * The debug access layer
 */

static bool allowed(bool is_write, Error **errp)
{
    if (policy_forbids || access_allowed == MEMORY_DEBUG_ACCESS_NONE ||
        (is_write && access_allowed == MEMORY_DEBUG_ACCESS_READ_ONLY)) {
        error_setg(errp, "forbidden");
        return false;
    }
    return true;
}

static MemTxResult rw(uint64_t base, uint64_t addr, uint8_t *buf, uint64_t len,
                      bool is_write, Error **errp)
{
    uint64_t offset = addr - base, i;

    /* The sanitizer looks at what the caller says is there */
    if (!is_write) {
        memset(buf, POISON, len);
    }
    if (!len) {
        return MEMTX_OK;
    }
    if (!allowed(is_write, errp)) {
        return MEMTX_ACCESS_ERROR;
    }
    for (i = 0; i < len; i++) {
        if (offset + i >= SIZE) {
            error_setg(errp, "nothing at 0x%" PRIx64, addr + i);
            return MEMTX_DECODE_ERROR;
        }
        if (offset + i >= BAD) {
            error_setg(errp, "unreadable: 0x%" PRIx64, addr + i);
            return MEMTX_ERROR;
        }
        if (is_write) {
            memory[offset + i] = buf[i];
        } else {
            buf[i] = memory[offset + i];
        }
    }
    return MEMTX_OK;
}

MemTxResult cpu_physical_memory_rw_debug(hwaddr addr, void *buf, hwaddr len,
                                         bool is_write,
                                         MemoryDebugScope *scope,
                                         Error **errp)
{
    return rw(PHYSICAL, addr, buf, len, is_write, errp);
}

MemTxResult memory_debug_rw_virtual(CPUState *cpu, vaddr addr, void *buf,
                                    size_t len, bool is_write,
                                    MemoryDebugScope *scope, Error **errp)
{
    CHECK(cpu == vcpu);
    return rw(VIRTUAL, addr, buf, len, is_write, errp);
}

/* Of normal guests only */
AddressSpace address_space_memory;

MemTxResult address_space_rw(ConstAddressSpace *as, hwaddr addr,
                             MemTxAttrs attrs, void *buf, hwaddr len,
                             bool is_write)
{
    g_assert_not_reached();
}

int cpu_memory_rw_debug(CPUState *cpu, vaddr addr, void *ptr, size_t len,
                        bool is_write)
{
    g_assert_not_reached();
}

void memory_debug_scope_begin(MemoryDebugScope *scope)
{
    *scope = (MemoryDebugScope) {};
}

void memory_debug_scope_end(MemoryDebugScope *scope)
{
}

bool memory_debug_check(bool is_write, Error **errp)
{
    return allowed(is_write, errp);
}

ConfidentialGuestSupport *memory_debug_guest(void)
{
    return (void *)vcpu;        /* there is one; nobody looks into it */
}

void memory_debug_new_view(void)
{
}

bool memory_debug_registers_protected(void)
{
    return registers_protected;
}

/*
 * The rest of QEMU
 */

int error_vprintf(const char *fmt, va_list ap)
{
    g_autofree char *text = g_strdup_vprintf(fmt, ap);

    return strlen(text);        /* nobody reads it */
}

static Chardev chardev;
static IOReadHandler *receive;
static IOEventHandler *event;
static VMChangeStateHandler *state_changed;
static MachineState machine = { .smp.max_cpus = 1 };
CPUTailQ cpus_queue = QTAILQ_HEAD_INITIALIZER(cpus_queue);
const GDBFeature gdb_static_features[] = { {} };
ReplayMode replay_mode;

static int add_breakpoint(CPUState *cpu, GdbBreakpointType type, vaddr addr,
                          vaddr len)
{
    CHECK(type != GDB_BREAKPOINT_SW || allowed(true, NULL));
    CHECK(!registers_protected);
    breakpoints++;
    return type <= GDB_WATCHPOINT_ACCESS ? 0 : -ENOSYS;
}

static int drop_breakpoint(CPUState *cpu, GdbBreakpointType type, vaddr addr,
                           vaddr len)
{
    return addr & 1 ? 0 : -ENOENT;
}

#define STEP_FLAGS  (SSTEP_ENABLE | SSTEP_NOIRQ | SSTEP_NOTIMER)

#if QEMU_VERSION_MAJOR >= 11
AccelState *current_accel(void)
{
    static AccelState accel = { .gdbstub.sstep_flags = STEP_FLAGS };

    return &accel;
}

bool accel_supports_guest_debug(AccelState *accel)
{
    return true;
}
#else
static bool supports_guest_debug(void)
{
    return true;
}

int accel_supported_gdbstub_sstep_flags(void)
{
    return STEP_FLAGS;
}
#endif

const AccelOpsClass *cpus_get_accel(void)
{
    static AccelOpsClass ops = {
#if QEMU_VERSION_MAJOR < 11
        .supports_guest_debug = supports_guest_debug,
#endif
        .insert_gdbstub_breakpoint = add_breakpoint,
        .remove_gdbstub_breakpoint = drop_breakpoint,
    };

    return &ops;
}

static void set_pc(CPUState *cpu, vaddr value)
{
    CHECK(!registers_protected);
}

static int read_register(CPUState *cpu, GByteArray *buf, int reg)
{
    static const uint8_t value[8] = { 0x5e, 0xc5, 0xe7 };

    g_byte_array_append(buf, value, sizeof(value));
    return sizeof(value);
}

static int write_register(CPUState *cpu, uint8_t *buf, int reg)
{
    CHECK(!registers_protected);
    return 8;
}

Chardev *qemu_chr_new_noreplay(const char *label, const char *filename,
                               bool permit_mux_mon, GMainContext *context)
{
    return &chardev;
}

Chardev *qemu_chardev_new(const char *id, const char *name,
                          ChardevBackend *backend, GMainContext *context,
                          Error **errp)
{
    return &chardev;
}

bool qemu_chr_fe_init(CharFrontend *b, Chardev *s, Error **errp)
{
    return true;
}

void qemu_chr_fe_deinit(CharFrontend *b, bool del)
{
}

void qemu_chr_fe_set_handlers(CharFrontend *b, IOCanReadHandler *can_read,
                              IOReadHandler *read, IOEventHandler *fd_event,
                              BackendChangeHandler *change, void *opaque,
                              GMainContext *context, bool set_open)
{
    receive = read;
    event = fd_event;
}

int qemu_chr_fe_write_all(CharFrontend *be, const uint8_t *buf, int len)
{
    g_string_append_len(output, (const char *)buf, len);
    return len;
}

/* A monitor command of gdb's user */
void qemu_chr_be_write(Chardev *s, const uint8_t *buf, int len)
{
    CHECK(len > 0 && !buf[len - 1]);
}

#if QEMU_VERSION_MAJOR >= 11
void monitor_new_hmp(const char *id, const char *chardev_id,
                     bool use_readline, Error **errp)
{
}
#else
void monitor_init_hmp(Chardev *chr, bool use_readline, Error **errp)
{
}
#endif

VMChangeStateEntry *qemu_add_vm_change_state_handler(VMChangeStateHandler *cb,
                                                     void *opaque)
{
    state_changed = cb;
    return NULL;
}

int vm_stop(RunState state)
{
    if (running) {
        running = false;
        state_changed(NULL, false, state);
    }
    return 0;
}

void vm_start(void)
{
    running = true;
}

int vm_prepare_start(bool step_pending)
{
    CHECK(!step_pending || !registers_protected);
    running = true;
    return 0;
}

bool runstate_is_running(void)
{
    return running;
}

bool runstate_needs_reset(void)
{
    return false;
}

void qemu_system_shutdown_request_with_code(ShutdownCause reason, int code)
{
    ended = true;
}

void cpu_single_step(CPUState *cpu, StepFlags flags)
{
    CHECK(!flags || !registers_protected);
}

void cpu_resume(CPUState *cpu)
{
}

void qemu_cpu_kick(CPUState *cpu)
{
}

void qemu_clock_enable(QEMUClockType type, bool enabled)
{
}

void cpu_synchronize_state(CPUState *cpu)
{
}

Object *qdev_get_machine(void)
{
    return OBJECT(&machine);
}

Object *object_get_root(void)
{
    return NULL;
}

int object_child_foreach(Object *obj, int (*fn)(Object *child, void *opaque),
                         void *opaque)
{
    return 0;
}

Object *object_dynamic_cast(Object *obj, const char *name)
{
    return NULL;
}

Object *object_dynamic_cast_assert(Object *obj, const char *name,
                                   const char *file, int line, const char *f)
{
    return obj;
}

ObjectClass *object_class_dynamic_cast_assert(ObjectClass *class,
                                              const char *name,
                                              const char *file, int line,
                                              const char *f)
{
    return class;
}

ObjectClass *object_get_class(Object *obj)
{
    return NULL;
}

const char *object_get_typename(const Object *obj)
{
    return "a-cpu";
}

const char *object_class_get_name(ObjectClass *class)
{
    return "a-cpu";
}

const char *object_get_canonical_path_component(const Object *obj)
{
    return "cpu0";
}

Type type_register_static(const TypeInfo *info)
{
    return NULL;
}

const char *target_name(void)
{
    return "x86_64";
}

void replay_gdb_attached(void)
{
}

bool replay_reverse_step(void)
{
    return false;
}

bool replay_reverse_continue(void)
{
    return false;
}

bool gdb_handled_syscall(void)
{
    return false;
}

void gdb_disable_syscalls(void)
{
}

void gdb_syscall_reset(void)
{
}

void gdb_handle_file_io(GArray *params, void *user_ctx)
{
}

/*
 * A session
 */

static void start(void)
{
    static CPUClass class = {
        .gdb_num_core_regs = 4,
        .gdb_read_register = read_register,
        .gdb_write_register = write_register,
        .set_pc = set_pc,
    };

    output = g_string_new(NULL);
    vcpu = g_new0(CPUState, 1);
    vcpu->cc = &class;
    vcpu->cluster_index = UNASSIGNED_CLUSTER_INDEX;
    vcpu->gdb_num_regs = vcpu->gdb_num_g_regs = class.gdb_num_core_regs;
    vcpu->gdb_regs = g_array_new(FALSE, FALSE, 64);
    QTAILQ_INSERT_TAIL(&cpus_queue, vcpu, node);
    gdbserver_start("fuzz", &error_abort);
}

static void send_bytes(const void *data, size_t size)
{
    receive(NULL, data, size);
}

/* Send a packet and return the reply's payload; NULL if there is none */
static char *ask(const char *text, size_t len)
{
    g_autoptr(GString) packet = g_string_new("+$");
    char digits[3], *end;
    uint8_t sum = 0;

    for (size_t i = 0; i < len; i++) {
        sum += text[i];
    }
    g_string_append_len(packet, text, len);
    g_string_append_printf(packet, "#%02x", sum);
    g_string_truncate(output, 0);
    breakpoints = 0;
    send_bytes(packet->str, packet->len);

    CHECK(output->len && output->str[0] == '+');    /* it was received well */
    if (output->len == 1) {
        return NULL;
    }
    CHECK(output->str[1] == '$');
    end = memchr(output->str + 2, '#', output->len - 2);
    CHECK(end && end + 3 == output->str + output->len);
    sum = 0;
    for (char *p = output->str + 2; p < end; p++) {
        sum += *p;
    }
    snprintf(digits, sizeof(digits), "%02x", sum);
    CHECK(!strcmp(end + 1, digits));
    return g_strndup(output->str + 2, end - output->str - 2);
}

static char *ask_text(const char *text)
{
    return ask(text, strlen(text));
}

/* An address around one of the interesting ones */
static uint64_t take_address(FuzzInput *in, uint64_t base)
{
    uint64_t where = fuzz_take(in, 1);

    switch (where & 3) {
    case 0:
        return fuzz_take(in, 8);
    case 1:
        return base - 8 + (where >> 2);
    case 2:
        return base + BAD - 32 + (where >> 2);
    default:
        return base + fuzz_take(in, 2) % SIZE;
    }
}

/* Is all of it there, and may it be accessed? */
static bool is_accessible(uint64_t offset, uint64_t len, bool is_write)
{
    return !len || (allowed(is_write, NULL) && offset < BAD &&
                    len <= BAD - offset);
}

static void check_read(FuzzInput *in, uint64_t base)
{
    uint64_t addr = take_address(in, base), len = fuzz_take(in, 2);
    g_autofree char *packet = g_strdup_printf("m%" PRIx64 ",%" PRIx64, addr,
                                              len);
    g_autofree char *reply = ask_text(packet);

    CHECK(reply);
    if (!is_accessible(addr - base, len, false)) {
        CHECK(!strcmp(reply, "E14"));
        return;
    }
    CHECK(strlen(reply) == 2 * len);
    for (uint64_t i = 0; i < len; i++) {
        char digits[3];

        snprintf(digits, sizeof(digits), "%02x", memory[addr - base + i]);
        CHECK(!memcmp(reply + 2 * i, digits, 2));
    }
}

static void check_write(FuzzInput *in, uint64_t base)
{
    static uint8_t wanted[SIZE];
    uint64_t addr = take_address(in, base), len = fuzz_take(in, 1);
    uint64_t given = len + (fuzz_take(in, 1) ? 0 : 1);
    uint8_t value = fuzz_take(in, 1);
    g_autoptr(GString) packet = g_string_new(NULL);
    g_autofree char *reply = NULL;
    bool ok = is_accessible(addr - base, len, true);

    memcpy(wanted, memory, SIZE);
    g_string_printf(packet, "M%" PRIx64 ",%" PRIx64 ":", addr, given);
    for (uint64_t i = 0; i < len; i++) {
        g_string_append_printf(packet, "%02x", value);
    }
    reply = ask_text(packet->str);
    CHECK(reply);
    if (given > len || !len) {
        CHECK(reply[0] == 'E' || !given);   /* without data, or too little */
    } else {
        CHECK(!strcmp(reply, ok ? "OK" : "E14"));
        if (ok) {
            memset(wanted + (addr - base), value, len);
        }
    }
    /* What failed may have written the bytes before the bad one */
    if (ok || !allowed(true, NULL) || given > len) {
        CHECK(!memcmp(memory, wanted, SIZE));
    }
}

static void check_breakpoint(FuzzInput *in, uint64_t base)
{
    uint8_t type = fuzz_take(in, 1) % 6;
    g_autofree char *packet = g_strdup_printf(
        "Z%d,%" PRIx64 ",%" PRIx64, type, take_address(in, base),
        fuzz_take(in, 1));
    g_autofree char *reply = ask_text(packet);

    CHECK(reply && breakpoints == (!registers_protected &&
                                   (type || allowed(true, NULL))));
    CHECK(!strcmp(reply, !breakpoints ? "E22" : type <= 4 ? "OK" : ""));
    g_free(reply);
    packet[0] = 'z';
    reply = ask_text(packet);
    CHECK(reply);
}

/* Text that is a packet, or nearly so */
static void check_any_packet(FuzzInput *in)
{
    static const char kinds[] = "mMXZzqQHv?gGpPTsc";
    size_t len = fuzz_take(in, 1);
    g_autofree char *packet = g_malloc(len + 1);
    g_autofree char *reply = NULL;

    packet[0] = kinds[fuzz_take(in, 1) % strlen(kinds)];
    for (size_t i = 1; i <= len; i++) {
        packet[i] = fuzz_take(in, 1);
        /* These have a meaning for the frame */
        if (!packet[i] || strchr("$#}*+-", packet[i])) {
            packet[i] = ',';
        }
    }
    reply = ask(packet, len + 1);
    if (reply && !allowed(false, NULL)) {
        CHECK(!strstr(reply, "d9d9d9"));
    }
}

/* Bytes that need not be in a frame */
static void check_noise(FuzzInput *in)
{
    size_t len = MIN(fuzz_take(in, 1), in->left);

    /* without what ends the process, or talks to somebody else */
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = fuzz_take(in, 1);

        if (!strchr("kDRbF", byte) || !byte) {
            send_bytes(&byte, 1);
        }
    }
    /* Whatever it was waiting for, now it waits for a packet */
    gdbserver_state.state = RS_IDLE;
    g_byte_array_set_size(gdbserver_state.last_packet, 0);
}

static uint64_t set_mode(bool physical)
{
    g_autofree char *reply = ask_text(physical ? "Qqemu.PhyMemMode:1" :
                                                 "Qqemu.PhyMemMode:0");
    g_autofree char *mode = NULL;

    CHECK(!strcmp(reply, "OK"));
    mode = ask_text("qqemu.PhyMemMode");
    CHECK(!strcmp(mode, physical ? "1" : "0"));
    return physical ? PHYSICAL : VIRTUAL;
}

static void check_one(FuzzInput *in)
{
    uint8_t what = fuzz_take(in, 1);
    uint64_t base = set_mode(what & 0x80);

    switch (what & 7) {
    case 0:
    case 1:
        check_read(in, base);
        break;
    case 2:
    case 3:
        check_write(in, base);
        break;
    case 4:
        check_breakpoint(in, base);
        break;
    case 5:
        check_noise(in);
        break;
    default:
        check_any_packet(in);
        break;
    }
    running = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = { data, size };
    uint8_t how;

    if (!vcpu) {
        start();
    }
    how = fuzz_take(&in, 1);
    access_allowed = MEMORY_DEBUG_ACCESS_READ_WRITE - how % 3;
    policy_forbids = how & 4;
    registers_protected = how & 8;
    for (int i = 0; i < SIZE; i++) {
        memory[i] = i + i / 256 + 1;
    }
    event(&gdbserver_state, CHR_EVENT_OPENED);
    while (in.left && !ended) {
        check_one(&in);
    }
    ended = false;
    return 0;
}
