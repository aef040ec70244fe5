/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory slots. Each of QEMU's becomes several of the kernel below, because
 * guest-physical memory is seen through two aliases, with and without the
 * C-bit or shared bit, and a page is reachable as follows:
 *
 *            page      private access           shared access
 *   SEV      private   private memory, logged   QEMU's, read-only
 *            shared    nothing                  QEMU's
 *   SNP, TDX private   guest_memfd              nothing
 *            shared    nothing                  QEMU's
 *
 * "Nothing" and "read-only" make the kernel exit with KVM_EXIT_MMIO, which
 * vcpu.c turns into a conversion (SEV has no tracking on hardware; here the
 * first access of the other kind converts) or into KVM_EXIT_MEMORY_FAULT.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "standin.h"

#define MAX_PIECES 32000
#define CHUNK (16UL << 20)

static uint8_t id_used[MAX_PIECES];

/*
 * Without paging, and for page tables and instructions, hardware makes private
 * accesses though there is no C-bit; the kernel below sees just that. So memory
 * that starts a vCPU is private with and without the bit. Linux's decompressor
 * has such a page table elsewhere: with STANDIN_SHARING=announced all memory is
 * like that until a hypercall says that it is shared.
 */
static bool c0_is_private(uint64_t gpa)
{
    return gpa < 0x100000 || (gpa >= 0xff000000 && gpa <= 0xffffffff) ||
           (config.announced && kind_is_sev());
}

struct slot *slot_at(uint64_t gpa)
{
    struct slot *s;

    for (s = vm.slots; s; s = s->next) {
        if (gpa - s->gpa < s->size) {
            return s;
        }
    }
    return NULL;
}

uint64_t slot_gpa_of_hva(uint64_t hva)
{
    struct slot *s, *found = NULL;

    /* The firmware has two: take the one that is not the ISA alias. */
    for (s = vm.slots; s; s = s->next) {
        if (hva - (uint64_t)s->raw < s->size &&
            (!found || s->gpa > found->gpa)) {
            found = s;
        }
    }
    return found ? found->gpa + (hva - (uint64_t)found->raw) : UINT64_MAX;
}

static uint64_t ram_offset(const struct slot *s, uint64_t gpa)
{
    return s->offset + (gpa - s->gpa);
}

bool page_is_shared(const struct slot *s, uint64_t gpa)
{
    return !s->ram || s->ram->shared[ram_offset(s, gpa) / PAGE];
}

uint8_t *page_raw(const struct slot *s, uint64_t gpa)
{
    return s->raw + (gpa - s->gpa);
}

uint8_t *page_private(const struct slot *s, uint64_t gpa)
{
    return s->ram->priv + ram_offset(s, gpa);
}

/* What the guest reaches at @gpa, with or without the bit: mem NULL, nothing */
static struct piece target(const struct slot *s, uint64_t gpa, bool bit)
{
    struct piece raw = { .mem = page_raw(s, gpa), .flags = s->flags };
    struct piece priv = { .priv = true, .flags = s->flags & KVM_MEM_READONLY };
    bool shared = page_is_shared(s, gpa);
    bool want_private = vm.kind == GUEST_TDX ? !bit
                                             : bit || c0_is_private(gpa);

    if (!s->ram) {
        return !bit || vm.kind == GUEST_TDX ? raw : (struct piece) { };
    }
    if (!shared && want_private) {
        priv.mem = page_private(s, gpa);
        if (kind_is_sev() && !priv.flags) {
            priv.flags = KVM_MEM_LOG_DIRTY_PAGES;
        }
        return priv;
    }
    if (!shared && kind_is_sev()) {
        raw.flags = KVM_MEM_READONLY;
        return raw;
    }
    if (shared && (vm.kind == GUEST_TDX ? bit : !bit)) {
        return raw;
    }
    return (struct piece) { };
}

/* The end of the pages from @gpa on that are reached in the same way. */
static uint64_t run_end(const struct slot *s, uint64_t gpa)
{
    static const uint64_t borders[] = { 0x100000, 0xff000000 };
    uint64_t end = s->gpa + s->size;
    /* When a page is converted, only its chunk is mapped anew. */
    uint64_t chunk = (gpa & ~(CHUNK - 1)) + CHUNK;

    if (s->ram) {
        const uint8_t *state = &s->ram->shared[ram_offset(s, gpa) / PAGE];
        const uint8_t *other = memchr(state, !*state, (end - gpa) / PAGE);

        end = other ? gpa + (other - state) * PAGE : end;
    }
    for (int i = 0; i < 2; i++) {
        if (gpa < borders[i] && borders[i] < end) {
            end = borders[i];
        }
    }
    return chunk < end ? chunk : end;
}

static unsigned wanted_pieces(const struct slot *s, struct piece **list)
{
    unsigned n = 0;
    uint64_t gpa;
    int bit;

    *list = NULL;
    for (bit = 0; bit <= (vm.bit ? 1 : 0); bit++) {
        for (gpa = s->gpa; gpa < s->gpa + s->size; gpa = run_end(s, gpa)) {
            struct piece run = target(s, gpa, bit);

            if (run.mem) {
                run.gpa = gpa | (bit ? vm.bit : 0);
                run.size = run_end(s, gpa) - gpa;
                *list = realloc(*list, (n + 1) * sizeof(run));
                (*list)[n++] = run;
            }
        }
    }
    return n;
}

static int kernel_set(const struct piece *p, uint64_t size)
{
    struct kvm_userspace_memory_region region = {
        .slot = p->id,
        .flags = p->flags,
        .guest_phys_addr = p->gpa,
        .memory_size = size,
        .userspace_addr = (uint64_t)p->mem,
    };

    return kernel_ioctl(vm.fd, KVM_SET_USER_MEMORY_REGION, &region);
}

static struct piece *find_same(struct piece *list, unsigned n,
                               const struct piece *p)
{
    unsigned i;

    for (i = 0; i < n; i++) {
        if (list[i].gpa == p->gpa && list[i].size == p->size &&
            list[i].mem == p->mem && list[i].flags == p->flags) {
            return &list[i];
        }
    }
    return NULL;
}

static int create_piece(struct piece *p)
{
    int ret;

    for (p->id = 0; id_used[p->id]; p->id++) {
        if (p->id == MAX_PIECES - 1) {
            return -ENOSPC;
        }
    }
    ret = kernel_set(p, p->size);
    if (ret < 0) {
        log_event("kernel refuses gpa=0x%lx size=0x%lx flags=%u: %s", p->gpa,
                  p->size, p->flags, strerrorname_np(-ret));
        return ret;
    }
    id_used[p->id] = 1;
    return 0;
}

/* Make the kernel's slots those of @want, touching only what differs. */
static int apply(struct slot *s, struct piece *want, unsigned n)
{
    unsigned i;
    int ret = 0;

    for (i = 0; i < s->nr_pieces; i++) {
        if (!find_same(want, n, &s->pieces[i])) {
            kernel_set(&s->pieces[i], 0);
            id_used[s->pieces[i].id] = 0;
        }
    }
    for (i = 0; i < n && !ret; i++) {
        struct piece *old = find_same(s->pieces, s->nr_pieces, &want[i]);

        if (old) {
            want[i].id = old->id;
        } else {
            ret = create_piece(&want[i]);
        }
    }
    free(s->pieces);
    s->pieces = want;
    s->nr_pieces = ret ? i - 1 : n;
    return ret;
}

static int slot_refresh(struct slot *s)
{
    struct piece *want;
    unsigned n = wanted_pieces(s, &want);

    return apply(s, want, n);
}

static struct slot *slot_of_id(uint32_t id)
{
    struct slot *s = vm.slots;

    while (s && s->id != id) {
        s = s->next;
    }
    return s;
}

static void slot_delete(struct slot *s)
{
    struct slot **link = &vm.slots;

    unified_check_change("removal of a memory slot", s->gpa, s->size);
    slot_sync();
    apply(s, NULL, 0);
    while (*link != s) {
        link = &(*link)->next;
    }
    *link = s->next;
    free(s);
}

void slots_forget(void)
{
    struct slot *s;

    while ((s = vm.slots)) {
        vm.slots = s->next;
        free(s->pieces);
        free(s);
    }
    memset(id_used, 0, sizeof(id_used));
}

static struct slot *slot_new(const struct kvm_userspace_memory_region2 *r)
{
    struct slot *s = calloc(1, sizeof(*s));

    s->id = r->slot;
    s->gpa = r->guest_phys_addr;
    s->size = r->memory_size;
    s->raw = (uint8_t *)r->userspace_addr;
    if (r->flags & KVM_MEM_GUEST_MEMFD) {
        s->ram = ram_of_memfd(r->guest_memfd);
        s->offset = r->guest_memfd_offset;
    } else if (kind_is_sev()) {
        s->ram = ram_at_hva(r->userspace_addr);
        s->offset = s->ram ? s->raw - s->ram->raw : 0;
    }
    s->next = vm.slots;
    vm.slots = s;
    return s;
}

int slot_set(const struct kvm_userspace_memory_region2 *r)
{
    struct slot *s = slot_of_id(r->slot);

    if (!r->memory_size) {
        if (!s) {
            return -EINVAL;
        }
        slot_delete(s);
        return 0;
    }
    if (!s) {
        s = slot_new(r);
    }
    if ((r->flags & KVM_MEM_GUEST_MEMFD) && !s->ram) {
        return -EBADF;
    }
    s->flags = r->flags & (KVM_MEM_READONLY | KVM_MEM_LOG_DIRTY_PAGES);
    return slot_refresh(s);
}

/* A page of SEV that is accessed privately again: what it decrypts to */
static void make_private(struct slot *s, uint64_t gpa)
{
    uint8_t *raw = page_raw(s, gpa);

    if (kind_is_sev()) {
        cipher_decrypt(page_private(s, gpa), raw, PAGE, (uint64_t)raw);
    }
}

static bool convert_page(struct slot *s, uint64_t gpa, bool shared)
{
    uint8_t *state = &s->ram->shared[ram_offset(s, gpa) / PAGE];

    if (*state == shared) {
        return false;
    }
    *state = shared;
    if (!shared) {
        make_private(s, gpa);
    }
    return true;
}

int slot_convert(uint64_t gpa, uint64_t size, bool shared)
{
    uint64_t end = gpa + size;
    struct slot *s;
    int ret = 0;

    vm_freeze();
    slot_sync();
    while (gpa < end && !ret) {
        bool any = false;

        s = slot_at(gpa);
        if (!s || !s->ram) {
            gpa += PAGE;
            continue;
        }
        for (; gpa < end && gpa < s->gpa + s->size; gpa += PAGE) {
            any |= convert_page(s, gpa, shared);
        }
        ret = any ? slot_refresh(s) : 0;
    }
    vm_thaw();
    return ret;
}

static uint64_t *dirty_bitmap(const struct piece *p)
{
    struct kvm_dirty_log log = { .slot = p->id };
    uint64_t words = (p->size / PAGE + 63) / 64;

    log.dirty_bitmap = calloc(words, 8);
    if (kernel_ioctl(vm.fd, KVM_GET_DIRTY_LOG, &log) < 0) {
        free(log.dirty_bitmap);
        return NULL;
    }
    return log.dirty_bitmap;
}

static bool bit_test(const uint64_t *bitmap, uint64_t i)
{
    return bitmap[i / 64] >> (i % 64) & 1;
}

void slot_private_written(uint64_t gpa, uint64_t len)
{
    uint64_t page;

    if (!kind_is_sev()) {
        return;
    }
    for (page = PAGE_DOWN(gpa); page < gpa + len; page += PAGE) {
        struct slot *s = slot_at(page);
        uint8_t *raw = page_raw(s, page);

        cipher_encrypt(raw, page_private(s, page), PAGE, (uint64_t)raw);
    }
}

static void sync_piece(const struct piece *p)
{
    uint64_t *bitmap = dirty_bitmap(p);
    uint64_t i;

    for (i = 0; bitmap && i < p->size / PAGE; i++) {
        if (!bitmap[i / 64]) {
            i |= 63;
        } else if (bit_test(bitmap, i)) {
            slot_private_written((p->gpa & ~vm.bit) + i * PAGE, PAGE);
        }
    }
    free(bitmap);
}

void slot_sync(void)
{
    struct slot *s;
    unsigned i;

    if (!kind_is_sev()) {
        return;
    }
    for (s = vm.slots; s; s = s->next) {
        for (i = 0; i < s->nr_pieces; i++) {
            if (s->pieces[i].priv &&
                (s->pieces[i].flags & KVM_MEM_LOG_DIRTY_PAGES)) {
                sync_piece(&s->pieces[i]);
            }
        }
    }
}

static void merge_dirty(const struct slot *s, const struct piece *p,
                        uint64_t *out)
{
    uint64_t first = ((p->gpa & ~vm.bit) - s->gpa) / PAGE;
    uint64_t *bitmap = dirty_bitmap(p);
    uint64_t i;

    for (i = 0; bitmap && i < p->size / PAGE; i++) {
        out[(first + i) / 64] |= (uint64_t)bit_test(bitmap, i)
                                 << ((first + i) % 64);
    }
    free(bitmap);
}

/* Only what the guest wrote to QEMU's memory; private pages do not migrate. */
int slot_dirty_log(struct kvm_dirty_log *log)
{
    struct slot *s = slot_of_id(log->slot);
    unsigned i;

    if (!s || !(s->flags & KVM_MEM_LOG_DIRTY_PAGES)) {
        return -ENOENT;
    }
    memset(log->dirty_bitmap, 0, (s->size / PAGE + 63) / 64 * 8);
    for (i = 0; i < s->nr_pieces; i++) {
        if (!s->pieces[i].priv &&
            (s->pieces[i].flags & KVM_MEM_LOG_DIRTY_PAGES)) {
            merge_dirty(s, &s->pieces[i], log->dirty_bitmap);
        }
    }
    return 0;
}
