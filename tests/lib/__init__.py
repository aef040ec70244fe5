# SPDX-License-Identifier: GPL-2.0-or-later
"""What the end-to-end tests and the demo share; it drives QEMU from outside.

wait        deadlines whose errors say what was waited for
qmp         QMP client: commands, events, HMP lines
qemu        one QEMU process with its sockets, log and host-side memory
console     the guest's serial line: expect with a deadline
rsp         gdb remote protocol, packet by packet
gdb         the real gdb, run as a batch
dump        dumps of a guest's memory, and the tools that read them
doors       every way to read guest memory, as one function each
linux       the Linux test guest of tests/guest
qtest       ports and driver side of devices, by qtest's protocol
faults      guests whose memory cannot be read, and every door to it
fault_matrix  what the doors say, judged, as a table of the manual
plaintext   finds known memory in any output
repository  a copy of this repository, for tests that change one
"""
