"""
A file as chunks on a server: 0, 1, ..., all of one size but the last, which has 1 byte or more. An empty file is one
chunk of 0 bytes.

SFSP has no commit. So the last chunk is stored first: as long as a file is not whole, a chunk is missing before it.
"""

from __future__ import annotations

import os
import stat
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from storehouse.clients.sfsp.client import SFSPClient
from storehouse.clients.sfsp.exchanges import ChunkReader
from storehouse.clients.sfsp.pieces import FileSource, OpenFile, PieceSink
from storehouse.clients.sfsp.ranges import Ranges
from storehouse.clients.sfsp.reasons import shown
from storehouse.clients.sfsp.work import Report, Tally, at_once, spread
from storehouse.core.disk import IDisk
from storehouse.core.files import read_exactly
from storehouse.core.jobs import whole
from storehouse.core.streams import deferred
from storehouse.errors import AlreadyExists, Conflict, NoSuchChunk, StorehouseError

__all__ = ["DEFAULT_CHUNK", "Incomplete", "Sent", "ids_of", "missing", "put_file", "resume_file"]

#: Bytes of a chunk, unless it is said.
DEFAULT_CHUNK = 8 << 20


class Incomplete(StorehouseError):
    """
    Chunks of a file are missing.

    @ivar missing: their IDs.
    """

    def __init__(self, name: bytes, missing: Ranges, what: str, reason: str = "") -> None:
        chunks, be = ("chunk", "was") if missing.count == 1 else ("chunks", "were")
        super().__init__(f"{chunks} {missing} of {shown(name)} {be} not {what}" + (f": {reason}" if reason else ""))
        self.missing = missing


@attrs.frozen
class Sent:
    """
    What was done.

    @ivar size: bytes of the file.
    @ivar chunk: bytes of a chunk, but for the last.
    @ivar count: chunks of the file.
    @ivar sent: those of them that were sent now.
    """

    size: int
    chunk: int
    count: int
    sent: int


@attrs.frozen
class _Cut:
    """How a file is cut."""

    size: int
    chunk: int

    @property
    def count(self) -> int:
        return max(1, -(-self.size // self.chunk))

    def size_of(self, id: int) -> int:
        return min(self.chunk, self.size - id * self.chunk)


async def ids_of(client: SFSPClient, name: bytes) -> Ranges:
    """The IDs of a file's chunks."""
    ids = Ranges()
    await client.list_ids(name, ids.add_all)
    return ids


@deferred
async def missing(client: SFSPClient, name: bytes, count: int) -> Ranges:
    """
    Which of the chunks 0 to C{count} - 1 of a file the server does not have.

    @return: fires with their IDs.
    """
    return (await ids_of(client, name)).gaps(count)


@deferred
async def put_file(
    client: SFSPClient,
    disk: IDisk,
    name: bytes,
    path: str,
    chunk: int = DEFAULT_CHUNK,
    overwrite: bool = False,
    report: Report | None = None,
) -> Sent:
    """
    Store a file.

    @param disk: where the file is read.
    @param chunk: bytes of a chunk.
    @param overwrite: replace the chunks that are there. Until all were, the file on the server is a mixture.
    @param report: told how many bytes were sent, and of how many.
    @return: fires when all chunks are stored.
    @raise AlreadyExists: through the Deferred, as all others: there are chunks of that name.
    @raise Conflict: there are chunks behind the end of the file, which SFSP cannot remove; or the file changed.
    @raise Incomplete: some chunks could not be sent.
    @raise OSError: the file cannot be read.
    """
    async with _Local(client, disk, name, path, report) as local:
        there = await ids_of(client, name)
        if there and not overwrite:
            raise AlreadyExists(f"the server has chunks of {shown(name)} already: {there}")
        cut = local.cut(chunk)
        if there and there.last >= cut.count:
            raise Conflict(
                f"the server has chunks of {shown(name)} up to {there.last}; this file has only {cut.count}, "
                "and SFSP cannot remove any"
            )
        return await local.send(Ranges())


@deferred
async def resume_file(
    client: SFSPClient,
    disk: IDisk,
    name: bytes,
    path: str,
    chunk: int | None = None,
    verify: bool = False,
    report: Report | None = None,
) -> Sent:
    """
    Send the chunks of a file that the server does not have, if those that it has are of this file.

    @param chunk: bytes of a chunk, if that is known; else it is found from the chunks that are there.
    @param verify: compare all chunks that are there, not only the first and the last of them.
    @return: fires when all chunks are stored.
    @raise Conflict: through the Deferred: chunks on the server are not of this file. And as L{put_file}.
    """
    async with _Local(client, disk, name, path, report) as local:
        there = await ids_of(client, name)
        if not there:
            local.cut(chunk or DEFAULT_CHUNK)
            return await local.send(there)
        found = await local.find_chunk_size(there, chunk)
        if chunk is not None and chunk != found:
            raise local.differs(f"its chunks have {found} bytes, not {chunk}")
        cut = local.cut(found)
        if there.last >= cut.count:
            raise local.differs(f"it has a chunk {there.last}")
        await local.compare(there if verify else Ranges(_ends(there)))
        return await local.send(there)


def _ends(ids: Ranges) -> list[tuple[int, int]]:
    return [(id, id) for id in sorted({ids.first, ids.last})]


class _Changed(Conflict):
    """The file changed while it was sent."""


class _Local:
    """A local file and its chunks on a server; for C{async with}."""

    def __init__(self, client: SFSPClient, disk: IDisk, name: bytes, path: str, report: Report | None) -> None:
        self._client = client
        self._disk = disk
        self._name = name
        self._path = path
        self._tally = Tally(report)
        self._cut = _Cut(0, 1)

    async def __aenter__(self) -> _Local:
        fd = await whole(self._disk, os.open, self._path, os.O_RDONLY | os.O_CLOEXEC)
        self._file = OpenFile(self._disk, fd)
        try:
            self._state = os.fstat(fd)
            if not stat.S_ISREG(self._state.st_mode):
                raise Conflict(f"{self._path} is not a regular file")
        except BaseException:
            self._file.close()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        self._file.close()

    def cut(self, chunk: int) -> _Cut:
        """Cut it into chunks of this size."""
        self._cut = _Cut(self._state.st_size, chunk)
        return self._cut

    def differs(self, reason: str) -> Conflict:
        """The error when what is there is of another file."""
        return Conflict(f"what the server has of {shown(self._name)} is not of {self._path}: {reason}")

    # -- sending -------------------------------------------------------------------------------

    async def send(self, there: Ranges) -> Sent:
        """Send the chunks that are not there, the last one first."""
        count = self._cut.count
        left = there.gaps(count)
        number = left.count
        self._tally.total = number * self._cut.chunk
        if count - 1 not in there:
            self._tally.total += self._cut.size_of(count - 1) - self._cut.chunk
        stored = Ranges()

        async def send(id: int) -> None:
            await self._send_chunk(id)
            stored.add(id)

        try:
            if count - 1 not in there:
                await send(count - 1)
                left = Ranges.union(there, stored).gaps(count)
            await spread(left, send, at_once(self._client, self._cut.chunk))
        except _Changed:
            raise
        except (StorehouseError, OSError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or str(error)
            lacking = Ranges.union(there, stored).gaps(count)
            raise Incomplete(self._name, lacking, "stored", reason) from error
        self._check_unchanged()
        return Sent(self._cut.size, self._cut.chunk, count, number)

    def _check_unchanged(self) -> None:
        # Before a chunk's last bytes as well: without it the file is not whole on the server, and a mixture never is.
        now = os.stat(self._path)
        if (now.st_size, now.st_mtime_ns) != (self._state.st_size, self._state.st_mtime_ns):
            raise _Changed(f"{self._path} changed while it was sent; what the server has of it is not the whole file")

    async def _send_chunk(self, id: int) -> None:
        size = self._cut.size_of(id)
        attempt = self._tally.attempt()

        def source() -> FileSource:
            attempt.again()
            return FileSource(self._file, id * self._cut.chunk, size, attempt.moved, self._check_unchanged)

        await self._client.send(self._name, id, source, size)

    # -- comparing -----------------------------------------------------------------------------

    async def find_chunk_size(self, there: Ranges, expected: int | None) -> int:
        """
        How large the chunks are, from the sizes of those that are there.

        @raise Conflict: if that cannot be with a file of this size.
        """
        size = self._state.st_size
        first, last = there.first, there.last
        of_first = await self._size_of(first)
        if first != last:
            return max(1, of_first)
        if expected is not None:
            return expected
        if first == 0:
            # All of the file, or the first of several.
            return max(DEFAULT_CHUNK, of_first) if of_first == size else max(1, of_first)
        # The last one: before it are as many others as its ID says.
        found, rest = divmod(size - of_first, last)
        if rest or not 0 < of_first <= found:
            raise self.differs(f"a chunk {last} of {of_first} bytes cannot be the last one of {size} bytes")
        return found

    async def _size_of(self, id: int) -> int:
        reader = await self._client.receive(self._name, id)
        reader.discard()
        return reader.size

    async def compare(self, ids: Ranges) -> None:
        """@raise Conflict: unless these chunks are as the file."""
        self._tally.total = sum(self._cut.size_of(id) for id in ids)
        await spread(ids, self._compare_chunk, at_once(self._client, self._cut.chunk))
        self._tally = Tally(self._tally.report)

    async def _compare_chunk(self, id: int) -> None:
        size = self._cut.size_of(id)
        attempt = self._tally.attempt()

        def check(data: bytes, offset: int) -> Deferred[Any]:
            return self._file.run(_is_at, data, offset).addCallback(same)

        def same(is_same: bool) -> None:
            if not is_same:
                raise self.differs(f"chunk {id} has other bytes")

        async def take(reader: ChunkReader) -> None:
            if reader.size != size:
                raise self.differs(f"chunk {id} has {reader.size} bytes, not {size}")
            attempt.again()
            await PieceSink(check, id * self._cut.chunk, attempt.moved).take(reader)

        try:
            await self._client.fetch(self._name, id, take)
        except NoSuchChunk:
            raise Conflict(f"chunk {id} of {shown(self._name)} was there and is not any more") from None


def _is_at(fd: int, data: bytes, offset: int) -> bool:
    return read_exactly(fd, len(data), offset) == data
