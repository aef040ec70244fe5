# SPDX-License-Identifier: GPL-2.0-or-later
"""What may differ between the QEMUs, and why: the only place that says so.

Texts of errors are not compared at all: they say more than stock QEMU's.
"""


def unpatched_gdb_physical(access, plain, stock):
    """Stock QEMU's gdbstub has no errors in physical mode: it answers OK, or
    zeros, where there is nothing, and does not write to ROM (its writes are
    not drawn at all, as memory would not be the same afterwards)."""
    return access.door == 'gdb m physical' and plain.how == 'error'


def unpatched_paging_dump(access, plain, stock):
    """Stock QEMU leaves out what of a mapping lies in a second block of RAM,
    and writes what is mapped at 0 at its physical address."""
    return access.door == 'dump' and access.option == 'paging'


def unpatched_sum_at_4_gib(access, plain, stock):
    """Stock QEMU's sum adds start and size in 32 bits: no byte is summed."""
    return access.door == 'sum' and access.addr + access.length >= 1 << 32


def unpatched_cannot(view, pieces):
    """Stock QEMU reads and writes beyond the end of a flash section, in the
    flash's own memory or behind it, and may crash."""
    return any('flash' in section.name and end > section.end
               for start, end in pieces for section in view.over(start, end))


def plain_cannot(view, pieces, flash):
    """The same in a plain guest, but for the end of the flash itself: where a
    section has a part of it (PAM), QEMU goes on in the flash's own memory.

    @flash  {name of a flash: its size}
    """
    def is_part(section):
        name, _, offset = section.name.partition(' @')
        return int(offset or '0', 16) + section.end - section.start < \
            flash.get(name, 0)

    return any(is_part(section) and end > section.end
               for start, end in pieces for section in view.over(start, end))


# An access with one of these is not compared with the unpatched QEMU's
UNPATCHED = (unpatched_gdb_physical, unpatched_paging_dump,
             unpatched_sum_at_4_gib)


def comparable(name, access, plain, answer):
    """Must the guest called @name answer as the plain one did?"""
    return name != 'unpatched' or \
        not any(rule(access, plain, answer) for rule in UNPATCHED)


def saved_more(access, plain, answer):
    """A confidential guest's memsave saves all that comes before the missing
    byte; a plain guest's, as the unpatched QEMU's, whole parts of 1 KiB."""
    if 'memsave' not in access.door or not plain.how == answer.how == 'error':
        return False
    (theirs, *rest), (ours, *our_rest) = (
        data if isinstance(data, tuple) else (data,)
        for data in (plain.data, answer.data))
    return rest == our_rest and (ours or b'').startswith(theirs or b'')
