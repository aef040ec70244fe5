# SPDX-License-Identifier: GPL-2.0-or-later
"""The payload guest as SEV, SEV-ES, SNP or TDX guest under the KVM stand-in.

See tests/kvm-stand-in/README.md for what the stand-in models and
tests/payload/payload.S for what the guest does.
"""

import contextlib
import fcntl
import functools
import os
import re
import subprocess
from collections import namedtuple
from pathlib import Path

from payload.build import build

from . import qtest
from .qemu import ROOT, Qemu
from .repository import require

PAGE = 4096
KINDS = ('sev', 'sev-es', 'snp', 'tdx')
BUILD = ROOT / 'build' / 'tests' / 'stand-in'

# SEV: bit 0 forbids debugging, bit 2 is ES; SNP: bit 19 allows it.
POLICY = {('sev', True): 0x0, ('sev', False): 0x1,
          ('sev-es', True): 0x4, ('sev-es', False): 0x5,
          ('snp', True): 0xb0000, ('snp', False): 0x30000}

# QEMU 10.0 sets IA32_ARCH_CAPABILITIES on AMD hosts, too, where KVM refuses
CPU = 'max,check=off,arch-capabilities=off'

Call = namedtuple('Call', 'name details ret error')


@contextlib.contextmanager
def build_lock():
    """Test programs that run at the same time build one after the other."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / 'lock', 'w', encoding='ascii') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@functools.cache
def host_address_bits():
    """Width of the host's physical addresses."""
    with open('/proc/cpuinfo', encoding='ascii', errors='replace') as info:
        return int(re.search(r'(\d+) bits physical', info.read()).group(1))


def page_table_bit(scripted, kind='sev'):
    """Position of the C-bit, or of TDX's shared bit.

    51 and 47 as on current hardware, unless KVM has to map memory at it.
    """
    hardware = 47 if kind == 'tdx' else 51
    return hardware if scripted else min(hardware, host_address_bits() - 1)


def library(name='kvm-stand-in.so'):
    """Path of the stand-in, built where it is missing or old."""
    target = BUILD / name
    with build_lock():
        subprocess.run(['make', '-s', '-C', ROOT / 'tests' / 'kvm-stand-in',
                        f'OUT={BUILD}', target], check=True)
    return target


@functools.cache
def payload(kind, bit):
    """The built payload guest; once in each process."""
    with build_lock():
        return build(kind, str(BUILD), bit)


def has_kvm():
    """Is there a /dev/kvm for the guest to run on?"""
    return os.access('/dev/kvm', os.R_OK | os.W_OK)


def confidential_object(kind, debug, bit):
    """The -object of a guest whose policy allows debugging, or not.

    TDX's attribute is not set here: stock QEMU has no way to.
    """
    if kind == 'tdx':
        return 'tdx-guest,id=cg0'
    name = 'sev-snp-guest' if kind == 'snp' else 'sev-guest'
    return (f'{name},id=cg0,sev-device=/dev/null,cbitpos={bit},'
            f'reduced-phys-bits=1,policy={POLICY[kind, debug]:#x}')


def parse_log(text):
    """Lines of a stand-in log as Calls; lines that are no ioctl left out."""
    calls = []
    for line in text.splitlines():
        match = re.match(r'\d+ (\w+) (.*?) ?ret=(-?\d+)(?: errno=(\w+))?$',
                         line)
        if match:
            name, details, ret, error = match.groups()
            pairs = dict(word.partition('=')[::2] for word in details.split())
            calls.append(Call(name, pairs, int(ret), error))
    return calls


class StandIn(Qemu):
    """The payload guest of @kind, or 'plain'; a context manager like Qemu.

    @scripted     no /dev/kvm: the stand-in walks the payload's trace
    @debug        whether SEV's or SNP's policy allows debugging
    @confidential value of -object instead of the one that @debug gives
    @pflash       SEV, SEV-ES: the payload is in flash, not in -bios memory
    @image, @script  another firmware image and trace than the payload's
    @setup, @loop steps that a scripted guest takes, too: once at the end of
                  its start, and as long as it runs; see the stand-in's README
    @settings     the stand-in's variables: latency_us=50, unified=1 ...
    """

    def __init__(self, kind, scripted=False, debug=True, confidential=None,
                 cpus=1, ram_mib=64, pflash=False, args=(), program=None,
                 image=None, script=None, setup=(), loop=(), **settings):
        if kind == 'tdx':
            require('target/i386/kvm/tdx.c', 'TDX')
        self.kind = kind
        self.bit = bit = settings.get('cbit', page_table_bit(scripted, kind))
        settings.setdefault('cbit', bit)
        settings.setdefault('phys_bits', bit + 1)
        self.payload = payload(kind, bit)
        image = image or self.payload.image
        firmware = ['-drive', 'if=pflash,format=raw,readonly=on,file=' + image
                    ] if pflash else ['-bios', image]
        super().__init__(
            '-accel', 'kvm,device=/dev/null' if scripted else 'kvm',
            '-cpu', 'host,check=off' if kind == 'tdx' else CPU,
            '-smp', str(cpus), '-vga', 'none', *firmware,
            *args, ram_mib=ram_mib, program=program)
        if kind != 'plain':
            self.command += [
                '-machine', 'confidential-guest-support=cg0', '-object',
                confidential or confidential_object(kind, debug, bit)]
        settings['log'] = self.folder / 'stand-in'
        if scripted:
            settings['script'] = script or self.folder / 'script'
            if not script:
                settings['script'].write_text(
                    self.payload.script_with(setup, loop))
        variables = [f'STANDIN_{name.upper()}={value}'
                     for name, value in settings.items()]
        self.command = ['env', *variables, f'LD_PRELOAD={library()}',
                        *self.command]

    def wait_running(self, seconds=30):
        """Wait until the guest has written its memory and loops in tick()."""
        self.console.expect('payload: running', 'the guest to run', seconds)

    def stand_in_log(self):
        """The stand-in's log as text."""
        path = Path(self.folder / 'stand-in')
        return path.read_text() if path.exists() else ''

    def calls(self, *names):
        """The logged ioctls, or those of @names."""
        return [call for call in parse_log(self.stand_in_log())
                if not names or call.name in names]

    def attributes(self, start, end):
        """For each page, "private" or "shared": what QEMU has told KVM."""
        found = {}
        for call in self.calls('KVM_SET_MEMORY_ATTRIBUTES'):
            gpa, size = (int(call.details[name], 16) for name in ('gpa',
                                                                  'size'))
            for page in range(max(gpa, start), min(gpa + size, end), PAGE):
                found[page] = 'private' if 'private' in call.details \
                    else 'shared'
        return [found.get(page) for page in range(start, end, PAGE)]

    def recorded(self, start, end):
        """The same of QEMU's own record.

        An address that contradicts it, by its C-bit or shared bit, is refused.
        """
        # What the page is, without and with a conflict
        kinds = ('private', 'shared') if self.kind == 'snp' else \
            ('shared', 'private')
        bit, found = 1 << self.bit, []
        for page in range(start, end, PAGE):
            output = self.qmp.hmp(f'xp /1xb {page | bit:#x}')
            found.append(kinds['page-table entry says' in output])
        return found

    def unplug(self, name):
        """Eject the only DIMM, called @name, as the guest's kernel would.

        Needs the arguments of lib.qtest.
        """
        port = qtest.QTest(self.folder / 'qtest')
        self.qmp.cmd('device_del', id=name)
        # QEMU: docs/specs/acpi_mem_hotplug.rst
        port.ask('outl 0xa00 0')
        port.ask('outb 0xa14 8')
        port.close()
        self.qmp.wait_event('DEVICE_DELETED')

    def violations(self):
        """What strict mode found: calls that old kernels get wrong."""
        return re.findall(r'^\d+ VIOLATION (.*)$', self.stand_in_log(),
                          re.MULTILINE)
