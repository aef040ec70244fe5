# SPDX-License-Identifier: GPL-2.0-or-later
"""Dumps of a guest's memory, and the tools of Debian that read them."""

import shutil
import struct
import subprocess
import zlib

from .wait import patience

ELF = 'elf'
FLATTENED = ('kdump-zlib', 'kdump-lzo', 'kdump-snappy')
RAW = ('kdump-raw-zlib', 'kdump-raw-lzo', 'kdump-raw-snappy')
FORMATS = (ELF,) + FLATTENED + RAW
SECONDS = 300

EHDR = struct.Struct('<16sHHIQQQIHHHHHH')
PHDR = struct.Struct('<IIQQQQQQ')
# Of a guest in real or protected mode with all of its memory below 4 GiB
EHDR32 = struct.Struct('<16sHHIIIIIHHHHHH')
PHDR32 = struct.Struct('<IIIIIIII')         # flags come after the sizes
ELFCLASS32 = 1
PT_LOAD = 1
MACHINES = {3: 'EM_386', 62: 'EM_X86_64'}
PAGE = 4096


class ToolError(Exception):
    """A tool did not do what it was asked for; the text is what it said."""


def take(qemu, kind, name='dump', **arguments):
    """Dump the guest's memory to a file in @qemu's folder.

    @kind is a format, @arguments are further ones of dump-guest-memory.
    Returns the path and what the command returned.
    """
    path = qemu.folder / f'{name}.{kind}'
    path.unlink(missing_ok=True)
    arguments.setdefault('paging', False)
    result = qemu.qmp.cmd('dump-guest-memory', SECONDS, format=kind,
                          protocol=f'file:{path}', **arguments)
    path.chmod(0o600)
    return path, result


def tool(*command, **options):
    """Run a tool and return what it printed, on both of its outputs."""
    done = subprocess.run([str(word) for word in command], check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=patience(SECONDS), **options)
    text = done.stdout.decode(errors='replace').replace('\r', '\n')
    if done.returncode:
        raise ToolError(f'{command[0]} ended with {done.returncode}:\n{text}')
    return text


def headers(path):
    """[(gpa, va, size in the file, offset there, size in memory)] of an ELF
    dump's segments."""
    with open(path, 'rb') as f:
        narrow = f.read(5)[4] == ELFCLASS32
        header, entry = (EHDR32, PHDR32) if narrow else (EHDR, PHDR)
        f.seek(0)
        ehdr = header.unpack(f.read(header.size))
        f.seek(ehdr[5])
        found = [entry.unpack(f.read(entry.size)) for _ in range(ehdr[10])]
    if narrow:
        found = [(kind, flags, *places, align)
                 for kind, *places, flags, align in found]
    return [(pa, va, size, offset, memory)
            for kind, _, offset, va, pa, size, memory, _ in found
            if kind == PT_LOAD]


def segments(path):
    """[(gpa, va, size, offset in the file)] of an ELF dump's segments."""
    return [header[:4] for header in headers(path)]


def _read(path, places, addr, length):
    """Bytes at @addr; @places are (start, size, offset in the file)."""
    for start, size, offset in places:
        if start <= addr and addr + length <= start + size:
            with open(path, 'rb') as f:
                f.seek(offset + addr - start)
                return f.read(length)
    raise ToolError(f'{path.name} has no segment with 0x{addr:x}')


def read(path, gpa, length):
    """Bytes of an ELF dump at a guest-physical address."""
    return _read(path, [(pa, size, offset) for pa, _, size, offset
                        in segments(path)], gpa, length)


def read_virtual(path, va, length):
    """Bytes of an ELF dump that was taken with paging."""
    return _read(path, [(start, size, offset) for _, start, size, offset
                        in segments(path)], va, length)


def notes(path):
    """An ELF dump's machine and the names of its notes."""
    with open(path, 'rb') as f:
        ehdr = EHDR.unpack(f.read(EHDR.size))
        f.seek(ehdr[5])
        _, _, offset, _, _, size, _, _ = PHDR.unpack(f.read(PHDR.size))
        f.seek(offset)
        data = f.read(size)
    names, at = [], 0
    while at < size:
        name, content, _ = struct.unpack_from('<III', data, at)
        names.append(data[at + 12:at + 12 + name - 1].decode())
        at += 12 + (name + 3 & -4) + (content + 3 & -4)
    return MACHINES.get(ehdr[2], ehdr[2]), names


def kdump_pages(path):
    """{gpa: (size, offset)} of the pages in a raw kdump-compressed dump."""
    with open(path, 'rb') as f:
        header = f.read(PAGE)
        sub_header, bitmaps = struct.unpack_from('<II', header, 432)
        f.seek((1 + sub_header) * PAGE)
        exists, present = f.read(bitmaps // 2 * PAGE), f.read(bitmaps // 2 * PAGE)
        frames = [at * 8 + bit for at, byte in enumerate(present) if byte
                  for bit in range(8) if byte >> bit & 1]
        if any(not exists[n // 8] >> n % 8 & 1 for n in frames):
            raise ToolError(f'{path.name} has pages that do not exist')
        descriptors = f.read(24 * len(frames))
    found = {}
    for i, frame in enumerate(frames):
        offset, size, _ = struct.unpack_from('<QII', descriptors, 24 * i)
        found[frame * PAGE] = size, offset
    return found


def kdump_read(path, place):
    """A page of a kdump with zlib; @place is one of kdump_pages()."""
    size, offset = place
    with open(path, 'rb') as f:
        f.seek(offset)
        data = f.read(size)
    return data if size == PAGE else zlib.decompress(data)


def has_makedumpfile():
    """Is there a makedumpfile?"""
    return shutil.which('makedumpfile') is not None


def makedumpfile_knows(compression):
    """Was makedumpfile built with @compression (lzo, snappy, zlib)?"""
    lines = tool('makedumpfile', '-v').splitlines()
    return compression == 'zlib' or f'{compression}\tenabled' in lines


def rearranged(path):
    """A flattened dump as the tools want it, which is a new file."""
    target = path.with_suffix('.rearranged')
    target.unlink(missing_ok=True)
    with open(path, 'rb') as f:
        tool('makedumpfile', '-R', target, stdin=f)
    return target


def kernel_log(path):
    """What makedumpfile finds as the kernel's log."""
    target = path.with_suffix('.log')
    target.unlink(missing_ok=True)
    tool('makedumpfile', '--dump-dmesg', path, target)
    return target.read_text(errors='replace')


FREE_PAGES = 16     # one of makedumpfile's dump levels


def filtered(path, level=31):
    """The dump without pages of zeros, caches, free and user pages, or what else
    makedumpfile's dump @level leaves out."""
    target = path.with_suffix(f'.filtered-{level}')
    target.unlink(missing_ok=True)
    tool('makedumpfile', '-c', '-d', str(level), path, target)
    return target


def crash(vmlinux, path, *commands):
    """What crash prints for the commands."""
    script = path.with_suffix('.crash')
    script.write_text('\n'.join(['set scroll off', *commands, 'exit', '']))
    return tool('crash', '-s', '-i', script, vmlinux, path,
                stdin=subprocess.DEVNULL)
