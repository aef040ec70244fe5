# SPDX-License-Identifier: GPL-2.0-or-later
"""The real gdb, run as a batch: what a person at its prompt would see."""

import os
import shutil
import subprocess
import tempfile

from .wait import Timeout, end_of, patience, poll

PROGRAM = 'gdb'
PREAMBLE = ['set pagination off', 'set confirm off',
            'set architecture i386:x86-64']


def available():
    """Is there a gdb?"""
    return shutil.which(PROGRAM) is not None


class Batch:
    """A context manager: gdb attaches to @socket and runs @commands.

    Attaching stops the VM.  At the end it goes on, unless @stay_stopped.
    @symbols is a file for gdb's `file` command.
    """

    def __init__(self, socket, *commands, symbols=None, stay_stopped=False):
        self.commands = [*PREAMBLE,
                         f'set remotetimeout {int(patience(60))}',
                         *([f'file {symbols}'] if symbols else []),
                         f'target remote {socket}', *commands,
                         'disconnect' if stay_stopped else 'detach']
        self._output = tempfile.TemporaryFile(mode='w+', errors='replace')
        self._process = None

    def __enter__(self):
        command = [PROGRAM, '-nx', '-q', '-batch']
        for line in self.commands:
            command += ['-ex', line]
        environment = {k: v for k, v in os.environ.items()
                       if k != 'DEBUGINFOD_URLS'}
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL,
            stdout=self._output, stderr=subprocess.STDOUT)
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._output.close()

    def output(self):
        """What gdb has printed so far."""
        return os.pread(self._output.fileno(), 1 << 24, 0).decode(
            errors='replace')

    def wait_for(self, text, seconds=60):
        """Wait until gdb has printed @text."""
        def seen():
            return text in self.output() or self._process.poll() is not None

        try:
            poll(seen, f'gdb to print "{text}"', seconds)
        except Timeout as e:
            raise Timeout(f'{e}; it printed:\n{self.output()}') from None
        if text not in self.output():
            raise Timeout(f'gdb ended without printing "{text}", but:\n'
                          f'{self.output()}')

    def finish(self, seconds=60):
        """Wait for the end of the batch and return all that gdb printed."""
        try:
            end_of(self._process, 'gdb', seconds)
        except Timeout as e:
            raise Timeout(f'{e}; it printed:\n{self.output()}') from None
        return self.output()


def run(socket, *commands, seconds=60, **kwargs):
    """Run a batch and return what gdb printed; @kwargs as in Batch."""
    with Batch(socket, *commands, **kwargs) as batch:
        return batch.finish(seconds)
