# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's tools find in an encrypted guest's dump what the guest has seen."""

import shutil
import subprocess

from lib import dump, gdb, linux
from lib.case import LinuxCase
from lib.wait import poll

PYTHON = '/usr/bin/python3'
# For drgn, which is a library of the system's Python
DRGN = """
import sys, drgn
program = drgn.Program()
program.set_core_dump(sys.argv[1])
assert program.flags & drgn.ProgramFlags.IS_LINUX_KERNEL, program.flags
data = program.read(int(sys.argv[2]), int(sys.argv[3]), physical=True)
sys.stdout.buffer.write(data)
"""


def formats(function):
    """Make of a method with the argument @kind a test for each format."""
    function.formats = dump.FORMATS
    return function


def each_format(cls):
    """Decorator of a class with methods marked by formats()."""
    for name, function in list(vars(cls).items()):
        for kind in getattr(function, 'formats', ()):
            def test(self, function=function, kind=kind):
                function(self, kind)
            setattr(cls, f'test_{name}_of_{kind.replace("-", "_")}', test)
    return cls


class DumpCase(LinuxCase):
    """An encrypted guest whose kernel has crashed."""

    ram_mib = 256
    expected_result = {}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.banner = cls.guest.symbols('linux_banner')['linux_banner']
        cls.guest.ask('check start 32')
        poll(lambda: cls.guest.check()[0], 'a process to fill its memory', 120)
        cls.guest.console.send('panic')
        cls.guest.console.expect('.*Kernel panic - not syncing',
                                 'the kernel to crash')
        cls.guest.stop()

    def setUp(self):
        pass    # what has crashed stays stopped

    def take(self, kind, **arguments):
        """A dump, from which nothing is missing but what shall be."""
        path, result = dump.take(self.guest, kind, self.id(), **arguments)
        self.addCleanup(path.unlink, missing_ok=True)
        self.assertEqual(result, self.expected_result)
        return path

    def made(self, path):
        """Remove @path after the test."""
        self.addCleanup(path.unlink, missing_ok=True)
        return path

    def for_makedumpfile(self, kind):
        """A dump that Debian's makedumpfile can open."""
        if not dump.has_makedumpfile():
            self.skipTest('there is no makedumpfile: '
                          'apt-get install makedumpfile')
        if not dump.makedumpfile_knows(kind.rpartition('-')[2]) and \
                kind != dump.ELF:
            self.skipTest(f'this makedumpfile was built without {kind}')
        path = self.take(kind)
        if kind in dump.FLATTENED:
            return self.made(dump.rearranged(path))
        return path

    def ask_crash(self, kind, *commands):
        """What crash prints for the commands."""
        if not shutil.which('crash'):
            self.skipTest('there is no crash: apt-get install crash')
        kernel = linux.debug_kernel()
        path = self.take(kind)
        self.made(path.with_suffix('.crash'))
        return dump.crash(kernel, path, *commands)

    def assert_kernel_log(self, log):
        """@log is that of our guest, from its boot to its end."""
        self.assertIn(self.facts.version, log)
        self.assertIn(f'Command line: {self.facts.cmdline}', log)
        self.assertIn('sysrq: Trigger a crash', log)
        self.assertIn('Kernel panic - not syncing', log)

    def assert_filters(self, kind):
        """makedumpfile -d 31 makes a smaller dump of it."""
        path = self.for_makedumpfile(kind)
        small = self.made(dump.filtered(path))
        # the memory of a process, which nothing compresses, is gone
        self.assertLess(small.stat().st_size, path.stat().st_size * 3 // 4)
        self.assert_kernel_log(dump.kernel_log(small))
        self.made(small.with_suffix('.log'))


@each_format
class Tools(DumpCase):
    """The tools, each on each format that it knows."""

    def test_host_sees_nothing(self):
        self.assert_hidden(self.banner.pa, self.facts.version.encode())

    @formats
    def kernel_log(self, kind):
        path = self.for_makedumpfile(kind)
        log = dump.kernel_log(path)
        self.made(path.with_suffix('.log'))
        self.assert_kernel_log(log)

    def test_filter_of_elf(self):
        self.assert_filters(dump.ELF)

    @formats
    def crash(self, kind):
        said = self.ask_crash(kind, 'bt', 'ps', 'log',
                              f'rd -8 -p 0x{self.facts.note.pa:x} 16')
        self.assertRegex(said, r'#\d+ \[\w+\] sysrq_handle_crash')
        self.assertRegex(said, r'> +1 +0 +0 +\w+ +RU .* init')
        self.assert_kernel_log(said)
        self.assertIn(self.facts.note_text[:16], said)

    def test_gdb_of_elf_with_paging(self):
        if not gdb.available():
            self.skipTest('there is no gdb: apt-get install gdb')
        path = self.take(dump.ELF, paging=True)
        symbols = self.guest.gdb_symbols({'linux_banner': self.banner})
        said = dump.tool('gdb', '-nx', '-q', '-batch', '-ex',
                         'set print elements 0', '-ex',
                         'x/s &linux_banner', symbols, path)
        self.assertIn(self.facts.version, said)

    def test_user_process_in_elf_with_paging(self):
        path = self.take(dump.ELF, paging=True)
        text = self.facts.note_text.encode()
        note, second = self.facts.note, self.facts.note_page_2
        split = second.va - note.va
        read = dump.read_virtual(path, note.va, split) + \
            dump.read_virtual(path, second.va, len(text) - split)
        self.assertEqual(read, text)

    @formats
    def drgn(self, kind):
        if subprocess.run([PYTHON, '-c', 'import drgn'], check=False,
                          stderr=subprocess.DEVNULL).returncode:
            self.skipTest('there is no drgn: apt-get install python3-drgn')
        # drgn 0.0.22 does not know the flattened format
        path = (self.for_makedumpfile if kind in dump.FLATTENED else
                self.take)(kind)
        text = self.facts.version
        self.assertEqual(dump.tool(PYTHON, '-c', DRGN, path, self.banner.pa,
                                   len(text)), text)


@each_format
class MemoryAbove4GiB(DumpCase):
    """makedumpfile up to 1.7.8 filters no kdump of a guest without."""

    arguments = '-machine', 'max-ram-below-4g=128M'

    @formats
    def filter(self, kind):
        self.assert_filters(kind)


@each_format
class UnreadablePage(DumpCase):
    """One page of a process cannot be read."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        page = cls.facts.note.pa & -dump.PAGE
        cls.guest.qmp.cmd('qom-set', path='/objects/cg0', property='x-fault',
                          value=[{'start': page, 'size': dump.PAGE}])
        cls.expected_result = {'unreadable': {
            'pages': 1, 'address': page, 'reason': 'the simulated guest fails '
            f'at 0x{page:x} (property x-fault)'}}

    def take(self, kind, **arguments):
        return super().take(kind, allow_incomplete=True, **arguments)

    @formats
    def kernel_log(self, kind):
        path = self.for_makedumpfile(kind)
        self.assert_kernel_log(dump.kernel_log(path))
        self.made(path.with_suffix('.log'))

    @formats
    def crash(self, kind):
        note, second = self.facts.note.pa, self.facts.note_page_2.pa
        said = self.ask_crash(kind, 'log', f'rd -8 -p 0x{note:x} 16',
                              f'rd -8 -p 0x{second & -dump.PAGE:x} 16')
        self.assert_kernel_log(said)
        why = 'read error' if kind == dump.ELF else 'page excluded'
        self.assertIn(f'rd: {why}: physical address: {note:x}', said)
        self.assertNotIn(f'{second:x}  type: "8-bit', said)
