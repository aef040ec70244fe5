/*
 * Ending a monitor command early
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MONITOR_INTERRUPT_H
#define MONITOR_INTERRUPT_H

/**
 * MonitorInterrupt: a long HMP command that can be ended early
 *
 * @mon: the monitor it prints to
 * @typed_ahead: bytes that waited at the terminal when it began
 */
typedef struct MonitorInterrupt {
    Monitor *mon;
    int typed_ahead;
} MonitorInterrupt;

/*
 * Can somebody end a command of this monitor?  Not those which QMP and gdb
 * send.
 */
bool monitor_has_user(Monitor *mon);

/* Called when the command begins, in the monitor's thread, with the BQL */
void monitor_interrupt_init(MonitorInterrupt *interrupt, Monitor *mon);

/**
 * monitor_interrupted: should the command stop?
 *
 * For commands whose output the guest can make endless: a user at a terminal
 * presses any key, the client of a socket sends Ctrl-C or hangs up, QEMU is
 * asked to quit, or nobody reads the output.  Costs a system call.
 *
 * What the user has typed stays for the monitor to read.
 *
 * Called in the monitor's thread, with the BQL held.  Returns NULL to go on,
 * or the reason not to, a constant for the user.
 */
const char *monitor_interrupted(const MonitorInterrupt *interrupt);

#endif
