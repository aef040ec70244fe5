# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the tools of a Debian release on an encrypted guest; see check-clients.

    python3 -m clients [--update] SUITE FOLDER VMLINUX [WORD...]

SUITE is in FOLDER, VMLINUX is the guest's kernel with debugging information.
Prints each verdict, and writes the table of them to build/clients/SUITE.rst.
Exit status 3: the manual says otherwise (--update changes it).
"""

import argparse
import difflib
import sys
import tempfile
import time
from pathlib import Path

from clients import guest as guests
from clients import libvirt, table, tools
from clients.root import Root
from lib import dump
from lib.qemu import ROOT

MANUAL = ROOT / 'qemu/docs/system/encrypted-guest-clients.rst.inc'
TITLES = {guests.PAGING: 'elf, paging'}


def verdict(function, *arguments):
    """'' or why it does not work."""
    try:
        function(*arguments)
        return ''
    except (dump.ToolError, tools.Failure) as e:
        return tools.telling(str(e))


class Run:
    """All checks of one release."""

    def __init__(self, root, words):
        self.root, self._words = root, words

    def check(self, what, function, *arguments):
        """One verdict, told when it is there."""
        if self._words and not any(word in what for word in self._words):
            return None
        start = time.monotonic()
        said = verdict(function, *arguments)
        print(f'{what}: {said or "yes"} ({time.monotonic() - start:.0f} s)',
              flush=True)
        return said

    def row(self, title, checks, guest, path):
        """The verdicts of all tools on a file or socket."""
        return [self.check(f'{tool} {title}', checks[tool], self.root, guest,
                           path) if tool in checks else None
                for tool in tools.PACKAGES]

    def files(self, guest):
        """The table of tools and formats."""
        found = table.Table(self.root.name, ['file'] + [
            f'{name} {self.root.version(package)}'
            for name, package in tools.PACKAGES.items()])
        for kind in (dump.ELF, guests.PAGING, *dump.FLATTENED, *dump.RAW):
            path = guest.dump(kind)
            checks = tools.OF_PAGING if kind == guests.PAGING else \
                tools.OF_ELF if kind == dump.ELF else tools.OF_KDUMP
            title = TITLES.get(kind, kind)
            found.add(title, self.row(title, checks, guest, path))
            for made in guest.folder.glob(f'{path.stem}.*'):
                made.unlink()
        guest.export()
        found.add('core node', self.row('core node', tools.OF_ELF, guest,
                                        guest.core))
        found.add('gdbstub', self.row('gdbstub', tools.LIVE, guest,
                                      guest.gdb_socket))
        guest.stop()
        return found.rst()

    def others(self, guest):
        """The table of what has one answer."""
        found = table.Table(f'{self.root.name}: libvirt, and the core node by '
                            'NBD', ['what', 'works'])
        name = f'nbdcopy {self.root.version("libnbd-bin")}'
        found.add(name, [self.check(name, tools.nbdcopy, self.root, guest,
                                    guest.nbd)])
        return found


def main():
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--update', action='store_true')
    parser.add_argument('suite')
    parser.add_argument('folder')
    parser.add_argument('vmlinux', type=Path)
    parser.add_argument('words', nargs='*')
    options = parser.parse_args()
    run = Run(Root(options.folder), options.words)
    with guests.Crashed(options.vmlinux) as guest:
        guest.crash()
        text = run.files(guest)
        others = run.others(guest)
    with tempfile.TemporaryDirectory(prefix='libvirt-') as folder:
        libvirt.run(run, others, Path(folder))
    text += '\n' + others.rst()
    Path(options.folder).with_suffix('.rst').write_text(text)
    if options.words:
        return 0
    known = table.read(MANUAL)
    said = known.get(options.suite, '').strip('\n')
    if options.update:
        table.write(MANUAL, {**known, options.suite: text})
    elif said != text.strip('\n'):
        print(*difflib.unified_diff(said.splitlines(), text.splitlines(),
                                    'the manual', 'this run', lineterm=''),
              sep='\n')
        return 3
    return 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
