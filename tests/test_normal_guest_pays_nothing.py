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

from lib import repository
from lib.qemu import binary

BUILD = Path(os.environ.get("BUILD", repository.BUILD))
TOP = repository.TOP

OBJECTS = {
    # object file: functions which the series takes out of it
    "system_physmem.c.o": set(),
    "system_memory.c.o": set(),
    "accel_tcg_cputlb.c.o": set(),
    "system_dma-helpers.c.o": set(),
    "target_i386_tcg_system_excp_helper.c.o": set(),
}

# What frees a RAMBlock differs in when it frees the record of shared pages
FREES = {"reclaim_ramblock", "qemu_ram_free"}
# A debug access: it asks whether the guest is a confidential one
DEBUGS = {"cpu_memory_rw_debug"}
# "info mtree -f", which releases all its references, and where it is inlined
MTREE = {"mtree_info_flatview_free", "mtree_info"}
# It looks at MachineState, which has one more member
MACHINE = {"qemu_ram_alloc_internal"}
# QEMU 11, when a reset makes the VM anew: the record of shared pages is new, too
REBIND = {"ram_block_rebind"}
CHANGED = {
    "system_physmem.c.o": FREES | DEBUGS | MACHINE | REBIND,
    "system_memory.c.o": MTREE,
}
ADDED = {}
if repository.BASE == "10.0":
    # It has no record of shared pages, and two functions for debug accesses under
    # other names. What allocates a RAMBlock makes the record, of a guest_memfd.
    CHANGED["system_physmem.c.o"] |= {"ram_block_add", "qemu_ram_resize",
                                      "qemu_ram_alloc_from_fd"}
    ADDED["system_physmem.c.o"] = {"ram_block_attributes_state_change",
                                   "physical_memory_invalidate_code",
                                   "physical_memory_set_dirty_range"}
# MemoryRegion has one more member at its end, which moves what it is part of:
# constants that were as large as all its others, and what was added to them
REGION = 0x108
GROWN = {8, 16}

# Called with the line number of the source in %edx, %ecx or %r8d
ASSERTIONS = re.compile(r"__assert_fail|g_assertion_message|error_setg\w*_internal|"
                        r"qemu_mutex|(call|jmp) \*")
LOCK = re.compile("bql_lock_impl")      # with the line in %esi
PADDING = re.compile(r"((data16|cs) )*nop|xchg +%ax,%ax")
NEAR = 16       # instructions between a line number and such a call


def built(folder, name):
    """The object file of that name, in the library that this QEMU has it in."""
    path, = (folder / "out").glob(f"lib*.a.p/{name}")
    return path


def disassemble(path):
    """{function: [instruction]}, each with its relocation by name.

    What only aligns the next one is left out, and a target within a function is
    the number of an instruction.
    """
    text = subprocess.run(["objdump", "-drw", "--no-show-raw-insn", path],
                          stdout=subprocess.PIPE, text=True,
                          check=True).stdout
    functions = {}                      # name: [(offset, instruction)]
    for line in text.splitlines():
        start = re.match(r"([0-9a-f]+) <(.+)>:$", line)
        if start:
            first = int(start.group(1), 16)
            body = functions.setdefault(start.group(2), [])
            continue
        insn = re.match(r"\s+([0-9a-f]+):\s+(.*)$", line)
        if insn and not PADDING.match(insn.group(2)):
            body.append((int(insn.group(1), 16) - first,
                         normalise(insn.group(2))))

    def number(target):
        name, offset = target.groups()
        before = [at for at, _ in functions.get(name, ())
                  if at < int(offset, 16)]
        return f"<{name} {len(before)}>"

    return {name: mask_lines([re.sub(r"<([^>+]+)\+0x([0-9a-f]+)>", number,
                                     insn) for _, insn in body])
            for name, body in functions.items()}


def normalise(insn):
    """Drop what depends on where a function or a constant lies."""
    insn = re.sub(r"\s+", " ", insn.strip())
    insn = re.sub(r"\b[0-9a-f]+ <([^>]+)>", r"<\1>", insn)
    insn = re.sub(r"-?0x[0-9a-f]+(\(%rip\),\S+ # <)", r"\1", insn)
    # A relocation says where it goes, and what stands before it does not
    insn = re.sub(r"(<[^>]*> )?\b[0-9a-f]+: (R_X86_64_\w+)", r"\2", insn)
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


NUMBER = re.compile(r"0x[0-9a-f]+")
# One line is added at the top of a source; the mask misses where a call is far
LINE = re.compile(r"mov \$(0x[0-9a-f]{3,}),%(edx|ecx|esi|r8d)$")


def next_line(base, ours):
    """Do both load a line number, the second the one behind the first?"""
    a, b = LINE.match(base), LINE.match(ours)
    return a and b and a[2] == b[2] and int(b[1], 16) - int(a[1], 16) == 1


def same(base, ours):
    """The same instructions, but for the size of a MemoryRegion?"""
    return len(base) == len(ours) and all(
        a == b or next_line(a, b) or
        NUMBER.sub("N", a) == NUMBER.sub("N", b) and all(
            x == y or int(x, 16) >= REGION and
            int(y, 16) - int(x, 16) in GROWN
            for x, y in zip(NUMBER.findall(a), NUMBER.findall(b)))
        for a, b in zip(base, ours))


def whole(name):
    """The function of which gcc has perhaps set an unlikely part aside."""
    return name.removesuffix(".cold")


@unittest.skipIf(os.environ.get("SANITIZE"), "sanitizers change all code")
class NormalGuestPaysNothing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        binary(base=True)       # it is built

    def compare(self, name, removed):
        new, other = ADDED.get(name, set()), CHANGED.get(name, set())
        base = disassemble(built(BUILD / "base", name))
        ours = disassemble(built(BUILD, name))
        self.assertGreater(len(base), 3)

        def only(here, there):
            return {whole(f) for f in set(here) - set(there)
                    if f == whole(f) or whole(f) not in other}

        self.assertEqual(only(base, ours), removed)
        self.assertEqual(only(ours, base), new)
        differ = [f for f in base if f in ours and whole(f) not in other and
                  not same(base[f], ours[f])]
        detail = [f"{f}: {a!r} became {b!r}" for f in differ
                  for a, b in zip(base[f], ours[f]) if not same([a], [b])][:5]
        self.assertEqual(differ, [], "\n".join(detail))

    def test_other_constants_and_calls_are_compared(self):
        """The mask hides a line number and nothing else."""
        body = ["mov $0x1000,%edx", "call <read>", "cmp $0x5,%eax"]
        self.assertEqual(mask_lines(body), body)
        failing = ["mov $0x10f5,%edx", "cmp $0x5,%eax", "call __assert_fail"]
        self.assertEqual(mask_lines(failing),
                         ["mov $LINE,%edx", *failing[1:]])

    def test_no_other_number_may_differ(self):
        self.assertTrue(same(["mov 0x110(%rax),%rdi"], ["mov 0x120(%rax),%rdi"]))
        for other in "mov 0x130(%rax),%rdi", "mov 0x110(%rbx),%rdi":
            self.assertFalse(same(["mov 0x110(%rax),%rdi"], [other]))
        self.assertFalse(same(["mov 0x10(%rax),%rdi"], ["mov 0x20(%rax),%rdi"]))

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
