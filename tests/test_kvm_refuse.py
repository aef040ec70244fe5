# SPDX-License-Identifier: GPL-2.0-or-later
"""Where private memory cannot be had, every door says why, and shows nothing."""

import unittest

from lib import doors, gdb
from lib.kvm_case import (DEBUG_IOCTLS, TDX_DEBUG, KvmCase, debuggable,
                          for_each_guest)
from lib.qemu import Qemu, binary
from lib.qmp import CANNOT_ACCESS
from lib.standin import BUILD, StandIn
from lib.wait import end_of
from payload.build import build

# gdb and its packets carry no reason; QEMU's user has it in QEMU's output
SILENT = (doors.packet_physical, doors.gdb_physical)


class Refusal(KvmCase):
    """A guest of which private memory cannot be read, and why."""

    reason = None

    def check_refused(self, door, addr, length=64):
        """@door refuses, with the reason if it can carry one."""
        with self.assertRaises(doors.Refused) as refused:
            door(self.guest, addr, length)
        if door in SILENT:
            self.assertRegex(self.guest.log(), self.reason)
        else:
            self.assertRegex(' '.join(str(refused.exception).split()),
                             self.reason)

    def check_doors(self):
        """Every door refuses, and QEMU lives on."""
        start = self.map['TEXT_PRIVATE']
        for door in doors.PHYSICAL:
            with self.subTest(door.__doc__):
                self.check_refused(door, start)
        with self.assertRaisesRegex(doors.Refused, self.reason):
            doors.sum16(self.guest, start, 64)
        self.check_write()
        self.assert_alive()

    def check_write(self):
        """A write is refused and changes nothing."""
        mailbox = self.guest.payload.phys('mailbox')
        with self.assertRaises(doors.RSPError):
            self.physical_write(mailbox, bytes(range(1, 9)))
        self.guest.cont()
        self.guest.stop()
        self.assertNotIn('mailbox 0', self.guest.console.log)


class Forbidden(Refusal):
    """The owner's policy forbids debugging."""

    def test_every_door_refuses(self):
        self.check_doors()

    def test_no_ioctl_is_issued(self):
        self.check_doors()
        self.assertEqual(self.guest.calls(*DEBUG_IOCTLS), [])

    def test_shared_memory_is_refused_too(self):
        self.check_refused(doors.xp, self.map['TEXT_SHARED'])

    def test_hint_says_what_would_allow_it(self):
        self.guest.stop()
        output = self.guest.qmp.hmp(f'xp /16xb 0x{self.map["TEXT_PRIVATE"]:x}')
        self.assertIn(CANNOT_ACCESS, output)
        self.assertRegex(' '.join(output.split()), self.hint)

    def test_breakpoints_are_refused(self):
        self.guest.stop()
        with doors.RSP(self.guest.gdb_socket) as rsp:
            answer = rsp.ask(f'Z0,{self.guest.payload.symbols["tick"]:x},1')
        self.assertTrue(answer.startswith('E'), answer)
        self.assertEqual(self.guest.calls(*DEBUG_IOCTLS), [])


def forbidden(kind, reason, hint):
    """Attributes of a class: a kernel with every interface, and no policy."""
    return {'kind': kind, 'reason': reason, 'hint': hint,
            'settings': {'debug': False, 'strict': 1, 'unified': 1,
                         'tdx_debug': 1}}


for_each_guest(globals(), Forbidden, {
    'Sev': forbidden('sev', r"policy forbids debugging: bit 0 \(NODBG\) is set "
                     r"in policy=0x1 of the sev-guest object 'cg0'",
                     'Launch it with policy=0x0 to allow'),
    'SevEs': forbidden('sev-es', r"policy forbids debugging: bit 0 \(NODBG\) is "
                       r"set in policy=0x5 of the sev-guest object 'cg0'",
                       'Launch it with policy=0x4 to allow'),
    'Snp': forbidden('snp', r"policy forbids debugging: bit 19 \(DEBUG\) is "
                     r"clear in policy=0x30000 of the sev-snp-guest object "
                     "'cg0'", 'Launch it with policy=0xb0000 to allow'),
    'Tdx': forbidden('tdx', "attributes forbid debugging: property 'debug' of "
                     "the tdx-guest object 'cg0' is off",
                     'Create it with debug=on to allow'),
})


class NoInterface(Refusal):
    """The policy allows debugging, the kernel has no interface for it."""

    def test_every_door_refuses(self):
        self.check_doors()
        self.assertEqual(self.guest.calls(*DEBUG_IOCTLS), [])

    def test_shared_memory_can_be_read(self):
        shared = self.map['TEXT_SHARED']
        self.assertEqual(doors.xp(self.guest, shared, 32),
                         self.guest.host_memory(shared, 32))


NO_INTERFACE = ('no interface to the private memory of this guest.*'
                'KVM_MEMORY_ENCRYPT_READ_MEMORY')
for_each_guest(globals(), NoInterface, {
    'Snp': {'kind': 'snp', 'reason': NO_INTERFACE, 'settings': {'strict': 1}},
    'Tdx': {'kind': 'tdx', 'reason': NO_INTERFACE,
            'settings': {'strict': 1, **TDX_DEBUG}},
})

# What the kernel may answer, and what the user reads
DBG_ERRORS = {
    'errno=EIO,fw=7': 'SEV firmware refuses: the policy that the guest was '
                      r'launched with forbids debugging \(error 7, Policy is '
                      r'not allowed\)',
    'errno=EIO,fw=2': 'SEV firmware refuses: the guest is not in a state to be '
                      r'debugged \(error 2, Guest state is invalid\)',
    'errno=EIO,fw=17': r'SEV firmware failed \(error 17, ',
    'errno=EIO,fw=-1': 'the kernel could not call the SEV firmware',
    'errno=ENOTTY': 'KVM does not regard this VM as an SEV guest',
    'errno=EPERM': 'kernel does not allow debugging of this kind of SEV guest',
    'errno=EFAULT': 'kernel refuses to debug the page at.*Bad address',
    'errno=ENOMEM': r'kernel cannot pin the page at 0x\w+ \(out of memory\)',
    'errno=EINVAL': 'kernel refuses to debug the page at.*Invalid argument',
    'errno=EINTR': 'kernel refuses to debug the page at.*Interrupted',
}
UNIFIED_ERRORS = {
    'errno=ENOENT': 'KVM has no such page of the guest',
    'errno=EINVAL': 'the kernel refused the access.*Invalid argument',
    'errno=EIO': 'security firmware or module failed',
    'errno=EPERM': "the guest's policy or the kernel does not allow debugging",
    'errno=EHWPOISON': 'the page has a hardware memory error',
    'errno=ENOTTY': 'kernel has no interface to the memory of this kind',
    'errno=EFAULT': 'kernel cannot access memory that the transfer needs',
    'errno=ENOMEM': 'the kernel is out of memory',
    'errno=EINTR': 'the kernel makes no progress',
    'errno=EBUSY': 'the kernel refused the access.*Device or resource busy',
}


class Injected(unittest.TestCase):
    """Errors of the kernel, each at each door."""

    def guest(self, kind, rules, **settings):
        """A scripted guest on a kernel that fails by @rules."""
        guest = self.enterContext(StandIn(
            kind, scripted=True, fault=rules,
            **{**debuggable(kind), **settings}))
        guest.wait_running()
        guest.stop()
        return guest

    def check_door(self, guest, door, reason):
        """@door refuses with @reason, and shows no byte of the page."""
        start = guest.payload.map['TEXT_PRIVATE']
        with self.assertRaises(doors.Refused) as refused:
            door(guest, start, 64)
        text = ' '.join(str(refused.exception).split())
        self.assertNotIn('0x50', text)      # the P of PRV
        self.assertRegex(guest.log() if door in SILENT else text, reason)
        self.assertRegex(guest.log() if door in SILENT else text,
                         f'cannot read physical address 0x{start:x}')

    def check(self, kind, call, errors, **settings):
        """Each error of @errors for reads of the first private page."""
        for error, reason in errors.items():
            guest = self.guest(kind, f'{call},addr=240000-240fff,count=0,'
                               f'{error}', **settings)
            for door in doors.PHYSICAL:
                with self.subTest(kind=kind, error=error, door=door.__doc__):
                    self.check_door(guest, door, reason)
            tail = guest.payload.map['TEXT_TAIL']
            self.assertIn(b'PRV', doors.xp(guest, tail, 16))

    def test_sev_dbg(self):
        self.check('sev', 'KVM_SEV_DBG_DECRYPT', DBG_ERRORS)

    def test_sev_es_dbg(self):
        self.check('sev-es', 'KVM_SEV_DBG_DECRYPT', {
            key: DBG_ERRORS[key] for key in ('errno=EIO,fw=7', 'errno=ENOMEM')})

    def test_snp_unified(self):
        self.check('snp', 'KVM_MEMORY_ENCRYPT_READ_MEMORY', UNIFIED_ERRORS)

    def test_tdx_unified(self):
        self.check('tdx', 'KVM_MEMORY_ENCRYPT_READ_MEMORY', UNIFIED_ERRORS)

    def test_policy_that_qemu_does_not_know_of(self):
        """The kernel's answer for a VM that may not be debugged."""
        for kind in 'snp', 'tdx':
            with self.subTest(kind):
                guest = self.guest(
                    kind, 'KVM_MEMORY_ENCRYPT_WRITE_MEMORY,count=0,errno=EPERM')
                with doors.RSP(guest.gdb_socket) as rsp:
                    rsp.physical(True)
                    with self.assertRaises(doors.RSPError):
                        rsp.write(guest.payload.phys('mailbox'), b'12345678')
                self.assertRegex(guest.log(), "cannot write physical address.*"
                                 "the guest's policy or the kernel does not "
                                 'allow debugging')

    def test_error_in_the_middle_names_its_page(self):
        for kind, call in (('sev', 'KVM_SEV_DBG_DECRYPT'),
                           ('snp', 'KVM_MEMORY_ENCRYPT_READ_MEMORY')):
            with self.subTest(kind):
                guest = self.guest(
                    kind, f'{call},addr=242000-242fff,errno=EIO,fw=17,count=0'
                    + (',partial=8192' if kind == 'snp' else ''))
                with self.assertRaisesRegex(doors.Refused, '0x242000'):
                    doors.pmemsave(guest, 0x240000, 0x4000)

    def test_interrupted_read_goes_on(self):
        guest = self.guest(
            'snp', 'KVM_MEMORY_ENCRYPT_READ_MEMORY,errno=EINTR,partial=512,'
            'count=5')
        start = guest.payload.map['TEXT_PRIVATE']
        data = doors.pmemsave(guest, start, 0x4000)
        self.assertEqual(data[-16:], b'PRV 00243ff0 ok\n')
        calls = guest.calls('KVM_MEMORY_ENCRYPT_READ_MEMORY')
        self.assertEqual([call.ret for call in calls], [-4] * 5 + [0])
        self.assertEqual(int(calls[-1].details['len']), 0x4000 - 5 * 512)

    def test_failed_write_is_refused(self):
        for kind, call in (('sev', 'KVM_SEV_DBG_ENCRYPT'),
                           ('sev', 'KVM_SEV_DBG_DECRYPT'),
                           ('snp', 'KVM_MEMORY_ENCRYPT_WRITE_MEMORY')):
            with self.subTest(kind=kind, call=call):
                guest = self.guest(kind, f'{call},count=0,errno=EIO,fw=17')
                with doors.RSP(guest.gdb_socket) as rsp:
                    rsp.physical(True)
                    with self.assertRaises(doors.RSPError):
                        rsp.write(guest.payload.phys('mailbox'), b'12345678')
                self.assertRegex(guest.log(), 'cannot write physical address')
                guest.cont()
                guest.stop()

    def test_gdb_shows_that_memory_cannot_be_accessed(self):
        guest = self.guest('sev', 'KVM_SEV_DBG_DECRYPT,count=0,fw=7')
        output = gdb.run(guest.gdb_socket,
                         'maintenance packet Qqemu.PhyMemMode:1',
                         'x/2gx 0x240000', stay_stopped=True)
        self.assertIn(CANNOT_ACCESS, output)
        self.assertRegex(guest.log(), 'Policy is not allowed')


class DebugTD(unittest.TestCase):
    """The TD attribute DEBUG."""

    def error(self, program, confidential, **settings):
        """What QEMU says when it refuses to start."""
        with self.assertRaises(ConnectionError) as refused:
            with StandIn('tdx', scripted=True, program=program,
                         confidential=confidential, **settings):
                pass
        self.assertIn('ended with status 1', str(refused.exception))
        return ' '.join(str(refused.exception).split())

    def test_kernel_without_it_is_named(self):
        for confidential in ('tdx-guest,id=cg0,debug=on',
                             'tdx-guest,id=cg0,attributes=0x10000001'):
            with self.subTest(confidential):
                self.assertRegex(
                    self.error(None, confidential),
                    'kernel does not allow debugging of a TD: the TD attributes '
                    'that KVM supports, 0x50000000, lack DEBUG')

    def test_stock_qemu_refuses_even_where_the_kernel_allows_it(self):
        self.assertRegex(
            self.error(binary(base=True),
                       'tdx-guest,id=cg0,attributes=0x10000001', tdx_debug=1),
            'QEMU unsupported TD attribute')

    def test_both_properties_create_a_debug_td(self):
        for confidential in ('tdx-guest,id=cg0,debug=on',
                             'tdx-guest,id=cg0,attributes=0x10000001'):
            with self.subTest(confidential), \
                    StandIn('tdx', scripted=True, confidential=confidential,
                            tdx_debug=1, unified=1) as guest:
                guest.wait_running()
                self.assertIn('TD attributes=0x10000001', guest.stand_in_log())
                self.assertIn(b'PRV', doors.xp(guest, 0x240000, 16))

    def test_it_is_off_by_default_and_stays_so(self):
        with StandIn('tdx', scripted=True, tdx_debug=1, unified=1) as guest:
            guest.wait_running()
            self.assertIn('TD attributes=0x10000000', guest.stand_in_log())
            guest.qmp.cmd('qom-set', path='/objects/cg0',
                          property='attributes', value=0x10000001)
            with self.assertRaisesRegex(doors.Refused, 'forbid debugging'):
                doors.pmemsave(guest, 0x240000, 16)


class SevPolicy(unittest.TestCase):
    """The policy is the one that the firmware was told."""

    def test_changing_the_property_later_allows_nothing(self):
        with StandIn('sev', scripted=True, debug=False) as guest:
            guest.wait_running()
            guest.qmp.cmd('qom-set', path='/objects/cg0', property='policy',
                          value=0)
            with self.assertRaisesRegex(doors.Refused, 'forbids debugging'):
                doors.pmemsave(guest, 0x240000, 16)
            self.assertEqual(guest.calls(*DEBUG_IOCTLS), [])


class BeforeLaunch(unittest.TestCase):
    """-S: nothing runs yet, and the guest's memory is on its way."""

    def guest(self, kind):
        """A guest that has not been started."""
        return self.enterContext(StandIn(
            kind, scripted=True, args=['-S'], **debuggable(kind)))

    def physical(self, guest, method, *args):
        """A packet in gdb's physical memory mode."""
        with doors.RSP(guest.gdb_socket) as rsp:
            rsp.physical(True)
            return getattr(rsp, method)(*args)

    def test_memory_is_plain(self):
        for kind in 'sev', 'sev-es', 'snp':
            with self.subTest(kind):
                guest = self.guest(kind)
                self.physical(guest, 'write', 0x300000, b'before launch')
                self.assertEqual(doors.xp(guest, 0x300000, 13),
                                 b'before launch')
                self.assertEqual(guest.host_memory(0x300000, 13),
                                 b'before launch')
                self.assertEqual(guest.calls(*DEBUG_IOCTLS), [])

    def test_sev_launch_data_is_encrypted_already(self):
        for kind, unified in ('sev', 0), ('sev', 1), ('sev-es', 0):
            with self.subTest(kind=kind, unified=unified):
                guest = self.enterContext(StandIn(
                    kind, scripted=True, args=['-S'], strict=1,
                    unified=unified))
                with self.assertRaisesRegex(doors.Refused,
                                            'encrypted for the launch'):
                    doors.xp(guest, 0xfffffff0, 16)
                guest.cont()
                guest.wait_running()
                with open(guest.payload.image, 'rb') as image:
                    self.assertEqual(doors.xp(guest, 0xfffffff0, 16),
                                     image.read()[-16:])

    def test_snp_launch_data_is_not_encrypted_yet(self):
        guest = self.guest('snp')
        with open(guest.payload.image, 'rb') as image:
            self.assertEqual(doors.xp(guest, 0xfffffff0, 16),
                             image.read()[-16:])

    def test_launch_data_cannot_be_changed(self):
        for kind in 'sev', 'sev-es', 'snp':
            with self.subTest(kind):
                guest = self.guest(kind)
                with self.assertRaises(doors.RSPError):
                    self.physical(guest, 'write', 0xfffffff0, b'\xcc')
                self.assertRegex(guest.log(), 'measured at launch'
                                 if kind == 'snp' else
                                 'encrypted for the launch')
                guest.cont()
                guest.wait_running()


class OtherKind(unittest.TestCase):
    """query-sev and its kin where the guest is of another kind."""

    def check(self, guest):
        """They answer, and QEMU lives on."""
        self.assertEqual(guest.qmp.cmd('query-sev')['enabled'], False)
        self.assertEqual(guest.qmp.hmp('info sev').strip(),
                         'SEV is not enabled')
        for command in ('query-sev-capabilities', 'query-sev-launch-measure'):
            with self.assertRaises(doors.QMPError):
                guest.qmp.cmd(command)
        with self.assertRaises(doors.QMPError):
            guest.qmp.cmd('query-sev-attestation-report', mnonce='AAAA')
        with self.assertRaises(doors.QMPError):
            guest.qmp.cmd('sev-inject-launch-secret', packet_header='AAAA',
                          secret='AAAA')
        guest.qmp.cmd('query-status')

    def test_td(self):
        with StandIn('tdx', scripted=True) as guest:
            self.check(guest)

    def test_stock_qemu_aborts(self):
        with StandIn('tdx', scripted=True, program=binary(base=True)) as guest:
            with self.assertRaises(ConnectionError):
                guest.qmp.cmd('query-sev')
            self.assertLess(end_of(guest.process, 'QEMU', 10), 0)

    def test_simulated_guest(self):
        image = build('plain', str(BUILD), 0).image
        with Qemu('-object', 'sim-encrypted-guest,id=cg0', '-bios', image,
                  '-vga', 'none', ram_mib=64,
                  machine='q35,confidential-guest-support=cg0') as guest:
            self.check(guest)
