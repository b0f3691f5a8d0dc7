"""SwiftDestination on Swift."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from storehouse.config.shipping import Connecting, SwiftSettings
from storehouse.core.jobs import DiskThreads
from storehouse.core.streams import read_all
from storehouse.errors import RemoteRefused, RemoteUnavailable
from storehouse.storage.shipping.swift import SwiftDestination
from tests.conformance.destination import MIB, DestinationTestsMixin
from tests.integration.engines.processes import running
from tests.integration.engines.swift import Swift
from tests.integration.engines.trouble import TroubleTestsMixin


class SwiftTestCase(TestCase):
    """Makes destinations."""

    engine: Swift

    def make(self, **settings: Any) -> SwiftDestination:
        """A destination with small segments."""
        self.engine = running(Swift)
        disk = DiskThreads(reactor)
        disk.start()
        self.addCleanup(disk.stop)
        defaults = {
            "auth_url": self.engine.auth_url,
            "user": self.engine.user,
            "password": self.engine.password,
            "threshold": 2 * MIB,
            "segment_size": MIB,
            "connecting": Connecting(timeout=20.0, pause=0.05),
        }
        destination = SwiftDestination(SwiftSettings(**{**defaults, **settings}), reactor, disk)
        self.addCleanup(destination.close)
        return destination

    def via(self, port: int) -> dict[str, Any]:
        """Settings that lead there."""
        return {
            "auth_url": f"http://127.0.0.1:{port}/auth/v1.0",
            "storage_url": f"http://127.0.0.1:{port}/v1/AUTH_{self.engine.account}",
        }


class SwiftTests(DestinationTestsMixin, SwiftTestCase):
    """All that a destination must do."""

    large = 3 * MIB + 1

    async def make_destination(self) -> SwiftDestination:
        return self.make()


class SwiftTroubleTests(TroubleTestsMixin, SwiftTestCase):
    """What can go wrong."""

    large = 3 * MIB + 1
    wrong = {"password": "certainly-not-that"}
    front = "proxy"
    bucket_setting = "container"

    async def test_old_token(self) -> None:
        """A token that is not taken any more is replaced."""
        destination = self.make()
        await destination.put(self.name(), self.file(b"x"))
        for ask in (
            lambda: destination.put(self.name(), self.file(self.data)),
            lambda: destination.stat(self.name()),
            lambda: destination.list(self.stream),
            lambda: destination.get(self.name(), 0, 1),
        ):
            destination._access = attrs.evolve(destination._access, token="AUTH_tk00")
            result = await ask()
        self.assertEqual(await read_all(result), self.data[:1])

    async def test_segments_are_found(self) -> None:
        """What was uploaded before is not uploaded again."""
        road, destination = self.road()
        road.cut_after = 2 * MIB
        await self.refused(RemoteUnavailable, destination.put(self.name(), self.file(self.data)))
        road.repair()
        before = road.passed
        await destination.put(self.name(), self.file(self.data))
        self.assertLess(road.passed - before, self.large - MIB // 2)

    def keystone(self, **settings: Any) -> SwiftDestination:
        """A destination that is let in by a Keystone of ours."""
        self.identity = Keystone(self.engine)
        port = reactor.listenTCP(0, Site(self.identity), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        defaults = {
            "auth": "v3",
            "auth_url": f"http://127.0.0.1:{port.getHost().port}/v3",
            "user": "tester",
            "password": "a password for Keystone",
            "project": "tests",
            "user_domain": "here",
            "project_domain": "there",
        }
        return self.make(**{**defaults, **settings})

    async def test_keystone(self) -> None:
        destination = self.keystone(region="two")
        await destination.put(self.name(), self.file(b"x"))
        self.assertEqual(await read_all(await destination.get(self.name())), b"x")
        self.assertEqual(
            self.identity.asked,
            {
                "auth": {
                    "identity": {
                        "methods": ["password"],
                        "password": {
                            "user": {
                                "name": "tester",
                                "domain": {"name": "here"},
                                "password": "a password for Keystone",
                            }
                        },
                    },
                    "scope": {"project": {"name": "tests", "domain": {"name": "there"}}},
                }
            },
        )

    async def test_keystone_refuses(self) -> None:
        error = await self.refused(RemoteRefused, self.keystone(password="certainly-not-that").stat(self.name()))
        self.assertNotIn("certainly-not-that", str(error))
        for settings in ({"region": "no such"}, {"interface": "admin"}):
            await self.refused(RemoteRefused, self.keystone(**settings).stat(self.name()))


class Keystone(Resource):
    """As much of Keystone as there is to a password. Its tokens are TempAuth's, so that Swift knows them."""

    isLeaf = True

    def __init__(self, engine: Swift) -> None:
        super().__init__()
        self.engine = engine
        self.asked: Any = None

    def render_POST(self, request: Request) -> bytes:
        self.asked = json.loads(request.content.read())
        password = self.asked["auth"]["identity"]["password"]["user"]["password"]
        if request.path != b"/v3/auth/tokens" or password != "a password for Keystone":
            request.setResponseCode(401)
            return b'{"error": {"message": "no"}}'
        headers = {"X-Auth-User": self.engine.user, "X-Auth-Key": self.engine.password}
        with urllib.request.urlopen(urllib.request.Request(self.engine.auth_url, headers=headers)) as answer:
            token, url = answer.headers["X-Auth-Token"], answer.headers["X-Storage-Url"]
        request.setResponseCode(201)
        request.setHeader(b"X-Subject-Token", token.encode())
        endpoints = [
            {"interface": "public", "region": "one", "url": "http://127.0.0.1:1/"},
            {"interface": "internal", "region": "two", "url": "http://127.0.0.1:1/"},
            {"interface": "public", "region": "two", "url": url + "/"},
        ]
        catalog = [
            {"type": "compute", "endpoints": endpoints[:1]},
            {"type": "object-store", "endpoints": endpoints},
        ]
        return json.dumps({"token": {"catalog": catalog}}).encode()
