"""Reading records from one archive after the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from twisted.logger import Logger

from storehouse.archive.chain import CallbackChain
from storehouse.archive.finding import Seen, find_now, find_seen
from storehouse.archive.interfaces import Payload
from storehouse.archive.reader import ArchiveReader
from storehouse.archive.scan import MAX_RECORD
from storehouse.errors import DamagedArchive, NoMoreFiles, NotFound, UnknownArchiveFormat

__all__ = ["ReadingRollManager", "find_archives"]

#: How often an archive is looked for that is moved on just then.
_TRIES = 20

#: Takes the next record of those that are decoded; there is none.
_NOTHING: Callable[[], Any] = [].pop


def find_archives(filename_template: str, directory: str = ".") -> list[str]:
    """
    The archives that match a pattern, in the order of writing (docs/formats/archive.md, Reading). One that is there twice,
    as it is and compressed for instance, is given once.

    @param filename_template: with C{*}, C{?} and C{[...]}, for names; a directory may stand before.
    @raise InvalidSetting: if there is no such directory.
    """
    return [seen.path for seen in _find(filename_template, directory)]


def _find(filename_template: str, directory: str) -> list[Seen]:
    inside, pattern = os.path.split(filename_template)
    return find_seen(pattern, os.path.join(directory, inside) if inside else directory)


class ReadingRollManager:
    """
    Reads the records of all archives that match a pattern, in the order in which they were written.

    Which archives there are is found out once, when it is made. One that callbacks of its writer rename or compress meanwhile is
    found again; so is one that they move, if it is in C{destination_directory} then, or they have not done with it.

    @ivar files_to_read: paths of the archives that were not begun.
    @ivar torn: C{(path, bytes)} of archives behind whose last record something else follows; a writer was killed, or is
        at work.
    @ivar damages: what was skipped.
    """

    _log = Logger()

    def __init__(
        self,
        filename_template: str,
        directory: str = ".",
        destination_directory: str = ".",
        archive_class: Any = None,
        archive_callback: Any = None,
        roll_size_mb: Any = None,
        *,
        skip_damaged: bool = False,
        max_record: int = MAX_RECORD,
        callbacks: Iterable[Any] = (),
    ) -> None:
        """
        @param filename_template: a pattern with C{*}, C{?} and C{[...]}.
        @param destination_directory: where archives are looked for that are moved before they are read.
        @param roll_size_mb: not used; taken as the first program took it.
        @param archive_class: makes a reader of a path, instead of L{ArchiveReader}; has C{read}, which raises
            C{EOFError} at the end, and C{close}.
        @param archive_callback: an L{IArchiveCallback<storehouse.archive.interfaces.IArchiveCallback>}: told
            when an archive is begun, and when it has been read to its end.
        @param skip_damaged: go on behind damage, and log it.
        @param max_record: a record that claims more bytes is damage.
        @param callbacks: more of them.
        """
        self.filename_template = filename_template
        self.directory = os.fspath(directory)
        self.destination_directory = destination_directory
        self.archive_class = archive_class
        self.archive_callback = archive_callback
        self._seen = {seen.path: seen for seen in _find(filename_template, self.directory)}
        self.files_to_read = list(self._seen)
        self.active_archive: Any = None
        self.active_filename: str | None = None
        self.torn: list[tuple[str, int]] = []
        self.damages: list[Exception] = []
        self._skip = skip_damaged
        self._max_record = max_record
        self._take: Callable[[], tuple[dict[str, str], Payload]] = _NOTHING
        self._chain = CallbackChain(
            callbacks=[*(() if archive_callback is None else (archive_callback,)), *callbacks], attempts=1
        )

    def read(self) -> tuple[dict[str, str], Payload]:
        """
        The next record: metadata and payload.

        @raise NoMoreFiles: if all archives have been read.
        @raise DamagedArchive: if there is damage in the way, each time until L{skip_file} is called.
        @raise UnknownArchiveFormat: if a file is no archive, or C{DamagedArchive} if its header is damaged; the next call
            goes on with the next file.
        @raise NotFound: if an archive is gone before it was read, and is not found again; likewise.
        """
        try:
            return self._take()
        except IndexError:
            pass  # there is more to it
        while True:
            archive = self.active_archive
            if archive is None:
                archive = self.get_active_archive()
            try:
                pair: tuple[dict[str, str], Payload] = archive.read()
            except EOFError:
                self._finish()
                continue
            if isinstance(archive, ArchiveReader):
                self._take = archive.take
            return pair

    def __iter__(self) -> Iterator[tuple[dict[str, str], Payload]]:
        """All further records."""
        while True:
            try:
                pair = self.read()
            except NoMoreFiles:
                return
            yield pair

    def get_active_archive(self) -> Any:
        """The archive that is read; the next one is opened if there is none. @raise NoMoreFiles: if there is none."""
        while self.active_archive is None:
            if not self.files_to_read:
                raise NoMoreFiles(f"all archives of {self.filename_template} have been read")
            path = self.files_to_read.pop(0)
            try:
                self.active_archive, path = self._open(path)
            except (DamagedArchive, UnknownArchiveFormat, NotFound) as problem:
                if not self._skip:
                    raise
                self.damages.append(problem)
                self._log.error("skipped: {damage}", damage=problem.detail)
                continue
            self.active_filename = path
            self._chain.on_open(path)
        return self.active_archive

    def _open(self, path: str) -> tuple[Any, str]:
        seen = self._seen.pop(path, None)
        for _ in range(_TRIES):
            try:
                if self.archive_class is None:
                    return ArchiveReader(path, skip_damaged=self._skip, max_record=self._max_record), path
                return self.archive_class(path), path
            except FileNotFoundError:
                now = None if seen is None else find_now(seen, (self.destination_directory,))
                if now is None:
                    break
                self._log.info("{path} is now {now}", path=path, now=now)
                path = now
        raise NotFound(f"{path} is gone before it was read, and nothing that was found is the archive that it was")

    def skip_file(self) -> None:
        """Leave the archive that is read, and go on with the next. Callbacks are not told: it was not read to its end."""
        archive, self.active_archive, self.active_filename = self.active_archive, None, None
        self._take = _NOTHING
        if archive is not None:
            archive.close()

    def close(self) -> None:
        """Leave the archive that is read, if there is one. Callbacks are not told: it was not read to its end."""
        self.skip_file()

    def _finish(self) -> None:
        """The archive has been read to its end."""
        archive, path = self.active_archive, self.active_filename
        if archive is None or path is None:
            return
        self.active_archive = self.active_filename = None
        self._take = _NOTHING
        archive.close()
        if isinstance(archive, ArchiveReader):
            if archive.torn:
                self.torn.append((path, archive.torn))
                self._log.warn("{path}: {torn} bytes behind its last whole record", path=path, torn=archive.torn)
            for damage in archive.damages:
                self.damages.append(damage)
                self._log.error("skipped: {damage}", damage=damage.detail)
        self._chain.on_close(path)

    def __enter__(self) -> ReadingRollManager:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
