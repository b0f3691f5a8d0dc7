"""A range of a key's object, open."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from storehouse.core.bridges import stream_of
from storehouse.core.streams import IByteStream, Piece
from storehouse.storage.objects.interfaces import IObjectReader, ObjectInfo

__all__ = ["ObjectReader"]


@implementer(IObjectReader, IByteStream)
class ObjectReader:
    """See L{IObjectReader}."""

    def __init__(self, info: ObjectInfo, reader: Any) -> None:
        self.info = info
        self.offset = reader.offset
        self.length = reader.length
        self.deliver = reader.deliver
        self._reader = reader
        self._stream = stream_of(reader)

    def read(self) -> Awaitable[Piece]:
        """See L{IByteStream.read}."""
        return self._stream.read()

    def close(self) -> Deferred[None]:
        """See L{IObjectReader.close}."""
        self._reader.close()
        return self._stream.close()
