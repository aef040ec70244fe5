/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * KVM_MEMORY_ENCRYPT_READ_MEMORY and _WRITE_MEMORY, as linux/ has them: @addr
 * is a guest-physical address without C-bit or shared bit, and everything in
 * the range has to be private. The kernel goes page by page and writes the
 * bytes it completed back to @len, whatever it returns.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "standin.h"

struct transfer {
    struct transfer *next;
    const char *name;
    bool write;
    struct kvm_rw_memory rw;
    uint64_t done;
    int64_t claim;              /* a lie about @done, -1: none */
};
static struct transfer *under_way;      /* guarded by vm.lock */

void unified_check_change(const char *what, uint64_t gpa, uint64_t size)
{
    for (struct transfer *t = under_way; t; t = t->next) {
        if (t->rw.addr < gpa + size && gpa < t->rw.addr + t->rw.len) {
            log_violation("%s at 0x%lx+0x%lx during %s of 0x%lx+0x%lx", what,
                          gpa, size, t->name, t->rw.addr, t->rw.len);
        }
    }
}

/* Sleep as long as a page takes, without vm.lock, so that calls overlap. */
static void page_latency(uint64_t *deadline)
{
    struct timespec until;

    if (!config.page_latency_us) {
        return;
    }
    *deadline += config.page_latency_us;
    until.tv_sec = *deadline / 1000000;
    until.tv_nsec = *deadline % 1000000 * 1000;
    pthread_mutex_unlock(&vm.lock);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL)) {
        /* interrupted by a signal */
    }
    pthread_mutex_lock(&vm.lock);
}

/* Bytes of one page */
static long transfer_page(struct transfer *t, uint64_t gpa, size_t len)
{
    struct slot *s = slot_at(gpa);
    uint64_t user = t->rw.ubuf + t->done;
    uint8_t *mem;

    if (!s || !s->ram) {
        return -EINVAL;
    }
    if (page_is_shared(s, gpa)) {
        log_violation("%s of 0x%lx, which is shared: QEMU has another record",
                      t->name, gpa);
        return -EINVAL;
    }
    if (!ram_page_present(s->ram, s->offset + (gpa - s->gpa))) {
        return -ENOENT;
    }
    mem = page_private(s, gpa);
    return t->write ? user_read(mem, user, len) : user_write(user, mem, len);
}

/* Up to @limit bytes; t->done says how far it came. */
static long transfer(struct transfer *t, uint64_t limit)
{
    uint64_t deadline = debug_clock_us();
    long ret = 0;

    while (t->done < limit && !ret) {
        uint64_t gpa = t->rw.addr + t->done;
        uint64_t len = PAGE - PAGE_OFFSET(gpa);

        len = len < limit - t->done ? len : limit - t->done;
        page_latency(&deadline);
        ret = transfer_page(t, gpa, len);
        t->done += ret ? 0 : len;
    }
    return ret;
}

static long check(const struct transfer *t)
{
    if (vm.state != STATE_RUNNING || !policy_allows_debug()) {
        return -EPERM;
    }
    if (!t->rw.len || !t->rw.ubuf || t->rw.addr + t->rw.len - 1 < t->rw.addr ||
        t->rw.ubuf + t->rw.len - 1 < t->rw.ubuf) {
        return -EINVAL;
    }
    return 0;
}

static long run(struct transfer *t)
{
    struct fault fault;
    uint64_t limit = t->rw.len;
    long ret = check(t);

    if (ret) {
        return ret;
    }
    fault = fault_check(t->name, t->rw.addr, t->rw.len);
    t->claim = fault.claim;
    if (fault.fires && (uint64_t)fault.partial < limit) {
        limit = fault.partial;
    }
    t->next = under_way;
    under_way = t;
    ret = transfer(t, limit);
    for (struct transfer **link = &under_way; ; link = &(*link)->next) {
        if (*link == t) {
            *link = t->next;
            break;
        }
    }
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
    log_call(t->name, ret, "gpa=0x%lx len=%lu done=%lu", t->rw.addr, asked,
             t->done);
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
    if (!config.unified || !kind_has_memfd()) {
        log_call(t.name, -ENOTTY, config.unified ? "VM without private memory" :
                                                   "kernel without it");
        return -ENOTTY;
    }
    debug_latency(debug_clock_us());
    pthread_mutex_lock(&vm.lock);
    ret = locked(&t, arg);
    pthread_mutex_unlock(&vm.lock);
    return ret;
}
