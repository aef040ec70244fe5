/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Drives the stand-in's ioctls as QEMU would, without QEMU. One case a
 * process, run under LD_PRELOAD by tests/test_stand_in_kernel.py.
 */
#ifndef SELF_TEST_H
#define SELF_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/kvm.h>

#include "../standin.h"

#define RAM_PAGES 16
#define RAM_SIZE (RAM_PAGES * PAGE)

/* A guest of one slot at GPA 0, launched. */
struct guest {
    int kvm;
    int vm;
    int vcpu;
    int memfd;
    uint8_t *ram;           /* "QEMU's" mapping, page-aligned */
};

/* Ends the process, saying where, unless @ok. */
#define CHECK(ok) check(ok, #ok, __FILE__, __LINE__)
void check(bool ok, const char *what, const char *file, int line);

/* ioctl() that returns -errno. */
long call(int fd, unsigned long request, void *arg);

struct guest open_vm(long type);
/* SEV with @policy; page 0 holds "page 0 ..." and is launched. */
struct guest sev_guest(uint64_t policy);
struct guest sev_guest_unfinished(uint64_t policy);
struct guest snp_guest(uint64_t policy);
struct guest tdx_guest(uint64_t attributes);
/* What launch put into byte @i of page 0. */
uint8_t launched_byte(unsigned i);
bool is_launched_text(const uint8_t *data, unsigned offset, size_t len);
long set_shared(const struct guest *g, uint64_t gpa, uint64_t size,
                bool shared);
/* Removes the slot of an SNP guest or a TD, with 0, or sets it up again. */
void slot_set_size(const struct guest *g, uint64_t size);

/* Both return the result; *fw is kvm_sev_cmd.error. */
long sev_dbg(const struct guest *g, bool decrypt, const void *src, void *dst,
             uint32_t len, int *fw);
/* *len: the length asked for, then what the kernel wrote back. */
long unified(const struct guest *g, bool write, uint64_t addr, void *buf,
             uint64_t *len);
/* Two pages of zeros, page-aligned, for bounce buffers. */
uint8_t *bounce(void);

struct test_case {
    const char *name;
    void (*run)(void);
};
extern const struct test_case dbg_cases[], unified_cases[], vm_cases[];

#endif
