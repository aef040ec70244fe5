# SPDX-License-Identifier: GPL-2.0-or-later
"""Dumps for Windows' debugger: base and series, plain and encrypted guest."""

import statistics

from common import NOISE, Ratio, duration, in_turns, stopwatch
from lib.qemu import binary
from test_dump_windows import WIN_DMP, WindowsGuest, header, note

DUMPS = 40              # of 3 MiB each


def _dump(guest):
    for _ in range(DUMPS):
        guest.qmp.cmd('dump-guest-memory', paging=False, format=WIN_DMP,
                      protocol='file:/dev/null')


def _measure(report, item, one, other, runs):
    """A line of the table; the ratio of the speeds."""
    with one, other:
        for guest in one, other:
            guest.give(note(header(root=guest.root)))
        times = in_turns(runs, lambda: stopwatch(one, _dump, one).cpu,
                         lambda: stopwatch(other, _dump, other).cpu)
    ratio = Ratio.of_pairs(*times)
    report.row(item, *(duration(statistics.median(t) / DUMPS) for t in times),
               ratio, ('1.00', not ratio.slower(NOISE)))


def run(report, items, quick):
    """Measure @items and print them."""
    report.table("Dumps for Windows' debugger, 3 MiB of a normal guest: CPU "
                 'time')
    for item in items:
        report.progress(f'{TITLE}: {item}')
        _measure(report, item, WindowsGuest(program=binary(base=True)),
                 WindowsGuest(), 1 if quick else 7)


TITLE, ITEMS = 'windows', ('dump win-dmp',)
