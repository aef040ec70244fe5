# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb on a Linux guest: breakpoints, and writes that the guest then sees."""

import random
import re
import unittest

from lib import gdb
from lib.case import LinuxCase
from lib.rsp import RSP

PANIC = '/proc/sys/kernel/panic'
RIP = 16    # gdb's number of the register
SYSCALL = '__x64_sys_sethostname'


class DebugsEncrypted(LinuxCase):
    """An encrypted guest whose host sees ciphertext."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.symbols = cls.guest.symbols('linux_banner', 'panic_timeout',
                                        SYSCALL)
        cls.symbol_file = cls.guest.gdb_symbols(cls.symbols)

    def gdb(self, *commands, **kwargs):
        """Output of a batch of gdb commands with the kernel's symbols."""
        return gdb.run(self.guest.gdb_socket, *commands,
                       symbols=self.symbol_file, **kwargs)

    def test_text_by_the_name_of_a_symbol(self):
        output = self.gdb('set print elements 0', 'x/s &linux_banner',
                          stay_stopped=True)
        self.assertIn(f'"{self.facts.version}\\n"', output)
        self.assert_hidden(self.symbols['linux_banner'].pa,
                           self.facts.version.encode())

    def hit_in_kernel(self, command):
        """gdb's @command sets a breakpoint that a system call runs into."""
        with gdb.Batch(self.guest.gdb_socket, f'{command} *{SYSCALL}',
                       'continue', 'x/i $pc', 'info registers rip', 'delete',
                       symbols=self.symbol_file) as batch:
            batch.wait_for('reakpoint 1 at')
            self.guest.console.send('call stopped-by-gdb')
            output = batch.finish()
        self.guest.console.expect('@done call', 'the call to go on')
        self.assertRegex(output, rf'reakpoint 1, 0x\w+ in {SYSCALL} \(\)')
        self.assertRegex(output, rf'rip +0x{self.symbols[SYSCALL].va:x}\b')
        self.assertEqual(self.guest.read_line('/proc/sys/kernel/hostname'),
                         'stopped-by-gdb')
        return output

    def test_software_breakpoint_in_the_kernel(self):
        output = self.hit_in_kernel('break')
        shown = re.search(r'^=> .*:\t(\w+)', output, re.MULTILINE)[1]
        symbol = self.symbols[SYSCALL]
        self.assertIn(shown, self.guest.qmp.hmp(f'xp/i 0x{symbol.pa:x}'))
        self.assert_hidden(symbol.pa, self.guest_bytes(symbol.va, 32))

    def guest_bytes(self, va, length):
        """What the guest has at @va of the kernel; it must be running."""
        self.guest.cont()
        return self.guest.kernel_read(va, length)

    def test_hardware_breakpoint_in_the_kernel(self):
        self.hit_in_kernel('hbreak')

    def test_watchpoint_on_a_kernel_variable(self):
        before = self.guest.read_line(PANIC)
        value = random.randrange(1000, 1 << 30)
        with gdb.Batch(self.guest.gdb_socket, 'watch *(int *)&panic_timeout',
                       'continue', 'delete',
                       symbols=self.symbol_file) as batch:
            batch.wait_for('watchpoint 1')
            self.guest.console.send(f'write {PANIC} {value}')
            output = batch.finish()
        self.guest.console.expect('@done write', 'the write to go on')
        self.assertIn(f'Old value = {before}\nNew value = {value}\n', output)
        self.assertEqual(self.guest.read_line(PANIC), str(value))

    def test_breakpoint_and_steps_in_a_user_process(self):
        self.start_target()
        tick = self.facts.tick
        with RSP(self.guest.gdb_socket) as rsp:
            rsp.insert_breakpoint(tick.va)
            rsp.cont()
            self.assertRegex(rsp.wait_stop(), '^T05')
            self.assertEqual(rsp.register(RIP), tick.va.to_bytes(8, 'little'))
            code = rsp.read(tick.va, 32)
            rsp.remove_breakpoint(tick.va)
            self.assertEqual(rsp.read(tick.va, 32), code,
                             'the breakpoint shows in memory')
            rsp.step()
            self.assertGreater(int.from_bytes(rsp.register(RIP), 'little'),
                               tick.va)
            rsp.detach()
        self.assert_hidden(tick.pa, code)

    def test_kernel_variable_changed_by_virtual_address(self):
        value = random.randrange(1000, 1 << 30)
        self.gdb(f'set {{int}}&panic_timeout = {value}')
        self.assertEqual(self.guest.read_line(PANIC), str(value))

    def test_kernel_variable_changed_by_physical_address(self):
        value = random.randrange(1000, 1 << 30)
        place = self.symbols['panic_timeout']
        with RSP(self.guest.gdb_socket) as rsp:
            rsp.physical(True)
            rsp.write(place.pa, value.to_bytes(4, 'little'))
            rsp.physical(False)
            self.assertEqual(rsp.read(place.va, 4),
                             value.to_bytes(4, 'little'))
            rsp.detach()
        self.assertEqual(self.guest.read_line(PANIC), str(value))

    def test_users_text_changed_across_two_pages(self):
        old = self.start_target()
        new = f'{random.getrandbits(500):x}'.ljust(len(old), '-')[:len(old)]
        note, second = self.facts.note, self.facts.note_page_2
        with RSP(self.guest.gdb_socket) as rsp:
            rsp.write(note.va, new.encode())
            self.assert_hidden(note.pa, new.encode()[:second.va - note.va])
            rsp.detach()
        self.assertEqual(self.guest.target()[1], new)
        with RSP(self.guest.gdb_socket) as rsp:
            rsp.write(note.va, old)
            rsp.detach()
        self.assertEqual(self.guest.target()[1], old.decode())

    def test_neighbours_of_a_written_byte_stay(self):
        old = self.start_target()
        place = self.facts.note
        with RSP(self.guest.gdb_socket) as rsp:
            for at in (0, 1, 7, 15, 16, 31, 60):
                rsp.write(place.va + at, b'#')
                self.assertEqual(
                    rsp.read(place.va, len(old)),
                    old[:at] + b'#' + old[at + 1:], f'byte {at}')
                rsp.write(place.va + at, old[at:at + 1])
            rsp.detach()
        self.assertEqual(self.guest.target()[1], old.decode())


class DebugsHidden(DebugsEncrypted):
    """An encrypted guest whose host sees zeros."""

    encrypted = 'mode=hidden'


class DebugsNormal(DebugsEncrypted):
    """An ordinary guest: gdb works as ever."""

    encrypted = None


if __name__ == '__main__':
    unittest.main()
