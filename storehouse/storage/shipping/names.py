"""Names at a destination: derived from a file's name and content, so that a repeat gives the same one."""

from __future__ import annotations

import os
import re

from storehouse.errors import InvalidName

__all__ = ["EXTENSIONS", "check_name", "object_name", "shown"]

#: The longest name, in bytes of UTF-8: S3 and Swift agree on it.
MAX_NAME = 1024

#: What a compression adds to a name.
EXTENSIONS = {"none": "", "gzip": ".gz", "zstd": ".zst"}

_WHOLE = frozenset(filter(None, EXTENSIONS.values()))

_control = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

#: Bytes that are left to the name of the file: the rest is for stream, digest and extension.
_MAX_FILE_NAME = 255


def check_name(name: str) -> str:
    """
    Check a name at a destination.

    @raise InvalidName: if not every destination takes it.
    """
    if not name:
        raise InvalidName("a name at a destination is empty")
    if _control.search(name):
        raise InvalidName(f"the name {name!r} holds a control character, or what is not Unicode")
    if len(name.encode()) > MAX_NAME:
        raise InvalidName(f"the name {name[:60]!r}... has more than {MAX_NAME} bytes")
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise InvalidName(f"the name {name!r} has a component that is empty, '.' or '..'")
    return name


def object_name(stream: str, path: str, digest: str, compression: str) -> str:
    """
    The name of a closed file: C{STREAM/NAME-DIGEST.EXTENSIONS}, where C{DIGEST} is the beginning of the SHA-256 of what
    the closed file holds.

    @param stream: a safe path component.
    @param digest: SHA-256 in hex.
    """
    # File names that are not UTF-8 have surrogates in Python.
    name = os.fsencode(os.path.basename(path)).decode("utf-8", "replace")
    name = _control.sub("_", name)
    while len(name.encode()) > _MAX_FILE_NAME:
        name = name[:-1]
    stem, extension = os.path.splitext(name)
    if extension in _WHOLE and stem.strip("."):
        # It was compressed as a whole before: what is in it says its own extension.
        stem, inner = os.path.splitext(stem)
        extension = inner + extension
    if not stem.strip("."):
        stem, extension = name, ""
    return check_name(f"{stream}/{stem}-{digest[:16]}{extension}{EXTENSIONS[compression]}")


def shown(path: str) -> str:
    """A path as it can be written into a log: names of files are bytes, and any of them."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
