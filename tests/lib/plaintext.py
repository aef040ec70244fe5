# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding known memory in whatever somebody may have printed it as."""

import base64
import re
import zlib

from .faults import INSTRUCTION

WIDTH = 8                   # bytes that are enough to tell
ZLIB = re.compile(rb'\x78[\x01\x5e\x9c\xda]')


def _words(data, size):
    """Little-endian numbers of @size bytes."""
    return [int.from_bytes(data[at:at + size], 'little')
            for at in range(0, len(data), size)]


class Plaintext:
    """Looks for any of @pieces, bytes of which the first 16 are known.

    As bytes, in hexadecimal (of any grouping, in the order of memory or as
    little-endian words), in decimal or octal numbers, as characters, in
    base64, as the bytes of a disassembly, and in zlib streams.
    """

    def __init__(self, *pieces):
        self.raw = [piece[:WIDTH] for piece in pieces]
        self.base64 = [part for piece in pieces
                       for part in self._base64(piece)]
        self.hex, self.words = [], []
        for raw in self.raw:
            self.hex.append(raw.hex())
            for size in (2, 4, 8):
                words = _words(raw, size)
                self.hex.append(''.join(f'{word:0{2 * size}x}'
                                        for word in words))
                self._numbers(words)
            self._numbers(raw)
            self._list([re.escape(chr(byte)) for byte in raw])

    @staticmethod
    def _base64(piece):
        """The 8 characters in the middle, for each place in a triple."""
        for shift in range(3):
            code = base64.b64encode(bytes(shift) + piece[:2 * WIDTH - shift])
            yield code.decode()[4:4 + WIDTH]

    def _numbers(self, words):
        for form in 'd', 'o':
            self._list([format(word, form) for word in words])

    def _list(self, words):
        """To be found one after the other, with other signs between them.

        QEMU 11.1 has blanks behind the 0 of an octal number.
        """
        self.words.append((words, re.compile(
            r'(?<!\w)0*' + r'\W+(?:0\W+)?0*'.join(words) + r'(?!\w)')))

    def in_bytes(self, data):
        """What is found in a file, as a text; or None."""
        for raw in self.raw:
            if raw in data:
                return f'the bytes {raw!r}'
        for match in ZLIB.finditer(data):
            try:
                plain = zlib.decompressobj().decompress(data[match.start():],
                                                        1 << 20)
            except zlib.error:
                continue
            if any(raw in plain for raw in self.raw):
                return 'the bytes, compressed'
        if b'\0' in data:
            return None         # is not for people to read
        return self.in_text(data.decode('latin-1'))

    def in_text(self, text):
        """What is found in an output, as a text; or None."""
        for raw in self.raw:
            if raw.decode('latin-1') in text:
                return f'the text {raw!r}'
        digits = re.sub(r'^\s*[0-9a-f]{16}:|0x|[^0-9a-f]', '', text.lower(),
                        flags=re.MULTILINE)
        code = ''.join(match[2] for match in map(INSTRUCTION.match,
                                                 text.splitlines()) if match)
        for part in self.hex:
            if part in digits or part in code.replace(' ', ''):
                return f'{part} in hexadecimal'
        for part in self.base64:
            if part in text:
                return f'{part} in base64'
        plain = re.sub(r'^\s*[0-9a-f]{16}:', '', text, flags=re.MULTILINE)
        for words, pattern in self.words:
            if all(word.lstrip('\\') in plain for word in words) and \
                    pattern.search(plain):
                return f'the list of {", ".join(words)}'
        return None
