# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the unittest classes of the main program, with a line of TAP for each."""
import re
import sys
import unittest


class Tap(unittest.TestResult):
    """A line for each test; what went wrong stands above it."""

    def _say(self, verdict, test, more=''):
        name = re.sub('^__main__.', '', test.id())
        print(f'{verdict} {self.testsRun} {name}{more}', flush=True)

    def addSuccess(self, test):
        self._say('ok', test)

    def addSkip(self, test, reason):
        self._say('ok', test, f' # SKIP {reason}')

    def _bad(self, test, err):
        print(self._exc_info_to_string(err, test))
        self._say('not ok', test)

    def addError(self, test, err):
        super().addError(test, err)
        self._bad(test, err)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._bad(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            print(self._exc_info_to_string(err, test))
            self._say('not ok', subtest.test_case,
                      '/' + subtest._subDescription().replace(' ', '_'))


def main():
    """All tests of the program that calls this; ends it."""
    result = Tap()
    unittest.defaultTestLoader.loadTestsFromModule(
        sys.modules['__main__']).run(result)
    sys.exit(not result.wasSuccessful())
