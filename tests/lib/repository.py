# SPDX-License-Identifier: GPL-2.0-or-later
"""A copy of this repository for tests that change one."""
import os
import shutil
import subprocess
import unittest
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BASE = (os.environ.get("BASE") or
        (TOP / "scripts/default-base").read_text().strip())
BUILD = TOP / "build" / BASE

# A `make check` above must not speak to the `make` of a test.
ENVIRONMENT = {name: value for name, value in os.environ.items()
               if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "SANITIZE",
                               "QEMU_SOURCE", "QEMU_BASE_CACHE")}


def run(*argv, cwd=TOP, check=True, env=None, **options):
    """Run a command; unless it may fail, its output is the failure."""
    result = subprocess.run([str(arg) for arg in argv], cwd=cwd, text=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, errors="replace",
                            env={**ENVIRONMENT, **(env or {})}, check=False,
                            **options)
    if check and result.returncode:
        raise AssertionError(f"{' '.join(map(str, argv))}:\n{result.stdout}")
    return result


def require(path, what):
    """Skip what needs a file that the base's QEMU does not have."""
    if not (BUILD / "src" / path).exists():
        raise unittest.SkipTest(f"QEMU {BASE} has no {what}")


def git(tree, *args):
    """Run git as somebody on @tree and return its output."""
    return run("git", "-c", "user.name=tester", "-c",
               "user.email=tester@localhost", *args, cwd=tree).stdout


def files():
    """The files of this repository, new ones included."""
    listed = git(TOP, "ls-files", "--cached", "--others",
                 "--exclude-standard").splitlines()
    return [TOP / name for name in listed if (TOP / name).is_file()]


def copy(top):
    """Copy this repository as it is now to @top and commit it there."""
    for path in files():
        target = top / path.relative_to(TOP)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    git(top, "init", "-q")
    git(top, "add", "-A")
    git(top, "commit", "-q", "-m", "as it is")
