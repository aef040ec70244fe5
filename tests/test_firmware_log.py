# SPDX-License-Identifier: GPL-2.0-or-later
"""info firmware-log shows OVMF's log, which lies in private memory."""

import base64
import struct
import unittest

from lib.qemu import MIB, Qemu, binary
from lib.qmp import QMPError
from lib.repository import require

RAM_MIB = 160
EARLY = 0x800000                        # where the log of SEC and early PEI is
LATE = (RAM_MIB - 20) * MIB + 0x5000    # that of DXE: near the end of RAM
OUTSIDE = 24 * MIB                      # where nobody searches
VERSION = b'edk2-stable'
LOG = b''.join(b'line %d of the firmware\r\n' % i for i in range(9000))
HIDDEN = '"mode":"hidden",'


def log_buffer(head=0, tail=len(LOG)):
    """What OvmfPkg/Library/MemDebugLogLib leaves in memory."""
    header = struct.pack('<16s6Q128s', b'ovmfmdg1ovmfmdg2', 192, len(LOG), 0,
                         head, tail, 0, VERSION)
    assert len(header) == 192
    return header + LOG


class FirmwareLog(unittest.TestCase):
    """The same memory in stock QEMU, in ours, and in encrypted guests."""

    @classmethod
    def setUpClass(cls):
        require('hw/uefi/ovmf-log.c', 'info firmware-log')

    def start(self, addr, properties='', base=False, buffer=log_buffer()):
        """A guest that has run, and stopped, with @buffer at @addr."""
        options, machine = (), 'q35'
        if properties is not None and not base:
            options = ('-object', '{"qom-type":"sim-encrypted-guest",'
                       f'{properties}"id":"cg0"}}')
            machine = 'q35,confidential-guest-support=cg0'
        guest = Qemu('-accel', 'tcg', '-S', *options, machine=machine,
                     ram_mib=RAM_MIB, program=binary(base=base))
        (guest.folder / 'bios').write_bytes(b'\xf4' * 0x10000)  # HLT
        (guest.folder / 'buffer').write_bytes(buffer)
        guest.command += [
            '-bios', str(guest.folder / 'bios'), '-device',
            f'loader,file={guest.folder}/buffer,addr={addr:#x},force-raw=on']
        self.enterContext(guest)
        guest.cont()
        guest.stop()
        if options:
            self.assertNotIn(b'firmware', guest.host_memory(addr, len(buffer)))
        return guest

    def test_equals_stock_qemus_of_a_plain_guest(self):
        for addr in EARLY, LATE:
            stock = self.start(addr, base=True).qmp.hmp('info firmware-log')
            self.assertIn('version: edk2-stable', stock)
            self.assertIn('line 8999 of', stock)
            for properties in None, '', HIDDEN:
                guest = self.start(addr, properties)
                self.assertEqual(guest.qmp.hmp('info firmware-log'), stock)

    def test_tail_of_a_log_that_wraps(self):
        buffer = log_buffer(head=100000, tail=99000)
        answers = [self.start(LATE, base=base, buffer=buffer).qmp.cmd(
            'query-firmware-log', **{'max-size': 150000})
                   for base in (True, False)]
        self.assertEqual(*answers)
        log = base64.b64decode(answers[0]['log'])
        self.assertEqual(log, (LOG[100000:] + LOG[:99000])[-150000:])

    def test_no_log(self):
        for properties in None, '':
            guest = self.start(OUTSIDE, properties)
            self.assertEqual(guest.qmp.hmp('info firmware-log').strip(),
                             'Error: firmware log buffer not found')

    def fault(self, guest, start):
        guest.qmp.cmd('qom-set', path='/objects/cg0', property='x-fault',
                      value=[{'start': start, 'size': 4096}])

    def test_unreadable_page_on_the_way(self):
        guest = self.start(LATE)
        self.fault(guest, LATE - 4096)
        self.assertIn('line 8999 of', guest.qmp.hmp('info firmware-log'))

    def test_unreadable_page_of_the_log(self):
        guest = self.start(LATE)
        self.fault(guest, LATE + 8192)
        with self.assertRaisesRegex(
                QMPError, 'firmware log buffer contents: .*'
                f'{LATE + 8192:#x}.*x-fault'):
            guest.qmp.cmd('query-firmware-log')

    def test_unreadable_header_is_named(self):
        guest = self.start(LATE)
        self.fault(guest, LATE)
        with self.assertRaisesRegex(QMPError, 'log buffer not found, .*'
                                    f'{LATE:#x}.*x-fault'):
            guest.qmp.cmd('query-firmware-log')

    def test_policy_forbids(self):
        guest = self.start(LATE, '"policy-debug":false,')
        with self.assertRaisesRegex(QMPError, 'search for the firmware log: '
                                    '.*forbids debugging'):
            guest.qmp.cmd('query-firmware-log')

    def test_reads_16_bytes_a_page(self):
        guest = self.start(OUTSIDE)
        guest.qmp.hmp('info firmware-log')
        counters = guest.qmp.cmd('query-memory-debug')['counts']
        pages = 129 * MIB // 4096
        self.assertEqual(counters['bytes-read'], pages * 16)
        self.assertEqual(counters['reads'], pages)
