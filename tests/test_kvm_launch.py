# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that do not run yet: before their launch, and after a reset."""

import subprocess
import unittest

from lib import doors
from lib.kvm_case import DEBUGGABLE, KvmCase, for_each_guest
from lib.qemu import binary
from lib.rsp import RSP
from lib.standin import StandIn
from payload.build import text_lines

PAGE = 4096
# Since QEMU 11.0: a reset closes the VM and launches the guest in a new one.
# Guests with protected registers are reset in no other way.
NEW_VM = 'x-change-vmfd-on-reset'


class OwnGuest(KvmCase):
    """Each test has a guest of its own, started with `args`."""

    args = ()

    @classmethod
    def setUpClass(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        pass

    def setUp(self):
        self.guest = self.enterContext(StandIn(
            self.kind, scripted=self.scripted, args=self.args,
            **self.settings))
        self.map = self.guest.payload.map

    def look_at_registers(self):
        self.assertIn('CPU#0', self.guest.qmp.hmp('info registers'))
        with RSP(self.guest.gdb_socket) as gdb:
            gdb.ask('g')

    def run_again(self):
        self.guest.cont()
        self.guest.wait_running()


class BeforeLaunch(OwnGuest):
    """KVM launches them when they first run, or before."""

    args = ('-S',)

    def test_guest_whose_registers_were_looked_at_starts(self):
        self.look_at_registers()
        self.run_again()
        self.assertEqual(self.guest.violations(), [])


for_each_guest(globals(), BeforeLaunch, DEBUGGABLE)


class Reset(OwnGuest):
    """What is read is the new VM's, never what the old one has left behind."""

    args = '-machine', NEW_VM + '=on'
    before_launch = 'guest has been reset, and is launched again when it runs'

    @classmethod
    def setUpClass(cls):
        options = subprocess.run([binary(), '-machine', 'q35,help'], check=True,
                                 text=True, stdout=subprocess.PIPE).stdout
        if NEW_VM not in options:
            raise unittest.SkipTest(f'this QEMU has no {NEW_VM}')

    def setUp(self):
        super().setUp()
        self.start, self.shared = (self.map[name] for name in
                                   ('TEXT_PRIVATE', 'TEXT_SHARED'))
        self.text = text_lines(b'PRV', self.start, self.shared)
        self.guest.wait_running()
        self.check_text()

    def check_text(self):
        for door in doors.PHYSICAL:
            with self.subTest(door.__doc__):
                self.assertEqual(door(self.guest, self.start, len(self.text)),
                                 self.text)

    def reset(self):
        self.guest.qmp.cmd('system_reset')
        self.assertEqual(len(self.guest.calls('KVM_CREATE_VM')), 2)

    def test_stopped_guest(self):
        self.reset()
        for address in self.start, self.shared:
            for door in doors.xp, doors.pmemsave, doors.packet_physical:
                with self.subTest(door.__doc__, address=address):
                    with self.assertRaises(doors.Refused):
                        door(self.guest, address, PAGE)
            with self.assertRaisesRegex(doors.Refused, self.before_launch):
                doors.xp(self.guest, address, 16)
        self.look_at_registers()
        self.run_again()
        self.check_text()
        self.assertEqual(self.guest.violations(), [])

    def test_running_guest(self):
        self.guest.cont()
        self.reset()
        self.guest.wait_running()
        self.check_text()
        self.assertEqual(self.guest.violations(), [])


class ResetTd(Reset):
    """KVM launches a TD at once, and QEMU has a record of its pages."""

    before_launch = 'has not been touched or accepted yet'

    def test_pages_that_were_shared_are_private(self):
        pages = self.shared, self.shared + PAGE
        self.assertEqual(self.guest.recorded(*pages), ['shared'])
        self.reset()
        self.assertEqual(self.guest.recorded(*pages), ['private'])


for_each_guest(globals(), Reset, {name: DEBUGGABLE[name]
                                  for name in DEBUGGABLE if name != 'Tdx'})
for_each_guest(globals(), ResetTd, {'': DEBUGGABLE['Tdx']})
