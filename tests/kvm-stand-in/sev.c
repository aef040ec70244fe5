/* SPDX-License-Identifier: GPL-2.0-or-later */
/* KVM_MEMORY_ENCRYPT_OP of AMD guests: the launch of SEV and SEV-ES. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/psp-sev.h>

#include "standin.h"

#define MEASUREMENT_LEN 48
#define POLICY_ES 4

/* What the firmware would answer; KVM turns it into -EIO. */
static long firmware_error(struct kvm_sev_cmd *cmd, int error)
{
    cmd->error = error;
    return error ? -EIO : 0;
}

static long init_guest(enum guest_kind kind)
{
    struct kvm_enable_cap cap = {
        .cap = KVM_CAP_EXIT_HYPERCALL,
        .args = { 1 << KVM_HC_MAP_GPA_RANGE },
    };

    if (vm.state != STATE_UNINIT || vm.nr_vcpus) {
        return -EINVAL;
    }
    vm.kind = kind;
    vm.bit = 1ULL << config.cbit;
    if (kind_is_sev()) {
        /* Guests announce shared pages; QEMU never sees these exits. */
        kernel_ioctl(vm.fd, KVM_ENABLE_CAP, &cap);
    }
    return 0;
}

static long init2(void)
{
    if (vm.kind == GUEST_PLAIN) {
        return -EINVAL;         /* a legacy VM type */
    }
    return init_guest(vm.kind);
}

static long launch_start(struct kvm_sev_cmd *cmd)
{
    struct kvm_sev_launch_start start;

    if (user_read(&start, cmd->data, sizeof(start))) {
        return -EFAULT;
    }
    if (vm.state != STATE_UNINIT) {
        return firmware_error(cmd, SEV_RET_INVALID_GUEST_STATE);
    }
    if (!(start.policy & POLICY_ES) != (vm.kind == GUEST_SEV)) {
        return firmware_error(cmd, SEV_RET_POLICY_FAILURE);
    }
    vm.policy = start.policy;
    vm.state = STATE_LAUNCH;
    start.handle = 1;
    return user_write(cmd->data, &start, sizeof(start));
}

/* Encrypt in place: what was plaintext in QEMU's mapping becomes private. */
static void encrypt_in_place(struct ram *ram, uint64_t hva, uint64_t len)
{
    uint8_t *raw = (uint8_t *)hva;

    memcpy(ram->priv + (raw - ram->raw), raw, len);
    cipher_encrypt(raw, raw, len, hva);
}

static long launch_update_data(struct kvm_sev_cmd *cmd)
{
    struct kvm_sev_launch_update_data data;
    struct ram *ram;

    if (user_read(&data, cmd->data, sizeof(data))) {
        return -EFAULT;
    }
    if (vm.state != STATE_LAUNCH) {
        return firmware_error(cmd, SEV_RET_INVALID_GUEST_STATE);
    }
    if ((data.uaddr | data.len) & 15 || !data.len) {
        return firmware_error(cmd, SEV_RET_INVALID_LEN);
    }
    ram = ram_at_hva(data.uaddr);
    if (!ram || data.uaddr + data.len > (uint64_t)ram->raw + ram->size) {
        return -ENOMEM;         /* the pages cannot be pinned */
    }
    encrypt_in_place(ram, data.uaddr, data.len);
    return 0;
}

static long launch_update_vmsa(struct kvm_sev_cmd *cmd)
{
    if (vm.kind != GUEST_SEV_ES) {
        return -ENOTTY;
    }
    if (vm.state != STATE_LAUNCH) {
        return firmware_error(cmd, SEV_RET_INVALID_GUEST_STATE);
    }
    vm.protected_state = true;
    return 0;
}

static long launch_measure(struct kvm_sev_cmd *cmd)
{
    struct kvm_sev_launch_measure measure;
    uint8_t blob[MEASUREMENT_LEN];
    uint32_t room;

    if (user_read(&measure, cmd->data, sizeof(measure))) {
        return -EFAULT;
    }
    room = measure.len;
    measure.len = MEASUREMENT_LEN;
    if (user_write(cmd->data, &measure, sizeof(measure))) {
        return -EFAULT;
    }
    if (room < MEASUREMENT_LEN) {
        return firmware_error(cmd, SEV_RET_INVALID_LEN);
    }
    if (vm.state != STATE_LAUNCH && vm.state != STATE_SECRET) {
        return firmware_error(cmd, SEV_RET_INVALID_GUEST_STATE);
    }
    vm.state = STATE_SECRET;
    memset(blob, 'M', sizeof(blob));
    return user_write(measure.uaddr, blob, sizeof(blob));
}

static long launch_finish(struct kvm_sev_cmd *cmd)
{
    if (vm.state != STATE_LAUNCH && vm.state != STATE_SECRET) {
        return firmware_error(cmd, SEV_RET_INVALID_GUEST_STATE);
    }
    vm.state = STATE_RUNNING;
    return 0;
}

static long guest_status(struct kvm_sev_cmd *cmd)
{
    /* The API's states: UNINIT 0, LUPDATE 1, LSECRET 2, RUNNING 3. */
    struct kvm_sev_guest_status status = {
        .handle = 1, .policy = vm.policy, .state = vm.state,
    };

    return user_write(cmd->data, &status, sizeof(status));
}

static const char *const names[KVM_SEV_NR_MAX] = {
    [KVM_SEV_INIT] = "KVM_SEV_INIT",
    [KVM_SEV_ES_INIT] = "KVM_SEV_ES_INIT",
    [KVM_SEV_INIT2] = "KVM_SEV_INIT2",
    [KVM_SEV_LAUNCH_START] = "KVM_SEV_LAUNCH_START",
    [KVM_SEV_LAUNCH_UPDATE_DATA] = "KVM_SEV_LAUNCH_UPDATE_DATA",
    [KVM_SEV_LAUNCH_UPDATE_VMSA] = "KVM_SEV_LAUNCH_UPDATE_VMSA",
    [KVM_SEV_LAUNCH_MEASURE] = "KVM_SEV_LAUNCH_MEASURE",
    [KVM_SEV_LAUNCH_FINISH] = "KVM_SEV_LAUNCH_FINISH",
    [KVM_SEV_GUEST_STATUS] = "KVM_SEV_GUEST_STATUS",
    [KVM_SEV_DBG_DECRYPT] = "KVM_SEV_DBG_DECRYPT",
    [KVM_SEV_DBG_ENCRYPT] = "KVM_SEV_DBG_ENCRYPT",
    [KVM_SEV_SNP_LAUNCH_START] = "KVM_SEV_SNP_LAUNCH_START",
    [KVM_SEV_SNP_LAUNCH_UPDATE] = "KVM_SEV_SNP_LAUNCH_UPDATE",
    [KVM_SEV_SNP_LAUNCH_FINISH] = "KVM_SEV_SNP_LAUNCH_FINISH",
};

static long sev_launch_command(struct kvm_sev_cmd *cmd)
{
    switch (cmd->id) {
    case KVM_SEV_LAUNCH_START:
        return launch_start(cmd);
    case KVM_SEV_LAUNCH_UPDATE_DATA:
        return launch_update_data(cmd);
    case KVM_SEV_LAUNCH_UPDATE_VMSA:
        return launch_update_vmsa(cmd);
    case KVM_SEV_LAUNCH_MEASURE:
        return launch_measure(cmd);
    case KVM_SEV_LAUNCH_FINISH:
        return launch_finish(cmd);
    case KVM_SEV_GUEST_STATUS:
        return guest_status(cmd);
    default:
        return -EINVAL;
    }
}

static long run_command(struct kvm_sev_cmd *cmd)
{
    switch (cmd->id) {
    case KVM_SEV_INIT:
        return init_guest(GUEST_SEV);
    case KVM_SEV_ES_INIT:
        return init_guest(GUEST_SEV_ES);
    case KVM_SEV_INIT2:
        return init2();
    }
    if (vm.kind == GUEST_PLAIN) {
        return -ENOTTY;
    }
    if (vm.kind == GUEST_SNP) {
        return snp_command(cmd);
    }
    if (cmd->id == KVM_SEV_DBG_DECRYPT || cmd->id == KVM_SEV_DBG_ENCRYPT) {
        return sev_debug(cmd, cmd->id == KVM_SEV_DBG_DECRYPT);
    }
    return sev_launch_command(cmd);
}

/* dbg.c logs its own calls, with addresses. */
static bool logs_itself(const struct kvm_sev_cmd *cmd, long ret)
{
    return kind_is_sev() && ret != -ENOTTY && (cmd->id == KVM_SEV_DBG_DECRYPT ||
                                               cmd->id == KVM_SEV_DBG_ENCRYPT);
}

long sev_command(struct kvm_sev_cmd *user_cmd)
{
    struct kvm_sev_cmd cmd;
    const char *name;
    long ret;

    if (user_read(&cmd, (uint64_t)user_cmd, sizeof(cmd))) {
        return -EFAULT;
    }
    name = cmd.id < KVM_SEV_NR_MAX && names[cmd.id] ? names[cmd.id]
                                                    : "KVM_SEV_unknown";
    cmd.error = 0;
    ret = run_command(&cmd);
    if (!logs_itself(&cmd, ret)) {
        log_call(name, ret, "fw=%d", cmd.error);
    }
    return user_write((uint64_t)user_cmd, &cmd, sizeof(cmd)) ?: ret;
}
