# SPDX-License-Identifier: GPL-2.0-or-later
"""x/s and xp/s print the strings that the guest sees."""

import base64
import unittest

from lib.qemu import Qemu

TEXT = 0x10000
PAGE = 4096
HOLE = 0x4000000        # there is no RAM from here on


class Strings(unittest.TestCase):
    """Of an encrypted guest, which has no paging yet: x and xp are alike."""

    options = ('-object', 'sim-encrypted-guest,id=cg0')
    machine = 'q35,confidential-guest-support=cg0'
    hidden = True

    def setUp(self):
        guest = Qemu('-accel', 'tcg', '-S', *self.options,
                     machine=self.machine, ram_mib=HOLE >> 20)
        bios = guest.folder / 'bios'
        bios.write_bytes(b'\xf4' * 0x10000)     # HLT
        guest.command += ['-bios', str(bios)]
        self.guest = self.enterContext(guest)
        guest.cont()
        guest.stop()

    def write(self, addr, data):
        """Put @data into the guest's memory, unseen by the host."""
        self.guest.qmp.cmd('memory-debug-write', address=addr,
                           space='physical',
                           data=base64.b64encode(data).decode())
        raw = self.guest.host_memory(addr, len(data))
        (self.assertNotEqual if self.hidden else self.assertEqual)(raw, data)

    def check(self, command, *expected):
        for door in ('x', 'xp'):
            output = self.guest.qmp.hmp(door + command)
            output = output.replace(f'virtual address {HOLE:#x}: ', '')
            self.assertEqual(output.splitlines(), list(expected), door)

    def test_as_many_as_asked_for(self):
        self.write(TEXT, b'Linux version 6\0\0third\0')
        self.check(f'/s {TEXT:#x}', f'{TEXT:016x}: "Linux version 6"')
        self.check(f'/3s {TEXT:#x}', f'{TEXT:016x}: "Linux version 6"',
                   f'{TEXT + 16:016x}: ""', f'{TEXT + 17:016x}: "third"')

    def test_what_is_not_ascii_is_escaped(self):
        self.write(TEXT, b'a"b\\c\n\x1b[2J\xff\0')
        self.check(f'/s {TEXT:#x}',
                   rf'{TEXT:016x}: "a\"b\\c\n\033[2J\377"')

    def test_across_pages(self):
        start = TEXT + PAGE - 5
        self.write(start, b'over the edge\0')
        self.check(f'/s {start:#x}', f'{start:016x}: "over the edge"')

    def test_long_ones_go_on_in_the_next_line(self):
        self.write(TEXT, b'x' * 450 + b'\0end\0')
        self.check(f'/4s {TEXT:#x}', f'{TEXT:016x}: "{"x" * 200}"...',
                   f'{TEXT + 200:016x}: "{"x" * 200}"...',
                   f'{TEXT + 400:016x}: "{"x" * 50}"',
                   f'{TEXT + 451:016x}: "end"')

    def test_up_to_the_last_readable_byte(self):
        self.write(HOLE - 8, b'in\0outer')
        self.check(f'/s {HOLE - 8:#x}', f'{HOLE - 8:016x}: "in"')
        self.check(f'/9s {HOLE - 5:#x}',
                   f'{HOLE - 5:016x}: "outer" Cannot access memory',
                   f'Error: nothing is mapped at physical address {HOLE:#x}')

    def test_print_keeps_its_format(self):
        self.write(TEXT, b'text\0')
        self.guest.qmp.hmp('x/gx 0')
        self.guest.qmp.hmp(f'x/s {TEXT:#x}')
        self.assertEqual(self.guest.qmp.hmp('print 17').strip(), '0x11')


class StringsOfNormalGuest(Strings):
    """And of one that is not encrypted."""

    options = ()
    machine = 'q35'
    hidden = False


class StringsOfHiddenGuest(Strings):
    """And of one of which the host sees nothing."""

    options = ('-object', 'sim-encrypted-guest,id=cg0,mode=hidden')


if __name__ == '__main__':
    unittest.main()
