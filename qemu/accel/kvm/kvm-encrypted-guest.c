/*
 * KVM: private memory of encrypted guests, for debuggers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/error-report.h"
#include "qapi/error.h"
#include "system/kvm.h"
#include "system/kvm_int.h"
#include "system/kvm-memory-debug.h"
#include "system/memory-debug-object.h"
#include "system/memory.h"
#include "system/ramblock.h"
#include "encrypted-transfer.h"
#include "trace.h"

static const KVMMemoryDebugBackend *backend;
static bool backend_is_wanted;  /* the operator prefers the older way */

/*
 * The unified ioctls
 */

typedef struct UnifiedAccess {
    bool is_write;
    uint64_t addr;
    uint8_t *buf;
} UnifiedAccess;

static int unified_step(void *opaque, uint64_t done, uint64_t *len)
{
    UnifiedAccess *access = opaque;
    struct kvm_rw_memory rw = {
        .addr = access->addr + done,
        .len = *len,
        .ubuf = (uintptr_t)access->buf + done,
    };
    int ret;

    ret = kvm_vm_ioctl(kvm_state,
                       access->is_write ? KVM_MEMORY_ENCRYPT_WRITE_MEMORY :
                                          KVM_MEMORY_ENCRYPT_READ_MEMORY, &rw);
    trace_kvm_encrypted_guest_rw(access->is_write ? "write" : "read",
                                 access->addr + done, *len, rw.len, ret);
    *len = rw.len;
    return ret;
}

/* What the answer @ret of the kernel means; see docs/specs */
static const char *unified_error(int ret)
{
    switch (ret) {
    case -EINVAL:
        return "KVM has no such page of the guest: it has not been touched "
               "or accepted yet";
    case -EIO:
        return "the processor's security firmware or module failed";
    case -EPERM:
        return "the kernel forbids it";
    case -ENOTTY:
        return "the kernel has no interface to the memory of this kind of "
               "guest";
    case -EFAULT:
        return "the kernel cannot access memory that the transfer needs";
    case -ENOMEM:
        return "the kernel is out of memory";
    case -ETIMEDOUT:
        return "the kernel makes no progress";
    case -EPROTO:
        return "the kernel claims to have done more than it was asked to";
    default:
        return "the kernel refuses";
    }
}

static MemTxResult unified_access(bool is_write, uint64_t addr, hwaddr gpa,
                                  void *buf, hwaddr len, Error **errp)
{
    UnifiedAccess access = { .is_write = is_write, .addr = addr, .buf = buf };
    uint64_t done;
    int ret = encrypted_transfer(unified_step, &access, len, &done);

    if (!ret) {
        return MEMTX_OK;
    }
    error_setg(errp, "%s (at 0x%" HWADDR_PRIx ", KVM_MEMORY_ENCRYPT_%s_MEMORY:"
               " %s)", unified_error(ret), gpa + done,
               is_write ? "WRITE" : "READ", strerror(-ret));
    return MEMTX_ERROR;
}

MemTxResult kvm_encrypted_guest_read_memory(uint64_t addr, hwaddr gpa,
                                            void *buf, hwaddr len,
                                            Error **errp)
{
    return unified_access(false, addr, gpa, buf, len, errp);
}

MemTxResult kvm_encrypted_guest_write_memory(uint64_t addr, hwaddr gpa,
                                             const void *buf, hwaddr len,
                                             Error **errp)
{
    return unified_access(true, addr, gpa, (void *)buf, len, errp);
}

static MemTxResult unified_gpa_read(MemoryRegion *mr, hwaddr offset,
                                    hwaddr gpa, void *buf, hwaddr len,
                                    Error **errp)
{
    return kvm_encrypted_guest_read_memory(gpa, gpa, buf, len, errp);
}

static MemTxResult unified_gpa_write(MemoryRegion *mr, hwaddr offset,
                                     hwaddr gpa, const void *buf, hwaddr len,
                                     Error **errp)
{
    return kvm_encrypted_guest_write_memory(gpa, gpa, buf, len, errp);
}

static uint64_t ram_hva(MemoryRegion *mr, hwaddr offset)
{
    return (uintptr_t)memory_region_get_ram_ptr(mr) + offset;
}

static MemTxResult unified_hva_read(MemoryRegion *mr, hwaddr offset,
                                    hwaddr gpa, void *buf, hwaddr len,
                                    Error **errp)
{
    return kvm_encrypted_guest_read_memory(ram_hva(mr, offset), gpa, buf, len,
                                           errp);
}

static MemTxResult unified_hva_write(MemoryRegion *mr, hwaddr offset,
                                     hwaddr gpa, const void *buf, hwaddr len,
                                     Error **errp)
{
    return kvm_encrypted_guest_write_memory(ram_hva(mr, offset), gpa, buf,
                                            len, errp);
}

static const MemoryRegionRAMReadWriteOps unified_gpa_ops = {
    .read = unified_gpa_read,
    .write = unified_gpa_write,
};

static const MemoryRegionRAMReadWriteOps unified_hva_ops = {
    .read = unified_hva_read,
    .write = unified_hva_write,
};

static const KVMMemoryDebugBackend unified_gpa_backend = {
    .name = "unified",
    .why = "the kernel has KVM_MEMORY_ENCRYPT_READ_MEMORY, which takes "
           "guest-physical addresses for this kind of guest",
    .ops = &unified_gpa_ops,
};

static const KVMMemoryDebugBackend unified_hva_backend = {
    .name = "unified",
    .why = "the kernel has KVM_MEMORY_ENCRYPT_READ_MEMORY, which takes "
           "host-virtual addresses for this kind of guest",
    .ops = &unified_hva_ops,
};

/*
 * No way into the kernel
 */

static MemTxResult no_read(MemoryRegion *mr, hwaddr offset, hwaddr gpa,
                           void *buf, hwaddr len, Error **errp)
{
    error_setg(errp, "%s", backend->why);
    return MEMTX_ERROR;
}

static MemTxResult no_write(MemoryRegion *mr, hwaddr offset, hwaddr gpa,
                            const void *buf, hwaddr len, Error **errp)
{
    error_setg(errp, "%s", backend->why);
    return MEMTX_ERROR;
}

const MemoryRegionRAMReadWriteOps kvm_no_memory_debug_ops = {
    .read = no_read,
    .write = no_write,
};

/*
 * The choice
 */

void kvm_set_backend_debug_ops(void *handle, MemoryRegion *mr)
{
    memory_region_set_ram_debug_ops(mr, backend->ops);
}

const KVMMemoryDebugBackend *
kvm_memory_debug_init(bool unified_by_gpa,
                      const KVMMemoryDebugBackend *otherwise,
                      void (*set_mr_debug_ops)(void *handle,
                                               MemoryRegion *mr))
{
    bool unified = kvm_vm_check_extension(kvm_state,
                                          KVM_CAP_ENCRYPT_MEMORY_DEBUG) > 0;

    backend_is_wanted = unified &&
        memory_debug_object_backend() == MEMORY_DEBUG_BACKEND_SEV_DBG;
    backend = otherwise;
    if (unified && !backend_is_wanted) {
        backend = unified_by_gpa ? &unified_gpa_backend :
                                   &unified_hva_backend;
    }
    kvm_state->set_mr_debug_ops = set_mr_debug_ops;
    trace_kvm_memory_debug_init(backend->name ?: "none", backend->why);
    return backend;
}

void kvm_set_memory_region_debug_ops(void *handle, MemoryRegion *mr)
{
    if (kvm_state && kvm_state->set_mr_debug_ops) {
        kvm_state->set_mr_debug_ops(handle, mr);
    }
}

int kvm_breakpoint_rw_debug(CPUState *cpu, vaddr addr, void *buf, size_t len,
                            bool is_write)
{
    Error *err = NULL;
    MemTxResult result;

    result = memory_debug_rw_virtual(cpu, addr, buf, len, is_write, &err);
    if (result == MEMTX_OK) {
        return 0;
    }
    /* Unmapped addresses are everyday business */
    if (memory_debug_guest() && result != MEMTX_DECODE_ERROR) {
        warn_reportf_err(err, "software breakpoint: ");
    } else {
        error_free(err);
    }
    return -1;
}

/*
 * Registers
 */

/* Tells the guest's from what KVM makes up; NULL while none are readable */
static KVMRegistersCheck *check_registers;

static void do_get_registers(CPUState *cpu, run_on_cpu_data unused)
{
    Error *err = NULL;

    if (kvm_arch_get_registers(cpu, &err) >= 0 && check_registers(cpu, &err)) {
        trace_kvm_encrypted_guest_registers(cpu->cpu_index, "readable");
        return;
    }
    /* What has been read until now is not shown any more, either */
    check_registers = NULL;
    trace_kvm_encrypted_guest_registers(cpu->cpu_index,
                                        error_get_pretty(err));
    error_free(err);
}

void kvm_encrypted_guest_get_registers(CPUState *cpu)
{
    if (check_registers) {
        run_on_cpu(cpu, do_get_registers, RUN_ON_CPU_NULL);
    }
}

void kvm_encrypted_guest_ask_for_registers(KVMRegistersCheck *check)
{
    check_registers = check;
    kvm_encrypted_guest_get_registers(first_cpu);
}

/*
 * EncryptedGuest
 */

static const char *kvm_encrypted_guest_backend(EncryptedGuest *eg,
                                               const char **why)
{
    *why = backend_is_wanted && backend->name ?
           "property 'backend' of the memory-debug object says so" :
           backend->why;
    return backend->name;
}

/*
 * After the launch of an SEV-ES or SEV-SNP guest, KVM has no register of it:
 * they are in the encrypted VMSA, and no ioctl has the firmware decrypt that.
 * KVM_GET_REGS then fails with EINVAL, but not for SEV-ES guests of the older
 * VM type (KVM_SEV_ES_INIT): there it succeeds, with what QEMU itself set
 * before the launch.  So its success says nothing, and these guests do not
 * call kvm_encrypted_guest_ask_for_registers().
 */
static EncryptedGuestRegisters
kvm_encrypted_guest_registers(EncryptedGuest *eg)
{
    if (!kvm_state->guest_state_protected) {
        return ENCRYPTED_GUEST_REGISTERS_READABLE;
    }
    return check_registers ? ENCRYPTED_GUEST_REGISTERS_PARTIAL :
                             ENCRYPTED_GUEST_REGISTERS_PROTECTED;
}

static void kvm_encrypted_guest_attach_ram(EncryptedGuest *eg,
                                           MemoryRegion *mr)
{
    kvm_set_memory_region_debug_ops(eg, mr);
}

void kvm_encrypted_guest_class_init(EncryptedGuestClass *egc)
{
    egc->backend = kvm_encrypted_guest_backend;
    egc->registers = kvm_encrypted_guest_registers;
    egc->attach_ram = kvm_encrypted_guest_attach_ram;
}

/* Is the page at @offset shared?  Cut *@len to the pages of the same state. */
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

EncryptedPageState kvm_guest_memfd_page_state(MemoryRegion *mr, hwaddr offset,
                                              MemTxAttrs attrs, hwaddr *len)
{
    bool shared;

    if (attrs.encryption == MEMTX_ENCRYPTION_SHARED) {
        return ENCRYPTED_PAGE_HOST;
    }
    shared = memfd_range_shared(mr->ram_block, offset, len);
    if (shared && attrs.encryption == MEMTX_ENCRYPTION_PRIVATE) {
        return ENCRYPTED_PAGE_CONFLICT;
    }
    return shared ? ENCRYPTED_PAGE_HOST : ENCRYPTED_PAGE_PRIVATE;
}
