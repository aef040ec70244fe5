# SPDX-License-Identifier: GPL-2.0-or-later
"""What a backend that takes its time costs: dumps.

Guests under the stand-in, which spends the latency on a CPU, so that CPU
time holds it; and a simulated guest, which sleeps, so that readers beyond the
number of CPUs help.
"""

import contextlib
import tempfile
from pathlib import Path

from common import MIB, Ratio, duration, in_turns, stopwatch
from encrypted import START, Guest, dump_seconds, write_memory
from lib.dump import ELF
from lib.standin import StandIn

LATENCY_US = 20
READ_US = 256 * 1000    # of 1 MiB in one call: 1 ms for each page
QUICK_US = READ_US // 5


class Guests(contextlib.ExitStack):
    """Guests that differ in their kernel's latency."""

    def __init__(self, kind, mib, latencies, **settings):
        super().__init__()
        self.guests = [self.enter_context(StandIn(
            kind, scripted=True, ram_mib=mib, latency_us=latency,
            **settings)) for latency in latencies]
        for guest in self.guests:
            guest.wait_running()
            guest.stop()

    def dump(self, runs):
        """CPU time of ELF dumps, for each guest; taken in turns."""
        return in_turns(runs, *(
            lambda guest=guest: stopwatch(guest, dump_seconds, guest, ELF).cpu
            for guest in self.guests))


def unified(report, item, quick):
    """A call reads so much that its latency does not matter.

    The guest touches all its memory: what is missing is searched for.
    """
    touched = f'text 0x20565250 0 {256 * MIB:#x}'
    with Guests('snp', 256, (0, LATENCY_US), unified=1,
                setup=[touched]) as guests:
        without, with_latency = guests.dump(1 if quick else 7)
    ratio = Ratio.of_pairs(without, with_latency)
    report.row(item, duration(min(without)), duration(min(with_latency)),
               ratio, ('0.95', ratio.median >= 0.95))


def sev_dbg(report, item, quick):
    """A call reads a page and takes its time; QEMU adds little to that."""
    runs = 1 if quick else 7
    with Guests('sev', 64, (LATENCY_US,)) as guests:
        guest, = guests.guests
        before = len(guest.calls('KVM_SEV_DBG_DECRYPT'))
        times, = guests.dump(runs)
        pages = (len(guest.calls('KVM_SEV_DBG_DECRYPT')) - before) / runs
    calls = pages * LATENCY_US / 1e6
    ratio = Ratio([calls / time for time in times])
    report.row(item, duration(calls), duration(calls / ratio.median), ratio,
               ('0.91', ratio.median >= 1 / 1.1))


def readers(number, goal):
    """As many readers against one; a call of 1 MiB sleeps."""
    def measure(report, item, quick):
        with tempfile.TemporaryDirectory(prefix='bench-') as folder:
            memory = Path(folder, 'memory')
            write_memory(memory, 96 * MIB - START)
            with Guest(96, memory, True) as guest:
                guest.qmp.cmd('qom-set', path='/objects/cg0',
                              property='x-latency-us',
                              value=QUICK_US if quick else READ_US)
                one, several = in_turns(1 if quick else 3, *(
                    lambda n=n: dump_seconds(guest, ELF, readers=n)
                    for n in (1, number)))
        ratio = Ratio.of_pairs(one, several)
        report.row(item, duration(min(one)), duration(min(several)), ratio,
                   (f'{goal:.2f}', ratio.median >= goal))

    return measure


WAYS = {'unified ioctl, without and with': unified,
        'KVM_SEV_DBG_*, calls and all': sev_dbg,
        **{f'{number} readers, against one': readers(number, goal)
           for number, goal in ((2, 1.8), (4, 3.5), (8, 6.5))}}
TITLE, ITEMS = 'latency', tuple(WAYS)


def run(report, items, quick):
    """Measure @items and print them."""
    report.table(f'Dumps of guests whose kernel takes {LATENCY_US} us for '
                 'a call: CPU time;\nof a simulated guest that takes 1 ms for '
                 'a page: time', 'ideal', 'real')
    for item in items:
        report.progress(f'{TITLE}: {item}')
        WAYS[item](report, item, quick)
