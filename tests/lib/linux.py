# SPDX-License-Identifier: GPL-2.0-or-later
"""The Linux test guest (tests/guest): boot it, ask it about itself."""

import functools
import os
import subprocess
import unittest
from collections import namedtuple
from pathlib import Path

from .qemu import ROOT, Qemu, binary
from .wait import Deadline, Timeout

GUEST = ROOT / 'tests' / 'guest'
BOOT_SECONDS = 180
KVM_BOOT_SECONDS = 15
# pti=off: the kernel stays mapped while a user process runs
KERNEL_ARGUMENTS = 'console=ttyS0 quiet pti=off'
SIMULATED = 'sim-encrypted-guest'

Place = namedtuple('Place', 'va pa')
Symbol = namedtuple('Symbol', 'va pa type')
Range = namedtuple('Range', 'start end name')


class GuestError(Exception):
    """The guest could not do what it was asked for."""


@functools.cache
def image():
    """Paths by name (kernel, initrd, bzimage), built when they are missing."""
    build = subprocess.run([GUEST / 'build'], check=False, text=True,
                           stdout=subprocess.PIPE)
    if build.returncode:
        raise FileNotFoundError('tests/guest/build could not make the guest '
                                '(it says why above)')
    return dict(line.split(' ', 1) for line in build.stdout.splitlines())


def debug_kernel():
    """Path of the guest's kernel with its debugging information.

    It is an optional part of the tests: SkipTest says how to get it.
    """
    wanted = os.environ.get('DEBUG_KERNEL')
    found = subprocess.run(
        [GUEST / 'debug-kernel', *(['--fetch'] if wanted else [])],
        check=False, text=True, stdout=subprocess.PIPE,
        stderr=None if wanted else subprocess.DEVNULL)
    if not found.returncode:
        return found.stdout.strip()
    if wanted:
        raise FileNotFoundError('tests/guest/debug-kernel could not get the '
                                'kernel (it says why above)')
    raise unittest.SkipTest(
        'this needs the kernel with debugging information (280 MB): '
        'DEBUG_KERNEL=1 make check fetches it')


class LinuxGuest(Qemu):
    """A Linux guest.  Enter it, then boot().

    @encrypted  None: an ordinary guest.  A string: a simulated encrypted
                guest with these properties, '' for the defaults.
    @accel      accelerator; the best usable one if not given
    @cpus       number of vCPUs
    @kernel     'kernel', or 'bzimage' for one that places itself at random
    Others as in Qemu.
    """

    def __init__(self, *args, encrypted=None, accel=None, cpus=1,
                 kernel='kernel', ram_mib=128, program=None):
        machine, arguments = 'q35', []
        if encrypted is not None:
            machine += ',confidential-guest-support=cg0'
            properties = f',{encrypted}' if encrypted else ''
            arguments = ['-object', f'{SIMULATED},id=cg0{properties}']
        program = program or binary()
        files = image()
        super().__init__(
            '-accel', accel or accelerator(program)[0], '-smp', str(cpus),
            '-kernel', files[kernel], '-initrd', files['initrd'],
            '-append', KERNEL_ARGUMENTS, '-device', 'vmcoreinfo',
            *arguments, *args, ram_mib=ram_mib, machine=machine,
            program=program)

    def boot(self, seconds=BOOT_SECONDS):
        """Wait until the guest takes commands."""
        self.console.expect('@ready', 'the guest to boot', seconds)

    def ask(self, command, seconds=60):
        """Run a command of the guest's program; [(name, value)...]."""
        self.console.send(command)
        end, lines = self.console.expect(
            '@(done|fail) (.*)', f'the guest to answer "{command}"', seconds)
        if end[1] == 'fail':
            raise GuestError(end[2])
        return [tuple(line.split(' ', 2)[1:]) for line in lines
                if line.startswith('@fact ')]

    def facts(self):
        """What the guest says about itself."""
        return Facts(self.ask('facts'))

    def symbols(self, *names):
        """Kernel symbols: {name: Symbol}.  All of @names exist."""
        found = {}
        for name, value in self.ask('sym ' + ' '.join(names)):
            va, pa, kind = value.split()
            found[name] = Symbol(int(va, 16), int(pa, 16), kind)
        missing = set(names) - set(found)
        if missing:
            raise GuestError(f'the kernel has no {", ".join(missing)}')
        return found

    def kernel_read(self, va, length):
        """Bytes of the kernel's memory, as the guest itself reads them."""
        return bytes.fromhex(self.ask(f'kread 0x{va:x} {length}')[0][1])

    def physical_read(self, pa, length):
        """Bytes at a guest-physical address, as the guest reads them."""
        return bytes.fromhex(self.ask(f'pread 0x{pa:x} {length}')[0][1])

    def read_line(self, path):
        """First line of a file in the guest."""
        return self.ask(f'cat {path}')[0][1]

    def target(self):
        """The user process's counter and note: (int, str)."""
        answer = dict(self.ask('target'))
        return int(answer['counter']), answer['note']

    def check(self):
        """Rounds and errors of the memory checker: (int, int)."""
        answer = dict(self.ask('check'))
        return int(answer['rounds']), int(answer['errors'])

    def gdb_symbols(self, symbols):
        """A symbol file for gdb with @symbols (a dict of Symbol)."""
        path = self.folder / 'symbols.elf'
        listing = ''.join(f'{s.va:x} {s.type} {name}\n'
                          for name, s in symbols.items())
        subprocess.run([GUEST / 'symbols', image()['kernel'], path],
                       input=listing, text=True, check=True)
        return path


class Facts:
    """The answer to `facts`, as attributes.

    version, cmdline, note_text: str; pid: int; vmcoreinfo: (pa, size) or
    None; iomem: [Range]; counter, note, note_page_2, tick: Place in the user
    process.
    """

    def __init__(self, answer):
        values = dict(answer)
        self.version = values['version']
        self.cmdline = values['cmdline']
        self.note_text = values['note_text']
        self.pid = int(values['pid'])
        self.iomem = []
        for name, value in answer:
            if name == 'iomem':
                start, end, what = value.split(' ', 2)
                self.iomem.append(Range(int(start, 16), int(end, 16), what))
        self.vmcoreinfo = None
        if 'vmcoreinfo' in values:
            pa, size = values['vmcoreinfo'].split()
            self.vmcoreinfo = int(pa, 16), int(size, 16)
        for name in ('counter', 'note', 'note_page_2', 'tick'):
            va, pa = values[name].split()
            setattr(self, name, Place(int(va, 16), int(pa, 16)))


def _boots_with_kvm(program):
    """None if the guest boots with /dev/kvm, or the reason why not."""
    deadline = Deadline(KVM_BOOT_SECONDS)
    with LinuxGuest(accel='kvm', program=program) as guest:
        while deadline.left():
            try:
                guest.boot(1)
                return None
            except Timeout:
                status = guest.qmp.cmd('query-status')['status']
                if status != 'running':
                    return f'the guest stopped with {status}'
    return f'the guest does not boot in {KVM_BOOT_SECONDS} s'


def _kvm_problem(program):
    """_boots_with_kvm(), remembered until the machine is booted again."""
    stamp = Path('/proc/sys/kernel/random/boot_id').read_text().strip()
    path = Path(image()['initrd']).parent / 'kvm'
    if path.exists():
        known, _, problem = path.read_text().partition('\n')
        if known == stamp:
            return problem or None
    print(f'Trying a Linux guest on /dev/kvm, {KVM_BOOT_SECONDS} s at most',
          flush=True)
    try:
        problem = _boots_with_kvm(program)
    except ConnectionError as e:
        return str(e).splitlines()[0]
    path.write_text(f'{stamp}\n{problem or ""}')
    return problem


@functools.cache
def accelerator(program):
    """The accelerator to use and why: ('tcg', 'there is no /dev/kvm').

    KVM where a Linux guest really boots with it, which is not so on every
    host that has a /dev/kvm.  ACCEL in the environment decides otherwise.
    """
    if os.environ.get('ACCEL'):
        return os.environ['ACCEL'], 'ACCEL is set'
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        return 'tcg', 'there is no /dev/kvm that this user may open'
    problem = _kvm_problem(program)
    if problem:
        return 'tcg', f'/dev/kvm is of no use here: {problem}'
    return 'kvm', 'a Linux guest boots with /dev/kvm'
