# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP client over a connected socket (QEMU: docs/interop/qmp-spec.rst).

Not QEMU's python/qemu/qmp: there, the sessions of a thread share an event loop,
so that no other thread can use one of them; an answer has 10 MB at most; and a
limit on time is fixed. Starting QEMU is ours (qemu.py) because of such limits,
and because a QEMU ends with its test, whatever ends that.
"""

import json
import socket

from .wait import Deadline, receive

# HMP's way to say that an address cannot be read; tools parse it, so it stays
CANNOT_ACCESS = 'Cannot access memory'


class QMPError(Exception):
    """QEMU refused a command: error class and description."""

    def __init__(self, command, error):
        super().__init__(f'{command}: {error["desc"]}')
        self.error_class = error['class']
        self.desc = error['desc']


class QMP:
    """One QMP session.  Events that arrive are kept until asked for."""

    def __init__(self, sock, seconds=10):
        self._sock = sock
        self._buffer = b''
        self._events = []
        self._read(Deadline(seconds), 'the QMP greeting')
        self.cmd('qmp_capabilities')

    def close(self):
        """End the session; QEMU goes on."""
        self._sock.close()

    def _read(self, deadline, what):
        parts = [self._buffer]      # an answer may have hundreds of MiB
        while b'\n' not in parts[-1]:
            parts.append(receive(self._sock, deadline, what))
            if not parts[-1]:
                raise ConnectionError(f'QEMU closed QMP; waited for {what}')
        line, self._buffer = b''.join(parts).split(b'\n', 1)
        return json.loads(line)

    def cmd(self, name, seconds=60, fd=None, **arguments):
        """Run a command and return its result; raise QMPError if refused.

        Write a `-` in an argument's name as `_`.  @fd goes with it, for
        getfd and add-fd.
        """
        return self.execute(name, {k.replace('_', '-'): v
                                   for k, v in arguments.items()}, seconds, fd)

    def execute(self, name, arguments, seconds=60, fd=None):
        """The same with arguments of any name."""
        request = {'execute': name, 'arguments': arguments}
        data = json.dumps(request).encode() + b'\n'
        if fd is not None:
            sent = socket.send_fds(self._sock, [data], [fd])
            data = data[sent:]
        self._sock.sendall(data)
        deadline = Deadline(seconds)
        while True:
            answer = self._read(deadline, f'the answer to {name}')
            if 'event' in answer:
                self._events.append(answer)
            elif 'error' in answer:
                raise QMPError(name, answer['error'])
            else:
                return answer['return']

    def hmp(self, line, seconds=60):
        """What the human monitor prints for @line."""
        return self.cmd('human-monitor-command', seconds,
                        command_line=line).replace('\r', '')

    def wait_event(self, name, seconds=30):
        """The oldest event called @name, waited for if there is none yet."""
        deadline = Deadline(seconds)
        while True:
            for event in self._events:
                if event['event'] == name:
                    self._events.remove(event)
                    return event
            answer = self._read(deadline, f'the event {name}')
            if 'event' in answer:
                self._events.append(answer)

    def events(self):
        """What has arrived and was not waited for."""
        return self._events

    def forget_events(self):
        """Drop what has arrived so far."""
        self.cmd('query-status')
        self._events.clear()
