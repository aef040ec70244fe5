# SPDX-License-Identifier: GPL-2.0-or-later
"""The stand-in itself: unpatched QEMU runs encrypted guests and sees nothing.

These are the negative controls of the tests that read such guests: what stock
QEMU shows of a page is not what the guest wrote into it.
"""

import time
import unittest

from lib import doors
from lib.qemu import binary
from lib.repository import BUILD
from lib.standin import KINDS, StandIn, has_kvm
from lib.wait import poll
from payload.build import text_lines

PAGE = 4096


class Guest:
    """One running guest for all tests of a class; see the end of the file."""

    kind = None
    scripted = None
    flips = 0

    @classmethod
    def setUpClass(cls):
        if not cls.scripted and not has_kvm():
            raise unittest.SkipTest('there is no /dev/kvm')
        cls.guest = cls.enterClassContext(StandIn(
            cls.kind, scripted=cls.scripted, cpus=2,
            program=binary(base=True)))
        cls.guest.wait_running()
        cls.map = cls.guest.payload.map

    def setUp(self):
        self.guest.cont()

    def test_dma_reaches_the_guests_shared_memory(self):
        self.assertIn('payload: fw_cfg dma ok', self.guest.console.log)
        self.assertNotIn('FAILED', self.guest.console.log)

    def test_every_vcpu_runs(self):
        poll(lambda: len(self.guest.calls('KVM_RUN')) == 2,
             'both vCPUs to run', 30)

    def test_private_text_is_not_in_qemus_memory(self):
        for door in doors.xp, doors.pmemsave, doors.packet_physical:
            raw = door(self.guest, self.map['TEXT_PRIVATE'], PAGE)
            self.assertNotIn(b'PRV 00', raw, door.__doc__)
        everything = self.guest.host_memory(0, self.guest.ram_size)
        self.assertEqual(everything.find(b'PRV 00'), -1)

    def test_hidden_memory_is_ciphertext_or_zeros(self):
        self.guest.stop()
        raw = self.guest.host_memory(self.map['TEXT_PRIVATE'], PAGE)
        if self.kind in ('snp', 'tdx'):
            self.assertEqual(raw, bytes(PAGE))
        else:
            blocks = {raw[i:i + 16] for i in range(0, PAGE, 16)}
            self.assertEqual(len(blocks), PAGE // 16)
            self.assertNotIn(bytes(16), blocks)

    def test_shared_text_is_in_qemus_memory(self):
        start, end = self.map['TEXT_SHARED'], self.map['TEXT_TAIL']
        self.assertEqual(doors.pmemsave(self.guest, start, end - start),
                         text_lines(b'SHR', start, end))

    def raw_write(self, addr, value):
        """What an unpatched gdbstub does in physical mode."""
        with doors.RSP(self.guest.gdb_socket) as rsp:
            rsp.physical(True)
            rsp.write(addr, value.to_bytes(8, 'little'))

    def test_guest_sees_a_write_to_shared_memory_and_not_to_private(self):
        self.raw_write(self.guest.payload.phys('mailbox'), 0x12121212)
        self.raw_write(self.map['SHARED_PAGE'] + self.map['SHARED_MAILBOX'],
                       0x34343434)
        self.guest.cont()
        self.guest.console.expect('shared-mailbox 0000000034343434',
                                  'the guest to see the shared write')
        self.assertNotIn('12121212', self.guest.console.log)

    def flip(self, silently=False):
        """Make the guest convert a page; the number of conversions so far."""
        page = self.map['SHARED_PAGE']
        self.raw_write(page + self.map['FLIP_SILENTLY'], int(silently))
        type(self).flips += 1
        self.raw_write(page + self.map['FLIPS_WANTED'], self.flips)
        self.guest.cont()
        self.guest.console.expect('flips %016x' % self.flips,
                                  'the guest to convert a page')
        return self.flips

    def check_flips(self, silently):
        """To shared and back: QEMU's memory has the text, then has it not."""
        page = self.map['FLIP_PAGE']
        text = text_lines(b'SHR', page, page + PAGE)
        for _ in range(2):
            self.flip(silently)
            self.assertEqual(doors.pmemsave(self.guest, page, PAGE), text)
            self.flip(silently)
            raw = doors.pmemsave(self.guest, page, PAGE)
            self.assertNotEqual(raw, text)
            self.assertNotIn(b'PRV 00', raw)

    def test_page_becomes_shared_and_private_again(self):
        self.check_flips(silently=False)


class EncryptedInPlace:
    """SEV and SEV-ES: QEMU's memory is the guest's, as ciphertext."""

    def test_ciphertext_follows_the_guest(self):
        counter = self.guest.payload.phys('counter') & -16
        seen = set()

        def look():
            self.guest.stop()
            seen.add(self.guest.host_memory(counter, 16))
            self.guest.cont()
            time.sleep(0.1)
            return len(seen) > 2

        poll(look, 'the ciphertext to change twice', 30)


class Converts:
    """SNP and TDX: QEMU keeps a record of the pages that are shared."""

    def test_range_over_borders_of_qemus_sections(self):
        """Stock QEMU does not discard what was shared behind a border."""
        start = self.map['BORDERS']
        length = self.map['BORDERS_PAGES'] * PAGE
        page = self.map['SHARED_PAGE']
        for wanted in 1, 2:
            self.raw_write(page + self.map['BORDERS_WANTED'], wanted)
            self.guest.cont()
            self.guest.console.expect('borders %016x' % wanted,
                                      'the guest to convert pages')
            raw = doors.pmemsave(self.guest, start, length)
            text = text_lines(b'SHR', start, start + length)
            if wanted == 1:
                self.assertEqual(raw, text)
        self.assertNotIn(b'PRV 00', raw)
        rom = 0xc0000 - start, 0xe0000 - start  # an SNP guest's, with stock
        stale = text[slice(*rom)] if self.kind == 'snp' else b''
        self.assertEqual(raw.replace(stale, b''), bytes(length - len(stale)))


class OwnAccesses:
    """Guests that make accesses of their own, which no script does."""

    def test_page_is_converted_by_the_access_itself(self):
        self.check_flips(silently=True)
        faults = 'exit MEMORY_FAULT' in self.guest.stand_in_log()
        self.assertEqual(faults, self.kind in ('snp', 'tdx'))


def define_guests():
    """SevOnKvm, SevScripted and so on: each kind on both back ends."""
    for kind in KINDS:
        for scripted in False, True:
            name = (kind.replace('-', '').capitalize() +
                    ('Scripted' if scripted else 'OnKvm'))
            more = [EncryptedInPlace if kind.startswith('sev') else Converts,
                    *([] if scripted else [OwnAccesses])]
            globals()[name] = type(name, (Guest, *more, unittest.TestCase), {
                '__module__': __name__, 'kind': kind, 'scripted': scripted})


define_guests()


class Flash(unittest.TestCase):
    """Firmware in pflash instead of -bios memory."""

    def check_flash(self, kind, scripted):
        """The guest runs from it, and QEMU has its ciphertext."""
        guest = self.enterContext(StandIn(
            kind, scripted=scripted, pflash=True, program=binary(base=True)))
        guest.wait_running()
        m = guest.payload.map
        with open(guest.payload.image, 'rb') as image:
            start = image.read(PAGE)
        raw = doors.pmemsave(guest, m['ROM_BASE'], PAGE)
        self.assertNotEqual(raw, start)
        self.assertNotIn(bytes(16), raw)

    def test_flash_is_encrypted_on_kvm(self):
        if not has_kvm():
            self.skipTest('there is no /dev/kvm')
        self.check_flash('sev', scripted=False)

    def test_flash_is_encrypted_with_the_script(self):
        self.check_flash('sev-es', scripted=True)


class Debugging(unittest.TestCase):
    """SEV lets the host use debug registers; stock QEMU can, too."""

    def rsp(self, scripted):
        """A gdbstub connection to a running SEV guest, and its symbols."""
        if not scripted and not has_kvm():
            self.skipTest('there is no /dev/kvm')
        guest = self.enterContext(StandIn(
            'sev', scripted=scripted, program=binary(base=True)))
        guest.wait_running()
        return self.enterContext(doors.RSP(guest.gdb_socket)), \
            guest.payload.symbols

    @staticmethod
    def register(rsp, number):
        """A general-purpose register; 16 is RIP."""
        data = bytes.fromhex(rsp.ask('g')[:17 * 16])
        return int.from_bytes(data[number * 8:][:8], 'little')

    def check_stops(self, rsp, symbols):
        """A hardware breakpoint stops twice, with the counter one higher."""
        store = symbols['tick_store']
        counts = []
        for _ in range(2):
            rsp.insert_breakpoint(store, kind=1)
            rsp.cont()
            rsp.wait_stop()
            self.assertEqual(self.register(rsp, 16), store)
            counts.append(self.register(rsp, 0))
            rsp.remove_breakpoint(store, kind=1)
            rsp.step()
            self.assertEqual(self.register(rsp, 16), symbols['tick_mailbox'])
        return counts

    def test_hardware_breakpoint_and_step_on_kvm(self):
        rsp, symbols = self.rsp(scripted=False)
        first, second = self.check_stops(rsp, symbols)
        self.assertEqual(second, first + 1)

    def test_hardware_breakpoint_and_step_with_the_script(self):
        rsp, symbols = self.rsp(scripted=True)
        first, second = self.check_stops(rsp, symbols)
        self.assertEqual(second, first + 1)

    def test_watchpoint_with_the_script(self):
        rsp, symbols = self.rsp(scripted=True)
        rsp.insert_breakpoint(symbols['counter'], kind=2)
        rsp.cont()
        self.assertIn(f'watch:{symbols["counter"]:x}', rsp.wait_stop())
        self.assertEqual(self.register(rsp, 16), symbols['tick_mailbox'])


ORDER = {
    'sev': ['KVM_CREATE_VM', 'SEV_PLATFORM_STATUS', 'KVM_SEV_INIT',
            'KVM_SEV_LAUNCH_START', 'KVM_MEMORY_ENCRYPT_REG_REGION',
            'KVM_CREATE_VCPU', 'KVM_SET_USER_MEMORY_REGION',
            'KVM_SEV_LAUNCH_UPDATE_DATA', 'KVM_SEV_LAUNCH_MEASURE',
            'KVM_SEV_LAUNCH_FINISH', 'KVM_RUN'],
    'sev-es': ['KVM_CREATE_VM', 'KVM_SEV_ES_INIT', 'KVM_SEV_LAUNCH_START',
               'KVM_SEV_LAUNCH_UPDATE_DATA', 'KVM_SEV_LAUNCH_UPDATE_VMSA',
               'KVM_SEV_LAUNCH_MEASURE', 'KVM_SEV_LAUNCH_FINISH', 'KVM_RUN'],
    'snp': ['KVM_CREATE_VM', 'SEV_PLATFORM_STATUS', 'KVM_GET_DEVICE_ATTR',
            'KVM_SEV_INIT2', 'KVM_SEV_SNP_LAUNCH_START',
            'KVM_CREATE_GUEST_MEMFD', 'KVM_CREATE_VCPU',
            'KVM_SET_USER_MEMORY_REGION2', 'KVM_SET_MEMORY_ATTRIBUTES',
            'KVM_SEV_SNP_LAUNCH_UPDATE', 'KVM_SEV_SNP_LAUNCH_FINISH',
            'KVM_RUN'],
    'tdx': ['KVM_CREATE_VM', 'KVM_TDX_CAPABILITIES', 'KVM_CREATE_GUEST_MEMFD',
            'KVM_TDX_INIT_VM', 'KVM_CREATE_VCPU', 'KVM_TDX_GET_CPUID',
            'KVM_SET_USER_MEMORY_REGION2', 'KVM_SET_MEMORY_ATTRIBUTES',
            'KVM_TDX_INIT_VCPU', 'KVM_TDX_INIT_MEM_REGION',
            'KVM_TDX_FINALIZE_VM', 'KVM_RUN'],
}


class Log(unittest.TestCase):
    """The log that other tests assert on."""

    def guest(self, kind, **kwargs):
        """A scripted guest: as real to the log as one on KVM, and faster."""
        guest = self.enterContext(StandIn(
            kind, scripted=True, program=binary(base=True), **kwargs))
        guest.wait_running()
        return guest

    def test_ioctls_come_in_the_order_of_a_launch(self):
        sev = (BUILD / 'src' / 'target/i386/sev.c').read_text()
        for kind, order in ORDER.items():
            if 'KVM_GET_DEVICE_ATTR' not in sev:    # as in QEMU 10.0
                order = [n for n in order if n != 'KVM_GET_DEVICE_ATTR']
            with self.subTest(kind):
                names = [c.name for c in self.guest(kind).calls()]
                firsts = [names.index(name) for name in order]
                self.assertEqual(firsts, sorted(firsts), names)

    def test_stock_qemu_issues_no_debug_ioctl(self):
        for kind in KINDS:
            with self.subTest(kind):
                guest = self.guest(kind, unified=1)
                doors.xp(guest, guest.payload.map['TEXT_PRIVATE'], 64)
                self.assertEqual(guest.calls(
                    'KVM_SEV_DBG_DECRYPT', 'KVM_SEV_DBG_ENCRYPT',
                    'KVM_MEMORY_ENCRYPT_READ_MEMORY',
                    'KVM_MEMORY_ENCRYPT_WRITE_MEMORY'), [])

    def test_protected_registers_are_refused(self):
        for kind in 'sev-es', 'snp', 'tdx':
            with self.subTest(kind):
                guest = self.guest(kind)
                with doors.RSP(guest.gdb_socket) as rsp:
                    answer = rsp.ask(f'Z1,{guest.payload.symbols["tick"]:x},1')
                refused = guest.calls('KVM_SET_GUEST_DEBUG')
                self.assertTrue(answer.startswith('E'), answer)
                self.assertTrue(refused)
                self.assertEqual({c.error for c in refused}, {'EINVAL'})

    def test_counts_are_written_at_the_end(self):
        guest = self.guest('sev')
        guest.quit()
        self.assertIn('count KVM_SEV_LAUNCH_FINISH calls=1 errors=0',
                      guest.stand_in_log())
