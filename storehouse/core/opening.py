"""
Opening what a service is made of, one after the other: what cannot be opened keeps nothing shut but what needs it.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from twisted.logger import Logger

from storehouse.core.files import NO_SPACE
from storehouse.errors import Damaged, InvalidSetting, NoSpace, StorageFailed, StorehouseError, StoreUnusable

__all__ = ["VITAL", "Opening", "check_directories", "has_flipped_bit", "is_json", "is_local", "shown"]

#: The stores without which nothing is opened: without the right key, and the right objects, nothing is touched.
VITAL = frozenset({"keyring", "stamps"})

#: The errors of the system that are of this disk, and not of how the service was set up.
_LOCAL_SQLITE = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOTADB})
_LOCAL = NO_SPACE | {errno.EIO, errno.EUCLEAN, errno.ESTALE}


def is_local(error: BaseException | None) -> bool:
    """
    Whether a store could not be opened because of what is on the disk, damage or no room, and not because it is another
    store than is meant, or set up otherwise.
    """
    while error is not None:
        if isinstance(error, InvalidSetting):
            return False
        if isinstance(error, NoSpace | Damaged | StoreUnusable | StorageFailed):
            return True
        if isinstance(error, OSError) and error.errno in _LOCAL:
            return True
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _LOCAL_SQLITE:
            return True
        error = error.__cause__ or error.__context__
    return False


def has_flipped_bit(found: bytes, wanted: bytes) -> bool:
    """Whether a text differs from another in one bit, and in nothing else."""
    if len(found) != len(wanted):
        return False
    return sum((one ^ other).bit_count() for one, other in zip(found, wanted, strict=True)) == 1


def is_json(found: bytes) -> bool:
    """Whether a text is JSON, of any kind: one that is not was damaged, and is not that of another store."""
    try:
        json.loads(found)
    except (ValueError, RecursionError):
        return False
    return True


def shown(found: bytes) -> str:
    """The content of a small file, in words, for an error."""
    return f"holds {found[:100]!r}" if found else "is empty"


def check_directories(*paths: str) -> None:
    """
    Check that what is at these paths, if anything, is directories. Links are not followed: they may lead to what is not mounted.

    @raise StoreUnusable: naming the first that is not.
    """
    for path in paths:
        if os.path.lexists(path) and not os.path.islink(path) and not os.path.isdir(path):
            raise StoreUnusable(f"{path} is not a directory: move it away, and restart")


class _Started(Protocol):
    """A store or a chore."""

    def start(self) -> object: ...

    def stop(self) -> object: ...


C = TypeVar("C", bound=_Started)


class Opening:
    """
    Which stores and doors need which stores, and what could not be opened.

    @ivar needs: the stores that a store or a door cannot do without, by its name.
    @ivar chores: likewise for chores, with the door that a chore is a part of, or C{""}.
    @ivar shut: why something is not open, by its name.
    @ivar errors: what stores and chores could not be opened for.
    """

    _log = Logger()

    def __init__(self) -> None:
        self.needs: dict[str, tuple[str, ...]] = {}
        self.chores: list[tuple[_Started, tuple[str, ...], str]] = []
        self.shut: dict[str, str] = {}
        self.errors: list[Exception] = []

    def open_stores(self, stores: Mapping[str, _Started], undo: list[Callable[[], object]]) -> None:
        """
        Start them in order.

        @param undo: the C{stop} of each is appended.
        @raise Exception: what one cannot be started for, unless that is a reason of this disk (L{is_local}): then it stays
            shut, and so does what needs it.
        """
        for name, store in stores.items():
            if self.is_shut(name, name):
                continue
            try:
                store.start()
            except Exception as error:
                if not is_local(error) or name in VITAL:
                    raise
                self._cannot_open(name, error)
            else:
                undo.append(store.stop)

    def start_chores(self, chores: list[C], undo: list[Callable[[], object]]) -> None:
        """Like L{open_stores}; chores that are not started are removed from the list."""
        needed = {id(chore): (stores, door) for chore, stores, door in self.chores}
        for chore in list(chores):
            stores, door = needed.get(id(chore), ((), ""))
            # A chore of a door has nothing to do for one that stays shut.
            if any(name in self.shut for name in (*stores, door, *self.needs.get(door, ()))):
                chores.remove(chore)
                continue
            try:
                chore.start()
            except Exception as error:
                if not is_local(error) or not door:
                    raise
                chores.remove(chore)
                self._cannot_open(door, error)
            else:
                undo.append(chore.stop)

    def is_shut(self, name: str, title: str) -> bool:
        """
        Whether something cannot be open.

        @param name: its name in L{needs}.
        @param title: its name in L{shut}.
        """
        missing = next((each for each in self.needs.get(name, ()) if each in self.shut), None)
        if missing is not None:
            self.shut.setdefault(title, f"it needs the {_words(missing)}, which cannot be opened")
        return title in self.shut

    def _cannot_open(self, name: str, error: Exception) -> None:
        self.errors.append(error)
        reason = self.shut[name] = error.detail if isinstance(error, StorehouseError) else str(error)
        self._log.critical(
            "the {part} cannot be opened, and is unavailable until the next start: {reason}",
            part=_words(name),
            reason=reason,
        )


def _words(name: str) -> str:
    return name.replace("_", " ")
