# SPDX-License-Identifier: GPL-2.0-or-later
"""Registers of a debug TD: real where KVM lets them be read, else unknown.

The kernel's answers are those of the stand-in (STANDIN_TD_REGISTERS).
"""

import re
import unittest

from lib import doors, dump, gdb
from lib.kvm_case import KvmCase, debuggable, for_each_guest
from lib.rsp import RSP, RSPError
from lib.standin import StandIn
from payload.build import text_lines

# gdb's numbers of the registers
RBX, R12, RIP, EFLAGS, CS, CR2, CR3, XMM0 = 1, 12, 16, 17, 18, 28, 29, 49
TDX = {'kind': 'tdx'}


def settings(**more):
    """StandIn's arguments for a TD that can be debugged."""
    return {**debuggable('tdx'), **more}


class Readable(KvmCase):
    """KVM lets the registers be read and written."""

    settings = settings(td_registers='readable')

    def setUp(self):
        super().setUp()
        self.symbols = self.guest.payload.symbols

    def number(self, rsp, register):
        """Value of a register."""
        return int.from_bytes(rsp.register(register), 'little')

    def stop_in_tick(self, rsp):
        """Run into a hardware breakpoint at tick()."""
        tick = self.symbols['tick']
        rsp.insert_breakpoint(tick, kind=1)
        rsp.cont()
        rsp.wait_stop()
        rsp.remove_breakpoint(tick, kind=1)
        return tick

    def test_query_says_what_is_known(self):
        self.guest.stop()
        info = self.guest.qmp.cmd('query-memory-debug')
        self.assertEqual(info['registers'], 'partial')
        self.assertEqual(info['page-tables'], 'registers')

    def test_virtual_addresses_are_translated(self):
        start, end = self.map['TEXT_PRIVATE'], self.map['TEXT_SHARED']
        text = text_lines(b'PRV', start, end)
        self.expect_at_virtual_address(start, text)
        self.assertNotIn(b'PRV', self.guest.host_memory(start, len(text)))

    def test_gdb_is_told_the_tds_registers_and_no_others(self):
        rsp = self.connect()
        tick = self.stop_in_tick(rsp)
        # without a g packet before
        self.assertEqual(self.number(rsp, RIP), tick)
        self.assertTrue(self.number(rsp, CR3))
        self.assertTrue(self.number(rsp, CS))
        for register in CR2, XMM0:
            self.assertIsNone(rsp.register(register))
        whole = rsp.ask('g')
        rip = tick.to_bytes(8, 'little').hex()
        self.assertEqual(whole[16 * 16:17 * 16], rip)
        rsp.step()
        self.assertGreater(self.number(rsp, RIP), tick)

    def test_monitor_shows_the_tds_registers_and_no_others(self):
        tick = self.stop_in_tick(self.connect())
        output = self.guest.qmp.hmp('info registers')
        self.assertRegex(output, rf'RIP={tick:016x} ')
        self.assertRegex(output, r'CR3=0*[1-9a-f]')
        self.assertIn('not known: CR2', output)
        self.assertNotRegex(output, r'CR2=|DR0|XMM|FCW')
        self.assertIn(f'{tick:x}', self.guest.qmp.hmp('print /x $pc'))

    def test_breakpoint_in_memory_is_hit(self):
        tick = self.symbols['tick']
        rsp = self.connect()
        code = rsp.read(tick, 16)
        rsp.insert_breakpoint(tick)
        rsp.cont()
        rsp.wait_stop()
        self.assertEqual(self.number(rsp, RIP), tick)
        rsp.remove_breakpoint(tick)
        self.assertEqual(rsp.read(tick, 16), code)

    def test_write_reaches_the_td(self):
        rsp = self.connect()
        self.stop_in_tick(rsp)
        before = rsp.register(R12)
        value = bytes(range(0x11, 0x19))
        self.assertEqual(rsp.ask(f'P{R12:x}={value.hex()}'), 'OK')
        self.assertEqual(rsp.register(R12), value)
        call = self.guest.calls('KVM_SET_REGS')[-1]
        self.assertEqual(call.ret, 0)
        self.assertEqual(rsp.ask(f'P{R12:x}={before.hex()}'), 'OK')

    def test_write_that_the_td_does_not_take_is_an_error(self):
        rsp = self.connect()
        self.stop_in_tick(rsp)
        # RFLAGS bit 1 is always set
        self.assertRegex(rsp.ask(f'P{EFLAGS:x}=00000000'),
                         r"^E\..*the TD's eflags has not changed")

    def test_what_cannot_be_written_is_refused(self):
        rsp = self.connect()
        for packet in (f'P{CS:x}=10000000', f'P{CR3:x}=0000000000000000'):
            self.assertRegex(rsp.ask(packet), r'^E\..*only general-purpose')
        self.assertRegex(rsp.ask(f'P{XMM0:x}=' + '00' * 16), r'^E\..*64 bits')
        for packet in ('G' + '00' * 600, 'c1000', 's1000'):
            self.assertRegex(rsp.ask(packet), r'^E\.cannot', packet)
        self.assertEqual(self.guest.calls('KVM_SET_SREGS', 'KVM_SET_XSAVE')
                         [-1:], [])

    def test_real_gdb(self):
        output = gdb.run(
            self.guest.gdb_socket, 'hbreak tick', 'continue', 'print $cr2',
            'print $k_gs_base', 'x/i $pc', 'stepi', 'delete',
            symbols=self.guest.payload.elf)
        self.assertIn('Breakpoint 1, ', output)
        self.assertEqual(output.count('= <unavailable>'), 2, output)

    def test_dump_has_their_registers(self):
        tick = self.stop_in_tick(self.connect())
        path, result = dump.take(self.guest, dump.ELF,
                                 allow_incomplete=True)
        self.addCleanup(path.unlink)
        self.assertIn('CR2', ' '.join(result['warnings']))
        _, names = dump.notes(path)
        self.assertEqual(names[:2], ['CORE', 'QEMU'])
        self.assertIn(tick.to_bytes(8, 'little'), path.read_bytes()[:8192])
        plain, _ = dump.take(self.guest, dump.ELF, 'mapped', paging=True,
                             allow_incomplete=True)
        self.addCleanup(plain.unlink)
        start = self.map['TEXT_PRIVATE']
        text = text_lines(b'PRV', start, self.map['TEXT_SHARED'])
        self.assertEqual(dump.read_virtual(
            plain, self.guest.payload.virt(start), len(text)), text)


for_each_guest(globals(), Readable, {'Td': TDX})


class Asked(unittest.TestCase):
    """What QEMU does with the kernel's answer."""

    def start(self, **more):
        """A stopped TD."""
        guest = self.enterContext(StandIn('tdx', scripted=True,
                                          **settings(**more)))
        guest.wait_running()
        guest.stop()
        return guest

    def assert_unknown(self, guest):
        """No register is shown, at any door."""
        self.assertIn('not known', guest.qmp.hmp('info registers'))
        self.assertNotIn('RIP=', guest.qmp.hmp('info registers'))
        info = guest.qmp.cmd('query-memory-debug')
        self.assertEqual(info['registers'], 'protected')
        self.assertEqual(info['page-tables'], 'unknown')
        with RSP(guest.gdb_socket) as rsp:
            self.assertRegex(rsp.ask('g'), '^(xx){128}0{16}(xx)+$')
            self.assertRegex(rsp.ask(f'P{RBX:x}=' + '00' * 8), r'^E\.cannot')
            with self.assertRaises(RSPError):
                rsp.insert_breakpoint(guest.payload.symbols['tick'], kind=1)
        with self.assertRaises(doors.Refused):
            doors.x(guest, guest.payload.symbols['tick'], 8)

    def test_kernel_refuses(self):
        guest = self.start()
        call = guest.calls('KVM_GET_REGS')[-1]
        self.assertEqual(call.error, 'EINVAL')
        self.assert_unknown(guest)

    def test_success_with_the_state_of_a_reset_is_not_believed(self):
        guest = self.start(td_registers='reset')
        self.assertEqual(guest.calls('KVM_GET_SREGS')[-1].ret, 0)
        self.assert_unknown(guest)

    def test_kernel_refuses_later(self):
        guest = self.start(td_registers='readable',
                           fault='KVM_GET_REGS,nth=2,count=0,errno=EIO')
        answers = [call.ret for call in guest.calls('KVM_GET_REGS')]
        self.assertEqual(answers[0], 0)
        self.assertLess(answers[-1], 0)
        self.assert_unknown(guest)

    def test_kernel_refuses_a_write(self):
        guest = self.start(td_registers='readable',
                           fault='KVM_SET_REGS,count=0,errno=EINVAL')
        with RSP(guest.gdb_socket) as rsp:
            before = rsp.register(RBX)
            self.assertRegex(rsp.ask(f'P{RBX:x}=' + '55' * 8),
                             r'^E\..*the kernel refuses it: Invalid argument')
            self.assertEqual(rsp.register(RBX), before)

    def test_td_without_debug_is_not_asked_about(self):
        guest = self.enterContext(StandIn('tdx', scripted=True,
                                          td_registers='readable'))
        guest.wait_running()
        guest.stop()
        self.assert_unknown(guest)
        launched = re.search(r'KVM_TDX_FINALIZE_VM[^$]*', guest.stand_in_log())
        self.assertNotRegex(launched[0], r'KVM_GET_S?REGS')


if __name__ == '__main__':
    unittest.main()
