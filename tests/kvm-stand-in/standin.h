/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * KVM stand-in: private interfaces between the library's files.
 *
 * The library interposes ioctl() and stands between QEMU and "the kernel",
 * which is either the real /dev/kvm or, with a script, scripted.c. It adds
 * what neither has: SEV, SEV-ES, SEV-SNP and TDX. README.md says what is
 * modelled and which environment variables select it.
 *
 * All functions that fail return a negative errno, as the kernel's do.
 * Everything here runs under vm.lock unless a comment says otherwise.
 */
#ifndef STANDIN_H
#define STANDIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <linux/kvm.h>

#define PAGE            4096UL
#define PAGE_DOWN(x)    ((uint64_t)(x) & ~(PAGE - 1))
#define PAGE_OFFSET(x)  ((uint64_t)(x) & (PAGE - 1))

/* The provisional interface: never in mainline, so not in linux/kvm.h. */
struct kvm_rw_memory {
    uint64_t addr;
    uint64_t len;
    uint64_t ubuf;
};
#define KVM_MEMORY_ENCRYPT_READ_MEMORY  _IOWR(KVMIO, 0xcc, struct kvm_rw_memory)
#define KVM_MEMORY_ENCRYPT_WRITE_MEMORY _IOWR(KVMIO, 0xcd, struct kvm_rw_memory)
#define KVM_CAP_ENCRYPT_MEMORY_DEBUG    300

/* linux/kvm_para.h and asm/kvm_para.h, which QEMU keeps elsewhere. */
#define KVM_HC_MAP_GPA_RANGE            12
#define KVM_MAP_GPA_RANGE_ENCRYPTED     (1 << 4)

#define COM1                            0x3f8
#define PCI_CONFIG                      0xcf8

/* How payload.S asks for a page state change; see there. */
#define CONVERT_PORT                    0x5ec
#define CONVERT_PAGES_PORT              0x5f0

/* ---- config.c: the environment, read once ---- */

struct config {
    const char *log_path;
    const char *script;         /* no /dev/kvm: walk this trace */
    const char *fault;
    unsigned latency_us;        /* of each debug ioctl, spent on a CPU */
    unsigned page_latency_us;   /* of each page of a unified ioctl, slept */
    unsigned cbit;              /* SEV family; TDX takes it from phys_bits */
    unsigned phys_bits;         /* 0: the host's own */
    bool strict;                /* fail callers that rely on new kernels */
    bool unified;               /* the kernel has the provisional ioctls */
    bool old_kernel;            /* the DBG commands have their old bugs */
    bool announced;             /* SEV: pages are shared by hypercall only */
    bool tdx_debug;             /* KVM reports ATTRIBUTES.DEBUG as supported */
    bool td_registers;          /* those of a debug TD can be read */
};
extern struct config config;
void config_init(void);

/* ---- log.c (any thread, no lock needed) ---- */

/*
 * One line: sequence number, name, "key=value" pairs from @fmt, ret=@ret.
 * Also counts @name; the counts are written when the process ends.
 */
void log_call(const char *name, long ret, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* A line that is no ioctl: "event ..." */
void log_event(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Strict mode: log; the process aborts when it ends. Returns config.strict. */
bool log_violation(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- fault.c: injected errors ---- */

struct fault {
    bool fires;
    int err;                    /* errno to answer, 0: success */
    int fw_error;               /* for kvm_sev_cmd.error */
    int64_t partial;            /* bytes completed first */
    int64_t claim;              /* bytes said to be completed, -1: the truth */
};
/* Does a rule fire for this call of @name at @addr, @len? Counts the call. */
struct fault fault_check(const char *name, uint64_t addr, uint64_t len);

/* ---- cipher.c ---- */

/* Real, keyed scrambling of 16-byte blocks; @tweak is the first's address. */
void cipher_encrypt(uint8_t *dst, const uint8_t *src, size_t len,
                    uint64_t tweak);
void cipher_decrypt(uint8_t *dst, const uint8_t *src, size_t len,
                    uint64_t tweak);

/* ---- the VM ---- */

enum guest_kind { GUEST_PLAIN, GUEST_SEV, GUEST_SEV_ES, GUEST_SNP, GUEST_TDX };

/* States of the SEV API; SNP and TDX use UNINIT, LAUNCH and RUNNING only. */
enum guest_state { STATE_UNINIT, STATE_LAUNCH, STATE_SECRET, STATE_RUNNING };

/*
 * One RAMBlock's private side. SEV: created by KVM_MEMORY_ENCRYPT_REG_REGION
 * and found by QEMU's address (@raw). SNP, TDX: a guest_memfd, found by its
 * file descriptor.
 */
struct ram {
    struct ram *next;
    uint8_t *raw;               /* QEMU's mapping, or NULL for a guest_memfd */
    uint8_t *priv;              /* what the guest sees with private access */
    uint64_t size;
    int guest_fd;               /* QEMU's (write-only) descriptor, or -1 */
    int memfd;                  /* ours, or -1 */
    uint8_t *shared;            /* a byte per page: 1 = shared */
};

/* A memory slot of the kernel below: a run of pages, at one alias. */
struct piece {
    uint64_t gpa;
    uint64_t size;
    uint8_t *mem;
    uint32_t flags;
    uint32_t id;
    bool priv;
};

/* A memory slot as QEMU sees it. */
struct slot {
    struct slot *next;
    uint32_t id;
    uint32_t flags;
    uint64_t gpa;
    uint64_t size;
    uint8_t *raw;
    struct ram *ram;            /* NULL: has no private side */
    uint64_t offset;            /* of the slot in @ram */
    struct piece *pieces;
    unsigned nr_pieces;
};

struct vcpu {
    int fd;
    unsigned index;
    struct kvm_run *run;
    pthread_t thread;
    bool running;               /* inside the kernel's KVM_RUN */
    bool ran;
    uint32_t debug_control;     /* of KVM_SET_GUEST_DEBUG */
    uint32_t convert_pages;     /* of the next conversion; 0: one */
    bool mmio_pending;          /* access to redo after a MEMORY_FAULT */
    struct kvm_run saved;       /* its exit */
};

#define MAX_VCPUS 64

struct vm {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool changing;              /* slots change: no vCPU may enter */
    int fd;
    int kvm_fd;
    bool scripted;
    enum guest_kind kind;
    enum guest_state state;
    bool protected_state;       /* registers cannot be read */
    uint64_t policy;            /* SEV, SNP policy; TDX ATTRIBUTES */
    uint64_t bit;               /* C-bit or shared bit, as a mask */
    struct ram *rams;
    struct slot *slots;
    struct vcpu vcpus[MAX_VCPUS];
    unsigned nr_vcpus;
    struct kvm_cpuid2 *tdx_cpuid;   /* from KVM_TDX_INIT_VM */
};
extern struct vm vm;

static inline bool kind_is_sev(void)    /* SEV or SEV-ES, not SNP */
{
    return vm.kind == GUEST_SEV || vm.kind == GUEST_SEV_ES;
}

static inline bool kind_has_memfd(void)
{
    return vm.kind == GUEST_SNP || vm.kind == GUEST_TDX;
}

/* Does the guest's policy let the host read its memory? */
bool policy_allows_debug(void);

/* ---- entry.c ---- */

/* The kernel below: the real one, or scripted.c. No lock needed. */
long kernel_ioctl(int fd, unsigned long request, void *arg);

/* Copy from or to an address that QEMU passed: -EFAULT if it is unmapped. */
int user_read(void *dst, uint64_t src, size_t len);
int user_write(uint64_t dst, const void *src, size_t len);
bool user_mapped(uint64_t addr, size_t len);

/* ---- ram.c: private memory ---- */

struct ram *ram_at_hva(uint64_t hva);
int ram_register(uint64_t hva, uint64_t size);          /* REG_REGION */
int ram_unregister(uint64_t hva, uint64_t size);
int ram_create_memfd(uint64_t size);                    /* returns the fd */
struct ram *ram_of_memfd(int fd);
void ram_forget(void);                                  /* all of it */
/* Is the page at @offset there yet (has the guest touched or accepted it)? */
bool ram_page_present(const struct ram *ram, uint64_t offset);

/* ---- slots.c ---- */

struct slot *slot_at(uint64_t gpa);
/* The guest-physical address of QEMU's address @hva, or -1. */
uint64_t slot_gpa_of_hva(uint64_t hva);
bool page_is_shared(const struct slot *slot, uint64_t gpa);
uint8_t *page_raw(const struct slot *slot, uint64_t gpa);
uint8_t *page_private(const struct slot *slot, uint64_t gpa);
int slot_set(const struct kvm_userspace_memory_region2 *region);
void slots_forget(void);                                /* all of them */
/* Convert pages; stops the vCPUs while the kernel's slots change. */
int slot_convert(uint64_t gpa, uint64_t size, bool shared);
/* SEV: bring QEMU's mapping up to what the guest wrote privately. */
void slot_sync(void);
int slot_dirty_log(struct kvm_dirty_log *log);
/* Private memory at @gpa was written by us: SEV updates the ciphertext. */
void slot_private_written(uint64_t gpa, uint64_t len);

/* ---- the interfaces that QEMU calls ---- */

long vm_ioctl(unsigned long request, void *arg);                /* vm.c */
long system_ioctl(int fd, unsigned long request, void *arg);    /* vm.c */
long vcpu_ioctl(struct vcpu *cpu, unsigned long request, void *arg);
/* Wait until no vCPU runs, and let none in until vm_thaw(). vcpu.c */
void vm_freeze(void);
void vm_thaw(void);
long sev_command(struct kvm_sev_cmd *cmd);                      /* sev.c */
long sev_device_ioctl(void *arg);                               /* sevdev.c */
long snp_command(struct kvm_sev_cmd *cmd);                        /* snp.c */
long sev_debug(struct kvm_sev_cmd *cmd, bool decrypt);          /* dbg.c */
long tdx_vm_command(struct kvm_tdx_cmd *cmd);                   /* tdx.c */
long tdx_vcpu_command(struct kvm_tdx_cmd *cmd);
/* Not locked: it takes vm.lock itself, and not while it sleeps. */
long unified_ioctl(unsigned long request, void *arg);           /* unified.c */
/*
 * QEMU is about to change what is at @gpa, by @what: it must not while it
 * transfers that memory.
 */
void unified_check_change(const char *what, uint64_t gpa, uint64_t size);
uint64_t debug_clock_us(void);                                  /* dbg.c */
/* Return when config.latency_us have passed since @start of that clock. */
void debug_latency(uint64_t start);

/* ---- cpuid.c: what QEMU executes directly ---- */

void cpuid_hook_install(void);
/* Of the host, or those that STANDIN_PHYS_BITS gives it. */
unsigned host_address_bits(void);
void cpuid_adjust(struct kvm_cpuid2 *cpuid);
void cpuid_limit_addresses(struct kvm_cpuid2 *cpuid);

/* ---- a kernel and a guest without /dev/kvm ---- */

/* scripted.c: a KVM that has no hardware below it. No lock needed. */
long scripted_ioctl(int fd, unsigned long request, void *arg);

/* The registers of a scripted vCPU. */
struct script_regs {
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_debugregs debugregs;
    struct kvm_guest_debug guest_debug;
};
struct script_regs *script_regs(unsigned index);

/* program.c: the trace, parsed; README.md describes the language. */
enum script_op {
    OP_COPY, OP_TEXT, OP_CONVERT, OP_PUT, OP_OUT, OP_PRINT, OP_CHECK,
    OP_LONG_MODE, OP_NOP, OP_INC, OP_REPORT, OP_FLIP,
};
struct script_step {
    enum script_op op;
    bool is_instruction;        /* "at": may be stopped at */
    uint64_t rip;
    uint64_t rip_gpa;
    uint64_t arg[7];
    char *text;
    char *otherwise;
};
struct script_program {
    struct script_step *steps;
    unsigned nr_steps;
    unsigned loop;              /* the first step of the endless part */
};
/* The program of vCPU @index: empty if the script has none. */
struct script_program *script_program(unsigned index);

/* script.c: runs vCPU @index until an exit; 0 or -EINTR. Takes vm.lock. */
long script_run(unsigned index, struct kvm_run *run);
/* All vCPUs begin their programs again. No vCPU runs. */
void script_restart(void);

#endif
