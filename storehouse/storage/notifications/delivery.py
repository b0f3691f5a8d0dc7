"""
Delivery of the events in the spool: for each key one after the other, for several keys at a time.

A delivery that fails is retried, after longer and longer delays. After C{notify-keep} the event becomes a dead letter, and the next
event of its key is sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import cast

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from storehouse.core.jobs import deferred, finished, settled
from storehouse.core.turns import Reactor
from storehouse.errors import StorehouseError
from storehouse.storage.notifications.interfaces import ITarget
from storehouse.storage.notifications.notices import Notices
from storehouse.storage.notifications.spool import Census
from storehouse.storage.notifications.values import Queued

__all__ = ["Delivery"]

#: Events of a destination that are read at once.
_BATCH = 64

#: Seconds after which the spool is looked at in any case: commands may have changed it.
_POLL = 5.0

#: Seconds before the first retry, doubled before each further one, and the most.
_PAUSE, _LONGEST = 1.0, 600.0

#: The most seconds without a try at a destination that takes nothing.
_LONGEST_REST = 30.0


class _Lane:
    """
    A destination.

    @ivar batch: events that were read, and are to be sent.
    @ivar failures: how many attempts have failed in a row.
    @ivar until: the time before which nothing is sent to it, seconds since 1970 UTC.
    """

    def __init__(self, name: str, target: ITarget) -> None:
        self.name = name
        self.target = target
        self.batch: list[Queued] = []
        self.running: dict[int, Deferred[None]] = {}
        self.turn: Deferred[None] | None = None
        self.is_woken = False
        self.failures = 0
        self.until = 0.0
        self.delivered = self.failed = self.buried = 0


class Delivery:
    """
    A chore of the service.

    @param targets: the destinations by their names.
    @param keep: seconds for which delivery of an event is retried.
    @param concurrency: events on their way to a destination at once.
    @param random: varies the delays between attempts.
    """

    _log = Logger()

    def __init__(
        self,
        notices: Notices,
        targets: Mapping[str, ITarget],
        reactor: Reactor,
        keep: float,
        concurrency: int,
        random: Random | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._spool = notices.spool
        self._notices = notices
        self._clock = cast(IReactorTime, reactor)
        self._keep = keep
        self._concurrency = concurrency
        self._random = random or Random()
        self._now = clock
        self._lanes = {name: _Lane(name, target) for name, target in targets.items()}
        self._loops: list[Deferred[None]] = []
        self._census: dict[str, Census] = {}
        self._is_stopping = False

    # -- start and stop ------------------------------------------------------------------------

    def start(self) -> None:
        """Begin; does not wait."""
        self._is_stopping = False
        self._notices.woken = self.wake
        loops = [self._run(lane) for lane in self._lanes.values()]
        self._loops = [Deferred.fromCoroutine(each) for each in [*loops, self._watch()]]
        for loop in self._loops:
            loop.addErrback(self._broken)

    def _broken(self, failure: Failure) -> None:
        if not self._is_stopping:
            self._log.failure("the delivery of events failed", failure)

    @deferred
    async def stop(self) -> None:
        """End; the next start repeats unfinished deliveries."""
        self._is_stopping = True
        for loop in self._loops:
            loop.cancel()
        for lane in self._lanes.values():
            for running in list(lane.running.values()):
                running.cancel()
                await settled(running)
        for loop in self._loops:
            await settled(loop)
        for lane in self._lanes.values():
            await settled(lane.target.close())

    def wake(self, destination: str) -> None:
        """There is something for it."""
        lane = self._lanes.get(destination)
        if lane is None:
            return
        lane.is_woken = True
        turn, lane.turn = lane.turn, None
        if turn is not None:
            turn.callback(None)

    async def _watch(self) -> None:
        """Count what is in the spool, now and then."""
        unknown: set[str] = set()
        while not self._is_stopping:
            if self._spool.file.is_open:
                try:
                    self._census = await finished(self._spool.do(self._spool.file.census))
                except StorehouseError as error:
                    self._log.error("the spool of events cannot be read: {error}", error=error.detail)
                for name in self._census.keys() - self._lanes.keys() - unknown:
                    unknown.add(name)
                    self._log.error(
                        "there are events for {name}, which is no destination of this service: they stay in the spool until it is "
                        "one again, or storehouse events drop {name}",
                        name=name,
                    )
            await deferLater(self._clock, _POLL, lambda: None)

    # -- a destination -------------------------------------------------------------------------

    async def _run(self, lane: _Lane) -> None:
        while not self._is_stopping:
            lane.is_woken = False
            pause = _POLL
            try:
                pause = await self._begin_some(lane)
            except StorehouseError as error:
                self._log.error("the spool of events cannot be read: {error}", error=error.detail)
            if not lane.is_woken and pause > 0:
                await self._wait(lane, pause)

    async def _begin_some(self, lane: _Lane) -> float:
        """Send what may be sent now. @return: seconds until there may be more."""
        # One at a time while deliveries fail: the first success shows that it works again.
        while len(lane.running) < (1 if lane.failures else self._concurrency):
            rest = lane.until - self._now()
            if rest > 0:
                return rest
            if not lane.batch:
                pause = await self._fetch(lane)
                if not lane.batch:
                    return pause
            queued = lane.batch.pop(0)
            # A coroutine of its own, whose context belongs to no request.
            sending = Deferred.fromCoroutine(self._deliver(lane, queued))
            if not sending.called:
                lane.running[queued.number] = sending
                sending.addBoth(self._delivered, lane, queued.number)
        return _POLL

    def _delivered(self, result: object, lane: _Lane, number: int) -> None:
        lane.running.pop(number, None)
        self.wake(lane.name)

    async def _fetch(self, lane: _Lane) -> float:
        if not self._spool.file.is_open and not await self._spool.opened(create=False):
            return _POLL
        now = self._now()
        found, later = await finished(self._spool.do(self._spool.file.due, lane.name, now, _BATCH + len(lane.running)))
        lane.batch = [each for each in found if each.number not in lane.running]
        return min(_POLL, max(0.001, later - now)) if later else _POLL

    async def _wait(self, lane: _Lane, seconds: float) -> None:
        turn = lane.turn = Deferred()
        call = self._clock.callLater(seconds, self.wake, lane.name)
        try:
            await turn
        finally:
            lane.turn = None
            if call.active():
                call.cancel()

    async def _deliver(self, lane: _Lane, queued: Queued) -> None:
        file, number = self._spool.file, queued.number
        attempts = queued.attempts + 1
        try:
            if not queued.body:
                raise StorehouseError("it cannot be read: it is damaged, or of another master key")
            await lane.target.send(number, queued.body)
        except CancelledError:
            if self._is_stopping:
                return
            reason = "it was cancelled"
        except StorehouseError as error:
            reason = error.detail
        except Exception as error:
            self._log.failure("while an event was sent to {name}", name=lane.name)
            reason = type(error).__name__
        else:
            lane.failures, lane.until = 0, 0.0
            lane.delivered += 1
            await self._note(lane, lambda: file.remove(number))
            return
        lane.failed += 1
        lane.failures += 1
        now = self._now()
        if lane.failures > 1:
            # It is not the event.
            lane.until = now + self._pause(lane.failures - 1, _LONGEST_REST)
        if not queued.body or now - queued.since >= self._keep:
            lane.buried += 1
            self._log.error(
                "an event for {name} is given up after {attempts} tries: {reason}; see storehouse events ls",
                name=lane.name,
                attempts=attempts,
                reason=reason,
            )
            await self._note(lane, lambda: file.bury(number, attempts, reason))
            return
        if attempts == 1:
            self._log.warn("an event for {name} will be sent again: {reason}", name=lane.name, reason=reason)
        due = now + self._pause(attempts, _LONGEST)
        await self._note(lane, lambda: file.put_off(number, attempts, due, reason))

    def _pause(self, failures: int, longest: float) -> float:
        """Seconds after so many failures."""
        return min(longest, _PAUSE * 2.0 ** min(failures - 1, 20)) * self._random.uniform(0.5, 1.0)

    async def _note(self, lane: _Lane, work: Callable[[], object]) -> None:
        """Record the outcome of a delivery; the event is not sent again before that."""
        while True:
            try:
                await finished(self._spool.do(work))
                return
            except StorehouseError as error:
                self._log.error("the spool of events cannot be written: {error}", error=error.detail)
                if self._is_stopping or self._spool.failed is not None:
                    return
                await deferLater(self._clock, _POLL, lambda: None)

    # -- metrics -------------------------------------------------------------------------------

    def collect(self) -> Iterable[Metric]:
        """Yield metrics. What is in the spool was counted a few seconds ago."""
        label = ["destination"]
        waiting = GaugeMetricFamily(
            "storehouse_events_waiting", "Events that wait for their delivery, or are on their way.", labels=label
        )
        dead = GaugeMetricFamily("storehouse_events_dead", "Events that were given up: dead letters.", labels=label)
        oldest = GaugeMetricFamily(
            "storehouse_events_oldest_seconds", "Age of the oldest event that waits.", labels=label
        )
        delivered = CounterMetricFamily("storehouse_events_delivered", "Events that were delivered.", labels=label)
        failed = CounterMetricFamily("storehouse_events_failed", "Attempts to deliver that failed.", labels=label)
        buried = CounterMetricFamily("storehouse_events_buried", "Events that became dead letters.", labels=label)
        for name in sorted({*self._lanes, *self._census}):
            known = self._census.get(name, Census())
            waiting.add_metric([name], known.waiting)
            dead.add_metric([name], known.dead)
            oldest.add_metric([name], max(0.0, self._now() - known.oldest) if known.oldest else 0.0)
        for name, lane in sorted(self._lanes.items()):
            delivered.add_metric([name], lane.delivered)
            failed.add_metric([name], lane.failed)
            buried.add_metric([name], lane.buried)
        yield from (waiting, dead, oldest, delivered, failed, buried)
        yield GaugeMetricFamily(
            "storehouse_events_spool_bytes", "Bytes of all events in the spool.", value=self._spool.file.size
        )
