/*
 * SEV: access any range of guest memory, in blocks that all kernels get right
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef I386_SEV_DBG_BLOCKS_H
#define I386_SEV_DBG_BLOCKS_H

/*
 * KVM_SEV_DBG_DECRYPT and _ENCRYPT work on 16-byte blocks.  Kernels differ in
 * how they handle other ranges: those in the field write beyond the end of the
 * destination page when a transfer crosses it, and lose data when an unaligned
 * encryption crosses a block.  All kernels correctly handle whole blocks
 * within one page if the other side has the same offset in its page.  So
 * everything goes through a bounce page, and partial blocks are read, modified
 * and written.
 */
#define SEV_DBG_PAGE_SIZE   4096
#define SEV_DBG_BLOCK_SIZE  16

/**
 * SevDbgCommand: one firmware command
 *
 * @guest: host-virtual address of guest memory
 * @bounce: the address in the bounce page with the same page offset
 * @len: in bytes
 *
 * All three are multiples of SEV_DBG_BLOCK_SIZE; neither side crosses a page.
 */
typedef bool SevDbgCommand(void *opaque, uint64_t guest, uint8_t *bounce,
                           uint32_t len, Error **errp);

/**
 * SevDbgFirmware: the two commands, and the direction of their transfers
 *
 * @decrypt: guest to bounce
 * @encrypt: bounce to guest
 * @bounce: a page of SEV_DBG_PAGE_SIZE bytes, aligned to its size; it is
 *     zeroed after each transfer
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
