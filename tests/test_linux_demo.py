# SPDX-License-Identifier: GPL-2.0-or-later
"""The demonstration succeeds on an encrypted guest, and only there."""

import contextlib
import importlib.machinery
import importlib.util
import io
import subprocess
import unittest
from pathlib import Path
from unittest import mock

from lib import gdb, linux, qemu
from lib.wait import patience

DEMO = Path(__file__).resolve().with_name('demo')


def load_demo():
    """The program as a module."""
    loader = importlib.machinery.SourceFileLoader('demo', str(DEMO))
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader('demo', loader))
    loader.exec_module(module)
    return module


class Demonstration(unittest.TestCase):
    """Runs it as a person does, and on a guest that hides nothing."""

    def setUp(self):
        if not gdb.available():
            self.skipTest('there is no gdb: apt-get install gdb')
        if not qemu.has_object(qemu.binary(), linux.SIMULATED):
            self.skipTest(f'{qemu.binary()} has no {linux.SIMULATED}')

    def test_all_comparisons_agree(self):
        done = subprocess.run([DEMO], check=False, text=True,
                              timeout=patience(600),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, r'All \d+ comparisons agree')
        self.assertNotIn('\033', done.stdout, 'colours without a terminal')

    def test_guest_that_is_not_encrypted_fails_it(self):
        demo = load_demo()
        output = io.StringIO()
        ordinary = linux.LinuxGuest
        with mock.patch.object(demo.linux, 'LinuxGuest',
                               lambda encrypted: ordinary()), \
                contextlib.redirect_stdout(output):
            status = demo.run(demo.Screen())
        self.assertEqual(status, 1)
        self.assertRegex(output.getvalue(), r'\d+ of \d+ comparisons FAILED')
        self.assertIn('THE HOST SEES IT', output.getvalue())
        self.assertIn('NOT REFUSED', output.getvalue())
