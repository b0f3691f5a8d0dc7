"""A root to be backed up, without a service."""

from __future__ import annotations

import os
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from storehouse.app.local.backup import Made, Restored, make_backup, restore
from storehouse.app.local.store import open_store
from storehouse.config import Settings, load_settings
from tests.app.local.opened import Opened

__all__ = ["BackupCase"]


class BackupCase(SynchronousTestCase):
    """
    Makes a root, backups, and roots of those.

    @ivar root: it has the bucket C{box}.
    @ivar made: where the backup is.
    """

    def setUp(self) -> None:
        self.top = os.path.abspath(self.mktemp())
        os.makedirs(self.top)
        self.root = os.path.join(self.top, "root")
        self.made = os.path.join(self.top, "made")
        with self.store(create=True) as store:
            store.create_bucket("box")

    def settings(self, root: str = "") -> Settings:
        """Of a root."""
        return load_settings({"root": root or self.root, "objects-sync": "os"})

    def store(self, root: str = "", create: bool = False) -> Opened:
        """The objects of a root."""
        return Opened(open_store(self.settings(root), create))

    @staticmethod
    def put(store: Opened, key: str, data: bytes) -> str:
        """Store an object. @return: its ID."""
        return store.put("box", key, [data], len(data)).id

    def fill(self, **objects: bytes) -> None:
        """Store objects."""
        with self.store() as store:
            for key, data in objects.items():
                self.put(store, key, data)

    def back_up(self, service: Any = None) -> Made:
        """Make a backup."""
        return make_backup(self.settings(), self.made, service, lambda size: None)

    def restored(self, name: str = "restored") -> tuple[str, Restored]:
        """Make a root of it. @return: where."""
        path = os.path.join(self.top, name)
        return path, restore(self.made, path, lambda size: None)

    def objects(self, root: str) -> dict[str, bytes]:
        """All objects of a root, in which nothing is wrong."""
        found = {}
        with self.store(root) as store:
            self.assertEqual(store.check(), [])
            for info in store.list_objects("box").objects:
                found[info.key] = store.read("box", info.key)
        return found

    def files(self, directory: str) -> dict[str, int]:
        """Inodes of all files below, by their paths from there."""
        return {
            os.path.relpath(os.path.join(place, name), directory): os.lstat(os.path.join(place, name)).st_ino
            for place, _, names in os.walk(directory)
            for name in names
        }
