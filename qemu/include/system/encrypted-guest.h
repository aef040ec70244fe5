/*
 * Guests whose memory the host cannot read, as seen by a debugger
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef SYSTEM_ENCRYPTED_GUEST_H
#define SYSTEM_ENCRYPTED_GUEST_H

#include "exec/hwaddr.h"
#include "exec/memattrs.h"
#include "qom/object.h"

/*
 * A confidential guest object (sev-guest, sev-snp-guest, tdx-guest,
 * sim-encrypted-guest) implements this interface so that the debug access
 * layer (system/memory-debug.h) can look into the guest's memory.  It hides
 * all that differs between kinds of guest; nothing above it asks which kind
 * it is.
 *
 * A confidential guest object which does not implement it is treated like
 * any guest: debug accesses read the host's view of its memory.
 */
#define TYPE_ENCRYPTED_GUEST "encrypted-guest"

typedef struct EncryptedGuestClass EncryptedGuestClass;
DECLARE_CLASS_CHECKERS(EncryptedGuestClass, ENCRYPTED_GUEST,
                       TYPE_ENCRYPTED_GUEST)
#define ENCRYPTED_GUEST(obj) \
    INTERFACE_CHECK(EncryptedGuest, (obj), TYPE_ENCRYPTED_GUEST)

typedef struct EncryptedGuest EncryptedGuest;

/**
 * EncryptedPageBit: the page-table bit that tells private from shared
 *
 * @mask: the bit in a page-table entry and in a guest-physical address
 *        (AMD: 1 << CPUID 0x8000001F EBX[5:0], APM volume 2, 15.34.1;
 *        TDX: 1 << (GPAW - 1), TDX module base architecture specification),
 *        or 0 where entries carry no such bit
 * @set_means_private: true for AMD's C-bit, false for TDX's shared bit
 */
typedef struct EncryptedPageBit {
    uint64_t mask;
    bool set_means_private;
} EncryptedPageBit;

/**
 * EncryptedPageState: how a debugger reaches a page of guest RAM
 *
 * @ENCRYPTED_PAGE_HOST: the host's mapping holds what the guest sees: the
 *     page is shared, or the guest is not launched and nothing has encrypted
 *     this page yet
 * @ENCRYPTED_PAGE_PRIVATE: through MemoryRegion::ram_debug_ops alone
 * @ENCRYPTED_PAGE_CONFLICT: the page-table leaf says private, but the page
 *     is shared; the guest itself could not read it either
 */
typedef enum EncryptedPageState {
    ENCRYPTED_PAGE_HOST,
    ENCRYPTED_PAGE_PRIVATE,
    ENCRYPTED_PAGE_CONFLICT,
} EncryptedPageState;

/**
 * EncryptedGuestRegisters: which of a vCPU's registers can be known
 *
 * @ENCRYPTED_GUEST_REGISTERS_READABLE: all, as those of any guest
 * @ENCRYPTED_GUEST_REGISTERS_PARTIAL: those that a debugger cannot do
 *     without: on x86 the general-purpose registers, RIP, RFLAGS, segments,
 *     descriptor tables, CR0, CR3, CR4 and EFER.  Of the others QEMU holds
 *     the reset state, which nobody may take for the guest's.
 * @ENCRYPTED_GUEST_REGISTERS_PROTECTED: none
 */
typedef enum EncryptedGuestRegisters {
    ENCRYPTED_GUEST_REGISTERS_READABLE,
    ENCRYPTED_GUEST_REGISTERS_PARTIAL,
    ENCRYPTED_GUEST_REGISTERS_PROTECTED,
} EncryptedGuestRegisters;

/* Called for a shared guest-physical range, in bytes; it need not be RAM */
typedef void EncryptedGuestFoundFunc(hwaddr gpa, hwaddr size, void *opaque);

struct EncryptedGuestClass {
    InterfaceClass parent_class;

    /**
     * @kind: "sev", "sev-es", "sev-snp", "tdx" or "simulated".
     * Mandatory callback.
     */
    const char *(*kind)(EncryptedGuest *eg);

    /**
     * @backend: name of the way in which private memory is read, and in
     * *@why (a constant or owned by @eg) one sentence on why this one was
     * chosen.  Decided once, when the guest is initialised.  NULL where
     * there is no way; *@why then says what is missing.
     * Mandatory callback.
     */
    const char *(*backend)(EncryptedGuest *eg, const char **why);

    /**
     * @debug_allowed: may the host debug this guest?
     *
     * Returns false and sets @errp when the owner's policy forbids it; the
     * error names the property and the object that would allow it.
     * Called before every access, from any thread, with memory_debug_lock()
     * held: it must be cheap and must not block.
     * Mandatory callback.
     */
    bool (*debug_allowed)(EncryptedGuest *eg, Error **errp);

    /**
     * @launched: has the guest been launched, i.e. are its contents and
     * its vCPUs sealed?  For the user's information; what it means for a
     * page is @page_state's business.
     * Mandatory callback.
     */
    bool (*launched)(EncryptedGuest *eg);

    /**
     * @page_bit: the page-table bit.  Constant from machine creation on,
     * except where the object's properties are changed by hand.
     * Mandatory callback.
     */
    EncryptedPageBit (*page_bit)(EncryptedGuest *eg);

    /**
     * @page_state: state of the pages from @offset (bytes) in @mr's RAM
     *
     * @gpa is where that byte is mapped, without the page-table bit.
     * @attrs.encryption says what the page-table leaf said, if anything.
     * *@len is the length asked about in bytes; it is cut to the run which
     * has the state returned (1 at least).
     *
     * Called with memory_debug_lock() held, from any thread: conversions
     * wait for that lock.
     * Mandatory callback.
     */
    EncryptedPageState (*page_state)(EncryptedGuest *eg, MemoryRegion *mr,
                                     hwaddr offset, hwaddr gpa,
                                     MemTxAttrs attrs, hwaddr *len);

    /**
     * @find_shared: find the shared pages in the guest's page tables
     *
     * Calls @found for each page that a leaf entry calls shared, also when
     * others call it private: kernels leave such mappings of pages that they
     * share.  For physical accesses to much memory, e.g. dumps.
     *
     * Called with the BQL held and the VM stopped; CPU registers have been
     * synchronised.  Returns false with @errp set when the page tables are
     * not known or cannot be read.
     * Optional callback: where @page_state knows without a leaf entry.
     */
    bool (*find_shared)(EncryptedGuest *eg, EncryptedGuestFoundFunc *found,
                        void *opaque, Error **errp);

    /**
     * @raw_view: does the host's memory hold what the host of an encrypted
     * guest sees?
     *
     * Called with the BQL held.  Returns false with @errp set where it holds
     * the guest's plaintext.
     * Optional callback: for guests that only pretend.
     */
    bool (*raw_view)(EncryptedGuest *eg, Error **errp);

    /**
     * @registers: which of the registers that QEMU holds after
     * cpu_synchronize_state() are the guest's.  Called with the BQL held.
     * Mandatory callback.
     */
    EncryptedGuestRegisters (*registers)(EncryptedGuest *eg);

    /**
     * @write_register: change a register of @cpu, which is stopped
     *
     * @name: its name, as gdb calls it
     *
     * Returns false with @errp set where that cannot be done, or where the
     * guest's register does not have @value afterwards.  Called with the BQL
     * held, where @registers says PARTIAL, and mandatory there: what is
     * READABLE is written like that of any guest.
     */
    bool (*write_register)(EncryptedGuest *eg, CPUState *cpu,
                           const char *name, uint64_t value, Error **errp);

    /**
     * @attach_ram: set @mr's ram_debug_ops, the guest's way to read and
     * write private memory.  Called with the BQL held, once for each RAM
     * region that exists or comes (ROMs, pflash and DIMMs included).
     * Mandatory callback.
     */
    void (*attach_ram)(EncryptedGuest *eg, MemoryRegion *mr);
};

#endif
