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
#define MSR_EFER        0xc0000080
#define COM1            0x3f8
#define DEBUG_PORT      0xe9

    .section .text
    .code16
start16:
    cli
    lgdtl   %cs:(gdt_pointer - SEGMENT)
    mov     %cr0, %eax
    or      $1, %eax
    mov     %eax, %cr0
    ljmpl   $8, $start32

    .code32
start32:
    mov     $16, %eax
    mov     %eax, %ds
    mov     %eax, %es
    mov     %eax, %ss
    mov     %cr4, %eax
    or      $0x20, %eax
    mov     %eax, %cr4
    mov     $PAGE_TABLES, %eax
    mov     %eax, %cr3
    mov     $MSR_EFER, %ecx
    rdmsr
    or      $0x100, %eax
    wrmsr
    mov     %cr0, %eax
    and     $0x9fffffff, %eax
    or      $0x80000000, %eax
    mov     %eax, %cr0
    ljmp    $24, $start64

    .code64
start64:
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

    .balign 8
gdt:
    .quad   0
    .quad   0x00cf9b000000ffff
    .quad   0x00cf93000000ffff
    .quad   0x00af9b000000ffff
gdt_pointer:
    .word   31
    .long   gdt

    .org    0x400 - 16
    .code16
    jmp     start16
    .balign 16
