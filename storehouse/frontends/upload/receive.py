"""
A file that comes in, by whichever way, until it is an object of the store.

While it is small it stays in memory, and is stored in one go when it is whole; beyond its session's share of the memory it
goes to the store as it comes (L{storehouse.frontends.upload.memory}).
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

import attrs
from crc32c import crc32c
from twisted.internet.defer import Deferred

from storehouse.core.disk import IDisk
from storehouse.core.jobs import over
from storehouse.core.mediatypes import guessed_type
from storehouse.core.names import candidates, claim
from storehouse.core.streams import BytesStream, GeneratorStream, IByteStream, Piece
from storehouse.errors import AlreadyExists, DamagedEntry, NoSuchKey, PreconditionFailed, SizeMismatch, TooLarge
from storehouse.frontends.http.body import RequestBody
from storehouse.frontends.upload.digests import Checksums
from storehouse.frontends.upload.gate import Visitor
from storehouse.frontends.upload.memory import JOINED, SMALL, Pieces, UploadMemory, UploadSession
from storehouse.frontends.upload.names import content_type_in
from storehouse.frontends.upload.throughput import Activity
from storehouse.storage.objects.interfaces import ALWAYS, Condition, IObjectStore, ObjectInfo

__all__ = ["FileHead", "IGate", "IncomingFile", "Intake"]


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
    @ivar condition: what must be true of the key; C{None} to do what the setting C{upload-names} says.
    @ivar digests: what must be true of the bytes: digests by their names for C{hashlib}.
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
    @param rule: what is done about names that are taken; see L{storehouse.core.names}.
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

    async def begin(
        self, visitor: Visitor, session: UploadSession, stream: IByteStream, head: FileHead
    ) -> IncomingFile:
        """
        A file is going to come. Whatever can be refused without its bytes is refused here.

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
        return IncomingFile(self, visitor, session, stream, head, limit)

    async def store_file(self, visitor: Visitor, body: RequestBody, head: FileHead) -> ObjectInfo:
        """
        Store a file that comes alone.

        @return: what was stored, once it is durable.
        @raise TooManyUploads: at once.
        @raise StorehouseError: as L{begin} does, and the store, and what C{body} failed with. Nothing is stored then.
        """
        async with self.memory.receiving(body, visitor.shares) as session:
            file = await self.begin(visitor, session, body, head)
            try:
                await file.gather()
                return await file.store()
            finally:
                await file.close()

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
            # Not what it has: a visitor who may only store is not told that.
            raise PreconditionFailed(f"{head.key} has another etag")

    def put(
        self,
        key: str,
        stream: IByteStream,
        size: int | None,
        head: FileHead,
        metadata: Mapping[str, list[str]],
        condition: Condition,
    ) -> Deferred[ObjectInfo]:
        """
        Store it under this key.

        @param metadata: read when the stream has ended.
        """
        content_type = content_type_in(head.content_type) or guessed_type(head.key)
        return self.store.put(self.bucket, key, stream, size, content_type, metadata, condition)

    async def put_renamed(self, head: FileHead, pieces: list[Piece], metadata: Mapping[str, list[str]]) -> ObjectInfo:
        """Store what is there whole, under its key or what L{rule} makes of it."""
        size = sum(map(len, pieces))

        async def store(key: str, is_absent: bool) -> ObjectInfo:
            if is_absent and key in self._claimed:
                raise PreconditionFailed(f"{key} is being stored")
            condition = Condition(absent=True) if is_absent else ALWAYS
            return await self.put(key, BytesStream(pieces), size, head, metadata, condition)

        return await claim(head.key, self.rule, store)

    async def put_claimed(self, head: FileHead, stream: IByteStream, metadata: Mapping[str, list[str]]) -> ObjectInfo:
        """
        Store what is still coming, under its key or what L{rule} makes of it: it cannot be tried again under another one, so
        that the key is claimed first.
        """
        key = await self._claim(head.key)
        try:
            return await self.put(key, stream, head.size, head, metadata, Condition(absent=True))
        except PreconditionFailed:
            raise AlreadyExists(f"something else was stored as {key} while the file came: send it again") from None
        finally:
            self._claimed.discard(key)

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


class IncomingFile:
    """
    One file that is being received: L{gather} it, then L{store} it, and L{close} it in any case.

    @ivar head: what was known of it before.
    @ivar count: bytes that have come.
    @ivar is_spilled: whether the store gets it as it comes.
    """

    def __init__(
        self,
        intake: Intake,
        visitor: Visitor,
        session: UploadSession,
        stream: IByteStream,
        head: FileHead,
        limit: int | None,
    ) -> None:
        self.head = head
        self.count = 0
        self.is_spilled = head.size is not None and not session.may_hold(head.size)
        self._crc = 0
        self._intake = intake
        self._session = session
        self._stream = stream
        self._limit = limit
        self._metadata = {"filename": [head.filename], "uploader": [visitor.name], "via": [head.via]}
        self._upload = intake.activity.begin_upload(head.via, head.key, visitor.name)
        self._checksums = Checksums(head.digests, intake.disk, session) if head.digests else None
        self._held = Pieces()
        self._size_held = 0
        self._reading: Deferred[None] | None = None  # a read that goes on while what is held is let go of
        self._read_piece: Piece = b""  # what it gave
        self._read_error: BaseException | None = None
        self._waiting: Deferred[None] | None = None  # fires when it is over, or what is held is to be let go of
        self._lets_go = False
        session.spill = self._let_go

    async def gather(self) -> None:
        """
        Hold what comes in memory until it is whole, or more than its share: then L{store} reads on.

        @raise TooLarge: if there are too many bytes.
        @raise SizeMismatch: if they are not as many as was said.
        @raise ChecksumMismatch: if they do not have the digest that was announced.
        """
        while not self.is_spilled:
            piece = await self._next()
            if piece is None:
                self.is_spilled = True
            elif not piece:
                await self._verify()
                return
            else:
                self.is_spilled = not self._hold(piece)

    async def store(self) -> ObjectInfo:
        """
        Store it: what is in memory, or as it comes.

        @return: what was stored; it is durable.
        @raise StorehouseError: as L{gather} does.
        """
        intake, head = self._intake, self.head
        condition = head.condition or (ALWAYS if intake.rule == "replace" else None)
        # What is in memory stays counted until it is stored.
        pieces = [] if self.is_spilled else self._held.take()
        stream = GeneratorStream(self._pieces(), self._stream) if self.is_spilled else BytesStream(pieces)
        try:
            if condition is not None:
                size = head.size if self.is_spilled else self.count
                info = await intake.put(head.key, stream, size, head, self._metadata, condition)
            elif self.is_spilled:
                info = await intake.put_claimed(head, stream, self._metadata)
            else:
                info = await intake.put_renamed(head, pieces, self._metadata)
        finally:
            await stream.close()
        self._session.stored(self.is_spilled)
        self._upload.end(info.key, info.size)
        return info

    async def close(self) -> None:
        """Hold nothing more. What was not stored will not be."""
        if self._reading is not None:
            await self._stream.close()
        if self._checksums is not None:
            await self._checksums.close()
        self._held.take()
        size, self._size_held = self._size_held, 0
        self._session.hold(-size)
        self._upload.fail()

    # -- what comes ----------------------------------------------------------------------------

    async def _pieces(self) -> AsyncGenerator[Piece, None]:
        """For the store: what is held first, then the rest as it comes; small pieces are joined, for few objects."""
        is_due, has_ended = True, False
        while True:
            if is_due:
                held = deque(self._held.take())
                while held:
                    piece: Piece | None = held.popleft()
                    assert piece
                    self._size_held -= len(piece)
                    self._session.hold(-len(piece))
                    yield piece
                is_due = self._lets_go = False
            if has_ended:
                break
            piece = await self._next()
            if piece is None:
                is_due = True
            elif not piece:
                is_due = has_ended = True
            elif len(piece) >= SMALL and not self._size_held:
                yield piece
            else:
                may_stay = self._hold(piece)
                is_due = len(piece) >= SMALL or self._size_held >= JOINED or not may_stay
        # The store keeps nothing if this raises, for it has not seen the end.
        await self._verify()

    async def _next(self) -> Piece | None:
        """
        The next piece, counted; C{None} if the memory that is held is to be let go of first, since others need it: the
        client may take its time with the next one.
        """
        if self._reading is None and not self._size_held:
            piece = await self._stream.read()
        elif self._lets_go:
            return None
        else:
            if self._reading is None:
                self._reading = Deferred.fromCoroutine(self._read())
            if not self._reading.called:
                self._waiting = over(self._reading)
                await self._waiting
                if not self._reading.called:
                    return None
            self._reading = None
            if self._read_error is not None:
                raise self._read_error
            piece, self._read_piece = self._read_piece, b""
        size = len(piece)
        self.count += size
        if self._limit is not None and self.count > self._limit:
            raise TooLarge(
                f"the file {self.head.key} has more than {self._limit} bytes, which are the most that are taken"
            )
        self._crc = crc32c(piece, self._crc)
        self._upload.add(size)
        if self._checksums is not None:
            await self._checksums.update(piece)
        return piece

    async def _read(self) -> None:
        try:
            self._read_piece = await self._stream.read()
        except BaseException as error:
            self._read_error = error

    def _hold(self, piece: Piece) -> bool:
        """Keep it in memory. @return: whether it may stay there."""
        size = len(piece)
        may_stay = self._session.may_hold(size)
        self._held.add(piece)
        self._size_held += size
        self._session.hold(size)
        return may_stay

    def _let_go(self) -> None:
        self._lets_go = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)

    async def _verify(self) -> None:
        """All bytes have come."""
        if self.head.size is not None and self.count != self.head.size:
            raise SizeMismatch(f"the file {self.head.key} has {self.count} bytes; {self.head.size} were announced")
        if self._checksums is not None:
            await self._checksums.finish()
            for algorithm, digest in self.head.digests.items():
                self._checksums.check(algorithm, digest)
        self._metadata["crc32c"] = [f"{self._crc:08x}"]
