# SPDX-License-Identifier: GPL-2.0-or-later
"""Registers of a TD are never shown, whatever KVM answers of them.

A kernel that lets the TD be debugged may say that its registers are not
protected, and then answer with what it happens to hold itself: that is what
STANDIN_TD_REGISTERS=readable stands for.
"""

import struct

from lib import doors, dump, gdb
from lib.kvm_case import (REGISTER_IOCTLS, KvmCase, debuggable,
                          for_each_guest)
from lib.rsp import RSP, RSPError
from payload.build import text_lines

# gdb's numbers of the registers
RBX, RIP, EFLAGS, CS, CR3, XMM0 = 1, 16, 17, 18, 29, 49


class Unknown(KvmCase):
    """A running TD."""

    allowed = True              # its attributes allow debugging

    def setUp(self):
        super().setUp()
        self.guest.stop()
        self.tick = self.guest.payload.symbols['tick']

    def test_query_says_so(self):
        info = self.guest.qmp.cmd('query-memory-debug')
        self.assertEqual(info['registers'], 'protected')
        self.assertEqual(info['page-tables'], 'unknown')

    def test_monitor_shows_none(self):
        output = self.guest.qmp.hmp('info registers')
        self.assertIn('protected', output)
        self.assertNotRegex(output, r'[A-Z]\w+ *=[0-9a-f]{2,}')
        output = self.guest.qmp.hmp('info registers -a')
        self.assertNotRegex(output, r'[A-Z]\w+ *=[0-9a-f]{2,}')
        self.assertNotIn(f'{self.tick:x}', self.guest.qmp.hmp('print /x $pc'))

    def test_gdb_is_told_none(self):
        rsp = self.connect()
        self.assertRegex(rsp.ask('g'), '^(xx){128}0{16}(xx)+$')
        for register in RBX, EFLAGS, CS, CR3, XMM0:
            self.assertIsNone(rsp.register(register))

    def test_none_can_be_written(self):
        rsp = self.connect()
        for packet in (f'P{RBX:x}=' + '00' * 8, f'P{RIP:x}=' + '00' * 8,
                       f'P{XMM0:x}=' + '00' * 16, 'G' + '00' * 600):
            self.assertRegex(rsp.ask(packet), '^E', packet)

    def test_nothing_that_needs_them_works(self):
        rsp = self.connect()
        for kind in range(5):
            with self.assertRaises(RSPError):
                rsp.insert_breakpoint(self.tick, kind=kind)
        for packet in 's', 'vCont;s:1', 'c1000', 's1000':
            self.assertRegex(rsp.ask(packet), '^E', packet)
        self.assertFalse(self.guest.qmp.cmd('query-status')['running'])

    def test_virtual_addresses_are_refused(self):
        for door in doors.VIRTUAL:
            with self.subTest(door.__doc__), \
                    self.assertRaises(doors.Refused):
                door(self.guest, self.tick, 8)

    def test_real_gdb(self):
        output = gdb.run(self.guest.gdb_socket, 'print $rbx', 'print $cr3',
                         'x/i $pc', stay_stopped=True,
                         symbols=self.guest.payload.elf)
        self.assertEqual(output.count('= <unavailable>'), 2, output)
        self.assertIn('Cannot access memory', output)
        self.assertNotIn('<tick', output)

    def test_dump_has_none(self):
        if not self.allowed:
            self.skipTest('there is no dump')
        path, result = dump.take(self.guest, dump.ELF, self.id(),
                                 allow_incomplete=True)
        self.addCleanup(path.unlink)
        self.assertIn('registers are protected', ' '.join(result['warnings']))
        _, notes = dump.notes(path)
        self.assertNotIn('CORE', notes)
        self.assertNotIn('QEMU', notes)
        end = min(offset for _, _, _, offset in dump.segments(path))
        self.assertNotIn(struct.pack('<Q', self.tick),
                         path.read_bytes()[:end])

    def test_physical_memory_is_there(self):
        """That has nothing to do with it."""
        if not self.allowed:
            self.skipTest('debugging is not allowed')
        start = self.map['TEXT_PRIVATE']
        self.assertEqual(doors.xp(self.guest, start, 64),
                         text_lines(b'PRV', start, start + 64))

    def test_kvm_is_not_asked(self):
        """Its answer could not be told from the TD's registers."""
        self.guest.qmp.hmp('info registers -a')
        with RSP(self.guest.gdb_socket) as rsp:
            rsp.ask('g')
        self.assertEqual([call for call in self.guest.calls(*REGISTER_IOCTLS)
                          if call.ret == 0], [])


def variant(debug, registers):
    """A TD with or without the attribute, on a kernel that answers or not."""
    settings = {**debuggable('tdx'), 'td_registers': registers}
    if not debug:
        del settings['confidential']
    return {'kind': 'tdx', 'settings': settings, 'allowed': debug}


for_each_guest(globals(), Unknown, {
    'KernelRefuses': variant(True, 'protected'),
    'KernelAnswers': variant(True, 'readable'),
    'NoDebugKernelAnswers': variant(False, 'readable'),
})
