/*
 * Debug accesses to guest memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef SYSTEM_MEMORY_DEBUG_H
#define SYSTEM_MEMORY_DEBUG_H

#include "exec/hwaddr.h"
#include "exec/memattrs.h"
#include "exec/vaddr.h"
#include "qapi/error.h"
#include "qemu/lockable.h"
#include "system/encrypted-guest.h"

/*
 * The monitor, the gdbstub and the dumps reach guest memory through this
 * layer.  For a normal guest it is the ordinary accessors.  For a guest
 * whose memory is encrypted it goes through the RAM's ram_debug_ops, obeys
 * the guest owner's policy, and never returns what the host sees of a
 * private page.
 *
 * Devices must not use it: what a device reads and writes is shared.
 *
 * Everything here may be called from any thread; the BQL is needed only
 * where a comment says so, and is taken for the time of an access to MMIO.
 * RCU critical sections are short and never held across a ram_debug_ops
 * call, which may take milliseconds.
 *
 * Each failing call sets @errp (unless NULL) to one sentence for the user:
 * what could not be done, at which address, and why.  On a failing read the
 * contents of the buffer are undefined; nothing of it may be shown.
 */

/* The unit of encryption state and of the page cache, in bytes */
#define MEMORY_DEBUG_PAGE_SIZE  4096
/* One ram_debug_ops call covers this many bytes at most */
#define MEMORY_DEBUG_RUN_MAX    (1 * MiB)

/**
 * MemoryDebugOps: how debug accesses reach memory
 *
 * @read: read @len bytes at physical address @addr of @as into @buf
 * @write: write @len bytes from @buf, ROM included.  Nothing is written
 *     if any part of the range is not backed by anything or is forbidden.
 *
 * A physical address of an encrypted guest may carry the guest's
 * page-table bit: with AMD's C-bit it means private, with TDX's shared bit
 * shared.  A bare address is taken as private on SEV, whose host has no
 * record of it; elsewhere the page's own state decides.
 *
 * Returns MEMTX_OK, MEMTX_DECODE_ERROR (nothing there, or the range wraps),
 * MEMTX_ACCESS_ERROR (forbidden) or MEMTX_ERROR (device, kernel or firmware
 * failed).  Zero @len is success.
 */
typedef struct MemoryDebugOps {
    MemTxResult (*read)(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                        void *buf, hwaddr len, Error **errp);
    MemTxResult (*write)(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                         const void *buf, hwaddr len, Error **errp);
} MemoryDebugOps;

/* Never NULL; set once, before the machine's devices exist */
extern const MemoryDebugOps *physical_memory_debug_op;

/**
 * MemoryRegionRAMReadWriteOps: private memory of a RAM region
 *
 * @read: read the plaintext of @len bytes at @offset of @mr into @buf
 * @write: write @len bytes so that the guest sees them
 *
 * @gpa is the guest-physical address of @offset, without page-table bit.
 * The range is private throughout, lies in one RAMBlock and is at most
 * MEMORY_DEBUG_RUN_MAX long; it may start and end at any byte.
 *
 * Called with memory_debug_lock() held and outside of RCU critical
 * sections, with or without the BQL, the VM running or stopped.
 * On failure @errp says why, and nothing in @buf is used.
 */
typedef struct MemoryRegionRAMReadWriteOps {
    MemTxResult (*read)(MemoryRegion *mr, hwaddr offset, hwaddr gpa,
                        void *buf, hwaddr len, Error **errp);
    MemTxResult (*write)(MemoryRegion *mr, hwaddr offset, hwaddr gpa,
                         const void *buf, hwaddr len, Error **errp);
} MemoryRegionRAMReadWriteOps;

/**
 * memory_region_set_ram_debug_ops: route debug accesses of @mr's RAM
 *
 * @mr: a region with a RAMBlock of its own, not an alias
 * @ops: must stay valid as long as @mr
 *
 * Called with the BQL held.
 */
void memory_region_set_ram_debug_ops(MemoryRegion *mr,
                                     const MemoryRegionRAMReadWriteOps *ops);

/**
 * memory_debug_begin_reads, memory_debug_end_reads: read each page once
 *
 * Between the two, decrypted pages of a running guest are kept, as those of a
 * stopped one always are.  What is read in small pieces, or through page
 * tables, then costs one ram_debug_ops call a page, and shows the page as it
 * was at one moment.  For the time of one command; pairs nest.
 *
 * Called with the BQL held, and not released in between.
 */
void memory_debug_begin_reads(void);
void memory_debug_end_reads(void);

/* Physical addresses of the system address space, as MemoryDebugOps */
MemTxResult cpu_physical_memory_rw_debug(hwaddr addr, void *buf, hwaddr len,
                                         bool is_write, Error **errp);
MemTxResult cpu_physical_memory_read_debug(hwaddr addr, void *buf,
                                           hwaddr len, Error **errp);
MemTxResult cpu_physical_memory_write_debug(hwaddr addr, const void *buf,
                                            hwaddr len, Error **errp);

/**
 * memory_debug_read_physical: read as @cpu would, e.g. in SMM
 *
 * @cpu: vCPU, or NULL for the system address space
 * @addr: physical address in @cpu's address space
 */
MemTxResult memory_debug_read_physical(CPUState *cpu, hwaddr addr, void *buf,
                                       hwaddr len, Error **errp);

/**
 * memory_debug_rw_virtual: cpu_memory_rw_debug() with the reason
 *
 * @cpu: vCPU whose page tables translate; its state is synchronised
 * @addr: guest-virtual address
 * @len: bytes; runs of physically contiguous pages are accessed at once
 *
 * Called with the BQL held.  A write that fails half way has written the
 * pages before the failing one.
 */
MemTxResult memory_debug_rw_virtual(CPUState *cpu, vaddr addr, void *buf,
                                    size_t len, bool is_write, Error **errp);

/**
 * memory_debug_translate: guest-virtual to guest-physical
 *
 * @cpu: vCPU whose page tables translate
 * @addr: guest-virtual address, any byte of the page
 * @attrs: set to the attributes to access the page with
 *
 * Returns the physical address of the page's first byte, without the
 * page-table bit (which goes to @attrs->encryption), or -1 with @errp set.
 */
hwaddr memory_debug_translate(CPUState *cpu, vaddr addr, MemTxAttrs *attrs,
                              Error **errp);

/**
 * memory_debug_encryption_name: what the page-table leaf said, for the user
 *
 * Returns "private" or "shared", or "" where it says neither.
 */
const char *memory_debug_encryption_name(MemTxAttrs attrs);

/*
 * The pieces that the two MemoryDebugOps are made of.  The first two walk
 * @as and use ram_debug_ops where a region has them; the others strip the
 * page-table bit from @addr first.
 */
MemTxResult address_space_read_debug(AddressSpace *as, hwaddr addr,
                                     MemTxAttrs attrs, void *buf, hwaddr len,
                                     Error **errp);
MemTxResult address_space_write_rom_debug(AddressSpace *as, hwaddr addr,
                                          MemTxAttrs attrs, const void *buf,
                                          hwaddr len, Error **errp);
MemTxResult
address_space_encrypted_memory_read_debug(AddressSpace *as, hwaddr addr,
                                          MemTxAttrs attrs, void *buf,
                                          hwaddr len, Error **errp);
MemTxResult
address_space_encrypted_rom_write_debug(AddressSpace *as, hwaddr addr,
                                        MemTxAttrs attrs, const void *buf,
                                        hwaddr len, Error **errp);

/**
 * memory_debug_read_ram: read RAM of a region, wherever it is mapped now
 *
 * @mr: a region with a RAMBlock of its own; the caller has a reference
 * @offset: of the first byte in @mr
 * @gpa: guest-physical address of that byte, without page-table bit
 * @attrs: .encryption says what is known of the range
 *
 * For dumps: each byte is read once, so nothing goes through the page cache.
 * @errp says why it failed, and leaves it to the caller to say where.
 * Returns MEMTX_OK, MEMTX_ACCESS_ERROR or MEMTX_ERROR as MemoryDebugOps do.
 */
MemTxResult memory_debug_read_ram(MemoryRegion *mr, hwaddr offset, hwaddr gpa,
                                  MemTxAttrs attrs, void *buf, hwaddr len,
                                  Error **errp);

/**
 * memory_debug_init: look at @ms's confidential guest, if it has one
 *
 * Called once, with the BQL held, before the board creates its devices.
 */
void memory_debug_init(MachineState *ms);

/**
 * memory_debug_guest: the encrypted guest, or NULL for a normal one
 *
 * Constant once the machine is initialised.
 */
EncryptedGuest *memory_debug_guest(void);

/**
 * memory_debug_page_bit: the page-table bit; mask 0 for a normal guest
 */
EncryptedPageBit memory_debug_page_bit(void);

/**
 * MemoryDebugLimit: what the operator takes away from what the guest's policy
 * allows; of a normal guest, too
 */
typedef enum MemoryDebugLimit {
    MEMORY_DEBUG_UNLIMITED,
    MEMORY_DEBUG_READ_ONLY,
    MEMORY_DEBUG_OFF,
} MemoryDebugLimit;

/**
 * memory_debug_limit: forbid debug accesses from now on
 *
 * @limit: ignored where a stricter one holds already: there is no way back
 * @why: one clause for the user, e.g. which property of which object set it
 *
 * Called with the BQL held.
 */
void memory_debug_limit(MemoryDebugLimit limit, const char *why);

/**
 * memory_debug_allowed: may this guest's memory be looked at at all?
 *
 * False when the limit or the guest's policy forbids it.  For commands that
 * want to refuse before they have created or truncated anything.
 */
bool memory_debug_allowed(Error **errp);

/**
 * memory_debug_within_limit: is an access within the operator's limit?
 *
 * For accesses that no policy can forbid, as they show what the host sees.
 */
bool memory_debug_within_limit(bool is_write, Error **errp);

/**
 * memory_debug_host_view: does a host pointer to guest RAM show what the
 * guest sees?
 *
 * False for an encrypted guest, with an error that names what to use
 * instead, and where the limit forbids all access.  For commands that hand
 * out such pointers.
 */
bool memory_debug_host_view(Error **errp);

/**
 * memory_debug_registers: which of the registers that QEMU holds are the
 * guest's?  Called with the BQL held.
 */
EncryptedGuestRegisters memory_debug_registers(void);

/* Is none of them?  Called with the BQL held. */
bool memory_debug_registers_protected(void);

/*
 * Whoever changes what the pages of an encrypted guest are (conversion
 * between private and shared, encryption in place) holds this lock while
 * doing so.  Taken after the BQL, never before it.
 */
void memory_debug_lock(void);
void memory_debug_unlock(void);

/* Forget all decrypted pages; called with memory_debug_lock() held */
void memory_debug_drop_cache(void);

/* Why accesses failed */
typedef enum MemoryDebugFailure {
    MEMORY_DEBUG_FAILURE_LIMIT,     /* forbidden by memory_debug_limit() */
    MEMORY_DEBUG_FAILURE_POLICY,    /* forbidden by the guest's policy */
    MEMORY_DEBUG_FAILURE_CONFLICT,  /* ENCRYPTED_PAGE_CONFLICT */
    MEMORY_DEBUG_FAILURE_UNMAPPED,  /* nothing is at the physical address */
    MEMORY_DEBUG_FAILURE_DEVICE,    /* the device there did not like it */
    MEMORY_DEBUG_FAILURE_BACKEND,   /* a ram_debug_ops call failed */
    MEMORY_DEBUG_FAILURE_VIRTUAL,   /* no translation of a virtual address */
    MEMORY_DEBUG_FAILURE__MAX,
} MemoryDebugFailure;

/**
 * MemoryDebugStats: what the debug layer did
 *
 * @reads, @writes: ram_debug_ops calls, failed ones included
 * @bytes_read, @bytes_written: bytes asked of them
 * @cache_hits: reads answered from decrypted pages
 * @failures: failed accesses, of normal guests as well
 */
typedef struct MemoryDebugStats {
    uint64_t reads, writes, bytes_read, bytes_written, cache_hits;
    uint64_t failures[MEMORY_DEBUG_FAILURE__MAX];
} MemoryDebugStats;

MemoryDebugStats memory_debug_stats(void);

/* How many accesses have failed, for whatever reason */
uint64_t memory_debug_failures(void);

/**
 * MemoryDebugLastFailure: the last access that failed
 *
 * @addr: virtual where @is_virtual, else physical
 * @reason: what the user was, or should have been, told; NULL if no access
 *     has failed yet.  For g_free().
 */
typedef struct MemoryDebugLastFailure {
    uint64_t addr;
    bool is_virtual;
    bool is_write;
    char *reason;
} MemoryDebugLastFailure;

MemoryDebugLastFailure memory_debug_last_failure(void);

/* The same with its hint, for error_free(); NULL if no access has failed */
Error *memory_debug_last_error(void);

#endif
