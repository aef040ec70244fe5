#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds the payload guest for one kind of guest and one bit position.

  build.py KIND OUTDIR [--bit N]    KIND: plain sev sev-es snp tdx

writes OUTDIR/KIND-N.bin (a 64 KiB firmware image for -bios), .elf (symbols
for gdb) and .script (the same guest as a trace, for the stand-in without
/dev/kvm) and prints the image's path.
"""
import argparse
import os
import re
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
KINDS = ("plain", "sev", "sev-es", "snp", "tdx")


def default_bit(kind):
    """The C-bit, or TDX's shared bit for a 48-bit guest-physical width."""
    return {"plain": 0, "tdx": 47}.get(kind, 51)


class Payload:
    """A built payload: its files, its symbols and its page tables' bit."""

    def __init__(self, kind, bit, base):
        self.kind = kind
        self.bit = bit
        self.image = base + ".bin"
        self.elf = base + ".elf"
        self.script = base + ".script"
        self.private_mask = 0 if kind in ("plain", "tdx") else 1 << bit
        self.shared_mask = 1 << bit if kind == "tdx" else 0
        self.symbols = {}
        self.map = address_map()

    def read_symbols(self):
        """Fill self.symbols from the ELF file: virtual addresses."""
        out = subprocess.run(["nm", self.elf], check=True, text=True,
                             capture_output=True).stdout
        for line in out.splitlines():
            value, _, name = line.split()
            self.symbols[name] = int(value, 16)

    def virt(self, gpa):
        """The high virtual address of a page between 2 and 4 MiB."""
        return self.map["VIRT_OFFSET"] + gpa

    def phys(self, name):
        """The guest-physical address of a symbol of the program."""
        return self.symbols[name] - self.map["VIRT_OFFSET"]


def address_map():
    """The constants of payload.h."""
    found = {}
    with open(os.path.join(HERE, "payload.h")) as header:
        for name, value in re.findall(r"#define (\w+)\s+(0x[0-9a-f]+)",
                                      header.read()):
            found[name] = int(value, 16)
    return found


def text_lines(tag, start, end):
    """What the guest's fill_text writes: 16 bytes a line."""
    return b"".join(b"%s %08x ok\n" % (tag, a) for a in range(start, end, 16))


def run(*command):
    subprocess.run(command, check=True)


def assemble(payload, work):
    """payload.S and payload.ld to payload.elf and payload.image."""
    source = os.path.join(HERE, "payload.S")
    flags = ["-DPRIVATE_MASK=%#x" % payload.private_mask,
             "-DSHARED_MASK=%#x" % payload.shared_mask,
             "-DCONVERT=%d" % (payload.kind in ("snp", "tdx"))]
    run("gcc", "-c", "-I", HERE, *flags, source, "-o", work + ".o")
    run("gcc", "-E", "-P", "-x", "c", "-I", HERE,
        os.path.join(HERE, "payload.ld"), "-o", work + ".ld")
    run("ld", "--no-warn-rwx-segments", "-T", work + ".ld", work + ".o",
        "-o", payload.elf)
    run("objcopy", "-O", "binary", payload.elf, payload.image)


def script_setup(p):
    """What the program does before its loop, as steps of a trace."""
    m, s = p.map, p.symbols
    prv, shr = 0x20565250, 0x20524853
    access = m["SHARED_PAGE"] + m["FW_CFG_ACCESS"]
    buffer = m["SHARED_PAGE"] + m["FW_CFG_BUFFER"]
    swap = lambda v: int.from_bytes(v.to_bytes(4, "little"), "big")
    return [
        "copy %#x %#x %#x" % (m["RAM_BASE"], s["ram_load"], s["ram_size"]),
        "long-mode %#x %#x" % (p.phys("pml4") | p.private_mask,
                               s["stack_top"]),
        "print payload: long mode\\n",
        "convert %#x 2 0" % m["TEXT_SHARED"],
        "convert %#x 1 0" % m["SHARED_PAGE"],
        "text %#x %#x %#x" % (prv, m["TEXT_PRIVATE"], m["TEXT_SHARED"]),
        "text %#x %#x %#x" % (shr, m["TEXT_SHARED"], m["TEXT_TAIL"]),
        "text %#x %#x %#x" % (prv, m["TEXT_TAIL"], m["TEXT_END"]),
        "print payload: text written\\n",
        "put 4 %#x 0x0a000000" % access,
        "put 4 %#x 0x04000000" % (access + 4),
        "put 4 %#x %#x" % (access + 12, swap(buffer)),
        "out 0x514 4 0",
        "out 0x518 4 %#x" % swap(access),
        "check %#x 0x554d4551 payload: fw_cfg dma ok\\n"
        "|payload: FAILED: fw_cfg dma\\n" % buffer,
        "print payload: running\\n",
    ]


def script_loop(p):
    """tick() as a trace: instruction addresses and what they do."""
    s = p.symbols
    shared = p.map["SHARED_PAGE"]
    pte = p.phys("pt") + (p.map["FLIP_PAGE"] - p.map["RAM_BASE"]) // 512

    def at(virtual, step):
        return "at %#x %#x %s" % (virtual, virtual - p.map["VIRT_OFFSET"],
                                  step)
    return [
        "loop",
        at(s["main_loop"], "nop"),
        at(s["tick"], "nop"),
        at(s["tick_store"], "inc %#x %#x" % (p.phys("counter"),
                                             s["counter"])),
        at(s["tick_mailbox"], "report %#x %#x mailbox " %
           (p.phys("mailbox"), p.phys("mailbox_seen"))),
        at(s["tick_shared"], "report %#x %#x shared-mailbox " %
           (shared + p.map["SHARED_MAILBOX"], p.phys("shared_seen"))),
        at(s["tick_flip"], "flip %#x %#x %#x %#x %#x %#x flips " % (
            shared + p.map["FLIPS_WANTED"], p.phys("flips_done"),
            p.map["FLIP_PAGE"], pte, p.private_mask, p.shared_mask)),
        at(s["tick_return"], "nop"),
    ]


def write_script(p):
    """The trace that the stand-in walks where there is no /dev/kvm."""
    counter = p.phys("ap_counters")
    lines = ["# %s, bit %d: see tests/kvm-stand-in/README.md" % (p.kind, p.bit),
             "vcpu 0", *script_setup(p), *script_loop(p),
             "vcpu 1", "loop",
             "at %#x %#x inc %#x %#x" % (
                 p.symbols["ap_loop"], p.phys("ap_loop"), counter,
                 p.virt(counter))]
    with open(p.script, "w") as out:
        out.write("\n".join(lines) + "\n")


def build(kind, outdir, bit=None):
    """Build the payload of @kind in @outdir and return it."""
    bit = default_bit(kind) if bit is None else bit
    os.makedirs(outdir, exist_ok=True)
    base = os.path.join(outdir, "%s-%d" % (kind, bit))
    payload = Payload(kind, bit, base)
    assemble(payload, base)
    payload.read_symbols()
    write_script(payload)
    return payload


def main():
    parser = argparse.ArgumentParser(description="builds the payload guest")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("outdir")
    parser.add_argument("--bit", type=int, help="C-bit or shared bit")
    args = parser.parse_args()
    print(build(args.kind, args.outdir, args.bit).image)


if __name__ == "__main__":
    main()
