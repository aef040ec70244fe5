/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /dev/sev: the platform commands that QEMU uses. */
#include <errno.h>
#include <string.h>
#include <linux/psp-sev.h>

#include "standin.h"

#define FLAG_CONFIG_ES  (1 << 8)
#define PSTATE_WORKING  2
#define DUMMY_LEN       64

static long platform_status(struct sev_issue_cmd *cmd)
{
    struct sev_user_data_status status = {
        .api_major = 1, .api_minor = 55, .state = PSTATE_WORKING,
        .flags = FLAG_CONFIG_ES, .build = 21, .guest_count = 1,
    };

    return user_write(cmd->data, &status, sizeof(status));
}

/* A blob of the platform to @addr; *@len: its room, then its length. */
static long export_blob(struct sev_issue_cmd *cmd, uint64_t addr,
                        uint32_t *len)
{
    uint8_t blob[DUMMY_LEN];
    bool fits = addr && *len >= DUMMY_LEN;

    *len = DUMMY_LEN;
    if (!fits) {
        cmd->error = SEV_RET_INVALID_LEN;
        return -EIO;
    }
    memset(blob, 'P', sizeof(blob));
    return user_write(addr, blob, sizeof(blob));
}

static long pdh_cert_export(struct sev_issue_cmd *cmd)
{
    struct sev_user_data_pdh_cert_export e;
    uint32_t pdh_len, chain_len;
    long ret, chain_ret;

    if (user_read(&e, cmd->data, sizeof(e))) {
        return -EFAULT;
    }
    pdh_len = e.pdh_cert_len;
    chain_len = e.cert_chain_len;
    ret = export_blob(cmd, e.pdh_cert_address, &pdh_len);
    chain_ret = export_blob(cmd, e.cert_chain_address, &chain_len);
    e.pdh_cert_len = pdh_len;
    e.cert_chain_len = chain_len;
    return user_write(cmd->data, &e, sizeof(e)) ?: ret ?: chain_ret;
}

static long get_id2(struct sev_issue_cmd *cmd)
{
    struct sev_user_data_get_id2 id;
    uint32_t len;
    long ret;

    if (user_read(&id, cmd->data, sizeof(id))) {
        return -EFAULT;
    }
    len = id.length;
    ret = export_blob(cmd, id.address, &len);
    id.length = len;
    return user_write(cmd->data, &id, sizeof(id)) ?: ret;
}

static long run(struct sev_issue_cmd *cmd, const char **name)
{
    switch (cmd->cmd) {
    case SEV_PLATFORM_STATUS:
        *name = "SEV_PLATFORM_STATUS";
        return platform_status(cmd);
    case SEV_PDH_CERT_EXPORT:
        *name = "SEV_PDH_CERT_EXPORT";
        return pdh_cert_export(cmd);
    case SEV_GET_ID2:
        *name = "SEV_GET_ID2";
        return get_id2(cmd);
    default:
        *name = "SEV_unknown";
        return -EINVAL;
    }
}

long sev_device_ioctl(void *arg)
{
    struct sev_issue_cmd cmd;
    const char *name;
    long ret;

    if (user_read(&cmd, (uint64_t)arg, sizeof(cmd))) {
        return -EFAULT;
    }
    cmd.error = 0;
    ret = run(&cmd, &name);
    log_call(name, ret, "fw=%u", cmd.error);
    return user_write((uint64_t)arg, &cmd, sizeof(cmd)) ?: ret;
}
