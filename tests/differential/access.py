# SPDX-License-Identifier: GPL-2.0-or-later
"""Draws accesses: start and length around every border of the memory map."""

import random
from collections import namedtuple

from . import firmware
from .deliberate import plain_cannot, unpatched_cannot
from .doors import DOORS
from .flatview import is_steady

PAGE = firmware.PAGE
TOP = 1 << 64
STRIDE = 4              # one in so many of the virtual addresses is looked at
WITH_BIT = 0.15         # so many physical addresses have the machine's bit
AROUND = 16             # bytes before and behind a write that are looked at
WRITE_LIMIT = 3 * PAGE          # QMP is slow: usually no more
FAR = (0, 0, 0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 64, 255)

# A word of the door's options, like the size of x's items; @seed of what a
# write writes
Access = namedtuple('Access', 'door addr length option seed')


def data_of(access):
    """What is written."""
    return random.Random(access.seed).randbytes(access.length)


class Draw:
    """Accesses to one machine; the same for the same @rng.

    @machine    what is drawn for:
                page_bit: of an address, that is no part of it
                tables: a PageTables, or None; shared: ranges
                serves: does its guest read and write when asked to?
                no_memory: names of sections that must not be touched
                flash: {name of a flash: its size}
                in_use(): does the guest need what is between two physical
                addresses?
    @base       only doors of the unpatched QEMU
    @expected   Comparison.expected
    """

    def __init__(self, rng, machine, view, base=False, expected=None):
        self.rng, self.machine, self.view = rng, machine, view
        self._base = base
        self._expected = expected or (lambda access: True)
        shared = {a for start, size in machine.shared
                  for a in (start, start + size)}
        self.physical = sorted({0, firmware.END, TOP, *view.borders(),
                                *shared})
        self.virtual = list(self.physical)
        if machine.tables:
            self.virtual = machine.tables.borders() + [
                a for a in self.physical if machine.tables.translate(a)
                is not None] + [TOP, TOP >> 1, TOP - (TOP >> 17), 512 << 30]
        # Of these, 16 bytes at each are RAM
        self.virtual_memory = [va for va in self.virtual if machine.tables and
                               self._is_ram(va)][::STRIDE]
        self.doors = {name: door for name, door in DOORS.items()
                      if (machine.serves or not door.runs) and
                      (door.base or not base)}

    def _is_ram(self, va):
        gpa = self.translate(va)
        section = self.view.at(gpa) if gpa is not None else None
        return section and section.kind == 'ram' and \
            section.name not in self.machine.no_memory and \
            gpa + 16 <= section.end

    def translate(self, va):
        """The guest-physical address, or None."""
        return self.machine.tables.translate(va) if self.machine.tables else va

    def _distance(self):
        rng = self.rng
        return rng.choice((-1, 1)) * rng.choice((
            rng.choice(FAR), rng.choice(FAR), rng.randrange(PAGE),
            PAGE, rng.randrange(64 << 10), rng.randrange(1 << 20)))

    def _length(self, addr, borders, limit):
        rng = self.rng
        way = rng.random()
        if way < 0.4:
            length = rng.choice(FAR)
        elif way < 0.8:
            end = rng.choice([b for b in borders if b > addr][:4] or [addr])
            length = end - addr + rng.choice((0, 0, 1, -1, 2, 8, 16, PAGE))
        else:
            length = abs(self._distance())
        return max(0, min(length, limit))

    def access(self, runs):
        """One access that is comparable; @runs: the guest may run for it."""
        while True:
            name = self.rng.choices(
                list(self.doors), [d.weight for d in self.doors.values()])[0]
            access = self._draw(name, self.doors[name])
            if (runs or not DOORS[name].runs) and self.allowed(access):
                return access

    def _draw(self, name, door):
        borders = self.virtual if door.virtual else self.physical
        addr = (self.rng.choice(borders) + self._distance()) % TOP
        limit = door.limit
        if door.writes and self.rng.random() < 0.95:
            limit = min(limit, WRITE_LIMIT)
        length = self._length(addr, borders, limit)
        if not (door.virtual or door.whole or door.via == 'hmp') and \
                self.rng.random() < WITH_BIT:
            addr |= self.machine.page_bit
        return Access(name, addr, length, self.rng.choice(door.options),
                      self.rng.randrange(1 << 32))

    def without_bit(self, access):
        """The access whose physical address does not say which page it is."""
        door = DOORS[access.door]
        if door.virtual or door.whole:
            return access
        return access._replace(addr=access.addr & ~self.machine.page_bit)

    def pieces(self, access, around=0):
        """[(start, end)] of the guest-physical memory that it touches."""
        length = access.length
        if access.door in ('x/i', 'xp/i'):      # instructions
            length = 16 * max(1, length)
        start = self.without_bit(access).addr
        start, end = max(start - around, 0), start + length + around
        # Behind the last address comes the first
        parts = [(first, last) for first, last
                 in ((start, min(end, TOP)), (0, end - TOP)) if first < last]
        if not DOORS[access.door].virtual or not self.machine.tables:
            return parts
        found = []
        for start, end in parts:
            while start < end:
                step = min(end, (start & -PAGE) + PAGE)
                gpa = self.translate(start)
                if gpa is not None:
                    if found and found[-1][1] == gpa:
                        found[-1] = found[-1][0], gpa + step - start
                    else:
                        found.append((gpa, gpa + step - start))
                start = step
        return found

    def sections(self, access):
        """The sections that it touches."""
        if DOORS[access.door].whole:
            return []
        return [section for piece in self.pieces(access)
                for section in self.view.over(*piece)]

    def steady(self, access):
        """Does nothing it touches change by itself?"""
        return all(is_steady(s) for s in self.sections(access))

    def allowed(self, access):
        """Can it be compared, and does the guest survive it?"""
        door = DOORS[access.door]
        pieces = self.pieces(access)
        if not self._expected(access) or \
                self._base and unpatched_cannot(self.view, pieces) or \
                plain_cannot(self.view, pieces, self.machine.flash):
            return False
        if door.whole:
            return True
        if self._dies(access):
            return False
        if door.runs and not self._guest_can(access):
            return False
        if not self.steady(access) and (door.writes or not door.parts):
            return False
        return not door.writes or not any(
            self.machine.in_use(*piece) for piece in self.pieces(access))

    def _dies(self, access):
        """Does it touch memory that has no pages?"""
        names = self.machine.no_memory
        return names and any(section.name in names and start < section.end and
                             section.start < end + AROUND
                             for start, end in self.pieces(access, AROUND)
                             for section in self.view.sections)

    def _guest_can(self, access):
        """Every byte is mapped memory, and RAM where the guest writes."""
        kinds = 'ram' if DOORS[access.door].writes else ('ram', 'rom', 'romd')
        there = sum(min(end, s.end) - max(start, s.start)
                    for start, end in self.pieces(access)
                    for s in self.view.over(start, end) if s.kind in kinds)
        return access.length and there == access.length

    def memory_around(self, access):
        """[(start, length)] of memory, each in one section, near a write."""
        found = []
        for start, end in self.pieces(access, AROUND):
            for s in self.view.over(start, end):
                if s.kind != 'i/o':
                    first, last = max(start, s.start), min(end, s.end)
                    found.append((first, last - first))
        return found
