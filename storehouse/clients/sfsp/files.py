"""
A file as chunks on a server: 0, 1, ..., all of one size but the last, which has 1 byte or more. An empty file is one
chunk of 0 bytes.

SFSP has no commit. So the last chunk is stored first: as long as a file is not whole, a chunk is missing before it.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred

from storehouse.clients.sfsp.client import SFSPClient
from storehouse.clients.sfsp.connection import ChunkReader
from storehouse.clients.sfsp.ranges import Ranges
from storehouse.clients.sfsp.reasons import shown
from storehouse.core.files import read_exactly
from storehouse.core.jobs import IDisk, deferred, settled, whole
from storehouse.core.streams import Beside, GeneratorStream, IByteStream, Piece, StreamClosed
from storehouse.errors import AlreadyExists, Conflict, NoSuchChunk, SizeMismatch, StorehouseError

__all__ = [
    "DEFAULT_CHUNK",
    "Incomplete",
    "Report",
    "Sent",
    "get_file",
    "hand_over",
    "missing",
    "put_file",
    "resume_file",
    "spread",
    "stream_file",
]

T = TypeVar("T")

#: Is given how many bytes have gone over, and how many there are, if that is known.
Report = Callable[[int, "int | None"], None]

#: Bytes of a chunk, unless another size is given.
DEFAULT_CHUNK = 8 << 20

# Bytes that are read or written at once. A connection holds some of these, and nothing else.
_PIECE = 256 << 10

# Chunks larger than this are not requested far ahead: a connection that is slow would have many of them.
_LARGE = 1 << 20


class Incomplete(StorehouseError):
    """
    Chunks of a file are missing.

    @ivar missing: their IDs.
    """

    def __init__(self, name: bytes, missing: Ranges, reason: str) -> None:
        chunks, be = ("chunk", "was") if missing.count == 1 else ("chunks", "were")
        super().__init__(f"{chunks} {missing} of {shown(name)} {be} not stored: {reason}")
        self.missing = missing


@attrs.frozen
class Sent:
    """
    The result of sending a file.

    @ivar size: bytes of the file.
    @ivar chunk: bytes of a chunk, but for the last.
    @ivar count: chunks of the file.
    @ivar sent: those of them that were sent now.
    """

    size: int
    chunk: int
    count: int
    sent: int


# -- from the server -------------------------------------------------------------------------------


@deferred
async def missing(client: SFSPClient, name: bytes, count: int) -> Ranges:
    """
    Which of the chunks 0 to C{count} - 1 of a file the server does not have.

    @return: fires with their IDs.
    """
    return (await _ids_of(client, name)).gaps(count)


@deferred
async def get_file(client: SFSPClient, disk: IDisk, name: bytes, path: str, report: Report | None = None) -> int:
    """
    Fetch a file, several chunks at a time, into one beside C{path} that replaces it when it is whole and on disk.

    @param disk: where it is written.
    @param report: called with how many bytes came, and of how many, as soon as that is known.
    @return: fires with the bytes of the file.
    @raise NoSuchChunk: through the Deferred, as all others: the server has no chunk of that name.
    @raise Incomplete: it has not all of them.
    @raise OSError: the file cannot be written.
    """
    count = await _count(client, name)
    # A symbolic link keeps pointing to the file.
    target = os.path.realpath(path)
    directory, base = os.path.split(target)
    beside = os.path.join(directory, f".{base[:200]}.{secrets.token_hex(4)}.part")
    fd = await whole(disk, os.open, beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            size = await _Download(client, disk, fd, name, count, report).fetch()
            await whole(disk, _complete, fd, size, target)
        finally:
            os.close(fd)
        await whole(disk, _publish, beside, target)
    except BaseException:
        try:
            os.unlink(beside)
        except FileNotFoundError:
            pass
        raise
    return size


def stream_file(client: SFSPClient, name: bytes, report: Report | None = None) -> IByteStream:
    """
    A file in order, one chunk after the other.

    @return: a stream. Reads fail with C{NoSuchChunk} if the server has no chunk of that name, C{Incomplete} if it has not
        all of them: before any byte was given, unless they disappear meanwhile.
    """
    return GeneratorStream(_pieces(client, name, _Tally(report)))


async def _pieces(client: SFSPClient, name: bytes, tally: _Tally) -> AsyncGenerator[Piece, None]:
    count = await _count(client, name)
    for id in range(count):
        stream = client.stream(name, id)
        try:
            while piece := await stream.read():
                tally.add(len(piece))
                yield piece
        except NoSuchChunk:
            raise _changed(name, id) from None
        finally:
            await stream.close()
        if tally.total is None:
            tally.total = tally.done * count  # about


async def _ids_of(client: SFSPClient, name: bytes) -> Ranges:
    ids = Ranges()
    await client.list_ids(name, ids.add_all)
    return ids


async def _count(client: SFSPClient, name: bytes) -> int:
    """How many chunks a file has, if it has all."""
    ids = await _ids_of(client, name)
    if not ids:
        raise NoSuchChunk(f"there is no file {shown(name)}")
    if gaps := ids.gaps(ids.last):
        raise Incomplete(name, gaps, "the file is incomplete")
    return ids.last + 1


def _changed(name: bytes, id: int) -> Exception:
    return NoSuchChunk(f"chunk {id} of {shown(name)} changed during the download")


class _NotUniform(Exception):
    """A chunk that is not the last has another size than the first."""


class _Download:
    """All chunks of a file, into a local one."""

    def __init__(
        self, client: SFSPClient, disk: IDisk, fd: int, name: bytes, count: int, report: Report | None
    ) -> None:
        self._client = client
        self._disk = disk
        self._fd = fd
        self._name = name
        self._count = count
        self._report = report
        self._tally = _Tally(report)

    async def fetch(self) -> int:
        """Write all chunks. @return: the bytes of the file."""
        count = self._count
        try:
            chunk = await self._fetch(0, 0, None)
            if count == 1:
                return chunk
            last = await self._fetch(count - 1, (count - 1) * chunk, None)
            size = self._tally.total = (count - 1) * chunk + last

            async def fetch(id: int) -> None:
                await self._fetch(id, id * chunk, chunk)

            await spread(range(1, count - 1), fetch, _at_once(self._client, chunk))
            return size
        except _NotUniform:
            pass
        # Sizes as they come: where a chunk begins is known when those before it are there.
        self._tally = _Tally(self._report)
        offset = 0
        for id in range(count):
            offset += await self._fetch(id, offset, None)
        return offset

    async def _fetch(self, id: int, offset: int, expected: int | None) -> int:
        """Fetch a chunk. @return: its bytes."""
        attempt = _Attempt(self._tally)

        def write(data: bytes, position: int) -> Deferred[None]:
            return self._disk.run(_write_at, self._fd, data, offset + position)

        async def take(reader: ChunkReader) -> int:
            if expected not in (None, reader.size):
                raise _NotUniform
            attempt.again()
            return await hand_over(reader, write, attempt.moved)

        try:
            return await self._client.fetch(self._name, id, take)
        except NoSuchChunk:
            raise _changed(self._name, id) from None


def _write_at(fd: int, data: bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(fd, rest, offset)
        rest = rest[written:]
        offset += written


def _complete(fd: int, size: int, target: str) -> None:
    # A first try may have written beyond the end.
    os.ftruncate(fd, size)
    try:
        os.fchmod(fd, os.stat(target).st_mode & 0o777)
    except OSError:
        pass  # there is none, or it is another user's
    os.fsync(fd)


def _publish(source: str, target: str) -> None:
    os.rename(source, target)
    fd = os.open(os.path.dirname(target), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# -- to the server ---------------------------------------------------------------------------------


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
    @param report: called with how many bytes were sent, and of how many.
    @return: fires when all chunks are stored.
    @raise AlreadyExists: through the Deferred, as all others: there are chunks of that name.
    @raise Conflict: there are chunks behind the end of the file, which SFSP cannot remove; or the file changed.
    @raise Incomplete: some chunks could not be sent.
    @raise OSError: the file cannot be read.
    """
    async with _Upload(client, disk, name, path, report) as upload:
        there = await _ids_of(client, name)
        if there and not overwrite:
            raise AlreadyExists(f"the server already has chunks of {shown(name)}: {there}")
        upload.chunk = chunk
        if there and there.last >= upload.count:
            raise Conflict(
                f"the server has chunks of {shown(name)} up to {there.last}; this file has only {upload.count}, "
                "and SFSP cannot remove any"
            )
        return await upload.send(Ranges())


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
    async with _Upload(client, disk, name, path, report) as upload:
        there = await _ids_of(client, name)
        if not there:
            upload.chunk = chunk or DEFAULT_CHUNK
            return await upload.send(there)
        upload.chunk = await upload.find_chunk_size(there, chunk)
        if chunk not in (None, upload.chunk):
            raise upload.differs(f"its chunks have {upload.chunk} bytes, not {chunk}")
        if there.last >= upload.count:
            raise upload.differs(f"it has a chunk {there.last}")
        ends = Ranges([(id, id) for id in sorted({there.first, there.last})])
        await upload.compare(there if verify else ends)
        return await upload.send(there)


class _Changed(Conflict):
    """The file changed while it was sent."""


class _Upload:
    """
    A local file and its chunks on a server; for C{async with}.

    @ivar chunk: bytes of a chunk.
    """

    def __init__(self, client: SFSPClient, disk: IDisk, name: bytes, path: str, report: Report | None) -> None:
        self.chunk = 1
        self._client = client
        self._disk = disk
        self._name = name
        self._path = path
        self._report = report
        self._tally = _Tally(report)

    async def __aenter__(self) -> _Upload:
        self._fd = await whole(self._disk, os.open, self._path, os.O_RDONLY | os.O_CLOEXEC)
        self._state = os.fstat(self._fd)
        self._size = self._state.st_size
        if not stat.S_ISREG(self._state.st_mode):
            os.close(self._fd)
            raise Conflict(f"{self._path} is not a regular file")
        return self

    async def __aexit__(self, *error: object) -> None:
        os.close(self._fd)

    @property
    def count(self) -> int:
        """How many chunks it has."""
        return max(1, -(-self._size // self.chunk))

    def differs(self, reason: str) -> Conflict:
        """The error when what is there is of another file."""
        return Conflict(f"what the server has of {shown(self._name)} is not of {self._path}: {reason}")

    def _size_of(self, id: int) -> int:
        return min(self.chunk, self._size - id * self.chunk)

    # -- sending -------------------------------------------------------------------------------

    async def send(self, there: Ranges) -> Sent:
        """Send the chunks that are not there, the last one first."""
        count = self.count
        left = there.gaps(count)
        number = left.count
        self._tally.total = number * self.chunk
        if count - 1 not in there:
            self._tally.total += self._size_of(count - 1) - self.chunk
        stored = Ranges()

        async def send(id: int) -> None:
            await self._send_chunk(id)
            stored.add(id)

        try:
            if count - 1 not in there:
                await send(count - 1)
                left = Ranges.union(there, stored).gaps(count)
            await spread(left, send, _at_once(self._client, self.chunk))
        except _Changed:
            raise
        except (StorehouseError, OSError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or str(error)
            raise Incomplete(self._name, Ranges.union(there, stored).gaps(count), reason) from error
        self._check_unchanged()
        return Sent(self._size, self.chunk, count, number)

    def _check_unchanged(self) -> None:
        now = os.stat(self._path)
        if (now.st_size, now.st_mtime_ns) != (self._state.st_size, self._state.st_mtime_ns):
            raise _Changed(f"{self._path} changed while it was sent; the server does not have the whole file")

    async def _send_chunk(self, id: int) -> None:
        size = self._size_of(id)
        attempt = _Attempt(self._tally)

        def open_stream() -> IByteStream:
            attempt.again()
            return GeneratorStream(self._read(id * self.chunk, size, attempt.moved))

        await self._client.send(self._name, id, open_stream, size)

    async def _read(self, offset: int, size: int, moved: Callable[[int], None]) -> AsyncGenerator[Piece, None]:
        end = offset + size
        while offset < end:
            data = await whole(self._disk, read_exactly, self._fd, min(_PIECE, end - offset), offset)
            if not data:
                self._check_unchanged()
                raise SizeMismatch(f"the file is {end - offset} bytes shorter than it was")
            offset += len(data)
            if offset >= end:
                # Before the last bytes: without them the chunk is not stored, nor a file that is a mixture whole.
                self._check_unchanged()
            moved(len(data))
            yield data

    # -- comparing -----------------------------------------------------------------------------

    async def find_chunk_size(self, there: Ranges, expected: int | None) -> int:
        """
        How large the chunks are, from the sizes of those that are there.

        @raise Conflict: if that cannot be with a file of this size.
        """
        size = self._size
        first, last = there.first, there.last
        reader = await self._client.receive(self._name, first)
        await reader.close()
        of_first = reader.size
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

    async def compare(self, ids: Ranges) -> None:
        """@raise Conflict: unless these chunks are as the file."""
        self._tally.total = sum(self._size_of(id) for id in ids)
        await spread(ids, self._compare_chunk, _at_once(self._client, self.chunk))
        self._tally = _Tally(self._report)

    async def _compare_chunk(self, id: int) -> None:
        size = self._size_of(id)
        attempt = _Attempt(self._tally)

        def check(data: bytes, position: int) -> Deferred[None]:
            checking: Deferred[bool] = self._disk.run(_is_at, self._fd, data, id * self.chunk + position)
            return checking.addCallback(check_same)

        def check_same(is_same: bool) -> None:
            if not is_same:
                raise self.differs(f"chunk {id} has other bytes")

        async def take(reader: ChunkReader) -> None:
            if reader.size != size:
                raise self.differs(f"chunk {id} has {reader.size} bytes, not {size}")
            attempt.again()
            await hand_over(reader, check, attempt.moved)

        try:
            await self._client.fetch(self._name, id, take)
        except NoSuchChunk:
            raise Conflict(f"chunk {id} of {shown(self._name)} is missing now") from None


def _is_at(fd: int, data: bytes, offset: int) -> bool:
    return read_exactly(fd, len(data), offset) == data


# -- many bytes and many chunks --------------------------------------------------------------------


async def hand_over(
    stream: IByteStream,
    work: Callable[[bytes, int], Deferred[None]],
    moved: Callable[[int], None] = lambda size: None,
) -> int:
    """
    Hand the bytes of a stream over to some work in disk threads, one call after the other, while the next ones come. The
    stream is closed; when this returns or raises, no call runs any more.

    @param work: called with 256 KiB or a little more, and their position in the stream.
    @param moved: called with how many bytes came, each time.
    @return: the number of bytes.
    """
    working: Beside[None] = Beside(stream)
    pieces: list[Piece] = []
    size = count = 0
    try:
        while piece := await stream.read():
            moved(len(piece))
            pieces.append(piece)
            size += len(piece)
            if size >= _PIECE:
                await working.start(work, b"".join(pieces), count)
                count += size
                pieces, size = [], 0
        await working.result()
        if pieces:
            await working.start(work, b"".join(pieces), count)
            await working.result()
        return count + size
    except StreamClosed:
        await working.result()  # perhaps it is why
        raise
    finally:
        await working.close()
        await stream.close()


class _Tally:
    """
    Bytes that have gone over, in all attempts that were not in vain.

    @ivar done: how many.
    @ivar total: how many there are; C{None} as long as that is not known.
    """

    def __init__(self, report: Report | None) -> None:
        self.done = 0
        self.total: int | None = None
        self._report = report

    def add(self, size: int) -> None:
        """So many more."""
        self.done += size
        if self._report is not None:
            self._report(self.done, self.total)


class _Attempt:
    """Bytes of one chunk in a tally: those of an attempt that failed are taken out."""

    def __init__(self, tally: _Tally) -> None:
        self._tally = tally
        self._done = 0

    def again(self) -> None:
        """Another attempt begins, or the first."""
        self._tally.add(-self._done)
        self._done = 0

    def moved(self, size: int) -> None:
        """So many more."""
        self._done += size
        self._tally.add(size)


def _at_once(client: SFSPClient, chunk: int) -> int:
    """How many chunks of a size to have under way: enough that no connection ever waits for us."""
    return client.connections * (min(2, client.pipeline) if chunk > _LARGE else client.pipeline)


async def spread(items: Iterable[T], work: Callable[[T], Awaitable[object]], limit: int) -> None:
    """
    Do something for each item, for several at a time. After a failure no more are begun; those that were are finished.

    @raise Exception: what the first that failed did.
    """
    left = iter(items)
    failed: list[Exception] = []

    async def run() -> None:
        for item in left:
            try:
                await work(item)
            except CancelledError:
                raise
            except Exception as error:
                failed.append(error)
            if failed:
                return

    workers = [Deferred.fromCoroutine(run()) for _ in range(limit)]
    try:
        for worker in workers:
            await worker
    except CancelledError:
        for worker in workers:
            worker.cancel()
        for worker in workers:
            await settled(worker)
        raise
    if failed:
        raise failed[0]
