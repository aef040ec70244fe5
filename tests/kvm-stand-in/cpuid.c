/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU compares cbitpos with leaf 0x8000001F of the host, which it executes
 * itself: host_cpuid() is redirected to ours. That needs QEMU's symbol table;
 * a stripped QEMU must be started with cbitpos=0 (README.md).
 */
#include <cpuid.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "standin.h"

#define LEAF_ADDRESS_SIZES  0x80000008
#define LEAF_SEV            0x8000001f
#define LEAF_KVM_FEATURES   0x40000001
#define FEATURE_MIGRATION_CONTROL (1 << 17)
/* SME, SEV, SEV-ES, SEV-SNP */
#define SEV_FEATURES        0x1b

unsigned host_address_bits(void)
{
    uint32_t a, b, c, d;

    __cpuid(LEAF_ADDRESS_SIZES, a, b, c, d);
    return config.phys_bits ?: a & 0xff;
}

static void standin_host_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t *eax,
                               uint32_t *ebx, uint32_t *ecx, uint32_t *edx)
{
    uint32_t a, b, c, d;

    __cpuid_count(leaf, subleaf, a, b, c, d);
    if (leaf == LEAF_SEV) {
        a |= SEV_FEATURES;
        b = (b & ~0xfff) | 1 << 6 | config.cbit;
    } else if (leaf == LEAF_ADDRESS_SIZES) {
        a = (a & ~0xff) | host_address_bits();
    } else if (leaf == 0x80000000 && a < LEAF_SEV) {
        a = LEAF_SEV;
    }
    uint32_t *out[] = { eax, ebx, ecx, edx }, value[] = { a, b, c, d };
    for (int i = 0; i < 4; i++) {
        if (out[i]) {
            *out[i] = value[i];
        }
    }
}

static const Elf64_Shdr *section(const uint8_t *elf, unsigned type)
{
    const Elf64_Ehdr *eh = (const Elf64_Ehdr *)elf;
    const Elf64_Shdr *sh = (const Elf64_Shdr *)(elf + eh->e_shoff);

    for (unsigned i = 0; i < eh->e_shnum; i++) {
        if (sh[i].sh_type == type) {
            return &sh[i];
        }
    }
    return NULL;
}

/* The address of function @name in the symbol table of an ELF image, or 0. */
static uint64_t find_function(const uint8_t *elf, const char *name)
{
    const Elf64_Ehdr *eh = (const Elf64_Ehdr *)elf;
    const Elf64_Shdr *symtab = section(elf, SHT_SYMTAB);
    const Elf64_Shdr *strtab;
    const Elf64_Sym *sym, *end;

    if (!symtab) {
        return 0;
    }
    strtab = (const Elf64_Shdr *)(elf + eh->e_shoff) + symtab->sh_link;
    sym = (const Elf64_Sym *)(elf + symtab->sh_offset);
    end = (const Elf64_Sym *)(elf + symtab->sh_offset + symtab->sh_size);
    for (; sym < end; sym++) {
        if (ELF64_ST_TYPE(sym->st_info) == STT_FUNC &&
            !strcmp((const char *)elf + strtab->sh_offset + sym->st_name,
                    name)) {
            return sym->st_value;
        }
    }
    return 0;
}

static int first_object(struct dl_phdr_info *info, size_t size, void *base)
{
    (void)size;
    *(uint64_t *)base = info->dlpi_addr;
    return 1;
}

static uint64_t host_cpuid_address(void)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct stat st;
    uint64_t value = 0, base = 0;
    uint8_t *elf = MAP_FAILED;

    if (fd >= 0 && !fstat(fd, &st)) {
        elf = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    if (elf != MAP_FAILED) {
        value = find_function(elf, "host_cpuid");
        munmap(elf, st.st_size);
    }
    if (fd >= 0) {
        close(fd);
    }
    dl_iterate_phdr(first_object, &base);
    return value ? base + value : 0;
}

void cpuid_hook_install(void)
{
    uint64_t at = host_cpuid_address();
    /* movabs $standin_host_cpuid, %rax; jmp *%rax */
    uint8_t jump[] = { 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0 };
    uint64_t ours = (uint64_t)standin_host_cpuid;

    if (!at) {
        return;
    }
    memcpy(jump + 2, &ours, sizeof(ours));
    if (mprotect((void *)PAGE_DOWN(at), 2 * PAGE,
                 PROT_READ | PROT_WRITE | PROT_EXEC)) {
        log_event("cannot redirect host_cpuid: use cbitpos=0");
        return;
    }
    memcpy((void *)at, jump, sizeof(jump));
    mprotect((void *)PAGE_DOWN(at), 2 * PAGE, PROT_READ | PROT_EXEC);
}

/*
 * The kernel below may say how many address bits the host can map for a guest
 * (EAX[23:16], 0: all). It is as many as the host that we show has.
 */
void cpuid_limit_addresses(struct kvm_cpuid2 *cpuid)
{
    for (unsigned i = 0; i < cpuid->nent; i++) {
        struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

        if (e->function == LEAF_ADDRESS_SIZES) {
            e->eax = (e->eax & ~0xff00ff) | host_address_bits();
        }
    }
}

/*
 * The kernel below must take the C-bit or shared bit for an address bit, so
 * its guest needs that many. A Linux that is told so announces shared pages,
 * which saves thousands of exits.
 */
void cpuid_adjust(struct kvm_cpuid2 *cpuid)
{
    for (unsigned i = 0; i < cpuid->nent && vm.bit; i++) {
        struct kvm_cpuid_entry2 *e = &cpuid->entries[i];
        unsigned need = __builtin_ctzll(vm.bit) + 1;

        if (e->function == LEAF_ADDRESS_SIZES && (e->eax & 0xff) < need) {
            e->eax = (e->eax & ~0xff) | need;
        } else if (e->function == LEAF_KVM_FEATURES && kind_is_sev()) {
            e->eax |= FEATURE_MIGRATION_CONTROL;
        }
    }
}
