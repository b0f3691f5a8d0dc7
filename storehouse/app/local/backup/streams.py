"""
Streams of archives, and files on their way to a destination, in a backup.

An archive is open, then closed, changed by callbacks, shipped, and at last perhaps removed here; the catalogue notes each before
what follows from it is done. So the files are copied, then the catalogue is read, and what it tells of that was not copied, or
not as it is now, is copied again, until all of it is there. What was shipped to the store of this root is an object by then, and
objects come after this.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import attrs

from storehouse.app.local.backup.described import files_below
from storehouse.app.local.backup.target import Target
from storehouse.archive.archive import ArchiveReader
from storehouse.core.checksummed import decode_checksummed, encode_checksummed
from storehouse.core.root import path_of
from storehouse.errors import StorageFailed, StorehouseError

__all__ = ["ARCHIVES", "SHIPPING", "back_up_shipping", "back_up_streams"]

ARCHIVES, SHIPPING = "archives", "shipping"

_CATALOGUES = ".catalogue"

#: How often a stream is looked at again.
_ROUNDS = 1000

#: Seconds after which an archive that is not where its catalogue and its marker say is taken for lost, and those between looks.
#: A callback gives a file another name before either tells of it.
_PATIENCE = 5.0
_PAUSE = 0.02


def back_up_streams(target: Target, root: str, directories: Mapping[str, str]) -> None:
    """
    @param directories: those of streams that are somewhere else, by their names.
    """
    top = os.path.join(root, ARCHIVES)
    names = set(directories)
    with suppress(FileNotFoundError):
        names |= {name for name in os.listdir(top) if name != _CATALOGUES}
    for name in sorted(names):
        path = directories.get(name, os.path.join(top, name))
        if os.path.isdir(path) or not os.path.lexists(path):
            _Stream(target, root, name, path).run()
        elif os.path.isfile(path):
            target.copy(path, f"{ARCHIVES}/{name}")
    # Those of streams without a directory, and those that were put aside.
    for name in files_below(os.path.join(top, _CATALOGUES)):
        if name not in names and not name.endswith(".new"):
            with suppress(FileNotFoundError):
                target.copy(os.path.join(top, _CATALOGUES, name), f"{ARCHIVES}/{_CATALOGUES}/{name}")


@attrs.frozen
class _Copied:
    """A file of the backup, and what it was a copy of."""

    name: str
    inode: int
    size: int
    modified: int

    def is_of(self, state: os.stat_result) -> bool:
        """Whether that is still as it was."""
        return (self.inode, self.size, self.modified) == (state.st_ino, state.st_size, state.st_mtime_ns)


class _Stream:
    def __init__(self, target: Target, root: str, stream: str, directory: str) -> None:
        self._target = target
        self._root = root
        self._catalogue = os.path.join(root, ARCHIVES, _CATALOGUES, stream)
        self._name = f"{ARCHIVES}/{stream}"
        self._listing = f"{ARCHIVES}/{_CATALOGUES}/{stream}"
        self._directory = directory
        self._copied: dict[str, _Copied] = {}
        # When an archive was first seen to be nowhere, by its number.
        self._nowhere: dict[int, float] = {}

    def run(self) -> None:
        first = max(self._archives()[0], default=0)
        for _ in range(_ROUNDS):
            self._files()
            known, lines = self._archives()
            missing = [number for number, fields in known.items() if not self._has(fields)]
            # Those that were begun since are of no concern.
            if all(number > first for number in missing):
                break
            if self._nowhere:
                self._target.alive()
                time.sleep(_PAUSE)
        else:
            raise StorageFailed(f"the stream in {self._directory} changes too fast to be copied")
        for number in missing:
            known.pop(number)
        if lines:
            self._target.write(self._listing, b"".join(self._line(fields) for _, fields in sorted(known.items())))
        self._tidy(known)

    def _archives(self) -> tuple[dict[int, dict[str, Any]], bool]:
        """What the catalogue says of each archive, by its number, and whether there is one."""
        known: dict[int, dict[str, Any]] = {}
        try:
            with open(self._catalogue, "rb") as file:
                lines = file.read().split(b"\n")
        except FileNotFoundError:
            return known, False
        for line in lines:
            with suppress(ValueError, TypeError, KeyError):
                fields: Any
                fields, _ = decode_checksummed(line)
                if fields.get("gone"):
                    # Its number is not given out again.
                    known[fields["number"]] = fields
                else:
                    known[fields["number"]] = {**fields, "path": path_of(self._root, fields["path"])}
        return known, True

    def _files(self) -> None:
        """Copy what is there and was not copied, or has changed since."""
        if not os.path.isdir(self._directory):
            return
        self._target.make(self._name)
        for name in files_below(self._directory):
            self._file(os.path.join(self._directory, name), f"{self._name}/{name}")

    def _file(self, path: str, name: str) -> None:
        with suppress(FileNotFoundError):
            state = os.lstat(path)
            copied = self._copied.get(path)
            if copied is not None and copied.is_of(state):
                return
            if os.path.islink(path):
                self._target.symlink(os.readlink(path), name)
            elif _is_final(path):
                with suppress(FileNotFoundError):
                    self._target.forget(name)
                self._target.link(path, name, is_listed=True)
            elif os.path.isfile(path):
                state = self._target.copy(path, name, is_settled=name.endswith((".gz", ".zst")))
                self._cut(path, name)
            else:
                return
            self._copied[path] = _Copied(name, state.st_ino, state.st_size, state.st_mtime_ns)

    def _cut(self, path: str, name: str) -> None:
        """Of an archive that is being written, take the records that are whole."""
        if os.path.basename(path).startswith("."):
            return
        copy = self._target.path_of(name)
        try:
            with ArchiveReader(copy, skip_damaged=True) as reader:
                if reader.complete or reader.compressed_as:
                    return
                scan = reader.scan()
                for _ in scan.walk():
                    self._target.alive()
                torn = scan.torn
        except (StorehouseError, OSError):
            return  # a damaged archive is copied as it is: a backup must not lose what a repair may save
        if torn:
            self._target.copy(path, name, os.stat(copy).st_size - torn, is_settled=False)

    def _has(self, fields: dict[str, Any]) -> bool:
        """Whether an archive of the catalogue is in the backup, as far as it was acknowledged, or is somewhere else."""
        if fields.get("gone") or fields["state"] == "shipped":
            return True
        path = fields["path"]
        if not path.startswith(os.path.join(self._directory, "")):
            # A callback has moved it.
            self._file(path, f"{self._name}/{os.path.basename(path)}")
        copied = self._copied.get(path)
        if copied is not None and fields["state"] != "open":
            try:
                return copied.is_of(os.stat(path))
            except FileNotFoundError:
                if _is_final(self._target.path_of(copied.name), has_marker=False):
                    return True
            # It was not closed yet, and is something else by now.
            self._target.forget(self._copied.pop(path).name)
            copied = None
        if copied is None:
            # Its callbacks are at work: their note says which file it is.
            marker = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.open")
            with suppress(OSError, ValueError, TypeError, AttributeError):
                with open(marker, "rb") as file:
                    line = file.readline(1 << 16)
                path = os.path.join(os.path.dirname(path), json.loads(line)["file"])
                copied = self._copied.get(path)
        if copied is None and not any(os.path.lexists(each) for each in (path, fields["path"])):
            # One that was lost before is lost here, too.
            return self._is_lost(fields)
        self._nowhere.pop(fields["number"], None)
        return copied is not None

    def _is_lost(self, fields: dict[str, Any]) -> bool:
        known, _ = self._archives()
        if known.get(fields["number"]) != fields:
            self._nowhere.pop(fields["number"], None)
            return False
        now = time.monotonic()
        return now - self._nowhere.setdefault(fields["number"], now) >= _PATIENCE

    def _line(self, fields: dict[str, Any]) -> bytes:
        fields = {name: value for name, value in fields.items() if name != "checksum"}
        path = fields.get("path")
        if path:
            copied = self._copied.get(path)
            if copied is not None:
                fields["path"] = copied.name
            elif path.startswith(os.path.join(self._root, "")):
                fields["path"] = os.path.relpath(path, self._root)
            elif path.startswith(os.path.join(self._directory, "")):
                fields["path"] = f"{self._name}/{os.path.relpath(path, self._directory)}"
        return encode_checksummed(fields) + b"\n"

    def _tidy(self, known: dict[int, dict[str, Any]]) -> None:
        """Take out what has got another name meanwhile."""
        if not known:
            return
        wanted = {fields.get("path") for fields in known.values()}
        for path, copied in self._copied.items():
            if path not in wanted and not os.path.lexists(path):
                self._target.forget(copied.name)


def _is_final(path: str, has_marker: bool = True) -> bool:
    """Whether nobody will ever write to a file of a stream again."""
    directory, name = os.path.split(path)
    if name.startswith(".") or os.path.islink(path) or not os.path.isfile(path):
        return False
    if has_marker and os.path.lexists(os.path.join(directory, f".{name}.open")):
        return False
    try:
        with ArchiveReader(path) as reader:
            return bool(reader.complete)
    except (StorehouseError, OSError):
        return False


def back_up_shipping(target: Target, root: str) -> None:
    """What is on its way. A file that has arrived meanwhile is at its destination."""
    top = os.path.join(root, SHIPPING)
    for name in files_below(top):
        if name.endswith(".tmp") or os.path.basename(name) == "lock":
            continue
        with suppress(FileNotFoundError):
            if os.path.isfile(os.path.join(top, name)):
                target.copy(os.path.join(top, name), f"{SHIPPING}/{name}")
