# SPDX-License-Identifier: GPL-2.0-or-later
"""Which pages an SEV guest shares with the host: known from its page tables.

Only the guest's own page tables say so.  They are searched when the VM stops,
and again when a debugger has changed what they say.
"""

import unittest

from lib import doors, dump
from lib.core import Core, add_node
from lib.standin import StandIn
from test_kvm_object import with_object

CR3 = 29        # gdb-xml/i386-64bit.xml


class Stopped(unittest.TestCase):
    """A scripted guest, which is stopped."""

    kind = 'sev'
    args = with_object()

    def setUp(self):
        self.guest = self.enterContext(StandIn(self.kind, scripted=True,
                                               args=self.args))
        self.guest.wait_running()
        self.guest.stop()
        self.set_tables()
        self.map = self.guest.payload.map
        self.shared = b'SHR %08x ok\n' % self.map['TEXT_SHARED']
        self.private = b'PRV %08x ok\n' % self.map['TEXT_TAIL']

    def set_tables(self):
        """Make the guest's page tables known once more."""
        self.guest.qmp.cmd('qom-set', path='/objects/md0', property='root',
                           value=self.guest.payload.phys('pml4'))
        self.guest.qmp.cmd('qom-set', path='/objects/md0', property='paging',
                           value='4level')

    def read(self, path):
        """The shared page and a private one, from an ELF file."""
        return (dump.read(path, self.map['TEXT_SHARED'], len(self.shared)),
                dump.read(path, self.map['TEXT_TAIL'], len(self.private)))


class Sev(Stopped):
    """The operator sets the root anew; the registers are readable."""

    def test_the_core_has_shared_pages_after_the_root_was_set(self):
        with Core(self.guest) as core:
            self.assertEqual(self.read(core.path), (self.shared, self.private))
            self.set_tables()
            self.assertEqual(self.read(core.path), (self.shared, self.private))

    def test_a_dump_has_shared_pages_though_the_root_is_set_meanwhile(self):
        path, _ = dump.take(self.guest, 'elf', detach=True)
        self.set_tables()
        self.guest.qmp.wait_event('DUMP_COMPLETED')
        self.assertEqual(self.read(path), (self.shared, self.private))


class SevEs(Sev):
    """The registers are protected: the page tables have to be given."""

    kind = 'sev-es'


class Changed(Stopped):
    """The debugger itself changes what the tables say."""

    def test_a_page_is_shared_after_its_entry_was_written(self):
        page = self.map['TEXT_TAIL']
        entry = (self.guest.payload.phys('pt') +
                 (page - self.map['RAM_BASE']) // 512)
        old = int.from_bytes(doors.xp(self.guest, entry, 8), 'little')
        new = old ^ (1 << self.guest.payload.bit)
        self.assertEqual(doors.xp(self.guest, page, 16), self.private)
        with doors.RSP(self.guest.gdb_socket) as rsp:
            rsp.physical(True)
            rsp.write(entry | 1 << self.guest.payload.bit,
                      new.to_bytes(8, 'little'))
            rsp.physical(False)
        self.assertEqual(doors.xp(self.guest, page, 16),
                         self.guest.host_memory(page, 16))

    def test_another_cr3_is_searched(self):
        page = self.map['TEXT_SHARED']
        self.assertEqual(doors.xp(self.guest, page, 16), self.shared)
        with doors.RSP(self.guest.gdb_socket) as rsp:
            empty = self.map['RAM_BASE'] + 4096
            self.assertEqual('OK', rsp.ask(
                f'P{CR3:x}={empty.to_bytes(8, "little").hex()}'))
        self.assertIn('not known', self.guest.qmp.hmp(f'xp /16xb {page:#x}'))


class Running(unittest.TestCase):
    """While the guest runs, nobody searches its page tables."""

    def test_qemu_warns_that_the_core_has_garbage(self):
        with StandIn('sev', scripted=True) as guest:
            guest.wait_running()
            guest.stop()
            add_node(guest.qmp)
            self.assertNotIn('garbage', guest.log())
            guest.cont()
            self.assertIn('garbage: the VM is running', guest.log())


if __name__ == '__main__':
    unittest.main()
