#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds with sanitizers, and what the sanitizers say.

SANITIZE=1 is AddressSanitizer and UndefinedBehaviorSanitizer, SANITIZE=thread
is ThreadSanitizer. What one says of any process is a failure of the file or
program that started it, unless tests/sanitize names it. Where memory that leaks
came from can often not be seen, because glib has no frame pointers, but it can
in a file that says `WHOLE_STACKS = True`, which is much slower.

    sanitizer.py PROGRAM [ARGUMENT...]      is `meson test`'s --wrapper
"""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

SANITIZE = os.environ.get("SANITIZE", "")
SLOWNESS = {"": 1, "1": 4, "thread": 15}    # times
SUPPRESSIONS = Path(__file__).resolve().parents[1] / "sanitize"

# AddressSanitizer in a program that has coroutines
HARMLESS = re.compile(
    r"^==\d+==WARNING: (ASan doesn't fully support makecontext.*"
    r"|ASan is ignoring requested __asan_handle_no_return: .*\n"
    r"False positive error reports may follow\n"
    r"For details see https:.*)$", re.M)


def environment(reports, whole_stacks=False):
    """Of processes whose reports are to be in the folder @reports."""
    def options(suppressions, *more):
        return ":".join([f"log_path='{reports}/report'",
                         f"suppressions='{SUPPRESSIONS / suppressions}'",
                         "print_suppressions=0", *more])

    return {
        "REPORTS": str(reports),
        # The stand-in for the kernel is loaded before the sanitizer
        "ASAN_OPTIONS": options("address", "verify_asan_link_order=0",
                                f"fast_unwind_on_malloc={not whole_stacks:d}"),
        "LSAN_OPTIONS": options("leak"),
        "UBSAN_OPTIONS": options("undefined", "halt_on_error=1",
                                 "print_stacktrace=1"),
        # glib's own allocator hands memory on without TSan seeing how
        "G_SLICE": "always-malloc",
        "TSAN_OPTIONS": options("thread", "history_size=7",
                                "second_deadlock_stack=1"),
    }


def prepare(name, whole_stacks=False):
    """Let what @name starts write its reports into a folder of its own."""
    reports = Path(os.environ["TMPDIR"], "reports", name)
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir(parents=True)
    os.environ.update(environment(reports, whole_stacks))
    return reports


def report(text):
    """Add a report that a test has found itself."""
    with open(Path(os.environ["REPORTS"], "own"), "a", encoding="utf-8") as out:
        out.write(text)


def said(reports):
    """The reports in that folder, or ""."""
    texts = [(path.name, HARMLESS.sub("", path.read_text(errors="replace")))
             for path in sorted(reports.glob("*"))]
    return "".join(f"sanitizer's report {name}:\n{text.strip()}\n"
                   for name, text in texts if text.strip())


def main(argv):
    reports = prepare(Path(argv[0]).name)
    status = subprocess.run(argv, check=False).returncode
    print(said(reports), end="", file=sys.stderr)
    return status or bool(said(reports))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
