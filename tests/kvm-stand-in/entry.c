/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The interposed ioctl(): whose file descriptor is it, and who answers? */
#include <errno.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <linux/psp-sev.h>

#include "standin.h"

struct vm vm = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .changed = PTHREAD_COND_INITIALIZER,
    .fd = -1,
    .kvm_fd = -1,
};

__attribute__((constructor))
static void standin_init(void)
{
    config_init();
    vm.scripted = config.script != NULL;
    cpuid_hook_install();
}

long kernel_ioctl(int fd, unsigned long request, void *arg)
{
    long ret;

    if (vm.scripted) {
        return scripted_ioctl(fd, request, arg);
    }
    ret = syscall(SYS_ioctl, fd, request, arg);
    return ret < 0 ? -errno : ret;
}

int user_read(void *dst, uint64_t src, size_t len)
{
    struct iovec to = { dst, len }, from = { (void *)src, len };

    return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == (ssize_t)len
           ? 0 : -EFAULT;
}

int user_write(uint64_t dst, const void *src, size_t len)
{
    struct iovec from = { (void *)src, len }, to = { (void *)dst, len };

    return process_vm_writev(getpid(), &from, 1, &to, 1, 0) == (ssize_t)len
           ? 0 : -EFAULT;
}

bool user_mapped(uint64_t addr, size_t len)
{
    unsigned char state[2];
    uint64_t page;

    for (page = PAGE_DOWN(addr); page < addr + len; page += PAGE) {
        if (mincore((void *)page, PAGE, state)) {
            return false;
        }
    }
    return true;
}

static struct vcpu *vcpu_of_fd(int fd)
{
    unsigned i;

    for (i = 0; i < vm.nr_vcpus; i++) {
        if (vm.vcpus[i].fd == fd) {
            return &vm.vcpus[i];
        }
    }
    return NULL;
}

static long dispatch(int fd, unsigned long request, void *arg)
{
    struct vcpu *cpu = vcpu_of_fd(fd);
    long ret;

    if (request == KVM_GET_API_VERSION) {
        vm.kvm_fd = fd;
        return kernel_ioctl(fd, request, arg);
    }
    if (cpu) {
        return vcpu_ioctl(cpu, request, arg);
    }
    if (fd == vm.fd) {
        return vm_ioctl(request, arg);
    }
    if (fd == vm.kvm_fd) {
        return system_ioctl(fd, request, arg);
    }
    if (request == SEV_ISSUE_CMD) {
        return sev_device_ioctl(arg);
    }
    ret = syscall(SYS_ioctl, fd, request, arg);
    return ret < 0 ? -errno : ret;
}

/* glibc's prototype; the argument is a pointer or an integer. */
int ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    void *arg;
    long ret;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);
    ret = dispatch(fd, request, arg);
    if (ret < 0) {
        errno = -ret;
        return -1;
    }
    return ret;
}
