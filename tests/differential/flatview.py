# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory map that a vCPU sees, from `info mtree -f`."""

import re
from collections import namedtuple

# Reading these has no side effect that shows, and gives the same at any time
STEADY = {'vga-lowmem', 'cirrus-low-memory', 'cirrus-lowmem-container'}

Section = namedtuple('Section', 'start end kind name')   # end is exclusive

LINE = re.compile(r'  (\w{16})-(\w{16}) \(prio -?\d+, ([^)]+)\): '
                  r'(.*?)(?: KVM)?$', re.M)


class FlatView:
    """Sections in order of address; between them nothing is mapped."""

    def __init__(self, sections):
        self.sections = sections

    def at(self, gpa):
        """The section with @gpa, or None."""
        for section in self.sections:
            if section.start <= gpa < section.end:
                return section
        return None

    def over(self, start, end):
        """The sections that a range touches."""
        return [s for s in self.sections if s.start < end and start < s.end]

    def memory(self):
        """The sections that are RAM, ROM, or flash in read mode."""
        return [s for s in self.sections if s.kind != 'i/o']

    def borders(self):
        """Addresses where another section, or nothing, begins."""
        return sorted({a for s in self.sections for a in (s.start, s.end)})


def is_steady(section):
    """Does a read give the same whenever it happens?"""
    return section.kind != 'i/o' or section.name.split(' @')[0] in STEADY


def parse(text):
    """The vCPU's FlatView of what `info mtree -f` printed."""
    for part in re.split(r'^FlatView #', text.replace('\r', ''),
                         flags=re.MULTILINE):
        if 'AS "cpu-memory-0"' in part:
            return FlatView([Section(int(start, 16), int(end, 16) + 1, kind,
                                     name)
                             for start, end, kind, name
                             in LINE.findall(part)])
    raise ValueError(f'no vCPU has a memory map:\n{text}')
