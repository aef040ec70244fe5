/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "self-test.h"

void check(bool ok, const char *what, const char *file, int line)
{
    if (!ok) {
        fprintf(stderr, "%s:%d: not true: %s (errno %s)\n", file, line, what,
                strerrorname_np(errno));
        exit(1);
    }
}

long call(int fd, unsigned long request, void *arg)
{
    int ret = ioctl(fd, request, arg);

    return ret < 0 ? -errno : ret;
}

static uint8_t *map(size_t size)
{
    uint8_t *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(mem != MAP_FAILED);
    return mem;
}

uint8_t *bounce(void)
{
    return map(2 * PAGE);
}

struct guest open_vm(long type)
{
    struct guest g = { .memfd = -1 };

    g.kvm = open("/dev/null", O_RDWR);
    CHECK(call(g.kvm, KVM_GET_API_VERSION, NULL) == KVM_API_VERSION);
    g.vm = call(g.kvm, KVM_CREATE_VM, (void *)type);
    CHECK(g.vm >= 0);
    g.ram = map(RAM_SIZE);
    return g;
}

uint8_t launched_byte(unsigned i)
{
    return "page 0, line by line"[i % 16] ^ (i / 16);
}

bool is_launched_text(const uint8_t *data, unsigned offset, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (data[i] != launched_byte(offset + i)) {
            return false;
        }
    }
    return true;
}

static void fill(uint8_t *page)
{
    for (unsigned i = 0; i < PAGE; i++) {
        page[i] = launched_byte(i);
    }
}

static long sev_cmd(const struct guest *g, unsigned id, void *data, int *fw)
{
    struct kvm_sev_cmd cmd = { .id = id, .data = (uint64_t)data, .error = 99 };
    long ret = call(g->vm, KVM_MEMORY_ENCRYPT_OP, &cmd);

    if (fw) {
        *fw = cmd.error;
    }
    return ret;
}

long sev_dbg(const struct guest *g, bool decrypt, const void *src, void *dst,
             uint32_t len, int *fw)
{
    struct kvm_sev_dbg dbg = {
        .src_uaddr = (uint64_t)src, .dst_uaddr = (uint64_t)dst, .len = len,
    };

    return sev_cmd(g, decrypt ? KVM_SEV_DBG_DECRYPT : KVM_SEV_DBG_ENCRYPT,
                   &dbg, fw);
}

long unified(const struct guest *g, bool write, uint64_t addr, void *buf,
             uint64_t *len)
{
    struct kvm_rw_memory rw = {
        .addr = addr, .len = *len, .ubuf = (uint64_t)buf,
    };
    long ret = call(g->vm, write ? KVM_MEMORY_ENCRYPT_WRITE_MEMORY
                                 : KVM_MEMORY_ENCRYPT_READ_MEMORY, &rw);

    CHECK(rw.addr == addr && rw.ubuf == (uint64_t)buf);
    *len = rw.len;
    return ret;
}

static void sev_memory(const struct guest *g)
{
    struct kvm_enc_region region = { (uint64_t)g->ram, RAM_SIZE };
    struct kvm_userspace_memory_region slot = {
        .memory_size = RAM_SIZE, .userspace_addr = (uint64_t)g->ram,
    };

    CHECK(!call(g->vm, KVM_MEMORY_ENCRYPT_REG_REGION, &region));
    CHECK(!call(g->vm, KVM_SET_USER_MEMORY_REGION, &slot));
}

struct guest sev_guest_unfinished(uint64_t policy)
{
    struct guest g = open_vm(KVM_X86_DEFAULT_VM);
    struct kvm_sev_launch_start start = { .policy = policy };
    struct kvm_sev_launch_update_data update = {
        .uaddr = (uint64_t)g.ram, .len = PAGE,
    };

    CHECK(!sev_cmd(&g, KVM_SEV_INIT, NULL, NULL));
    CHECK(!sev_cmd(&g, KVM_SEV_LAUNCH_START, &start, NULL));
    sev_memory(&g);
    fill(g.ram);
    CHECK(!sev_cmd(&g, KVM_SEV_LAUNCH_UPDATE_DATA, &update, NULL));
    return g;
}

struct guest sev_guest(uint64_t policy)
{
    struct guest g = sev_guest_unfinished(policy);

    CHECK(!sev_cmd(&g, KVM_SEV_LAUNCH_FINISH, NULL, NULL));
    return g;
}

long set_shared(const struct guest *g, uint64_t gpa, uint64_t size,
                bool shared)
{
    struct kvm_memory_attributes a = {
        .address = gpa, .size = size,
        .attributes = shared ? 0 : KVM_MEMORY_ATTRIBUTE_PRIVATE,
    };

    return call(g->vm, KVM_SET_MEMORY_ATTRIBUTES, &a);
}

void slot_set_size(const struct guest *g, uint64_t size)
{
    struct kvm_userspace_memory_region2 slot = {
        .flags = KVM_MEM_GUEST_MEMFD, .memory_size = size,
        .userspace_addr = (uint64_t)g->ram, .guest_memfd = g->memfd,
    };

    CHECK(!call(g->vm, KVM_SET_USER_MEMORY_REGION2, &slot));
}

static void memfd_memory(struct guest *g)
{
    struct kvm_create_guest_memfd memfd = { .size = RAM_SIZE };

    g->memfd = call(g->vm, KVM_CREATE_GUEST_MEMFD, &memfd);
    CHECK(g->memfd >= 0);
    slot_set_size(g, RAM_SIZE);
    CHECK(!set_shared(g, 0, RAM_SIZE, false));
}

struct guest snp_guest(uint64_t policy)
{
    struct guest g = open_vm(KVM_X86_SNP_VM);
    struct kvm_sev_init init = { 0 };
    struct kvm_sev_snp_launch_start start = { .policy = policy };
    struct kvm_sev_snp_launch_update update = {
        .uaddr = (uint64_t)g.ram, .len = PAGE,
        .type = KVM_SEV_SNP_PAGE_TYPE_NORMAL,
    };
    struct kvm_sev_snp_launch_finish finish = { 0 };

    CHECK(!sev_cmd(&g, KVM_SEV_INIT2, &init, NULL));
    CHECK(!sev_cmd(&g, KVM_SEV_SNP_LAUNCH_START, &start, NULL));
    memfd_memory(&g);
    fill(g.ram);
    CHECK(!sev_cmd(&g, KVM_SEV_SNP_LAUNCH_UPDATE, &update, NULL));
    CHECK(!update.len && update.gfn_start == 1 &&
          update.uaddr == (uint64_t)g.ram + PAGE);
    memset(g.ram, 0, PAGE);
    CHECK(!sev_cmd(&g, KVM_SEV_SNP_LAUNCH_FINISH, &finish, NULL));
    return g;
}

static long tdx_cmd(int fd, unsigned id, void *data)
{
    struct kvm_tdx_cmd cmd = { .id = id, .data = (uint64_t)data };

    return call(fd, KVM_MEMORY_ENCRYPT_OP, &cmd);
}

struct guest tdx_guest(uint64_t attributes)
{
    struct guest g = open_vm(KVM_X86_TDX_VM);
    struct kvm_tdx_init_vm *init = calloc(1, sizeof(*init));
    struct kvm_tdx_init_mem_region region = {
        .source_addr = (uint64_t)g.ram, .nr_pages = 1,
    };

    init->attributes = attributes;
    CHECK(!tdx_cmd(g.vm, KVM_TDX_INIT_VM, init));
    g.vcpu = call(g.vm, KVM_CREATE_VCPU, NULL);
    CHECK(g.vcpu >= 0);
    memfd_memory(&g);
    CHECK(!tdx_cmd(g.vcpu, KVM_TDX_INIT_VCPU, NULL));
    fill(g.ram);
    CHECK(!tdx_cmd(g.vcpu, KVM_TDX_INIT_MEM_REGION, &region));
    memset(g.ram, 0, PAGE);
    CHECK(!tdx_cmd(g.vm, KVM_TDX_FINALIZE_VM, NULL));
    return g;
}

static bool run_case(const struct test_case *cases, const char *name)
{
    for (; cases->name; cases++) {
        if (!strcmp(cases->name, name)) {
            cases->run();
            return true;
        }
    }
    return false;
}

int main(int argc, char **argv)
{
    if (argc != 2 || (!run_case(dbg_cases, argv[1]) &&
                      !run_case(unified_cases, argv[1]) &&
                      !run_case(vm_cases, argv[1]))) {
        fprintf(stderr, "usage: LD_PRELOAD=kvm-stand-in.so "
                "STANDIN_SCRIPT=/dev/null %s CASE\n", argv[0]);
        return 2;
    }
    return 0;
}
