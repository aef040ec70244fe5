# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person gets of a difference: a text, and a script that shows it."""

import json
import shlex
import shutil

from lib.qemu import ROOT

from .access import data_of
from .doors import DOORS

SHOWN = 48      # bytes of an answer
LINE = 300      # characters of a command, in the text
FOLDER = ROOT / 'build' / 'tests' / 'differential'
SOCKETS = '-serial', '-qmp', '-gdb', '-qtest', '-qtest-log', '-chardev'


def _first_difference(data, other):
    """Index of the first byte that differs."""
    return next((i for i, pair in enumerate(zip(data, other))
                 if pair[0] != pair[1]), min(len(data), len(other)))


def _value(value, other):
    """@value in short, around where @other is different."""
    if isinstance(value, bytes):
        other = other if isinstance(other, bytes) else value
        at = 0 if value == other else _first_difference(value, other)
        start = max(0, at - 4)
        return (f'{len(value)} bytes, from {start:#x}: '
                f'{value[start:start + SHOWN].hex(" ", 4)}')
    if isinstance(value, (tuple, list)):
        theirs = other if isinstance(other, (tuple, list)) else ()
        pairs = [(v, theirs[i] if i < len(theirs) else None)
                 for i, v in enumerate(value)]
        unequal = [p for p in pairs if p[0] != p[1]] or pairs[:1]
        return f'{len(value)} items: ' + '; '.join(
            f'[{_value(v, o)}]' for v, o in unequal[:3])
    if isinstance(value, int):
        return hex(value)
    return str(value).strip()[:LINE]


def answer(found, other):
    """One guest's Answer, where @other's is different."""
    text = found.how
    if found.text:
        text += f' ({found.text.splitlines()[0][:LINE]})'
    if found.data is not None:
        text += f': {_value(found.data, other.data if other else None)}'
    return text


def command(access):
    """An access as it is typed."""
    door = DOORS[access.door]
    text = door.show(access, data_of(access) if door.writes else None)
    if door.via == 'gdb':
        text = f'gdb packet {text}'
        if not door.virtual:
            text += ' (after Qqemu.PhyMemMode:1)'
    return text if len(text) <= LINE else text[:LINE] + '...'


def difference(round_, accesses, found):
    """The text, which ends with how to start the script."""
    _, answers, wrong = found
    lines = [f'seed {round_.seed}: wrong: {", ".join(wrong)}',
             *(f'  {command(access)}' for access in accesses)]
    if not DOORS[accesses[-1].door].whole:
        lines.append('  touches ' + (', '.join(
            f'{s.name} ({s.kind}) {s.start:#x}-{s.end - 1:#x}'
            for s in round_.draw.sections(accesses[-1])) or
            'nothing that is mapped'))
    for name, given in answers.items():
        if given:
            other = answers[wrong[0] if name == 'plain' else 'plain']
            lines.append(f'  {name:10} {answer(given, other)}')
    scripts = [write_script(round_, accesses, guest)
               for guest in round_.guests if guest.name in ('plain', wrong[0])]
    lines += [f'  sh {script}' for script in scripts]
    return '\n'.join(lines)


def _arguments(guest):
    """Its command without the sockets."""
    words, found = iter(guest.command), []
    for word in words:
        if word in SOCKETS:
            next(words)
        elif word == '-device':
            device = next(words)
            if 'isa-debugcon' not in device:
                found += [word, device]
        elif not word.startswith('STANDIN_LOG='):
            found.append(word)
    return found


def _steps(accesses):
    """Lines of shell that make the accesses."""
    for access in accesses:
        door = DOORS[access.door]
        text = door.show(access, data_of(access) if door.writes else None)
        if door.via == 'gdb':
            mode = f'Qqemu.PhyMemMode:{int(not door.virtual)}'
            yield ('gdb --batch -ex "target remote $d/gdb" -ex "maintenance '
                   f'packet {mode}" -ex "maintenance packet {text}" >&2')
        elif door.via == 'hmp':
            yield _monitor(text)
        else:
            yield f'echo {shlex.quote(text)}'


def _monitor(line):
    return 'echo ' + shlex.quote(json.dumps({
        'execute': 'human-monitor-command',
        'arguments': {'command-line': line}}))


def _port_writes(ports):
    """The HMP commands for qtest's."""
    for port in ports:
        name, address, value = port.split()
        yield _monitor(f'o /{"w" if name == "outl" else "b"} {address} {value}')


def write_script(round_, accesses, guest):
    """A shell script that makes the accesses; returns its path."""
    folder = FOLDER / f'{round_.seed}-{guest.name}'
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(round_.folder, folder)
    if hasattr(round_.machine, 'write_files'):
        round_.machine.write_files(folder)
    words = shlex.join(_arguments(guest))
    for path in guest.folder, round_.folder:
        words = words.replace(str(path), str(folder))
    run = ['echo \'{"execute":"cont"}\'', 'sleep 2',
           'echo \'{"execute":"stop"}\''] if round_.launched else []
    lines = ['#!/bin/sh', f'# seed {round_.seed}', f'cd {folder} || exit 1',
             'd=$(mktemp -d)', 'trap \'rm -rf "$d"\' EXIT', '{ sleep 1',
             'echo \'{"execute":"qmp_capabilities"}\'',
             *_port_writes(getattr(round_.machine, 'ports', ())), *run,
             *_steps(accesses), 'sleep 1', 'echo \'{"execute":"quit"}\'; } |',
             f'{words} -qmp stdio -gdb "unix:$d/gdb,server=on,wait=off"',
             '[ ! -e saved ] || od -A x -t x1 -N 64 saved']
    path = folder / 'run'
    path.write_text('\n'.join(lines) + '\n')
    return path
