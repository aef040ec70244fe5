# SPDX-License-Identifier: GPL-2.0-or-later
"""What fuzzing has found, or covered, is run again; `make fuzz` goes on."""

import os
import subprocess
import unittest

from lib.repository import BASE, TOP

TARGETS = sorted(path.stem for path in (TOP / 'tests/fuzz').glob('*.c'))
LIMIT = 1 << 20     # bytes of all inputs


class Corpus(unittest.TestCase):
    """Each target on its corpus, with the sanitizers of the compiler."""

    @unittest.skipIf(os.environ.get('SANITIZE'),
                     'these programs have sanitizers of their own')
    @unittest.skipIf(BASE == '10.0', 'the targets stand in for parts of later '
                     'releases of QEMU')
    def test_nothing_is_wrong_with_any_input(self):
        self.assertTrue(TARGETS)
        for name in TARGETS:
            with self.subTest(name):
                done = subprocess.run(
                    [TOP / 'scripts/fuzz', '--replay', name], check=False,
                    text=True, stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT)
                self.assertEqual(done.returncode, 0, done.stdout)
                self.assertRegex(done.stdout, r'\d+ inputs, nothing is wrong')

    def test_it_is_small(self):
        inputs = list((TOP / 'tests/fuzz/corpus').glob('*/*'))
        self.assertLess(len(inputs), 1000)
        self.assertLess(sum(path.stat().st_size for path in inputs), LIMIT)
