# SPDX-License-Identifier: GPL-2.0-or-later
"""Deadlines, and sockets that keep to them.

No test fails because the machine is slow: a deadline is longer on a slow
machine, and becomes longer while other programs want its processors.
"""

import hashlib
import os
import socket
import time

from . import sanitizer

# How many times longer everything may take: tests/run has measured that
SLOWNESS = float(os.environ.get('SLOWNESS', 1))
MOST = 8            # a hang is told from a busy machine in the end


def measure():
    """How many times slower a processor is than usual, and sanitizers are."""
    rounds, usual, times = 100000, 0.06, []
    for _ in range(3):
        start = time.process_time()
        hashlib.pbkdf2_hmac('sha256', b'', b'', rounds)
        times.append(time.process_time() - start)
    return max(1, min(times) / usual) * sanitizer.SLOWNESS[sanitizer.SANITIZE]


def busy():
    """How many programs want each processor now, or did lately; at least 1."""
    with open('/proc/loadavg', encoding='ascii') as f:
        lately, _, _, tasks, _ = f.read().split()
    wanted = max(float(lately), int(tasks.partition('/')[0]) - 1)
    return min(max(1.0, wanted / os.cpu_count()), MOST)


def patience(seconds):
    """A limit for those who cannot use a Deadline: what an idle and fast
    machine does in @seconds does not take so long on this one, as busy as it
    is now."""
    return 2 * seconds * SLOWNESS * busy()


class Timeout(Exception):
    """Something did not happen in time; the text says what."""


class Deadline:
    """A point in time, @seconds of an idle and fast machine from now."""

    def __init__(self, seconds):
        self._idle = seconds * SLOWNESS
        self._busy = busy()
        self._start = time.monotonic()

    @property
    def seconds(self):
        """How long it is, as far as can be said now."""
        return self._idle * self._busy

    def left(self):
        """Seconds until then, never below 0."""
        passed = time.monotonic() - self._start
        if passed >= self.seconds:
            self._busy = max(self._busy, busy())
        return max(0.0, self.seconds - passed)

    def check(self, what):
        """Raise Timeout if the time is over; @what completes "waited for"."""
        if not self.left():
            raise Timeout(f'waited {self.seconds:g} s for {what}')


def poll(condition, what, seconds, interval=0.02):
    """Call @condition until it returns something true, and return that."""
    deadline = Deadline(seconds)
    while True:
        result = condition()
        if result:
            return result
        deadline.check(what)
        time.sleep(interval)


def end_of(process, what, seconds):
    """Wait for the end of a process and return its status."""
    poll(lambda: process.poll() is not None, f'{what} to end', seconds)
    return process.returncode


def connect(path, what, seconds=10):
    """Connect to the UNIX socket at @path, which may not exist yet."""
    def attempt():
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(str(path))
            return sock
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            return None

    return poll(attempt, f'{what} at {path}', seconds)


def listen(path):
    """A listening UNIX socket at @path, for accept()."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(path))
    sock.listen(1)
    return sock


def accept(listener, what, alive, seconds=10):
    """The first connection to @listener, which is closed then.

    @alive is called meanwhile and raises when none will come any more.
    """
    def attempt():
        alive()
        try:
            return listener.accept()[0]
        except socket.timeout:
            return None

    listener.settimeout(0.1)
    with listener:
        return poll(attempt, what, seconds, interval=0)


def receive(sock, deadline, what, size=65536):
    """Some bytes of @sock; b'' at its end; Timeout when none came."""
    while True:
        deadline.check(what)
        sock.settimeout(max(deadline.left(), 0.001))
        try:
            return sock.recv(size)
        except socket.timeout:
            continue        # the deadline may be later by now
        except ConnectionResetError:
            return b''


if __name__ == '__main__':
    print(f'{measure():.2f}')
