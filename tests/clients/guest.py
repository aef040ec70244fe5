# SPDX-License-Identifier: GPL-2.0-or-later
"""The encrypted guest that all tools look at."""

from lib import core, dump, linux
from lib.wait import poll

PAGING = 'elf-paging'


class Crashed(linux.LinuxGuest):
    """A guest whose kernel has crashed, and which stands still.

    @vmlinux  its kernel with debugging information
    `core` is its core as a file, `nbd` the address of an NBD export of it.
    """

    def __init__(self, vmlinux):
        super().__init__(encrypted='', cpus=2, ram_mib=256)
        self.vmlinux = vmlinux
        self.facts = self.banner = self.core = self.nbd = None

    def crash(self):
        """Boot and crash it; export the core."""
        self.boot()
        self.facts = self.facts_of_boot()
        self.banner = self.symbols('linux_banner')['linux_banner']
        self.ask('check start 32')
        poll(lambda: self.check()[0], 'a process to fill its memory', 120)
        self.console.send('panic')
        self.console.expect('.*end Kernel panic - not syncing',
                            'the kernel to crash')
        self.stop()

    def facts_of_boot(self):
        """What the guest says about itself."""
        return linux.Facts(self.ask('facts'))

    def export(self):
        """A core node by FUSE and by NBD, until this process ends."""
        self.core = core.Core(self).__enter__().path
        self.qmp.cmd('nbd-server-start', addr={
            'type': 'unix', 'data': {'path': str(self.folder / 'nbd')}})
        self.qmp.execute('nbd-server-add',
                         {'device': core.NODE, 'name': 'core'})
        self.nbd = f'nbd+unix:///core?socket={self.folder}/nbd'

    def dump(self, kind):
        """A dump of some kind; the path."""
        if kind == PAGING:
            return dump.take(self, dump.ELF, 'paging', paging=True)[0]
        return dump.take(self, kind)[0]
