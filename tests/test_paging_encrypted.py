# SPDX-License-Identifier: GPL-2.0-or-later
"""The page tables of an encrypted guest: what is private, what is shared."""

import re
import struct
import unittest

from lib import qtest
from lib.paging import (LARGE, LEVEL4, LEVEL5, MODES, PAE, PAGE,
                        PRESENT, PSE, RW, PagingGuest, Tables)

ROOT = Tables.START
MODES64 = PAE, LEVEL4, LEVEL5
SEEDS = 3

# Properties of the guest, the bit, and whether it means private
AMD_51 = 'cbitpos=51', 1 << 51, True
AMD_47 = 'cbitpos=47', 1 << 47, True
TDX_47 = 'cbitpos=47,cbit-set=shared', 1 << 47, False
KINDS = AMD_51, AMD_47, TDX_47


def encrypted(kind, *args):
    """A guest of a kind."""
    properties, bit, private = kind
    return PagingGuest(*args, encrypted=properties,
                       private_bit=bit if private else 0)


def word(kind, mode, entry):
    """What the monitor is to say of a leaf entry."""
    _, bit, private = kind
    if mode.entry_size == 4:
        return ' private'
    return ' private' if bool(entry & bit) == private else ' shared'


class PrivateOrShared(unittest.TestCase):
    """Random tables, with the page-table bit in half of the entries."""

    @classmethod
    def setUpClass(cls):
        # Normal, and its tables never have the bit
        cls.plain = cls.enterClassContext(PagingGuest())

    def launched(self, kind, *args):
        """A guest with encrypted tables in it, and the tables."""
        guest = self.enterContext(encrypted(kind, *args))
        sets = []
        for mode in MODES:
            for seed in range(SEEDS):
                page_bit = kind[1] if mode in MODES64 else 0
                tables = Tables(mode, seed, page_bit,
                                ROOT + len(sets) * Tables.SIZE)
                tables.write(guest)
                sets.append(tables)
        guest.launch()
        for tables in sets:
            raw = guest.host_memory(tables.root, PAGE)
            self.assertNotEqual(raw, tables.pages[tables.root])
        return guest, sets

    def each(self, check):
        """Call @check(kind, guest, tables); both guests use the tables."""
        for kind in KINDS:
            guest, sets = self.launched(kind)
            for tables in sets:
                tables.without_bit().use(self.plain)
                guest.paging(tables.mode, tables.root)
                with self.subTest(kind[0], mode=tables.mode.name):
                    check(kind, guest, tables)

    def test_info_tlb_adds_a_word_to_each_page(self):
        seen = set()

        def check(kind, guest, tables):
            words = [word(kind, tables.mode, leaf[2])
                     for leaf in tables.leaves()]
            lines = self.plain.hmp('info tlb').splitlines()
            shown = [line for line in guest.hmp('info tlb').splitlines()
                     if 'cannot read' not in line]
            self.assertEqual([*map(str.__add__, lines, words)], shown)
            self.assertEqual(len(lines), len(words))
            seen.update(words)

        self.each(check)
        self.assertEqual(seen, {' private', ' shared'})

    def test_info_tlb_names_each_table_that_cannot_be_read(self):
        named = []

        def check(_, guest, tables):
            for line in guest.hmp('info tlb').splitlines():
                if 'cannot read' in line:
                    self.assertRegex(
                        line, '^[0-9a-f]{16}: cannot read the page table at '
                        r'(0x[0-9a-f]+): nothing is mapped at physical '
                        r'address \1$')
                    named.append(line)

        self.each(check)
        self.assertTrue(named)

    def test_info_mem_separates_private_from_shared(self):
        def check(kind, guest, tables):
            pages = {tables.mode.canonical(va): word(kind, tables.mode, entry)
                     for va, _, entry, _ in tables.leaves()}
            for line in guest.hmp('info mem').splitlines():
                if 'cannot read' in line:
                    continue
                start, end, _, rights = re.match(
                    r'(\w{16})-(\w{16}) (\w{16}) (.*)$', line).groups()
                inside = {w for va, w in pages.items()
                          if int(start, 16) <= va < int(end, 16)}
                self.assertEqual(len(inside), 1)
                self.assertRegex(rights, f'^[u-]r[w-]{inside.pop()}$')

        self.each(check)

    def test_gva2gpa_strips_the_bit_and_tells_what_it_said(self):
        mapped = []

        def check(kind, guest, tables):
            words = {tables.mode.canonical(va): word(kind, tables.mode, entry)
                     for va, _, entry, _ in tables.leaves()}
            for va in sorted(tables.probes):
                line = f'gva2gpa {va:#x}'
                plain, shown = self.plain.hmp(line), guest.hmp(line)
                if plain == 'Unmapped\n':
                    self.assertTrue(shown.startswith('Unmapped: '), shown)
                elif va in words:
                    mapped.append(va)
                    # %#x writes 0 without 0x
                    at = plain.strip().replace('gpa: 0', 'gpa: 0x0') \
                        if plain.strip() == 'gpa: 0' else plain.strip()
                    self.assertEqual(at + words[va], shown.strip())
                else:
                    self.assertEqual(plain.split()[:2], shown.split()[:2])

        self.each(check)
        self.assertTrue(mapped)

    def test_each_table_is_read_once_and_as_a_whole(self):
        trace = '-trace', 'memory_debug_private_read'
        for kind in KINDS:
            guest, sets = self.launched(kind, *trace)
            for tables in sets:
                guest.paging(tables.mode, tables.root)
                before = len(guest.log())
                guest.hmp('info tlb')
                reads = re.findall(r'gpa (0x\w+) len (0x\w+) result 0',
                                   guest.log()[before:])
                # The cache keeps tables of earlier sets
                self.assertLessEqual(len(reads), len(tables.pages))
                self.assertEqual(len(reads), len(set(reads)))
                self.assertTrue(reads)


class NoBit(unittest.TestCase):
    """Where page tables say nothing."""

    def test_everything_is_private_without_room_for_the_bit(self):
        for kind in KINDS:
            with encrypted(kind) as guest:
                guest.write(ROOT, PSE.table(0x400000 | LARGE | PRESENT))
                self.assertEqual(guest.hmp('gva2gpa 0x1234'),
                                 'gpa: 0x1234 private\n')
                guest.paging(PSE, ROOT)
                self.assertEqual(guest.hmp('gva2gpa 0x1234'),
                                 'gpa: 0x401234 private\n')

    def test_a_guest_without_the_bit_gets_no_word(self):
        with PagingGuest(encrypted='') as guest:
            guest.write(ROOT, PSE.table(0x400000 | LARGE | PRESENT))
            guest.paging(PSE, ROOT)
            self.assertEqual(guest.hmp('gva2gpa 0x1234'), 'gpa: 0x401234\n')
            self.assertEqual(
                guest.hmp('info tlb'),
                '0000000000000000: 0000000000400000 --P------\n')
            self.assertEqual(
                guest.hmp('info mem'),
                '0000000000000000-0000000000400000 0000000000400000 -r-\n')


class Reasons(unittest.TestCase):
    """What the monitor says when there is nothing to show."""

    def test_which_entry_is_not_present(self):
        with PagingGuest(encrypted='') as guest:
            guest.write(ROOT, LEVEL4.table(ROOT + PAGE | PRESENT))
            guest.write(ROOT + PAGE, LEVEL4.table(0, 0x1230))
            guest.paging(LEVEL4, ROOT)
            self.assertEqual(
                guest.hmp('gva2gpa 0x40000000'),
                'Unmapped: virtual address 0x40000000 is not mapped: its '
                'PDPTE at 0x101008 is 0x1230, not present\n')
            self.assertEqual(
                guest.hmp('gva2gpa 0x800000000000'),
                'Unmapped: virtual address 0x800000000000 is not canonical: '
                '4-level paging translates 48 bits\n')

    def test_a_device_is_not_read_as_a_page_table(self):
        for properties in None, '':
            with PagingGuest(encrypted=properties) as guest:
                guest.write(ROOT, PSE.table(0xfee00000 | PRESENT))
                guest.paging(PSE, ROOT)
                if properties is not None:  # else as stock: it is read
                    self.assertIn('a device, not RAM', guest.hmp('gva2gpa 0'))
                self.assertEqual(
                    guest.hmp('info tlb'),
                    '0000000000000000: cannot read the page table at '
                    '0xfee00000: a device, not RAM, is mapped at physical '
                    'address 0xfee00000\n')

    def test_a_policy_against_debugging(self):
        with PagingGuest(encrypted='policy-debug=off') as guest:
            guest.write(ROOT, PSE.table(0x400000 | LARGE | PRESENT))
            guest.launch()
            guest.paging(PSE, ROOT)
            for line in 'info tlb', 'info mem', 'gva2gpa 0':
                shown = guest.hmp(line)
                self.assertIn('policy', shown)
                self.assertNotIn('400000', shown)

    def test_protected_registers(self):
        """A virtual address is never taken for a physical one."""
        with PagingGuest(encrypted='protect-registers=on') as guest:
            guest.write(0x1234, b'Z')
            guest.launch()
            for line in 'info tlb', 'info mem', 'gva2gpa 0x1234':
                self.assertIn('registers of this guest are protected',
                              guest.hmp(line))
            self.assertIn('Cannot access memory', guest.hmp('x/1xb 0x1234'))
            self.assertIn("0x5a", guest.hmp('xp/1xb 0x1234'))

    def test_a_page_that_cannot_be_decrypted(self):
        """It is named, and all other pages are shown."""
        with PagingGuest() as plain, PagingGuest(encrypted='') as guest:
            guest.qmp.cmd('qom-set', path='/objects/cg0', property='x-fault',
                          value=[{'start': ROOT + PAGE, 'size': PAGE}])
            for g in plain, guest:
                g.write(ROOT, PSE.table(ROOT + PAGE | PRESENT,
                                        0x400000 | LARGE | PRESENT))
                g.write(ROOT + PAGE, PSE.table(0x5000 | PRESENT))
            guest.launch()
            for g in plain, guest:
                g.paging(PSE, ROOT)
            self.assertEqual(len(plain.hmp('info tlb').splitlines()), 2)
            bad, good = guest.hmp('info tlb').splitlines()
            self.assertIn('cannot read the page table at 0x101000: ', bad)
            self.assertEqual(good,
                             '0000000000400000: 0000000000400000 --P------')
            self.assertIn('cannot read the PTE of virtual address 0x0 at '
                          '0x101000: ', guest.hmp('gva2gpa 0'))


class FoundByVmcoreinfo(unittest.TestCase):
    """The tables of a guest with protected registers, found by its note."""

    TABLE = 0x1000000       # of the kernel, whose phys_base is 0
    TABLE_VA = 0xffffffff81000000
    OLD = 0x1800000         # a root table that was copied from there
    NOTE = 0x2000000
    PAGES, DATA, VA = 32, 0x3000000, 0x400000   # every other page is mapped

    def note(self, phys_base=0):
        """A note of more than a page, as Linux's are."""
        text = (f'SYMBOL(init_top_pgt)={self.TABLE_VA:x}\n'
                f'NUMBER(phys_base)={phys_base}\n'
                f'NUMBER(pgtable_l5_enabled)=0\n').encode()
        text = text.ljust(4200, b'\n')
        return struct.pack('<III12s', 11, len(text), 0, b'VMCOREINFO') + text

    def start(self, note):
        """The guest, launched, with its note announced."""
        guest = PagingGuest(
            '-device', 'vmcoreinfo', '-trace', 'memory_debug_private_read',
            '-object', 'memory-debug,id=d0,find-root=vmcoreinfo',
            encrypted='protect-registers=on', machine='q35,memory-debug=d0')
        guest.command += qtest.arguments(guest.folder)
        self.enterContext(guest)
        page = [self.TABLE + n * PAGE | PRESENT for n in range(6)]
        for n, slots in enumerate((
                {511: page[1], 0: page[3]}, {510: page[2]},
                {8: self.TABLE | LARGE | PRESENT}, {0: page[4]}, {2: page[5]},
                {n: self.DATA + 2 * n * PAGE | PRESENT
                 for n in range(self.PAGES)})):
            guest.write(self.TABLE + n * PAGE, LEVEL4.table(
                *(slots.get(slot, 0) for slot in range(512))))
        guest.write(self.OLD, LEVEL4.table(page[3], *[0] * 510, page[1]))
        for n in range(self.PAGES):
            guest.write(self.DATA + 2 * n * PAGE, bytes([n + 1]) * PAGE)
        guest.write(self.NOTE, note)
        qtest.announce_vmcoreinfo(guest, self.NOTE, len(note),
                                  self.NOTE - PAGE)
        guest.launch()
        return guest

    def note_reads(self, guest, command):
        """How often the note is read meanwhile, in answers of the backend."""
        before = len(guest.log())
        command()
        return len(re.findall(rf'gpa {self.NOTE:#x} ', guest.log()[before:]))

    def test_the_note_is_read_once_for_all_pages(self):
        guest = self.start(self.note())
        path = guest.folder / 'memory'

        def save():
            guest.qmp.cmd('memsave', val=self.VA, size=self.PAGES * PAGE,
                          filename=str(path))

        self.assertEqual(self.note_reads(guest, save), 1)
        self.assertEqual(path.read_bytes(), b''.join(
            bytes([n + 1]) * PAGE for n in range(self.PAGES)))
        # and while the VM stays stopped
        self.assertEqual(self.note_reads(guest, save), 0)
        self.assertEqual(self.note_reads(
            guest, lambda: guest.hmp(f'x /64xb {self.VA:#x}')), 0)
        guest.cont()
        self.assertEqual(self.note_reads(guest, save), 1)
        self.assertEqual(self.note_reads(guest, save), 1)

    def test_a_note_of_another_kernel(self):
        for phys_base, reason in (
                (self.OLD - self.TABLE, 'the page tables at 0x1800000, the '
                 'address in VMCOREINFO, do not map themselves at virtual '
                 'address 0xffffffff81000000'),
                (PAGE, 'virtual address 0xffffffff81000000 is not mapped')):
            guest = self.start(self.note(phys_base))
            self.assertIn(f'find-root=vmcoreinfo: {reason}',
                          guest.hmp('gva2gpa 0x400000'))


class Hostile(unittest.TestCase):
    """Tables that the guest has made to annoy who looks at them."""

    def endless(self):
        """A guest each of whose page table entries leads to its root."""
        guest = self.enterContext(PagingGuest())
        guest.write(ROOT, LEVEL4.table(*[ROOT | RW | PRESENT] * 512))
        guest.paging(LEVEL4, ROOT)
        return guest

    def test_info_mem_stops_after_so_many_tables(self):
        line, reason = self.endless().hmp('info mem').splitlines()
        self.assertRegex(line, '^0{16}-[0-9a-f]{16} [0-9a-f]{16} -rw$')
        self.assertEqual(reason, 'Stopped: the guest has more than 4194304 '
                         'page tables, or entries that lead to the same '
                         'tables again and again')

    def test_info_tlb_stops_after_so_many_lines(self):
        lines = self.endless().hmp('info tlb').splitlines()
        self.assertEqual(lines[-1],
                         'Stopped: there are more than 4194304 lines')
        self.assertEqual(len(lines), 4194304 + 1)

    def test_loops_end(self):
        """One entry that leads to its own table, at every level."""
        with PagingGuest() as guest:
            guest.write(ROOT, LEVEL5.table(ROOT | RW | PRESENT))
            for mode in LEVEL4, LEVEL5:
                guest.paging(mode, ROOT)
                self.assertEqual(guest.hmp('gva2gpa 0x123'),
                                 f'gpa: {ROOT + 0x123:#x}\n')
                self.assertEqual(len(guest.hmp('info tlb').splitlines()), 1)
