"""What goes wrong between us and a server: mixed into a test case for each of them."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from storehouse.config.shipping import Connecting, ShipperSettings
from storehouse.core.jobs import DiskThreads
from storehouse.core.streams import read_all
from storehouse.errors import NoSuchKey, RemoteRefused, RemoteUnavailable
from storehouse.events import ArchiveShipped, Events, ShippingFailed
from storehouse.storage.shipping.shipper import Shipper
from tests.conformance.destination import MIB, DestinationTestsMixin, content
from tests.integration.engines.proxy import BadRoad, reactor

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase
else:
    TestCase = object

__all__ = ["TroubleTestsMixin"]


class TroubleTestsMixin(TestCase):
    """
    The test case gives C{make(**settings)}, C{via(port)} (settings that lead through a port of loopback), C{wrong} (settings
    with wrong credentials), C{front} (the program of the engine that takes connections), and C{large}, as
    L{DestinationTestsMixin} has it.
    """

    make: Any
    via: Any
    wrong: dict[str, Any]
    front: str
    large: int
    engine: Any

    file = DestinationTestsMixin.file
    name = DestinationTestsMixin.name

    def setUp(self) -> None:
        self.stream = f"trouble-{self.id().rpartition('.')[2]}-{os.getpid()}"
        # Of its own for each test: what another has uploaded is found.
        self.seed = zlib.crc32(self.stream.encode())
        self.data = content(self.large, self.seed)
        self.make()  # so that the engine runs

    def road(self, **settings: Any) -> tuple[BadRoad, Any]:
        """A bad road, and a destination at its end."""
        road = BadRoad(self.engine.port)
        port = road.listen()
        self.addCleanup(road.close)
        connecting = settings.pop("connecting", Connecting(pause=0.02))
        return road, self.make(connecting=connecting, **self.via(port), **settings)

    async def refused(self, error: type[Exception], deferred: Deferred[Any]) -> Any:
        return await self.assertFailure(deferred, error)

    # ------------------------------------------------------------------------------------------

    async def test_slow_link(self) -> None:
        """Takes longer than any time limit, but goes on all the time."""
        road, destination = self.road(connecting=Connecting(timeout=2.0, pause=0.02))
        road.rate = self.large / 4.0
        data = self.data
        before = reactor.seconds()
        await destination.put(self.name(), self.file(data))
        self.assertGreater(reactor.seconds() - before, 2.5)
        self.assertEqual(await read_all(await destination.get(self.name())), data)

    async def test_cut(self) -> None:
        """Connections that end in mid-upload: the request is repeated, then given up; nothing is there."""
        road, destination = self.road()
        road.cut_after = road.passed + self.large // 2
        await self.refused(RemoteUnavailable, destination.put(self.name(), self.file(self.data)))
        await self.refused(NoSuchKey, self.make().stat(self.name()))
        road.repair()
        await destination.put(self.name(), self.file(self.data))
        self.assertEqual(await read_all(await destination.get(self.name())), self.data)

    async def test_cut_once(self) -> None:
        """A request that fails once is repeated."""
        road, destination = self.road()
        road.cut_after = MIB

        def mend() -> None:
            if road.passed > MIB // 2:
                reactor.callLater(0.02, road.repair)

        road.on_passed = mend
        await destination.put(self.name(), self.file(self.data))
        self.assertEqual(await read_all(await destination.get(self.name())), self.data)

    async def test_stalled(self) -> None:
        """A server that takes nothing any more, and says nothing."""
        road, destination = self.road(connecting=Connecting(timeout=0.5, tries=2, pause=0.02))
        await self.make().put(self.name("first"), self.file(b"x"))
        road.stall_after = road.passed + MIB
        error = await self.refused(RemoteUnavailable, destination.put(self.name(), self.file(self.data)))
        self.assertIn("no progress", str(error))

    async def test_nobody_there(self) -> None:
        road, destination = self.road()
        await road.close()
        for deferred in (
            destination.put(self.name(), self.file(b"x")),
            destination.stat(self.name()),
            destination.get(self.name()),
            destination.list(self.name()),
        ):
            error = await self.refused(RemoteUnavailable, deferred)
            self.assertIn("cannot be reached", str(error))

    async def test_wrong_credentials(self) -> None:
        destination = self.make(**self.wrong)
        for deferred in (
            destination.put(self.name(), self.file(b"x")),
            destination.put(self.name(), self.file(self.data)),
            destination.stat(self.name()),
            destination.get(self.name()),
            destination.list(self.name()),
        ):
            error = await self.refused(RemoteRefused, deferred)
            for secret in self.wrong.values():
                self.assertNotIn(secret, f"{error} {destination!r}")

    async def test_no_bucket(self) -> None:
        """It is made, unless that is not wanted."""
        bucket = {self.bucket_setting: f"bucket-{os.getpid()}-{id(self)}"}
        strict = self.make(create=False, **bucket)
        self.assertEqual((await strict.list()).entries, [])
        await self.refused(NoSuchKey, strict.stat(self.name()))
        await self.refused(RemoteRefused, strict.put(self.name(), self.file(b"x")))
        await self.refused(RemoteRefused, strict.put(self.name(), self.file(self.data)))
        await self.make(**bucket).put(self.name("large"), self.file(self.data))
        await strict.put(self.name(), self.file(b"x"))
        self.assertEqual(len((await strict.list()).entries), 2)

    bucket_setting = "bucket"

    # -- a shipper -----------------------------------------------------------------------------

    async def test_killed_server(self) -> None:
        """The server is killed in mid-upload, and started again: what was on its way arrives, once."""
        road, destination = self.road(connecting=Connecting(timeout=5.0, tries=1, pause=0.02))
        events = Events()
        shipped: list[ArchiveShipped] = []
        failed: list[ShippingFailed] = []
        events.subscribe(ArchiveShipped, shipped.append)
        events.subscribe(ShippingFailed, failed.append)
        disk = DiskThreads(reactor)
        self.addCleanup(disk.stop)
        settings = ShipperSettings(
            directory=self.mktemp(), compression="zstd", delete=True, pause=0.1, longest_pause=0.2, attempts=200
        )
        shipper = Shipper(settings, destination, disk, reactor, events)
        await shipper.start()
        self.addCleanup(shipper.stop)
        self.addCleanup(self.engine.revive, self.front)

        def kill() -> None:
            if road.passed > self.large * 1.5:
                road.on_passed = lambda: None
                self.engine.kill(self.front)

        road.on_passed = kill
        data = {}
        os.makedirs(top := os.path.abspath(self.mktemp()))
        for number in range(3):
            path = os.path.join(top, f"{number}.events")
            data[path] = self.file(content(self.large, self.seed + number)).path
            os.rename(data[path], path)
            await shipper.ship(path, self.stream)
        while not failed:
            await deferLater(reactor, 0.02)
        self.assertLess(len(shipped), 3)
        self.assertTrue(os.listdir(top))
        self.engine.revive(self.front)
        while len(shipped) < 3:
            await deferLater(reactor, 0.02)
        self.assertEqual(os.listdir(top), [])
        entries = (await destination.list(self.stream + "/")).entries
        self.assertEqual([each.name for each in entries], sorted(event.name for event in shipped))
        self.assertFalse(any(failure.dead for failure in failed))
        await self.check_leftovers()

    async def check_leftovers(self) -> None:
        """Nothing is left of what was broken off."""
