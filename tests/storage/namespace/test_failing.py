"""Disks without room, and syncs that fail."""

from __future__ import annotations

import errno
import os
import sqlite3
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import NoSpace, NoSuchKey, StorageFailed, StorehouseError
from storehouse.testing.files import UnsyncedFiles
from tests.conformance.namespace import entry
from tests.storage.namespace.rig import Driven, now

WRITES = ("open", "write_at", "write_synced", "mkdir", "rename", "symlink")
SYNCS = ("sync_data", "sync_directory", "write_synced")


class Failing(UnsyncedFiles):
    """Files of which one call, counted from now, fails."""

    left = -1
    kinds: tuple[str, ...] = ()
    code = errno.ENOSPC
    forever = False

    def fail(self, left: int, kinds: tuple[str, ...], code: int, forever: bool = False) -> None:
        self.left, self.kinds, self.code, self.forever = left, kinds, code, forever

    def count(self, name: str) -> None:
        if name in self.kinds and self.left >= 0:
            self.left -= 1
            if self.left < 0:
                if self.forever:
                    self.left = 0
                raise OSError(self.code, os.strerror(self.code))


def _counting(name: str) -> Any:
    method = getattr(UnsyncedFiles, name)

    def call(self: Failing, *args: Any) -> Any:
        self.count(name)
        return method(self, *args)

    return call


for _name in sorted({*WRITES, *SYNCS}):
    setattr(Failing, _name, _counting(_name))


class FailingTests(SynchronousTestCase):
    """See the module."""

    def setUp(self) -> None:
        self.files = Failing()
        self.driven = Driven(self.mktemp(), self.files).start().create()
        self.addCleanup(lambda: self.driven.stop())
        self.driven.publish("a", entry(1))
        self.driven.publish("a", entry(2), keep=True)

    def operations(self, number: int) -> list[Any]:
        driven = self.driven
        return [
            lambda: driven.publish("b" * 500, entry(number)),
            lambda: driven.publish("a", entry(number)),
            lambda: driven.publish("a", entry(number), keep=True),
            lambda: driven.publish("a", entry(2, 77)),
            lambda: now(driven.namespace.create_bucket("other")),
            lambda: now(driven.namespace.set_bucket_metadata("bucket", {"number": [str(number)]})),
        ]

    def state(self) -> Any:
        try:
            long = self.driven.versions("b" * 500)
        except NoSuchKey:
            long = []
        buckets = now(self.driven.namespace.list_buckets())
        return self.driven.versions("a"), long, buckets, list(self.driven.list().entries)

    def test_full(self) -> None:
        """Without room nothing is changed, whichever call it is that has none; later everything works."""
        for which in range(6):
            for left in range(20):
                before = self.state()
                self.files.fail(left, WRITES, errno.ENOSPC)
                try:
                    self.operations(100 + which)[which]()
                except NoSpace:
                    self.files.left = -1
                else:
                    break
                self.assertEqual(self.state(), before)
                self.assertEqual(self.driven.check(), [])
                self.assertEqual(os.listdir(self.driven.path("tmp")), [])
            self.assertGreater(left, 2)
            self.files.left = -1
            if which == 4:
                now(self.driven.namespace.delete_bucket("other"))
            self.assertEqual(self.driven.check(), [])
        self.assertIsNone(self.driven.namespace.failed)
        self.driven.stop()
        self.driven.start()
        self.assertEqual(self.driven.check(), [])

    def test_full_start(self) -> None:
        """A start without room uses the journal that is there, and so do more starts."""
        now(self.driven.namespace.intend("bucket", "z", ["00ff"]))
        for _ in range(4):
            self.driven = self.driven.killed(os.path.abspath(self.mktemp()))
            self.driven.files = self.files
            self.files.fail(0, ("open", "write_at"), errno.ENOSPC)
            self.driven.start()
            self.files.left = -1
            self.assertEqual(self.driven.namespace.unsettled, ["00ff"])
            self.assertEqual(self.driven.versions("a"), [entry(2), entry(1)])
            self.driven.publish("b", entry(5))
            self.assertEqual(self.driven.check(), [])
            index = self.driven.namespace.upkeep.index.stamp
        self.driven.namespace.settle(["00ff"])
        self.driven.stop()
        self.driven.start()
        self.assertEqual(self.driven.namespace.upkeep.index.stamp, index)
        self.assertEqual((self.driven.check(), self.driven.keys()), ([], ["a", "b"]))

    def test_full_checkpoint(self) -> None:
        """A journal that cannot be begun anew goes on."""
        for left in range(3):
            self.files.fail(left, WRITES, errno.ENOSPC)
            try:
                now(Deferred.fromCoroutine(self.driven.namespace.upkeep.checkpoint()))
            except NoSpace:
                pass
            self.files.left = -1
            self.driven.publish("a", entry(50 + left))
            self.assertEqual(os.listdir(self.driven.path("tmp")), [])
        self.driven = self.driven.killed(os.path.abspath(self.mktemp())).start()
        self.assertEqual(self.driven.look_up("a"), entry(52))
        self.assertEqual(self.driven.check(), [])

    def test_full_index(self) -> None:
        """Rows that there is no room for are written later, and nobody gets an older one meanwhile."""
        index = self.driven.namespace.upkeep.index
        apply = index.apply

        def full(changes: Any) -> None:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

        index.apply = full
        self.driven.publish("a", entry(7))
        self.driven.publish("c", entry(8))
        self.assertEqual(self.driven.look_up("a"), entry(7))
        self.assertEqual(self.driven.look_up("c"), entry(8))
        self.assertRaises(NoSpace, self.driven.list)
        index.apply = apply
        self.assertEqual(list(self.driven.list().entries), [("a", entry(7)), ("c", entry(8))])
        self.assertEqual(self.driven.check(), [])
        self.assertIsNone(self.driven.namespace.upkeep.broken)

    def test_failed_syncs(self) -> None:
        """After a sync that failed nothing is changed any more, and a start finds what was answered."""
        for which in range(6):
            for left in range(20):
                driven = self.driven = Driven(self.mktemp(), self.files).start().create()
                driven.publish("a", entry(1))
                driven.publish("a", entry(2), keep=True)
                self.files.fail(left, SYNCS, errno.EIO)
                try:
                    self.operations(9)[which]()
                except StorehouseError as error:
                    self.assertIsInstance(error, StorageFailed)
                else:
                    self.files.left = -1
                    driven.stop()
                    break
                self.assertIsInstance(driven.namespace.failed, StorageFailed)
                self.assertEqual(len(driven.failures), 1)
                self.assertRaises(StorageFailed, driven.publish, "z", entry(4))
                self.assertRaises(StorageFailed, driven.look_up, "a")
                driven.stop()
                driven.start()
                self.assertIn(driven.look_up("a"), [entry(2), entry(9), entry(2, 77)])
                self.assertEqual(driven.check(), [])
                driven.stop()
            self.assertGreater(left, 1)
