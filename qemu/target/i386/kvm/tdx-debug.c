/*
 * TDX guests under a debugger
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "system/encrypted-guest.h"
#include "system/kvm.h"
#include "system/kvm-memory-debug.h"
#include "tdx.h"
#include "tdx-debug.h"

static const KVMMemoryDebugBackend tdx_no_backend = {
    .why = "this kernel has no interface to the private memory of a TD; it "
           "would take one with KVM_MEMORY_ENCRYPT_READ_MEMORY",
    .ops = &kvm_no_memory_debug_ops,
};

void tdx_debug_kvm_init(void)
{
    kvm_memory_debug_init(true, &tdx_no_backend, kvm_set_backend_debug_ops);
}

/* Of the TD; the property can still be written when it has no effect */
static uint64_t td_attributes;

bool tdx_debug_set_attributes(uint64_t attributes, uint64_t supported,
                              Error **errp)
{
    if (attributes & ~supported & TDX_TD_ATTRIBUTES_DEBUG) {
        error_setg(errp, "this kernel does not let a TD be debugged: of the TD"
                   " attributes, KVM supports 0x%" PRIx64 ", which lacks DEBUG"
                   " (bit 0)", supported);
        error_append_hint(errp, "It takes a kernel whose KVM_TDX_CAPABILITIES "
                          "reports that bit, or a guest without debug=on and "
                          "without bit 0 in attributes.\n");
        return false;
    }
    td_attributes = attributes;
    return true;
}

/*
 * Registers
 */

/*
 * KVM lets the registers of a TD be read unless its state is protected, which
 * it says of all TDs but debug TDs.  It has still to fetch them from the TDX
 * module (TDH.VP.RD); a KVM that does not gives zeros or the reset state.
 * The module fixes these bits to 1 (TDX module base architecture
 * specification, "CR0", "IA32_EFER MSR"), and the reset state has neither.
 */
static bool tdx_check_registers(CPUState *cs, Error **errp)
{
    CPUX86State *env = cpu_env(cs);
    uint64_t cr0 = CR0_PE_MASK | CR0_NE_MASK;

    if ((env->cr[0] & cr0) != cr0 || !(env->efer & MSR_EFER_LME)) {
        error_setg(errp, "KVM's registers are not those of a TD: CR0 is 0x%"
                   PRIx64 ", EFER 0x%" PRIx64, (uint64_t)env->cr[0],
                   env->efer);
        return false;
    }
    return true;
}

void tdx_debug_finalized(void)
{
    if (td_attributes & TDX_TD_ATTRIBUTES_DEBUG) {
        kvm_encrypted_guest_ask_for_registers(tdx_check_registers);
    }
}

typedef struct RegisterWrite {
    unsigned index;             /* in struct kvm_regs, in units of 64 bits */
    uint64_t value;
    int ret;
    bool taken;
} RegisterWrite;

static void do_write_register(CPUState *cpu, run_on_cpu_data data)
{
    RegisterWrite *w = data.host_ptr;
    uint64_t regs[sizeof(struct kvm_regs) / sizeof(uint64_t)];

    w->ret = kvm_vcpu_ioctl(cpu, KVM_GET_REGS, regs);
    if (!w->ret) {
        regs[w->index] = w->value;
        w->ret = kvm_vcpu_ioctl(cpu, KVM_SET_REGS, regs);
    }
    if (!w->ret) {
        w->ret = kvm_vcpu_ioctl(cpu, KVM_GET_REGS, regs);
        w->taken = regs[w->index] == w->value;
    }
}

static bool tdx_write_register(EncryptedGuest *eg, CPUState *cpu,
                               const char *name, uint64_t value, Error **errp)
{
    /* struct kvm_regs */
    static const char *const names[] = {
        "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "r8", "r9",
        "r10", "r11", "r12", "r13", "r14", "r15", "rip", "eflags", NULL
    };
    RegisterWrite w = { .value = value };

    while (names[w.index] && strcmp(names[w.index], name)) {
        w.index++;
    }
    if (!names[w.index]) {
        error_setg(errp, "only general-purpose registers, rip and eflags of "
                   "a TD can be written");
        return false;
    }
    run_on_cpu(cpu, do_write_register, RUN_ON_CPU_HOST_PTR(&w));
    if (w.ret) {
        error_setg_errno(errp, -w.ret, "the kernel refuses it");
        return false;
    }
    if (!w.taken) {
        error_setg(errp, "the kernel says it did, but the TD's %s has not "
                   "changed", name);
        return false;
    }
    return true;
}

/*
 * EncryptedGuest
 */

static const char *tdx_kind(EncryptedGuest *eg)
{
    return "tdx";
}

static bool tdx_debug_allowed(EncryptedGuest *eg, Error **errp)
{
    if (!(td_attributes & TDX_TD_ATTRIBUTES_DEBUG)) {
        error_setg(errp, "the TD's attributes forbid debugging: property "
                   "'debug' of the tdx-guest object '%s' is off",
                   object_get_canonical_path_component(OBJECT(eg)));
        error_append_hint(errp, "The attributes are fixed when the TD is "
                          "created. It would take debug=on.\n");
        return false;
    }
    return true;
}

/* KVM_TDX_FINALIZE_VM makes it ready */
static bool tdx_launched(EncryptedGuest *eg)
{
    return CONFIDENTIAL_GUEST_SUPPORT(eg)->ready;
}

/*
 * The highest bit of a guest-physical address, 47 or 51: the TDX module knows
 * no other widths, and KVM_TDX_INIT_VM takes the width from CPUID.
 */
static EncryptedPageBit tdx_page_bit(EncryptedGuest *eg)
{
    X86CPU *cpu = first_cpu ? X86_CPU(first_cpu) : NULL;
    uint32_t width = cpu ? cpu->guest_phys_bits ?: cpu->phys_bits : 0;

    return (EncryptedPageBit) {
        .mask = width ? BIT_ULL(width - 1) : 0,
        .set_means_private = false,
    };
}

/* The contents of the TD are copied from QEMU's memory before it is final */
static EncryptedPageState tdx_page_state(EncryptedGuest *eg, MemoryRegion *mr,
                                         hwaddr offset, hwaddr gpa,
                                         MemTxAttrs attrs, hwaddr *len)
{
    if (!tdx_launched(eg)) {
        return ENCRYPTED_PAGE_HOST;
    }
    return kvm_guest_memfd_page_state(mr, offset, attrs, len);
}

/*
 * Property "debug"
 */

static bool tdx_get_debug(Object *obj, Error **errp)
{
    return TDX_GUEST(obj)->attributes & TDX_TD_ATTRIBUTES_DEBUG;
}

static void tdx_set_debug(Object *obj, bool value, Error **errp)
{
    TdxGuest *tdx = TDX_GUEST(obj);

    if (tdx->initialized) {
        error_setg(errp, "property 'debug' cannot be changed once the TD is "
                   "there");
        return;
    }
    tdx->attributes &= ~TDX_TD_ATTRIBUTES_DEBUG;
    tdx->attributes |= value ? TDX_TD_ATTRIBUTES_DEBUG : 0;
}

void tdx_debug_class_init(ObjectClass *oc)
{
    EncryptedGuestClass *egc = ENCRYPTED_GUEST_CLASS(oc);

    kvm_encrypted_guest_class_init(egc);
    egc->kind = tdx_kind;
    egc->debug_allowed = tdx_debug_allowed;
    egc->launched = tdx_launched;
    egc->page_bit = tdx_page_bit;
    egc->page_state = tdx_page_state;
    egc->write_register = tdx_write_register;

    object_class_property_add_bool(oc, "debug", tdx_get_debug, tdx_set_debug);
    object_class_property_set_description(oc, "debug",
        "the host may debug the TD (attribute DEBUG, bit 0)");
}
