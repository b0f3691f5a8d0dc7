"""Who has to wait for whom. Everything here is called in the reactor's thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["Gate", "gather"]


async def gather(waited_for: Sequence[Deferred[Any]]) -> None:
    """Wait for all, then raise what the first that failed did."""
    failures: list[Failure] = []
    for each in waited_for:
        each.addErrback(failures.append)
    for each in waited_for:
        await each
    if failures:
        failures[0].raiseException()


class Gate:
    """
    Many may be inside at a time, or one alone.

    @ivar inside: how many are.
    """

    def __init__(self) -> None:
        self.inside = 0
        self._closed = False
        self._empty: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []

    async def enter(self) -> None:
        """Go in, as one of many."""
        while self._closed:
            await self._wait()
        self.inside += 1

    def leave(self) -> None:
        """Go out again."""
        self.inside -= 1
        if self.inside == 0 and self._empty is not None:
            empty, self._empty = self._empty, None
            empty.callback(None)

    async def close(self) -> None:
        """Let nobody else in, and wait until all are out."""
        while self._closed:
            await self._wait()
        self._closed = True
        if self.inside:
            self._empty = Deferred(lambda _: self._give_up())
            await self._empty

    def open(self) -> None:
        """Let the others in again."""
        self._closed = False
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            turn.callback(None)

    async def _wait(self) -> None:
        turn: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(turn)
        await turn

    def _give_up(self) -> None:
        self._empty = None
        self.open()
