# SPDX-License-Identifier: GPL-2.0-or-later
"""Draws machines: what QEMU is started with, and what is in their memory.

A machine is a list of options, each a list of arguments, so that a failure can
be tried without each.  {dir} in an argument is the folder of one guest, with
files that it may change; {common} is one for all.
"""

from pathlib import Path

from . import firmware

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
HIGH = 4 * GIB
PCI = {'q35': 0x80000000, 'pc': 0x80000000}
PAM = {'q35': range(0x90, 0x97), 'pc': range(0x59, 0x60)}
SMRAM = {'q35': 0x9d, 'pc': 0x72}
ESMRAMC = 0x9e                  # q35
HUGE_PAGES = Path('/sys/kernel/mm/hugepages/hugepages-2048kB')
VGA_SLOT = 3
VGA_BAR = 0xe0000000


class Machine:
    """
    @kind       q35, pc or isapc
    @options    [[argument]] that it can be without
    @own        {file name: contents} of each guest's own folder
    @ports      qtest's commands before the guest first runs
    @tables     the guest's page tables, None in real mode
    @no_memory  names of sections without pages: whoever touches one dies
    @flash      {name of a flash: its size}
    @serves     does the guest read and write when asked to?
    @page_bit   what tells private pages in an address, as a mask, or 0
    @shared     ranges that a simulated guest shares, or ()
    @sim        more properties of a simulated guest
    """

    KINDS = 'q35', 'q35', 'pc', 'pc', 'isapc'
    SMM = 'on', 'off'
    TABLES = 0.8            # so many are not in real mode
    FLASH = 0.5

    def __init__(self, rng):
        self.rng = rng
        self.kind = rng.choice(self.KINDS)
        self.options, self.firmware, self.own, self.ports = [], [], {}, []
        self.no_memory, self.page_bit, self.flash = set(), 0, {}
        self.below, self.above = self._draw_sizes()
        self.smm = rng.choice(self.SMM)
        self.tables = self._draw_tables() if rng.random() < self.TABLES else None
        self.serves = bool(self.tables)
        self._add_backend()
        self._add_firmware()
        self._add_display()
        self._add_devices()
        if self.kind != 'isapc':
            self._draw_registers()
        self.shared = self._draw_shared()
        # Its page tables have no bit set, and nothing is shared
        self.sim = {'cbitpos': 47, 'cbit-set': 'shared'} \
            if not self.shared and rng.random() < 0.5 else {}

    def _draw_sizes(self):
        below = self.rng.choice((2, 4, 6, 8, 16)) * MIB
        if self.kind == 'isapc':
            return below, 0
        return below, self.rng.choice((0, 2, 4, 8)) * MIB

    def _draw_tables(self):
        places = [0, 0x9f000, 0xa0000, 0xbf000, 0xc0000, 0xdf000, 0xe0000,
                  0xf0000, 0xff000, MIB, self.below, HIGH - 0x10000, HIGH,
                  HIGH + self.above, HIGH + GIB, VGA_BAR, VGA_BAR + MIB,
                  self.rng.randrange(self.below), 0xfee00000 - 0x1000]
        return firmware.draw_tables(self.rng, places)

    def _add_backend(self):
        kind = self.rng.choice(('', '', 'ram', 'memfd', 'file'))
        share = self.rng.choice(('on', 'off'))
        size = self.below + self.above
        more = {'file': ',mem-path={dir}/ram', 'memfd': ''}.get(kind, '')
        if kind == 'memfd' and free_huge_pages() * 2 * MIB >= 8 * size:
            more = ',hugetlb=on,hugetlbsize=2M'
        if kind == 'file':
            self.own['ram'] = self.rng.randbytes(size)
        if kind:
            self.options.append(
                ['-object', f'memory-backend-{kind},id=ram,size={size},'
                 f'share={share}{more}', '-machine', 'memory-backend=ram'])

    def _add_firmware(self):
        flash = self.kind != 'isapc' and \
            self.rng.random() < self.FLASH
        sizes = (64, 128, 192, 256, 512, 1024) if not flash else \
            (64, 68, 100, 128, 256, 1024)
        size = self.rng.choice(sizes) * KIB
        self.own['bios'] = firmware.image(self.rng, size, self.tables)
        if not flash:
            self.firmware += ['-bios', '{dir}/bios']
            return
        readonly = self.rng.choice(('on', 'off'))
        self._add_flash('bios', 0, readonly)
        if self.rng.random() < 0.5:
            self.own['vars'] = self.rng.randbytes(
                self.rng.choice((4, 64, 132)) * KIB)
            self._add_flash('vars', 1, self.rng.choice(('on', 'off')))

    def _add_flash(self, name, unit, readonly):
        self.flash[f'system.flash{unit}'] = len(self.own[name])
        self.firmware += ['-drive', f'if=pflash,format=raw,unit={unit},'
                          f'readonly={readonly},file={{dir}}/{name}']

    def _add_display(self):
        kinds = ('VGA', 'cirrus-vga', 'vmware-svga', 'bochs-display', 'ramfb',
                 'virtio-vga', None)
        if self.kind == 'isapc':
            kinds = 'isa-vga', 'isa-cirrus-vga', None
        self.display = self.rng.choice(kinds)
        if not self.display:
            return
        device = self.display
        if self.kind != 'isapc' and device != 'ramfb':
            device += f',addr={VGA_SLOT}'
        if self.display == 'VGA':
            device += ',vgamem_mb=1'
        self.options.append(['-device', device])

    def _add_devices(self):
        """What lies in the device memory above all RAM."""
        if self.kind == 'isapc' or self.rng.random() < 0.4:
            return
        for i in range(self.rng.randrange(1, 4)):
            kind = self.rng.choice(('ram', 'memfd', 'file'))
            more = f',mem-path={{dir}}/m{i}' if kind == 'file' else ''
            share = self.rng.choice(('on', 'off'))
            size = self.rng.choice((4, 8)) * MIB
            device = f'pc-dimm,memdev=m{i}'
            way = self.rng.random()
            if way < 0.4:
                size, plugged = 8 * MIB, self.rng.choice((0, 4))
                if way < 0.15 and HUGE_PAGES.exists():
                    kind, plugged = 'memfd', 0
                    more = ',hugetlb=on,hugetlbsize=2M,reserve=off'
                    self.no_memory.add(f'm{i}')
                device = (f'virtio-mem-pci,memdev=m{i},requested-size='
                          f'{plugged}M,block-size=2M')
            self.options.append(
                ['-object', f'memory-backend-{kind},id=m{i},size={size},'
                 f'share={share}{more}', '-device', device])

    def _draw_registers(self):
        """PAM, SMRAM and the display's memory, as a firmware sets them."""
        rng = self.rng
        if rng.random() < 0.7:
            for register in PAM[self.kind]:
                self._config(0, register, rng.choice((0, 0x11, 0x22, 0x33,
                                                      0x30, 0x03, 0x13)))
        if rng.random() < 0.5:
            self._config(0, SMRAM[self.kind], rng.choice((0x4a, 0x0a, 0x48)))
        if self.kind == 'q35' and rng.random() < 0.3:
            self._config(0, ESMRAMC, rng.choice((0x01, 0x03, 0x39)))
        if self.display in ('VGA', 'cirrus-vga', 'bochs-display',
                            'virtio-vga') and rng.random() < 0.7:
            self._config(VGA_SLOT, 0x10, VGA_BAR, 'l')
            self._config(VGA_SLOT, 0x04, 2)

    def _config(self, slot, register, value, size='b'):
        address = 0x80000000 | slot << 11 | register & ~3
        self.ports += [f'outl 0xcf8 {address:#x}',
                       f'out{size} {0xcfc + register % 4:#x} {value:#x}']

    def _draw_shared(self):
        if self.rng.random() < 0.5:
            return ()
        found = []
        for _ in range(self.rng.randrange(1, 4)):
            start = self.rng.choice((
                0x9e000, 0xa0000, 0xbe000, 0xc0000, 0xef000, MIB - 0x2000,
                self.below - 0x3000, HIGH - 0x10000, HIGH - 0x2000, HIGH,
                self.rng.randrange(self.below) & -0x1000))
            pages = self.rng.choice((1, 2, 3, 8, 0x80, 0x10000))
            found.append((start, pages * 0x1000))
        return tuple(found)

    def in_use(self, start, end):
        """Does the guest run from there, or are its page tables there?"""
        for image in 0xf0000, firmware.SEGMENT:
            first, last = max(start, image), min(end, image + 0x10000)
            if last - first > 0x8000 or any(
                    firmware.in_use(a) for a in range(first, last)):
                return True
        return False

    def leave_out(self, indices):
        """Make it a machine without these options."""
        self.options = [o for i, o in enumerate(self.options)
                        if i not in indices]

    def write_files(self, folder):
        """The files of one guest."""
        for name, data in self.own.items():
            (folder / name).write_bytes(data)

    def arguments(self):
        """All arguments but what the guest's kind adds."""
        machine = self.kind
        if self.kind != 'isapc':
            machine += f',max-ram-below-4g={self.below},smm={self.smm}'
        size = f'size={(self.below + self.above) // MIB}M'
        if self.kind != 'isapc':
            size += ',slots=8,maxmem=2G'
        return ['-machine', machine, '-m', size, '-cpu', 'max', *self.firmware,
                *(word for option in self.options for word in option)]


def free_huge_pages():
    """Pages of 2 MiB that nobody uses."""
    path = HUGE_PAGES / 'free_hugepages'
    return int(path.read_text()) if path.exists() else 0
