"""What a stream finds when it is started: archives that were moved, whose notes were lost, or that were left unfinished."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterable
from typing import Any

from twisted.logger import Logger

from storehouse.core.root import below_root, possible_paths
from storehouse.errors import StorehouseError, Unavailable
from storehouse.storage.streams.catalogue import Catalogue
from storehouse.storage.streams.interfaces import Archive, Library, State
from storehouse.storage.streams.settings import StreamSettings

__all__ = ["Opening"]


class Opening:
    """Makes a catalogue that was read true again. All methods wait for the disk."""

    _log = Logger()

    def __init__(self, settings: StreamSettings, catalogue: Catalogue, library: Library) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._library = library

    def relocate(self) -> None:
        """Archives whose absolute paths were noted before the root, or the directory of the stream, was moved, or copied."""
        settings = self._settings
        moved = False
        for archive in self._catalogue.all():
            if not archive.path or (settings.root and below_root(settings.root, archive.path) is not None):
                continue
            places = list(possible_paths(settings.root, archive.path)) if settings.root else []
            beside = os.path.join(settings.directory, os.path.basename(archive.path))
            if not os.path.exists(archive.path) and os.path.exists(beside):
                places.append(beside)
            for path in places:
                if archive.salt and self._salt_of(path) == archive.salt:
                    self._catalogue.moved(archive.number, path)
                    moved = True
                    break
        if moved:
            self._noted(self._catalogue.rewrite)

    def _salt_of(self, path: str) -> int:
        """What tells an archive from others; 0 if that cannot be told."""
        try:
            with self._library.open_reader(path) as reader:
                return int(reader.info.salt)
        except (StorehouseError, OSError):
            return 0

    def _noted(self, change: Callable[..., object], *args: Any, **known: Any) -> None:
        """Change the catalogue. What cannot be written now is known nevertheless, and written later."""
        try:
            change(*args, **known)
        except OSError as problem:
            self._log.warn("{path} cannot be written: {problem}", path=self._settings.catalogue, problem=str(problem))

    def adopt(self) -> None:
        """Archives that were there before the stream, or whose catalogue, or line in it, was lost."""
        if not (self._catalogue.is_new or self._catalogue.lost):
            return
        known = {archive.salt for archive in self._catalogue.all()}
        found = False
        # Every directive may have made anything; the reader tells what is an archive.
        for path in self._archives_around():
            if fnmatch.fnmatch(os.path.basename(path), ".*"):
                continue
            try:
                with self._library.open_reader(path) as reader:
                    if reader.info.version != 2 or not reader.info.salt:
                        raise Unavailable("it is one of version 1")
                    if reader.info.salt in known:
                        continue
                    if not reader.complete and reader.compressed_as is None:
                        continue  # it is recovered, and noted then
                    lowest, highest = reader.times or (0, 0)
                    self._catalogue.found(
                        os.path.abspath(path),
                        state=State.FINISHED,
                        salt=reader.info.salt,
                        created=reader.info.created,
                        records=reader.count or 0,
                        size=os.stat(path).st_size,
                        lowest=lowest,
                        highest=highest,
                    )
                    known.add(reader.info.salt)
                    found = True
            except (StorehouseError, OSError) as problem:
                self._log.warn("{path} does not become part of the stream: {problem}", path=path, problem=str(problem))
        if found or self._catalogue.lost:
            self._catalogue.put_in_order()
            self._noted(self._catalogue.rewrite)

    def settle(self, manager: Any) -> None:
        """
        Archives that the manager has not taken up, and those that a callback was moving when the last process ended.

        @param manager: which has recovered what it could.
        """
        taken = {os.path.abspath(job.filename) for job in manager.pending if job.filename is not None}
        incomplete = {os.path.abspath(path) for path in manager.incomplete}
        missing = []
        for archive in self._catalogue.all():
            if archive.state not in (State.OPEN, State.CLOSED):
                continue
            if archive.path in taken:
                if archive.state == State.OPEN:  # there was no room to note more of it
                    self._count(archive)
                continue
            if os.path.exists(archive.path):
                if archive.state == State.OPEN and (archive.path in incomplete or not self._is_complete(archive.path)):
                    self._log.error("{path} was left open, and cannot be recovered now", path=archive.path)
                    self._count(archive)
                else:
                    size = os.stat(archive.path).st_size
                    self._noted(self._catalogue.change, archive.number, state=State.FINISHED, size=size)
            else:
                missing.append(archive)
        found = self._found(taken) if missing else {}
        for archive in missing:
            path = found.get(archive.salt)
            if path is not None and path in taken:
                self._catalogue.moved(archive.number, path)
            elif path is not None:
                self._log.warn("{path} is now {now}; a callback was at work on it", path=archive.path, now=path)
                size = os.stat(path).st_size
                self._noted(self._catalogue.change, archive.number, state=State.FINISHED, path=path, size=size)
            elif archive.state == State.OPEN:
                # It had nothing that was acknowledged, or its name would have been on disk.
                self._log.info("{path} was opened, but never written to", path=archive.path)
                self._noted(self._catalogue.remove, archive.number)
            else:
                self._log.error("{path} is gone", path=archive.path)

    def _is_complete(self, path: str) -> bool:
        try:
            with self._library.open_reader(path) as reader:
                return bool(reader.complete or reader.compressed_as is not None)
        except (StorehouseError, OSError):
            return True  # no archive, or one with a damaged header: whoever reads it is told

    def _count(self, archive: Archive) -> None:
        """What an archive holds that was left open and has no end yet: it is read as far as its records are whole."""
        try:
            with self._library.open_reader(archive.path, skip_damaged=True) as reader:
                verified = reader.verify()
            size = os.stat(archive.path).st_size - verified.torn
            self._catalogue.grew(archive.path, archive.salt, size, verified.records)
        except (StorehouseError, OSError) as problem:
            self._log.error("{path} cannot be read: {problem}", path=archive.path, problem=str(problem))

    def _archives_around(self) -> list[str]:
        """Archives where the stream makes them, and where its callbacks move them, in the order of writing."""
        folders = [getattr(callback, "destination_folder", "") for callback in self._settings.callbacks]
        paths: list[str] = []
        for directory in filter(os.path.isdir, [*filter(None, folders), self._settings.directory]):
            paths += self._library.find_archives("*", os.path.abspath(directory))
        return paths

    def _found(self, taken: Iterable[str]) -> dict[int, str]:
        """Where archives are that callbacks may have renamed or moved, by their salts."""
        paths = [*taken, *self._archives_around()]
        found: dict[int, str] = {}
        for path in paths:
            found.setdefault(self._salt_of(path), path)
        found.pop(0, None)
        return found
