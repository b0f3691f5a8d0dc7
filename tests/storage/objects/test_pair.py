"""Tests of L{storehouse.storage.objects.pair}: what is reported of bytes that are not there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.jobs import InlineDisk
from storehouse.errors import DamagedObject, NoSuchObject, Unavailable
from storehouse.events import Events
from storehouse.storage.namespace.interfaces import Entry
from storehouse.storage.objects.pair import Pair


class _Names:
    """A namespace in which a key has one ID after the other."""

    def __init__(self, ids: Iterator[str]) -> None:
        self._ids = ids

    def look_up(self, bucket: str, key: str, id: str | None = None) -> Deferred[Entry]:
        return succeed(Entry(next(self._ids), 1, "tag", 0))


class WithBytesTests(SynchronousTestCase):
    """L{Base.with_bytes}."""

    def ask(self, ids: list[str], there: str = "") -> Any:
        base = Pair(None, _Names(iter(ids)), InlineDisk(), Events())

        def use(entry: Entry, expected: object) -> Deferred[str]:
            return succeed("bytes") if entry.id == there else fail(NoSuchObject(entry.id))

        return Deferred.fromCoroutine(base.with_bytes("bucket", "key", use))

    def test_replaced(self) -> None:
        """The bytes of the one that came after."""
        entry, found = self.successResultOf(self.ask(["a", "b"], there="b"))
        self.assertEqual((entry.id, found), ("b", "bytes"))

    def test_lost(self) -> None:
        """The same ID twice, and no bytes: they are lost."""
        error = self.failureResultOf(self.ask(["a", "b", "b"]), DamagedObject).value
        self.assertIn("bucket/key", str(error))

    def test_replaced_again_and_again(self) -> None:
        """A key that changes all the time is no damage."""
        self.failureResultOf(self.ask([f"{number:02x}" for number in range(20)]), Unavailable)
