"""
A list of IDs that is whole before it is read, since its reader must be told first how long it is: in memory if it is
short, or else in a file without a name, so that lists which nobody reads take no memory.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from storehouse.core.disk import IDisk
from storehouse.core.fetched import FetchedSource
from storehouse.core.files import NO_SPACE
from storehouse.core.jobs import whole
from storehouse.core.streams import ISource
from storehouse.errors import NoSpace, Unavailable

__all__ = ["SHORT", "IdList"]

#: Bytes of a short one.
SHORT = 16 << 10

# Bytes of a long one that are written, and read, at once.
_PIECE = 64 << 10


@implementer(ISource)
class IdList:
    """
    IDs as the protocol has them: added until it is L{finish}ed, then read once. L{deliver} or L{close} must be called in
    the end.

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
        self._at = 0  # bytes that were read of the file
        self._file: Any = None
        self._source: FetchedSource | None = None

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
                raise NoSpace("there is no room on the disk for a list of IDs") from None
            raise Unavailable(f"a list of IDs cannot be kept: {error.strerror or error}") from error

    def _write_out(self) -> None:
        if self._file is None:
            # Not buffered: what there is no room for is to be found out now, not while it is read.
            self._file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115 - close() does
        data = memoryview(b"".join(self._pieces))
        while data:
            data = data[self._file.write(data) :]
        self._pieces = []
        self._held = 0

    def deliver(self, consumer: Any) -> Deferred[int]:
        """See L{ISource.deliver}."""
        self._source = FetchedSource(self._read)
        return self._source.deliver(consumer).addBoth(self._drop)

    async def _read(self) -> bytes:
        if self._file is not None and self._at < self.size - self._held:
            data = await whole(self._disk, os.pread, self._file.fileno(), _PIECE, self._at)
            self._at += len(data)
            return data
        data, self._pieces = b"".join(self._pieces), []
        return data

    def close(self) -> None:
        """Give it up. Harmless at any time."""
        if self._source is not None:
            self._source.stopProducing()
        else:
            self._drop(None)

    def _drop(self, result: Any) -> Any:
        file, self._file = self._file, None
        self._pieces = []
        if file is not None:
            self._disk.run(file.close).addErrback(lambda failure: None)
        on_closed, self.on_closed = self.on_closed, None
        if on_closed is not None:
            on_closed()
        return result
