#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds the payload guest for one kind of guest and one bit position.

  build.py KIND OUTDIR [--bit N]    N: 51; KIND: plain sev sev-es snp tdx
                                    sw-protected (without a bit)

writes OUTDIR/KIND-N.bin (a 64 KiB firmware image for -bios), .elf (symbols
for gdb), .json (the symbols) and .script (the same guest as a trace, for the
stand-in without /dev/kvm) and prints the image's path.
"""
import argparse
import json
import os
import re
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
KINDS = ('plain', 'sev', 'sev-es', 'snp', 'tdx', 'sw-protected')
C_BIT_KINDS = ('sev', 'sev-es', 'snp')


class Payload:
    """A built payload: its files, its symbols and its page tables' bit."""

    def __init__(self, kind, bit, base):
        self.kind = kind
        self.bit = bit
        self.image = base + '.bin'
        self.elf = base + '.elf'
        self.script = base + '.script'
        self.json = base + '.json'      # the symbols; written last
        self.private_mask = 1 << bit if kind in C_BIT_KINDS else 0
        self.shared_mask = 1 << bit if kind == 'tdx' else 0
        self.converts = kind in ('snp', 'tdx', 'sw-protected')
        self.symbols = {}
        self.map = address_map()

    def is_built(self):
        """Is everything newer than its sources?"""
        return os.path.exists(self.json) and all(
            source.stat().st_mtime < os.stat(self.json).st_mtime
            for source in os.scandir(HERE) if source.is_file())

    def read_symbols(self):
        """Fill self.symbols from the ELF file: virtual addresses."""
        out = subprocess.run(['nm', self.elf], check=True, text=True,
                             capture_output=True).stdout
        for line in out.splitlines():
            value, _, name = line.split()
            self.symbols[name] = int(value, 16)

    def virt(self, gpa):
        """The high virtual address of a page between 2 and 4 MiB.

        Of one below, where the payload converts pages.
        """
        return self.map['VIRT_OFFSET'] + gpa

    def phys(self, name):
        """The guest-physical address of a symbol of the program."""
        return self.symbols[name] - self.map['VIRT_OFFSET']

    def script_with(self, setup=(), loop=()):
        """The script with more steps of the first vCPU.

        @setup: taken before it says that it runs.  @loop: again and again.
        """
        with open(self.script, encoding='ascii') as script:
            lines = script.read().splitlines()
        at = lines.index('loop') + 1
        return '\n'.join([*lines[:at - 2], *setup, *lines[at - 2:at], *loop,
                          *lines[at:]]) + '\n'


def address_map():
    """The constants of payload.h."""
    found = {}
    with open(os.path.join(HERE, 'payload.h'), encoding='ascii') as header:
        for name, value in re.findall(r'#define (\w+)\s+(0x[0-9a-f]+)',
                                      header.read()):
            found[name] = int(value, 16)
    return found


def text_lines(tag, start, end):
    """What the guest's fill_text writes: 16 bytes a line, 32 bits of address."""
    return b''.join(b'%s %08x ok\n' % (tag, a & 0xffffffff)
                    for a in range(start, end, 16))


def run(*command):
    subprocess.run(command, check=True)


def assemble(payload, work):
    """payload.S and payload.ld to payload.elf and payload.image.

    They are replaced whole: a QEMU that is about to read them may.
    """
    source = os.path.join(HERE, 'payload.S')
    flags = [f'-DPRIVATE_MASK={payload.private_mask:#x}',
             f'-DSHARED_MASK={payload.shared_mask:#x}',
             f'-DCONVERT={int(payload.converts)}',
             f'-DHYPERCALL={int(payload.kind == "sw-protected")}']
    run('gcc', '-c', '-I', HERE, *flags, source, '-o', work + '.o')
    run('gcc', '-E', '-P', '-x', 'c', '-I', HERE,
        os.path.join(HERE, 'payload.ld'), '-o', work + '.ld')
    run('ld', '--no-warn-rwx-segments', '-T', work + '.ld', work + '.o',
        '-o', payload.elf + '.new')
    os.replace(payload.elf + '.new', payload.elf)
    run('objcopy', '-O', 'binary', payload.elf, payload.image + '.new')
    os.replace(payload.image + '.new', payload.image)


def step(name, *numbers, text=''):
    """One line of a trace: tests/kvm-stand-in/README.md has the language."""
    words = [name, *(hex(n) for n in numbers)]
    return ' '.join(words + [text] if text else words)


def swap(value):
    """The bytes of a big-endian fw_cfg word, as a little-endian number."""
    return int.from_bytes(value.to_bytes(4, 'little'), 'big')


def script_setup(p):
    """What the program does before its loop."""
    m, s = p.map, p.symbols
    private, shared = (int.from_bytes(tag, 'little')
                       for tag in (b'PRV ', b'SHR '))
    access = m['SHARED_PAGE'] + m['FW_CFG_ACCESS']
    buffer = m['SHARED_PAGE'] + m['FW_CFG_BUFFER']
    return [
        step('copy', m['RAM_BASE'], s['ram_load'], s['ram_size']),
        step('long-mode', p.phys('pml4') | p.private_mask, s['stack_top']),
        step('print', text=r'payload: long mode\n'),
        step('convert', m['TEXT_SHARED'], 2, 0),
        step('convert', m['SHARED_PAGE'], 1, 0),
        step('text', private, m['TEXT_PRIVATE'], m['TEXT_SHARED']),
        step('text', shared, m['TEXT_SHARED'], m['TEXT_TAIL']),
        step('text', private, m['TEXT_TAIL'], m['TEXT_END']),
        step('print', text=r'payload: text written\n'),
        step('put', 4, access, swap(0xa)),      # key 0, SELECT | READ
        step('put', 4, access + 4, swap(4)),
        step('put', 4, access + 12, swap(buffer)),
        step('out', 0x514, 4, 0),
        step('out', 0x518, 4, swap(access)),
        step('check', buffer, int.from_bytes(b'QEMU', 'little'),
             text=r'payload: fw_cfg dma ok\n|payload: FAILED: fw_cfg dma\n'),
        step('print', text=r'payload: running\n'),
    ]


def at(p, name, action, *numbers, text=''):
    """A step that is the instruction at the symbol @name."""
    return step('at', p.symbols[name], p.phys(name),
                text=step(action, *numbers, text=text))


def flip(p, place, wanted, done, gpa, pages, entry, text):
    """A step that converts @pages from @gpa on, once for each of @wanted."""
    return at(p, place, 'flip', p.map['SHARED_PAGE'] + p.map[wanted],
              p.phys(done), gpa, pages, entry, p.private_mask, p.shared_mask,
              text=text)


def script_loop(p):
    """tick(), instruction by instruction where one does something."""
    m, page = p.map, p.map['SHARED_PAGE']
    flip_entry = p.phys('pt') + (m['FLIP_PAGE'] - m['RAM_BASE']) // 512
    borders = [flip(p, 'tick_borders', 'BORDERS_WANTED', 'borders_done',
                    m['BORDERS'], m['BORDERS_PAGES'],
                    p.phys('pt_low') + m['BORDERS'] // 512, 'borders ')
               ] if p.converts else []
    return [
        'loop',
        at(p, 'main_loop', 'nop'),
        at(p, 'tick', 'nop'),
        at(p, 'tick_store', 'inc', p.phys('counter'), p.symbols['counter']),
        at(p, 'tick_mailbox', 'report', p.phys('mailbox'),
           p.phys('mailbox_seen'), text='mailbox '),
        at(p, 'tick_shared', 'report', page + p.map['SHARED_MAILBOX'],
           p.phys('shared_seen'), text='shared-mailbox '),
        flip(p, 'tick_flip', 'FLIPS_WANTED', 'flips_done', m['FLIP_PAGE'], 1,
             flip_entry, 'flips '),
        *borders,
        at(p, 'tick_return', 'nop'),
    ]


def write_script(p):
    """The trace that the stand-in walks where there is no /dev/kvm."""
    lines = ['vcpu 0', *script_setup(p), *script_loop(p), 'vcpu 1', 'loop',
             at(p, 'ap_loop', 'inc', p.phys('ap_counters'),
                p.symbols['ap_counters'])]
    with open(p.script + '.new', 'w', encoding='ascii') as out:
        out.write('\n'.join(lines) + '\n')
    os.replace(p.script + '.new', p.script)


def build(kind, outdir, bit):
    """Build the payload of @kind in @outdir and return it.

    @bit is the C-bit's position, or for TDX the shared bit's.  What is newer
    than its sources is not built again.
    """
    os.makedirs(outdir, exist_ok=True)
    base = os.path.join(outdir, f'{kind}-{bit}')
    payload = Payload(kind, bit, base)
    if payload.is_built():
        with open(payload.json, encoding='ascii') as symbols:
            payload.symbols = json.load(symbols)
        return payload
    assemble(payload, base)
    payload.read_symbols()
    if kind != 'sw-protected':      # no stand-in has it
        write_script(payload)
    with open(payload.json + '.new', 'w', encoding='ascii') as symbols:
        json.dump(payload.symbols, symbols)
    os.replace(payload.json + '.new', payload.json)
    return payload


def main():
    parser = argparse.ArgumentParser(description='builds the payload guest')
    parser.add_argument('kind', choices=KINDS)
    parser.add_argument('outdir')
    parser.add_argument('--bit', type=int, default=51,
                        help='C-bit or shared bit')
    args = parser.parse_args()
    print(build(args.kind, args.outdir, args.bit).image)


if __name__ == '__main__':
    main()
