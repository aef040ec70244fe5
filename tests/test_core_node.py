# SPDX-License-Identifier: GPL-2.0-or-later
"""The core node: tools read a guest's core while they need it.

Each answer is compared with that on an ELF dump of the same guest.
"""

import os
import shutil
import subprocess
import unittest

from lib import core, dump, linux, snapshot
from lib.case import LinuxCase
from lib.qemu import Qemu
from lib.qmp import QMPError
from lib.wait import poll
from test_dump_tools import DRGN, PYTHON, DumpCase

MIB = 1 << 20
CRASH_COMMANDS = 'bt', 'ps', 'log', 'kmem -i'
# Reads a file again and again; says how often it could, and could not
READER = """
import os, sys
good = bad = 0
try:
    f = os.open(sys.argv[1], os.O_RDONLY)
    size = os.fstat(f).st_size
    while os.path.exists(sys.argv[2]):
        for at in range(0, size, 1 << 20):
            try:
                os.pread(f, 1 << 20, at)
                good += 1
            except OSError:
                bad += 1
except OSError:
    bad += 1
print(good, bad)
"""


def read_notes(path):
    """The bytes of an ELF file's notes."""
    with open(path, 'rb') as f:
        f.seek(dump.EHDR.unpack(f.read(dump.EHDR.size))[5])
        _, _, offset, _, _, size, _, _ = dump.PHDR.unpack(
            f.read(dump.PHDR.size))
        f.seek(offset)
        return f.read(size)


def offset_of(path, gpa):
    """Where in the file a guest-physical address is."""
    return next(offset + gpa - start
                for start, _, size, offset in dump.segments(path)
                if start <= gpa < start + size)


class CrashedGuest(DumpCase):
    """A guest whose kernel has crashed, and its core as a file."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.core = cls.enterClassContext(core.Core(cls.guest)).path

    def assert_needs_little(self, function, percent):
        """What @function returns; it decrypts only a part of the guest."""
        if self.encrypted is None:
            return function()
        before = core.decrypted(self.guest.qmp)
        answer = function()
        bytes_read = core.decrypted(self.guest.qmp) - before
        print(f'# {self.id()}: {bytes_read / MIB:.1f} MiB of '
              f'{self.ram_mib} MiB decrypted', flush=True)
        self.assertGreater(bytes_read, 0)
        self.assertLess(bytes_read, self.ram_mib * MIB * percent // 100)
        return answer

    def test_host_sees_nothing(self):
        self.assert_hidden(self.banner.pa, self.facts.version.encode())

    def test_equals_a_dump(self):
        path = self.take(dump.ELF)
        self.assertEqual([s[:3] for s in dump.segments(self.core)],
                         [s[:3] for s in dump.segments(path)])
        self.assertEqual(dump.notes(self.core), dump.notes(path))
        self.assertEqual(read_notes(self.core), read_notes(path))
        for gpa, _, size, _ in dump.segments(path):
            for at in range(gpa, gpa + size, MIB):
                length = min(MIB, gpa + size - at)
                self.assertEqual(dump.read(self.core, at, length),
                                 dump.read(path, at, length), hex(at))

    def test_kernel_log(self):
        if not dump.has_makedumpfile():
            self.skipTest('there is no makedumpfile: '
                          'apt-get install makedumpfile')
        self.made(self.core.with_suffix('.log'))
        log = self.assert_needs_little(
            lambda: dump.kernel_log(self.core), 5)
        self.assert_kernel_log(log)

    def test_makedumpfile_filters(self):
        path = self.for_makedumpfile(dump.ELF)
        # It has to read what is not free; that of Debian 13 (1.7.6) finds no free
        # page of the kernel there (6.12).
        needed = len(dump.kdump_pages(self.made(
            dump.filtered(path, dump.FREE_PAGES)))) * 4096
        small = self.made(self.assert_needs_little(
            lambda: dump.filtered(self.core),
            needed * 100 // (self.ram_mib * MIB) + 10))
        same = self.made(dump.filtered(path))
        pages, expected = dump.kdump_pages(small), dump.kdump_pages(same)
        self.assertEqual(pages.keys(), expected.keys())
        for gpa, place in pages.items():
            self.assertEqual(dump.kdump_read(small, place),
                             dump.kdump_read(same, expected[gpa]), hex(gpa))

    def test_drgn(self):
        if subprocess.run([PYTHON, '-c', 'import drgn'], check=False,
                          stderr=subprocess.DEVNULL).returncode:
            self.skipTest('there is no drgn: apt-get install python3-drgn')
        text = self.facts.version
        said = self.assert_needs_little(
            lambda: dump.tool(PYTHON, '-c', DRGN, self.core, self.banner.pa,
                              len(text)), 5)
        self.assertEqual(said, text)

    def test_gdb(self):
        def registers(path):
            return dump.tool('gdb', '-nx', '-q', '-batch', '-ex', 'info threads',
                             '-ex', 'info registers', '-ex',
                             f'x/8xg {self.banner.pa}', symbols, path)

        symbols = self.guest.gdb_symbols({'linux_banner': self.banner})
        os.utime(symbols, (0, 0))       # gdb warns of one newer than the core
        expected = registers(self.take(dump.ELF))
        self.assertIn('rip', expected)
        said = self.assert_needs_little(lambda: registers(self.core), 5)
        self.assertEqual(said, expected)

    def test_crash(self):
        expected = self.ask_crash(dump.ELF, *CRASH_COMMANDS)
        self.assert_kernel_log(expected)
        kernel = linux.debug_kernel()
        self.made(self.core.with_suffix('.crash'))
        said = self.assert_needs_little(
            lambda: dump.crash(kernel, self.core, *CRASH_COMMANDS), 15)
        self.assertEqual(said, expected)

    def test_crash_starts_with_a_few_percent(self):
        if not shutil.which('crash'):
            self.skipTest('there is no crash: apt-get install crash')
        kernel = linux.debug_kernel()
        self.made(self.core.with_suffix('.crash'))
        said = self.assert_needs_little(
            lambda: dump.crash(kernel, self.core, 'bt'), 10)
        self.assertRegex(said, r'#\d+ \[\w+\] sysrq_handle_crash')

    def test_nbd(self):
        if not shutil.which('nbdcopy'):
            self.skipTest('there is no nbdcopy: apt-get install libnbd-bin')
        qmp, folder = self.guest.qmp, self.guest.folder
        path = self.take(dump.ELF)
        copy = self.made(folder / 'copy')
        qmp.cmd('nbd-server-start', addr={
            'type': 'unix', 'data': {'path': str(folder / 'nbd')}})
        self.addCleanup(qmp.cmd, 'nbd-server-stop')
        qmp.execute('nbd-server-add', {'device': core.NODE, 'name': 'core'})
        dump.tool('nbdcopy', f'nbd+unix:///core?socket={folder}/nbd', copy)
        self.assertEqual(dump.read(copy, 0, MIB // 2),
                         dump.read(path, 0, MIB // 2))
        self.assertEqual(read_notes(copy), read_notes(path))


class Normal(CrashedGuest):
    """The same of a guest that is not encrypted."""

    encrypted = None


class UnreadablePage(DumpCase):
    """One page of a process cannot be read."""

    def test_is_an_error_for_who_reads_it(self):
        page = self.facts.note.pa & -dump.PAGE
        self.guest.qmp.cmd('qom-set', path='/objects/cg0', property='x-fault',
                           value=[{'start': page, 'size': dump.PAGE}])
        path = self.enterContext(core.Core(self.guest)).path
        offset = offset_of(path, page)
        with open(path, 'rb', buffering=0) as f:
            def read(at, length):
                return len(os.pread(f.fileno(), length, offset + at))

            for at, length in ((0, dump.PAGE), (8, 8),
                               (-dump.PAGE, 3 * dump.PAGE)):
                with self.assertRaises(OSError):
                    read(at, length)
            for at in (-dump.PAGE, dump.PAGE):
                self.assertEqual(read(at, dump.PAGE), dump.PAGE)
        failure = self.guest.qmp.cmd('query-memory-debug')['last-failure']
        self.assertIn('x-fault', failure['reason'])
        log = self.made(path.with_suffix('.log'))
        self.assert_kernel_log(dump.kernel_log(path))
        self.assertTrue(log.exists())


class Forbidden(LinuxCase):
    """The owner's policy forbids debugging."""

    encrypted = 'policy-debug=off'

    def test_is_refused_with_the_reason(self):
        self.guest.stop()
        with self.assertRaisesRegex(QMPError, 'policy'):
            core.add_node(self.guest.qmp)


class RunningGuest(LinuxCase):
    """The guest runs, stops, is reset and ends while its core is read."""

    cpus = 2

    def assert_notes_are_current(self, path):
        """Those of @path are those of a dump."""
        taken, _ = dump.take(self.guest, dump.ELF, self.id())
        self.addCleanup(taken.unlink, missing_ok=True)
        self.assertEqual(read_notes(path), read_notes(taken))

    def test_registers_are_those_of_each_stop(self):
        path = self.enterContext(core.Core(self.guest)).path
        before = None
        for _ in range(3):
            self.guest.stop()
            self.assert_notes_are_current(path)
            notes = read_notes(path)
            self.assertNotEqual(notes, before)
            before = notes
            self.guest.cont()
            self.guest.ask('facts')     # it has run
        self.assertEqual(read_notes(path), before)

    def test_an_open_file_shows_memory_as_it_is_now(self):
        self.start_target()
        path = self.enterContext(core.Core(self.guest)).path
        offset = offset_of(path, self.facts.counter.pa)
        with open(path, 'rb', buffering=0) as f:
            def count():
                return int.from_bytes(os.pread(f.fileno(), 8, offset),
                                      'little')
            first = count()
            poll(lambda: count() != first, 'the counter to change', 30)
            self.guest.stop()
            self.assertEqual(count(), count())


class LoadedSnapshot(unittest.TestCase):
    """A snapshot is loaded into a stopped VM: QEMU does not say when."""

    def test_headers_are_an_error_until_the_vm_stops_again(self):
        guest = self.enterContext(Qemu('-S'))
        image = guest.folder / 'image'
        snapshot.make_image(guest.qmp, image)
        guest.qmp.cmd('blockdev-add', driver='qcow2', node_name='image',
                      file={'driver': 'file', 'filename': str(image)})
        snapshot.save(guest.qmp, 'image')
        path = self.enterContext(core.Core(guest)).path
        self.assertTrue(read_notes(path))
        snapshot.load(guest.qmp, 'image')
        with self.assertRaises(OSError):
            read_notes(path)
        guest.cont()
        guest.stop()
        self.assertTrue(read_notes(path))


class Disturbed(LinuxCase):
    """QEMU has to answer and to end, whatever a reader does."""

    iothread = True

    def setUp(self):
        super().setUp()
        self.mark = self.guest.folder / 'reading'

    def read_meanwhile(self, function):
        """(reads that succeeded, that failed) while @function ran."""
        path = self.guest.folder / 'core'
        self.mark.touch()
        readers = [subprocess.Popen([PYTHON, '-c', READER, path, self.mark],
                                    stdout=subprocess.PIPE, text=True)
                   for _ in range(2)]
        try:
            function()
        finally:
            self.mark.unlink()
            counts = [reader.communicate(timeout=60)[0].split()
                      for reader in readers]
        return [sum(int(count[i]) for count in counts) for i in (0, 1)]

    def test_1_stop_cont_reset(self):
        def disturb():
            for _ in range(5):
                self.guest.stop()
                self.guest.cont()
            self.guest.qmp.cmd('system_reset')
            self.guest.qmp.wait_event('RESET')
            self.guest.stop()
            self.guest.qmp.cmd('system_reset')
            self.guest.cont()

        with core.Core(self.guest, self.iothread):
            good, bad = self.read_meanwhile(disturb)
        self.assertGreater(good, 0)
        self.assertEqual(bad, 0)

    def wait_for_reads(self):
        """Until the readers have read much."""
        enough = core.decrypted(self.guest.qmp) + 64 * MIB
        poll(lambda: core.decrypted(self.guest.qmp) > enough,
             'somebody to read', 60)

    def test_2_removal(self):
        with core.Core(self.guest, self.iothread):
            good, _ = self.read_meanwhile(self.wait_for_reads)
            self.assertGreater(good, 0)
        core.add_node(self.guest.qmp)
        core.remove_node(self.guest.qmp)

    def test_3_quit(self):
        def quit_while_reading():
            self.wait_for_reads()
            status.append(self.guest.quit())

        status = []
        core.Core(self.guest, self.iothread).__enter__()
        self.guest.stop()
        good, bad = self.read_meanwhile(quit_while_reading)
        self.assertEqual(status, [0])
        self.assertGreater(good, 0)
        self.assertGreater(bad, 0)


class DisturbedMainLoop(Disturbed):
    """The same where the main loop serves the reader."""

    iothread = False
