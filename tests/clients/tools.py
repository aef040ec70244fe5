# SPDX-License-Identifier: GPL-2.0-or-later
"""Each tool, asked for what its users want; it raises Failure or says nothing.

A check is called with the Root and a Crashed guest, and the path of a dump.
"""

import re

from lib import dump

DRGN = """
import sys, drgn
from drgn.helpers.linux.pid import for_each_task
program = drgn.Program()
program.set_core_dump(sys.argv[1])
program.load_debug_info([sys.argv[2]])
print(program['linux_banner'].string_().decode())
print(*(task.comm.string_().decode() for task in for_each_task(program)))
"""
CRASHED = 'sysrq_handle_crash'


class Failure(Exception):
    """A tool does not do it; the text is what it said, or what is wrong."""


def expect(pattern, text):
    """@text has it."""
    if not re.search(pattern, text):
        raise Failure(telling(text))


def telling(text):
    """The line of a tool's output that says what is wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in reversed(lines):
        if re.search(r"(?i)error|fail|can't|cannot|invalid|not |no ", line):
            return line
    return lines[-1] if lines else 'nothing is said'


def crash(root, guest, path):
    """bt, ps, log and memory of a process"""
    script = path.with_suffix('.crash')
    script.write_text('set scroll off\nbt\nps\nlog\n'
                      f'rd -8 -p 0x{guest.facts.note.pa:x} 16\nexit\n')
    said = root.run('crash', '-s', '-i', script, guest.vmlinux, path)
    expect(rf'#\d+ \[\w+\] {CRASHED}', said)
    expect(r'> +1 +0 +\d +\w+ +RU .* init', said)
    expect(re.escape(guest.facts.version), said)
    expect(re.escape(guest.facts.note_text[:16]), said)


def _kernel_log(root, guest, path):
    log = path.with_suffix('.log')
    log.unlink(missing_ok=True)
    root.run('makedumpfile', '--dump-dmesg', path, log)
    text = log.read_text(errors='replace')
    log.unlink()
    expect('sysrq: Trigger a crash', text)
    expect(re.escape(guest.facts.version), text)


def rearrange(root, path):
    """A flattened dump as makedumpfile reads it."""
    target = path.with_suffix('.rearranged')
    target.unlink(missing_ok=True)
    root.run('sh', '-c', 'exec makedumpfile -R "$1" <"$2"', 'sh', target, path)
    return target


def makedumpfile(root, guest, path):
    """the kernel's log, and a dump without pages that are not needed"""
    small = path.with_suffix('.small')
    small.unlink(missing_ok=True)
    if path.suffix.lstrip('.') in dump.FLATTENED:
        path = rearrange(root, path)
    try:
        _kernel_log(root, guest, path)
    except (dump.ToolError, Failure) as e:
        raise Failure(telling(str(e))) from None
    try:
        root.run('makedumpfile', '-c', '-d', '31', path, small)
        _kernel_log(root, guest, small)
    except (dump.ToolError, Failure) as e:
        raise Failure(f'--dump-dmesg works; -d 31: {telling(str(e))}'
                      ) from None
    finally:
        small.unlink(missing_ok=True)


def drgn(root, guest, path):
    """variables and tasks by name"""
    said = root.run('python3', '-c', DRGN, path, guest.vmlinux)
    expect(re.escape(guest.facts.version), said)
    expect(r'\binit\b', said)


GDB = 'gdb', '-nx', '-q', '-batch', '-iex', 'set debuginfod enabled off'


def gdb(root, guest, path):
    """registers of all vCPUs, and memory at physical addresses"""
    said = root.run(*GDB, '-ex', 'info threads', '-ex', 'info registers rip',
                    '-ex', 'set print elements 0',
                    '-ex', f'x/s {guest.banner.pa}', '-c', path)
    expect(re.escape(guest.facts.version), said)
    expect(r'rip +0x', said)
    expect(r'(?m)^\*? +2 ', said)


def gdb_paging(root, guest, path):
    """a backtrace, and variables by name"""
    said = root.run(*GDB, '-ex', 'thread apply all bt', '-ex',
                    'set print elements 0', '-ex', 'p linux_banner',
                    guest.vmlinux, path)
    expect(re.escape(guest.facts.version), said)
    expect(CRASHED, said)


def gdb_live(root, guest, path):
    """a backtrace, and variables by name"""
    said = root.run(*GDB, '-ex', 'set remotetimeout 300', '-ex',
                    f'target remote {path}', '-ex', 'thread apply all bt',
                    '-ex', 'set print elements 0', '-ex', 'p linux_banner',
                    '-ex', 'disconnect', guest.vmlinux)
    expect(re.escape(guest.facts.version), said)
    expect(CRASHED, said)


def lldb(root, guest, path):
    """registers, and memory at virtual addresses"""
    said = root.run('lldb', '--no-lldbinit', '--batch', '-c', path, '-o',
                    'register read rip', '-o', 'thread backtrace all',
                    guest.vmlinux)
    expect(CRASHED, said)


def lldb_live(root, guest, path):
    """a backtrace, and variables by name"""
    said = root.run('lldb', '--no-lldbinit', '--batch',
                    '-o', 'settings set plugin.process.gdb-remote.'
                    'packet-timeout 300',
                    '-o', f'process connect unix-connect://{path}',
                    '-o', 'thread backtrace all',
                    '-o', 'settings set target.max-string-summary-length 4096',
                    '-o', f'memory read -f s 0x{guest.banner.va:x}',
                    '-o', 'process detach', guest.vmlinux)
    expect(re.escape(guest.facts.version), said)
    expect(CRASHED, said)


def nbdcopy(root, guest, uri):
    """the core node, copied to another file"""
    copy = guest.folder / 'copy'
    copy.unlink(missing_ok=True)
    root.run('nbdcopy', uri, copy)
    same = copy.read_bytes() == guest.core.read_bytes()
    copy.unlink()
    if not same:
        raise Failure('the copy is another file')


PACKAGES = {'crash': 'crash', 'makedumpfile': 'makedumpfile',
            'drgn': 'python3-drgn', 'gdb': 'gdb', 'lldb': 'lldb'}
# By kind of file, the tools that shall read it
OF_ELF = {'crash': crash, 'makedumpfile': makedumpfile, 'drgn': drgn,
          'gdb': gdb, 'lldb': lldb}
OF_PAGING = {**OF_ELF, 'gdb': gdb_paging}
OF_KDUMP = {'crash': crash, 'makedumpfile': makedumpfile, 'drgn': drgn}
LIVE = {'gdb': gdb_live, 'lldb': lldb_live}
