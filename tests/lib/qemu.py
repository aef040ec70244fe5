# SPDX-License-Identifier: GPL-2.0-or-later
"""One QEMU process, with QMP, serial console, gdbstub and its raw memory."""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from . import sanitizer
from .console import Console
from .qmp import QMP
from .wait import Timeout, accept, end_of, listen

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20


def binary(base=False):
    """Path of the QEMU under test, or with @base of an unpatched one.

    From the environment (QEMU, QEMU_BASE) or else from the Makefile.
    """
    path = os.environ.get('QEMU_BASE' if base else 'QEMU')
    if path:
        return path
    target = 'where-base' if base else 'where'
    make = subprocess.run(['make', '-s', target], cwd=ROOT, check=False,
                          stdout=subprocess.PIPE, text=True)
    path = make.stdout.strip()
    if make.returncode or not os.access(path, os.X_OK):
        raise FileNotFoundError(f'no QEMU at "{path}": run "make qemu"')
    return path


def has_object(qemu, name):
    """Does the binary @qemu know `-object @name`?"""
    listing = subprocess.run([qemu, '-object', 'help'], check=True,
                             stdout=subprocess.PIPE, text=True).stdout
    return name in listing.split()


class Qemu:
    """A context manager: entering starts the process, leaving ends it.

    @args      QEMU's arguments besides those for the sockets and the memory
    @ram_mib   size of the guest's memory.  It lies in a memfd, so that
               host_memory() reads it as any process of the host can, with
               no help from QEMU.
    @machine   value of -machine, without the memory backend
    @program   which QEMU

    While it runs: qmp, console, gdb_socket (a path), folder (for files that
    QEMU writes; it goes with the process).
    """

    def __init__(self, *args, ram_mib=128, machine='q35', program=None):
        self.program = program or binary()
        self.ram_size = ram_mib * MIB
        self._folder = tempfile.TemporaryDirectory(
            prefix='qemu-memory-debug-', ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        self.gdb_socket = self.folder / 'gdb'
        self.qmp = self.console = self.process = None
        self._log = self.folder / 'log'
        self._memory = None
        self.command = [
            self.program, '-nodefaults', '-no-user-config',
            '-display', 'none', '-machine', machine + ',memory-backend=ram0',
            '-object',
            f'memory-backend-memfd,id=ram0,size={ram_mib}M,share=on',
            '-m', f'{ram_mib}M',
            '-serial', f'unix:{self.folder}/serial',
            '-qmp', f'unix:{self.folder}/qmp',
            '-gdb', f'unix:{self.gdb_socket},server=on,wait=off', *args]

    def command_line(self):
        """The command as a person can type it."""
        return shlex.join(self.command)

    def __enter__(self):
        try:
            self._start()
        except ConnectionError as e:
            reason = self._reason_of_end() or str(e)
            self._end()
            raise ConnectionError(reason) from None
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind, value, traceback):
        if kind and issubclass(kind, Exception) and self.log():
            print(f'QEMU said: {self.log()}', file=sys.stderr)
        self._end()

    def _start(self):
        serial = listen(self.folder / 'serial')
        qmp = listen(self.folder / 'qmp')
        with open(self._log, 'wb') as log:
            # It ends with the tests: 10.0 has no -run-with exit-with-parent
            self.process = subprocess.Popen(
                ['setpriv', '--pdeathsig', 'KILL', *self.command],
                stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True)
        alive = self._check_alive
        self.console = Console(accept(serial, 'the serial console', alive))
        try:
            self.qmp = QMP(accept(qmp, 'QMP', alive))
        except ConnectionError:
            end_of(self.process, 'QEMU', 10)
            alive()     # says why QEMU ended
            raise

    def _reason_of_end(self):
        """QEMU's own words when it ends instead of starting."""
        try:
            end_of(self.process, 'QEMU', 5)
            self._check_alive()
        except (Timeout, ConnectionError) as e:
            return str(e) if isinstance(e, ConnectionError) else ''
        return ''

    def _check_alive(self):
        """Raise ConnectionError with QEMU's own words when it has ended."""
        if self.process.poll() is not None:
            raise ConnectionError(
                f'QEMU ended with status {self.process.returncode}: '
                f'{self.log() or "(it said nothing)"}')

    def _end(self):
        # UndefinedBehaviorSanitizer may not find its way to the reports
        if ': runtime error: ' in self.log():
            sanitizer.report(self.log())
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                end_of(self.process, 'QEMU', 10)
            except Timeout:
                self.process.kill()
                self.process.wait()
        for connection in (self.qmp, self.console):
            if connection:
                connection.close()
        if self._memory is not None:
            os.close(self._memory)
            self._memory = None
        self._folder.cleanup()

    def log(self):
        """What QEMU printed."""
        try:
            return self._log.read_text(errors='replace').strip()
        except FileNotFoundError:
            return ''

    def stop(self):
        """Stop the VM; on return it stands still."""
        self.qmp.cmd('stop')

    def cont(self):
        """Let the VM run."""
        self.qmp.cmd('cont')

    def quit(self, seconds=30):
        """End QEMU by its own command and return the exit status."""
        try:
            self.qmp.cmd('quit')
        except ConnectionError:
            pass
        return end_of(self.process, 'QEMU', seconds)

    def host_memory(self, gpa, length):
        """The raw bytes that the host has for guest-physical @gpa.

        They come from the memfd behind the guest's memory.  Offset and
        address are the same because the memory ends below the PCI hole.
        """
        if gpa + length > self.ram_size:
            raise ValueError(f'0x{gpa:x}+{length} is beyond the memory')
        if self._memory is None:
            self._memory = self._open_memory()
        return os.pread(self._memory, length, gpa)

    def _open_memory(self):
        folder = Path('/proc', str(self.process.pid), 'fd')
        for link in folder.iterdir():
            name = os.readlink(link)
            if 'memory-backend-memfd' in name and \
                    link.stat().st_size == self.ram_size:
                return os.open(link, os.O_RDONLY)
        raise FileNotFoundError(f'no memfd of the guest in {folder}')
