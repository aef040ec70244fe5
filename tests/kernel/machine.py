# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine that QEMU emulates, with nested paging."""
import os
import subprocess
import threading

# TCG's SVM has no nrip-save. Without HPET or PM timer in the kernel it cannot
# calibrate the TSC, and KVM then waits for that for ever.
MACHINE = ["-accel", "tcg,thread=multi", "-cpu", "EPYC,+svm,+npt", "-smp", "2",
           "-m", "2G", "-nodefaults", "-no-user-config", "-display", "none",
           "-no-reboot"]
COMMAND_LINE = ("console=ttyS0 tsc_early_khz=2000000 no_timer_check "
                "panic=-1 quiet")


class Machine:
    """A running QEMU; `lines` yields what it prints on its console."""

    def __init__(self, kernel, initramfs, append, deadline=1800):
        qemu = os.environ["QEMU"]
        self.process = subprocess.Popen(
            [qemu, *MACHINE, "-kernel", kernel, "-initrd", initramfs,
             "-append", f"{COMMAND_LINE} {append}", "-serial", "stdio"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace")
        self.timed_out = False
        self.timer = threading.Timer(deadline, self._time_out)
        self.timer.start()

    def _time_out(self):
        self.timed_out = True
        self.process.kill()

    def lines(self):
        """Each line of the console, until the machine is off."""
        for line in self.process.stdout:
            yield line.rstrip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.timer.cancel()
        self.process.kill()
        self.process.wait()
