"""The events of a root that are not delivered yet, on its files; also while a service runs."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from storehouse.config import Settings
from storehouse.errors import NotFound, StorageFailed
from storehouse.storage.notifications.spool import SpoolFile
from storehouse.storage.notifications.values import Queued

__all__ = ["LocalEvents"]

#: Events that are read at once.
_PAGE = 1000

T = TypeVar("T")


class LocalEvents:
    """
    Opens the spool for each call. The names of objects are read only where the spool is not encrypted.

    All methods raise C{StorageFailed} if the file cannot be used, C{StoreUnusable} if it is of another version.
    """

    def __init__(self, settings: Settings) -> None:
        self._path = os.path.abspath(settings.events_path)

    @contextmanager
    def _file(self) -> Iterator[SpoolFile | None]:
        file = SpoolFile(self._path)
        try:
            yield file if file.open(create=False, with_names=False) else None
        except (sqlite3.Error, OSError) as error:
            raise StorageFailed(f"the spool {self._path} cannot be used: {error}") from None
        finally:
            file.close()

    def list(self, destination: str, only_dead: bool) -> Iterator[Queued]:
        """Events in the order in which they were noted."""
        after = 0
        while True:
            with self._file() as file:
                page = [] if file is None else file.listed(destination, only_dead, _PAGE, after)
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].number

    def retry(self, destination: str, numbers: Sequence[int]) -> int:
        """Have dead letters delivered again, which a service begins within seconds. @return: how many."""
        return self._change(lambda file: file.revive_all(destination, numbers, time.time()))

    def drop(self, destination: str, numbers: Sequence[int], only_dead: bool) -> int:
        """Remove events that are not delivered. @return: how many."""
        return self._change(lambda file: file.drop_all(destination, numbers, only_dead))

    def _change(self, change: Callable[[SpoolFile], int]) -> int:
        with self._file() as file:
            if file is None:
                return 0
            (done,) = file.together([lambda: change(file)])
        if not isinstance(done, int):
            raise NotFound(str(done))
        return done
