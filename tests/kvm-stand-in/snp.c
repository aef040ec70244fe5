/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The launch of SEV-SNP guests; KVM has no debug command for them. */
#include <errno.h>
#include <string.h>
#include <linux/psp-sev.h>

#include "standin.h"

#define POLICY_MUST_BE_1 (1 << 17)

static long launch_start(struct kvm_sev_cmd *cmd)
{
    struct kvm_sev_snp_launch_start start;

    if (user_read(&start, cmd->data, sizeof(start))) {
        return -EFAULT;
    }
    if (vm.state != STATE_UNINIT || !(start.policy & POLICY_MUST_BE_1)) {
        return -EINVAL;
    }
    vm.policy = start.policy;
    vm.state = STATE_LAUNCH;
    return 0;
}

static bool is_page_type(unsigned type)
{
    return type == KVM_SEV_SNP_PAGE_TYPE_NORMAL ||
           type == KVM_SEV_SNP_PAGE_TYPE_ZERO ||
           type == KVM_SEV_SNP_PAGE_TYPE_UNMEASURED ||
           type == KVM_SEV_SNP_PAGE_TYPE_SECRETS ||
           type == KVM_SEV_SNP_PAGE_TYPE_CPUID;
}

static long update_page(uint64_t gpa, uint64_t uaddr, unsigned type)
{
    struct slot *s = slot_at(gpa);

    if (!s || !s->ram || page_is_shared(s, gpa)) {
        return -EINVAL;
    }
    if (type == KVM_SEV_SNP_PAGE_TYPE_ZERO) {
        memset(page_private(s, gpa), 0, PAGE);
        return 0;
    }
    return user_read(page_private(s, gpa), uaddr, PAGE);
}

/* The call moves gfn_start, uaddr and len past what it has done. */
static long launch_update(struct kvm_sev_cmd *cmd)
{
    struct kvm_sev_snp_launch_update u;
    long ret = 0;

    if (user_read(&u, cmd->data, sizeof(u))) {
        return -EFAULT;
    }
    if (vm.state != STATE_LAUNCH || !u.len || PAGE_OFFSET(u.len) || u.flags ||
        !is_page_type(u.type)) {
        return -EINVAL;
    }
    while (u.len && !ret) {
        ret = update_page(u.gfn_start * PAGE, u.uaddr, u.type);
        if (!ret) {
            u.gfn_start++;
            u.uaddr += PAGE;
            u.len -= PAGE;
        }
    }
    return user_write(cmd->data, &u, sizeof(u)) ?: ret;
}

static long launch_finish(void)
{
    if (vm.state != STATE_LAUNCH) {
        return -EINVAL;
    }
    vm.state = STATE_RUNNING;
    vm.protected_state = true;
    return 0;
}

long snp_command(struct kvm_sev_cmd *cmd)
{
    switch (cmd->id) {
    case KVM_SEV_SNP_LAUNCH_START:
        return launch_start(cmd);
    case KVM_SEV_SNP_LAUNCH_UPDATE:
        return launch_update(cmd);
    case KVM_SEV_SNP_LAUNCH_FINISH:
        return launch_finish();
    default:
        return -EPERM;
    }
}
