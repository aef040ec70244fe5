/*
 * x86 registers of a vCPU whose other registers are protected
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "cpu.h"
#include "qemu/qemu-print.h"
#include "known-registers.h"

static void dump_segment(FILE *f, const char *name, const SegmentCache *seg)
{
    qemu_fprintf(f, "%-3s=%04x %016" PRIx64 " %08x %08x\n", name,
                 seg->selector, (uint64_t)seg->base, seg->limit, seg->flags);
}

static void dump_general(CPUX86State *env, FILE *f)
{
    static const char *const names[] = {
        "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
        "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15",
    };

    QEMU_BUILD_BUG_ON(ARRAY_SIZE(names) < CPU_NB_REGS);
    for (int i = 0; i < CPU_NB_REGS; i++) {
        qemu_fprintf(f, "%s=%016" PRIx64 "%c", names[i],
                     (uint64_t)env->regs[i], i % 4 == 3 ? '\n' : ' ');
    }
    qemu_fprintf(f, "RIP=%016" PRIx64 " RFL=%08x CPL=%d\n",
                 (uint64_t)env->eip, (uint32_t)env->eflags,
                 env->hflags & HF_CPL_MASK);
}

void x86_dump_known_registers(CPUX86State *env, FILE *f)
{
    static const char *const names[] = { "ES", "CS", "SS", "DS", "FS", "GS" };

    dump_general(env, f);
    for (int i = 0; i < ARRAY_SIZE(names); i++) {
        dump_segment(f, names[i], &env->segs[i]);
    }
    dump_segment(f, "LDT", &env->ldt);
    dump_segment(f, "TR", &env->tr);
    qemu_fprintf(f, "GDT=     %016" PRIx64 " %08x\n",
                 (uint64_t)env->gdt.base, env->gdt.limit);
    qemu_fprintf(f, "IDT=     %016" PRIx64 " %08x\n",
                 (uint64_t)env->idt.base, env->idt.limit);
    qemu_fprintf(f, "CR0=%08x CR3=%016" PRIx64 " CR4=%08x\n",
                 (uint32_t)env->cr[0], (uint64_t)env->cr[3],
                 (uint32_t)env->cr[4]);
    qemu_fprintf(f, "EFER=%016" PRIx64 "\n", env->efer);
    qemu_fprintf(f, "(not known: CR2, CR8, debug, x87 and SSE registers of "
                 "this guest are protected)\n");
}
