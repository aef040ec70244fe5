/*
 * KVM: private memory of confidential guests, for debuggers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef SYSTEM_KVM_MEMORY_DEBUG_H
#define SYSTEM_KVM_MEMORY_DEBUG_H

#include <linux/kvm.h>
#include "system/confidential-guest-support.h"
#include "system/memory-debug.h"

/*
 * The interface that a kernel has to offer so that the private memory of
 * SEV-SNP guests, TDs and software-protected VMs can be debugged; see
 * docs/specs/kvm-encrypted-guest-memory.rst.  It is not in linux-headers
 * because no released kernel has it, and the capability number may change
 * until one does.
 */

/**
 * struct kvm_rw_memory: argument of both ioctls
 *
 * @addr: guest-physical address
 * @len: number of bytes; the kernel stores the number of bytes completed
 * @ubuf: host-virtual address of the caller's buffer
 */
struct kvm_rw_memory {
    __u64 addr;
    __u64 len;
    __u64 ubuf;
};

#define KVM_MEMORY_ENCRYPT_READ_MEMORY  _IOWR(KVMIO, 0xcc, struct kvm_rw_memory)
#define KVM_MEMORY_ENCRYPT_WRITE_MEMORY _IOWR(KVMIO, 0xcd, struct kvm_rw_memory)
#define KVM_CAP_ENCRYPT_MEMORY_DEBUG    300

/**
 * kvm_encrypted_guest_read_memory: KVM_MEMORY_ENCRYPT_READ_MEMORY
 * kvm_encrypted_guest_write_memory: KVM_MEMORY_ENCRYPT_WRITE_MEMORY
 *
 * MemoryRegionRAMReadWriteOps of a launched guest, by @gpa.  One ioctl for
 * any range, unless the kernel is interrupted.
 */
MemTxResult kvm_encrypted_guest_read_memory(MemoryRegion *mr, hwaddr offset,
                                            hwaddr gpa, void *buf, hwaddr len,
                                            Error **errp);
MemTxResult kvm_encrypted_guest_write_memory(MemoryRegion *mr, hwaddr offset,
                                             hwaddr gpa, const void *buf,
                                             hwaddr len, Error **errp);

/**
 * kvm_set_memory_region_debug_ops: @debug_attach_ram of
 * ConfidentialGuestSupportClass for guests that are accessed by these ioctls
 */
void kvm_set_memory_region_debug_ops(ConfidentialGuestSupport *cgs,
                                     MemoryRegion *mr);

/**
 * kvm_describe_memory_debug: fill in the backend of these guests
 */
void kvm_describe_memory_debug(MemoryDebugGuestInfo *info);

/**
 * kvm_debug_registers_protected: @debug_registers_protected of
 * ConfidentialGuestSupportClass for every guest under KVM
 *
 * After the launch of an SEV-ES or SEV-SNP guest, KVM has none of its
 * registers: they are in the encrypted VMSA, and no ioctl decrypts that.
 * KVM_GET_REGS then fails with EINVAL, except for SEV-ES guests of the older
 * VM type (KVM_SEV_ES_INIT): there it returns what QEMU itself set before the
 * launch.  So its success does not mean that the values are the guest's.
 */
bool kvm_debug_registers_protected(ConfidentialGuestSupport *cgs);

/**
 * kvm_guest_memfd_page_state: @debug_page_state of a launched guest whose
 * private pages lie in a guest_memfd
 *
 * Called during a transfer, which kvm_convert_memory() waits for.
 */
ConfidentialGuestPageState
kvm_guest_memfd_page_state(MemoryRegion *mr, hwaddr offset, MemTxAttrs attrs,
                           hwaddr *len);

/**
 * kvm_breakpoint_rw_debug: cpu_memory_rw_debug() for software breakpoints
 *
 * Warns QEMU's user if it fails on a confidential guest, because gdb cannot
 * show the reason.  Called with the BQL held.
 */
int kvm_breakpoint_rw_debug(CPUState *cpu, vaddr addr, void *buf, size_t len,
                            bool is_write);

#endif
