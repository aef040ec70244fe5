/*
 * info tlb and info mem
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "cpu.h"
#include "monitor/hmp-target.h"
#include "monitor/hmp.h"
#include "monitor/interrupt.h"
#include "monitor/monitor.h"
#include "page-walk.h"

/*
 * What both commands need: the page tables of the monitor's CPU.  Tells the
 * user why there are none, and returns false then.
 */
static bool get_page_tables(Monitor *mon, X86PageTables *tables)
{
    CPUState *cpu = mon_get_cpu(mon);
    Error *err = NULL;

    if (!cpu) {
        monitor_printf(mon, "No CPU available\n");
        return false;
    }
    if (!memory_debug_allowed(&err) ||
        !x86_page_tables_init(cpu, tables, &err)) {
        hmp_handle_error(mon, err);
        return false;
    }
    if (tables->mode == X86_PAGING_NONE) {
        monitor_printf(mon, "PG disabled\n");
        return false;
    }
    return true;
}

/*
 * A visit of the page tables that prints what it finds.
 *
 * info mem: from @start to @end, pages have the permissions @prot.  These
 * count the addresses of both halves in a row: bits which are not translated
 * are 0.
 */
typedef struct PagePrinter {
    Monitor *mon;
    X86PageTables tables;
    const X86PagingFormat *format;
    uint64_t start;
    uint64_t end;
    uint64_t prot;
    MemTxAttrs attrs;
    MonitorInterrupt interrupt;
} PagePrinter;

/* The guest can make page tables that take forever to print */
static bool printer_go_on(void *opaque, Error **errp)
{
    PagePrinter *p = opaque;
    const char *reason = monitor_interrupted(&p->interrupt);

    if (reason) {
        error_setg(errp, "%s", reason);
    }
    return !reason;
}

static hwaddr shown_va(const PagePrinter *p, uint64_t va)
{
    /* @va may lie behind the last byte of the address space */
    return va | x86_va_canonical(p->format, va);
}

static void print_range(PagePrinter *p)
{
    const char *word = memory_debug_encryption_name(p->attrs);

    if (p->start != p->end) {
        monitor_printf(p->mon, HWADDR_FMT_plx "-" HWADDR_FMT_plx " "
                       HWADDR_FMT_plx " %c%c%c%s%s\n",
                       shown_va(p, p->start), shown_va(p, p->end),
                       shown_va(p, p->end - p->start),
                       p->prot & PG_USER_MASK ? 'u' : '-',
                       'r',
                       p->prot & PG_RW_MASK ? 'w' : '-',
                       *word ? " " : "", word);
    }
    p->start = p->end;
}

static bool print_unreadable(vaddr va, MemTxResult result, Error *err,
                             void *opaque, Error **errp)
{
    PagePrinter *p = opaque;

    /* For a normal guest, just what the CPU sees there: no pages */
    if (memory_debug_guest() || result != MEMTX_DECODE_ERROR) {
        print_range(p);
        monitor_printf(p->mon, HWADDR_FMT_plx ": %s\n", (hwaddr)va,
                       error_get_pretty(err));
    }
    error_free(err);
    return true;
}

static void print_pages(Monitor *mon,
                        bool (*leaf)(const X86PageLeaf *leaf, void *opaque,
                                     Error **errp))
{
    const X86PageVisitor visitor = {
        .max_tables = monitor_has_user(mon) ? 0 : X86_PAGE_VISIT_TABLES,
        .go_on = printer_go_on,
        .leaf = leaf,
        .unreadable = print_unreadable,
    };
    PagePrinter p = { .mon = mon };
    Error *err = NULL;

    if (!get_page_tables(mon, &p.tables)) {
        return;
    }
    p.format = x86_paging_format(p.tables.mode);
    monitor_interrupt_init(&p.interrupt, mon);
    memory_debug_begin_reads();
    x86_page_visit(&p.tables, &visitor, &p, &err);
    print_range(&p);
    if (err) {
        monitor_printf(mon, "Stopped: %s\n", error_get_pretty(err));
        error_free(err);
    }
    memory_debug_end_reads();
}

/*
 * The part of a leaf entry that info tlb shows as the address.  Not quite the
 * page's address, but what scripts have parsed for ever: with PAE it includes
 * the NX bit, with PSE-36 the bits from 32 up are missing.
 */
static uint64_t shown_gpa(const X86PageTables *tables, const X86PageLeaf *leaf)
{
    switch (tables->mode) {
    case X86_PAGING_32BIT:
    case X86_PAGING_32BIT_PSE:
        return leaf->entry & (leaf->level == 2 ? 0xffe00000 : 0xfffff000);
    case X86_PAGING_PAE:
        return leaf->entry & ~tables->page_bit.mask &
               (leaf->level == 2 ? ~0xfffffULL : ~0xfffULL);
    default:
        return leaf->gpa & 0x3ffffffffffffULL;
    }
}

static bool print_leaf(const X86PageLeaf *leaf, void *opaque, Error **errp)
{
    PagePrinter *p = opaque;
    /* an encrypted guest's pages have one more word */
    const char *word = memory_debug_encryption_name(leaf->attrs);
    /* in a PTE this bit is PAT */
    uint64_t flags = leaf->level == 1 ? leaf->entry & ~PG_PSE_MASK
                                      : leaf->entry;

    monitor_printf(p->mon, HWADDR_FMT_plx ": " HWADDR_FMT_plx
                   " %c%c%c%c%c%c%c%c%c%s%s\n",
                   (hwaddr)leaf->va,
                   shown_gpa(&p->tables, leaf),
                   flags & PG_NX_MASK ? 'X' : '-',
                   flags & PG_GLOBAL_MASK ? 'G' : '-',
                   flags & PG_PSE_MASK ? 'P' : '-',
                   flags & PG_DIRTY_MASK ? 'D' : '-',
                   flags & PG_ACCESSED_MASK ? 'A' : '-',
                   flags & PG_PCD_MASK ? 'C' : '-',
                   flags & PG_PWT_MASK ? 'T' : '-',
                   flags & PG_USER_MASK ? 'U' : '-',
                   flags & PG_RW_MASK ? 'W' : '-',
                   *word ? " " : "", word);
    return true;
}

static bool extend_range(const X86PageLeaf *leaf, void *opaque, Error **errp)
{
    PagePrinter *p = opaque;
    uint64_t va = leaf->va & MAKE_64BIT_MASK(0, p->format->va_bits);

    if (va != p->end || leaf->prot != p->prot ||
        leaf->attrs.encryption != p->attrs.encryption) {
        print_range(p);
        p->start = va;
        p->prot = leaf->prot;
        p->attrs = leaf->attrs;
    }
    p->end = va + leaf->size;
    return true;
}

void hmp_info_tlb(Monitor *mon, const QDict *qdict)
{
    print_pages(mon, print_leaf);
}

void hmp_info_mem(Monitor *mon, const QDict *qdict)
{
    print_pages(mon, extend_range);
}
