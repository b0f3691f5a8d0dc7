"""Tests of L{storehouse.storage.shipping.prefixes}."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.jobs import InlineDisk
from storehouse.errors import InvalidName, NoSpace
from storehouse.events import ArchiveShipped, Events
from storehouse.storage.shipping.interfaces import Shipment
from storehouse.storage.shipping.prefixes import ShippedPrefixes


class _Log:
    """Closes prefixes."""

    def __init__(self) -> None:
        self.closed: list[str] = []
        self.deleted: list[tuple[str, bool]] = []

    def close_prefix(self, prefix: str) -> Deferred[None]:
        self.closed.append(prefix)
        return succeed(None)

    def delete_closed_prefix(self, prefix: str, may_go: Any) -> Deferred[bool]:
        self.deleted.append((prefix, may_go()))
        return succeed(self.deleted[-1][1])


class _Shipper:
    """Takes files, or does not."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str, Any]] = []
        self.waiting: list[Shipment] = []
        self.refusal: Exception | None = None

    def ship(self, path: str, stream: str = "", delete: bool | None = None) -> Deferred[Any]:
        if self.refusal is not None:
            return fail(self.refusal)
        self.taken.append((os.path.basename(path), stream, delete))
        self.waiting.append(Shipment("1", path, stream, os.path.basename(path), "waiting", 0.0, 0, ""))
        return succeed(None)

    def shipments(self) -> list[Shipment]:
        return self.waiting

    def arrive(self, events: Events) -> None:
        """The first that waits; it is reported before it is dropped."""
        first = self.waiting[0]
        events.publish(ArchiveShipped(first.stream, first.path, first.name, 1, "", False))
        self.waiting.pop(0)


class ShippedPrefixesTests(SynchronousTestCase):
    """Closing ships."""

    def setUp(self) -> None:
        self.directory = self.mktemp()
        os.makedirs(os.path.join(self.directory, "p"))
        for name, data in [
            ("append.1.raw", b"x"),
            ("append.1.idx", b"y"),
            ("append.2.raw", b""),
            ("append.2.idx", b"h"),
        ]:
            with open(os.path.join(self.directory, "p", name), "wb") as file:
                file.write(data)
        self.log, self.shipper = _Log(), _Shipper()

    def make(self, *names: str) -> ShippedPrefixes:
        log: Any = self.log
        shipper: Any = self.shipper
        return ShippedPrefixes(log, shipper, self.directory, frozenset(names) if names else None, InlineDisk())

    def test_shipped(self) -> None:
        """What holds something, once, and nothing is deleted."""
        self.successResultOf(self.make().close_prefix("p"))
        self.assertEqual(self.log.closed, ["p"])
        self.assertEqual(self.shipper.taken, [("append.1.idx", "append.p", False), ("append.1.raw", "append.p", False)])

    def test_deleted(self) -> None:
        """When all has arrived; not if a file has changed since, or another one is on its way still, or dead."""
        events = Events()
        log: Any = self.log
        shipper: Any = self.shipper
        prefixes = ShippedPrefixes(log, shipper, self.directory, None, InlineDisk(), events, True)
        self.successResultOf(prefixes.close_prefix("p"))
        self.shipper.arrive(events)
        self.assertEqual(self.log.deleted, [])
        self.shipper.arrive(events)
        self.assertEqual(self.log.deleted, [("p", True)])
        self.successResultOf(prefixes.close_prefix("p"))
        self.shipper.arrive(events)
        with open(os.path.join(self.directory, "p", "append.2.raw"), "wb") as file:
            file.write(b"more")
        self.shipper.arrive(events)
        self.assertEqual(self.log.deleted, [("p", True), ("p", False)])
        self.successResultOf(prefixes.close_prefix("p"))
        self.successResultOf(prefixes.close_prefix("p"))
        for left in range(8, 0, -1):
            self.assertEqual((len(self.shipper.waiting), len(self.log.deleted)), (left, 2))
            self.shipper.arrive(events)
        self.assertEqual(self.log.deleted[2:], [("p", True)])

    def test_others(self) -> None:
        for prefix in ("q", ""):
            self.successResultOf(self.make("p").close_prefix(prefix))
        self.successResultOf(self.make().close_prefix("q"))
        self.assertEqual((self.log.closed, self.shipper.taken), (["q", "default", "q"], []))

    def test_refused(self) -> None:
        self.failureResultOf(self.make().close_prefix("p" * 125), InvalidName)
        self.assertEqual(self.log.closed, [])
        self.shipper.refusal = NoSpace("there is no room")
        self.failureResultOf(self.make().close_prefix("p"), NoSpace)
