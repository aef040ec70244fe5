# SPDX-License-Identifier: GPL-2.0-or-later
"""The same guest in several QEMUs: debuggers must see the same in each.

firmware    the guest's program, page tables and random contents
machine     draws a machine and what its memory holds
flatview    the memory map, as QEMU prints it
access      draws accesses around every border of that map
doors       performs an access by the door it names
guest       one running QEMU of several that are compared
deliberate  what may differ, and why
rounds      runs and compares; finds the shortest access that differs
standin     the same on guests under the KVM stand-in

Run by tests/test_differential.py for a minute, `make soak` for longer.
"""
