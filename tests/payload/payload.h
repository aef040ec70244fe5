/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The payload guest's address map. Shared by payload.S and payload.ld; the
 * Python builder reads the addresses from the linked file's symbols instead.
 */
#ifndef PAYLOAD_H
#define PAYLOAD_H

/* The firmware image: the last 64 KiB below 4 GiB. */
#define ROM_BASE        0xffff0000
#define ROM_SIZE        0x10000

/* A vCPU woken by SIPI starts here, in real mode. */
#define TRAMPOLINE      0x8000

/* RAM that the hypervisor fills before launch (TDX and SNP metadata). */
#define TD_HOB          0x180000
#define TD_HOB_SIZE     0x2000
#define TEMP_MEM        0x182000
#define SNP_SEC_MEM     0x184000
#define SNP_SECRETS     0x185000
#define SNP_CPUID       0x186000

/*
 * RAM_BASE..RAM_BASE + 2 MiB is mapped twice: at its physical address
 * (private, one 2 MiB leaf) and at VIRT_OFFSET + physical (4 KiB leaves, each
 * private or shared as listed below).
 */
#define RAM_BASE        0x200000
#define VIRT_OFFSET     0xffffffff80000000
#define STACK_TOP       0x240000        /* and downwards */

/*
 * With CONVERT, the first 2 MiB are mapped at VIRT_OFFSET, too. These pages are
 * private or shared, in turn. Those from 0xc0000 to 0xdffff are option ROMs in
 * an SNP guest, and so the range lies in three of QEMU's sections.
 */
#define BORDERS         0xbe000
#define BORDERS_PAGES   0x24            /* up to 0xe2000 */

/* Text lines, 16 bytes each, that name their own address and kind. */
#define TEXT_PRIVATE    0x240000        /* four private pages */
#define TEXT_SHARED     0x244000        /* two shared pages */
#define TEXT_TAIL       0x246000        /* two private pages */
#define TEXT_END        0x248000
#define SHARED_PAGE     0x248000        /* fw_cfg DMA and the shared mailbox */
#define FLIP_PAGE       0x24a000        /* private or shared, in turn */

/*
 * With HYPERCALL, one 2 MiB leaf at VIRT_OFFSET + physical, all private: code,
 * its variables, and from MOVED_TEXT on more lines of text.
 */
#define MOVED           0x400000
#define MOVED_SIZE      0x200000
#define MOVED_TEXT      0x401000

/* Offsets into SHARED_PAGE. */
#define FW_CFG_ACCESS   0x000
#define FW_CFG_BUFFER   0x040
#define SHARED_MAILBOX  0x100
#define FLIPS_WANTED    0x108
#define FLIP_SILENTLY   0x110
#define BORDERS_WANTED  0x118

#endif
