/*
 * KVM: private memory of encrypted guests, for debuggers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef SYSTEM_KVM_MEMORY_DEBUG_H
#define SYSTEM_KVM_MEMORY_DEBUG_H

#include <linux/kvm.h>
#include "system/encrypted-guest.h"
#include "system/memory-debug.h"

/*
 * What a kernel has to offer so that the private memory of a guest can be
 * debugged; docs/specs/kvm-encrypted-guest-memory.rst defines it.  It is not
 * in linux-headers because no released kernel has it, and the number of the
 * capability may change until one has.
 */

/**
 * struct kvm_rw_memory: argument of both ioctls
 *
 * @addr: what to access, a guest-physical address or a host-virtual address
 *     of the caller, as the kind of guest wants it
 * @len: bytes; the kernel stores the number of bytes completed, whatever it
 *     returns
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
 * @addr: the address that goes into kvm_rw_memory
 * @gpa: the guest-physical address of the same byte, for messages
 * @buf: where the plaintext goes to or comes from
 * @len: bytes, with no alignment; one ioctl unless the kernel is interrupted
 *
 * May be called from any thread.  Returns MEMTX_OK, or MEMTX_ERROR with
 * @errp set: then a write may have completed in part.
 */
MemTxResult kvm_encrypted_guest_read_memory(uint64_t addr, hwaddr gpa,
                                            void *buf, hwaddr len,
                                            Error **errp);
MemTxResult kvm_encrypted_guest_write_memory(uint64_t addr, hwaddr gpa,
                                             const void *buf, hwaddr len,
                                             Error **errp);

/**
 * KVMMemoryDebugBackend: one way to private memory
 *
 * @name, @why: see EncryptedGuestClass::backend; @name is NULL where there is
 *     no way, and @why then is the error that each access ends with
 * @ops: for MemoryRegion::ram_debug_ops
 */
typedef struct KVMMemoryDebugBackend {
    const char *name;
    const char *why;
    const MemoryRegionRAMReadWriteOps *ops;
} KVMMemoryDebugBackend;

/* The @ops of a backend without a name: each access fails with its @why */
extern const MemoryRegionRAMReadWriteOps kvm_no_memory_debug_ops;

/* What KVMState::set_mr_debug_ops does where a guest has nothing to add */
void kvm_set_backend_debug_ops(void *handle, MemoryRegion *mr);

/**
 * kvm_memory_debug_init: choose the backend of the VM, once and for all
 *
 * @unified_by_gpa: does the kernel want guest-physical addresses for this
 *     kind of guest, or host-virtual ones?
 * @otherwise: the backend where the kernel lacks the unified ioctls
 * @set_mr_debug_ops: gives a region the ops; kvm_set_backend_debug_ops, or
 *     the guest's own, which uses the backend's
 *
 * Sets KVMState::set_mr_debug_ops.  Called with the BQL held when the
 * confidential guest is initialised, before the machine has RAM.
 */
const KVMMemoryDebugBackend *
kvm_memory_debug_init(bool unified_by_gpa,
                      const KVMMemoryDebugBackend *otherwise,
                      void (*set_mr_debug_ops)(void *handle,
                                               MemoryRegion *mr));

/**
 * kvm_breakpoint_rw_debug: cpu_memory_rw_debug() for software breakpoints
 *
 * Tells QEMU's user why it fails on an encrypted guest, which gdb cannot.
 * Called with the BQL held.
 */
int kvm_breakpoint_rw_debug(CPUState *cpu, vaddr addr, void *buf, size_t len,
                            bool is_write);

/**
 * KVMRegistersCheck: is what KVM said of @cpu's registers the guest's?
 *
 * It has been read into @cpu.  A success of KVM's ioctls is not enough: where
 * KVM cannot read a register, some give what it was reset to, or zero.
 * Returns false with @errp set if it cannot be the guest's.  Called on
 * @cpu's thread with the BQL held.
 */
typedef bool KVMRegistersCheck(CPUState *cpu, Error **errp);

/**
 * kvm_encrypted_guest_ask_for_registers: ask KVM whether it lets the
 * registers of this guest be read although KVMState::guest_state_protected
 *
 * If so, they are ENCRYPTED_GUEST_REGISTERS_PARTIAL until reading them fails
 * for the first time.  Called with the BQL held after the launch, when the
 * vCPUs are stopped.
 */
void kvm_encrypted_guest_ask_for_registers(KVMRegistersCheck *check);

/**
 * kvm_encrypted_guest_get_registers: cpu_synchronize_state() of a guest with
 * KVMState::guest_state_protected
 *
 * Reads what can be read.  QEMU's copy stays a copy: CPUState::vcpu_dirty is
 * not set, as there is no way to put all of it back.  Called with the BQL
 * held, and without memory_debug_lock().
 */
void kvm_encrypted_guest_get_registers(CPUState *cpu);

/**
 * kvm_encrypted_guest_class_init: implement what is the same for all kinds
 * of guest under KVM: @backend, @registers and @attach_ram
 */
void kvm_encrypted_guest_class_init(EncryptedGuestClass *egc);

/**
 * kvm_guest_memfd_page_state: EncryptedGuestClass::page_state of a launched
 * guest whose private pages lie in a guest_memfd
 *
 * Called with memory_debug_lock() held, which kvm_convert_memory() holds
 * while it converts.
 */
EncryptedPageState kvm_guest_memfd_page_state(MemoryRegion *mr, hwaddr offset,
                                              MemTxAttrs attrs, hwaddr *len);

#endif
