"""The service before real servers: posted to, shipped, and read back from there, with all that is killed in between."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

from storehouse.core.streams import read_all
from tests.conformance.destination import MIB
from tests.integration.engines.test_s3 import S3TestCase
from tests.integration.engines.test_swift import SwiftTestCase
from tests.integration.process import PATIENCE, Storehouse, wait_for

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase
else:
    TestCase = object

_CONFIG = """
[archive.streams.{stream}]
roll = [{{checker = "records", roll_records = 4}}]
ship = "far"
keep_local = false

[destinations.far]
shipping = {{compression = "none", pause = 0.1, longest_pause = 0.2, attempts = 1000}}
tries = 1
timeout = 5
{destination}
"""


class _Gate:
    """
    A way to a server that leads through threads of its own, so that tests can wait for it without a reactor.

    @ivar bytes_left: what may pass towards the server before all stands still; C{None} for all there is.
    @ivar shut: set when nothing passes any more.
    """

    def __init__(self, target: int) -> None:
        self.bytes_left: int | None = None
        self.shut = threading.Event()
        self._target = target
        self._opened = threading.Event()
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    def _run(self, f: Any, *args: Any) -> None:
        thread = threading.Thread(target=f, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                here = self._listener.accept()[0]
            except OSError:
                return
            try:
                there = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                here.close()
                continue
            self._sockets += [here, there]
            self._run(self._pump, here, there, True)
            self._run(self._pump, there, here, False)

    def _pump(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        try:
            while data := source.recv(65536):
                if counted and self._is_over(len(data)):
                    self.shut.set()
                    self._opened.wait()
                    break  # the client has to begin again
                target.sendall(data)
        except OSError:
            pass
        for each in (source, target):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _is_over(self, size: int) -> bool:
        with self._lock:
            if self.bytes_left is not None:
                self.bytes_left -= size
            return self.bytes_left is not None and self.bytes_left < 0

    def set(self, bytes_left: int | None) -> None:
        """What stands still is ended. From now on so much passes."""
        before, self._opened = self._opened, threading.Event()
        self.bytes_left = bytes_left
        self.shut.clear()
        before.set()

    def close(self) -> None:
        """End all connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.set(0)
        self._opened.set()
        for each in self._sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self._threads:
            thread.join(PATIENCE)
        for each in self._sockets:
            each.close()


class ServiceTestsMixin(TestCase):
    """
    The test case gives C{make()}, C{via(port)} and C{front}, as those of destinations do, and C{table}, the settings of the
    destination, and C{secret}, the name of what is secret in it.
    """

    make: Any
    via: Any
    engine: Any
    front: str
    secret: str

    def table(self) -> dict[str, Any]:
        raise NotImplementedError

    def begin(self) -> None:
        """Start all of it."""
        self.there = self.make()
        self.stream = f"{self.id().rpartition('.')[2]}-{self.front}-{os.getpid()}"
        self.gate = _Gate(self.engine.port)
        self.addCleanup(self.gate.close)
        directory = os.path.abspath(self.mktemp())
        os.makedirs(directory)
        with open(os.path.join(directory, "secret"), "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(getattr(self.engine, self.secret))
        table = {**self.table(), **self.via(self.gate.port), f"{self.secret}_file": os.path.join(directory, "secret")}
        lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in table.items())
        with open(os.path.join(directory, "c.toml"), "w", encoding="utf-8") as file:
            file.write(_CONFIG.format(stream=self.stream, destination=lines))
        self.server = Storehouse(directory, "--config", "c.toml")
        self.addCleanup(self.server.kill)
        self.server.start()
        self.local = os.path.join(directory, "storehouse-data", "archives", self.stream)
        self.sent: list[bytes] = []

    def post(self, count: int, size: int) -> None:
        """Records that nothing makes smaller."""
        for _ in range(count):
            self.sent.append(random.Random(len(self.sent)).randbytes(size))
            status, body = self.server.ask(self.server.archive_port, "POST", f"/archive/{self.stream}", self.sent[-1])
            self.assertEqual(status, 200, body)

    def archives(self) -> list[dict[str, Any]]:
        """What there is."""
        body = self.server.ask(self.server.archive_port, "GET", f"/archive/{self.stream}/archives")[1]
        found: list[dict[str, Any]] = json.loads(body)["archives"]
        return found

    def is_shipped(self) -> bool:
        """Whether all are, and no file is here."""
        return all(each["state"] == "shipped" and not each["path"] for each in self.archives())

    def check_records(self) -> None:
        """All come, once, in order, wherever they are."""
        status, body = self.server.ask(self.server.archive_port, "GET", f"/archive/{self.stream}")
        self.assertEqual(status, 200)
        found = [base64.b64decode(json.loads(line)["payload_base64"]) for line in body.splitlines()]
        self.assertEqual([len(each) for each in found], [len(each) for each in self.sent])
        self.assertTrue(found == self.sent)

    def wait_for_gate(self) -> None:
        """Until an upload is in its midst."""
        wait_for(self.gate.shut.is_set, "an upload")

    async def check_there(self, count: int) -> None:
        """As many objects as archives, under the names that the service knows, of the size that it knows."""
        archives = self.archives()
        self.assertEqual(len(archives), count)
        entries = (await self.there.list(self.stream + "/")).entries
        self.assertEqual(sorted(each.name for each in entries), sorted(each["shipped_as"] for each in archives))
        whole = await read_all(await self.there.get(archives[0]["shipped_as"]))
        self.assertEqual(len(whole), archives[0]["bytes"])

    async def test_shipped(self) -> None:
        """From the one to the other, and back."""
        self.begin()
        self.post(8, 10_000)
        wait_for(self.is_shipped, "shipping")
        self.assertEqual(os.listdir(self.local), [])
        self.check_records()
        self.assertEqual(self.server.stop(), -signal.SIGTERM)
        self.server.start()
        self.check_records()
        await self.check_there(2)

    async def test_killed(self) -> None:
        """The service, then the server over there, killed in mid-upload: all arrives, under one name."""
        self.begin()
        self.gate.set(8 * MIB)
        self.post(4, 4 * MIB)
        self.wait_for_gate()
        self.server.stop(signal.SIGKILL)
        self.gate.set(8 * MIB)
        self.server.start()
        self.wait_for_gate()
        self.check_records()
        self.addCleanup(self.engine.revive, self.front)
        self.engine.kill(self.front)
        self.gate.set(None)
        self.post(4, 10_000)
        self.assertFalse(self.is_shipped())
        self.check_records()
        self.engine.revive(self.front)
        wait_for(self.is_shipped, "shipping")
        self.assertEqual(os.listdir(self.local), [])
        self.check_records()
        await self.check_there(2)


class S3ServiceTests(ServiceTestsMixin, S3TestCase):
    """Before radosgw."""

    front = "radosgw"
    secret = "secret_key"

    def table(self) -> dict[str, Any]:
        """Small parts."""
        settings = {"kind": "s3", "access_key": self.engine.access_key}
        return {**settings, "threshold": "5MiB", "part_size": "5MiB"}


class SwiftServiceTests(ServiceTestsMixin, SwiftTestCase):
    """Before Swift."""

    front = "proxy"
    secret = "password"

    def table(self) -> dict[str, Any]:
        """Small segments."""
        return {"kind": "swift", "user": self.engine.user, "threshold": "5MiB", "segment_size": "5MiB"}
