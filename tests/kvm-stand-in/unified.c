/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * KVM_MEMORY_ENCRYPT_READ_MEMORY and _WRITE_MEMORY, as proposed for TDX: @addr
 * is a guest-physical address (the kernel strips the shared bit) for TDX and
 * SNP, the caller's own for SEV. The kernel goes page by page and writes the
 * bytes it completed back to @len, whatever it returns.
 */
#include <errno.h>
#include <string.h>

#include "standin.h"

struct transfer {
    const char *name;
    bool write;
    struct kvm_rw_memory rw;
    uint64_t gpa;
    uint64_t done;
    int64_t claim;              /* a lie about @done, -1: none */
};

/* SEV: the page that the caller's address maps. */
static long sev_page(struct transfer *t, uint64_t hva, size_t len)
{
    uint64_t start = hva & ~15ULL, end = (hva + len + 15) & ~15ULL;
    struct ram *ram = ram_at_hva(hva);
    uint8_t plain[PAGE];
    uint64_t user = t->rw.ubuf + t->done;
    long ret;

    if (!ram) {
        return -EINVAL;
    }
    cipher_decrypt(plain, (uint8_t *)start, end - start, start);
    if (!t->write) {
        return user_write(user, plain + (hva - start), len);
    }
    ret = user_read(plain + (hva - start), user, len);
    if (!ret) {
        cipher_encrypt((uint8_t *)start, plain, end - start, start);
        if (!ram->shared[(hva - (uint64_t)ram->raw) / PAGE]) {
            memcpy(ram->priv + (start - (uint64_t)ram->raw), plain,
                   end - start);
        }
    }
    return ret;
}

/* SNP, TDX: private or shared by the kernel's own view of the page. */
static long gpa_page(struct transfer *t, uint64_t gpa, size_t len)
{
    struct slot *s = slot_at(gpa);
    uint64_t user = t->rw.ubuf + t->done;
    uint8_t *mem;

    if (!s || !s->ram) {
        return -EINVAL;
    }
    if (page_is_shared(s, gpa)) {
        mem = page_raw(s, gpa);
    } else if (ram_page_present(s->ram, s->offset + (gpa - s->gpa))) {
        mem = page_private(s, gpa);
    } else {
        return -EINVAL;         /* not mapped yet */
    }
    return t->write ? user_read(mem, user, len) : user_write(user, mem, len);
}

/* Up to @limit bytes; t->done says how far it came. */
static long transfer(struct transfer *t, uint64_t limit)
{
    uint64_t base = kind_is_sev() ? t->rw.addr : t->gpa;
    long ret = 0;

    while (t->done < limit && !ret) {
        uint64_t at = base + t->done;
        uint64_t len = PAGE - PAGE_OFFSET(at);

        len = len < limit - t->done ? len : limit - t->done;
        ret = kind_is_sev() ? sev_page(t, at, len) : gpa_page(t, at, len);
        t->done += ret ? 0 : len;
    }
    return ret;
}

static long check(const struct transfer *t)
{
    if (vm.kind == GUEST_PLAIN || vm.state != STATE_RUNNING ||
        !policy_allows_debug() || !t->rw.len || !t->rw.ubuf ||
        t->rw.addr + t->rw.len < t->rw.addr) {
        return -EINVAL;
    }
    return 0;
}

static long run(struct transfer *t)
{
    struct fault fault;
    uint64_t limit = t->rw.len;
    long ret = check(t);

    t->gpa = kind_is_sev() ? slot_gpa_of_hva(t->rw.addr)
                           : t->rw.addr & ~(vm.kind == GUEST_TDX ? vm.bit : 0);
    if (ret) {
        return ret;
    }
    fault = fault_check(t->name, t->gpa, t->rw.len);
    t->claim = fault.claim;
    if (fault.fires) {
        limit = (uint64_t)fault.partial < limit ? (uint64_t)fault.partial : limit;
    }
    slot_sync();
    ret = transfer(t, limit);
    return ret ?: -fault.err;
}

static long locked(struct transfer *t, void *arg)
{
    uint64_t asked;
    long ret;

    if (user_read(&t->rw, (uint64_t)arg, sizeof(t->rw))) {
        return -EFAULT;
    }
    asked = t->rw.len;
    ret = run(t);
    log_call(t->name, ret, "gpa=0x%lx addr=0x%lx len=%lu done=%lu", t->gpa,
             t->rw.addr, asked, t->done);
    t->rw.len = t->claim < 0 ? t->done : (uint64_t)t->claim;
    return user_write((uint64_t)arg, &t->rw, sizeof(t->rw)) ?: ret;
}

long unified_ioctl(unsigned long request, void *arg)
{
    struct transfer t = {
        .claim = -1,
        .write = request == KVM_MEMORY_ENCRYPT_WRITE_MEMORY,
    };
    long ret;

    t.name = t.write ? "KVM_MEMORY_ENCRYPT_WRITE_MEMORY"
                     : "KVM_MEMORY_ENCRYPT_READ_MEMORY";
    if (!config.unified) {
        log_call(t.name, -ENOTTY, "kernel without it");
        return -ENOTTY;
    }
    debug_latency(debug_clock_us());
    pthread_mutex_lock(&vm.lock);
    ret = locked(&t, arg);
    pthread_mutex_unlock(&vm.lock);
    return ret;
}
