# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine that QEMU emulates, with nested paging, and its initramfs."""
import gzip
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

# TCG's SVM has no nrip-save. Without HPET or PM timer in the kernel it cannot
# calibrate the TSC, and KVM then waits for that for ever.
MACHINE = ["-accel", "tcg,thread=multi", "-cpu", "EPYC,+svm,+npt", "-smp", "2",
           "-m", "2G", "-nodefaults", "-no-user-config", "-display", "none",
           "-no-reboot"]
COMMAND_LINE = ("console=ttyS0 tsc_early_khz=2000000 no_timer_check "
                "panic=-1 quiet")

# Large, and of no use to a test
NOT_OF_PYTHON = shutil.ignore_patterns(
    "test", "idlelib", "tkinter", "lib2to3", "ensurepip", "turtledemo",
    "distutils", "asyncio", "pydoc_data", "config-*", "dist-packages",
    "site-packages")


def libraries(program):
    """The shared libraries that a program needs, its loader included."""
    listed = subprocess.run(["ldd", program], text=True, check=False,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return [Path(path) for path in re.findall(r"(?:=> |^\s*)(/\S+)",
                                              listed.stdout, re.M)]


class Initramfs:
    """A folder that becomes the root of the emulated machine."""

    def __init__(self, folder):
        self.root = Path(folder)
        shutil.rmtree(self.root, ignore_errors=True)
        for name in ("bin", "dev", "proc", "sys", "tests", "tmp"):
            (self.root / name).mkdir(parents=True)
        busybox = shutil.which("busybox")
        self.add(busybox, "bin/busybox")
        for name in subprocess.run([busybox, "--list"], text=True, check=True,
                                   stdout=subprocess.PIPE).stdout.split():
            if name != "busybox":
                (self.root / "bin" / name).symlink_to("busybox")

    def add(self, source, path):
        """Copy @source, by default with its mode, to @path below the root."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)      # it may be a link to busybox
        shutil.copy(source, target)

    def add_program(self, program, path):
        """Copy a program and the libraries that it needs."""
        self.add(program, path)
        for library in libraries(program):
            self.add(library, library.relative_to("/"))

    def add_python(self):
        """The Python that runs this, with those of its modules that matter."""
        self.add_program(sys.executable, "usr/bin/python3")
        library = sysconfig.get_path("stdlib")
        shutil.copytree(library, self.root / Path(library).relative_to("/"),
                        ignore=NOT_OF_PYTHON)

    def pack(self, archive):
        """Write the folder as a compressed cpio archive."""
        names = "\n".join(str(path.relative_to(self.root))
                          for path in sorted(self.root.rglob("*")))
        cpio = subprocess.run(["cpio", "-o", "-H", "newc", "-R", "0:0",
                               "--quiet"], cwd=self.root, check=True,
                              input=names.encode(), stdout=subprocess.PIPE)
        Path(archive).write_bytes(gzip.compress(cpio.stdout, 1))


class Machine:
    """A running QEMU; `lines` yields what it prints on its console."""

    def __init__(self, kernel, initramfs, *options, deadline=900):
        qemu = os.environ["QEMU"]
        self.process = subprocess.Popen(
            [qemu, *MACHINE, "-kernel", kernel, "-initrd", initramfs,
             "-append", COMMAND_LINE, "-serial", "stdio", *options],
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
