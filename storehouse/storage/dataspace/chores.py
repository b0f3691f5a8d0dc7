"""What is done in the background of a store: everything is verified again and again, abandoned uploads are removed."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from storehouse.core.jobs import IDisk, Repeated, settled
from storehouse.errors import Unavailable
from storehouse.storage.dataspace.interfaces import IUploads
from storehouse.storage.dataspace.metrics import SpaceMetrics
from storehouse.storage.dataspace.scrub import Finding, Progress, scrub

__all__ = ["Compare", "Expiry", "Scrubber"]

#: Compares what other rooms say of objects with the objects. It reports findings, and awaits the pace as L{scrub} does.
Compare = Callable[[Callable[[Finding], object], Callable[[int], Awaitable[bool]]], Awaitable[None]]

#: Seconds between two looks for abandoned uploads.
EXPIRY_INTERVAL = 3600.0

# A round of an empty store takes no time at all.
_SHORTEST_PAUSE = 1.0


def _any_index() -> str:
    return secrets.token_hex(1)


class Scrubber:
    """
    Scrubs a store, one round after the other.

    @param clock: C{callLater} and C{seconds}, as a reactor has them.
    @param rate: bytes to verify in a second; 0 for no scrubs.  A small object counts as
        L{SMALL<storehouse.storage.dataspace.scrub.SMALL>} bytes.
    @param pause: seconds between two rounds.
    @param compare: what else a round does, once all objects were verified.
    @param first: gives the INDEX that a round begins with: another one each time, so that a process that is started
        again and again does not verify the same part of the store only.
    """

    _log = Logger()

    def __init__(
        self,
        directory: str,
        disk: IDisk,
        clock: IReactorTime,
        metrics: SpaceMetrics,
        rate: float,
        pause: float,
        first: Callable[[], str] = _any_index,
        compare: Compare | None = None,
    ) -> None:
        self._directory = directory
        self._disk = disk
        self._clock = clock
        self._metrics = metrics
        self._rate = rate
        self._pause = max(pause, _SHORTEST_PAUSE)
        self._first = first
        self._compare = compare
        self._stopping = False
        self._due = 0.0
        self._sleeping: tuple[Any, Deferred[None]] | None = None
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        """Begin, if there is a rate."""
        if self._rate > 0:
            self._running = Deferred.fromCoroutine(self._rounds())

    def stop(self) -> Deferred[None]:
        """Scrub no more. @return: fires when no thread is at it any more."""
        self._stopping = True
        if self._sleeping is not None:
            call, awake = self._sleeping
            self._sleeping = None
            call.cancel()
            awake.callback(None)
        return Deferred.fromCoroutine(self._stopped())

    async def _stopped(self) -> None:
        if self._running is not None:
            await settled(self._running)

    async def _rounds(self) -> None:
        while not self._stopping:
            try:
                await self._round()
            except Exception:
                self._log.failure("while scrubbing {directory}", directory=self._directory)
            if not self._stopping:
                await self._sleep(self._pause)

    async def _round(self) -> None:
        metrics = self._metrics
        metrics.scrub_progress = 0.0
        self._due = self._clock.seconds()
        before = Progress(0, 0, None, 0.0)
        damage = 0

        def on_finding(finding: Finding) -> None:
            nonlocal damage
            damage += 1
            self._report(finding)

        def on_progress(progress: Progress) -> None:
            nonlocal before
            metrics.scrubbed_bytes += progress.size - before.size
            metrics.scrubbed_objects += progress.objects - before.objects
            metrics.scrub_progress = progress.share
            before = progress

        await scrub(self._directory, self._disk, on_finding, on_progress, pace=self._pace, first=self._first())
        if self._compare is not None and not self._stopping:
            try:
                await self._compare(on_finding, self._pace)
            except Unavailable as error:
                # The objects can be open while the keys are shut.
                self._log.warn("keys were not compared with their objects: {error}", error=error)
        if not self._stopping:
            metrics.scrub_rounds += 1
            metrics.scrub_damage = damage
            if before.objects or damage:
                self._log.info(
                    "scrubbed {objects} objects of {size} bytes together: {damage} damaged",
                    objects=before.objects,
                    size=before.size,
                    damage=damage,
                )

    def _report(self, finding: Finding) -> None:
        self._metrics.damaged += 1
        self._log.error(
            "damaged: {kind} {id}, part {part}, block {block}: {reason}",
            kind=finding.kind,
            id=finding.id,
            part=finding.part,
            block=finding.block,
            reason=finding.reason,
        )

    async def _pace(self, cost: int) -> bool:
        """Wait as long as so many bytes take. What the disk was too slow for is not caught up with."""
        now = self._clock.seconds()
        self._due += cost / self._rate
        if self._due > now and not self._stopping:
            await self._sleep(self._due - now)
        else:
            self._due = now
        return not self._stopping

    async def _sleep(self, seconds: float) -> None:
        awake: Deferred[None] = Deferred()
        self._sleeping = self._clock.callLater(seconds, self._wake), awake
        await awake

    def _wake(self) -> None:
        if self._sleeping is not None:
            _, awake = self._sleeping
            self._sleeping = None
            awake.callback(None)


class Expiry:
    """
    Removes abandoned uploads, every hour.

    @param uploads: an L{IUploads<storehouse.storage.dataspace.interfaces.IUploads>}.
    @param clock: C{callLater} and C{seconds}, as a reactor has them.
    @param age: seconds after which an upload that was not touched is abandoned; 0 for never.
    @param keep: which ones are left to others, see L{IUploads.expire_uploads}.
    """

    _log = Logger()

    def __init__(
        self, uploads: IUploads, clock: IReactorTime, age: float, keep: Callable[[str], bool] | None = None
    ) -> None:
        self._uploads = uploads
        self._age = age
        self._keep = keep
        self._looking = Repeated(clock, EXPIRY_INTERVAL, self._expire)

    def start(self) -> None:
        """Begin, if there is an age. The first look is an hour away: who was kept out by a stop may go on now."""
        if self._age > 0:
            self._looking.start()

    def stop(self) -> Deferred[None]:
        """Look no more. @return: fires when nothing is being removed any more."""
        return self._looking.stop()

    async def _expire(self) -> None:
        try:
            await self._uploads.expire_uploads(self._age, self._keep)
        except Exception:
            self._log.failure("while removing abandoned uploads")
