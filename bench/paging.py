# SPDX-License-Identifier: GPL-2.0-or-later
"""What `info tlb` costs by page of page tables."""

import base64
import functools
import re
import statistics

from common import NOISE, Ratio, duration, in_turns, stopwatch
from lib.linux import LinuxGuest
from lib.qemu import binary

ADDRESS = (1 << 52) - (1 << 12)
PRESENT, LARGE = 1 << 0, 1 << 7
C_BIT = 1 << 51
SECONDS = 600


def count_tables(read, root):
    """Pages of tables below @root: @read(gpa) returns a page."""
    pages, todo = 0, [(root & ADDRESS & ~C_BIT, 4)]
    while todo:
        gpa, level = todo.pop()
        data = read(gpa)
        pages += 1
        if level == 1:
            continue
        for i in range(0, len(data), 8):
            entry = int.from_bytes(data[i:i + 8], 'little')
            if entry & PRESENT and not (level < 4 and entry & LARGE):
                todo.append((entry & ADDRESS & ~C_BIT, level - 1))
    return pages


def _root(guest):
    registers = guest.qmp.hmp('info registers')
    return int(re.search(r'CR3=(\w+)', registers)[1], 16)


def _tables(guest):
    """How many pages of tables the stopped @guest has."""
    def read(gpa):
        answer = guest.qmp.cmd('memory-debug-read', address=gpa, size=4096,
                               space='physical')
        return base64.b64decode(answer['data'])

    if not guest.encrypted:
        read = functools.partial(guest.host_memory, length=4096)
    return count_tables(read, _root(guest))


class Guest(LinuxGuest):
    """A Linux guest that has booted and been stopped."""

    def __init__(self, encrypted=None, base=False):
        super().__init__(encrypted=encrypted, accel='tcg',
                         program=binary(base=base))
        self.encrypted = encrypted is not None

    def _start(self):
        super()._start()
        self.boot(SECONDS)
        self.stop()
        self.tables = _tables(self)

    def seconds_per_table(self):
        """CPU time of info tlb, of which nothing is known from before."""
        self.cont()
        self.stop()
        sample = stopwatch(self, self.qmp.hmp, 'info tlb', SECONDS)
        return sample.cpu / self.tables

    def calls(self):
        """How often private memory has been read."""
        info = self.qmp.cmd('query-memory-debug')
        return info['counts']['reads']


def normal(report, item, runs):
    """Base and series."""
    with Guest(base=True) as base, Guest() as ours:
        times = in_turns(runs, base.seconds_per_table, ours.seconds_per_table)
    ratio = Ratio.of_pairs(*times)
    report.row(f'{item}, {ours.tables} tables',
               *(duration(statistics.median(t)) for t in times), ratio,
               ('1.00', ratio.median >= 1 - NOISE))


def encrypted(report, item, runs):
    """The series, by time and by calls."""
    with Guest(encrypted='') as guest:
        before = guest.calls()
        times = [guest.seconds_per_table() for _ in range(runs)]
        calls = (guest.calls() - before) / runs / guest.tables
    report.row(f'{item}, {guest.tables} tables', '',
               duration(statistics.median(times)))
    report.row('  calls of its backend', '', f'{calls:.2f}',
               goal=('1.00', calls <= 1))


WAYS = {'normal guest': normal, 'encrypted guest': encrypted}
TITLE, ITEMS = 'info tlb', tuple(WAYS)


def run(report, items, quick):
    """Measure @items and print them."""
    report.table('info tlb of a Linux guest: CPU time per page of page tables')
    for item in items:
        report.progress(f'{TITLE}: {item}')
        WAYS[item](report, item, 3 if quick else 21)
