# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb on a Linux guest: breakpoints, and writes that the guest then sees."""

import random
import re

from lib import gdb, linux, qemu
from lib.case import LinuxCase
from lib.rsp import RSP

PANIC = '/proc/sys/kernel/panic'
RIP = 16    # gdb's number of the register
SYSCALL = '__x64_sys_sethostname'


class DebugsEncrypted(LinuxCase):
    """An encrypted guest whose host sees ciphertext."""

    cpus = 2
    kind = 'simulated, launched'    # in 'info memory-debug'

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

    def test_read_watchpoint_on_a_kernel_variable(self):
        if linux.accelerator(qemu.binary())[0] == 'kvm':
            self.skipTest('x86 has no watchpoint for reads only, and KVM uses '
                          'those of the processor')
        with gdb.Batch(self.guest.gdb_socket, 'rwatch *(int *)&panic_timeout',
                       'continue', 'delete',
                       symbols=self.symbol_file) as batch:
            batch.wait_for('watchpoint 1')
            self.guest.console.send(f'cat {PANIC}')
            output = batch.finish()
        _, lines = self.guest.console.expect('@done cat', 'the read to go on')
        value = next(re.search(r'(-?\d+)$', line)[1] for line in lines
                     if line.startswith('@fact'))
        self.assertIn(f'Hardware read watchpoint 1: *(int *)&panic_timeout\n\n'
                      f'Value = {value}\n', output)

    def test_software_watchpoint_on_a_users_variable(self):
        self.start_target()
        variable = f'*(long *){self.facts.counter.va:#x}'
        output = self.gdb(f'break *{self.facts.tick.va:#x}', 'continue',
                          'delete', 'set can-use-hw-watchpoints 0',
                          f'watch {variable}', 'continue', 'delete')
        self.assertNotIn('Hardware', output)
        old, new = re.search(rf'Watchpoint 2: {re.escape(variable)}\n\nOld value'
                             r' = (\d+)\nNew value = (\d+)\n', output).groups()
        self.assertEqual(int(new), int(old) + 1)

    def test_threads_are_vcpus(self):
        output = self.gdb('info threads', 'thread 2', 'info registers rip',
                          stay_stopped=True)
        for number, cpu in ((1, 0), (2, 1)):
            self.assertRegex(output, rf'\b{number} +Thread 1\.{number} '
                             rf'\(CPU#{cpu} \[\w+ *\]\) +0x')
        self.assertIn('[Switching to thread 2 (Thread 1.2)]', output)

    def test_users_variables_while_in_user_mode(self):
        text = self.start_target().decode()
        place = self.facts.counter
        output = self.gdb(f'hbreak *{self.facts.tick.va:#x}', 'continue',
                          'delete', 'print $cs & 3',
                          f'x/s {self.facts.note.va:#x}',
                          f'set var *(long *){place.va:#x} = 0x700000000000')
        self.assertIn('$1 = 3\n', output)
        self.assertIn(f'"{text[:100]}', output)
        self.assertGreater(self.guest.target()[0], 0x700000000000)

    def test_users_variables_while_in_the_kernel(self):
        text = self.facts.note_text
        with gdb.Batch(self.guest.gdb_socket, f'hbreak *{SYSCALL}', 'continue',
                       'print $cs & 3', f'x/s {self.facts.note.va:#x}',
                       'delete', symbols=self.symbol_file) as batch:
            batch.wait_for('reakpoint 1 at')
            self.guest.console.send('call in-the-kernel')
            output = batch.finish()
        self.guest.console.expect('@done call', 'the call to go on')
        self.assertIn('$1 = 0\n', output)
        self.assertIn(f'"{text[:100]}', output)
        self.assert_hidden(self.facts.note.pa, text[:64].encode())

    def test_monitor_says_how_memory_is_reached(self):
        output = self.gdb('x/s &linux_banner', 'monitor info memory-debug',
                          stay_stopped=True)
        self.assertRegex(output, rf'Guest: +{self.kind}')
        self.assertRegex(output, r'Registers: +readable')

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


class DebugsByType(LinuxCase):
    """With the debugging information of the guest's kernel (optional)."""

    cpus = 2

    @classmethod
    def setUpClass(cls):
        cls.with_types = linux.debug_kernel()
        super().setUpClass()

    def gdb(self, *commands):
        """Output of a batch of gdb commands that knows all of the kernel."""
        return gdb.run(self.guest.gdb_socket, *commands, symbols=self.with_types,
                       seconds=240)

    def test_backtraces_of_both_vcpus(self):
        output = self.gdb('info threads', 'thread apply all backtrace')
        first, second = re.search(r'Thread 2 .*\n([^$]*)Thread 1 .*\n([^$]*)',
                                  output).groups()
        self.assertRegex(first, r'#\d+ .* start_secondary ')
        self.assertRegex(second, r'#\d+ .* start_kernel ')
        for text in first, second:
            self.assertRegex(text, r'#\d+ .* do_idle \(\)')
        self.assertEqual(set(re.findall(r'\(CPU#(\d) \[\w+ *\]\)', output)),
                         {'0', '1'})

    def test_backtrace_of_a_kernel_thread(self):
        output = self.gdb('break process_one_work', 'continue', 'backtrace',
                          'print worker->task->comm', 'print worker->task->flags'
                          ' & 0x200000', 'delete')
        frames = re.findall(r'^#\d+ +(?:0x\w+ in )?(\w+) \(', output, re.M)
        self.assertEqual(frames[-4:-1], ['process_one_work', 'worker_thread',
                                         'kthread'])
        self.assertIn('"kworker/', output)
        self.assertIn(f'= {0x200000}\n', output)      # PF_KTHREAD

    def test_backtrace_of_a_system_call(self):
        with gdb.Batch(self.guest.gdb_socket, f'break {SYSCALL}', 'continue', 'backtrace', 'delete',
                       symbols=self.with_types) as batch:
            batch.wait_for('Breakpoint 1 at', 240)
            self.guest.console.send('call with-types')
            output = batch.finish()
        self.guest.console.expect('@done call', 'the call to go on')
        frames = re.findall(r'^#\d+ +(?:0x\w+ in )?(\w+) \(', output, re.M)
        self.assertEqual(frames[:3], [SYSCALL, 'do_syscall_x64',
                                      'do_syscall_64'])

    def test_variables_by_type(self):
        value = random.randrange(1000, 1 << 30)
        output = self.gdb('print init_task.comm', 'print sizeof(init_task)',
                          f'print panic_timeout = {value}',
                          'print init_uts_ns.name.sysname')
        self.assertIn('"swapper/0', output)
        self.assertIn('"Linux', output)
        self.assertEqual(self.guest.read_line(PANIC), str(value))


class DebugsHidden(DebugsEncrypted):
    """An encrypted guest whose host sees zeros."""

    encrypted = 'mode=hidden'


class DebugsNormal(DebugsEncrypted):
    """An ordinary guest: gdb works as ever."""

    encrypted = None
    kind = 'normal'
