"""Settings of a stream."""

from __future__ import annotations

import attrs

from storehouse.archive.interfaces import IArchiveCallback, IRollChecker
from storehouse.archive.scan import MAX_RECORD
from storehouse.core.compression import compress_block
from storehouse.errors import InvalidSetting

__all__ = ["StreamSettings"]

_SYNCS = ("record", "os")


@attrs.frozen(kw_only=True)
class StreamSettings:
    """
    One stream.

    @ivar name: one safe component of a path.
    @ivar directory: where its archives are made; absolute. No other stream has it.
    @ivar catalogue: the path of its catalogue; absolute.
    @ivar root: paths below it are noted relative to it; absolute, empty for none.
    @ivar template: of the names of archives, for C{strftime}.
    @ivar callbacks: called for closed archives.
    @ivar compression: of blocks of archives, C{zstd} or C{None}.
    @ivar level: of that compression.
    @ivar sync: C{record} or C{os}.
    @ivar ship: the name of a destination; empty for none.
    @ivar keep_local: whether local files stay once they are shipped.
    @ivar max_record: a record in an archive that claims more bytes is damage.
    """

    name: str
    directory: str
    catalogue: str
    checker: IRollChecker
    root: str = ""
    template: str = "%Y-%m-%dT%H_%M_%SZ.events"
    callbacks: tuple[IArchiveCallback, ...] = ()
    compression: str | None = None
    level: int | None = None
    sync: str = "record"
    ship: str = ""
    keep_local: bool = True
    max_record: int = MAX_RECORD

    def __attrs_post_init__(self) -> None:
        if self.sync not in _SYNCS:
            raise InvalidSetting(f"sync is {self.sync!r}; it may be {' or '.join(_SYNCS)}")
        if self.level is not None:
            if self.compression is None:
                raise InvalidSetting(f"level is {self.level}, but compression is none: the level would have no effect")
            try:
                compress_block(b"", self.level)
            except ValueError as problem:
                raise InvalidSetting(f"level is {self.level}: {problem}") from None
        if not self.ship and not self.keep_local:
            raise InvalidSetting("keep_local is false, but ship names no destination")
        if self.ship and any(getattr(callback, "removes_file", False) for callback in self.callbacks):
            raise InvalidSetting(
                "a callback that removes archives leaves none to be shipped: use keep_local = false instead"
            )
