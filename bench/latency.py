# SPDX-License-Identifier: GPL-2.0-or-later
"""What a kernel that takes its time costs: SEV guests under the stand-in.

The stand-in spends the latency on a CPU, so that CPU time holds it.
"""

import contextlib

from common import Ratio, duration, in_turns, stopwatch
from encrypted import dump_seconds
from lib.dump import ELF
from lib.standin import StandIn

LATENCY_US = 20


class Guests(contextlib.ExitStack):
    """SEV guests that differ in their kernel's latency."""

    def __init__(self, mib, latencies, **settings):
        super().__init__()
        self.guests = [self.enter_context(StandIn(
            'sev', scripted=True, ram_mib=mib, latency_us=latency,
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
    """A call reads so much that its latency does not matter."""
    with Guests(256, (0, LATENCY_US), unified=1) as guests:
        without, with_latency = guests.dump(1 if quick else 7)
    ratio = Ratio.of_pairs(without, with_latency)
    report.row(item, duration(min(without)), duration(min(with_latency)),
               ratio, ('0.95', ratio.median >= 0.95))


def sev_dbg(report, item, quick):
    """A call reads a page and takes its time; QEMU adds little to that."""
    runs = 1 if quick else 7
    with Guests(64, (LATENCY_US,)) as guests:
        guest, = guests.guests
        before = len(guest.calls('KVM_SEV_DBG_DECRYPT'))
        times, = guests.dump(runs)
        pages = (len(guest.calls('KVM_SEV_DBG_DECRYPT')) - before) / runs
    calls = pages * LATENCY_US / 1e6
    ratio = Ratio([calls / time for time in times])
    report.row(item, duration(calls), duration(calls / ratio.median), ratio,
               ('0.91', ratio.median >= 1 / 1.1))


WAYS = {'unified ioctl, without and with': unified,
        'KVM_SEV_DBG_*, calls and all': sev_dbg}
TITLE, ITEMS = 'latency', tuple(WAYS)


def run(report, items, quick):
    """Measure @items and print them."""
    report.table(f'Dumps of SEV guests whose kernel takes {LATENCY_US} us for '
                 'a call: CPU time', 'ideal', 'real')
    for item in items:
        report.progress(f'{TITLE}: {item}')
        WAYS[item](report, item, quick)
