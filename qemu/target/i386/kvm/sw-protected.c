/*
 * Guests with private memory that need no special hardware:
 * KVM_X86_SW_PROTECTED_VM
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-types-memory-debug.h"
#include "qom/object_interfaces.h"
#include "hw/boards.h"
#include "hw/i386/x86.h"
#include "system/address-spaces.h"
#include "system/kvm.h"
#include "system/kvm-memory-debug.h"
#include "system/memory.h"
#include "system/ramblock.h"
#include "system/reset.h"
#include "../confidential-guest.h"
#include "kvm_i386.h"

#include <linux/kvm_para.h>

#define TYPE_SW_PROTECTED_GUEST "sw-protected-guest"
OBJECT_DECLARE_SIMPLE_TYPE(SwProtectedGuest, SW_PROTECTED_GUEST)

/*
 * The guest starts with all its memory shared, as KVM reads its code and its
 * page tables there when it has to emulate an instruction.  The guest makes
 * pages private with KVM_HC_MAP_GPA_RANGE.
 */
struct SwProtectedGuest {
    X86ConfidentialGuest parent_obj;

    bool debug;

    RAMBlockNotifier ram_notifier;
};

OBJECT_DEFINE_SIMPLE_TYPE_WITH_INTERFACES(SwProtectedGuest,
                                          sw_protected_guest,
                                          SW_PROTECTED_GUEST,
                                          X86_CONFIDENTIAL_GUEST,
                                          { TYPE_USER_CREATABLE },
                                          { NULL })

/* KVM's attributes are set when the block's memory slots are added */
static void sw_protected_ram_added(RAMBlockNotifier *n, void *host,
                                   size_t size, size_t max_size)
{
    ram_addr_t offset;
    RAMBlock *rb = qemu_ram_block_from_host(host, false, &offset);

    if (rb && rb->guest_memfd >= 0) {
        ram_block_attributes_state_change(rb->attributes, 0, max_size, false);
    }
}

static bool sw_protected_reset_range(Int128 start, Int128 len,
                                     const MemoryRegion *mr,
                                     hwaddr offset_in_region, void *opaque)
{
    if (memory_region_has_guest_memfd((MemoryRegion *)mr)) {
        kvm_convert_memory(int128_get64(start), int128_get64(len), false);
    }
    return false;
}

static void sw_protected_reset(void *opaque)
{
    RCU_READ_LOCK_GUARD();
    flatview_for_each_range(address_space_to_flatview(&address_space_memory),
                            sw_protected_reset_range, opaque);
}

static int sw_protected_kvm_type(X86ConfidentialGuest *cg)
{
    return KVM_X86_SW_PROTECTED_VM;
}

static int sw_protected_kvm_init(ConfidentialGuestSupport *cgs, Error **errp)
{
    SwProtectedGuest *sw = SW_PROTECTED_GUEST(cgs);
    X86MachineState *x86ms = X86_MACHINE(current_machine);

    if (x86ms->smm == ON_OFF_AUTO_ON) {
        error_setg(errp, "a software-protected VM has no SMM: use smm=off");
        return -1;
    }
    x86ms->smm = ON_OFF_AUTO_OFF;
    kvm_readonly_mem_allowed = false;   /* not with a guest_memfd */
    if (!kvm_enable_hypercall(BIT_ULL(KVM_HC_MAP_GPA_RANGE))) {
        error_setg(errp, "KVM does not pass KVM_HC_MAP_GPA_RANGE on to QEMU, "
                   "so that the guest could not make its memory private");
        return -1;
    }
    sw->ram_notifier.ram_block_added = sw_protected_ram_added;
    ram_block_notifier_add(&sw->ram_notifier);
    qemu_register_reset(sw_protected_reset, NULL);
    cgs->ready = true;
    return 0;
}

/*
 * Debug accesses, see system/memory-debug.h
 */

static bool sw_protected_debug_check(ConfidentialGuestSupport *cgs,
                                     Error **errp)
{
    ERRP_GUARD();

    if (!SW_PROTECTED_GUEST(cgs)->debug) {
        error_setg(errp, "the guest's policy forbids debugging: property "
                   "'debug' of the " TYPE_SW_PROTECTED_GUEST " object '%s' is "
                   "off", object_get_canonical_path_component(OBJECT(cgs)));
        error_append_hint(errp, "Launch it with debug=on to allow "
                          "debugging.\n");
        return false;
    }
    return true;
}

static ConfidentialGuestPageState
sw_protected_debug_page_state(ConfidentialGuestSupport *cgs, MemoryRegion *mr,
                              hwaddr offset, hwaddr gpa, MemTxAttrs attrs,
                              hwaddr *len)
{
    return kvm_guest_memfd_page_state(mr, offset, attrs, len);
}

static void sw_protected_debug_describe(ConfidentialGuestSupport *cgs,
                                        MemoryDebugGuestInfo *info)
{
    info->kind = MEMORY_DEBUG_GUEST_SW_PROTECTED;
    info->has_launched = true;
    info->launched = true;
    kvm_describe_memory_debug(info);
}

static bool sw_protected_get_debug(Object *obj, Error **errp)
{
    return SW_PROTECTED_GUEST(obj)->debug;
}

static void sw_protected_set_debug(Object *obj, bool value, Error **errp)
{
    if (CONFIDENTIAL_GUEST_SUPPORT(obj)->ready) {
        error_setg(errp, "property 'debug' cannot be changed after the VM has "
                   "been created");
        return;
    }
    SW_PROTECTED_GUEST(obj)->debug = value;
}

static void sw_protected_guest_class_init(ObjectClass *oc, const void *data)
{
    ConfidentialGuestSupportClass *cgsc = CONFIDENTIAL_GUEST_SUPPORT_CLASS(oc);
    X86ConfidentialGuestClass *x86_cgc = X86_CONFIDENTIAL_GUEST_CLASS(oc);

    x86_cgc->kvm_type = sw_protected_kvm_type;
    cgsc->kvm_init = sw_protected_kvm_init;
    cgsc->debug_check = sw_protected_debug_check;
    cgsc->debug_attach_ram = kvm_set_memory_region_debug_ops;
    cgsc->debug_page_state = sw_protected_debug_page_state;
    cgsc->debug_registers_protected = kvm_debug_registers_protected;
    cgsc->debug_describe = sw_protected_debug_describe;

    object_class_property_add_bool(oc, "debug", sw_protected_get_debug,
                                   sw_protected_set_debug);
    object_class_property_set_description(oc, "debug",
        "whether the host may debug the guest's private memory");
}

static void sw_protected_guest_init(Object *obj)
{
    CONFIDENTIAL_GUEST_SUPPORT(obj)->require_guest_memfd = true;
    SW_PROTECTED_GUEST(obj)->debug = true;
}

static void sw_protected_guest_finalize(Object *obj)
{
}
