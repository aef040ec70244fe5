# SPDX-License-Identifier: GPL-2.0-or-later
"""Firmware images: firmware.S, page tables, and random bytes around them.

A guest in real mode halts at its reset vector; one in long mode runs
firmware.S on page tables in the image: the first GiB, and what lies from 3 to
8 GiB, at its physical address, and scattered pages and a few large ones from
SCATTERED on.
"""

import functools
import os
import struct
import subprocess
from pathlib import Path

from lib.standin import BUILD, build_lock

PAGE = 4096
GIB = 1 << 30
END = 1 << 32
SEGMENT = END - (1 << 16)       # of the reset vector; the tables come first
CODE = END - 1024
SCATTERED = 0xffff8000_00000000
SCATTERED_PAGES = 1024          # two tables
LARGE = SCATTERED + GIB         # leaf entries of 2 MiB, 512 of them
LARGE_PAGE = 2 << 20
TABLES = 7
TABLE, LEAF, LARGE_LEAF = 0x27, 0x67, 0xe7     # accessed, dirty: it is ROM
PROGRAM = BUILD / 'differential'
HALT = bytes.fromhex('f4ebfd')
IDENTITY = 0, 3, 4, 5, 6, 7     # these GiB have their own addresses


@functools.cache
def program():
    """The assembled firmware.S, the last KiB of an image."""
    source = Path(__file__).with_name('firmware.S')
    include = source.parents[1] / 'payload'
    target = PROGRAM
    with build_lock():
        made = target.exists() and target.stat().st_mtime
        if made and all(file.stat().st_mtime < made for file in
                        (source, include / 'long-mode.inc')):
            return target.read_bytes()
        subprocess.run(['gcc', '-c', '-I', include, source, '-o',
                        f'{target}.o'], check=True)
        subprocess.run(
            ['ld', '--no-warn-rwx-segments', f'-Ttext={CODE:#x}', '-e', '0',
             '--oformat', 'binary', f'{target}.o', '-o', f'{target}.new'],
            check=True)
        os.replace(f'{target}.new', target)
    return target.read_bytes()


class PageTables:
    """What is mapped where; `leaves` is {virtual page: physical page}."""

    def __init__(self, scattered, large):
        self.scattered = scattered      # {index: gpa}
        self.large = large

    def translate(self, va):
        """The guest-physical address of @va, None where there is none."""
        for base, size, pages in ((SCATTERED, PAGE, self.scattered),
                                  (LARGE, LARGE_PAGE, self.large)):
            index, offset = divmod(va - base, size)
            if index in pages:
                return pages[index] + offset
        return va if va // GIB in IDENTITY else None

    def borders(self):
        """Virtual addresses where something else begins."""
        found = {SCATTERED, LARGE, 0}
        for base, size, pages in ((SCATTERED, PAGE, self.scattered),
                                  (LARGE, LARGE_PAGE, self.large)):
            for index, gpa in pages.items():
                if pages.get(index - 1) != gpa - size:
                    found.add(base + index * size)
                if index + 1 not in pages:
                    found.add(base + (index + 1) * size)
        return sorted(found)

    def image(self):
        """The tables, to be found at SEGMENT."""
        tables = [[0] * 512 for _ in range(TABLES)]

        def entry(n):
            return SEGMENT + n * PAGE + TABLE

        root, low, high, directory, large = tables[:5]
        root[0], root[SCATTERED >> 39 & 511] = entry(1), entry(2)
        for gib in IDENTITY:
            low[gib] = gib * GIB + LARGE_LEAF
        high[0], high[1] = entry(3), entry(4)
        directory[0], directory[1] = entry(5), entry(6)
        for index, gpa in self.scattered.items():
            tables[5 + index // 512][index % 512] = gpa + LEAF
        for index, gpa in self.large.items():
            large[index] = gpa + LARGE_LEAF
        return b''.join(struct.pack('<512Q', *table) for table in tables)


def draw_tables(rng, places):
    """Page tables whose pages lie around the physical addresses @places."""
    scattered, index = {}, 0
    while index < SCATTERED_PAGES - 8:
        start = (rng.choice(places) & -PAGE) - rng.randrange(4) * PAGE
        for i in range(rng.randrange(1, 8)):
            if start + i * PAGE >= 0:
                scattered[index + i] = start + i * PAGE
        index += rng.randrange(1, 10)
    large = {i: rng.choice(places) & -LARGE_PAGE for i in range(512)
             if rng.random() < 0.02}
    return PageTables(scattered, large)


def image(rng, size, tables):
    """A firmware image of @size bytes; a halting one without @tables."""
    data = bytearray(rng.randbytes(size))
    data[-16:] = HALT.ljust(16, b'\xf4')
    if tables:
        segment = size - (END - SEGMENT)
        found = tables.image()
        data[segment:segment + len(found)] = found
        data[-1024:] = program()
    return bytes(data)


def in_use(gpa):
    """Does the guest run from there?  @gpa is an address of the image."""
    offset = gpa & 0xffff
    return offset < TABLES * PAGE or \
        CODE & 0xffff <= offset < (END - 16) & 0xffff
