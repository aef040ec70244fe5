# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of tests/fault-matrix: what each door says to each error.

run() makes the guests of lib.faults fail, once for each error and door, and
judges each answer; rst() is the table of what it found.
"""

import csv
import itertools
import re
import string
from collections import namedtuple

from . import faults
from .faults import DATA, DOORS, PAGE, TEXT, TRUTH

# An error: how to inject it, how the table calls it, whether it is one from
# which QEMU recovers, and whether it says that the guest has no such page yet.
# Without a full run, one dump must do.
Error = namedtuple('Error', 'inject title recovers full absent',
                   defaults=(False, True, False))
# What a door said: a letter's words, or '' if all was as it should be.
Row = namedtuple('Row', 'backend title reason cells')

ERRNOS = ('EINVAL', 'EIO', 'EFAULT', 'ENOMEM', 'ENOTTY', 'EPERM')
UNIFIED_ERRNOS = ('ENOENT', *ERRNOS, 'EHWPOISON')

UNIFIED = [Error(f'errno={name}', name, absent=name == 'ENOENT')
           for name in UNIFIED_ERRNOS] + [
    Error('errno=EINTR,partial=0', 'EINTR, again and again'),
    Error('errno=EINTR,partial=4,count=1', 'EINTR, once', True),
    Error('errno=none,partial=0,claim=0', 'success, but nothing done'),
    Error('errno=none,partial=0,claim=0x100000000',
          'success, more done than asked'),
]
# Of all that the firmware may say (linux/psp-sev.h), and one that it may not
FIRMWARE = [*range(-1, 0x1a), 0x27, 0x99]
SEV_DBG = [Error(f'errno={name}', name)
           for name in ERRNOS + ('EINTR',) if name != 'EIO'] + [
    Error(f'errno=EIO,fw={code}', f'EIO, firmware error {code}',
          full=code in (7, 17)) for code in FIRMWARE]
SIMULATED = [Error('', 'x-fault')]

INJECTED = {
    'KVM_SEV_DBG_*': SEV_DBG,
    'unified': UNIFIED,
    'simulated, mode=cipher': SIMULATED,
    'simulated, mode=hidden': SIMULATED,
}

NO_REGISTERS = ("Warning: the guest's registers are protected and are not in "
                'the dump')
# What some doors say whatever happens: QEMU does not have gdb's packet for
# binary data, after which gdb takes M; and where the registers are protected, no
# breakpoint can be set.
ALWAYS = {('gdb', 'X'): '(empty)',
          ('gdb', 'Z0'): 'E22 cannot insert a breakpoint: the registers of '
                         'this guest are protected'}

WRONG = '(what a user must not get)'


class Verdict(Exception):
    """An answer that a user must not get; the text says why."""


# Judging one answer

def _judge_shown(outcome, failing):
    """Every byte is the guest's, and none comes from the failing page."""
    for gpa, data in outcome.shown.items():
        if gpa < 0 or not data:
            continue
        if data != TRUTH[gpa - TEXT:gpa - TEXT + len(data)]:
            raise Verdict(f'bytes at {gpa:#x} are not the guest\'s: '
                          f'{data[:64]!r}')
        if failing and gpa < DATA + PAGE and gpa + len(data) > DATA:
            raise Verdict(f'shows {gpa:#x}+{len(data):#x}, of which a page '
                          'cannot be read')


def _judge_raw(outcome, raw):
    """Nothing of the page as the host has it, be it in the words."""
    parts = [raw[at:at + 16] for at in range(0, PAGE, 512)]
    for part in parts:
        if len(set(part)) < 8:
            continue            # zeros are judged by _judge_shown()
        for data in outcome.shown.values():
            if part in data:
                raise Verdict(f'has the host\'s bytes {part.hex(" ")}')
        digits = re.sub(r'0x|[^0-9a-f]', '', outcome.words)
        if part.hex() in digits:
            raise Verdict(f'prints the host\'s bytes {part.hex(" ")}')


def _judge_words(door, outcome, page, reason):
    """The words name an address in the failing page, and the reason."""
    words = ' '.join(outcome.words.split())
    if not words:
        raise Verdict('no error is reported')
    if words == ALWAYS.get((door.group, door.name)):
        return
    named = [int(number, 16)
             for number in re.findall(r'0x([0-9a-f]{1,16})\b', words)]
    if not any(addr - place in range(PAGE) for addr in named
               for place in (page, faults.virtual(page))):
        raise Verdict(f'does not name an address from {page:#x} on: {words}')
    if template(reason) not in template(words):
        raise Verdict(f'does not give the reason "{reason}": {words}')


def judge(door, outcome, page, raw, reason, recovers=False, absent=False):
    """Raise Verdict if a user must not get @outcome.

    @page, @raw  the failing page, and its bytes as the host has them
    """
    harmless = recovers or door.access == faults.WRITE
    _judge_shown(outcome, not harmless and door.page == 'data')
    _judge_raw(outcome, raw)
    if recovers and outcome.words not in (
            '', NO_REGISTERS, ALWAYS.get((door.group, door.name))):
        raise Verdict(f'fails: {outcome.words}')
    if absent and door.group == 'dump' and door.page == 'data':
        # no failure of a dump, which counts such pages
        if faults.ABSENT not in outcome.words:
            raise Verdict(f'does not count the page: {outcome.words}')
    elif not recovers and not (door.name == 'Z0' and not outcome.words):
        _judge_words(door, outcome, page, reason)


# Words without what differs from guest to guest

def template(words):
    """@words with placeholders for addresses, files and lengths."""
    words = ' '.join(words.split())
    words = re.sub(r'0x[0-9a-f]{4,}\b|\b(?:[0-9a-f]{8}){1,2}\b', 'ADDR', words)
    words = re.sub(r'error \d+, unknown', 'error N, unknown', words)
    words = re.sub(r'\b(PML4E|PDPTE|PDE)\b', 'PTE', words)
    return words.replace('ENCRYPT_WRITE_MEMORY', 'ENCRYPT_READ_MEMORY')


def _frame(words, reason, hint):
    """A letter's words: @words without what is the error's own."""
    words = template(words)
    for known, name in (hint, ''), (reason, 'REASON'):
        if known:
            words = words.replace(template(known), name).strip()
    words = words.replace(NO_REGISTERS, '').strip() or words
    return re.sub(r'(?<![-\w.])\d+(?= (of|bytes))', 'N', words)


# Running

PREFIX = re.compile(r'^(cannot (read|write) physical address 0x[0-9a-f]+|'
                    'cannot save guest memory|'
                    r'only \d+ of \d+ bytes were saved|'
                    'virtual address 0x[0-9a-f]+): ')


def _door(group, name):
    return next(d for d in DOORS if (d.group, d.name) == (group, name))


def _error_of(words):
    """The error's own part of QMP's words."""
    while PREFIX.match(words):
        words = PREFIX.sub('', words)
    return words


def _fail(guest, door, error):
    guest.heal()
    guest.forget()
    page = door.gpa(guest)
    raw = guest.host_memory(page, PAGE)
    guest.inject(door.access, page, error.inject)
    return page, raw


def _check_unharmed(guest):
    """A write that failed has changed nothing."""
    guest.heal()
    guest.forget()
    outcome = _door('QMP', 'pmemsave').run(guest)
    if outcome.shown != {TEXT: TRUTH}:
        raise Verdict('the guest\'s memory is no longer what it was')


def _run_door(guest, door, error, reason):
    """One cell: the words of the door."""
    page, raw = _fail(guest, door, error)
    outcome = door.run(guest)
    judge(door, outcome, page, raw, reason, error.recovers, error.absent)
    if door.access == faults.WRITE and guest.heals:
        _check_unharmed(guest)
    return _frame(outcome.words, reason, '')


def run_error(guest, backend, error, complain):
    """A row of an error that is injected."""
    door, reason, cells = _door('QMP', 'pmemsave'), '', {}
    if not error.recovers:
        _fail(guest, door, error)
        reason = _error_of(door.run(guest).words)
    # The note last: where nothing heals, dumps of other pages still have it
    for door in sorted(DOORS, key=lambda door: door.page):
        if not error.full and door.group == 'dump' and door.name != 'elf' or \
                door.page == 'table' and not guest.private_tables:
            continue
        try:
            cells[door] = _run_door(guest, door, error, reason)
        except Verdict as e:
            cells[door] = WRONG
            complain(f'{backend}, {error.title}, {door.group} {door.name}: '
                     f'{e}')
    return Row(backend, error.title, template(reason), cells)


def run_failing(complain):
    """The rows of all errors; @complain(text) takes what must not be."""
    for backend, make in faults.failing_guests().items():
        with make() as guest:
            guest.prepare()
            for error in INJECTED[backend]:
                yield run_error(guest, backend, error, complain)


def _refusal(guest):
    """The reason of a guest that refuses something, and HMP's hint."""
    for door in (_door('QMP', 'pmemsave'),
                 _door('QMP', 'memory-debug-read, virtual'),
                 _door('QMP', 'memory-debug-write')):
        words = door.run(guest).words
        if words:
            break
    reason = _error_of(words)
    said = _door('HMP', 'x').run(guest).words
    return reason, said.partition(reason)[2].strip()


def _judge_hint(door, outcome, reason, hint):
    """The monitor says what would change it, whenever it says why."""
    words = template(outcome.words)
    if door.group == 'HMP' and template(reason) in words and \
            template(hint) not in words:
        raise Verdict(f'does not say that "{hint}": {words}')


def run_refusal(guest, title, complain):
    """The row of a guest that refuses something."""
    reason, hint = _refusal(guest)
    cells = {}
    for door in DOORS:
        guest.forget()
        outcome = door.run(guest)
        try:
            _judge_shown(outcome, False)
            _judge_raw(outcome, guest.host_memory(door.gpa(guest), PAGE))
            _judge_hint(door, outcome, reason, hint)
        except Verdict as e:
            complain(f'{title}, {door.group} {door.name}: {e}')
        cells[door] = _frame(outcome.words, reason, hint)
    return Row(title, '', template(f'{reason}. {hint}' if hint else reason),
               cells)


def run_refusing(complain):
    """The rows of guests of which debugging, or a part of it, is denied."""
    for title, make in faults.refusing_guests().items():
        with make() as guest:
            guest.prepare()
            yield run_refusal(guest, title, complain)


def run(complain, progress=lambda title: None):
    """All rows."""
    rows = []
    for row in itertools.chain(run_failing(complain), run_refusing(complain)):
        progress(f'{row.backend} {row.title}')
        rows.append(row)
    return rows


# The table

INTRODUCTION = """\
..
   SPDX-License-Identifier: GPL-2.0-or-later
   Made by tests/fault-matrix --write; edit that.

What the monitor, gdb and the dump commands say when memory cannot be read.
Each cell of the tables was tried: an entry of the first table was made the
answer to every access of one page, and that page was then asked for. In all
of them QEMU goes on, and shows nothing that is not the guest's.
"""
REASONS = """\
*ADDR* stands for an address. After a reason, the monitor also prints what would
change it, where something would; that is in the last column, too.
"""
CELLS = """\
In the tables of the commands, a letter stands for the words below the table,
in which *REASON* is one of the above; *ok* stands for a command that does what
it is asked to.
"""
GROUPS = {
    'HMP': 'Commands of the monitor. *tables*: the page is one of page tables.',
    'QMP': 'Commands of QMP.',
    'gdb': 'gdb\'s packets. gdb prints ``Cannot access memory``; what follows '
           'the number is printed by QEMU, and by ``info memory-debug``. QEMU '
           'does not have the packet ``X``; gdb then uses ``M``.',
    'dump': '``dump-guest-memory``, incomplete ones allowed (``-i``). *tables*:'
            ' the page is one of page tables; *note*: that of VMCOREINFO.',
}


def _csv(title, header, rows):
    """A csv-table."""
    lines = [f'.. csv-table:: {title}', '   :header-rows: 1', '']
    for row in [header, *rows]:
        lines.append('   ' + ', '.join(
            '"' + cell.replace('"', '""') + '"' for cell in row))
    return '\n'.join(lines) + '\n'


def _literal(text):
    """Text that must not be taken for markup."""
    return re.sub(r'([*|`\\]|_(?!\w))', r'\\\1', text)


def letters(rows, doors):
    """{words: letter}, in the order of @doors."""
    found = {}
    names = itertools.chain(string.ascii_uppercase,
                            ('A' + a for a in string.ascii_uppercase))
    for door in doors:
        for row in rows:
            words = row.cells.get(door)
            if words and words not in found:
                found[words] = next(names)
    return {'': 'ok', **found}


def _titles(titles):
    """Several titles, the beginning that they share only once."""
    start, _, _ = titles[0].rpartition(' ')
    if start and all(title.rpartition(' ')[0] == start for title in titles):
        return f'{start} ' + ', '.join(title.rpartition(' ')[2]
                                       for title in titles)
    return '; '.join(titles)


def _merged(rows, doors):
    """[(title, cells)]: rows of a backend that say the same are one."""
    found = []
    for row in rows:
        for other in found:
            if other[0] == row.backend and all(
                    other[2].get(door, words) == words
                    for door, words in row.cells.items() if door in doors):
                other[1].append(row.title)
                other[2].update(row.cells)
                break
        else:
            found.append((row.backend, [row.title], dict(row.cells)))
    for backend, titles, cells in found:
        every = sum(row.backend == backend for row in rows)
        if len(titles) == every:
            title = 'every error' if every > 1 else titles[0]
        elif len(titles) > every // 2:
            title = 'every other error'
        else:
            title = _titles(titles)
        yield f'{backend}: {title}' if title else backend, cells


def _reasons(rows):
    """(backend, answers, reason): one for each reason of a backend."""
    found = {}
    for row in rows:
        if row.reason:
            found.setdefault((row.backend, row.reason), []).append(row.title)
    return [(_literal(backend), _titles(titles), _literal(reason))
            for (backend, reason), titles in found.items()]


def _group(group, rows):
    """A group's table and the words of its letters."""
    doors = [door for door in DOORS if door.group == group]
    names = letters(rows, doors)
    table = [(_literal(title), *(names.get(cells.get(door), '')
                                 for door in doors))
             for title, cells in _merged(rows, doors)]
    yield GROUPS[group] + '\n'
    yield _csv(group, ('Error', *(door.name for door in doors)), table)
    yield from (f'{letter}\n  {_literal(words)}\n'
                for words, letter in names.items() if words)


def rst(rows):
    """The table's text."""
    parts = [INTRODUCTION, REASONS, _csv(
        'Errors', ('Interface, guest', 'Answer', 'REASON'), _reasons(rows)),
        CELLS]
    for group in GROUPS:
        parts += _group(group, rows)
    return '\n'.join(parts)


def read_rst(text):
    """[(group, title, {column: words})], one for each row of @text's tables."""
    for table in text.split('.. csv-table:: ')[1:]:
        group = table.partition('\n')[0]
        words = dict(re.findall(r'^([A-Z]+)\n  (.*)$', table, re.M))
        (_, *names), *rows = csv.reader(
            re.findall(r'^   (".*)$', table, re.M), skipinitialspace=True)
        for title, *cells in rows:
            yield group, title, {name: words.get(cell, cell)
                                 for name, cell in zip(names, cells)}


def without_tdx(text):
    """The rows of @text's tables but TDX's, with the words for the letters."""
    return ''.join('\n  '.join([title, *cells.values()]) + '\n'
                   for _, title, cells in read_rst(text)
                   if not title.startswith('TDX'))
