// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_MEMORY_ENCRYPT_READ_MEMORY and KVM_MEMORY_ENCRYPT_WRITE_MEMORY on a
 * software-protected VM: each answer that they can give, except those that need
 * broken hardware, and races with everything that takes memory away.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <linux/sizes.h>

#include "kvm_util.h"
#include "kselftest_harness.h"
#include "processor.h"
#include "test_util.h"

#define TEST_GPA	0xc0000000ull
#define TEST_SLOT	10
#define TEST_PAGES	8
#define TEST_SIZE	(TEST_PAGES * PAGE_SIZE)
/* A slot behind the first one, and what is in no slot behind that. */
#define NEXT_GPA	(TEST_GPA + TEST_SIZE)
#define NEXT_SLOT	11
#define NEXT_PAGES	2
#define NO_SLOT_GPA	(NEXT_GPA + NEXT_PAGES * PAGE_SIZE)

/* Large enough for a signal to come in between. */
#define BIG_GPA		0x100000000ull
#define BIG_SLOT	12
#define BIG_SIZE	SZ_32M

#define RACE_SECONDS	4
/* Emulated hardware may take its time. */
#define SLOW_SECONDS	300

/* What the guest writes tells from where it is, so that a mix-up is seen. */
static u64 guest_word(u64 gpa)
{
	return gpa * 0x9e3779b97f4a7c15ull | 1;
}

static u8 guest_byte(u64 gpa)
{
	return guest_word(gpa & ~7ull) >> (8 * (gpa & 7));
}

static u8 debugger_byte(u64 gpa)
{
	return gpa * 7 + 3;
}

static void guest_fill(u64 gpa, u64 size)
{
	u64 i;

	for (i = 0; i < size; i += 8)
		WRITE_ONCE(*(u64 *)(gpa + i), guest_word(gpa + i));

	GUEST_DONE();
}

/* The debugger wrote to a part of what the guest had filled. */
static void guest_check(u64 gpa, u64 size, u64 written, u64 written_size)
{
	u64 i;

	for (i = gpa; i < gpa + size; i++) {
		bool by_debugger = i >= written && i < written + written_size;
		u8 want = by_debugger ? debugger_byte(i) : guest_byte(i);

		__GUEST_ASSERT(*(u8 *)i == want, "0x%x at 0x%lx, expected 0x%x",
			       *(u8 *)i, i, want);
	}

	GUEST_DONE();
}

static void guest_race(void)
{
	u64 i;

	for (;;) {
		for (i = TEST_GPA; i < TEST_GPA + TEST_SIZE; i += 8)
			WRITE_ONCE(*(u64 *)i, guest_word(i));
	}
}

static const struct vm_shape shape = {
	.mode = VM_MODE_DEFAULT,
	.type = KVM_X86_SW_PROTECTED_VM,
};

FIXTURE(private_mem)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
};

FIXTURE_SETUP(private_mem)
{
	struct kvm_vm *vm = vm_create_shape_with_one_vcpu(shape, &self->vcpu,
							  guest_fill);

	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, TEST_GPA, TEST_SLOT,
				    TEST_PAGES, KVM_MEM_GUEST_MEMFD);
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, NEXT_GPA, NEXT_SLOT,
				    NEXT_PAGES, KVM_MEM_GUEST_MEMFD);
	virt_map(vm, TEST_GPA, TEST_GPA, TEST_PAGES + NEXT_PAGES);
	vm_mem_set_private(vm, TEST_GPA, TEST_SIZE + NEXT_PAGES * PAGE_SIZE);
	self->vm = vm;
}

FIXTURE_TEARDOWN(private_mem)
{
	kvm_vm_free(self->vm);
}

static void run_guest(struct kvm_vcpu *vcpu, void *code, u64 a, u64 b, u64 c, u64 d)
{
	struct ucall uc;

	vcpu_arch_set_entry_point(vcpu, code);
	vcpu_args_set(vcpu, 4, a, b, c, d);
	vcpu_run(vcpu);

	switch (get_ucall(vcpu, &uc)) {
	case UCALL_DONE:
		return;
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
	default:
		TEST_FAIL("Unexpected ucall %lu", uc.cmd);
	}
}

static void fill(struct kvm_vcpu *vcpu, u64 gpa, u64 size)
{
	run_guest(vcpu, guest_fill, gpa, size, 0, 0);
}

static int debug_rw(struct kvm_vm *vm, bool write, u64 gpa, void *buf, u64 *len)
{
	struct kvm_rw_memory rw = {
		.addr = gpa,
		.len = *len,
		.ubuf = (u64)buf,
	};
	int ret;

	ret = __vm_ioctl(vm, write ? KVM_MEMORY_ENCRYPT_WRITE_MEMORY :
				     KVM_MEMORY_ENCRYPT_READ_MEMORY, &rw);

	TEST_ASSERT(rw.addr == gpa && rw.ubuf == (u64)buf,
		    "Only len is to be written");
	TEST_ASSERT(rw.len <= *len && (!!ret == (rw.len < *len) || !*len),
		    "Returned %d with len %llu of %lu", ret, rw.len, *len);
	*len = rw.len;
	return ret ? errno : 0;
}

/* Both directions have to answer alike, and have to do @done bytes. */
static void expect(struct kvm_vm *vm, int err, u64 gpa, void *buf, u64 len, u64 done)
{
	int write, ret;
	u64 got;

	for (write = 0; write <= 1; write++) {
		got = len;
		ret = debug_rw(vm, write, gpa, buf, &got);
		TEST_ASSERT(ret == err && got == done,
			    "%s of 0x%lx bytes at 0x%lx: %s, 0x%lx done; expected %s, 0x%lx",
			    write ? "Write" : "Read", len, gpa, strerror(ret), got,
			    strerror(err), done);
	}
}

static void check_read(struct kvm_vm *vm, u64 gpa, u64 len)
{
	u8 *buf = malloc(len + 2);
	u64 i, done = len;
	int ret;

	buf[0] = 0xee;
	buf[len + 1] = 0xee;
	ret = debug_rw(vm, false, gpa, buf + 1, &done);
	TEST_ASSERT(!ret, "Read of 0x%lx bytes at 0x%lx: %s", len, gpa, strerror(ret));

	for (i = 0; i < len; i++)
		TEST_ASSERT(buf[i + 1] == guest_byte(gpa + i), "0x%x at 0x%lx",
			    buf[i + 1], gpa + i);
	TEST_ASSERT(buf[0] == 0xee && buf[len + 1] == 0xee,
		    "Read of 0x%lx bytes at 0x%lx wrote beyond the buffer", len, gpa);
	free(buf);
}

/* Addresses and lengths around words, pages and slots. */
static const u64 offsets[] = {
	0, 1, 7, 8, 15, PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 3, TEST_SIZE - 9,
};

static const u64 sizes[] = {
	1, 7, 8, 9, 16, 33, PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 1, 2 * PAGE_SIZE,
};

TEST_F(private_mem, capability)
{
	struct kvm_vm *normal = vm_create_barebones();
	u8 buf[8];
	u64 len = sizeof(buf);
	struct kvm_rw_memory rw = {
		.len = sizeof(buf),
		.ubuf = (u64)buf,
	};

	TEST_ASSERT_EQ(kvm_check_cap(KVM_CAP_ENCRYPT_MEMORY_DEBUG), 1);
	TEST_ASSERT_EQ(vm_check_cap(self->vm, KVM_CAP_ENCRYPT_MEMORY_DEBUG), 1);
	TEST_ASSERT_EQ(vm_check_cap(normal, KVM_CAP_ENCRYPT_MEMORY_DEBUG), 0);

	TEST_ASSERT(__vm_ioctl(normal, KVM_MEMORY_ENCRYPT_READ_MEMORY, &rw) == -1 &&
		    errno == ENOTTY && rw.len == len, "Normal VM: errno %d", errno);
	kvm_vm_free(normal);
}

TEST_F_TIMEOUT(private_mem, reads_what_the_guest_wrote, SLOW_SECONDS)
{
	int i, j;

	fill(self->vcpu, TEST_GPA, TEST_SIZE + PAGE_SIZE * NEXT_PAGES);

	for (i = 0; i < ARRAY_SIZE(offsets); i++)
		for (j = 0; j < ARRAY_SIZE(sizes); j++)
			check_read(self->vm, TEST_GPA + offsets[i], sizes[j]);
	check_read(self->vm, TEST_GPA, NO_SLOT_GPA - TEST_GPA);

	/* It isn't where userspace can see it anyway. */
	for (i = 0; i < TEST_SIZE; i++)
		TEST_ASSERT(!((u8 *)addr_gpa2hva(self->vm, TEST_GPA))[i],
			    "The host's mapping isn't empty at 0x%x", i);
}

TEST_F_TIMEOUT(private_mem, guest_sees_what_is_written, SLOW_SECONDS)
{
	u8 buf[2 * PAGE_SIZE + 1];
	u64 gpa, len;
	int i, j, k;

	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		for (j = 0; j < ARRAY_SIZE(sizes); j++) {
			gpa = TEST_GPA + offsets[i];
			len = sizes[j];
			fill(self->vcpu, TEST_GPA, NO_SLOT_GPA - TEST_GPA);

			for (k = 0; k < len; k++)
				buf[k + 1] = debugger_byte(gpa + k);
			TEST_ASSERT_EQ(debug_rw(self->vm, true, gpa, buf + 1, &len), 0);
			run_guest(self->vcpu, guest_check, TEST_GPA,
				  NO_SLOT_GPA - TEST_GPA, gpa, sizes[j]);
		}
	}
}

TEST_F(private_mem, bad_arguments)
{
	u8 buf[2 * PAGE_SIZE];
	struct kvm_vm *vm = self->vm;

	fill(self->vcpu, TEST_GPA, NO_SLOT_GPA - TEST_GPA);

	expect(vm, EINVAL, TEST_GPA, buf, 0, 0);
	expect(vm, EINVAL, TEST_GPA, NULL, 1, 0);
	expect(vm, EINVAL, -1ull, buf, 2, 0);
	expect(vm, EINVAL, TEST_GPA, (void *)-1ull, 2, 0);
	expect(vm, EINVAL, NO_SLOT_GPA, buf, 1, 0);
	expect(vm, EINVAL, NO_SLOT_GPA - 5, buf, 8, 5);
	/* The last byte of the address space is a valid range, but not memory. */
	expect(vm, EINVAL, -1ull, buf, 1, 0);
	/* A slot without guest_memfd */
	expect(vm, EINVAL, 0, buf, 1, 0);
}

TEST_F(private_mem, shared_memory)
{
	struct kvm_vm *vm = self->vm;
	u8 buf[3 * PAGE_SIZE];

	fill(self->vcpu, TEST_GPA, TEST_SIZE);
	vm_mem_set_shared(vm, TEST_GPA + PAGE_SIZE, PAGE_SIZE);

	expect(vm, EINVAL, TEST_GPA + PAGE_SIZE, buf, 1, 0);
	expect(vm, EINVAL, TEST_GPA + 3, buf, sizeof(buf), PAGE_SIZE - 3);

	/* Conversion leaves the private page alone. */
	vm_mem_set_private(vm, TEST_GPA + PAGE_SIZE, PAGE_SIZE);
	check_read(vm, TEST_GPA + PAGE_SIZE, PAGE_SIZE);
}

TEST_F(private_mem, missing_pages)
{
	struct kvm_vm *vm = self->vm;
	u8 buf[3 * PAGE_SIZE];

	/* Never touched; and looking doesn't change that. */
	expect(vm, ENOENT, TEST_GPA, buf, 1, 0);
	expect(vm, ENOENT, TEST_GPA, buf, 1, 0);

	fill(self->vcpu, TEST_GPA, PAGE_SIZE);
	fill(self->vcpu, TEST_GPA + 2 * PAGE_SIZE, PAGE_SIZE);
	expect(vm, ENOENT, TEST_GPA + 1, buf, sizeof(buf) - 1, PAGE_SIZE - 1);

	fill(self->vcpu, TEST_GPA, TEST_SIZE);
	vm_guest_mem_punch_hole(vm, TEST_GPA + PAGE_SIZE, PAGE_SIZE);
	expect(vm, ENOENT, TEST_GPA + PAGE_SIZE, buf, 8, 0);
	expect(vm, ENOENT, TEST_GPA, buf, sizeof(buf), PAGE_SIZE);
}

TEST_F(private_mem, allocated_pages)
{
	struct kvm_pre_fault_memory range = {
		.gpa = TEST_GPA,
		.size = PAGE_SIZE,
	};
	u8 buf[PAGE_SIZE], zeros[PAGE_SIZE] = {};
	u64 len = PAGE_SIZE;

	/* fallocate() alone gives the guest nothing that it could read. */
	vm_guest_mem_allocate(self->vm, TEST_GPA + PAGE_SIZE, PAGE_SIZE);
	expect(self->vm, ENOENT, TEST_GPA + PAGE_SIZE, buf, 1, 0);

	/* A page that is mapped, on the other hand, is one of zeros. */
	vcpu_ioctl(self->vcpu, KVM_PRE_FAULT_MEMORY, &range);
	memset(buf, 0xee, sizeof(buf));
	TEST_ASSERT_EQ(debug_rw(self->vm, false, TEST_GPA, buf, &len), 0);
	TEST_ASSERT(!memcmp(buf, zeros, PAGE_SIZE), "Pre-faulted page isn't zero");
}

TEST_F(private_mem, bad_buffer)
{
	struct kvm_vm *vm = self->vm;
	struct kvm_rw_memory *rw = NULL;
	u64 len = 2 * PAGE_SIZE;
	u8 *buf;

	fill(self->vcpu, TEST_GPA, TEST_SIZE);
	buf = kvm_mmap(3 * PAGE_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1);
	TEST_ASSERT(!mprotect(buf + PAGE_SIZE, PAGE_SIZE, PROT_NONE), "mprotect()");

	expect(vm, EFAULT, TEST_GPA, buf + PAGE_SIZE, 8, 0);
	expect(vm, EFAULT, TEST_GPA, (void *)0xffff800000000000ull, 8, 0);

	/* Bytes that could not be had are not written; the first page is zeros. */
	fill(self->vcpu, TEST_GPA, TEST_SIZE);
	memset(buf, 0, PAGE_SIZE);
	TEST_ASSERT_EQ(debug_rw(vm, true, TEST_GPA, buf, &len), EFAULT);
	TEST_ASSERT_EQ(len, PAGE_SIZE);
	check_read(vm, TEST_GPA + PAGE_SIZE, PAGE_SIZE);

	/* The structure itself: not there, or not to be written. */
	TEST_ASSERT(__vm_ioctl(vm, KVM_MEMORY_ENCRYPT_READ_MEMORY, rw) == -1 &&
		    errno == EFAULT, "NULL: errno %d", errno);
	rw = (void *)(buf + 2 * PAGE_SIZE);
	*rw = (struct kvm_rw_memory) { TEST_GPA, 8, (u64)buf };
	TEST_ASSERT(!mprotect(rw, PAGE_SIZE, PROT_READ), "mprotect()");
	TEST_ASSERT(__vm_ioctl(vm, KVM_MEMORY_ENCRYPT_READ_MEMORY, rw) == -1 &&
		    errno == EFAULT, "Read-only structure: errno %d", errno);
}

/* No lock may be held that a fault on the buffer needs: lockdep looks on. */
TEST_F(private_mem, buffer_in_guest_memfd)
{
	struct kvm_vm *vm = vm_create_barebones();
	u64 flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED;
	u64 len = TEST_SIZE;
	int fd, i;
	u8 *buf;

	if ((vm_check_cap(vm, KVM_CAP_GUEST_MEMFD_FLAGS) & flags) != flags)
		SKIP(return, "guest_memfd cannot be mapped");

	fill(self->vcpu, TEST_GPA, TEST_SIZE);
	fd = vm_create_guest_memfd(vm, TEST_SIZE, flags);
	buf = kvm_mmap(TEST_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);

	TEST_ASSERT_EQ(debug_rw(self->vm, false, TEST_GPA, buf, &len), 0);
	for (i = 0; i < TEST_SIZE; i++)
		TEST_ASSERT(buf[i] == guest_byte(TEST_GPA + i), "0x%x at 0x%x", buf[i], i);

	kvm_munmap(buf, TEST_SIZE);
	close(fd);
	kvm_vm_free(vm);
}

TEST_F(private_mem, closed_guest_memfd)
{
	struct userspace_mem_region *region;
	u8 buf[8];

	fill(self->vcpu, TEST_GPA, TEST_SIZE);
	region = memslot2region(self->vm, TEST_SLOT);
	close(region->region.guest_memfd);
	expect(self->vm, EFAULT, TEST_GPA, buf, sizeof(buf), 0);
	region->region.guest_memfd = open("/dev/null", O_RDONLY);
}

TEST_F(private_mem, other_process)
{
	struct kvm_rw_memory rw = { .addr = TEST_GPA, .len = 1, .ubuf = (u64)&rw };
	int status;
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(__vm_ioctl(self->vm, KVM_MEMORY_ENCRYPT_READ_MEMORY, &rw) == -1 &&
		      errno == EIO ? 0 : 1);
	TEST_ASSERT(waitpid(pid, &status, 0) == pid && !status,
		    "Another process than the VM's should get EIO");
}

static void on_signal(int sig)
{
}

TEST_F_TIMEOUT(private_mem, signals, SLOW_SECONDS)
{
	struct itimerval often = { { 0, 2000 }, { 0, 2000 } }, never = {};
	u64 done, len, interrupted = 0;
	u8 *buf = malloc(BIG_SIZE);
	int ret, i;

	vm_userspace_mem_region_add(self->vm, VM_MEM_SRC_ANONYMOUS, BIG_GPA, BIG_SLOT,
				    BIG_SIZE / PAGE_SIZE, KVM_MEM_GUEST_MEMFD);
	virt_map(self->vm, BIG_GPA, BIG_GPA, BIG_SIZE / PAGE_SIZE);
	vm_mem_set_private(self->vm, BIG_GPA, BIG_SIZE);
	fill(self->vcpu, BIG_GPA, BIG_SIZE);

	signal(SIGALRM, on_signal);
	setitimer(ITIMER_REAL, &often, NULL);
	for (done = 0; done < BIG_SIZE; done += len) {
		len = BIG_SIZE - done;
		ret = debug_rw(self->vm, false, BIG_GPA + done, buf + done, &len);
		if (!ret)
			continue;

		TEST_ASSERT_EQ(ret, EINTR);
		TEST_ASSERT(len && !(len % PAGE_SIZE), "Interrupted after %lu bytes", len);
		/* Enough is enough, in case a call gets no further than a page. */
		if (++interrupted == 10)
			setitimer(ITIMER_REAL, &never, NULL);
	}
	setitimer(ITIMER_REAL, &never, NULL);

	TEST_ASSERT(interrupted, "No signal came in time");
	for (i = 0; i < BIG_SIZE; i += 8)
		TEST_ASSERT(*(u64 *)(buf + i) == guest_word(BIG_GPA + i), "Wrong at 0x%x", i);
	free(buf);
}

/* Races */

struct race {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	int memfd;
	bool stop;
	/* How often the two who access memory got each answer */
	u64 answers[2][EINVAL + 1];
	u64 changes[3];
};

static void *race_vcpu(void *data)
{
	struct race *race = data;

	/* Memory that is gone ends in any of several exits. */
	while (!READ_ONCE(race->stop))
		__vcpu_run(race->vcpu);
	return NULL;
}

static void race_access(struct race *race, bool write)
{
	u64 words[2 * PAGE_SIZE / 8];
	u64 gpa, len, i;
	int ret;

	while (!READ_ONCE(race->stop)) {
		gpa = TEST_GPA + (rand() % (TEST_SIZE / 8)) * 8;
		len = 8 + (rand() % ARRAY_SIZE(words)) * 8;
		if (len > TEST_GPA + TEST_SIZE - gpa)
			len = TEST_GPA + TEST_SIZE - gpa;
		if (write)
			for (i = 0; i < len / 8; i++)
				words[i] = guest_word(gpa + i * 8);

		ret = debug_rw(race->vm, write, gpa, words, &len);
		TEST_ASSERT(!ret || ret == ENOENT || ret == EINVAL,
			    "%s: %s", write ? "Write" : "Read", strerror(ret));
		race->answers[write][ret]++;

		/* Everyone writes the same, so nothing else but zeros can be read. */
		if (!write)
			for (i = 0; i < len / 8; i++)
				TEST_ASSERT(!words[i] || words[i] == guest_word(gpa + i * 8),
					    "0x%lx at 0x%lx", words[i], gpa + i * 8);
	}
}

static void *race_read(void *data)
{
	race_access(data, false);
	return NULL;
}

static void *race_write(void *data)
{
	race_access(data, true);
	return NULL;
}

static void *race_convert(void *data)
{
	struct race *race = data;
	u64 gpa;

	while (!READ_ONCE(race->stop)) {
		gpa = TEST_GPA + (rand() % TEST_PAGES) * PAGE_SIZE;
		vm_mem_set_shared(race->vm, gpa, PAGE_SIZE);
		sched_yield();
		vm_mem_set_private(race->vm, gpa, PAGE_SIZE);
		race->changes[0]++;
		usleep(100);
	}
	return NULL;
}

static void *race_punch(void *data)
{
	struct race *race = data;

	while (!READ_ONCE(race->stop)) {
		kvm_fallocate(race->memfd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
			      (rand() % TEST_PAGES) * PAGE_SIZE, PAGE_SIZE);
		race->changes[1]++;
		usleep(100);
	}
	return NULL;
}

static void *race_slot(void *data)
{
	void *hva = addr_gpa2hva(((struct race *)data)->vm, TEST_GPA);
	struct race *race = data;

	while (!READ_ONCE(race->stop)) {
		vm_set_user_memory_region2(race->vm, TEST_SLOT, KVM_MEM_GUEST_MEMFD,
					   TEST_GPA, 0, hva, race->memfd, 0);
		sched_yield();
		vm_set_user_memory_region2(race->vm, TEST_SLOT, KVM_MEM_GUEST_MEMFD,
					   TEST_GPA, TEST_SIZE, hva, race->memfd, 0);
		race->changes[2]++;
		usleep(1000);
	}
	return NULL;
}

TEST_F_TIMEOUT(private_mem, races, SLOW_SECONDS)
{
	void *(*threads[])(void *) = { race_vcpu, race_read, race_write, race_convert,
				       race_punch, race_slot };
	pthread_t ids[ARRAY_SIZE(threads)];
	struct race race = {
		.vm = self->vm,
		.vcpu = self->vcpu,
	};
	int i;

	race.memfd = memslot2region(self->vm, TEST_SLOT)->region.guest_memfd;
	signal(SIGUSR1, on_signal);
	vcpu_arch_set_entry_point(self->vcpu, guest_race);

	for (i = 0; i < ARRAY_SIZE(threads); i++)
		kvm_pthread_create(&ids[i], NULL, threads[i], &race);

	sleep(RACE_SECONDS);
	WRITE_ONCE(race.stop, true);
	/* The guest would loop forever: an immediate exit ends its last KVM_RUN. */
	self->vcpu->run->immediate_exit = 1;
	vm_mem_set_shared(self->vm, TEST_GPA, TEST_SIZE);
	pthread_kill(ids[0], SIGUSR1);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		kvm_pthread_join(ids[i], NULL);

	for (i = 0; i < 2; i++) {
		ksft_print_msg("%s: %lu ok, %lu ENOENT, %lu EINVAL\n",
			       i ? "writes" : "reads", race.answers[i][0],
			       race.answers[i][ENOENT], race.answers[i][EINVAL]);
		TEST_ASSERT(race.answers[i][0] && race.answers[i][ENOENT] &&
			    race.answers[i][EINVAL], "The race didn't take place");
	}
	ksft_print_msg("%lu conversions, %lu holes, %lu slot changes\n",
		       race.changes[0], race.changes[1], race.changes[2]);
}

int main(int argc, char *argv[])
{
	TEST_REQUIRE(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SW_PROTECTED_VM));
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_ENCRYPT_MEMORY_DEBUG));

	return test_harness_run(argc, argv);
}
