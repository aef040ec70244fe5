# SPDX-License-Identifier: GPL-2.0-or-later
"""A Linux guest whose registers the host does not know, as with SEV-ES."""

import base64
import re

from lib import doors, gdb
from lib.case import LinuxCase
from lib.qmp import QMPError
from lib.rsp import RSP, RSPError

RIP = 16    # gdb's number of the register
OBJECT = ('-machine', 'memory-debug=d0')
START_KERNEL_MAP = 0xffffffff80000000


class ProtectedCase(LinuxCase):
    """Registers are protected; the memory-debug object is d0."""

    encrypted = 'protect-registers=on'

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.symbols = cls.guest.symbols('linux_banner', 'init_top_pgt')
        cls.banner = cls.symbols['linux_banner']
        cls.symbol_file = cls.guest.gdb_symbols(cls.symbols)

    def text(self):
        """The start of the kernel's banner."""
        return self.facts.version.encode()

    def read_virtual(self, va, length):
        """QMP memory-debug-read of virtual memory."""
        self.guest.stop()
        answer = self.guest.qmp.cmd('memory-debug-read', address=va,
                                    size=length, space='virtual')
        return base64.b64decode(answer['data'])


class ByVmcoreinfo(ProtectedCase):
    """Page tables are found in VMCOREINFO."""

    arguments = OBJECT + ('-object', 'memory-debug,id=d0,find-root=vmcoreinfo')

    def gdb(self, *commands, **kwargs):
        """Output of a batch of gdb commands with the kernel's symbols."""
        return gdb.run(self.guest.gdb_socket, *commands,
                       symbols=self.symbol_file, **kwargs)

    def test_gdb_shows_kernel_text_by_name(self):
        output = self.gdb('set print elements 0', 'x/s &linux_banner',
                          stay_stopped=True)
        self.assertIn(f'"{self.facts.version}\\n"', output)
        self.assert_hidden(self.banner.pa, self.text())

    def test_gdb_shows_registers_as_unavailable(self):
        output = self.gdb('info registers', 'print $rsp', stay_stopped=True)
        for name in ('rax', 'rsp', 'r15', 'eflags', 'cs', 'cr0', 'cr3'):
            self.assertRegex(output, rf'{name} +<unavailable>')
        self.assertIn('= <unavailable>', output)
        # without any, gdb would not connect; but not that of the reset state
        self.assertRegex(output, r'rip +0x0 ')

    def test_gdb_can_interrupt_and_continue(self):
        with gdb.Batch(self.guest.gdb_socket, 'x/s &linux_banner', 'continue',
                       'x/s &linux_banner',
                       symbols=self.symbol_file) as batch:
            batch.wait_for('"Linux version')
            self.guest.facts()      # answered once it runs again
            self.guest.stop()
            output = batch.finish()
        self.assertEqual(output.count('"Linux version'), 2, output)
        self.assertEqual(self.guest.facts().version, self.facts.version)

    def test_gdb_is_told_why_registers_cannot_be_written(self):
        output = self.gdb('set $rax = 1', stay_stopped=True)
        self.assertIn('registers of this guest are protected', output)

    def test_register_packets(self):
        with RSP(self.guest.gdb_socket) as rsp:
            self.assertRegex(rsp.ask('g'), '^(xx){128}0{16}(xx)+$')
            self.assertEqual(rsp.ask('p0'), 'x' * 16)
            self.assertEqual(rsp.ask('p11'), 'x' * 8)
            self.assertEqual(rsp.ask(f'p{RIP:x}'), '0' * 16)
            self.assertEqual(rsp.ask('pffff'), 'E14')
            for packet in (f'P{RIP:x}=0000000000000000', 'G' + '00' * 600,
                           'c1000'):
                self.assertRegex(rsp.ask(packet), r'^E\.cannot', packet)
            rsp.detach()
        # the guest has gone on where it was
        self.assertEqual(self.guest.facts().version, self.facts.version)

    def test_steps_and_breakpoints_are_refused(self):
        with RSP(self.guest.gdb_socket) as rsp:
            for kind in range(5):
                with self.assertRaises(RSPError):
                    rsp.insert_breakpoint(self.banner.va, kind)
            for packet in ('s', 'vCont;s:1', 'vCont;s:1;c'):
                self.assertRegex(rsp.ask(packet), '^E', packet)
            rsp.detach()
        self.assertIn('cannot insert a breakpoint: the registers',
                      self.guest.log())
        output = self.gdb('stepi', 'break *&linux_banner', 'continue',
                          stay_stopped=True)
        self.assertIn('cannot single-step: the registers', output)
        self.assertIn('Cannot insert breakpoint 1', output)

    def test_watchpoints_are_refused(self):
        self.guest.cont()
        watch = 'atch *(int *)&linux_banner'
        output = self.gdb('info threads', f'w{watch}', 'continue', 'delete',
                          f'rw{watch}', 'continue', 'delete',
                          'set can-use-hw-watchpoints 0', f'w{watch}',
                          'continue', 'delete', 'print *(int *)&linux_banner')
        self.assertRegex(output, r'Thread 1\.1 \(CPU#0 ')
        self.assertIn('Could not insert hardware watchpoint 1.', output)
        self.assertIn('Could not insert hardware watchpoint 2.', output)
        # the one in software single-steps, which is refused as well
        self.assertRegex(output, r'\nWatchpoint 3: (?s:.*)cannot single-step')
        self.assertNotIn('Old value', output)
        self.assertIn(f'= {int.from_bytes(self.text()[:4], "little")}\n',
                      output)
        self.assertIn('cannot insert a breakpoint: the registers',
                      self.guest.log())

    def test_page_tables_are_listed_and_followed(self):
        self.guest.stop()
        place = self.banner
        found = self.guest.qmp.hmp(f'gva2gpa 0x{place.va:x}')
        self.assertRegex(found, rf'gpa: 0x{place.pa:x}\b')
        page = 0x200000
        self.assertRegex(
            self.guest.qmp.hmp('info tlb', 300),
            rf'(?m)^{place.va & -page:x}: 0*{place.pa & -page:x} ')

    def test_monitor_says_that_registers_are_protected(self):
        for line in ('info registers', 'print $rip', 'x /4xb $rip'):
            with self.subTest(line):
                output = self.guest.qmp.hmp(line)
                self.assertIn('protected', output)
                self.assertNotRegex(output, r'RIP=|fff0')

    def test_every_virtual_door_reads_the_kernel(self):
        text = self.text()
        for door in doors.VIRTUAL:
            with self.subTest(door.__doc__):
                self.assertEqual(door(self.guest, self.banner.va, len(text)),
                                 text)
        self.assertEqual(self.read_virtual(self.banner.va, len(text)), text)
        self.assert_hidden(self.banner.pa, text)

    def test_user_space_is_not_mapped_by_the_kernels_tables(self):
        self.start_target()
        with self.assertRaises(doors.Refused) as caught:
            doors.x(self.guest, self.facts.note.va, 8)
        self.assertIn('not mapped', str(caught.exception))

    def test_virtual_address_is_not_taken_for_a_physical_one(self):
        # low addresses are mapped by neither of the kernel's tables
        with self.assertRaises(doors.Refused):
            doors.x(self.guest, 0x1000, 8)

    def test_query_vmcoreinfo(self):
        self.guest.stop()
        info = self.guest.qmp.cmd('query-vmcoreinfo')
        self.assertEqual((info['address'], info['size']),
                         self.facts.vmcoreinfo)
        release = re.match(r'Linux version (\S+)', self.facts.version)[1]
        self.assertIn(f'OSRELEASE={release}\n', info['data'])
        self.assertIn(f'SYMBOL(init_top_pgt)='
                      f'{self.symbols["init_top_pgt"].va:x}\n', info['data'])
        self.assertIn(f'OSRELEASE={release}',
                      self.guest.qmp.hmp('info vmcoreinfo'))

    def test_query_memory_debug(self):
        self.guest.stop()
        self.read_virtual(self.banner.va, 8)
        info = self.guest.qmp.cmd('query-memory-debug')
        self.assertEqual(info['registers'], 'protected')
        self.assertEqual(info['page-tables'], 'vmcoreinfo')
        self.assertEqual(info['object'], '/objects/d0')
        self.assertGreater(info['counts']['reads'], 0)


class ByAddress(ProtectedCase):
    """Page tables are given by their address, while the guest runs."""

    arguments = OBJECT + ('-object', 'memory-debug,id=d0')

    def set(self, name, value):
        """qom-set of the object."""
        self.guest.qmp.cmd('qom-set', path='/objects/d0', property=name,
                           value=value)

    def setUp(self):
        super().setUp()
        self.set('root', 0)
        self.set('find-root', 'none')
        self.set('paging', 'auto')
        self.set('vcpus', [])
        self.root = self.symbols['init_top_pgt'].pa

    def refusal(self):
        """What a virtual read says; it has to fail."""
        self.guest.stop()
        with self.assertRaises(QMPError) as caught:
            self.read_virtual(self.banner.va, 8)
        with self.assertRaises(doors.Refused):
            doors.packet_virtual(self.guest, self.banner.va, 8)
        return str(caught.exception)

    def assert_reads(self):
        text = self.text()
        self.assertEqual(self.read_virtual(self.banner.va, len(text)), text)
        self.assert_hidden(self.banner.pa, text)

    def test_neither_way(self):
        said = self.refusal()
        self.assertIn('root and paging', said)
        self.assertIn('find-root=vmcoreinfo', said)
        self.assertIn("'d0'", said)
        self.assertIn(f'0x{self.banner.va:x}', said)

    def test_root_is_the_address_that_the_guest_tells(self):
        self.set('paging', '4level')
        self.set('root', self.root)
        self.assert_reads()

    def test_root_as_the_documentation_computes_it(self):
        self.guest.cont()
        text = next(r for r in self.facts.iomem if r.name == 'Kernel code')
        base = self.guest.symbols('_text')['_text'].va
        self.set('paging', '4level')
        self.set('root',
                 text.start + self.symbols['init_top_pgt'].va - base)
        self.assert_reads()

    def test_mode_is_not_guessed(self):
        self.set('root', self.root)
        self.assertIn('paging', self.refusal())

    def test_wrong_mode_reads_nothing(self):
        self.set('root', self.root)
        self.set('paging', '5level')
        self.refusal()

    def test_wrong_root_reads_nothing(self):
        self.set('paging', '4level')
        for root, what in ((0x7fff0000, 'nothing is mapped'),
                           (self.root + 8, 'must be aligned'), (0x1000, '')):
            self.set('root', root)
            self.assertIn(what, self.refusal())

    def test_roots_of_single_vcpus(self):
        self.set('vcpus', [{'cpu-index': 1, 'root': self.root,
                            'paging': '4level'}])
        self.refusal()
        self.set('vcpus', [{'cpu-index': 0, 'root': self.root,
                            'paging': '4level'}])
        self.assert_reads()

    def test_vmcoreinfo_can_be_asked_for_later(self):
        self.set('find-root', 'vmcoreinfo')
        self.assert_reads()


class ReadOnly(LinuxCase):
    """No debugger changes this guest."""

    encrypted = ''
    arguments = OBJECT + ('-object', 'memory-debug,id=d0,access=read-only')

    def test_gdb_cannot_write_or_plant_breakpoints(self):
        banner = self.guest.symbols('linux_banner')['linux_banner']
        text = self.facts.version.encode()
        with RSP(self.guest.gdb_socket) as rsp:
            self.assertEqual(rsp.read(banner.va, len(text)), text)
            self.assertRaises(RSPError, rsp.write, banner.va, b'#')
            self.assertRaises(RSPError, rsp.insert_breakpoint, banner.va)
            rsp.insert_breakpoint(banner.va, kind=1)
            rsp.remove_breakpoint(banner.va, kind=1)
            rsp.physical(True)
            self.assertRaises(RSPError, rsp.write, banner.pa, b'#')
            rsp.physical(False)
            self.assertEqual(rsp.read(banner.va, len(text)), text)
            rsp.detach()
        self.assertEqual(self.guest.kernel_read(banner.va, 16), text[:16])
        self.assertIn("'access' of memory-debug object 'd0' is 'read-only'",
                      self.guest.log())

    def test_hardware_breakpoint_still_stops(self):
        symbol = self.guest.symbols('__x64_sys_sethostname')
        with RSP(self.guest.gdb_socket) as rsp:
            rsp.insert_breakpoint(symbol['__x64_sys_sethostname'].va, kind=1)
            rsp.cont()
            self.guest.console.send('call readonly')
            self.assertRegex(rsp.wait_stop(), '^T05')
            rsp.remove_breakpoint(symbol['__x64_sys_sethostname'].va, kind=1)
            rsp.detach()
        self.guest.console.expect('@done call', 'the call to go on')


class NoAccess(LinuxCase):
    """No debugger sees this guest."""

    encrypted = ''
    arguments = OBJECT + ('-object', 'memory-debug,id=d0,access=none')

    def test_every_door_refuses(self):
        banner = self.guest.symbols('linux_banner')['linux_banner']
        for functions, addr in ((doors.VIRTUAL + (doors.x_i,), banner.va),
                                (doors.PHYSICAL + (doors.xp_i, doors.sum16),
                                 banner.pa)):
            for door in functions:
                with self.subTest(door.__doc__):
                    self.assertRaises(doors.Refused, door, self.guest, addr,
                                      16)

    def test_neither_dump_nor_page_tables_nor_host_addresses(self):
        banner = self.guest.symbols('linux_banner')['linux_banner']
        path = self.guest.folder / 'vmcore'
        self.guest.stop()
        with self.assertRaises(QMPError) as caught:
            self.guest.qmp.cmd('dump-guest-memory', paging=False,
                               protocol=f'file:{path}')
        self.assertIn("property 'access'", str(caught.exception))
        self.assertFalse(path.exists())
        for line in ('info tlb', 'info mem', f'gpa2hva 0x{banner.pa:x}'):
            with self.subTest(line):
                output = self.guest.qmp.hmp(line)
                self.assertRegex(output, "property 'access'|encrypted")
                self.assertNotRegex(output, r'^[0-9a-f]{16}[:-]')
