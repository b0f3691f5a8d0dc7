"""Names at a destination: made of a file's name and content, so that a repeat gives the same one."""

from __future__ import annotations

import os
import re

from storehouse.errors import InvalidName

__all__ = ["check_name", "object_name", "printable"]

#: Bytes of UTF-8 of the longest name, for S3 as for Swift.
_MAX_NAME = 1024

_EXTENSIONS = {"none": "", "gzip": ".gz", "zstd": ".zst"}

#: Of files that are compressed as a whole.
_COMPRESSED = frozenset(filter(None, _EXTENSIONS.values()))

_control = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

#: Bytes of the name of the file in it: the rest is for stream, digest and extension.
_MAX_FILE_NAME = 255


def check_name(name: str) -> str:
    """
    Check a name at a destination.

    @raise InvalidName: unless all destinations take it.
    """
    if not name:
        raise InvalidName("a name at a destination is empty")
    if _control.search(name):
        raise InvalidName(f"the name {name!r} contains a control character, or is not Unicode")
    if len(name.encode()) > _MAX_NAME:
        raise InvalidName(f"the name {name[:60]!r}... has more than {_MAX_NAME} bytes")
    if any(component in ("", ".", "..") for component in name.split("/")):
        raise InvalidName(f"the name {name!r} has a component that is empty, '.' or '..'")
    return name


def object_name(stream: str, path: str, digest: str, compression: str) -> str:
    """
    The name of a closed file at a destination: C{STREAM/NAME-DIGEST.EXTENSIONS}, where C{DIGEST} is the beginning of the
    SHA-256 of the closed file.

    @param stream: a safe path component.
    @param digest: SHA-256 in hex.
    """
    # File names that are not UTF-8 have surrogates in Python.
    name = os.fsencode(os.path.basename(path)).decode("utf-8", "replace")
    name = _control.sub("_", name)
    while len(name.encode()) > _MAX_FILE_NAME:
        name = name[:-1]
    stem, extension = os.path.splitext(name)
    if extension in _COMPRESSED and stem.strip("."):
        # It was compressed as a whole before: its contents have an extension of their own.
        stem, inner = os.path.splitext(stem)
        extension = inner + extension
    if not stem.strip("."):
        stem, extension = name, ""
    return check_name(f"{stream}/{stem}-{digest[:16]}{extension}{_EXTENSIONS[compression]}")


def printable(path: str) -> str:
    """A path for log lines and messages: names of files are bytes, not always UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
