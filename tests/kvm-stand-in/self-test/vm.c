/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What KVM answers about VMs, vCPUs and guest_memfd */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "self-test.h"

static void guest_memfd_cannot_be_seen(void)
{
    struct guest g = snp_guest(0xb0000);
    uint8_t byte;

    CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, g.memfd, 0) == MAP_FAILED);
    CHECK(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, g.memfd, 0) == MAP_FAILED);
    CHECK(pread(g.memfd, &byte, 1, 0) < 0);
}

static void punching_a_hole_unmaps_the_page(void)
{
    struct guest g = tdx_guest(1);
    uint8_t *buf = bounce();
    uint64_t len = 16;

    CHECK(!fallocate(g.memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                     PAGE));
    CHECK(unified(&g, false, 0, buf, &len) == -ENOENT && len == 0);
}

static void attributes_are_checked(void)
{
    struct guest g = snp_guest(0xb0000), sev;
    struct kvm_memory_attributes a = { .size = PAGE, .attributes = 1 };

    CHECK(call(g.vm, KVM_SET_MEMORY_ATTRIBUTES, &a) == -EINVAL);
    a.attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE;
    a.size = 100;
    CHECK(call(g.vm, KVM_SET_MEMORY_ATTRIBUTES, &a) == -EINVAL);
    sev = open_vm(KVM_X86_DEFAULT_VM);
    CHECK(set_shared(&sev, 0, PAGE, true) == -ENOTTY);
}

static void tdx_debug_needs_the_kernel(void)
{
    struct guest g = open_vm(KVM_X86_TDX_VM);
    struct kvm_tdx_init_vm init = { .attributes = 1 };
    struct kvm_tdx_cmd cmd = {
        .id = KVM_TDX_INIT_VM, .data = (uint64_t)&init,
    };

    CHECK(call(g.vm, KVM_MEMORY_ENCRYPT_OP, &cmd) == -EINVAL);
}

static long registers(const struct guest *g)
{
    struct kvm_regs regs;

    return call(g->vcpu, KVM_GET_REGS, &regs);
}

static void td_registers_are_protected(void)
{
    struct guest g = tdx_guest(0);
    struct kvm_guest_debug debug = { .control = KVM_GUESTDBG_ENABLE };
    struct kvm_sregs sregs;

    CHECK(registers(&g) == -EINVAL);
    CHECK(call(g.vcpu, KVM_GET_SREGS, &sregs) == -EINVAL);
    CHECK(call(g.vcpu, KVM_SET_GUEST_DEBUG, &debug) == -EINVAL);
}

static void debug_td_registers_are_readable(void)
{
    struct guest g = tdx_guest(1);
    struct kvm_sregs sregs;
    struct kvm_regs regs;

    CHECK(!call(g.vcpu, KVM_GET_REGS, &regs) && regs.rip == 0xfff0);
    CHECK(!call(g.vcpu, KVM_GET_SREGS, &sregs));
    CHECK(sregs.cs.base == 0xffff0000);
}

static void sev_device_answers(void)
{
    struct guest g = sev_guest(0);

    /* No command: "does the kernel have SEV?" */
    CHECK(!call(g.vm, KVM_MEMORY_ENCRYPT_OP, NULL));
}

#define CASE(name) { #name, name }
const struct test_case vm_cases[] = {
    CASE(guest_memfd_cannot_be_seen),
    CASE(punching_a_hole_unmaps_the_page),
    CASE(attributes_are_checked),
    CASE(tdx_debug_needs_the_kernel),
    CASE(td_registers_are_protected),
    CASE(debug_td_registers_are_readable),
    CASE(sev_device_answers),
    { NULL, NULL },
};
