/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private guest memory: owned here, handed to KVM, out of QEMU's sight. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "standin.h"

static struct ram *ram_new(uint64_t size, int fd)
{
    struct ram *ram = calloc(1, sizeof(*ram));
    int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
                       : MAP_SHARED;

    ram->priv = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    ram->shared = calloc(size / PAGE, 1);
    if (ram->priv == MAP_FAILED || !ram->shared) {
        fprintf(stderr, "stand-in: no memory for the private side\n");
        exit(2);
    }
    ram->size = size;
    ram->memfd = fd;
    ram->guest_fd = -1;
    ram->next = vm.rams;
    vm.rams = ram;
    return ram;
}

static void ram_delete(struct ram *ram)
{
    struct ram **link = &vm.rams;

    while (*link != ram) {
        link = &(*link)->next;
    }
    *link = ram->next;
    munmap(ram->priv, ram->size);
    if (ram->memfd >= 0) {
        close(ram->memfd);
    }
    free(ram->shared);
    free(ram);
}

void ram_forget(void)
{
    while (vm.rams) {
        ram_delete(vm.rams);
    }
}

struct ram *ram_at_hva(uint64_t hva)
{
    struct ram *ram;

    for (ram = vm.rams; ram; ram = ram->next) {
        if (ram->raw && hva - (uint64_t)ram->raw < ram->size) {
            return ram;
        }
    }
    return NULL;
}

int ram_register(uint64_t hva, uint64_t size)
{
    if (!kind_is_sev()) {
        return -ENOTTY;
    }
    if (!size || PAGE_OFFSET(hva | size) || ram_at_hva(hva)) {
        return -EINVAL;
    }
    ram_new(size, -1)->raw = (uint8_t *)hva;
    return 0;
}

int ram_unregister(uint64_t hva, uint64_t size)
{
    struct ram *ram = ram_at_hva(hva);
    struct slot *slot;

    if (!kind_is_sev()) {
        return -ENOTTY;
    }
    if (!ram || (uint64_t)ram->raw != hva || ram->size != size) {
        return -EINVAL;
    }
    for (slot = vm.slots; slot; slot = slot->next) {
        if (slot->ram == ram) {
            log_violation("UNREG_REGION of memory that slot %u still uses",
                          slot->id);
            return -EBUSY;
        }
    }
    ram_delete(ram);
    return 0;
}

struct ram *ram_of_memfd(int fd)
{
    struct ram *ram;

    for (ram = vm.rams; ram; ram = ram->next) {
        if (ram->guest_fd == fd && fd >= 0) {
            return ram;
        }
    }
    return NULL;
}

/*
 * QEMU's descriptor is write-only: it can punch holes, as with the kernel's
 * guest_memfd, but neither map nor read it.
 */
int ram_create_memfd(uint64_t size)
{
    struct ram *ram, *stale;
    char path[40];
    int memfd;

    if (!kind_has_memfd() || !size || PAGE_OFFSET(size)) {
        return -EINVAL;
    }
    memfd = memfd_create("stand-in guest_memfd", MFD_CLOEXEC);
    if (memfd < 0 || ftruncate(memfd, size)) {
        return -errno;
    }
    ram = ram_new(size, memfd);
    memset(ram->shared, 1, size / PAGE);    /* no attribute: shared */
    snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd);
    ram->guest_fd = -1;
    memfd = open(path, O_WRONLY | O_CLOEXEC);
    stale = ram_of_memfd(memfd);            /* closed, and the number reused */
    if (stale) {
        stale->guest_fd = -1;
    }
    ram->guest_fd = memfd;
    return memfd < 0 ? -errno : memfd;
}

bool ram_page_present(const struct ram *ram, uint64_t offset)
{
    off_t at = PAGE_DOWN(offset);

    return ram->memfd < 0 || lseek(ram->memfd, at, SEEK_DATA) == at;
}
