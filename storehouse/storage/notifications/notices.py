"""Decides which changes are announced, by the rules of buckets, and writes their events before they are made."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from storehouse.core.asking import asker
from storehouse.core.jobs import deferred, finished
from storehouse.errors import Damaged, NoSuchBucket, NoSuchKey, StorehouseError, Unavailable
from storehouse.storage.namespace.interfaces import Entry, INamespace
from storehouse.storage.notifications.interfaces import INotices
from storehouse.storage.notifications.records import Circumstances, event_of, test_event
from storehouse.storage.notifications.spool import Spool
from storehouse.storage.notifications.values import (
    CONFIGURATION,
    Change,
    Queued,
    Rule,
    check_rules,
    decode_rules,
    matching,
)

__all__ = ["Notices"]

#: Buckets whose rules are kept in memory.
_MOST_KNOWN = 10_000


@implementer(INotices)
class Notices:
    """
    See L{INotices}; a store of the service, to be started before the object store and closed after it.

    @param destinations: their names.
    @param region: as events say it.
    @param clock: seconds since 1970 UTC.
    @ivar woken: called with the name of a destination that has an event to send.
    """

    _log = Logger()

    def __init__(
        self,
        spool: Spool,
        destinations: Collection[str] = (),
        region: str = "us-east-1",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.woken: Callable[[str], object] = lambda destination: None
        self.spool = spool
        self._destinations = destinations
        self._region = region
        self._clock = clock
        self._names: INamespace | None = None
        self.silent: set[str] = set()
        self._known: dict[str, tuple[tuple[Rule, ...], str]] = {}
        self._generation = 0

    @property
    def failed(self) -> StorehouseError | None:
        """What it failed with for good."""
        return self.spool.failed

    def start(self) -> None:
        """Open the spool, if there is one; in the caller's time. @raise StoreUnusable: if it cannot be used."""
        self.spool.start()

    @deferred
    async def stop(self) -> None:
        """Close the spool."""
        await self.spool.closed()

    @property
    def _namespace(self) -> INamespace:
        if self._names is None:
            raise Unavailable("the events have not been started")
        return self._names

    # -- rules ---------------------------------------------------------------------------------

    def forget(self, bucket: str) -> None:
        self._generation += 1
        self._known.pop(bucket, None)
        self.silent.discard(bucket)

    async def _rules(self, bucket: str) -> tuple[tuple[Rule, ...], str]:
        """The rules of a bucket, and its owner."""
        known = self._known.get(bucket)
        if known is not None:
            return known
        names = self._namespace
        generation = self._generation
        try:
            data = await names.bucket_config(bucket, CONFIGURATION)
            owner = "" if data is None else (await names.get_bucket(bucket)).owner
        except NoSuchBucket:
            return (), ""
        found = (() if data is None else decode_rules(data), owner)
        if generation == self._generation:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
                self.silent.clear()
            self._known[bucket] = found
            if not found[0]:
                self.silent.add(bucket)
        return found

    @deferred
    async def configure(self, bucket: str, data: bytes | None) -> None:
        names = self._namespace
        rules = () if data is None else decode_rules(data)
        check_rules(rules, self._destinations)
        if rules:
            await self.spool.opened(create=True)
        try:
            await finished(names.set_bucket_config(bucket, CONFIGURATION, data if rules else None))
        finally:
            self.forget(bucket)
        if not rules:
            return
        about = self._circumstances()
        body = test_event(bucket, about)
        destinations = sorted({rule.destination for rule in rules})
        events = [(self.spool.number(about.time), each, None, body) for each in destinations]
        await finished(self.spool.do(self._insert, events, about.time))
        for destination in destinations:
            self.woken(destination)

    def _circumstances(self) -> Circumstances:
        request = asker.get()
        if request is None:
            return Circumstances(self._clock())
        return Circumstances(self._clock(), request.visitor, request.address, request.request_id)

    # -- changes -------------------------------------------------------------------------------

    @deferred
    async def intend(self, bucket: str, changes: Sequence[Change]) -> Sequence[int]:
        rules, owner = await self._rules(bucket)
        announced = [(change, rule) for change in changes if (rule := matching(rules, change)) is not None]
        if not announced:
            return ()
        await self.spool.opened(create=True)
        about = self._circumstances()
        events = []
        for change, rule in announced:
            number = self.spool.number(about.time)
            body = event_of(change, rule, number, about, owner, self._region)
            events.append((number, rule.destination, change, body))
        await finished(self.spool.do(self._insert, events, about.time))
        return [number for number, *_ in events]

    def _insert(self, events: Sequence[tuple[int, str, Change | None, bytes]], now: float) -> None:
        self.spool.check_room()
        for number, destination, change, body in events:
            self.spool.file.insert(number, destination, change, body, now)

    def made(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._make_ready(number)

    def _make_ready(self, number: int) -> None:
        done = self.spool.do(self.spool.file.make_ready, number)
        # If that fails, the next start looks.
        done.addCallbacks(self.woken, lambda failure: self._undone(number, failure.getErrorMessage()))

    def _undone(self, number: int, reason: object) -> None:
        self._log.error("the event {number:016X} waits for the next start: {reason}", number=number, reason=str(reason))

    @deferred
    async def settle(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            try:
                found = await finished(self.spool.do(self.spool.file.get, number))
            except StorehouseError as error:
                self._undone(number, error.detail)
            else:
                if found is not None:
                    await self._decide(found)

    @deferred
    async def recover(self, names: INamespace) -> None:
        self._names = names
        if not self.spool.file.is_open:
            return
        try:
            left = await finished(self.spool.do(self.spool.file.intended))
        except StorehouseError as error:
            self._undone(0, error.detail)
            return
        for each in left:
            await self._decide(each)

    async def _decide(self, queued: Queued) -> None:
        """Announce what was made, and forget the rest."""
        try:
            if queued.change is None or await self._was_made(queued.change):
                self._make_ready(queued.number)
            else:
                await finished(self.spool.do(self.spool.file.remove, queued.number))
        except StorehouseError as error:
            self._undone(queued.number, error.detail)

    async def _was_made(self, change: Change) -> bool:
        """Whether a change was made, or may have been."""
        looking: Deferred[Entry] = self._namespace.look_up(change.bucket, change.key, change.id or None)
        is_there, entry = True, None
        try:
            entry = await finished(looking)
        except (NoSuchKey, NoSuchBucket):
            is_there = False
        except Damaged:
            return True
        if change.field:
            return entry is not None and entry.system.get(change.field) == change.value
        return is_there is not change.name.endswith(":Delete")
