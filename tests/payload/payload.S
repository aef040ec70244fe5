/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest small enough to know every byte of.
 *
 * It starts at the reset vector, enters long mode, writes known text into
 * private and shared memory, proves with fw_cfg DMA that shared memory is
 * shared, starts the other vCPUs, and then loops in tick(), which counts and
 * prints the mailbox whenever somebody (a debugger) has changed it.
 *
 * Build-time parameters (build.py):
 *   PRIVATE_MASK  set in every page-table entry of private memory (SEV: C-bit)
 *   SHARED_MASK   set in every leaf of shared memory (TDX: shared bit)
 *   CONVERT       1: ask the hypervisor to convert pages (SNP, TDX)
 *   HYPERCALL     1: by KVM_HC_MAP_GPA_RANGE, and all memory is shared at first
 *                 (software-protected VMs)
 *
 * The firmware tables at the end of the image are those that QEMU looks for:
 * OVMF's GUIDed table with the SEV-ES reset block, the SNP metadata and the
 * TDX metadata (TDVF design guide, chapter 11).
 */
#include "payload.h"

#define MSR_APIC_BASE   0x1b
#define MSR_X2APIC_ICR  0x830

#define COM1            0x3f8
#define FW_CFG_DMA      0x514
#define CONVERT_PORT    0x5ec
#define CONVERT_PAGES_PORT 0x5f0

#define KVM_HC_MAP_GPA_RANGE    12
#define MAP_GPA_RANGE_PRIVATE   0x10

#define PHYS(sym)       (sym - VIRT_OFFSET)

#include "reset.inc"

    .section .rom, "awx"
    .code64
start64:
    cld
    mov     $trampoline_load, %esi
    mov     $trampoline_start, %edi
    mov     $trampoline_size, %ecx
    rep movsb
    mov     $ram_load, %esi
    mov     $PHYS(ram_start), %rdi
    mov     $ram_size, %ecx
    rep movsb
#if HYPERCALL
    mov     $MOVED, %ebx
    mov     $MOVED_SIZE / 0x1000, %ecx
    mov     $MAP_GPA_RANGE_PRIVATE, %edx
    mov     $KVM_HC_MAP_GPA_RANGE, %eax
    vmmcall
    mov     $moved_load, %esi
    mov     $MOVED, %edi
    mov     $moved_size, %ecx
    rep movsb
#endif
    mov     $PHYS(ram_entry), %rax
    jmp     *%rax

/* ---- other vCPUs: real mode to long mode ------------------------------- */

    .section .trampoline, "awx"
trampoline:
    enter_long_mode trampoline, trampoline_gdt, rom_pml4
    mov     $PHYS(ap_entry), %rax
    jmp     *%rax
    long_mode_gdt trampoline_gdt

/* ---- RAM: the program --------------------------------------------------- */

    .section .ram.text, "awx"

/* Runs at its physical address until CR3 maps the high one. */
ram_entry:
    movabs  $(PHYS(pml4) + PRIVATE_MASK), %rax
    mov     %rax, %cr3
    movabs  $main, %rax
    jmp     *%rax

ap_entry:
    movabs  $(PHYS(pml4) + PRIVATE_MASK), %rax
    mov     %rax, %cr3
    movabs  $ap_main, %rax
    jmp     *%rax

    .global main
main:
    lgdt    gdt_pointer(%rip)
    lea     stack_top(%rip), %rsp
    lea     msg_start(%rip), %rsi
    call    print

    mov     $TEXT_SHARED, %edi
    mov     $2, %esi
    xor     %edx, %edx
    call    convert
    mov     $SHARED_PAGE, %edi
    mov     $1, %esi
    xor     %edx, %edx
    call    convert

#if HYPERCALL
    mov     $TEXT_PRIVATE, %edi
    mov     $(TEXT_SHARED - TEXT_PRIVATE) / 0x1000, %esi
    mov     $1, %edx
    call    convert
    mov     $TEXT_TAIL, %edi
    mov     $(TEXT_END - TEXT_TAIL) / 0x1000, %esi
    mov     $1, %edx
    call    convert
    mov     $0x2044564d, %eax           /* "MVD " */
    mov     $MOVED_TEXT, %edi
    mov     $MOVED + MOVED_SIZE, %esi
    call    fill_text
#endif
    mov     $0x20565250, %eax           /* "PRV " */
    mov     $TEXT_PRIVATE, %edi
    mov     $TEXT_SHARED, %esi
    call    fill_text
    mov     $0x20524853, %eax           /* "SHR " */
    mov     $TEXT_SHARED, %edi
    mov     $TEXT_TAIL, %esi
    call    fill_text
    mov     $0x20565250, %eax
    mov     $TEXT_TAIL, %edi
    mov     $TEXT_END, %esi
    call    fill_text
    lea     msg_text(%rip), %rsi
    call    print

    call    check_fw_cfg
    call    start_others
    lea     msg_running(%rip), %rsi
    call    print
    .global main_loop
main_loop:
    call    tick
#if HYPERCALL
    call    moved_tick
#endif
    jmp     main_loop

/*
 * One turn of the loop: the function to set a breakpoint on. The counter is
 * one higher at each entry.
 */
    .global tick
    .type tick, @function
tick:
    mov     counter(%rip), %rax
    inc     %rax
    .global tick_store
tick_store:
    mov     %rax, counter(%rip)
tick_mailbox:
    mov     mailbox(%rip), %rbx
    cmp     mailbox_seen(%rip), %rbx
    jne     report_mailbox
tick_shared:
    mov     VIRT_OFFSET + SHARED_PAGE + SHARED_MAILBOX, %rbx
    cmp     shared_seen(%rip), %rbx
    jne     report_shared
tick_flip:
    mov     VIRT_OFFSET + SHARED_PAGE + FLIPS_WANTED, %rbx
    cmp     flips_done(%rip), %rbx
    jne     flip
#if CONVERT
tick_borders:
    mov     VIRT_OFFSET + SHARED_PAGE + BORDERS_WANTED, %rbx
    cmp     borders_done(%rip), %rbx
    jne     flip_borders
#endif
tick_return:
    pause
    ret

#if HYPERCALL
/*
 * The same in private memory. What KVM has to emulate stays in shared memory,
 * as KVM does not read private memory.
 */
    .section .moved, "awx"
    .global moved_tick
    .type moved_tick, @function
moved_tick:
    incq    moved_counter(%rip)
    mov     moved_mailbox(%rip), %rbx
    cmp     moved_seen(%rip), %rbx
    jne     1f
    ret
1:  mov     %rbx, moved_seen(%rip)
    lea     msg_moved(%rip), %rsi
    jmp     report
    .global moved_counter, moved_mailbox
    .balign 16
moved_counter:  .quad 0
moved_mailbox:  .quad 0
moved_seen:     .quad 0

    .section .ram.data, "aw"
msg_moved:      .asciz "moved-mailbox "
msg_convert_failed: .asciz "payload: FAILED: conversion\n"

    .section .ram.text, "awx"
#endif

report_mailbox:
    mov     %rbx, mailbox_seen(%rip)
    lea     msg_mailbox(%rip), %rsi
    jmp     report
report_shared:
    mov     %rbx, shared_seen(%rip)
    lea     msg_shared(%rip), %rsi
report:
    call    print
    mov     %rbx, %rax
    call    print_hex
    lea     msg_newline(%rip), %rsi
    jmp     print

/*
 * Convert FLIP_PAGE to the other kind and write its text, once for each of
 * FLIPS_WANTED; with FLIP_SILENTLY set, without saying so first.
 */
flip:
    mov     $FLIP_PAGE, %r12d
    mov     $1, %r13d
    lea     pt + (FLIP_PAGE - RAM_BASE) / 512(%rip), %r10
    lea     flips_done(%rip), %rbp
    lea     msg_flips(%rip), %r14
    jmp     flip_pages
#if CONVERT
/* The same of the pages from BORDERS on, by BORDERS_WANTED, in one call */
flip_borders:
    mov     $BORDERS, %r12d
    mov     $BORDERS_PAGES, %r13d
    lea     pt_low + BORDERS / 512(%rip), %r10
    lea     borders_done(%rip), %rbp
    lea     msg_borders(%rip), %r14
#endif
/*
 * r12d: the first page, r13d: how many, r10: the entry that maps the first,
 * rbp: how often this has been done, r14: what to print with that.
 */
flip_pages:
    mov     (%rbp), %ebx
    and     $1, %ebx                    /* 1: to private, 0: to shared */
    mov     $PRIVATE_MASK, %rax
    mov     $SHARED_MASK, %rcx
    test    %ebx, %ebx
    cmovz   %rcx, %rax
    or      %r12, %rax
    or      $PTE_LEAF, %rax
    movabs  $VIRT_OFFSET, %r8
    add     %r12, %r8
    mov     %r13d, %ecx
1:  mov     %rax, (%r10)
    invlpg  (%r8)
    add     $0x1000, %rax
    add     $0x1000, %r8
    add     $8, %r10
    dec     %ecx
    jnz     1b
    cmp     $FLIP_PAGE, %r12d
    jne     1f
    cmpq    $0, VIRT_OFFSET + SHARED_PAGE + FLIP_SILENTLY
    jne     2f
1:  mov     %r12d, %edi
    mov     %r13d, %esi
    mov     %ebx, %edx
    call    convert
2:  mov     $0x20565250, %eax
    mov     $0x20524853, %ecx
    test    %ebx, %ebx
    cmovz   %ecx, %eax
    mov     %r12d, %edi
    mov     %r13d, %esi
    shl     $12, %esi
    add     %edi, %esi
    call    fill_text
    incq    (%rbp)
    mov     (%rbp), %rbx
    mov     %r14, %rsi
    jmp     report

/* Write "TAG 00123450 ok\n" lines. eax: the tag; edi, esi: first, end GPA. */
fill_text:
    mov     %eax, %r9d
    movabs  $VIRT_OFFSET, %r8
1:  mov     %edi, %eax
    call    hex8                        /* rdx: eight digits */
    mov     %r9d, (%r8, %rdi)
    mov     %rdx, 4(%r8, %rdi)
    movl    $0x0a6b6f20, 12(%r8, %rdi)  /* " ok\n" */
    add     $16, %edi
    cmp     %esi, %edi
    jb      1b
    ret

/* rdx = eax as eight hexadecimal digits, first digit in the lowest byte. */
hex8:
    push    %rcx
    push    %rbx
    mov     $8, %ecx
    xor     %edx, %edx
1:  mov     %eax, %ebx
    and     $15, %ebx
    shl     $8, %rdx
    mov     digits(%rbx), %bl
    mov     %bl, %dl
    shr     $4, %eax
    dec     %ecx
    jnz     1b
    pop     %rbx
    pop     %rcx
    ret

/*
 * edi: GPA, esi: pages, edx: 1 to private, 0 to shared. Hardware guests say
 * this with VMGEXIT or TDCALL, which plain KVM has not, and a hypercall is not
 * to be had on every KVM: the stand-in takes it from ports instead. One gets
 * the number of pages, the other, which makes the call, the frame number and
 * in bits 31:28 the page state change of the GHCB protocol, 1 private or
 * 2 shared. A plain SEV guest just uses the C-bit.
 */
convert:
#if HYPERCALL
    push    %rbx
    mov     %edi, %ebx
    mov     %esi, %ecx
    shl     $4, %edx                    /* MAP_GPA_RANGE_PRIVATE */
    mov     $KVM_HC_MAP_GPA_RANGE, %eax
    vmmcall
    pop     %rbx
    lea     msg_convert_failed(%rip), %rsi
    test    %rax, %rax
    jnz     print
#elif CONVERT
    mov     $2, %ecx
    sub     %edx, %ecx
    shl     $28, %ecx
    shr     $12, %edi
    or      %edi, %ecx
    mov     %esi, %eax
    mov     $CONVERT_PAGES_PORT, %edx
    outl    %eax, %dx
    mov     %ecx, %eax
    mov     $CONVERT_PORT, %edx
    outl    %eax, %dx
#endif
    ret

/* Read fw_cfg's signature by DMA into the shared page and compare it. */
check_fw_cfg:
    movabs  $(VIRT_OFFSET + SHARED_PAGE), %r8
    movl    $0, FW_CFG_BUFFER(%r8)
    movl    $0x0a000000, FW_CFG_ACCESS(%r8)     /* BE: key 0, SELECT | READ */
    movl    $0x04000000, FW_CFG_ACCESS + 4(%r8) /* BE: 4 bytes */
    mov     $(SHARED_PAGE + FW_CFG_BUFFER), %eax
    bswap   %eax
    movl    $0, FW_CFG_ACCESS + 8(%r8)
    mov     %eax, FW_CFG_ACCESS + 12(%r8)
    mov     $FW_CFG_DMA, %edx
    xor     %eax, %eax
    outl    %eax, %dx
    add     $4, %edx
    mov     $(SHARED_PAGE + FW_CFG_ACCESS), %eax
    bswap   %eax
    outl    %eax, %dx                           /* starts the transfer */
    mov     $100000, %ecx
1:  cmpl    $0, FW_CFG_ACCESS(%r8)
    je      2f
    pause
    loop    1b
2:  lea     msg_fw_cfg(%rip), %rsi
    cmpl    $0x554d4551, FW_CFG_BUFFER(%r8)     /* "QEMU" */
    je      print
    lea     msg_fw_cfg_failed(%rip), %rsi
    jmp     print

/* INIT, SIPI, SIPI to all others, through the x2APIC. */
start_others:
    mov     $1, %eax
    cpuid
    bt      $21, %ecx
    jnc     1f
    mov     $MSR_APIC_BASE, %ecx
    rdmsr
    or      $0x400, %eax
    wrmsr
    mov     $0x000c4500, %eax
    call    send_ipi
    mov     $(0x000c4600 | TRAMPOLINE >> 12), %eax
    call    send_ipi
    mov     $(0x000c4600 | TRAMPOLINE >> 12), %eax
    call    send_ipi
1:  ret
send_ipi:
    mov     $MSR_X2APIC_ICR, %ecx
    xor     %edx, %edx
    wrmsr
    mov     $100000, %ecx
1:  pause
    loop    1b
    ret

    .global ap_main
ap_main:
    lgdt    gdt_pointer(%rip)
    mov     $1, %eax
    lock xadd %rax, aps(%rip)
    .global ap_loop
ap_loop:
    lea     ap_counters(%rip), %rbx
1:  incq    (%rbx, %rax, 8)
    pause
    jmp     1b

/* rsi: a string. */
print:
    mov     $COM1 + 5, %edx
    in      %dx, %al
    test    $0x20, %al                          /* transmitter empty */
    jz      print
    mov     (%rsi), %al
    test    %al, %al
    jz      1f
    inc     %rsi
    mov     $COM1, %edx
    out     %al, %dx
    jmp     print
1:  ret

/* Print rax as sixteen digits. */
print_hex:
    push    %rax
    shr     $32, %rax
    call    hex8
    mov     %rdx, hex_buffer(%rip)
    pop     %rax
    call    hex8
    mov     %rdx, hex_buffer + 8(%rip)
    lea     hex_buffer(%rip), %rsi
    jmp     print

/* ---- RAM: data ----------------------------------------------------------- */

    .section .ram.data, "aw"
    .global counter, mailbox, mailbox_seen, shared_seen, flips_done
    .global borders_done
    .global aps, ap_counters, banner, pml4, pt
banner:         .ascii "payload: private data page\n"
    .balign 16
counter:        .quad 0
mailbox:        .quad 0
mailbox_seen:   .quad 0
shared_seen:    .quad 0
flips_done:     .quad 0
borders_done:   .quad 0
aps:            .quad 0
ap_counters:    .fill 8, 8, 0
hex_buffer:     .fill 17, 1, 0
digits:         .ascii "0123456789abcdef"
msg_start:      .asciz "payload: long mode\n"
msg_text:       .asciz "payload: text written\n"
msg_fw_cfg:     .asciz "payload: fw_cfg dma ok\n"
msg_fw_cfg_failed: .asciz "payload: FAILED: fw_cfg dma\n"
msg_running:    .asciz "payload: running\n"
msg_mailbox:    .asciz "mailbox "
msg_shared:     .asciz "shared-mailbox "
msg_flips:      .asciz "flips "
msg_borders:    .asciz "borders "
msg_newline:    .asciz "\n"

    .balign 8
gdt:
    .quad   0
    .quad   0x00cf9b000000ffff
    .quad   0x00cf93000000ffff
    .quad   0x00af9b000000ffff
gdt_pointer:
    .word   . - gdt - 1
    .quad   gdt

    .set    stack_top, VIRT_OFFSET + STACK_TOP
    .balign 4096
pml4:
    .quad   PHYS(pdpt_low) + PRIVATE_MASK + PTE_TABLE
    .fill   510, 8, 0
    .quad   PHYS(pdpt_high) + PRIVATE_MASK + PTE_TABLE
pdpt_low:
    .quad   PHYS(pd_low) + PRIVATE_MASK + PTE_TABLE
    .fill   511, 8, 0
pd_low:
    .fill   1, 8, 0
    .quad   RAM_BASE + PRIVATE_MASK + PTE_LEAF + PTE_PS
    .fill   510, 8, 0
pdpt_high:
    .fill   510, 8, 0
    .quad   PHYS(pd_high) + PRIVATE_MASK + PTE_TABLE
    .fill   1, 8, 0
pd_high:
#if CONVERT
    .quad   PHYS(pt_low) + PRIVATE_MASK + PTE_TABLE
#else
    .quad   0
#endif
    .quad   PHYS(pt) + PRIVATE_MASK + PTE_TABLE
#if HYPERCALL
    .quad   MOVED + PRIVATE_MASK + PTE_LEAF + PTE_PS
    .fill   509, 8, 0
#else
    .fill   510, 8, 0
#endif
pt:
    .set    page, RAM_BASE
    .rept   512
    .if (page >= TEXT_SHARED && page < TEXT_TAIL) || page == SHARED_PAGE
    .quad   page + SHARED_MASK + PTE_LEAF
    .else
    .quad   page + PRIVATE_MASK + PTE_LEAF
    .endif
    .set    page, page + 0x1000
    .endr
#if CONVERT
    .global pt_low
pt_low:
    .set    page, 0
    .rept   512
    .quad   page + PRIVATE_MASK + PTE_LEAF
    .set    page, page + 0x1000
    .endr
#endif

/* ---- the end of the image: tables for the VMM, reset vector --------------- */

    .section .tail, "awx"
tail:

    .balign 16
snp_metadata:
    .ascii  "ASEV"
    .long   snp_metadata_end - snp_metadata, 1, 3
    .long   SNP_SEC_MEM, 0x1000, 1
    .long   SNP_SECRETS, 0x1000, 2
    .long   SNP_CPUID, 0x1000, 3
snp_metadata_end:

    .balign 16
tdx_metadata:
    .ascii  "TDVF"
    .long   tdx_metadata_end - tdx_metadata, 1, 3
    .long   0, ROM_SIZE                         /* the image itself */
    .quad   ROM_BASE, ROM_SIZE
    .long   0, 1                                /* BFV, measured */
    .long   0, 0
    .quad   TD_HOB, TD_HOB_SIZE
    .long   2, 0
    .long   0, 0
    .quad   TEMP_MEM, 0x1000
    .long   3, 0
tdx_metadata_end:

    /* OVMF's GUIDed table ends 32 bytes below the end of the image. */
    .org    tail + 0x400 - 0x20 - (3 * 22 + 18)
table_start:
    .long   tail + 0x400 - tdx_metadata         /* offset from the end */
    .word   4 + 2 + 16
    .long   0xe47a6535                          /* TDX metadata */
    .word   0x984a, 0x4798
    .byte   0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2

    .long   tail + 0x400 - snp_metadata
    .word   4 + 2 + 16
    .long   0xdc886566                          /* SEV metadata */
    .word   0x984a, 0x4798
    .byte   0xa7, 0x5e, 0x55, 0x85, 0xa7, 0xbf, 0x67, 0xcc

    .long   reset_vector                        /* SEV-ES reset address */
    .word   4 + 2 + 16
    .long   0x00f771de                          /* SEV-ES reset block */
    .word   0x1a7e, 0x4fcb
    .byte   0x89, 0x0e, 0x68, 0xc7, 0x7e, 0x2f, 0xb4, 0x4e

    .word   table_end - table_start             /* footer */
    .long   0x96b582de
    .word   0x1fb2, 0x45f7
    .byte   0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d
table_end:

    .org    tail + 0x400 - 16
    reset_vector_code
