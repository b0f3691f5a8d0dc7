"""An object store as tests without a reactor use it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any

from storehouse.app.local.waiting import run
from storehouse.cli.client import PiecesStream
from storehouse.storage.objects.values import ObjectInfo

__all__ = ["Opened"]


class Opened:
    """
    A store that is open while the context lasts. Its methods do their work where they are called.

    @ivar store: the store itself.
    """

    def __init__(self, opening: AbstractAsyncContextManager[Any]) -> None:
        self._opening = opening
        self.store: Any = None

    def __enter__(self) -> Opened:
        self.store = run(self._opening.__aenter__())
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return run(self._opening.__aexit__(*error))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.store, name)
        return lambda *args, **kwargs: run(method(*args, **kwargs))

    def put(self, bucket: str, key: str, pieces: Iterable[bytes], size: int | None = None, **how: Any) -> ObjectInfo:
        """Store an object of these pieces."""
        return run(self.store.put(bucket, key, PiecesStream(pieces), size, **how))

    def read(self, bucket: str, key: str) -> bytes:
        """All bytes of an object."""

        async def read() -> bytes:
            reading = await self.store.get(bucket, key)
            pieces = []
            try:
                while piece := await reading.read():
                    pieces.append(piece)
            finally:
                await reading.close()
            return b"".join(pieces)

        return run(read())
