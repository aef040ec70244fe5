# SPDX-License-Identifier: GPL-2.0-or-later
"""A real Linux with C-bits in its page tables, and what stock QEMU sees of it.

The negative control of tests that read such a guest through the debug ioctls.
"""

import re
import unittest

from lib import doors, linux
from lib.qemu import binary
from lib.sevlinux import OUTER_BITS, NestedSevLinux, SevLinux
from lib.standin import page_table_bit

SERIAL = True           # with TCG for hardware, boots in a minute
BOOT_SECONDS = 600


class SevLinuxOnStockQemu(unittest.TestCase):
    """One boot for all tests."""

    @classmethod
    def setUpClass(cls):
        program = binary(base=True)
        accel, _ = linux.accelerator(program)
        guest = SevLinux if accel == 'kvm' else NestedSevLinux
        cls.bit = (page_table_bit(scripted=False) if accel == 'kvm'
                   else OUTER_BITS - 1)
        cls.guest = cls.enterClassContext(guest(program=program))
        cls.guest.boot(BOOT_SECONDS)

    def test_page_tables_carry_the_c_bit(self):
        registers = doors.hmp(self.guest, 'info registers')
        cr3 = int(re.search(r'CR3=([0-9a-f]+)', registers).group(1), 16)
        self.assertEqual(cr3 >> self.bit, 1)

    def test_kernels_text_is_hidden_from_qemu(self):
        self.guest.cont()
        banner = self.guest.symbols('linux_banner')['linux_banner']
        text = self.guest.kernel_read(banner.va, 64)
        self.assertTrue(text.startswith(b'Linux version'), text)
        self.assertNotEqual(doors.xp(self.guest, banner.pa, 64), text)
