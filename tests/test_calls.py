# SPDX-License-Identifier: GPL-2.0-or-later
"""What it costs to look into an encrypted guest: calls of its backend.

Counted, not timed, so that it is exact: by the simulated guest's counters and
by the KVM stand-in's log.  Always on a cold cache: the VM has just run, or
runs.  A call reads a run of pages, of KVM_SEV_DBG_DECRYPT a page.
"""

import re
import unittest

from lib import doors, dump, gdb
from lib.kvm_case import debuggable
from lib.qemu import Qemu
from lib.standin import BUILD, StandIn, has_kvm
from lib.wait import Deadline
from payload.build import build, text_lines

PAGE = 4096
MIB = 1 << 20
LEVELS = 4          # of the payload's page tables
TABLES = 6          # the pages they have: 1, 2, 2 and 1 of each level
CONVERTS = 'snp', 'tdx'     # with these, there are 2 of the last level
READS = ('KVM_SEV_DBG_DECRYPT', 'KVM_MEMORY_ENCRYPT_READ_MEMORY')
FREE = 4 * MIB      # from here on, RAM that nothing is in
MUCH = 6 * MIB
RAM_MIB = 16


class Simulated(Qemu):
    """The payload in a simulated encrypted guest."""

    def __init__(self, *args):
        self.payload = build('plain', str(BUILD), 0)
        super().__init__(
            '-accel', 'tcg', *args, '-vga', 'none', '-bios', self.payload.image,
            '-object', 'sim-encrypted-guest,id=cg0', ram_mib=RAM_MIB,
            machine='q35,confidential-guest-support=cg0')

    wait_running = StandIn.wait_running

    def reads(self):
        """Calls so far that have read private memory."""
        return self.qmp.cmd('query-memory-debug')['counts']['reads']


class KVM(StandIn):
    """The payload under the stand-in, with its page tables known."""

    def reads(self):
        """Calls so far that have read private memory."""
        log = self.stand_in_log()
        return sum(log.count(f' {name} gpa=') for name in READS)


class Calls:
    """What all guests have in common; `open_guest` starts one.

    `by_page`: the backend reads a page a call, not a run.
    """

    by_page = False
    registers = True
    looked_at = TABLES      # pages of page tables
    # SEV asks them what is private, before it reads by physical address, once
    # while the VM is stopped; the host of other guests knows
    tables = 0
    tick_bytes = '48 8b 05 '    # mov counter(%rip),%rax

    @classmethod
    def setUpClass(cls):
        cls.guest = cls.enterClassContext(cls.open_guest())
        cls.guest.wait_running()
        cls.map = cls.guest.payload.map
        cls.start = cls.map['TEXT_PRIVATE']
        cls.text = text_lines(b'PRV', cls.start, cls.map['TEXT_SHARED'])
        if not cls.registers:
            cls.guest.qmp.cmd(
                'object-add', **{'qom-type': 'memory-debug'}, id='md0',
                paging='4level', root=cls.guest.payload.phys('pml4'))
            cls.guest.qmp.cmd('qom-set', path='/machine',
                              property='memory-debug', value='md0')

    def run_length(self, size):
        """Calls for @size bytes in a row."""
        return -(-size // (PAGE if self.by_page else MIB))

    def calls(self, look, running):
        """Calls that @look makes, and what it returned."""
        self.guest.cont()       # decrypted pages are wiped
        if not running:
            self.guest.stop()
        before = self.guest.reads()
        result = look()
        calls = self.guest.reads() - before
        self.assertEqual(self.guest.qmp.cmd('query-status')['running'],
                         running)
        return calls, result

    def expect(self, wanted, look, check=None, physical=False):
        """@look makes @wanted calls, the VM stopped or running.

        @check is given what it returned.  @physical: at physical addresses,
        which do not say themselves what is private.
        """
        for running in False, True:
            with self.subTest(running=running):
                calls, result = self.calls(look, running)
                if check:
                    check(result)
                asked = self.tables if physical and not running else 0
                self.assertEqual(calls, wanted + asked, str(result)[:200])

    def hmp(self, line):
        """A look by a monitor command."""
        return lambda: self.guest.qmp.hmp(line)

    def shows(self, text):
        """A check that a monitor command has printed just @text."""
        def check(output):
            data = b''.join(
                int(word, 16).to_bytes((len(word) - 2) // 2, 'little')
                for word in re.findall(r' (0x[0-9a-f]+)', output))
            self.assertEqual(data, text)

        return check

    def virtual(self):
        """The virtual address of the text."""
        return self.guest.payload.virt(self.start)

    def test_the_host_does_not_see_the_text(self):
        """The control of all reads here."""
        self.guest.cont()
        self.guest.stop()
        raw = self.guest.host_memory(self.start, len(self.text))
        self.assertNotIn(b'PRV 00', raw)

    def test_xp_of_a_page(self):
        for items in '4096xb', '1024xw', '512xg':
            with self.subTest(items):
                self.expect(1, self.hmp(f'xp/{items} 0x{self.start:x}'),
                            self.shows(self.text[:PAGE]), physical=True)

    def test_xp_of_pages_is_a_call_a_page(self):
        """However the lines lie across them."""
        self.expect(3, self.hmp(f'xp/{2 * PAGE}xb 0x{self.start + 5:x}'),
                    self.shows(self.text[5:5 + 2 * PAGE]), physical=True)

    def test_x_of_a_page(self):
        self.expect(LEVELS + 1, self.hmp(f'x/512xg 0x{self.virtual():x}'),
                    self.shows(self.text[:PAGE]))

    def test_x_of_pages(self):
        self.expect(LEVELS + 4,
                    self.hmp(f'x/{len(self.text)}xb 0x{self.virtual():x}'),
                    self.shows(self.text))

    def test_disassembly(self):
        tick = self.guest.payload.symbols['tick']

        def check(output):
            self.assertEqual(len(re.findall('^0x', output, re.M)), 12, output)
            self.assertIn(self.tick_bytes, output)

        self.expect(LEVELS + 1, self.hmp(f'x/12i 0x{tick:x}'), check)
        self.expect(1, self.hmp(
            f'xp/12i 0x{self.guest.payload.phys("tick"):x}'), check,
            physical=True)

    def test_info_tlb_and_mem_read_each_table_once(self):
        virtual = f'{self.virtual():016x}'
        for command in 'info tlb', 'info mem':
            with self.subTest(command):
                self.expect(self.looked_at, self.hmp(command), lambda output: (
                    self.assertIn(virtual[:11], output)))

    def test_translation(self):
        self.expect(LEVELS, self.hmp(f'gva2gpa 0x{self.virtual():x}'),
                    lambda output: self.assertIn(f'0x{self.start:x}', output))

    def saved(self, command, addr, size):
        """A look by memsave or pmemsave."""
        path = self.guest.folder / 'saved'

        def save():
            self.guest.qmp.cmd(command, val=addr, size=size,
                               filename=str(path))
            return path.read_bytes()

        return save

    def test_saving_pages(self):
        def check(data):
            self.assertEqual(data, self.text)

        run = self.run_length(len(self.text))
        self.expect(run, self.saved('pmemsave', self.start, len(self.text)),
                    check, physical=True)
        self.expect(LEVELS + run, self.saved('memsave', self.virtual(),
                                             len(self.text)), check)

    def test_reading_by_qmp(self):
        def read(space, addr):
            return lambda: self.guest.qmp.cmd(
                'memory-debug-read', space=space, address=addr,
                size=len(self.text))

        run = self.run_length(len(self.text))
        self.expect(run, read('physical', self.start), physical=True)
        self.expect(LEVELS + run, read('virtual', self.virtual()))


class Much:
    """Guests whose RAM can all be read, be it in use or not."""

    def test_xp_until_nothing_is_there(self):
        """Lines before the error come first."""
        end = self.guest.ram_size

        def check(output):
            lines = doors.ASSUMED_PRIVATE.sub('', output).splitlines()
            self.assertEqual(len(lines), 4 + 2, output)
            self.assertIn('Cannot access memory', lines[4])
            self.assertIn(f'nothing is mapped at physical address 0x{end:x}',
                          lines[5])

        self.expect(1, self.hmp(f'xp/16xg 0x{end - 64:x}'), check,
                    physical=True)

    def test_pmemsave(self):
        """A call for each MiB, wherever it begins."""
        for start in FREE, FREE + PAGE:
            self.expect(self.run_length(MUCH),
                        self.saved('pmemsave', start, MUCH), physical=True)

    def test_memsave(self):
        """The 2 MiB that a large page maps."""
        self.expect(LEVELS - 1 + self.run_length(2 * MIB), self.saved(
            'memsave', self.map['RAM_BASE'], 2 * MIB))

    def dumped(self, kind, **arguments):
        """A look by a dump, which stops the VM."""
        def look():
            path, _ = dump.take(self.guest, kind, **arguments)
            return path

        return look

    def test_dump_of_a_range(self):
        calls, path = self.calls(self.dumped(
            'elf', begin=FREE, length=MUCH), False)
        self.assertEqual([segment[0::2] for segment in dump.segments(path)],
                         [(FREE, MUCH)])
        self.assertEqual(calls, self.run_length(MUCH) + self.tables)

    def test_dump_of_all(self):
        """A call for each MiB, or part of one where something begins; ELF has
        one more for each 128 MiB, to see whether pages are missing."""
        calls, path = self.calls(self.dumped('elf'), False)
        segments = [segment[0::2] for segment in dump.segments(path)]
        self.assertGreater(sum(size for _, size in segments),
                           (RAM_MIB - 1) * MIB)
        samples = sum(-(-size // (128 * MIB)) for _, size in segments)
        self.assertLessEqual(calls, self.most(segments) + samples)
        for kind in 'kdump-zlib', 'kdump-raw-lzo':
            others = self.calls(self.dumped(kind), False)[0]
            self.assertLessEqual(others, self.most(segments))
            self.assertLessEqual(abs(calls - others), samples)

    def most(self, segments):
        """Calls that a dump of (address, size) @segments may take."""
        unit = PAGE if self.by_page else MIB
        windows = sum((start + size - 1) // unit - start // unit + 1
                      for start, size in segments)
        # A run ends at a shared page, and another begins behind it
        return windows + self.tables + (0 if self.by_page else self.shared)


@unittest.skipUnless(gdb.available(), 'there is no gdb')
class Gdb:
    """gdb's own commands; the guest's registers must be readable."""

    COUNT = 'monitor info memory-debug'

    def session(self, *commands):
        """What gdb prints between the counts that COUNT prints, and these."""
        self.guest.cont()
        output = gdb.run(self.guest.gdb_socket, self.COUNT, *commands,
                         symbols=self.guest.payload.elf)
        parts = re.split(r'^Private memory: (\d+) reads.*$', output,
                         flags=re.MULTILINE)
        return parts[2::2], [int(count) for count in parts[1::2]]

    def test_disassembly_of_100_instructions(self):
        """Whatever gdb reads of its own when it attaches included."""
        self.guest.cont()
        before = self.guest.reads()
        texts, _ = self.session('x/100i tick')
        calls = self.guest.reads() - before
        self.assertEqual(len(re.findall('^(?:=>|  ) 0x', texts[0],
                                         re.M)), 100)
        self.assertIn('pause', texts[0])
        self.assertLessEqual(calls, LEVELS + 2)

    def test_single_step_with_a_displayed_expression(self):
        step = ('stepi', self.COUNT)
        texts, counts = self.session(
            'display/i $pc', 'display *(long *)&counter', self.COUNT,
            *step * 12)
        self.assertEqual(len(counts), 14)
        for text, before, after in zip(texts[1:], counts[1:], counts[2:]):
            self.assertIn('2: *(long *)&counter = ', text)
            self.assertRegex(text, r'(?m)^1: x/i \$pc$')
            self.assertLessEqual(after - before, LEVELS + 3)
            self.assertGreater(after - before, LEVELS)


class SimulatedGuest(Calls, Much, Gdb, unittest.TestCase):
    """A run of pages is a call."""

    open_guest = Simulated
    shared = 0


class VcpusWithTheSamePageTables(unittest.TestCase):
    """A dump with paging reads the tables once, not once for each vCPU."""

    def calls(self, cpus):
        """Calls that it makes when all @cpus use the same tables."""
        with Simulated('-smp', str(cpus), '-cpu', 'max') as guest:
            guest.wait_running()
            deadline = Deadline(30)
            root = f'CR3={guest.payload.phys("pml4"):016x}'
            while guest.qmp.hmp('info registers -a').count(root) < cpus:
                deadline.check('all vCPUs to use the same page tables')
            guest.stop()
            before = guest.reads()
            path, _ = dump.take(guest, 'elf', paging=True)
            self.assertGreater(len(dump.segments(path)), 1)
            return guest.reads() - before

    def test_four_cost_what_one_costs(self):
        self.assertEqual(self.calls(4), self.calls(1))


def kvm_classes():
    """A class for each kind of guest and backend, with and without KVM."""
    for name, kind, bases in (
            ('Sev', 'sev', (Calls, Much, Gdb)),
            ('SevEs', 'sev-es', (Calls,)),
            ('Snp', 'snp', (Calls,)),
            ('Tdx', 'tdx', (Calls,))):
        for scripted in True, False:
            if not scripted and name != 'Sev':
                continue    # the same calls as without KVM
            yield type(name + ('Scripted' if scripted else 'OnKvm'),
                       (*bases, unittest.TestCase), {
                '__module__': __name__,
                'by_page': kind.startswith('sev'),
                'registers': kind == 'sev',
                'tables': TABLES if kind.startswith('sev') else 0,
                'looked_at': TABLES + (kind in CONVERTS),
                'shared': 3,
                'open_guest': (lambda kind=kind, scripted=scripted: KVM(
                    kind, scripted=scripted, ram_mib=RAM_MIB,
                    **debuggable(kind))),
                '__unittest_skip__': not scripted and not has_kvm(),
                '__unittest_skip_why__': 'there is no /dev/kvm'})


for case in kvm_classes():
    globals()[case.__name__] = case
del case
