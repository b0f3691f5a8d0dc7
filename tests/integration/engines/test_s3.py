"""S3Destination on radosgw."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.trial.unittest import TestCase

from storehouse.config.shipping import Connecting, S3Settings
from storehouse.core.jobs import DiskThreads
from storehouse.core.streams import read_all
from storehouse.errors import InvalidSetting, RemoteRefused, RemoteUnavailable
from storehouse.storage.shipping.s3 import S3Destination, read_uploads
from tests.conformance.destination import MIB, DestinationTestsMixin
from tests.integration.engines.certificates import self_signed
from tests.integration.engines.processes import running
from tests.integration.engines.proxy import BadRoad
from tests.integration.engines.radosgw import RadosGateway
from tests.integration.engines.trouble import TroubleTestsMixin


class S3TestCase(TestCase):
    """Makes destinations."""

    engine: RadosGateway

    def make(self, **settings: Any) -> S3Destination:
        """A destination with small parts."""
        self.engine = running(RadosGateway)
        disk = DiskThreads(reactor)
        disk.start()
        self.addCleanup(disk.stop)
        defaults = {
            "endpoint": self.engine.endpoint,
            "access_key": self.engine.access_key,
            "secret_key": self.engine.secret_key,
            "threshold": 5 * MIB,
            "part_size": 5 * MIB,
            "connecting": Connecting(timeout=20.0, pause=0.05),
        }
        destination = S3Destination(S3Settings(**{**defaults, **settings}), reactor, disk)
        self.addCleanup(destination.close)
        return destination

    def via(self, port: int) -> dict[str, Any]:
        """Settings that lead there."""
        return {"endpoint": f"http://127.0.0.1:{port}"}

    async def uploads(self) -> list[str]:
        """The keys of uploads that are open."""
        answer = await self.make()._request("GET", "", {"uploads": ""})
        return [key for key, _ in await read_uploads(answer.body)]


class S3Tests(DestinationTestsMixin, S3TestCase):
    """All that a destination must do."""

    large = 11 * MIB + 1

    async def make_destination(self) -> S3Destination:
        return self.make()


class S3TroubleTests(TroubleTestsMixin, S3TestCase):
    """What can go wrong."""

    large = 11 * MIB + 1
    wrong = {"secret_key": "certainly-not-that"}
    front = "radosgw"

    async def check_leftovers(self) -> None:
        self.assertEqual([key for key in await self.uploads() if key.startswith(self.stream)], [])

    async def test_unknown_user(self) -> None:
        await self.refused(RemoteRefused, self.make(access_key="NOBODY").stat(self.name()))

    async def test_aborted(self) -> None:
        """An upload that fails is not left open."""
        destination = self.make()
        file = self.file(self.data)
        os.truncate(file.path, self.large - 1)
        await self.refused(OSError, destination.put(self.name(), file))
        self.assertNotIn(self.name(), await self.uploads())

    async def test_left_by_a_kill(self) -> None:
        """An upload that nobody could abort is aborted by the next attempt."""
        road, destination = self.road()
        putting = destination.put(self.name(), self.file(self.data))

        def cancel() -> None:
            if road.passed > 6 * MIB:
                road.on_passed = lambda: None
                putting.cancel()

        road.on_passed = cancel
        await self.refused(CancelledError, putting)
        self.assertIn(self.name(), await self.uploads())
        await destination.put(self.name(), self.file(self.data))
        self.assertNotIn(self.name(), await self.uploads())

    async def test_tls(self) -> None:
        """A certificate is to be one that is trusted."""
        key, certificate = self_signed(self.mktemp())
        road = BadRoad(self.engine.port)
        port = road.listen(DefaultOpenSSLContextFactory(key, certificate))
        self.addCleanup(road.close)
        settings = {"endpoint": f"https://127.0.0.1:{port}"}
        error = await self.refused(
            RemoteUnavailable, self.make(connecting=Connecting(tries=1), **settings).list(self.stream)
        )
        self.assertIn("certificate", str(error).lower())
        trusting = self.make(connecting=Connecting(ca_file=certificate), **settings)
        await trusting.put(self.name(), self.file(b"over TLS"))
        self.assertEqual(await read_all(await trusting.get(self.name())), b"over TLS")

    def test_bad_ca_file(self) -> None:
        empty = self.file(b"")
        for path in (empty.path, "no such file"):
            self.assertRaises(InvalidSetting, self.make, connecting=Connecting(ca_file=path))
