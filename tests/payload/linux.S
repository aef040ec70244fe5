/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A boot loader in a firmware image, for a Linux that runs as a plain SEV
 * guest: -kernel does not start one without OVMF. linux.py builds it from
 * KERNEL_FILE (the protected-mode part of a bzImage), INITRD_FILE and
 * PARAMS_FILE (the zero page, with the command line behind it). The kernel is
 * entered by the 64-bit boot protocol (Documentation/x86/boot.rst).
 */
#define SHARED_MASK 0
#include "reset.inc"

#define MSR_MTRR_DEF_TYPE 0x2ff

    .section .rom, "awx"
    .code64
start64:
    cld
    lgdt    boot_gdt_pointer(%rip)
    mov     $kernel_file, %esi
    mov     $KERNEL, %edi
    mov     $(kernel_file_end - kernel_file), %ecx
    rep movsb
    mov     $initrd_file, %esi
    mov     $INITRD, %edi
    mov     $(initrd_file_end - initrd_file), %ecx
    rep movsb
    mov     $params_file, %esi
    mov     $PARAMS, %edi
    mov     $(params_file_end - params_file), %ecx
    rep movsb
    mov     $MSR_MTRR_DEF_TYPE, %ecx    /* MTRRs on, all memory write-back: */
    mov     $0x806, %eax                /* SEV Linux wants PAT, PAT wants them */
    xor     %edx, %edx
    wrmsr
    mov     $0xfee00000, %ebx           /* local APIC: on, */
    movl    $0x1ff, 0xf0(%rbx)
    movl    $0x700, 0x350(%rbx)         /* the 8259's interrupts through it */
    mov     $0x18, %eax
    mov     %eax, %ds
    mov     %eax, %es
    mov     %eax, %ss
    mov     $PARAMS, %esi
    ljmpl   *entry(%rip)

    .balign 8
boot_gdt:                               /* __BOOT_CS 0x10, __BOOT_DS 0x18 */
    .quad   0, 0
    .quad   0x00af9b000000ffff
    .quad   0x00cf93000000ffff
boot_gdt_pointer:
    .word   . - boot_gdt - 1
    .quad   boot_gdt
entry:
    .long   KERNEL + 0x200
    .word   0x10

    .section .blobs, "a"
kernel_file:
    .incbin KERNEL_FILE
kernel_file_end:
    .balign 16
initrd_file:
    .incbin INITRD_FILE
initrd_file_end:
    .balign 16
params_file:
    .incbin PARAMS_FILE
params_file_end:

    .section .tail, "awx"
    reset_vector_code
