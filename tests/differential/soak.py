# SPDX-License-Identifier: GPL-2.0-or-later
"""Rounds, one after the other, for some time."""

import re
import time

from . import report
from .rounds import BATCHES, DoesNotStart, NotComparable, Round


def signature(round_, accesses, found):
    """What makes two differences the same to a person."""
    _, answers, wrong = found
    door = accesses[-1].door
    kinds = [s.kind for s in round_.draw.sections(accesses[-1])]
    kinds = [k for i, k in enumerate(kinds) if k != kinds[i - 1] or not i]
    hows = tuple(sorted((name, answers[name].how) for name in wrong))
    return door, accesses[-1].option if door == 'dump' else '', \
        tuple(kinds), hows


class Soak:
    """Rounds of each of @kinds, subclasses of Comparison.

    @say prints lines; @collect: go on after a difference.
    """

    def __init__(self, kinds, say, collect=False):
        self.kinds, self.say, self.collect = kinds, say, collect
        self.accesses = self.rounds = 0
        self.found = {}             # {signature: report}
        self._start = time.monotonic()

    def run(self, seed, seconds):
        """Rounds of @seed, @seed + 1 ... ; False when it is to end."""
        end = time.monotonic() + seconds
        progress = time.monotonic() + 10
        while time.monotonic() < end:
            if not self.seed(seed, end) and not self.collect:
                return False
            seed += 1
            if time.monotonic() > progress:
                progress += 10
                self.say(self.summary(seed))
        return True

    def summary(self, seed):
        """One line of progress."""
        seconds = time.monotonic() - self._start
        differences = len(set(self.found.values()))
        return (f'{seconds:.0f} s: {self.rounds} machines, {self.accesses} '
                f'accesses, {differences} differences, next seed {seed}')

    def seed(self, seed, end=None):
        """What one seed gives; whether all was well."""
        good = True
        for kind in self.kinds:
            if good or self.collect:
                good = self._kind(kind, seed, end) and good
        return good

    def _kind(self, kind, seed, end):
        self.rounds += 1
        with kind(seed) as round_:
            try:
                return self._round(round_, end)
            except NotComparable:
                return True
            except DoesNotStart as e:
                key = re.sub('[^a-z ]', '', str(e).splitlines()[0])
                if key not in self.found:
                    self._report(key, f'seed {seed}: {e}')
                return False

    def _round(self, round_, end):
        good = True
        for batch in range(BATCHES):
            if batch < 2:
                round_.start(launched=batch or not round_.can_be_unlaunched)
                made = []       # since the start
            accesses = [round_.draw.access(round_.launched)
                        for _ in range(round_.accesses)]
            if not self._batch(round_, made, accesses, end):
                good = False
                if not self.collect:
                    break
        return good

    def _batch(self, round_, made, accesses, end):
        """Whether nothing differs; all that does, where it is collected.

        @made: what has been accessed since the start; these are added.
        """
        good = True
        while accesses:
            found = round_.first_wrong(accesses)
            if not found:
                self.accesses += len(accesses)
                made += accesses
                return good
            good = False
            index = found[0]
            self.accesses += index + 1
            self._keep(round_, made + accesses[:index + 1], found)
            if not self.collect or end and time.monotonic() > end:
                return False
            round_.restart()
            made.clear()
            accesses = accesses[index + 1:]
        return good

    def _keep(self, round_, accesses, found):
        key = signature(round_, accesses[-1:], found)
        if key in self.found:
            return
        shorter, again = round_.shorten(accesses)
        if not again:
            self._report(key, 'NOT SEEN AGAIN: ' + report.difference(
                round_, accesses[-1:], found))
            return
        short = signature(round_, shorter, again)
        if short not in self.found:
            text = report.difference(round_, shorter, again)
            if isinstance(round_, Round):
                text = self._smaller_machine(round_, shorter, again)
            self._report(short, text)
        self.found[key] = self.found[short]

    def _report(self, key, text):
        self.found[key] = text = (
            f'after {time.monotonic() - self._start:.1f} s, {self.accesses} '
            f'accesses:\n{text}')
        self.say(text)

    @staticmethod
    def _smaller_machine(round_, accesses, found):
        """A report of the difference on a machine with less in it."""
        text = report.difference(round_, accesses, found)
        without = ()
        for i in reversed(range(len(round_.machine.options))):
            try:
                with type(round_)(round_.seed, (*without, i)) as smaller:
                    smaller.start(round_.launched)
                    found = smaller.first_wrong(accesses)
                    if found:
                        without = *without, i
                        text = report.difference(smaller, accesses, found)
            except (ConnectionError, DoesNotStart):
                pass            # QEMU does not start without it
        return text
