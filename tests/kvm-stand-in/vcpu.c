/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vCPU ioctls: KVM_RUN and its exits, and registers that are out of reach. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "standin.h"

#define MSR_AMD64_SEV   0xc0010131
#define SEV_ACTIVE      1

/* ---- entering and leaving ---- */

static bool any_running(void)
{
    unsigned i;

    for (i = 0; i < vm.nr_vcpus; i++) {
        if (vm.vcpus[i].running) {
            return true;
        }
    }
    return false;
}

/* QEMU's own kick: its handler makes KVM_RUN return -EINTR. */
static void kick_running(void)
{
    unsigned i;

    for (i = 0; i < vm.nr_vcpus; i++) {
        if (vm.vcpus[i].running) {
            __atomic_store_n(&vm.vcpus[i].run->immediate_exit, 1,
                             __ATOMIC_RELAXED);
            pthread_kill(vm.vcpus[i].thread, SIGUSR1);
        }
    }
}

void vm_freeze(void)
{
    struct timespec until;

    while (vm.changing) {
        pthread_cond_wait(&vm.changed, &vm.lock);
    }
    vm.changing = true;
    while (any_running()) {
        kick_running();
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 1000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        pthread_cond_timedwait(&vm.changed, &vm.lock, &until);
    }
}

void vm_thaw(void)
{
    vm.changing = false;
    pthread_cond_broadcast(&vm.changed);
}

/* ---- memory accesses that the kernel below could not make ---- */

static bool is_shared_access(uint64_t gpa)
{
    bool bit = gpa & vm.bit;

    return vm.kind == GUEST_TDX ? bit : !bit;
}

static uint8_t *access_memory(const struct slot *s, uint64_t gpa, bool shared)
{
    return shared ? page_raw(s, gpa) : page_private(s, gpa);
}

/* Make the access of an MMIO exit on memory. */
static void do_access(const struct slot *s, struct kvm_run *run)
{
    uint64_t gpa = run->mmio.phys_addr & ~vm.bit;
    bool shared = is_shared_access(run->mmio.phys_addr);
    uint8_t *mem = access_memory(s, gpa, shared);

    if (!run->mmio.is_write) {
        memcpy(run->mmio.data, mem, run->mmio.len);
        return;
    }
    memcpy(mem, run->mmio.data, run->mmio.len);
    if (!shared) {
        slot_private_written(gpa, run->mmio.len);
    }
}

static long memory_fault(struct vcpu *cpu, uint64_t gpa, bool shared)
{
    cpu->saved = *cpu->run;
    cpu->mmio_pending = true;
    cpu->run->exit_reason = KVM_EXIT_MEMORY_FAULT;
    memset(&cpu->run->memory_fault, 0, sizeof(cpu->run->memory_fault));
    cpu->run->memory_fault.flags = shared ? 0 : KVM_MEMORY_EXIT_FLAG_PRIVATE;
    cpu->run->memory_fault.gpa = PAGE_DOWN(gpa);
    cpu->run->memory_fault.size = PAGE;
    log_event("exit MEMORY_FAULT vcpu=%u gpa=0x%lx %s", cpu->index,
              PAGE_DOWN(gpa), shared ? "shared" : "private");
    return -EFAULT;
}

/* Returns true when QEMU must see the exit. */
static bool mmio_exit(struct vcpu *cpu, long *ret)
{
    struct kvm_run *run = cpu->run;
    bool shared = is_shared_access(run->mmio.phys_addr);
    uint64_t gpa = run->mmio.phys_addr & ~vm.bit;
    struct slot *s = slot_at(gpa);

    if (!s || !s->ram ||
        (run->mmio.is_write && (s->flags & KVM_MEM_READONLY))) {
        run->mmio.phys_addr = gpa;
        return true;
    }
    if (page_is_shared(s, gpa) != shared) {
        if (kind_has_memfd()) {
            *ret = memory_fault(cpu, gpa, shared);
            return true;
        }
        log_event("convert gpa=0x%lx %s", PAGE_DOWN(gpa),
                  shared ? "shared" : "private");
        slot_convert(PAGE_DOWN(gpa), PAGE, shared);
    }
    do_access(s, run);
    return false;
}

/* After QEMU converted the page, the access that faulted is made. */
static void finish_fault(struct vcpu *cpu)
{
    struct slot *s;

    if (!cpu->mmio_pending) {
        return;
    }
    cpu->mmio_pending = false;
    cpu->run->exit_reason = cpu->saved.exit_reason;
    cpu->run->mmio = cpu->saved.mmio;
    s = slot_at(cpu->run->mmio.phys_addr & ~vm.bit);
    if (s && s->ram) {
        do_access(s, cpu->run);
    }
}

/*
 * A plain SEV guest may announce how it uses pages, and QEMU does not ask for
 * it. To convert a range at once saves an exit for each page.
 */
static bool hypercall_exit(struct vcpu *cpu)
{
    struct kvm_run *run = cpu->run;

    log_event("exit HYPERCALL vcpu=%u nr=%llu gpa=0x%llx pages=%llu "
              "attr=0x%llx", cpu->index, run->hypercall.nr,
              run->hypercall.args[0], run->hypercall.args[1],
              run->hypercall.args[2]);
    if (!kind_is_sev()) {
        return true;
    }
    run->hypercall.ret =
        slot_convert(run->hypercall.args[0], run->hypercall.args[1] * PAGE,
                     !(run->hypercall.args[2] & KVM_MAP_GPA_RANGE_ENCRYPTED));
    return false;
}

/*
 * A KVM without hardware below may emulate the guest's kernel, and its
 * emulator does not know int3: make it the exit that hardware would give.
 */
static void emulation_exit(struct vcpu *cpu)
{
    struct kvm_run *run = cpu->run;
    struct kvm_regs regs;

    if (run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION ||
        !(run->emulation_failure.flags &
          KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) ||
        run->emulation_failure.insn_bytes[0] != 0xcc ||
        !(cpu->debug_control & KVM_GUESTDBG_USE_SW_BP) ||
        kernel_ioctl(cpu->fd, KVM_GET_REGS, &regs) < 0) {
        return;
    }
    run->exit_reason = KVM_EXIT_DEBUG;
    memset(&run->debug, 0, sizeof(run->debug));
    run->debug.arch.exception = BP_VECTOR;
    run->debug.arch.pc = regs.rip;
}

/* An MSR that the kernel below does not know: only what tells SEV is there. */
static bool msr_exit(struct vcpu *cpu)
{
    struct kvm_run *run = cpu->run;

    if (run->msr.reason != KVM_MSR_EXIT_REASON_UNKNOWN) {
        return true;
    }
    run->msr.error = run->exit_reason == KVM_EXIT_X86_WRMSR ||
                     run->msr.index != MSR_AMD64_SEV;
    run->msr.data = SEV_ACTIVE;
    return false;
}

static void log_debug_exit(const struct vcpu *cpu)
{
    log_event("exit DEBUG vcpu=%u exception=%u pc=0x%llx", cpu->index,
              cpu->run->debug.arch.exception, cpu->run->debug.arch.pc);
}

static bool convert_exit(struct vcpu *cpu, uint32_t value)
{
    struct kvm_run *run = cpu->run;

    memset(&run->hypercall, 0, sizeof(run->hypercall));
    run->exit_reason = KVM_EXIT_HYPERCALL;
    run->hypercall.nr = KVM_HC_MAP_GPA_RANGE;
    run->hypercall.args[0] = (uint64_t)(value & 0x0fffffff) * PAGE;
    run->hypercall.args[1] = cpu->convert_pages ?: 1;
    run->hypercall.args[2] = value >> 28 == 1 ? KVM_MAP_GPA_RANGE_ENCRYPTED : 0;
    cpu->convert_pages = 0;
    return hypercall_exit(cpu);
}

/* payload.S asks for a conversion through ports: make it the hypercall's */
static bool io_exit(struct vcpu *cpu)
{
    struct kvm_run *run = cpu->run;
    uint32_t value;

    if (run->io.direction != KVM_EXIT_IO_OUT || run->io.size != 4) {
        return true;
    }
    memcpy(&value, (uint8_t *)run + run->io.data_offset, 4);
    switch (run->io.port) {
    case CONVERT_PAGES_PORT:
        cpu->convert_pages = value;
        return false;
    case CONVERT_PORT:
        return convert_exit(cpu, value);
    default:
        return true;
    }
}

/*
 * Might QEMU look at guest memory after this exit? Reads start no DMA, nor do
 * the serial port and PCI configuration, which most exits are about.
 */
static bool may_show_memory(const struct vcpu *cpu, long ret)
{
    const struct kvm_run *run = cpu->run;

    if (!ret && run->exit_reason == KVM_EXIT_MMIO) {
        return run->mmio.is_write;
    }
    if (!ret && run->exit_reason == KVM_EXIT_IO) {
        return run->io.direction == KVM_EXIT_IO_OUT &&
               (run->io.port & ~7) != COM1 && (run->io.port & ~7) != PCI_CONFIG;
    }
    return true;
}

static bool run_exit(struct vcpu *cpu, long *ret)
{
    if (!*ret && cpu->run->exit_reason == KVM_EXIT_INTERNAL_ERROR) {
        emulation_exit(cpu);
    }
    if (may_show_memory(cpu, *ret)) {
        slot_sync();
    }
    if (*ret < 0 || vm.kind == GUEST_PLAIN) {
        return true;
    }
    switch (cpu->run->exit_reason) {
    case KVM_EXIT_MMIO:
        return mmio_exit(cpu, ret);
    case KVM_EXIT_HYPERCALL:
        return hypercall_exit(cpu);
    case KVM_EXIT_IO:
        return io_exit(cpu);
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR:
        return msr_exit(cpu);
    case KVM_EXIT_DEBUG:
        log_debug_exit(cpu);
        return true;
    default:
        return true;
    }
}

static void first_run(struct vcpu *cpu)
{
    if (!cpu->ran) {
        cpu->ran = true;
        log_call("KVM_RUN", 0, "vcpu=%u first", cpu->index);
    }
}

static long vcpu_run(struct vcpu *cpu)
{
    bool done;
    long ret;

    pthread_mutex_lock(&vm.lock);
    do {
        while (vm.changing) {
            pthread_cond_wait(&vm.changed, &vm.lock);
        }
        first_run(cpu);
        finish_fault(cpu);
        cpu->thread = pthread_self();
        cpu->running = true;
        pthread_mutex_unlock(&vm.lock);
        ret = vm.scripted ? script_run(cpu->index, cpu->run)
                          : kernel_ioctl(cpu->fd, KVM_RUN, NULL);
        pthread_mutex_lock(&vm.lock);
        cpu->running = false;
        pthread_cond_broadcast(&vm.changed);
        done = run_exit(cpu, &ret);
    } while (!done);
    pthread_mutex_unlock(&vm.lock);
    return ret;
}

/* ---- registers ---- */

static const struct {
    unsigned long request;
    const char *name;
} protected_calls[] = {
    { KVM_GET_REGS, "KVM_GET_REGS" },
    { KVM_SET_REGS, "KVM_SET_REGS" },
    { KVM_GET_SREGS, "KVM_GET_SREGS" },
    { KVM_SET_SREGS, "KVM_SET_SREGS" },
    { KVM_GET_SREGS2, "KVM_GET_SREGS2" },
    { KVM_SET_SREGS2, "KVM_SET_SREGS2" },
    { KVM_GET_DEBUGREGS, "KVM_GET_DEBUGREGS" },
    { KVM_SET_DEBUGREGS, "KVM_SET_DEBUGREGS" },
    { KVM_SET_GUEST_DEBUG, "KVM_SET_GUEST_DEBUG" },
    { KVM_GET_XSAVE, "KVM_GET_XSAVE" },
    { KVM_GET_XSAVE2, "KVM_GET_XSAVE2" },
    { KVM_SET_XSAVE, "KVM_SET_XSAVE" },
};

static const char *protected_name(unsigned long request)
{
    unsigned i;

    for (i = 0; i < sizeof(protected_calls) / sizeof(*protected_calls); i++) {
        if (protected_calls[i].request == request) {
            return protected_calls[i].name;
        }
    }
    return NULL;
}

/* The unit of a TD's TSC: TD_PARAMS.TSC_FREQUENCY, TDX module ABI */
#define TDX_TSC_UNIT_KHZ    25000

static long locked_vcpu_ioctl(struct vcpu *cpu, unsigned long request,
                              void *arg)
{
    const char *name = protected_name(request);
    long ret;

    if (name && vm.protected_state) {
        log_call(name, -EINVAL, "vcpu=%u protected", cpu->index);
        return -EINVAL;
    }
    if (request == KVM_MEMORY_ENCRYPT_OP) {
        return vm.kind == GUEST_TDX ? tdx_vcpu_command(arg) : -ENOTTY;
    }
    if (request == KVM_SET_CPUID2) {
        cpuid_adjust(arg);
    }
    if (name) {
        struct fault fault = fault_check(name, cpu->index, 1);

        if (fault.err) {
            log_call(name, -fault.err, "vcpu=%u", cpu->index);
            return -fault.err;
        }
    }
    ret = kernel_ioctl(cpu->fd, request, arg);
    if (request == KVM_GET_TSC_KHZ && vm.kind == GUEST_TDX && ret > 0) {
        return ret - ret % TDX_TSC_UNIT_KHZ;
    }
    if (request == KVM_SET_GUEST_DEBUG && !ret) {
        cpu->debug_control = ((struct kvm_guest_debug *)arg)->control;
        log_call(name, ret, "vcpu=%u control=0x%x", cpu->index,
                 cpu->debug_control);
    } else if (name && vm.kind == GUEST_TDX && vm.state == STATE_RUNNING) {
        log_call(name, ret, "vcpu=%u TD", cpu->index);
    }
    return ret;
}

long vcpu_ioctl(struct vcpu *cpu, unsigned long request, void *arg)
{
    long ret;

    if (request == KVM_RUN) {
        return vcpu_run(cpu);
    }
    pthread_mutex_lock(&vm.lock);
    ret = locked_vcpu_ioctl(cpu, request, arg);
    pthread_mutex_unlock(&vm.lock);
    return ret;
}
