# SPDX-License-Identifier: GPL-2.0-or-later
"""The long checks can fail: each is run here on something small."""
import shutil
import tempfile
import unittest
from pathlib import Path

from lib.repository import BASE, BUILD, TOP, copy, git, run

# Stands in for scripts/build: says what it was asked for, and gives what it
# should have built. It fails where $top/break says so.
BUILDER = """#!/bin/sh
top=$(cd "$(dirname "$0")/.." && pwd)
echo "$*" >>"$top/asked"
subject=$(git -C "$top/build/$BASE/step/src" show -s --format=%s HEAD 2>&1)
echo "$* $subject" | grep -q -f "$top/break" && exit 1
for name in "$@"; do
    case $name in tests/*)
        mkdir -p "$top/build/$BASE/step/out/${name%/*}"
        ln -sf "$top/own-test" "$top/build/$BASE/step/out/$name"
    esac
done
exit 0
"""


def executable(path, text):
    path.write_text(text)
    path.chmod(0o755)


class Copy:
    """A copy of this repository whose builds take no time."""

    def __init__(self, top):
        self.top = top
        self.src = top / "build" / BASE / "src"

    def make(self):
        copy(self.top)
        executable(self.top / "scripts/build", BUILDER)
        executable(self.top / "tests/run", "#!/bin/sh\n")
        executable(self.top / "own-test", "#!/bin/sh\n")
        self.break_at("nothing at all")

    def break_at(self, pattern):
        (self.top / "break").write_text(pattern + "\n")

    def asked(self):
        """What scripts/build was asked for since the last time."""
        path = self.top / "asked"
        text = path.read_text() if path.exists() else ""
        path.unlink(missing_ok=True)
        return text.splitlines()

    def script(self, name):
        return run(f"scripts/{name}", cwd=self.top, check=False,
                   env={"BASE": BASE})


class BuildsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="suites-")
        self.addCleanup(folder.cleanup)
        self.copy = Copy(Path(folder.name))
        self.copy.make()

    def test_one_build_that_fails_is_named_and_the_others_are_tried(self):
        self.copy.break_at("qemu-system-s390x")
        result = self.copy.script("check-builds")
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stdout, r"\n  s390x +FAILED\n")
        self.assertRegex(result.stdout, r"\n  ppc64 +no warning\n")
        self.assertRegex(result.stdout, r"\n  x86_64 --disable-tcg +no warn")

    def test_six_builds_without_a_warning_are_a_success(self):
        result = self.copy.script("check-builds")
        self.assertEqual(result.returncode, 0)
        self.assertEqual(result.stdout.count("no warning"), 6)
        self.assertEqual(len(self.copy.asked()), 6)


class EachCommitTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="suites-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        cls.made = Copy(cls.folder / "made")
        cls.made.make()
        src = cls.made.src
        git(cls.folder, "clone", "-q", "--shared", "--no-checkout",
            BUILD / "src", src)
        # Not all 12,000 files: what is there decides which tests are run.
        git(src, "sparse-checkout", "set", "tests/unit", "tests/qtest")
        git(src, "checkout", "-q", "-B", "series", "base")
        run("scripts/series", "assemble", cwd=cls.made.top,
            env={"BASE": BASE})
        cls.subjects = git(src, "log", "--reverse", "--format=%s",
                           "base..series").splitlines()

    def setUp(self):
        top = self.folder / self.id()
        shutil.copytree(self.made.top, top, symlinks=True)
        self.copy = Copy(top)

    def test_commit_that_does_not_build_is_named_and_the_next_run_begins_there(
            self):
        self.copy.break_at(self.subjects[4])
        result = self.copy.script("check-series")
        self.assertEqual(result.returncode, 1)
        self.assertIn(f"5/{len(self.subjects)} {self.subjects[4]}",
                      result.stdout)
        self.assertIn("does not build", result.stdout)
        self.assertEqual(len(self.copy.asked()), 5)

        self.copy.break_at("nothing at all")
        result = self.copy.script("check-series")
        self.assertEqual(result.returncode, 0, result.stdout)
        asked = self.copy.asked()
        # A part begins with an empty commit, where there is nothing to build
        self.assertEqual(len(asked), sum(not subject.startswith("[")
                                         for subject in self.subjects[4:]))
        # The last commit has all tests.
        for folder in "unit", "qtest":
            for path in (TOP / "qemu/tests" / folder).glob("*test*.c"):
                self.assertIn(f"tests/{folder}/{path.stem}", asked[-1].split())

        self.assertEqual(self.copy.script("check-series").returncode, 0)
        self.assertEqual(self.copy.asked(), [])

    def test_commit_whose_own_test_fails_is_named(self):
        executable(self.copy.top / "own-test", "#!/bin/sh\nexit 1\n")
        result = self.copy.script("check-series")
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stdout, r"tests/\S+ fails at this commit")

    def test_form_that_is_wrong_ends_it_before_any_build(self):
        executable(self.copy.top / "tests/run", "#!/bin/sh\nexit 1\n")
        result = self.copy.script("check-series")
        self.assertEqual(result.returncode, 1)
        self.assertEqual(self.copy.asked(), [])


# Two test programs for meson: one speaks TAP, of the other only the exit
# status counts.
PROJECT = """
project('qemu')
sh = find_program('sh')
test('test-tap', sh, args: files('tap.sh'), suite: ['unit'], protocol: 'tap')
test('qtest-x86_64/plain', sh, args: files('plain.sh'),
     suite: ['qtest', 'qtest-x86_64'], protocol: 'exitcode', timeout: 5)
"""
TAP = "printf '1..3\\nok 1 /a\\nok 2 /b\\nok 3 /c # SKIP no reason\\n'\n"
SECOND_TRY = """
[ -e "$0.tried" ] && exit 0
touch "$0.tried"
exit 1
"""


class QemuTest(unittest.TestCase):
    """check-qemu on two small projects, with QEMU's meson."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="suites-")
        cls.addClassCleanup(folder.cleanup)
        cls.top = Path(folder.name)
        cls.build = cls.top / "build" / BASE
        cls.record = cls.build / "check-qemu.json"
        (cls.top / "scripts").mkdir()
        shutil.copy(TOP / "scripts/check-qemu", cls.top / "scripts")
        executable(cls.top / "scripts/build",
                   '#!/bin/sh\necho $1 >>"$0.asked"\n')
        cls.set_up_project(cls.build / "base")
        cls.set_up_project(cls.build)

    @classmethod
    def set_up_project(cls, folder):
        """A configured project whose tests are to be written."""
        source, out = folder / "src", folder / "out"
        source.mkdir(parents=True)
        (source / "meson.build").write_text(PROJECT)
        (source / "tap.sh").touch()
        (source / "plain.sh").touch()
        meson = BUILD / "out/pyvenv/bin/meson"
        run(meson, "setup", out, source)
        (out / "pyvenv/bin").mkdir(parents=True)
        (out / "pyvenv/bin/meson").symlink_to(meson)
        (out / "configured").write_text("options")

    def setUp(self):
        self.record.unlink(missing_ok=True)
        self.write_tests(self.build / "base", TAP, "exit 0")

    def write_tests(self, folder, tap, plain):
        (folder / "src/tap.sh").write_text(tap)
        (folder / "src/plain.sh").write_text(plain)

    def check(self):
        """Run it: (exit status, output)."""
        result = run(self.top / "scripts/check-qemu", cwd=self.top,
                     check=False, env={"BASE": BASE})
        return result.returncode, result.stdout

    def compare(self, tap=TAP, plain="exit 0"):
        """Run it with a series of these tests."""
        self.write_tests(self.build, tap, plain)
        return self.check()

    def test_same_results_are_a_success_and_counted(self):
        status, output = self.compare()
        self.assertEqual(status, 0, output)
        self.assertIn("WORSE on the series: nothing", output)
        one, none = f"{1:9}", f"{0:9}"
        self.assertIn("unit programs   " + (one + none * 3) * 2, output)
        self.assertIn("unit cases      " + f"{2:9}{none}{none}{one}" * 2,
                      output)
        self.assertIn("qtest programs  " + (one + none * 3) * 2, output)

    def test_case_that_fails_with_the_series_only_is_a_failure(self):
        status, output = self.compare(tap=TAP.replace("ok 2", "not ok 2"))
        self.assertEqual(status, 1)
        self.assertIn("\n  test-tap /b: passed on the base, failed on the "
                      "series\n", output)
        self.assertNotIn("test-tap /a:", output)

    def test_case_that_is_gone_or_skipped_with_the_series_is_a_failure(self):
        status, output = self.compare(
            tap="printf '1..1\\nok 1 /b # SKIP no reason\\n'\n")
        self.assertEqual(status, 1)
        self.assertIn("test-tap /a: passed on the base, missing", output)
        self.assertIn("test-tap /b: passed on the base, skipped", output)

    def test_program_that_fails_with_the_series_only_is_a_failure(self):
        status, output = self.compare(plain="exit 1")
        self.assertEqual(status, 1)
        self.assertIn("qtest-x86_64/plain: passed on the base, failed",
                      output)

    def test_program_that_passes_at_the_second_try_is_named(self):
        status, output = self.compare(plain=SECOND_TRY)
        self.assertEqual(status, 0, output)
        self.assertIn("on the series at the second try only: 1\n"
                      "  qtest-x86_64/plain\n", output)

    def test_case_that_passes_at_the_second_try_is_no_failure(self):
        status, output = self.compare(
            tap=TAP.replace("ok 2", '$([ -e "$0.tried" ] || echo "not ")ok 2')
            .replace("'", '"') + 'touch "$0.tried"\n')
        self.assertEqual(status, 0, output)
        self.assertIn("on the series at the second try only: 1\n"
                      "  test-tap\n", output)

    def test_program_that_does_not_end_is_tried_only_once(self):
        status, output = self.compare(plain="exec sleep 60")
        self.assertEqual(status, 1)
        self.assertIn("qtest-x86_64/plain: passed on the base, no end on",
                      output)
        self.assertNotIn("once more", output)

    def test_what_fails_on_the_base_is_named_and_no_failure(self):
        (self.build / "base/src/plain.sh").write_text("exit 1")
        status, output = self.compare(plain="exit 1")
        self.assertEqual(status, 0, output)
        self.assertIn("fails on the base: 1\n  qtest-x86_64/plain\n", output)

    def test_base_is_not_run_again_for_the_same_options(self):
        self.compare()
        (self.build / "base/src/plain.sh").write_text("exit 1")
        asked = self.top / "scripts/build.asked"
        asked.unlink()
        self.assertIn("fails on the base: nothing", self.check()[1])
        self.assertEqual(asked.read_text(), "patched\n")
        (self.build / "base/out/configured").write_text("other options")
        self.assertIn("fails on the base: 1", self.check()[1])


# Stands in for the Makefile: records what was made, fails for what build/break has.
CHECKS = """Makefile: ;
FORCE: ;
%: FORCE
\t@echo $@ $(SUITE) >>build/asked; ! grep -qx $@ build/break && echo all of $@
"""


class ReleaseTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="suites-")
        self.addCleanup(folder.cleanup)
        self.top = Path(folder.name)
        copy(self.top)
        (self.top / "Makefile").write_text(CHECKS)
        git(self.top, "commit", "-q", "-a", "-m", "checks that take no time")
        (self.top / "build" / BASE / "src").mkdir(parents=True)
        (self.top / "build" / BASE / "src/VERSION").write_text("1.2.3")

    def release(self, broken):
        """Run it, and return the result and which checks it ran."""
        (self.top / "build/break").write_text(broken)
        asked = self.top / "build/asked"
        asked.write_text("")
        result = run("scripts/release", cwd=self.top, check=False,
                     env={"BASE": BASE})
        return result, asked.read_text().splitlines()

    def test_it_stops_at_a_failure_and_goes_on_there(self):
        result, asked = self.release("check-qemu\n")
        self.assertEqual(result.returncode, 1)
        self.assertIn("check-qemu failed", result.stdout)
        self.assertEqual(asked[-1].strip(), "check-qemu")

        result, asked = self.release("")
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertEqual(asked[0].strip(), "check-qemu")
        self.assertIn("check-distro trixie", asked)
        self.assertRegex(result.stdout, r"\n\| soak \| all of soak \| ")

    def test_what_is_not_committed_is_not_released(self):
        (self.top / "README.md").write_text("changed")
        result, asked = self.release("")
        self.assertEqual(result.returncode, 1)
        self.assertEqual(asked, [])


# Its class cleanup fails, and a sanitizer speaks.
SMALL = """
import os
import time
import unittest

class Case(unittest.TestCase):
    def test_passes(self):
        pass

class Cleanup(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.addClassCleanup(lambda: 1 / 0)

    def test_passes(self):
        pass

class Report(unittest.TestCase):
    def test_passes(self):
        if 'REPORTS' in os.environ:
            open(os.environ['REPORTS'] + '/report.1', 'w').write('a race')

class Hang(unittest.TestCase):
    def test_hangs(self):
        time.sleep(3600)
"""


class PytestTest(unittest.TestCase):
    """tests/conftest.py sees what a file of tests does wrong."""

    def pytest(self, word, **env):
        """The exit status and the output of a small file's class @word."""
        folder = tempfile.TemporaryDirectory(prefix="pytest-")
        self.addCleanup(folder.cleanup)
        for name in "conftest.py", "pytest.ini", "lib", "sanitize":
            Path(folder.name, name).symlink_to(TOP / "tests" / name)
        Path(folder.name, "test_small.py").write_text(SMALL)
        result = run("/usr/bin/python3", "-B", "-m", "pytest", "-k", word,
                     folder.name, check=False,
                     env={"TMPDIR": folder.name, "PYTHONPATH": "", **env})
        return result.returncode, result.stdout

    def test_nothing_wrong(self):
        status, output = self.pytest("Case", SANITIZE="1")
        self.assertEqual(status, 0, output)
        self.assertIn("1 passed", output)

    def test_class_cleanup_that_fails(self):
        status, output = self.pytest("Cleanup")
        self.assertEqual(status, 1, output)
        self.assertIn("ZeroDivisionError", output)

    def test_report_of_a_sanitizer(self):
        status, output = self.pytest("Report", SANITIZE="1")
        self.assertEqual(status, 1, output)
        self.assertIn("sanitizer's report report.1:\na race", output)
        self.assertEqual(self.pytest("Report")[0], 0)

    def test_test_that_hangs(self):
        status, output = self.pytest("Hang", SLOWNESS="0.001")
        self.assertEqual(status, 1, output)
        self.assertIn("Timeout >", output)
