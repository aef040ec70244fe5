# SPDX-License-Identifier: GPL-2.0-or-later
"""Each way to a guest's memory: how it is done, and how it is typed.

A door's function takes a Guest, an Access and the data to be written, and
returns what is compared; or raises one of ERRORS, or Partly with what came
before the error.  Texts of errors are not compared.
"""

import base64
import json
import re
from collections import namedtuple

from lib import dump
from lib.qmp import CANNOT_ACCESS, QMPError
from lib.rsp import RSPError

SIZES = {'b': 1, 'h': 2, 'w': 4, 'g': 8}
ERRORS = QMPError, RSPError
SAVE_LIMIT = 3 << 20


class Partly(Exception):
    """An error, after @data."""

    def __init__(self, data, text):
        super().__init__(text)
        self.data = data


class Contradiction(Exception):
    """Two doors to one guest show different memory."""


# @show       the command of an access and its data, as it is typed
# @via        hmp, qmp, gdb (a packet) or guest: who takes that
# @virtual    kind of the address
# @limit      most bytes at once
# @options    one of them is an access's option
# @weight     how often it is drawn
# @writes     does it change memory?
# @parts      can its answer be compared for success alone?
# @runs       is it the running guest's own access?
# @whole      does it take no notice of address and length?
# @base       does the unpatched QEMU have it?
Door = namedtuple('Door', 'function show via virtual limit options weight '
                  'writes parts runs whole base')
DOORS = {}


def door(name, via, show, virtual=False, limit=SAVE_LIMIT, options=('',),
         weight=4, writes=False, parts=True, runs=False, whole=False,
         base=True):
    """Register a function under @name."""
    def register(function):
        DOORS[name] = Door(function, show, via, virtual, limit, options,
                           weight, writes, parts, runs, whole, base)
        return function
    return register


# HMP

def _items(a):
    return f'/{a.length // SIZES[a.option]}x{a.option} 0x{a.addr:x}'


def _examine(guest, line):
    output = guest.hmp(line)
    shown, failed, _ = output.partition(CANNOT_ACCESS)
    if failed:
        raise Partly(shown.rstrip(), output.strip())
    return output


@door('xp', 'hmp', lambda a, _: f'xp {_items(a)}', limit=1024,
      options='bbhwg', weight=10)
def _xp(guest, a, _):
    return _examine(guest, f'xp {_items(a)}')


@door('x', 'hmp', lambda a, _: f'x {_items(a)}', virtual=True,
      limit=1024, options='bbhwg', weight=10)
def _x(guest, a, _):
    return _examine(guest, f'x {_items(a)}')


def _instructions(guest, command, a):
    output = guest.hmp(f'{command}/{max(1, a.length)}i 0x{a.addr:x}')
    lines = re.findall(r'^0x\w+:  .*', output, re.MULTILINE)
    if len(lines) < max(1, a.length):
        raise Partly(lines, output.strip())
    return lines


@door('xp/i', 'hmp',
      lambda a, _: f'xp /{max(1, a.length)}i 0x{a.addr:x}',
      limit=6, weight=1)
def _xp_i(guest, a, _):
    return _instructions(guest, 'xp', a)


@door('x/i', 'hmp',
      lambda a, _: f'x /{max(1, a.length)}i 0x{a.addr:x}',
      virtual=True, limit=6, weight=1)
def _x_i(guest, a, _):
    return _instructions(guest, 'x', a)


@door('sum', 'hmp',
      lambda a, _: f'sum 0x{a.addr:x} {a.length}',
      limit=1 << 20, weight=4, parts=False)
def _sum(guest, a, _):
    output = guest.hmp(f'sum 0x{a.addr:x} {a.length}').strip()
    if not output.isdigit():
        raise Partly(None, output)
    return output


def _hmp_save(guest, command, a):
    path = _fresh(guest, 'saved')
    output = guest.hmp(f'{command} 0x{a.addr:x} {a.length} "{path}"').strip()
    return _saved(path, output)


@door('hmp memsave', 'hmp',
      lambda a, _: f'memsave 0x{a.addr:x} {a.length} saved',
      virtual=True, weight=1)
def _hmp_memsave(guest, a, _):
    return _hmp_save(guest, 'memsave', a)


@door('hmp pmemsave', 'hmp',
      lambda a, _: f'pmemsave 0x{a.addr:x} {a.length} saved',
      weight=1)
def _hmp_pmemsave(guest, a, _):
    return _hmp_save(guest, 'pmemsave', a)


# QMP

def _json(command, **arguments):
    return json.dumps({'execute': command, 'arguments': arguments})


def _fresh(guest, name):
    path = guest.folder / name
    path.unlink(missing_ok=True)
    return path


def _saved(path, error):
    data = path.read_bytes() if path.exists() else None
    if error:
        raise Partly(data, error)
    return data


def save(guest, command, addr, length):
    """The bytes that memsave or pmemsave writes to a file."""
    path, error = _fresh(guest, 'saved'), ''
    try:
        guest.command_json(command, val=addr, size=length, filename=str(path))
    except QMPError as e:
        error = str(e)
    return _saved(path, error)


@door('memsave', 'qmp',
      lambda a, _: _json('memsave', val=a.addr, size=a.length,
                         filename='saved'), virtual=True, weight=4)
def _memsave(guest, a, _):
    return save(guest, 'memsave', a.addr, a.length)


@door('pmemsave', 'qmp',
      lambda a, _: _json('pmemsave', val=a.addr, size=a.length,
                         filename='saved'), weight=6)
def _pmemsave(guest, a, _):
    return save(guest, 'pmemsave', a.addr, a.length)


def _read_arguments(a):
    return {'address': a.addr, 'size': a.length,
            'space': 'virtual' if DOORS[a.door].virtual else 'physical'}


def _read(guest, a, _):
    answer = guest.command_json('memory-debug-read', **_read_arguments(a))
    return base64.b64decode(answer['data'])


def _write_arguments(a, data):
    return {'address': a.addr, 'data': base64.b64encode(data).decode(),
            'space': 'virtual' if DOORS[a.door].virtual else 'physical'}


def _write(guest, a, data):
    return guest.command_json('memory-debug-write', **_write_arguments(a, data))


for _name, _virtual in ('physical', False), ('virtual', True):
    door(f'memory-debug-read {_name}', 'qmp',
         lambda a, _: _json('memory-debug-read', **_read_arguments(a)),
         virtual=_virtual, limit=1 << 20, base=False, weight=6)(_read)
    door(f'memory-debug-write {_name}', 'qmp',
         lambda a, data: _json('memory-debug-write',
                               **_write_arguments(a, data)),
         virtual=_virtual, limit=140 << 10, base=False, weight=6,
         writes=True)(_write)


# gdb

def _packet(guest, a, payload):
    answer = guest.rsp(not DOORS[a.door].virtual).ask(payload)
    if re.fullmatch('E[0-9a-f]{2}', answer) or answer.startswith('E.'):
        raise RSPError(answer)
    return answer


def _m(a, _):
    return f'm{a.addr:x},{a.length:x}'


def _big_m(a, data):
    return f'M{a.addr:x},{a.length:x}:{data.hex()}'


def _packet_read(guest, a, data):
    return _packet(guest, a, _m(a, data))


def _packet_write(guest, a, data):
    return _packet(guest, a, _big_m(a, data))


for _name, _virtual in ('physical', False), ('virtual', True):
    door(f'gdb m {_name}', 'gdb', _m,
         virtual=_virtual, limit=2000, weight=6)(_packet_read)
    door(f'gdb M {_name}', 'gdb', _big_m,
         virtual=_virtual, limit=1900, weight=6, writes=True,
         # Stock's leaves ROM as it is, says OK to holes, and so on
         base=_virtual)(_packet_write)


# Dumps

def _segments(path):
    """[(gpa, va, bytes, how much of it is not in the file)], joined."""
    found = []
    with open(path, 'rb') as f:
        for gpa, va, size, offset, memory in dump.headers(path):
            f.seek(offset if size else 0)
            data = f.read(size)
            found.append([gpa, va, data, memory - size])
    joined = []
    for gpa, va, data, missing in sorted(found, key=lambda s: (s[1], s[0])):
        last = joined[-1] if joined else None
        if last and not last[3] and last[0] + len(last[2]) == gpa and \
                last[1] + len(last[2]) == va:
            last[2] += data
            last[3] = missing
        else:
            joined.append([gpa, va, data, missing])
    return [tuple(s) for s in joined]


def _dumped(guest, **arguments):
    path = _fresh(guest, 'dumped')
    guest.command_json('dump-guest-memory', protocol=f'file:{path}',
                       **arguments)
    return path


def _dump_arguments(a):
    if a.option in ('elf', 'paging'):
        return {'paging': a.option == 'paging'}
    if a.option == 'kdump':
        return {'paging': False, 'format': 'kdump-raw-zlib'}
    return {'paging': False, 'begin': a.addr, 'length': a.length}


def _at(segments, va, size):
    """@size bytes of a paging dump's segments, None where there are none."""
    for _, start, data, missing in segments:
        if start <= va and va + size <= start + len(data) + missing:
            return data[va - start:va - start + size].ljust(size, b'\0')
    return None


def _check_paging(guest, segments):
    """What the dump has at a virtual address is what the guest has there.

    It may have nothing: a mapping that begins where no RAM is is left out.  It
    must have nothing where the guest has no page yet (SNP, TDX).
    """
    for va in guest.virtual:
        try:
            shown = save(guest, 'memsave', va, 16)
        except Partly:
            shown = None
        dumped = _at(segments, va, 16)
        if dumped not in (None, shown):
            raise Contradiction(f'at {va:#x} memsave shows '
                                f'{shown and shown.hex()}, the dump '
                                f'{dumped.hex()}')


@door('dump', 'qmp',
      lambda a, _: _json('dump-guest-memory', protocol='file:saved',
                         **_dump_arguments(a)),
      options=('elf', 'paging', 'paging', 'kdump', 'range', 'range', 'range'),
      weight=1, whole=True)
def _dump(guest, a, _):
    path = _dumped(guest, **_dump_arguments(a))
    if a.option == 'kdump':
        return [(gpa, 0, dump.kdump_read(path, place), 0)
                for gpa, place in sorted(dump.kdump_pages(path).items())]
    segments = _segments(path)
    if a.option == 'paging':
        _check_paging(guest, segments)
    return segments


# The guest itself

@door('guest reads', 'guest',
      lambda a, _: f'cont; the guest reads {a.length} bytes at '
      f'0x{a.addr:x}; stop', virtual=True, limit=8192, weight=1, runs=True)
def _guest_reads(guest, a, _):
    guest.cont()
    data = guest.guest_read(a.addr, a.length)
    guest.stop()
    return data


@door('guest writes', 'guest',
      lambda a, _: f'cont; the guest writes {a.length} bytes at '
      f'0x{a.addr:x}; stop', virtual=True, limit=8192, weight=1, runs=True,
      writes=True)
def _guest_writes(guest, a, data):
    guest.cont()
    guest.guest_write(a.addr, data)
    guest.stop()
