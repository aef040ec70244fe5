# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb on encrypted guests: SEV as any guest, the others without their
registers."""

import re
import unittest

from lib import doors, gdb
from lib.kvm_case import (DEBUG_IOCTLS, DEBUGGABLE, KvmCase, debuggable,
                          for_each_guest)
from lib.qemu import Qemu, binary
from lib.rsp import RSP, RSPError
from lib.standin import BUILD, StandIn
from lib.wait import Timeout
from payload.build import build, text_lines

PAGE = 4096
RIP = 16        # gdb's number of the register


class Debug(KvmCase):
    """SEV: the registers are there, so all of gdb works."""

    def setUp(self):
        super().setUp()
        self.symbols = self.guest.payload.symbols

    def pc(self, rsp):
        """Where the first vCPU is."""
        rsp.ask('g')    # QEMU fetches the registers for this packet alone
        return int.from_bytes(rsp.register(RIP), 'little')

    def counter(self, rsp):
        """How often the guest has called tick()."""
        return int.from_bytes(rsp.read(self.symbols['counter'], 8), 'little')

    def test_every_door_translates_and_decrypts(self):
        start, end = self.map['TEXT_PRIVATE'], self.map['TEXT_SHARED']
        text = text_lines(b'PRV', start, end)
        self.expect_at_virtual_address(start, text)
        self.assertNotIn(b'PRV 00', self.guest.host_memory(start, len(text)))

    def test_page_tables_tell_shared_from_private(self):
        start, end = self.map['TEXT_PRIVATE'], self.map['TEXT_END']
        shared, tail = self.map['TEXT_SHARED'], self.map['TEXT_TAIL']
        text = (text_lines(b'PRV', start, shared) +
                text_lines(b'SHR', shared, tail) + text_lines(b'PRV', tail, end))
        self.expect_at_virtual_address(start, text)

    def test_write_to_a_shared_page_is_not_encrypted(self):
        shared = self.map['TEXT_SHARED']
        before = self.guest.host_memory(shared, 5)
        encrypts = len(self.guest.calls('KVM_SEV_DBG_ENCRYPT',
                                        'KVM_MEMORY_ENCRYPT_WRITE_MEMORY'))
        rsp = self.connect()
        rsp.write(self.guest.payload.virt(shared), b'gdb!\n')
        self.assertEqual(self.guest.host_memory(shared, 5), b'gdb!\n')
        rsp.write(self.guest.payload.virt(shared), before)
        self.assertEqual(len(self.guest.calls(
            'KVM_SEV_DBG_ENCRYPT', 'KVM_MEMORY_ENCRYPT_WRITE_MEMORY')),
            encrypts)

    def test_breakpoint_is_hit_twice_and_leaves_no_trace(self):
        tick = self.symbols['tick']
        rsp = self.connect()
        code = rsp.read(tick, 16)
        rsp.insert_breakpoint(tick)
        self.assertEqual(doors.xp(self.guest, self.guest.payload.phys('tick'),
                                  16), b'\xcc' + code[1:])
        seen = []
        for _ in range(2):
            rsp.cont()
            rsp.wait_stop()
            self.assertEqual(self.pc(rsp), tick)
            seen.append(self.counter(rsp))
            # As gdb does it: over the breakpoint, and on
            rsp.remove_breakpoint(tick)
            self.assertEqual(rsp.read(tick, 16), code)
            rsp.step()
            rsp.insert_breakpoint(tick)
        self.assertEqual(seen[1], seen[0] + 1)
        rsp.remove_breakpoint(tick)
        self.assertEqual(rsp.read(tick, 16), code)

    def test_detaching_restores_the_byte(self):
        tick = self.symbols['tick']
        rsp = self.connect()
        code = rsp.read(tick, 16)
        rsp.insert_breakpoint(tick)
        rsp.detach()
        self.assertEqual(doors.xp(self.guest, self.guest.payload.phys('tick'),
                                  16), code)

    def test_stepi(self):
        tick = self.symbols['tick']
        rsp = self.connect()
        rsp.insert_breakpoint(tick, kind=1)
        rsp.cont()
        rsp.wait_stop()
        rsp.remove_breakpoint(tick, kind=1)
        self.assertEqual(self.pc(rsp), tick)
        before = self.counter(rsp)
        while self.pc(rsp) <= self.symbols['tick_store']:
            rsp.step()
        self.assertEqual(self.counter(rsp), before + 1)

    def test_guest_sees_a_write(self):
        value = 0x1234_0000 + id(self) % 0xffff
        rsp = self.connect()
        rsp.write(self.symbols['mailbox'], value.to_bytes(8, 'little'))
        rsp.detach()
        self.guest.console.expect(f'mailbox {value:016x}',
                                  'the guest to see the write')

    def test_real_gdb(self):
        output = gdb.run(
            self.guest.gdb_socket, 'break tick', 'continue',
            'x/gx &counter', 'continue', 'x/gx &counter', 'stepi',
            'x/i $pc', 'set var *(long *)&mailbox = 0x77665544', 'delete',
            symbols=self.guest.payload.elf)
        self.assertEqual(output.count('Breakpoint 1, '), 2, output)
        first, second = (int(value, 16) for value in re.findall(
            r'<counter>:\s+(0x\w+)', output))
        self.assertEqual(second, first + 1)
        pc = int(re.search(r'^=> (0x\w+)', output, re.MULTILINE)[1], 16)
        self.assertGreater(pc, self.symbols['tick'])
        self.assertLessEqual(pc, self.symbols['tick_store'])
        self.guest.console.expect('mailbox 0000000077665544',
                                  'the guest to see the write')

    def test_failed_write_plants_no_breakpoint(self):
        guest = self.enterContext(StandIn(
            self.kind, scripted=self.scripted,
            fault='KVM_SEV_DBG_ENCRYPT,count=0,errno=EIO,fw=17',
            **self.settings))
        guest.wait_running()
        tick = guest.payload.symbols['tick']
        with RSP(guest.gdb_socket) as rsp:
            code = rsp.read(tick, 1)
            with self.assertRaises(RSPError):
                rsp.insert_breakpoint(tick)
            self.assertEqual(rsp.read(tick, 1), code)
            self.assertNotEqual(rsp.ask(f'z0,{tick:x},1'), 'OK')
            rsp.detach()
        self.assertRegex(guest.log(), 'software breakpoint: .*cannot write')


for_each_guest(globals(), Debug, {
    name: attributes for name, attributes in DEBUGGABLE.items()
    if attributes['kind'] == 'sev'})


class RolledBack(unittest.TestCase):
    """KVM_SET_GUEST_DEBUG fails after the breakpoint has been planted."""

    def check(self, program, kind):
        """Insert a breakpoint of gdb's @kind; is anything left of it?"""
        with StandIn('sev', scripted=True, cpus=2, program=program,
                     fault='KVM_SET_GUEST_DEBUG,addr=1,count=1,errno=EINVAL'
                     ) as guest:
            guest.wait_running()
            tick = guest.payload.symbols['tick']
            with RSP(guest.gdb_socket) as rsp:
                self.assertEqual(rsp.ask(f'Z{kind},{tick:x},1'), 'E22')
                left = rsp.ask(f'z{kind},{tick:x},1')
            return left == 'OK'

    def test_nothing_is_left(self):
        for kind in 0, 1:
            with self.subTest(kind):
                self.assertFalse(self.check(None, kind))

    def test_stock_qemu_keeps_it(self):
        self.assertTrue(self.check(binary(base=True), 1))


class Protected(KvmCase):
    """The registers are protected: what needs them is refused."""

    def ask_all(self, *packets):
        """The answers to packets that set something in motion."""
        with RSP(self.guest.gdb_socket) as rsp:
            return {packet: rsp.ask(packet) for packet in packets}

    def test_what_needs_registers_is_refused_and_leaves_nothing(self):
        tick = self.guest.payload.symbols['tick']
        self.guest.stop()
        before = self.guest.calls('KVM_SET_GUEST_DEBUG', *DEBUG_IOCTLS)
        answers = self.ask_all(*(f'Z{kind},{tick:x},1' for kind in range(5)),
                               *(f'z{kind},{tick:x},1' for kind in range(5)),
                               's', 'vCont;s:1', 'vCont;s:1;c')
        for packet, answer in answers.items():
            with self.subTest(packet):
                self.assertTrue(answer.startswith('E'), answer)
        after = self.guest.calls('KVM_SET_GUEST_DEBUG', *DEBUG_IOCTLS)
        self.assertEqual(after, before)
        self.assertFalse(self.guest.qmp.cmd('query-status')['running'])
        why = 'the registers of this guest are protected'
        self.assertIn(f'cannot insert a breakpoint: {why}', self.guest.log())
        self.assertEqual(answers['vCont;s:1'], f'E.cannot single-step: {why}')

    def test_continue_and_interrupt_work(self):
        with RSP(self.guest.gdb_socket) as rsp:
            rsp.cont()
            rsp.interrupt()
            said = rsp.answer()
            self.assertEqual(said[0], 'O')
            self.assertIn(b'program counter is not known',
                          bytes.fromhex(said[1:]))
            rsp.wait_stop()
            rsp.detach()
        self.assertTrue(self.guest.qmp.cmd('query-status')['running'])

    def test_virtual_addresses_are_refused(self):
        """They are not taken for physical ones."""
        for door in doors.VIRTUAL:
            for addr in (self.guest.payload.virt(self.map['TEXT_PRIVATE']),
                         self.map['TEXT_PRIVATE']):
                with self.subTest(door=door.__doc__, addr=addr), \
                        self.assertRaises(doors.Refused):
                    door(self.guest, addr, 16)
        with self.assertRaisesRegex(doors.Refused, 'registers.*protected'):
            doors.memsave(self.guest, self.map['TEXT_PRIVATE'], 16)


for_each_guest(globals(), Protected, {
    name: attributes for name, attributes in DEBUGGABLE.items()
    if attributes['kind'] != 'sev'})


class Simulated(unittest.TestCase):
    """The same with a simulated guest, under any accelerator."""

    def answers(self, protect):
        """What the gdbstub says to a breakpoint and to a single-step."""
        image = build('plain', str(BUILD), 0).image
        guest = ('sim-encrypted-guest,id=cg0,protect-registers=' +
                 ('on' if protect else 'off'))
        with Qemu('-accel', 'tcg', '-object', guest, '-bios', image,
                  '-vga', 'none', ram_mib=64,
                  machine='q35,confidential-guest-support=cg0') as qemu:
            with RSP(qemu.gdb_socket) as rsp:
                return [rsp.ask(packet)[:1] for packet in
                        ('Z0,fffffff0,1', 'Z1,fffffff0,1', 'vCont;s:1', 's')]

    def test_protected_registers(self):
        self.assertEqual(self.answers(True), ['E', 'E', 'E', 'E'])

    def test_readable_registers(self):
        self.assertEqual(self.answers(False), ['O', 'O', 'T', 'T'])


class Stock(unittest.TestCase):
    """The control: an unpatched QEMU takes a single-step for "go on"."""

    def test_single_step_lets_the_guest_run(self):
        with StandIn('sev-es', scripted=True, program=binary(base=True),
                     **debuggable('sev-es')) as guest:
            guest.wait_running()
            with RSP(guest.gdb_socket) as rsp:
                with self.assertRaises(Timeout):
                    rsp.ask('vCont;s:1', 2)
                self.assertTrue(guest.qmp.cmd('query-status')['running'])
