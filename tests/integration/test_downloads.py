"""Downloads by curl, over real sockets, from a store on a real disk."""

from __future__ import annotations

import os
import shutil
from typing import Any
from unittest import SkipTest

from twisted.internet import reactor as _reactor
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from storehouse.config.settings import ConnectionSettings
from storehouse.core.jobs import DiskThreads
from storehouse.core.streams import BytesStream
from storehouse.events import Events
from storehouse.frontends.http.request import Root
from storehouse.frontends.http.site import DoorSite
from storehouse.frontends.upload.download import Downloads
from storehouse.frontends.upload.intake import Activity
from storehouse.frontends.upload.listing import Listings
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings
from storehouse.storage.namespace.local import LocalNamespace, NamespaceSettings
from storehouse.storage.objects.store import LocalObjectStore
from tests.frontends.upload.gates import OpenGate

reactor: Any = _reactor


class CurlTests(TestCase):
    """curl."""

    async def setUp(self) -> None:  # type: ignore[override]
        if shutil.which("curl") is None:
            raise SkipTest("curl is what this tests with")
        self.directory = os.path.abspath(self.mktemp())
        os.makedirs(self.directory)
        disk = DiskThreads(reactor)
        self.addCleanup(disk.stop)
        space = WormerDataSpace(WormerSettings(f"{self.directory}/objects", durable=False), disk)
        names = LocalNamespace(NamespaceSettings(f"{self.directory}/namespace", durable=False), reactor, disk)
        store = LocalObjectStore(space, names, disk, Events())
        for part in (space, names, store):
            part.start()
        for part in (space, names, store):
            self.addCleanup(part.stop)
        gate: Any = OpenGate()
        activity = Activity(reactor)
        downloads = Downloads(store, gate, activity, Listings(store, gate))
        site = DoorSite(Root({b"download": downloads}), reactor, ConnectionSettings(), name="uploads")
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(site.drain, 1.0)
        self.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}/download"
        await store.create_bucket("uploads")
        self.data = os.urandom(5_000_003)
        await store.put("uploads", "big file.bin", BytesStream(self.data), len(self.data))
        self.big = f"{self.url}/big%20file.bin"

    async def curl(self, *args: str, status: int = 0) -> str:
        """What it prints."""
        result: Any = await getProcessOutputAndValue(shutil.which("curl"), ["-sS", *args], os.environ, self.directory)
        out, err, code = result
        self.assertEqual(code, status, err)
        return str(out.decode("latin-1"))

    def file(self, name: str) -> bytes:
        """What curl has written."""
        with open(os.path.join(self.directory, name), "rb") as file:
            return file.read()

    async def test_resumed(self) -> None:
        """C{-C -} gets what a broken transfer left, however little, and nothing of a whole one."""
        for size in (1, 1_234_567, len(self.data) - 1):
            with open(os.path.join(self.directory, "part"), "wb") as file:
                file.write(self.data[:size])
            told = await self.curl("-C", "-", "-o", "part", "-w", "%{http_code} %{size_download}", self.big)
            self.assertEqual(told, f"206 {len(self.data) - size}")
            self.assertEqual(self.file("part"), self.data)
        told = await self.curl("-C", "-", "-o", "part", "-w", "%{http_code}", self.big)
        self.assertEqual((told, self.file("part")), ("416", self.data))

    async def test_broken_off_and_resumed(self) -> None:
        """By a client that leaves in the midst."""
        await getProcessOutputAndValue(
            "/bin/sh", ["-c", f"curl -s '{self.big}' | head -c 1000000 > slow"], os.environ, self.directory
        )
        there = len(self.file("slow"))
        self.assertEqual(there, 1_000_000)
        told = await self.curl("-C", "-", "-o", "slow", "-w", "%{size_download}", self.big)
        self.assertEqual((told, self.file("slow")), (str(len(self.data) - there), self.data))

    async def test_names_conditions_ranges(self) -> None:
        await self.curl("-OJ", "--etag-save", "etag", self.big)
        self.assertEqual(self.file("big file.bin"), self.data)
        told = await self.curl("--etag-compare", "etag", "-o", "again", "-w", "%{http_code}", self.big)
        self.assertEqual(told, "304")
        told = await self.curl("-z", "big file.bin", "-R", "-o", "again", "-w", "%{http_code}", self.big)
        self.assertEqual(told, "304")
        head = await self.curl("-I", self.big)
        self.assertIn(f"Content-Length: {len(self.data)}\r\n", head)
        parts = await self.curl("-r", "0-1,3000000-3000001,-2", self.big)
        for part in (self.data[:2], self.data[3_000_000:3_000_002], self.data[-2:]):
            self.assertIn(f"\r\n\r\n{part.decode('latin-1')}\r\n--", parts)
        await self.curl("-X", "DELETE", "-o", "deleted", self.big)
        self.assertEqual(await self.curl("-o", "gone", "-w", "%{http_code}", self.big), "404")
