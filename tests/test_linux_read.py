# SPDX-License-Identifier: GPL-2.0-or-later
"""Every way to read a guest's memory shows what the guest itself sees."""

from lib import doors
from lib.case import LinuxCase
from lib.wait import poll

PAGE = 4096
LINKED_AT = 0xffffffff80000000      # __START_KERNEL_map


class ReadsEncrypted(LinuxCase):
    """An encrypted guest whose host sees ciphertext."""

    def check(self, functions, addr, expected):
        """Each of @functions reads @expected at @addr."""
        for door in functions:
            with self.subTest(door.__doc__):
                self.assertEqual(door(self.guest, addr, len(expected)),
                                 expected)

    def test_kernel_text_at_its_virtual_and_physical_address(self):
        symbol = self.guest.symbols('linux_banner')['linux_banner']
        length = len(self.facts.version)
        expected = self.guest.kernel_read(symbol.va, length)
        self.assertEqual(expected.decode(), self.facts.version)
        self.check(doors.VIRTUAL, symbol.va, expected)
        self.check(doors.PHYSICAL, symbol.pa, expected)
        self.assert_hidden(symbol.pa, expected)

    def test_kernel_code_is_disassembled(self):
        symbol = self.guest.symbols('__x64_sys_sethostname')[
            '__x64_sys_sethostname']
        expected = self.guest.kernel_read(symbol.va, 64)
        self.check([doors.x_i], symbol.va, expected)
        self.check([doors.xp_i], symbol.pa, expected)
        self.assert_hidden(symbol.pa, expected)

    def test_sum_of_a_page(self):
        symbol = self.guest.symbols('linux_banner')['linux_banner']
        page = symbol.pa & -PAGE
        expected = self.guest.physical_read(page, PAGE)
        self.assertEqual(doors.sum16(self.guest, page, PAGE),
                         doors.bsd_sum(expected))
        self.assert_hidden(page, expected)

    def test_read_only_kernel_data_in_one_long_read(self):
        area = next(r for r in self.facts.iomem if r.name == 'Kernel rodata')
        length = (area.end + 1 - area.start) & -PAGE
        places = range(area.start, area.start + length, length // 16 & -PAGE)
        expected = {pa: self.guest.physical_read(pa, PAGE) for pa in places}
        saved = doors.pmemsave(self.guest, area.start, length)
        for pa, page in expected.items():
            self.assertEqual(saved[pa - area.start:][:PAGE], page, hex(pa))
        self.assert_hidden(places[0], expected[places[0]])

    def test_user_process_across_two_pages(self):
        text = self.start_target()
        note, second = self.facts.note, self.facts.note_page_2
        split = second.va - note.va
        self.assertTrue(0 < split < len(text))
        self.check(doors.VIRTUAL, note.va, text)
        self.check(doors.PHYSICAL, note.pa, text[:split])
        self.check(doors.PHYSICAL, second.pa, text[split:])
        self.assert_hidden(note.pa, text[:split])
        self.assert_hidden(second.pa, text[split:])

    def test_user_page_through_the_kernels_direct_map(self):
        text = self.facts.note_text.encode()[:64]
        base = self.guest.symbols('page_offset_base')['page_offset_base']
        offset = int.from_bytes(self.guest.kernel_read(base.va, 8), 'little')
        self.check(doors.VIRTUAL, offset + self.facts.note.pa, text)
        self.assert_hidden(self.facts.note.pa, text)

    def test_running_process_stands_still_while_stopped(self):
        self.start_target()
        counter = self.facts.counter
        first = doors.x(self.guest, counter.va, 8)
        self.assertEqual(doors.xp(self.guest, counter.pa, 8), first)
        self.guest.cont()
        poll(lambda: self.guest.target()[0] > int.from_bytes(first, 'little'),
             'the process to count', 60)
        second = doors.x(self.guest, counter.va, 8)
        self.assertGreater(int.from_bytes(second, 'little'),
                           int.from_bytes(first, 'little'))
        self.assert_hidden(counter.pa, second)

    def test_vmcoreinfo(self):
        pa, size = self.facts.vmcoreinfo
        note = doors.xp(self.guest, pa, min(size, PAGE - pa % PAGE))
        self.assertIn(b'OSRELEASE=', note)
        self.assertIn(note[note.index(b'OSRELEASE=') + 10:].split(b'\n')[0],
                      self.facts.version.encode())
        self.assert_hidden(pa, note)

    def test_translation_agrees_with_the_guest(self):
        self.start_target()
        places = [self.facts.note, self.facts.note_page_2,
                  *self.guest.symbols('linux_banner', 'init_task').values()]
        for place in places:
            answer = doors.hmp(self.guest, f'gva2gpa 0x{place.va:x}')
            self.assertRegex(answer, rf'\bgpa: 0x{place.pa:x}\b')

    def test_hole_in_memory_is_an_error(self):
        hole = self.guest.ram_size + (64 << 20)
        for door in (doors.xp, doors.packet_physical, doors.gdb_physical):
            with self.subTest(door.__doc__):
                self.assertRaises(doors.Refused, door, self.guest, hole, 16)
        for door in doors.VIRTUAL:
            with self.subTest(door.__doc__):
                self.assertRaises(doors.Refused, door, self.guest,
                                  0xffffff0000000000, 16)


class ReadsHidden(ReadsEncrypted):
    """An encrypted guest whose host sees zeros."""

    encrypted = 'mode=hidden'

    def assert_hidden(self, pa, data):
        super().assert_hidden(pa, data)
        self.assertEqual(self.guest.host_memory(pa, len(data)),
                         bytes(len(data)))


class ReadsWithSharedBit(ReadsEncrypted):
    """Page-table entries have a bit that marks shared pages, as with TDX."""

    encrypted = 'cbitpos=47,cbit-set=shared'


class ReadsRandomlyPlacedKernel(LinuxCase):
    """A bzImage, as a person boots it: with KASLR."""

    kernel = 'bzimage'
    ram_mib = 256

    def test_kernel_text_at_its_virtual_and_physical_address(self):
        symbols = self.guest.symbols('linux_banner', 'phys_base', '_text')
        banner, base = symbols['linux_banner'], symbols['phys_base']
        text = self.facts.version.encode()
        offset = int.from_bytes(doors.x(self.guest, base.va, 8), 'little',
                                signed=True)
        self.assertEqual((banner.va - LINKED_AT + offset) % (1 << 64),
                         banner.pa)
        for door in doors.VIRTUAL:
            with self.subTest(door.__doc__):
                self.assertEqual(door(self.guest, banner.va, len(text)), text)
        for door in doors.PHYSICAL:
            with self.subTest(door.__doc__):
                self.assertEqual(door(self.guest, banner.pa, len(text)), text)
        self.assert_hidden(banner.pa, text)
        self.assertNotEqual(
            (symbols['_text'].va, symbols['_text'].pa),
            (LINKED_AT + 0x1000000, 0x1000000), 'the kernel did not move')


class ReadsNormal(ReadsEncrypted):
    """An ordinary guest: the doors show the same as ever."""

    encrypted = None
