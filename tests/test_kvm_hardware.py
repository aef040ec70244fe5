# SPDX-License-Identifier: GPL-2.0-or-later
"""tests/hardware/check-encrypted-guest tells what works from what does not."""

import os
import subprocess
import unittest
from pathlib import Path

from lib.qemu import ROOT, binary, has_object

SCRIPT = ROOT / 'tests' / 'hardware' / 'check-encrypted-guest'
MODULES = Path('/sys/module')


def run(*args, program=None):
    """Exit status and output of the script with the QEMU @program."""
    done = subprocess.run(
        [SCRIPT, *args], check=False, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, 'QEMU': program or binary()})
    return done.returncode, done.stdout


class Hardware(unittest.TestCase):
    """On the stand-in, and on a host that has no such guests."""

    def test_rehearsal_passes(self):
        status, output = run('--rehearse')
        self.assertEqual(status, 0, output)
        self.assertIn('A rehearsal', output)
        passed = 23 if has_object(binary(), 'tdx-guest') else 18
        self.assertEqual(output.count(' ok\n'), passed, output)
        self.assertIn(f'{45 - passed} of 45 checks were not tried.', output)

    def test_stock_qemu_fails(self):
        status, output = run('--rehearse', program=binary(base=True))
        self.assertEqual(status, 1, output)
        for kind in 'sev', 'sev-es', 'snp':
            self.assertRegex(output, f'{kind} +private firmware is read, by '
                             'each door +FAILED')
            self.assertRegex(output, f'{kind} +a policy that forbids debugging '
                             'is obeyed +FAILED')

    @unittest.skipIf((MODULES / 'kvm_amd').exists() or
                     (MODULES / 'kvm_intel').exists(),
                     'this host may have such guests')
    def test_host_without_such_guests(self):
        status, output = run()
        self.assertEqual(status, 2, output)
        self.assertIn('45 of 45 checks were not tried.', output)
        self.assertNotIn(' ok\n', output)
