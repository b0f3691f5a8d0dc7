"""What a backup says of itself, and its files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import attrs

from storehouse.core.checksummed import decode_checksummed
from storehouse.core.digests import crc32c
from storehouse.core.files import forget_cached
from storehouse.errors import BadRequest, StartFailed

__all__ = [
    "DESCRIPTION",
    "LISTED",
    "Description",
    "checksum_of",
    "entry_of",
    "files_below",
    "is_within",
    "listed",
    "read_description",
    "read_older",
    "remove",
]

#: What says that a directory is a backup, and a whole one.
DESCRIPTION = "backup.json"

#: The files of a backup that have no checksums of their own.
LISTED = "files"

_PIECE = 1 << 20


@attrs.frozen
class Description:
    """
    What C{backup.json} says.

    @ivar root: the root that it is of.
    @ivar began: nanoseconds since 1970 UTC: everything that was acknowledged before is in it.
    @ivar ended: when it was whole.
    @ivar contents: the names in its directory.
    @ivar listing: CRC32C of the list of files, 8 hex digits.
    @ivar keys: keys of objects, and of these C{lost} have no bytes.
    @ivar objects: objects by ID, and C{uploads} that are open.
    @ivar encrypted: whether there is a keyring: without the master key it cannot be read.
    """

    root: str
    began: int
    ended: int
    contents: list[str]
    listing: str
    keys: int
    lost: int
    objects: int
    uploads: int
    encrypted: bool
    format: str = "backup"
    version: int = 1


def read_description(directory: str) -> Description:
    """
    What a backup says of itself.

    @raise BadRequest: if the directory is no backup, or of another version, or its description is damaged.
    """
    path = os.path.join(directory, DESCRIPTION)
    try:
        with open(path, "rb") as file:
            fields: Any
            fields, is_checked = decode_checksummed(file.read(1 << 20).rstrip(b"\n"))
        description = Description(**fields)
    except FileNotFoundError:
        raise BadRequest(f"{directory} is not a backup: it has no {DESCRIPTION}") from None
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, TypeError) as error:
        raise BadRequest(f"{path} is damaged: {error}") from None
    if (description.format, description.version) != ("backup", 1) or not is_checked:
        raise BadRequest(f"{directory} is not a backup of version 1")
    return description


def listed(directory: str, description: Description) -> dict[str, tuple[int, str | None]]:
    """
    The files of a backup that are listed, by their paths in it: bytes, and CRC32C if that is known.

    @raise BadRequest: if the list is damaged.
    """
    path = os.path.join(directory, LISTED)
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {error.strerror or error}") from None
    if f"{crc32c(data):08x}" != description.listing:
        raise BadRequest(f"{path} is damaged")
    return {name: (size, checksum) for name, size, checksum in map(json.loads, data.splitlines())}


def entry_of(name: str, size: int, checksum: str | None) -> bytes:
    """A line of the list of files."""
    return json.dumps([name, size, checksum], separators=(",", ":")).encode() + b"\n"


def read_older(path: str, root: str) -> tuple[Description | None, dict[str, tuple[int, str | None]]]:
    """
    What is where a backup is to be: nothing, or a backup of the same root, and its files that are listed.

    @raise StartFailed: if it is something else, or has something else in it.
    """
    try:
        names = os.listdir(path)
    except FileNotFoundError:
        return None, {}
    except NotADirectoryError:
        raise StartFailed(f"a backup cannot be {path}: it is not a directory") from None
    if not names:
        return None, {}
    if DESCRIPTION not in names:
        raise StartFailed(f"a backup cannot be {path}: it is not empty and not a backup")
    try:
        older = read_description(path)
        known = listed(path, older)
    except BadRequest as error:
        raise StartFailed(f"a backup cannot be {path}: {error.detail}") from None
    if older.root != root:
        raise StartFailed(f"{path} is a backup of another root, {older.root}: choose another directory")
    foreign = set(names) - {*older.contents, DESCRIPTION, LISTED}
    if foreign:
        raise StartFailed(f"{path} is a backup, but {min(foreign)} is not part of it: move it away")
    return older, known


def remove(path: str) -> None:
    """A file, or a directory with all that is in it; one that is gone is fine."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError):
            os.unlink(path)


def is_within(path: str, directory: str) -> bool:
    """Whether one is the other, or below it."""
    path, directory = os.path.realpath(path), os.path.realpath(directory)
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def checksum_of(path: str, alive: Callable[[], None], fresh: bool = False) -> tuple[int, str]:
    """
    Bytes and CRC32C of a file.

    @param fresh: read it from the disk, not from memory, where the system can.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if fresh:
            forget_cached(fd)
        checksum = size = 0
        while data := os.read(fd, _PIECE):
            checksum = crc32c(data, checksum)
            size += len(data)
            alive()
        return size, f"{checksum:08x}"
    finally:
        os.close(fd)


def files_below(directory: str) -> Iterator[str]:
    """The paths of all files and links below a directory, from there; those that come and go meanwhile perhaps."""
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            for name in files_below(entry.path):
                yield f"{entry.name}/{name}"
        else:
            yield entry.name
