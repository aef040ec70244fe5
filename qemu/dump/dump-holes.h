/*
 * Ranges of RAM that are missing in a dump
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef DUMP_HOLES_H
#define DUMP_HOLES_H

#include "system/memory_mapping.h"

/* A sorted list of guest-physical ranges; no locks, no guest */
typedef struct DumpHoles DumpHoles;

/* As many as ELF can number segments without tricks that few tools know */
#define DUMP_HOLES_MAX  0xfff0

DumpHoles *dump_holes_new(void);
void dump_holes_free(DumpHoles *h);

/**
 * dump_holes_add: add the range [@start, @end)
 *
 * Ranges are added in the order of their addresses and do not overlap; those
 * which touch become one.  Returns false when there are DUMP_HOLES_MAX.
 */
bool dump_holes_add(DumpHoles *h, hwaddr start, hwaddr end);

/* How many bytes of holes lie below @gpa */
hwaddr dump_holes_below(const DumpHoles *h, hwaddr gpa);

/**
 * dump_holes_next: the first hole that ends above @gpa
 *
 * It may start below.  Returns false if there is none.
 */
bool dump_holes_next(const DumpHoles *h, hwaddr gpa, hwaddr *start,
                     hwaddr *end);

/**
 * dump_holes_split: take the holes out of the mappings
 *
 * A mapping whose virtual address is 0 has none, and its parts neither.
 */
void dump_holes_split(const DumpHoles *h, MemoryMappingList *list);

#endif
