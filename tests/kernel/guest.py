# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU with a software-protected guest, on a kernel that has the series.

Runs in the machine that tests/kernel/run boots, which has put there: QEMU, gdb,
the modules of tests/, and the payload guest.
"""
import base64
import re
import time
import unittest

from lib import doors, dump, gdb
from lib.qemu import Qemu
from lib.qmp import QMPError
from lib.rsp import RSPError
from lib.standin import payload
from lib.wait import poll
from payload.build import text_lines

from . import tap

PAGE = 4096
RAM_MIB = 8
RIP = 16        # gdb's number of the register
VIRTUAL = (doors.x, doors.memsave, doors.hmp_memsave, doors.packet_virtual)
PHYSICAL = (doors.xp, doors.pmemsave, doors.hmp_pmemsave,
            doors.packet_physical)


class Guest(Qemu):
    """The payload as a software-protected guest."""

    def __init__(self, *args, confidential='', machine='smm=off'):
        self.payload = payload('sw-protected', 0)
        super().__init__(
            '-accel', 'kvm', '-cpu', 'qemu64', '-bios', self.payload.image,
            '-object', 'sw-protected-guest,id=cg0' + confidential, *args,
            ram_mib=RAM_MIB,
            machine=f'q35,{machine},confidential-guest-support=cg0')

    def wait_running(self):
        """Until the payload has converted memory and written its texts."""
        _, before = self.console.expect('payload: running',
                                        'the payload to run')
        failed = [line for line in before if 'FAILED' in line]
        if failed:
            raise AssertionError(failed)

    def process_memory(self, gpa, length):
        """What /proc/PID/mem has where QEMU maps the guest's memory."""
        with open(f'/proc/{self.process.pid}/maps', encoding='ascii') as maps:
            start = [int(line.partition('-')[0], 16) for line in maps
                     if 'memory-backend-memfd' in line]
        with open(f'/proc/{self.process.pid}/mem', 'rb') as memory:
            memory.seek(start[0] + gpa)
            return memory.read(length)

    def debug_read(self, address, size, space='physical', **more):
        """memory-debug-read"""
        return base64.b64decode(self.qmp.cmd(
            'memory-debug-read', address=address, size=size, space=space,
            **more)['data'])


class Case(unittest.TestCase):
    """Tests on one running guest; each begins with a running VM."""

    @classmethod
    def setUpClass(cls):
        cls.guest = cls.enterClassContext(Guest())
        cls.guest.wait_running()
        p = cls.payload = cls.guest.payload
        m = cls.map = p.map
        cls.private = text_lines(b'PRV', m['TEXT_PRIVATE'], m['TEXT_SHARED'])
        cls.mixed = (cls.private +
                     text_lines(b'SHR', m['TEXT_SHARED'], m['TEXT_TAIL']) +
                     text_lines(b'PRV', m['TEXT_TAIL'], m['TEXT_END']))
        cls.moved = text_lines(b'MVD', m['MOVED_TEXT'],
                               m['MOVED'] + m['MOVED_SIZE'])

    def setUp(self):
        self.guest.cont()

    def connect(self):
        """A gdb that ends with the VM running."""
        rsp = doors.RSP(self.guest.gdb_socket)
        self.addCleanup(rsp.close)
        return rsp

    @staticmethod
    def pc(rsp):
        """Where the vCPU is."""
        rsp.ask('g')    # QEMU fetches the registers for this packet alone
        return int.from_bytes(rsp.register(RIP), 'little')

    def write(self, gpa, value):
        """8 bytes as a debugger writes physical memory."""
        self.guest.qmp.cmd('memory-debug-write', address=gpa, space='physical',
                           data=base64.b64encode(value.to_bytes(8, 'little'))
                           .decode())

    def convert(self, wanted, text, count):
        """Let the payload convert pages for the @count-th time."""
        self.write(self.map['SHARED_PAGE'] + self.map[wanted], count)
        self.guest.console.expect(f'{text} {count:016x}', 'the conversion')


class Memory(Case):
    """What the guest has written, by every way to read and write memory."""

    def test_mixed_range_by_physical_address(self):
        for door in PHYSICAL:
            with self.subTest(door.__doc__):
                self.assertEqual(door(self.guest, self.map['TEXT_PRIVATE'],
                                      len(self.mixed)), self.mixed)

    def test_mixed_range_by_virtual_address(self):
        start = self.payload.virt(self.map['TEXT_PRIVATE'])
        for door in VIRTUAL:
            with self.subTest(door.__doc__):
                self.assertEqual(door(self.guest, start, len(self.mixed)),
                                 self.mixed)

    def test_border_of_private_and_shared(self):
        shared = self.map['TEXT_SHARED']
        for door in PHYSICAL:
            with self.subTest(door.__doc__):
                self.assertEqual(door(self.guest, shared - 3, 6),
                                 b'ok\nSHR')

    def test_two_converted_mib(self):
        start = self.map['MOVED_TEXT']
        self.assertEqual(doors.pmemsave(self.guest, start, len(self.moved)),
                         self.moved)
        self.assertEqual(doors.memsave(self.guest, self.payload.virt(start),
                                       len(self.moved)), self.moved)

    def test_memory_debug_read(self):
        start = self.map['TEXT_PRIVATE']
        self.assertEqual(self.guest.debug_read(start, len(self.mixed)),
                         self.mixed)
        self.assertEqual(self.guest.debug_read(
            self.payload.virt(start), len(self.mixed), 'virtual'), self.mixed)

    def test_checksum(self):
        self.assertEqual(doors.sum16(self.guest, self.map['TEXT_PRIVATE'],
                                     len(self.mixed)),
                         doors.bsd_sum(self.mixed))

    def test_disassembly_of_private_code(self):
        tick = self.payload.symbols['moved_tick']
        code = doors.packet_virtual(self.guest, tick, 8)
        self.assertEqual(code[:3], b'\x48\xff\x05')     # incq n(%rip)
        self.assertEqual(doors.x_i(self.guest, tick, 8), code)

    def test_host_has_zeros(self):
        start = self.map['TEXT_PRIVATE']
        size = len(self.private)
        for name, data in {
                'raw view': self.guest.debug_read(start, size, view='raw'),
                'memfd': self.guest.host_memory(start, size),
                '/proc/PID/mem': self.guest.process_memory(start, size),
                'memfd, 2 MiB': self.guest.host_memory(
                    self.map['MOVED'], self.map['MOVED_SIZE'])}.items():
            with self.subTest(name):
                self.assertEqual(data, bytes(len(data)))

    def test_host_sees_shared_memory(self):
        start = self.map['TEXT_SHARED']
        text = text_lines(b'SHR', start, self.map['TEXT_TAIL'])
        for name, data in {
                'raw view': self.guest.debug_read(start, len(text),
                                                  view='raw'),
                'memfd': self.guest.host_memory(start, len(text)),
                '/proc/PID/mem': self.guest.process_memory(
                    start, len(text))}.items():
            with self.subTest(name):
                self.assertEqual(data, text)

    def test_guest_sees_a_write_by_physical_address(self):
        self.write(self.map['MOVED'] + self.payload.symbols['moved_mailbox'] -
                   self.payload.virt(self.map['MOVED']), 0x1234_5678_9abc)
        self.guest.console.expect('moved-mailbox 0000123456789abc',
                                  'the guest to see the write')

    def test_guest_sees_a_write_of_gdb(self):
        rsp = self.connect()
        rsp.write(self.payload.symbols['moved_mailbox'],
                  (0xfeed).to_bytes(8, 'little'))
        rsp.detach()
        self.guest.console.expect('moved-mailbox 000000000000feed',
                                  'the guest to see the write')

    def test_write_across_private_and_shared(self):
        start = self.map['TEXT_SHARED'] - 4
        before = doors.pmemsave(self.guest, start - 4, 16)
        self.write(start, int.from_bytes(b'abcdefgh', 'little'))
        self.assertEqual(doors.pmemsave(self.guest, start - 4, 16),
                         before[:4] + b'abcdefgh' + before[12:])
        self.assertEqual(self.guest.host_memory(start, 8), b'\0\0\0\0efgh')
        self.write(start, int.from_bytes(before[4:12], 'little'))

    def test_page_table_commands(self):
        self.guest.stop()
        virt = self.payload.virt(self.map['MOVED'])
        self.assertIn(f'{virt:016x}: {self.map["MOVED"]:016x} ',
                      self.guest.qmp.hmp('info tlb'))
        self.assertRegex(self.guest.qmp.hmp('info mem'),
                         f'-{virt + self.map["MOVED_SIZE"]:016x} ')
        self.assertIn(f'{self.map["MOVED"]:#x}',
                      self.guest.qmp.hmp(f'gva2gpa {virt:#x}'))

    def test_query_memory_debug(self):
        found = self.guest.qmp.cmd('query-memory-debug')
        self.assertEqual(found['guest']['kind'], 'sw-protected')
        self.assertEqual(found['guest']['backend'], 'unified')
        self.assertEqual(found['access'], 'read-write')
        self.assertEqual(found['registers'], 'readable')
        self.assertNotIn('page-bit', found)


class Stops(Case):
    """gdb in code that is private."""

    def counter(self, rsp):
        return int.from_bytes(rsp.read(self.payload.symbols['moved_counter'],
                                       8), 'little')

    def hit_twice(self, kind):
        """Stop at each turn, the counter one higher; leave no trace."""
        tick = self.payload.symbols['moved_tick']
        rsp = self.connect()
        code = rsp.read(tick, 16)
        seen = []
        for _ in range(2):
            rsp.insert_breakpoint(tick, kind)
            rsp.cont()
            rsp.wait_stop(60)
            self.assertEqual(self.pc(rsp), tick)
            rsp.remove_breakpoint(tick, kind)
            seen.append(self.counter(rsp))
            rsp.step()
            self.assertEqual(self.counter(rsp), seen[-1] + 1)
            self.assertEqual(self.pc(rsp), tick + 7)
        self.assertEqual(seen[1], seen[0] + 1)
        self.assertEqual(rsp.read(tick, 16), code)
        rsp.detach()

    @unittest.skip('the SVM of TCG does not intercept int3 as #BP')
    def test_breakpoint_in_private_memory(self):
        self.hit_twice(0)

    def test_hardware_breakpoint(self):
        self.hit_twice(1)

    def test_breakpoint_is_private_memory(self):
        """int3 is in the guest's page, and not in the host's."""
        tick, gpa = self.payload.symbols['moved_tick'], self.map['MOVED']
        rsp = self.connect()
        rsp.insert_breakpoint(tick)
        self.assertEqual(doors.xp(self.guest, gpa, 1), b'\xcc')
        self.assertEqual(self.guest.host_memory(gpa, 1), b'\0')
        rsp.remove_breakpoint(tick)
        self.assertEqual(doors.xp(self.guest, gpa, 1), b'\x48')
        rsp.detach()

    def test_watchpoint(self):
        counter = self.payload.symbols['moved_counter']
        rsp = self.connect()
        before = self.counter(rsp)
        self.assertEqual(rsp.ask(f'Z2,{counter:x},8'), 'OK')
        rsp.cont()
        rsp.wait_stop(60)
        self.assertEqual(self.counter(rsp), before + 1)
        self.assertEqual(rsp.ask(f'z2,{counter:x},8'), 'OK')
        rsp.detach()

    def test_guest_goes_on(self):
        counter = self.payload.symbols['moved_counter']
        first = doors.x(self.guest, counter, 8)

        def counted():
            self.guest.cont()
            time.sleep(0.1)
            return doors.x(self.guest, counter, 8) != first

        poll(counted, 'the guest to count', 30)


class RealGdb(Case):
    """The same with gdb itself, as a person types it."""

    def gdb(self, *commands):
        """What gdb prints; the guest goes on afterwards."""
        return gdb.run(self.guest.gdb_socket, *commands)

    def test_reads(self):
        virt = self.payload.virt
        for gpa, text in ((self.map['TEXT_PRIVATE'], 'PRV'),
                          (self.map['TEXT_SHARED'], 'SHR'),
                          (self.map['MOVED_TEXT'], 'MVD')):
            self.assertIn(f'"{text} {gpa:08x} ok\\n',
                          self.gdb(f'x/s {virt(gpa):#x}'))
        for door, address in ((doors.gdb_virtual, virt), (doors.gdb_physical,
                                                          lambda gpa: gpa)):
            self.assertEqual(door(
                self.guest, address(self.map['TEXT_PRIVATE']),
                len(self.mixed)), self.mixed)

    def test_guest_sees_a_write(self):
        mailbox = self.payload.symbols['moved_mailbox']
        self.gdb(f'set {{long}}{mailbox:#x} = 0xabcd')
        self.guest.console.expect('moved-mailbox 000000000000abcd',
                                  'the guest to see the write')

    def test_hardware_breakpoint_and_step(self):
        tick, counter = (self.payload.symbols[name] for name in
                         ('moved_tick', 'moved_counter'))
        show = f'printf "at %lx, %ld\\n", $pc, {{long}}{counter:#x}'
        output = self.gdb(f'hbreak *{tick:#x}', 'continue', show, 'stepi',
                          show, 'continue', show, 'delete', f'x/i {tick:#x}')
        seen = [(int(pc, 16), int(count)) for pc, count
                in re.findall(r'^at ([0-9a-f]+), (\d+)$', output, re.M)]
        self.assertEqual(len(seen), 3, output)
        first = seen[0][1]
        self.assertEqual(seen, [(tick, first), (tick + 7, first + 1),
                                (tick, first + 1)])
        self.assertRegex(output, f'{tick:#x}:\tincq? ')

    def test_watchpoint(self):
        counter = self.payload.symbols['moved_counter']
        output = self.gdb(f'watch *(long *){counter:#x}', 'continue',
                          'delete')
        found = re.search(r'Old value = (\d+)\s+New value = (\d+)', output)
        self.assertTrue(found, output)
        self.assertEqual(int(found[2]), int(found[1]) + 1)

    def test_software_breakpoint_lands_in_private_memory(self):
        """And is gone when gdb has gone."""
        tick, gpa = self.payload.symbols['moved_tick'], self.map['MOVED']
        commands = ('set breakpoint always-inserted on', f'break *{tick:#x}',
                    f'maintenance packet m{tick:x},1')
        self.assertIn('received: "cc"', self.gdb(*commands))
        self.assertEqual(self.guest.host_memory(gpa, 1), b'\0')
        self.assertEqual(doors.xp(self.guest, gpa, 1), b'\x48')


class Dumps(Case):
    """Dumps of the guest's memory."""

    def test_elf(self):
        path, _ = dump.take(self.guest, dump.ELF)
        for start, text in ((self.map['TEXT_PRIVATE'], self.mixed),
                            (self.map['MOVED_TEXT'], self.moved)):
            self.assertEqual(dump.read(path, start, len(text)), text)

    def test_elf_with_paging(self):
        path, _ = dump.take(self.guest, dump.ELF, paging=True)
        start = self.payload.virt(self.map['TEXT_PRIVATE'])
        self.assertEqual(dump.read_virtual(path, start, len(self.mixed)),
                         self.mixed)

    def test_kdump(self):
        path, _ = dump.take(self.guest, 'kdump-raw-zlib')
        pages = dump.kdump_pages(path)
        for start, text in ((self.map['TEXT_PRIVATE'], self.mixed),
                            (self.map['MOVED_TEXT'], self.moved)):
            found = b''.join(dump.kdump_read(path, pages[gpa]) for gpa in
                             range(start, start + len(text), PAGE))
            self.assertEqual(found, text)


class Conversion(Case):
    """Pages that the guest converts while debuggers look."""

    def test_page_there_and_back(self):
        page = self.map['FLIP_PAGE']
        for count, tag in enumerate((b'SHR', b'PRV', b'SHR'), 1):
            with self.subTest(tag, count=count):
                self.guest.cont()
                self.convert('FLIPS_WANTED', 'flips', count)
                text = text_lines(tag, page, page + PAGE)
                self.assertEqual(doors.xp(self.guest, page, PAGE), text)
                self.assertEqual(self.guest.host_memory(page, PAGE) == text,
                                 tag == b'SHR')

    def test_range_across_sections(self):
        start = self.map['BORDERS']
        end = start + self.map['BORDERS_PAGES'] * PAGE
        for count, tag in enumerate((b'SHR', b'PRV', b'SHR'), 1):
            with self.subTest(tag, count=count):
                self.guest.cont()
                self.convert('BORDERS_WANTED', 'borders', count)
                self.assertEqual(doors.pmemsave(self.guest, start,
                                                end - start),
                                 text_lines(tag, start, end))

    def test_reset(self):
        """The memory is shared again, and the payload starts over."""
        self.guest.qmp.cmd('system_reset')
        self.guest.wait_running()
        self.assertEqual(doors.pmemsave(
            self.guest, self.map['TEXT_PRIVATE'], len(self.mixed)), self.mixed)
        self.assertEqual(self.guest.host_memory(
            self.map['TEXT_PRIVATE'], len(self.private)),
            bytes(len(self.private)))


class Refusal(unittest.TestCase):
    """Guests that may not be debugged, or cannot be made."""

    def test_policy(self):
        with Guest(confidential=',debug=off') as guest:
            guest.wait_running()
            private, shared = (guest.payload.map[name] for name in
                               ('TEXT_PRIVATE', 'TEXT_SHARED'))
            reason = "policy forbids debugging.*'debug'.*is off"
            for door in PHYSICAL:
                if door is doors.packet_physical:
                    reason = 'E'
                with self.subTest(door.__doc__):
                    with self.assertRaisesRegex(doors.Refused, reason):
                        door(guest, private, 16)
            with self.assertRaisesRegex(QMPError, 'policy forbids'):
                guest.qmp.cmd('memory-debug-write', address=private,
                              data='AAAA', space='physical')
            with self.assertRaisesRegex(QMPError, 'policy forbids'):
                dump.take(guest, dump.ELF)
            with doors.RSP(guest.gdb_socket) as rsp:
                with self.assertRaises(RSPError):
                    rsp.insert_breakpoint(guest.payload.symbols['moved_tick'])
            found = guest.qmp.cmd('query-memory-debug')
            self.assertEqual(found['access'], 'none')
            self.assertIn("'debug'", found['forbidden-by'])
            # No secret: the host has it anyway
            self.assertEqual(guest.debug_read(shared, 4, view='raw'), b'SHR ')

    def test_smm(self):
        with self.assertRaisesRegex(ConnectionError, 'use smm=off'):
            with Guest(machine='smm=on'):
                pass


if __name__ == '__main__':
    tap.main()
