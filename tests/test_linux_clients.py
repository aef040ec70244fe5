# SPDX-License-Identifier: GPL-2.0-or-later
"""Other programs that look into a Linux guest: drgn, and what libvirt does."""

import base64
import os
import re
import threading
import unittest

try:
    import drgn
except ImportError:     # a library of the system's Python
    drgn = None

from lib import dump, linux
from lib.case import LinuxCase
from lib.qmp import CANNOT_ACCESS, QMPError

PHYSICAL_BITS = 52
SECONDS = 120


class Drgn(LinuxCase):
    """drgn on a live guest, as its QEMU mode does it: over QMP."""

    @classmethod
    def setUpClass(cls):
        if not drgn:
            raise unittest.SkipTest('there is no drgn for this Python: '
                                    'apt-get install python3-drgn')
        super().setUpClass()
        cls.banner = cls.guest.symbols('linux_banner')['linux_banner']

    def setUp(self):
        super().setUp()
        self.text = self.facts.version.encode()

    def monitor_reader(self, command):
        """Reads memory with the HMP command x or xp, for drgn."""
        def read(address, count, _offset, _physical):
            output = self.guest.qmp.hmp(f'{command} /{count}xb {address:#x}')
            if CANNOT_ACCESS in output:
                raise drgn.FaultError(output.strip(), address)
            return bytes(int(byte, 16) for line in output.splitlines()
                         for byte in line.partition(': ')[2].split())

        return read

    def qmp_reader(self, space):
        """Reads memory with memory-debug-read, for drgn."""
        def read(address, count, _offset, _physical):
            try:
                answer = self.guest.qmp.cmd('memory-debug-read', size=count,
                                            address=address, space=space)
            except QMPError as e:
                raise drgn.FaultError(e.desc, address) from None
            return base64.b64decode(answer['data'])

        return read

    def program(self, physical, virtual):
        """drgn's view of the guest, which stands still from now on."""
        self.guest.stop()
        program = drgn.Program(drgn.Platform(drgn.Architecture.X86_64))
        program.add_memory_segment(0, 1 << PHYSICAL_BITS, physical, True)
        program.add_memory_segment(0, (1 << 64) - 1, virtual, False)
        return program

    def by_monitor(self):
        """The program that reads with x and xp."""
        return self.program(self.monitor_reader('xp'),
                            self.monitor_reader('x'))

    def check(self, program):
        """@program reads kernel and user memory, and says what it cannot."""
        text, note = self.text, self.facts.note_text.encode()
        self.assertEqual(program.read(self.banner.pa, len(text), True), text)
        self.assertEqual(program.read(self.banner.va, len(text)), text)
        self.assertEqual(program.read(self.facts.note.va, len(note)), note)
        for address, physical in ((0xfed00000_0000, True), (0x10, False)):
            with self.assertRaises(drgn.FaultError):
                program.read(address, 8, physical)
        self.assert_hidden(self.banner.pa, text)

    def test_monitor_commands(self):
        self.start_target()
        self.check(self.by_monitor())

    def test_memory_debug_read(self):
        self.start_target()
        self.check(self.program(self.qmp_reader('physical'),
                                self.qmp_reader('virtual')))

    def test_kernel_data_by_type(self):
        kernel = linux.debug_kernel()
        self.guest.ask('write /proc/sys/kernel/panic 1234')
        program = self.by_monitor()
        program.load_debug_info([kernel])
        self.assertEqual(program['panic_timeout'].value_(), 1234)
        names = {}
        init_task = program['init_task']
        task = init_task
        while not names or task.pid != 0:
            names[task.pid.value_()] = task.comm.string_()
            task = drgn.container_of(task.tasks.next, task.type_
                                     if task is init_task else
                                     task.type_.type, 'tasks')
        self.assertEqual((names[0], names[1], names[2]),
                         (b'swapper/0', b'init', b'kthreadd'))


class Libvirt(LinuxCase):
    """What libvirt does: JSON commands, dumps to descriptors that it opens.

    `virsh qemu-monitor-command` sends human-monitor-command; `virsh dump
    --memory-only` passes a file or, unless told to bypass the cache, a pipe to
    its iohelper, by getfd or add-fd.
    """

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.banner = cls.guest.symbols('linux_banner')['linux_banner']

    def setUp(self):
        self.guest.stop()
        self.path = self.guest.folder / 'passed'
        self.addCleanup(self.path.unlink, missing_ok=True)

    def pass_fd(self, fd, name='dump'):
        """Give QEMU a descriptor by name, as libvirt does."""
        self.guest.qmp.cmd('getfd', fd=fd, fdname=name)
        os.close(fd)

    def pass_fdset(self, fd):
        """The same with add-fd; returns the name of a file."""
        number = self.guest.qmp.cmd('add-fd', fd=fd)['fdset-id']
        os.close(fd)
        self.addCleanup(self.guest.qmp.cmd, 'remove-fd', fdset_id=number)
        return f'/dev/fdset/{number}'

    def created(self):
        """A new file, to write to only."""
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    def take(self, kind, protocol, **arguments):
        """dump-guest-memory, which lacks nothing."""
        result = self.guest.qmp.cmd(
            'dump-guest-memory', SECONDS, paging=False, format=kind,
            protocol=protocol, **arguments)
        self.assertEqual(result, {})

    def refusal(self, protocol, kind=dump.ELF):
        """Why a dump fails.  QEMU lives on, and dumps when asked well."""
        with self.assertRaises(QMPError) as caught:
            self.take(kind, protocol)
        self.assertFalse(self.guest.qmp.cmd('query-status')['running'])
        return caught.exception.desc

    def assert_same_as_file(self, kind, data):
        """@data is what QEMU writes to a file that it creates itself."""
        path, result = dump.take(self.guest, kind, 'own')
        self.addCleanup(path.unlink)
        self.assertEqual(result, {})
        self.assertTrue(data == path.read_bytes(), 'the dumps differ')
        if kind == dump.ELF:
            text = self.facts.version.encode()
            self.assertIn(text, data)
            self.assert_hidden(self.banner.pa, text)

    def test_xp_as_json(self):
        pa, text = self.banner.pa, self.facts.version.encode()[:64]
        output = self.guest.qmp.cmd('human-monitor-command', cpu_index=0,
                                    command_line=f'xp /64xb 0x{pa:x}')
        self.assertEqual(bytes(int(byte, 16) for byte in
                               re.findall(r'0x(\w\w)\b', output)), text)
        self.assert_hidden(pa, text)

    def test_file_by_getfd(self):
        for kind in dump.ELF, 'kdump-raw-zlib':
            with self.subTest(kind):
                self.pass_fd(self.created())
                self.take(kind, 'fd:dump')
                self.assert_same_as_file(kind, self.path.read_bytes())

    def test_file_by_add_fd(self):
        for kind in dump.ELF, 'kdump-raw-zlib':
            with self.subTest(kind):
                name = self.pass_fdset(self.created())
                self.take(kind, f'file:{name}')
                self.assert_same_as_file(kind, self.path.read_bytes())

    def pipe(self, kind, **arguments):
        """Dump to a pipe by getfd; what has come out of it."""
        reader, writer = os.pipe()
        read = []
        with open(reader, 'rb') as file:
            thread = threading.Thread(target=lambda: read.append(file.read()))
            thread.start()
            self.pass_fd(writer)
            try:
                self.take(kind, 'fd:dump', **arguments)
            finally:
                thread.join(SECONDS)
        self.assertFalse(thread.is_alive(), 'QEMU keeps the pipe open')
        return read[0]

    def test_pipe(self):
        for kind in dump.ELF, 'kdump-zlib':
            with self.subTest(kind):
                self.assert_same_as_file(kind, self.pipe(kind))

    def test_pipe_detached(self):
        self.guest.qmp.forget_events()
        data = self.pipe(dump.ELF, detach=True)
        event = self.guest.qmp.wait_event('DUMP_COMPLETED')['data']
        self.assertEqual(event['result']['status'], 'completed')
        self.assertNotIn('error', event)
        self.assert_same_as_file(dump.ELF, data)

    def test_format_that_seeks_refuses_a_pipe(self):
        with self.assertRaisesRegex(QMPError, 'require a seekable file'):
            self.pipe('kdump-raw-zlib')

    def test_reader_goes_away(self):
        for kind in dump.ELF, 'kdump-zlib':
            with self.subTest(kind):
                reader, writer = os.pipe()
                os.close(reader)
                self.pass_fd(writer)
                self.assertIn('failed to write',
                              self.refusal('fd:dump', kind))
        self.assert_same_as_file(dump.ELF, self.pipe(dump.ELF))

    def test_descriptor_that_is_not_there(self):
        self.assertIn("'nothing'", self.refusal('fd:nothing'))
        self.assertIn('/dev/fdset/77', self.refusal('file:/dev/fdset/77'))

    def test_descriptor_that_cannot_be_written_to(self):
        os.close(self.created())
        self.pass_fd(os.open(self.path, os.O_RDONLY))
        self.assertIn('Bad file descriptor', self.refusal('fd:dump'))
        name = self.pass_fdset(os.open(self.path, os.O_RDONLY))
        self.assertIn('matching flags', self.refusal(f'file:{name}'))
        self.assertEqual(self.path.stat().st_size, 0)


class Both(LinuxCase):
    """A person's monitor commands while a dump goes to a slow reader."""

    def test_memory_is_read_during_a_dump(self):
        place = self.guest.symbols('linux_banner')['linux_banner']
        text = self.facts.version.encode()
        self.guest.stop()
        reader, writer = os.pipe()
        self.guest.qmp.cmd('getfd', fd=writer, fdname='dump')
        os.close(writer)
        self.guest.qmp.cmd('dump-guest-memory', paging=False, detach=True,
                           protocol='fd:dump')
        answer = self.guest.qmp.cmd('memory-debug-read', address=place.pa,
                                    size=len(text), space='physical')
        self.assertEqual(base64.b64decode(answer['data']), text)
        self.assertEqual(self.guest.qmp.cmd('query-dump')['status'], 'active')
        os.close(reader)
        event = self.guest.qmp.wait_event('DUMP_COMPLETED')['data']
        self.assertIn('Broken pipe', event['error'])
        self.assertEqual(event['result']['status'], 'failed')
