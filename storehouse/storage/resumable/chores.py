"""Work that a store of resumable uploads needs done while it runs."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storehouse.core.repeated import Repeated
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
        interval = min(EXPIRY_INTERVAL, max(age / 4, 1.0)) if age else EXPIRY_INTERVAL
        self._looking = Repeated(clock, interval, self._expire)

    def start(self) -> None:
        """Begin. The first look is a while away: who was kept out by a stop may go on now."""
        self._looking.start()

    def stop(self) -> Deferred[None]:
        """Look no more. @return: fires when nothing is being removed any more."""
        return self._looking.stop()

    async def _expire(self) -> None:
        try:
            count = await self._uploads.expire()
        except Exception:
            self._log.failure("while removing uploads that have expired")
        else:
            if count:
                self._log.info("{count} uploads have expired and are removed", count=count)
