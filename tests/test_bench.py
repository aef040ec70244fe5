# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmarks run, say what they found, and fail when they have to."""

import contextlib
import io
import os
import sys
import unittest

from lib.repository import TOP, run

sys.path.insert(0, str(TOP / 'bench'))

# pylint: disable=wrong-import-position,wrong-import-order
import common
import normal

# Of each kind the quickest; those that boot a Linux are left out
WORDS = 'windows', 'encrypted pmemsave', 'latency', 'size dump elf'
ROWS = 9


def bench(*words, **environment):
    """The exit status and the output of a quick run."""
    result = run(TOP / 'bench/run', '--quick', *words, check=False,
                 env=environment)
    return result.returncode, result.stdout


@unittest.skipIf(os.environ.get('SANITIZE'), 'sanitizers change all times')
class BenchTest(unittest.TestCase):
    def test_quick_run(self):
        status, output = bench(*WORDS)
        self.assertEqual(status, 0, output)
        self.assertEqual(len(ratios(output)), ROWS, output)
        self.assertNotIn('MISSED', output)

    def test_a_benchmark_that_cannot_run_is_a_failure(self):
        status, output = bench('encrypted pmemsave', QEMU='/bin/false')
        self.assertEqual(status, 1, output)
        self.assertIn('FAILED: encrypted', output)

    def test_unknown_name(self):
        status, output = bench('no such benchmark')
        self.assertEqual(status, 2, output)
        self.assertIn('no such benchmark', output)


def ratios(output):
    """What the tables say in the column before the spread."""
    return [float(words[-2]) for words in map(str.split, output.splitlines())
            if len(words) > 2 and words[-1].count('.') == 2
            and words[-1].count('-') == 1]


class VerdictTest(unittest.TestCase):
    """Made-up rounds of base and series."""

    def judge(self, *rounds):
        """Whether it is met that the series is as fast as the base."""
        report = common.Report(judge=True)
        pairs = [Pair(base, series) for base, series in rounds]
        with contextlib.redirect_stdout(io.StringIO()):
            normal.report_item(report, pairs, 'item')
        self.assertEqual(report.met + report.missed, 1)
        return report.met == 1

    def test_the_same(self):
        self.assertTrue(self.judge((2, 2), (2, 2.01), (2, 2)))

    def test_noise(self):
        self.assertTrue(self.judge((2, 2.4), (2, 2.2), (2.5, 2)))

    def test_a_little_slower_each_time(self):
        self.assertFalse(self.judge((2, 2.1), (2, 2.11), (2, 2.1)))

    def test_faster(self):
        self.assertTrue(self.judge((2, 1), (2, 1.1), (2, 1)))

    def test_best_of_a_round(self):
        pair = Pair(2, 2)
        pair.samples['item'][1].append(common.Sample(9, 9))
        self.assertEqual(pair.best('item'), [2, 2])


class Pair(normal.Pair):
    """One made-up sample of each."""

    def __init__(self, base, series):
        self.samples = {'item': ([common.Sample(base, base)],
                                 [common.Sample(series, series)])}
