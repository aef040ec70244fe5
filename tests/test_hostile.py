# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests whose page tables are made to harm who looks at them."""

import re
import time
import unittest

from lib.paging import (LARGE, LEVEL4, LEVEL5, MODES, PAGE, PRESENT, RW,
                        PagingGuest)
from lib.qmp import QMPError
from lib.rsp import RSPError
from lib.wait import Deadline

ROOT = 0x100000
DEVICE = 0xfed00000         # the HPET: RAM for nobody
NOWHERE = 0x10000000
SECONDS = 120               # on a loaded machine; a few else

# As the gdbstub numbers them
RSI, RDI, R8, R9, R10, RIP = 4, 5, 8, 9, 10, 16


def entries(mode, target):
    """A table all of whose entries lead to @target."""
    return mode.table(*[target | RW | PRESENT] * (PAGE // mode.entry_size))


class Endless(unittest.TestCase):
    """Each entry of the root leads back to it: 2^36 pages, or 2^45."""

    STOPPED = (r'the guest has more than \d+ page tables, or entries that '
               'lead to the same tables again and again')

    def endless(self, mode, encrypted):
        """A guest with such tables."""
        guest = self.enterContext(PagingGuest(encrypted=encrypted))
        guest.write(ROOT, entries(mode, ROOT))
        guest.launch()
        guest.paging(mode, ROOT)
        return guest

    def both(self):
        """A normal guest and an encrypted one."""
        yield self.endless(LEVEL4, None)
        yield self.endless(LEVEL5, '')

    def test_info_mem_by_qmp_ends(self):
        """Nobody can press a key there."""
        for guest in self.both():
            lines = guest.qmp.hmp('info mem', SECONDS).splitlines()
            self.assertEqual(len(lines), 2)
            self.assertRegex(lines[0], '^0{16}-')
            self.assertRegex(lines[1], f'^Stopped: {self.STOPPED}$')

    def test_a_dump_with_paging_fails_and_one_without_does_not(self):
        for guest in self.both():
            path = guest.folder / 'dump'
            with self.assertRaisesRegex(
                    QMPError, r'map more than \d+ ranges of memory'):
                guest.qmp.cmd('dump-guest-memory', SECONDS, paging=True,
                              protocol=f'file:{path}')
            guest.qmp.cmd('dump-guest-memory', SECONDS, paging=False,
                          protocol=f'file:{path}')
            self.assertGreater(path.stat().st_size, guest.ram_size)

    def test_a_dump_with_endless_tables_and_no_page_fails(self):
        with PagingGuest(encrypted='') as guest:
            for level in range(3):
                guest.write(ROOT + level * PAGE,
                            entries(LEVEL4, ROOT + (level + 1) * PAGE))
            guest.launch()
            guest.paging(LEVEL4, ROOT)
            with self.assertRaisesRegex(QMPError, self.STOPPED):
                guest.qmp.cmd('dump-guest-memory', SECONDS, paging=True,
                              protocol=f'file:{guest.folder}/dump')

    def test_two_tables_in_turn(self):
        """Each is read again and again, as only the last one is kept."""
        with PagingGuest(encrypted='') as guest:
            pair = [ROOT | PRESENT, ROOT + PAGE | PRESENT] * 256
            guest.write(ROOT, LEVEL5.table(*pair))
            guest.write(ROOT + PAGE, LEVEL5.table(*reversed(pair)))
            guest.launch()
            guest.paging(LEVEL5, ROOT)
            self.assertRegex(guest.qmp.hmp('info mem', SECONDS),
                             f'Stopped: {self.STOPPED}')


class Devices(unittest.TestCase):
    """Page tables that lie in a device, whose registers change when read."""

    def start(self, encrypted):
        """A guest, and its page tables: for each level, in the device."""
        guest = self.enterContext(PagingGuest(
            '-trace', 'memory_region_ops_read', encrypted=encrypted))
        cases, at = [], ROOT
        for mode in MODES:
            for depth in range(len(mode.shifts)):
                cases.append((mode, at if depth else DEVICE))
                for level in range(depth):
                    target = DEVICE if level == depth - 1 else at + PAGE
                    guest.write(at, mode.table(target | PRESENT))
                    at += PAGE
        guest.launch()
        return guest, cases

    def touched(self, guest):
        """How often the device was read until now."""
        return guest.log().count("name 'hpet'")

    def test_no_door_reads_it(self):
        guest, cases = self.start('')
        for mode, root in cases:
            with self.subTest(mode.name, root=hex(root)):
                guest.paging(mode, root)
                for line in 'gva2gpa 0x123', 'info tlb', 'info mem':
                    self.assertIn('a device, not RAM', guest.hmp(line))
                self.assertIn('Cannot access', guest.hmp('x/2xg 0x123'))
                with self.assertRaises(RSPError):
                    guest.rsp.read(0x123, 16)
                with self.assertRaisesRegex(QMPError, 'a device, not RAM'):
                    guest.qmp.cmd('dump-guest-memory', paging=True,
                                  protocol=f'file:{guest.folder}/dump')
        self.assertEqual(self.touched(guest), 0)

    def test_lists_of_a_normal_guest_do_not_either(self):
        guest, cases = self.start(None)
        for mode, root in cases:
            with self.subTest(mode.name, root=hex(root)):
                guest.paging(mode, root)
                for line in 'info tlb', 'info mem':
                    self.assertIn('a device, not RAM', guest.hmp(line))
        self.assertEqual(self.touched(guest), 0)
        # The negative control: the translation of a normal guest is stock's
        guest.hmp('gva2gpa 0x123')
        self.assertGreater(self.touched(guest), 0)


class Changing(unittest.TestCase):
    """A running guest that rewrites its page tables all the time."""

    CODE = bytes.fromhex(
        'b9ff010000'        # again: mov ecx, 511
        '49ffc1'            # next: inc r9
        '4489cb'            # mov ebx, r9d
        '83e33f'            # and ebx, 63
        '498b04d8'          # mov rax, [r8 + rbx * 8]
        '488904cf'          # mov [rdi + rcx * 8], rax
        '498b04da'          # mov rax, [r10 + rbx * 8]
        '488904ce'          # mov [rsi + rcx * 8], rax
        'ffc9'              # dec ecx
        '75e3'              # jnz next
        'ebdc')             # jmp again

    CODE_AT = ROOT + 0x10 * PAGE
    PAGES, WILD = ROOT + 0x11 * PAGE, ROOT + 0x12 * PAGE    # what changes
    VALUES = ROOT + 0x13 * PAGE
    X, Y, OTHER = 0x200000, 0x300000, 0x400000
    VA = 0x8000000000       # of the changing table's first page
    SECONDS = 4

    def start(self, encrypted):
        """A guest at work."""
        guest = PagingGuest(encrypted=encrypted)
        # Loops, as who has halted does not wake up
        (guest.folder / 'bios').write_bytes(b'\xeb\xfe' * 32768)
        self.enterContext(guest)
        for gpa, byte in (self.X, b'X'), (self.Y, b'Z'), (self.OTHER, b'-'):
            guest.write(gpa, byte * 0x100000)
        link = PRESENT | RW
        # Its own memory, the changing pages, and wild tables
        guest.write(ROOT, LEVEL4.table(
            ROOT + PAGE | link, ROOT + 2 * PAGE | link, self.WILD | link))
        guest.write(ROOT + PAGE, LEVEL4.table(LARGE | link))
        guest.write(ROOT + 2 * PAGE, LEVEL4.table(ROOT + 3 * PAGE | link))
        guest.write(ROOT + 3 * PAGE, LEVEL4.table(self.PAGES | link))
        guest.write(self.CODE_AT, self.CODE)
        guest.write(self.VALUES, self.page_values() + self.table_values())
        guest.launch()
        guest.paging(LEVEL4, ROOT)
        for number, value in ((RIP, self.CODE_AT), (RDI, self.PAGES),
                              (RSI, self.WILD), (R8, self.VALUES),
                              (R9, 0), (R10, self.VALUES + 512)):
            guest.register(number, value)
        guest.cont()
        return guest

    def page_values(self):
        """64 leaf entries: pages of X and Y, absent, and none of RAM."""
        values = [0] * 64
        for i in range(64):
            if i % 8 != 7:
                values[i] = (self.X, self.Y)[i % 2] + i * PAGE | PRESENT | RW
        values[5] = NOWHERE | PRESENT
        return b''.join(v.to_bytes(8, 'little') for v in values)

    def table_values(self):
        """64 entries that are a table's, in some way or other."""
        values = [0] * 64
        for i, value in enumerate((
                self.WILD, self.PAGES, NOWHERE, (1 << 52) - PAGE,
                LARGE, 0x7ff0000000000000 | self.PAGES, ROOT)):
            values[i * 5] = value | PRESENT
        return b''.join(v.to_bytes(8, 'little') for v in values)

    def check_bytes(self, data):
        """Whatever page it was, it was one that is mapped there."""
        self.assertLessEqual(set(data), set(b'XZ'), data)

    def look(self, guest, seen):
        """Look through each door once."""
        for va in self.VA + 0x2ff8, self.VA + 0x5ff8, self.VA + 0x80123:
            shown = guest.hmp(f'x/16xb {va:#x}')
            data = re.findall(r'0x(\w\w)(?: |\r|\n|$)',
                              re.sub(r'^\w+:', '', shown, flags=re.M))
            self.check_bytes(bytes(int(byte, 16) for byte in data))
            seen['x' if data else 'x failed'] += 1
        self.translations.add(guest.hmp(f'gva2gpa {self.VA + PAGE:#x}'))
        for line in 'info tlb', 'info mem':
            seen[line] += len(guest.qmp.hmp(line, SECONDS)) > 0

    def check(self, encrypted):
        guest = self.start(encrypted)
        seen = dict.fromkeys(('x', 'x failed', 'info tlb', 'info mem', 'gdb',
                              'dump'), 0)
        self.translations = set()
        end = time.monotonic() + self.SECONDS
        late = Deadline(self.SECONDS + SECONDS)
        # Until it was seen at work: the same address was here and there
        while time.monotonic() < end or not all(seen.values()) or \
                len(self.translations) < 3:
            late.check(f'every door to show something: {seen}')
            guest.cont()
            self.look(guest, seen)
            guest.stop()
            try:
                self.check_bytes(guest.rsp.read(self.VA + 0x3000, PAGE + 8))
                seen['gdb'] += 1
            except RSPError:
                pass
            guest.cont()
            guest.qmp.cmd('dump-guest-memory', SECONDS, paging=True,
                          protocol=f'file:{guest.folder}/dump')
            seen['dump'] += 1
        self.assertEqual(guest.qmp.cmd('query-status')['status'], 'running')

    def test_all_doors_on_a_normal_guest(self):
        self.check(None)

    def test_all_doors_on_an_encrypted_guest(self):
        self.check('')
