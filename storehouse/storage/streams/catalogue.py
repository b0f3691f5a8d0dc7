"""
The catalogue of a stream, which has its archives, their order, and where they are: a file of JSON objects with checksums
(L{storehouse.core.checksummed}), one a line.

Each line describes one archive, or says that it is gone, and replaces the lines before about the same::

    {"number":1,"path":"archives/a/1.events","state":"open","salt":17,"created":1790000000000000000,...,"checksum":"..."}
    {"number":1,"gone":true,"checksum":"..."}

A path below the root is relative to it; those of earlier versions are absolute. A line is on disk before anything is done that
depends on it. A last line that a crash cut off is dropped; other bytes behind the last newline are damage. A damaged line is
corrected if one flipped bit explains the damage; otherwise it is lost, and the stream finds the archive again if that is there
(L{storehouse.storage.streams.recovery}). A copy of the file as it was is kept then. Each start rewrites the file; on a full disk
it is continued as it is.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

import attrs
from twisted.logger import Logger

from storehouse.core.checksummed import decode_checksummed, encode_checksummed
from storehouse.core.files import Files, open_stored
from storehouse.core.root import noted_path, path_of
from storehouse.storage.streams.interfaces import Archive, State

__all__ = ["Catalogue"]


#: Between the numbers of archives after some were lost: leaves numbers for those that are found again later.
_GAP = 1 << 20

#: What each line begins with.
_BEGIN = b'{"number":'


class Catalogue:
    """
    The archives of one stream. Any thread may call any method; those that change archives wait for the disk.

    @ivar is_new: there was no file, or an empty one.
    @ivar problems: what was wrong with the file, for people.
    @ivar lost: lines that were damaged beyond repair.
    @ivar set_aside: copies of damaged files, of this start or an earlier one, that nobody has moved away yet. Until then
        archives that were shipped may be missing here.
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
        Read the file, and rewrite it.

        @raise OSError: if it cannot be read. If it cannot be written, that is tried again with the next change.
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
            self._log.warn("{path} cannot be rewritten: {problem}", path=self._path, problem=str(problem))
            if not self.is_new:
                self._fd = self._files.open(self._path, os.O_RDWR)
        self.find_set_aside()

    def find_set_aside(self) -> None:
        """Find the copies of damaged files."""
        mark = f"{os.path.basename(self._path)}.damaged-"
        directory = os.path.dirname(self._path)
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            return  # set_aside stays as it was
        kept = [name for name in names if name.startswith(mark) and name[len(mark) :].isdecimal()]
        if self.set_aside and not kept:
            self.lost = 0
        self.set_aside = tuple(os.path.join(directory, name) for name in kept)

    @property
    def lacking(self) -> Sequence[str]:
        """Damaged files that may have archives which are missing here."""
        return self.set_aside or ((self._path,) if self.lost else ())

    def _read(self, lines: list[bytes]) -> None:
        """@param lines: all lines, and the bytes behind the last newline."""
        at = 0
        while at < len(lines) - 1:
            number, line = at + 1, lines[at]
            at += 1
            try:
                self._apply(line)
                continue
            except (ValueError, TypeError, KeyError) as problem:
                reason = str(problem)
            corrected, more = _correct(line, lines[at] if at < len(lines) - 1 else b"")
            try:
                for each in corrected:
                    self._apply(each)
            except (ValueError, TypeError, KeyError) as problem:
                corrected, more, reason = (), 0, str(problem)
            at += more
            if corrected:
                self.problems.append(f"line {number} had one flipped bit, which was corrected")
            else:
                self.lost += 1
                self.problems.append(f"line {number} is damaged: {reason}")
        try:
            # The flipped bit may be in its newline.
            self._apply(lines[-1][:-1])
            self.problems.append(f"line {len(lines)} had one flipped bit, which was corrected")
        except (ValueError, TypeError, KeyError):
            if lines[-1] and not _is_cut_off(lines[-1]):
                self.lost += 1
                self.problems.append(f"{len(lines[-1])} bytes behind the last whole line are damaged")

    def _apply(self, line: bytes) -> None:
        fields: Any
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
        """Make a hard link to the file, which stays as it is: C{damaged-N} if lines were lost, or C{mended-N}."""
        for number in itertools.count(1):
            kept = f"{self._path}.{'damaged' if self.lost else 'mended'}-{number}"
            try:
                # A link, not a copy: it needs no space, and the next step replaces the name, not the file.
                self._files.link(self._path, kept)
            except FileExistsError:
                continue
            self._files.sync_directory(os.path.dirname(self._path))
            self.problems.append(f"a copy of it as it was is {kept}")
            return

    def rewrite(self) -> None:
        """
        Rewrite the file.

        @raise OSError: then the file is as it was.
        """
        with self._lock:
            self._files.make_directory(os.path.dirname(self._path))
            new = self._path + ".new"
            fd = self._files.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            try:
                whole = b"".join(map(self._line, self.all()))
                # The highest number is not used again, although its archive is gone: it would look like that one.
                if self._last and self._last not in self._archives:
                    whole += _gone(self._last)
                self._files.write_at(fd, (whole,), 0)
                # The catalogue is the only record of archives that were shipped and removed here, so the old file stays
                # until the new one is on disk.
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
        """Write a line. If that fails, it is written together with the next one."""
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
        """Write lines that could not be written before. @raise OSError: if they still cannot."""
        with self._lock:
            if self._unsaved and self._is_open:
                self._save()

    # -- archives ------------------------------------------------------------------------------------------------------

    def all(self) -> list[Archive]:
        """All archives, in the order of writing."""
        with self._lock:
            return [archive for _, archive in sorted(self._archives.items())]

    def get(self, number: int) -> Archive | None:
        """The archive of that number; C{None} if it is gone."""
        return self._archives.get(number)

    def find(self, path: str) -> Archive | None:
        """The last archive that is at that path."""
        return next((archive for archive in reversed(self.all()) if archive.path == path), None)

    # -- changes -------------------------------------------------------------------------------------------------------

    def add(self, path: str, salt: int, created: int) -> Archive:
        """Add a new archive, behind all others."""
        with self._lock:
            self._last += 1
            archive = Archive(self._last, path, salt=salt, created=created)
            self._archives[archive.number] = archive
            self._save(self._line(archive))
            return archive

    def adopt(self, archive: Archive) -> None:
        """Add an archive of any number, without writing it down: L{put_in_order} and L{rewrite} follow."""
        with self._lock:
            self._last += 1
            self._archives[self._last] = attrs.evolve(archive, number=self._last)

    def change(self, number: int, **changes: int | str) -> Archive | None:
        """Change attributes of an archive. @return: the archive; C{None} if it is gone."""
        with self._lock:
            archive = self._archives.get(number)
            if archive is not None:
                archive = self._archives[number] = attrs.evolve(archive, **cast(Any, changes))
                self._save(self._line(archive))
            return archive

    def grew(self, path: str, salt: int, size: int, records: int) -> bool:
        """
        Note how much of the open archive is durable. That is not written down: after a crash its records are counted.

        @return: whether the catalogue has the archive.
        """
        with self._lock:
            archive = self._archives.get(self._last)
            if archive is None or (archive.path, archive.salt) != (path, salt):
                archive = next((each for each in reversed(self.all()) if each.salt == salt), None)
            if archive is not None and archive.state == State.OPEN:
                self._archives[archive.number] = attrs.evolve(archive, size=size, records=records)
            return archive is not None

    def moved(self, number: int, path: str) -> None:
        """The file has another path. That is not written down before its callbacks are done: their marker has it until then."""
        with self._lock:
            archive = self._archives.get(number)
            if archive is not None:
                self._archives[number] = attrs.evolve(archive, path=path)

    def remove(self, number: int) -> None:
        """Note that an archive is gone for good."""
        with self._lock:
            if self._archives.pop(number, None) is not None:
                self._save(_gone(number))

    def put_in_order(self) -> None:
        """Number all archives anew, by their times: the numbers of adopted ones mean nothing."""
        with self._lock:
            archives = sorted(self.all(), key=lambda archive: archive.created)
            # put_between may find others later.
            step = _GAP if self.lost else 1
            self._archives = {
                number * step: attrs.evolve(archive, number=number * step)
                for number, archive in enumerate(archives, start=1)
            }
            self._last = max(self._last, step * len(archives), step if self.lost else 0)

    def put_between(self, found: Sequence[Archive]) -> int:
        """
        Add archives that were found again, each before the next one by time. No other archive changes its number.

        @param found: of any numbers; those whose salt the catalogue has are left out.
        @return: how many were added.
        @raise OSError: if they cannot be written now; the catalogue has them nevertheless, and writes them later.
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
                    # No number is left there: it goes before all, since the archive that is open must stay the last.
                    number = min(self._archives) - 1
                added = self._archives[number] = attrs.evolve(archive, number=number)
                self._last = max(self._last, number)
                self._unsaved.append(self._line(added))
            if self._unsaved:
                self._save()
            return len(new)

    def _line(self, archive: Archive) -> bytes:
        fields = attrs.asdict(archive)
        fields["path"] = noted_path(self._root, archive.path)
        return encode_checksummed(fields) + b"\n"


def _is_cut_off(line: bytes) -> bool:
    """Whether bytes are the beginning of a line, which a crash cut off; in a file that was overwritten they are not."""
    return (line.startswith(_BEGIN) or _BEGIN.startswith(line)) and b"\0" not in line


def _gone(number: int) -> bytes:
    return encode_checksummed({"number": number, "gone": True}) + b"\n"


# -- flipped bits ------------------------------------------------------------------------------------------------------

#: Bytes of the longest line whose flipped bit can be found for sure: up to there CRC32C detects all errors of up to five bits, so
#: that two lines that differ in one bit are never both right.
_LONGEST_SURE = 655


def _correct(line: bytes, following: bytes) -> tuple[Sequence[bytes], int]:
    """
    What a line was before one bit was flipped: in the line, in its newline, or so that it has a newline too many.

    @return: the lines, none if that does not explain the damage; and how many of the following lines are part of them.
    """
    newlines = tuple(0x0A ^ 1 << bit for bit in range(8))
    for at, byte in enumerate(line):
        if byte in newlines and line[at - 1 : at] == b"}" and _is_right(line[:at]) and _is_right(line[at + 1 :]):
            return (line[:at], line[at + 1 :]), 0
    for byte in newlines:
        joined = b"%b%c%b" % (line, byte, following)
        if following and _is_right(joined):
            return (joined,), 1
    data = bytearray(line)
    for at, bit in itertools.product(range(len(data) if len(data) <= _LONGEST_SURE else 0), range(8)):
        data[at] ^= 1 << bit
        if _is_right(bytes(data)):
            return (bytes(data),), 0
        data[at] ^= 1 << bit
    return (), 0


def _is_right(line: bytes) -> bool:
    try:
        return decode_checksummed(line)[1]
    except (ValueError, RecursionError):
        return False
