"""The body of a request on its way into a resumable upload: counted, and hashed if a digest was announced."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from typing import Any

from crc32c import crc32c
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from zope.interface import implementer

from storehouse.core.disk import IDisk
from storehouse.core.jobs import settled
from storehouse.core.streams import ISource
from storehouse.errors import ChecksumMismatch

__all__ = ["ALGORITHMS", "Passage"]

#: What can be computed, by the names that tus has for it.
ALGORITHMS = ("sha1", "sha256", "crc32c")

# Bytes that are hashed at once in a thread; fewer are not worth one. As many again may wait.
_BATCH = 256 << 10

# Bytes that are hashed here and now at the end: some 100 microseconds.
_SMALL = 64 << 10


@implementer(ISource, IConsumer, IPushProducer)
class Passage:
    """
    Stands between the body and the store.

    @param source: has a push producer.
    @param count: told of the bytes of each piece.
    @param algorithms: what is to be computed: of L{ALGORITHMS}, or another one of C{hashlib}'s.
    """

    def __init__(self, source: Any, disk: IDisk, count: Callable[[int], None], algorithms: Iterable[str] = ()) -> None:
        self._source = source
        self._disk = disk
        self._count = count
        self._has_crc = "crc32c" in algorithms
        self._crc = 0
        # SHA-1 is what tus demands: it tells bytes that were garbled, and keeps out nobody.
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms if name != "crc32c"}
        self._consumer: Any = None
        self._producer: Any = None
        self._consumer_paused = False
        self._waiting: list[bytes] = []
        self._size = 0
        self._hashing: Deferred[Any] | None = None

    def check(self, algorithm: str, digest: bytes) -> None:
        """
        To be called once all bytes have come.

        @raise ChecksumMismatch: if they have another digest.
        """
        computed = self._crc.to_bytes(4, "big") if algorithm == "crc32c" else self._hashes[algorithm].digest()
        if not hmac.compare_digest(computed, digest):
            raise ChecksumMismatch(
                f"the {algorithm} of what came is {computed.hex()}, and not what was announced: nothing of it is kept"
            )

    def deliver(self, consumer: Any) -> Deferred[int]:
        """See L{ISource.deliver}."""
        return Deferred.fromCoroutine(self._deliver(consumer))

    async def _deliver(self, consumer: Any) -> int:
        self._consumer = consumer
        consumer.registerProducer(self, True)
        try:
            count: int = await self._source.deliver(self)
            await self._finish()
            return count
        finally:
            if self._hashing is not None:
                await settled(self._hashing)
            consumer.unregisterProducer()

    # -- for the body --------------------------------------------------------------------------

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take from this producer."""
        self._producer = producer

    def unregisterProducer(self) -> None:
        """It has no more."""
        self._producer = None

    def write(self, data: bytes) -> None:
        """Count it, hash it, and pass it on."""
        self._count(len(data))
        if self._has_crc:
            self._crc = crc32c(data, self._crc)
        if self._hashes:
            self._waiting.append(data)
            self._size += len(data)
            self._hash_some()
            if self._is_behind() and self._producer is not None:
                self._producer.pauseProducing()
        self._consumer.write(data)

    # -- for the store -------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """It has enough for now."""
        self._consumer_paused = True
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """It wants more."""
        self._consumer_paused = False
        self._go_on()

    def stopProducing(self) -> None:
        """It wants no more at all."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()

    # -- hashing -------------------------------------------------------------------------------

    def _is_behind(self) -> bool:
        return self._hashing is not None and self._size >= _BATCH

    def _go_on(self) -> None:
        if self._producer is not None and not self._consumer_paused and not self._is_behind():
            self._producer.resumeProducing()

    def _hash_some(self) -> None:
        if self._hashing is None and self._size >= _BATCH:
            self._hash_waiting().addCallback(self._hashed)

    def _hash_waiting(self) -> Deferred[Any]:
        pieces, self._waiting, self._size = self._waiting, [], 0
        hashing = self._hashing = self._disk.run(self._update, pieces)

        def over(result: Any) -> Any:
            self._hashing = None
            return result

        return hashing.addBoth(over)

    def _hashed(self, result: None) -> None:
        self._hash_some()
        self._go_on()

    def _update(self, pieces: list[bytes]) -> None:
        data = b"".join(pieces)
        for computed in self._hashes.values():
            computed.update(data)

    async def _finish(self) -> None:
        while self._hashing is not None:
            await settled(self._hashing)
        if self._size > _SMALL:
            await self._hash_waiting()
        elif self._size:
            self._update(self._waiting)
            self._waiting, self._size = [], 0
