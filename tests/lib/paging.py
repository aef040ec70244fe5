# SPDX-License-Identifier: GPL-2.0-or-later
"""A QEMU whose page tables and paging registers a test writes; no guest code.

Tables are written into the memory as the host has it, registers with gdb's P
packet.  Modes and Tables know the formats independently of QEMU.
"""

import copy
import os
import random

from .qemu import Qemu
from .rsp import RSP, RSPError

PRESENT, RW, USER, LARGE, NX = 1 << 0, 1 << 1, 1 << 2, 1 << 7, 1 << 63
ADDRESS = (1 << 52) - (1 << 12)
PAGE = 4096

# How the gdbstub of qemu-system-x86_64 numbers them
CS, CR0, CR3, CR4, EFER = 18, 27, 29, 30, 32

CR0_PE, CR0_PG = 1 << 0, 1 << 31
CR4_PSE, CR4_PAE, CR4_LA57 = 1 << 4, 1 << 5, 1 << 12
EFER_LME = 1 << 8

CODE64 = 0x00af9a000000ffff     # descriptor of a 64-bit code segment
GDT = 0                         # as after reset
IDENTITY = 0x10000              # tables for the way into 64-bit mode
HLT = b'\xf4'


class Mode:
    """One paging mode.

    @shifts  what an entry of each level maps, as a power of 2; root first
    @large   the shifts at which an entry may map a page above 4 KiB
    """

    def __init__(self, name, shifts, entry_size, cr4, large, long_mode=False):
        self.name = name
        self.shifts = shifts
        self.entry_size = entry_size
        self.cr4 = cr4
        self.large = large
        self.long_mode = long_mode

    def entries(self, depth):
        """Number of entries of a table."""
        if self.name == 'PAE' and depth == 0:
            return 4
        return PAGE // self.entry_size

    def canonical(self, va):
        """@va as the CPU wants it."""
        if not self.long_mode:
            return va & 0xffffffff
        bits = self.shifts[0] + 9
        va &= (1 << bits) - 1
        return va | (-(va >> (bits - 1)) << bits) & (1 << 64) - 1

    def table(self, *values):
        """A table's bytes: @values, the rest of the entries not present."""
        return b''.join(value.to_bytes(self.entry_size, 'little')
                        for value in values).ljust(PAGE, b'\0')


BITS32 = Mode('32-bit', (22, 12), 4, 0, ())
PSE = Mode('32-bit PSE', (22, 12), 4, CR4_PSE, (22,))
PAE = Mode('PAE', (30, 21, 12), 8, CR4_PAE, (21,))
LEVEL4 = Mode('4-level', (39, 30, 21, 12), 8, CR4_PAE, (30, 21), True)
LEVEL5 = Mode('5-level', (48, 39, 30, 21, 12), 8, CR4_PAE | CR4_LA57,
              (30, 21), True)
MODES = (BITS32, PSE, PAE, LEVEL4, LEVEL5)


class PagingGuest(Qemu):
    """A stopped guest of 64 MiB that could do nothing but halt.

    @encrypted    None, or properties of a simulated encrypted guest
    @private_bit  what a leaf entry of such a guest needs for a private page
    @code         what the vCPU does after reset, up to 16 bytes
    """

    def __init__(self, *args, encrypted=None, private_bit=0, program=None,
                 code=HLT, machine='q35'):
        if encrypted is not None:
            machine += ',confidential-guest-support=cg0'
            args += ('-object', 'sim-encrypted-guest,id=cg0' +
                     (f',{encrypted}' if encrypted else ''))
        super().__init__('-accel', 'tcg', '-cpu', 'max', '-S',
                         '-global', 'apic-common.vapic=off', *args,
                         ram_mib=64, machine=machine, program=program)
        (self.folder / 'bios').write_bytes(
            HLT * (65536 - 16) + code.ljust(16, HLT))
        self.command += ['-bios', str(self.folder / 'bios')]
        self.rsp = self._file = None
        self._private_bit = private_bit

    def _start(self):
        super()._start()
        self.rsp = RSP(self.gdb_socket)
        # Opened by host_memory(), for reading only
        self.host_memory(0, 1)
        link = f'/proc/self/fd/{self._memory}'
        self._file = os.open(link, os.O_RDWR)
        self.write(GDT + 8, CODE64.to_bytes(8, 'little'))
        for offset, entry in ((0, IDENTITY + PAGE), (PAGE, IDENTITY + 2 * PAGE),
                              (2 * PAGE, LARGE | self._private_bit)):
            self.write(IDENTITY + offset, LEVEL5.table(entry | PRESENT))

    def _end(self):
        if self.rsp:
            self.rsp.close()
        if self._file is not None:
            os.close(self._file)
            self._file = None
        super()._end()

    def write(self, gpa, data):
        """Write the host's bytes: the guest's, before it has been launched."""
        os.pwrite(self._file, data, gpa)

    def register(self, number, value):
        """Set a register of the first vCPU."""
        packet = f'P{number:x}={value.to_bytes(8, "little").hex()}'
        answer = self.rsp.ask(packet)
        if answer != 'OK':
            raise RSPError(f'{packet}: {answer}')

    def paging_off(self):
        """Protected mode without paging."""
        self.register(CR0, CR0_PE)
        self.register(EFER, 0)
        self.register(CR4, 0)
        self.register(CS, 0)

    def paging(self, mode, root):
        """Switch paging on."""
        self.paging_off()
        self.register(CR4, mode.cr4)
        if not mode.long_mode:
            self.register(CR3, root)
            self.register(CR0, CR0_PE | CR0_PG)
            return
        # CR3 takes 64 bits in 64-bit mode only
        self.register(CR3, IDENTITY if mode is LEVEL5 else IDENTITY + PAGE)
        self.register(EFER, EFER_LME)
        self.register(CR0, CR0_PE | CR0_PG)
        self.register(CS, 8)
        self.register(CR3, root)

    def launch(self):
        """Let the guest halt, and stop it: now its memory is encrypted."""
        self.cont()
        self.stop()

    def hmp(self, line):
        """What the monitor prints."""
        return self.qmp.hmp(line, 300)


class Tables:
    """Random page tables of one mode in guest memory from 1 MiB on.

    With entries that are not present, have reserved bits set, point beyond
    RAM, or to a table that is in use already, be it above.  `probes` are
    addresses worth translating.

    @page_bit  is set in half of the entries
    @start     where the tables lie in guest memory
    @in_ram    share of small pages from DATA to RAM; others are anywhere
    """

    START = 0x100000
    PAGES = 64
    SIZE = PAGES * PAGE
    NOWHERE = 0x10000000        # beyond RAM, below all devices
    DATA, RAM = 0x1000000, 0x4000000

    def __init__(self, mode, seed, page_bit=0, start=START, in_ram=0):
        self.mode = mode
        self.page_bit = page_bit
        self.start = start
        self.in_ram = in_ram
        self.pages = {}         # address -> bytes
        self.probes = {0, 0xfff, 0x123456789000, 1 << 47, (1 << 64) - PAGE}
        self._random = random.Random(f'{mode.name} {seed}')
        self.root = self._table(0, 0)

    def _page(self):
        """A page for a table, and whether it is one already."""
        if len(self.pages) == self.PAGES or \
                self.pages and self._random.random() < 0.1:
            return self._random.choice(list(self.pages)), True
        return self.start + PAGE * len(self.pages), False

    def _target(self, depth, va, large):
        """The address bits of a present entry."""
        mode, rnd = self.mode, self._random
        if depth == len(mode.shifts) - 1 or \
                large and mode.shifts[depth] in mode.large:
            if self.in_ram and mode.shifts[depth] <= 22 and \
                    rnd.random() < self.in_ram:
                return rnd.randrange(self.DATA, self.RAM, PAGE)
            return rnd.getrandbits(52) & ADDRESS
        if rnd.random() < 0.1:
            return self.NOWHERE + PAGE * rnd.randrange(1024)
        return self._table(depth + 1, va)

    def _entry(self, depth, va):
        rnd = self._random
        large = rnd.random() < 0.3
        value = rnd.getrandbits(64) & ~(ADDRESS | LARGE | PRESENT)
        if rnd.random() < 0.15:
            value |= rnd.getrandbits(52) & ~PRESENT
        else:
            value |= PRESENT | (LARGE if large else 0) | \
                self._target(depth, va, large)
        value &= ~self.page_bit
        if rnd.random() < 0.5:
            value |= self.page_bit
        return value & (1 << self.mode.entry_size * 8) - 1

    def _table(self, depth, va):
        """Make a table and those below it; return its address."""
        mode, rnd = self.mode, self._random
        address, used = self._page()
        if used:
            return address
        self.pages[address] = b''
        values = [0] * mode.entries(depth)
        start = rnd.randrange(len(values))
        for slot in {start, (start + 1) % len(values), 0, len(values) - 1,
                     *(rnd.randrange(len(values)) for _ in range(4))}:
            span = 1 << mode.shifts[depth]
            slot_va = va + slot * span
            values[slot] = self._entry(depth, slot_va)
            self.probes.update(map(mode.canonical, (
                slot_va, slot_va + rnd.randrange(span), slot_va + span)))
        self.pages[address] = mode.table(*values)
        return address

    def without_bit(self):
        """The same tables for a guest whose entries have no such bit."""
        plain = copy.copy(self)
        size = self.mode.entry_size
        plain.page_bit = 0
        plain.pages = {
            address: self.mode.table(*(
                int.from_bytes(page[at:at + size], 'little') & ~self.page_bit
                for at in range(0, PAGE, size)))
            for address, page in self.pages.items()}
        return plain

    def leaves(self, depth=0, table=None, va=0, prot=RW | USER):
        """(va, shift, entry, prot) of each page, in the order of addresses.

        Addresses are not sign-extended; @prot is what all levels allow.
        """
        mode = self.mode
        page = self.pages.get(self.root if table is None else table)
        size = mode.entry_size
        for slot in range(mode.entries(depth) if page else 0):
            entry = int.from_bytes(page[slot * size:slot * size + size],
                                   'little')
            if not entry & PRESENT:
                continue
            shift = mode.shifts[depth]
            at = va + (slot << shift)
            allowed = prot & entry
            if mode is PAE and depth == 0:
                allowed = prot
            if shift == 12 or entry & LARGE and shift in mode.large:
                yield at, shift, entry, allowed
            else:
                yield from self.leaves(depth + 1,
                                       entry & ADDRESS & ~self.page_bit,
                                       at, allowed)

    def write(self, guest):
        """Put the tables into @guest's memory."""
        for address, page in self.pages.items():
            guest.write(address, page)

    def use(self, guest):
        """Put the tables into @guest's memory and switch paging on."""
        self.write(guest)
        guest.paging(self.mode, self.root)
