/* SPDX-License-Identifier: GPL-2.0-or-later */
/* System and VM ioctls: what the kernel below lacks or must not see. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "standin.h"

bool policy_allows_debug(void)
{
    switch (vm.kind) {
    case GUEST_SEV:
    case GUEST_SEV_ES:
        return !(vm.policy & 1);                /* NODBG */
    case GUEST_SNP:
        return vm.policy >> 19 & 1;             /* DEBUG */
    case GUEST_TDX:
        return vm.policy & 1;                   /* ATTRIBUTES.DEBUG */
    default:
        return false;
    }
}

/*
 * Capabilities that this kernel has and the one below lacks, or that the
 * stand-in keeps for itself. -1: ask below.
 */
static int own_capability(long cap)
{
    bool memfd = kind_has_memfd();

    switch (cap) {
    case KVM_CAP_VM_TYPES:
        return 1 << KVM_X86_DEFAULT_VM | 1 << KVM_X86_SEV_VM |
               1 << KVM_X86_SEV_ES_VM | 1 << KVM_X86_SNP_VM |
               1 << KVM_X86_TDX_VM;
    case KVM_CAP_MEMORY_ATTRIBUTES:
        return memfd ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0;
    case KVM_CAP_GUEST_MEMFD:
    case KVM_CAP_USER_MEMORY2:
        return memfd;
    case KVM_CAP_EXIT_HYPERCALL:
        return 1 << KVM_HC_MAP_GPA_RANGE;
    case KVM_CAP_X86_APIC_BUS_CYCLES_NS:
        return 1;
    case KVM_CAP_ENCRYPT_MEMORY_DEBUG:
        return config.unified && memfd;
    case KVM_CAP_NR_MEMSLOTS:
        return 509;
    case KVM_CAP_READONLY_MEM:
        return memfd ? 0 : -1;
    /* SMM needs a second address space; PROTECT2 changes KVM_GET_DIRTY_LOG. */
    case KVM_CAP_X86_SMM:
    case KVM_CAP_MULTI_ADDRESS_SPACE:
    case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
    case KVM_CAP_DIRTY_LOG_RING:
    case KVM_CAP_DIRTY_LOG_RING_ACQ_REL:
    case KVM_CAP_PRE_FAULT_MEMORY:
        return 0;
    default:
        return -1;
    }
}

static long check_extension(int fd, void *arg)
{
    int own = own_capability((long)arg);

    if ((long)arg == KVM_CAP_ENCRYPT_MEMORY_DEBUG) {
        log_call("KVM_CHECK_EXTENSION", own, "cap=ENCRYPT_MEMORY_DEBUG");
    }
    return own >= 0 ? own : kernel_ioctl(fd, KVM_CHECK_EXTENSION, arg);
}

static enum guest_kind kind_of_type(long type)
{
    switch (type) {
    case KVM_X86_SEV_VM:
        return GUEST_SEV;
    case KVM_X86_SEV_ES_VM:
        return GUEST_SEV_ES;
    case KVM_X86_SNP_VM:
        return GUEST_SNP;
    case KVM_X86_TDX_VM:
        return GUEST_TDX;
    default:
        return GUEST_PLAIN;         /* a legacy SEV guest: SEV_INIT will tell */
    }
}

static long vcpu_mmap_size(void)
{
    return kernel_ioctl(vm.kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
}

/* There is one VM at a time: QEMU has closed this one, and makes another. */
static void forget_vm(void)
{
    unsigned i;

    for (i = 0; i < vm.nr_vcpus; i++) {
        munmap(vm.vcpus[i].run, vcpu_mmap_size());
    }
    memset(vm.vcpus, 0, sizeof(vm.vcpus));
    vm.nr_vcpus = 0;
    slots_forget();
    ram_forget();
    free(vm.tdx_cpuid);
    vm.tdx_cpuid = NULL;
    vm.policy = 0;
    vm.bit = 0;
    vm.protected_state = false;
    if (vm.scripted) {
        script_restart();
    }
}

static long create_vm(int fd, void *arg)
{
    long ret;

    forget_vm();
    ret = kernel_ioctl(fd, KVM_CREATE_VM, NULL);
    if (ret >= 0) {
        vm.fd = ret;
        vm.kind = kind_of_type((long)arg);
        vm.state = STATE_UNINIT;
        if (vm.kind == GUEST_TDX) {
            vm.bit = 1ULL << (host_address_bits() - 1);
        } else if (vm.kind == GUEST_SNP) {
            vm.bit = 1ULL << config.cbit;
        }
    }
    log_call("KVM_CREATE_VM", ret, "type=%ld", (long)arg);
    return ret;
}

static long sev_vmsa_features(const struct kvm_device_attr *attr)
{
    uint64_t features = 1 << 5;         /* DebugSwap */
    long ret = user_write(attr->addr, &features, sizeof(features));

    log_call("KVM_GET_DEVICE_ATTR", ret, "group=SEV attr=VMSA_FEATURES");
    return ret;
}

long system_ioctl(int fd, unsigned long request, void *arg)
{
    const struct kvm_device_attr *attr = arg;
    long ret;

    switch (request) {
    case KVM_GET_SUPPORTED_CPUID:
        ret = kernel_ioctl(fd, request, arg);
        if (!ret) {
            cpuid_limit_addresses(arg);
        }
        return ret;
    case KVM_CREATE_VM:
        return create_vm(fd, arg);
    case KVM_CHECK_EXTENSION:
        return check_extension(fd, arg);
    case KVM_GET_DEVICE_ATTR:
        if (attr->group == KVM_X86_GRP_SEV &&
            attr->attr == KVM_X86_SEV_VMSA_FEATURES) {
            return sev_vmsa_features(attr);
        }
        return kernel_ioctl(fd, request, arg);
    default:
        return kernel_ioctl(fd, request, arg);
    }
}

static long create_vcpu(void *arg)
{
    long ret = kernel_ioctl(vm.fd, KVM_CREATE_VCPU, arg);
    struct vcpu *cpu = &vm.vcpus[vm.nr_vcpus];

    if (ret >= 0 && vm.nr_vcpus == MAX_VCPUS) {
        ret = -EINVAL;
    }
    if (ret >= 0) {
        cpu->fd = ret;
        cpu->index = vm.nr_vcpus;
        cpu->run = mmap(NULL, vcpu_mmap_size(), PROT_READ | PROT_WRITE,
                        MAP_SHARED, ret, 0);
        vm.nr_vcpus++;
    }
    log_call("KVM_CREATE_VCPU", ret, "id=%ld", (long)arg);
    return ret;
}

static long enable_cap(const struct kvm_enable_cap *cap)
{
    struct kvm_enable_cap below = *cap;
    long ret = 0;

    if (cap->cap == KVM_CAP_X86_USER_SPACE_MSR && kind_is_sev()) {
        /* For MSR_AMD64_SEV, which the kernel below does not know. */
        below.args[0] |= KVM_MSR_EXIT_REASON_UNKNOWN;
    }
    if (cap->cap != KVM_CAP_X86_APIC_BUS_CYCLES_NS) {
        ret = kernel_ioctl(vm.fd, KVM_ENABLE_CAP, &below);
    }
    if (cap->cap == KVM_CAP_EXIT_HYPERCALL) {
        log_call("KVM_ENABLE_CAP", ret, "cap=EXIT_HYPERCALL mask=0x%llx",
                 cap->args[0]);
    } else {
        log_call("KVM_ENABLE_CAP", ret, "cap=%u", cap->cap);
    }
    return ret;
}

static long set_memory_region(const struct kvm_userspace_memory_region *r,
                              bool second)
{
    struct kvm_userspace_memory_region2 region = { .guest_memfd = 0 };
    long ret;

    memcpy(&region, r, second ? sizeof(region) : sizeof(*r));
    ret = slot_set(&region);
    log_call(second ? "KVM_SET_USER_MEMORY_REGION2"
                    : "KVM_SET_USER_MEMORY_REGION", ret,
             "slot=%u gpa=0x%llx size=0x%llx flags=%u", region.slot,
             region.guest_phys_addr, region.memory_size, region.flags);
    return ret;
}

static long set_attributes(const struct kvm_memory_attributes *a)
{
    bool private = a->attributes & KVM_MEMORY_ATTRIBUTE_PRIVATE;
    long ret = 0;

    unified_check_change("KVM_SET_MEMORY_ATTRIBUTES", a->address, a->size);
    if (!kind_has_memfd()) {
        ret = -ENOTTY;
    } else if (a->flags || !a->size || PAGE_OFFSET(a->address | a->size) ||
               (a->attributes & ~KVM_MEMORY_ATTRIBUTE_PRIVATE)) {
        ret = -EINVAL;
    } else {
        ret = slot_convert(a->address, a->size, !private);
    }
    log_call("KVM_SET_MEMORY_ATTRIBUTES", ret, "gpa=0x%llx size=0x%llx %s",
             a->address, a->size, private ? "private" : "shared");
    return ret;
}

static long encrypt_op(void *arg)
{
    if (vm.kind == GUEST_TDX) {
        return arg ? tdx_vm_command(arg) : -EFAULT;
    }
    /* "Does the kernel have SEV?", asked with no command. */
    return arg ? sev_command(arg) : 0;
}

static long region_call(unsigned long request, const struct kvm_enc_region *r)
{
    bool add = request == KVM_MEMORY_ENCRYPT_REG_REGION;
    long ret = add ? ram_register(r->addr, r->size)
                   : ram_unregister(r->addr, r->size);

    log_call(add ? "KVM_MEMORY_ENCRYPT_REG_REGION"
                 : "KVM_MEMORY_ENCRYPT_UNREG_REGION", ret,
             "hva=0x%llx size=0x%llx", r->addr, r->size);
    return ret;
}

static long create_memfd(const struct kvm_create_guest_memfd *memfd)
{
    long ret = ram_create_memfd(memfd->size);

    log_call("KVM_CREATE_GUEST_MEMFD", ret, "size=0x%llx", memfd->size);
    return ret;
}

static long locked_ioctl(unsigned long request, void *arg)
{
    switch (request) {
    case KVM_CREATE_VCPU:
        return create_vcpu(arg);
    case KVM_ENABLE_CAP:
        return enable_cap(arg);
    case KVM_MEMORY_ENCRYPT_OP:
        return encrypt_op(arg);
    case KVM_MEMORY_ENCRYPT_REG_REGION:
    case KVM_MEMORY_ENCRYPT_UNREG_REGION:
        return region_call(request, arg);
    case KVM_SET_USER_MEMORY_REGION:
        return set_memory_region(arg, false);
    case KVM_SET_USER_MEMORY_REGION2:
        return set_memory_region(arg, true);
    case KVM_CREATE_GUEST_MEMFD:
        return create_memfd(arg);
    case KVM_SET_MEMORY_ATTRIBUTES:
        return set_attributes(arg);
    case KVM_GET_DIRTY_LOG:
        return slot_dirty_log(arg);
    case KVM_SET_TSC_KHZ:
        log_call("KVM_SET_TSC_KHZ", 0, "khz=%ld", (long)arg);
        return 0;
    default:
        return kernel_ioctl(vm.fd, request, arg);
    }
}

static bool is_debug_command(unsigned long request, const void *arg)
{
    struct kvm_sev_cmd cmd;

    return request == KVM_MEMORY_ENCRYPT_OP && vm.kind != GUEST_TDX &&
           !user_read(&cmd, (uint64_t)arg, sizeof(cmd)) &&
           (cmd.id == KVM_SEV_DBG_DECRYPT || cmd.id == KVM_SEV_DBG_ENCRYPT);
}

long vm_ioctl(unsigned long request, void *arg)
{
    uint64_t start = debug_clock_us();
    long ret;

    switch (request) {
    case KVM_CHECK_EXTENSION:
        return check_extension(vm.fd, arg);
    case KVM_MEMORY_ENCRYPT_READ_MEMORY:
    case KVM_MEMORY_ENCRYPT_WRITE_MEMORY:
        return unified_ioctl(request, arg);
    }
    pthread_mutex_lock(&vm.lock);
    ret = locked_ioctl(request, arg);
    pthread_mutex_unlock(&vm.lock);
    if (config.latency_us && is_debug_command(request, arg)) {
        debug_latency(start);
    }
    return ret;
}
