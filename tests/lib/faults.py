# SPDX-License-Identifier: GPL-2.0-or-later
"""Failing debug accesses: guests on which they fail, and what each door says.

A guest here is the payload of tests/payload with 4 MiB of memory, so small
that it can be dumped many times.  Errors are switched while it is there: by
the stand-in's rules, or by x-fault of the simulated guest.
"""

import base64
import json
import re
import struct

from payload.build import address_map, text_lines

from . import dump, qtest
from .doors import bsd_sum
from .kvm_case import debuggable
from .qemu import Qemu, binary, has_object
from .qmp import QMPError
from .rsp import RSP
from .standin import StandIn, payload

PAGE = 4096
RAM_MIB = 4
MAP = address_map()
# What doors read: text of the guest, of which the second page fails.
TEXT, TEXT_END = MAP['TEXT_PRIVATE'], MAP['TEXT_SHARED']
DATA = TEXT + PAGE
START, LENGTH = DATA - 16, 32           # of a small read across its start
NOTE = MAP['TEXT_TAIL'] + PAGE          # a private page for VMCOREINFO
BUFFER = MAP['SHARED_PAGE'] + 0x800     # a shared one for the driver
NOTE_DATA = b'OSRELEASE=6.1.0\nPAGESIZE=4096\n\n\n'
NOTE_ELF = struct.pack('<III12s', 11, len(NOTE_DATA), 0, b'VMCOREINFO') + \
    NOTE_DATA
TRUTH = text_lines(b'PRV', TEXT, TEXT_END)

READ, WRITE = 'read', 'write'
ABSENT = '(absent pages)'       # what a dump says of them


def virtual(gpa):
    """The guest's virtual address of a page of its program."""
    return MAP['VIRT_OFFSET'] + gpa


class Faulty:
    """What the guests of this file have in common; with Qemu or StandIn."""

    limits = {}                 # properties of a memory-debug object d0
    private_bit = 0             # in an address: it is private
    private_tables = True       # can an access of page tables fail?
    heals = True                # does heal() bring the memory back?

    def prepare(self):
        """Wait for the guest's memory and announce a note in it."""
        self.console.expect('payload: running', 'the guest to run', 30)
        self.stop()
        try:
            self.qmp.cmd('memory-debug-write', address=NOTE | self.private_bit,
                         space='physical',
                         data=base64.b64encode(NOTE_ELF).decode())
        except QMPError:
            pass                # debugging is denied
        qtest.announce_vmcoreinfo(self, NOTE, len(NOTE_ELF), BUFFER)
        for name, value in self.limits.items():
            self.qmp.cmd('qom-set', path='/objects/d0', property=name,
                         value=value)

    def table(self):
        """The page table that maps the program."""
        return self.program_map.phys('pt')

    def forget(self):
        """Let no decrypted page stay in QEMU."""
        self.cont()
        self.stop()


class FaultyStandIn(Faulty, StandIn):
    """Under the KVM stand-in; @answer of inject() is a rule's fields."""

    def __init__(self, kind, read, write, root=True, args=(), **settings):
        args = ['-device', 'vmcoreinfo', *args]
        root = root and kind != 'sev'
        if root:
            args += ['-object', 'memory-debug,id=d0,paging=4level,root=' +
                     hex(payload(kind, 47 if kind == 'tdx' else 51)
                         .phys('pml4'))]
        # It touches all of its memory: no page is absent by itself
        touch = f'copy 0 0 {RAM_MIB << 20:#x}'
        super().__init__(kind, scripted=True, ram_mib=RAM_MIB, args=args,
                         setup=[touch], **settings)
        if root:
            at = self.command.index('-machine') + 1
            self.command[at] += ',memory-debug=d0'
        self.command += qtest.arguments(self.folder)
        self.rules = self.folder / 'rules'
        self.rules.write_text('')
        self.changes = 0
        self.command.insert(1, f'STANDIN_FAULT=@{self.rules}')
        self.program_map = self.payload
        self.private_bit = self.payload.private_mask
        self.ioctls = {READ: read, WRITE: write}

    def inject(self, access, gpa, answer):
        """From now on, each @access of a page gets @answer."""
        self.changes += 1       # the stand-in counts calls anew
        self.rules.write_text(
            f'{self.ioctls[access]},addr={gpa:x}-{gpa + PAGE - 1:x},count=0,'
            f'{answer}' + '\n' * self.changes)

    def heal(self):
        """No more errors."""
        self.rules.write_text('')


class FaultySimulated(Faulty, Qemu):
    """The simulated guest."""

    def __init__(self, properties, args=(), **limits):
        image = payload('plain', 51)
        machine = ''
        if limits:
            args, machine = [*args, '-object', 'memory-debug,id=d0'], \
                ',memory-debug=d0'
        self.limits = limits
        super().__init__(
            '-accel', 'tcg', '-cpu', 'max', '-vga', 'none', '-bios',
            image.image, '-device', 'vmcoreinfo', '-object',
            f'sim-encrypted-guest,id=cg0,{properties}', *args,
            ram_mib=RAM_MIB,
            machine=f'q35,confidential-guest-support=cg0{machine}')
        self.command += qtest.arguments(self.folder)
        self.program_map = image

    def inject(self, access, gpa, answer):
        """From now on, each access of a page fails."""
        self._fault([{'start': gpa, 'size': PAGE}])

    def heal(self):
        """No more errors."""
        self._fault([])

    def _fault(self, ranges):
        self.qmp.cmd('qom-set', path='/objects/cg0', property='x-fault',
                     value=ranges)


class Outcome:
    """What a door gave: its words, and the guest memory that it showed.

    @shown  {guest-physical address: bytes}
    """

    def __init__(self, words, shown=None):
        self.words = words
        self.shown = shown or {}


# Doors.  Each is called with a stopped guest, and says with which page it is
# to fail, and whether at reading or writing.

class Door:
    """A way to guest memory."""

    def __init__(self, group, name, run, page='data', access=READ):
        self.group = group
        self.name = name
        self.run = run
        self.page = page
        self.access = access

    def gpa(self, guest):
        """The page that fails."""
        return {'data': DATA, 'note': NOTE, 'table': guest.table()}[self.page]


LINE = re.compile(r'^((?:[0-9a-f]{8}){1,2}|0x[0-9a-f]{8,16}): ((?:(?:0x)?[0-9a-f]{2} ?)'
                  r'{1,16})(?:  .*)?$')
INSTRUCTION = re.compile(r'^(0x[0-9a-f]{8,16}):  ((?:[0-9a-f]{2} )+) +\S')
MAPPING = re.compile(r'^[0-9a-f]{16}[:-] ?[0-9a-f]{16} ')


def _output(text):
    """An Outcome of HMP's output: lines of memory or mappings, and words."""
    words, shown = [], {}
    for line in text.splitlines():
        match = LINE.match(line) or INSTRUCTION.match(line)
        if match:
            addr = int(match[1], 16)
            addr -= MAP['VIRT_OFFSET'] if addr >= MAP['VIRT_OFFSET'] else 0
            shown[addr] = bytes.fromhex(match[2].replace('0x', ''))
        elif line.strip() and not MAPPING.match(line):
            words.append(line.strip())
    return Outcome(' '.join(words), shown)


def _hmp(line):
    return lambda guest: _output(guest.qmp.hmp(line))


def _gva2gpa(guest):
    words = guest.qmp.hmp(f'gva2gpa {virtual(START):#x}').strip()
    found = re.fullmatch(f'gpa: {START:#x}( private)?', words)
    return Outcome('' if found else words)


def _qmp(run):
    """A door of QMP: @run returns an Outcome or raises QMPError."""
    def door(guest):
        try:
            return run(guest)
        except QMPError as e:
            return Outcome(e.desc)
    return door


def _saved(guest, save):
    """The Outcome of a command that writes memory from TEXT on to a file."""
    path = guest.folder / 'saved'
    path.unlink(missing_ok=True)
    try:
        words = save(str(path)) or ''
    except QMPError as e:
        words = e.desc
    data = path.read_bytes() if path.exists() else b''
    return Outcome(words.replace(str(path), 'FILE'), {TEXT: data})


def _hmp_save(command, addr):
    return lambda guest: _saved(guest, lambda path: guest.qmp.hmp(
        f'{command} {addr:#x} {TEXT_END - TEXT} "{path}"'))


def _qmp_save(command, addr):
    def save(guest):
        def run(path):
            guest.qmp.cmd(command, val=addr, size=TEXT_END - TEXT,
                          filename=path)
        return _saved(guest, run)
    return save


def _sum(guest):
    text = guest.qmp.hmp(f'sum {START:#x} {LENGTH}').strip()
    number, _, warning = text.partition(' ')
    if number.isdigit():
        data = TRUTH[START - TEXT:][:LENGTH]
        return Outcome(warning, {START: data if int(number) == bsd_sum(data)
                                 else b'a wrong sum'})
    return Outcome(text)


def _debug_read(guest, addr, space):
    answer = guest.qmp.cmd('memory-debug-read', address=addr, size=LENGTH,
                           space=space)
    return Outcome('', {START: base64.b64decode(answer['data'])})


def _debug_write(guest):
    guest.qmp.cmd('memory-debug-write', address=DATA, space='physical',
                  data=base64.b64encode(TRUTH[PAGE:PAGE + 8]).decode())
    return Outcome('')


def _vmcoreinfo(guest):
    text = guest.qmp.cmd('query-vmcoreinfo')['data']
    return Outcome('' if text == NOTE_DATA.decode() else repr(text))


def _hmp_vmcoreinfo(guest):
    text = guest.qmp.hmp('info vmcoreinfo')
    return Outcome('' if text.endswith(NOTE_DATA.decode()) else text)


def _packet(packet, physical=False, undo=None):
    """gdb's packet; its error has no words, QEMU's last failure has."""
    def door(guest):
        with RSP(guest.gdb_socket) as rsp:
            rsp.physical(physical)
            answer = rsp.ask(packet)
            rsp.physical(False)
            if undo and answer == 'OK':
                rsp.ask(undo)
        if packet[0] == 'm' and not answer.startswith('E'):
            return Outcome('', {START: bytes.fromhex(answer)})
        if answer == 'OK':
            return Outcome('')
        if not answer:
            return Outcome('(empty)')
        return Outcome(f'{answer} {_reason(guest, packet)}'.strip())
    return door


def _reason(guest, packet):
    """What gdb cannot say, and QEMU does: once, or as its last failure."""
    refused = re.findall('gdbstub: (cannot .*breakpoint: .*)', guest.log())
    if packet[0] == 'Z' and refused:
        return refused[-1]
    last = guest.qmp.cmd('query-memory-debug').get('last-failure')
    return last['reason'] if last else ''


def _dump(kind, **arguments):
    """A dump to a file, of which the text's pages are taken as shown."""
    def door(guest):
        path, words = guest.folder / 'dump', []
        path.unlink(missing_ok=True)
        try:
            answer = guest.qmp.cmd('dump-guest-memory', 300, format=kind,
                                   protocol=f'file:{path}',
                                   **{'paging': False, **arguments})
            words += _left_out(answer)
            for warning in answer.get('warnings', ()):
                words.append(f'Warning: {warning}')
        except QMPError as e:
            words.append(e.desc)
        path.touch()
        path.chmod(0o600)
        return Outcome(' '.join(words), pages_of(path, kind, TEXT, TEXT_END))
    return door


def _left_out(answer):
    """The result's words about pages."""
    unreadable = answer.get('unreadable')
    if unreadable:
        yield f'unreadable: {unreadable["address"]:#x}: {unreadable["reason"]}'
    if answer.get('absent-pages'):
        yield ABSENT


def pages_of(path, kind, start, end):
    """{gpa: bytes} of a dump's pages; b'' where the format's are compressed.

    Also {-1: the whole file}, to search what is not in a page.
    """
    data = path.read_bytes()
    found = {-1: data}
    if not data:
        return {}
    if kind == 'elf':
        for pa, _, size, offset in dump.segments(path):
            low, high = max(pa, start), min(pa + size, end)
            if low < high:
                found[low] = data[offset + low - pa:offset + high - pa]
    elif kind.startswith('kdump'):
        if 'raw' not in kind:
            path = unflattened(path)
        for gpa, place in dump.kdump_pages(path).items():
            if start <= gpa < end:
                found[gpa] = dump.kdump_read(path, place) \
                    if kind.endswith('zlib') else b''
    return found


FLAT = struct.Struct('>qq')


def unflattened(path):
    """A flattened dump as a raw one (makedumpfile: diskdump_mod.h)."""
    target = path.with_suffix('.raw')
    with open(path, 'rb') as f, open(target, 'wb') as out:
        f.seek(PAGE)
        while True:
            offset, size = FLAT.unpack(f.read(FLAT.size))
            if offset < 0:
                return target
            out.seek(offset)
            out.write(f.read(size))


V_START, V_TEXT = virtual(START), virtual(TEXT)

DOORS = [
    Door('HMP', 'x', _hmp(f'x /{LENGTH}xb {V_START:#x}')),
    Door('HMP', 'x, tables', _hmp(f'x /{LENGTH}xb {V_START:#x}'), 'table'),
    Door('HMP', 'x /i', _hmp(f'x /4i {virtual(DATA):#x}')),
    Door('HMP', 'xp /i', _hmp(f'xp /4i {DATA - 1:#x}')),
    Door('HMP', 'xp', _hmp(f'xp /{LENGTH}xb {START:#x}')),
    Door('HMP', 'memsave', _hmp_save('memsave', V_TEXT)),
    Door('HMP', 'pmemsave', _hmp_save('pmemsave', TEXT)),
    Door('HMP', 'sum', _sum),
    Door('HMP', 'info tlb', _hmp('info tlb'), 'table'),
    Door('HMP', 'info mem', _hmp('info mem'), 'table'),
    Door('HMP', 'gva2gpa', _gva2gpa, 'table'),
    Door('HMP', 'info vmcoreinfo', _hmp_vmcoreinfo, 'note'),
    Door('QMP', 'memory-debug-read', _qmp(
        lambda guest: _debug_read(guest, START, 'physical'))),
    Door('QMP', 'memory-debug-read, virtual', _qmp(
        lambda guest: _debug_read(guest, V_START, 'virtual'))),
    Door('QMP', 'memory-debug-write', _qmp(_debug_write), access=WRITE),
    Door('QMP', 'memsave', _qmp_save('memsave', V_TEXT)),
    Door('QMP', 'pmemsave', _qmp_save('pmemsave', TEXT)),
    Door('QMP', 'query-vmcoreinfo', _qmp(_vmcoreinfo), 'note'),
    Door('gdb', 'm', _packet(f'm{V_START:x},{LENGTH:x}')),
    Door('gdb', 'm, physical', _packet(f'm{START:x},{LENGTH:x}', True)),
    Door('gdb', 'M', _packet(f'M{virtual(DATA):x},4:{TRUTH[PAGE:PAGE+4].hex()}'),
         access=WRITE),
    Door('gdb', 'X', _packet(f'X{virtual(DATA):x},4:' +
                             TRUTH[PAGE:PAGE + 4].decode()), access=WRITE),
    Door('gdb', 'Z0', _packet(f'Z0,{virtual(DATA):x},1',
                              undo=f'z0,{virtual(DATA):x},1'), access=WRITE),
    *(Door('dump', kind, _dump(kind, allow_incomplete=True))
      for kind in dump.FORMATS),
    Door('dump', 'elf, paging', _dump('elf', paging=True,
                                      allow_incomplete=True)),
    Door('dump', 'elf, paging, tables', _dump('elf', paging=True,
                                              allow_incomplete=True), 'table'),
    Door('dump', 'elf, note', _dump('elf', allow_incomplete=True), 'note'),
]


SEV_IOCTLS = 'KVM_SEV_DBG_DECRYPT', 'KVM_SEV_DBG_ENCRYPT'
UNIFIED_IOCTLS = tuple(f'KVM_MEMORY_ENCRYPT_{word}_MEMORY'
                       for word in ('READ', 'WRITE'))


def failing_guests():
    """{backend: makes a guest, of which inject() works}"""
    return {
        'KVM_SEV_DBG_*': lambda: FaultyStandIn(
            'sev', *SEV_IOCTLS, **debuggable('sev')),
        'unified': lambda: FaultyStandIn(
            'snp', *UNIFIED_IOCTLS, **debuggable('snp')),
        'simulated, mode=cipher': lambda: FaultySimulated('mode=cipher'),
        'simulated, mode=hidden': lambda: FaultySimulated('mode=hidden'),
    }


def _stand_in(kind, **settings):
    return lambda: FaultyStandIn(
        kind, *(SEV_IOCTLS if kind.startswith('sev') else UNIFIED_IOCTLS),
        strict=1, **settings)


def has_tdx():
    """Can there be guests whose title begins with TDX?"""
    return has_object(binary(), 'tdx-guest')


def refusing_guests():
    """{what forbids debugging, or a part of it: makes such a guest}"""
    guests = {
        'SEV, policy=0x1': _stand_in('sev', debug=False),
        'SEV-SNP, policy=0x30000': _stand_in('snp', debug=False, unified=1),
        'TDX, debug=off': _stand_in('tdx', tdx_debug=1, unified=1),
        'simulated, policy-debug=off': lambda: FaultySimulated(
            'policy-debug=off'),
        'memory-debug, access=none': lambda: FaultySimulated(
            'mode=cipher', access='none'),
        'memory-debug, access=read-only': lambda: FaultySimulated(
            'mode=cipher', access='read-only'),
        'SEV-SNP, no unified ioctls': _stand_in('snp'),
        'TDX, no unified ioctls': _stand_in(
            'tdx', tdx_debug=1, confidential='tdx-guest,id=cg0,debug=on'),
        'SEV-ES, no page tables known': _stand_in('sev-es', root=False),
        'simulated, protect-registers=on': lambda: FaultySimulated(
            'protect-registers=on'),
    }
    return {title: make for title, make in guests.items()
            if has_tdx() or not title.startswith('TDX')}
