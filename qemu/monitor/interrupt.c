/*
 * Ending a monitor command early
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "chardev/char-fd.h"
#include "chardev/char-socket.h"
#include "chardev/chardev-internal.h"
#include "io/channel-file.h"
#include "monitor/interrupt.h"
#include "monitor-internal.h"
#include "system/runstate.h"
#ifndef _WIN32
#include <sys/ioctl.h>
#endif

#define CTRL_C      3
#define MAX_BACKLOG (256 * MiB)

/* Where the user of an interactive monitor sits; NULL if there is none */
static Chardev *user_chardev(Monitor *mon)
{
    Chardev *chr = mon->chr.chr;

    if (!container_of(mon, MonitorHMP, common)->use_readline) {
        return NULL;
    }
    return CHARDEV_IS_MUX(chr) ? MUX_CHARDEV(chr)->chr.chr : chr;
}

/* Bytes that wait to be read from a terminal; 0 if @chr is none */
static int terminal_waiting(Chardev *chr)
{
    int waiting = 0;
#ifndef _WIN32
    FDChardev *s = (FDChardev *)object_dynamic_cast(OBJECT(chr),
                                                    TYPE_CHARDEV_FD);
    QIOChannelFile *in = NULL;

    if (s) {
        in = (QIOChannelFile *)object_dynamic_cast(OBJECT(s->ioc_in),
                                                   TYPE_QIO_CHANNEL_FILE);
    }
    if (in && isatty(in->fd) && ioctl(in->fd, FIONREAD, &waiting) < 0) {
        waiting = 0;
    }
#endif
    return waiting;
}

static const char *socket_interrupted(Chardev *chr)
{
    SocketChardev *s = (SocketChardev *)object_dynamic_cast(
        OBJECT(chr), TYPE_CHARDEV_SOCKET);
    char buf[256];
    struct iovec iov = { buf, sizeof(buf) };
    ssize_t len;

    if (!s || !s->ioc ||
        !qio_channel_has_feature(s->ioc, QIO_CHANNEL_FEATURE_READ_MSG_PEEK)) {
        return NULL;
    }
    len = qio_channel_readv_full(s->ioc, &iov, 1, NULL, NULL,
                                 QIO_CHANNEL_READ_FLAG_MSG_PEEK, NULL);
    if (len == 0) {
        return "the client has hung up";
    }
    return len > 0 && memchr(buf, CTRL_C, len) ? "Ctrl-C" : NULL;
}

bool monitor_has_user(Monitor *mon)
{
    return user_chardev(mon);
}

void monitor_interrupt_init(MonitorInterrupt *interrupt, Monitor *mon)
{
    Chardev *chr = user_chardev(mon);

    interrupt->mon = mon;
    interrupt->typed_ahead = chr ? terminal_waiting(chr) : 0;
}

const char *monitor_interrupted(const MonitorInterrupt *interrupt)
{
    Monitor *mon = interrupt->mon;
    Chardev *chr = user_chardev(mon);

    /* SIGINT, SIGTERM, or the guest has powered off */
    if (qemu_shutdown_requested_get() != SHUTDOWN_CAUSE_NONE) {
        return "QEMU has been asked to quit";
    }
    /* A write to a client that has gone closes the chardev */
    if (chr && !chr->be_open) {
        return "the client has hung up";
    }
    if (chr && terminal_waiting(chr) > interrupt->typed_ahead) {
        return "a key was pressed";
    }
    WITH_QEMU_LOCK_GUARD(&mon->mon_lock) {
        if (mon->outbuf->len > MAX_BACKLOG) {
            return "256 MiB of output are waiting to be read";
        }
    }
    return chr ? socket_interrupted(chr) : NULL;
}
