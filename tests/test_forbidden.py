# SPDX-License-Identifier: GPL-2.0-or-later
"""With debugging denied, no command of any interface gives a byte of plaintext.

Every command that QEMU has is run with the arguments in forbidden-commands,
and all its output and files are searched for what the guest has in its memory.
The control is the same walk over a guest that may be debugged.
"""

import base64
import json
import re
import struct
import unittest
import zlib
from contextlib import suppress
from pathlib import Path

from lib import faults
from lib.doors import bsd_sum
from lib.kvm_case import debuggable
from lib.plaintext import Plaintext
from lib.qemu import Qemu
from lib.qmp import QMPError
from lib.qtest import QTest
from lib.repository import BUILD
from lib.rsp import RSP
from lib.snapshot import make_image
from lib.wait import Timeout, poll

WHOLE_STACKS = True     # runs what leaks in stock QEMU
RULES = Path(__file__).with_name('forbidden-commands')
LOGGED = 4 << 20        # bytes of TCG's log
# A page with a log as OVMF leaves it (QEMU: hw/uefi/ovmf-log.c)
LOG = 0x3f0000
LOG_TEXT = b'LOG 003f0000 of the firmware\n'
LOG_HEADER = struct.pack('<QQQQQQQQ128s', 0x3167646d666d766f,
                         0x3267646d666d766f, 192, 0x200, 0, 0,
                         len(LOG_TEXT), 0, b'')


class Rule:
    """A line of the file."""

    def __init__(self, line):
        words = line.split(' ', 2)
        self.never = words[0] == 'never'
        if self.never:
            words = [words[1], *words[2].split(' ', 1)]
        self.kind = words[0].rstrip('!')
        self.shows = words[0].endswith('!')
        self.name = words[1]
        self.arguments = words[2] if len(words) > 2 else None
        self.line = line
        self.packet = self.name + (self.arguments or '')


def rules():
    """All rules."""
    return [Rule(line) for line in RULES.read_text().splitlines()
            if line and not line.startswith('#')]


class Schema:
    """Arguments that fit a QMP command, from what it says about itself."""

    def __init__(self, qmp):
        self.types = {entry['name']: entry
                      for entry in qmp.cmd('query-qmp-schema')}
        self.commands = {name for name, entry in self.types.items()
                         if entry['meta-type'] == 'command'}

    def arguments(self, command, optional, file):
        """With or without the @optional ones."""
        kind = self.types[self.types[command]['arg-type']]
        return self._object(kind, optional, file, 0)

    def _object(self, kind, optional, file, depth):
        if depth > 5:
            return {}
        return {member['name']: self._value(member['type'], member['name'],
                                            optional, file, depth)
                for member in kind['members']
                if optional and depth < 3 or 'default' not in member}

    def _value(self, name, member, optional, file, depth):
        kind = self.types[name]
        kinds = {'int': faults.TEXT, 'boolean': True, 'number': 1.0,
                 'string': file if 'file' in member else '/machine'
                 if member == 'path' else 'x', 'null': None, 'value': 1}
        if kind['meta-type'] == 'builtin':
            return kinds[kind['json-type']]
        if kind['meta-type'] == 'enum':
            return kind['members'][0]['name']
        if kind['meta-type'] == 'alternate':
            return self._value(kind['members'][0]['type'], member, optional,
                               file, depth)
        if kind['meta-type'] == 'array':
            return [self._value(kind['element-type'], member, optional, file,
                                depth + 1)]
        value = self._object(kind, optional, file, depth + 1)
        for variant in kind.get('variants', ())[:1]:
            value[kind['tag']] = variant['case']
            value.update(self._object(self.types[variant['type']], optional,
                                      file, depth + 1))
        return value


class Walk:
    """Runs rules on a guest, and finds plaintext in what comes of them."""

    def __init__(self, guest, needle):
        self.guest = guest
        self.needle = needle
        self.folder = guest.folder / 'out'
        self.folder.mkdir()
        self.disk = self.folder / 'disk.qcow2'
        self.kept = self.folder / 'log'
        make_image(guest.qmp, self.disk)
        self.schema = Schema(guest.qmp)
        self.monitor = monitor_commands(guest.qmp)
        self.found = {}             # rule's line: what it showed
        self.files = 0
        self.rsp = None

    def has(self, rule):
        """Does this QEMU have the command? Another base may not."""
        if rule.name == 'info':
            return f'info {rule.arguments.split()[0]}' in self.monitor
        return rule.kind != 'qmp' or rule.name in self.schema.commands

    def run(self, rule):
        """Run a rule; what it showed goes to found."""
        self.files += 1
        file = self.folder / f'file{self.files}'
        names = {'file': file, 'disk': self.disk, 'kept': self.kept, 'gpa': faults.TEXT,
                 'va': faults.virtual(faults.TEXT)}
        names['rcmd'] = f'x /16xb {names["va"]:#x}'.encode().hex()
        text = re.sub(r'\{(\w+)(:x)?\}', lambda m: format(names[m[1]], 'x')
                      if m[2] else str(names[m[1]]), rule.arguments or '')
        outputs = getattr(self, '_' + rule.kind)(rule, text, file)
        what = None
        for output in outputs:
            what = what or self.needle.in_text(output)
        if rule.name == 'sum' and outputs[0].strip() == \
                f'{bsd_sum(faults.TRUTH[:1]):05}':
            what = 'the sum of one byte'
        what = what or self.search_files()
        if what:
            self.found[rule.line] = what

    def _qmp(self, rule, text, file):
        if rule.arguments is not None:
            every = [json.loads(text)]
        else:
            every = [self.schema.arguments(rule.name, optional, str(file))
                     for optional in (False, True)]
        outputs = []
        for arguments in every:
            try:
                outputs.append(json.dumps(self.guest.qmp.execute(
                    rule.name, arguments)))
            except QMPError as e:
                outputs.append(e.desc)
        self._wait_for_dump()
        return outputs

    def _hmp(self, rule, text, file):
        output = self.guest.qmp.hmp(f'{rule.name} {text}'.strip())
        if rule.name == 'log' and not output:
            self._end_log()
        self._wait_for_dump()
        return [output]

    def _end_log(self):
        """Some of it is enough: on a slow machine it would fill the disk."""
        with suppress(Timeout):     # KVM has none
            poll(lambda: self.kept.exists() and
                 self.kept.stat().st_size > LOGGED, 'the log', 2)
        self.guest.qmp.hmp('log none')

    def _wait_for_dump(self):
        """One that is detached."""
        poll(lambda: self.guest.qmp.cmd('query-dump')['status'] != 'active',
             'the end of the dump', 60)

    def _rsp(self, rule, text, file):
        if self.rsp is None:
            self.guest.stop()
            self.rsp = RSP(self.guest.gdb_socket)
        packet = rule.name + text
        self.rsp.send(packet)
        if packet[0] in 'csCF' or packet.startswith('vCont;'):
            return self._run_on(packet)
        answer = self.rsp.answer(what=f'the answer to {packet}')
        outputs = [answer]
        while packet.startswith('qRcmd') and answer.startswith('O') and \
                answer != 'OK':
            answer = self.rsp.answer(what=f'the answer to {packet}')
            outputs.append(answer)
        outputs.append(bytes.fromhex(''.join(
            part[1:] for part in outputs if re.fullmatch(
                'O([0-9a-f]{2})+', part))).decode('latin-1'))
        return outputs

    def _run_on(self, packet):
        """After a packet that is answered when the guest stops, if ever."""
        self.guest.stop()
        outputs = [] if packet[0] == 'F' else [
            self.rsp.answer(what=f'the end of {packet}')]
        self.rsp.close()
        self.rsp = None
        return outputs

    def search_files(self):
        """Search what was written, and remove it."""
        what = None
        for path in self.folder.iterdir():
            if path.is_file() and path not in (self.disk, self.kept):
                path.chmod(0o600)
                what = what or self.needle.in_bytes(path.read_bytes())
                path.unlink()
        return what

    def end(self):
        """Search what came besides the answers."""
        if self.rsp:
            self.rsp.close()
        for name, text in (('events', json.dumps(self.guest.qmp.events())),
                           ('output of QEMU', self.guest.log())):
            if self.needle.in_text(text):
                self.found[name] = self.needle.in_text(text)
        for path in (self.disk, self.kept):
            what = self.needle.in_bytes(path.read_bytes())
            if what:
                self.found[path.name] = what


def code(program):
    """The payload's code at places where it is to be found running."""
    image = Path(program.image).read_bytes()
    start = program.symbols['ram_load'] - program.map['ROM_BASE']
    for name in 'main_loop', 'tick', 'tick_store', 'tick_mailbox', 'tick_flip':
        at = start + program.phys(name) - program.map['RAM_BASE']
        yield image[at:at + 16]


def plaintext(program):
    """The guest's text, its note, its code, and the firmware's log."""
    return Plaintext(faults.TRUTH, faults.NOTE_DATA, LOG_TEXT, *code(program))


def packets():
    """The names of gdb's packets, from QEMU's source."""
    source = (BUILD / 'src' / 'gdbstub' / 'gdbstub.c').read_text()
    tables = re.split(r'^(?:static )?const GdbCmdParseEntry (\w+)', source,
                      flags=re.MULTILINE)
    found = set()
    prefixes = {'gdb_v_commands_table': 'v', 'gdb_gen_query_set_common_table':
                'q', 'gdb_gen_query_table': 'q', 'gdb_gen_set_table': 'Q'}
    for name, text in zip(tables[1::2], tables[2::2]):
        text = text.partition('\n};')[0]
        found |= {prefixes[name] + packet for packet in
                  re.findall(r'\.cmd = "([^"]+)"', text)}
        tables[-1] = tables[-1].replace(text, '')
    return found | set(re.findall(r'\.cmd = "([^"]+)"', tables[-1]))


def monitor_commands(qmp):
    """The names of the monitor's commands; "info ..." for those of info."""
    found = set()
    for line in qmp.hmp('help').splitlines():
        match = re.match(r'([a-z?][\w|?-]*)(?: |$)', line)
        if match:
            found.add(match[1])
    for line in qmp.hmp('help info').splitlines():
        match = re.match(r'info ([a-z][\w|-]*)', line)
        if match:
            found.add(f'info {match[1]}')
    return found


class Forbidden(faults.FaultySimulated):
    """The simulated guest."""

    kind = 'simulated'

    def plant(self, gpa, data):
        """Write memory as the guest itself would."""
        self.cont()
        qtest = QTest(self.folder / 'qtest')
        qtest.write(gpa, data)
        qtest.close()
        self.stop()


class StandInWithLog(faults.FaultyStandIn):
    """A guest under the stand-in; where debugging is denied, without a log."""

    def plant(self, gpa, data):
        """Write memory, if that is allowed."""
        try:
            self.qmp.cmd('memory-debug-write', space='physical',
                         address=gpa | self.private_bit,
                         data=base64.b64encode(data).decode())
        except QMPError:
            pass


VGA = ['-device', 'VGA,romfile=']


def stand_in(kind, **settings):
    """Arguments of a guest whose kernel would let it be debugged."""
    ioctls = faults.SEV_IOCTLS if kind.startswith('sev') else \
        faults.UNIFIED_IOCTLS
    return lambda: StandInWithLog(kind, *ioctls, args=VGA, **settings)


def simulated(properties, **limits):
    """The same for a simulated guest."""
    return lambda: Forbidden(properties, args=VGA, **limits)


# A TD can neither be reset nor asked for its CPU models: QEMU ends, the stock
# one, too.  So it does at the reset of other guests with protected registers.
ENDS_QEMU = {'query-cpu-definitions': ('tdx',),
             'system_reset': ('tdx', 'snp', 'sev-es')}


class WalkCase(unittest.TestCase):
    """What a walk over all commands finds."""

    def walk(self, make, running=False):
        """Run all rules of commands that this QEMU has."""
        guest = self.enterContext(make())
        guest.prepare()
        guest.plant(LOG, LOG_HEADER + LOG_TEXT)
        guest.plant(faults.NOTE, faults.NOTE_ELF)
        walk = Walk(guest, plaintext(guest.program_map))
        for rule in rules():
            if rule.never or not walk.has(rule) or \
                    guest.kind in ENDS_QEMU.get(rule.name, ()):
                continue
            self.step(guest, walk, rule, running and rule.kind != 'rsp')
        walk.end()
        return walk

    def step(self, guest, walk, rule, running):
        """Run one rule."""
        try:
            (guest.cont if running else guest.stop)()
            walk.run(rule)
        except (ConnectionError, Timeout) as e:
            self.fail(f'{rule.line}: {e}; QEMU said: {guest.log()}')

    def assert_nothing_shown(self, make, running=False):
        """No command shows plaintext."""
        self.assertEqual(self.walk(make, running).found, {})

    def assert_doors_show(self, make):
        """The control: the commands show it that are to show it."""
        walk = self.walk(make)
        self.assertEqual([rule.line for rule in rules() if rule.shows and
                          walk.has(rule) and rule.line not in walk.found], [])


class Denied(WalkCase):
    """Guests of which the owner or the operator denies debugging."""

    def test_simulated(self):
        self.assert_nothing_shown(simulated('policy-debug=off'))

    def test_simulated_running(self):
        self.assert_nothing_shown(simulated('policy-debug=off'), True)

    def test_simulated_hidden(self):
        self.assert_nothing_shown(simulated('policy-debug=off,mode=hidden'))

    def test_debug_object_off(self):
        self.assert_nothing_shown(simulated('mode=cipher', access='none'))

    def test_sev(self):
        self.assert_nothing_shown(stand_in('sev', debug=False))

    def test_sev_es(self):
        self.assert_nothing_shown(stand_in('sev-es', debug=False))

    def test_snp(self):
        self.assert_nothing_shown(stand_in('snp', debug=False, unified=1))

    def test_tdx(self):
        self.assert_nothing_shown(stand_in('tdx', tdx_debug=1, unified=1))


class Allowed(WalkCase):
    """The control."""

    def test_simulated(self):
        self.assert_doors_show(simulated('mode=cipher'))

    def test_simulated_running(self):
        found = self.walk(simulated('mode=cipher'), True).found
        self.assertIn('log', found, 'the log of TCG has no code')

    def test_sev(self):
        self.assert_doors_show(stand_in('sev', **debuggable('sev')))


class Display(unittest.TestCase):
    """A display's memory is for the host to see, and the host sees it."""

    FRAME_BUFFER = 0xe0000000
    PIXELS = b'\x30\x20\x10\0' * 64

    def start(self, properties):
        """A guest that shows a line of pixels."""
        guest = self.enterContext(simulated(properties)())
        guest.prepare()
        guest.cont()
        qtest = QTest(guest.folder / 'qtest')
        device = 0x80000000 | 1 << 11           # of the VGA, after the bridge
        for register, value in (0x10, self.FRAME_BUFFER), (4, 3):
            qtest.ask(f'outl 0xcf8 {device | register:#x}')
            qtest.ask(f'outl 0xcfc {value:#x}')
        # QEMU: docs/specs/standard-vga.rst; 64 x 64 pixels of 32 bits
        for index, value in (1, 64), (2, 64), (3, 32), (4, 0x41):
            qtest.ask(f'outw 0x1ce {index:#x}')
            qtest.ask(f'outw 0x1cf {value:#x}')
        qtest.ask('inb 0x3da')
        qtest.ask('outb 0x3c0 0x20')            # no longer blank
        qtest.write(self.FRAME_BUFFER, self.PIXELS)
        qtest.close()
        return guest

    def screen(self, guest):
        """A screendump's pixels."""
        path = guest.folder / 'screen'
        guest.qmp.cmd('screendump', filename=str(path))
        return path.read_bytes().split(b'255\n', 1)[1]

    def test_is_no_ciphertext(self):
        for mode in 'cipher', 'hidden':
            with self.subTest(mode):
                guest = self.start(f'policy-debug=off,mode={mode}')
                self.assertIn(b'\x10\x20\x30' * 64, self.screen(guest))
                guest.stop()
                self.assertIn(b'\x10\x20\x30' * 64, self.screen(guest))


class EveryCommand(unittest.TestCase):
    """A command that nobody has thought of is none that shows nothing."""

    def assert_known(self, kind, names, known):
        new = sorted(names - known)
        self.assertEqual(new, [], f'tests/forbidden-commands has no rule for '
                         f'these {kind}: give them arguments with which they '
                         'would show guest memory, if they can')

    def test_has_a_rule(self):
        known = {kind: {rule.name for rule in rules() if rule.kind == kind}
                 for kind in ('qmp', 'hmp')}
        known['hmp'] |= {f'info {rule.arguments.split()[0]}'
                         for rule in rules() if rule.name == 'info'}
        with Qemu('-accel', 'tcg', '-S') as qemu:
            self.assert_known('QMP commands', Schema(qemu.qmp).commands,
                              known['qmp'])
            for name in monitor_commands(qemu.qmp):
                self.assert_known('monitor commands', {name.split('|')[0]},
                                  known['hmp'])

    def test_packet_has_a_rule(self):
        known = [rule.packet for rule in rules() if rule.kind == 'rsp']
        self.assertEqual([packet for packet in packets() if not any(
            rule.startswith(packet) for rule in known)], [])


class Finds(unittest.TestCase):
    """Plaintext is found in whatever form it comes."""

    def test_forms(self):
        needle = Plaintext(b'PRV 00240000 ok\n')
        for text in ('0000000000240000: 0x50 0x52 0x56 0x20 0x30 0x30 0x32 0x34',
                     '0000000000240000: 0x20565250 0x34323030',
                     '0000000000240000: 0x3432303020565250',
                     "0000000000240000: 'P' 'R' 'V' ' ' '0' '0' '2' '4'",
                     '0000000000240000: 80 82 86 32 48 48 50 52',
                     '0000000000240000: 542528080 875704368',
                     '0x00240000:  50                       pushq    %rax\n'
                     '0x00240001:  52                       pushq    %rdx\n'
                     '0x00240002:  56 20 30 30 32 34        x',
                     'xyPRV 00240000', '50525620303032343030',
                     *(base64.b64encode(bytes(shift) + b'PRV 00240000 ok\n')
                       .decode() for shift in range(3))):
            with self.subTest(text):
                self.assertTrue(needle.in_text(text))
        self.assertTrue(needle.in_bytes(bytes(100) + zlib.compress(
            b'x' * 100 + b'PRV 00240000 ok\n') + bytes(10)))
        self.assertIsNone(needle.in_text('0000000000240000: Cannot access'))
        self.assertIsNone(needle.in_bytes(bytes(4096) + b'PRV 1024'))
