/*
 * KVM: private memory of confidential guests, for debuggers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/error-report.h"
#include "qapi/error.h"
#include "qapi/qapi-types-memory-debug.h"
#include "system/kvm.h"
#include "system/kvm_int.h"
#include "system/kvm-memory-debug.h"
#include "system/memory.h"
#include "system/ramblock.h"
#include "trace.h"

/* A transfer fails after this many interruptions in a row without progress */
#define MAX_STALLS  16

#define NO_INTERFACE "this kernel has no interface to the private memory of " \
                     "this guest: KVM_MEMORY_ENCRYPT_READ_MEMORY is required"

/* Meaning of the kernel's result; see kvm-encrypted-guest-memory.rst */
static const char *unified_error(int ret)
{
    switch (ret) {
    case -ENOENT:
        return "KVM has no such page of the guest: it has not been touched "
               "or accepted yet";
    case -EIO:
        return "the processor's security firmware or module failed, or the VM "
               "is dead";
    case -EPERM:
        return "the guest's policy or the kernel does not allow debugging";
    case -ENOTTY:
        return "the kernel has no interface to the memory of this kind of "
               "guest";
    case -EFAULT:
        return "the kernel cannot access memory that the transfer needs";
    case -EHWPOISON:
        return "the page has a hardware memory error";
    case -ENOMEM:
        return "the kernel is out of memory";
    case -ETIMEDOUT:
        return "the kernel makes no progress";
    case -EPROTO:
        return "the kernel claims to have done more than it was asked to";
    default:
        return "the kernel refused the access";
    }
}

/* One ioctl; *@len is what it completed */
static int unified_ioctl(bool is_write, hwaddr gpa, void *buf, uint64_t *len)
{
    struct kvm_rw_memory rw = {
        .addr = gpa,
        .len = *len,
        .ubuf = (uintptr_t)buf,
    };
    int ret = kvm_vm_ioctl(kvm_state,
                           is_write ? KVM_MEMORY_ENCRYPT_WRITE_MEMORY :
                                      KVM_MEMORY_ENCRYPT_READ_MEMORY, &rw);

    trace_kvm_encrypted_guest_rw(is_write ? "write" : "read", gpa, *len,
                                 rw.len, ret);
    if (rw.len > *len) {
        return -EPROTO;
    }
    /* An ioctl that failed at once has not stored the length */
    *len = ret < 0 && rw.len == *len ? 0 : rw.len;
    return ret;
}

/* Continue where the kernel was interrupted; *@done is what was completed */
static int unified_transfer(bool is_write, hwaddr gpa, void *buf, hwaddr len,
                            uint64_t *done)
{
    int stalls = 0;

    for (*done = 0; *done < len;) {
        uint64_t part = len - *done;
        int ret = unified_ioctl(is_write, gpa + *done, buf + *done, &part);

        if (ret == -EPROTO) {
            return ret;
        }
        *done += part;
        if (ret < 0 && ret != -EINTR) {
            return ret;
        }
        stalls = part ? 0 : stalls + 1;
        if (stalls >= (ret ? MAX_STALLS : 1)) {
            return -ETIMEDOUT;
        }
    }
    return 0;
}

static MemTxResult unified_access(bool is_write, hwaddr gpa, void *buf,
                                  hwaddr len, Error **errp)
{
    uint64_t done;
    int ret = unified_transfer(is_write, gpa, buf, len, &done);

    if (!ret) {
        return MEMTX_OK;
    }
    error_setg(errp, "%s (at 0x%" HWADDR_PRIx ", KVM_MEMORY_ENCRYPT_%s_MEMORY:"
               " %s)", unified_error(ret), gpa + done,
               is_write ? "WRITE" : "READ", strerror(-ret));
    return ret == -ENOENT ? MEMTX_DECODE_ERROR : MEMTX_ERROR;
}

MemTxResult kvm_encrypted_guest_read_memory(MemoryRegion *mr, hwaddr offset,
                                            hwaddr gpa, void *buf, hwaddr len,
                                            Error **errp)
{
    return unified_access(false, gpa, buf, len, errp);
}

MemTxResult kvm_encrypted_guest_write_memory(MemoryRegion *mr, hwaddr offset,
                                             hwaddr gpa, const void *buf,
                                             hwaddr len, Error **errp)
{
    return unified_access(true, gpa, (void *)buf, len, errp);
}

static const MemoryRegionRAMReadWriteOps unified_ops = {
    .read = kvm_encrypted_guest_read_memory,
    .write = kvm_encrypted_guest_write_memory,
    .by_gpa = true,
    .parallel = true,
};

static MemTxResult no_read(MemoryRegion *mr, hwaddr offset, hwaddr gpa,
                           void *buf, hwaddr len, Error **errp)
{
    error_setg(errp, NO_INTERFACE);
    return MEMTX_ERROR;
}

static MemTxResult no_write(MemoryRegion *mr, hwaddr offset, hwaddr gpa,
                            const void *buf, hwaddr len, Error **errp)
{
    error_setg(errp, NO_INTERFACE);
    return MEMTX_ERROR;
}

static const MemoryRegionRAMReadWriteOps no_ops = {
    .read = no_read,
    .write = no_write,
};

static bool has_unified_ioctls(void)
{
    return kvm_vm_check_extension(kvm_state, KVM_CAP_ENCRYPT_MEMORY_DEBUG) > 0;
}

void kvm_set_memory_region_debug_ops(ConfidentialGuestSupport *cgs,
                                     MemoryRegion *mr)
{
    memory_region_set_ram_debug_ops(mr, has_unified_ioctls() ? &unified_ops :
                                                               &no_ops);
}

void kvm_describe_memory_debug(MemoryDebugGuestInfo *info)
{
    info->has_backend = has_unified_ioctls();
    info->backend = MEMORY_DEBUG_BACKEND_UNIFIED;
    info->backend_reason = g_strdup(info->has_backend ?
        "the kernel has KVM_MEMORY_ENCRYPT_READ_MEMORY" : NO_INTERFACE);
}

bool kvm_debug_registers_protected(ConfidentialGuestSupport *cgs)
{
    return kvm_state->guest_state_protected;
}

/* Is the page at @offset shared?  Reduce *@len to pages of the same state. */
static bool memfd_range_shared(RAMBlock *rb, hwaddr offset, hwaddr *len)
{
    const RamBlockAttributes *attr = rb->attributes;
    size_t page_size = qemu_real_host_page_size();
    unsigned long page = offset / page_size, end;
    bool shared;

    if (rb->guest_memfd < 0) {
        return true;            /* has no private side */
    }
    shared = page < attr->bitmap_size && test_bit(page, attr->bitmap);
    end = shared ? find_next_zero_bit(attr->bitmap, attr->bitmap_size, page) :
                   find_next_bit(attr->bitmap, attr->bitmap_size, page);
    if (shared || end < attr->bitmap_size) {
        *len = MIN(*len, end * page_size - offset);
    }
    return shared;
}

ConfidentialGuestPageState
kvm_guest_memfd_page_state(MemoryRegion *mr, hwaddr offset, MemTxAttrs attrs,
                           hwaddr *len)
{
    bool shared = memfd_range_shared(mr->ram_block, offset, len);
    uint8_t conflicting = shared ? MEMTX_ENCRYPTION_PRIVATE :
                                   MEMTX_ENCRYPTION_SHARED;

    if (attrs.encryption == conflicting) {
        return CGS_PAGE_CONFLICT;
    }
    return shared ? CGS_PAGE_HOST : CGS_PAGE_PRIVATE;
}

int kvm_breakpoint_rw_debug(CPUState *cpu, vaddr addr, void *buf, size_t len,
                            bool is_write)
{
    Error *err = NULL;
    MemTxResult result = memory_debug_rw_virtual(cpu, addr, buf, len, is_write,
                                                 NULL, &err);

    if (result == MEMTX_OK) {
        return 0;
    }
    /* Failing translations are routine */
    if (memory_debug_guest() && result != MEMTX_DECODE_ERROR) {
        warn_reportf_err(err, "software breakpoint: ");
    } else {
        error_free(err);
    }
    return -1;
}
