# SPDX-License-Identifier: GPL-2.0-or-later
"""The stand-in answers as the kernel does; no QEMU takes part.

Each test runs one case of tests/kvm-stand-in/self-test under the library.
"""

import os
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

from lib import standin

ABORTED = -signal.SIGABRT


class Kernel(unittest.TestCase):
    """One case a test, with the variables that it needs."""

    @classmethod
    def setUpClass(cls):
        cls.library = standin.library()
        cls.program = standin.library('self-test.bin')

    def run_case(self, name, status=0, **settings):
        """Run a case; its exit status must be @status.  Returns the log."""
        with tempfile.NamedTemporaryFile() as log:
            settings = {'script': '/dev/null', 'log': log.name, **settings}
            variables = {f'STANDIN_{k.upper()}': str(v)
                         for k, v in settings.items()}
            done = subprocess.run(
                [self.program, name], check=False, text=True,
                env={**os.environ, **variables,
                     'LD_PRELOAD': str(self.library)},
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertEqual(done.returncode, status, done.stdout)
            return Path(log.name).read_text()


def define(title, name=None, **settings):
    """Kernel.test_@title runs the case @name, or that of the same name."""
    def test(self):
        self.run_case(name or title, **settings)

    setattr(Kernel, 'test_' + title, test)


def define_violation(case, words, name=None, **settings):
    """In strict mode the case is logged, and the process aborts."""
    def test(self):
        log = self.run_case(case, strict=1, status=ABORTED, **settings)
        self.assertIn('VIOLATION', log)
        self.assertIn(words, log)

    setattr(Kernel, 'test_' + (name or case), test)


for plain in ('decrypt_gives_the_launched_bytes',
              'decrypt_serves_any_alignment',
              'encrypt_changes_what_decrypt_gives',
              'one_byte_changes_its_whole_block',
              'a_shared_page_decrypts_to_garbage', 'policy_forbids',
              'guest_is_not_launched', 'arguments_are_checked',
              'a_plain_vm_has_no_command', 'snp_is_not_permitted',
              'old_decrypt_across_a_page_loses', 'old_unaligned_encrypt_loses',
              'guest_memfd_cannot_be_seen', 'attributes_are_checked',
              'tdx_debug_needs_the_kernel', 'td_registers_are_protected',
              'sev_device_answers'):
    define(plain)
for fixed in ('fixed_decrypt_across_a_page_works',
              'fixed_unaligned_encrypt_works'):
    define(fixed, kernel_bugs='fixed')
define('strict_lets_a_careful_caller_pass', strict=1)
define_violation('strict_refuses_a_crossing_destination', 'crosses a page')
define_violation('strict_refuses_more_than_a_page', 'more than one page')
define_violation('strict_refuses_an_unaligned_encrypt', 'not 16-byte aligned')
define_violation('strict_refuses_what_is_no_guest_memory', 'no guest memory')
define_violation('shared_page_ends_the_read', 'which is shared',
                 name='strict_refuses_a_shared_page', unified=1, tdx_debug=1)
define('fault_by_number',
       fault='KVM_SEV_DBG_DECRYPT,nth=2,count=2,errno=EIO,fw=17')
define('fault_by_address',
       fault='KVM_SEV_DBG_DECRYPT,addr=1000-1fff,errno=EBUSY')
define('unified_ioctl_absent', 'absent')
for unified in ('read_snp', 'snp_without_debug', 'sev_has_no_unified_ioctl',
                'td_without_debug'):
    define(unified, unified=1)
for debug_td in ('read_td', 'shared_bit_is_no_address', 'write_td',
                 'shared_page_ends_the_read', 'unmapped_page_ends_the_read',
                 'unified_arguments_are_checked',
                 'punching_a_hole_unmaps_the_page'):
    define(debug_td, unified=1, tdx_debug=1)
define('debug_td_registers_are_readable', tdx_debug=1,
       td_registers='readable')
define('debug_td_registers_are_protected', name='td_registers_are_protected',
       tdx_debug=1)
READ = 'KVM_MEMORY_ENCRYPT_READ_MEMORY'
define('interrupted_in_the_middle', unified=1, tdx_debug=1,
       fault=READ + ',count=1,errno=EINTR,partial=24')
define('module_call_fails', unified=1, tdx_debug=1,
       fault=READ + ',errno=EIO')
define('latency_is_paid_by_each_call', unified=1, tdx_debug=1,
       latency_us=2000)
define('pages_of_several_calls_take_their_time_at_once', unified=1,
       tdx_debug=1, page_latency_us=20000)
for change, words in (
        ('conversion_during_a_read', 'KVM_SET_MEMORY_ATTRIBUTES at 0x0'),
        ('removal_of_a_slot_during_a_read', 'removal of a memory slot')):
    define_violation(change, words, unified=1, tdx_debug=1,
                     page_latency_us=100000)
