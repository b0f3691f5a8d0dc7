"""Payloads as lines of text files, which are compressed when they are rolled."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from typing import Any

from twisted.logger import Logger

from storehouse.archive.clocks import now_ns_of, utc
from storehouse.archive.interfaces import Payload
from storehouse.archive.names import check_template, is_ours_beside, make_name, numbered, template_pattern
from storehouse.archive.sources import is_compressed_file, open_source
from storehouse.core.compression import SUFFIXES, check_method, make_compressor
from storehouse.core.files import NO_SPACE, Files, open_stored
from storehouse.errors import DamagedArchive, InvalidRecord, InvalidSetting, NoSpace

__all__ = ["WritingJSONRollManager"]

_CRC, _TIMESTAMP = "[[CRC]]", "[[TIMESTAMP]]"
_PIECE = 1 << 20


class WritingJSONRollManager:
    """
    Writes each payload as a line of a working file. Once that is large or old enough it is compressed into the destination
    directory, and removed. Metadata is ignored.

    In the template C{[[CRC]]} stands for the SHA-256 of the content, and C{[[TIMESTAMP]]} for the time when the name is
    made, in seconds since 1970. A working file has C{[[CRC]]} as it stands.

    When L{write} returns the line is in the page cache; the compressed file is brought to disk before the working file is
    removed. Working files that an earlier process left are compressed when a manager is made, so two managers must not share
    a directory and a template at the same time. A repeat after a crash does not make a second file of one content, if the
    template has C{[[CRC]]}.
    """

    _log = Logger()

    def __init__(
        self,
        filename_template: str,
        directory: str = ".",
        destination_directory: str = ".",
        roll_size_mb: float = 1000,
        roll_minutes: float = 60,
        *,
        method: str = "gzip",
        level: int | None = None,
        all_leftovers: bool = False,
        clock: Any = None,
        files: Files | None = None,
    ) -> None:
        """
        @param directory: for working files; it is made if need be, and so is C{destination_directory}.
        @param roll_size_mb: MiB of a working file, uncompressed, after which it is rolled.
        @param roll_minutes: minutes after which it is rolled. L{poll} does so while nothing is written.
        @param method: C{"gzip"} or C{"zstd"}.
        @param all_leftovers: compress all files of the directory at the start, as the first program does, instead of those
            with a name of the template only.
        @raise InvalidSetting: if an argument is not usable.
        """
        self.filename_template = check_template(filename_template)
        self.directory = os.fspath(directory)
        self.destination_directory = os.fspath(destination_directory)
        try:
            self.roll_size_mb = float(roll_size_mb)
            self.roll_minutes = float(roll_minutes)
        except (TypeError, ValueError):
            raise InvalidSetting("roll_size_mb and roll_minutes are numbers") from None
        if all_leftovers and os.path.realpath(self.directory) == os.path.realpath(self.destination_directory):
            raise InvalidSetting(
                "all_leftovers needs a destination directory that is another than the working directory"
            )
        self.method = check_method(method)
        self.level = level
        self.size = 0
        self._now = now_ns_of(clock)
        self._files = Files() if files is None else files
        self._lock = threading.RLock()
        self._fd = -1
        self._opened = 0
        self.filename: str | None = None
        for path in (self.directory, self.destination_directory):
            if not os.path.isdir(path):
                self._files.make_directory(path)
        self._all_leftovers = all_leftovers
        self.archive_leftovers()

    def write(self, metadata: Mapping[str, str], json_payload: Payload) -> None:
        """
        Write a payload as a line; roll afterwards if it is time.

        JSON with line breaks between its parts is written without them.

        @param metadata: ignored.
        @raise InvalidRecord: if the payload is neither text nor bytes, or has line breaks and is no JSON.
        @raise NoSpace: if there is no room; the line was not written.
        """
        line = _line(json_payload)
        with self._lock:
            if self._fd < 0:
                self._open()
            try:
                self._files.write_at(self._fd, (line,), self.size)
            except OSError as problem:
                self._files.truncate(self._fd, self.size)
                if problem.errno in NO_SPACE:
                    raise NoSpace(f"there is no room for more of {self.filename}") from None
                raise
            self.size += len(line)
            if self._is_due():
                self.roll()

    def poll(self) -> None:
        """Roll if it is time."""
        with self._lock:
            if self._fd >= 0 and self._is_due():
                self.roll()

    def roll(self) -> None:
        """
        Compress the working file, if there is one, into the destination directory.

        @raise NoSpace: if there is no room; the working file is left, for the next start.
        """
        with self._lock:
            path = self.filename
            self.close()
            if path is not None and os.path.exists(path):
                self.filename = None
                self._archive(path)

    def close(self) -> None:
        """Close the working file and leave it where it is, as the first program does: the next start archives it."""
        with self._lock:
            if self._fd >= 0:
                try:
                    self._files.sync_data(self._fd)
                finally:
                    self._files.close(self._fd)
                    self._fd = -1

    def _is_due(self) -> bool:
        age = (self._now() - self._opened) / 60e9
        return self.size >= self.roll_size_mb * (1 << 20) or (self.size > 0 and age >= self.roll_minutes)

    def _name(self, crc: str) -> str:
        now = self._now()
        stamp = f"{now // 1_000_000_000}.{now % 1_000_000_000 // 1000:06d}"
        name = make_name(self.filename_template, utc(now))
        return name.replace(_CRC, crc).replace(_TIMESTAMP, stamp)

    def _open(self) -> None:
        name = self._name(_CRC)
        number = 0
        while True:
            path = os.path.join(self.directory, numbered(name, number))
            try:
                self._fd = self._files.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
                break
            except FileExistsError:
                number += 1
        self.filename = path
        self.size = 0
        self._opened = self._now()

    # -- rolling -------------------------------------------------------------------------------------------------------

    def archive_leftovers(self) -> None:
        """Compress the working files of earlier processes, and those that L{close} left."""
        every = self._all_leftovers
        pattern = template_pattern(self.filename_template.replace(_TIMESTAMP, "%s"))
        for name in sorted(os.listdir(self.directory)):
            path = os.path.join(self.directory, name)
            ours = every or (pattern.fullmatch(name) is not None and not is_ours_beside(name))
            if ours and os.path.isfile(path) and not (self._fd >= 0 and path == self.filename):
                if is_compressed_file(path):
                    self._log.warn("{path} is compressed already, so it is no working file; it is left", path=path)
                    continue
                self._log.info("{path} was left by an earlier process; it is archived now", path=path)
                self._archive(path)

    def _archive(self, path: str) -> str:
        """Compress a working file, bring that to disk, remove the working file. @return: the new path."""
        files = self._files
        digest = hashlib.sha256()
        suffix = SUFFIXES[self.method]
        temporary = os.path.join(self.destination_directory, f".{os.path.basename(path)}{suffix}.tmp")
        out = files.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            compressor = make_compressor(self.method, self.level)
            at = 0
            with open_stored(path, follow=True) as source:
                while piece := source.read(_PIECE):
                    digest.update(piece)
                    data = compressor.compress(piece)
                    files.write_at(out, (data,), at)
                    at += len(data)
            files.write_at(out, (compressor.flush(),), at)
            files.sync_data(out)
        except OSError as problem:
            files.unlink(temporary)
            if problem.errno in NO_SPACE:
                raise NoSpace(f"there is no room to compress {path}; it is left as it is") from None
            raise
        finally:
            files.close(out)
        crc = digest.hexdigest()
        target = self._same(crc, suffix) if _CRC in self.filename_template else None
        if target is None:
            target = self._place(temporary, self._name(crc), suffix)
        if os.path.lexists(temporary):
            files.unlink(temporary)
        files.sync_directory(self.destination_directory)
        files.unlink(path)
        files.sync_directory(self.directory)
        return target

    def _same(self, crc: str, suffix: str) -> str | None:
        """A whole file of that content, from before a crash."""
        for name in os.listdir(self.destination_directory):
            if crc in name and name.endswith(suffix) and not name.startswith("."):
                path = os.path.join(self.destination_directory, name)
                if _digest_of(path) == crc:
                    return path
        return None

    def _place(self, temporary: str, name: str, suffix: str) -> str:
        number = 0
        while True:
            target = os.path.join(self.destination_directory, numbered(name, number) + suffix)
            try:
                self._files.name(temporary, target)
                return target
            except FileExistsError:
                number += 1

    def __enter__(self) -> WritingJSONRollManager:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _line(payload: Payload) -> bytes:
    try:
        line = payload.encode() if isinstance(payload, str) else bytes(memoryview(payload))
    except (TypeError, UnicodeEncodeError, AttributeError) as problem:
        raise InvalidRecord(f"a payload is text or bytes: {problem}") from None
    if b"\n" in line:
        try:
            line = json.dumps(json.loads(line), ensure_ascii=False).encode()
        except ValueError:
            raise InvalidRecord("a payload with line breaks that is no JSON cannot be one line") from None
    return line + b"\n"


def _digest_of(path: str) -> str | None:
    source = open_source(path)
    digest = hashlib.sha256()
    try:
        at = 0
        while piece := source.pread(at, _PIECE):
            digest.update(piece)
            at += len(piece)
    except DamagedArchive:
        return None
    finally:
        source.close()
    return digest.hexdigest()
