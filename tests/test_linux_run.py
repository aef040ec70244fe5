# SPDX-License-Identifier: GPL-2.0-or-later
"""A Linux guest does not notice that it is stopped, read and reset."""

import time
import unittest

from lib import doors, linux, qemu
from lib.case import LinuxCase
from lib.rsp import RSP
from lib.wait import poll

STOPS = 200
CHECK_MIB = 16
# the guest gets this long between two stops, so that it really runs
RUN_SECONDS = 0.02


class RunsEncrypted(LinuxCase):
    """Two vCPUs: one process checks and rewrites memory, one only counts."""

    cpus = 2

    def rounds(self):
        """Rounds of the memory checker so far; none found an error."""
        rounds, errors = self.guest.check()
        self.assertEqual(errors, 0, f'wrong memory, in {rounds} rounds')
        return rounds

    def start_check(self):
        """Start the memory checker and wait for its first round.

        Returns the physical address of the first word that it checks.
        """
        answer = self.guest.ask(f'check start {CHECK_MIB}')
        self.addCleanup(self.stop_check)
        poll(self.rounds, 'the first round of the memory checker', 60)
        return int(answer[0][1].split()[1], 16)

    def stop_check(self):
        """End the memory checker."""
        self.guest.cont()
        self.guest.ask('check stop')

    def test_memory_is_the_same_after_many_stops(self):
        self.start_check()
        text = self.start_target()
        before = self.rounds()
        for i in range(STOPS):
            self.guest.stop()
            if i % 20 == 0:
                self.assertEqual(
                    doors.x(self.guest, self.facts.note.va, len(text)), text)
                self.assert_hidden(self.facts.note.pa, text[:64])
            self.guest.cont()
            time.sleep(RUN_SECONDS)
        poll(lambda: self.rounds() > before, 'the guest to run', 60)
        seen = self.rounds()
        poll(lambda: self.rounds() > seen + 1, 'two more rounds', 60)

    def test_the_checker_notices_one_changed_byte(self):
        pa = self.start_check()
        word = doors.xp(self.guest, pa, 8)
        with RSP(self.guest.gdb_socket) as rsp:
            rsp.physical(True)
            rsp.write(pa, bytes([word[0] ^ 1]))
            rsp.physical(False)
        self.guest.cont()
        poll(lambda: self.guest.check()[1] == 1, 'the checker to notice', 60)

    def test_stops_right_after_each_other(self):
        self.start_check()
        for _ in range(20):
            self.guest.stop()
            self.guest.stop()
            self.guest.cont()
            self.guest.cont()
        self.rounds()
        self.assert_hidden(self.facts.note.pa,
                           self.facts.note_text.encode()[:64])


class RunsHidden(RunsEncrypted):
    """The same where the host sees zeros."""

    encrypted = 'mode=hidden'


class EndsAndBeginsAgain(LinuxCase):
    """Reset, crash and end; each test boots a guest of its own."""

    @classmethod
    def setUpClass(cls):
        if not qemu.has_object(qemu.binary(), linux.SIMULATED):
            raise unittest.SkipTest(f'no {linux.SIMULATED} in this QEMU')

    def setUp(self):
        self.guest = self.enterContext(
            linux.LinuxGuest(encrypted=self.encrypted))
        self.guest.boot()
        self.facts = self.guest.facts()

    def check_reads(self):
        """The doors show this boot's text, the host does not."""
        self.facts = self.guest.facts()
        place, text = self.facts.note, self.facts.note_text.encode()[:64]
        self.assertEqual(doors.xp(self.guest, place.pa, 64), text)
        self.assert_hidden(place.pa, text)

    def test_reset_of_a_running_guest(self):
        text = self.facts.note_text
        self.guest.qmp.cmd('system_reset')
        self.guest.boot()
        self.check_reads()
        self.assertNotEqual(self.facts.note_text, text)

    def test_reset_of_a_stopped_guest(self):
        self.guest.stop()
        self.guest.qmp.cmd('system_reset')
        self.guest.cont()
        self.guest.boot()
        self.check_reads()

    def test_reboot_by_the_guest(self):
        self.guest.console.send('reboot')
        self.guest.boot()
        self.check_reads()

    def test_quit_while_running(self):
        self.assertEqual(self.guest.quit(), 0)
        self.assertEqual(self.guest.log(), '')

    def test_quit_while_stopped(self):
        self.guest.stop()
        self.assertEqual(self.guest.quit(), 0)
        self.assertEqual(self.guest.log(), '')

    def test_crashed_guest_can_be_read(self):
        symbol = self.guest.symbols('linux_banner')['linux_banner']
        text = self.facts.version.encode()
        self.guest.console.send('panic')
        self.guest.console.expect(r'.*Kernel panic - not syncing',
                                  'the guest to crash')
        for door, addr in ((doors.x, symbol.va), (doors.xp, symbol.pa)):
            with self.subTest(door.__doc__):
                self.assertEqual(door(self.guest, addr, len(text)), text)
        self.assert_hidden(symbol.pa, text)
