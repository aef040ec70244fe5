/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * KVM_SEV_DBG_DECRYPT and KVM_SEV_DBG_ENCRYPT, with the checks, the errors
 * and (STANDIN_KERNEL_BUGS=old) the bugs of the kernels in the field. Both
 * addresses are the caller's; the guest's side is decrypted or encrypted with
 * the key of the guest, whatever it holds: a shared page yields garbage.
 */
#include <errno.h>
#include <string.h>
#include <time.h>
#include <linux/psp-sev.h>

#include "standin.h"

#define BLOCK           16ULL
#define BLOCK_DOWN(x)   ((uint64_t)(x) & ~(BLOCK - 1))
#define BLOCK_UP(x)     BLOCK_DOWN((x) + BLOCK - 1)

uint64_t debug_clock_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000ULL + now.tv_nsec / 1000;
}

void debug_latency(uint64_t start)
{
    /* nanosleep() takes 50 microseconds more than it is asked for */
    while (debug_clock_us() - start < config.latency_us) {
    }
}

/* What only works on kernels newer than most, or not at all. */
static bool strict_violation(const struct kvm_sev_dbg *d, bool decrypt)
{
    uint64_t guest = decrypt ? d->src_uaddr : d->dst_uaddr;
    uint64_t src_chunk = PAGE - PAGE_OFFSET(d->src_uaddr);
    uint64_t chunk = d->len < src_chunk ? d->len : src_chunk;
    bool bad = false;

    if (PAGE_OFFSET(d->dst_uaddr) + chunk > PAGE) {
        bad |= log_violation("DBG destination 0x%llx+0x%lx crosses a page: old "
                             "kernels write beyond it", d->dst_uaddr, chunk);
    }
    if (d->len > src_chunk) {
        bad |= log_violation("DBG of more than one page: src 0x%llx+0x%x",
                             d->src_uaddr, d->len);
    }
    if (!decrypt && ((d->dst_uaddr | d->src_uaddr | d->len) & (BLOCK - 1))) {
        bad |= log_violation("DBG_ENCRYPT not 16-byte aligned: src 0x%llx dst "
                             "0x%llx len 0x%x: old kernels lose data",
                             d->src_uaddr, d->dst_uaddr, d->len);
    }
    if (!ram_at_hva(guest)) {
        bad |= log_violation("DBG of 0x%lx, which is no guest memory", guest);
    }
    return bad;
}

static void decrypt_chunk(uint64_t src, uint64_t dst, size_t len)
{
    uint64_t start = BLOCK_DOWN(src);
    uint8_t plain[2 * PAGE];
    size_t deliver = len;

    cipher_decrypt(plain, (uint8_t *)start, BLOCK_UP(src + len) - start, start);
    /* Aligned, the firmware writes to the pinned page, and then beyond it. */
    if (config.old_kernel && !((src | dst | len) & (BLOCK - 1)) &&
        PAGE_OFFSET(dst) + len > PAGE) {
        deliver = PAGE - PAGE_OFFSET(dst);
    }
    memcpy((uint8_t *)dst, plain + (src - start), deliver);
}

/* Write @plain, whole blocks, to guest memory: the guest and QEMU see it. */
static void write_blocks(uint64_t dst, const uint8_t *plain, size_t len)
{
    struct ram *ram = ram_at_hva(dst);

    cipher_encrypt((uint8_t *)dst, plain, len, dst);
    if (ram) {
        uint64_t offset = dst - (uint64_t)ram->raw;

        if (!ram->shared[offset / PAGE]) {
            memcpy(ram->priv + offset, plain, len);
        }
    }
}

static void encrypt_chunk(uint64_t src, uint64_t dst, size_t len)
{
    uint64_t start = BLOCK_DOWN(dst);
    size_t blocks = BLOCK_UP(dst + len) - start;
    uint8_t plain[2 * PAGE];

    if ((dst | len) & (BLOCK - 1)) {
        cipher_decrypt(plain, (uint8_t *)start, blocks, start);
        if (config.old_kernel) {
            blocks = BLOCK_UP(len);     /* forgets the offset in the block */
        }
    }
    memcpy(plain + (dst - start), (uint8_t *)src, len);
    write_blocks(start, plain, blocks);
}

static void transfer(const struct kvm_sev_dbg *d, bool decrypt)
{
    uint64_t src = d->src_uaddr, dst = d->dst_uaddr, left = d->len;

    while (left) {
        uint64_t len = PAGE - PAGE_OFFSET(src);

        len = len < left ? len : left;
        if (decrypt) {
            decrypt_chunk(src, dst, len);
        } else {
            encrypt_chunk(src, dst, len);
        }
        src += len;
        dst += len;
        left -= len;
    }
}

static int firmware_verdict(void)
{
    if (vm.state != STATE_RUNNING) {
        return SEV_RET_INVALID_GUEST_STATE;
    }
    return policy_allows_debug() ? 0 : SEV_RET_POLICY_FAILURE;
}

static long check(struct kvm_sev_cmd *cmd, const struct kvm_sev_dbg *d,
                  bool decrypt, const struct fault *fault)
{
    if (!d->len || d->src_uaddr + d->len < d->src_uaddr || !d->dst_uaddr) {
        return -EINVAL;
    }
    if (!user_mapped(d->src_uaddr, d->len) ||
        !user_mapped(d->dst_uaddr, d->len)) {
        return -ENOMEM;         /* the pages cannot be pinned */
    }
    if (fault->err) {
        cmd->error = fault->fw_error;
        return -fault->err;
    }
    cmd->error = firmware_verdict();
    if (cmd->error) {
        return -EIO;
    }
    return strict_violation(d, decrypt) ? -EINVAL : 0;
}

long sev_debug(struct kvm_sev_cmd *cmd, bool decrypt)
{
    const char *name = decrypt ? "KVM_SEV_DBG_DECRYPT" : "KVM_SEV_DBG_ENCRYPT";
    struct kvm_sev_dbg d;
    struct fault fault;
    uint64_t gpa;
    long ret;

    if (user_read(&d, cmd->data, sizeof(d))) {
        return -EFAULT;
    }
    gpa = slot_gpa_of_hva(decrypt ? d.src_uaddr : d.dst_uaddr);
    fault = fault_check(name, gpa, d.len);
    ret = check(cmd, &d, decrypt, &fault);
    if (!ret) {
        slot_sync();
        transfer(&d, decrypt);
    }
    log_call(name, ret, "gpa=0x%lx src=0x%llx dst=0x%llx len=%u fw=%d", gpa,
             d.src_uaddr, d.dst_uaddr, d.len, cmd->error);
    return ret;
}
