"""Where a backup is made, what it shares, and what is left when it fails."""

from __future__ import annotations

import errno
import os
import shutil
from typing import Any

from storehouse.app.local import backup as backup_module
from storehouse.app.local.backup import size_of
from storehouse.app.local.backup import target as target_module
from storehouse.app.local.backup.target import Target
from storehouse.core.files import Files
from storehouse.errors import RootInUse, StartFailed, StorageFailed
from tests.app.local.backup.rig import BackupCase


def _no_links(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


class PlaceTests(BackupCase):
    """What C{DEST} may be."""

    def refused(self, path: str) -> str:
        """Why there cannot be a backup. Nothing is changed."""
        self.made = path
        before = self.files(self.top)
        detail = self.assertRaises(StartFailed, self.back_up).detail
        self.assertEqual(self.files(self.top).keys() | {"root/reserve"}, before.keys() | {"root/reserve"})
        return detail

    def test_one_within_the_other(self) -> None:
        for path in (
            self.root,
            f"{self.root}/made",
            f"{self.root}/objects/made",
            self.top,
            f"{self.top}/x/../root/made",
        ):
            self.assertIn("contain one another", self.refused(path))
        os.symlink(self.root, f"{self.top}/link")
        self.assertIn("contain one another", self.refused(f"{self.top}/link/made"))

    def test_something_else(self) -> None:
        """What is there and no backup stays."""
        os.mkdir(f"{self.top}/full")
        for name in ("full/file", "file"):
            with open(f"{self.top}/{name}", "wb"):
                pass
        self.assertIn("not empty and not a backup", self.refused(f"{self.top}/full"))
        self.assertIn("not a directory", self.refused(f"{self.top}/file"))
        self.assertIn("is not a directory", self.refused(f"{self.top}/none/made"))
        os.mkdir(f"{self.top}/.other.partial")
        with open(f"{self.top}/.other.partial/file", "wb"):
            pass
        self.assertIn("was not made by a backup", self.refused(f"{self.top}/other"))

    def test_no_root(self) -> None:
        shutil.rmtree(self.root)
        self.assertIn("there is no root", self.assertRaises(StartFailed, self.back_up).detail)

    def test_another_backup(self) -> None:
        """Of another root, one that was damaged, and one with something of somebody else in it."""
        self.back_up()
        with open(f"{self.made}/mine", "wb"):
            pass
        self.assertIn("mine is not part of it", self.refused(self.made))
        os.unlink(f"{self.made}/mine")
        os.rename(self.root, f"{self.top}/moved")
        self.root = f"{self.top}/moved"
        self.assertIn("of another root", self.refused(self.made))
        with open(f"{self.made}/backup.json", "r+b") as file:
            file.write(b"?")
        self.assertIn("damaged", self.refused(self.made))

    def test_empty(self) -> None:
        """An empty directory is taken; so is what a killed backup left."""
        os.mkdir(self.made)
        os.makedirs(f"{self.top}/.made.partial/objects")
        with open(f"{self.top}/.made.partial/partial", "wb"):
            pass
        self.back_up()
        self.assertEqual(sorted(os.listdir(self.top)), ["made", "root"])

    def test_one_at_a_time(self) -> None:
        first = Target(self.made, self.root, [])
        self.assertIn("another backup", self.assertRaises(StartFailed, self.back_up).detail)
        first.abandon()
        self.back_up()

    def test_root_in_use(self) -> None:
        """By something that is not asked to keep what is removed."""
        with self.store():
            self.assertRaises(RootInUse, self.back_up)
        self.assertEqual(os.listdir(self.top), ["root"])


class FileTests(BackupCase):
    """What is shared and what is copied."""

    def test_links(self) -> None:
        """Objects and their keys share their bytes with the root; what may change does not."""
        self.fill(a=b"some text")
        self.back_up()
        there, here = self.files(self.root), self.files(self.made)
        shared = {name.partition("/")[0] for name in here if name in there and there[name] == here[name]}
        self.assertEqual(shared, {"objects", "namespace"})
        for name in here:
            if name.startswith(("objects/data", "namespace/buckets")) and not name.endswith("default.json"):
                self.assertEqual(here[name], there[name], name)
        for name in ("objects/format.json", "namespace/format.json"):
            self.assertNotEqual(here[name], there[name])

    def test_another_file_system(self) -> None:
        """All is copied."""
        self.fill(a=b"some text", b=b"more")
        self.patch(os, "link", _no_links)
        self.back_up()
        self.assertFalse(set(self.files(self.root).values()) & set(self.files(self.made).values()))
        path, _ = self.restored()
        self.assertEqual(self.objects(path), {"a": b"some text", "b": b"more"})

    def test_next(self) -> None:
        """A backup that is there is replaced, and shares with it what both have; the one before is gone."""
        original = os.link

        def link(source: Any, target: Any, **how: Any) -> None:
            # Two file systems: of the root, and of the backups.
            if not os.path.isabs(source) or os.path.commonpath([source, self.root]) == self.root:
                _no_links()
            original(source, target, **how)

        self.patch(os, "link", link)
        self.fill(a=b"some text", b=b"more")
        self.back_up()
        first = self.files(self.made)
        self.fill(b=b"other")
        made = self.back_up()
        second = self.files(self.made)
        kept = {name for name in second if first.get(name) == second[name]}
        self.assertEqual(
            {name.rpartition("/")[2] for name in kept if "data/" in name}, {"data.json", "part.1", "part.1.checksum"}
        )
        self.assertEqual(sum("data/" in name for name in kept), 3)
        self.assertGreater(made.linked, 3)
        path, _ = self.restored()
        self.assertEqual(self.objects(path), {"a": b"some text", "b": b"other"})
        self.assertEqual(sorted(os.listdir(self.top)), ["made", "restored", "root"])

    def test_no_exchange(self) -> None:
        """A system that cannot exchange two names."""
        self.back_up()
        self.fill(a=b"x")

        def exchange(files: Files, first: str, second: str) -> None:
            raise OSError(errno.ENOSYS, "no such call")

        self.patch(Files, "exchange", exchange)
        self.back_up()
        self.assertEqual(sorted(os.listdir(self.top)), ["made", "root"])
        path, _ = self.restored()
        self.assertEqual(self.objects(path), {"a": b"x"})
        # Ended between the two steps: the one that was there is there again.
        os.rename(self.made, f"{self.top}/.made.old")
        self.back_up()
        self.assertEqual(sorted(os.listdir(self.top)), ["made", "restored", "root"])

    def test_owners_mode(self) -> None:
        """Nothing is for others, whatever the root lets them do."""
        os.chmod(f"{self.root}/objects/format.json", 0o644)
        self.back_up()
        for place, _, names in os.walk(self.made):
            for name in ("", *names):
                path = os.path.join(place, name)
                if not os.path.islink(path):
                    self.assertEqual(os.stat(path).st_mode & 0o077, 0, path)

    def test_leaves_nothing_in_the_root(self) -> None:
        """To look at a root makes nothing in it."""
        before = self.files(self.root).keys()
        size_of(self.settings())
        self.back_up()
        self.assertEqual(self.files(self.root).keys(), before)

    def test_what_is_no_file(self) -> None:
        """Sockets, pipes and events that wait are nothing to keep; what is not ours is, as it is."""
        os.mkfifo(f"{self.root}/pipe")
        os.mkdir(f"{self.root}/mine")
        with open(f"{self.root}/mine/file", "wb") as file:
            file.write(b"x")
        os.symlink("file", f"{self.root}/mine/link")
        os.mkdir(f"{self.root}/events")
        self.back_up()
        self.assertEqual(sorted(os.listdir(f"{self.made}/mine")), ["file", "link"])
        self.assertEqual(os.readlink(f"{self.made}/mine/link"), "file")
        self.assertFalse(os.path.lexists(f"{self.made}/pipe"))
        for name in ("lock", "reserve", "events"):
            self.assertFalse(os.path.lexists(f"{self.made}/{name}"))


class FailureTests(BackupCase):
    """A backup that fails leaves what was there, and nothing else."""

    def setUp(self) -> None:
        super().setUp()
        self.fill(a=b"some text")
        self.back_up()
        self.before = self.files(self.made)

    def unchanged(self) -> None:
        self.assertEqual(self.files(self.made), self.before)
        self.assertEqual(sorted(os.listdir(self.top)), ["made", "root"])

    def test_not_read_back(self) -> None:
        self.patch(target_module, "checksum_of", lambda path, alive, fresh: (0, "00000000"))
        self.assertIn("not read back", self.assertRaises(StorageFailed, self.back_up).detail)
        self.unchanged()

    def test_full_disk(self) -> None:
        def refuse(files: Files, fd: int, pieces: Any, offset: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        self.patch(Files, "write_at", refuse)
        os.utime(f"{self.root}/objects/format.json", (1, 1))
        self.assertRaises((OSError, StartFailed), self.back_up)
        self.unchanged()

    def test_interrupted(self) -> None:
        def interrupt(*args: Any) -> None:
            raise KeyboardInterrupt

        self.patch(backup_module, "ObjectsBackup", interrupt)
        self.assertRaises(KeyboardInterrupt, self.back_up)
        self.unchanged()
        # The root is free again.
        with self.store():
            pass
