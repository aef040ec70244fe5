# SPDX-License-Identifier: GPL-2.0-or-later
"""The dump of an ordinary guest is stock QEMU's, but for what was wrong."""

import random
import unittest

from lib import dump
from lib.qemu import MIB, Qemu, binary
from lib.qmp import QMPError

RAM_MIB = 64
NOISE = 0x100000        # where the guest's memory holds something


def fixed_elf(data):
    """Stock's ELF dump with program headers first, and its e_ehsize right."""
    ehdr = list(dump.EHDR.unpack_from(data))
    phoff, shoff, size = ehdr[5], ehdr[6], dump.EHDR.size
    end = phoff + dump.PHDR.size * ehdr[10]
    ehdr[5], ehdr[6], ehdr[8] = size, size + end - phoff, size
    return dump.EHDR.pack(*ehdr) + data[phoff:end] + data[shoff:phoff] + \
        data[end:]


def fixed_kdump(data):
    """Stock's kdump of our guest, which is in real mode, with its machine."""
    unknown, machine = (name.ljust(65, b'\0')
                        for name in (b'Unknown', b'i686'))
    assert data.count(unknown) == 1
    return data.replace(unknown, machine)


class NormalGuest(unittest.TestCase):
    """The same stopped guest in both QEMUs, with a VMCOREINFO device."""

    def start(self, base, *arguments):
        """A guest whose firmware has not run; its memory holds noise."""
        guest = Qemu('-accel', 'tcg', '-S', '-device', 'vmcoreinfo',
                     *arguments, ram_mib=RAM_MIB, machine='pc',
                     program=binary(base=base))
        noise = guest.folder / 'noise'
        noise.write_bytes(random.Random(1).randbytes(4 * MIB) +
                          b'text' * MIB)
        guest.command += ['-device', f'loader,file={noise},addr={NOISE},'
                          'force-raw=on']
        return self.enterContext(guest)

    def both(self, *arguments):
        """The guest in stock QEMU and in ours."""
        return self.start(True, *arguments), self.start(False, *arguments)

    def assert_same(self, guests, kind, **arguments):
        """Both QEMUs dump the same and say the same."""
        (stock, said), (ours, says) = (
            dump.take(guest, kind, **arguments) for guest in guests)
        self.assertEqual(said, says)
        data = ours.read_bytes()
        self.assertGreater(len(data), 4 * MIB)
        fixed = fixed_elf if kind == dump.ELF else fixed_kdump
        self.assertTrue(data == fixed(stock.read_bytes()),
                        f'{kind} {arguments}')
        event, expected = (guest.qmp.wait_event('DUMP_COMPLETED')['data']
                           for guest in guests)
        self.assertEqual(event, expected)

    def test_every_format(self):
        guests = self.both()
        for kind in dump.FORMATS:
            with self.subTest(kind):
                self.assert_same(guests, kind)

    def test_paging(self):
        self.assert_same(self.both(), dump.ELF, paging=True)

    def test_range(self):
        self.assert_same(self.both(), dump.ELF, begin=NOISE + 77,
                         length=5 * MIB)

    def test_memory_above_4_gib(self):
        guests = self.both('-machine', 'max-ram-below-4g=32M')
        for kind in dump.ELF, 'kdump-zlib':
            self.assert_same(guests, kind)

    def test_several_cpus(self):
        self.assert_same(self.both('-smp', '3'), dump.ELF)

    def test_a_failed_dump_says_and_leaves_the_same(self):
        refusals = []
        for guest in self.both():
            with self.assertRaises(QMPError) as caught:
                dump.take(guest, 'elf', begin=1 << 40, length=MIB)
            refusals.append((caught.exception.desc,
                             (guest.folder / 'dump.elf').stat().st_size))
        self.assertEqual(*refusals)
