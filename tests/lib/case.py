# SPDX-License-Identifier: GPL-2.0-or-later
"""Test cases on the Linux guest: one boot for all tests of a class."""

import unittest

from . import gdb, linux, qemu


class LinuxCase(unittest.TestCase):
    """A class of tests on one running Linux guest.

    `encrypted`, `kernel`, `cpus`, `ram_mib` are LinuxGuest's, `arguments`
    more of QEMU's; `guest` is the running guest and `facts` what it said
    about itself.  Each test starts with a running VM.
    """

    arguments = ()
    encrypted = ''
    kernel = 'kernel'
    cpus = 1
    ram_mib = 128

    @classmethod
    def setUpClass(cls):
        if not gdb.available():
            raise unittest.SkipTest('there is no gdb: apt-get install gdb')
        program = qemu.binary()
        if cls.encrypted is not None and \
                not qemu.has_object(program, linux.SIMULATED):
            raise unittest.SkipTest(f'{program} has no {linux.SIMULATED}')
        cls.guest = cls.enterClassContext(linux.LinuxGuest(
            *cls.arguments, encrypted=cls.encrypted, kernel=cls.kernel,
            cpus=cls.cpus,
            ram_mib=cls.ram_mib, program=program))
        cls.guest.boot()
        cls.facts = cls.guest.facts()

    def setUp(self):
        self.guest.cont()

    def start_target(self):
        """Run the user process until the end of this test; its note's text."""
        self.guest.ask('target start')
        self.addCleanup(self._stop_target)
        return self.facts.note_text.encode()

    def _stop_target(self):
        self.guest.cont()
        self.guest.ask('target stop')

    def assert_hidden(self, pa, data):
        """The negative control: the host's bytes at @pa are not @data.

        Nor are parts of it, 32 bytes long, anywhere in the host's view.
        For a guest that is not encrypted, the control is that they are.
        """
        self.guest.stop()
        raw = self.guest.host_memory(pa, len(data))
        if self.encrypted is None:
            self.assertEqual(raw, data, 'host_memory() looks elsewhere')
            return
        self.assertNotEqual(raw, data)
        everything = self.guest.host_memory(0, self.guest.ram_size)
        parts = [data[i:i + 32] for i in range(0, len(data) - 31, 32)]
        telling = [part for part in parts if len(set(part)) > 4]
        for part in telling[::len(telling) // 4 or 1]:
            self.assertEqual(everything.find(part), -1,
                             f'the host sees {part!r}')
