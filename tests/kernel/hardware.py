# SPDX-License-Identifier: GPL-2.0-or-later
"""tests/hardware/check-encrypted-guest, on a kernel that has the series."""
import re
import subprocess
import unittest

from lib.qemu import ROOT

from . import tap


class Hardware(unittest.TestCase):
    """Of this host, all works but for what TCG's SVM lacks."""

    def test_table(self):
        done = subprocess.run([f'{ROOT}/tests/hardware/check-encrypted-guest'],
                              check=False, text=True, stdout=subprocess.PIPE)
        print(done.stdout)
        self.assertRegex(done.stdout, '(?m)^KVM: .* private memory: yes$')
        rows = re.findall(r'^sw-protected (.{52}) (.*)$', done.stdout, re.M)
        wrong = [(what.strip(), result) for what, result in rows
                 if result != 'ok' and not result.startswith('not tried')]
        # The SVM of TCG does not intercept int3 as #BP
        self.assertEqual([what for what, _ in wrong],
                         ['software breakpoint, twice, and single-step'], rows)
        self.assertEqual(sum(result == 'ok' for _, result in rows), 5, rows)
        self.assertRegex(done.stdout, 'snp +a guest that .* not tried')


if __name__ == '__main__':
    tap.main()
