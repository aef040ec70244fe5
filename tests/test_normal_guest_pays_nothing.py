# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory core of the patched QEMU is the unpatched one's machine code.

Function by function, after relocation. What may differ is what a compiler
says of the source: line numbers in assertions, the numbers of string
constants, places within a section.
"""
import os
import re
import subprocess
import unittest
from pathlib import Path

BUILD = Path(os.environ.get("BUILD", "build/10.2"))
TOP = Path(__file__).resolve().parent.parent

OBJECTS = {
    # object file: functions which the series takes out of it
    "system_physmem.c.o": {"cpu_memory_rw_debug"},
    "system_memory.c.o": set(),
    "accel_tcg_cputlb.c.o": set(),
    "system_dma-helpers.c.o": set(),
    "target_i386_tcg_system_excp_helper.c.o": set(),
}

# What frees a RAMBlock differs in when it frees the record of shared pages. On
# QEMU 10.0, where the series adds that record, what makes one differs, too.
FREES = {"reclaim_ramblock", "qemu_ram_free"}
MAKES = {"ram_block_add", "qemu_ram_resize", "qemu_ram_alloc_internal",
         "qemu_ram_alloc_from_fd", "qemu_ram_alloc_from_file"}
NEW_ON_10_0 = {"memory_debug_written", "ram_block_attributes_state_change"}

# Called with the line number of the source in %edx, %ecx or %r8d
ASSERTIONS = re.compile(r"__assert_fail|g_assertion_message|"
                        r"error_setg_internal|qemu_mutex|(call|jmp) \*")
LOCK = re.compile("bql_lock_impl")      # with the line in %esi
NEAR = 8        # instructions between a line number and such a call


def built(folder, name):
    """The object file of that name, in the library that this QEMU has it in."""
    path, = (folder / "out").glob(f"lib*.a.p/{name}")
    return path


def disassemble(path):
    """{function: [instruction]}, each with its relocation by name."""
    text = subprocess.run(["objdump", "-drw", "--no-show-raw-insn", path],
                          stdout=subprocess.PIPE, text=True,
                          check=True).stdout
    functions = {}
    for line in text.splitlines():
        start = re.match(r"[0-9a-f]+ <(.+)>:$", line)
        if start:
            body = functions.setdefault(start.group(1), [])
            continue
        insn = re.match(r"\s+[0-9a-f]+:\s+(.*)$", line)
        if insn:
            body.append(normalise(insn.group(1)))
    return {name: mask_lines(body) for name, body in functions.items()}


def normalise(insn):
    """Drop what depends on where a function or a constant lies."""
    insn = re.sub(r"\s+", " ", insn.strip())
    insn = re.sub(r"\b[0-9a-f]+ <([^>]+)>", r"<\1>", insn)
    insn = re.sub(r"-?0x[0-9a-f]+(\(%rip\),\S+ # <)", r"\1", insn)
    insn = re.sub(r"\b[0-9a-f]+: (R_X86_64_\w+)", r"\1", insn)
    insn = re.sub(r"\.LC\d+|(\.(?:rodata|bss|data|text)[\w.]*)(?:[+-]\w+)?",
                  r"\1", insn)
    return insn


def mask_lines(body):
    """Blank the constants that are line numbers of the source."""
    out = []
    for i, insn in enumerate(body):
        line = re.match(r"mov \$0x[0-9a-f]+,(%e[cd]x|%r8d|%esi)$", insn)
        called = LOCK if line and line.group(1) == "%esi" else ASSERTIONS
        if line and any(called.search(later)
                        for later in body[i + 1:i + 1 + NEAR]):
            insn = f"mov $LINE,{line.group(1)}"
        out.append(insn)
    return out


@unittest.skipIf(os.environ.get("SANITIZE"), "sanitizers change all code")
class NormalGuestPaysNothing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        subprocess.run(["make", "-s", "where-base"], cwd=TOP, check=True,
                       stdout=subprocess.DEVNULL)

    def compare(self, name, removed):
        new, other = set(), set()
        if name == "system_physmem.c.o":
            other = FREES
            if (TOP / "hooks" / BUILD.name).is_dir():
                new, other = NEW_ON_10_0, FREES | MAKES
        base = disassemble(built(BUILD / "base", name))
        ours = disassemble(built(BUILD, name))
        self.assertGreater(len(base), 3)
        self.assertEqual(set(base) - set(ours), removed)
        self.assertEqual(set(ours) - set(base), new)
        differ = [f for f in base if f in ours and f not in other and
                  base[f] != ours[f]]
        detail = [f"{f}: {a!r} became {b!r}" for f in differ
                  for a, b in zip(base[f], ours[f]) if a != b][:5]
        self.assertEqual(differ, [], "\n".join(detail))

    def test_other_constants_and_calls_are_compared(self):
        """The mask hides a line number and nothing else."""
        body = ["mov $0x1000,%edx", "call <read>", "cmp $0x5,%eax"]
        self.assertEqual(mask_lines(body), body)
        failing = ["mov $0x10f5,%edx", "cmp $0x5,%eax", "call __assert_fail"]
        self.assertEqual(mask_lines(failing),
                         ["mov $LINE,%edx", *failing[1:]])

    def test_another_function_is_told_apart(self):
        body = disassemble(built(BUILD, "system_physmem.c.o"))
        self.assertNotEqual(body["address_space_read_full"],
                            body["address_space_write"])


def add_test(name, removed):
    def test(self):
        self.compare(name, removed)
    short = re.sub(r"\W+", "_", name.removesuffix(".c.o"))
    setattr(NormalGuestPaysNothing, f"test_{short}", test)


for object_name, gone in OBJECTS.items():
    add_test(object_name, gone)

if __name__ == "__main__":
    unittest.main()
