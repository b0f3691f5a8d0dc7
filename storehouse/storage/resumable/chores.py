"""Work that a store of resumable uploads needs done while it runs."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from storehouse.core.jobs import settled
from storehouse.storage.resumable.interfaces import IResumableUploads

__all__ = ["EXPIRY_INTERVAL", "ResumableExpiry"]

#: Seconds between looks at most; less if uploads expire sooner.
EXPIRY_INTERVAL = 3600.0


class ResumableExpiry:
    """
    Removes uploads that nobody went on with.

    @param clock: C{callLater} and C{seconds}, as a reactor has them.
    @param age: seconds after which they expire; 0 for never: then only what is remembered of those given up goes.
    """

    _log = Logger()

    def __init__(self, uploads: IResumableUploads, clock: Any, age: float) -> None:
        self._uploads = uploads
        self._interval = min(EXPIRY_INTERVAL, max(age / 4, 1.0)) if age else EXPIRY_INTERVAL
        self._loop = LoopingCall(self._expire)
        self._loop.clock = clock
        self._running: Deferred[Any] | None = None

    def start(self) -> None:
        """Begin. The first look is a while away: who was kept out by a stop may go on now."""
        self._running = self._loop.start(self._interval, now=False)

    def stop(self) -> Deferred[None]:
        """Look no more. @return: fires when nothing is being removed any more."""
        if self._loop.running:
            self._loop.stop()
        return Deferred.fromCoroutine(self._stopped())

    async def _stopped(self) -> None:
        if self._running is not None:
            await settled(self._running)

    async def _expire(self) -> None:
        try:
            count = await self._uploads.expire()
        except Exception:
            self._log.failure("while removing uploads that have expired")
        else:
            if count:
                self._log.info("{count} uploads have expired and are removed", count=count)
