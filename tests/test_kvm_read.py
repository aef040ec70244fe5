# SPDX-License-Identifier: GPL-2.0-or-later
"""Private memory of SEV, SEV-ES, SNP and TDX guests, read and written.

The control of every read is that the bytes are not in QEMU's own memory.
"""

import base64
import re
import time
import unittest

from lib import doors, dump, qtest
from lib.kvm_case import (DEBUG_IOCTLS, DEBUGGABLE, KvmCase, debuggable,
                          for_each_guest)
from lib.qmp import QMPError
from lib.standin import StandIn
from lib.wait import poll
from payload.build import text_lines

PAGE = 4096
MIB = 1 << 20


def dumped(path, start, end):
    """Pages from a dump, which has them in several segments."""
    return b''.join(dump.read(path, page, PAGE)
                    for page in range(start, end, PAGE))


def check_write_across(case):
    """One write changes the end of a private page and the shared one after."""
    guest, shared = case.guest, case.map['TEXT_SHARED']
    before = doors.pmemsave(guest, shared - 16, 32)
    case.physical_write(shared - 8, b'0123456789abcdef')
    case.assertEqual(doors.pmemsave(guest, shared - 16, 32),
                     before[:8] + b'0123456789abcdef' + before[24:])
    case.assertEqual(guest.host_memory(shared, 8), b'89abcdef')
    case.assertNotEqual(guest.host_memory(shared - 8, 8), b'01234567')
    case.physical_write(shared - 8, before[8:24])


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
        self.assertNotIn(b'PRV 00', raw)

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
        # No page table is looked at meanwhile, and SEV has no other record
        assumed = bool(doors.ASSUMED_PRIVATE.search(output))
        self.assertEqual(assumed, self.kind in ('sev', 'sev-es'), output)
        output = doors.ASSUMED_PRIVATE.sub('', output)
        self.assertEqual(doors.hex_bytes(output), text[:16])
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
            with self.assertRaisesRegex(doors.Refused,
                                        'page is shared, but it is private'):
                doors.xp(self.guest, start | bit, 64)
        else:
            self.assertEqual(doors.xp(self.guest, start | bit, 64), text[:64])

    def test_guest_sees_a_write(self):
        value = 0x5aa5_0001
        self.physical_write(self.private(self.guest.payload.phys('mailbox')),
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
                addr = self.private(start + first)
                self.physical_write(addr, data)
                self.assertEqual(doors.pmemsave(self.guest, start, 2 * PAGE),
                                 bytes(wanted))
                self.physical_write(addr, before[first:first + len(data)])
        self.assertEqual(doors.pmemsave(self.guest, start, 2 * PAGE), before)

    def test_a_running_guest_changes_what_is_read(self):
        counter = self.guest.payload.phys('counter')
        first = doors.xp(self.guest, counter, 8)
        self.assertEqual(doors.xp(self.guest, counter, 8), first)

        def another():
            self.guest.cont()
            time.sleep(0.1)
            return doors.xp(self.guest, counter, 8) != first

        poll(another, 'the guest to count', 30)

    def test_nothing_there_is_no_memory(self):
        nothing = 0x20_0000_0000
        with self.assertRaisesRegex(doors.Refused, 'nothing is mapped'):
            doors.xp(self.guest, nothing, 16)
        with self.assertRaises(doors.Refused):
            doors.packet_physical(self.guest, nothing, 16)
        # as of any guest
        self.assertEqual(doors.pmemsave(self.guest, nothing, 16), bytes(16))

    def test_one_ioctl_covers_a_large_run(self):
        start, text = self.texts()
        before = len(self.ioctls())
        doors.pmemsave(self.guest, start, len(text))
        # SEV: besides, page tables are read
        calls = [call for call in self.ioctls()[before:]
                 if int(call.details['gpa'], 16) in range(start, start +
                                                          len(text))]
        self.assertEqual(len(calls), 1 if self.kind in ('snp', 'tdx')
                         else len(text) // PAGE)

    def test_only_the_interface_of_this_kind_of_guest_is_used(self):
        """Whatever else the kernel has."""
        start, text = self.texts()
        doors.pmemsave(self.guest, start, len(text))
        used = {call.name for call in self.ioctls()}
        sev = {name for name in used if 'SEV_DBG' in name}
        self.assertEqual(sev, used if self.kind in ('sev', 'sev-es') else set())
        self.assertTrue(used)


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
        self.assertNotIn(b'PRV 00', self.guest.host_memory(start, end - start))

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
        check_write_across(self)

    def test_page_that_is_not_there_yet(self):
        """It alone fails; the pages around it are read."""
        missing = self.map['SHARED_PAGE'] + PAGE
        with self.assertRaisesRegex(
                doors.Refused, f'0x{missing:x}: KVM has no such page.*not been '
                'touched or accepted.*No such file or directory'):
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

    def test_range_over_borders_of_qemus_sections(self):
        """Converted at once: QEMU's record and KVM's attributes agree."""
        start = self.map['BORDERS']
        end = start + self.map['BORDERS_PAGES'] * PAGE
        for wanted, tag in enumerate((b'SHR', b'PRV') * 2, start=1):
            self.physical_write(
                self.map['SHARED_PAGE'] + self.map['BORDERS_WANTED'],
                wanted.to_bytes(8, 'little'))
            self.guest.cont()
            self.guest.console.expect(f'borders {wanted:016x}',
                                      'the guest to convert the pages')
            text = text_lines(tag, start, end)
            for door in doors.PHYSICAL:
                with self.subTest(door=door.__doc__, wanted=wanted):
                    self.assertEqual(door(self.guest, start, end - start),
                                     text)
            self.assertEqual(self.guest.recorded(start, end),
                             self.guest.attributes(start, end))
            path, _ = dump.take(self.guest, dump.ELF, f'borders{wanted}')
            self.assertEqual(dumped(path, start, end), text)


for_each_guest(globals(), Mixed, {
    name: attributes for name, attributes in DEBUGGABLE.items()
    if attributes['kind'] in ('snp', 'tdx')})


class Shared(KvmCase):
    """SEV and SEV-ES: only the guest's page tables tell which pages it shares.

    @tables: are they known?
    """

    tables = True
    why = None                  # they are not

    def shared_text(self):
        """The text of the shared pages and where it is."""
        start, end = self.map['TEXT_SHARED'], self.map['TEXT_TAIL']
        return start, text_lines(b'SHR', start, end)

    def unmapped(self):
        """The address of a page that no page table maps."""
        return self.guest.ram_size - MIB

    def encrypts(self):
        """How often private memory has been written."""
        return len(self.guest.calls('KVM_SEV_DBG_ENCRYPT'))

    def assert_assumed(self, addr, assumed):
        """Do xp, its QMP brother and pmemsave say that they assume?"""
        self.guest.stop()
        output = self.guest.qmp.hmp(f'xp /16xb 0x{addr:x}')
        self.assertEqual(bool(doors.ASSUMED_PRIVATE.search(output)), assumed,
                         output)
        answer = self.guest.qmp.cmd('memory-debug-read', address=addr, size=16,
                                    space='physical')
        self.assertEqual(answer['assumed-private'], assumed)
        said = self.guest.log().count('not known whether all of this memory')
        doors.pmemsave(self.guest, addr, 16)
        self.assertEqual(self.guest.log().count(
            'not known whether all of this memory') - said, int(assumed))

    def assert_not_written(self, addr, why):
        """A write is refused, and says why; it changes nothing."""
        before = self.encrypts()
        gpa = addr & ~(1 << self.guest.payload.bit)
        host = self.guest.host_memory(gpa, 16)
        with self.assertRaises(doors.RSPError):
            self.physical_write(addr, b'not to be seen..')
        self.assertRegex(self.guest.log(), f'cannot write physical address '
                         f'0x{gpa:x}: it is not known whether the page is '
                         f'private or shared: .*{why}')
        self.assertEqual(self.guest.host_memory(gpa, 16), host)
        self.assertEqual(self.encrypts(), before)

    def test_shared_text(self):
        """It is shown where the tables are known; else a warning is."""
        start, text = self.shared_text()
        for door in doors.PHYSICAL:
            with self.subTest(door.__doc__):
                data = door(self.guest, start, len(text))
                self.assertEqual(data == text, self.tables)
        self.assertEqual(self.guest.host_memory(start, len(text)), text)
        self.assert_assumed(start, not self.tables)

    def test_private_text(self):
        start = self.map['TEXT_PRIVATE']
        self.assertEqual(doors.xp(self.guest, start, 16),
                         text_lines(b'PRV', start, start + 16))
        self.assert_assumed(start, not self.tables)

    def test_mixed_range(self):
        """From private pages over shared ones to private ones."""
        start, end = self.map['TEXT_PRIVATE'], self.map['TEXT_END']
        shared, text = self.shared_text()
        for door in doors.PHYSICAL:
            with self.subTest(door.__doc__):
                data = door(self.guest, start, end - start)
                self.assertEqual(data[:shared - start],
                                 text_lines(b'PRV', start, shared))
                self.assertEqual(data[shared - start:][:len(text)] == text,
                                 self.tables)
                tail = shared + len(text)
                self.assertEqual(data[tail - start:],
                                 text_lines(b'PRV', tail, end))

    def test_c_bit_in_the_address_says_private(self):
        """Of any page: a shared one shows up as garbage, as it would there."""
        bit = 1 << self.guest.payload.bit
        start, text = self.shared_text()
        self.assertNotEqual(doors.xp(self.guest, start | bit, 16), text[:16])
        self.assert_assumed(start | bit, False)
        before = self.encrypts()
        self.physical_write(self.unmapped() | bit, b'sixteen bytes ok')
        self.assertEqual(self.encrypts(), before + 1)
        self.assertEqual(doors.xp(self.guest, self.unmapped() | bit, 16),
                         b'sixteen bytes ok')
        self.assertNotEqual(self.guest.host_memory(self.unmapped(), 16),
                            b'sixteen bytes ok')

    def test_page_that_no_table_maps(self):
        self.assert_assumed(self.unmapped(), True)
        self.assert_not_written(self.unmapped(), self.why or
                                'no page table maps it')

    def test_write_to_a_private_page(self):
        counter = self.map['TEXT_TAIL']
        if not self.tables:
            self.assert_not_written(counter, self.why)
            return
        old = doors.xp(self.guest, counter, 16)
        before = self.encrypts()
        self.physical_write(counter, b'sixteen bytes ok')
        self.assertEqual(self.encrypts(), before + 1)
        self.assertEqual(doors.xp(self.guest, counter, 16),
                         b'sixteen bytes ok')
        self.physical_write(counter, old)

    def test_write_to_a_shared_page(self):
        start, text = self.shared_text()
        if not self.tables:
            self.assert_not_written(start, self.why)
            return
        before = self.encrypts()
        self.physical_write(start, b'sixteen bytes ok')
        self.assertEqual(self.guest.host_memory(start, 16),
                         b'sixteen bytes ok')
        self.assertEqual(doors.xp(self.guest, start, 16), b'sixteen bytes ok')
        self.physical_write(start, text[:16])
        self.assertEqual(self.encrypts(), before)

    def test_write_across_private_and_shared(self):
        shared, text = self.shared_text()
        if not self.tables:
            self.assert_not_written(shared - 8, self.why)
            return
        check_write_across(self)
        self.assertEqual(doors.xp(self.guest, shared, 16), text[:16])

    def test_write_that_runs_on_into_an_unknown_page_changes_nothing(self):
        """The first page of the range is known, the second is not."""
        last = self.map['RAM_BASE'] + 2 * MIB - 8
        known = doors.xp(self.guest, last, 8)
        with self.assertRaises(doors.RSPError):
            self.physical_write(last, b'0123456789abcdef')
        self.assertEqual(doors.xp(self.guest, last, 8), known)

    def test_running_guest(self):
        """Its page tables are not read, as they change."""
        start = self.map['TEXT_TAIL']
        before = self.encrypts()
        answer = self.guest.qmp.cmd('memory-debug-read', address=start,
                                    size=16, space='physical')
        self.assertTrue(answer['assumed-private'])
        with self.assertRaisesRegex(QMPError, 'not known whether.*private or '
                                    'shared: the VM is running'):
            self.guest.qmp.cmd('memory-debug-write', address=start,
                               space='physical',
                               data=base64.b64encode(b'x' * 16).decode())
        self.assertEqual(self.encrypts(), before)
        self.assertTrue(self.guest.qmp.cmd('query-status')['running'])


OPERATOR = ('-object', 'memory-debug,id=md0,paging=4level',
            '-machine', 'memory-debug=md0')


class SharedByOperator(Shared):
    """SEV-ES: an operator knows the page tables."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.guest.qmp.cmd('qom-set', path='/objects/md0', property='root',
                          value=cls.guest.payload.phys('pml4'))


for_each_guest(globals(), Shared, {
    'Sev': DEBUGGABLE['Sev'],
    'SevEs': {**DEBUGGABLE['SevEs'], 'tables': False,
              'why': 'page tables are not known'}})
for_each_guest(globals(), SharedByOperator, {
    'SevEs': {'kind': 'sev-es', 'settings': {**debuggable('sev-es'),
                                             'args': OPERATOR}}})


class Sections(unittest.TestCase):
    """Conversions over borders of QEMU's sections, and what memory moves.

    Scripted guests, which need no page tables to reach any address.
    """

    DIMM, SIZE = 0x1_0000_0000, 16 * MIB

    def guest(self, kind, *args, **settings):
        """A guest with two DIMMs in a row."""
        guest = self.enterContext(StandIn(
            kind, scripted=True, args=['-m', '64M,slots=2,maxmem=1G', *args],
            **debuggable(kind), **settings))
        guest.wait_running()
        return guest

    def dimms(self):
        """Arguments of two DIMMs in a row."""
        args = []
        for i in range(2):
            args += ['-object', f'memory-backend-ram,id=m{i},size=16M',
                     '-device', f'pc-dimm,id=d{i},memdev=m{i},'
                     f'addr={self.DIMM + i * self.SIZE:#x}']
        return args

    @staticmethod
    def convert(start, end, private):
        """A step: the hypercall."""
        return f'convert {start:#x} {(end - start) // PAGE:#x} {private}'

    @staticmethod
    def text(tag, start, end):
        """A step: the guest's text."""
        return f'text {int.from_bytes(tag, "little"):#x} {start:#x} {end:#x}'

    def check(self, guest, start, end, tag):
        """Every door and the dump show the guest's text."""
        text = text_lines(tag, start, end)
        for door in doors.PHYSICAL:
            with self.subTest(door.__doc__):
                self.assertEqual(door(guest, start, end - start), text)
        self.assertEqual(guest.recorded(start, end),
                         guest.attributes(start, end))
        path, _ = dump.take(guest, dump.ELF, begin=start, length=end - start)
        self.assertEqual(dumped(path, start, end), text)
        self.assertEqual(guest.violations(), [])

    def test_border_of_two_dimms(self):
        border = self.DIMM + self.SIZE
        start, end = border - 2 * PAGE, border + 2 * PAGE
        for kind in 'snp', 'tdx':
            for private, tag in (0, b'SHR '), (1, b'PRV '):
                steps = [self.convert(start, end, 0)]
                if private:
                    steps += [self.text(b'SHR ', start, end),
                              self.convert(start, end, 1)]
                with self.subTest(kind=kind, private=private):
                    guest = self.guest(kind, *self.dimms(), setup=[
                        *steps, self.text(tag, start, end)])
                    self.check(guest, start, end, tag[:3])

    def refused(self, kind, *args, setup):
        """A guest whose last step is a conversion that QEMU cannot do."""
        guest = self.enterContext(StandIn(
            kind, scripted=True, args=args, setup=setup, **debuggable(kind)))
        poll(lambda: guest.qmp.cmd('query-status')['status'] ==
             'internal-error', 'the VM to stop', 30)
        return guest

    def test_end_of_low_memory(self):
        """Shared over it is allowed; private is not, as there is nothing."""
        border = 64 * MIB
        start, end = border - 2 * PAGE, border + 2 * PAGE
        for kind in 'snp', 'tdx':
            with self.subTest(kind):
                guest = self.guest(kind, setup=[
                    self.convert(start, end, 0),
                    self.text(b'SHR ', start, border)])
                self.check(guest, start, border, b'SHR')
                guest = self.refused(kind, setup=[
                    self.text(b'PRV ', start, border),
                    self.convert(start, end, 1)])
                self.check(guest, start, border, b'PRV')

    def test_window_of_a_device_in_the_middle(self):
        """RAM, the VGA's window, the option ROMs' RAM."""
        vga = '-device', 'VGA,romfile='
        ram, window, rom = 0x9f000, 0xa0000, 0xc0000
        steps = [self.convert(ram, rom + PAGE, 0),
                 self.text(b'SHR ', ram, window),
                 self.text(b'SHR ', rom, rom + PAGE)]
        guest = self.guest('snp', *vga, setup=steps)
        self.check(guest, ram, window, b'SHR')
        self.check(guest, rom, rom + PAGE, b'SHR')
        # A device's window cannot become private: what lies before it has
        # become so, and what lies behind it has not
        guest = self.refused('snp', *vga, setup=[
            *steps, self.convert(ram, rom + PAGE, 1)])
        self.check(guest, rom, rom + PAGE, b'SHR')
        self.assertEqual(guest.recorded(ram, window), ['private'])
        self.assertEqual(guest.attributes(ram, window), ['private'])
        with self.assertRaisesRegex(doors.Refused, 'not been touched'):
            doors.xp(guest, ram, 16)

    def test_shared_pages_of_a_dimm_that_comes_back(self):
        """To KVM all pages of a new slot are private, shared ones included."""
        for kind in 'snp', 'tdx':
            with self.subTest(kind):
                self.check_mapped_anew(kind, self.DIMM, [
                    '-object', 'memory-backend-ram,id=m0,size=16M', '-device',
                    f'pc-dimm,id=d0,memdev=m0,addr={self.DIMM:#x}'],
                    self.replug)

    def test_shared_pages_of_ram_that_is_mapped_anew(self):
        """The guest makes the BIOS area of a Q35 machine read-only."""
        self.check_mapped_anew('snp', 0x100000, [], self.protect_bios_area)

    def replug(self, guest):
        """Take the DIMM out and put it in again."""
        guest.unplug('d0')
        guest.qmp.cmd('device_add', driver='pc-dimm', id='d0', memdev='m0',
                      addr=self.DIMM)

    def protect_bios_area(self, guest):
        """PAM0 of the host bridge (QEMU: include/hw/pci-host/pam.h)"""
        port = qtest.QTest(guest.folder / 'qtest')
        port.ask(f'outl 0xcf8 {0x8000_0090:#x}')
        port.ask('outb 0xcfc 0x10')
        port.close()

    def check_mapped_anew(self, kind, start, args, map_anew):
        """The guest copies a page of its own to pages that it has shared."""
        end, source = start + 2 * PAGE, 0x240000
        guest = StandIn(
            kind, scripted=True, args=['-m', '64M,slots=2,maxmem=1G', *args],
            setup=[self.convert(start, end, 0)],
            loop=[f'copy {start:#x} {source:#x} {end - start:#x}'],
            **debuggable(kind))
        guest.command += qtest.arguments(guest.folder)
        with guest:
            guest.wait_running()
            guest.stop()
            slots = len(guest.calls('KVM_SET_USER_MEMORY_REGION2'))
            map_anew(guest)
            self.assertGreater(
                len(guest.calls('KVM_SET_USER_MEMORY_REGION2')), slots)
            self.fill(guest, source, b'after')
            guest.cont()
            time.sleep(0.2)
            for door in doors.PHYSICAL:
                with self.subTest(door.__doc__):
                    self.assertEqual(door(guest, start, end - start),
                                     b'after'.ljust(16, b'.') *
                                     ((end - start) // 16))
            self.assertEqual(guest.recorded(start, end),
                             guest.attributes(start, end))
            self.assertEqual(guest.violations(), [])

    def test_swapped_dimm(self):
        """During a detached dump: the one that was asked for, or an error."""
        for kind in 'snp', 'tdx':
            with self.subTest(kind):
                self.check_swapped(kind)

    def check_swapped(self, kind):
        """The guest copies @source to whatever DIMM there is."""
        source = 0x240000
        guest = StandIn(
            kind, scripted=True, args=['-m', '64M,slots=2,maxmem=1G'],
            loop=[f'copy {self.DIMM:#x} {source:#x} {4 * PAGE:#x}'],
            page_latency_us=2000, **debuggable(kind))
        guest.command += qtest.arguments(guest.folder)
        with guest:
            guest.wait_running()
            for name in 'new', 'old':
                guest.stop()
                self.fill(guest, source, name.encode())
                guest.qmp.cmd('object-add', qom_type='memory-backend-ram',
                              id=name, size=self.SIZE, share=True)
                self.plug(guest, name)
                guest.cont()
                poll(lambda name=name: self.shows(guest, name.encode()),
                     'the guest to write to the DIMM', 30)
                if name == 'new':
                    guest.unplug('dimm')
            guest.stop()
            self.swap_during_a_dump(guest)
            self.assertEqual(guest.violations(), [])

    def shows(self, guest, name):
        """Is the DIMM's content that of @name?"""
        try:
            return doors.xp(guest, self.DIMM, 16) == name.ljust(16, b'.')
        except doors.Refused:
            return False
        finally:
            guest.cont()

    def fill(self, guest, gpa, name):
        for page in range(4):
            guest.qmp.cmd('memory-debug-write', address=gpa + page * PAGE,
                          space='physical',
                          data=base64.b64encode(
                              name.ljust(16, b'.') * (PAGE // 16)).decode())

    def plug(self, guest, name):
        guest.qmp.cmd('device_add', driver='pc-dimm', id='dimm', memdev=name,
                      addr=self.DIMM)

    def swap_during_a_dump(self, guest):
        path, _ = dump.take(guest, dump.ELF, detach=True,
                            allow_incomplete=True, begin=self.DIMM,
                            length=4 * PAGE)
        guest.unplug('dimm')
        self.plug(guest, 'new')
        event = guest.qmp.wait_event('DUMP_COMPLETED', 60)['data']
        if event['result']['status'] == 'completed':
            segments = [s for s in dump.segments(path) if s[0] == self.DIMM]
            for pa, _, size, _ in segments:
                data = dump.read(path, pa, size)
                self.assertEqual(data, b'old'.ljust(16, b'.') * (size // 16))
        self.assertEqual(doors.xp(guest, self.DIMM, 16),
                         b'new'.ljust(16, b'.'))


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
        with self.assertRaises(doors.RSPError):     # no page table maps it
            self.write(guest, addr, b'sixteen bytes ok')
        addr |= 1 << guest.payload.bit
        self.write(guest, addr, b'sixteen bytes ok')
        self.assertEqual(doors.xp(guest, addr, 16), b'sixteen bytes ok')
        self.assertEqual(len(guest.calls('KVM_SEV_DBG_ENCRYPT')), before + 1)

    def test_memory_of_a_device_is_shared(self):
        """A frame buffer: the guest writes it for the host to see."""
        for kind in 'sev', 'sev-es', 'snp', 'tdx':
            with self.subTest(kind):
                self.check_frame_buffer(kind)

    def check_frame_buffer(self, kind):
        buffer, device = 0xe000_0000, 0x8000_0000 | 1 << 11
        guest = StandIn(kind, scripted=True, args=['-device', 'VGA,romfile='],
                        **debuggable(kind))
        guest.command += qtest.arguments(guest.folder)
        with guest:
            guest.wait_running()
            port = qtest.QTest(guest.folder / 'qtest')
            for register, value in (0x10, buffer), (4, 3):
                port.ask(f'outl 0xcf8 {device | register:#x}')
                port.ask(f'outl 0xcfc {value:#x}')
            port.write(buffer, b'from the device.')
            port.close()
            guest.stop()
            before = guest.calls(*DEBUG_IOCTLS)
            output = guest.qmp.hmp(f'xp /16xb {buffer:#x}')
            self.assertEqual(doors.hex_bytes(output), b'from the device.')
            self.write(guest, buffer, b'from a debugger.')
            self.assertEqual(doors.pmemsave(guest, buffer, 16),
                             b'from a debugger.')
            after = [call for call in guest.calls(*DEBUG_IOCTLS)[len(before):]
                     if 'ENCRYPT' in call.name and 'READ' not in call.name or
                     int(call.details['gpa'], 16) >= buffer]
            self.assertEqual(after, [])

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
        guest, rom = self.guest('sev'), range(0xc0000, 0xe0000)
        self.assertEqual(doors.xp(guest, rom.start, 32), bytes(32))
        # page tables may have been read
        self.assertEqual([call for call in guest.calls(*DEBUG_IOCTLS)
                          if int(call.details['gpa'], 16) in rom], [])
