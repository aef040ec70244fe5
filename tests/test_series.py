# SPDX-License-Identifier: GPL-2.0-or-later
"""The repository and the patch series are two forms of the same thing."""
import re
import shutil
import tempfile
import unittest
from pathlib import Path

from lib.repository import BASE, BUILD, TOP, copy, git, run


class Copy:
    """A copy of the repository's tools, with a QEMU tree of its own."""

    def __init__(self, top, base):
        self.top = top
        self.base = base
        self.build = top / "build" / base
        self.src = self.build / "src"

    def series(self, *args, check=True):
        return run("scripts/series", *args, cwd=self.top, check=check,
                   env={"BASE": self.base})

    def git(self, *args):
        return git(self.src, *args)

    def commit(self, subject, *args, **files):
        """Write {path: text} below util/ and commit that in the QEMU tree."""
        for name, text in files.items():
            path = self.src / "util" / name.replace("__", ".")
            path.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", subject, *args)

    def changed(self):
        """What git says of the repository: nothing when it is clean."""
        return git(self.top, "status", "--porcelain", "-uall", "hooks",
                   "qemu", "series")

    def read(self, name):
        return (self.top / name).read_text()


class WholeSeriesTest(unittest.TestCase):
    """The series of this repository, on QEMU."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="series-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        cls.copy = Copy(cls.folder / "repository", BASE)
        copy(cls.copy.top)
        git(cls.folder, "clone", "-q", "--shared", "--no-checkout",
            BUILD / "src", cls.copy.src)
        cls.check_out(cls.copy.src)
        cls.copy.series("assemble")

    @staticmethod
    def check_out(tree):
        """Check out little: git works on the other files all the same."""
        git(tree, "sparse-checkout", "set", "util")
        git(tree, "checkout", "-q", "-B", "series", "base")

    def test_assemble_then_refresh_leaves_git_clean(self):
        self.copy.series("refresh")
        self.assertEqual(self.copy.changed(), "")

    def test_refresh_leaves_alone_what_differs_between_point_releases(self):
        """These are blobs and numbers of lines."""
        other = {}
        for path in (self.copy.top / "hooks").rglob("*.patch"):
            text = re.sub(r"(?m)^index \w+\.\.", "index 1234567..",
                          path.read_text())
            other[path] = re.sub(
                r"(?m)^@@ -(\d{3,})",
                lambda found: f"@@ -{int(found[1]) + 1}", text)
        self.addCleanup(git, self.copy.top, "checkout", "-q", "hooks")
        for path, text in other.items():
            path.write_text(text)
        self.copy.series("refresh")
        self.assertEqual({path: path.read_text() for path in other}, other)

    def test_assembling_from_nothing_gives_the_same_commits(self):
        head = self.copy.git("rev-parse", "HEAD")
        (self.copy.build / "assembled").unlink()
        self.copy.git("reset", "-q", "--hard", "base")
        self.copy.series("assemble")
        self.assertEqual(self.copy.git("rev-parse", "HEAD"), head)

    def test_exported_mails_give_the_identical_tree(self):
        mails = self.folder / "mails"
        self.copy.series("export", mails)
        fresh = self.folder / "fresh"
        git(self.folder, "clone", "-q", "--shared", "--no-checkout",
            BUILD / "src", fresh)
        self.check_out(fresh)
        git(fresh, "am", "-q", "--empty=drop", *sorted(mails.glob("*/*")))
        self.assertEqual(git(fresh, "rev-parse", "HEAD^{tree}"),
                         self.copy.git("rev-parse", "HEAD^{tree}"))

    def test_exported_mails_are_the_same_bytes_each_time(self):
        written = []
        for name in "first", "second":
            self.copy.series("export", self.folder / name)
            written.append({
                str(path.relative_to(self.folder / name)): path.read_bytes()
                for path in (self.folder / name).rglob("*.patch")})
        self.assertEqual(*written)
        self.assertGreater(len(written[0]), 1)


MAIL = """\
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: {author}
Date: Sat, 1 Jan 2000 00:00:00 +0000
Subject: [PATCH] {subject}

{body}---
{create}
{diff}"""
DIFF = """\
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
SAME = "    before();\n    before();\n    after();\n    after();\n"
OTHER = "    before();\n    different();\n    after();\n    after();\n"


def source(first=SAME, second="    other();\n"):
    """util/two.c of a QEMU."""
    return (f"void first(void)\n{{\n{first}}}\n\n"
            f"void second(void)\n{{\n{second}}}\n")


class SmallSeriesCase(unittest.TestCase):
    """A series of one hook, for the bases `main` and `other`."""

    HOOK = "util-two-functions.patch"

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="series-")
        self.addCleanup(folder.cleanup)
        self.top = Path(folder.name) / "repository"
        shutil.copytree(TOP / "scripts", self.top / "scripts")
        for name in "hooks", "series/cover", "qemu/util", "base":
            (self.top / name).mkdir(parents=True)
        for base in "main", "other":
            (self.top / "base" / base).write_text("tested 1.2.3\n")
        (self.top / "hooks" / self.HOOK).write_text(MAIL.format(
            author="series <series@localhost>", subject="util: two functions",
            body="Why.\n", create=" create mode 100644 util/new.c\n",
            diff=DIFF.format(line=2, function="first")))
        (self.top / "qemu/util/new.c").write_text("one\ntwo\nthree\n")
        (self.top / "series/main").write_text(f"\n[part]\n{self.HOOK}\n")
        (self.top / "series/other").write_text("include main\n")
        (self.top / "series/cover/part.txt").write_text("A part\n\nDoes it.\n")
        git(self.top, "init", "-q")
        git(self.top, "add", "-A")
        git(self.top, "commit", "-q", "-m", "as it is")

    def qemu(self, base="main", text=None):
        """A tree of a QEMU that has only two files."""
        made = Copy(self.top, base)
        (made.src / "util").mkdir(parents=True)
        (made.src / "VERSION").write_text("1.2.4\n")
        (made.src / "util/two.c").write_text(text or source())
        git(made.src, "init", "-q", "-b", "series")
        made.commit("QEMU")
        made.git("tag", "base")
        return made

    def assembled(self, base="main", text=None):
        made = self.qemu(base, text)
        made.series("assemble")
        return made

    def fails(self, made, command, *messages):
        """The command must fail, change nothing and say @messages."""
        before = made.changed()
        result = made.series(command, check=False)
        self.assertEqual(result.returncode, 1, result.stdout)
        for message in messages:
            self.assertIn(message, result.stdout)
        self.assertEqual(made.changed(), before)


class AssembleTest(SmallSeriesCase):
    def test_hook_its_new_file_and_its_part_become_commits(self):
        made = self.assembled()
        self.assertEqual(made.git("log", "--format=%s", "base..").split("\n"),
                         ["util: two functions", "[part]", ""])
        self.assertEqual(made.git("show", "HEAD:util/new.c"),
                         "one\ntwo\nthree\n")
        self.assertIn("    added();\n", (made.src / "util/two.c").read_text())
        self.assertEqual(made.git("status", "--porcelain"), "")

    def test_edit_in_qemu_touches_that_file_only(self):
        made = self.assembled()
        before = {path: path.stat().st_mtime_ns
                  for path in made.src.glob("util/*")}
        (self.top / "qemu/util/new.c").write_text("other\n")
        made.series("assemble")
        self.assertEqual([path.name for path in before
                          if path.stat().st_mtime_ns != before[path]],
                         ["new.c"])

    def test_it_goes_on_where_an_interrupted_one_ended(self):
        made = self.assembled()
        head = made.git("rev-parse", "HEAD")
        record = (made.build / "assembled").read_text()
        (made.build / "assembled").unlink()
        made.series("assemble")
        self.assertEqual((made.build / "assembled").read_text(), record)
        self.assertEqual(made.git("rev-parse", "HEAD"), head)

    def test_work_in_the_tree_survives_a_change_of_the_repository(self):
        made = self.assembled()
        made.commit("util: mine", mine__c="mine\n")
        (made.src / "util/two.c").write_text("edited\n")
        (self.top / "qemu/util/new.c").write_text("theirs\n")
        made.series("assemble")
        self.assertEqual((made.src / "util/mine.c").read_text(), "mine\n")
        self.assertEqual((made.src / "util/new.c").read_text(), "theirs\n")
        self.assertEqual((made.src / "util/two.c").read_text(), "edited\n")

    def test_hook_that_does_not_apply_is_named_with_file_and_release(self):
        made = self.qemu(text=source(OTHER))
        self.fails(made, "assemble", f"hooks/{self.HOOK} does not apply to "
                   "QEMU 1.2.4", "tested with 1.2.3", "util/two.c")

    def test_new_file_of_no_commit_is_refused(self):
        made = self.qemu()
        (self.top / "qemu/util/orphan.c").write_text("\n")
        self.fails(made, "assemble", "qemu/util/orphan.c",
                   "create mode 100644 util/orphan.c")

    def test_new_file_that_the_base_has_is_refused(self):
        made = self.qemu()
        (self.top / "qemu/util/two.c").write_text("\n")
        self.fails(made, "assemble", "qemu/util/two.c")


class RefreshTest(SmallSeriesCase):
    def test_it_changes_nothing_after_assembling(self):
        made = self.assembled()
        made.series("refresh")      # git writes its own mail, once
        git(self.top, "commit", "-q", "-a", "-m", "git's form")
        made.series("refresh")
        self.assertEqual(made.changed(), "")

    def test_edit_that_is_not_committed_is_refused(self):
        made = self.assembled()
        (made.src / "util/two.c").write_text("edited\n")
        self.fails(made, "refresh", "util/two.c", "git commit --fixup=COMMIT")

    def test_new_file_that_is_not_committed_is_refused(self):
        made = self.assembled()
        (made.src / "util/stray.c").write_text("\n")
        self.fails(made, "refresh", "util/stray.c")

    def test_commit_becomes_a_hook_and_its_new_file_goes_to_qemu(self):
        made = self.assembled()
        two_c = (made.src / "util/two.c").read_text()
        made.commit("util: something new", two__c=two_c + "/* more */\n",
                    brand__c="/* new */\n")
        made.series("refresh")
        hook = made.read("hooks/util-something-new.patch")
        self.assertIn(" create mode 100644 util/brand.c\n", hook)
        self.assertIn("+/* more */\n", hook)
        self.assertNotIn("/* new */", hook)
        self.assertEqual(made.read("qemu/util/brand.c"), "/* new */\n")
        self.assertEqual(made.read("series/main"), f"\n[part]\n{self.HOOK}\n"
                         "util-something-new.patch\n")

    def test_fixup_goes_into_its_commit_and_touches_no_file(self):
        made = self.assembled()
        fixed = made.git("rev-parse", "HEAD").strip()
        made.commit("util: later", later__c="later\n")
        two_c = (made.src / "util/two.c").read_text()
        made.commit("x", f"--fixup={fixed}",
                    two__c=two_c.replace("added", "mended"))
        before = {path: path.stat().st_mtime_ns
                  for path in made.src.glob("util/*")}
        made.series("refresh")
        self.assertIn("+    mended();\n", made.read(f"hooks/{self.HOOK}"))
        self.assertEqual(made.git("status", "--porcelain"), "")
        self.assertEqual(before, {path: path.stat().st_mtime_ns
                                  for path in made.src.glob("util/*")})

    def test_fixup_that_collides_is_left_to_the_user(self):
        made = self.assembled()
        fixed = made.git("rev-parse", "HEAD").strip()
        made.commit("util: later", new__c="ONE\ntwo\nthree\n")
        made.commit("x", f"--fixup={fixed}", new__c="ONE!\ntwo\nthree\n")
        head = made.git("rev-parse", "HEAD")
        self.fails(made, "refresh", "rebase -i --autosquash base")
        self.assertEqual(made.git("rev-parse", "HEAD"), head)

    def test_own_file_may_grow_in_a_later_commit(self):
        new_c = self.top / "qemu/util/new.c"
        new_c.write_text("a\nb\nc\nd\n")
        made = self.assembled()
        made.commit("util: a fifth", new__c="a\nb\nc\nd\ne\n")
        made.series("refresh")
        self.assertEqual(new_c.read_text(), "a\nb\nc\nd\ne\n")
        self.assertIn("+e\n", made.read("hooks/util-a-fifth.patch"))
        self.assertEqual(made.git("show", "HEAD^:util/new.c"), "a\nb\nc\nd\n")
        new_c.write_text("A\nb\nc\nd\ne\n")
        made.series("assemble")
        self.assertEqual(made.git("show", "HEAD^:util/new.c"), "A\nb\nc\nd\n")
        new_c.write_text("a\nb\nc\nd\nE\n")
        self.fails(made, "assemble", "util-a-fifth.patch")

    def test_series_may_be_split_anew(self):
        made = self.assembled()
        made.git("reset", "-q", "--hard", "base")
        made.commit("[first]")
        made.commit("util: one", one__c="one\n")
        made.commit("[second]")
        made.commit("util: two goes", one__c="one\n1\n", all__h="h\n",
                    two__c="")
        made.git("rm", "-q", "util/two.c")
        made.git("commit", "-q", "--amend", "--no-edit")
        made.series("refresh")
        self.assertEqual(
            made.read("series/main"), "\n[first]\nutil-one.patch\n"
            "\n[second]\nutil-two-goes.patch\n")
        self.assertEqual(sorted(path.name for path in
                                (self.top / "hooks").iterdir()),
                         ["util-one.patch", "util-two-goes.patch"])
        self.assertEqual(sorted(path.name for path in
                                (self.top / "qemu/util").iterdir()),
                         ["all.h", "one.c"])
        head = made.git("rev-parse", "HEAD")
        made.git("reset", "-q", "--hard", "base")
        (made.build / "assembled").unlink()
        made.series("assemble")
        self.assertEqual(made.git("rev-parse", "HEAD"), head)
        self.assertFalse((made.src / "util/two.c").exists())

    def test_two_commits_of_one_name_are_refused(self):
        made = self.assembled()
        made.commit("util: two functions", "-mWhy.", again__c="\n")
        self.fails(made, "refresh", "'util: two functions'")

    def test_make_clean_keeps_work_that_is_nowhere_else(self):
        made = self.assembled()
        self.assertEqual(made.series("exported").stdout, "")
        made.commit("util: mine", mine__c="\n")
        self.fails(made, "exported", "make refresh")
        self.assertRegex(run("make", "-n", "clean").stdout,
                         r"\Ascripts/series exported\nrm ")


class ExportTest(SmallSeriesCase):
    def export(self, *args):
        """The cover letter and the patch."""
        made = self.assembled()
        made.series("export", self.top / "mails", *args)
        cover, patch = sorted(self.top.glob("mails/1-part/*.patch"))
        return cover.read_text(), patch.read_text()

    def test_mails_without_a_sender_say_that_they_are_not_signed_off(self):
        cover, patch = self.export()
        self.assertIn("Subject: [PATCH NOT SIGNED OFF 0/1] A part\n", cover)
        self.assertRegex(cover, r"not signed off(.|\n)*\n\nDoes it\.\n")
        self.assertIn("Subject: [PATCH NOT SIGNED OFF 1/1] util: two", patch)
        self.assertNotIn("Signed-off-by", patch)

    def test_sender_is_the_author_and_signs_off(self):
        cover, patch = self.export("J. Doe <j@doe.example>")
        self.assertIn("From: \"J. Doe\" <j@doe.example>\n", cover)
        self.assertIn("Subject: [PATCH 0/1] A part\n\nDoes it.\n", cover)
        self.assertIn("From: \"J. Doe\" <j@doe.example>\n", patch)
        self.assertIn("Subject: [PATCH 1/1] util: two functions\n", patch)
        self.assertIn("Signed-off-by: J. Doe <j@doe.example>\n", patch)
        self.assertNotIn("localhost", cover + patch)

    def test_author_who_is_named_stays(self):
        hook = self.top / "hooks" / self.HOOK
        hook.write_text(hook.read_text().replace("series <series@localhost>",
                                                 "A. N. Other <a@n.example>"))
        _, patch = self.export("J. Doe <j@doe.example>")
        self.assertIn("From: \"A. N. Other\" <a@n.example>\n", patch)
        self.assertIn("Signed-off-by: J. Doe <j@doe.example>\n", patch)

    def test_sender_without_a_mail_is_refused(self):
        made = self.assembled()
        result = made.series("export", self.top / "mails", "J. Doe",
                             check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn("'Name <mail>'", result.stdout)


class SecondBaseTest(SmallSeriesCase):
    """Another QEMU, `other`, takes the hooks of the main one, `main`."""

    def ported(self):
        """The series where util/two.c is different, done by hand."""
        made = self.qemu("other", source(OTHER))
        made.commit("[part]")
        made.commit("util: two functions", "-mWhy.", new__c="one\ntwo\nthree\n",
                    two__c=source(OTHER.replace("after", "added();\n    after",
                                                1)))
        made.series("refresh")
        return made

    def test_port_becomes_a_diff_of_that_base_only(self):
        made = self.ported()
        self.assertEqual(made.changed(), f"?? hooks/other/{self.HOOK}\n")
        own = made.read(f"hooks/other/{self.HOOK}")
        self.assertIn("+    added();\n", own)
        self.assertRegex(own, r"\A without util/two.c [0-9a-f]{12}\n\ndiff")
        self.assertNotIn("Subject", own)
        self.assertNotIn("new.c", own)
        head = made.git("rev-parse", "HEAD")
        made.git("reset", "-q", "--hard", "base")
        (made.build / "assembled").unlink()
        made.series("assemble")
        self.assertEqual(made.git("rev-parse", "HEAD"), head)

    def test_reasons_in_a_diff_of_that_base_stay(self):
        made = self.ported()
        own = self.top / "hooks/other" / self.HOOK
        own.write_text("It is different.\n\n" + own.read_text())
        made.series("refresh")
        self.assertTrue(own.read_text().startswith("It is different.\n without "
                                                   "util/two.c "))

    def test_new_file_is_adapted(self):
        made = self.assembled("other")
        made.commit("x", "--fixup=HEAD", new__c="ONE\ntwo\nthree\n")
        made.series("refresh")
        self.assertEqual(made.changed(), f"?? hooks/other/{self.HOOK}\n")
        self.assertEqual(made.git("show", "HEAD:util/new.c"),
                         "ONE\ntwo\nthree\n")
        (self.top / "qemu/util/new.c").write_text("one\ntwo\nthree\nfour\n")
        made.series("assemble")
        self.assertEqual(made.git("show", "HEAD:util/new.c"),
                         "ONE\ntwo\nthree\nfour\n")

    def test_diff_of_a_file_that_is_not_there_is_left_out(self):
        made = self.qemu("other")
        made.git("mv", "util/two.c", "util/zwei.c")
        made.git("commit", "-q", "--amend", "-m", "QEMU")
        made.git("tag", "-f", "base")
        made.commit("[part]")
        made.commit("util: two functions", "-mWhy.", new__c="one\ntwo\nthree\n",
                    zwei__c=source(SAME.replace("after", "added();\n    after",
                                                1)))
        made.series("refresh")
        own = made.read(f"hooks/other/{self.HOOK}")
        self.assertRegex(own, r"(?m)^ without util/two.c [0-9a-f]{12}$")
        self.assertIn("+++ b/util/zwei.c\n", own)

    def test_hooks_of_that_base_come_before_and_after_the_common_ones(self):
        made = self.qemu("other")
        made.commit("util: before", before__h="before\n")
        made.commit("[part]")
        made.commit("util: two functions", "-mWhy.", new__c="one\ntwo\nthree\n",
                    two__c=source(SAME.replace("after", "added();\n    after",
                                               1)))
        made.commit("util: afterwards", two__c="")
        made.series("refresh")
        self.assertEqual(made.read("series/other"), "util-before.patch\n"
                         "include main\nutil-afterwards.patch\n")
        self.assertIn("+before\n", made.read("hooks/other/util-before.patch"))
        self.assertFalse((self.top / "qemu/util/before.h").exists())

    def test_hook_of_that_base_comes_between_common_ones(self):
        made = self.qemu("other")
        made.commit("[part]")
        made.commit("util: between", between__h="between\n")
        made.commit("util: two functions", "-mWhy.", new__c="one\ntwo\nthree\n",
                    two__c=source(SAME.replace("after", "added();\n    after",
                                               1)))
        made.series("refresh")
        self.assertEqual(made.read("series/other"), "include main\n"
                         f"before {self.HOOK} util-between.patch\n")

    def two_hunks(self, added="added", more="more"):
        """Let the hook change the second function, too."""
        hook = self.top / "hooks" / self.HOOK
        hook.write_text(MAIL.format(
            author="series <series@localhost>", subject="util: two functions",
            body="Why.\n", create=" create mode 100644 util/new.c\n",
            diff=DIFF.format(line=2, function="first").replace("added", added)
            + f"@@ -11,3 +12,4 @@ void second(void)\n {{\n     other();\n"
            f"+    {more}();\n }}\n"))

    def test_only_the_hunk_that_does_not_fit_is_written_twice(self):
        self.two_hunks()
        made = self.qemu("other", source(OTHER))
        made.commit("[part]")
        made.commit("util: two functions", "-mWhy.", new__c="one\ntwo\nthree\n",
                    two__c=source(OTHER.replace("after", "added();\n    after",
                                                1), "    other();\n    more();\n"))
        made.series("refresh")
        own = made.read(f"hooks/other/{self.HOOK}")
        self.assertIn("+    added();\n", own)
        self.assertNotIn("+    more();\n", own)
        # What changes in the other hunk arrives; in this one it is an error.
        self.two_hunks(more="still_more")
        made.series("assemble")
        self.assertIn("still_more();", (made.src / "util/two.c").read_text())
        self.two_hunks(added="something_else")
        self.fails(made, "assemble", f"hooks/other/{self.HOOK} leaves out hunk")

    def test_base_without_a_series_is_named_in_one_line(self):
        made = self.qemu("none")
        self.fails(made, "assemble", "there is no series/none", "main, other")
        self.assertEqual(made.series("assemble", check=False).stdout.count(
            "\n"), 1)

    def test_hook_that_is_left_out_leaves_out_its_new_file(self):
        made = self.assembled("other")
        made.git("reset", "-q", "--hard", "HEAD^")
        made.commit("util: else", else__h="else\n")
        made.series("refresh")
        self.assertEqual(made.read("series/other"), "include main\n"
                         f"without {self.HOOK}\nutil-else.patch\n")
        self.assertTrue((self.top / "qemu/util/new.c").exists())
        self.assertFalse((made.src / "util/new.c").exists())


class EveryBaseTest(unittest.TestCase):
    """What can be said of the bases without having their QEMU."""

    def test_diffs_of_another_base_belong_to_a_hook(self):
        for folder in (path for path in (TOP / "hooks").iterdir()
                       if path.is_dir()):
            series = (TOP / "series" / folder.name).read_text().split()
            for hook in folder.glob("*.patch"):
                with self.subTest(hook.name):
                    self.assertTrue(hook.name in series or
                                    (TOP / "hooks" / hook.name).is_file())

    def test_every_part_has_a_cover_letter(self):
        covers = TOP / "series" / "cover"
        for series in (path for path in (TOP / "series").iterdir()
                       if path.is_file()):
            for part in re.findall(r"^\[(.*)\]$", series.read_text(), re.M):
                with self.subTest(part):
                    self.assertRegex((covers / f"{part}.txt").read_text(),
                                     r"\A.{10,70}\n\n")
