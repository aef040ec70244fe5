# SPDX-License-Identifier: GPL-2.0-or-later
"""Test cases on encrypted guests under the KVM stand-in."""

import unittest

from . import doors
from .standin import KINDS, StandIn, has_kvm

# Every ioctl that reaches private memory
DEBUG_IOCTLS = ('KVM_SEV_DBG_DECRYPT', 'KVM_SEV_DBG_ENCRYPT',
                'KVM_MEMORY_ENCRYPT_READ_MEMORY',
                'KVM_MEMORY_ENCRYPT_WRITE_MEMORY')

# A TD whose owner allows debugging, on a kernel that supports that
TDX_DEBUG = {'confidential': 'tdx-guest,id=cg0,debug=on', 'tdx_debug': 1}

# What QEMU asks of KVM to learn a vCPU's registers
REGISTER_IOCTLS = ('KVM_GET_REGS', 'KVM_GET_SREGS', 'KVM_GET_SREGS2',
                   'KVM_GET_DEBUGREGS', 'KVM_GET_XSAVE', 'KVM_GET_XSAVE2')


def debuggable(kind):
    """Arguments of a StandIn whose memory can be debugged.

    All of them have a kernel with every interface; SEV and SEV-ES must use
    their own one.
    """
    return {'strict': 1, 'unified': 1,
            **(TDX_DEBUG if kind == 'tdx' else {})}


class KvmCase(unittest.TestCase):
    """A class of tests on one running guest of `kind`.

    `settings` are StandIn's arguments.  Each test starts with a running VM,
    and the class ends with a look at what strict mode found.
    """

    kind = None
    scripted = True
    settings = {}

    def __init_subclass__(cls):
        cls.__test__ = bool(cls.kind)   # else a base class

    @classmethod
    def setUpClass(cls):
        if not cls.scripted and not has_kvm():
            raise unittest.SkipTest('there is no /dev/kvm')
        cls.guest = cls.enterClassContext(
            StandIn(cls.kind, scripted=cls.scripted, **cls.settings))
        cls.guest.wait_running()
        cls.map = cls.guest.payload.map

    @classmethod
    def tearDownClass(cls):
        if cls.guest.violations():
            raise AssertionError(f'wrong on old kernels: '
                                 f'{cls.guest.violations()}')

    def setUp(self):
        self.guest.cont()

    def assert_alive(self):
        """QEMU answers, and the guest can go on."""
        self.assertEqual(self.guest.qmp.cmd('query-status')['running'], False)
        self.guest.cont()
        self.guest.stop()

    def connect(self):
        """A gdb that ends with the VM running."""
        rsp = doors.RSP(self.guest.gdb_socket)
        self.addCleanup(rsp.close)
        return rsp

    def expect_at_virtual_address(self, gpa, text):
        """What each door shows where the guest has mapped @gpa."""
        for door in doors.VIRTUAL:
            with self.subTest(door.__doc__):
                self.assertEqual(door(self.guest, self.guest.payload.virt(gpa),
                                      len(text)), text)

    def private(self, gpa):
        """The address by which to write a private page.

        Where nobody knows which pages are private, it says so itself.
        """
        c_bit = 1 << self.guest.payload.bit if self.kind == 'sev-es' else 0
        return gpa | c_bit

    def physical_write(self, addr, data):
        """Write with gdb's physical memory mode; RSPError if refused."""
        self.guest.stop()
        with doors.RSP(self.guest.gdb_socket) as rsp:
            rsp.physical(True)
            try:
                rsp.write(addr, data)
            finally:
                rsp.physical(False)


def for_each_guest(namespace, base, variants):
    """Define a test class for each of @variants on both back ends.

    @variants: {name: class attributes}.  The classes are called after @base,
    the variant and the back end, e.g. ReadSevOnKvm.
    """
    for name, attributes in variants.items():
        for scripted in True, False:
            title = (base.__name__ + name +
                     ('Scripted' if scripted else 'OnKvm'))
            namespace[title] = type(title, (base,), {
                '__module__': base.__module__, 'scripted': scripted,
                **attributes})


def title(kind):
    """sev-es: SevEs"""
    return kind.title().replace('-', '')


DEBUGGABLE = {title(kind): {'kind': kind, 'settings': debuggable(kind)}
              for kind in KINDS}
