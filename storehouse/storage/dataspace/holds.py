"""Who wants what is removed to be kept for a while, such as a backup that is being made."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from storehouse.errors import Conflict, NotFound

__all__ = ["LEASE", "Holds", "Keeper"]

#: Seconds after which a hold ends that nobody has renewed: the client that began it is gone.
LEASE = 60.0


class Keeper(Protocol):
    """A data space that can keep what is removed."""

    def keep_removed(self) -> None:
        """Keep it from now on."""

    def release_removed(self) -> None:
        """Remove what was kept, and keep nothing any more."""


class Holds:
    """
    Keeps what is removed as long as somebody asks for it.

    @param clock: an C{IReactorTime}.
    @ivar lease: seconds that one lasts.
    @ivar refusal: why none may begin now; empty if one may.
    """

    _log = Logger()
    lease = LEASE

    def __init__(self, keeper: Keeper, clock: IReactorTime) -> None:
        self.refusal: Callable[[], str] = lambda: ""
        self._keeper = keeper
        self._clock = clock
        self._held: dict[str, Any] = {}

    @property
    def is_held(self) -> bool:
        """Whether somebody asks for it now."""
        return bool(self._held)

    def begin(self) -> str:
        """One more. @return: what names it. @raise Conflict: if there is a reason against it."""
        if reason := self.refusal():
            raise Conflict(reason)
        token = secrets.token_hex(16)
        self._held[token] = self._clock.callLater(LEASE, self._lapsed, token)
        self._keeper.keep_removed()
        return token

    def renew(self, token: str) -> None:
        """@raise NotFound: if it has ended."""
        self._found(token).reset(LEASE)

    def end(self, token: str) -> None:
        """@raise NotFound: if it has ended."""
        self._found(token).cancel()
        self._forget(token)

    def _found(self, token: str) -> Any:
        call = self._held.get(token)
        if call is None:
            raise NotFound(f"there is no such hold: it was not renewed for {LEASE:.0f} seconds")
        return call

    def _lapsed(self, token: str) -> None:
        self._log.warn("the hold ended: it was not renewed for {seconds} s", seconds=LEASE)
        self._forget(token)

    def _forget(self, token: str) -> None:
        del self._held[token]
        if not self._held:
            self._keeper.release_removed()
