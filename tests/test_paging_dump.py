# SPDX-License-Identifier: GPL-2.0-or-later
"""dump-guest-memory with paging: each virtual address, and what is there."""

import struct
import unittest
from collections import namedtuple

from lib.paging import (ADDRESS, LARGE, LEVEL4, LEVEL5, MODES, NX, PAE, PAGE,
                        PRESENT, PSE, RW, USER, PagingGuest, Tables)
from lib.qemu import binary
from lib.qmp import QMPError

ROOT = 0x100000
DATA = 0x1000000        # of the pages that the tables map
RAM = 64 << 20
PT_LOAD = 1

Segment = namedtuple('Segment', 'va pa size data')


def segments(path):
    """The PT_LOAD segments of an ELF file of either class."""
    image = path.read_bytes()
    wide = image[4] == 2
    header = '<16xHHIQQQIHHHH' if wide else '<16xHHIIIIIHHHH'
    fields = struct.unpack_from(header, image)
    offset, size, count = fields[4], fields[8], fields[9]
    for at in range(offset, offset + size * count, size):
        if wide:
            kind, _, start, va, pa, length, memory, _ = \
                struct.unpack_from('<IIQQQQQQ', image, at)
        else:
            kind, start, va, pa, length, memory, _, _ = \
                struct.unpack_from('<8I', image, at)
        if kind == PT_LOAD:
            yield Segment(va, pa, memory, image[start:start + length])


def page_list(path):
    """(virtual address, contents) of each page of an ELF dump."""
    for segment in segments(path):
        for at in range(0, segment.size, PAGE):
            yield segment.va + at, segment.data[at:at + PAGE]


def pages(guest):
    """{virtual address: (physical address, contents)} from a dump."""
    path = guest.folder / 'dump'
    path.unlink(missing_ok=True)
    guest.qmp.cmd('dump-guest-memory', paging=True, protocol=f'file:{path}')
    found = {}
    for segment in segments(path):
        for at in range(0, segment.size, PAGE):
            found[segment.va + at] = (segment.pa + at,
                                      segment.data[at:at + PAGE])
    return found


def contents(pa):
    """What the tests put into the page at @pa."""
    return struct.pack('<Q', pa) * (PAGE // 8)


class Space:
    """A few pages mapped in @mode, with page tables from ROOT on.

    @page_bit is set in all their entries.
    """

    def __init__(self, mode, page_bit=0):
        self.mode = mode
        self.page_bit = page_bit
        self.tables = {ROOT: {}}
        self.wanted = {}                # virtual -> physical

    def map(self, va, pa, shift=12, flags=RW | USER):
        """Map one page of 2**@shift bytes; @flags are of its leaf entry."""
        table = ROOT
        for depth, level in enumerate(self.mode.shifts):
            slot = (va >> level) % self.mode.entries(depth)
            if level == shift:
                break
            entry = ROOT + PAGE * len(self.tables) | PRESENT | RW | USER | \
                self.page_bit
            entry = self.tables[table].setdefault(slot, entry)
            table = entry & ADDRESS & ~self.page_bit
            self.tables.setdefault(table, {})
        self.tables[table][slot] = pa | flags | PRESENT | \
            self.page_bit | (LARGE if shift > 12 else 0)
        for at in range(0, 1 << shift, PAGE):
            self.wanted[va + at] = pa + at

    def write(self, guest):
        """Write the tables and the pages."""
        for table, entries in self.tables.items():
            values = [entries.get(slot, 0) for slot in
                      range(PAGE // self.mode.entry_size)]
            guest.write(table, self.mode.table(*values))
        for pa in self.wanted.values():
            if pa < RAM:
                guest.write(pa, contents(pa))

    def use(self, guest):
        """Write the tables and switch paging on."""
        self.write(guest)
        guest.paging(self.mode, ROOT)


def space(mode, flags=0, page_bit=0):
    """Pages here and there, some of them large."""
    result = Space(mode, page_bit)
    bits = mode.shifts[0] + 9 if mode.long_mode else 32
    for n, va in enumerate((0x1000, 0x7f4000, (1 << bits) - PAGE,
                            1 << (bits - 1), (1 << (bits - 1)) + PAGE)):
        result.map(mode.canonical(va), DATA + n * 0x10000,
                   flags=RW | flags)
    for shift in mode.large:
        if shift <= 22:
            result.map(mode.canonical(0x40000000), 0x2000000, shift,
                       RW | flags)
    return result


class AsStock(unittest.TestCase):
    """The patched QEMU beside the unpatched one, and a normal guest."""

    @classmethod
    def setUpClass(cls):
        cls.stock = cls.enterClassContext(PagingGuest(
            program=binary(base=True)))
        cls.guest = cls.enterClassContext(PagingGuest())

    def check(self, wanted):
        """Our dump has the pages that are @wanted; stock's are returned."""
        ours = pages(self.guest)
        self.assertEqual({va: pa for va, (pa, _) in ours.items()}, wanted)
        for va, (pa, data) in ours.items():
            self.assertEqual(data, contents(pa), hex(va))
        return pages(self.stock)

    def test_each_page_is_where_the_guest_sees_it(self):
        for mode in MODES:
            with self.subTest(mode.name):
                mapped = space(mode)
                for guest in self.stock, self.guest:
                    mapped.use(guest)
                stock = self.check(mapped.wanted)
                if not mode.long_mode:
                    self.assertEqual(stock, pages(self.guest))

    def test_random_tables(self):
        """Each page that lies in RAM is in the dump, and no other."""
        for mode in MODES:
            for seed in range(4):
                tables = Tables(mode, f'dump {seed}', in_ram=0.4)
                tables.use(self.guest)
                wanted = {}
                for va, shift, entry, _ in tables.leaves():
                    pa = entry & ADDRESS & -(1 << shift)
                    if mode.entry_size == 4 and shift == 22:
                        pa |= (entry & 0x1fe000) << 19
                    va = mode.canonical(va)
                    if pa == 0 or Tables.DATA <= pa < RAM:
                        for at in range(max(0, Tables.DATA - pa),
                                        min(1 << shift, RAM - pa), PAGE):
                            wanted[va + at] = pa + at
                with self.subTest(mode=mode.name, seed=seed):
                    self.assertTrue(wanted)
                    self.assertEqual(
                        {va: pa for va, (pa, _) in pages(self.guest).items()
                         if pa >= Tables.DATA}, wanted)

    def test_stock_has_the_upper_half_right_alone(self):
        """It extends the sign of all addresses, user space's, too."""
        for mode in LEVEL4, LEVEL5:
            with self.subTest(mode.name):
                mapped = space(mode)
                for guest in self.stock, self.guest:
                    mapped.use(guest)
                stock = self.check(mapped.wanted)
                upper = {va for va in mapped.wanted if va >> 63}
                self.assertTrue(0 < len(upper) < len(mapped.wanted))
                self.assertEqual(upper, set(mapped.wanted) & set(stock))

    def test_stock_drops_pages_with_protection_keys(self):
        """It takes bits 62:52 of a leaf entry for its address."""
        mapped = space(LEVEL4, flags=NX | 5 << 59 | 1 << 58)
        for guest in self.stock, self.guest:
            mapped.use(guest)
        self.assertEqual(self.check(mapped.wanted), {})

    def test_a_mapping_at_address_0(self):
        """Stock writes it at its physical address."""
        for mode in PSE, LEVEL4:
            with self.subTest(mode.name):
                mapped = Space(mode)
                mapped.map(0, DATA)
                mapped.map(0x5000, DATA + 0x5000)
                for guest in self.stock, self.guest:
                    mapped.use(guest)
                stock = self.check(mapped.wanted)
                if mode == PSE:
                    self.assertEqual(set(stock), {DATA, 0x5000})

    def test_a_mapping_of_several_blocks(self):
        """A direct map goes on behind 0xc0000; in stock with zeros."""
        base = 0x40000000
        mapped = Space(PSE)
        mapped.map(base, 0, 22)
        mapped.wanted = {}
        for guest in self.stock, self.guest:
            mapped.use(guest)
        path = self.guest.folder / 'physical'
        self.guest.qmp.cmd('dump-guest-memory', paging=False,
                           protocol=f'file:{path}')
        ram = {base + gpa: (gpa, data) for gpa, data in page_list(path)
               if gpa < 1 << 22}
        self.assertIn(base + 0xf0000, ram)
        ours = pages(self.guest)
        self.assertEqual(ours.keys(), ram.keys())
        self.assertEqual(ours, ram)
        stock = pages(self.stock)
        self.assertEqual(stock[base + 0x1000], ram[base + 0x1000])
        self.assertEqual(stock[base + 0xf0000], (0xf0000, b''))

    def test_what_is_not_ram_is_left_out(self):
        for mode in PSE, PAE, LEVEL4, LEVEL5:
            mapped = space(mode)
            wanted = dict(mapped.wanted)
            mapped.map(0x20000, 0xfee00000)
            mapped.map(0x21000, 0x80000000)
            for guest in self.stock, self.guest:
                mapped.use(guest)
            with self.subTest(mode.name):
                self.check(wanted)


class TwoCpus(unittest.TestCase):
    """Each has page tables of its own."""

    def start(self, **kwargs):
        """Two in a row; the second vCPU's is the first page."""
        guest = self.enterContext(PagingGuest('-smp', '2', **kwargs))
        for cpu, slot in ((1, 2), (2, 1)):
            root, page = ROOT + cpu * 2 * PAGE, DATA + slot * PAGE
            guest.write(root, PSE.table(root + PAGE | PRESENT))
            guest.write(root + PAGE, PSE.table(*[0] * slot, page | PRESENT))
            guest.write(page, contents(page))
            self.assertEqual(guest.rsp.ask(f'Hg{cpu}'), 'OK')
            guest.paging(PSE, root)
        return guest

    def test_both_pages_are_where_they_are(self):
        wanted = {slot * PAGE: (DATA + slot * PAGE,
                                contents(DATA + slot * PAGE))
                  for slot in (1, 2)}
        self.assertEqual(pages(self.start()), wanted)
        stock = pages(self.start(program=binary(base=True)))
        self.assertEqual(set(stock), set(wanted))
        self.assertNotEqual(stock, wanted)


class Encrypted(unittest.TestCase):
    """A simulated encrypted guest."""

    def test_leaves_with_the_page_table_bit(self):
        """All of them lie at their addresses without the bit."""
        for properties, bit, private in (
                ('cbitpos=51', 1 << 51, True), ('cbitpos=47', 1 << 47, True),
                ('cbitpos=47,cbit-set=shared', 1 << 47, False)):
            for mode in PAE, LEVEL4, LEVEL5:
                with self.subTest(properties, mode=mode.name), PagingGuest(
                        encrypted=properties,
                        private_bit=bit if private else 0) as guest:
                    mapped = space(mode, page_bit=bit if private else 0)
                    mapped.write(guest)
                    guest.launch()
                    guest.paging(mode, ROOT)
                    found = pages(guest)
                    self.assertEqual({va: pa for va, (pa, _) in found.items()},
                                     mapped.wanted)
                    self.assertNotEqual(guest.host_memory(DATA, PAGE),
                                        contents(DATA))

    def test_protected_registers(self):
        """Virtual addresses are not known, and not made up."""
        with PagingGuest(encrypted='protect-registers=on') as guest:
            guest.launch()
            with self.assertRaisesRegex(QMPError, 'registers .*protected'):
                pages(guest)

    def test_a_table_that_cannot_be_read(self):
        """No dump that looks complete, and is not."""
        with PagingGuest(encrypted='') as guest:
            mapped = space(LEVEL4)
            mapped.write(guest)
            guest.qmp.cmd('qom-set', path='/objects/cg0', property='x-fault',
                          value=[{'start': ROOT + PAGE, 'size': PAGE}])
            guest.launch()
            guest.paging(LEVEL4, ROOT)
            with self.assertRaisesRegex(
                    QMPError, 'cannot read the page table at 0x101000: '):
                pages(guest)
