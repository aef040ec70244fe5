# SPDX-License-Identifier: GPL-2.0-or-later
"""The ways by which a person reads a guest's memory, each as a function.

Every function takes the running Qemu, an address (guest-physical or virtual:
see VIRTUAL and PHYSICAL) and a length in bytes, and returns bytes; or raises
Refused with QEMU's or gdb's own words.  The VM is stopped before the first
byte is read, and is stopped afterwards: two doors see the same moment.
A virtual address is one of the first vCPU's address space.
"""

import re

from . import gdb
from .qmp import CANNOT_ACCESS, QMPError
from .rsp import RSP, RSPError


# A warning, of memory that is shown: SEV and SEV-ES
ASSUMED_PRIVATE = re.compile('^warning: it is not known whether all of this '
                             r'memory is private.*\n?', re.MULTILINE)


class Refused(Exception):
    """The door did not give the bytes; the text says what it said."""


def hmp(qemu, line):
    """Output of an HMP command; Refused if it shows no memory."""
    qemu.stop()
    output = ASSUMED_PRIVATE.sub('', qemu.qmp.hmp(line, 300))
    if CANNOT_ACCESS in output or output.startswith('Error'):
        raise Refused(output.strip())
    return output


def hex_bytes(output):
    """What `x` or `xp` has printed with the format xb."""
    return bytes(int(byte, 16) for line in output.splitlines()
                 for byte in line.partition(': ')[2].split())


def _dump(qemu, command, addr, length):
    output = hmp(qemu, f'{command}/{length}xb 0x{addr:x}')
    data = hex_bytes(output)
    if len(data) != length:
        raise Refused(output.strip())
    return data


def x(qemu, va, length):
    """HMP x"""
    return _dump(qemu, 'x', va, length)


def xp(qemu, pa, length):
    """HMP xp"""
    return _dump(qemu, 'xp', pa, length)


def _disassemble(qemu, command, addr, length):
    """The instruction bytes that x/i shows, at least @length of them."""
    output = hmp(qemu, f'{command}/{length}i 0x{addr:x}')
    data = bytes.fromhex(''.join(
        re.findall(r'^0x\w+:  ((?:[0-9a-f]{2}(?: |$))+)', output, re.MULTILINE)))
    if len(data) < length:
        raise Refused(output.strip())
    return data[:length]


def x_i(qemu, va, length):
    """HMP x/i"""
    return _disassemble(qemu, 'x', va, length)


def xp_i(qemu, pa, length):
    """HMP xp/i"""
    return _disassemble(qemu, 'xp', pa, length)


def _saved(qemu, save):
    path = qemu.folder / 'saved'
    path.unlink(missing_ok=True)
    qemu.stop()
    try:
        save(str(path))
    except QMPError as e:
        raise Refused(e.desc) from None
    return path.read_bytes()


def memsave(qemu, va, length):
    """QMP memsave"""
    return _saved(qemu, lambda path: qemu.qmp.cmd(
        'memsave', val=va, size=length, filename=path))


def pmemsave(qemu, pa, length):
    """QMP pmemsave"""
    return _saved(qemu, lambda path: qemu.qmp.cmd(
        'pmemsave', val=pa, size=length, filename=path))


def _hmp_saved(qemu, command, addr, length):
    def save(path):
        output = hmp(qemu, f'{command} 0x{addr:x} {length} "{path}"')
        if output.strip():
            raise Refused(output.strip())

    return _saved(qemu, save)


def hmp_memsave(qemu, va, length):
    """HMP memsave"""
    return _hmp_saved(qemu, 'memsave', va, length)


def hmp_pmemsave(qemu, pa, length):
    """HMP pmemsave"""
    return _hmp_saved(qemu, 'pmemsave', pa, length)


def _gdb_dump(qemu, addr, length, physical):
    path = qemu.folder / 'dumped'
    path.unlink(missing_ok=True)
    qemu.stop()
    output = gdb.run(
        qemu.gdb_socket,
        f'maintenance packet Qqemu.PhyMemMode:{int(physical)}',
        f'dump binary memory {path} 0x{addr:x} 0x{addr + length:x}',
        'maintenance packet Qqemu.PhyMemMode:0', stay_stopped=True)
    if not path.exists() or output.count('received: "OK"') != 2:
        raise Refused(_gdb_error(output))
    return path.read_bytes()


def _gdb_error(output):
    for line in output.splitlines():
        if CANNOT_ACCESS in line:
            return line
    return output.strip()


def gdb_virtual(qemu, va, length):
    """gdb"""
    return _gdb_dump(qemu, va, length, False)


def gdb_physical(qemu, pa, length):
    """gdb, physical mode"""
    return _gdb_dump(qemu, pa, length, True)


def _packet(qemu, addr, length, physical):
    qemu.stop()
    with RSP(qemu.gdb_socket) as rsp:
        try:
            rsp.physical(physical)
            return rsp.read(addr, length)
        except RSPError as e:
            raise Refused(str(e)) from None
        finally:
            rsp.physical(False)


def packet_virtual(qemu, va, length):
    """gdbstub packet m"""
    return _packet(qemu, va, length, False)


def packet_physical(qemu, pa, length):
    """gdbstub packet m, physical mode"""
    return _packet(qemu, pa, length, True)


VIRTUAL = (x, memsave, hmp_memsave, packet_virtual, gdb_virtual)
PHYSICAL = (xp, pmemsave, hmp_pmemsave, packet_physical, gdb_physical)


def sum16(qemu, pa, length):
    """HMP sum: the BSD checksum of physical memory."""
    output = hmp(qemu, f'sum 0x{pa:x} {length}')
    if not output.strip().isdigit():
        raise Refused(output.strip())
    return int(output)


def bsd_sum(data):
    """What HMP sum must print for @data."""
    total = 0
    for byte in data:
        total = ((total >> 1) + ((total & 1) << 15) + byte) & 0xffff
    return total
