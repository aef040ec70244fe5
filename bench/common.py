# SPDX-License-Identifier: GPL-2.0-or-later
"""What all benchmarks share: measuring in turns, ratios, the table."""

import statistics
import sys
import time
from collections import namedtuple
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / 'tests'))

MIB = 1 << 20

# A series that costs nothing is as fast as the base; it misses that goal where
# it is slower each time, and on the median by more than this. Two builds differ
# by as much because functions lie elsewhere.
NOISE = 0.03

# Seconds by the clock on the wall, and on all CPUs together
Sample = namedtuple('Sample', 'wall cpu')


def cpu_seconds(pid):
    """What all threads of the process @pid have used since its start."""
    # The clock is the one that clock_getcpuclockid(3) returns
    return time.clock_gettime(~pid << 3 | 2)


def stopwatch(guest, function, *args):
    """The Sample of a call that has @guest, a running Qemu, do something."""
    wall, cpu = time.monotonic(), cpu_seconds(guest.process.pid)
    function(*args)
    return Sample(time.monotonic() - wall,
                  cpu_seconds(guest.process.pid) - cpu)


def wanted(words, *names):
    """Does a benchmark's name have one of @words, if there are any?"""
    name = ' '.join(names)
    return not words or any(word in name for word in words)


def in_turns(runs, *functions):
    """Call the functions in turns; a list of results for each.

    Every second time in the other order, as the machine may be slower the
    longer a run goes on, or whenever somebody else uses it.
    """
    results = [[] for _ in functions]
    order = list(zip(results, functions))
    for _ in range(runs):
        for result, function in order:
            result.append(function())
        order.reverse()
    return results


class Ratio:
    """The median of @values, and how far they are spread."""

    def __init__(self, values):
        values = sorted(values)
        self.median = statistics.median(values)
        self.low, self.high = values[0], values[-1]

    @classmethod
    def of_pairs(cls, over, under):
        """Of the numbers @over by those @under, which belong together."""
        return cls([a / b for a, b in zip(over, under)])

    def slower(self, noise):
        """Is it below 1 by more than @noise, and was it so each time?"""
        return self.high < 1 and self.median < 1 - noise

    @property
    def median_text(self):
        """The median, for a table."""
        return f'{self.median:.2f}'

    @property
    def spread(self):
        """The lowest and the highest, for a table."""
        return f'{self.low:.2f}-{self.high:.2f}'


class Report:
    """Prints the tables, counts goals, and tells what goes on.

    @judge  are the measurements good enough to say whether goals are met?
    """

    WIDTHS = 34, 11, 11, 7, 12

    def __init__(self, judge):
        self.rows = self.met = self.missed = 0
        self._judge = judge
        self._live = sys.stderr.isatty()

    def _line(self, words, last=''):
        cells = [f'{word:>{width}}'
                 for word, width in zip(words[1:], self.WIDTHS[1:])]
        self.progress('')
        line = f'{words[0]:{self.WIDTHS[0]}}' + ''.join(cells) + '  ' + last
        print(line.rstrip(), flush=True)

    def table(self, title, base='base', series='series'):
        """Begin a table; @base and @series are the heads of its columns."""
        self.progress('')
        print(f'\n{title}', flush=True)
        self._line(('', base, series, 'ratio', 'spread'), 'goal')

    def row(self, what, base='', series='', ratio=None, goal=None):
        """One line; @goal is (text, met)."""
        last = ''
        self.rows += 1
        if goal and self._judge:
            self.met += goal[1]
            self.missed += not goal[1]
            last = f'{goal[0]}: {"met" if goal[1] else "MISSED"}'
        self._line((what, base, series, ratio.median_text if ratio else '',
                    ratio.spread if ratio else ''), last)

    def progress(self, text):
        """Say what is being measured; '' takes it back."""
        if self._live:
            print(f'\r\033[K{text}', end='', file=sys.stderr, flush=True)
        elif text:
            print(f'... {text}', file=sys.stderr, flush=True)


def speed(size, seconds):
    """MB/s, for a table."""
    return f'{size / 1e6 / seconds:.0f} MB/s'


def duration(seconds):
    """A time, for a table."""
    if seconds < 0.01:
        return f'{seconds * 1e6:.1f} us'
    return f'{seconds * 1e3:.0f} ms' if seconds < 1 else f'{seconds:.2f} s'
