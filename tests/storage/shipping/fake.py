"""Destinations for tests: in memory, and in a directory, with trouble of all kinds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from storehouse.core.jobs import deferred
from storehouse.core.streams import BytesStream, IByteStream
from storehouse.errors import InvalidRange, NoSuchKey, RemoteDamaged
from storehouse.storage.shipping.interfaces import IDestination, Listing, LocalFile, Stored
from storehouse.storage.shipping.names import check_name

__all__ = ["DirectoryDestination", "MemoryDestination"]


@implementer(IDestination)
class MemoryDestination:
    """
    Keeps everything in memory.

    @ivar held: names to bytes and SHA-256.
    @ivar calls: what was asked of it, and for which name.
    @ivar before: called with C{calls}' newest before anything is done: it may raise, or give a Deferred to wait for.
    @ivar after: called when something was stored, before that is answered; it may raise.
    """

    def __init__(self) -> None:
        self.held: dict[str, tuple[bytes, str]] = {}
        self.calls: list[tuple[str, str]] = []
        self.before: Callable[[str, str], Any] = lambda verb, name: None
        self.after: Callable[[str, str], Any] = lambda verb, name: None

    def __repr__(self) -> str:
        return "<MemoryDestination>"

    async def _begin(self, verb: str, name: str) -> None:
        self.calls.append((verb, name))
        waiting = self.before(verb, name)
        if waiting is not None:
            await waiting

    def close(self) -> Deferred[None]:
        return succeed(None)

    @deferred
    async def put(self, name: str, file: LocalFile) -> Stored:
        check_name(name)
        await self._begin("put", name)
        with open(file.path, "rb") as opened:
            data = opened.read()
        if len(data) < file.size:
            raise OSError("the file is too short")
        if hashlib.sha256(data).hexdigest() != file.sha256 or hashlib.md5(data).hexdigest() != file.md5:
            raise RemoteDamaged("this is not what was announced")
        self.held[name] = data, file.sha256
        self.after("put", name)
        return self._stored(name)

    def _stored(self, name: str) -> Stored:
        data, sha256 = self.held[name]
        return Stored(name, len(data), hashlib.md5(data).hexdigest(), sha256)

    @deferred
    async def stat(self, name: str) -> Stored:
        check_name(name)
        await self._begin("stat", name)
        if name not in self.held:
            raise NoSuchKey(f"no {name}")
        return self._stored(name)

    @deferred
    async def get(self, name: str, offset: int = 0, length: int | None = None) -> IByteStream:
        check_name(name)
        await self._begin("get", name)
        if name not in self.held:
            raise NoSuchKey(f"no {name}")
        data, _ = self.held[name]
        if offset > len(data):
            raise InvalidRange(offset, length, len(data))
        return BytesStream(data[offset:] if length is None else data[offset : offset + length])

    @deferred
    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Listing:
        names = sorted(
            (name for name in self.held if name.startswith(prefix) and name.encode() > after.encode()), key=str.encode
        )
        page = names[:limit]
        return Listing([self._stored(name) for name in page], page[-1] if len(names) > limit else None)


class DirectoryDestination(MemoryDestination):
    """
    Keeps everything in files, so that it outlives the process: C{DIRECTORY/NAME}, with the slashes of names replaced.

    Each name is written once only: a file C{.log} has a line for each time that one was.
    """

    def __init__(self, directory: str) -> None:
        super().__init__()
        self.directory = directory
        os.makedirs(directory, exist_ok=True)
        for name in os.listdir(directory):
            if name.startswith("."):
                continue
            with open(os.path.join(directory, name), "rb") as file:
                data = file.read()
            self.held[name.replace("|", "/")] = data, hashlib.sha256(data).hexdigest()

    @deferred
    async def put(self, name: str, file: LocalFile) -> Stored:
        stored = await super().put(name, file)
        path = os.path.join(self.directory, name.replace("/", "|"))
        new = os.path.join(self.directory, f".new-{os.path.basename(path)}")
        with open(new, "wb") as opened:
            opened.write(self.held[name][0])
        os.rename(new, path)
        with open(os.path.join(self.directory, ".log"), "a", encoding="utf-8") as log:
            log.write(name + "\n")
        return stored
