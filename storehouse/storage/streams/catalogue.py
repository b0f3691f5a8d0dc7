"""
What archives a stream has, in which order, and where: a file of JSON objects with checksums (L{storehouse.core.checksummed}), one a line.

Each line is all that is known of one archive, or that it is gone, and counts instead of those before about the same::

    {"number":1,"path":"archives/a/1.events","state":"open","salt":17,"created":1790000000000000000,...,"checksum":"..."}
    {"number":1,"gone":true,"checksum":"..."}

A path below the root is relative to it; those of earlier versions are absolute. A line is on disk before what depends on it is
done. A last line that a crash cut is dropped; other bytes behind the last newline are damage. A line that is damaged is put right if one flipped bit is all that is wrong with
it; otherwise what it said is lost, and the stream finds the archive again if it is there. The file as it was is kept aside
then. At a start the file is written anew; without room for that it is continued as it is.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.logger import Logger

from storehouse.core.checksummed import decode_checksummed, encode_checksummed
from storehouse.core.files import Files, open_stored
from storehouse.core.root import noted_path, path_of
from storehouse.storage.streams.interfaces import Archive, State
from storehouse.storage.streams.mending import mended_line

__all__ = ["Catalogue"]

#: Between the numbers of archives after some were lost, for those that are found again.
_GAP = 1 << 20

#: What each line begins with.
_BEGIN = b'{"number":'


class Catalogue:
    """
    The archives of one stream. Any thread may call any method; those that change something wait for the disk.

    @ivar is_new: there was no file.
    @ivar problems: what was wrong with the file, for people.
    @ivar lost: lines that were damaged beyond repair.
    @ivar set_aside: damaged files that were kept under another name, now or at an earlier start, and are there still: what
        they said of shipped archives may be missing, until an operator has looked and taken them away.
    @param failed: called with the error, in the caller's thread, when a sync failed.
    @param root: paths below it are noted relative to it; empty for none.
    """

    _log = Logger()

    def __init__(
        self, path: str, files: Files, failed: Callable[[OSError], object] = lambda error: None, root: str = ""
    ) -> None:
        self.is_new = True
        self.problems: list[str] = []
        self.lost = 0
        self.set_aside: tuple[str, ...] = ()
        self._path = path
        self._files = files
        self._failed = failed
        self._root = root
        self._lock = threading.RLock()
        self._archives: dict[int, Archive] = {}
        self._last = 0
        self._fd = -1
        self._end = 0
        self._unsaved: list[bytes] = []
        self._is_open = False

    # -- the file ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """
        Read the file, and write it anew.

        @raise OSError: if it cannot be read. That it cannot be written is no failure: what is new is written once it can be.
        """
        self.problems.clear()
        self.lost = 0
        self._archives.clear()
        self._unsaved.clear()
        self._last = self._end = 0
        try:
            with open_stored(self._path) as file:
                whole = file.readall()
            # Without an archive the file is empty.
            self.is_new = not whole
        except FileNotFoundError:
            whole = b""
            self.is_new = True
        lines = whole.split(b"\n")
        self._end = len(whole) - len(lines[-1])
        self._read(lines)
        self._is_open = True
        try:
            if self.problems:
                self._keep_aside()
            self.rewrite()
        except OSError as problem:
            self._log.warn("{path} cannot be written anew: {problem}", path=self._path, problem=str(problem))
            if not self.is_new:
                self._fd = self._files.open(self._path, os.O_RDWR)
        self.look_aside()

    def look_aside(self) -> None:
        """Find out which damaged files are kept."""
        mark = f"{os.path.basename(self._path)}.damaged-"
        directory = os.path.dirname(self._path)
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            return  # as known before
        kept = [name for name in names if name.startswith(mark) and name[len(mark) :].isdecimal()]
        if self.set_aside and not kept:
            self.lost = 0
        self.set_aside = tuple(os.path.join(directory, name) for name in kept)

    @property
    def lacking(self) -> Sequence[str]:
        """The damaged files, of which archives may be missing here."""
        return self.set_aside or ((self._path,) if self.lost else ())

    def _read(self, lines: list[bytes]) -> None:
        """@param lines: all, and what is behind the last newline: what a crash cut, if it begins as a line does."""
        at = 0
        while at < len(lines) - 1:
            number, line = at + 1, lines[at]
            at += 1
            try:
                self._learn(line)
                continue
            except (ValueError, TypeError, KeyError) as problem:
                reason = str(problem)
            mended, more = mended_line(line, lines[at] if at < len(lines) - 1 else b"")
            try:
                for each in mended:
                    self._learn(each)
            except (ValueError, TypeError, KeyError) as problem:
                mended, more, reason = (), 0, str(problem)
            at += more
            if mended:
                self.problems.append(f"line {number} had one flipped bit, which was put right")
            else:
                self.lost += 1
                self.problems.append(f"line {number} is damaged: {reason}")
        try:
            # Its newline may have been what was flipped.
            self._learn(lines[-1][:-1])
            self.problems.append(f"line {len(lines)} had one flipped bit, which was put right")
        except (ValueError, TypeError, KeyError):
            if lines[-1] and not _is_cut(lines[-1]):
                self.lost += 1
                self.problems.append(f"{len(lines[-1])} bytes behind the last whole line are damaged")

    def _learn(self, line: bytes) -> None:
        fields, is_checked = decode_checksummed(line)
        if not is_checked:
            raise ValueError("it has no checksum")
        number = fields["number"]
        if fields.get("gone"):
            self._archives.pop(number, None)
        else:
            fields["path"] = path_of(self._root, fields["path"])
            self._archives[number] = Archive(**fields)
        self._last = max(self._last, number)

    def _keep_aside(self) -> None:
        """Give the file a second name, under which it stays as it is; another one if all it said is known nevertheless."""
        for number in itertools.count(1):
            kept = f"{self._path}.{'damaged' if self.lost else 'mended'}-{number}"
            try:
                self._files.link(self._path, kept)
            except FileExistsError:
                continue
            self._files.sync_directory(os.path.dirname(self._path))
            self.problems.append(f"the file as it was is kept as {kept}")
            return

    def rewrite(self) -> None:
        """
        Write the whole file anew.

        @raise OSError: then it is as it was.
        """
        with self._lock:
            self._files.make_directory(os.path.dirname(self._path))
            new = self._path + ".new"
            fd = self._files.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            try:
                whole = b"".join(map(self._line, self.all()))
                # The highest number is not given out again, although its archive is gone.
                if self._last and self._last not in self._archives:
                    whole += _gone(self._last)
                self._files.write_at(fd, (whole,), 0)
                self._files.sync_data(fd)
                self._files.rename(new, self._path)
                self._files.sync_directory(os.path.dirname(self._path))
            except BaseException:
                self._files.close(fd)
                raise
            before, self._fd = self._fd, fd
            self._end = len(whole)
            self._unsaved.clear()
            if before >= 0:
                self._files.close(before)

    def close(self) -> None:
        """Close the file."""
        self._is_open = False
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._files.close(fd)

    def _save(self, line: bytes = b"") -> None:
        """What cannot be written now goes with the next line."""
        if line:
            self._unsaved.append(line)
        if not self._is_open:
            raise OSError(f"{self._path} is closed")
        if self._fd < 0:
            self.rewrite()
            return
        data = b"".join(self._unsaved)
        self._files.write_at(self._fd, (data,), self._end)
        try:
            self._files.sync_data(self._fd)
        except OSError as problem:
            self._failed(problem)
            raise
        self._end += len(data)
        self._unsaved.clear()

    def catch_up(self) -> None:
        """Write what could not be written before. @raise OSError: if it cannot be written now."""
        with self._lock:
            if self._unsaved and self._is_open:
                self._save()

    # -- what there is -------------------------------------------------------------------------------------------------

    def all(self) -> list[Archive]:
        """All, in the order of writing."""
        with self._lock:
            return [archive for _, archive in sorted(self._archives.items())]

    def get(self, number: int) -> Archive | None:
        """What is known of one; C{None} once it is gone."""
        return self._archives.get(number)

    def find(self, path: str) -> Archive | None:
        """The last one that is at that path."""
        return next((archive for archive in reversed(self.all()) if archive.path == path), None)

    # -- changes -------------------------------------------------------------------------------------------------------

    def add(self, path: str, **known: Any) -> Archive:
        """A new one, behind all others."""
        with self._lock:
            self._last += 1
            archive = Archive(self._last, path, **known)
            self._archives[archive.number] = archive
            self._save(self._line(archive))
            return archive

    def found(self, path: str, **known: Any) -> None:
        """L{add}, without writing it down: L{put_in_order} and L{rewrite} follow."""
        with self._lock:
            self._last += 1
            self._archives[self._last] = Archive(self._last, path, **known)

    def change(self, number: int, **known: Any) -> Archive | None:
        """Something more is known of one. @return: C{None} if it is gone."""
        with self._lock:
            archive = self._archives.get(number)
            if archive is not None:
                archive = self._archives[number] = attrs.evolve(archive, **known)
                self._save(self._line(archive))
            return archive

    def grew(self, path: str, salt: int, size: int, records: int) -> bool:
        """
        So much of the one that is written is durable. That is not noted: the archive itself says it.

        @return: whether it is known.
        """
        with self._lock:
            archive = self._archives.get(self._last)
            if archive is None or (archive.path, archive.salt) != (path, salt):
                archive = next((each for each in reversed(self.all()) if each.salt == salt), None)
            if archive is not None and archive.state == State.OPEN:
                self._archives[archive.number] = attrs.evolve(archive, size=size, records=records)
            return archive is not None

    def moved(self, number: int, path: str) -> None:
        """The file has another name. That is not noted either, before its callbacks are done: their marker says it."""
        with self._lock:
            archive = self._archives.get(number)
            if archive is not None:
                self._archives[number] = attrs.evolve(archive, path=path)

    def remove(self, number: int) -> None:
        """One is gone for good."""
        with self._lock:
            if self._archives.pop(number, None) is not None:
                self._save(_gone(number))

    def put_in_order(self) -> None:
        """Number all anew, by the times at which they were made: some were found again whose place was lost."""
        with self._lock:
            archives = sorted(self.all(), key=lambda archive: archive.created)
            # Others may be found later, by L{put_between}.
            step = _GAP if self.lost else 1
            self._archives = {
                number * step: attrs.evolve(archive, number=number * step)
                for number, archive in enumerate(archives, start=1)
            }
            self._last = max(self._last, step * len(archives), step if self.lost else 0)

    def put_between(self, found: Sequence[Archive]) -> int:
        """
        Give archives that were found again their places, by the times at which they were made. Nothing else changes its number.

        @param found: with any numbers; those whose salt is known are left out.
        @return: how many are new.
        @raise OSError: if they cannot be written now; they are known nevertheless, and written later.
        """
        with self._lock:
            salts = {archive.salt for archive in self._archives.values()}
            new = []
            for archive in sorted(found, key=lambda archive: archive.created):
                if archive.salt not in salts:
                    salts.add(archive.salt)
                    new.append(archive)
            before = sorted((each.created, each.number) for each in self._archives.values())
            lowest = min(self._archives, default=self._last + 1)
            at, number = 0, lowest - len(new) - 1
            for archive in new:
                while at < len(before) and before[at][0] < archive.created:
                    number = max(number, before[at][1])
                    at += 1
                number += 1
                if number in self._archives:
                    # No gap is left there: before all, since what is written now must stay the last.
                    number = min(self._archives) - 1
                placed = self._archives[number] = attrs.evolve(archive, number=number)
                self._last = max(self._last, number)
                self._unsaved.append(self._line(placed))
            if self._unsaved:
                self._save()
            return len(new)

    def _line(self, archive: Archive) -> bytes:
        fields = attrs.asdict(archive)
        fields["path"] = noted_path(self._root, archive.path)
        return encode_checksummed(fields) + b"\n"


def _is_cut(line: bytes) -> bool:
    """Whether it is the beginning of a line. A file that was overwritten, with zeros or other bytes, has none."""
    return (line.startswith(_BEGIN) or _BEGIN.startswith(line)) and b"\0" not in line


def _gone(number: int) -> bytes:
    return encode_checksummed({"number": number, "gone": True}) + b"\n"
