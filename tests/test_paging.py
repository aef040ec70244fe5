# SPDX-License-Identifier: GPL-2.0-or-later
"""Page tables of a normal guest look as they do in the unpatched QEMU."""

import os
import random
import re
import unittest

from lib.paging import (HLT, LARGE, LEVEL4, LEVEL5, MODES, PAGE,
                        PRESENT, PSE, RW, USER, PagingGuest, Tables)
from lib.qemu import binary
from lib.wait import poll

ROUNDS = int(os.environ.get('ROUNDS', '12'))
ROOT = Tables.START


def shown_mem(tables):
    """What info mem is to print, from the test's own walk."""
    ranges = []
    for va, shift, _, prot in tables.leaves():
        if ranges and ranges[-1][1:] == [va, prot]:
            ranges[-1][1] += 1 << shift
        else:
            ranges.append([va, va + (1 << shift), prot])

    def shown(va):
        # the end may lie behind the last byte
        return f'{va | tables.mode.canonical(va):016x}'

    return [f'{shown(start)}-{shown(end)} {shown(end - start)} '
            f'{"u" if prot & USER else "-"}r{"w" if prot & RW else "-"}'
            for start, end, prot in ranges]


class AsStock(unittest.TestCase):
    """The patched QEMU beside the unpatched one."""

    @classmethod
    def setUpClass(cls):
        cls.stock = cls.enterClassContext(PagingGuest(
            program=binary(base=True)))
        cls.guest = cls.enterClassContext(PagingGuest())
        # Its addresses are translated by the new walker, always
        cls.walker = cls.enterClassContext(PagingGuest(encrypted=''))

    def each(self, check, rounds=ROUNDS, in_ram=0):
        """Call @check with random tables of all modes, used by all guests."""
        for mode in MODES:
            for seed in range(rounds):
                tables = Tables(mode, seed, in_ram=in_ram)
                for guest in self.stock, self.guest, self.walker:
                    tables.use(guest)
                with self.subTest(mode=mode.name, seed=seed):
                    check(tables)

    def both(self, line):
        """The lines that a command prints: stock's, and ours."""
        return (self.stock.hmp(line).splitlines(),
                self.guest.hmp(line).splitlines())

    def translate(self, va):
        """Stock's answer, after the others were found to be the same."""
        line = f'gva2gpa {va:#x}'
        stock = self.stock.hmp(line)
        self.assertEqual(stock, self.guest.hmp(line))
        walker = self.walker.hmp(line)
        if walker.startswith('Unmapped: '):     # the reason
            walker = 'Unmapped\n'
        # QEMU 10.2 prints "gpa: 0" of normal guests
        stock = re.sub('^gpa: 0$', 'gpa: 0x0', stock)
        self.assertEqual(stock, walker, line)
        return stock

    def test_addresses_are_translated_as_by_stock(self):
        mapped = []

        def check(tables):
            for va in sorted(tables.probes):
                mapped.append(self.translate(va) != 'Unmapped\n')

        self.each(check)
        self.assertTrue(0.2 < sum(mapped) / len(mapped) < 0.9)

    def read(self, va):
        """What x and gdb read at @va in each guest; all of them the same."""
        lines, packets = set(), set()
        for guest in self.stock, self.guest, self.walker:
            lines.add(guest.hmp(f'x /4xb {va:#x}'))
            packets.add(guest.rsp.ask(f'm{va:x},4'))
        self.assertEqual(len(packets), 1, (hex(va), packets))
        self.assertEqual(len({line.strip() for line in lines if
                              'Cannot access' not in line}),
                         0 if packets == {'E14'} else 1, (hex(va), lines))
        return packets.pop()

    def test_memory_is_read_as_by_stock(self):
        data = random.Random(0).randbytes(Tables.RAM - Tables.DATA)
        for guest in self.stock, self.guest, self.walker:
            guest.write(Tables.DATA, data)
        values = []

        def check(tables):
            for va in sorted(tables.probes)[::6]:
                values.append(self.read(va))
                values.append(self.read(va | PAGE - 2))

        self.each(check, max(1, ROUNDS // 6), in_ram=0.6)
        self.assertGreater(len(set(values)), 20)

    def test_addresses_without_paging(self):
        for guest in self.stock, self.guest, self.walker:
            guest.paging_off()
        for va in 0, 0x100000, 0x123456789abc, (1 << 64) - 1:
            self.assertIn('gpa: ', self.translate(va))
        for line in 'info tlb', 'info mem':
            self.assertEqual(*self.both(line))
            self.assertEqual(self.guest.hmp(line), 'PG disabled\n')

    def test_addresses_with_the_a20_gate_closed(self):
        guests = self.stock, self.guest, self.walker
        for guest in guests:
            guest.hmp('o /b 0x92 0')
            self.addCleanup(guest.hmp, 'o /b 0x92 2')
            guest.paging_off()
        self.assertEqual(self.translate(0x100000), 'gpa: 0x0\n')
        for mode in MODES:
            tables = Tables(mode, 'a20')
            for guest in guests:
                tables.use(guest)
            for va in sorted(tables.probes):
                self.translate(va)

    def test_info_tlb_prints_what_stock_prints(self):
        def check(tables):
            stock, ours = self.both('info tlb')
            self.assertEqual(stock, ours)
            self.assertEqual(len(ours), len(list(tables.leaves())))

        self.each(check)

    def test_info_mem_prints_what_stock_prints(self):
        def check(tables):
            ours = self.guest.hmp('info mem').splitlines()
            self.assertEqual(shown_mem(tables), ours)
            if tables.mode is not LEVEL5:
                self.assertEqual(self.stock.hmp('info mem').splitlines(), ours)

        self.each(check)

    def test_stock_info_mem_shows_nothing_with_5_levels(self):
        """Two present tests are inverted; all that is mapped is skipped."""
        for guest in self.stock, self.guest:
            guest.write(ROOT, LEVEL5.table(ROOT + 0x1000 | RW | PRESENT))
            guest.write(ROOT + 0x1000,
                        LEVEL5.table(ROOT + 0x2000 | RW | PRESENT))
            guest.write(ROOT + 0x2000, LEVEL5.table(
                *(n << 30 | LARGE | RW | PRESENT for n in range(512))))
            guest.paging(LEVEL5, ROOT)
        stock, ours = self.both('info mem')
        self.assertEqual(stock, [])
        self.assertEqual(ours, [f'{0:016x}-{1 << 39:016x} {1 << 39:016x} -rw'])

    def test_stock_info_tlb_follows_addresses_without_their_top_bits(self):
        """Bits 51:50 of a table's address are dropped, but not by gva2gpa."""
        for guest in self.stock, self.guest:
            guest.write(ROOT, LEVEL4.table(ROOT + 0x1000 | RW | PRESENT))
            guest.write(ROOT + 0x1000, LEVEL4.table(
                ROOT + 0x2000 | RW | PRESENT | 1 << 51))
            guest.write(ROOT + 0x2000, LEVEL4.table(
                0x200000 | LARGE | RW | PRESENT))
            guest.paging(LEVEL4, ROOT)
            self.assertEqual(guest.hmp('gva2gpa 0'), 'Unmapped\n')
        stock, ours = self.both('info tlb')
        self.assertEqual(len(stock), 1)
        self.assertEqual(ours, [])

    def test_stock_info_tlb_forgets_the_a20_gate(self):
        """With the gate closed, the CPU and gva2gpa find another table."""
        for guest in self.stock, self.guest:
            guest.write(0x300000, PSE.table(0x400000 | LARGE | PRESENT))
            guest.write(0x200000, PSE.table(0x800000 | LARGE | PRESENT))
            guest.hmp('o /b 0x92 0')
            self.addCleanup(guest.hmp, 'o /b 0x92 2')
            guest.paging(PSE, 0x300000)
            self.assertEqual(guest.hmp('gva2gpa 0'), 'gpa: 0x800000\n')
        stock, ours = self.both('info tlb')
        self.assertIn('0000000000400000', stock[0])
        self.assertIn('0000000000800000', ours[0])

    def test_stock_takes_lam_bits_of_cr3_for_an_address(self):
        """With 5 levels, bits 62:61 of CR3 are no part of the address."""
        for guest in self.stock, self.guest, self.walker:
            for level in range(4):
                table = ROOT + 0x1000 * level
                guest.write(table, LEVEL5.table(table + 0x1000 | PRESENT))
            guest.write(ROOT + 0x4000, LEVEL5.table(0x5000 | PRESENT))
            guest.paging(LEVEL5, ROOT | 3 << 61)
        self.assertEqual(self.stock.hmp('gva2gpa 0x123'), 'Unmapped\n')
        self.assertEqual(self.guest.hmp('gva2gpa 0x123'), 'gpa: 0x5123\n')
        self.assertEqual(self.walker.hmp('gva2gpa 0x123'), 'gpa: 0x5123\n')


class SystemManagement(unittest.TestCase):
    """In SMM, a vCPU sees other memory at 0xa0000, tables included."""

    SMRAM = 0xa0000
    SMI_HANDLER = 0x38000
    # mov $0,%al; out %al,$0xb2; hlt
    CODE = b'\xb0\x00\xe6\xb2' + HLT

    def start(self, **kwargs):
        """A guest whose vCPU has entered SMM."""
        guest = self.enterContext(PagingGuest(
            machine='q35,smm=on', code=self.CODE, **kwargs))
        for line in ('o /w 0xcf8 0x8000f840', 'o /w 0xcfc 0x601',   # PMBASE
                     'o /w 0xcf8 0x8000f844', 'o /b 0xcfc 0x80',    # its enable
                     'o /w 0x630 0x21',                             # SMI_EN
                     'o /w 0xcf8 0x8000009c', 'o /b 0xcfd 0x0a'):   # SMRAM
            guest.hmp(line)
        guest.write(self.SMI_HANDLER, HLT)
        guest.cont()
        poll(lambda: 'HLT=1' in guest.hmp('info registers'),
             'the vCPU to halt', 60)
        guest.stop()
        self.assertIn('SMM=1', guest.hmp('info registers'))
        return guest

    def test_tables_and_pages_are_those_of_smm(self):
        answers = []
        for guest in (self.start(program=binary(base=True)), self.start()):
            guest.write(self.SMRAM, PSE.table(
                self.SMRAM + PAGE | PRESENT, 0x400000 | LARGE | PRESENT))
            guest.write(self.SMRAM + PAGE, PSE.table(
                0x5000 | PRESENT, self.SMRAM + 2 * PAGE | PRESENT))
            guest.write(self.SMRAM + 2 * PAGE, b'SMM!')
            guest.paging(PSE, self.SMRAM)
            answers.append([*(guest.hmp(f'gva2gpa {va:#x}')
                              for va in (0, 0x1234, 0x2000, 0x456789)),
                            guest.hmp('x /4xb 0x1000'),
                            guest.rsp.ask('m1000,4')])
        stock, ours = answers
        self.assertEqual(stock, ours)
        self.assertEqual(ours[1], 'gpa: 0xa2234\n')
        self.assertEqual(bytes.fromhex(ours[-1]), b'SMM!')
