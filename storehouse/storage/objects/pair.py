"""A namespace and a data space, and what every change of both does."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storehouse.core.disk import IDisk
from storehouse.core.jobs import KeyedLocks, finished
from storehouse.core.operations import Operations
from storehouse.errors import (
    DamagedEntry,
    DamagedObject,
    NoKeyToMatch,
    NoSuchKey,
    NoSuchObject,
    OffsetMismatch,
    PreconditionFailed,
    Unavailable,
)
from storehouse.events import Events, ObjectChanged, ObjectDeleted, ObjectReplaced, ObjectStored
from storehouse.storage.dataspace.interfaces import IDataSpace, Part, Reader
from storehouse.storage.namespace.interfaces import Entry, INamespace, Problem
from storehouse.storage.objects.interfaces import ALWAYS, Condition, ObjectInfo
from storehouse.storage.objects.metrics import StoreMetrics
from storehouse.storage.objects.removing import Removing

__all__ = ["Pair", "check_condition", "expected_of", "info_of", "new_id"]

T = TypeVar("T")

# How often a key is looked up anew that gets another object while it is read.
_TRIES = 8

# A tag of a data space, as against an MD5.
_tag = re.compile("[0-9a-f]{48}(-[0-9]+)?")

# Most objects that the log reports as renamed on disk: a whole bucket may have been.
_MOST_RENAMED = 100


def new_id() -> str:
    """An ID that nothing has."""
    return secrets.token_hex(16)


def expected_of(entry: Entry, tags_by_content: bool) -> Part:
    """
    The size and the tag that the bytes of an entry must have in the data space.

    @param tags_by_content: whether the data space gives the same bytes the same tag whenever they are stored.
    """
    # Entries from before they had a tag: where a tag is of the content alone, it is their etag if that is no MD5.
    by_etag = not entry.tag and tags_by_content and _tag.fullmatch(entry.etag)
    return Part(0, entry.etag if by_etag else entry.tag, entry.size)


class Pair:
    """
    See the module.

    @ivar space: an L{IDataSpace}.
    @ivar names: an L{INamespace}.
    @ivar locks: one a key.
    @ivar removing: decides which bytes are removed.
    """

    _log = Logger()

    def __init__(
        self, space: IDataSpace, names: INamespace, disk: IDisk, events: Events, clock: Callable[[], float] = time.time
    ) -> None:
        self.space = space
        self.names = names
        self.disk = disk
        self.operations = Operations(
            "the object store",
            "storehouse_store_operation_seconds",
            "Operations on buckets and keys; for get until the object is open.",
        )
        self.metrics = StoreMetrics(self.operations)
        self.locks = KeyedLocks()
        self.removing = Removing(space, names, self.metrics, self._has_bytes)
        self._renamed: set[str] = set()
        self._tags_by_content: bool = getattr(space, "tags_by_content", False)
        self._events = events
        self._clock = clock

    # -- operations ----------------------------------------------------------------------------

    def open(self) -> None:
        """Take operations from now on."""
        self.operations.refusal = None

    async def closed(self) -> None:
        """Take none any more, and wait for those that run, and for what they had freed."""
        await self.operations.stopped()
        await self.removing.stopped()

    def now(self) -> int:
        """Nanoseconds since 1970 UTC."""
        return int(self._clock() * 1e9)

    # -- keys and bytes ------------------------------------------------------------------------

    def held(self, bucket: str, key: str) -> AbstractAsyncContextManager[None]:
        """The right to change a key, for C{async with}."""
        return self.locks.held(f"{bucket}/{key}")

    async def current(self, bucket: str, key: str) -> Entry | None:
        """What a key has; with the size -1 if it has something of which nothing can be read."""
        try:
            entry: Entry = await self.names.look_up(bucket, key)
        except NoSuchKey:
            return None
        except DamagedEntry:
            return Entry("", -1, "", 0)
        return entry

    async def end_of(self, bucket: str, key: str, offset: int, condition: Condition) -> Entry | None:
        """
        What a key has, to which bytes are to be added.

        @raise PreconditionFailed: if the condition does not hold.
        @raise OffsetMismatch: if it does not end there.
        """
        entry = await self.current(bucket, key)
        check_condition(condition, entry, bucket, key)
        if entry is not None and entry.size < 0:
            entry = await self.names.look_up(bucket, key)  # which says what is wrong with it
        there = 0 if entry is None else entry.size
        if offset != there:
            raise OffsetMismatch(there, offset)
        return entry

    def expected_of(self, entry: Entry) -> Part:
        """The size and the tag that the bytes of an entry must have in the data space."""
        return expected_of(entry, self._tags_by_content)

    async def with_bytes(self, bucket: str, key: str, use: Callable[[Entry, Part], Deferred[T]]) -> tuple[Entry, T]:
        """
        Do something with the bytes of a key's object, which may be replaced at the same time.

        @param use: given the entry, and what the data space must find to be its bytes.
        @raise NoSuchKey: if it has none.
        @raise DamagedObject: if its bytes are not there.
        @raise Unavailable: if it gets another object again and again before its bytes are opened.
        """
        seen = ""
        for _ in range(_TRIES):
            entry: Entry = await self.names.look_up(bucket, key)
            try:
                return entry, await use(entry, self.expected_of(entry))
            except NoSuchObject:
                if entry.id == seen:
                    break
                seen = entry.id
        else:
            raise Unavailable(f"the object {bucket}/{key} is replaced too often to be read now: try again")
        self.metrics.lost += 1
        error = DamagedObject(seen, f"the bytes of the object {bucket}/{key} are missing")
        self._log.error("damaged: {error}", error=str(error))
        raise error

    def _has_bytes(self, bucket: str, key: str) -> Deferred[object]:
        def examine(entry: Entry, expected: Part) -> Deferred[dict[str, list[str]]]:
            return self.space.examine(entry.id, expected)

        return Deferred.fromCoroutine(self.with_bytes(bucket, key, examine))

    def restored(self, names: INamespace) -> Deferred[list[Problem]]:
        """
        Rewrite keys that only the index knows, if their bytes exist: before the index is rebuilt, which would lose
        them.
        """
        return names.restore(lambda id: Deferred.fromCoroutine(self._is_there(id)))

    async def _is_there(self, id: str) -> bool:
        try:
            await finished(self.space.get_metadata(id))
        except NoSuchObject:
            return False
        except DamagedObject:
            pass  # what it can still give is readable as before
        return True

    def served(self, bucket: str, key: str, reader: Reader) -> None:
        """
        Bytes are given out that are those which the namespace names. That they are of another key by their own account
        comes of a bucket or a key that was renamed on disk: it is logged, a few times.
        """
        said = reader.metadata.get("key")
        if not said or said[0] in (f"{bucket}/{key}", key) or reader.id in self._renamed:
            return
        if len(self._renamed) < _MOST_RENAMED:
            self._renamed.add(reader.id)
            self._log.warn(
                "the bytes of {bucket}/{key} were written for {said}; was it renamed on disk?",
                bucket=bucket,
                key=key,
                said=said[0],
            )

    def arrives(self) -> str:
        """The ID of new bytes. They have no key until L{publish}, or are gone."""
        id = new_id()
        self.removing.arriving.add(id)
        return id

    async def publish(
        self,
        bucket: str,
        key: str,
        entry: Entry,
        condition: Condition = ALWAYS,
        then: Callable[[], Awaitable[None]] | None = None,
    ) -> ObjectInfo:
        """
        Give a key another object, whose bytes are there; to be called by who holds the key. If it fails, the bytes are
        to be given to L{Removing.refused}.

        @param then: called when it has it, before anybody is told. It does not fail.
        """
        before: list[Entry | None] = []

        def check(there: Entry | None) -> None:
            check_condition(condition, there, bucket, key)
            before.append(there)

        freed = await finished(self.names.publish(bucket, key, entry, check))
        if then is not None:
            await then()
        self.removing.arriving.discard(entry.id)
        info = info_of(key, entry)
        previous = before[-1] if before else None
        if previous is None:
            self._events.publish(ObjectStored(bucket, key, info))
        else:
            self._events.publish(ObjectReplaced(bucket, key, info, info_of(key, previous)))
        await self.removing.free(bucket, key, freed)
        return info

    async def describe(self, bucket: str, key: str, entry: Entry, condition: Condition) -> ObjectInfo:
        """Have something else known of a key's object, whose ID stays; to be called by who holds the key."""
        before: list[Entry] = []

        def check(there: Entry | None) -> None:
            check_condition(condition, there, bucket, key)
            if there is None or there.id != entry.id:
                raise Unavailable(f"the object {bucket}/{key} became another one: try again")
            before.append(there)

        await finished(self.names.publish(bucket, key, entry, check))
        info = info_of(key, entry)
        self._events.publish(ObjectChanged(bucket, key, info, info_of(key, before[-1])))
        return info

    async def rename(
        self, bucket: str, key: str, new_key: str, source: Entry, entry: Entry, condition: Condition
    ) -> ObjectInfo:
        """
        Give a key another object, whose bytes are there, and take another key's away; to be called by who holds both.

        @param source: the object that is taken away.
        """
        before: list[Entry | None] = []

        def check(there: Entry | None) -> None:
            check_condition(condition, there, bucket, new_key)
            before.append(there)

        def check_source(there: Entry | None) -> None:
            if there is None or there.id != source.id:
                raise Unavailable(f"the object {bucket}/{key} became another one: try again")

        freed, left = await finished(self.names.rename(bucket, key, new_key, entry, check, check_source))
        self.removing.arriving.discard(entry.id)
        info, previous = info_of(new_key, entry), before[-1]
        if previous is None:
            self._events.publish(ObjectStored(bucket, new_key, info))
        else:
            self._events.publish(ObjectReplaced(bucket, new_key, info, info_of(new_key, previous)))
        self._events.publish(ObjectDeleted(bucket, key, info_of(key, source)))
        await self.removing.free(bucket, new_key, freed)
        await self.removing.free(bucket, key, left)
        return info

    async def unpublish(self, bucket: str, key: str, condition: Condition) -> ObjectInfo:
        """Take a key's object away; to be called by who holds the key."""
        before: list[Entry] = []

        def check(there: Entry | None) -> None:
            check_condition(condition, there, bucket, key)
            if there is not None:
                before.append(there)

        freed = await finished(self.names.unpublish(bucket, key, condition=check))
        info = info_of(key, before[-1])
        self._events.publish(ObjectDeleted(bucket, key, info))
        await self.removing.free(bucket, key, freed)
        return info


def check_condition(condition: Condition, entry: Entry | None, bucket: str, key: str) -> None:
    """
    @param entry: what the key has, or C{None}.
    @raise PreconditionFailed: if the condition does not hold.
    @raise NoKeyToMatch: if it is about an etag, and there is no object.
    """
    if condition.absent and entry is not None:
        raise PreconditionFailed(f"the object {bucket}/{key} already exists")
    if condition.etag is None:
        return
    if entry is None:
        raise NoKeyToMatch(f"there is no object {bucket}/{key} whose etag could be compared")
    if entry.size < 0 and condition.etag != "*":
        raise PreconditionFailed(f"the entry of the object {bucket}/{key} cannot be read, so its etag is unknown")
    if condition.etag not in ("*", entry.etag):
        raise PreconditionFailed(f"the etag of the object {bucket}/{key} is {entry.etag}, not {condition.etag[:100]}")


def info_of(key: str, entry: Entry) -> ObjectInfo:
    """An entry of a namespace as an object store tells it."""
    return ObjectInfo(
        key, entry.id, entry.size, entry.etag, entry.created, entry.content_type, entry.metadata, entry.system
    )
