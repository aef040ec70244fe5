# SPDX-License-Identifier: GPL-2.0-or-later
"""One running QEMU of those that are compared."""

import contextlib
import struct

from lib.doors import ASSUMED_PRIVATE
from lib.qemu import Qemu
from lib.qtest import QTest, arguments as qtest_arguments
from lib.rsp import RSP
from lib.wait import Deadline, Timeout, accept, end_of, listen, receive


SECONDS = 20            # one access may take so long
READ, WRITE, MAKE_PRIVATE, MOVE = range(4)      # firmware.S


class Gone(Exception):
    """QEMU does not answer any more; the text says why."""


class Watched:
    """What the doors need, of a Qemu that may end or hang at any time."""

    name = ''               # what it is called in a report
    virtual = ()            # addresses where it has RAM
    _rsp = _rsp_physical = None

    @contextlib.contextmanager
    def alive(self):
        """Turn what says that QEMU has ended, or hangs, into Gone."""
        try:
            yield
        except (ConnectionError, BrokenPipeError, Timeout) as e:
            if isinstance(e, Timeout) and self.process.poll() is None:
                self.process.kill()
                raise Gone(f'hangs: {e}') from None
            status = end_of(self.process, 'QEMU', SECONDS)
            raise Gone(f'QEMU ended with status {status}') from None

    def command_json(self, name, **arguments):
        """Run a QMP command."""
        return self.qmp.execute(name, arguments, SECONDS)

    def hmp(self, line):
        """What the human monitor prints, without what it may warn of."""
        return ASSUMED_PRIVATE.sub('', self.qmp.hmp(line, SECONDS))

    def rsp(self, physical):
        """gdb's connection, for that kind of address."""
        if not self._rsp:
            self._rsp = RSP(self.gdb_socket)
        if self._rsp_physical != physical:
            self._rsp.physical(physical)
            self._rsp_physical = physical
        return self._rsp

    def _end(self):
        if self._rsp:
            self._rsp.close()
        super()._end()


class Guest(Watched, Qemu):
    """A machine in one QEMU.

    @name       what it is called in a report
    @machine    a Machine
    @confidential  value of -object that makes it encrypted, or None
    @contents   [(gpa, path)]: files to be loaded into its memory
    @accel      tcg or kvm
    """

    def __init__(self, name, machine, program, confidential=None, contents=(),
                 accel='tcg'):
        super().__init__(program=program)
        self.name, self.machine = name, machine
        machine.write_files(self.folder)
        self.arguments = [word.replace('{dir}', str(self.folder))
                          for word in machine.arguments()]
        if confidential:
            self.arguments += ['-machine', 'confidential-guest-support=cgs',
                               '-object', confidential]
        for gpa, path in contents:
            self.arguments += ['-device', f'loader,file={path},addr={gpa:#x},'
                               'force-raw=on']
        self.command = [
            program, '-nodefaults', '-no-user-config', '-display', 'none',
            '-accel', accel, '-S', *self.arguments,
            '-chardev', f'socket,id=debug,path={self.folder}/debug',
            '-device', 'isa-debugcon,iobase=0xe9,chardev=debug',
            '-serial', f'unix:{self.folder}/serial',
            '-qmp', f'unix:{self.folder}/qmp',
            '-gdb', f'unix:{self.gdb_socket},server=on,wait=off',
            *qtest_arguments(self.folder)]
        self._debug = None

    def _start(self):
        debug = listen(self.folder / 'debug')
        super()._start()
        self._debug = accept(debug, 'the debug port', self._check_alive)

    def set_registers(self):
        """Set the machine's registers as its firmware would."""
        qtest = QTest(self.folder / 'qtest')
        for line in self.machine.ports:
            qtest.ask(line)
        qtest.close()

    def _end(self):
        if self._debug:
            self._debug.close()
        super()._end()

    def begin(self, launched):
        """Bring the started QEMU to where it is compared."""
        self.set_registers()
        if not launched:
            return
        self.cont()
        if self.machine.tables:
            self.guest_read(0xfffffff0, 16)     # when it serves
        self.stop()

    def _request(self, command, va, length):
        self.console.write(struct.pack('<QQQ', command, va, length))

    def _replied(self, size):
        data, deadline = b'', Deadline(SECONDS)
        while len(data) < size:
            more = receive(self._debug, deadline, 'the guest to answer')
            if not more:
                raise ConnectionError('QEMU ended')
            data += more
        return data

    def guest_read(self, va, length):
        """What the running guest itself reads at @va."""
        self._request(READ, va, length)
        return self._replied(length)

    def guest_write(self, va, data):
        """Have the running guest write @data at @va."""
        self._request(WRITE, va, len(data))
        self.console.write(data)
        self._replied(1)
