# SPDX-License-Identifier: GPL-2.0-or-later
"""The device side of a machine: its ports and what its guest's driver does.

For a Qemu that was started with arguments(qemu.folder).
"""

import struct

from .wait import Deadline, connect, receive

FW_CFG_SELECT, FW_CFG_DATA, FW_CFG_DMA = 0x510, 0x511, 0x514
FILE_DIR = 0x19
DMA_SELECT, DMA_WRITE = 1 << 3, 1 << 4


def arguments(folder):
    """What QEMU needs for a QTest of it."""
    return ['-qtest', f'unix:{folder}/qtest,server=on,wait=off',
            '-qtest-log', 'none']


class QTest:
    """A connection to qtest's own protocol."""

    def __init__(self, path):
        self._sock = connect(path, 'qtest')

    def ask(self, line):
        """Send a line, return the number in the answer."""
        self._sock.sendall(line.encode() + b'\n')
        answer = b''
        while not answer.endswith(b'\n'):
            answer += receive(self._sock, Deadline(10), f'qtest: {line}')
        words = answer.split()
        assert words[0] == b'OK', answer
        return int(words[1], 16) if len(words) > 1 else None

    def write(self, gpa, data):
        """Write memory as a device does, which sees the host's bytes."""
        self.ask(f'write {gpa:#x} {len(data):#x} 0x{data.hex()}')

    def close(self):
        """Hang up."""
        self._sock.close()

    def fw_cfg_key(self, name):
        """The number of a file of fw_cfg."""
        self.ask(f'outw {FW_CFG_SELECT:#x} {FILE_DIR:#x}')
        data = bytes(self.ask(f'inb {FW_CFG_DATA:#x}') for _ in range(4))
        for _ in range(int.from_bytes(data, 'big')):
            entry = bytes(self.ask(f'inb {FW_CFG_DATA:#x}') for _ in range(64))
            if entry[8:].startswith(name.encode() + b'\0'):
                return int.from_bytes(entry[4:6], 'big')
        raise KeyError(name)


def announce_vmcoreinfo(qemu, gpa, size, buffer):
    """Tell the vmcoreinfo device of a note, as a guest's driver does.

    @buffer is 128 bytes of memory that devices can read, at a guest-physical
    address below 4 GiB.
    """
    qtest = QTest(qemu.folder / 'qtest')
    key = qtest.fw_cfg_key('etc/vmcoreinfo')
    qtest.write(buffer, struct.pack('<HHIQ', 0, 1, size, gpa))
    qtest.write(buffer + 64, struct.pack(
        '>IIQ', key << 16 | DMA_SELECT | DMA_WRITE, 16, buffer))
    address = (buffer + 64).to_bytes(4, 'big')
    qtest.ask(f'outl {FW_CFG_DMA:#x} 0')
    qtest.ask(f'outl {FW_CFG_DMA + 4:#x} '
              f'{int.from_bytes(address, "little"):#x}')
    qtest.close()
