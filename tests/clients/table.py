# SPDX-License-Identifier: GPL-2.0-or-later
"""The manual's tables of what works with which version.

A part of a reStructuredText file for each Debian release, with verdicts that
the run has found, and footnotes.  What the manual says is what a later run
expects.
"""

import re

HEAD = """\
..
   SPDX-License-Identifier: GPL-2.0-or-later

   Written by `make check-clients UPDATE=1`: not to be edited.
"""
MARK = '.. _clients-of-{}:\n'


class Table:
    """Rows of a list-table; a cell that is no plain word gets a footnote."""

    def __init__(self, title, head):
        self.title, self.head = title, head
        self.rows, self._notes = [], []

    def add(self, name, cells):
        """A row; a cell is None (not for this tool), '' (it works), or why it
        does not."""
        self.rows.append([name] + [
            '--' if cell is None else 'yes' if not cell else self._note(cell)
            for cell in cells])

    def _note(self, text):
        text = ' '.join(re.sub(r'0x[0-9a-f]+|/\S*/', '...', text).split())
        if text not in self._notes:
            self._notes.append(text)
        return f'no ({self._notes.index(text) + 1})'

    def rst(self):
        """As text."""
        lines = [f'.. list-table:: {self.title}', '   :header-rows: 1', '']
        for row in [self.head, *self.rows]:
            lines += [f'   {"-" if i else "* -"} {cell}'.replace(
                '   - ', '     - ') for i, cell in enumerate(row)]
        lines.append('')
        lines += [f'({i}) ``{text}``\n' for i, text in
                  enumerate(self._notes, 1)]
        return '\n'.join(lines) + '\n'


def parts(text):
    """{release: its part of the file}."""
    found = re.split(r'^\.\. _clients-of-([\w-]+):\n', text, flags=re.M)
    return dict(zip(found[1::2], found[2::2]))


def read(path):
    """parts() of a file, none if there is none."""
    return parts(path.read_text()) if path.exists() else {}


def write(path, found):
    """The file with all parts."""
    path.write_text(HEAD + ''.join(
        '\n' + MARK.format(name) + '\n' + text.strip('\n') + '\n'
        for name, text in sorted(found.items())))
