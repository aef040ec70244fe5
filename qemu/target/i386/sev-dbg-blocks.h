/*
 * SEV: any range of guest memory, in blocks that every kernel handles right
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef I386_SEV_DBG_BLOCKS_H
#define I386_SEV_DBG_BLOCKS_H

/*
 * KVM_SEV_DBG_DECRYPT and _ENCRYPT work on 16-byte blocks.  Kernels differ in
 * what they make of other ranges: those in the field write beyond the
 * destination's page when a transfer crosses it, and lose data when an
 * unaligned encryption crosses a block.  Right on every kernel is a range of
 * whole blocks in one page, whose other side has the same offset in its page.
 * So all goes through a bounce page, and what does not fill its blocks is
 * read, modified and written.
 */
#define SEV_DBG_PAGE_SIZE   4096
#define SEV_DBG_BLOCK_SIZE  16

/**
 * SevDbgCommand: one firmware command
 *
 * @guest: host-virtual address of guest memory
 * @bounce: the address in the bounce page with the same offset in its page
 * @len: bytes
 *
 * All three are multiples of SEV_DBG_BLOCK_SIZE; neither side crosses a page.
 */
typedef bool SevDbgCommand(void *opaque, uint64_t guest, uint8_t *bounce,
                           uint32_t len, Error **errp);

/**
 * SevDbgFirmware: the two commands, and where they take data from and to
 *
 * @decrypt: guest to bounce
 * @encrypt: bounce to guest
 * @bounce: a page of SEV_DBG_PAGE_SIZE bytes, aligned to its size; it holds
 *     nothing but zeros after each transfer
 */
typedef struct SevDbgFirmware {
    SevDbgCommand *decrypt;
    SevDbgCommand *encrypt;
    void *opaque;
    uint8_t *bounce;
} SevDbgFirmware;

/**
 * sev_dbg_read, sev_dbg_write: transfer @len bytes at @guest
 *
 * @guest: host-virtual address of guest memory, any byte
 *
 * The caller serialises all transfers, and keeps the guest from writing to
 * the blocks that a write shares with other data.  Returns false with @errp
 * set by the command that failed; a write may have completed in part.
 */
bool sev_dbg_read(const SevDbgFirmware *fw, uint64_t guest, uint8_t *buf,
                  uint64_t len, Error **errp);
bool sev_dbg_write(const SevDbgFirmware *fw, uint64_t guest,
                   const uint8_t *buf, uint64_t len, Error **errp);

#endif
