// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_MEMORY_ENCRYPT_READ_MEMORY and KVM_MEMORY_ENCRYPT_WRITE_MEMORY on SNP
 * guests.  What doesn't depend on firmware is in private_mem_debug_test.c.
 */
#include <string.h>

#include <linux/sizes.h>

#include "kvm_util.h"
#include "processor.h"
#include "sev.h"
#include "test_util.h"

#define DATA_SIZE	(2 * PAGE_SIZE)
/* Set in the guest's termination request if it did not see what was written. */
#define GUEST_FAILED	BIT(16)

/* Private memory of which the guest has not got any. */
#define EMPTY_GPA	0x100000000ull
#define EMPTY_SLOT	10

static u8 data[DATA_SIZE];
static u8 got[DATA_SIZE];

static void guest_code(u8 *mem)
{
	u64 failed = 0;
	int i;

	for (i = 0; i < DATA_SIZE; i++) {
		if (mem[i] != (u8)(i * 5 + 1))
			failed = GUEST_FAILED;
		mem[i]++;
	}

	wrmsr(MSR_AMD64_SEV_ES_GHCB, GHCB_MSR_TERM_REQ | failed);
	vmgexit();
}

static int debug_rw(struct kvm_vm *vm, bool write, u64 gpa, void *buf, u64 len)
{
	struct kvm_rw_memory rw = {
		.addr = gpa,
		.len = len,
		.ubuf = (u64)buf,
	};
	int ret;

	ret = __vm_ioctl(vm, write ? KVM_MEMORY_ENCRYPT_WRITE_MEMORY :
				     KVM_MEMORY_ENCRYPT_READ_MEMORY, &rw);
	TEST_ASSERT(rw.len == (ret ? 0 : len), "%llu bytes done", rw.len);
	return ret ? errno : 0;
}

static void expect(struct kvm_vm *vm, int err, u64 gpa)
{
	TEST_ASSERT_EQ(debug_rw(vm, false, gpa, got, 8), err);
	TEST_ASSERT_EQ(debug_rw(vm, true, gpa, got, 8), err);
}

static void expect_memory(struct kvm_vm *vm, u64 gpa)
{
	memset(got, 0xee, DATA_SIZE);
	TEST_ASSERT_EQ(debug_rw(vm, false, gpa, got, DATA_SIZE), 0);
	TEST_ASSERT(!memcmp(got, data, DATA_SIZE), "Guest memory isn't as expected");
}

/* Parts of pages, and what surrounds them must stay. */
static void test_ranges(struct kvm_vm *vm, u64 gpa)
{
	static const int offsets[] = { 0, 1, 15, 16, PAGE_SIZE - 5, PAGE_SIZE };
	static const int sizes[] = { 1, 8, 16, 17, PAGE_SIZE - 1, PAGE_SIZE };
	int i, j;

	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		for (j = 0; j < ARRAY_SIZE(sizes); j++) {
			memset(data + offsets[i], i * 16 + j, sizes[j]);
			TEST_ASSERT_EQ(debug_rw(vm, true, gpa + offsets[i],
						data + offsets[i], sizes[j]), 0);
			expect_memory(vm, gpa);
		}
	}
}

static void test_snp_debug(u64 policy)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	gva_t gva;
	gpa_t gpa;
	int i;

	vm = vm_sev_create_with_one_vcpu(KVM_X86_SNP_VM, guest_code, &vcpu);
	TEST_ASSERT_EQ(vm_check_cap(vm, KVM_CAP_ENCRYPT_MEMORY_DEBUG), 1);

	gva = vm_alloc(vm, DATA_SIZE, KVM_UTIL_MIN_VADDR);
	gpa = addr_gva2gpa(vm, gva);
	memset(data, 0xaa, DATA_SIZE);
	memcpy(addr_gva2hva(vm, gva), data, DATA_SIZE);
	vcpu_args_set(vcpu, 1, gva);

	expect(vm, EPERM, gpa);
	vm_sev_launch(vm, policy, NULL);
	if (!(policy & SNP_POLICY_DBG)) {
		expect(vm, EPERM, gpa);
		kvm_vm_free(vm);
		return;
	}

	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, EMPTY_GPA, EMPTY_SLOT, 1,
				    KVM_MEM_GUEST_MEMFD);
	expect(vm, EINVAL, EMPTY_GPA);
	vm_mem_set_private(vm, EMPTY_GPA, PAGE_SIZE);
	expect(vm, ENOENT, EMPTY_GPA);

	expect_memory(vm, gpa);
	test_ranges(vm, gpa);

	for (i = 0; i < DATA_SIZE; i++)
		data[i] = i * 5 + 1;
	TEST_ASSERT_EQ(debug_rw(vm, true, gpa, data, DATA_SIZE), 0);

	vcpu_run(vcpu);
	TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_SYSTEM_EVENT);
	TEST_ASSERT_EQ(vcpu->run->system_event.type, KVM_SYSTEM_EVENT_SEV_TERM);
	TEST_ASSERT(!(vcpu->run->system_event.data[0] & GUEST_FAILED),
		    "The guest didn't see what was written");

	for (i = 0; i < DATA_SIZE; i++)
		data[i]++;
	expect_memory(vm, gpa);
	kvm_vm_free(vm);
}

int main(int argc, char *argv[])
{
	TEST_REQUIRE(kvm_cpu_has(X86_FEATURE_SEV_SNP));
	TEST_REQUIRE(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SNP_VM));
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_ENCRYPT_MEMORY_DEBUG));

	test_snp_debug(snp_default_policy());
	test_snp_debug(snp_default_policy() | SNP_POLICY_DBG);
	return 0;
}
