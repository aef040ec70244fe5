# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU with a software-protected guest, on a kernel without the series."""
from lib import doors
from lib.qmp import QMPError
from payload.build import text_lines

from . import guest, tap
from . import doors as table

REASON = ('this kernel has no interface to the private memory of this guest: '
          'KVM_MEMORY_ENCRYPT_READ_MEMORY is required')


class Unpatched(table.Case):
    """The guest runs; private memory is refused with the reason."""

    def test_doors(self):
        row = self.refusal('TDX, no unified ioctls')
        self.assertEqual(row.reason, REASON)

    def test_what_the_guest_shares_is_shown(self):
        with guest.Guest() as found:
            found.wait_running()
            start, end = (found.payload.map[name] for name in
                          ('TEXT_SHARED', 'TEXT_TAIL'))
            for door in guest.PHYSICAL:
                with self.subTest(door.__doc__):
                    self.assertEqual(door(found, start, end - start),
                                     text_lines(b'SHR', start, end))
                    with self.assertRaises(doors.Refused):
                        door(found, start - 1, 2)
            state = found.qmp.cmd('query-memory-debug')['guest']
            self.assertNotIn('backend', state)
            self.assertIn(REASON, state['backend-reason'])

    def test_debugging_that_is_required(self):
        with self.assertRaisesRegex((ConnectionError, QMPError), REASON):
            with guest.Guest('-object', 'memory-debug,id=md0,required=on',
                             machine='smm=off,memory-debug=md0'):
                pass


if __name__ == '__main__':
    tap.main()
