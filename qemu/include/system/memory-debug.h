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
#include "qemu/atomic.h"
#include "qemu/units.h"
#include "system/confidential-guest-support.h"

/*
 * The monitor, the gdbstub and the dumps access guest memory through this
 * layer.  For a normal guest it calls the ordinary accessors.  For a
 * confidential guest it uses the RAM's ram_debug_ops, obeys the guest owner's
 * policy, and never returns what the host sees of a private page.
 *
 * Devices must not use it: what a device reads and writes is shared.
 *
 * Everything here may be called from any thread; the BQL is needed only
 * where a comment says so, and is taken for the duration of an MMIO access.
 * RCU critical sections are short and never held across a ram_debug_ops
 * call, which may take milliseconds.
 *
 * Each failing call sets @errp (unless NULL) to one sentence for the user:
 * what could not be done, at which address, and why.  After a failing read
 * the contents of the buffer are undefined; nothing of it may be shown.
 */

/* The unit of encryption state and of the page cache, in bytes */
#define MEMORY_DEBUG_PAGE_SIZE  4096
/* One ram_debug_ops call covers this many bytes at most */
#define MEMORY_DEBUG_RUN_MAX    (1 * MiB)

/**
 * MemoryDebugScope: the accesses of one command
 *
 * Within a scope each page of private memory is decrypted once.  Memory that
 * is read in small pieces, or through page tables, then costs one
 * ram_debug_ops call per page, and each page is shown as it was at one moment.
 * All scopes that begin while the VM is stopped share their pages, until it
 * runs again.
 *
 * It lives on the stack of the command.  Functions accept NULL for an access
 * that stands alone.
 *
 * A scope that is all zeros and has not been begun serves a single access, of
 * which nothing is kept.
 *
 * @assumed_private: number of bytes that were read as private although they
 *     may be shared: the host has no record (SEV, SEV-ES), and no known page
 *     table maps them.  To be reported to the user.
 */
struct MemoryDebugScope {
    /*< private >*/
    uint64_t view;

    /*< public >*/
    uint64_t assumed_private;
};

void memory_debug_scope_begin(MemoryDebugScope *scope);
void memory_debug_scope_end(MemoryDebugScope *scope);

/**
 * MemoryDebugOps: access to physical memory for debuggers
 *
 * @read: read @len bytes at physical address @addr of @as into @buf
 * @write: write @len bytes from @buf, ROM included.  Nothing is written if
 *     any part of the range is forbidden.  A write that fails otherwise may
 *     have written what precedes the failing byte, or follows a hole.
 *
 * A physical address of a confidential guest may carry the guest's
 * page-table bit: AMD's C-bit means private, TDX's shared bit shared.
 * Without it the page's own state decides.  Where the host has no record of
 * that (SEV, SEV-ES), the guest's page tables decide while the VM is stopped;
 * a page that they do not map is read as private, see MemoryDebugScope, and
 * is not written.
 *
 * A range that extends beyond the end of the address space continues at 0.
 *
 * Returns MEMTX_OK, MEMTX_DECODE_ERROR (nothing is mapped there),
 * MEMTX_ACCESS_ERROR (forbidden) or MEMTX_ERROR (device, kernel or firmware
 * failed, or the guest has no such page yet).  Zero @len is success.
 */
typedef struct MemoryDebugOps {
    MemTxResult (*read)(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                        void *buf, hwaddr len, MemoryDebugScope *scope,
                        Error **errp);
    MemTxResult (*write)(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                         const void *buf, hwaddr len, MemoryDebugScope *scope,
                         Error **errp);
} MemoryDebugOps;

/* Never NULL; set once, before the machine's devices exist */
extern const MemoryDebugOps *physical_memory_debug_op;

/**
 * MemoryRegionRAMReadWriteOps: private memory of a RAM region
 *
 * @read: read the plaintext of @len bytes at @offset of @mr into @buf
 * @write: write @len bytes so that the guest sees them
 * @by_gpa: they use @gpa, and access whatever is mapped there
 * @parallel: concurrent calls take less time than one after the other
 *
 * @gpa is the guest-physical address of @offset, without page-table bit.
 * The range is private throughout, lies in one RAMBlock and is at most
 * MEMORY_DEBUG_RUN_MAX long; it may start and end at any byte.
 *
 * Called between memory_debug_transfer_begin() and _end() and outside of RCU
 * critical sections, with or without the BQL, the VM running or stopped, by
 * several threads at once.
 *
 * Return MEMTX_OK; MEMTX_DECODE_ERROR if the guest has no such page yet,
 * because it has not accepted or touched it; or MEMTX_ACCESS_ERROR or
 * MEMTX_ERROR.  Unless they return MEMTX_OK, they set @errp to the reason, and
 * the contents of @buf are not used.
 */
struct MemoryRegionRAMReadWriteOps {
    MemTxResult (*read)(MemoryRegion *mr, hwaddr offset, hwaddr gpa,
                        void *buf, hwaddr len, Error **errp);
    MemTxResult (*write)(MemoryRegion *mr, hwaddr offset, hwaddr gpa,
                         const void *buf, hwaddr len, Error **errp);
    bool by_gpa;
    bool parallel;
};

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

/* MemoryDebugOps on the system address space */
MemTxResult cpu_physical_memory_rw_debug(hwaddr addr, void *buf, hwaddr len,
                                         bool is_write,
                                         MemoryDebugScope *scope,
                                         Error **errp);
MemTxResult cpu_physical_memory_read_debug(hwaddr addr, void *buf, hwaddr len,
                                           MemoryDebugScope *scope,
                                           Error **errp);
MemTxResult cpu_physical_memory_write_debug(hwaddr addr, const void *buf,
                                            hwaddr len,
                                            MemoryDebugScope *scope,
                                            Error **errp);

/**
 * memory_debug_rw_virtual: cpu_memory_rw_debug() with an error
 *
 * @cpu: vCPU whose page tables translate; its state is synchronised
 * @addr: guest-virtual address
 * @len: in bytes; runs of physically contiguous pages are accessed at once
 *
 * Called with the BQL held.  A write that fails halfway has written the
 * pages before the failing one.
 */
MemTxResult memory_debug_rw_virtual(CPUState *cpu, vaddr addr, void *buf,
                                    size_t len, bool is_write,
                                    MemoryDebugScope *scope, Error **errp);

/**
 * memory_debug_read_some: read what can be read from @addr on
 *
 * @cpu: vCPU whose page tables translate @addr, or NULL if it is physical
 * @len: bytes to read; cut to the pages before the first one that cannot be
 *     read, and to MEMORY_DEBUG_RUN_MAX
 *
 * Called with the BQL held.  Returns false if the page of @addr itself cannot
 * be read, with @errp set to an error that names the byte.
 */
bool memory_debug_read_some(CPUState *cpu, uint64_t addr, void *buf,
                            hwaddr *len, MemoryDebugScope *scope,
                            Error **errp);

/**
 * memory_debug_is_ram: is there RAM, ROM or flash at a physical address?
 *
 * @addr: in the system address space; may carry the page-table bit
 * @len: bytes asked about; cut to those that have the same answer
 *
 * For commands that read anything but RAM as they do for a normal guest.
 */
bool memory_debug_is_ram(hwaddr addr, hwaddr *len);

/* Warn the user if memory read in @scope may not have been private */
void memory_debug_scope_warn(const MemoryDebugScope *scope);

/**
 * MemoryDebugTranslation: where a guest-virtual address leads
 *
 * @gpa: guest-physical address, without page-table bit
 * @len: bytes from there on that the same leaf entry maps
 * @attrs: for accessing them; .encryption is what the leaf entry says
 */
struct MemoryDebugTranslation {
    hwaddr gpa;
    uint64_t len;
    MemTxAttrs attrs;
};

/**
 * memory_debug_translate: guest-virtual to guest-physical
 *
 * @cpu: vCPU whose page tables translate
 * @addr: guest-virtual address, any byte
 *
 * Called with the BQL held.  Returns false with @errp set if no page is
 * mapped there, or if the page tables cannot be read.
 */
bool memory_debug_translate(CPUState *cpu, vaddr addr,
                            MemoryDebugTranslation *translation,
                            MemoryDebugScope *scope, Error **errp);

/**
 * memory_debug_encryption_name: what a page-table leaf says, for the user
 *
 * Returns "private" or "shared", or "" if it says neither.
 */
const char *memory_debug_encryption_name(MemTxAttrs attrs);

/**
 * memory_debug_read_ram: read RAM of a region, wherever it is mapped now
 *
 * @mr: a region with a RAMBlock of its own; the caller has a reference
 * @offset: of the first byte in @mr
 * @gpa: guest-physical address of that byte, without page-table bit
 *
 * Dumps read each byte once and need no page cache: their @scope has not
 * begun, and collects @assumed_private.
 * Several threads may read at once, see memory_debug_parallel().  Each call
 * makes one ram_debug_ops call for each run of pages in the same state, at
 * most MEMORY_DEBUG_RUN_MAX long.
 *
 * @errp is set to the reason of a failure; adding the address is up to the
 * caller.  Returns MEMTX_OK; MEMTX_DECODE_ERROR if the guest has no such page
 * yet; MEMTX_ACCESS_ERROR or MEMTX_ERROR as MemoryDebugOps do.
 */
MemTxResult memory_debug_read_ram(MemoryRegion *mr, hwaddr offset, hwaddr gpa,
                                  void *buf, hwaddr len,
                                  MemoryDebugScope *scope, Error **errp);

/* Is it memory of a device (vram), which the guest shares with the host? */
bool memory_debug_is_device_ram(MemoryRegion *mr);

/* Do reads by several threads at once take less time than sequential ones? */
bool memory_debug_parallel(void);

/**
 * memory_debug_find_mapped: learn from the guest's page tables which pages
 * are private
 *
 * Does nothing if the host has a record of that.  Otherwise, the result is
 * used for all accesses until the VM runs again, or is reset.  Accesses with
 * the BQL held do this implicitly, and again after debuggers have changed
 * memory or registers; a command that continues in another thread calls it
 * first, and warns if it fails: everything not known to be shared is then read
 * as private.
 *
 * Called with the BQL held and the VM stopped.  Returns false with @errp set
 * if the page tables are not known or cannot be read.
 */
bool memory_debug_find_mapped(Error **errp);

/**
 * memory_debug_new_view: forget what was read while the VM is stopped
 *
 * For callers that change what is at an address, or how it is translated.
 * Called with the BQL held.
 */
void memory_debug_new_view(void);

/**
 * memory_debug_init: set up debugging of @ms's confidential guest, if any
 *
 * Called once, with the BQL held, before the board creates its devices.
 */
void memory_debug_init(MachineState *ms);

/**
 * memory_debug_guest: the confidential guest, or NULL for a normal one
 *
 * Constant once the machine is initialised.
 */
ConfidentialGuestSupport *memory_debug_guest(void);

/**
 * memory_debug_page_bit: the page-table bit; mask 0 for a normal guest
 */
ConfidentialGuestPageBit memory_debug_page_bit(void);

/**
 * memory_debug_check: may debuggers access this guest's memory at all?
 *
 * Returns false with @errp set while the guest's RAM is incoming, or if the
 * memory-debug object or the policy of a confidential guest forbids it.  Every
 * command calls it before creating or truncating anything.
 */
bool memory_debug_check(bool is_write, Error **errp);

/**
 * memory_debug_check_host_view: does a host pointer to guest RAM show what
 * the guest sees?
 *
 * Returns false for a confidential guest, with @errp naming what to use
 * instead.  For commands that hand out such pointers.
 */
bool memory_debug_check_host_view(Error **errp);

/**
 * memory_debug_registers_protected: do the registers that QEMU holds differ
 * from the guest's, because they are protected?  Called with the BQL held.
 */
bool memory_debug_registers_protected(void);

/*
 * A transfer looks up the state of a page and accesses it.  A conversion
 * changes the state of pages: between private and shared, by encryption in
 * place, or by mapping other memory.  Many transfers may be under way at once,
 * but none during a conversion; a conversion waits for those that have begun,
 * and drops decrypted pages.
 *
 * Both may be called with or without the BQL.  A thread must not begin one
 * within another, except that conversions nest.
 */
void memory_debug_transfer_begin(void);
void memory_debug_transfer_end(void);
void memory_debug_convert_begin(void);
void memory_debug_convert_end(void);

/* Wipe plaintext that is no longer needed; the compiler must not elide it */
static inline void memory_debug_wipe(void *buf, size_t len)
{
    memset(buf, 0, len);
    barrier();
}

/**
 * MemoryDebugStats: debug accesses to a confidential guest
 *
 * @reads, @writes: ram_debug_ops calls, failed ones included
 * @bytes_read, @bytes_written: bytes requested by them
 * @cache_hits: reads answered from decrypted pages
 */
typedef struct MemoryDebugStats {
    uint64_t reads, writes, bytes_read, bytes_written, cache_hits;
} MemoryDebugStats;

MemoryDebugStats memory_debug_stats(void);

/**
 * MemoryDebugLastFailure: the last access to a confidential guest that failed
 *
 * @addr: virtual if @is_virtual, else physical
 * @reason: error message; NULL if no access has failed yet.  To be freed with
 *     g_free().
 */
typedef struct MemoryDebugLastFailure {
    uint64_t addr;
    bool is_virtual;
    bool is_write;
    char *reason;
} MemoryDebugLastFailure;

MemoryDebugLastFailure memory_debug_last_failure(void);

/**
 * memory_debug_remember_failure: record the last failure
 *
 * For callers of memory_debug_read_ram() that cannot report @err to the user.
 */
void memory_debug_remember_failure(uint64_t addr, bool is_virtual,
                                   bool is_write, const Error *err);

#endif
