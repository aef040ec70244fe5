/*
 * Strings in guest memory, for x/s and xp/s
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MONITOR_MEMORY_STRINGS_H
#define MONITOR_MEMORY_STRINGS_H

#include "hw/core/cpu.h"

/**
 * monitor_print_strings: print NUL-terminated strings, one a line
 *
 * @cpu: whose page tables translate; may be NULL if @physical
 * @addr: guest-physical if @physical, else guest-virtual; the next string
 *        begins after the NUL of the one before
 * @count: how many; the parts of a string that is too long for a line count
 *
 * Ends at the first address that cannot be read, with the reason, after what
 * could be read.  Called with the BQL held.
 */
void monitor_print_strings(Monitor *mon, CPUState *cpu, uint64_t addr,
                           int count, bool physical);

#endif
