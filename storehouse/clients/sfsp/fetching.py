"""A file from the chunks of a server: into a file with several connections, or in order to whoever takes it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from storehouse.clients.sfsp.client import SFSPClient
from storehouse.clients.sfsp.exchanges import ChunkReader
from storehouse.clients.sfsp.files import Incomplete, ids_of
from storehouse.clients.sfsp.pieces import OpenFile, PieceSink
from storehouse.clients.sfsp.reasons import shown
from storehouse.clients.sfsp.work import Report, Tally, at_once, spread
from storehouse.core.disk import IDisk
from storehouse.core.jobs import whole
from storehouse.core.streams import deferred
from storehouse.errors import NoSuchChunk

__all__ = ["get_file", "stream_file"]


@deferred
async def get_file(client: SFSPClient, disk: IDisk, name: bytes, path: str, report: Report | None = None) -> int:
    """
    Fetch a file, several chunks at a time, into one beside C{path} that takes its place when it is whole and on disk.

    @param disk: where it is written.
    @param report: told how many bytes came, and of how many, as soon as that is known.
    @return: fires with the bytes of the file.
    @raise NoSuchChunk: through the Deferred, as all others: the server has no chunk of that name.
    @raise Incomplete: it has not all of them.
    @raise OSError: the file cannot be written.
    """
    count = await _count(client, name)
    # A link goes on leading to the file.
    target = os.path.realpath(path)
    directory, base = os.path.split(target)
    beside = os.path.join(directory, f".{base[:200]}.{secrets.token_hex(4)}.part")
    fd = await whole(disk, os.open, beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    file = OpenFile(disk, fd)
    try:
        try:
            size = await _fill(client, file, name, count, report)
            await file.run(_complete, size, target)
        finally:
            file.close()
        await whole(disk, _publish, beside, target)
    except BaseException:
        try:
            os.unlink(beside)
        except FileNotFoundError:
            pass
        raise
    return size


@deferred
async def stream_file(
    client: SFSPClient,
    name: bytes,
    write: Callable[[bytes], Deferred[Any]],
    report: Report | None = None,
) -> int:
    """
    Fetch a file in order, one chunk after the other.

    @param write: is given the bytes; the next call is when what it returned has fired.
    @return: fires with the bytes of the file.
    @raise NoSuchChunk: through the Deferred: the server has no chunk of that name.
    @raise Incomplete: it has not all of them. Nothing was given out, unless they disappeared meanwhile.
    """
    count = await _count(client, name)
    tally = Tally(report)
    size = 0
    for id in range(count):
        size += await _in_order(client, name, id, write, tally)
        if tally.total is None:
            tally.total = size * count  # about
    return size


async def _count(client: SFSPClient, name: bytes) -> int:
    """How many chunks a file has, if it has all."""
    ids = await ids_of(client, name)
    if not ids:
        raise NoSuchChunk(f"there is no file {shown(name)}")
    if gaps := ids.gaps(ids.last):
        raise Incomplete(name, gaps, "stored", "the file is not whole")
    return ids.last + 1


async def _in_order(
    client: SFSPClient, name: bytes, id: int, write: Callable[[bytes], Deferred[Any]], tally: Tally
) -> int:
    done = 0  # bytes that were written, and are not again when the chunk is fetched again
    size: int | None = None

    def put(data: bytes, offset: int) -> Deferred[Any]:
        nonlocal done
        data = data[max(0, done - offset) :]
        done += len(data)
        tally.add(len(data))
        return write(data)

    async def take(reader: ChunkReader) -> int:
        nonlocal size
        if size not in (None, reader.size):
            raise _changed(name, id)
        size = reader.size
        return await PieceSink(put).take(reader)

    return await _fetch(client, name, id, take)


class _NotUniform(Exception):
    """A chunk that is not the last has another size than the first."""


async def _fill(client: SFSPClient, file: OpenFile, name: bytes, count: int, report: Report | None) -> int:
    """Write all chunks. @return: the bytes of the file."""
    tally = Tally(report)
    try:
        chunk = await _place(client, file, name, 0, 0, None, tally)
        if count == 1:
            return chunk
        last = await _place(client, file, name, count - 1, (count - 1) * chunk, None, tally)
        size = tally.total = (count - 1) * chunk + last

        async def place(id: int) -> None:
            await _place(client, file, name, id, id * chunk, chunk, tally)

        await spread(range(1, count - 1), place, at_once(client, chunk))
        return size
    except _NotUniform:
        pass
    # Sizes as they come: where a chunk begins is known when those before it are there.
    tally = Tally(report)
    at = 0
    for id in range(count):
        at += await _place(client, file, name, id, at, None, tally)
    return at


async def _place(
    client: SFSPClient, file: OpenFile, name: bytes, id: int, offset: int, expected: int | None, tally: Tally
) -> int:
    """Fetch a chunk to its place. @return: its bytes."""
    attempt = tally.attempt()

    def put(data: bytes, offset: int) -> Deferred[Any]:
        return file.run(_write_at, data, offset)

    async def take(reader: ChunkReader) -> int:
        if expected not in (None, reader.size):
            raise _NotUniform
        attempt.again()
        return await PieceSink(put, offset, attempt.moved).take(reader)

    return await _fetch(client, name, id, take)


async def _fetch(client: SFSPClient, name: bytes, id: int, take: Any) -> Any:
    try:
        return await client.fetch(name, id, take)
    except NoSuchChunk:
        raise _changed(name, id) from None


def _changed(name: bytes, id: int) -> Exception:
    return NoSuchChunk(f"chunk {id} of {shown(name)} changed while the file was fetched")


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
        pass  # there is none, or it is somebody else's
    os.fsync(fd)


def _publish(source: str, target: str) -> None:
    os.rename(source, target)
    fd = os.open(os.path.dirname(target), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
