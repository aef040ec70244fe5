/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest of the differential test: from the reset vector to long mode on
 * page tables that firmware.py writes at PAGE_TABLES, then a server that reads
 * and writes the guest's memory as the guest sees it.
 *
 * Request, on COM1: three little-endian 64-bit numbers, command, virtual
 * address and length. READ sends the bytes to port 0xe9; WRITE takes them from
 * COM1 and sends 'K'; so do MAKE_PRIVATE, which makes pages private to the
 * guest by KVM_HC_MAP_GPA_RANGE and keeps what is in them, and MOVE, which does
 * the same but for that. Their address is the physical one, too.
 *
 * It is the last KiB below 4 GiB and uses no stack, as RAM is not its own. It
 * has no string instruction on ports: KVM emulates them on shared memory alone.
 */
#define PAGE_TABLES     0xffff0000
#define SEGMENT         0xffff0000
#define COM1            0x3f8
#define DEBUG_PORT      0xe9
#define READ            0
#define WRITE           1
#define MAKE_PRIVATE    2
#define BOUNCE          0x6000          /* a page that they overwrite */
#define KVM_HC_MAP_GPA_RANGE    12
#define MAP_GPA_RANGE_PRIVATE   0x10

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
    mov     %rcx, %r9
    cmp     $WRITE, %r8
    je      write
    ja      pages
    mov     $DEBUG_PORT, %edx
1:  test    %r9, %r9
    jz      serve
    lodsb
    outb    %al, %dx
    dec     %r9
    jmp     1b
write:
    mov     %rsi, %rdi
1:  test    %r9, %r9
    jz      done
    lea     3f(%rip), %rbp
    jmp     byte
3:  stosb
    dec     %r9
    jmp     1b
done:
    mov     $'K', %al
answer:
    mov     $DEBUG_PORT, %edx
    outb    %al, %dx
    jmp     serve
pages:
    mov     %rsi, %r11
1:  test    %r9, %r9
    jz      done
    mov     %r11, %rsi
    mov     $BOUNCE, %edi
    mov     $512, %ecx
    rep movsq
    cmp     $MAKE_PRIVATE, %r8
    jne     2f
    mov     $KVM_HC_MAP_GPA_RANGE, %eax
    mov     %r11, %rbx
    mov     $1, %ecx
    mov     $MAP_GPA_RANGE_PRIVATE, %edx
    vmmcall
    test    %rax, %rax
    mov     $'E', %al
    jnz     answer
2:  mov     $BOUNCE, %esi
    mov     %r11, %rdi
    mov     $512, %ecx
    rep movsq
    add     $4096, %r11
    dec     %r9
    jmp     1b

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
