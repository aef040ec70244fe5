# SPDX-License-Identifier: GPL-2.0-or-later
"""Private memory of SEV, SEV-ES, SNP and TDX guests, read and written.

The control of every read is that the bytes are not in QEMU's own memory.
"""

import re
import time
import unittest

from lib import doors
from lib.kvm_case import (DEBUG_IOCTLS, DEBUGGABLE, KvmCase, debuggable,
                          for_each_guest)
from lib.standin import StandIn
from payload.build import text_lines

PAGE = 4096
MIB = 1 << 20


class Access(KvmCase):
    """What every guest that may be debugged has in common."""

    def texts(self):
        """The guest's private text and where it is."""
        start, end = self.map['TEXT_PRIVATE'], self.map['TEXT_SHARED']
        return start, text_lines(b'PRV', start, end)

    def ioctls(self):
        """The calls so far that reach private memory."""
        return self.guest.calls(*DEBUG_IOCTLS)

    def test_every_door_reads_what_the_guest_wrote(self):
        start, text = self.texts()
        for door in doors.PHYSICAL:
            with self.subTest(door.__doc__):
                self.assertEqual(door(self.guest, start, len(text)), text)
        raw = self.guest.host_memory(start, len(text))
        self.assertNotEqual(raw, text)
        self.assertNotIn(b'PRV', raw)

    def test_any_address_and_length(self):
        start, text = self.texts()
        for first, length in ((1, 1), (15, 2), (16, 16), (7, 100),
                              (PAGE - 1, 2), (PAGE - 16, 32), (100, 2 * PAGE)):
            with self.subTest(first=first, length=length):
                self.assertEqual(
                    doors.pmemsave(self.guest, start + first, length),
                    text[first:first + length])

    def test_checksum(self):
        start, text = self.texts()
        self.assertEqual(doors.sum16(self.guest, start, len(text)),
                         doors.bsd_sum(text))

    def test_reads_while_the_guest_runs(self):
        start, text = self.texts()
        output = self.guest.qmp.hmp(f'xp /16xb 0x{start:x}')
        self.assertEqual(bytes(int(byte, 16) for line in output.splitlines()
                               for byte in line.partition(': ')[2].split()),
                         text[:16])
        self.assertTrue(self.guest.qmp.cmd('query-status')['running'])

    def test_firmware_is_what_was_launched(self):
        image = self.guest.payload.image
        with open(image, 'rb') as file:
            data = file.read()
        self.assertEqual(
            doors.pmemsave(self.guest, self.map['ROM_BASE'], len(data))[-64:],
            data[-64:])

    def test_c_bit_or_shared_bit_in_the_address(self):
        start, text = self.texts()
        bit = 1 << self.guest.payload.bit
        if self.kind == 'tdx':
            # The guest has not shared it: what QEMU has there is not the TD's
            self.assertNotIn(b'PRV', doors.xp(self.guest, start | bit, 64))
        else:
            self.assertEqual(doors.xp(self.guest, start | bit, 64), text[:64])

    def test_guest_sees_a_write(self):
        value = 0x5aa5_0001
        self.physical_write(self.guest.payload.phys('mailbox'),
                            value.to_bytes(8, 'little'))
        self.guest.cont()
        self.guest.console.expect(f'mailbox {value:016x}',
                                  'the guest to see the write')

    def test_write_keeps_the_neighbours(self):
        start = self.map['TEXT_TAIL']
        before = doors.pmemsave(self.guest, start, 2 * PAGE)
        for first, data in ((3, b'x'), (30, b'across blocks'),
                            (PAGE - 5, b'across pages')):
            with self.subTest(data):
                wanted = bytearray(before)
                wanted[first:first + len(data)] = data
                self.physical_write(start + first, data)
                self.assertEqual(doors.pmemsave(self.guest, start, 2 * PAGE),
                                 bytes(wanted))
                self.physical_write(start + first,
                                    before[first:first + len(data)])
        self.assertEqual(doors.pmemsave(self.guest, start, 2 * PAGE), before)

    def test_a_running_guest_changes_what_is_read(self):
        counter = self.guest.payload.phys('counter')
        first = doors.xp(self.guest, counter, 8)
        self.assertEqual(doors.xp(self.guest, counter, 8), first)
        self.guest.cont()
        time.sleep(0.2)
        self.assertNotEqual(doors.xp(self.guest, counter, 8), first)

    def test_nothing_there_is_no_memory(self):
        with self.assertRaisesRegex(doors.Refused, 'nothing is mapped'):
            doors.pmemsave(self.guest, 0x20_0000_0000, 16)

    def test_one_ioctl_covers_a_large_run(self):
        start, text = self.texts()
        before = len(self.ioctls())
        doors.pmemsave(self.guest, start, len(text))
        calls = self.ioctls()[before:]
        unified = self.settings['unified']
        self.assertEqual(len(calls), 1 if unified else len(text) // PAGE)


for_each_guest(globals(), Access, DEBUGGABLE)


class Mixed(KvmCase):
    """Guests that tell which of their pages are private."""

    def test_mixed_range(self):
        start, end = self.map['TEXT_PRIVATE'], self.map['TEXT_END']
        shared, tail = self.map['TEXT_SHARED'], self.map['TEXT_TAIL']
        text = (text_lines(b'PRV', start, shared) +
                text_lines(b'SHR', shared, tail) + text_lines(b'PRV', tail, end))
        for door in doors.PHYSICAL:
            with self.subTest(door.__doc__):
                self.assertEqual(door(self.guest, start, end - start), text)
                self.assertEqual(door(self.guest, shared - 3, 6),
                                 text[shared - start - 3:shared - start + 3])
        self.assertNotIn(b'PRV', self.guest.host_memory(start, end - start))

    def test_shared_page_takes_no_ioctl(self):
        before = len(self.guest.calls(*DEBUG_IOCTLS))
        shared = self.map['TEXT_SHARED']
        self.assertEqual(doors.xp(self.guest, shared, 64),
                         text_lines(b'SHR', shared, shared + 64))
        self.assertEqual(len(self.guest.calls(*DEBUG_IOCTLS)), before)

    def test_c_bit_on_a_shared_page_is_a_conflict(self):
        if self.kind == 'tdx':
            self.skipTest('an address cannot say "private" there')
        with self.assertRaisesRegex(doors.Refused,
                                    'page is private, but it is shared'):
            doors.xp(self.guest, self.map['TEXT_SHARED'] |
                     1 << self.guest.payload.bit, 16)

    def test_write_across_private_and_shared(self):
        shared = self.map['TEXT_SHARED']
        before = doors.pmemsave(self.guest, shared - 16, 32)
        self.physical_write(shared - 8, b'0123456789abcdef')
        self.assertEqual(doors.pmemsave(self.guest, shared - 16, 32),
                         before[:8] + b'0123456789abcdef' + before[24:])
        self.assertEqual(self.guest.host_memory(shared, 8), b'89abcdef')
        self.assertNotEqual(self.guest.host_memory(shared - 8, 8), b'01234567')
        self.physical_write(shared - 8, before[8:24])

    def test_page_that_is_not_there_yet(self):
        """It alone fails; the pages around it are read."""
        missing = self.map['SHARED_PAGE'] + PAGE
        with self.assertRaisesRegex(
                doors.Refused, f'0x{missing:x}: KVM has no such page.*not been '
                'touched or accepted.*Invalid argument'):
            doors.pmemsave(self.guest, missing - PAGE, 2 * PAGE)
        for addr in missing - PAGE, self.map['TEXT_TAIL']:
            self.assertEqual(len(doors.pmemsave(self.guest, addr, PAGE)), PAGE)

    def test_page_that_is_not_there_yet_in_the_middle(self):
        """One ioctl reads many pages; the error names the right one."""
        start = self.map['RAM_BASE']
        with self.assertRaises(doors.Refused) as refused:
            doors.pmemsave(self.guest, start, 64 * PAGE)
        first = int(re.search(r'\(at (0x\w+),', str(refused.exception))[1], 16)
        self.assertGreater(first, start)
        self.assertEqual(first % PAGE, 0)
        doors.pmemsave(self.guest, start, first - start)
        with self.assertRaises(doors.Refused):
            doors.xp(self.guest, first, 1)

    def flips(self, wanted):
        """Ask the guest to convert FLIP_PAGE until it has done so @wanted
        times."""
        self.physical_write(self.map['SHARED_PAGE'] + self.map['FLIPS_WANTED'],
                            wanted.to_bytes(8, 'little'))
        self.guest.cont()

    def test_conversion_changes_how_a_page_is_read(self):
        page = self.map['FLIP_PAGE']
        done = int.from_bytes(doors.xp(
            self.guest, self.guest.payload.phys('flips_done'), 8), 'little')
        kinds = []
        for wanted in range(done + 1, done + 5):
            self.flips(wanted)
            self.guest.console.expect(f'flips {wanted:016x}',
                                      'the guest to convert the page')
            data = doors.pmemsave(self.guest, page, PAGE)
            kinds.append(data[:3])
            self.assertEqual(data, text_lines(data[:3], page, page + PAGE))
            self.assertEqual(self.guest.host_memory(page, PAGE) == data,
                             data[:3] == b'SHR')
        self.assertEqual(sorted(kinds), [b'PRV', b'PRV', b'SHR', b'SHR'])

    def test_reads_during_conversions_see_one_kind_or_the_other(self):
        """A page is never read by the way of the other kind."""
        page = self.map['FLIP_PAGE']
        done = int.from_bytes(doors.xp(
            self.guest, self.guest.payload.phys('flips_done'), 8), 'little')
        self.flips(done + 200)
        for _ in range(200):
            output = self.guest.qmp.hmp(f'xp /16c 0x{page + PAGE - 16:x}')
            text = ''.join(output.partition(':')[2].split())
            self.assertRegex(output, "'P' 'R' 'V'|'S' 'H' 'R'|" + r"'\\x00'" +
                             '|not been touched', text)


for_each_guest(globals(), Mixed, {
    name: attributes for name, attributes in DEBUGGABLE.items()
    if attributes['kind'] in ('snp', 'tdx')})


class AllRam(unittest.TestCase):
    """Memory that is not the machine's own."""

    def guest(self, kind, *args, **settings):
        """A scripted guest: its memory is as hidden as that of one on KVM."""
        guest = self.enterContext(StandIn(
            kind, scripted=True, args=args, **{**debuggable(kind), **settings}))
        guest.wait_running()
        return guest

    def write(self, guest, addr, data):
        """Write with gdb's physical memory mode."""
        guest.stop()
        with doors.RSP(guest.gdb_socket) as rsp:
            rsp.physical(True)
            rsp.write(addr, data)
            rsp.physical(False)

    def check_dimm(self, guest, addr):
        """What is written to it is encrypted, and decrypted again."""
        before = len(guest.calls('KVM_SEV_DBG_ENCRYPT'))
        self.write(guest, addr, b'sixteen bytes ok')
        self.assertEqual(doors.xp(guest, addr, 16), b'sixteen bytes ok')
        self.assertEqual(len(guest.calls('KVM_SEV_DBG_ENCRYPT')), before + 1)

    def test_dimm(self):
        guest = self.guest(
            'sev', '-m', '64M,slots=2,maxmem=1G',
            '-object', 'memory-backend-ram,id=m1,size=128M',
            '-device', 'pc-dimm,id=d1,memdev=m1,addr=0x100000000')
        self.check_dimm(guest, 0x1_0000_1000)

    def test_hotplugged_dimm(self):
        guest = self.guest('sev', '-m', '64M,slots=2,maxmem=1G')
        guest.qmp.cmd('object-add', qom_type='memory-backend-ram', id='m2',
                      size=128 * MIB)
        guest.qmp.cmd('device_add', driver='pc-dimm', id='d2', memdev='m2')
        dimm = guest.qmp.cmd('query-memory-devices')[0]['data']
        self.check_dimm(guest, dimm['addr'] + 0x1000)

    def test_pflash(self):
        guest = self.guest('sev', pflash=True)
        with open(guest.payload.image, 'rb') as file:
            image = file.read()
        self.assertEqual(
            doors.pmemsave(guest, guest.payload.map['ROM_BASE'], len(image)),
            image)
        self.assertTrue(guest.calls('KVM_SEV_DBG_DECRYPT'))

    def test_rom_that_nobody_encrypted_is_plain(self):
        guest = self.guest('sev')
        before = len(guest.calls(*DEBUG_IOCTLS))
        self.assertEqual(doors.xp(guest, 0xc0000, 32), bytes(32))
        self.assertEqual(len(guest.calls(*DEBUG_IOCTLS)), before)


if __name__ == '__main__':
    unittest.main()
