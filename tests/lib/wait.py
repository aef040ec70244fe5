# SPDX-License-Identifier: GPL-2.0-or-later
"""Deadlines, and sockets that keep to them."""

import os
import socket
import time

# How many times longer QEMU may take: tests/run sets it for sanitizers
SLOWNESS = float(os.environ.get('SLOWNESS', 1))


class Timeout(Exception):
    """Something did not happen in time; the text says what."""


class Deadline:
    """A point in time, @seconds times SLOWNESS from now."""

    def __init__(self, seconds):
        self.seconds = seconds * SLOWNESS
        self._end = time.monotonic() + self.seconds

    def left(self):
        """Seconds until then, never below 0."""
        return max(0.0, self._end - time.monotonic())

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
    deadline.check(what)
    sock.settimeout(max(deadline.left(), 0.001))
    try:
        return sock.recv(size)
    except socket.timeout:
        raise Timeout(f'waited {deadline.seconds:g} s for {what}') from None
    except ConnectionResetError:
        return b''
