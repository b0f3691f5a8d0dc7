"""Verbs on a root of which some keys are damaged."""

from __future__ import annotations

import glob
import os
import shutil

from tests.cli.test_objects import VerbCase


class DamagedKeyTests(VerbCase):
    """The objects C{photos/a.txt} and C{photos/b.txt}."""

    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        self.said("mb", "photos")
        for name in ("a", "b"):
            self.said("put", self.file(name.encode()), f"photos/{name}.txt")
        self.key = f"{self.root}/namespace/buckets/photos/objects/a.txt"
        self.addCleanup(self.flushLoggedErrors)

    def relink(self, target: str) -> None:
        os.unlink(f"{self.key}/default.json")
        os.symlink(target, f"{self.key}/default.json")

    def lose_index(self) -> None:
        shutil.rmtree(f"{self.root}/namespace/index")

    def test_dangling(self) -> None:
        """It is served as it was while the index knows it; it can be replaced and removed with or without."""
        for lost in (False, True):
            self.relink("deadbeef.json")
            if lost:
                self.lose_index()
                self.assertIn("1 key cannot be read", self.refused("ls", "photos"))
                self.assertIn("1 key cannot be read", self.refused("du", "photos"))
                self.assertIn("it points to deadbeef.json", self.refused("cat", "photos/a.txt"))
            else:
                self.assertEqual(self.said("cat", "photos/a.txt"), "a")
            self.said("put", self.file(b"new"), "photos/a.txt")
            self.assertEqual(self.said("cat", "photos/a.txt"), "new")
            self.assertEqual(self.run_command("fsck").stderr, "no problems found\n")
            self.relink("deadbeef.json")
            self.said("rm", "photos/a.txt")
            self.assertEqual(self.said("ls", "photos"), "b.txt\n")
            self.said("put", self.file(b"a"), "photos/a.txt")

    def test_of_another_key(self) -> None:
        """A link to a file of another key's version: whatever is done to the one, the other one's bytes stay."""
        (other,) = [
            path
            for path in glob.glob(f"{self.root}/namespace/buckets/photos/objects/b.txt/*.json")
            if not os.path.islink(path)
        ]
        for verb in (("put", self.file(b"new")), ("rm",)):
            shutil.copy(other, self.key)
            self.relink(os.path.basename(other))
            self.lose_index()
            self.said(*verb, "photos/a.txt")
            self.assertEqual(self.said("cat", "photos/b.txt"), "b")
            self.run_command("ls", "photos")
            self.assertEqual(self.said("cat", "photos/b.txt"), "b")

    def test_emptied(self) -> None:
        """All below a place, and the bucket, although nothing can be read."""
        self.relink("deadbeef.json")
        self.lose_index()
        self.said("rm", "--recursive", "--yes", "photos/")
        self.assertEqual(self.said("ls", "photos"), "")
        self.said("rb", "photos")

    def test_without_links(self) -> None:
        """A root that was copied without symbolic links says so, loudly, and can be made whole."""
        for path in glob.glob(f"{self.root}/namespace/buckets/photos/objects/*/default.json"):
            os.unlink(path)
        self.lose_index()
        self.assertIn("2 keys cannot be read", self.refused("ls", "photos"))
        result = self.run_command("ls", "-l", "photos", status=1)
        self.assertIn("a.txt", result.stdout)
        self.assertIn("2 keys cannot be read", self.run_command("reindex", status=1).stderr)
        self.assertIn("its only version becomes its default", self.run_command("fsck", status=1).stdout)
        self.assertIn("2 problems found and repaired", self.run_command("fsck", "--repair").stderr)
        self.assertEqual(self.said("ls", "photos"), "a.txt\nb.txt\n")
        self.assertEqual(self.said("cat", "photos/a.txt", "photos/b.txt"), "ab")

    def test_changed_case(self) -> None:
        """Names that are no keys are reported, too."""
        self.said("put", self.file(b"c"), "photos/c/d")
        objects = os.path.dirname(self.key)
        os.rename(f"{objects}/c%2Fd", f"{objects}/c%2fd")
        self.lose_index()
        self.assertIn("1 name is neither a key nor a bucket", self.refused("ls", "photos"))
        self.assertIn("c%2fd", self.run_command("fsck", status=1).stdout)
        self.assertEqual(self.said("cat", "photos/b.txt"), "b")

    def test_zero_time(self) -> None:
        """A time that says nothing keeps nobody from anything."""
        with open(f"{self.key}/00ff.json", "w") as file:
            file.write('{"default":true,"size":0,"createdAt":"0001-01-01T00:00:00Z","contentType":"","metadata":null}')
        self.relink("00ff.json")
        self.lose_index()
        self.assertIn("0001-01-01T00:00:00Z", self.said("ls", "-l", "photos"))
        self.assertIn("b.txt", self.said("ls", "photos"))
