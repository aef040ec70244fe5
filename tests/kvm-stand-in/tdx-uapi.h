/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * KVM's interface for TDX, for linux-headers that do not have it yet.
 *
 * Layout and numbers are those of Linux 6.16, whose
 * Documentation/virt/kvm/x86/intel-tdx.rst describes the commands.
 */
#ifndef TDX_UAPI_H
#define TDX_UAPI_H

#include <linux/types.h>
#include <asm/kvm.h>

enum {
    KVM_TDX_CAPABILITIES,
    KVM_TDX_INIT_VM,
    KVM_TDX_INIT_VCPU,
    KVM_TDX_INIT_MEM_REGION,
    KVM_TDX_FINALIZE_VM,
    KVM_TDX_GET_CPUID,
};

struct kvm_tdx_cmd {
    __u32 id, flags;
    __u64 data, hw_error;
};

struct kvm_tdx_capabilities {
    __u64 supported_attrs, supported_xfam, tdvmcallinfo[4], reserved[250];
    struct kvm_cpuid2 cpuid;
};

struct kvm_tdx_init_vm {
    __u64 attributes, xfam, mrconfigid[6], mrowner[6], mrownerconfig[6];
    __u64 reserved[12];
    struct kvm_cpuid2 cpuid;
};

struct kvm_tdx_init_mem_region {
    __u64 source_addr, gpa, nr_pages;
};

#endif
