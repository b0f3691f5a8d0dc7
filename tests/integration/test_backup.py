"""
Backups of a root on which a service is busy: whatever was acknowledged before one began is in it. A soak makes many.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import struct
import time
from collections.abc import Awaitable
from http.client import HTTPConnection
from threading import Event, Thread
from typing import Any

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from storehouse.app.local.store import open_store
from storehouse.app.local.waiting import run
from storehouse.archive.archive import ArchiveReader
from storehouse.cli import main
from storehouse.cli.remote import SocketStore
from storehouse.config import load_settings
from storehouse.core.streams import BytesStream
from storehouse.errors import NotFound
from tests.app.local.opened import Opened
from tests.integration.process import PATIENCE, Storehouse, wait_for
from tests.soak import count, long_loop, rounds

_CONFIG = """
[archive.streams.n]
roll = [{checker = "records", roll_records = 7}]
callbacks = [{callback = "compress", method = "gzip"}]
ship = "archives"
keep_local = false
[destinations.archives]
kind = "store"
"""


class _Worker(Thread):
    """Does one thing after the other, and notes when each began and was acknowledged."""

    def __init__(self, seed: int, over: Event) -> None:
        super().__init__(daemon=True)
        self.random = random.Random(seed)
        self.seed = seed
        self.over = over
        self.count = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        """Until it is over."""
        try:
            self.prepare()
            try:
                while not self.over.is_set():
                    self.step()
            finally:
                self.finish()
        except BaseException as error:
            self.error = error

    def prepare(self) -> None:
        """Before the first step."""

    def finish(self) -> None:
        """After the last step."""

    def step(self) -> None:
        """One thing."""

    def data(self) -> bytes:
        """Bytes that are nobody else's."""
        self.count += 1
        size = self.random.choice((0, 10, 5000, 70000))
        return b"%d.%d." % (self.seed, self.count) + bytes(size)


class _Objects(_Worker):
    """Stores, replaces, removes and moves objects of its own."""

    def __init__(self, seed: int, over: Event, socket: str) -> None:
        super().__init__(seed, over)
        self.bucket = f"bucket{seed}"
        self._socket = socket
        self._now: dict[str, bytes] = {}
        #: When it began, when it was acknowledged, and all objects after it.
        self.history: list[tuple[float, float, dict[str, bytes]]] = []

    def prepare(self) -> None:
        self.store = SocketStore(self._socket)
        run(self.store.create_bucket(self.bucket))

    def finish(self) -> None:
        self.store.__exit__(None, None, None)

    def _do(self, work: Awaitable[object], **changes: bytes | None) -> None:
        began = time.time()
        run(work)
        for key, data in changes.items():
            if data is None:
                del self._now[key]
            else:
                self._now[key] = data
        self.history.append((began, time.time(), dict(self._now)))

    def step(self) -> None:
        key, other = self.random.sample("abcdefgh", 2)
        what = self.random.random()
        if what < 0.5 or key not in self._now:
            data = self.data()
            self._do(self.store.put(self.bucket, key, BytesStream(data), len(data)), **{key: data})
            return
        if what < 0.8:
            data = self._now[key]
            self._do(self.store.copy(self.bucket, other, self.bucket, key), **{other: data})
        self._do(self.store.delete(self.bucket, key), **{key: None})

    def states(self, began: float, ended: float) -> list[dict[str, bytes]]:
        """What there may be in a backup that was made meanwhile."""
        states: list[dict[str, bytes]] = [{}]
        for start, end, state in list(self.history):
            if end < began:
                states = [state]
            elif start < ended:
                states.append(state)
        return states


class _Records(_Worker):
    """Appends records, to the log or to a stream."""

    def __init__(self, seed: int, over: Event, port: int, path: str) -> None:
        super().__init__(seed, over)
        self._port = port
        self._path = path
        #: When it was acknowledged, the record, and what was answered.
        self.history: list[tuple[float, bytes, Any]] = []

    def step(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        for _ in range(20):
            data = self.data()
            connection.request("POST", self._path, data)
            response = connection.getresponse()
            answer = json.loads(response.read())
            if response.status != 200:
                raise AssertionError(answer)
            self.history.append((time.time(), data, answer))
        connection.close()

    def before(self, moment: float) -> list[tuple[bytes, Any]]:
        """What was acknowledged by then."""
        return [(data, answer) for when, data, answer in list(self.history) if when < moment]


class BackupUnderLoadTests(SynchronousTestCase):
    """A service, those who use it, and one backup after the other."""

    def setUp(self) -> None:
        self.top = os.path.abspath(self.mktemp())
        os.makedirs(self.top)
        config = os.path.join(self.top, "storehouse.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(_CONFIG)
        self.config = config
        self.server = Storehouse(
            os.path.join(self.top, "served"), "--config", config, "--sfsp", "off", "--append-buckets", "4"
        )
        self.addCleanup(self.server.kill)
        self.server.start()
        self.root = os.path.join(self.server.directory, "storehouse-data")

    def command(self, *words: str) -> str:
        """Run it. @return: what it prints."""
        result = CliRunner().invoke(main, words, prog_name="storehouse")
        self.assertEqual(result.exit_code, 0, f"{words} {result.output} {result.stderr} {result.exception!r}")
        return result.stdout

    @long_loop
    def test_all_is_there(self) -> None:
        over = Event()
        socket = os.path.join(self.root, "objects.sock")
        objects = [_Objects(seed, over, socket) for seed in range(3)]
        records = _Records(10, over, self.server.append_port, "/append?id=x")
        stream = _Records(11, over, self.server.archive_port, "/archive/n")
        workers = [*objects, records, stream]
        for worker in workers:
            worker.start()
        try:
            wait_for(lambda: all(len(getattr(worker, "history")) > 20 for worker in workers), "some load")  # noqa: B009
            for number, _ in enumerate(rounds(3)):
                self.back_up(number, objects, records, stream)
                count("backups")
        finally:
            over.set()
            for worker in workers:
                worker.join(PATIENCE)
        self.assertEqual([worker.error for worker in workers], [None] * len(workers))
        self.server.stop()
        self.serve_again(records, stream)

    def back_up(self, number: int, objects: list[_Objects], records: _Records, stream: _Records) -> None:
        """Make one, at one of two places, and look at what is restored of it."""
        made = os.path.join(self.top, f"backup.{number % 2}")
        began = time.time()
        told = json.loads(self.command("backup", made, "--root", self.root, "--config", self.config, "--json"))
        ended = time.time()
        self.assertEqual(told["lost"], 0)
        self.assertGreaterEqual(told["began"], int(began * 1e9))
        restored = os.path.join(self.top, "restored")
        shutil.rmtree(restored, ignore_errors=True)
        self.command("restore", made, "--root", restored)
        with open(os.path.join(made, "backup.json"), "rb") as file:
            self.assertIn(b'"format":"backup"', file.read())
        for data, answer in records.before(began):
            path = answer["file"].replace(self.root, restored)
            with open(path, "rb") as file:
                file.seek(answer["offset"])
                self.assertEqual(file.read(4 + len(data)), struct.pack("<I", len(data)) + data)
        with Opened(open_store(load_settings({"root": restored}))) as store:
            self.assertEqual(store.check(), [])
            for worker in objects:
                self.assertIn(self._objects(store, worker.bucket), worker.states(began, ended))
            shipped = (
                self._objects(store, "archives") if "archives" in [each.name for each in store.list_buckets()] else {}
            )
        there = self._payloads(restored, shipped)
        self.assertEqual([data for data, _ in stream.before(began) if data not in there], [])

    @staticmethod
    def _objects(store: Opened, bucket: str) -> dict[str, bytes]:
        found = {}
        for info in store.list_objects(bucket, "", "", "", 10000).objects:
            found[info.key] = store.read(bucket, info.key)
        return found

    def _payloads(self, root: str, shipped: dict[str, bytes]) -> set[bytes]:
        directory = os.path.join(root, "archives", "n")
        found: set[bytes] = set()
        paths = [os.path.join(directory, name) for name in os.listdir(directory) if not name.startswith(".")]
        for name, data in shipped.items():
            paths.append(os.path.join(root, os.path.basename(name)))
            with open(paths[-1], "wb") as file:
                file.write(gzip.decompress(data))
        for path in paths:
            with ArchiveReader(path) as reader:
                found.update(bytes(record.payload) for record in reader.records())
        return found

    def serve_again(self, records: _Records, stream: _Records) -> None:
        """A service on the last backup gives all of it back, and finds nothing to complain about."""
        made = os.path.join(self.top, "last")
        self.command("backup", made, "--root", self.root, "--config", self.config)
        shutil.rmtree(self.root)
        self.command("restore", made, "--root", self.root)
        self.server.start()
        for data, answer in records.before(time.time())[-50:]:
            path = f"/get?id=x&offset={answer['offset']}"
            self.assertEqual(self.server.ask(self.server.append_port, "GET", path), (200, data))
        status, body = self.server.ask(self.server.archive_port, "GET", "/archive/n")
        self.assertEqual((status, len(body.splitlines())), (200, len(stream.history)))
        self.command("fsck", "--root", self.root)
        self.server.stop()
        self.assertNotIn("#error", self.server.output)
        self.assertNotIn("torn", self.server.output)

    def test_service_ends(self) -> None:
        """A backup that cannot be finished leaves what was there before, and nothing beside it."""
        made = os.path.join(self.top, "made")
        self.command("mb", "box", "--root", self.root)
        self.command("backup", made, "--root", self.root)
        with open(os.path.join(made, "backup.json"), "rb") as file:
            before = file.read()

        def fail(store: SocketStore) -> str:
            raise NotFound("there is no such resource")

        self.patch(SocketStore, "hold", fail)
        result = CliRunner().invoke(main, ["backup", made, "--root", self.root])
        self.assertEqual(result.exit_code, 1)
        with open(os.path.join(made, "backup.json"), "rb") as file:
            self.assertEqual(file.read(), before)
        self.assertEqual([name for name in os.listdir(self.top) if name.startswith(".")], [])
