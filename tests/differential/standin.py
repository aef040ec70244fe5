# SPDX-License-Identifier: GPL-2.0-or-later
"""SEV, SEV-ES, SNP and TDX guests under the KVM stand-in, and a plain one.

The guest is a trace (tests/kvm-stand-in/README.md) that fills its memory from
the firmware image, after it has shared some ranges with the host.  The same
trace without the sharing is the plain guest.

The page tables map each page of RAM twice, private or shared as it is, but for
some that they do not map.  They lie in memory twice, with the bit that tells
private pages from shared ones and without: memory is the same in both guests.
"""

import random
import struct
import unittest

from lib.kvm_case import debuggable
from lib.qemu import MIB
from lib.repository import require
from lib.standin import KINDS, StandIn, page_table_bit, payload
from lib.wait import Deadline, Timeout

from . import flatview
from .access import AROUND, Draw
from .doors import DOORS
from .guest import Watched
from .rounds import (AS_PLAIN, MAYBE, REFUSED, Comparison,
                     NotComparable)

PAGE = 4096
HIGH = 1 << 32
NEGATIVE = 0xffff8000_00000000
LARGE_PAGE = 2 << 20
TABLE, LEAF = 0x27, 0x67
LARGE = 0x80
TABLES_SIZE = 0x10000
CODED, CLEAN = 0x20000, 0x30000         # where the tables are
# ROM lies over it, which is not launched at these addresses
NO_RAM = range(0xc0000, 0x100000)
ROM_PAGES = set(range(0xc0000, 0x100000, PAGE))
# What QEMU hands to a TD, whose memory is not untouched (tests/payload)
TD_HOB = range(0x180000, 0x183000)
RANDOM_SIZE = 64 << 10


class Tables:
    """@leaves: {gpa: is it private?} of pages of 4 KiB"""

    def __init__(self, leaves):
        self.leaves = leaves

    def translate(self, va):
        """The guest-physical address, or None."""
        gpa = va - NEGATIVE if va >= NEGATIVE else va
        if HIGH - LARGE_PAGE <= gpa < HIGH or gpa & -PAGE in self.leaves:
            return gpa
        return None

    def borders(self):
        """Virtual addresses where something else begins."""
        edges = {gpa for gpa, private in self.leaves.items()
                 if self.leaves.get(gpa - PAGE) != private}
        edges |= {gpa + PAGE for gpa in self.leaves
                  if gpa + PAGE not in self.leaves}
        return sorted(edges | {NEGATIVE + gpa for gpa in edges})

    def image(self, base, private, shared):
        """The tables at @base, with the bits of each kind of page."""
        tables = [[0] * 512, [0] * 512]

        def table(parent, index):
            if not parent[index]:
                parent[index] = base + len(tables) * PAGE + TABLE + private
                tables.append([0] * 512)
            return tables[((parent[index] & ~private) - base) // PAGE]

        tables[0][0] = tables[0][256] = base + PAGE + TABLE + private
        pointers = tables[1]
        for gpa, is_private in self.leaves.items():
            directory = table(pointers, gpa >> 30)
            table(directory, gpa >> 21 & 511)[gpa >> 12 & 511] = \
                gpa + LEAF + (private if is_private else shared)
        table(pointers, 3)[511] = HIGH - LARGE_PAGE + LEAF + LARGE + private
        return b''.join(struct.pack('<512Q', *t) for t in tables)


class Trace:
    """What a guest of @kind does; drawn with @rng."""

    serves = False
    shared = no_memory = ()
    flash = {}

    def __init__(self, rng, kind, bit):
        self.kind, self.bit, self.page_bit = kind, bit, 1 << bit
        self.below = rng.choice((4, 6)) * MIB
        self.above = rng.choice((0, 2)) * MIB
        self.pages = [a for start, size in ((0, self.below),
                                            (HIGH, self.above))
                      for a in range(start, start + size, PAGE)
                      if a not in NO_RAM]
        self.memory = set(self.pages)
        self.converted = self._draw_conversions(rng)
        self.runs_out = [gpa for start, count in self.converted
                         for gpa in range(start, start + count * PAGE, PAGE)
                         if gpa not in self.memory]
        self.untouched = self._draw_untouched(rng)
        self.tables = Tables(self._draw_leaves(rng))
        self.image = self._image(rng)
        self.fill = self._draw_fill(rng)

    def in_use(self, start, end):
        """Are the page tables between these addresses?"""
        return start < CLEAN + TABLES_SIZE and CODED < end

    def _draw_conversions(self, rng):
        """[(gpa, pages)] that the guest shares."""
        places = [0x9e000, 0xbe000, 0xc0000 - PAGE, MIB - PAGE, MIB, 2 * MIB,
                  self.below - 2 * PAGE, self.below - PAGE, HIGH]
        found = []
        for _ in range(rng.randrange(6)):
            start = rng.choice((*places, rng.choice(self.pages)))
            count = rng.choice((1, 1, 2, 3, 4, 8, 40))
            # No more than RAM but for some that run out of it
            if rng.random() < 0.8:
                while count and any(start + i * PAGE not in self.pages
                                    for i in range(count)):
                    count -= 1
            if count and not self.in_use(start, start + count * PAGE):
                found.append((start, count))
        return found

    def _draw_untouched(self, rng):
        """Pages of RAM that the guest never writes to."""
        if rng.random() < 0.6:
            return set()
        start = rng.choice(self.pages)
        return {start + i * PAGE for i in range(rng.randrange(1, 9))
                if not self.in_use(start, start + 8 * PAGE) and
                start + i * PAGE not in TD_HOB}

    def is_shared(self, gpa):
        """Did the guest ask for that?"""
        return any(start <= gpa < start + count * PAGE
                   for start, count in self.converted)

    def shared_with_more(self, gpa):
        """Is it in a conversion that is not all RAM?"""
        return any(start <= gpa < start + count * PAGE and any(
            start + i * PAGE not in self.pages for i in range(count))
            for start, count in self.converted)

    def _draw_leaves(self, rng):
        """Most of RAM.  Not, where KVM knows better, what it may refuse."""
        is_sev = self.kind in ('sev', 'sev-es')
        return {gpa: not self.is_shared(gpa) for gpa in self.pages
                if (is_sev and self.is_shared(gpa)) or
                not (self.shared_with_more(gpa) or rng.random() < 0.05)}

    def _image(self, rng):
        """Random bytes, both sets of tables, and the payload's firmware."""
        found = payload(self.kind, self.bit)
        with open(found.image, 'rb') as file:
            code = bytearray(file.read())
        head = rng.randbytes(RANDOM_SIZE) + b''.join(
            self.tables.image(base, *bits).ljust(TABLES_SIZE, b'\0')
            for base, bits in ((CODED, (found.private_mask,
                                        found.shared_mask)),
                               (CLEAN, (0, 0))))
        size = len(head) + len(code)
        if self.kind == 'tdx':          # its first section is the image
            at = code.index(b'TDVF') + 16
            code[at:at + 24] = struct.pack('<IIQQ', 0, size, HIGH - size, size)
        return head + code

    def _draw_fill(self, rng):
        """[(gpa, offset in the image, length)] of all touched memory."""
        found = []
        for gpa in self.pages:
            if gpa not in self.untouched and \
                    not self.in_use(gpa, gpa + PAGE):
                found.append((gpa, rng.randrange(RANDOM_SIZE - PAGE), PAGE))
        return found

    def script(self, plain):
        """The trace as text."""
        rom = HIGH - len(self.image)
        lines = ['vcpu 0']
        # First: a conversion that runs on to 0xe0000 is of this ROM, too
        lines += [f'copy {base:#x} {rom + RANDOM_SIZE + i * TABLES_SIZE:#x} '
                  f'{TABLES_SIZE:#x}' for i, base in enumerate((CODED, CLEAN))]
        if not plain:
            lines += [f'convert {start:#x} {count} 0'
                      for start, count in self.converted]
        lines += [f'copy {gpa:#x} {rom + offset:#x} {length:#x}'
                  for gpa, offset, length in self.fill]
        mask = 1 << self.bit if self.kind not in ('tdx', 'plain') else 0
        root = CLEAN if plain else CODED + mask
        lines += [f'long-mode {root:#x} 0x8000',
                  r'print payload: running\n', 'loop', 'nop']
        return '\n'.join(lines) + '\n'


class TracedGuest(Watched, StandIn):
    """A guest of @kind, or 'plain', that runs a Trace."""

    def __init__(self, name, kind, trace, folder, **settings):
        image, script = folder / 'image', folder / f'{kind}.script'
        image.write_bytes(trace.image)
        script.write_text(trace.script(kind == 'plain'))
        size = f'{(trace.below + trace.above) // MIB}M'
        args = ['-machine', f'max-ram-below-4g={trace.below}']
        if trace.kind == 'tdx':         # in the plain one, too
            args += ['-machine', 'kernel-irqchip=split']
        if kind not in ('plain', 'sev'):
            args += ['-object', f'memory-debug,id=md0,root={CODED:#x},'
                     'paging=4level', '-machine', 'memory-debug=md0']
        super().__init__(kind, scripted=True, args=args, image=str(image),
                         script=script, ram_mib=int(size[:-1]),
                         cbit=trace.bit, **settings)
        self.name, self.trace = name, trace

    def begin(self, _):
        """Let the guest fill its memory."""
        deadline = Deadline(30)
        while True:
            try:
                self.wait_running(1)
                break
            except Timeout:
                status = self.qmp.cmd('query-status')['status']
                if status == 'internal-error' and self.trace.runs_out:
                    raise NotComparable('QEMU stops a guest that converts '
                                        'more than RAM') from None
                if status != 'running':
                    raise ConnectionError(f'the guest stopped: {status}: '
                                          f'{self.log()}') from None
                deadline.check('the guest to run')
        self.stop()


def available_kinds():
    """Those that this QEMU has."""
    try:
        require('target/i386/kvm/tdx.c', 'TDX')
    except unittest.SkipTest:
        return [kind for kind in KINDS if kind != 'tdx']
    return KINDS


class StandInRound(Comparison):
    """A guest of the kind that the seed says, next to a plain one."""

    can_be_unlaunched = False

    def __init__(self, seed, without=()):
        super().__init__(seed)
        rng = random.Random(seed)
        self.kind = rng.choice(available_kinds())
        self.settings = debuggable(self.kind)
        if self.kind in ('sev', 'sev-es') and rng.random() < 0.5:
            self.settings['unified'] = 1
        self.machine = Trace(rng, self.kind, page_table_bit(True, self.kind))
        with TracedGuest('plain', 'plain', self.machine, self.folder) as guest:
            view = flatview.parse(guest.hmp('info mtree -f'))
        self.draw = Draw(rng, self.machine, view, expected=self.expected)

    def new_guests(self):
        return [TracedGuest('plain', 'plain', self.machine, self.folder),
                TracedGuest(self.kind, self.kind, self.machine, self.folder,
                            **self.settings)]

    def expected(self, access):
        door, trace = DOORS[access.door], self.machine
        if access.addr & trace.page_bit and not (door.virtual or door.whole):
            return self._with_bit(access)
        around = door.writes and AROUND
        pages, near = ({page for start, end in self.draw.pieces(access, more)
                        for page in range(start & -PAGE, end, PAGE)}
                       for more in (0, around))
        if self.kind in ('snp', 'tdx'):
            if door.whole:
                return AS_PLAIN
            if near & set(trace.runs_out):
                return None         # it has shared ROM, which plain has not
            if near & trace.untouched or near & ROM_PAGES:
                return None if door.writes else MAYBE
            return AS_PLAIN
        if trace.untouched and (door.whole or near & trace.untouched):
            return None             # decrypting them gives anything
        if door.writes and not door.virtual:
            return self._sev_write(pages)
        return AS_PLAIN

    def _with_bit(self, access):
        """The address says what kind of page it is."""
        trace = self.machine
        pages = {page for start, end in self.draw.pieces(access, AROUND)
                 for page in range(start & -PAGE, end, PAGE)}
        kinds = {trace.is_shared(page) for page in pages}
        if not access.length or not pages <= trace.memory or \
                pages & trace.untouched or len(kinds) > 1 or \
                any(trace.shared_with_more(page) for page in pages):
            return None
        if kinds == {self.kind == 'tdx'}:
            return AS_PLAIN
        return REFUSED if self.kind in ('snp', 'tdx') else None

    def _sev_write(self, pages):
        """Only where the page tables tell that all of it is private."""
        ram = {page for page in pages if page in self.machine.memory}
        if any(page not in ram and not HIGH - LARGE_PAGE <= page < HIGH
               for page in pages):
            return None             # holes, and ROM that was not launched
        states = {self.machine.tables.leaves.get(page) for page in ram}
        if False in states:
            return None             # shared: either would do
        return REFUSED if None in states else AS_PLAIN

    def same(self, access, plain, answer):
        if not DOORS[access.door].whole or self.kind in ('sev', 'sev-es') or \
                'error' in (plain.how, answer.how):
            return super().same(access, plain, answer)
        theirs, ours = dumped_pages(plain), dumped_pages(answer)
        for pages in theirs, ours:
            for place in [p for p in pages if p[1] & -PAGE in
                          self.machine.runs_out]:
                del pages[place]
        return ours.items() <= theirs.items() and all(
            gpa in NO_RAM or gpa & -PAGE in self.machine.untouched
            for _, gpa in theirs.keys() - ours.keys())


def dumped_pages(answer):
    """{(virtual address, GPA): bytes} of a dump's pages, or parts of them."""
    found = {}
    for gpa, va, data, _ in answer.data:
        at = 0
        while at < len(data):
            step = min(len(data) - at, PAGE - (gpa + at) % PAGE)
            found[va + at, gpa + at] = data[at:at + step]
            at += step
    return found
