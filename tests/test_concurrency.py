# SPDX-License-Identifier: GPL-2.0-or-later
"""Debuggers from all sides at once, while the guest's memory changes.

QMP, HMP, gdb and a detached dump read and write the memory of a running guest
that converts pages, while RAM is plugged and unplugged, the guest is reset,
and properties of its objects change. Whatever is read must be what the guest
has there, or an error that says why there is nothing: never ciphertext, never
zeros, never what another moment had.

SECONDS in the environment is for all tests together: 300 for a long run.
"""
import base64
import contextlib
import functools
import os
import random
import re
import threading
import time
import unittest
from types import SimpleNamespace

from lib import dump
from lib.doors import ASSUMED_PRIVATE, hex_bytes
from lib.kvm_case import debuggable
from lib.qemu import Qemu
from lib.qmp import QMP, QMPError
from lib.rsp import RSP, RSPError
from lib.standin import BUILD, StandIn, build_lock, has_kvm
from lib.wait import Timeout, connect
from payload.build import build, text_lines

SECONDS = float(os.environ.get('SECONDS', 15))
PAGE = 4096
MIB = 1 << 20
DIMM = 0x1_0000_0000
DIMM_SIZE = 16 * MIB
DIMM_LINE = re.compile(rb'DIMM \d{5} \w{4}\n')
SLOT_SELECT, SLOT_STATUS, EJECT = 0xa00, 0xa14, 8   # docs/specs/acpi_mem_hotplug
NOTHING = 'nothing is mapped'
DUMP_RUNS = 'There is a dump in process'
FORMATS = dump.ELF, 'kdump-raw-zlib'
UNTOUCHED = 'not been touched'
# A dump of a guest that gdb lets run, or that is about to be reset
DUMP_FAILS = 'the guest ran during the dump|about to be reset'


class Turns:
    """Functions that are called again and again, each in a thread."""

    def __init__(self, seconds):
        self._end = time.monotonic() + seconds
        self._failure = None
        self.counts = {}

    def over(self):
        """Is the time up, or has one failed?"""
        return self._failure or time.monotonic() >= self._end

    def _repeat(self, turn):
        name = turn.__name__
        self.counts[name] = 0
        try:
            while not self.over():
                turn()
                self.counts[name] += 1
        except BaseException as e:      # pylint: disable=broad-except
            self._failure = self._failure or e

    def run(self, turns):
        """Until the end; raises what one of @turns has raised."""
        threads = [threading.Thread(target=self._repeat, args=(turn,))
                   for turn in turns]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failure:
            raise self._failure


class Gdb(RSP):
    """A gdb that is not as patient."""

    def ask(self, payload, seconds=5):
        return super().ask(payload, seconds)


class Upheaval:
    """All that goes on around one guest.

    `make()` returns the Qemu; each of `turns()` runs in its own thread and has
    a monitor of its own, made by `monitor()`.
    """

    MONITORS = 7
    seconds = 3
    flips = False           # the guest converts FLIP_PAGE itself
    identity_mapped = False     # virtual addresses are physical ones
    resettable = True
    all_touched = True      # there are no pages that the guest has to touch
    fresh_is_zero = True    # what new memory reads as
    text_end = 'TEXT_TAIL'  # what is read as text ends there
    private_bit = 0         # of an address to write to
    # Memory that the guest does not use: of QMP's writer, and of gdb's
    own = {'qmp': 0x1000000, 'gdb': 0x1100000}
    own_size = 4 * PAGE

    @classmethod
    def more_args(cls, folder):
        """QEMU's arguments for all of them."""
        args = ['-qtest', f'unix:{folder}/qtest,server=on,wait=off',
                '-qtest-log', '/dev/null', '-object', 'memory-debug,id=md0',
                '-machine', 'memory-debug=md0', '-m', '64M,slots=1,maxmem=1G']
        for i in range(cls.MONITORS):
            args += ['-qmp', f'unix:{folder}/qmp{i},server=on,wait=off']
        return args

    def setUp(self):
        guest = self.make()
        guest.command += self.more_args(guest.folder)
        self.guest = self.enterContext(guest)
        self.monitors = iter(range(self.MONITORS))
        self.guest.console.expect('payload: running', 'the guest to run')
        self.map = self.guest.payload.map
        self.text = self.all_text()[:self.map[self.text_end] -
                                    self.map['TEXT_PRIVATE']]
        self.dimm = None            # (generation, contents) while it is there
        self.generation = 0
        self.lost = 0
        self.random = random.Random(1)

    def all_text(self):
        """What the guest has written from TEXT_PRIVATE on."""
        m = self.map
        return (text_lines(b'PRV', m['TEXT_PRIVATE'], m['TEXT_SHARED']) +
                text_lines(b'SHR', m['TEXT_SHARED'], m['TEXT_TAIL']) +
                text_lines(b'PRV', m['TEXT_TAIL'], m['TEXT_END']))

    def monitor(self):
        """A connection to a monitor that nobody else uses."""
        qmp = QMP(connect(self.guest.folder / f'qmp{next(self.monitors)}',
                          'QMP', 30))
        self.addCleanup(qmp.close)
        return qmp

    # What is read must be the guest's

    def some_text(self):
        """(address, length) of some of the text."""
        start = self.random.randrange(len(self.text))
        length = self.random.randrange(1, min(3 * PAGE,
                                              len(self.text) - start) + 1)
        return self.map['TEXT_PRIVATE'] + start, length

    def check_text(self, way, gpa, data):
        start = gpa - self.map['TEXT_PRIVATE']
        expected = self.text[start:start + len(data)]
        self.assertEqual(data, expected, f'{way} at 0x{gpa:x}')

    def check_dimm(self, way, before, data):
        """@before: self.dimm from before the access."""
        if before and before is self.dimm:
            self.assertEqual(data, before[1][:len(data)], way)
            return
        # It was just plugged, or is the one before: lines, and zeros
        for i in range(0, len(data), 16) if self.fresh_is_zero else ():
            line = data[i:i + 16]
            if any(line) and not DIMM_LINE.fullmatch(line):
                self.fail(f'{way} shows neither the DIMM nor zeros: {line}')

    def check_flip(self, way, data):
        """The page that the guest converts and then fills, byte by byte."""
        page = self.map['FLIP_PAGE']
        private = text_lines(b'PRV', page, page + PAGE)
        shared = text_lines(b'SHR', page, page + PAGE)
        for byte, *good in zip(data, private, shared):
            if byte and byte not in good:
                self.fail(f'{way} shows neither kind of text: {data}')

    def read_dimm(self, way, read):
        before = self.dimm
        try:
            data = read()
        except (QMPError, RSPError) as e:
            if before and before is self.dimm:
                raise
            if isinstance(e, QMPError):
                self.assertRegex(str(e), NOTHING if self.all_touched else
                                 f'{NOTHING}|{UNTOUCHED}')
            return
        self.check_dimm(way, before, data)

    # The doors

    def reader(self):
        """QMP and HMP that read."""
        qmp = self.monitor()
        path = self.guest.folder / 'saved'

        def read(gpa, length, space='physical'):
            answer = qmp.cmd('memory-debug-read', address=gpa, size=length,
                             space=space)
            return base64.b64decode(answer['data'])

        def hmp(command, gpa, length):
            output = qmp.hmp(f'{command} /{length}xb 0x{gpa:x}')
            data = hex_bytes(ASSUMED_PRIVATE.sub('', output))
            self.assertEqual(len(data), length, output)
            return data

        def save(gpa, length):
            qmp.cmd('pmemsave', val=gpa, size=length, filename=str(path))
            return path.read_bytes()

        ways = {'memory-debug-read': read, 'pmemsave': save,
                'xp': functools.partial(hmp, 'xp')}
        if self.identity_mapped:
            ways['x'] = functools.partial(hmp, 'x')
            ways['memory-debug-read, virtual'] = functools.partial(
                read, space='virtual')

        def turn():
            for way, door in ways.items():
                gpa, length = self.some_text()
                self.check_text(way, gpa, door(gpa, length))
            self.read_dimm('memory-debug-read', lambda: read(DIMM, 2 * PAGE))
            if self.flips:
                self.read_flip(read)

        turn.__name__ = 'QMP reads'
        return turn

    def read_flip(self, read):
        page = self.map['FLIP_PAGE']
        try:
            self.check_flip('memory-debug-read', read(page, PAGE))
        except QMPError as e:
            self.assertIn(UNTOUCHED, str(e))

    def own_data(self, whose, limit):
        """(address, bytes) to write to memory that nobody else writes to."""
        data = self.random.randbytes(self.random.randrange(
            1, min(limit, self.own_size)))
        start = self.random.randrange(self.own_size - len(data))
        return self.own[whose] + start, data

    def writer(self):
        """QMP that writes, and reads it again."""
        qmp = self.monitor()

        def turn():
            gpa, data = self.own_data('qmp', 2 * PAGE)
            gpa |= self.private_bit
            qmp.cmd('memory-debug-write', address=gpa, space='physical',
                    data=base64.b64encode(data).decode())
            answer = qmp.cmd('memory-debug-read', address=gpa, size=len(data),
                             space='physical')
            self.assertEqual(base64.b64decode(answer['data']), data)

        turn.__name__ = 'QMP writes'
        return turn

    def gdb(self):
        """gdb: stops, reads, writes, lets it run, stops, reads, detaches."""
        def look(rsp):
            for _ in range(10):
                gpa, length = self.some_text()
                length = min(length, 1024)
                self.check_text('gdb', gpa, rsp.read(gpa, length))
            gpa, data = self.own_data('gdb', 1024)
            gpa |= self.private_bit
            rsp.write(gpa, data)
            self.assertEqual(rsp.read(gpa, len(data)), data, 'gdb')
            self.read_dimm('gdb', lambda: rsp.read(DIMM, 1024))

        def session(rsp):
            rsp.physical(True)
            look(rsp)
            rsp.cont()
            time.sleep(0.01)
            rsp.interrupt()
            rsp.wait_stop(5)
            look(rsp)
            rsp.physical(False)
            rsp.detach()

        def turn():
            try:
                with Gdb(self.guest.gdb_socket, 30) as rsp:
                    session(rsp)
            except Timeout:
                # A dump that ends lets the VM run; QEMU then takes the first
                # byte of a packet for the wish to stop it
                self.lost += 1

        turn.__name__ = 'gdb'
        return turn

    def dumper(self):
        """Detached dumps, one after the other, in two formats."""
        qmp = self.monitor()

        def turn():
            for kind in FORMATS:
                with self.no_plugging():
                    self.dump(qmp, kind)

        turn.__name__ = 'dumps'
        return turn

    def dump(self, qmp, kind):
        """A dump that is completed, or has failed for a reason."""
        before = self.dimm
        path, _ = dump.take(SimpleNamespace(qmp=qmp, folder=self.guest.folder),
                            kind, detach=True, allow_incomplete=True)
        event = qmp.wait_event('DUMP_COMPLETED', 60)['data']
        if event['result']['status'] == 'completed':
            self.check_dump(path, kind, before)
            return True
        self.assertRegex(event['error'], DUMP_FAILS)
        self.assertEqual(path.stat().st_size, 0)
        return False

    def check_dump(self, path, kind, dimm):
        start, length = self.map['TEXT_PRIVATE'], len(self.text)
        if kind == dump.ELF:
            read = functools.partial(dump.read, path)
        else:
            pages = dump.kdump_pages(path)

            def read(gpa, length):
                return b''.join(dump.kdump_read(path, pages[gpa + at])
                                for at in range(0, length, PAGE))

        self.check_text(kind, start, read(start, length))
        try:
            data = read(DIMM, 2 * PAGE)
        except (dump.ToolError, KeyError):
            self.assertIsNone(dimm if dimm is self.dimm else None, kind)
            return
        self.check_dimm(kind, dimm, data)

    # What goes on meanwhile

    @staticmethod
    def no_plugging():
        """Held while a DIMM is plugged, and while a dump is made.

        Stock QEMU exits when RAM that is not shared between processes is
        plugged during a dump.
        """
        return contextlib.nullcontext()

    def plugger(self):
        """A DIMM comes, is written to, and is ejected as by the guest."""
        qmp = self.monitor()
        port = connect(self.guest.folder / 'qtest', 'qtest')
        self.addCleanup(port.close)

        def out(command):
            port.sendall(command.encode() + b'\n')
            answer = b''
            while not answer.endswith(b'\n'):
                answer += port.recv(100)
            self.assertEqual(answer, b'OK\n')

        def plug(name):
            qmp.cmd('device_add', driver='pc-dimm', id='d1', memdev=name,
                    addr=DIMM)

        def hold(data):
            self.dimm = self.generation, data
            time.sleep(self.random.random() / 5)
            self.dimm = None

        def eject():
            qmp.cmd('device_del', id='d1')
            out(f'outl {SLOT_SELECT} 0')
            out(f'outb {SLOT_STATUS} {EJECT}')
            qmp.wait_event('DEVICE_DELETED')

        def turn():
            self.generation += 1
            # Stock QEMU gives a shared backend the memory of an earlier one
            # of the same name that a dump still needs
            name = f'm{self.generation}'
            data = b''.join(b'DIMM %05d %04x\n' % (self.generation, i)
                            for i in range(2 * PAGE // 16))
            with self.no_plugging():
                qmp.cmd('object-add', qom_type='memory-backend-ram', id=name,
                        size=DIMM_SIZE, share=True)
                plug(name)
            if self.all_touched:
                qmp.cmd('memory-debug-write', space='physical',
                        address=DIMM | self.private_bit,
                        data=base64.b64encode(data).decode())
                hold(data)
                eject()
                plug(name)      # the backend has kept what was written
                hold(data)
            eject()
            qmp.cmd('object-del', id=name)

        turn.__name__ = 'DIMMs'
        return turn

    def operator(self):
        """Stops, resumes and resets the guest; changes properties."""
        qmp = self.monitor()

        def turn():
            for command in 'stop', 'cont', 'system_reset':
                if command == 'system_reset' and not self.resettable:
                    continue
                try:
                    qmp.cmd(command)
                except QMPError as e:
                    self.assertIn(DUMP_RUNS, str(e))
                time.sleep(self.random.random() / 10)
            self.change_properties(qmp)

        turn.__name__ = 'stops and resets'
        return turn

    def change_properties(self, qmp):
        for find, root, paging in (('vmcoreinfo', 0, 'auto'),
                                   ('none', 0x1000, '4level')):
            self.set(qmp, 'md0', 'find-root', find)
            self.set(qmp, 'md0', 'paging', paging)
            self.set(qmp, 'md0', 'root', root)
        self.set(qmp, 'md0', 'vcpus',
                 [{'cpu-index': 0, 'root': 0x2000, 'paging': '4level'}])
        qmp.cmd('object-add', qom_type='memory-debug', id='md1')
        qmp.cmd('object-del', id='md1')
        qmp.cmd('query-memory-debug')
        qmp.cmd('query-dump')
        qmp.hmp('info memory-debug')

    @staticmethod
    def set(qmp, name, prop, value):
        qmp.cmd('qom-set', path=f'/objects/{name}', property=prop, value=value)

    def turns(self):
        """All that run at once."""
        return [self.reader(), self.writer(), self.gdb(), self.dumper(),
                self.plugger(), self.operator()]

    def test_all_at_once(self):
        turns = Turns(self.seconds)
        try:
            turns.run(self.turns())
        except (ConnectionError, Timeout):
            self.fail(f'QEMU, {self.end_of_qemu()}, said:\n{self.guest.log()}')
        print('#', self.id(), turns.counts, f'gdb lost {self.lost}')
        for name, count in turns.counts.items():
            self.assertTrue(count, f'not one turn of: {name}')
        self.check_control()
        self.guest.qmp.forget_events()
        for kind in FORMATS:
            self.assertTrue(self.dump(self.guest.qmp, kind), 'quiet dump')
        self.check_off()

    def end_of_qemu(self):
        """What became of the process."""
        time.sleep(1)
        return f'exit status {self.guest.process.poll()}'

    def check_control(self):
        """The host's view of the private text is not the text."""
        self.guest.stop()
        start, shared = self.map['TEXT_PRIVATE'], self.map['TEXT_SHARED']
        raw = self.guest.host_memory(start, shared - start)
        self.assertNotIn(b'PRV 00', raw)

    def check_off(self):
        """Turned off in the midst of a dump, nothing is read any more."""
        qmp = self.guest.qmp
        path, _ = dump.take(self.guest, dump.ELF, detach=True,
                            allow_incomplete=True)
        self.set(qmp, 'md0', 'access', 'none')
        start, length = self.map['TEXT_PRIVATE'], 16
        with self.assertRaisesRegex(QMPError, "'access'.*is 'none'"):
            qmp.cmd('memory-debug-read', address=start, size=length,
                    space='physical')
        event = qmp.wait_event('DUMP_COMPLETED', 60)['data']
        if event['result']['status'] == 'failed':
            self.assertEqual(path.stat().st_size, 0)


class Simulated(Upheaval):
    """A simulated guest, whose pages the operator converts."""

    identity_mapped = True
    text_end = 'TEXT_END'
    mode = None

    def make(self):
        with build_lock():
            payload = build('plain', str(BUILD), 0)
        guest = Qemu('-accel', 'tcg', '-cpu', 'max', '-smp', '2', '-vga', 'none',
                     '-bios', payload.image, '-object',
                     f'sim-encrypted-guest,id=cg0,mode={self.mode}',
                     ram_mib=64, machine='q35,confidential-guest-support=cg0')
        guest.payload = payload
        return guest

    def change_properties(self, qmp):
        super().change_properties(qmp)
        self.set(qmp, 'cg0', 'x-latency-us', self.random.randrange(2000))
        qmp.cmd('qom-get', path='/objects/cg0', property='shared')

    def converter(self):
        """Pages become shared and private again, and keep what they hold."""
        qmp = self.monitor()
        places = [self.map['TEXT_PRIVATE'] + i * PAGE for i in range(8)]
        places += [gpa + i * PAGE for gpa in (*self.own.values(), DIMM)
                   for i in range(self.own_size // PAGE)]

        def turn():
            chosen = self.random.sample(places, len(places) // 3)
            self.set(qmp, 'cg0', 'shared',
                     [{'start': gpa, 'size': PAGE} for gpa in chosen])
            time.sleep(0.01)

        turn.__name__ = 'conversions'
        return turn

    def turns(self):
        return super().turns() + [self.converter()]

    def check_control(self):
        self.set(self.guest.qmp, 'cg0', 'shared', [])
        super().check_control()


class SimulatedCipher(Simulated, unittest.TestCase):
    mode = 'cipher'
    seconds = SECONDS * 0.3


class SimulatedHidden(Simulated, unittest.TestCase):
    mode = 'hidden'
    seconds = SECONDS * 0.2


class Kvm(Upheaval):
    """A guest of KVM's, as the stand-in has it."""

    kind = None
    scripted = True

    def make(self):
        if not self.scripted and not has_kvm():
            self.skipTest('there is no /dev/kvm')
        return StandIn(self.kind, scripted=self.scripted,
                       **debuggable(self.kind))

    def check_control(self):
        super().check_control()
        self.assertEqual(self.guest.violations(), [])


class Sev(Kvm):
    """All of its pages can be read; where no page table can tell, a physical
    address means private."""

    kind = 'sev'
    text_end = 'TEXT_SHARED'
    fresh_is_zero = False

    def setUp(self):
        super().setUp()
        self.private_bit = 1 << self.guest.payload.bit


class Snp(Kvm):
    """The guest converts a page itself; only touched pages can be read."""

    kind = 'snp'
    flips = True
    resettable = all_touched = False
    own = {'qmp': 0x246000, 'gdb': 0x247000}    # from TEXT_TAIL on
    own_size = PAGE

    def setUp(self):
        super().setUp()
        self.plugging = threading.Lock()
        self.flips_wanted = self.flips_seen = 0

    def no_plugging(self):
        return self.plugging

    def flipper(self):
        """Let the guest convert its page, again and again."""
        qmp = self.monitor()

        def turn():
            with contextlib.suppress(Timeout):      # it may be stopped
                self.flip_more(qmp, 8, 0.2)

        turn.__name__ = 'flips'
        return turn

    def flip_more(self, qmp, times, seconds):
        """Let the guest convert its page so often, and see it done.

        Not before the last time is seen: the socket holds less than 300 of
        the bytes that QEMU writes one by one, and the script waits for none.
        """
        self.see_flips(seconds)
        self.flips_wanted += times
        qmp.cmd('memory-debug-write', space='physical',
                address=self.map['SHARED_PAGE'] + self.map['FLIPS_WANTED'],
                data=base64.b64encode(
                    self.flips_wanted.to_bytes(8, 'little')).decode())
        self.see_flips(seconds)

    def see_flips(self, seconds):
        """Wait until the guest has said that it has done what is wanted."""
        if self.flips_seen != self.flips_wanted:
            self.guest.console.expect(f'flips {self.flips_wanted:016x}',
                                      'the guest to convert the page', seconds)
            self.flips_seen = self.flips_wanted

    def turns(self):
        return super().turns() + [self.flipper()]

    def check_control(self):
        self.guest.cont()
        self.flip_more(self.guest.qmp, 1, 30)
        super().check_control()


class SevScripted(Sev, unittest.TestCase):
    seconds = SECONDS * 0.1


class SevOnKvm(Sev, unittest.TestCase):
    scripted = False
    seconds = SECONDS * 0.1


class SnpScripted(Snp, unittest.TestCase):
    seconds = SECONDS * 0.1


class SnpOnKvm(Snp, unittest.TestCase):
    scripted = False
    seconds = SECONDS * 0.1


class TdxScripted(Snp, unittest.TestCase):
    kind = 'tdx'
    seconds = SECONDS * 0.1
