"""Expired uploads are removed while the service runs."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from storehouse.core.jobs import Repeated
from storehouse.storage.resumable.interfaces import IResumableUploads

__all__ = ["EXPIRY_INTERVAL", "ResumableExpiry"]

#: Seconds between two checks at most; fewer if uploads expire sooner.
EXPIRY_INTERVAL = 3600.0


class ResumableExpiry:
    """
    Removes uploads for which no request came for long.

    @param age: seconds after which they expire; 0 for never: then only the states of abandoned ones are removed.
    """

    _log = Logger()

    def __init__(self, uploads: IResumableUploads, clock: IReactorTime, age: float) -> None:
        self._uploads = uploads
        interval = min(EXPIRY_INTERVAL, max(age / 4, 1.0)) if age else EXPIRY_INTERVAL
        self._checking = Repeated(clock, interval, self._expire)

    def start(self) -> None:
        """Begin. The first check is an interval away, so that clients that a stop interrupted can continue first."""
        self._checking.start()

    def stop(self) -> Deferred[None]:
        """End. @return: fires when nothing is being removed any more."""
        return self._checking.stop()

    async def _expire(self) -> None:
        try:
            count = await self._uploads.expire()
        except Exception:
            self._log.failure("while removing expired uploads")
        else:
            if count:
                self._log.info("removed {count} expired uploads", count=count)
