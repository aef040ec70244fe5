#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Packs a Linux into one firmware image that boots as a plain SEV guest.

  linux.py BZIMAGE INITRD OUTPUT [--bit N] [--ram MIB] [--append CMDLINE]

The kernel must have CONFIG_AMD_MEM_ENCRYPT; its page tables carry the C-bit N
of the (stand-in) host, and shared pages are those that it shares itself.
Format of the zero page: Linux, Documentation/x86/{boot,zero-page}.rst.
"""
import argparse
import os
import struct
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1 << 20
PARAMS, KERNEL = 0x10000, 16 * MIB
CMDLINE = PARAMS + 0x1000
# More than this would reach the local APIC's page.
MAX_IMAGE = 16 * MIB


class Unfit(Exception):
    """These files do not make an image; the text says why."""


def setup_header(image):
    """Offset of the protected-mode part, and the setup header."""
    if image[0x202:0x206] != b'HdrS':
        raise Unfit('the kernel is no bzImage')
    sectors = image[0x1f1] or 4
    return (sectors + 1) * 512, image[0x1f1:0x202 + image[0x201]]


def e820(ram):
    """Entries of type 1, RAM: below the EBDA and above 1 MiB."""
    entries = [(0, 0x9fc00), (MIB, ram - MIB)]
    return b''.join(struct.pack('<QQI', start, size, 1)
                    for start, size in entries)


def zero_page(header, initrd_at, initrd_size, cmdline, ram):
    """The boot parameters and the command line at PARAMS."""
    page = bytearray(0x1000)
    page[0x1f1:0x1f1 + len(header)] = header
    page[0x210] = 0xff                          # type_of_loader
    page[0x211] |= 1                            # LOADED_HIGH
    struct.pack_into('<I', page, 0x214, KERNEL)
    struct.pack_into('<II', page, 0x218, initrd_at, initrd_size)
    struct.pack_into('<I', page, 0x228, CMDLINE)
    table = e820(ram)
    page[0x1e8] = len(table) // 20
    page[0x2d0:0x2d0 + len(table)] = table
    return bytes(page) + cmdline.encode() + b'\0'


def link(work, output, bit, initrd_at, blobs):
    """Assemble linux.S around the files in @work."""
    size = -(-(blobs + 0x10000) // 0x10000) * 0x10000
    if size > MAX_IMAGE:
        raise Unfit(f'{size} bytes are more than fit below 4 GiB: '
                    f'{MAX_IMAGE}; take a smaller kernel or initrd')
    mask = 1 << bit if bit else 0
    files = [f'-D{name}_FILE="{work}/{name.lower()}"'
             for name in ('KERNEL', 'INITRD', 'PARAMS')]
    subprocess.run(
        ['gcc', '-c', '-I', HERE, f'-DPRIVATE_MASK={mask:#x}',
         f'-DPARAMS={PARAMS:#x}', f'-DKERNEL={KERNEL:#x}',
         f'-DINITRD={initrd_at:#x}', *files, os.path.join(HERE, 'linux.S'),
         '-o', f'{work}/linux.o'], check=True)
    subprocess.run(
        ['gcc', '-E', '-P', '-x', 'c', f'-DIMAGE_SIZE={size:#x}',
         os.path.join(HERE, 'linux.ld'), '-o', f'{work}/linux.ld'], check=True)
    subprocess.run(
        ['ld', '--no-warn-rwx-segments', '-T', f'{work}/linux.ld',
         f'{work}/linux.o', '-o', f'{work}/linux.elf'], check=True)
    subprocess.run(['objcopy', '-O', 'binary', f'{work}/linux.elf', output],
                   check=True)


def pack(bzimage, initrd, output, bit=51, ram_mib=256, append=''):
    """Write the image @output; raise Unfit when it cannot be."""
    with open(bzimage, 'rb') as f:
        image = f.read()
    with open(initrd, 'rb') as f:
        initrd = f.read()
    start, header = setup_header(image)
    ram = ram_mib * MIB
    initrd_at = (ram - len(initrd)) & -MIB
    # no-kvmapf: under nested emulation an asynchronous page fault may come in
    # kernel mode, where it is fatal
    cmdline = f'console=ttyS0 acpi=off no-kvmapf {append}'.strip()
    with tempfile.TemporaryDirectory() as work:
        params = zero_page(header, initrd_at, len(initrd), cmdline, ram)
        blobs = {'kernel': image[start:], 'initrd': initrd, 'params': params}
        for name, data in blobs.items():
            with open(os.path.join(work, name), 'wb') as f:
                f.write(data)
        link(work, output, bit, initrd_at,
             sum(len(data) + 16 for data in blobs.values()))


def main():
    parser = argparse.ArgumentParser(description='Linux as firmware image')
    parser.add_argument('bzimage')
    parser.add_argument('initrd')
    parser.add_argument('output')
    parser.add_argument('--bit', type=int, default=51,
                        help='C-bit; 0: not encrypted')
    parser.add_argument('--ram', type=int, default=256, help='guest MiB')
    parser.add_argument('--append', default='', help='kernel command line')
    args = parser.parse_args()
    try:
        pack(args.bzimage, args.initrd, args.output, args.bit, args.ram,
             args.append)
    except Unfit as e:
        parser.exit(1, f'linux.py: {e}\n')


if __name__ == '__main__':
    main()
