# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt, as its users run it: an encrypted guest as a domain.

libvirtd is that of the release, QEMU ours: it runs with the libraries of this
machine, which are mounted in the release's folder.
"""

import json
import os
import re
import signal
import subprocess
import time
from xml.sax.saxutils import escape

from clients import tools
from lib import dump, linux
from lib.console import Console
from lib.qemu import MIB, binary
from lib.wait import accept, end_of, listen, poll

DOMAIN = 'encrypted'
RAM_MIB = 256
EMULATOR = '/usr/local/bin/qemu-{}'
# One call of the backend reads so much of a dump
WINDOW = MIB
CONFIGURATION = '''\
user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
'''
DOMAIN_XML = '''\
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <memory unit='MiB'>{ram}</memory>
  <vcpu>2</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initrd}</initrd>
    <cmdline>{cmdline}</cmdline>
  </os>
  <features><acpi/><vmcoreinfo state='on'/></features>
  <on_crash>preserve</on_crash>
  <devices>
    <emulator>{emulator}</emulator>
    <serial type='unix'><source mode='connect' path='{serial}'/></serial>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
  <qemu:commandline>{arguments}</qemu:commandline>
</domain>
'''
ENCRYPTED = ('-object', 'sim-encrypted-guest,id=cg0',
             '-machine', 'confidential-guest-support=cg0')


class Libvirt:
    """A context manager: libvirtd in @root; it and its domain end with it."""

    def __init__(self, root, folder):
        self.root, self.folder = root, folder
        self.daemon = self.console = None
        self._log = folder / 'libvirtd.log'

    def __enter__(self):
        self.root.write('/etc/libvirt/qemu.conf', CONFIGURATION)
        for name in ('patched', 'base'):
            self._emulator(name)
        self._start()
        self.virsh('destroy', DOMAIN, check=False)  # of one that has crashed
        return self

    def __exit__(self, *_):
        self.virsh('destroy', DOMAIN, check=False)
        if self.daemon.poll() is None:
            self.daemon.terminate()
            end_of(self.daemon, 'libvirtd', 30)

    def _emulator(self, name):
        """QEMU with the libraries, the firmware and the loader of this
        machine."""
        program = binary(base=name == 'base')
        libraries = subprocess.run(['ldd', program], check=True, text=True,
                                   stdout=subprocess.PIPE).stdout
        loader = os.path.realpath(next(
            line.split()[0] for line in libraries.splitlines()
            if 'ld-linux' in line))
        self.root.write(EMULATOR.format(name), '\n'.join([
            '#!/bin/sh',
            f'exec /host{loader} --library-path '
            '/host/usr/lib/x86_64-linux-gnu:/host/lib/x86_64-linux-gnu '
            f'--argv0 "$0" /host{program} -L /host/usr/share/seabios '
            '-L /host/usr/share/qemu "$@"', '']), 0o755)

    def _start(self):
        self.daemon = self.root.start('libvirtd', log=self._log)
        poll(lambda: 'yes' if self.virsh('uri', check=False) == '' else None,
             'libvirtd to answer', 60)

    def virsh(self, *words, check=True):
        """What virsh prints; with @check false, '' or what was wrong."""
        try:
            said = self.root.run('virsh', '-q', *words)
            return said if check else ''
        except dump.ToolError as e:
            if check:
                raise
            return tools.telling(str(e))

    def qmp(self, command, **arguments):
        """A command by qemu-monitor-command."""
        said = json.loads(self.virsh('qemu-monitor-command', DOMAIN, json.dumps(
            {'execute': command, 'arguments': arguments})))
        if 'error' in said:
            raise tools.Failure(said['error']['desc'])
        return said['return']

    def start(self, name, arguments=()):
        """Start the domain with one of the emulators, and wait for Linux."""
        path = self.folder / 'serial'
        path.unlink(missing_ok=True)
        socket = listen(path)
        files = linux.image()
        xml = self.folder / 'domain.xml'
        xml.write_text(DOMAIN_XML.format(
            name=DOMAIN, ram=RAM_MIB, kernel=self.inside(files['kernel']),
            initrd=self.inside(files['initrd']), serial=path,
            cmdline=linux.KERNEL_ARGUMENTS, emulator=EMULATOR.format(name),
            arguments=''.join(f"<qemu:arg value='{escape(word)}'/>"
                              for word in arguments)))
        self.virsh('create', xml)
        self.console = Console(accept(socket, 'the serial console',
                                      lambda: None, 60))
        self.console.expect('@ready', 'the guest to boot', 300)
        version = self.ask('facts')['version']
        self.console.send('panic')
        self.console.expect('.*end Kernel panic - not syncing',
                            'the kernel to crash')
        return version

    def ask(self, command):
        """The answer of the guest's program."""
        self.console.send(command)
        _, lines = self.console.expect('@done', 'the guest to answer', 60)
        return dict(line.split(' ', 2)[1:] for line in lines
                    if line.startswith('@fact '))

    @staticmethod
    def inside(path):
        """A file of this machine, in the release's folder."""
        return f'/host{path}'


def dump_memory(libvirt, kind, version):
    """virsh dump --memory-only in a format, for makedumpfile and crash."""
    path = libvirt.folder / 'virsh-dump'
    path.unlink(missing_ok=True)
    before = libvirt.qmp('query-memory-debug')['counts']['reads']
    said = libvirt.virsh('dump', DOMAIN, path, '--memory-only', '--verbose',
                         *([] if kind == dump.ELF else ['--format', kind]))
    reads = libvirt.qmp('query-memory-debug')['counts']['reads'] - before
    tools.expect(r'100(\.0+)? ?%', said)
    blocks = [RAM_MIB * MIB, 256 * 1024]        # and the firmware
    windows = sum(-(-size // WINDOW) for size in blocks)
    if reads > windows * 1.01 + 8:
        raise tools.Failure(f'it took {reads} calls of the backend, not '
                            f'{windows}')
    if kind in dump.FLATTENED:
        made = path.with_suffix('.rearranged')
        made.unlink(missing_ok=True)
        libvirt.root.run('sh', '-c', 'exec makedumpfile -R "$1" <"$2"', 'sh',
                         made, path)
        path = made
    log = path.with_suffix('.log')
    log.unlink(missing_ok=True)
    if not kind.endswith('snappy'):     # Debian's makedumpfile lacks it
        libvirt.root.run('makedumpfile', '--dump-dmesg', path, log)
        tools.expect(re.escape(version), log.read_text(errors='replace'))
    path.unlink()


def suspend_resume(libvirt):
    """virsh suspend and resume."""
    libvirt.virsh('suspend', DOMAIN)
    tools.expect('paused', libvirt.virsh('domstate', DOMAIN))
    libvirt.virsh('resume', DOMAIN)
    tools.expect('running', libvirt.virsh('domstate', DOMAIN))


def monitor_command(libvirt):
    """virsh qemu-monitor-command, in HMP and QMP."""
    said = libvirt.virsh('qemu-monitor-command', DOMAIN, '--hmp',
                         'info memory-debug')
    tools.expect('Guest: +simulated', said)
    read = libvirt.qmp('memory-debug-read', space='physical',
                       address=0x1000, size=16)
    if 'data' not in read:
        raise tools.Failure(f'memory-debug-read returns {read}')


def core_node(libvirt, version):
    """The core node, added and exported by qemu-monitor-command."""
    path = libvirt.folder / 'core'
    path.touch()
    libvirt.qmp('object-add', **{'qom-type': 'iothread', 'id': 'core0'})
    libvirt.qmp('blockdev-add', **{'driver': 'guest-core', 'read-only': True,
                                   'node-name': 'core0'})
    libvirt.qmp('block-export-add', **{
        'type': 'fuse', 'id': 'core0', 'node-name': 'core0',
        'iothread': 'core0', 'mountpoint': str(path)})
    log = path.with_suffix('.log')
    log.unlink(missing_ok=True)
    libvirt.root.run('makedumpfile', '--dump-dmesg', path, log)
    tools.expect(re.escape(version), log.read_text(errors='replace'))
    libvirt.qmp('block-export-del', id='core0', mode='hard')


def dump_behind_its_back(libvirt):
    """A detached dump that libvirt has not started; does libvirtd survive?"""
    libvirt.qmp('dump-guest-memory', **{
        'paging': False, 'detach': True, 'format': 'kdump-lzo',
        'protocol': f'file:{libvirt.folder}/behind'})
    try:
        poll(lambda: libvirt.daemon.poll() is not None or
             libvirt.qmp('query-dump')['status'] == 'completed',
             'the dump to end', 60)
        time.sleep(2)
    except dump.ToolError:
        time.sleep(2)
    if libvirt.daemon.poll() is not None:
        status = libvirt.daemon.returncode
        raise tools.Failure('libvirtd crashes with ' + (
            signal.Signals(-status).name if status < 0 else f'status {status}'))


def run(checks, found, folder):
    """Add libvirt's rows to the table @found."""
    name = f'libvirt {checks.root.version("libvirt-daemon")}: '

    def row(what, function, *arguments):
        said = checks.check(name + what, function, *arguments)
        found.add(name + what, [said])

    with Libvirt(checks.root, folder) as libvirt:
        version = libvirt.start('patched', ENCRYPTED)
        row('suspend, resume', suspend_resume, libvirt)
        row('qemu-monitor-command', monitor_command, libvirt)
        for kind in dump.FORMATS:
            row(f'virsh dump --memory-only, {kind}', dump_memory, libvirt,
                kind, version)
        row('core node by qemu-monitor-command', core_node, libvirt, version)
        row('a dump that libvirt did not start', dump_behind_its_back, libvirt)
    with Libvirt(checks.root, folder) as libvirt:
        libvirt.start('base')
        row('the same with an unpatched QEMU', dump_behind_its_back, libvirt)
