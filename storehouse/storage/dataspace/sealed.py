"""
A data space that encrypts: on top of any other, to which it gives ciphertext.

docs/formats/sealed.md says what is written, what it protects, and what it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client.core import Metric
from twisted.internet.defer import Deferred
from zope.interface import implementer

from storehouse.core.disk import IDisk
from storehouse.core.keys.vault import Vault
from storehouse.core.streams import IByteStream, closing, deferred
from storehouse.errors import InvalidRange, StorehouseError
from storehouse.storage.dataspace.checks import check_id, check_metadata, check_range
from storehouse.storage.dataspace.interfaces import IDataSpace, IInventory, IUploads, Metadata, Part, Reader
from storehouse.storage.dataspace.sealed_codecs import Opening
from storehouse.storage.dataspace.sealed_format import Description, SealedPart, seal_object
from storehouse.storage.dataspace.sealed_ground import SealedGround
from storehouse.storage.dataspace.sealed_metrics import SealedMetrics
from storehouse.storage.dataspace.sealed_uploads import SealedUploads

__all__ = ["SealedDataSpace"]

# How often an object is opened anew that becomes another one meanwhile.
_TRIES = 8


@implementer(IDataSpace, IUploads, IInventory)
class SealedDataSpace(SealedUploads):
    """
    See L{IDataSpace}. Etags tell contents apart, and not more: the same bytes get another one each time.

    @param inner: the space below, with L{BOUNDS<storehouse.storage.dataspace.sealed_format.BOUNDS>}. It is started and
        stopped with this one.
    @param vault: the keys; started before.
    @param memory: bytes that all writers together hold, and all readers.
    """

    def __init__(self, inner: Any, vault: Vault, disk: IDisk, memory: int = 64 << 20) -> None:
        super().__init__(SealedGround(inner, vault, disk, memory))
        self._inner = inner

    @property
    def failed(self) -> StorehouseError | None:
        """What the space below failed with for good."""
        failed: StorehouseError | None = self._inner.failed
        return failed

    @property
    def metrics(self) -> SealedMetrics:
        """What it counts."""
        return self._ground.metrics

    def collect(self) -> Iterable[Metric]:
        """For Prometheus: with those of the space below."""
        if hasattr(self._inner, "collect"):
            yield from self._inner.collect()
        yield from self._ground.metrics.collect()

    def start(self) -> None:
        """Open the space below."""
        self._inner.start()

    def stop(self) -> Deferred[None]:
        """Close the space below."""
        stopped: Deferred[None] = self._inner.stop()
        return stopped

    # -- objects -------------------------------------------------------------------------------

    @deferred
    async def put(
        self, id: str, stream: IByteStream, size: int | None, metadata: Metadata | Callable[[], Metadata]
    ) -> Part:
        """See L{IDataSpace.put}."""
        part = await self._put(id, stream, size, metadata)
        return Part(1, part.etag, part.size)

    async def _put(
        self, id: str, stream: IByteStream, size: int | None, metadata: Metadata | Callable[[], Metadata]
    ) -> SealedPart:
        ground = self._ground
        async with closing(stream):
            check_id(id)
            told = metadata if callable(metadata) else check_metadata(metadata)
            arriving = ground.arriving(stream, size)

            def describe() -> Metadata:
                kept = check_metadata(told()) if callable(told) else told
                return seal_object(ground.keyring, id, [arriving.part], kept)

            await self._inner.put(id, arriving.stream, arriving.size, describe)
        part = arriving.part
        ground.metrics.sealed += 1
        ground.metrics.bytes_sealed += part.size
        return part

    @deferred
    async def get(
        self,
        id: str,
        offset: int = 0,
        length: int | None = None,
        verified: bool = True,
        expected: Part | None = None,
    ) -> Reader:
        """See L{IDataSpace.get}."""
        return await self._get(id, offset, length, expected)

    async def _get(self, id: str, offset: int, length: int | None, expected: Part | None) -> Reader:
        ground = self._ground
        known = ground.known(id)
        if known is None and (offset or length is not None):
            known = ground.describe(id, await self._inner.get_metadata(id))
        for _ in range(_TRIES):
            if known is not None:
                ground.check_expected(id, known, expected)
            # Most often all is wanted: then one look at the space below is enough.
            start, count = (0, None) if known is None else self._stored(id, known, offset, length)
            try:
                # Each frame tells whether it is authentic: to verify blocks besides would cost more than that does.
                reader: Reader = await self._inner.get(id, start, count, verified=False)
            except InvalidRange:
                described = ground.describe(id, await self._inner.get_metadata(id))
                if described is known:
                    raise ground.damaged(id, "there are fewer bytes than its description says") from None
                known = described
                continue
            try:
                found = ground.describe(id, reader.metadata)
                if found is None:
                    # It was stored before there was a master key, and has no frames.
                    await reader.close()
                    reader = await self._inner.get(id, offset, length, expected=expected)
                    return reader
                ground.check_expected(id, found, expected)
                if reader.size != found.sealed_size:
                    raise ground.damaged(id, f"it has {reader.size} bytes, not the {found.sealed_size} of its parts")
                length_of = check_range(offset, length, found.size)
                opening = Opening(id, found, offset, length_of)
                if (reader.offset, reader.length) == (opening.start, opening.length):
                    return ground.reader(reader, found, offset, length_of, opening)
            except BaseException:
                await reader.close()
                raise
            # It became another object, or not all that is stored is wanted.
            await reader.close()
            known = found
        raise ground.damaged(id, "it was another object each time it was opened")

    def _stored(self, id: str, description: Description, offset: int, length: int | None) -> tuple[int, int]:
        opening = Opening(id, description, offset, check_range(offset, length, description.size))
        return opening.start, opening.length

    @deferred
    async def get_metadata(self, id: str) -> dict[str, list[str]]:
        """See L{IDataSpace.get_metadata}."""
        stored = await self._inner.get_metadata(id)
        description = self._ground.describe(id, stored)
        metadata: Metadata = stored if description is None else description.metadata
        return {name: list(values) for name, values in metadata.items()}

    @deferred
    async def delete(self, id: str) -> None:
        """See L{IDataSpace.delete}."""
        async with self._ground.sources.held(id):
            await self._inner.delete(id)
        self._ground.forget(id)

    @deferred
    async def copy(
        self,
        id: str,
        source_id: str,
        offset: int = 0,
        length: int | None = None,
        metadata: Metadata | None = None,
        expected: Part | None = None,
    ) -> Part:
        """See L{IDataSpace.copy}."""
        ground = self._ground
        check_id(id)
        told = None if metadata is None else check_metadata(metadata)
        async with ground.sources.held(source_id):
            stored = await self._inner.get_metadata(source_id)
            source = ground.describe(source_id, stored)
            if source is not None:
                ground.check_expected(source_id, source, expected)
            whole = None if source is None else source.whole_parts(offset, check_range(offset, length, source.size))
            if source is not None and whole is not None:
                start, end = source.sealed_starts[whole.start], source.sealed_starts[whole.stop]
                kept = source.metadata if told is None else told
                made = Description(source.parts[whole.start : whole.stop], kept)
                sealed = seal_object(ground.keyring, id, made.parts, kept)
                try:
                    await self._inner.copy(id, source_id, start, end - start, sealed)
                except InvalidRange:
                    raise ground.damaged(source_id, "there are fewer bytes than its description says") from None
                return Part(0, made.etag, made.size)
        # Of a part only, or of what is plain: all of it is encrypted anew.
        reader = await self._get(source_id, offset, length, expected)
        part = await self._put(id, reader, reader.length, reader.metadata if told is None else told)
        return Part(0, part.etag, part.size)

    @deferred
    async def list_ids(self, index: str) -> list[str]:
        """See L{IInventory.list_ids}."""
        ids: list[str] = await self._inner.list_ids(index)
        return ids

    @deferred
    async def examine(self, id: str, expected: Part | None = None) -> dict[str, list[str]]:
        """See L{IInventory.examine}."""
        ground = self._ground
        stored = await self._inner.examine(id)
        found = ground.describe(id, stored)
        if found is None:
            metadata: dict[str, list[str]] = await self._inner.examine(id, expected)
            return metadata
        ground.check_expected(id, found, expected)
        reader = await self._get(id, 0, 0, expected)
        await reader.close()
        return {name: list(values) for name, values in found.metadata.items()}

    @deferred
    async def set_aside(self, id: str, why: str) -> str:
        """See L{IInventory.set_aside}."""
        async with self._ground.sources.held(id):
            place: str = await self._inner.set_aside(id, why)
        self._ground.forget(id)
        return place
