# SPDX-License-Identifier: GPL-2.0-or-later
"""How time and memory grow with the size of an encrypted guest."""

import re
import tempfile
from pathlib import Path

from common import MIB, Ratio, duration, stopwatch
from encrypted import Guest, dump_seconds, pmemsave_seconds, write_memory

SIZES = 256, 1024, 4096, 16384
FILLED = 64                 # MiB at the start of each; the rest is sparse
UNIT = 1024                 # what the others' speed is compared with
MORE_MIB = 4                # of QEMU's memory from the smallest to the largest

WAYS = {'dump elf': lambda guest: dump_seconds(guest, 'elf'),
        'dump kdump-lzo': lambda guest: dump_seconds(guest, 'kdump-lzo'),
        'pmemsave': pmemsave_seconds}
TITLE, ITEMS = 'size', tuple(WAYS)


class SparseGuest(Guest):
    """An encrypted guest whose memory, where it is zeros, takes none."""

    def __init__(self, mib, memory):
        super().__init__(mib, memory, True)
        i = self.command.index('-object')
        self.command[i + 1] = \
            f'memory-backend-ram,id=ram0,size={mib}M,reserve=off'

    def _status(self, name):
        text = Path(f'/proc/{self.process.pid}/status').read_text()
        return int(re.search(rf'^{name}:\s+(\d+) kB', text, re.M)[1]) / 1024

    def peak_mib(self, function):
        """The CPU time of @function, and the memory it took at its peak."""
        Path(f'/proc/{self.process.pid}/clear_refs').write_text('5')
        before = self._status('VmRSS')
        sample = stopwatch(self, function, self)
        return sample.cpu, self._status('VmHWM') - before


def measure(report, sizes, ways, runs):
    """{way: {size: (seconds, MiB)}}, the lowest of each."""
    found = {name: {} for name in ways}
    with tempfile.TemporaryDirectory(prefix='bench-') as folder:
        memory = Path(folder, 'memory')
        write_memory(memory, FILLED * MIB)
        for mib in sizes:
            report.progress(f'{TITLE}: {mib} MiB')
            with SparseGuest(mib, memory) as guest:
                for name, function in ways.items():
                    results = [guest.peak_mib(function) for _ in range(runs)]
                    found[name][mib] = tuple(map(min, zip(*results)))
    return found


def run(report, items, quick):
    """Measure @items and print them."""
    sizes = SIZES[:2] if quick else SIZES
    found = measure(report, sizes, {item: WAYS[item] for item in items},
                    1 if quick else 3)
    report.table('Encrypted guests of other sizes, sparse. Ratio: speed by '
                 f'that of {UNIT} MiB.\nGoal: 0.80, and at most {MORE_MIB} MiB '
                 f'of memory more than with {SIZES[0]} MiB', 'CPU time', 'memory')
    for item, results in found.items():
        allowed = results[SIZES[0]][1] + MORE_MIB
        for mib, (seconds, memory) in results.items():
            ratio = results[UNIT][0] / UNIT * mib / seconds
            goal = '0.80', ratio >= 0.8 and memory <= allowed
            report.row(f'{item}, {mib} MiB', duration(seconds),
                       f'{memory:.1f} MiB', Ratio([ratio]),
                       goal if mib > UNIT else None)
