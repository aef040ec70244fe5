# SPDX-License-Identifier: GPL-2.0-or-later
"""Encrypted guests: dumps and saved memory cost what their backend costs."""

import os
import random
import re
import statistics
import tempfile
import time
from pathlib import Path

from common import MIB, Ratio, in_turns, speed
from lib.dump import FORMATS
from lib.qemu import Qemu
from lib.wait import poll

HLT = b'\xf4' * 65536
START = 16 * MIB        # of what fills the memory
PART = 1 * MIB          # noise, text and zeros follow each other in such parts
SECONDS = 600
SPEED = 0.7             # the goal


def write_memory(path, size):
    """A file with what shall be in guest memory."""
    noise = random.Random(1)
    with open(path, 'wb') as f:
        for part in range(size // PART):
            if part % 3 == 0:
                f.write(noise.randbytes(PART))
            elif part % 3 == 1:
                f.write(b''.join(b'%-63d\n' % (part * 16384 + i)
                                 for i in range(16384)))
            else:
                f.seek(PART, os.SEEK_CUR)
        f.truncate(size)


def private_bytes(mib):
    """How much of a guest with such memory is sealed: zeros are not."""
    return (mib * MIB - START) // PART // 3 * 2 * PART


def dump_seconds(guest, kind, path='/dev/null', **arguments):
    """How long a dump takes."""
    start = time.monotonic()
    guest.qmp.cmd('dump-guest-memory', SECONDS, paging=False, format=kind,
                  protocol=f'file:{path}', **arguments)
    return time.monotonic() - start


def ram_ranges(size):
    """[(address, size)] of a q35 machine's memory: there is a hole in it."""
    if size < 0xb0000000:
        return [(0, size)]
    return [(0, 0x80000000), (1 << 32, size - 0x80000000)]


def pmemsave_seconds(guest):
    """How long it takes to save all memory."""
    start = time.monotonic()
    for addr, size in ram_ranges(guest.ram_size):
        guest.qmp.cmd('pmemsave', SECONDS, val=addr, size=size,
                      filename='/dev/null')
    return time.monotonic() - start


class Guest(Qemu):
    """A guest that has halted and been stopped.

    @memory     a file with what is in its memory, from START on
    @encrypted  as simulated encrypted guest
    """

    def __init__(self, mib, memory, encrypted):
        machine, args = 'q35', []
        if encrypted:
            machine += ',confidential-guest-support=cg0'
            args = ['-object', 'sim-encrypted-guest,id=cg0',
                    '-trace', 'sim_encrypted_guest_*']
        super().__init__('-accel', 'tcg', '-S', '-device', 'vmcoreinfo',
                         '-device', f'loader,file={memory},addr={START},'
                         'force-raw=on', *args, ram_mib=mib, machine=machine)
        (self.folder / 'bios').write_bytes(HLT)
        self.command += ['-bios', str(self.folder / 'bios')]

    def _start(self):
        super()._start()
        self.cont()
        self.stop()

    def cipher_seconds(self):
        """How long QEMU decrypts all of the memory."""
        self.cont()
        self.stop()
        def told():
            return re.findall(r'unsealed in (\d+) us', self.log())
        return int(poll(told, 'the trace of the cipher', 60)[-1]) / 1e6


WAYS = {f'dump {kind}': lambda guest, kind=kind: dump_seconds(guest, kind)
        for kind in FORMATS}
WAYS['pmemsave'] = pmemsave_seconds
TITLE, ITEMS = 'encrypted', tuple(WAYS)


def _row(report, item, size, cipher, times):
    """The speed against the slower one of plain guest and cipher."""
    ratio = Ratio.of_pairs([max(plain, size / cipher) for plain in times[0]],
                           times[1])
    report.row(item, *(speed(size, statistics.median(t)) for t in times),
               ratio, (f'{SPEED:.2f}', ratio.median >= SPEED))


def run(report, items, quick):
    """Measure @items and print them."""
    mib, runs = (128, 1) if quick else (256, 7)
    report.progress(f'{TITLE}: the guests')
    with tempfile.TemporaryDirectory(prefix='bench-') as folder:
        memory = Path(folder, 'memory')
        write_memory(memory, mib * MIB - START)
        with Guest(mib, memory, False) as plain, \
                Guest(mib, memory, True) as encrypted:
            cipher = private_bytes(mib) / min(
                encrypted.cipher_seconds() for _ in range(runs))
            report.table(f'The same guest plain and encrypted, {mib} MiB. '
                         f'Ratio: to the slower of plain guest\nand AES-XTS, '
                         f'which here is {cipher / 1e6:.0f} MB/s',
                         'plain', 'encrypted')
            for item in items:
                report.progress(f'{TITLE}: {item}')
                times = in_turns(runs, lambda: WAYS[item](plain),
                                 lambda: WAYS[item](encrypted))
                _row(report, item, mib * MIB, cipher, times)
