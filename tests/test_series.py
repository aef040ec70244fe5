# SPDX-License-Identifier: GPL-2.0-or-later
"""The repository and the patch series are two forms of the same thing."""
import re
import shutil
import tempfile
import unittest
from pathlib import Path

from lib.repository import BASE, BUILD, TOP, copy, git, run


def check_out(tree, revision):
    """Check out those folders that the tests edit, not all 12,000 files."""
    git(tree, "sparse-checkout", "set", "util", "system", "target/i386")
    git(tree, "checkout", "-q", "-B", "series", revision)


class Copy:
    """A copy of this repository, with a QEMU tree of its own."""

    def __init__(self, top, base=BASE):
        self.top = top
        self.base = base
        self.src = top / "build" / base / "src"

    def make(self):
        """Make it, up to the point where a user starts to edit."""
        copy(self.top)
        self.clone()
        self.series("assemble")

    def clone(self):
        """The QEMU tree, without the series."""
        git(self.top, "clone", "-q", "--shared", "--no-checkout",
            BUILD / "src", self.src)
        check_out(self.src, "base")

    def series(self, *args, check=True):
        return run("scripts/series", *args, cwd=self.top, check=check,
                   env={"BASE": self.base})

    def changed(self):
        """What git says of the repository: nothing when it is clean."""
        return git(self.top, "status", "--porcelain")

    def tree(self, revision):
        return git(self.src, "rev-parse", f"{revision}^{{tree}}")


class SeriesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="series-")
        cls.addClassCleanup(folder.cleanup)
        cls.made = Path(folder.name) / "repository"
        Copy(cls.made).make()

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="series-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.copy = Copy(self.folder / "repository")
        shutil.copytree(self.made, self.copy.top, symlinks=True)

    def own_file(self):
        """A file of the series' own, as QEMU names it."""
        own = self.copy.top / "qemu"
        return str(min(own.glob("target/i386/*.c")).relative_to(own))

    def test_assemble_then_refresh_leaves_git_clean(self):
        self.copy.series("refresh")
        self.assertEqual(self.copy.changed(), "")

    def test_assemble_twice_gives_the_same_commits(self):
        head = git(self.copy.src, "rev-parse", "HEAD")
        (self.copy.top / "build" / BASE / "assembled").unlink()
        git(self.copy.src, "reset", "-q", "--hard", "base")
        self.copy.series("assemble")
        self.assertEqual(git(self.copy.src, "rev-parse", "HEAD"), head)

    def test_assemble_goes_on_where_an_interrupted_one_ended(self):
        head = git(self.copy.src, "rev-parse", "HEAD")
        record = self.copy.top / "build" / BASE / "assembled"
        written = record.read_text()
        record.unlink()
        self.copy.series("assemble")
        self.assertEqual(record.read_text(), written)
        self.assertEqual(git(self.copy.src, "rev-parse", "HEAD"), head)

    def test_exported_mails_give_the_identical_tree(self):
        mails = self.folder / "mails"
        self.copy.series("export", mails)
        fresh = self.folder / "fresh"
        git(self.folder, "clone", "-q", "--shared", "--no-checkout",
            BUILD / "src", fresh)
        check_out(fresh, "base")
        git(fresh, "am", "-q", "--empty=drop", *sorted(mails.glob("*.patch")))
        self.assertEqual(git(fresh, "rev-parse", "HEAD^{tree}"),
                         self.copy.tree("series"))

    def test_exported_mails_are_the_same_bytes_each_time(self):
        written = []
        for name in "first", "second":
            self.copy.series("export", self.folder / name)
            written.append({path.name: path.read_bytes() for path in
                            (self.folder / name).iterdir()})
        self.assertEqual(*written)
        self.assertGreater(len(written[0]), 1)

    def test_edit_of_an_own_file_goes_into_qemu_only(self):
        path = self.own_file()
        with open(self.copy.src / path, "a", encoding="utf-8") as file:
            file.write("/* edited */\n")
        self.copy.series("refresh")
        self.assertEqual(self.copy.changed(), f" M qemu/{path}\n")
        self.assertTrue((self.copy.top / "qemu" / path).read_text()
                        .endswith("/* edited */\n"))

    def test_edit_in_qemu_touches_that_file_only(self):
        path = self.own_file()
        before = {p: p.stat().st_mtime_ns for p in self.copy.src.rglob("*.[ch]")}
        with open(self.copy.top / "qemu" / path, "a",
                  encoding="utf-8") as file:
            file.write("/* edited */\n")
        self.copy.series("assemble")
        touched = [str(p.relative_to(self.copy.src)) for p in before
                   if p.stat().st_mtime_ns != before[p]]
        self.assertEqual(touched, [path])

    @unittest.skipIf((TOP / "hooks" / BASE).is_dir(), "a new hook of another "
                     "base than the main one holds its new files itself")
    def test_new_commit_becomes_a_hook_and_its_new_files_go_to_qemu(self):
        src = self.copy.src
        (src / "util/brand-new.c").write_text("/* new */\n")
        with open(src / "util/meson.build", "a", encoding="utf-8") as file:
            file.write("# a remark\n")
        git(src, "add", "util/brand-new.c")
        git(src, "commit", "-q", "-a", "-m", "util: something brand new")
        self.copy.series("refresh")
        hook, = (self.copy.top / "hooks").glob("*something-brand-new.patch")
        text = hook.read_text()
        self.assertIn(" create mode 100644 util/brand-new.c\n", text)
        self.assertIn("+# a remark\n", text)
        self.assertNotIn("/* new */", text)
        self.assertIn(hook.name, (self.copy.top / "series" / BASE)
                      .read_text())
        self.assertEqual((self.copy.top / "qemu/util/brand-new.c")
                         .read_text(), "/* new */\n")

    def test_edit_of_an_untouched_qemu_file_is_refused_with_the_way_out(self):
        with open(self.copy.src / "util/cutils.c", "a",
                  encoding="utf-8") as file:
            file.write("/* edited */\n")
        result = self.copy.series("refresh", check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn("git commit util/cutils.c", result.stdout)
        self.assertEqual(self.copy.changed(), "")

    def test_fixup_commit_goes_into_its_hook(self):
        src = self.copy.src
        with open(src / "util/cutils.c", "a", encoding="utf-8") as file:
            file.write("/* first */\n")
        git(src, "commit", "-q", "-a", "-m", "cutils: a remark")
        with open(src / "util/cutils.c", "a", encoding="utf-8") as file:
            file.write("/* second */\n")
        git(src, "commit", "-q", "-a", "--fixup=HEAD")
        self.copy.series("refresh")
        hook, = (self.copy.top / "hooks").rglob("*cutils-a-remark.patch")
        self.assertIn("+/* first */\n+/* second */\n", hook.read_text())

    def test_uncommitted_new_file_is_refused_by_name(self):
        (self.copy.src / "util/stray.c").write_text("/* new */\n")
        result = self.copy.series("refresh", check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn("util/stray.c", result.stdout)

    def test_commits_in_the_tree_survive_a_change_of_the_repository(self):
        src = self.copy.src
        with open(src / "util/cutils.c", "a", encoding="utf-8") as file:
            file.write("/* mine */\n")
        git(src, "commit", "-q", "-a", "-m", "cutils: mine")
        path = self.own_file()
        with open(self.copy.top / "qemu" / path, "a",
                  encoding="utf-8") as file:
            file.write("/* theirs */\n")
        self.copy.series("assemble")
        self.assertIn("/* mine */", (src / "util/cutils.c").read_text())
        self.assertIn("/* theirs */", (src / path).read_text())

    def test_make_clean_keeps_work_that_is_nowhere_else(self):
        self.assertEqual(self.copy.series("exported").stdout, "")
        with open(self.copy.src / "util/cutils.c", "a",
                  encoding="utf-8") as file:
            file.write("/* mine */\n")
        result = run("make", "clean", cwd=self.copy.top, check=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("make refresh", result.stdout)
        self.assertTrue((self.copy.src / "util/cutils.c").exists())

    def test_new_file_of_no_commit_is_refused(self):
        (self.copy.top / "qemu/util").mkdir(exist_ok=True)
        (self.copy.top / "qemu/util/orphan.c").write_text("/* */\n")
        result = self.copy.series("assemble", check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn("qemu/util/orphan.c belongs to no commit",
                      result.stdout)

    def test_new_file_that_the_base_has_is_refused(self):
        target = self.copy.top / "qemu/util/cutils.c"
        target.parent.mkdir(exist_ok=True)
        target.write_text("/* */\n")
        result = self.copy.series("assemble", check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn("qemu/util/cutils.c exists in the base", result.stdout)


OWN_HOOK = """\
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: tester <tester@localhost>
Date: Sat, 1 Jan 2000 00:00:00 +0000
Subject: [PATCH] util: two functions
{create}
diff --git a/util/two.c b/util/two.c
--- a/util/two.c
+++ b/util/two.c
@@ -{line},6 +{line},7 @@ void {function}(void)
 {{
     before();
     before();
+    added();
     after();
     after();
 }}
"""


class SecondBaseTest(unittest.TestCase):
    """Another QEMU, `other`, takes the hooks of the main one, `main`."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="series-")
        self.addCleanup(folder.cleanup)
        self.top = Path(folder.name) / "repository"
        self.top.mkdir()
        shutil.copytree(TOP / "scripts", self.top / "scripts")
        for name in "hooks/other", "series", "qemu/util":
            (self.top / name).mkdir(parents=True)
        self.hook = "0001-util-two-functions.patch"
        (self.top / "hooks" / self.hook).write_text(OWN_HOOK.format(
            line=2, function="first",
            create="---\n create mode 100644 util/new.c\n"))
        (self.top / "qemu/util/new.c").write_text("one\ntwo\nthree\n")
        (self.top / "series/main").write_text(self.hook + "\n")
        (self.top / "series/other").write_text("main\n")
        git(self.top, "init", "-q")
        git(self.top, "add", "-A")
        git(self.top, "commit", "-q", "-m", "as it is")

    def assemble(self, source, base="other", check=True):
        """Put the series on a QEMU that has only util/two.c."""
        self.copy = Copy(self.top, base)
        (self.copy.src / "util").mkdir(parents=True)
        (self.copy.src / "util/two.c").write_text(source)
        git(self.copy.src, "init", "-q", "-b", "series")
        git(self.copy.src, "add", "-A")
        git(self.copy.src, "commit", "-q", "-m", "QEMU")
        git(self.copy.src, "tag", "base")
        return self.copy.series("assemble", check=check)

    def two_c(self):
        return (self.copy.src / "util/two.c").read_text()

    @staticmethod
    def source(first, second="    other();\n"):
        return (f"void first(void)\n{{\n{first}}}\n\n"
                f"void second(void)\n{{\n{second}}}\n")

    SAME = "    before();\n    before();\n    after();\n    after();\n"
    SIMILAR = "    before();\n    after();\n"

    def test_main_base_wants_all_of_the_context(self):
        result = self.assemble(self.source(self.SIMILAR), "main", check=False)
        self.assertIn(f"hooks/{self.hook} does not apply", result.stdout)

    def test_hook_applies_with_less_context(self):
        self.assemble(self.source(self.SIMILAR))
        self.assertEqual(self.two_c(), self.source(
            "    before();\n    added();\n    after();\n"))
        self.copy.series("refresh")
        self.assertEqual(git(self.top, "status", "--porcelain", "hooks",
                             "qemu", "series"), "")

    def test_change_of_another_function_is_refused_by_its_name(self):
        result = self.assemble(self.source("    other();\n", self.SAME),
                               check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn("util/two.c: second", result.stdout)
        self.assertIn(f"hooks/other/{self.hook}", result.stdout)

    def test_diff_of_the_base_stands_in_for_the_common_one(self):
        own = self.top / "hooks/other" / self.hook
        own.write_text("It is elsewhere.\n\n" + OWN_HOOK.format(
            line=7, function="second", create="").split("\n\n", 1)[-1])
        self.assemble(self.source("    other();\n", self.SAME))
        self.assertIn("    added();\n", self.two_c())
        self.assertTrue((self.copy.src / "util/new.c").exists())
        self.assertIn("util: two functions", git(self.copy.src, "log"))

    def test_edit_becomes_a_diff_of_that_base_only(self):
        self.assemble(self.source(self.SIMILAR))
        (self.copy.src / "util/two.c").write_text(
            self.two_c().replace("added();", "added(2);"))
        self.copy.series("refresh")
        self.assertEqual(git(self.top, "status", "--porcelain", "-uall",
                             "hooks", "qemu", "series"),
                         f"?? hooks/other/{self.hook}\n")
        own = (self.top / "hooks/other" / self.hook).read_text()
        self.assertIn("+    added(2);\n", own)
        self.assertNotIn("Subject", own)

    def test_new_commit_becomes_a_hook_of_that_base_with_its_new_files(self):
        self.assemble(self.source(self.SIMILAR))
        (self.copy.src / "util/only.h").write_text("/* here */\n")
        git(self.copy.src, "add", "-A")
        git(self.copy.src, "commit", "-q", "-m", "util: only here")
        self.copy.series("refresh")
        hook, = (self.top / "hooks/other").glob("*only-here.patch")
        self.assertIn("+/* here */\n", hook.read_text())
        self.assertFalse((self.top / "qemu/util/only.h").exists())
        self.assertEqual((self.top / "series/other").read_text(),
                         f"main\n{hook.name}\n")

    def test_hook_that_is_left_out_leaves_out_its_new_files(self):
        (self.top / "series/other").write_text(f"main\n-{self.hook}\n")
        (self.top / "hooks/0002-empty.patch").write_text(
            OWN_HOOK.format(line=2, function="first", create="---\n")
            .replace("two functions", "a function"))
        (self.top / "series/main").write_text(
            f"{self.hook}\n0002-empty.patch\n")
        self.assemble(self.source(self.SIMILAR))
        self.assertFalse((self.copy.src / "util/new.c").exists())
        self.assertIn("added", self.two_c())
        self.copy.series("refresh")
        self.assertTrue((self.top / "qemu/util/new.c").exists())

    def test_files_of_qemu_are_adapted_and_come_back_unadapted(self):
        (self.top / "hooks/other/qemu.diff").write_text(
            "--- a/util/new.c\n+++ b/util/new.c\n@@ -1,2 +1,2 @@\n"
            "-one\n+ONE\n two\n")
        self.assemble(self.source(self.SIMILAR))
        new = self.copy.src / "util/new.c"
        self.assertEqual(new.read_text(), "ONE\ntwo\nthree\n")
        new.write_text("ONE\ntwo\nthree\nfour\n")
        self.copy.series("refresh")
        self.assertEqual((self.top / "qemu/util/new.c").read_text(),
                         "one\ntwo\nthree\nfour\n")


# What stands in for these does the same by other means.
OTHER_LINES = "0002"


def split_mail(mail):
    """What stands before the diffs, and {path: diff}."""
    head, *diffs = re.split(r"^(?=diff --git )", mail, flags=re.M)
    return head, {diff.split("\n", 1)[0].split(" b/")[-1]: diff
                  for diff in diffs}


def added(diff):
    """The lines that a diff adds, in any order, blank ones left out."""
    return sorted(re.findall(r"^\+(?!\+\+ )(.+)$", diff, re.M))


class EveryBaseTest(unittest.TestCase):
    """What can be said of the bases without having their QEMU."""

    def test_diffs_that_stand_in_belong_to_a_hook(self):
        for folder in (path for path in (TOP / "hooks").iterdir()
                       if path.is_dir()):
            series = (TOP / "series" / folder.name).read_text().split()
            for hook in folder.glob("*.patch"):
                with self.subTest(hook.name):
                    self.assertTrue(hook.name in series or
                                    (TOP / "hooks" / hook.name).is_file())

    def test_diffs_that_stand_in_add_the_same_lines(self):
        """A change of the common hook is not forgotten in them."""
        for own in (TOP / "hooks").glob("*/*.patch"):
            hook = TOP / "hooks" / own.name
            if not hook.is_file() or own.name.startswith(OTHER_LINES):
                continue
            _, diffs = split_mail(hook.read_text())
            why, stand_ins = split_mail(own.read_text())
            names = [path for path in stand_ins if path in diffs]
            if len(names) < len(stand_ins):     # a file has another name there
                names += re.findall(r"^ instead of (\S+)$", why, re.M)
            with self.subTest(own.name):
                self.assertEqual(added("".join(stand_ins.values())),
                                 added("".join(diffs[n] for n in names)))


if __name__ == "__main__":
    unittest.main()
