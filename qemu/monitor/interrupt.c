/*
 * Ending a monitor command early
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "monitor/interrupt.h"
#include "monitor-internal.h"
#include "system/runstate.h"

#define MAX_BACKLOG (256 * MiB)

const char *monitor_interrupted(Monitor *mon)
{
    MonitorHMP *hmp = container_of(mon, MonitorHMP, common);

    /* SIGINT, SIGTERM, or the guest has powered off */
    if (qemu_shutdown_requested_get() != SHUTDOWN_CAUSE_NONE) {
        return "QEMU has been asked to quit";
    }
    /* A write to a client that has gone closes the chardev */
    if (hmp->use_readline && !mon->chr.chr->be_open) {
        return "the client has disconnected";
    }
    QEMU_LOCK_GUARD(&mon->mon_lock);
    if (mon->outbuf->len > MAX_BACKLOG) {
        return "256 MiB of output are waiting to be read";
    }
    return NULL;
}
