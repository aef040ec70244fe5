/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The scripted guest: KVM_RUN walks a trace instead of executing code, with
 * software breakpoints (the byte 0xcc in the guest's memory), DR0-DR3 and
 * single-step as the hardware has them.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "standin.h"

#define DR6_FIXED       0xffff0ff0
#define DR6_BS          (1 << 14)
#define TAG_PRIVATE     0x20565250      /* "PRV " */
#define TAG_SHARED      0x20524853      /* "SHR " */
#define PTE_LEAF        0x63            /* present, writable, A, D */
#define VCPU_MMAP_DATA  PAGE            /* where kvm_run's I/O data lies */

struct position {
    unsigned step;
    bool halfway;               /* the step's first exit was taken */
};
static struct position positions[MAX_VCPUS];

void script_restart(void)
{
    memset(positions, 0, sizeof(positions));
}

static bool page_kind_is_shared(const struct slot *s, uint64_t gpa)
{
    return !s->ram || page_is_shared(s, gpa);
}

/* Copy @len bytes, within a page, to where the guest would reach @gpa. */
static void guest_write(uint64_t gpa, const void *data, size_t len)
{
    struct slot *s = slot_at(gpa);

    if (!s) {
        return;
    }
    if (page_kind_is_shared(s, gpa)) {
        memcpy(page_raw(s, gpa), data, len);
    } else {
        memcpy(page_private(s, gpa), data, len);
        slot_private_written(gpa, len);
    }
}

static void guest_read(uint64_t gpa, void *data, size_t len)
{
    struct slot *s = slot_at(gpa);

    memset(data, 0, len);
    if (s) {
        memcpy(data, page_kind_is_shared(s, gpa) ? page_raw(s, gpa)
                                                 : page_private(s, gpa), len);
    }
}

static uint64_t guest_read64(uint64_t gpa)
{
    uint64_t value;

    guest_read(gpa, &value, sizeof(value));
    return value;
}

static void copy(uint64_t dst, uint64_t src, uint64_t len)
{
    uint8_t page[PAGE];

    while (len) {
        uint64_t n = PAGE - PAGE_OFFSET(dst);
        uint64_t m = PAGE - PAGE_OFFSET(src);

        n = n < m ? n : m;
        n = n < len ? n : len;
        guest_read(src, page, n);
        guest_write(dst, page, n);
        dst += n;
        src += n;
        len -= n;
    }
}

/* The lines that payload.S's fill_text writes. */
static void write_text(uint32_t tag, uint64_t gpa, uint64_t end)
{
    char line[32];

    for (; gpa < end; gpa += 16) {
        snprintf(line, sizeof(line), "%.4s%08x ok\n", (char *)&tag,
                 (uint32_t)gpa);
        guest_write(gpa, line, 16);
    }
}

static void long_mode(struct script_regs *r, uint64_t cr3, uint64_t rsp)
{
    struct kvm_segment code = {
        .limit = 0xffffffff, .selector = 0x18, .type = 11, .present = 1,
        .s = 1, .l = 1, .g = 1,
    };
    struct kvm_segment data = {
        .limit = 0xffffffff, .selector = 0x10, .type = 3, .present = 1,
        .db = 1, .s = 1, .g = 1,
    };

    r->sregs.cr0 = 0x80000011;
    r->sregs.cr3 = cr3;
    r->sregs.cr4 = 0x20;
    r->sregs.efer = 0x500;
    r->sregs.cs = code;
    r->sregs.ds = r->sregs.es = r->sregs.ss = data;
    r->sregs.fs = r->sregs.gs = data;
    r->regs.rsp = rsp;
    r->regs.rflags = 2;
}

/* ---- exits ---- */

static bool exit_out(struct kvm_run *run, uint16_t port, const void *data,
                     unsigned size, unsigned count)
{
    run->exit_reason = KVM_EXIT_IO;
    run->io.direction = KVM_EXIT_IO_OUT;
    run->io.size = size;
    run->io.port = port;
    run->io.count = count;
    run->io.data_offset = VCPU_MMAP_DATA;
    memcpy((uint8_t *)run + VCPU_MMAP_DATA, data, size * count);
    return true;
}

static bool exit_print(struct kvm_run *run, const char *text)
{
    return exit_out(run, COM1, text, 1, strlen(text));
}

static bool exit_convert(struct kvm_run *run, const uint64_t *arg)
{
    run->exit_reason = KVM_EXIT_HYPERCALL;
    memset(&run->hypercall, 0, sizeof(run->hypercall));
    run->hypercall.nr = KVM_HC_MAP_GPA_RANGE;
    run->hypercall.args[0] = arg[0];
    run->hypercall.args[1] = arg[1];
    run->hypercall.args[2] = arg[2] ? KVM_MAP_GPA_RANGE_ENCRYPTED : 0;
    return true;
}

static bool exit_debug(struct kvm_run *run, struct script_regs *r,
                       unsigned exception, uint64_t dr6)
{
    run->exit_reason = KVM_EXIT_DEBUG;
    memset(&run->debug, 0, sizeof(run->debug));
    run->debug.arch.exception = exception;
    run->debug.arch.pc = r->regs.rip;
    run->debug.arch.dr6 = DR6_FIXED | dr6;
    run->debug.arch.dr7 = r->guest_debug.arch.debugreg[7];
    return true;
}

/* ---- breakpoints ---- */

/* The DR6 bit of an enabled register, of code or @data, that covers @addr */
static uint64_t dr_hit(const struct script_regs *r, uint64_t addr, bool data)
{
    uint64_t dr7 = r->guest_debug.arch.debugreg[7];
    static const unsigned lengths[] = { 1, 2, 8, 4 };

    if (!(r->guest_debug.control & KVM_GUESTDBG_USE_HW_BP)) {
        return 0;
    }
    for (int i = 0; i < 4; i++) {
        unsigned type = dr7 >> (16 + 4 * i) & 3;
        unsigned len = lengths[dr7 >> (18 + 4 * i) & 3];
        uint64_t at = r->guest_debug.arch.debugreg[i];

        if ((dr7 >> 2 * i & 3) && (type != 0) == data &&
            at < addr + (data ? 8 : 1) && addr < at + len) {
            return 1 << i;
        }
    }
    return 0;
}

static bool stop_before(const struct script_step *s, struct kvm_run *run,
                        struct script_regs *r)
{
    uint8_t opcode;
    uint64_t hit;

    r->regs.rip = s->rip;
    guest_read(s->rip_gpa, &opcode, 1);
    if (opcode == 0xcc && (r->guest_debug.control & KVM_GUESTDBG_USE_SW_BP)) {
        return exit_debug(run, r, 3, 0);
    }
    hit = dr_hit(r, s->rip, false);
    return hit ? exit_debug(run, r, 1, hit) : false;
}

/* ---- steps ---- */

static bool report(const struct script_step *s, struct kvm_run *run)
{
    uint64_t value = guest_read64(s->arg[0]);
    char line[80];

    if (value == guest_read64(s->arg[1])) {
        return false;
    }
    guest_write(s->arg[1], &value, sizeof(value));
    snprintf(line, sizeof(line), "%s%016lx\n", s->text, value);
    return exit_print(run, line);
}

static bool increment(const struct script_step *s, struct kvm_run *run,
                      struct script_regs *r)
{
    uint64_t value = guest_read64(s->arg[0]) + 1;
    uint64_t hit = dr_hit(r, s->arg[1], true);

    guest_write(s->arg[0], &value, sizeof(value));
    r->regs.rax = value;
    return hit ? exit_debug(run, r, 1, hit) : false;
}

/* payload.S's flip: the page-table entries, the conversion, then the text */
static bool flip(const struct script_step *s, struct position *at,
                 struct kvm_run *run)
{
    /* wanted, done, first page, pages, its page-table entry, masks */
    const uint64_t *a = s->arg;
    uint64_t done = guest_read64(a[1]);
    bool private = done & 1;
    char line[80];

    if (!at->halfway && done == guest_read64(a[0])) {
        return false;
    }
    at->halfway = !at->halfway;
    if (at->halfway) {
        for (uint64_t i = 0; i < a[3]; i++) {
            uint64_t pte = (a[2] + i * PAGE) | PTE_LEAF | a[private ? 5 : 6];

            guest_write(a[4] + i * 8, &pte, sizeof(pte));
        }
        return exit_convert(run, (uint64_t[]) { a[2], a[3], private });
    }
    write_text(private ? TAG_PRIVATE : TAG_SHARED, a[2], a[2] + a[3] * PAGE);
    done++;
    guest_write(a[1], &done, sizeof(done));
    snprintf(line, sizeof(line), "%s%016lx\n", s->text, done);
    return exit_print(run, line);
}

/* Returns true when @run holds an exit. */
static bool execute(const struct script_step *s, struct position *at,
                    struct kvm_run *run, struct script_regs *r)
{
    const uint64_t *a = s->arg;
    bool equal;

    switch (s->op) {
    case OP_COPY:
        copy(a[0], a[1], a[2]);
        return false;
    case OP_TEXT:
        write_text(a[0], a[1], a[2]);
        return false;
    case OP_CONVERT:
        return exit_convert(run, a);
    case OP_PUT:
        guest_write(a[1], &a[2], a[0]);
        return false;
    case OP_OUT:
        return exit_out(run, a[0], &a[2], a[1], 1);
    case OP_PRINT:
        return exit_print(run, s->text);
    case OP_CHECK:
        equal = (uint32_t)guest_read64(a[0]) == (uint32_t)a[1];
        return exit_print(run, equal ? s->text : s->otherwise);
    case OP_LONG_MODE:
        long_mode(r, a[0], a[1]);
        return false;
    case OP_REPORT:
        return report(s, run);
    case OP_INC:
        return increment(s, run, r);
    case OP_FLIP:
        return flip(s, at, run);
    default:
        return false;
    }
}

static void advance(struct position *at, const struct script_program *p)
{
    struct timespec pause = { .tv_nsec = 1000000 };

    if (++at->step == p->nr_steps) {
        at->step = p->loop;
        pthread_mutex_unlock(&vm.lock);
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&vm.lock);
    }
}

/* The instruction that comes next, for the single-step exit. */
static uint64_t next_rip(const struct position *at,
                         const struct script_program *p)
{
    unsigned i = at->step;

    while (!p->steps[i].is_instruction) {
        i = i + 1 == p->nr_steps ? p->loop : i + 1;
    }
    return p->steps[i].rip;
}

static bool run_step(struct position *at, const struct script_program *p,
                     struct kvm_run *run, struct script_regs *r)
{
    const struct script_step *s = &p->steps[at->step];
    bool exits;

    if (s->is_instruction && stop_before(s, run, r)) {
        return true;
    }
    exits = execute(s, at, run, r);
    if (at->halfway) {
        return true;
    }
    advance(at, p);
    if (!s->is_instruction) {
        return exits;
    }
    r->regs.rip = next_rip(at, p);
    if (exits && run->exit_reason == KVM_EXIT_DEBUG) {
        run->debug.arch.pc = r->regs.rip;
    } else if (!exits && (r->guest_debug.control & KVM_GUESTDBG_SINGLESTEP)) {
        return exit_debug(run, r, 1, DR6_BS);
    }
    return exits;
}

static void idle(void)
{
    struct timespec pause = { .tv_nsec = 10000000 };

    nanosleep(&pause, NULL);
}

long script_run(unsigned index, struct kvm_run *run)
{
    struct script_program *p = script_program(index);
    struct script_regs *r = script_regs(index);
    bool exits = false;

    while (!exits) {
        if (__atomic_load_n(&run->immediate_exit, __ATOMIC_RELAXED)) {
            return -EINTR;
        }
        if (!p->nr_steps) {
            idle();
            continue;
        }
        pthread_mutex_lock(&vm.lock);
        exits = run_step(&positions[index], p, run, r);
        pthread_mutex_unlock(&vm.lock);
    }
    return 0;
}
