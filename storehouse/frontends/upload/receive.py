"""
A file that comes in, by whichever way, until it is an object of the store.

While it is small it stays in memory, and is stored in one go when it is whole; beyond its session's share of the memory it
goes to the store as it comes (L{storehouse.frontends.upload.memory}).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

import attrs
from crc32c import crc32c
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.core.disk import IDisk
from storehouse.core.freenames import candidates, claim
from storehouse.core.jobs import settled
from storehouse.core.mediatypes import guessed_type
from storehouse.core.streams import BytesSource, ISource
from storehouse.errors import AlreadyExists, DamagedEntry, NoSuchKey, PreconditionFailed, SizeMismatch, TooLarge
from storehouse.frontends.upload.digests import Digests
from storehouse.frontends.upload.gate import Visitor
from storehouse.frontends.upload.memory import UploadMemory, UploadSession
from storehouse.frontends.upload.names import content_type_in
from storehouse.frontends.upload.pushed import Pieces, PushedSource, Valve
from storehouse.frontends.upload.throughput import Activity
from storehouse.storage.objects.interfaces import ALWAYS, Condition, IObjectStore, ObjectInfo

__all__ = ["FileHead", "IGate", "Intake", "Receiving"]


class IGate(Protocol):
    """What is asked of L{Gate<storehouse.frontends.upload.gate.Gate>}."""

    async def use(self, visitor: Visitor) -> None:
        """Use up a link that works once."""


@attrs.frozen
class FileHead:
    """
    What is known of a file before its bytes come.

    @ivar key: its name in the bucket; see L{key_for<storehouse.frontends.upload.names.key_for>}.
    @ivar filename: its name as it was given.
    @ivar via: the way: C{form} or C{put}.
    @ivar size: bytes that it has; C{None} if that is not known.
    @ivar content_type: its media type; empty to guess it from the name.
    @ivar condition: what must be true of the key; C{None} to do what the setting C{https-names} says.
    @ivar digests: what must be true of the bytes; see L{Digests}.
    """

    key: str
    filename: str
    via: str
    size: int | None = None
    content_type: str = ""
    condition: Condition | None = None
    digests: Mapping[str, bytes] = attrs.Factory(dict)


class Intake:
    """
    Where files come in.

    @param max_size: bytes that a file may have; 0 for no bound.
    @param rule: what is done about names that are taken; see L{storehouse.core.freenames}.
    @ivar memory: the memory for all of them.
    @ivar max_size: as it was given.
    """

    def __init__(
        self,
        store: IObjectStore,
        memory: UploadMemory,
        gate: IGate,
        activity: Activity,
        disk: IDisk,
        max_size: int = 0,
        rule: str = "rename",
        bucket: str = "uploads",
    ) -> None:
        self.store = store
        self.memory = memory
        self.gate = gate
        self.activity = activity
        self.disk = disk
        self.rule = rule
        self.bucket = bucket
        self.max_size = max_size
        self._claimed: set[str] = set()

    def limit_of(self, visitor: Visitor) -> int | None:
        """Bytes that a file of this visitor may have; C{None} for no bound."""
        bounds = [bound for bound in (self.max_size or None, visitor.max_bytes) if bound is not None]
        return min(bounds, default=None)

    async def begin(self, visitor: Visitor, session: UploadSession, valve: Valve, head: FileHead) -> Receiving:
        """
        A file is going to come. Whatever can be refused without its bytes is refused here.

        @param valve: closed while no more can be taken.
        @raise TooLarge: if it says so itself.
        @raise LinkUsed: if the visitor's link was used up.
        @raise PreconditionFailed: if the condition does not hold.
        @raise AlreadyExists: if the name is taken, and that is refused.
        """
        limit = self.limit_of(visitor)
        if limit is not None and head.size is not None and head.size > limit:
            raise TooLarge(f"the file has {head.size} bytes; at most {limit} are taken")
        await self._check_key(head)
        await self.gate.use(visitor)
        receiving = Receiving(self, visitor, session, valve, head, limit)
        if head.size is not None and not session.may_hold(head.size):
            receiving.spill()
        return receiving

    async def store_file(self, visitor: Visitor, source: ISource, head: FileHead, waiting: int = 0) -> ObjectInfo:
        """
        Store a file that comes alone.

        @param waiting: bytes that have come already, and that C{source} holds.
        @return: what was stored, once it is durable.
        @raise TooManyUploads: at once.
        @raise StorehouseError: as L{begin} does, and L{Receiving.finish}, and the store, and what C{source} failed with.
            Nothing is stored then.
        """
        valve = Valve()
        wait, go_on = partial(valve.close, "memory"), partial(valve.open, "memory")
        with self.memory.join(wait, go_on, visitor.shares) as session:
            session.hold(waiting)
            receiving = await self.begin(visitor, session, valve, head)
            session.hold(-waiting)
            try:
                await source.deliver(_Sink(receiving, valve))
                return await receiving.finish()
            except BaseException as error:
                failure = receiving.failure
                await receiving.abandon(error)
                # What the source says then is only that we did not want more.
                if failure is not None:
                    failure.raiseException()
                raise

    # -- names ---------------------------------------------------------------------------------

    async def _check_key(self, head: FileHead) -> None:
        condition = head.condition
        if condition == ALWAYS or (condition is None and self.rule != "refuse"):
            return
        try:
            etag = (await self.store.head(self.bucket, head.key)).etag
        except NoSuchKey:
            if condition is not None and condition.etag is not None:
                raise PreconditionFailed(f"there is no {head.key}") from None
            return
        except DamagedEntry:
            # Something is there, and no etag is the one that it has.
            etag = ""
        if condition is None:
            raise AlreadyExists(f"there is a {head.key} already")
        if condition.absent:
            raise PreconditionFailed(f"there is a {head.key} already")
        if condition.etag not in (None, "*", etag):
            # Not what it has: who may only store is not told.
            raise PreconditionFailed(f"{head.key} has another etag")

    async def put(self, head: FileHead, pieces: list[bytes], metadata: Mapping[str, list[str]]) -> ObjectInfo:
        """Store what is there whole."""
        size = sum(map(len, pieces))

        async def store(key: str, is_absent: bool) -> ObjectInfo:
            if is_absent and key in self._claimed:
                raise PreconditionFailed(f"{key} is being stored")
            condition = Condition(absent=True) if is_absent else head.condition or ALWAYS
            return await self._put(key, BytesSource(pieces), size, head, metadata, condition)

        if head.condition is not None:
            return await store(head.key, False)
        return await claim(head.key, self.rule, store)

    async def put_stream(self, head: FileHead, source: ISource, metadata: Mapping[str, list[str]]) -> ObjectInfo:
        """
        Store what is still coming: it cannot be tried again under another name, so that the name is claimed first.
        """
        if head.condition is not None or self.rule == "replace":
            return await self._put(head.key, source, head.size, head, metadata, head.condition or ALWAYS)
        key = await self._claim(head.key)
        try:
            return await self._put(key, source, head.size, head, metadata, Condition(absent=True))
        except PreconditionFailed:
            raise AlreadyExists(f"something else was stored as {key} while the file came: send it again") from None
        finally:
            self._claimed.discard(key)

    async def _put(
        self,
        key: str,
        source: ISource,
        size: int | None,
        head: FileHead,
        metadata: Mapping[str, list[str]],
        condition: Condition,
    ) -> ObjectInfo:
        content_type = content_type_in(head.content_type) or guessed_type(head.key)
        return await self.store.put(self.bucket, key, source, size, content_type, metadata, condition)

    async def _claim(self, key: str) -> str:
        for candidate in candidates(key) if self.rule == "rename" else (key,):
            if candidate in self._claimed:
                continue
            # Before the look, so that nobody else looks meanwhile.
            self._claimed.add(candidate)
            try:
                await self.store.head(self.bucket, candidate)
            except NoSuchKey:
                return candidate
            except DamagedEntry:
                pass  # it is taken
            except BaseException:
                self._claimed.discard(candidate)
                raise
            self._claimed.discard(candidate)
        raise AlreadyExists(f"there is a {key} already")


class Receiving:
    """
    One file that is being received.

    @ivar head: what was known of it before.
    @ivar count: bytes that have come.
    @ivar crc32c: of those, in hex.
    @ivar failure: why it cannot be stored, once that is known.
    """

    def __init__(
        self,
        intake: Intake,
        visitor: Visitor,
        session: UploadSession,
        valve: Valve,
        head: FileHead,
        limit: int | None,
    ) -> None:
        self.head = head
        self.count = 0
        self.failure: Failure | None = None
        self._crc = 0
        self._intake = intake
        self._session = session
        self._valve = valve
        self._limit = limit
        self._metadata = {"filename": [head.filename], "uploader": [visitor.name], "via": [head.via]}
        self._upload = intake.activity.begin_upload(head.via, head.key, visitor.name)
        self._digests = Digests(dict(head.digests), intake.disk, session, valve) if head.digests else None
        self._held = Pieces()
        self._size_held = 0
        self._stream: PushedSource | None = None
        self._storing: Deferred[ObjectInfo] | None = None
        self._is_ending = False
        session.spill = self.spill

    @property
    def is_spilled(self) -> bool:
        """Whether the store has it as it comes."""
        return self._stream is not None

    @property
    def crc32c(self) -> str:
        return f"{self._crc:08x}"

    def write(self, data: bytes) -> None:
        """
        Some bytes more.

        @raise TooLarge: if they are too many.
        """
        if self.failure is not None:
            self.failure.raiseException()
        size = len(data)
        self.count += size
        if self._limit is not None and self.count > self._limit:
            raise TooLarge(
                f"the file {self.head.key} has more than {self._limit} bytes, which are the most that are taken"
            )
        self._crc = crc32c(data, self._crc)
        self._upload.add(size)
        if self._digests is not None:
            self._digests.update(data)
        if self._stream is not None:
            self._stream.write(data)
            return
        may_stay = self._session.may_hold(size)
        self._held.add(data)
        self._size_held += size
        self._session.hold(size)
        if not may_stay:
            self.spill()

    def spill(self) -> None:
        """Let the store have what there is, and what comes."""
        if self._is_ending:
            return
        if self._digests is not None:
            self._digests.flush()
        if self._stream is None:
            self._size_held = 0
            self._stream = PushedSource(self._session, self._valve, self._held.take())
            storing = self._intake.put_stream(self.head, self._stream, self._metadata)
            self._storing = Deferred.fromCoroutine(storing)
            self._storing.addErrback(self._failed)
        else:
            self._stream.flush()

    def _failed(self, failure: Failure) -> Failure:
        self.failure = self.failure or failure
        if self._stream is not None:
            # Whoever waits for room learns of it by the next write.
            self._stream.fail(failure.value or RuntimeError("it could not be stored"))
        return failure

    async def finish(self) -> ObjectInfo:
        """
        All bytes have come.

        @return: what was stored; it is durable.
        @raise SizeMismatch: if they are not as many as was said.
        @raise ChecksumMismatch: if they do not have the digest that was announced.
        """
        if self.failure is not None:
            self.failure.raiseException()
        if self.head.size is not None and self.count != self.head.size:
            raise SizeMismatch(f"the file {self.head.key} has {self.count} bytes; {self.head.size} were announced")
        if self._digests is not None:
            await self._digests.verify()
        self._is_ending = True
        # The store reads it once it has all bytes.
        self._metadata["crc32c"] = [self.crc32c]
        if self._stream is not None and self._storing is not None:
            self._stream.end()
            info = await self._storing
        else:
            # They stay accounted for until they are stored.
            info = await self._intake.put(self.head, self._held.take(), self._metadata)
            self._let_go()
        self._session.stored(self.is_spilled)
        self._upload.end(info.key, info.size)
        return info

    async def abandon(self, error: BaseException) -> None:
        """It will not come whole: nothing of it is stored when this returns."""
        self._is_ending = True
        if self._digests is not None:
            self._digests.drop()
        if self._stream is not None and self._storing is not None:
            self._stream.fail(error)
            self._storing.addErrback(lambda failure: None)
            await settled(self._storing)
        self._held.take()
        self._let_go()
        self._upload.fail()

    def _let_go(self) -> None:
        size, self._size_held = self._size_held, 0
        self._session.hold(-size)


@implementer(IConsumer)
class _Sink:
    """Puts what a source has where it is received."""

    def __init__(self, receiving: Receiving, valve: Valve) -> None:
        self._receiving = receiving
        self._valve = valve
        self.write: Any = receiving.write

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take from this producer."""
        if not streaming:
            raise RuntimeError("files are taken from push producers only")
        self._valve.attach(producer)

    def unregisterProducer(self) -> None:
        """It has no more."""
        self._valve.attach(None)
