/*
 * SEV, SEV-ES and SEV-SNP guests under a debugger
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/kvm.h>
#include <linux/psp-sev.h>
#include "qemu/memalign.h"
#include "qapi/error.h"
#include "system/encrypted-guest.h"
#include "system/kvm.h"
#include "system/kvm-memory-debug.h"
#include "system/memory.h"
#include "system/memory-debug.h"
#include "cpu.h"
#include "sev.h"
#include "sev-dbg-blocks.h"
#include "sev-debug.h"
#include "shared-pages.h"
#include "trace.h"

/* Host-virtual addresses of whole pages */
typedef struct SevRange {
    uintptr_t start, end;
} SevRange;

static struct {
    const char *id;         /* of the object, for messages */
    int fd;
    uint64_t policy;        /* what the firmware was told */
    bool copied;            /* launch data is copied at the end of the launch */
    const KVMMemoryDebugBackend *backend;

    /* With memory_debug_lock() held */
    GArray *launch_data;    /* of SevRange */
    bool launched;
    uint8_t *bounce;
} sev_debug;

/*
 * KVM_SEV_DBG_DECRYPT and KVM_SEV_DBG_ENCRYPT
 */

static void dbg_firmware_error(Error **errp, hwaddr gpa, int fw_error)
{
    switch (fw_error) {
    case SEV_RET_POLICY_FAILURE:
        error_setg(errp, "at 0x%" HWADDR_PRIx " the SEV firmware refuses: the "
                   "policy that the guest was launched with forbids debugging "
                   "(error %d, %s)", gpa, fw_error, fw_error_to_str(fw_error));
        break;
    case SEV_RET_INVALID_GUEST_STATE:
    case SEV_RET_INACTIVE:
        error_setg(errp, "at 0x%" HWADDR_PRIx " the SEV firmware refuses: the "
                   "guest is not in a state to be debugged (error %d, %s)",
                   gpa, fw_error, fw_error_to_str(fw_error));
        break;
    case SEV_RET_NO_FW_CALL:
    case SEV_RET_SUCCESS:
        error_setg(errp, "at 0x%" HWADDR_PRIx " the kernel could not ask the "
                   "SEV firmware", gpa);
        break;
    default:
        error_setg(errp, "at 0x%" HWADDR_PRIx " the SEV firmware failed "
                   "(error %d, %s)", gpa, fw_error, fw_error_to_str(fw_error));
    }
}

static void dbg_error(Error **errp, hwaddr gpa, int ret, int fw_error)
{
    switch (ret) {
    case -EIO:
        dbg_firmware_error(errp, gpa, fw_error);
        break;
    case -ENOTTY:
        error_setg(errp, "KVM does not know this VM as an SEV guest that can "
                   "be debugged");
        break;
    case -EPERM:
        error_setg(errp, "the kernel forbids to debug this kind of SEV guest");
        break;
    case -ENOMEM:
        error_setg(errp, "the kernel cannot pin the page at 0x%" HWADDR_PRIx
                   " (out of memory)", gpa);
        break;
    default:
        error_setg_errno(errp, -ret, "the kernel refuses to debug the page at "
                         "0x%" HWADDR_PRIx, gpa);
    }
}

/* @opaque: what to add to a host-virtual to get a guest-physical address */
static bool dbg_command(void *opaque, int id, uint64_t guest,
                        struct kvm_sev_dbg *dbg, Error **errp)
{
    struct kvm_sev_cmd cmd = {
        .id = id,
        .sev_fd = sev_debug.fd,
        .data = (uintptr_t)dbg,
    };
    hwaddr gpa = guest + *(uint64_t *)opaque;
    int ret = kvm_vm_ioctl(kvm_state, KVM_MEMORY_ENCRYPT_OP, &cmd);

    trace_kvm_sev_debug(id == KVM_SEV_DBG_DECRYPT ? "decrypt" : "encrypt",
                        gpa, guest, dbg->len, ret, cmd.error);
    if (ret) {
        dbg_error(errp, gpa, ret, cmd.error);
    }
    return !ret;
}

static bool dbg_decrypt(void *opaque, uint64_t guest, uint8_t *bounce,
                        uint32_t len, Error **errp)
{
    struct kvm_sev_dbg dbg = {
        .src_uaddr = guest,
        .dst_uaddr = (uintptr_t)bounce,
        .len = len,
    };

    return dbg_command(opaque, KVM_SEV_DBG_DECRYPT, guest, &dbg, errp);
}

static bool dbg_encrypt(void *opaque, uint64_t guest, uint8_t *bounce,
                        uint32_t len, Error **errp)
{
    struct kvm_sev_dbg dbg = {
        .src_uaddr = (uintptr_t)bounce,
        .dst_uaddr = guest,
        .len = len,
    };

    return dbg_command(opaque, KVM_SEV_DBG_ENCRYPT, guest, &dbg, errp);
}

/*
 * The lock that is held around ram_debug_ops serialises the transfers, which
 * share the bounce page.
 */

static MemTxResult dbg_read(MemoryRegion *mr, hwaddr offset, hwaddr gpa,
                            void *buf, hwaddr len, Error **errp)
{
    uint64_t hva = (uintptr_t)memory_region_get_ram_ptr(mr) + offset;
    uint64_t to_gpa = gpa - hva;
    SevDbgFirmware fw = { dbg_decrypt, dbg_encrypt, &to_gpa,
                          sev_debug.bounce };

    return sev_dbg_read(&fw, hva, buf, len, errp) ? MEMTX_OK : MEMTX_ERROR;
}

static MemTxResult dbg_write(MemoryRegion *mr, hwaddr offset, hwaddr gpa,
                             const void *buf, hwaddr len, Error **errp)
{
    uint64_t hva = (uintptr_t)memory_region_get_ram_ptr(mr) + offset;
    uint64_t to_gpa = gpa - hva;
    SevDbgFirmware fw = { dbg_decrypt, dbg_encrypt, &to_gpa,
                          sev_debug.bounce };

    return sev_dbg_write(&fw, hva, buf, len, errp) ? MEMTX_OK : MEMTX_ERROR;
}

static const MemoryRegionRAMReadWriteOps dbg_ops = {
    .read = dbg_read,
    .write = dbg_write,
};

static const KVMMemoryDebugBackend dbg_backend = {
    .name = "sev-dbg",
    .why = "the kernel lacks KVM_MEMORY_ENCRYPT_READ_MEMORY, but has "
           "KVM_SEV_DBG_DECRYPT for this kind of guest",
    .ops = &dbg_ops,
};

static const KVMMemoryDebugBackend snp_no_backend = {
    .why = "this kernel has no interface to the private memory of an SEV-SNP "
           "guest; it would take one with KVM_MEMORY_ENCRYPT_READ_MEMORY",
    .ops = &kvm_no_memory_debug_ops,
};

/*
 * Private memory: launch data before the launch, all private pages after it
 */

static MemTxResult sev_private_read(MemoryRegion *mr, hwaddr offset,
                                    hwaddr gpa, void *buf, hwaddr len,
                                    Error **errp)
{
    if (sev_debug.launched) {
        return sev_debug.backend->ops->read(mr, offset, gpa, buf, len, errp);
    }
    if (sev_debug.copied) {
        memcpy(buf, memory_region_get_ram_ptr(mr) + offset, len);
        return MEMTX_OK;
    }
    error_setg(errp, "the page at 0x%" HWADDR_PRIx " has been encrypted for "
               "the launch, it cannot be read before the guest runs", gpa);
    return MEMTX_ACCESS_ERROR;
}

static MemTxResult sev_private_write(MemoryRegion *mr, hwaddr offset,
                                     hwaddr gpa, const void *buf, hwaddr len,
                                     Error **errp)
{
    if (!sev_debug.launched) {
        error_setg(errp, "the page at 0x%" HWADDR_PRIx " belongs to what is "
                   "measured at launch, it cannot be changed before the guest "
                   "runs", gpa);
        return MEMTX_ACCESS_ERROR;
    }
    return sev_debug.backend->ops->write(mr, offset, gpa, buf, len, errp);
}

static const MemoryRegionRAMReadWriteOps sev_private_ops = {
    .read = sev_private_read,
    .write = sev_private_write,
};

static void sev_set_mr_debug_ops(void *handle, MemoryRegion *mr)
{
    memory_region_set_ram_debug_ops(mr, &sev_private_ops);
}

/*
 * What sev.c tells
 */

void sev_debug_start(Object *guest, int sev_fd)
{
    bool snp = object_dynamic_cast(guest, TYPE_SEV_SNP_GUEST);

    sev_debug.id = object_get_canonical_path_component(guest);
    sev_debug.fd = sev_fd;
    sev_debug.policy = object_property_get_uint(guest, "policy",
                                                &error_abort);
    sev_debug.copied = snp;
    sev_debug.launch_data = g_array_new(false, false, sizeof(SevRange));
    sev_debug.bounce = qemu_memalign(SEV_DBG_PAGE_SIZE, SEV_DBG_PAGE_SIZE);
    sev_debug.backend = kvm_memory_debug_init(snp, snp ? &snp_no_backend :
                                                         &dbg_backend,
                                              sev_set_mr_debug_ops);
}

void sev_debug_launch_data(const void *hva, size_t len)
{
    SevRange range = {
        .start = QEMU_ALIGN_DOWN((uintptr_t)hva, MEMORY_DEBUG_PAGE_SIZE),
        .end = ROUND_UP((uintptr_t)hva + len, MEMORY_DEBUG_PAGE_SIZE),
    };

    memory_debug_lock();
    g_array_append_val(sev_debug.launch_data, range);
    memory_debug_drop_cache();
    memory_debug_unlock();
}

void sev_debug_set_launched(bool launched)
{
    memory_debug_lock();
    sev_debug.launched = launched;
    memory_debug_drop_cache();
    memory_debug_unlock();
}

/*
 * EncryptedGuest
 */

static const char *sev_kind(EncryptedGuest *eg)
{
    return sev_debug.policy & SEV_POLICY_ES ? "sev-es" : "sev";
}

static const char *sev_snp_kind(EncryptedGuest *eg)
{
    return "sev-snp";
}

/* @bit is not as it must be, but would be in the policy @wanted */
static void forbidden_by_policy(Error **errp, const char *bit,
                                const char *type, uint64_t wanted)
{
    ERRP_GUARD();

    error_setg(errp, "the guest's policy forbids debugging: %s in policy=0x%"
               PRIx64 " of the %s object '%s'", bit, sev_debug.policy, type,
               sev_debug.id);
    error_append_hint(errp, "The policy is fixed when the guest is launched. "
                      "It would take policy=0x%" PRIx64 ".\n", wanted);
}

static bool sev_debug_allowed(EncryptedGuest *eg, Error **errp)
{
    if (sev_debug.policy & SEV_POLICY_NODBG) {
        forbidden_by_policy(errp, "bit 0 (NODBG) is set", TYPE_SEV_GUEST,
                            sev_debug.policy & ~(uint64_t)SEV_POLICY_NODBG);
        return false;
    }
    return true;
}

static bool sev_snp_debug_allowed(EncryptedGuest *eg, Error **errp)
{
    if (!(sev_debug.policy & SEV_SNP_POLICY_DBG)) {
        forbidden_by_policy(errp, "bit 19 (DEBUG) is clear",
                            TYPE_SEV_SNP_GUEST,
                            sev_debug.policy | SEV_SNP_POLICY_DBG);
        return false;
    }
    return true;
}

static bool sev_launched(EncryptedGuest *eg)
{
    return sev_debug.launched;
}

static EncryptedPageBit sev_page_bit(EncryptedGuest *eg)
{
    uint32_t cbitpos = sev_get_cbit_position();

    /* Below the page offset it could not be told from the address */
    return (EncryptedPageBit) {
        .mask = cbitpos >= 32 && cbitpos < 64 ? BIT_ULL(cbitpos) : 0,
        .set_means_private = true,
    };
}

/* Does @offset belong to the launch?  Cut *@len to where that changes. */
static bool is_launch_data(MemoryRegion *mr, hwaddr offset, hwaddr *len)
{
    uintptr_t hva = (uintptr_t)memory_region_get_ram_ptr(mr) + offset;

    for (guint i = 0; i < sev_debug.launch_data->len; i++) {
        const SevRange *r = &g_array_index(sev_debug.launch_data, SevRange, i);

        if (hva >= r->start && hva < r->end) {
            *len = MIN(*len, r->end - hva);
            return true;
        }
        if (r->start > hva) {
            *len = MIN(*len, r->start - hva);
        }
    }
    return false;
}

/*
 * The guest cannot encrypt memory that it cannot write to: what is not launch
 * data holds what the host has put there.
 */
static bool is_plain_rom(MemoryRegion *mr, hwaddr offset, hwaddr *len)
{
    return (memory_region_is_rom(mr) || mr->rom_device) &&
           !is_launch_data(mr, offset, len);
}

/*
 * KVM does not know which pages of a running guest are private, the C-bit in
 * the guest's page tables alone tells.  RAM is private unless a leaf entry
 * says otherwise.
 */
static EncryptedPageState sev_page_state(EncryptedGuest *eg, MemoryRegion *mr,
                                         hwaddr offset, hwaddr gpa,
                                         MemTxAttrs attrs, hwaddr *len)
{
    bool host;

    if (!sev_debug.launched) {
        host = !is_launch_data(mr, offset, len);
    } else if (attrs.encryption == MEMTX_ENCRYPTION_UNKNOWN) {
        host = is_plain_rom(mr, offset, len);
    } else {
        host = attrs.encryption == MEMTX_ENCRYPTION_SHARED;
    }
    return host ? ENCRYPTED_PAGE_HOST : ENCRYPTED_PAGE_PRIVATE;
}

static EncryptedPageState sev_snp_page_state(EncryptedGuest *eg,
                                             MemoryRegion *mr, hwaddr offset,
                                             hwaddr gpa, MemTxAttrs attrs,
                                             hwaddr *len)
{
    if (sev_debug.launched) {
        return kvm_guest_memfd_page_state(mr, offset, attrs, len);
    }
    return is_launch_data(mr, offset, len) ? ENCRYPTED_PAGE_PRIVATE :
                                             ENCRYPTED_PAGE_HOST;
}

static void sev_common_debug_class_init(EncryptedGuestClass *egc)
{
    kvm_encrypted_guest_class_init(egc);
    egc->launched = sev_launched;
    egc->page_bit = sev_page_bit;
}

void sev_guest_debug_class_init(ObjectClass *oc)
{
    EncryptedGuestClass *egc = ENCRYPTED_GUEST_CLASS(oc);

    sev_common_debug_class_init(egc);
    egc->kind = sev_kind;
    egc->debug_allowed = sev_debug_allowed;
    egc->page_state = sev_page_state;
    egc->find_shared = x86_find_shared_pages;
}

void sev_snp_guest_debug_class_init(ObjectClass *oc)
{
    EncryptedGuestClass *egc = ENCRYPTED_GUEST_CLASS(oc);

    sev_common_debug_class_init(egc);
    egc->kind = sev_snp_kind;
    egc->debug_allowed = sev_snp_debug_allowed;
    egc->page_state = sev_snp_page_state;
}
