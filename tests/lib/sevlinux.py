# SPDX-License-Identifier: GPL-2.0-or-later
"""The Linux test guest as a SEV guest under the KVM stand-in.

Where no KVM boots a Linux, TCG is the hardware: QEMU's own emulation of an
AMD processor runs a Linux with kvm_amd, and in that the SEV guest runs. Its
console and QMP are passed out through serial ports, so that the class below
is used in the same way.
"""

import functools
import gzip
import lzma
import subprocess
import tarfile
from pathlib import Path

from payload.linux import pack

from . import linux
from .console import Console
from .initramfs import Initramfs
from .qemu import Qemu, binary
from .qmp import QMP
from .standin import (BUILD, CPU, build_lock, confidential_object, library,
                      page_table_bit)
from .wait import accept, listen

RAM_MIB = 256
CMDLINE = 'quiet pti=off'
MODULES = ('irqbypass', 'ccp', 'kvm', 'kvm-amd')
OUTER_BITS = 40         # physical address width of TCG's EPYC
OUTER_INIT = '''#!/bin/sh
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for m in {modules}; do [ -e /$m.ko ] && insmod /$m.ko; done
{command}
echo "the inner QEMU ended with status $?"
sleep 3
poweroff -f
'''


@functools.cache
def kernel_files():
    """Folder with vmlinuz and KVM's modules, of the test guest's kernel."""
    folder = BUILD / 'kernel'
    package = f"{Path(linux.image()['kernel']).parent}.deb"
    folder.mkdir(parents=True, exist_ok=True)
    with build_lock(), subprocess.Popen(
            ['dpkg-deb', '--fsys-tarfile', package],
            stdout=subprocess.PIPE) as dpkg, tarfile.open(
            fileobj=dpkg.stdout, mode='r|') as tar:
        for member in tar:
            name = Path(member.name).name
            module = name.removesuffix('.xz')       # Debian 13 packs them
            if name.startswith('vmlinuz'):
                target = folder / 'vmlinuz'
            elif module in {f'{name}.ko' for name in MODULES}:
                target = folder / module
            else:
                continue
            data = tar.extractfile(member).read()
            target.write_bytes(lzma.decompress(data) if name.endswith('.xz')
                               else data)
    return folder


def firmware(bit):
    """A Linux and the test guest's programs in one -bios image."""
    target = BUILD / f'linux-{bit}.bin'
    kernel = kernel_files() / 'vmlinuz'
    with build_lock():
        initrd = BUILD / 'initrd.gz'
        initrd.write_bytes(gzip.compress(
            Path(linux.image()['initrd']).read_bytes()))
        pack(kernel, initrd, target, bit, RAM_MIB, CMDLINE)
    return target


def inner_arguments(image, bit, debug):
    """QEMU's arguments for the guest itself."""
    return ['-accel', 'kvm', '-cpu', CPU, '-bios', str(image), '-object',
            confidential_object('sev', debug, bit)]


def environment(bit, **settings):
    """A command prefix: QEMU under the stand-in."""
    settings = {'cbit': bit, 'sharing': 'announced', **settings}
    return ['env', *(f'STANDIN_{name.upper()}={value}'
                     for name, value in settings.items())]


class SevLinux(linux.LinuxGuest):
    """A Linux in SEV, on /dev/kvm; use LinuxGuest's methods."""

    def __init__(self, program=None, debug=True, **settings):
        bit = page_table_bit(scripted=False)
        Qemu.__init__(self, *inner_arguments(firmware(bit), bit, debug),
                      ram_mib=RAM_MIB, program=program,
                      machine='q35,confidential-guest-support=cg0')
        self.command = [*environment(bit, **settings),
                        f'LD_PRELOAD={library()}', *self.command]


class NestedSevLinux(linux.LinuxGuest):
    """The same with TCG for hardware: console and qmp are the inner guest's.

    host_memory() and gdb_socket are not, and stay unused.
    """

    def __init__(self, program=None, debug=True, **settings):
        program = program or binary()
        Qemu.__init__(
            self, '-accel', 'tcg,thread=multi', '-cpu', 'EPYC,+svm,check=off',
            '-kernel', str(kernel_files() / 'vmlinuz'), '-append',
            'console=ttyS0 quiet panic=-1', ram_mib=1536, program=program)
        self.outer_console = None
        initrd = outer_initrd(self.folder / 'root', program, debug, settings)
        self.command += [
            '-initrd', str(initrd), '-no-reboot',
            '-serial', f'unix:{self.folder}/inner-serial',
            '-chardev', f'socket,id=inner-qmp,path={self.folder}/inner-qmp',
            '-device', 'isa-serial,chardev=inner-qmp,index=2,irq=5']

    def _start(self):
        serial = listen(self.folder / 'inner-serial')
        qmp = listen(self.folder / 'inner-qmp')
        super()._start()
        self.outer_console, self.outer_qmp = self.console, self.qmp
        self.console = Console(accept(serial, 'serial', self._check_alive))
        self.qmp = QMP(accept(qmp, 'QMP', self._check_alive), 300)

    def log(self):
        """What QEMU printed, and the Linux in which the guest's QEMU runs."""
        text = super().log()
        if self.outer_console and self.process.poll() is not None:
            text += f'\nIn the outer guest:\n{self.outer_console.rest()}'
        return text.strip()


def inner_command(program, debug, settings):
    """The command line inside, with the serial ports for its sockets."""
    bit = OUTER_BITS - 1
    return ' '.join([
        *environment(bit, **settings), 'LD_PRELOAD=/kvm-stand-in.so', '/qemu',
        '-nodefaults', '-display', 'none', '-m', f'{RAM_MIB}M',
        '-M', 'q35,confidential-guest-support=cg0',
        *inner_arguments('/linux.bin', bit, debug),
        '-serial', '/dev/ttyS1', '-chardev', 'serial,id=qmp,path=/dev/ttyS2',
        '-mon', 'chardev=qmp,mode=control'])


def outer_initrd(folder, program, debug, settings):
    """An initramfs with busybox, QEMU, the stand-in and the guest."""
    root = Initramfs(folder)
    root.add_program(program, 'qemu')
    for file in library(), *kernel_files().glob('*.ko'):
        root.add(file, Path(file).name)
    root.add(firmware(OUTER_BITS - 1), 'linux.bin')
    root.write_script('init', OUTER_INIT.format(
        modules=' '.join(MODULES),
        command=inner_command(program, debug, settings)))
    archive = folder.with_suffix('.cpio')
    root.pack(archive)
    return archive
