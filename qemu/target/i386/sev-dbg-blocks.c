/*
 * SEV: access any range of guest memory, in blocks that all kernels get right
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "sev-dbg-blocks.h"

/* The part of a range within one page, and the blocks that contain it */
typedef struct SevDbgChunk {
    uint64_t guest;     /* first block */
    uint8_t *bounce;    /* its place in the bounce page */
    uint32_t blocks;    /* size of all blocks in bytes */
    uint32_t skip;      /* offset of the range in the first block */
    uint32_t len;       /* size of the range in bytes */
} SevDbgChunk;

static SevDbgChunk sev_dbg_chunk(const SevDbgFirmware *fw, uint64_t guest,
                                 uint64_t len)
{
    uint32_t in_page = guest % SEV_DBG_PAGE_SIZE;
    uint32_t skip = guest % SEV_DBG_BLOCK_SIZE;

    len = MIN(len, SEV_DBG_PAGE_SIZE - in_page);
    return (SevDbgChunk) {
        .guest = guest - skip,
        .bounce = fw->bounce + in_page - skip,
        .blocks = ROUND_UP(skip + len, SEV_DBG_BLOCK_SIZE),
        .skip = skip,
        .len = len,
    };
}

static bool sev_dbg_read_chunk(const SevDbgFirmware *fw, const SevDbgChunk *c,
                               uint8_t *buf, Error **errp)
{
    if (!fw->decrypt(fw->opaque, c->guest, c->bounce, c->blocks, errp)) {
        return false;
    }
    memcpy(buf, c->bounce + c->skip, c->len);
    return true;
}

static bool sev_dbg_write_chunk(const SevDbgFirmware *fw,
                                const SevDbgChunk *c, const uint8_t *buf,
                                Error **errp)
{
    if (c->len < c->blocks &&
        !fw->decrypt(fw->opaque, c->guest, c->bounce, c->blocks, errp)) {
        return false;
    }
    memcpy(c->bounce + c->skip, buf, c->len);
    return fw->encrypt(fw->opaque, c->guest, c->bounce, c->blocks, errp);
}

bool sev_dbg_read(const SevDbgFirmware *fw, uint64_t guest, uint8_t *buf,
                  uint64_t len, Error **errp)
{
    bool ok = true;

    while (len && ok) {
        SevDbgChunk c = sev_dbg_chunk(fw, guest, len);

        ok = sev_dbg_read_chunk(fw, &c, buf, errp);
        guest += c.len;
        buf += c.len;
        len -= c.len;
    }
    memset(fw->bounce, 0, SEV_DBG_PAGE_SIZE);
    return ok;
}

bool sev_dbg_write(const SevDbgFirmware *fw, uint64_t guest,
                   const uint8_t *buf, uint64_t len, Error **errp)
{
    bool ok = true;

    while (len && ok) {
        SevDbgChunk c = sev_dbg_chunk(fw, guest, len);

        ok = sev_dbg_write_chunk(fw, &c, buf, errp);
        guest += c.len;
        buf += c.len;
        len -= c.len;
    }
    memset(fw->bounce, 0, SEV_DBG_PAGE_SIZE);
    return ok;
}
