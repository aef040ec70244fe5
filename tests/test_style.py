# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU's maintainers and the shell expect of the code's form."""
import py_compile
import re
import tempfile
import unittest
from pathlib import Path
from urllib.parse import urlparse

from lib import repository
from lib.repository import BUILD, TOP, files

SRC = BUILD / "src"


def run(*argv, cwd=TOP):
    """The exit status and all output of a command."""
    result = repository.run(*argv, cwd=cwd, check=False)
    return result.returncode, result.stdout


def own_files(*suffixes):
    """The files of the series' own."""
    return [path for path in files() if path.suffix in suffixes
            and path.is_relative_to(TOP / "qemu")]


def with_shebang(pattern):
    return [path for path in files()
            if re.match(rb"#!.*\b" + pattern, path.read_bytes()[:80])]


class QemuStyleTest(unittest.TestCase):
    def test_checkpatch_finds_nothing_in_any_mail(self):
        with tempfile.TemporaryDirectory() as folder:
            status, output = run("scripts/series", "export", folder)
            self.assertEqual(status, 0, output)
            mails = sorted(path for path in Path(folder).glob("*/*.patch")
                           if not path.name.startswith("0000-"))
            self.assertTrue(mails)
            for mail in mails:
                with self.subTest(mail.name):
                    _, output = run("perl", "scripts/checkpatch.pl",
                                    "--no-signoff", "--color=never", mail,
                                    cwd=SRC)
                    self.assertRegex(output, r"total: \d+ errors")
                    # A patch that adds a file without touching MAINTAINERS
                    # would be a warning, too.
                    if re.search(r"^(ERROR|WARNING): ", output, re.M):
                        self.fail(output)

    def test_every_new_file_names_its_licence(self):
        for path in own_files(".c", ".h", ".json", ".rst", ".py", ".inc"):
            with self.subTest(path.name):
                head = "".join(path.read_text().splitlines(True)[:5])
                self.assertIn("SPDX-License-Identifier: GPL-2.0-or-later",
                              head)

    def test_every_new_file_has_its_entry_in_maintainers(self):
        for path in own_files(".c", ".h", ".json", ".rst", ".py", ".inc"):
            name = path.relative_to(TOP / "qemu")
            if not (SRC / name).exists():
                continue                # left out by this base's series
            with self.subTest(str(name)):
                _, output = run("perl", "scripts/get_maintainer.pl",
                                "--nogit", "--nogit-fallback", "-f", name,
                                cwd=SRC)
                # "(supporter:Dump)", "(open list:Debugging of encr...)"
                self.assertRegex(output, r"\(.*:(Dump|Debugging of encr)")

    def test_no_function_is_longer_than_60_lines(self):
        for path in own_files(".c"):
            start = 0
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if line.startswith("{"):
                    start = number
                elif line.startswith("}") and start:
                    with self.subTest(f"{path.name}:{start}"):
                        self.assertLessEqual(number - start, 60)
                    start = 0


class ScriptStyleTest(unittest.TestCase):
    def test_shellcheck_finds_nothing(self):
        scripts = with_shebang(rb"(ba)?sh\b")
        self.assertTrue(scripts)
        status, output = run("shellcheck", *scripts)
        if status:
            self.fail(output)

    def test_python_files_compile_with_the_systems_python(self):
        scripts = set(with_shebang(rb"python3\b"))
        scripts |= {path for path in files() if path.suffix == ".py"}
        with tempfile.TemporaryDirectory() as folder:
            for path in sorted(scripts):
                with self.subTest(path.name):
                    py_compile.compile(str(path), f"{folder}/out",
                                       doraise=True)


class RepositoryTest(unittest.TestCase):
    def test_no_file_names_a_package_mirror(self):
        status, output = run("scripts/apt-private", "--mirrors")
        if status:
            self.skipTest("this machine has no Debian mirror to look for")
        for mirror in output.split():
            host = (urlparse(mirror).hostname or mirror).encode()
            for path in files():
                with self.subTest(f"{host.decode()} in {path.name}"):
                    self.assertNotIn(host, path.read_bytes())
