"""A namespace and a data space, and what every change of both does."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storehouse.core.jobs import IDisk, KeyedLocks, finished
from storehouse.core.operations import Operations
from storehouse.errors import (
    DamagedEntry,
    DamagedObject,
    DeleteMarkerFound,
    NoKeyToMatch,
    NoSuchKey,
    NoSuchObject,
    OffsetMismatch,
    PreconditionFailed,
    StorehouseError,
    Unavailable,
)
from storehouse.events import (
    Events,
    MarkerAdded,
    ObjectChanged,
    ObjectDeleted,
    ObjectReplaced,
    ObjectStored,
    VersionRemoved,
)
from storehouse.storage.dataspace.interfaces import IDataSpace, Part, Reader
from storehouse.storage.namespace.interfaces import ENABLED, NULL, OFF, Changed, Entry, INamespace, Problem
from storehouse.storage.namespace.values import no_such_key, no_such_version
from storehouse.storage.notifications.interfaces import INotices
from storehouse.storage.notifications.values import Change
from storehouse.storage.objects.interfaces import ALWAYS, Condition, ObjectInfo, System
from storehouse.storage.objects.metrics import StoreMetrics
from storehouse.storage.objects.removing import Removing

__all__ = ["Pair", "check_condition", "expected_of", "info_of", "new_id"]

T = TypeVar("T")

# How often a key is looked up anew that gets another object while it is read.
_TRIES = 8

# A tag of a data space, as against an MD5.
_tag = re.compile("[0-9a-f]{48}(-[0-9]+)?")

# What of the system metadata is announced when it changes, and as what.
_ANNOUNCED = {"tagging": "ObjectTagging", "acl": "ObjectAcl"}

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
    @ivar notices: announces changes; C{None} for none.
    """

    _log = Logger()

    def __init__(
        self,
        space: IDataSpace,
        names: INamespace,
        disk: IDisk,
        events: Events,
        clock: Callable[[], float] = time.time,
        notices: INotices | None = None,
    ) -> None:
        self.notices = notices
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

    async def version_of(self, bucket: str, key: str, version: str | None) -> Entry:
        """
        A version of a key that is no marker.

        @param version: its ID, or C{null}; C{None} for the current one.
        """
        entry: Entry = await self.names.look_up(bucket, key, version)
        check_object(bucket, key, entry, version)
        return entry

    async def latest_of(self, bucket: str, key: str) -> str | None:
        """The ID of the current version of a key, as S3 shows it, also of a marker; C{None} if there is none."""
        try:
            entry: Entry = await self.names.look_up(bucket, key)
        except DeleteMarkerFound as error:
            return error.version
        except NoSuchKey:
            return None
        return entry.version

    def info_of(self, bucket: str, key: str, entry: Entry, is_latest: bool = True) -> ObjectInfo:
        """An entry of the namespace as an object store gives it."""
        return info_of(key, entry, self.names.versioning(bucket) != OFF, is_latest)

    async def info_of_version(self, bucket: str, key: str, entry: Entry, version: str | None) -> ObjectInfo:
        """L{info_of}, for the result of a look-up."""
        is_latest = version is None or await self.latest_of(bucket, key) == entry.version
        return self.info_of(bucket, key, entry, is_latest)

    async def with_bytes(
        self, bucket: str, key: str, use: Callable[[Entry, Part], Deferred[T]], version: str | None = None
    ) -> tuple[Entry, T]:
        """
        Do something with the bytes of a key's object, which may be replaced at the same time.

        @param use: given the entry, and what the data space must find to be its bytes.
        @param version: as in L{version_of}.
        @raise NoSuchKey: if it has none.
        @raise DamagedObject: if its bytes are not there.
        @raise Unavailable: if it gets another object again and again before its bytes are opened.
        """
        seen = ""
        for _ in range(_TRIES):
            # The common case without a frame of its own.
            entry: Entry = await (
                self.names.look_up(bucket, key) if version is None else self.version_of(bucket, key, version)
            )
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

    def is_loud(self, bucket: str) -> bool:
        """Whether a bucket may announce something."""
        return self.notices is not None and bucket not in self.notices.silent

    async def _announced(
        self, bucket: str, changes: Callable[[], Sequence[Change]], work: Callable[[], Deferred[T]]
    ) -> T:
        """
        Make changes to keys that the caller holds, and announce them if the bucket does so: noted before, so that none is lost.

        @param changes: says them.
        @param work: makes them.
        """
        notices = self.notices
        if notices is None or bucket in notices.silent:
            return await finished(work())
        intended: Sequence[int] = await finished(notices.intend(bucket, changes()))
        try:
            result = await finished(work())
        except Exception:
            await finished(notices.settle(intended))
            raise
        notices.made(intended)
        return result

    async def publish(
        self,
        bucket: str,
        key: str,
        entry: Entry,
        condition: Condition = ALWAYS,
        then: Callable[[ObjectInfo], Awaitable[None]] | None = None,
        by: str = "Put",
    ) -> ObjectInfo:
        """
        Give a key another object, whose bytes are there; the caller holds the key. If it fails, the caller gives the bytes
        to L{Removing.refused}.

        @param then: called when the key has it, before the response. It must not fail.
        @param by: how it was made: C{Put}, C{Post}, C{Copy} or C{CompleteMultipartUpload}.
        """
        before: list[Entry | None] = []

        def check(there: Entry | None) -> None:
            check_condition(condition, there, bucket, key)
            before.append(there)

        changed: Changed
        if self.is_loud(bucket):
            changed = await self._announced(
                bucket,
                lambda: [self._change(f"ObjectCreated:{by}", bucket, key, entry, self._new_version(bucket, entry))],
                lambda: self.names.publish(bucket, key, entry, check),
            )
        else:
            # As _announced does; there are a few frames less.
            changed = await finished(self.names.publish(bucket, key, entry, check))
        info = self.info_of(bucket, key, changed.entry or entry)
        if then is not None:
            await then(info)
        self.removing.arriving.discard(entry.id)
        previous = before[-1] if before else None
        if previous is None:
            self._events.publish(ObjectStored(bucket, key, info))
        else:
            self._events.publish(ObjectReplaced(bucket, key, info, self.info_of(bucket, key, previous)))
        await self.removing.free(bucket, key, changed.removed)
        return info

    def _new_version(self, bucket: str, entry: Entry) -> str:
        """How a version, or a marker, that is about to be added will be named; empty in a bucket without versions."""
        state = self.names.versioning(bucket)
        return "" if state == OFF else entry.id if state == ENABLED else NULL

    def _old_version(self, bucket: str, entry: Entry) -> str:
        """How a version is named; empty in a bucket without versions."""
        return "" if self.names.versioning(bucket) == OFF else entry.version

    def _change(
        self, name: str, bucket: str, key: str, entry: Entry, version: str, field: str = "", value: str | None = None
    ) -> Change:
        return Change(name, bucket, key, entry.id, max(0, entry.size), entry.etag, version, field, value)

    def _described(self, bucket: str, key: str, entry: Entry, changes: Mapping[str, str | None]) -> Sequence[Change]:
        """The changes of metadata that have events."""
        version = self._old_version(bucket, entry)
        return [
            self._change(
                f"{_ANNOUNCED[field]}:{'Delete' if value is None and field == 'tagging' else 'Put'}",
                bucket,
                key,
                entry,
                version,
                field,
                value,
            )
            for field, value in changes.items()
            if field in _ANNOUNCED
        ]

    async def describe(
        self,
        bucket: str,
        key: str,
        change: Callable[[Entry], Entry],
        condition: Condition,
        version: str | None,
        changes: Mapping[str, str | None],
    ) -> ObjectInfo:
        """
        Change the metadata of a version, whose ID stays; the caller holds the key.

        @param changes: of its system metadata, among what C{change} does.
        """
        described: Sequence[Change] = ()
        if self.is_loud(bucket):
            try:
                described = self._described(bucket, key, await self.version_of(bucket, key, version), changes)
            except StorehouseError:
                pass  # as it will say itself
        before: list[Entry] = []

        def checked(there: Entry) -> Entry:
            check_object(bucket, key, there, version)
            check_condition(condition, there, bucket, key)
            before.append(there)
            return change(there)

        entry: Entry = await self._announced(
            bucket, lambda: described, lambda: self.names.revise(bucket, key, version, checked)
        )
        info = await self.info_of_version(bucket, key, entry, version)
        self._events.publish(ObjectChanged(bucket, key, info, self.info_of(bucket, key, before[-1], info.is_latest)))
        return info

    async def rename(
        self, bucket: str, key: str, new_key: str, source: Entry, entry: Entry, condition: Condition
    ) -> ObjectInfo:
        """
        Give a key another object, whose bytes are there, and take another key's away; the caller holds both.

        @param source: the object that is taken away.
        """
        before: list[Entry | None] = []

        def check(there: Entry | None) -> None:
            check_condition(condition, there, bucket, new_key)
            before.append(there)

        def check_source(there: Entry | None) -> None:
            if there is None or there.id != source.id:
                raise Unavailable(f"the object {bucket}/{key} became another one: try again")

        freed, left = await self._announced(
            bucket,
            lambda: [
                self._change("ObjectCreated:Copy", bucket, new_key, entry, ""),
                self._change("ObjectRemoved:Delete", bucket, key, source, ""),
            ],
            lambda: self.names.rename(bucket, key, new_key, entry, check, check_source),
        )
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

    async def unpublish(
        self, bucket: str, key: str, condition: Condition, mark_missing: bool, system: System
    ) -> ObjectInfo:
        """Take a key's object away, or hide it by a delete marker; the caller holds the key."""
        before: list[Entry] = []

        def check(there: Entry | None) -> None:
            check_condition(condition, there, bucket, key)
            if there is not None:
                before.append(there)
            elif not mark_missing:
                raise no_such_key(bucket, key)

        marker = Entry(new_id(), 0, "", self.now(), system=system)
        removed: Sequence[Change] = ()
        if self.names.versioning(bucket) != OFF:
            version = self._new_version(bucket, marker)
            removed = [self._change("ObjectRemoved:DeleteMarkerCreated", bucket, key, marker, version)]
        elif self.is_loud(bucket) and (there := await self.current(bucket, key)) is not None:
            removed = [self._change("ObjectRemoved:Delete", bucket, key, there, "")]
        changed: Changed = await self._announced(
            bucket, lambda: removed, lambda: self.names.unpublish(bucket, key, None, check, marker)
        )
        info = self.info_of(bucket, key, before[-1]) if before else None
        if info is not None:
            self._events.publish(ObjectDeleted(bucket, key, info))
        if changed.entry is not None:
            info = self.info_of(bucket, key, changed.entry)
            self._events.publish(MarkerAdded(bucket, key, info))
        await self.removing.free(bucket, key, changed.removed)
        assert info is not None
        return info

    async def remove_version(self, bucket: str, key: str, version: str, condition: Condition) -> ObjectInfo:
        """Take a version of a key away for good; the caller holds the key."""
        try:
            there: Entry = await self.names.look_up(bucket, key, version)
            check_version(bucket, key, there, version)
        except DamagedEntry:
            there = Entry(version, 0, "", 0, versioned=version != NULL)
        is_latest = await self.latest_of(bucket, key) == there.version
        changed: Changed = await self._announced(
            bucket,
            lambda: [self._change("ObjectRemoved:Delete", bucket, key, there, self._old_version(bucket, there))],
            lambda: self.names.unpublish(
                bucket, key, version, lambda now: check_condition(condition, now, bucket, key)
            ),
        )
        info = self.info_of(bucket, key, there, is_latest)
        self._events.publish(VersionRemoved(bucket, key, info))
        if is_latest:
            now = changed.current
            if now is None or now.marker:
                if not there.marker:
                    self._events.publish(ObjectDeleted(bucket, key, info))
            elif there.marker:
                self._events.publish(ObjectStored(bucket, key, self.info_of(bucket, key, now)))
            else:
                self._events.publish(ObjectReplaced(bucket, key, self.info_of(bucket, key, now), info))
        await self.removing.free(bucket, key, changed.removed)
        return info


def check_version(bucket: str, key: str, entry: Entry, version: str | None) -> None:
    """@raise NoSuchVersion: unless that is how what was looked up is named: by its ID, the null version by C{null} alone."""
    if version not in (None, NULL, entry.version):
        raise no_such_version(bucket, key, str(version))


def check_object(bucket: str, key: str, entry: Entry, version: str | None) -> None:
    """@raise DeleteMarkerFound: for a marker that was looked up, and as L{check_version}."""
    check_version(bucket, key, entry, version)
    if entry.marker:
        raise DeleteMarkerFound(bucket, key, entry.version, entry.created, False)


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


def info_of(key: str, entry: Entry, has_versions: bool = False, is_latest: bool = True) -> ObjectInfo:
    """
    An entry of a namespace as an object store gives it.

    @param has_versions: whether its bucket has, or had, versions.
    """
    return ObjectInfo(
        key,
        entry.id,
        entry.size,
        entry.etag,
        entry.created,
        entry.content_type,
        entry.metadata,
        entry.system,
        entry.version if has_versions else "",
        is_latest,
        entry.marker,
    )
