"""A root that is made of a backup."""

from __future__ import annotations

import os
import shutil

from storehouse.app.local.backup import restore
from storehouse.errors import Damaged, StartFailed
from tests.app.local.backup.rig import BackupCase


class RestoreTests(BackupCase):
    """L{restore}."""

    def setUp(self) -> None:
        super().setUp()
        self.fill(a=b"some text", b=b"", **{"c/d": b"more"})
        os.makedirs(f"{self.root}/accounts")
        with open(f"{self.root}/accounts/users.json", "wb") as file:
            file.write(b"{}")
        self.back_up()

    def test_apart(self) -> None:
        """Whatever is done to the root, the backup stays."""
        before = {name: self._content(name) for name in self.files(self.made)}
        path, restored = self.restored()
        self.assertEqual((restored.description.keys, restored.description.objects, restored.findings), (3, 3, []))
        self.assertFalse(set(self.files(path).values()) & set(self.files(self.made).values()))
        self.assertEqual(self.objects(path), {"a": b"some text", "b": b"", "c/d": b"more"})
        with self.store(path) as store:
            self.put(store, "a", b"other")
            store.delete("box", "b")
        shutil.rmtree(path)
        self.assertEqual({name: self._content(name) for name in self.files(self.made)}, before)
        self.assertEqual(self.objects(self.restored("again")[0]), {"a": b"some text", "b": b"", "c/d": b"more"})

    def _content(self, name: str) -> bytes:
        path = os.path.join(self.made, name)
        if os.path.islink(path):
            return os.readlink(path).encode()
        with open(path, "rb") as file:
            return file.read()

    def test_places(self) -> None:
        """An empty directory is taken, and nothing else that is there."""
        path = f"{self.top}/restored"
        os.mkdir(path)
        self.restored()
        for there, reason in [
            (path, "is neither"),
            (f"{self.made}/x", "contain one another"),
            (self.top, "contain one another"),
            (f"{self.top}/none/x", "is not a directory"),
        ]:
            self.assertIn(reason, self.assertRaises(StartFailed, restore, self.made, there, lambda size: None).detail)
        self.assertIn(
            "not a backup",
            self.assertRaises(StartFailed, restore, self.root, f"{self.top}/x", lambda size: None).detail,
        )
        self.assertEqual(sorted(os.listdir(self.top)), ["made", "restored", "root"])

    def test_damage(self) -> None:
        """Whatever is missing or changed, there is no root; the other files are where they were."""
        for name in sorted(self.files(self.made)):
            if "/data/" in name:
                continue
            aside = f"{self.top}/aside"
            shutil.copytree(self.made, aside, symlinks=True)
            os.unlink(f"{self.made}/{name}")
            self.assertRaises((Damaged, StartFailed), self.restored)
            if not os.path.islink(f"{aside}/{name}") and os.path.getsize(f"{aside}/{name}") and "/buckets/" not in name:
                with open(f"{aside}/{name}", "rb") as file:
                    data = bytearray(file.read())
                data[len(data) // 2] ^= 1
                with open(f"{self.made}/{name}", "wb") as file:
                    file.write(data)
                self.assertRaises((Damaged, StartFailed), self.restored)
            shutil.rmtree(self.made)
            os.rename(aside, self.made)
            self.assertEqual(sorted(os.listdir(self.top)), ["made", "root"])
        self.restored()

    def test_lost_object(self) -> None:
        with self.store() as store:
            id = store.head("box", "a").id
        shutil.rmtree(f"{self.made}/objects/data/{id[:2]}/{id}")
        self.assertIn("has 2 objects, and had 3", self.assertRaises(Damaged, self.restored).detail)

    def test_damaged_object(self) -> None:
        """It is reported, and all others are there."""
        with self.store() as store:
            id = store.head("box", "a").id
        # Its bytes are those of the root, too.
        with open(f"{self.made}/objects/data/{id[:2]}/{id}/part.1", "r+b") as file:
            file.write(b"?")
        path, restored = self.restored()
        self.assertEqual(len(restored.findings), 1)
        self.assertIn(id, restored.findings[0])
        with self.store(path) as store:
            self.assertEqual(store.head("box", "b").size, 0)
