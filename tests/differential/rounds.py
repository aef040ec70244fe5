# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs accesses on several QEMUs, compares, and shortens what differs."""

import json
import random
import re
import shlex
import tempfile
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lib.qemu import binary
from lib.wait import Timeout

from . import flatview
from .access import Draw, data_of
from .deliberate import comparable, saved_more
from .doors import DOORS, ERRORS, Contradiction, Partly, save
from .guest import Gone, Guest
from .machine import Machine

# What an encrypted guest answers: the same as a plain one; an error, while its
# memory stays as it is; or either an error or the same
AS_PLAIN, REFUSED, MAYBE = 'as plain', 'refused', 'maybe'
MOST_GUESTS = 4
BATCHES = 3

# @how: ok, error, gone. @data is compared, too; @text is for people
Answer = namedtuple('Answer', 'how data text')
Finding = namedtuple('Finding', 'seed accesses answers report signature')


def sim(mode, machine):
    """The -object of a simulated guest."""
    return json.dumps({'qom-type': 'sim-encrypted-guest', 'id': 'cgs',
                       'mode': mode, **machine.sim, 'shared': [
                           {'start': start, 'size': size}
                           for start, size in machine.shared]})


def unchanged(guest, check):
    """The Answer of one that refuses, and whose memory stays as it is."""
    return Answer('error', (None, memory(guest, check)) if check else None,
                  None)


def memory(guest, places):
    """What is in some places of a guest's memory."""
    found = []
    for place in places:
        try:
            found.append(save(guest, 'pmemsave', *place))
        except Partly as e:
            found.append(('error', e.data))
    return tuple(found)


def perform(guest, access, check):
    """The Answer of one guest; @check: places of memory to look at then."""
    data = data_of(access) if DOORS[access.door].writes else None
    try:
        with guest.alive():
            try:
                answer = DOORS[access.door].function(guest, access, data)
                answer = Answer('ok', answer, None)
            except Partly as e:
                answer = Answer('error', e.data, str(e))
            except ERRORS as e:
                answer = Answer('error', None, str(e))
            except Contradiction as e:
                answer = Answer('contradicts itself', None, str(e))
            if not check:
                return answer
            return answer._replace(data=(answer.data, memory(guest, check)))
    except Gone as e:
        return Answer('gone', None, str(e))


class DoesNotStart(Exception):
    """A guest does not start, or ends when it is stopped."""


class NotComparable(Exception):
    """What was drawn does not come to where it can be compared; why."""


class Comparison:
    """One guest in several QEMUs; a context manager.

    A subclass sets
        machine     what @draw needs to know of it, see access.Draw
        draw        a Draw
    and has new_guests(), which gives them unstarted, the plain one first.
    """

    machine = draw = None
    can_be_unlaunched = True    # is there a state before the first start?
    accesses = 120              # between two starts of its guests

    def __init__(self, seed):
        self.seed = seed
        self._folder = tempfile.TemporaryDirectory(prefix='differential-')
        self.folder = Path(self._folder.name)
        self.guests = []
        self.launched = self._changed = False
        # QEMU ends with the thread that started it
        self._pool = ThreadPoolExecutor(MOST_GUESTS)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
        self._pool.shutdown()
        self._folder.cleanup()

    def new_guests(self):
        """[guest], none of which has been started."""
        raise NotImplementedError

    def expected(self, access):
        """How an encrypted guest answers: AS_PLAIN, or another of these.

        None if the access is not to be made at all.
        """
        return AS_PLAIN

    def start(self, launched):
        """All guests anew, stopped: before the first start, or @launched.

        Raises DoesNotStart where some do and others do not.
        """
        self.end()
        guests = self.new_guests()
        for guest in guests:
            guest.virtual = self.draw.virtual_memory

        def enter(guest):
            try:
                guest.__enter__()
                guest.begin(launched)
            except (ConnectionError, Timeout) as e:
                return f'{guest.name}: {e}\n  {shlex.join(guest.command)}'
            return None

        self.guests = guests
        failed = [text for text in self._pool.map(enter, guests) if text]
        self.launched = launched
        self._changed = False
        if failed:
            raise DoesNotStart('\n'.join(failed))

    def restart(self):
        """The same, as they were."""
        self.start(self.launched)

    def end(self):
        """End all guests."""
        for guest in self.guests:
            guest.__exit__(None, None, None)
        self.guests = []

    def answers(self, accesses):
        """[{guest: Answer}], None where there is none, for each access."""
        checks = [self.draw.memory_around(a) if DOORS[a.door].writes else ()
                  for a in accesses]

        def run(guest):
            found = [None] * len(accesses)
            for i, access in enumerate(accesses):
                if guest.name != 'plain':
                    found[i] = perform(guest, access, checks[i])
                elif self.expected(access) == REFUSED:
                    found[i] = unchanged(guest, checks[i])
                else:
                    found[i] = perform(guest, self.draw.without_bit(access),
                                       checks[i])
                if found[i].how == 'gone':
                    break
            return found

        names = [guest.name for guest in self.guests]
        return [dict(zip(names, answers)) for answers
                in zip(*self._pool.map(run, self.guests))]

    def differing(self, access, answers):
        """Names of the guests whose answer is not as it must be."""
        gone = [name for name, answer in answers.items()
                if answer and answer.how in ('gone', 'contradicts itself') and
                (name != 'unpatched' or answer.how == 'gone')]
        plain = answers['plain']
        if not plain or 'plain' in gone:
            return gone
        maybe = self.expected(access) == MAYBE
        return gone + [
            name for name, answer in answers.items()
            if answer and name not in gone and
            comparable(name, access, plain, answer) and
            not (maybe and answer.how == 'error') and
            not self.same(access, plain, answer)]

    def same(self, access, plain, answer):
        """Is @answer what the plain guest's makes it be?"""
        return answer.how == plain.how and (
            answer.data == plain.data or saved_more(access, plain, answer) or
            not self.draw.steady(access))

    # What is wrong, in short

    def first_wrong(self, accesses):
        """(index, answers, guests) of the first access that differs."""
        for i, answers in enumerate(self.answers(accesses)):
            wrong = self.differing(accesses[i], answers)
            if wrong:
                return i, answers, wrong
        return None

    def fails(self, accesses):
        """The same for a try, in guests whose memory is as it was drawn."""
        if self._changed or any(g.process.poll() is not None
                                for g in self.guests):
            self.restart()
        found = self.first_wrong(accesses)
        self._changed = any(DOORS[a.door].writes for a in accesses) and (
            found or len(accesses) > 1)
        return found

    def shorten(self, accesses):
        """The shortest accesses that still differ, and what they answer.

        @accesses ends with the one that does.
        """
        self._changed = True
        if self.fails(accesses[-1:]):
            accesses = accesses[-1:]
        else:
            accesses = self._without_each(accesses)
        accesses = self._narrow(accesses)
        self._changed = True
        return accesses, self.fails(accesses)

    def _without_each(self, accesses):
        """Leave out halves, quarters ... of those before the last one."""
        size = len(accesses) // 2
        while size:
            start = 0
            while start < len(accesses) - 1:
                shorter = accesses[:start] + accesses[
                    min(start + size, len(accesses) - 1):]
                if self.fails(shorter):
                    accesses = shorter
                else:
                    start += size
            size //= 2
        return accesses

    def _narrow(self, accesses):
        """The same with as few bytes as possible in the last one."""
        before, last = accesses[:-1], accesses[-1]
        step = last.length // 2
        while step and not DOORS[last.door].whole:
            for shorter in (last._replace(length=last.length - step),
                            last._replace(addr=last.addr + step,
                                          length=last.length - step)):
                if shorter.length >= 0 and self.draw.allowed(shorter) and \
                        self.fails(before + [shorter]):
                    last = shorter
                    step = min(step, last.length)
                    break
            else:
                step //= 2
        return before + [last]


class Round(Comparison):
    """The machine of one seed: plain, simulated encrypted, unpatched."""

    # Half of them without what the unpatched QEMU does not have
    WITH_BASE = 0.5
    draw_machine = Machine

    def __init__(self, seed, without=()):
        """@without: indices of the machine's options to leave out."""
        super().__init__(seed)
        rng = random.Random(seed)
        self.with_base = rng.random() < self.WITH_BASE
        self.machine = self.draw_machine(rng)
        self.machine.leave_out(without)
        view, self.contents = self._look(random.Random(seed))
        self.draw = Draw(random.Random(seed), self.machine, view,
                         base=self.with_base, expected=self.expected)

    def expected(self, access):
        """Nothing has the bit, but addresses near the end of all do."""
        bit = 1 << self.machine.sim['cbitpos'] if self.machine.sim else 0
        return AS_PLAIN if DOORS[access.door].virtual or \
            not access.addr & bit else None

    def guest(self, name, program, confidential=None, contents=()):
        """One of them, unstarted."""
        return Guest(name, self.machine, program, confidential, contents)

    def _look(self, rng):
        """The memory map, and files to be loaded into all of the memory."""
        with self.guest('plain', binary()) as guest:
            first = flatview.parse(guest.hmp('info mtree -f'))
            guest.set_registers()
            view = flatview.parse(guest.hmp('info mtree -f'))
        most = self.machine.below + self.machine.above      # of one file
        contents = []
        for section in first.memory():
            if section.kind == 'romd' or section.name in \
                    self.machine.no_memory or re.search(
                        'bios|vga|vram|flash', section.name):
                continue
            for start in range(section.start, section.end, most):
                path = self.folder / f'{start:x}'
                path.write_bytes(rng.randbytes(min(most, section.end - start)))
                contents.append((start, path))
        return view, contents

    def new_guests(self):
        kinds = [('plain', binary(), None)]
        kinds += [(mode, binary(), sim(mode, self.machine))
                  for mode in ('cipher', 'hidden')]
        if self.with_base:
            kinds.append(('unpatched', binary(base=True), None))
        return [self.guest(*kind, self.contents) for kind in kinds]
