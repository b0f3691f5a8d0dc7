"""A source whose bytes are hashed on their way, and whose end waits for something else."""

from __future__ import annotations

import hashlib
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.core.disk import IDisk
from storehouse.core.jobs import settled
from storehouse.core.streams import Asking, ISource

__all__ = ["TaggedSource"]

# Bytes that are hashed at once in a thread; fewer are not worth one. As many again may wait.
_BATCH = 256 << 10

# Bytes that are hashed here and now at the end: some 100 microseconds.
_SMALL = 64 << 10


@implementer(ISource, IConsumer, IPushProducer)
class TaggedSource(Asking):
    """
    What stands between a source and the data space.

    @param source: an L{ISource}.
    @param gate: must have fired before the data space is told that the bytes are whole; if it fails, the source is
        stopped and the delivery fails with it.
    @param md5: whether to compute the MD5.
    """

    def __init__(self, source: Any, gate: Deferred[Any], disk: IDisk, md5: bool) -> None:
        self._source = source
        self._disk = disk
        self._hash = hashlib.md5(usedforsecurity=False) if md5 else None
        self._consumer: Any = None
        self._producer: Any = None
        self._streaming = True
        self._waiting: list[bytes] = []
        self._size = 0
        self._hashing: Deferred[Any] | None = None
        self._consumer_paused = False
        self._failure: Failure | None = None
        self._gate = gate
        # What it fails with is told by the delivery, or by nobody if there is none.
        gate.addErrback(self._refused)

    def hexdigest(self) -> str:
        """The MD5 of all bytes, once they were delivered; empty if it was not to be computed."""
        return "" if self._hash is None else self._hash.hexdigest()

    def deliver(self, consumer: Any) -> Deferred[int]:
        """See L{ISource.deliver}."""
        return Deferred.fromCoroutine(self._deliver(consumer))

    async def _deliver(self, consumer: Any) -> int:
        self._check()
        self._consumer = consumer
        consumer.registerProducer(self, True)
        try:
            try:
                count: int = await self._source.deliver(self)
            except Exception:
                # What the source says then is only that we did not want more.
                self._check()
                raise
            await self._finish_hash()
            await settled(self._gate)
            self._check()
            return count
        finally:
            self._stop()
            if self._hashing is not None:
                await settled(self._hashing)
            consumer.unregisterProducer()

    def _check(self) -> None:
        if self._failure is not None:
            self._failure.raiseException()

    def _refused(self, failure: Failure) -> None:
        self._failure = failure
        self._stop()

    def _stop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()

    # -- for the source ------------------------------------------------------------------------

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take from this producer."""
        self._producer = producer
        self._streaming = streaming
        if not streaming:
            # It is asked for each piece: by the consumer, as if it pulled.
            self._ask()

    def unregisterProducer(self) -> None:
        """It has no more."""
        self._producer = None

    def write(self, data: bytes) -> None:
        """Hash it, and pass it on."""
        self._check()
        if self._hash is not None:
            self._waiting.append(data)
            self._size += len(data)
            self._hash_some()
            if self._hashing is not None and self._size >= _BATCH and self._streaming and self._producer is not None:
                self._producer.pauseProducing()
        self._consumer.write(data)
        if not self._streaming:
            self._ask()

    # -- for the consumer ----------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The consumer has enough for now."""
        self._consumer_paused = True
        if self._producer is not None and self._streaming:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """The consumer wants more."""
        self._consumer_paused = False
        self._go_on()

    def stopProducing(self) -> None:
        """The consumer wants no more at all."""
        self._stop()

    # -- between them --------------------------------------------------------------------------

    def _go_on(self) -> None:
        if not self._may_ask():
            return
        if self._streaming:
            self._producer.resumeProducing()
        else:
            self._ask()

    def _may_ask(self) -> bool:
        behind = self._hashing is not None and self._size >= _BATCH
        return self._producer is not None and not self._consumer_paused and not behind

    def _hash_some(self) -> None:
        if self._hashing is None and self._size >= _BATCH:
            pieces, self._waiting, self._size = self._waiting, [], 0
            self._hashing = self._disk.run(self._update, pieces)
            self._hashing.addCallbacks(self._hashed, self._not_hashed)

    def _update(self, pieces: list[bytes]) -> None:
        assert self._hash is not None
        self._hash.update(b"".join(pieces))

    def _hashed(self, result: None) -> None:
        self._hashing = None
        self._hash_some()
        self._go_on()

    def _not_hashed(self, failure: Failure) -> None:
        self._hashing = None
        self._refused(failure)

    async def _finish_hash(self) -> None:
        while self._hashing is not None:
            await settled(self._hashing)
        if self._hash is None or not self._waiting:
            return
        pieces, self._waiting = self._waiting, []
        if self._size <= _SMALL:
            self._update(pieces)
        else:
            self._hashing = self._disk.run(self._update, pieces)
            await settled(self._hashing)
            self._hashing = None
