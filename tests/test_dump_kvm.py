# SPDX-License-Identifier: GPL-2.0-or-later
"""Dumps of SEV, SEV-ES, SNP and TDX guests.

Most of the payload guest's memory has never been touched; SNP and TDX do not
have such pages.
"""

import time
import unittest

from lib import dump
from lib.kvm_case import DEBUGGABLE, KvmCase, debuggable, for_each_guest
from lib.qmp import QMPError
from lib.standin import KINDS, StandIn
from payload.build import text_lines

PAGE = 4096
# SNP and TDX: private memory is not in QEMU's, and the host knows it
APART = ('snp', 'tdx')


class Dump(KvmCase):
    """What every guest that may be debugged has in common."""

    def take(self, kind=dump.ELF, **arguments):
        """A dump and the command's result."""
        self.guest.stop()
        path, result = dump.take(self.guest, kind, self.id(), **arguments)
        self.addCleanup(path.unlink, missing_ok=True)
        return path, result

    def private_text(self):
        """[(address, text)] that the guest has written to private pages."""
        start, shared = self.map['TEXT_PRIVATE'], self.map['TEXT_SHARED']
        tail, end = self.map['TEXT_TAIL'], self.map['TEXT_END']
        return [(start, text_lines(b'PRV', start, shared)),
                (tail, text_lines(b'PRV', tail, end))]

    def shared_text(self):
        """The same of shared pages."""
        start, end = self.map['TEXT_SHARED'], self.map['TEXT_TAIL']
        return start, text_lines(b'SHR', start, end)

    def test_private_pages(self):
        path, _ = self.take()
        for gpa, text in self.private_text():
            self.assertEqual(dump.read(path, gpa, len(text)), text)
            self.assertNotIn(b'PRV 00', self.guest.host_memory(gpa, len(text)))
        self.assertEqual(dump.read(path, self.map['ROM_BASE'],
                                   self.map['ROM_SIZE'])[-64:],
                         self.image_end())

    def image_end(self):
        with open(self.guest.payload.image, 'rb') as image:
            return image.read()[-64:]

    def test_shared_pages(self):
        path, result = self.take()
        gpa, text = self.shared_text()
        if self.kind == 'sev-es':
            # Only page tables tell, and the register that points there is
            # protected
            self.assertIn('shares with the host', ' '.join(result['warnings']))
            self.assertNotIn(b'SHR 00', dump.read(path, gpa, len(text)))
        else:
            self.assertEqual(dump.read(path, gpa, len(text)), text)
        self.assertEqual(self.guest.host_memory(gpa, len(text)), text)

    def test_pages_that_no_page_table_maps(self):
        path, result = self.take()
        assumed = result.get('assumed-private-pages', 0)
        pages = sum(size for _, _, size, _ in dump.segments(path)) // PAGE
        if self.kind in APART:
            self.assertEqual(assumed, 0)
        elif self.kind == 'sev-es':
            # No page table is known: all that the guest encrypts
            self.assertGreater(assumed, pages * 9 // 10)
        else:
            self.assertGreater(assumed, 0)
            self.assertLess(assumed, pages)
        self.assertEqual(
            f'{assumed} pages of 4 KiB are not mapped by any known'
            in self.guest.qmp.hmp('info dump'), bool(assumed))

    def test_range(self):
        gpa, text = self.private_text()[0]
        path, result = self.take(begin=gpa + 5, length=PAGE)
        self.assertEqual(dump.read(path, gpa + 5, PAGE), text[5:5 + PAGE])
        self.assertNotIn('unreadable', result)

    def test_pages_that_are_not_there(self):
        untouched = self.guest.ram_size - 0x100000
        path, result = self.take()
        self.assertNotIn('unreadable', result)
        if self.kind not in APART:
            self.assertNotIn('absent-pages', result)
            dump.read(path, untouched, PAGE)
            return
        self.assertGreater(result['absent-pages'], 1000)
        with self.assertRaisesRegex(dump.ToolError, 'no segment'):
            dump.read(path, untouched, PAGE)
        total = sum(size for _, _, size, _ in dump.segments(path))
        query = self.guest.qmp.cmd('query-dump')
        self.assertEqual(query['completed'], total)
        self.assertEqual(query['total'] - total,
                         result['absent-pages'] * PAGE)

    def test_kdump_has_the_same_pages(self):
        path, _ = self.take()
        kdump, _ = self.take('kdump-raw-zlib')
        pages = dump.kdump_pages(kdump)
        segments = dump.segments(path)
        self.assertEqual(len(pages), sum(s[2] for s in segments) // PAGE)
        for gpa, text in self.private_text():
            for at in range(0, len(text), PAGE):
                self.assertEqual(dump.kdump_read(kdump, pages[gpa + at]),
                                 text[at:at + PAGE])

    def test_machine_and_notes(self):
        path, result = self.take()
        ehdr, notes = dump.notes(path)
        protected = self.kind != 'sev'
        self.assertEqual(ehdr, 'EM_X86_64')
        self.assertEqual('registers are protected' in
                         ' '.join(result['warnings']), protected)
        self.assertEqual('CORE' in notes, not protected)


for_each_guest(globals(), Dump, DEBUGGABLE)


class DumpWithTables(KvmCase):
    """A guest with protected registers whose page tables are known."""

    kind = 'sev-es'
    settings = {**DEBUGGABLE['SevEs']['settings'],
                'args': ('-object', 'memory-debug,id=md0,paging=4level',
                         '-machine', 'memory-debug=md0')}

    shared_text = Dump.shared_text

    def test_shared_pages(self):
        self.guest.stop()
        self.guest.qmp.cmd('qom-set', path='/objects/md0', property='root',
                           value=self.guest.payload.phys('pml4'))
        path, result = dump.take(self.guest, dump.ELF)
        gpa, text = self.shared_text()
        self.assertNotIn('shares with the host', ' '.join(result['warnings']))
        self.assertEqual(dump.read(path, gpa, len(text)), text)


class Readers(unittest.TestCase):
    """Several threads read at once, where the kernel lets them."""

    MIB = 16
    PAGE_US = 1000

    def seconds(self, guest, readers):
        """How long a dump of what the guest has touched takes."""
        start = time.monotonic()
        path, _ = dump.take(guest, dump.ELF, begin=4 << 20,
                            length=self.MIB << 20, readers=readers)
        seconds = time.monotonic() - start
        self.assertEqual(dump.read(path, 4 << 20, self.MIB << 20), self.text)
        return seconds

    def guest(self, kind):
        """One that has touched its memory from 4 MiB on."""
        start, end = 4 << 20, (4 + self.MIB) << 20
        self.text = text_lines(b'PRV', start, end)
        guest = self.enterContext(StandIn(
            kind, scripted=True, page_latency_us=self.PAGE_US,
            setup=[f'text 0x20565250 {start:#x} {end:#x}'],
            **debuggable(kind)))
        guest.wait_running()
        guest.stop()
        return guest

    def test_they_take_turns_at_waiting(self):
        for kind in 'snp', 'tdx':
            guest = self.guest(kind)
            one = self.seconds(guest, 1)
            self.assertGreaterEqual(one, self.MIB * 256 * self.PAGE_US / 1e6)
            for readers, goal in (2, 1.8), (4, 3.5), (8, 6.5):
                with self.subTest(kind=kind, readers=readers):
                    best = min(self.seconds(guest, readers) for _ in range(3))
                    self.assertGreaterEqual(one / best, goal)
            self.assertEqual(guest.violations(), [])


class DumpForbidden(KvmCase):
    """A guest whose policy forbids debugging."""

    def test_no_file_is_made(self):
        self.guest.stop()
        for kind in dump.FORMATS + ('win-dmp',):
            with self.subTest(kind):
                with self.assertRaisesRegex(QMPError, 'forbid'):
                    dump.take(self.guest, kind, 'forbidden')
                path = self.guest.folder / f'forbidden.{kind}'
                self.assertFalse(path.exists())


for_each_guest(globals(), DumpForbidden, {
    kind.title().replace('-', ''): {
        'kind': kind, 'settings': {'unified': 1, 'debug': False}}
    for kind in KINDS})
