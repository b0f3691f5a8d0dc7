"""Commands and services that are given a namespace and objects which do not belong together."""

from __future__ import annotations

import os
import shutil

from twisted.internet.task import Clock

from storehouse.app.service import make_service
from storehouse.config import load_settings
from storehouse.core.opening import VITAL
from storehouse.errors import StartFailed
from tests.cli.test_objects import VerbCase

#: Commands that open a store.
VERBS = (
    ("ls",),
    ("cat", "photos/a"),
    ("rm", "photos/a"),
    ("mb", "other"),
    ("fsck",),
    ("fsck", "--repair"),
    ("reindex",),
)


class JoinedTests(VerbCase):
    """A root with an object, whose bytes are in C{x}."""

    def setUp(self) -> None:
        self.top = os.path.abspath(self.mktemp())
        self.root = os.path.join(self.top, "root")
        self.objects = os.path.join(self.top, "x")
        self.said("mb", "photos", "--objects-dir", self.objects)
        self.said("put", self.file(b"a"), "photos/a", "--objects-dir", self.objects)
        self.addCleanup(self.flushLoggedErrors)

    def all_refuse(self, *options: str) -> None:
        """Every command, and a service; nothing is made or changed."""
        before = self.tree()
        for verb in (*VERBS, ("put", self.file(b"b"), "photos/b")):
            self.assertIn("do not belong together", self.refused(*verb, *options), verb)
        backup = self.run_command("backup", os.path.join(self.top, "backup"), *options, status=2).stderr
        self.assertIn("do not belong together", backup)
        objects = dict(zip(options[::2], options[1::2], strict=True)).get("--objects-dir", "")
        service = make_service(
            load_settings(
                {
                    "root": self.root,
                    "objects-dir": objects or f"{self.root}/objects",
                    "https": "off",
                    "append": "off",
                    "sfsp": "off",
                    "s3": "off",
                }
            ),
            Clock(),
        )
        # The first thing that is opened, without which nothing is.
        name, first = next(iter(service.stores.items()))
        self.assertIn(name, VITAL)
        error = self.assertRaises(StartFailed, first.start)
        self.assertIn("do not belong together", str(error))
        self.assertEqual(self.tree(), before)

    def tree(self) -> list[tuple[str, list[str]]]:
        """All files but those that SQLite makes to look at an index."""
        return sorted(
            (base, sorted(name for name in files if not name.endswith(("-shm", "-wal"))))
            for base, _, files in os.walk(self.top)
            if base != self.root
        )

    def test_forgotten(self) -> None:
        """Nothing is made where the objects are not, and all is there when they are found again."""
        self.all_refuse()
        self.assertFalse(os.path.exists(f"{self.root}/objects"))
        os.mkdir(f"{self.root}/objects")
        self.all_refuse()
        self.assertEqual(self.said("cat", "photos/a", "--objects-dir", self.objects), "a")
        self.assertEqual(
            self.run_command("fsck", "--objects-dir", self.objects).stderr.splitlines()[-1], "no problems found"
        )

    def test_swapped(self) -> None:
        other, mine = os.path.join(self.top, "other"), self.root
        self.root = other
        self.said("mb", "photos")
        self.said("put", self.file(b"b"), "photos/a")
        self.root = mine
        self.all_refuse("--objects-dir", f"{other}/objects")
        for verb in (("uploads", "--expire", "0"), ("scrub",)):
            refused = self.run_command(*verb, "--objects-dir", f"{other}/objects", status=2).stderr
            self.assertIn("do not belong together", refused)

    def test_lost_namespace(self) -> None:
        """Objects without a namespace are not taken for an empty store's."""
        shutil.rmtree(f"{self.root}/namespace")
        refused = self.refused("mb", "photos", "--objects-dir", self.objects)
        self.assertIn("do not belong together", refused)
        self.assertFalse(os.path.exists(f"{self.root}/namespace"))

    def test_before_stamps(self) -> None:
        """A store of before gets them."""
        for directory in (f"{self.root}/namespace", self.objects):
            os.unlink(f"{directory}/stamp")
        self.all_refuse()
        self.assertEqual(self.said("cat", "photos/a", "--objects-dir", self.objects), "a")
        for directory in (f"{self.root}/namespace", self.objects):
            self.assertTrue(os.path.exists(f"{directory}/stamp"))

    def test_join(self) -> None:
        """What is left of a store whose objects are lost can be had, if that is said."""
        self.refused("fsck", "--join")
        os.mkdir(f"{self.root}/objects")
        self.assertIn("are missing", self.run_command("fsck", "--join", status=1).stdout)
        self.assertEqual(self.said("ls", "photos"), "a\n")
