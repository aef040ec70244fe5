# SPDX-License-Identifier: GPL-2.0-or-later
"""How soon crash shows a backtrace: by a dump, and by the core node.

The dump is in the format kdump-lzo, which leaves out what is zeros: the guests
are sparse, and so no row needs a disk of the guest's size.
"""

import os
import subprocess
import time
import unittest
from contextlib import suppress

from common import MIB, Ratio, duration
from lib import core, dump, linux

KIND = 'kdump-lzo'
SIZES = {'1 GiB': 1024, '4 GiB': 4096, '16 GiB': 16384}
PIPE_MIB = 256
TITLE = 'core node'
PIPE = 'pipe'
ITEMS = *SIZES, PIPE


def counted(guest, function):
    """Seconds of a call, and the backend's calls and MiB meanwhile."""
    def counts():
        return guest.qmp.cmd('query-memory-debug')['counts']

    before, start = counts(), time.monotonic()
    function()
    seconds, after = time.monotonic() - start, counts()
    return seconds, after['reads'] - before['reads'], \
        (after['bytes-read'] - before['bytes-read']) / MIB


def backtrace(vmlinux, path):
    """What crash's users wait for."""
    said = dump.crash(vmlinux, path, 'bt')
    if 'sysrq_handle_crash' not in said:
        raise ValueError(f'crash shows no backtrace: {said}')


def by_dump(guest, vmlinux):
    """Dump, then start crash."""
    path, _ = dump.take(guest, KIND)
    backtrace(vmlinux, path)
    path.unlink()


def first_backtrace(report, item, vmlinux, runs):
    """Time and decrypted memory, by each way."""
    with linux.LinuxGuest(encrypted='', ram_mib=SIZES[item]) as guest:
        guest.boot()
        guest.console.send('panic')
        guest.console.expect('.*Kernel panic - not syncing', 'the crash')
        guest.stop()
        dumped = [counted(guest, lambda: by_dump(guest, vmlinux))
                  for _ in range(runs)]
        nodes = []
        for _ in range(runs):
            # A new node each time, and no page that another has decrypted
            guest.cont()
            guest.stop()
            with core.Core(guest) as node:
                nodes.append(counted(
                    guest, lambda: backtrace(vmlinux, node.path)))
    report.row(f'first bt, {item}', duration(min(d[0] for d in dumped)),
               duration(min(n[0] for n in nodes)),
               Ratio.of_pairs([d[0] for d in dumped], [n[0] for n in nodes]))
    report.row('  decrypted', f'{dumped[0][2]:.0f} MiB',
               f'{nodes[0][2]:.1f} MiB',
               goal=('at most 5 %', nodes[0][2] <= dumped[0][2] / 20))


def to_file(guest):
    """An ELF dump to a file."""
    dump.take(guest, dump.ELF)[0].unlink()


def to_pipe(guest):
    """The same to a pipe with a reader, as libvirt does it."""
    path = guest.folder / 'pipe'
    with suppress(FileExistsError):
        os.mkfifo(path)
    with open(guest.folder / 'piped', 'wb') as f, \
            subprocess.Popen(['cat', path], stdout=f) as reader:
        guest.qmp.cmd('dump-guest-memory', dump.SECONDS, paging=False,
                      protocol=f'file:{path}')
    if reader.returncode:
        raise OSError('cat failed')


def pipe_against_file(report, runs):
    """Time, and calls of the backend."""
    with linux.LinuxGuest(encrypted='', ram_mib=PIPE_MIB) as guest:
        guest.boot()
        guest.stop()
        files = [counted(guest, lambda: to_file(guest)) for _ in range(runs)]
        pipes = [counted(guest, lambda: to_pipe(guest)) for _ in range(runs)]
    report.row('ELF dump to a file, a pipe', duration(min(f[0] for f in files)),
               duration(min(p[0] for p in pipes)),
               Ratio.of_pairs([f[0] for f in files], [p[0] for p in pipes]))
    report.row('  calls of the backend', str(files[0][1]), str(pipes[0][1]),
               Ratio.of_pairs([f[1] for f in files], [p[1] for p in pipes]),
               ('0.99', pipes[0][1] <= 1.01 * files[0][1]))


def run(report, items, quick):
    """Measure @items and print them."""
    runs = 1 if quick else 3
    report.table(f'crash on an encrypted Linux guest, from a dump ({KIND}) and '
                 'from the core node;\nand an ELF dump to a file, to a pipe',
                 'dump; file', 'node; pipe')
    for item in items:
        report.progress(f'{TITLE}: {item}')
        if item == PIPE:
            pipe_against_file(report, runs)
            continue
        try:
            vmlinux = linux.debug_kernel()
        except unittest.SkipTest as e:
            raise FileNotFoundError(str(e)) from None
        if quick and item != next(iter(SIZES)):
            continue
        first_backtrace(report, item, vmlinux, runs)
