# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's serial line, over a connected socket."""

import re

from .wait import Deadline, Timeout, receive

TAIL = 2000


class Console:
    """Sends lines and waits for lines; all that was read is kept in @log."""

    def __init__(self, sock):
        self._sock = sock
        self._seen = 0
        self.log = ''

    def close(self):
        """Hang up."""
        self._sock.close()

    def tail(self):
        """The last lines, for an error message."""
        text = self.log[-TAIL:].rstrip()
        return text or '(the console has been silent)'

    def rest(self):
        """The last lines, once the other end has hung up."""
        try:
            while True:
                self._more(Deadline(1), 'the end')
        except (ConnectionError, Timeout):
            return self.tail()

    def write(self, data):
        """Send bytes as they are."""
        self._sock.sendall(data)

    def send(self, line):
        """Type @line and Enter."""
        self.write(line.encode() + b'\n')

    def _more(self, deadline, what):
        try:
            data = receive(self._sock, deadline, what)
        except Timeout as e:
            raise Timeout(f'{e}; the console says:\n{self.tail()}') from None
        if not data:
            raise ConnectionError(f'QEMU ended; waited for {what}; '
                                  f'the console says:\n{self.tail()}')
        self.log += data.decode(errors='replace').replace('\r', '')

    def expect(self, pattern, what, seconds=30):
        """Wait for a whole line that starts with the expression @pattern.

        Returns the match and the lines since the one found before.  @what
        completes "waited 30 s for" in the error.
        """
        deadline = Deadline(seconds)
        regex = re.compile(pattern)
        start = line = self._seen
        while True:
            end = self.log.find('\n', line)
            if end < 0:
                self._more(deadline, what)
                continue
            match = regex.match(self.log[line:end])
            if match:
                self._seen = end + 1
                return match, self.log[start:line].splitlines()
            line = end + 1
