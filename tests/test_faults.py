# SPDX-License-Identifier: GPL-2.0-or-later
"""Each error at each door: what fault-matrix.rst says, and nothing untrue."""

import subprocess
import unittest

from lib import fault_matrix, faults
from lib.fault_matrix import Verdict, judge
from lib.faults import DATA, DOORS, PAGE, START, TEXT, TRUTH, Outcome
from lib.repository import TOP

REASON = 'the kernel is out of memory'
SAID = f'cannot read physical address {DATA:#x}: {REASON}'
CIPHERTEXT = bytes(range(1, 129)) * (PAGE // 128)


class Matrix(unittest.TestCase):
    """All errors at all doors, on all backends."""

    def test_every_answer_is_as_in_the_table(self):
        done = subprocess.run([TOP / 'tests' / 'fault-matrix'], check=False,
                              stdout=subprocess.PIPE, text=True)
        self.assertEqual((done.stdout.strip(), done.returncode), ('', 0),
                         'if that is right: tests/fault-matrix --write')


class Judge(unittest.TestCase):
    """What a user must not get is found."""

    def setUp(self):
        self.door = next(d for d in DOORS if d.name == 'pmemsave')

    def judge(self, words, shown=None, door=None, recovers=False):
        judge(door or self.door, Outcome(words, shown), DATA, CIPHERTEXT,
              REASON, recovers)

    def assert_wrong(self, what, *args, **kwargs):
        with self.assertRaisesRegex(Verdict, what):
            self.judge(*args, **kwargs)

    def test_a_good_answer_passes(self):
        self.judge(SAID, {TEXT: TRUTH[:PAGE]})
        self.judge('', {TEXT: TRUTH}, recovers=True)

    def test_ciphertext(self):
        self.assert_wrong("not the guest's", SAID,
                          {TEXT: TRUTH[:PAGE] + CIPHERTEXT})
        self.assert_wrong("host's bytes", SAID, {-1: b'head' + CIPHERTEXT})
        self.assert_wrong("host's bytes", SAID + CIPHERTEXT[:16].hex(' '))

    def test_zeros(self):
        self.assert_wrong("not the guest's", SAID,
                          {TEXT: TRUTH[:PAGE] + bytes(PAGE)})
        self.assert_wrong("not the guest's", SAID, {START: bytes(32)})

    def test_bytes_of_a_page_that_cannot_be_read(self):
        self.assert_wrong('cannot be read', SAID, {TEXT: TRUTH})

    def test_silence(self):
        self.assert_wrong('no error', '', {TEXT: TRUTH[:PAGE]})

    def test_no_address(self):
        self.assert_wrong('does not name', f'cannot read: {REASON}')
        self.assert_wrong('does not name', f'cannot read 0x1000: {REASON}')

    def test_no_reason(self):
        self.assert_wrong('does not give', f'cannot read {DATA:#x}')

    def test_an_error_that_should_have_been_overcome(self):
        self.assert_wrong('fails', SAID, recovers=True)

    def test_words_are_told_apart_by_more_than_their_addresses(self):
        template = fault_matrix.template
        self.assertEqual(template('at 0x241000'), template('at 0x247000'))
        self.assertNotEqual(template('error 7'), template('error 17'))

    def test_pages_of_a_door_are_the_guests(self):
        self.assertEqual(TRUTH[:16], b'PRV %08x ok\n' % faults.TEXT)
