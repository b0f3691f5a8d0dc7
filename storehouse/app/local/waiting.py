"""Deferreds and coroutines of stores whose disk works at once, without a reactor."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

__all__ = ["result", "run"]

T = TypeVar("T")


def result(done: Deferred[T]) -> T:
    """What a Deferred has fired with: nothing here waits."""

    async def work() -> T:
        return await done

    return run(work())


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine whose disk works at once."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    work.close()
    raise RuntimeError("without a reactor nothing may wait")
