# SPDX-License-Identifier: GPL-2.0-or-later
"""The vapic, a device that patches guest code, leaves encrypted guests alone.

The guest here is an option ROM as the vapic expects it: it tells port 0x7e
where its state is, and QEMU then replaces its hypercall by another.
"""

import tempfile
import unittest
from pathlib import Path

from lib import doors
from lib.qemu import Qemu

BLOCK = 0x10000         # where the guest puts its ROM
HYPERCALL = bytes.fromhex('b8010000000f01c1')       # mov $1, %eax; vmcall
PATCHED = bytes.fromhex('b80100000090e77e')         # mov $1, %eax; nop; out


def firmware():
    """A 64 KiB image for -bios, which runs in real mode."""
    image = bytearray(0x10000)
    image[0xfff0:0xfff5] = bytes.fromhex('ea00e000f0')  # ljmp $0xf000, $0xe000
    start = bytes.fromhex(
        'fa fc'             # cli; cld
        'b8 00f0 8ed8'      # mov $0xf000, %ax; mov %ax, %ds
        'be 00d0'           # mov $0xd000, %si
        'b8 0010 8ec0'      # mov $0x1000, %ax; mov %ax, %es
        '31ff b9 0002'      # xor %di, %di; mov $512, %cx
        'f3a4'              # rep movsb
        'ea 1000 0010')     # ljmp $0x1000, $0x10
    image[0xe000:0xe000 + len(start)] = start
    rom = bytearray(512)
    rom[0:3] = b'\x55\xaa\x01'                          # one block
    code = bytes.fromhex(
        'b8 4000 e77e'      # mov $0x40, %ax; out %ax, $0x7e
        'ba f803 b0 21 ee b0 0a ee'     # "!\n" to the serial port
        'f4 ebfd')          # hlt; jmp .-1
    rom[0x10:0x10 + len(code)] = code
    rom[0x40:0x40 + len(HYPERCALL)] = HYPERCALL
    image[0xd000:0xd200] = rom
    return bytes(image)


class Vapic(unittest.TestCase):
    """What is at the hypercall after the guest has said that it is there."""

    def hypercall(self, machine, *args):
        """The bytes of the guest's hypercall, when the guest is done."""
        with tempfile.NamedTemporaryFile() as image:
            Path(image.name).write_bytes(firmware())
            guest = self.enterContext(Qemu(
                '-accel', 'tcg', '-bios', image.name, '-vga', 'none', *args,
                ram_mib=16, machine=machine))
            guest.console.expect('!', 'the guest to have told the vapic')
            return doors.xp(guest, BLOCK + 0x40, len(HYPERCALL))

    def test_it_patches_a_normal_guest(self):
        self.assertEqual(self.hypercall('q35'), PATCHED)

    def test_it_does_not_patch_an_encrypted_guest(self):
        self.assertEqual(
            self.hypercall('q35,confidential-guest-support=cg0',
                           '-object', 'sim-encrypted-guest,id=cg0'),
            HYPERCALL)
