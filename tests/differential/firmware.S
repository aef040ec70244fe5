/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest of the differential test: from the reset vector to long mode on
 * page tables that firmware.py writes at PAGE_TABLES, then a server that reads
 * and writes the guest's memory as the guest sees it.
 *
 * Request, on COM1: three little-endian 64-bit numbers, command, virtual
 * address and length. READ sends the bytes to port 0xe9; WRITE takes them from
 * COM1 and sends 'K'.
 *
 * It is the last KiB below 4 GiB and uses no stack, as RAM is not its own.
 */
#define PAGE_TABLES     0xffff0000
#define SEGMENT         0xffff0000
#define COM1            0x3f8
#define DEBUG_PORT      0xe9

#include "long-mode.inc"

    .section .text
start16:
    enter_long_mode SEGMENT, gdt, PAGE_TABLES
    cld
serve:
    lea     1f(%rip), %rbp
    jmp     number
1:  mov     %rbx, %r8                   /* command */
    lea     1f(%rip), %rbp
    jmp     number
1:  mov     %rbx, %rsi                  /* address */
    lea     1f(%rip), %rbp
    jmp     number
1:  mov     %rbx, %rcx                  /* length */
    mov     $DEBUG_PORT, %edx
    test    %r8, %r8
    jnz     write
    rep outsb
    jmp     serve
write:
    mov     %rsi, %rdi
    mov     %rcx, %r9
1:  test    %r9, %r9
    jz      2f
    lea     3f(%rip), %rbp
    jmp     byte
3:  stosb
    dec     %r9
    jmp     1b
2:  mov     $'K', %al
    mov     $DEBUG_PORT, %edx
    outb    %al, %dx
    jmp     serve

/* al: a byte of COM1; returns to rbp */
byte:
    mov     $(COM1 + 5), %edx
1:  pause
    in      %dx, %al
    test    $1, %al
    jz      1b
    mov     $COM1, %edx
    in      %dx, %al
    jmp     *%rbp

/* rbx: a number of COM1; returns to rbp */
number:
    mov     %rbp, %r10
    mov     $8, %ecx
    lea     2f(%rip), %rbp
1:  jmp     byte
2:  shr     $8, %rbx
    movzbl  %al, %eax
    shl     $56, %rax
    or      %rax, %rbx
    dec     %ecx
    jnz     1b
    jmp     *%r10

    long_mode_gdt gdt

    .org    0x400 - 16
    .code16
    jmp     start16
    .balign 16
