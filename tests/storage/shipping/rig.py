"""A shipper on a clock, without threads, with a destination in memory."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import tempfile
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.config.shipping import ShipperSettings
from storehouse.core.compression import ZSTD, make_decompressor
from storehouse.core.files import Files
from storehouse.core.jobs import InlineDisk
from storehouse.events import ArchiveShipped, Events, ShippingFailed
from storehouse.storage.shipping.shipper import Shipper
from tests.storage.shipping.fake import MemoryDestination

__all__ = ["Killed", "ShipperTestCase", "unpacked"]


def unpacked(name: str, data: bytes) -> bytes:
    """What was compressed, by the extension of a name."""
    if name.endswith(".gz"):
        return gzip.decompress(data)
    if name.endswith(".zst"):
        expander = make_decompressor(ZSTD, io.BytesIO(data).read)
        return b"".join(iter(expander.read, b""))
    return data


class Killed(BaseException):
    """The process would be gone."""


class ShipperTestCase(SynchronousTestCase):
    """
    Makes shippers on one directory.

    @ivar shipped: events, as are C{failures}.
    """

    def setUp(self) -> None:
        # Thousands of syncs: what a disk makes of them is of no interest here.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.top = tempfile.mkdtemp("-shipping", "storehouse-", memory)
        self.addCleanup(shutil.rmtree, self.top)
        os.makedirs(os.path.join(self.top, "archives"))
        self.destination = MemoryDestination()
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.made: list[Shipper] = []
        self.events = Events()
        self.shipped: list[ArchiveShipped] = []
        self.failures: list[ShippingFailed] = []
        self.events.subscribe(ArchiveShipped, self.shipped.append)
        self.events.subscribe(ShippingFailed, self.failures.append)

    def make(self, files: Files | None = None, **settings: Any) -> Shipper:
        """One that was not started; all before it are stopped, or gone."""
        for gone in self.made:
            gone._spool.unlock()
        shipper = Shipper(
            ShipperSettings(directory=os.path.join(self.top, "shipping"), **settings),
            self.destination,
            InlineDisk(),
            self.clock,
            self.events,
            files,
            Random(1),
            self.clock.seconds,
        )
        self.made.append(shipper)
        return shipper

    def started(self, files: Files | None = None, **settings: Any) -> Shipper:
        """One that was."""
        shipper = self.make(files, **settings)
        self.successResultOf(shipper.start())
        return shipper

    def archive(self, name: str = "test_1.events", data: bytes = b"some records\n" * 50) -> str:
        """A closed file."""
        path = os.path.join(self.top, "archives", name)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def name_of(self, stem: str, extension: str, data: bytes, stream: str = "default") -> str:
        return f"{stream}/{stem}-{hashlib.sha256(data).hexdigest()[:16]}{extension}"

    def in_spool(self) -> list[str]:
        """All files of the shipping directory."""
        top = os.path.join(self.top, "shipping")
        return sorted(
            os.path.relpath(os.path.join(directory, name), top)
            for directory, _, names in os.walk(top)
            for name in names
        )

    def held(self) -> dict[str, bytes]:
        """What is at the destination, unpacked."""
        return {name: unpacked(name, data) for name, (data, _) in self.destination.held.items()}

    def hang(self, verb: str) -> list[Deferred[None]]:
        """From now on requests of a kind wait. @return: for what."""
        waiting: list[Deferred[None]] = []

        def before(asked: str, name: str) -> Deferred[None] | None:
            if asked != verb:
                return None
            waiting.append(Deferred())
            return waiting[-1]

        self.destination.before = before
        return waiting
