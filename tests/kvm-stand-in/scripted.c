/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A KVM with nothing below it: what QEMU asks of /dev/kvm on its way to
 * running a guest. Registers are kept as they are set; the guest is script.c.
 */
#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "standin.h"

#define VCPU_MMAP_SIZE  (3 * PAGE)
#define MCE_CAP         0x1000100       /* MCG_CTL_P, MCG_SER_P */
/* Intel SDM volume 1, 13.1 and 18.2: state components and CPUID leaf 7 */
#define XCR0_AMX        (3 << 17)       /* XTILECFG, XTILEDATA */
#define CPUID_7_EDX_AMX (1 << 22 | 1 << 24 | 1 << 25)
#define CPUID_7_ECX_SHSTK (1 << 7)
#define CPUID_7_EDX_IBT (1 << 20)

/* State that is only stored: what SET wrote, GET reads. */
struct vcpu_state {
    struct script_regs r;
    struct kvm_xcrs xcrs;
    struct kvm_xsave xsave;
    struct kvm_lapic_state lapic;
    struct kvm_mp_state mp_state;
    struct kvm_vcpu_events events;
    struct kvm_cpuid2 *cpuid;
};
static struct vcpu_state *states[MAX_VCPUS];

struct script_regs *script_regs(unsigned index)
{
    return &states[index]->r;
}

/* ---- the system ---- */

static long capability(long cap)
{
    switch (cap) {
    case KVM_CAP_IRQ_ROUTING:
        return 4096;
    case KVM_CAP_NR_VCPUS:
    case KVM_CAP_MAX_VCPUS:
    case KVM_CAP_MAX_VCPU_ID:
        return MAX_VCPUS;
    case KVM_CAP_MCE:
        return 32;
    case KVM_CAP_SET_GUEST_DEBUG2:
        return KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP |
               KVM_GUESTDBG_USE_SW_BP | KVM_GUESTDBG_USE_HW_BP;
    case KVM_CAP_IRQCHIP:
    case KVM_CAP_HLT:
    case KVM_CAP_USER_MEMORY:
    case KVM_CAP_DESTROY_MEMORY_REGION_WORKS:
    case KVM_CAP_JOIN_MEMORY_REGIONS_WORKS:
    case KVM_CAP_SYNC_MMU:
    case KVM_CAP_SET_TSS_ADDR:
    case KVM_CAP_EXT_CPUID:
    case KVM_CAP_MP_STATE:
    case KVM_CAP_SIGNAL_MSI:
    case KVM_CAP_DEBUGREGS:
    case KVM_CAP_XSAVE:
    case KVM_CAP_XCRS:
    case KVM_CAP_VCPU_EVENTS:
    case KVM_CAP_X86_ROBUST_SINGLESTEP:
    case KVM_CAP_ADJUST_CLOCK:
    case KVM_CAP_SET_IDENTITY_MAP_ADDR:
    case KVM_CAP_INTERNAL_ERROR_DATA:
    case KVM_CAP_IOEVENTFD:
    case KVM_CAP_IOEVENTFD_ANY_LENGTH:
    case KVM_CAP_IRQFD:
    case KVM_CAP_IMMEDIATE_EXIT:
    case KVM_CAP_SET_GUEST_DEBUG:
    case KVM_CAP_SPLIT_IRQCHIP:
    case KVM_CAP_PIT2:
    case KVM_CAP_PIT_STATE2:
    case KVM_CAP_TSC_DEADLINE_TIMER:
    case KVM_CAP_EXCEPTION_PAYLOAD:
    case KVM_CAP_X2APIC_API:
    case KVM_CAP_READONLY_MEM:
        return 1;
    default:
        return 0;
    }
}

/*
 * Without KVM_CAP_XSAVE2 there is no AMX: its state exceeds struct kvm_xsave;
 * without KVM_SET_ONE_REG there are no shadow stacks.
 */
static void remove_features(struct kvm_cpuid_entry2 *e)
{
    if (e->function == 7 && !e->index) {
        e->ecx &= ~CPUID_7_ECX_SHSTK;
        e->edx &= ~(CPUID_7_EDX_AMX | CPUID_7_EDX_IBT);
    }
    if (e->function == 0xd && !e->index) {
        e->eax &= ~XCR0_AMX;
        e->ebx = e->ebx < PAGE ? e->ebx : PAGE;
        e->ecx = e->ecx < PAGE ? e->ecx : PAGE;
    }
}

static void add_leaf(struct kvm_cpuid2 *cpuid, unsigned room, uint32_t leaf,
                     uint32_t index, bool indexed)
{
    struct kvm_cpuid_entry2 *e = &cpuid->entries[cpuid->nent++];

    if (cpuid->nent > room) {
        return;
    }
    memset(e, 0, sizeof(*e));
    e->function = leaf;
    e->index = index;
    e->flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
    __cpuid_count(leaf, index, e->eax, e->ebx, e->ecx, e->edx);
    if (leaf == 1) {
        e->ecx |= 1u << 31 | 1 << 21;           /* hypervisor, x2APIC */
    }
    if (leaf == 0x80000008) {                   /* bits of addresses */
        e->eax = (e->eax & ~0xff00ff) | host_address_bits();
    }
    remove_features(e);
}

/* The host's own leaves; QEMU picks from them what its CPU model has. */
static long supported_cpuid(struct kvm_cpuid2 *cpuid)
{
    unsigned room = cpuid->nent;
    uint32_t leaf;

    cpuid->nent = 0;
    for (leaf = 0; leaf < 7; leaf++) {
        add_leaf(cpuid, room, leaf, 0, false);
    }
    add_leaf(cpuid, room, 7, 0, true);
    add_leaf(cpuid, room, 7, 1, true);
    for (leaf = 0; leaf < 10; leaf++) {
        add_leaf(cpuid, room, 0xd, leaf, true);
    }
    for (leaf = 0x80000000; leaf <= 0x80000008; leaf++) {
        add_leaf(cpuid, room, leaf, 0, false);
    }
    return cpuid->nent > room ? -E2BIG : 0;
}

static long msr_list(struct kvm_msr_list *list)
{
    static const uint32_t msrs[] = {
        0x10, 0x1b, 0x174, 0x175, 0x176, 0x277, 0xc0000081, 0xc0000082,
        0xc0000083, 0xc0000084, 0xc0000102, 0xc0000103,
    };
    unsigned n = sizeof(msrs) / sizeof(*msrs), room = list->nmsrs;

    list->nmsrs = n;
    if (room < n) {
        return -E2BIG;
    }
    memcpy(list->indices, msrs, sizeof(msrs));
    return 0;
}

static long new_fd(const char *name, uint64_t size)
{
    int fd = memfd_create(name, MFD_CLOEXEC);

    if (fd >= 0 && ftruncate(fd, size)) {
        return -errno;
    }
    return fd < 0 ? -errno : fd;
}

static long unknown(const char *where, unsigned long request)
{
    log_event("scripted kernel: no %s ioctl 0x%lx", where, request);
    return -ENOTTY;
}

static long system_call(unsigned long request, void *arg)
{
    switch (request) {
    case KVM_GET_API_VERSION:
        return KVM_API_VERSION;
    case KVM_CHECK_EXTENSION:
        return capability((long)arg);
    case KVM_CREATE_VM:
        return new_fd("scripted VM", PAGE);
    case KVM_GET_VCPU_MMAP_SIZE:
        return VCPU_MMAP_SIZE;
    case KVM_GET_SUPPORTED_CPUID:
        return supported_cpuid(arg);
    case KVM_GET_MSR_INDEX_LIST:
        return msr_list(arg);
    case KVM_X86_GET_MCE_CAP_SUPPORTED:
        *(uint64_t *)arg = MCE_CAP | 32;
        return 0;
    default:
        return unknown("system", request);
    }
}

/* ---- the VM ---- */

static long create_vcpu(void)
{
    if (vm.nr_vcpus < MAX_VCPUS) {
        struct vcpu_state *s = states[vm.nr_vcpus] ?: malloc(sizeof(*s));

        memset(s, 0, sizeof(*s));
        s->r.sregs.cs.selector = 0xf000;
        s->r.sregs.cs.base = 0xffff0000;
        s->r.regs.rip = 0xfff0;
        states[vm.nr_vcpus] = s;
    }
    return new_fd("scripted vCPU", VCPU_MMAP_SIZE);
}

/* Devices in the kernel: none of the scripted guest's business. */
static long device_call(unsigned long request, void *arg)
{
    switch (request) {
    case KVM_GET_IRQCHIP:
    case KVM_GET_CLOCK:
    case KVM_GET_PIT2:
        memset(arg, 0, _IOC_SIZE(request));
        return 0;
    case KVM_IRQ_LINE_STATUS:
    case KVM_IRQ_LINE:
    case KVM_SIGNAL_MSI:
    case KVM_CREATE_IRQCHIP:
    case KVM_SET_IRQCHIP:
    case KVM_SET_GSI_ROUTING:
    case KVM_IRQFD:
    case KVM_IOEVENTFD:
    case KVM_SET_CLOCK:
    case KVM_CREATE_PIT2:
    case KVM_SET_PIT2:
    case KVM_REINJECT_CONTROL:
        return 0;
    default:
        return unknown("VM", request);
    }
}

static long vm_call(unsigned long request, void *arg)
{
    switch (request) {
    case KVM_CHECK_EXTENSION:
        return capability((long)arg);
    case KVM_CREATE_VCPU:
        return create_vcpu();
    case KVM_GET_DIRTY_LOG:             /* the bitmap comes zeroed */
    case KVM_SET_USER_MEMORY_REGION:
    case KVM_ENABLE_CAP:
    case KVM_SET_TSS_ADDR:
    case KVM_SET_IDENTITY_MAP_ADDR:
        return 0;
    default:
        return device_call(request, arg);
    }
}

/* ---- vCPUs ---- */

static void *stored(struct vcpu_state *s, unsigned nr)
{
    switch (nr) {
    case _IOC_NR(KVM_GET_REGS):
    case _IOC_NR(KVM_SET_REGS):
        return &s->r.regs;
    case _IOC_NR(KVM_GET_SREGS):
    case _IOC_NR(KVM_SET_SREGS):
        return &s->r.sregs;
    case _IOC_NR(KVM_GET_DEBUGREGS):
    case _IOC_NR(KVM_SET_DEBUGREGS):
        return &s->r.debugregs;
    case _IOC_NR(KVM_SET_GUEST_DEBUG):
        return &s->r.guest_debug;
    case _IOC_NR(KVM_GET_XCRS):
    case _IOC_NR(KVM_SET_XCRS):
        return &s->xcrs;
    case _IOC_NR(KVM_GET_XSAVE):
    case _IOC_NR(KVM_SET_XSAVE):
        return &s->xsave;
    case _IOC_NR(KVM_GET_LAPIC):
    case _IOC_NR(KVM_SET_LAPIC):
        return &s->lapic;
    case _IOC_NR(KVM_GET_MP_STATE):
    case _IOC_NR(KVM_SET_MP_STATE):
        return &s->mp_state;
    case _IOC_NR(KVM_GET_VCPU_EVENTS):
    case _IOC_NR(KVM_SET_VCPU_EVENTS):
        return &s->events;
    default:
        return NULL;
    }
}

static long get_msrs(struct kvm_msrs *msrs)
{
    for (unsigned i = 0; i < msrs->nmsrs; i++) {
        msrs->entries[i].data = 0;
    }
    return msrs->nmsrs;
}

static size_t cpuid_size(const struct kvm_cpuid2 *cpuid)
{
    return sizeof(*cpuid) + cpuid->nent * sizeof(cpuid->entries[0]);
}

static long set_cpuid(struct vcpu_state *s, const struct kvm_cpuid2 *cpuid)
{
    free(s->cpuid);
    s->cpuid = memcpy(malloc(cpuid_size(cpuid)), cpuid, cpuid_size(cpuid));
    return 0;
}

static long get_cpuid(const struct vcpu_state *s, struct kvm_cpuid2 *cpuid)
{
    if (!s->cpuid || cpuid->nent < s->cpuid->nent) {
        cpuid->nent = s->cpuid ? s->cpuid->nent : 0;
        return -E2BIG;
    }
    memcpy(cpuid, s->cpuid, cpuid_size(s->cpuid));
    return 0;
}

static long vcpu_call(struct vcpu_state *s, unsigned long request, void *arg)
{
    void *state = stored(s, _IOC_NR(request));

    switch (request) {
    case KVM_GET_MSRS:
        return get_msrs(arg);
    case KVM_SET_MSRS:
        return ((struct kvm_msrs *)arg)->nmsrs;
    case KVM_SET_CPUID2:
        return set_cpuid(s, arg);
    case KVM_GET_CPUID2:
        return get_cpuid(s, arg);
    case KVM_GET_STATS_FD:
        return -ENOTTY;         /* as KVM_CAP_BINARY_STATS_FD says */
    case KVM_SET_SIGNAL_MASK:
    case KVM_X86_SETUP_MCE:
    case KVM_TPR_ACCESS_REPORTING:
    case KVM_SET_VAPIC_ADDR:
    case KVM_KVMCLOCK_CTRL:
        return 0;
    }
    if (!state) {
        return unknown("vCPU", request);
    }
    if (_IOC_DIR(request) & _IOC_READ) {
        memcpy(arg, state, _IOC_SIZE(request));
    } else {
        memcpy(state, arg, _IOC_SIZE(request));
    }
    return 0;
}

long scripted_ioctl(int fd, unsigned long request, void *arg)
{
    if (fd == vm.kvm_fd) {
        return system_call(request, arg);
    }
    if (fd == vm.fd) {
        return vm_call(request, arg);
    }
    for (unsigned i = 0; i < vm.nr_vcpus; i++) {
        if (vm.vcpus[i].fd == fd) {
            return vcpu_call(states[i], request, arg);
        }
    }
    return -EBADF;
}
