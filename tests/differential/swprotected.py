# SPDX-License-Identifier: GPL-2.0-or-later
"""A software-protected guest of a real KVM, next to a plain one.

Both have the same memory.  The protected one makes some of it private, as a
guest does: with a hypercall for each page, and its contents carried over.
"""

import random

from lib.qemu import binary

from .access import AROUND
from .doors import DOORS
from .guest import MAKE_PRIVATE, MOVE, Guest
from .machine import HIGH, MIB, Machine
from .rounds import AS_PLAIN, Round
from .standin import dumped_pages

PAGE = 4096
BOUNCE = range(0x6000, 0x7000)          # firmware.S
# A confidential guest has no part of its firmware here, and RAM instead
ISA_ROM = range(0xc0000, MIB)
PLACES = [0, 0x9e000, MIB - PAGE, MIB, 2 * MIB, HIGH]
MOST_PAGES = 40                         # of a conversion
# QMP takes seconds for more, where all is emulated
WRITE_LIMIT = 256


class PlainMachine(Machine):
    """One that KVM can run as a software-protected guest.

    It has no SMM, memslots of guest_memfd cannot be read-only as flash and the
    firmware's part of PAM are, and virtio-mem would discard memory.
    """

    KINDS = 'q35',
    SMM = 'off',
    TABLES = 1
    FLASH = 0

    def _add_devices(self):
        for i in range(self.rng.randrange(3)):
            kind = self.rng.choice(('ram', 'memfd'))
            self.options.append(
                ['-object', f'memory-backend-{kind},id=m{i},size=4M',
                 '-device', f'pc-dimm,memdev=m{i}'])

    def _draw_registers(self):
        pass

    def _draw_shared(self):
        return ()


class SwProtected(Guest):
    """One of the two; both take the same steps but for the hypercall."""

    def __init__(self, *args, private, **kwargs):
        super().__init__(*args, accel='kvm', **kwargs)
        self.private = private          # [(gpa, pages)]

    def begin(self, launched):
        super().begin(launched)
        if not launched:
            return
        self.cont()
        for gpa, pages in self.private:
            self._request(MOVE if self.name == 'plain' else MAKE_PRIVATE, gpa,
                          pages)
            answer = self._replied(1)
            if answer != b'K':
                raise ConnectionError(f'the guest cannot make {gpa:#x} '
                                      f'private: {answer}')
        self.stop()


class SwProtectedRound(Round):
    """The machine of one seed: plain and software-protected."""

    WITH_BASE = 0
    accesses = 24
    draw_machine = PlainMachine

    def __init__(self, seed, without=()):
        self.private = ()
        super().__init__(seed, without)
        self.private = self._draw_private(random.Random(seed))
        # Each is a command of QMP, too
        self.draw.virtual_memory = self.draw.virtual_memory[::8]
        rom = self.draw.view.at(HIGH - 1)
        self.not_compared = ISA_ROM, range(rom.start, rom.end)

    def guest(self, name, program, confidential=None, contents=()):
        return SwProtected(name, self.machine, program, confidential, contents,
                           private=self.private)

    def new_guests(self):
        return [self.guest('plain', binary(), None, self.contents),
                self.guest('sw-protected', binary(),
                           'sw-protected-guest,id=cgs', self.contents)]

    def _draw_private(self, rng):
        """[(gpa, pages)] of RAM."""
        found = []
        places = PLACES + [s.end - PAGE for s in self.draw.view.memory()]
        for _ in range(rng.randrange(1, 7)):
            start = rng.choice((*places, rng.randrange(self.machine.below))) \
                & -PAGE
            count = rng.choice((1, 1, 2, 3, 8, MOST_PAGES))
            section = self.draw.view.at(start)
            if not section or section.kind != 'ram':
                continue
            end = min(start + count * PAGE, section.end)
            pages = range(start, end)
            if not any(_overlap(pages, r) for r in (BOUNCE, ISA_ROM)):
                found.append((start, len(pages) // PAGE))
        return found

    def expected(self, access):
        """Not the firmware, which is RAM for one and ROM for the other."""
        door = DOORS[access.door]
        if door.writes and access.length > WRITE_LIMIT:
            return None
        if door.whole and access.option != 'range':
            return AS_PLAIN
        pieces = self.draw.pieces(access, AROUND) if not door.whole else \
            [(access.addr, access.addr + access.length)]
        if any(start < r.stop and r.start < end for start, end in pieces
               for r in self.not_compared):
            return None
        return AS_PLAIN

    def same(self, access, plain, answer):
        if not DOORS[access.door].whole or 'ok' not in (plain.how,
                                                        answer.how):
            return super().same(access, plain, answer)
        if plain.how != answer.how:
            return False
        theirs, ours = ({place: data for place, data
                         in dumped_pages(found).items()
                         if not any(place[1] in r for r in self.not_compared)}
                        for found in (plain, answer))
        return theirs == ours


def _overlap(a, b):
    return a.start < b.stop and b.start < a.stop
