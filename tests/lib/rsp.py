# SPDX-License-Identifier: GPL-2.0-or-later
"""A client of gdb's remote serial protocol that shows each packet as it is.

Format: gdb manual, appendix "gdb Remote Serial Protocol".  For tests of exact
answers; to see what a person sees, use the real gdb (module gdb).
"""

import re

from .wait import Deadline, connect, receive


class RSPError(Exception):
    """The stub answered E.. or nothing of use."""


class RSP:
    """One connection to a gdbstub; QEMU stops the VM when it is made.

    A context manager, too, which leaves the VM stopped.
    """

    def __init__(self, path, seconds=10):
        self._sock = connect(path, 'the gdbstub', seconds)
        self._buffer = b''
        try:
            self.features = self.ask('qSupported:xmlRegisters=i386')
            size = re.search(r'PacketSize=([0-9a-f]+)', self.features)[1]
            # Memory in one packet: two digits a byte, and what else is in it
            self._most = (int(size, 16) - 64) // 2
        except BaseException:
            self.close()        # QEMU talks to one gdb at a time
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Hang up without detaching: the VM stays stopped."""
        self._sock.close()

    def detach(self):
        """Say good-bye; the VM runs again."""
        self._checked('D;1')    # QEMU remembers an earlier gdb's multiprocess
        self.close()

    def send(self, payload):
        """Send one packet and take its acknowledgement."""
        data = payload.encode('latin-1')
        self._sock.sendall(b'$%s#%02x' % (data, sum(data) & 0xff))

    def interrupt(self):
        """Ctrl-C: stop the VM.  The answer is a stop packet."""
        self._sock.sendall(b'\x03')

    def answer(self, seconds=30, what='an answer of the gdbstub'):
        """The payload of the next packet, checked and acknowledged."""
        deadline = Deadline(seconds)
        while True:
            start = self._buffer.find(b'$')
            end = self._buffer.find(b'#', start)
            if 0 <= start < end and len(self._buffer) >= end + 3:
                break
            data = receive(self._sock, deadline, what)
            if not data:
                raise ConnectionError(f'QEMU closed the gdbstub; '
                                      f'waited for {what}')
            self._buffer += data
        payload = self._buffer[start + 1:end]
        checksum = int(self._buffer[end + 1:end + 3], 16)
        self._buffer = self._buffer[end + 3:]
        if checksum != sum(payload) & 0xff:
            raise RSPError(f'wrong checksum: {payload!r}')
        self._sock.sendall(b'+')
        return payload.decode('latin-1')

    def ask(self, payload, seconds=30):
        """Send a packet, return the answer as it is: 'OK', 'E14', '' ..."""
        self.send(payload)
        return self.answer(seconds, f'the answer to {payload[:40]}')

    def _checked(self, payload):
        answer = self.ask(payload)
        if answer == '' or answer.startswith('E'):
            raise RSPError(f'{payload[:40]}: {answer or "not supported"}')
        return answer

    def read(self, addr, length):
        """@length bytes at @addr: virtual, or physical in physical mode."""
        data = b''
        while len(data) < length:
            some = min(self._most, length - len(data))
            data += bytes.fromhex(
                self._checked(f'm{addr + len(data):x},{some:x}'))
        return data

    def write(self, addr, data):
        """Write @data at @addr."""
        for done in range(0, len(data), self._most):
            some = data[done:done + self._most]
            self._checked(f'M{addr + done:x},{len(some):x}:{some.hex()}')

    def physical(self, on):
        """Make read() and write() take guest-physical addresses, or not."""
        self._checked(f'Qqemu.PhyMemMode:{int(on)}')

    def register(self, number):
        """Bytes of a register, None when QEMU says it is unavailable."""
        answer = self._checked(f'p{number:x}')
        return None if 'x' in answer else bytes.fromhex(answer)

    def insert_breakpoint(self, addr, kind=0):
        """@kind 0: in memory or by the accelerator; 1: a debug register."""
        self._checked(f'Z{kind},{addr:x},1')

    def remove_breakpoint(self, addr, kind=0):
        """Undo insert_breakpoint()."""
        self._checked(f'z{kind},{addr:x},1')

    def cont(self):
        """Let the VM run; answer() then gives the packet of the next stop."""
        self.send('c')

    def step(self, seconds=30):
        """One instruction; the packet of the stop."""
        return self._checked_stop(self.ask('s', seconds))

    @staticmethod
    def _checked_stop(packet):
        if packet[:1] not in 'ST':
            raise RSPError(f'no stop: {packet}')
        return packet

    def wait_stop(self, seconds=30):
        """The packet of the next stop, T.. or S..; the console's come first."""
        answer = 'O'
        while answer.startswith('O'):
            answer = self.answer(seconds, 'the VM to stop')
        return self._checked_stop(answer)
