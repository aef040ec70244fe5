/* SPDX-License-Identifier: GPL-2.0-or-later */
/* KVM_MEMORY_ENCRYPT_OP of TDX guests, on the VM and on vCPUs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "standin.h"

#define ATTR_DEBUG              (1ULL << 0)
#define ATTR_SEPT_VE_DISABLE    (1ULL << 28)
#define ATTR_PKS                (1ULL << 30)
#define MAX_CPUID               256
/* x87, SSE, AVX, AVX-512, PKRU, CET, AMX */
#define XFAM                    0x61ae7

static uint64_t supported_attributes(void)
{
    return ATTR_SEPT_VE_DISABLE | ATTR_PKS |
           (config.tdx_debug ? ATTR_DEBUG : 0);
}

static struct kvm_cpuid2 *cpuid_alloc(void)
{
    struct kvm_cpuid2 *cpuid =
        calloc(1, sizeof(*cpuid) + MAX_CPUID * sizeof(cpuid->entries[0]));

    cpuid->nent = MAX_CPUID;
    return cpuid;
}

/* Copy @cpuid to QEMU's structure at @uaddr if it has room. */
static long write_cpuid(uint64_t uaddr, const struct kvm_cpuid2 *cpuid)
{
    uint64_t entries = uaddr + offsetof(struct kvm_cpuid2, entries);
    uint32_t room;

    if (user_read(&room, uaddr, sizeof(room)) ||
        user_write(uaddr, &cpuid->nent, sizeof(cpuid->nent))) {
        return -EFAULT;
    }
    if (room < cpuid->nent) {
        return -E2BIG;
    }
    return user_write(entries, cpuid->entries,
                      cpuid->nent * sizeof(cpuid->entries[0]));
}

/* Every bit that the kernel below supports is configurable. */
static long capabilities(struct kvm_tdx_cmd *cmd)
{
    struct kvm_tdx_capabilities caps = {
        .supported_attrs = supported_attributes(), .supported_xfam = XFAM,
    };
    struct kvm_cpuid2 *cpuid = cpuid_alloc();
    size_t fixed = offsetof(struct kvm_tdx_capabilities, cpuid);
    long ret;

    if (vm.state != STATE_UNINIT) {
        ret = -EINVAL;
    } else {
        ret = kernel_ioctl(vm.kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid);
    }
    if (!ret) {
        ret = user_write(cmd->data, &caps, fixed) ?:
              write_cpuid(cmd->data + fixed, cpuid);
    }
    free(cpuid);
    return ret;
}

static long init_vm(struct kvm_tdx_cmd *cmd)
{
    struct kvm_tdx_init_vm init;
    struct kvm_cpuid2 *cpuid;

    if (user_read(&init, cmd->data, sizeof(init))) {
        return -EFAULT;
    }
    if (vm.state != STATE_UNINIT || vm.nr_vcpus ||
        (init.attributes & ~supported_attributes()) || (init.xfam & ~XFAM) ||
        init.cpuid.nent > MAX_CPUID) {
        return -EINVAL;
    }
    cpuid = cpuid_alloc();
    cpuid->nent = init.cpuid.nent;
    if (user_read(cpuid->entries, cmd->data + sizeof(init),
                  cpuid->nent * sizeof(cpuid->entries[0]))) {
        free(cpuid);
        return -EFAULT;
    }
    vm.tdx_cpuid = cpuid;
    vm.policy = init.attributes;
    vm.state = STATE_LAUNCH;
    vm.protected_state = !(init.attributes & ATTR_DEBUG) ||
                         !config.td_registers;
    log_event("TD attributes=0x%llx xfam=0x%llx", init.attributes, init.xfam);
    return 0;
}

static long finalize_vm(void)
{
    if (vm.state != STATE_LAUNCH) {
        return -EINVAL;
    }
    vm.state = STATE_RUNNING;
    return 0;
}

static long add_page(uint64_t gpa, uint64_t source)
{
    struct slot *s = slot_at(gpa);

    if (!s || !s->ram || page_is_shared(s, gpa)) {
        return -EINVAL;
    }
    return user_read(page_private(s, gpa), source, PAGE);
}

/* Like the kernel's, the call moves its arguments past what it has done. */
static long init_mem_region(struct kvm_tdx_cmd *cmd)
{
    struct kvm_tdx_init_mem_region r;
    long ret = 0;

    if (user_read(&r, cmd->data, sizeof(r))) {
        return -EFAULT;
    }
    if (vm.state != STATE_LAUNCH || PAGE_OFFSET(r.source_addr | r.gpa) ||
        !r.nr_pages) {
        return -EINVAL;
    }
    while (r.nr_pages && !ret) {
        ret = add_page(r.gpa, r.source_addr);
        if (!ret) {
            r.source_addr += PAGE;
            r.gpa += PAGE;
            r.nr_pages--;
        }
    }
    return user_write(cmd->data, &r, sizeof(r)) ?: ret;
}

static long get_cpuid(struct kvm_tdx_cmd *cmd)
{
    return vm.tdx_cpuid ? write_cpuid(cmd->data, vm.tdx_cpuid) : -EINVAL;
}

long tdx_vm_command(struct kvm_tdx_cmd *user_cmd)
{
    const char *name = "KVM_TDX_unknown";
    struct kvm_tdx_cmd cmd;
    long ret = -EINVAL;

    if (user_read(&cmd, (uint64_t)user_cmd, sizeof(cmd))) {
        return -EFAULT;
    }
    if (cmd.hw_error) {
        ret = -EINVAL;
    } else if (cmd.id == KVM_TDX_CAPABILITIES) {
        name = "KVM_TDX_CAPABILITIES";
        ret = capabilities(&cmd);
    } else if (cmd.id == KVM_TDX_INIT_VM) {
        name = "KVM_TDX_INIT_VM";
        ret = init_vm(&cmd);
    } else if (cmd.id == KVM_TDX_FINALIZE_VM) {
        name = "KVM_TDX_FINALIZE_VM";
        ret = finalize_vm();
    }
    log_call(name, ret, "flags=%u", cmd.flags);
    return ret;
}

long tdx_vcpu_command(struct kvm_tdx_cmd *user_cmd)
{
    const char *name = "KVM_TDX_unknown";
    struct kvm_tdx_cmd cmd;
    long ret = -EINVAL;

    if (user_read(&cmd, (uint64_t)user_cmd, sizeof(cmd))) {
        return -EFAULT;
    }
    if (cmd.hw_error) {
        ret = -EINVAL;
    } else if (cmd.id == KVM_TDX_INIT_VCPU) {
        name = "KVM_TDX_INIT_VCPU";
        ret = vm.state == STATE_LAUNCH ? 0 : -EINVAL;
    } else if (cmd.id == KVM_TDX_INIT_MEM_REGION) {
        name = "KVM_TDX_INIT_MEM_REGION";
        ret = init_mem_region(&cmd);
    } else if (cmd.id == KVM_TDX_GET_CPUID) {
        name = "KVM_TDX_GET_CPUID";
        ret = get_cpuid(&cmd);
    }
    log_call(name, ret, "flags=%u data=0x%llx", cmd.flags, cmd.data);
    return ret;
}
