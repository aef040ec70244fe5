# SPDX-License-Identifier: GPL-2.0-or-later
"""What each door says on a real kernel, beside what it says on the stand-in.

The doors and the judgement are those of tests/fault-matrix. What it found is
tests/fault-matrix.rst; where a software-protected guest on a kernel with the
series answers otherwise, different() says so, and why.
"""
import ctypes
import os
import unittest
from pathlib import Path

from lib import dump, fault_matrix, qtest
from lib.fault_matrix import Error
from lib.faults import PAGE, Faulty
from lib.qemu import ROOT

from . import guest, tap

SYS_PIDFD_GETFD = 438
KEEP_SIZE, PUNCH_HOLE = 1, 2

READ = 'cannot read physical address ADDR: REASON'
HERE = f'virtual address ADDR: {READ}'
DUMP = (f'unreadable: ADDR: REASON Warning: the dump has no VMCOREINFO note: '
        f'VMCOREINFO note at physical address ADDR: {READ}')


def different():
    """{(row of the table, group, door): (what it says here, why)}"""
    registers = ("its registers are readable, an SNP guest's and a TD's are "
                 'not')
    tables = 'its page tables are shared memory'
    low = 'the memory at address 0 is shared'
    policy, kernel = 'TDX, debug=off', 'TDX, no unified ioctls'
    here = {
        ('HMP', 'x'): f'ADDR: Cannot access memory Error: {HERE}',
        ('HMP', 'x, tables'): f'ADDR: Cannot access memory Error: {HERE}',
        ('HMP', 'x /i'): f'ADDR: unable to read memory Error: {HERE}',
        ('HMP', 'memsave'): f'Error: only N of N bytes were saved: {HERE}',
        ('HMP', 'info tlb'): 'ok',
        ('HMP', 'info mem'): 'ok',
        ('HMP', 'gva2gpa'): 'ok',
        ('QMP', 'memory-debug-read, virtual'): HERE,
        ('QMP', 'memsave'): f'only N of N bytes were saved: {HERE}',
        ('gdb', 'm'): f'E14 {HERE}',
        ('gdb', 'M'): f'E14 {HERE.replace("read", "write")}',
        ('dump', 'elf, paging'): DUMP,
        ('dump', 'elf, paging, tables'): DUMP,
    }
    return {
        (policy, 'gdb', 'Z0'):
            ('E22 cannot insert a breakpoint: REASON', registers),
        ('unified: ENOENT', 'gdb', 'Z0'): (f'E22 {HERE}', registers),
        (kernel, 'gdb', 'Z0'): (f'E22 {HERE}', registers),
        **{(kernel, *door): (words, tables) for door, words in here.items()},
        **{(kernel, 'dump', name): (DUMP, low)
           for name in (*dump.FORMATS, 'elf, note')},
    }


class FaultyGuest(Faulty, guest.Guest):
    """A software-protected guest whose pages can be taken away."""

    private_tables = heals = False

    def __init__(self, **kwargs):
        super().__init__('-device', 'vmcoreinfo', **kwargs)
        self.command += qtest.arguments(self.folder)
        self.program_map = self.payload

    def inject(self, access, gpa, answer):
        """Punch a hole into guest_memfd, which QEMU itself does not."""
        libc = ctypes.CDLL(None, use_errno=True)
        fd = self._guest_memfd(libc)
        try:
            if libc.fallocate(fd, PUNCH_HOLE | KEEP_SIZE, ctypes.c_int64(gpa),
                              ctypes.c_int64(PAGE)):
                raise OSError(ctypes.get_errno(), 'punching a hole')
        finally:
            os.close(fd)

    def _guest_memfd(self, libc):
        """QEMU's own file descriptor of it, that of all RAM."""
        pidfd = os.pidfd_open(self.process.pid)
        try:
            for link in Path(f'/proc/{self.process.pid}/fd').iterdir():
                if 'kvm-gmem' not in os.readlink(link):
                    continue
                fd = libc.syscall(SYS_PIDFD_GETFD, pidfd, int(link.name), 0)
                if fd >= 0 and os.fstat(fd).st_size == self.ram_size:
                    return fd
                os.close(fd)
        finally:
            os.close(pidfd)
        raise FileNotFoundError('QEMU has no guest_memfd of all RAM')

    def heal(self):
        """A page that was taken away is gone."""


def table():
    """{row of fault-matrix.rst: {(group, door): what it says}}"""
    found = {}
    text = Path(ROOT, 'tests/fault-matrix.rst').read_text()
    for group, title, cells in fault_matrix.read_rst(text):
        for name, words in cells.items():
            found.setdefault(title, {})[group, name] = words
    return found


class Case(unittest.TestCase):
    """A row of the table."""

    def compare(self, row, *titles):
        """@row is what the rows @titles of the table say, and what differs."""
        theirs, known, wrong = {}, different(), []
        for title in titles:
            theirs.update(table()[title])
        for door, words in row.cells.items():
            ours = words or 'ok'
            place = door.group, door.name
            said = theirs[place]
            wanted, why = known.get((titles[-1], *place), (said, 'NOT KNOWN'))
            print(f'# {titles[-1]} | {door.group} {door.name} | {ours}' +
                  (f' | stand-in: {said} | {why}' if ours != said else ''))
            if ours != wanted:
                wrong.append(f'{place}: {ours!r}, not {wanted!r}')
        self.assertEqual('\n'.join(wrong), '')

    def refusal(self, title, **kwargs):
        """A guest of which debugging, or a part of it, is denied."""
        complaints = []
        with FaultyGuest(**kwargs) as faulty:
            faulty.prepare()
            row = fault_matrix.run_refusal(faulty, title, complaints.append)
        self.assertEqual(complaints, [])
        self.compare(row, title)
        return row


class Doors(Case):
    """On a kernel with the series."""

    def test_pages_that_are_not_there(self):
        complaints = []
        with FaultyGuest() as faulty:
            faulty.prepare()
            row = fault_matrix.run_error(
                faulty, 'unified', Error('', 'ENOENT', absent=True),
                complaints.append)
        self.assertEqual(complaints, [])
        self.assertIn('No such file or directory', row.reason)
        self.compare(row, 'unified: every other error',
                     'unified: ENOENT')

    def test_policy_off(self):
        self.refusal('TDX, debug=off', confidential=',debug=off')


if __name__ == '__main__':
    tap.main()
