# SPDX-License-Identifier: GPL-2.0-or-later
"""A normal guest: the series against the unpatched QEMU.

Both run the same Linux under TCG. What is compared is the CPU time of QEMU,
of all its threads, because it says what something costs even while others use
the machine; the time on the clock stands beside it.
"""

import contextlib
import socket
import statistics
import threading
import time

from common import (MIB, NOISE, Ratio, Sample, cpu_seconds, duration,
                    stopwatch)
from lib import dump
from lib.linux import LinuxGuest
from lib.qemu import binary
from lib.rsp import RSP

RAM_MIB = 256
DISK_MIB = 128
NET_MIB = 16
MODULES = ('virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev '
           'virtio_pci virtio_blk failover net_failover virtio_net')
SECONDS = 600
CLOCK_NOISE = 0.10      # of the time on the clock
TITLE = 'normal'
ROUNDS = 5
RUNS = 5


class Guest(LinuxGuest):
    """A Linux guest with a virtio disk and network card."""

    def __init__(self, program):
        super().__init__(
            '-blockdev',
            f'null-co,node-name=d0,size={1 << 30},read-zeroes=on',
            '-device', 'virtio-blk-pci,drive=d0', '-netdev', 'user,id=n0', '-device',
            'virtio-net-pci,netdev=n0,romfile=',
            accel='tcg', ram_mib=RAM_MIB, program=program)

    def prepare(self):
        """Drivers, and addresses for the measurements."""
        self.ask(f'run for m in {MODULES}; do f=/lib/$m.ko; '
                 '[ ! -e $f ] || insmod $f || exit 1; done')
        self.ask('run ifconfig eth0 10.0.2.15')
        text, page = self.symbols('_text', 'page_offset_base').values()
        self.text = text
        self.direct_map = int.from_bytes(self.kernel_read(page.va, 8),
                                         'little')


# What is measured; each function does it once

def memory(guest):
    """64 MiB read and written, by word"""
    guest.ask('work 16 4', SECONDS)


def disk(guest):
    """virtio-blk, 128 MiB read"""
    guest.ask(f'run dd if=/dev/vda of=/dev/null bs=1M count={DISK_MIB} '
              '2>/dev/null', SECONDS)


def disk_write(guest):
    """virtio-blk, 128 MiB written"""
    guest.ask(f'run dd if=/dev/zero of=/dev/vda bs=1M count={DISK_MIB} '
              'conv=fsync 2>/dev/null', SECONDS)


def network(guest):
    """virtio-net, 16 MiB received"""
    def serve():
        with listener.accept()[0] as client:
            client.sendall(bytes(NET_MIB * MIB))

    with socket.create_server(('127.0.0.1', 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        guest.ask('run n=$(nc 10.0.2.2 '
                  f'{port} </dev/null | wc -c); [ $n = {NET_MIB * MIB} ]',
                  SECONDS)
        thread.join()


def xp(guest):
    """xp, 80 pages"""
    for page in range(80):
        guest.qmp.hmp(f'xp /512xg 0x{guest.text.pa + page * 4096:x}')


def x(guest):
    """x, 80 pages"""
    for page in range(80):
        guest.qmp.hmp(f'x /512xg 0x{guest.text.va + page * 4096:x}')


def _gdb(guest, physical, addr):
    with RSP(guest.gdb_socket) as rsp:
        rsp.physical(physical)
        for at in range(addr, addr + 4 * MIB, 2000):
            rsp.read(at, 2000)
        rsp.physical(False)


def gdb(guest):
    """gdb, 4 MiB virtual"""
    _gdb(guest, False, guest.text.va)


def gdb_physical(guest):
    """gdb, 4 MiB physical"""
    _gdb(guest, True, guest.text.pa)


def memsave(guest):
    """memsave, 64 MiB"""
    guest.qmp.cmd('memsave', val=guest.direct_map + 64 * MIB, size=64 * MIB,
                  filename='/dev/null')


def pmemsave(guest):
    """pmemsave, 256 MiB"""
    guest.qmp.cmd('pmemsave', val=0, size=RAM_MIB * MIB, filename='/dev/null')


def info_tlb(guest):
    """info tlb"""
    guest.qmp.hmp('info tlb', SECONDS)


def info_mem(guest):
    """info mem"""
    guest.qmp.hmp('info mem', SECONDS)


def _dump(kind, paging=False):
    def function(guest):
        guest.qmp.cmd('dump-guest-memory', SECONDS, paging=paging,
                      format=kind, protocol='file:/dev/null')

    function.__doc__ = f'dump {kind}{", paging" if paging else ""}'
    return function


RUNNING = memory, disk, disk_write, network
STOPPED = (xp, x, gdb, gdb_physical, memsave, pmemsave, info_tlb, info_mem,
           *map(_dump, dump.FORMATS), _dump(dump.ELF, True))
BOOT = 'boot to the prompt'
ITEMS = [BOOT] + [function.__doc__ for function in RUNNING + STOPPED]


class Pair:
    """Both guests of one round, and what was measured: {item: [base, series]}.

    @say   tells the person what goes on
    @swap  begin with the series
    """

    def __init__(self, stack, say, swap):
        self.say = say
        self.order = (1, 0) if swap else (0, 1)
        self.guests = [None, None]
        self.samples = {}
        for which in self.order:
            say(BOOT)
            self._boot(stack, which)

    def _add(self, item, which, sample):
        self.samples.setdefault(item, ([], []))[which].append(sample)

    def _boot(self, stack, which):
        start = time.monotonic()
        guest = stack.enter_context(Guest(binary(base=not which)))
        guest.boot(SECONDS)
        self._add(BOOT, which, Sample(time.monotonic() - start,
                                      cpu_seconds(guest.process.pid)))
        guest.prepare()
        guest.stop()
        self.guests[which] = guest

    def measure(self, function, runs):
        """Do it @runs times in both, in turns; the other one stands still."""
        self.say(function.__doc__)
        for i in range(runs):
            for which in self.order[::-1 if i % 2 else 1]:
                guest = self.guests[which]
                if function in RUNNING:
                    guest.cont()
                self._add(function.__doc__, which,
                          stopwatch(guest, function, guest))
                guest.stop()

    def best(self, item, quantity='cpu'):
        """The lowest of base and of the series."""
        return [min(getattr(sample, quantity) for sample in samples)
                for samples in self.samples[item]]


def report_item(report, pairs, item):
    """A line of the table."""
    cpu, clock = (Ratio.of_pairs(*zip(*(pair.best(item, name)
                                        for pair in pairs)))
                  for name in ('cpu', 'wall'))
    met, goal = not cpu.slower(NOISE), '1.00'
    if clock.slower(CLOCK_NOISE):
        met, goal = False, f'{goal}, on the clock {clock.median_text}'
    times = [duration(statistics.median(best))
             for best in zip(*(pair.best(item) for pair in pairs))]
    report.row(item, *times, cpu, (goal, met))


def run(report, items, quick):
    """Measure @items and print them."""
    functions = [function for function in STOPPED + RUNNING
                 if function.__doc__ in items]
    pairs = []
    rounds = 1 if quick else ROUNDS
    for i in range(rounds):
        with contextlib.ExitStack() as stack:
            def say(item, i=i):
                report.progress(f'{TITLE}: round {i + 1} of {rounds}: {item}')

            pair = Pair(stack, say, i % 2)
            for function in functions:
                runs = 1 if function in RUNNING or quick else RUNS
                pair.measure(function, runs)
            pairs.append(pair)
    report.table('A normal guest, Linux under TCG: CPU time')
    for item in items:
        report_item(report, pairs, item)
