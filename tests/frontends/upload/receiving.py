"""A door that takes in files, on a store in memory, for tests: no network, no disk, no clock but the test's."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.config.settings import ConnectionSettings
from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream, read_all
from storehouse.errors import NoSpace, NoSuchKey
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.http.request import Root, StreamingRequest
from storehouse.frontends.http.site import DoorSite
from storehouse.frontends.upload.intake import Activity, Intake, UploadMemory
from storehouse.frontends.upload.upload import FormUpload, Upload
from storehouse.storage.objects.store import LocalObjectStore
from storehouse.testing.dataspace import MemoryDataSpace
from storehouse.testing.namespace import MemoryNamespace
from tests.frontends.http.wire import Answer, Connection, request, split_answers
from tests.frontends.upload.gates import OpenGate

__all__ = ["HeldSpace", "QuietConnection", "ReceivingCase", "Resumption"]


class QuietConnection:
    """
    What a body comes from.

    @ivar is_paused: whether the client is to wait.
    """

    def __init__(self) -> None:
        self.is_paused = False

    def pause_body(self) -> None:
        self.is_paused = True

    def resume_body(self) -> None:
        self.is_paused = False

    def body_wanted(self) -> None: ...


class HeldSpace:
    """
    A data space whose disk can be stopped.

    @ivar is_held: whether what is stored has to wait.
    @ivar fails_at: the number of what cannot be stored.
    """

    def __init__(self) -> None:
        self.is_held = False
        self.puts: list[int | None] = []  # the sizes that were announced
        self.fails_at: int | None = None
        self._real = MemoryDataSpace()
        self._waiting: deque[Deferred[None]] = deque()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def put(self, id: str, source: Any, size: int | None, metadata: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._put(id, source, size, metadata))

    async def _put(self, id: str, source: Any, size: int | None, metadata: Any) -> Any:
        self.puts.append(size)
        number = len(self.puts)
        if self.is_held:
            turn: Deferred[None] = Deferred()
            self._waiting.append(turn)
            await turn
        if number == self.fails_at:
            raise NoSpace("the disk is full")
        return await self._real.put(id, source, size, metadata)

    def let_go(self, backwards: bool = False) -> None:
        """The disk goes on; backwards, it does what waits now, the latest first."""
        if not backwards:
            self.is_held = False
            while self._waiting:
                self._waiting.popleft().callback(None)
        waiting, self._waiting = self._waiting, deque()
        while waiting:
            waiting.pop().callback(None)


class Resumption:
    """
    Takes requests that begin resumable uploads.

    @ivar paths: theirs.
    """

    def __init__(self) -> None:
        self.paths: list[bytes] = []

    async def create(self, request: StreamingRequest) -> Reply:
        self.paths.append(request.path)
        return Reply(204, b"")

    def options(self, request: StreamingRequest) -> None: ...


class ReceivingCase(SynchronousTestCase):
    """A door that takes in files."""

    budget = 64 << 20
    sessions = 100
    rule = "rename"
    max_size = 0
    most_parts = 50

    def setUp(self) -> None:
        self.clock = Clock()
        self.space = HeldSpace()
        self.store: Any = LocalObjectStore(self.space, MemoryNamespace(), InlineDisk())
        self.space.start()
        self.store.start()
        self.successResultOf(self.store.create_bucket("uploads"))
        self.gate = OpenGate()
        self.memory = UploadMemory(self.budget, self.sessions)
        self.activity = Activity(self.clock)
        self.resumption = Resumption()
        self.resumed = self.resumption.paths
        self.make_door()

    def make_door(self, limits: ConnectionSettings | None = None) -> None:
        gate: Any = self.gate
        self.intake = Intake(
            self.store, self.memory, gate, self.activity, InlineDisk(), max_size=self.max_size, rule=self.rule
        )
        form = FormUpload(gate, self.intake, self.most_parts)
        root = Root({b"upload": Upload(gate, form, self.intake, self.resumption)})
        self.site = DoorSite(root, self.clock, limits or ConnectionSettings(), name="upload")
        self.site.startFactory()

    # -- talking to it -------------------------------------------------------------------------

    def connect(self, window: int | None = None) -> Connection:
        return Connection(self.site, window)

    def ask(self, line: str, body: bytes | None = None, *fields: str, status: int = 200) -> Answer:
        """A request over a connection of its own, and its answer."""
        connection = self.connect()
        connection.send(request(line, body, *fields))
        (answer,) = split_answers(connection.received, [line.split()[0]])
        connection.close()
        self.assertEqual(answer.status, status, answer)
        return answer

    def told(self, line: str, body: bytes | None, *fields: str, status: int = 200) -> Any:
        """What an answer says in JSON."""
        return json.loads(self.ask(line, body, *fields, status=status).body)

    def post(self, body: bytes, *fields: str, status: int = 201, boundary: str = "frontier") -> Any:
        """Send a form."""
        kind = f'Content-Type: multipart/form-data; boundary="{boundary}"'
        return self.told("POST /upload", body, kind, *fields, status=status)

    # -- what is stored ------------------------------------------------------------------------

    def keys(self) -> list[str]:
        listed: list[str] = self.successResultOf(self.store.list_keys("uploads"))
        return listed

    def stored(self, key: str) -> bytes:
        """The bytes of an object."""
        return self.successResultOf(Deferred.fromCoroutine(self._stored(key)))

    async def _stored(self, key: str) -> bytes:
        return await read_all(await self.store.get("uploads", key))

    def info(self, key: str) -> Any:
        """What is known of an object."""
        return self.successResultOf(self.store.head("uploads", key))

    def put_before(self, key: str, data: bytes) -> Any:
        """Something already exists."""
        return self.successResultOf(self.store.put("uploads", key, BytesStream(data), len(data)))

    def nothing_held(self) -> None:
        """No memory is held, and nobody is there."""
        self.assertEqual((self.memory.held, self.memory.sessions, self.activity.uploads), (0, 0, []))

    def missing(self, key: str) -> None:
        self.failureResultOf(self.store.head("uploads", key), NoSuchKey)
