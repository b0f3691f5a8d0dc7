"""Coroutines that do all their work at once, driven without a reactor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import TypeVar

__all__ = ["each", "run"]

T = TypeVar("T")


def run(work: Awaitable[T]) -> T:
    """
    What something awaitable gives: a coroutine, or a Deferred.

    A command does one thing at a time. Its disk works in its own thread, and so does the socket by which it asks a service:
    each step is over when it returns, and a reactor would have nothing to do but to take time to import.

    @raise RuntimeError: if it waits for something else.
    """

    async def wait() -> T:
        return await work

    waiting = wait()
    try:
        waiting.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    waiting.close()
    raise RuntimeError("without a reactor nothing may wait")


def each(items: AsyncIterator[T]) -> Iterator[T]:
    """The items of an iterator that does all its work at once."""
    while True:
        try:
            yield run(items.__anext__())
        except StopAsyncIteration:
            return
