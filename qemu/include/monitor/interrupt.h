/*
 * Ending a monitor command early
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MONITOR_INTERRUPT_H
#define MONITOR_INTERRUPT_H

/**
 * monitor_interrupted: should a long HMP command stop?
 *
 * @mon: the monitor it prints to
 *
 * For commands whose output the guest can make endless.  Cheap enough for a
 * call every few lines.  Called in the monitor's thread, with the BQL held.
 *
 * Returns NULL to go on, or the reason not to, a constant for the user.
 */
const char *monitor_interrupted(Monitor *mon);

#endif
