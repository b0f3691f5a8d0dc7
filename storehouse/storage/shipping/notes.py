"""
The note of a file on its way: a JSON object with a checksum (L{storehouse.core.checksummed}) in a file of its own.

It is replaced as a whole whenever the file has reached its next stage, so that whoever starts next knows where to go on.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

import attrs

from storehouse.core.checksummed import decode_checksummed, encode_checksummed
from storehouse.storage.shipping.interfaces import Shipment

__all__ = ["COMPRESSED", "DEAD", "DONE", "UPLOADED", "VERIFIED", "WAITING", "Note", "read_note", "write_note"]

WAITING, COMPRESSED, UPLOADED, VERIFIED, DONE, DEAD = "waiting", "compressed", "uploaded", "verified", "done", "dead"

_STAGES = frozenset({WAITING, COMPRESSED, UPLOADED, VERIFIED, DONE, DEAD})

#: Printable ASCII, but for the percent sign: what is left of a path as it is.
_SAFE = bytes(code for code in range(32, 127) if code != ord("%"))

_VERSION = 1


@attrs.frozen
class Note:
    """
    What is known of a file on its way.

    @ivar id: its number, as 16 digits.
    @ivar path: where it was handed over; absolute, but in the file, where it is relative to the root if it is below that.
    @ivar since: when that was, seconds since 1970 UTC.
    @ivar inode: what tells whether C{path} is still the same file, with C{file_size} and C{modified} (nanoseconds).
    @ivar delete: whether to remove C{path} in the end.
    @ivar again: whether what is at the destination was found to be wrong, whatever it says of itself.
    @ivar digest: SHA-256 of the file, in hex, once known; so C{name}, and C{size}, C{sha256}, C{md5} of what is uploaded,
        and C{tag}, which the destination gave.
    @ivar deleted: whether C{path} was removed.
    """

    id: str
    path: str
    stream: str
    compression: str
    level: int | None
    delete: bool
    since: float
    inode: int
    file_size: int
    modified: int
    stage: str = WAITING
    attempts: int = 0
    error: str = ""
    again: bool = False
    digest: str = ""
    name: str = ""
    size: int = 0
    sha256: str = ""
    md5: str = ""
    tag: str = ""
    deleted: bool = False

    def shipment(self) -> Shipment:
        """As users see it."""
        return Shipment(self.id, self.path, self.stream, self.name, self.stage, self.since, self.attempts, self.error)


def write_note(note: Note) -> bytes:
    """The text of a note."""
    fields = {"version": _VERSION, **attrs.asdict(note)}
    # Names of files are bytes, and any of them.
    fields["path"] = quote_from_bytes(os.fsencode(note.path), _SAFE)
    fields["error"] = note.error.encode("utf-8", "replace").decode()
    return encode_checksummed(fields)


def read_note(data: bytes) -> Note:
    """
    @raise ValueError: unless C{data} is what L{write_note} gave.
    """
    fields, is_checked = decode_checksummed(data)
    if not is_checked:
        raise ValueError("it has no checksum")
    if fields.pop("version", None) != _VERSION:
        raise ValueError("its version is not known")
    try:
        fields["path"] = os.fsdecode(unquote_to_bytes(fields["path"]))
        note = Note(**fields)
    except (TypeError, KeyError, AttributeError):
        raise ValueError("it has other fields than a note") from None
    if note.stage not in _STAGES or not _is_id(note.id):
        raise ValueError("its stage or its number is none")
    return note


def _is_id(id: Any) -> bool:
    return isinstance(id, str) and len(id) == 16 and id.isascii() and id.isdigit()
