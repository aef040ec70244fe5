# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest whose policy forbids debugging shows nothing, by any door."""

from lib import doors
from lib.case import LinuxCase
from lib.rsp import RSP, RSPError


class Forbids(LinuxCase):
    """An encrypted guest with a policy against debugging."""

    encrypted = 'policy-debug=off'

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.banner = cls.guest.symbols('linux_banner')['linux_banner']

    def test_every_door_refuses(self):
        text = self.facts.version.encode()
        places = [(doors.VIRTUAL + (doors.x_i,), self.banner.va),
                  (doors.PHYSICAL + (doors.xp_i, doors.sum16),
                   self.banner.pa)]
        for functions, addr in places:
            for door in functions:
                with self.subTest(door.__doc__):
                    self.assertRaises(doors.Refused, door, self.guest, addr,
                                      len(text))
        self.assert_hidden(self.banner.pa, text)

    def test_no_file_holds_the_text(self):
        text = self.facts.version.encode()[:32]
        for door in doors.VIRTUAL + doors.PHYSICAL:
            virtual = door in doors.VIRTUAL
            addr = self.banner.va if virtual else self.banner.pa
            with self.assertRaises(doors.Refused) as caught:
                door(self.guest, addr, 4096)
            self.assertNotIn(text.decode(), str(caught.exception))
        for path in self.guest.folder.iterdir():
            if path.is_file():
                self.assertNotIn(text, path.read_bytes(), path.name)

    def test_the_monitor_says_why(self):
        for line in (f'x /8xb 0x{self.banner.va:x}',
                     f'xp /8xb 0x{self.banner.pa:x}'):
            with self.subTest(line), self.assertRaises(
                    doors.Refused) as caught:
                doors.hmp(self.guest, line)
            self.assertIn('policy', str(caught.exception))

    def test_writes_and_breakpoints_are_refused(self):
        place = self.facts.note
        before = self.facts.note_text
        with RSP(self.guest.gdb_socket) as rsp:
            self.assertRaises(RSPError, rsp.write, self.banner.va, b'#')
            self.assertRaises(RSPError, rsp.insert_breakpoint, self.banner.va)
            rsp.physical(True)
            self.assertRaises(RSPError, rsp.write, place.pa, b'#')
            rsp.physical(False)
            rsp.detach()
        self.assertEqual(self.guest.target()[1], before)
        self.assertEqual(self.guest.kernel_read(self.banner.va, 16),
                         self.facts.version.encode()[:16])

    def test_addresses_are_not_translated_to_the_hosts(self):
        for command in ('gpa2hva', 'gpa2hpa'):
            with self.subTest(command):
                self.guest.stop()
                output = self.guest.qmp.hmp(
                    f'{command} 0x{self.banner.pa:x}')
                self.assertNotRegex(output, r'\bis 0x')


class ProtectsRegisters(LinuxCase):
    """Without the vCPUs' registers a virtual address means nothing."""

    encrypted = 'protect-registers=on'

    def test_physical_addresses_are_read_and_virtual_ones_refused(self):
        place = self.guest.symbols('linux_banner')['linux_banner']
        text = self.facts.version.encode()
        for door in doors.PHYSICAL:
            with self.subTest(door.__doc__):
                self.assertEqual(door(self.guest, place.pa, len(text)), text)
        for door in doors.VIRTUAL:
            with self.subTest(door.__doc__):
                self.assertRaises(doors.Refused, door, self.guest, place.va,
                                  len(text))
        with self.assertRaises(doors.Refused) as caught:
            doors.hmp(self.guest, f'x /8xb 0x{place.va:x}')
        self.assertIn('registers', str(caught.exception))
        self.assert_hidden(place.pa, text)
