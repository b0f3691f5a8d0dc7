"""
What archives a stream has, in which order, and where: a file of sealed JSON objects (L{storehouse.core.sealed}), one a line.

Each line is all that is known of one archive, or that it is gone, and counts instead of those before about the same::

    {"number":1,"path":"/srv/archives/a/1.events","state":"open","salt":17,"created":1790000000000000000,...,"checksum":"..."}
    {"number":1,"gone":true,"checksum":"..."}

A line is on disk before what depends on it is done. A last line that a crash cut is dropped; any other that is damaged keeps
the service from starting, since nobody could tell what it is that is not given back. At a start the file is written anew.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import attrs

from storehouse.core.files import Files
from storehouse.core.sealed import seal, unseal
from storehouse.errors import StartFailed
from storehouse.storage.streams.interfaces import Archive, State

__all__ = ["Catalogue"]


class Catalogue:
    """
    The archives of one stream. Any thread may call any method; those that change something wait for the disk.

    @ivar is_new: there was no file.
    @param failed: called with the error, in the caller's thread, when a sync failed.
    """

    def __init__(self, path: str, files: Files, failed: Callable[[OSError], object] = lambda error: None) -> None:
        self.is_new = True
        self._path = path
        self._files = files
        self._failed = failed
        self._lock = threading.RLock()
        self._archives: dict[int, Archive] = {}
        self._last = 0
        self._fd = -1
        self._end = 0
        self._unsaved: list[bytes] = []

    # -- the file ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """
        Read the file, and write it anew.

        @raise StartFailed: if it is damaged.
        """
        try:
            with open(self._path, "rb") as file:
                lines = file.read().split(b"\n")
            self.is_new = False
        except FileNotFoundError:
            lines = [b""]
        for number, line in enumerate(lines[:-1], start=1):
            try:
                fields, sealed = unseal(line)
                if not sealed:
                    raise ValueError("it has no checksum")
                self._learn(fields)
            except (ValueError, TypeError, KeyError) as problem:
                raise StartFailed(
                    f"line {number} of {self._path} is damaged: {problem}; it says which archives a stream has. Without the file "
                    "the archives that are here are found again, those that were shipped are not"
                ) from None
        self._files.make_directory(os.path.dirname(self._path))
        new = self._path + ".new"
        self._fd = self._files.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        whole = b"".join(_line(archive) for archive in self.all())
        # The highest number is not given out again, although its archive is gone.
        if self._last and self._last not in self._archives:
            whole += _gone(self._last)
        self._files.write_at(self._fd, (whole,), 0)
        self._files.sync_data(self._fd)
        self._files.rename(new, self._path)
        self._files.sync_directory(os.path.dirname(self._path))
        self._end = len(whole)

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._files.close(fd)

    def _learn(self, fields: dict[str, Any]) -> None:
        number = fields["number"]
        self._last = max(self._last, number)
        if fields.get("gone"):
            self._archives.pop(number, None)
        else:
            self._archives[number] = Archive(**fields)

    def _save(self, line: bytes) -> None:
        """What cannot be written now goes with the next line."""
        self._unsaved.append(line)
        data = b"".join(self._unsaved)
        self._files.write_at(self._fd, (data,), self._end)
        try:
            self._files.sync_data(self._fd)
        except OSError as problem:
            self._failed(problem)
            raise
        self._end += len(data)
        self._unsaved.clear()

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
            self._save(_line(archive))
            return archive

    def change(self, number: int, **known: Any) -> Archive | None:
        """Something more is known of one. @return: C{None} if it is gone."""
        with self._lock:
            archive = self._archives.get(number)
            if archive is not None:
                archive = self._archives[number] = attrs.evolve(archive, **known)
                self._save(_line(archive))
            return archive

    def grew(self, path: str, size: int, records: int) -> None:
        """So much of the one that is written is durable. That is not noted: the archive itself says it."""
        with self._lock:
            archive = self._archives.get(self._last)
            if archive is None or archive.path != path:
                archive = self.find(path)
            if archive is not None and archive.state == State.OPEN:
                self._archives[archive.number] = attrs.evolve(archive, size=size, records=records)

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


def _line(archive: Archive) -> bytes:
    return seal(attrs.asdict(archive)) + b"\n"


def _gone(number: int) -> bytes:
    return seal({"number": number, "gone": True}) + b"\n"
