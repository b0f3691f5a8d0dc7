"""What is damaged in a key can be replaced and removed, by itself and without loss of anything else."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Collection

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.files import Files
from storehouse.errors import (
    BucketNotEmpty,
    DamagedEntry,
    NoSpace,
    NoSuchKey,
    PreconditionFailed,
    StorehouseError,
)
from storehouse.storage.namespace.interfaces import Entry
from storehouse.testing.files import UnsyncedFiles
from tests.conformance.namespace import entry
from tests.storage.namespace.rig import Driven, flip, now
from tests.storage.namespace.test_failing import WRITES, Failing


class LayeredFiles(UnsyncedFiles):
    """As overlayfs: directories below these cannot be renamed. Fails for good after some removals."""

    lower: tuple[str, ...] = ()
    left = -1
    counting = True

    def rename(self, source: str, target: str) -> None:
        if os.path.isdir(source) and source.startswith(self.lower or ("-",)):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source)
        super().rename(source, target)

    def unlink(self, path: str) -> None:
        self._count()
        super().unlink(path)

    def remove_tree(self, path: str) -> None:
        # One at a time, so that it can be cut short.
        for base, directories, files in os.walk(path, topdown=False):
            for name in sorted(files):
                self.unlink(f"{base}/{name}")
            for name in directories:
                os.rmdir(f"{base}/{name}")
        os.rmdir(path)

    def _count(self) -> None:
        if self.left >= 0 and self.counting:
            if self.left == 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            self.left -= 1


def file_of(number: int) -> str:
    return f"{entry(number).id}.json"


class ReplacingTests(SynchronousTestCase):
    """A key C{a} with the version 1, damaged in one way after the other, beside a healthy key C{b} with the version 2."""

    def setUp(self) -> None:
        self.driven: Driven | None = None

    def tearDown(self) -> None:
        self.close()
        self.flushLoggedErrors()

    def close(self) -> None:
        if self.driven is not None:
            self.driven.stop()

    def open(self, damage: Callable[[], None], indexed: bool, files: Failing | None = None) -> Driven:
        self.close()
        self.driven = driven = Driven(os.path.join(self.mktemp(), "namespace"), files).start().create()
        driven.publish("a", entry(1))
        driven.publish("b", entry(2))
        if not indexed:
            driven.stop()
            shutil.rmtree(driven.path("index"))
        damage()
        if not indexed:
            driven.start()
        return driven

    # -- kinds of damage -----------------------------------------------------------------------

    def at(self, name: str) -> str:
        assert self.driven is not None
        return self.driven.object("a", name)

    def relink(self, target: str) -> None:
        os.unlink(self.at("default.json"))
        os.symlink(target, self.at("default.json"))

    def other_file(self, text: bytes) -> None:
        os.unlink(self.at("default.json"))
        with open(self.at("default.json"), "wb") as file:
            file.write(text)

    def directory(self, name: str) -> None:
        os.unlink(self.at(name))
        os.mkdir(self.at(name))
        with open(os.path.join(self.at(name), "precious"), "w") as file:
            file.write("x")

    def damages(self) -> dict[str, Callable[[], None]]:
        return {
            "dangling": lambda: self.relink("deadbeef.json"),
            "leads to another key's": lambda: self.relink(file_of(2)),
            "leads out": lambda: self.relink("../b/" + file_of(2)),
            "a loop": lambda: self.relink("default.json"),
            "no link": lambda: os.unlink(self.at("default.json")),
            "no version": lambda: os.unlink(self.at(file_of(1))),
            "flipped": lambda: flip(self.at(file_of(1)), 20),
            "cut": lambda: os.truncate(self.at(file_of(1)), 10),
            "empty": lambda: os.truncate(self.at(file_of(1)), 0),
            "a directory as default": lambda: self.directory("default.json"),
            "a directory as version": lambda: self.directory(file_of(1)),
            "a file as default": lambda: self.other_file(b"what is this?"),
            "a queue as version": lambda: (os.unlink(self.at(file_of(1))), os.mkfifo(self.at(file_of(1))))[1],
        }

    def each(self) -> list[tuple[str, Callable[[], None], bool]]:
        return [(what, damage, indexed) for what, damage in self.damages().items() for indexed in (True, False)]

    def is_well(self, what: str) -> None:
        """The other key has its version, the journal would not have a start look for bytes of it."""
        assert self.driven is not None
        self.assertEqual(self.driven.look_up("b"), entry(2), what)
        self.assertNotIn(entry(2).id, self.driven.namespace.journal.open, what)

    # -- the tests -----------------------------------------------------------------------------

    def test_put(self) -> None:
        """A put replaces it, and takes no other key's bytes with it."""
        for what, damage, indexed in self.each():
            driven = self.open(damage, indexed)
            freed = driven.publish("a", entry(3))
            self.assertLessEqual({each.id for each in freed}, {entry(1).id}, what)
            self.assertEqual(driven.look_up("a"), entry(3), what)
            self.assertEqual(driven.publish("a", entry(4)), [entry(3)], what)
            self.assertEqual((driven.keys(), driven.list().damaged), (["a", "b"], []), what)
            self.assertLessEqual({each.kind for each in driven.check()}, {"unknown", "damaged"}, what)
            self.is_well(what)

    def test_conditions(self) -> None:
        """Conditions see what readers get; of what nobody gets, that something is there. A failed put changes nothing."""

        def absent(there: Entry | None) -> None:
            if there is not None:
                raise PreconditionFailed("it is there")

        for what, damage, indexed in self.each():
            driven = self.open(damage, indexed)
            before = self.seen(driven)
            self.assertRaises(PreconditionFailed, driven.publish, "a", entry(3), condition=absent)
            self.assertRaises(PreconditionFailed, driven.unpublish, "a", condition=absent)
            self.assertEqual(self.seen(driven), before, what)
            found: list[Entry | None] = []
            driven.publish("a", entry(3), condition=found.append)
            self.assertIsNotNone(found[-1], what)
            self.is_well(what)

    def seen(self, driven: Driven) -> object:
        try:
            return driven.look_up("a")
        except DamagedEntry as error:
            return str(error)

    def test_full(self) -> None:
        """A put for which there is no room changes nothing, whatever was damaged."""
        for what, damage in self.damages().items():
            if "directory" in what or "file" in what:
                continue  # what is in the way is set aside first: that is no loss
            for left in range(20):
                files = Failing()
                driven = self.open(damage, True, files)
                before, names = self.seen(driven), sorted(os.listdir(driven.object("a")))
                files.fail(left, WRITES, 28)
                try:
                    driven.publish("a", entry(3))
                except NoSpace:
                    files.left = -1
                    self.assertEqual(self.seen(driven), before, (what, left))
                    self.assertEqual(sorted(os.listdir(driven.object("a"))), names, (what, left))
                else:
                    break
            files.left = -1
            self.assertGreater(left, 3)

    def test_rm(self) -> None:
        """It can be removed, and then the bucket; what was not understood is still there."""
        for what, damage, indexed in self.each():
            driven = self.open(damage, indexed)
            self.assertIn("a", [*driven.keys(), *driven.list().damaged], what)
            freed = driven.unpublish("a", condition=lambda there: self.assertIsNotNone(there))
            self.assertLessEqual({each.id for each in freed}, {entry(1).id}, what)
            self.assertRaises(NoSuchKey, driven.look_up, "a")
            self.assertRaises(NoSuchKey, driven.unpublish, "a")
            self.is_well(what)
            driven.unpublish("b")
            self.assertEqual((driven.keys(), driven.list().damaged, driven.check()), ([], [], []), what)
            now(driven.namespace.delete_bucket("bucket"))
            self.assertEqual(os.listdir(driven.path("tmp")), [], what)
            if "directory" in what:
                self.assertEqual(self.recovered("precious"), 1, what)

    def recovered(self, name: str) -> int:
        assert self.driven is not None
        top = os.path.join(os.path.dirname(self.driven.directory), "recovered")
        return sum(name in files for _, _, files in os.walk(top))

    def test_noted(self) -> None:
        """What is set aside is beside a note of where it was."""
        driven = self.open(lambda: self.other_file(b"what is this?"), True)
        was = driven.object("a", "default.json")
        driven.publish("a", entry(3))
        ((day,),) = [os.listdir(os.path.join(os.path.dirname(driven.directory), "recovered"))]
        top = os.path.join(os.path.dirname(driven.directory), "recovered", day)
        (note,) = [name for name in os.listdir(top) if name.endswith(".json")]
        with open(os.path.join(top, note)) as file:
            self.assertEqual(json.load(file)["path"], was)
        with open(os.path.join(top, note[:-5], "default.json"), "rb") as file:
            self.assertEqual(file.read(), b"what is this?")

    def test_own_file_system(self) -> None:
        """Where C{ROOT/recovered} is on another file system than the namespace, things are set aside within it."""

        class Mounted(Failing):
            def move(self, source: str, target: str, first: Collection[str] = ()) -> None:
                if not target.startswith(os.path.join(top, "namespace")):
                    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source)
                super().move(source, target, first)

        top = ""
        driven = self.open(lambda: self.other_file(b"what is this?"), True, Mounted())
        top = os.path.dirname(driven.directory)
        driven.publish("a", entry(3))
        self.assertEqual(driven.look_up("a"), entry(3))
        self.assertNotEqual(os.listdir(driven.path("recovered")), [])
        self.assertEqual([each.kind for each in driven.check() if each.kind == "unknown"], [])

    def test_in_the_way(self) -> None:
        """A file where a key belongs, or a piece of one, is set aside by a put; it is no key before."""
        driven = self.open(lambda: None, True)
        for key, name in (("c", "c"), ("x" * 300, "x" * 200 + "+"), ("y" * 300, "y" * 200 + "+/" + "y" * 100)):
            path = driven.object(name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write("?")
            self.assertRaises(NoSuchKey, driven.look_up, key)
            self.assertRaises(NoSuchKey, driven.unpublish, key)
            driven.publish(key, entry(5))
            self.assertEqual(driven.look_up(key), entry(5))
            self.assertEqual(self.recovered(os.path.basename(name)), 1)
        self.assertEqual(driven.check(), [])

    def test_empty_directory(self) -> None:
        """A directory of a key without anything in it is no key, and in nobody's way."""
        driven = self.open(lambda: None, False)
        os.mkdir(driven.object("c"))
        self.assertRaises(NoSuchKey, driven.look_up, "c")
        self.assertRaises(NoSuchKey, driven.unpublish, "c")
        driven.publish("c", entry(5))
        self.assertEqual((driven.look_up("c"), driven.check()), (entry(5), []))

    def test_lost_directory(self) -> None:
        """A bucket whose C{objects} is lost takes keys."""
        driven = self.open(lambda: None, True)
        shutil.rmtree(driven.object(""))
        driven.publish("c", entry(5))
        self.assertEqual(driven.look_up("c"), entry(5))
        driven.unpublish("c")
        now(driven.namespace.reindex())
        now(driven.namespace.delete_bucket("bucket"))

    def test_bucket(self) -> None:
        """A bucket goes with what other programs keep of it, which is set aside; not while anything is in it."""
        driven = self.open(lambda: None, True)
        for key in "ab":
            driven.unpublish(key)
        with open(driven.path("buckets", "bucket", "policy.json"), "w") as file:
            file.write("{}")
        os.symlink("/tmp", driven.object("elsewhere"))
        error = self.assertRaises(BucketNotEmpty, lambda: now(driven.namespace.delete_bucket("bucket")))
        self.assertIn("elsewhere", str(error))
        os.unlink(driven.object("elsewhere"))
        now(driven.namespace.delete_bucket("bucket"))
        self.assertEqual((self.recovered("policy.json"), os.listdir(driven.path("tmp"))), (1, []))

    def test_killed_while_removing(self) -> None:
        """A start finishes a removal; what is not ours is set aside then, too, and what is in C{tmp} is left."""
        driven = self.open(lambda: None, True)
        shutil.copytree(driven.object("a"), driven.path("tmp", "deleted.0123456789abcdef"), symlinks=True)
        for name in ("deleted.0123456789abcdef/strange", "mine"):
            with open(driven.path("tmp", name), "w") as file:
                file.write("x")
        driven.stop()
        driven.start()
        self.assertEqual((os.listdir(driven.path("tmp")), self.recovered("strange")), (["mine"], 1))
        self.assertEqual(self.recovered(file_of(1)), 0)

    def test_version_of_another_key(self) -> None:
        """To ask for the removal of a version that a key does not have writes down nothing, and removes nothing."""
        driven = self.open(lambda: None, True)
        before = os.path.getsize(driven.path("journal"))
        self.assertRaises(NoSuchKey, driven.unpublish, "a", id=entry(2).id)
        self.assertEqual(os.path.getsize(driven.path("journal")), before)
        self.is_well("")


class LayeredTests(SynchronousTestCase):
    """A tree of which all directories came from a lower layer of overlayfs, or without symbolic links."""

    def start(self, files: Files) -> Driven:
        driven = Driven(os.path.join(self.mktemp(), "namespace")).start().create()
        driven.publish("a", entry(1))
        driven.publish("a", entry(2), keep=True)
        driven.publish("x" * 300, entry(3))
        driven.create("other")
        driven.stop()
        driven.files = files
        driven.start()
        self.addCleanup(lambda: driven.stop())
        return driven

    def test_remove(self) -> None:
        """Keys and buckets can be replaced and removed."""
        files = LayeredFiles()
        driven = self.start(files)
        files.lower = (driven.path("buckets"),)
        driven.publish("a", entry(4), keep=True)
        self.assertEqual(len(driven.unpublish("a")), 3)
        self.assertEqual(driven.unpublish("x" * 300), [entry(3)])
        self.assertEqual((driven.keys(), driven.check()), ([], []))
        for bucket in ("bucket", "other"):
            now(driven.namespace.delete_bucket(bucket))
        self.assertEqual((os.listdir(driven.path("buckets")), os.listdir(driven.path("tmp"))), ([], []))

    def test_killed(self) -> None:
        """A removal that was cut short anywhere is as good as not begun, or is finished by the next start."""
        for left in range(20):
            files = LayeredFiles()
            driven = self.start(files)
            files.lower = (driven.path("buckets"),)
            files.left = left
            done = True
            try:
                driven.unpublish("a")
            except StorehouseError:
                done = False
            files.left = -1
            files.counting = False
            driven = driven.killed(os.path.join(self.mktemp(), "namespace")).start()
            self.addCleanup(driven.stop)
            try:
                self.assertEqual(driven.versions("a"), [entry(2), entry(1)])
            except NoSuchKey:
                self.assertFalse(os.path.lexists(driven.object("a")))
            self.assertEqual(driven.check(), [], left)
            self.flushLoggedErrors()
            if done:
                break
        self.assertGreater(left, 2)

    def test_without_links(self) -> None:
        """C{default.json} is a file with the name that a link would lead to."""

        class Linkless(UnsyncedFiles):
            def symlink(self, target: str, path: str) -> None:
                raise OSError(errno.EPERM, os.strerror(errno.EPERM), path)

        driven = self.start(Linkless())
        driven.publish("b", entry(4))
        driven.publish("b", entry(5), keep=True)
        self.assertFalse(os.path.islink(driven.object("b", "default.json")))
        self.assertEqual(driven.versions("b"), [entry(5), entry(4)])
        driven.unpublish("b", id=entry(5).id)
        self.assertEqual((driven.look_up("b"), driven.check()), (entry(4), []))
        driven.stop()
        shutil.rmtree(driven.path("index"))
        driven.start()
        self.assertEqual(driven.look_up("b"), entry(4))
        driven.unpublish("b")
        self.assertEqual(driven.check(), [])
