# SPDX-License-Identifier: GPL-2.0-or-later
"""From nothing to a running QEMU: sources, packages, build, installation."""
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest
from importlib.machinery import SourceFileLoader
from pathlib import Path
from unittest import mock

from lib.repository import BASE, TOP, copy, git, run
from lib.wait import patience

TESTED = re.search(r"^tested (.*)$", (TOP / "base" / BASE).read_text(),
                   re.M).group(1)
NEWER = f"{BASE}.49"            # a release that does not exist


def script(name):
    """A script without suffix as a Python module."""
    path = str(TOP / "scripts" / name)
    loader = SourceFileLoader(name.replace("-", "_"), path)
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


SUBPROJECTS = "keycodemapdb", "berkeley-softfloat-3", "berkeley-testfloat-3"


def make_qemu(folder, version=TESTED):
    """A very small QEMU source tree."""
    for name in SUBPROJECTS:
        (folder / "subprojects" / name).mkdir(parents=True)
        (folder / "subprojects" / name / "meson.build").write_text("\n")
        (folder / "subprojects" / f"{name}.wrap").write_text("revision = 1\n")
    (folder / "VERSION").write_text(version + "\n")
    return folder


def make_checkout(folder):
    """A git checkout of it, which has no subprojects."""
    tree = make_qemu(folder)
    for name in SUBPROJECTS:
        shutil.rmtree(tree / "subprojects" / name)
    git(tree, "init", "-q")
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "QEMU")
    return tree


def make_source_package(folder, version=TESTED):
    """Debian's source package of it; returns the names of its files."""
    tree = make_qemu(folder / "qemu", version)
    run("tar", "-cJf", f"qemu_{version}+ds.orig.tar.xz", "qemu", cwd=folder)
    debian = tree / "debian"
    (debian / "source").mkdir(parents=True)
    (debian / "source/format").write_text("3.0 (quilt)\n")
    (debian / "changelog").write_text(
        f"qemu (1:{version}+ds-1) sid; urgency=low\n\n  * Test.\n\n"
        " -- T <t@localhost>  Sat, 01 Jan 2000 00:00:00 +0000\n")
    (debian / "control").write_text(
        "Source: qemu\nMaintainer: T <t@localhost>\n"
        "Standards-Version: 4.6.0\n\nPackage: qemu\nArchitecture: all\n"
        "Description: test\n")
    run("dpkg-source", "-b", "qemu", cwd=folder)
    shutil.rmtree(tree)
    return sorted(path.name for path in folder.iterdir())


class BaseTest(unittest.TestCase):
    """scripts/base in a copy of the repository, with very small sources."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="base-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.folder.chmod(0o755)        # apt's own user reads there
        self.top = self.folder / "repository"
        copy(self.top)
        self.archives = self.folder / "archives"
        self.archives.mkdir()

    def pin(self, names):
        """Let the base name these archives."""
        text = "\n".join(
            line for line in (self.top / "base" / BASE).read_text().split("\n")
            if not line.startswith("archive"))
        for name in names:
            data = (self.archives / name).read_bytes()
            text += f"archive {hashlib.sha256(data).hexdigest()} {name}\n"
        (self.top / "base" / BASE).write_text(text)

    def base(self, **env):
        return run("scripts/base", cwd=self.top, check=False,
                   env={"XDG_CACHE_HOME": str(self.folder / "cache"), **env})

    def apt(self, *versions):
        """A mirror whose index has these versions, and its pool all files."""
        pool = self.folder / "mirror/pool/main/q/qemu"
        pool.parent.mkdir(parents=True)
        shutil.copytree(self.archives, pool)
        index = "\\n".join(f"Version: {version}" for version in versions)
        (self.top / "scripts/apt-private").write_text(
            "#!/bin/sh\n"
            "case $1 in\n"
            f"--mirrors) echo copy:{self.folder}/mirror ;;\n"
            f"apt-cache) printf '{index}\\n' ;;\n"
            "apt-get)\n"
            "    version=${4#qemu=1:}\n"
            f"    cp {pool}/qemu_$version* {pool}/qemu_${{version%-*}}.orig* . ;;\n"
            "*) exec \"$@\" ;;\n"
            "esac\n")

    def assert_imported(self, result, version=TESTED):
        self.assertEqual(result.returncode, 0, result.stdout)
        src = self.top / "build" / BASE / "src"
        self.assertEqual(git(src, "show", "base:VERSION"), version + "\n")
        self.assertEqual(git(src, "status", "--porcelain"), "")

    def test_archives_in_qemu_base_cache_are_imported(self):
        self.pin(make_source_package(self.archives))
        self.assert_imported(self.base(QEMU_BASE_CACHE=str(self.archives)))

    def test_archive_with_a_wrong_checksum_is_refused(self):
        names = make_source_package(self.archives)
        self.pin(names)
        wrong, = (name for name in names if "orig" in name)
        with open(self.archives / wrong, "ab") as file:
            file.write(b"x")
        result = self.base(QEMU_BASE_CACHE=str(self.archives))
        self.assertEqual(result.returncode, 1)
        self.assertIn(f"{wrong} is not the file that base/{BASE} pins",
                      result.stdout)
        self.assertFalse((self.top / "build" / BASE / "src").exists())

    def test_missing_archives_name_every_way_out(self):
        result = self.base(QEMU_BASE_CACHE=str(self.folder / "nothing"))
        self.assertEqual(result.returncode, 1)
        for way in "QEMU_SOURCE=", "QEMU_BASE_CACHE=", "BASE=":
            self.assertIn(way, result.stdout)

    def test_missing_archives_name_the_other_base(self):
        (self.top / "series/11.1").unlink()
        for base, other in ("10.2", "10.0"), ("10.0", "10.2"):
            result = self.base(BASE=base, QEMU_BASE_CACHE=str(self.folder))
            self.assertEqual(result.returncode, 1)
            self.assertEqual(re.findall(r"BASE=(\S+) make .* QEMU \S+ instead",
                                        result.stdout), [other])

    @unittest.skipUnless(shutil.which("apt-get"), "this machine has no apt")
    def test_pool_of_the_mirror_is_asked_where_the_index_lacks_it(self):
        names = make_source_package(self.archives)
        self.pin(names)
        self.apt("1:9.9.9+ds-1", f"1:{BASE}0.1+ds-1")
        result = self.base()
        self.assert_imported(result)
        self.assertIn("asking the mirror's pool", result.stdout)
        # Another base's archives do not push these out of the cache.
        cache = self.folder / "cache/qemu-memory-debug/base"
        other = cache / "archive-of-another-base"
        other.touch()
        shutil.rmtree(self.top / "build")
        (cache / names[0]).unlink()
        self.assert_imported(self.base())
        self.assertTrue(other.exists())
        # A second tree takes what was fetched: the mirror is gone.
        shutil.rmtree(self.folder / "mirror")
        shutil.rmtree(self.top / "build")
        self.assert_imported(self.base())

    @unittest.skipUnless(shutil.which("apt-get"), "this machine has no apt")
    def test_newest_of_the_series_is_taken_where_the_pinned_one_is_gone(self):
        make_source_package(self.archives, NEWER)
        self.apt(f"1:{TESTED}+ds-1", "1:99.1.2+ds-1", f"1:{NEWER}+ds-1",
                 f"1:{BASE}.5+ds-1")
        result = self.base()
        self.assert_imported(result, NEWER)
        self.assertIn(f"QEMU {NEWER}; the series has been tested with "
                      f"{TESTED}", result.stdout)
        # The next time it is in the cache.
        shutil.rmtree(self.folder / "mirror")
        shutil.rmtree(self.top / "build")
        self.assert_imported(self.base(), NEWER)

    @unittest.skipUnless(shutil.which("apt-get"), "this machine has no apt")
    def test_no_package_of_the_series_names_every_way_out(self):
        make_source_package(self.archives, "9.9.9")
        self.apt("1:9.9.9+ds-1")
        result = self.base()
        self.assertEqual(result.returncode, 1)
        for way in "QEMU_SOURCE=", "QEMU_BASE_CACHE=", "BASE=":
            self.assertIn(way, result.stdout)

    def test_package_that_is_not_pinned_serves_from_qemu_base_cache(self):
        make_source_package(self.archives, NEWER)
        self.assert_imported(self.base(QEMU_BASE_CACHE=str(self.archives)),
                             NEWER)

    def test_package_that_is_not_pinned_must_have_its_own_checksums(self):
        names = make_source_package(self.archives, NEWER)
        wrong, = (name for name in names if "orig" in name)
        with open(self.archives / wrong, "ab") as file:
            file.write(b"x")
        result = self.base(QEMU_BASE_CACHE=str(self.archives))
        self.assertEqual(result.returncode, 1)
        self.assertIn("dpkg-source failed", result.stdout)

    def test_unpacked_tree_is_imported(self):
        tree = make_qemu(self.folder / "tree")
        self.assert_imported(self.base(QEMU_SOURCE=str(tree)))

    def test_tarball_is_imported(self):
        make_qemu(self.folder / f"qemu-{TESTED}")
        run("tar", "-cJf", "qemu.tar.xz", f"qemu-{TESTED}", cwd=self.folder)
        self.assert_imported(
            self.base(QEMU_SOURCE=str(self.folder / "qemu.tar.xz")))

    def test_git_checkout_is_imported_with_its_subprojects(self):
        tree = make_qemu(self.folder / "checkout")
        (tree / ".gitignore").write_text("/subprojects/*/\n")
        git(tree, "init", "-q")
        git(tree, "add", "-A")
        git(tree, "commit", "-q", "-m", "QEMU")
        self.assert_imported(self.base(QEMU_SOURCE=str(tree)))
        imported = git(self.top / "build" / BASE / "src", "ls-files")
        self.assertIn("subprojects/keycodemapdb/meson.build", imported)

    def test_git_checkout_borrows_subprojects_of_the_same_revision(self):
        make_source_package(self.archives, "9.9.9")
        tree = make_checkout(self.folder / "checkout")
        cache = self.folder / "cache/qemu-memory-debug"
        cache.mkdir(parents=True)
        self.archives.rename(cache / "base")
        self.assert_imported(self.base(QEMU_SOURCE=str(tree)))
        imported = git(self.top / "build" / BASE / "src", "ls-files")
        for name in SUBPROJECTS:
            self.assertIn(f"subprojects/{name}/meson.build", imported)

    def test_git_checkout_without_subprojects_says_how_to_get_them(self):
        make_source_package(self.archives, "9.9.9")
        tree = make_checkout(self.folder / "checkout")
        (tree / "subprojects/keycodemapdb.wrap").write_text("revision = 2\n")
        git(tree, "commit", "-q", "-a", "-m", "another revision")
        cache = self.folder / "cache/qemu-memory-debug"
        cache.mkdir(parents=True)
        self.archives.rename(cache / "base")
        result = self.base(QEMU_SOURCE=str(tree))
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stdout, r"checkout lacks subprojects. There, "
                         r"run: meson subprojects download keycodemapdb\n")

    def test_any_release_of_the_series_is_imported(self):
        tree = make_qemu(self.folder / "tree", NEWER)
        self.assert_imported(self.base(QEMU_SOURCE=str(tree)), NEWER)

    def test_source_of_another_version_is_refused(self):
        for version in "9.9.9", f"{BASE}0.1", f"{BASE}.50", f"{BASE}.90":
            tree = make_qemu(self.folder / version, version)
            result = self.base(QEMU_SOURCE=str(tree))
            self.assertEqual(result.returncode, 1)
            self.assertIn(f"holds QEMU {version}, but base {BASE} is any "
                          f"{BASE}.z", result.stdout)

    def test_interrupted_import_is_done_again(self):
        leftover = self.top / "build" / BASE / "import"
        leftover.mkdir(parents=True)
        (leftover / "half").write_text("\n")
        tree = make_qemu(self.folder / "tree")
        self.assert_imported(self.base(QEMU_SOURCE=str(tree)))

    def test_unknown_base_names_the_known_ones(self):
        result = self.base(BASE="1.0")
        self.assertEqual(result.returncode, 1)
        self.assertIn("there is no base '1.0'", result.stdout)
        self.assertIn(BASE, result.stdout)


class PackagesTest(unittest.TestCase):
    def setUp(self):
        # Somebody else than root gets there, wherever this checkout is.
        folder = tempfile.TemporaryDirectory(prefix="deps-", dir="/tmp")
        self.addCleanup(folder.cleanup)
        self.top = Path(folder.name)
        self.top.chmod(0o755)
        for name in "scripts", "base":
            shutil.copytree(TOP / name, self.top / name)
        self.bin = self.top / "bin"
        self.bin.mkdir()
        for name in ("sh", "dirname", "sed", "cat", "tr", "id", "env", "ls"):
            (self.bin / name).symlink_to(shutil.which(name))

    def deps(self, **options):
        """scripts/deps with a PATH that lacks nearly everything."""
        return run("/bin/sh", self.top / "scripts/deps", cwd=self.top,
                   check=False, env={"PATH": str(self.bin)}, **options)

    def test_without_apt_the_missing_packages_are_one_line(self):
        result = self.deps()
        self.assertEqual(result.returncode, 1)
        line, = result.stdout.splitlines()
        self.assertIn(" ninja-build ", line)

    @unittest.skipUnless(os.getuid() == 0, "only root can become nobody")
    def test_without_root_the_line_can_be_pasted(self):
        (self.bin / "apt-get").symlink_to("/bin/false")
        result = self.deps(user=65534)
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stdout.splitlines()[-1],
                         r"^apt-get install .*\bninja-build\b")

    def test_python_packages_that_a_source_wants_and_lacks_are_named(self):
        """A release has its wheels, Debian's source package of it has not."""
        for name in "mkdir", "ln", "rm":
            (self.bin / name).symlink_to(shutil.which(name))
        source = self.top / "build" / BASE / "src"
        wheels = source / "python/wheels"
        wheels.mkdir(parents=True)
        (wheels / "with_wheel-1.0-py3-none-any.whl").touch()
        accepted = '{ accepted = ">=1.0" }\n'
        (source / "pythondeps.toml").write_text(
            f"[meson]\nabsent = {accepted}# unused = {accepted}"
            f'[docs]\nunused = {accepted}[tooling]\n"with.wheel" = {accepted}'
            f'"no.such" = {accepted}"pip" = {accepted}')
        result = run("/bin/sh", self.top / "scripts/build", "patched",
                     cwd=self.top, check=False, env={"PATH": str(self.bin)})
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stdout, rf"error: QEMU {BASE} needs, for "
                                        r"\S+/python3: absent no\.such\.")


class AptTest(unittest.TestCase):
    """The machine's sources in both of apt's formats."""

    def test_sources_are_listed_from_the_suite_that_has_the_base(self):
        for base, suite in ("10.2", "sid"), ("10.0", "trixie"):
            with mock.patch.dict(os.environ, BASE=base):
                self.assertEqual(script("apt-private").source_suite(), suite)

    def test_deb822_sources_are_read(self):
        text = ("# comment\nTypes: deb\n# another\nURIs: http://one/debian\n"
                "Suites: bookworm bookworm-updates\nComponents: main\n"
                "Signed-By: /key.gpg\n\n"
                "Enabled: no\nTypes: deb\nURIs: http://two\nSuites: x\n")
        self.assertEqual(
            list(script("apt-private").deb822_entries(text)),
            [(["http://one/debian"], ["bookworm", "bookworm-updates"],
              {"signed-by": "/key.gpg"})])

    def test_one_line_sources_are_read(self):
        text = ("# deb http://old x main\n"
                "deb [arch=amd64 signed-by=/key.gpg] http://one bookworm main\n"
                "deb-src http://two/debian sid main contrib\n")
        self.assertEqual(
            list(script("apt-private").one_line_entries(text)),
            [(["http://one"], ["bookworm"], {"signed-by": "/key.gpg"}),
             (["http://two/debian"], ["sid"], {})])


class BuiltTest(unittest.TestCase):
    """What `make qemu` built."""

    def starts(self, program, *arguments):
        """Start it with its firmware and stop it again."""
        return subprocess.run(
            [program, "-accel", "tcg", "-display", "none", "-S", "-monitor",
             "stdio", *arguments], input="info version\nquit\n", text=True,
            timeout=patience(60), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, check=False)

    def test_second_make_qemu_does_nothing_and_quickly(self):
        program = Path(run("make", "-s", "where").stdout.strip())
        run("make", "qemu")
        built = program.stat().st_mtime_ns
        started = time.monotonic()
        run("make", "qemu")
        self.assertLess(time.monotonic() - started, patience(10))
        self.assertEqual(program.stat().st_mtime_ns, built)

    def test_where_prints_one_path_to_a_qemu_that_finds_its_firmware(self):
        path, = run("make", "-s", "where").stdout.splitlines()
        result = self.starts(path)
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertRegex(result.stdout, f"{BASE}[.]")

    def test_it_has_what_people_add_to_such_guests(self):
        program = run("make", "-s", "where").stdout.strip()
        devices = run(program, "-device", "help").stdout
        for name in ("vhost-vsock-pci", "vhost-user-fs-pci", "vfio-pci",
                     "virtio-9p-pci", "virtio-net-pci", "tpm-tis"):
            self.assertIn(f'name "{name}"', devices)
        result = self.starts(program, "-machine", "microvm", "-vnc", "none")
        self.assertEqual(result.returncode, 0, result.stdout)

    def test_installed_qemu_finds_its_firmware(self):
        with tempfile.TemporaryDirectory() as prefix:
            run("scripts/install", prefix)
            result = self.starts(f"{prefix}/bin/qemu-system-x86_64")
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertRegex(result.stdout, f"{BASE}[.]")
