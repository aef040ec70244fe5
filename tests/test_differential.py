# SPDX-License-Identifier: GPL-2.0-or-later
"""Debuggers see the same of a guest in every QEMU: see tests/differential.

SECONDS in the environment is for all of these tests together, and SEED is where
the fresh ones begin: `make soak` sets them.
"""
import os
import random
import unittest

from differential.rounds import Round
from differential.soak import Soak
from differential.standin import StandInRound

SECONDS = float(os.environ.get('SECONDS', 60))
SEED = int(os.environ.get('SEED') or random.SystemRandom().randrange(1 << 32))
FIXED_SEED = 1
TESTS = 4


class Differential(unittest.TestCase):
    """Machines of a fixed and of a fresh seed, and of those that follow."""

    kind = None

    def rounds(self, seed):
        """Nothing differs."""
        print(f'SEED={seed}')     # pytest shows it of a test that fails
        soak = Soak([self.kind], lambda text: None)
        soak.run(seed, SECONDS / TESTS)
        for report in soak.found.values():
            self.fail(report)
        self.assertGreater(soak.accesses, 0)

    def test_fixed_seed(self):
        self.rounds(FIXED_SEED)

    def test_fresh_seed(self):
        self.rounds(SEED)


class Simulated(Differential):
    """Plain, simulated encrypted, and on the unpatched QEMU."""

    kind = Round


class UnderTheStandIn(Differential):
    """SEV, SEV-ES, SNP and TDX guests, each next to a plain one."""

    kind = StandInRound


del Differential
