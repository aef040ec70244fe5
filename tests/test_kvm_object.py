# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory-debug object and query-memory-debug on guests of every kind."""

import unittest

from lib import doors
from lib.kvm_case import (DEBUG_IOCTLS, DEBUGGABLE, TDX_DEBUG, KvmCase,
                          debuggable, for_each_guest)
from lib.standin import StandIn
from payload.build import text_lines


def with_object(**properties):
    """Arguments of QEMU for a memory-debug object with @properties."""
    pairs = ''.join(f',{name}={value}' for name, value in properties.items())
    return ['-machine', 'memory-debug=md0',
            '-object', f'memory-debug,id=md0{pairs}']


class Root(KvmCase):
    """Protected registers, and an operator who knows the page tables."""

    def setUp(self):
        super().setUp()
        self.guest.qmp.cmd('qom-set', path='/objects/md0', property='root',
                           value=self.guest.payload.phys('pml4'))

    def test_leaf_entries_tell_private_from_shared(self):
        start, end = self.map['TEXT_PRIVATE'], self.map['TEXT_END']
        shared, tail = self.map['TEXT_SHARED'], self.map['TEXT_TAIL']
        text = (text_lines(b'PRV', start, shared) +
                text_lines(b'SHR', shared, tail) + text_lines(b'PRV', tail, end))
        virtual = self.guest.payload.virt(start)
        for door in doors.VIRTUAL:
            with self.subTest(door.__doc__):
                self.assertEqual(door(self.guest, virtual, len(text)), text)
        self.assertNotIn(b'PRV 00', self.guest.host_memory(start, len(text)))

    def test_shared_leaf_of_a_private_page_is_a_conflict(self):
        """The guest could not access it either: its page is not the host's."""
        if self.kind == 'sev-es':
            self.skipTest('nobody knows there that the page is private')
        page = self.map['TEXT_TAIL']
        entry = (self.guest.payload.phys('pt') +
                 (page - self.map['RAM_BASE']) // 512)
        old = int.from_bytes(doors.xp(self.guest, entry, 8), 'little')
        new = old ^ (1 << self.guest.payload.bit)
        virtual = self.guest.payload.virt(page)
        host = self.guest.host_memory(page, 16)
        self.guest.stop()
        with doors.RSP(self.guest.gdb_socket) as rsp:
            rsp.physical(True)
            rsp.write(entry, new.to_bytes(8, 'little'))
            rsp.physical(False)
            for access in (lambda: rsp.read(virtual, 16),
                           lambda: rsp.write(virtual, b'x' * 16)):
                with self.assertRaises(doors.RSPError):
                    access()
            with self.assertRaisesRegex(doors.Refused,
                                        'page is shared, but it is private'):
                doors.memsave(self.guest, virtual, 16)
            self.assertEqual(self.guest.host_memory(page, 16), host)
            rsp.physical(True)
            rsp.write(entry, old.to_bytes(8, 'little'))
            rsp.physical(False)
            self.assertEqual(rsp.read(virtual, 16),
                             text_lines(b'PRV', page, page + 16))

    def test_private_leaf_of_a_shared_page_is_a_conflict(self):
        if self.kind == 'sev-es':
            self.skipTest('nobody knows there that the page is shared')
        page = self.map['TEXT_SHARED']
        # The identity map is private throughout
        with self.assertRaisesRegex(doors.Refused,
                                    'page is private, but it is shared'):
            doors.memsave(self.guest, page, 16)


for_each_guest(globals(), Root, {
    name: {**attributes, 'settings': {
        **attributes['settings'],
        'args': with_object(paging='4level', root='0x200000')}}
    for name, attributes in DEBUGGABLE.items()
    if attributes['kind'] != 'sev'})


class Query(unittest.TestCase):
    """query-memory-debug, and what the object makes of a kernel."""

    def query(self, kind, **settings):
        """What QEMU says of a guest."""
        guest = self.enterContext(StandIn(kind, scripted=True, **settings))
        guest.wait_running()
        return guest, guest.qmp.cmd('query-memory-debug')

    def test_kinds_and_backends(self):
        for kind, settings, backend in (
                ('sev', {}, 'sev-dbg'), ('sev', {'unified': 1}, 'sev-dbg'),
                ('sev-es', {}, 'sev-dbg'),
                ('sev-es', {'unified': 1}, 'sev-dbg'), ('snp', {}, None),
                ('snp', {'unified': 1}, 'unified'), ('tdx', TDX_DEBUG, None),
                ('tdx', {**TDX_DEBUG, 'unified': 1}, 'unified')):
            with self.subTest(kind=kind, settings=settings):
                _, info = self.query(kind, **settings)
                guest = info['guest']
                self.assertEqual(guest['kind'],
                                 {'snp': 'sev-snp'}.get(kind, kind))
                self.assertEqual(guest.get('backend'), backend)
                self.assertIn('KVM_SEV_DBG_DECRYPT' if backend == 'sev-dbg'
                              else 'KVM_MEMORY_ENCRYPT_READ_MEMORY',
                              guest['backend-reason'])
                self.assertTrue(guest['launched'])
                self.assertEqual(info['registers'], 'readable'
                                 if kind == 'sev' else 'protected')

    def test_policy_is_the_reason(self):
        _, info = self.query('sev', debug=False)
        self.assertEqual(info['access'], 'none')
        self.assertIn('NODBG', info['forbidden-by'])

    def test_nobody_chooses_the_backend(self):
        """There is one for each kind of guest."""
        with self.assertRaisesRegex(ConnectionError, 'backend'):
            self.query('sev', unified=1, args=with_object(backend='unified'))

    def test_required_starts_where_there_is_an_interface(self):
        for kind in 'sev', 'sev-es', 'snp', 'tdx':
            with self.subTest(kind):
                _, info = self.query(kind, args=with_object(required='on'),
                                     **debuggable(kind))
                self.assertEqual(info['access'], 'read-write')

    def test_required_refuses_to_start_where_the_policy_forbids_it(self):
        for kind in 'sev', 'sev-es', 'snp', 'tdx':
            with self.subTest(kind), \
                    self.assertRaisesRegex(ConnectionError, 'forbids?'):
                self.query(kind, debug=False, unified=1, tdx_debug=1,
                           args=with_object(required='on'))

    def test_required_refuses_to_start_where_there_is_no_interface(self):
        for kind, settings in ('snp', {}), ('tdx', TDX_DEBUG):
            with self.subTest(kind), \
                    self.assertRaisesRegex(ConnectionError,
                                           'no interface to the private'):
                self.query(kind, args=with_object(required='on'), **settings)

    def test_access_forbids_what_the_policy_allows(self):
        for kind in 'sev', 'sev-es', 'snp', 'tdx':
            with self.subTest(kind):
                guest, info = self.query(kind, args=with_object(access='none'),
                                         **debuggable(kind))
                self.assertEqual(info['access'], 'none')
                with self.assertRaisesRegex(doors.Refused, "'access'.*'none'"):
                    doors.xp(guest, 0x240000, 16)
                self.assertEqual(guest.calls(*DEBUG_IOCTLS), [])

    def test_read_only_access(self):
        for kind in 'sev', 'sev-es', 'snp', 'tdx':
            with self.subTest(kind):
                guest, info = self.query(
                    kind, args=with_object(access='read-only'),
                    **debuggable(kind))
                self.assertEqual(info['access'], 'read-only')
                text = doors.xp(guest, 0x240000, 16)
                self.assertIn(b'PRV', text)
                bit = 0 if kind == 'tdx' else 1 << guest.payload.bit
                with self.assertRaisesRegex(doors.QMPError, 'read-only'):
                    guest.qmp.cmd('memory-debug-write', space='physical',
                                  address=0x240000 | bit,
                                  data='eHh4eA==')
                self.assertEqual(doors.xp(guest, 0x240000, 16), text)
                self.assertEqual(guest.calls(
                    'KVM_SEV_DBG_ENCRYPT', 'KVM_MEMORY_ENCRYPT_WRITE_MEMORY'),
                    [])
