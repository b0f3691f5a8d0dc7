"""
What a stream does at its start to have a true catalogue: archives may have been moved, or left unfinished by a crash, and
lines of the catalogue may have been lost.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterable
from functools import partial

import attrs
from twisted.logger import Logger

from storehouse.archive.archive import ArchiveReader
from storehouse.archive.finding import find_archives
from storehouse.archive.roll_manager import WritingRollManager
from storehouse.core.jobs import IDisk, whole
from storehouse.core.root import below_root, possible_paths
from storehouse.errors import StorehouseError, Unavailable
from storehouse.storage.shipping.interfaces import IDestination
from storehouse.storage.streams.catalogue import Catalogue
from storehouse.storage.streams.interfaces import Archive, State
from storehouse.storage.streams.reading import header_of
from storehouse.storage.streams.settings import StreamSettings

__all__ = ["Recovery", "find_shipped"]

_log = Logger()

#: The shipper's names end with the beginning of a digest, and extensions.
_is_shipped_name = re.compile(r".*-[0-9a-f]{16}(?:\.[^/]*)?", re.DOTALL).fullmatch


class Recovery:
    """
    Corrects a catalogue that was just read, from the archives that are there. All methods wait for the disk.

    What cannot be written to the catalogue now, on a full disk, is written with the next change: a stream starts nevertheless.
    """

    def __init__(self, settings: StreamSettings, catalogue: Catalogue) -> None:
        self._settings = settings
        self._catalogue = catalogue

    def relocate(self) -> None:
        """Correct absolute paths that were noted before the root, or the directory of the stream, was moved or copied."""
        settings = self._settings
        is_changed = False
        for archive in self._catalogue.all():
            if not archive.path or (settings.root and below_root(settings.root, archive.path) is not None):
                continue
            paths = list(possible_paths(settings.root, archive.path)) if settings.root else []
            beside = os.path.join(settings.directory, os.path.basename(archive.path))
            if not os.path.exists(archive.path) and os.path.exists(beside):
                paths.append(beside)
            for path in paths:
                if archive.salt and self._salt_of(path) == archive.salt:
                    self._catalogue.moved(archive.number, path)
                    is_changed = True
                    break
        if is_changed:
            self._try(self._catalogue.rewrite)

    def adopt(self) -> None:
        """Add archives that were there before the stream, or whose catalogue, or line in it, was lost."""
        if not (self._catalogue.is_new or self._catalogue.lost):
            return
        salts = {archive.salt for archive in self._catalogue.all()}
        is_changed = False
        # All names: an earlier template may have made any.
        for path in self._find_around():
            if fnmatch.fnmatch(os.path.basename(path), ".*"):
                continue
            try:
                with self._open(path) as reader:
                    if reader.info.version != 2 or not reader.info.salt:
                        raise Unavailable("its version is 1")
                    if reader.info.salt in salts:
                        continue
                    if not reader.complete and reader.compressed_as is None:
                        continue  # the manager recovers it, and it is added then
                    lowest, highest = reader.times or (0, 0)
                    self._catalogue.adopt(
                        Archive(
                            0,
                            os.path.abspath(path),
                            state=State.FINISHED,
                            salt=reader.info.salt,
                            created=reader.info.created,
                            records=reader.count or 0,
                            size=os.stat(path).st_size,
                            lowest=lowest,
                            highest=highest,
                        )
                    )
                    salts.add(reader.info.salt)
                    is_changed = True
            except (StorehouseError, OSError) as problem:
                _log.warn("{path} does not become part of the stream: {problem}", path=path, problem=str(problem))
        if is_changed or self._catalogue.lost:
            self._catalogue.put_in_order()
            self._try(self._catalogue.rewrite)

    def settle(self, manager: WritingRollManager) -> None:
        """
        Find out what became of archives that were not finished when the last process ended, and that the manager does not know.

        @param manager: it has recovered what it could.
        """
        pending = {os.path.abspath(job.filename) for job in manager.pending if job.filename is not None}
        incomplete = {os.path.abspath(path) for path in manager.incomplete}
        missing = []
        for archive in self._catalogue.all():
            if archive.state not in (State.OPEN, State.CLOSED):
                continue
            if archive.path in pending:
                if archive.state == State.OPEN:  # the disk was too full to note more of it
                    self._count(archive)
            elif os.path.exists(archive.path):
                if archive.state == State.OPEN and (archive.path in incomplete or not self._is_complete(archive.path)):
                    _log.error("{path} was left open, and cannot be recovered now", path=archive.path)
                    self._count(archive)
                else:
                    self._finish(archive, archive.path)
            else:
                missing.append(archive)
        paths = self._paths_by_salt(pending) if missing else {}
        for archive in missing:
            path = paths.get(archive.salt)
            if path is not None and path in pending:
                self._catalogue.moved(archive.number, path)
            elif path is not None:
                _log.warn("{path} is now {now}: a callback was moving it", path=archive.path, now=path)
                self._finish(archive, path)
            elif archive.state == State.OPEN:
                # It had no acknowledged record, or its name would have been on disk.
                _log.info("{path} was opened, but never written to", path=archive.path)
                self._try(partial(self._catalogue.remove, archive.number))
            else:
                _log.error("{path} is gone", path=archive.path)

    def _open(self, path: str, skip_damaged: bool = False) -> ArchiveReader:
        return ArchiveReader(path, skip_damaged=skip_damaged, max_record=self._settings.max_record)

    def _salt_of(self, path: str) -> int:
        """What tells an archive from others; 0 if that cannot be read."""
        try:
            with self._open(path) as reader:
                return reader.info.salt
        except (StorehouseError, OSError):
            return 0

    def _try(self, change: Callable[[], object]) -> None:
        """Change the catalogue; see the class for what cannot be written."""
        try:
            change()
        except OSError as problem:
            _log.warn("{path} cannot be written: {problem}", path=self._settings.catalogue, problem=str(problem))

    def _finish(self, archive: Archive, path: str) -> None:
        size = os.stat(path).st_size
        self._try(lambda: self._catalogue.change(archive.number, state=State.FINISHED, path=path, size=size))

    def _is_complete(self, path: str) -> bool:
        try:
            with self._open(path) as reader:
                return reader.complete or reader.compressed_as is not None
        except (StorehouseError, OSError):
            return True  # no archive, or one with a damaged header: readers of the stream get an error

    def _count(self, archive: Archive) -> None:
        """Find out how many whole records an archive has that was left open."""
        try:
            with self._open(archive.path, skip_damaged=True) as reader:
                verified = reader.verify()
            size = os.stat(archive.path).st_size - verified.torn
            self._catalogue.grew(archive.path, archive.salt, size, verified.records)
        except (StorehouseError, OSError) as problem:
            _log.error("{path} cannot be read: {problem}", path=archive.path, problem=str(problem))

    def _find_around(self) -> list[str]:
        """Archives where the stream makes them, and where its callbacks move them, in the order of writing."""
        folders = [getattr(callback, "destination_folder", "") for callback in self._settings.callbacks]
        paths: list[str] = []
        for directory in filter(os.path.isdir, [*filter(None, folders), self._settings.directory]):
            paths += find_archives("*", os.path.abspath(directory))
        return paths

    def _paths_by_salt(self, pending: Iterable[str]) -> dict[int, str]:
        """Where archives are that callbacks may have renamed or moved."""
        paths: dict[int, str] = {}
        for path in [*pending, *self._find_around()]:
            paths.setdefault(self._salt_of(path), path)
        paths.pop(0, None)
        return paths


async def find_shipped(settings: StreamSettings, catalogue: Catalogue, destination: IDestination, disk: IDisk) -> int:
    """
    Add archives that the destination has under the name of the stream, and the catalogue, which was damaged, has not.

    Their headers tell which archives they are, and when they were made. Other files there are left alone.

    @return: how many were added.
    @raise StorehouseError: if the destination cannot be read. Nothing is changed then, and it can be tried again.
    @raise OSError: if the catalogue cannot be written now; it has the archives nevertheless.
    """
    found: list[Archive] = []
    # Of two copies of an archive that are compressed in different ways, put_between takes one.
    after: str | None = ""
    while after is not None:
        page = await destination.list(f"{settings.name}/", after)
        after = page.next_after
        noted = {archive.remote for archive in catalogue.all()}
        for entry in page.entries:
            if entry.name in noted or not _is_shipped_name(entry.name):
                continue
            archive = Archive(
                0,
                "",
                state=State.SHIPPED,
                remote=entry.name,
                remote_size=entry.size,
                destination=settings.ship,
            )
            try:
                info = await header_of(disk, destination, archive, settings.max_record)
            except Unavailable:
                raise
            except StorehouseError as problem:
                _log.warn(
                    "{name} does not become part of the stream: {problem}", name=entry.name, problem=problem.detail
                )
                continue
            if info.salt:
                found.append(attrs.evolve(archive, salt=info.salt, created=info.created))
    return await whole(disk, catalogue.put_between, found)
