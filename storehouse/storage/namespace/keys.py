"""Operations on keys: one at a time for each key, the tree first, then the index."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, NoReturn, ParamSpec, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storehouse.core.disk import IDisk
from storehouse.core.jobs import KeyedLocks
from storehouse.errors import DamagedEntry, NoSuchBucket, NoSuchKey, StorageFailed, StorehouseError, Unavailable
from storehouse.storage.namespace.entries import checked, encode_entry
from storehouse.storage.namespace.index import older_of
from storehouse.storage.namespace.interfaces import Bucket, Condition, Entry
from storehouse.storage.namespace.journal import KEPT, LEAVING, NEW, Journal
from storehouse.storage.namespace.lane import Lane
from storehouse.storage.namespace.locks import Gate, gather
from storehouse.storage.namespace.metrics import NamespaceMetrics
from storehouse.storage.namespace.names import check_bucket, check_id, check_key
from storehouse.storage.namespace.tree import LOST, Again, Place, Stale, Tree, Unintended
from storehouse.storage.namespace.upkeep import Upkeep

__all__ = ["KeyOperations", "lasting"]

P = ParamSpec("P")
T = TypeVar("T")


def lasting(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Deferred[T]]:
    """
    As L{deferred<storehouse.core.streams.deferred>}, but what is begun is finished also if the Deferred is cancelled:
    no thread can be told to stop, and until it has, the key is not free.
    """

    @wraps(method)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        given: Deferred[T] = Deferred(lambda _: None)
        Deferred.fromCoroutine(method(*args, **kwargs)).addBoth(
            lambda result: None if given.called else given.callback(result)
        )
        return given

    return wrapper


@attrs.frozen
class _Found:
    """
    A key as an operation found it.

    @ivar entry: the default version, as readers get it; with the size L{LOST} if the key is there and it cannot be had.
    @ivar expected: the ID that C{default.json} names.
    @ivar older: the IDs of its other versions.
    """

    entry: Entry | None
    expected: str | None
    older: frozenset[str]

    @property
    def trusted(self) -> Entry | None:
        """The entry, if it is what a version of this key says, or said."""
        return None if self.entry is None or self.entry.size == LOST else self.entry

    @property
    def known(self) -> bool:
        """Whether the bytes of the default version are known to be this key's."""
        return self.trusted is not None and self.trusted.id == self.expected


class KeyOperations:
    """
    What L{LocalNamespace<storehouse.storage.namespace.local.LocalNamespace>} does with keys.

    @param on_failure: called once if a sync failed.
    @param max_metadata: bytes of an entry's metadata.
    @ivar buckets: by name, each with its number in the index.
    @ivar gate: who changes more than one key closes it.
    @ivar refusal: why nothing is done; C{None} while it is.
    @ivar failed: why nothing is changed any more.
    """

    _log = Logger()

    def __init__(
        self,
        tree: Tree,
        disk: IDisk,
        journal: Journal,
        upkeep: Upkeep,
        metrics: NamespaceMetrics,
        checkpoint_records: int,
        on_failure: Callable[[StorehouseError], None],
        max_metadata: int,
    ) -> None:
        self._tree = tree
        self._disk = disk
        self._journal = journal
        self._upkeep = upkeep
        self._metrics = metrics
        self._checkpoint_records = checkpoint_records
        self._on_failure = on_failure
        self._max_metadata = max_metadata
        self._locks = KeyedLocks()
        # Where keys are changed: several threads are faster only if they wait for the disk.
        self._changes: IDisk = disk if tree.durable else Lane(disk)
        self.gate = Gate()
        self.buckets: dict[str, tuple[int, Bucket]] = {}
        self.failed: StorehouseError | None = None
        self.refusal: StorehouseError | None = Unavailable("the namespace has not been started")

    def fail(self, error: StorehouseError) -> None:
        """Change nothing any more: it is open what is on disk."""
        if self.failed is None:
            self._log.critical("the namespace stops: {error}", error=error)
            self.failed = self.refusal = StorageFailed(f"the namespace has stopped: {error}")
            self._on_failure(self.failed)

    # -- what operations have in common ------------------------------------------------------

    def locate(self, bucket: str, key: str) -> tuple[int, bytes, Place]:
        """The number of a bucket, the UTF-8 of a key, and where it is."""
        if self.refusal is not None:
            raise self.refusal
        found = self.buckets.get(bucket)
        if found is None:
            raise NoSuchBucket(f"there is no bucket {check_bucket(bucket)}")
        data = check_key(key)
        return found[0], data, self._tree.place(bucket, key, data)

    async def begin(self, bucket: str, key: str) -> tuple[int, bytes, Place]:
        """L{locate}, and have the key for oneself until L{finish}."""
        self.locate(bucket, key)
        await self.gate.enter()
        try:
            # The bucket may have gone while we waited.
            located = self.locate(bucket, key)
            await self._locks.enter(f"{bucket}/{key}")
        except BaseException:
            self.gate.leave()
            raise
        return located

    def finish(self, operation: str, began: float, bucket: str, key: str) -> None:
        """Let the next one have the key."""
        self._locks.leave(f"{bucket}/{key}")
        self._metrics.observe(operation, time.monotonic() - began)
        if self._journal.count >= self._checkpoint_records:
            self._upkeep.begin_checkpoint()
        self.gate.leave()

    async def inside(self, work: Callable[[], Deferred[T]]) -> T:
        """Do something while no bucket comes or goes, and the index stays."""
        await self.gate.enter()
        try:
            if self.refusal is not None:
                raise self.refusal
            return await work()
        finally:
            self.gate.leave()

    def raised(self, error: OSError | StorageFailed) -> NoReturn:
        """Say what an error of the system means."""
        if isinstance(error, StorageFailed):
            self.fail(error)
            raise error
        raise Unavailable(f"{error.filename or self._tree.directory}: {error.strerror}") from error

    def _find(self, number: int, data: bytes, place: Place) -> _Found:
        """From the index; if it has nothing, or nothing good, the tree will say so."""
        found = self._upkeep.get(number, data, place.key)
        return _Found(None, None, frozenset()) if found is None else _Found(found[0], found[0].id, found[1])

    async def _look_again(self, number: int, data: bytes, place: Place) -> _Found:
        """From the tree, since the index was wrong. To be called by who holds the key."""
        return await self._disk.run(self._found, number, data, place)  # type: ignore[no-any-return]

    def _found(self, number: int, data: bytes, place: Place) -> _Found:
        tree = self._tree
        try:
            entry = self._upkeep.repair(number, data, place)
            default = None if entry is None else entry.id
        except DamagedEntry as error:
            # It may be replaced and removed all the same.
            self._log.error("damaged: {error}", error=error)
            try:
                default = tree.default_of(place)
            except DamagedEntry:
                default = None
            entry = self._upkeep.get_row(number, data, place.key) or Entry(default or "", LOST, "", 0)
        return _Found(entry, default, frozenset(tree.ids(place)) - {default})

    async def _compare(self, number: int, data: bytes, place: Place) -> None:
        """Something failed half-way: the index must not say that it did not."""
        try:
            await self._disk.run(self._upkeep.repair, number, data, place)
        except (OSError, StorehouseError) as error:
            self._log.error("{error}", error=error)

    async def publish(
        self, bucket: str, key: str, entry: Entry, condition: Condition | None = None, keep: bool = False
    ) -> list[Entry]:
        """See L{INamespace.publish<storehouse.storage.namespace.interfaces.INamespace.publish>}."""
        began = time.monotonic()
        entry = checked(entry, self._max_metadata)
        text = encode_entry(entry, key) if check_key(key) else b""
        number, data, place = await self.begin(bucket, key)
        try:
            found = self._find(number, data, place)
            again = asked = looked = False
            while True:
                if condition is not None and not asked:
                    try:
                        condition(found.entry)
                    except StorehouseError:
                        if looked or found.entry is not None:
                            raise
                        # That there is none is for the tree to say.
                        found, looked = await self._look_again(number, data, place), True
                        condition(found.entry)
                # What is a version already must not go after a crash because it did not become the default.
                again = again or entry.id in found.older
                # Of bytes that may be another key's nothing is written down: a crash would have them looked at.
                known = found.expected if found.known else None
                old = None if keep or known == entry.id else known
                intended = [self._journal.intend(bucket, key, [entry.id], KEPT if again else NEW)]
                if old is not None:
                    intended.append(self._journal.intend(bucket, key, [old], entry.id))
                elif known is not None and known != entry.id:
                    intended.append(self._journal.intend(bucket, key, [known], KEPT))
                await gather(intended)
                try:
                    await self._changes.run(self._publish, number, data, place, entry, text, found, keep, again, looked)
                except (Stale, Again, StorehouseError) as error:
                    if old is not None and not isinstance(error, StorageFailed):
                        self._journal.settle([old])
                    if isinstance(error, Again):
                        again = asked = True
                    elif isinstance(error, Stale):
                        asked = False
                        found, looked = await self._look_again(number, data, place), True
                    else:
                        raise
                else:
                    break
            self._journal.settle([entry.id])
            return [] if old is None or found.trusted is None else [found.trusted]
        except (OSError, StorageFailed) as error:
            await self._compare(number, data, place)
            self.raised(error)
        finally:
            self.finish("publish", began, bucket, key)

    def _publish(
        self,
        number: int,
        data: bytes,
        place: Place,
        entry: Entry,
        text: bytes,
        found: _Found,
        keep: bool,
        again: bool,
        looked: bool,
    ) -> None:
        if found.entry is None and not looked and os.path.lexists(place.path):
            raise Stale
        self._tree.publish(place, entry.id, text, found.expected, keep, again, found.known)
        older = found.older | {found.expected} if keep and found.known and found.expected is not None else found.older
        self._upkeep.apply(number, data, (entry.size, text, older_of(older - {entry.id})))

    async def unpublish(
        self, bucket: str, key: str, id: str | None = None, condition: Condition | None = None
    ) -> list[Entry]:
        """See L{INamespace.unpublish<storehouse.storage.namespace.interfaces.INamespace.unpublish>}."""
        began = time.monotonic()
        if id is not None:
            check_id(id)
        number, data, place = await self.begin(bucket, key)
        try:
            found = self._find(number, data, place)
            if found.entry is None or id not in (None, found.entry.id):
                found = await self._look_again(number, data, place)
            if condition is not None:
                condition(found.entry)
            if id is not None and id not in (found.expected, *found.older):
                raise NoSuchKey(f"the key {key!r} of the bucket {bucket} has no version {id}")
            # What is not among them is written down once the tree has said that it is this key's.
            leaving = [found.trusted.id] if found.trusted is not None and id in (None, found.trusted.id) else []
            while True:
                # A single version goes after a crash, unless it still is the default; a whole key is not taken apart.
                await self._journal.intend(bucket, key, leaving, LEAVING if id is None else NEW)
                try:
                    removed: list[Entry] = await self._changes.run(
                        self._unpublish, number, data, place, id, leaving, found
                    )
                    return removed
                except Unintended as more:
                    leaving = more.ids
                except (NoSuchKey, DamagedEntry):
                    self._journal.settle(leaving)
                    raise
        except (OSError, StorageFailed) as error:
            await self._compare(number, data, place)
            self.raised(error)
        finally:
            self.finish("unpublish", began, bucket, key)

    def _unpublish(
        self, number: int, data: bytes, place: Place, id: str | None, known: list[str], found: _Found
    ) -> list[Entry]:
        removed, left = self._tree.unpublish(place, id, known, found.trusted)
        if left is not None:
            older = {*found.older, *filter(None, (found.expected,))} - {id or "", left.id}
            self._upkeep.apply(number, data, (left.size, encode_entry(left, place.key), older_of(older)))
        elif id is None or not os.path.lexists(place.path):
            self._upkeep.apply(number, data, None)
        else:
            self._found(number, data, place)
        return removed

    async def look_up(self, bucket: str, key: str, id: str | None = None) -> Entry:
        """See L{INamespace.look_up<storehouse.storage.namespace.interfaces.INamespace.look_up>}."""
        began = time.monotonic()
        number, data, place = self.locate(bucket, key)
        known = self._upkeep.get(number, data, key)
        entry = None if known is None else known[0]
        try:
            if id is not None and (entry is None or entry.id != check_id(id)):
                entry = await self._disk.run(self._tree.read, place, id)
                if entry is None:
                    raise NoSuchKey(f"the bucket {bucket} has no key {key!r} with a version {id}")
            # That there is none is for the tree to say.
            elif entry is None and await self._disk.run(self._is_there, place):
                entry = await self.look_closer(bucket, key)
            if entry is None:
                raise NoSuchKey(f"the bucket {bucket} has no key {key!r}")
        except OSError as error:
            self.raised(error)
        self._metrics.observe("look_up", time.monotonic() - began)
        return entry

    def _is_there(self, place: Place) -> bool:
        try:
            return self._tree.current(place) is not None
        except DamagedEntry:
            # Or it was changed between two looks: only who holds the key can tell.
            return True

    async def look_closer(self, bucket: str, key: str) -> Entry | None:
        """
        The default version of a key, from the tree, while nobody changes it; the index is repaired.

        @raise DamagedEntry: if it cannot be had.
        @raise NoSuchBucket: if the bucket is gone.
        """
        began = time.monotonic()
        # Not that of before: the bucket may be another one of the same name.
        number, data, place = await self.begin(bucket, key)
        try:
            entry: Entry | None = await self._disk.run(self._upkeep.repair, number, data, place)
            return entry
        except DamagedEntry:
            known = self._upkeep.get_row(number, data, key)
            if known is None:
                raise
            return known
        finally:
            self.finish("repair", began, bucket, key)

    async def versions(self, bucket: str, key: str) -> list[Entry]:
        """See L{INamespace.versions<storehouse.storage.namespace.interfaces.INamespace.versions>}."""
        began = time.monotonic()
        _, _, place = await self.begin(bucket, key)
        try:
            found: list[Entry] = await self._disk.run(self._tree.versions, place)
        except OSError as error:
            self.raised(error)
        finally:
            self.finish("versions", began, bucket, key)
        if not found:
            raise NoSuchKey(f"the bucket {bucket} has no key {key!r}")
        return found
