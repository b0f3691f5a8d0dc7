"""An open range of an encrypted object."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.core.disk import IDisk
from storehouse.errors import Unavailable
from storehouse.storage.dataspace.incoming import WriteMemory
from storehouse.storage.dataspace.interfaces import IReader
from storehouse.storage.dataspace.sealed_codecs import Opening
from storehouse.storage.dataspace.sealed_format import Description
from storehouse.storage.dataspace.sealed_metrics import SealedMetrics
from storehouse.storage.dataspace.sealed_passage import Passage

__all__ = ["SealedReader"]


@implementer(IReader)
class SealedReader:
    """
    See L{IReader}. No byte is written before its frame was found authentic.

    @param reader: of what is stored: the very frames that C{opening} is to open.
    """

    def __init__(
        self,
        reader: Any,
        description: Description,
        offset: int,
        length: int,
        opening: Opening,
        disk: IDisk,
        memory: WriteMemory,
        metrics: SealedMetrics,
    ) -> None:
        self.id: str = reader.id
        self.metadata = {name: list(values) for name, values in description.metadata.items()}
        self.etag = description.etag
        self.size = description.size
        self.offset = offset
        self.length = length
        self._reader = reader
        self._opening = opening
        self._metrics = metrics
        self._passage = Passage(reader, opening, disk, memory, opening.length)
        self._used = False

    def deliver(self, consumer: Any) -> Deferred[int]:
        """See L{IReader.deliver}."""
        if self._used:
            return fail(Unavailable(f"the object {self.id} was read or closed already"))
        self._used = True
        done = self._passage.deliver(consumer)
        done.addCallbacks(self._delivered, self._failed)
        return done

    def _delivered(self, count: int) -> int:
        self._metrics.bytes_opened += count
        return count

    def _failed(self, failure: Failure) -> Failure:
        if self._opening.wrong is not None and failure.value is self._opening.wrong:
            self._metrics.damaged(self._opening.wrong)
        return failure

    def close(self) -> None:
        """See L{IReader.close}."""
        self._used = True
        self._reader.close()
        self._passage.refuse(Failure(Unavailable(f"the object {self.id} was closed while it was read")))
