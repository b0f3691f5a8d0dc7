"""How streams are kept."""

from __future__ import annotations

from typing import Any

import attrs

from storehouse.core.compression import compress_block
from storehouse.errors import InvalidSetting

__all__ = ["SYNCS", "StreamSettings"]

SYNCS = ("record", "os")


@attrs.frozen(kw_only=True)
class StreamSettings:
    """
    One stream.

    @ivar name: one safe component of a path.
    @ivar directory: where its archives are made; absolute. No other stream has it.
    @ivar catalogue: the file that says what it has; absolute.
    @ivar root: paths below it are noted relative to it; absolute, empty for none.
    @ivar template: names of archives, as C{strftime} takes it.
    @ivar checker: an L{IRollChecker<storehouse.archive.interfaces.IRollChecker>}.
    @ivar callbacks: L{IArchiveCallback<storehouse.archive.interfaces.IArchiveCallback>}s for closed archives.
    @ivar compression: of blocks of archives, C{zstd} or C{None}.
    @ivar level: of that compression.
    @ivar sync: C{record} or C{os}.
    @ivar ship: the name of a destination; empty for none.
    @ivar keep_local: whether local files stay when they were shipped.
    """

    name: str
    directory: str
    catalogue: str
    checker: Any
    root: str = ""
    template: str = "%Y-%m-%dT%H_%M_%SZ.events"
    callbacks: tuple[Any, ...] = ()
    compression: str | None = None
    level: int | None = None
    sync: str = "record"
    ship: str = ""
    keep_local: bool = True

    def __attrs_post_init__(self) -> None:
        if self.sync not in SYNCS:
            raise InvalidSetting(f"sync is {self.sync!r}; it may be {' or '.join(SYNCS)}")
        if self.level is not None:
            if self.compression is None:
                raise InvalidSetting(f"level is {self.level}, and compression is none: nothing would read it")
            try:
                compress_block(b"", self.level)
            except ValueError as problem:
                raise InvalidSetting(f"level is {self.level}: {problem}") from None
        if not self.ship and not self.keep_local:
            raise InvalidSetting("keep_local is false, but ship names no destination: nothing would be removed")
        if self.ship and any(getattr(callback, "removes_file", False) for callback in self.callbacks):
            raise InvalidSetting(
                "a callback that removes archives leaves none to be shipped: say keep_local = false instead"
            )
