"""SFSP doors without a network: on a store on disk, in memory, or in the hands of a test; and clients for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.config.settings import ConnectionSettings, SFSPSettings
from storehouse.core import sfsp
from storehouse.core.jobs import InlineDisk
from storehouse.core.sfsp import Chunk, Code, Ids, List, Receive, ResponseDecoder, Send, Status
from storehouse.core.streams import IByteStream, Piece, PushedStream
from storehouse.errors import NoSuchKey
from storehouse.frontends.sfsp.chunks import Chunks
from storehouse.frontends.sfsp.factory import SFSPFactory
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings
from storehouse.storage.namespace.local import LocalNamespace, NamespaceSettings
from storehouse.storage.objects.interfaces import ObjectInfo
from storehouse.storage.objects.store import LocalObjectStore
from storehouse.testing.dataspace import MemoryDataSpace
from storehouse.testing.namespace import MemoryNamespace
from tests.core.test_jobs import HandDisk
from tests.frontends.http.wire import Connection

__all__ = ["OK", "Door", "DoorCase", "Get", "HandStore", "Peer", "Put", "ask", "listing", "receive", "send"]

#: What a send that was stored is answered with.
OK = ("ok", b"")


def send(name: bytes, id: int, data: bytes) -> tuple[type, bytes]:
    """A request to store a chunk: what kind it is, and its bytes."""
    return Send, sfsp.encode_send(name, id, len(data)) + data


def receive(name: bytes, id: int) -> tuple[type, bytes]:
    """A request for a chunk."""
    return Receive, sfsp.encode_receive(name, id)


def listing(name: bytes) -> tuple[type, bytes]:
    """A request for a list."""
    return List, sfsp.encode_list(name)


class Peer(Connection):
    """
    A client's end, which understands what it gets.

    @ivar answers: what came: C{("ok", message)}, C{("chunk", name, id, data)}, C{("ids", [id, ...])}, C{("none",)},
        C{("internal", text)}, C{("invalid", text)}.
    """

    def __init__(self, factory: Any, window: int | None = None, settle: Callable[[], None] = lambda: None) -> None:
        self.answers: list[Any] = []
        self._decoder = ResponseDecoder(max_name=1 << 20)
        self._seen = 0
        self._half: Any = None
        self._ends = self._ended = False
        super().__init__(factory, window, settle)

    def ask(self, *requests: tuple[type, bytes], settle: bool = True) -> None:
        """Send requests, all at once."""
        for kind, _ in requests:
            self._decoder.expect(kind)
        self.send(b"".join(data for _, data in requests), settle)

    def expect(self, *kinds: type) -> None:
        """The bytes of such requests are sent by hand."""
        for kind in kinds:
            self._decoder.expect(kind)

    def end(self) -> None:
        """Send no more, but read."""
        self._ends = True
        self.settle()

    def settle(self) -> None:
        """See L{Connection.settle}."""
        super().settle()
        transport = self.transport
        if self._ends and not (self._ended or self.unsent or transport.paused or transport.closed):
            self._ended = True
            self.channel.readConnectionLost()
            super().settle()

    def heard(self) -> list[Any]:
        """All answers that came whole since the last time."""
        data = self.received
        self._decoder.feed(data[self._seen :])
        self._seen = len(data)
        found: list[Any] = []
        while True:
            if self._half is not None and not (self._decoder.left or self._decoder.ids_left):
                found.append(self._half)
                self._half = None
            came = self._decoder.next()
            if came is None:
                break
            if isinstance(came, Status):
                found.append(_said(came))
            elif isinstance(came, Chunk):
                self._half = ("chunk", came.name, came.id, b"")
            elif isinstance(came, Ids):
                self._half = ("ids", [])
            elif isinstance(came, bytes):
                self._half = (*self._half[:3], self._half[3] + came)
            else:
                self._half[1].extend(came)
        self.answers += found
        return found

    @property
    def is_in_order(self) -> bool:
        """Whether nothing came in part."""
        return self._half is None and not self._decoder.held


def _said(status: Status) -> Any:
    if status.code == Code.NOT_FOUND:
        return ("none",)
    names = {Code.OK: "ok", Code.INTERNAL: "internal", Code.INVALID_REQ: "invalid"}
    if status.code == Code.OK:
        return names[status.code], status.message
    return names[status.code], status.message.decode("utf-8")


def ask(factory: Any, *requests: tuple[type, bytes]) -> list[Any]:
    """The answers to some requests over a connection of their own."""
    peer = Peer(factory)
    peer.ask(*requests)
    heard = peer.heard()
    peer.close()
    return heard


class Door:
    """
    A door on a store.

    @ivar clock: of the door.
    @ivar store: an object store.
    @ivar factory: what makes its connections.
    """

    def __init__(
        self,
        directory: str,
        limits: dict[str, Any] | None = None,
        in_memory: bool = False,
        disk: Any = None,
        access_log: bool = False,
        block_size: int = 1000,
    ) -> None:
        self.clock = Clock()
        self.directory = directory
        self.disk = disk or InlineDisk()
        os.makedirs(directory, exist_ok=True)
        space: Any
        names: Any
        if in_memory:
            space, names = MemoryDataSpace(), MemoryNamespace()
        else:
            settings = WormerSettings(os.path.join(directory, "objects"), block_size=block_size, durable=False)
            space = WormerDataSpace(settings, self.disk)
            names = LocalNamespace(
                NamespaceSettings(os.path.join(directory, "namespace"), durable=False), self.clock, self.disk
            )
        self.store = LocalObjectStore(space, names, self.disk)
        self._parts = [part for part in (space, names, self.store) if hasattr(part, "start")]
        for part in self._parts:
            part.start()
        self.lists = os.path.join(directory, "lists")
        os.makedirs(self.lists)
        self.factory = SFSPFactory(
            Chunks(self.store, self.disk, self.lists), self.clock, **(limits or bounds()), access_log=access_log
        )
        self.factory.startFactory()

    def connect(self, window: int | None = None) -> Peer:
        """A new client."""
        return Peer(self.factory, window, self.settle)

    def settle(self) -> None:
        """Let all jobs be done."""
        if isinstance(self.disk, HandDisk):
            self.disk.do_all()

    def ask(self, *requests: tuple[type, bytes]) -> list[Any]:
        """See L{ask}."""
        return ask(self.factory, *requests)

    def close(self) -> None:
        """Stop all of it."""
        for part in reversed(self._parts):
            stopped: list[Any] = []
            part.stop().addBoth(stopped.append)
            self.settle()
            if stopped != [None]:
                raise AssertionError(f"{part} did not stop: {stopped}")


def bounds(memory: int = 64 << 20, **given: Any) -> dict[str, Any]:
    """What a factory is given, from settings of SFSP and of connections together."""
    own = {name: given.pop(name) for name in ("max_name", "max_chunk") if name in given}
    return {"settings": SFSPSettings(**own), "limits": ConnectionSettings(**given), "memory": memory}


class DoorCase(SynchronousTestCase):
    """Has doors."""

    def make_door(self, limits: dict[str, Any] | None = None, **options: Any) -> Door:
        door = Door(os.path.abspath(self.mktemp()), limits, **options)
        self.addCleanup(door.close)
        return door


class ShuffledDisk(HandDisk):
    """Does its jobs in an order that a seed gives."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = Random(seed)

    def do_some(self) -> None:
        """Some of the jobs there are."""
        for _ in range(self._random.randrange(4)):
            if self.jobs:
                self.do()

    def do(self, count: int = 1) -> None:
        """Any."""
        for _ in range(count):
            index = self._random.randrange(len(self.jobs))
            self.jobs.insert(0, self.jobs.pop(index))
            super().do()


class Put:
    """
    A chunk that is to be stored: it is read until it L{ends<end>}.

    @ivar delivered: how many bytes there were, or why they could not be read, once that is known.
    @ivar is_taking: whether it is being read.
    """

    def __init__(self, key: str, stream: IByteStream, size: int, metadata: Any) -> None:
        self.key, self.stream, self.size, self.metadata = key, stream, size, metadata
        self.done: Deferred[Any] = Deferred()
        self.pieces: list[Piece] = []
        self.delivered: list[Any] = []
        self.is_taking = False
        self._turn: Deferred[None] | None = None

    @property
    def data(self) -> bytes:
        """What came."""
        return b"".join(self.pieces)

    def begin(self) -> None:
        """Take what comes."""
        Deferred.fromCoroutine(self._take()).addBoth(self.delivered.append)

    async def _take(self) -> int:
        self.is_taking = True
        try:
            while piece := await self.stream.read():
                while self._turn is not None:
                    await self._turn
                self.write(piece)
            return len(self.data)
        finally:
            self.is_taking = False
            await self.stream.close()

    def pause(self) -> None:
        """Take no more for now."""
        if self._turn is None:
            self._turn = Deferred()

    def resume(self) -> None:
        """Take on."""
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.callback(None)

    def end(self, error: Exception | None = None) -> None:
        """It is stored, or not."""
        if error is None:
            self.done.callback(None)
        else:
            self.done.errback(error)

    def write(self, data: Piece) -> None:
        self.pieces.append(data)


class Get(PushedStream):
    """
    A chunk that is asked for; as a reader, gives what a test sets.

    @ivar is_read: whether anything was wanted of it.
    @ivar is_paused: whether something waits to be read.
    @ivar closed: 1 if it was closed.
    """

    offset = 0

    def __init__(self, key: str) -> None:
        super().__init__(self._set_paused, self._set_resumed)
        self.key = key
        self.done: Deferred[Any] = Deferred()
        self.is_read = False
        self.is_paused = False
        self.closed = 0
        self.length = 0
        self.info: Any = None

    def open(self, length: int, **metadata: list[str]) -> None:
        """It is there."""
        self.length = length
        self.info = ObjectInfo(self.key, "id", length, "tag", 0, "", metadata)
        self.done.callback(self)

    def read(self) -> Coroutine[Any, Any, Piece]:
        self.is_read = True
        return super().read()

    def end(self, error: Exception | None = None) -> None:
        """That was all, or it broke."""
        if error is None:
            super().end()
        else:
            self.fail(error)

    def close(self) -> Deferred[None]:
        self.closed = 1
        return super().close()

    def _set_paused(self) -> None:
        self.is_paused = True

    def _set_resumed(self) -> None:
        self.is_paused = False


class HandStore:
    """
    Does what a test says, when it says so.

    @ivar puts: L{Put}s.
    @ivar gets: L{Get}s.
    @ivar lists: C{(after, Deferred)}.
    """

    def __init__(self) -> None:
        self.puts: list[Put] = []
        self.gets: list[Get] = []
        self.lists: list[tuple[str, Deferred[Any]]] = []

    async def create_bucket(self, name: str) -> None: ...

    def put(
        self, bucket: str, key: str, stream: IByteStream, size: int, content_type: str, metadata: Any
    ) -> Deferred[ObjectInfo]:
        put = Put(key, stream, size, metadata)
        self.puts.append(put)
        put.begin()
        return put.done

    def get(self, bucket: str, key: str) -> Deferred[Any]:
        get = Get(key)
        self.gets.append(get)
        return get.done

    def list_keys(self, bucket: str, prefix: str, after: str, limit: int) -> Deferred[list[str]]:
        self.lists.append((after, Deferred()))
        return self.lists[-1][1]


def missing() -> Exception:
    """What a store fails with where there is nothing."""
    return NoSuchKey("there is nothing")
