"""
A list of IDs that is whole before it is read, since its length is sent first: in memory if it is
short, or else in a file without a name, so that lists which nobody reads take no memory.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from io import FileIO

from twisted.internet.defer import Deferred
from zope.interface import implementer

from storehouse.core.files import NO_SPACE
from storehouse.core.jobs import IDisk, whole
from storehouse.core.streams import GeneratorStream, IByteStream, Piece
from storehouse.errors import NoSpace, Unavailable

__all__ = ["SHORT", "IdList"]

#: Bytes of a short one.
SHORT = 16 << 10

# Bytes of a long one that are written, and read, at once.
_PIECE = 64 << 10


@implementer(IByteStream)
class IdList:
    """
    IDs as the protocol has them: added until it is L{finish}ed, then read once, as a stream; to be closed in any case.

    @param directory: where the file is.
    @ivar size: bytes that were added.
    @ivar on_closed: called once when it takes nothing any more.
    """

    def __init__(self, disk: IDisk, directory: str) -> None:
        self.size = 0
        self.on_closed: Callable[[], None] | None = None
        self._disk = disk
        self._directory = directory
        self._pieces: list[bytes] = []
        self._held = 0
        self._file: FileIO | None = None
        self._stream = GeneratorStream(self._read())

    async def add(self, data: bytes) -> None:
        """
        Add IDs.

        @raise NoSpace: if there is no room for them.
        """
        self._pieces.append(data)
        self._held += len(data)
        self.size += len(data)
        if self._held > _PIECE:
            await self._flush()

    async def finish(self) -> None:
        """
        That was all.

        @raise NoSpace: if there is no room for a long one.
        """
        if self.size > SHORT:
            await self._flush()

    async def _flush(self) -> None:
        try:
            await whole(self._disk, self._write_out)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise NoSpace("no space on the disk for a list of IDs") from None
            raise Unavailable(f"a list of IDs cannot be kept: {error.strerror or error}") from error

    def _write_out(self) -> None:
        if self._file is None:
            # Not buffered: a full disk must show now, not while the list is read.
            self._file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115 - close() does
        data = memoryview(b"".join(self._pieces))
        while data:
            data = data[self._file.write(data) :]
        self._pieces = []
        self._held = 0

    def read(self) -> Awaitable[Piece]:
        """See L{IByteStream.read}."""
        return self._stream.read()

    def close(self) -> Deferred[None]:
        """See L{IByteStream.close}."""
        return self._stream.close().addCallback(self._drop)

    async def _read(self) -> AsyncGenerator[Piece, None]:
        at = 0
        while self._file is not None and at < self.size - self._held:
            data = await whole(self._disk, os.pread, self._file.fileno(), _PIECE, at)
            at += len(data)
            yield data
        data, self._pieces = b"".join(self._pieces), []
        yield data

    def _drop(self, result: None) -> None:
        file, self._file = self._file, None
        self._pieces = []
        if file is not None:
            self._disk.run(file.close).addErrback(lambda failure: None)
        on_closed, self.on_closed = self.on_closed, None
        if on_closed is not None:
            on_closed()
