# SPDX-License-Identifier: GPL-2.0-or-later
"""Windows crash dumps of a synthetic guest: real structures, no Windows.

What the fw_cfg driver of a Windows guest gives to the vmcoreinfo device is a
crash dump header (QEMU: include/qemu/win_dump_defs.h) in an ELF note; it leads
to the kernel's KDBG block, and that to the processors' contexts.
"""

import struct
import unittest

from lib import dump, qtest
from lib.paging import LARGE, LEVEL4, PRESENT, RW, PAGE, PagingGuest
from lib.qemu import binary
from lib.qmp import QMPError

WIN_DMP = 'win-dmp'
HEADER = 8192               # bytes of a 64-bit header
BASE = 0xfffff80000000000   # virtual address of all memory
RAX, RCX, RIP = 0, 2, 16

# Guest-physical addresses.  Tables and note are not in the dump.
TABLES, NOTE, KERNEL = 0x1000000, 0x1100000, 0x1400000
KDBG, BUGCHECK, PROCESSORS, PRCB, CONTEXT = (
    KERNEL + PAGE * i + 0x230 for i in range(1, 6))
PRCB_CONTEXT = 0x5f0        # offset in a PRCB
RUNS = [(KERNEL // PAGE, 512), (0x2000000 // PAGE, 256)]
PAGES = sum(count for _, count in RUNS)
PFN_DATABASE = 0xfffffa8000000000
BUGCHECK_DATA = struct.pack('<QQQQQ', 0xd1, 1, 2, 3, 4)

# Offsets in a 64-bit header and in a context
DIRECTORY, PFN, NUMBER_PROCESSORS, CODE, KDBG_POINTER, RUN_COUNT, SPACE = (
    16, 24, 52, 56, 128, 136, 4000)
CONTEXT_SIZE, CONTEXT_FLAGS, CONTEXT_RAX, CONTEXT_RCX = 1232, 48, 120, 128

REGISTERS = {RAX: 0x1122334455667788, RCX: 0x99, RIP: BASE + KERNEL}


def header(runs=RUNS, processors=1, root=TABLES, valid=b'DU64'):
    """A crash dump header as the driver fills it in."""
    data = bytearray(HEADER)
    struct.pack_into('<4s4sII', data, 0, b'PAGE', valid, 15, 19041)
    struct.pack_into('<Q', data, DIRECTORY, root)
    struct.pack_into('<I', data, NUMBER_PROCESSORS, processors)
    struct.pack_into('<Q', data, KDBG_POINTER, BASE + KDBG)
    struct.pack_into('<IIQ', data, RUN_COUNT, len(runs), 0, PAGES)
    for i, run in enumerate(runs[:43]):
        struct.pack_into('<QQ', data, RUN_COUNT + 16 + 16 * i, *run)
    return bytes(data)


def note(data, name=b'VMCOREINFO'):
    """The ELF note around a header."""
    return struct.pack('<III12s', len(name) + 1, len(data), 0, name) + data


class WindowsGuest(PagingGuest):
    """A stopped guest with a Windows kernel's structures in its memory.

    @registers  their values by number, None if they are protected
    """

    def __init__(self, *args, private_bit=0, registers=REGISTERS, **kwargs):
        super().__init__('-device', 'vmcoreinfo', *args,
                         private_bit=private_bit, **kwargs)
        self.root = TABLES | private_bit
        self.registers = registers
        self.command += qtest.arguments(self.folder)

    def give(self, the_note):
        """Put kernel and note into memory, and tell the device of the note."""
        self._write_tables()
        self._write_kernel()
        self.write(NOTE, the_note)
        qtest.announce_vmcoreinfo(self, NOTE, len(the_note), NOTE - PAGE)
        self.launch()
        if self.registers:
            self.paging(LEVEL4, self.root)
            for number, value in self.registers.items():
                self.register(number, value)

    def _write_tables(self):
        slots = [BASE >> shift & 511 for shift in LEVEL4.shifts]
        entry = PRESENT | RW | self._private_bit
        for depth in range(2):
            at = TABLES + depth * PAGE
            self.write(at + 8 * slots[depth],
                       (at + PAGE | entry).to_bytes(8, 'little'))
        self.write(TABLES + 2 * PAGE, b''.join(
            (i << 21 | entry | LARGE).to_bytes(8, 'little')
            for i in range(32)))

    def _write_kernel(self):
        for base, count in RUNS:
            for frame in range(base, base + count):
                self.write(frame * PAGE, b'Windows page %#10x\n' % frame * 4)
        for at, data in (
                (KDBG + 0x10, b'KDBG'),
                (KDBG + 0x88, struct.pack('<Q', BASE + BUGCHECK)),
                (KDBG + 0xc0, struct.pack('<Q', PFN_DATABASE)),
                (KDBG + 0x218, struct.pack('<Q', BASE + PROCESSORS)),
                (KDBG + 0x338, struct.pack('<H', PRCB_CONTEXT)),
                (BUGCHECK, BUGCHECK_DATA),
                (PROCESSORS, struct.pack('<Q', BASE + PRCB)),
                (PRCB + PRCB_CONTEXT, struct.pack('<Q', BASE + CONTEXT)),
                (CONTEXT, b'the guest keeps this' * 60)):
            self.write(at, data)

    def physical(self, gpa, size):
        """Guest memory as the debug layer reads it."""
        path = self.folder / 'saved'
        path.unlink(missing_ok=True)
        self.qmp.cmd('pmemsave', val=gpa, size=size, filename=str(path))
        return path.read_bytes()


class WindowsDump(unittest.TestCase):
    """Dumps in the Windows format."""

    def start(self, the_note=None, **kwargs):
        """A guest that has told of its header."""
        guest = self.enterContext(WindowsGuest(**kwargs))
        guest.give(the_note or note(header(root=guest.root)))
        return guest

    def take(self, guest, **arguments):
        """The dump's bytes."""
        path, result = dump.take(guest, WIN_DMP, **arguments)
        self.assertNotIn('warnings', result)
        return path.read_bytes()

    def test_structures(self):
        guest = self.start(encrypted='')
        before = guest.physical(CONTEXT, CONTEXT_SIZE)
        self.assertNotEqual(guest.host_memory(KDBG + 0x10, 4), b'KDBG')
        data = self.take(guest)
        self.assertEqual(len(data), HEADER + PAGES * PAGE)
        self.assertEqual(data[:8], b'PAGEDU64')
        self.assertEqual(struct.unpack_from('<Q', data, PFN)[0], PFN_DATABASE)
        self.assertEqual(data[CODE:CODE + 40], BUGCHECK_DATA)
        self.assertEqual(struct.unpack_from('<Q', data, SPACE)[0], len(data))
        kernel = data[HEADER:]
        context = kernel[CONTEXT - KERNEL:]
        self.assertEqual(struct.unpack_from('<I', context, CONTEXT_FLAGS)[0],
                         0x10001f)
        self.assertEqual(struct.unpack_from('<Q', context, CONTEXT_RAX)[0],
                         0x1122334455667788)
        self.assertEqual(struct.unpack_from('<Q', context, CONTEXT_RCX)[0],
                         0x99)
        self.assertIn(b'Windows page %#10x\n' % (RUNS[1][0] + 255), kernel)
        # The guest has got its own back
        self.assertEqual(guest.physical(CONTEXT, CONTEXT_SIZE), before)

    def test_equals_stock_qemus_dump_of_a_plain_guest(self):
        stock = self.take(self.start(program=binary(base=True)))
        self.assertEqual(self.take(self.start()), stock)
        for encrypted in '', 'mode=hidden':
            with self.subTest(encrypted):
                self.assertEqual(self.take(self.start(encrypted=encrypted)),
                                 stock)
        data = bytearray(self.take(self.start(encrypted='cbitpos=51',
                                              private_bit=1 << 51)))
        struct.pack_into('<Q', data, DIRECTORY, TABLES)
        self.assertEqual(data, stock)

    def test_detached(self):
        guest = self.start(encrypted='')
        data = self.take(guest)
        path, _ = dump.take(guest, WIN_DMP, 'detached', detach=True)
        event = guest.qmp.wait_event('DUMP_COMPLETED')      # of the first
        event = guest.qmp.wait_event('DUMP_COMPLETED')
        self.assertEqual(event['data']['result']['status'], 'completed')
        self.assertEqual(path.read_bytes(), data)

    def assert_fails(self, guest, why):
        """The dump fails, leaves nothing and the guest as it was."""
        before = guest.physical(CONTEXT, CONTEXT_SIZE)
        with self.assertRaisesRegex(QMPError, why):
            dump.take(guest, WIN_DMP, 'failed')
        if memory_is_encrypted(guest):
            # QEMU 11 looks at the header before it opens the file
            path = guest.folder / f'failed.{WIN_DMP}'
            self.assertEqual(path.read_bytes() if path.exists() else b'', b'')
        self.assertEqual(guest.physical(CONTEXT, CONTEXT_SIZE), before)

    def test_unreadable_page(self):
        guest = self.start(encrypted='')
        for page in NOTE, TABLES, 0x2000000:
            guest.qmp.cmd('qom-set', path='/objects/cg0', property='x-fault',
                          value=[{'start': page, 'size': PAGE}])
            with self.subTest(hex(page)):
                self.assert_fails(guest, f'{page:#x}.*x-fault')

    def test_policy_forbids(self):
        with WindowsGuest(encrypted='policy-debug=off') as guest:
            guest.give(note(header()))
            with self.assertRaisesRegex(QMPError, 'policy forbids'):
                dump.take(guest, WIN_DMP)
            self.assertFalse((guest.folder / f'dump.{WIN_DMP}').exists())

    def test_page_tables_are_not_known(self):
        guest = self.start(encrypted='protect-registers=on', registers=None)
        self.assert_fails(guest, 'registers of this guest are protected')

    def test_protected_registers_are_not_put_into_the_context(self):
        guest = self.start(encrypted='protect-registers=on', registers=None)
        guest.qmp.cmd('object-add', qom_type='memory-debug', id='md0',
                      paging='4level', root=TABLES)
        guest.qmp.cmd('qom-set', path='/machine', property='memory-debug',
                      value='md0')
        path, result = dump.take(guest, WIN_DMP)
        self.assertIn('protected', ' '.join(result['warnings']))
        context = path.read_bytes()[HEADER + CONTEXT - KERNEL:]
        self.assertEqual(context[:20], b'the guest keeps this')

    def test_header_that_leads_beyond_its_note(self):
        short = note(header())[:24 + 4096]
        short = short[:4] + (4096).to_bytes(4, 'little') + short[8:]
        for encrypted in None, '':
            for why, the_note in (
                    ('cannot hold', note(header(runs=RUNS * 500))),
                    ('too short', short),
                    ('invalid header', note(header(valid=b'....')))):
                with self.subTest(why, encrypted=encrypted):
                    guest = self.start(the_note, encrypted=encrypted)
                    self.assert_fails(guest, why)

    def test_note_that_is_none(self):
        guest = self.start(note(header(), b'SOMETHING')[:24 + HEADER],
                           encrypted='')
        self.assert_fails(guest, 'invalid vmcoreinfo note')

    def test_runs_where_there_is_no_ram(self):
        for runs in [(0x100000, 16)], [(KERNEL // PAGE, 1 << 40)]:
            with self.subTest(runs):
                guest = self.start(note(header(runs=runs)), encrypted='')
                self.assert_fails(guest, 'where there is no RAM')

    def test_more_processors_than_there_are(self):
        guest = self.start(note(header(processors=0xffffffff)), encrypted='')
        before = guest.physical(0, guest.ram_size)
        dump.take(guest, WIN_DMP)
        self.assertEqual(guest.physical(0, guest.ram_size), before)


def memory_is_encrypted(guest):
    """Is it a simulated encrypted guest?"""
    return any('sim-encrypted-guest' in word for word in guest.command)
