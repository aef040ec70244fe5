# SPDX-License-Identifier: GPL-2.0-or-later
"""The core of the guest as a file: the block driver guest-core, exported."""

import os
import unittest

from .qmp import QMPError

NODE = 'core0'


class Core:
    """A context manager: a core node of @qemu, and a FUSE export of it.

    It is served by an iothread of its own, or else by the main loop.  `path`
    is the file.  SkipTest where this user cannot mount.
    """

    def __init__(self, qemu, iothread=True):
        self.qmp = qemu.qmp
        self._thread = {'iothread': NODE} if iothread else {}
        self.path = qemu.folder / 'core'

    def __enter__(self):
        add_node(self.qmp)
        try:
            self._export()
        except BaseException:
            remove_node(self.qmp)
            raise
        return self

    def _export(self):
        if not os.access('/dev/fuse', os.R_OK | os.W_OK):
            raise unittest.SkipTest('there is no /dev/fuse that this user may '
                                    'open')
        self.path.touch()
        if self._thread:
            self.qmp.cmd('object-add', qom_type='iothread', id=NODE)
        try:
            self.qmp.cmd('block-export-add', type='fuse', id=NODE,
                         node_name=NODE, mountpoint=str(self.path),
                         **self._thread)
        except QMPError as e:
            self._remove_thread()
            if 'mount' in e.desc:
                raise unittest.SkipTest(f'{e.desc}: fuse3 or root is needed'
                                        ) from None
            raise

    def __exit__(self, kind, value, traceback):
        self.qmp.cmd('block-export-del', id=NODE, mode='hard')
        self.qmp.wait_event('BLOCK_EXPORT_DELETED')
        remove_node(self.qmp)
        self._remove_thread()
        self.path.unlink()

    def _remove_thread(self):
        if self._thread:
            self.qmp.cmd('object-del', id=NODE)


def add_node(qmp):
    """Add the node; nothing exports it."""
    qmp.cmd('blockdev-add', driver='guest-core', node_name=NODE,
            read_only=True)


def remove_node(qmp):
    """Remove it."""
    qmp.cmd('blockdev-del', node_name=NODE)


def decrypted(qmp):
    """Bytes that the backend has decrypted since QEMU started."""
    return qmp.cmd('query-memory-debug')['counts']['bytes-read']
