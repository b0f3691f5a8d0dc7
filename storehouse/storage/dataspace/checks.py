"""What every data space checks of what it is given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from storehouse.errors import InvalidName, InvalidPart, InvalidPartOrder, InvalidRange
from storehouse.storage.dataspace.interfaces import Metadata, Part

__all__ = [
    "MAX_METADATA",
    "check_id",
    "check_index",
    "check_metadata",
    "check_note",
    "check_number",
    "check_order",
    "check_parts",
    "check_range",
]

#: Bytes of UTF-8 that the names and values of one object's metadata may have together, each with one more.
MAX_METADATA = 64 << 10

_id = re.compile(r"[0-9a-f]{2,128}")
_MAX_NUMBER = (1 << 31) - 1
_MAX_NOTE = 1024


def check_id(id: str, kind: str = "ID") -> str:
    """@raise InvalidName: unless it is 2 to 128 lower-case hexadecimal digits."""
    if not _id.fullmatch(id):
        raise InvalidName(f"the {kind} {id[:200]!r} is not 2 to 128 lower-case hexadecimal digits")
    return id


def check_index(index: str) -> str:
    """@raise InvalidName: unless it is two lower-case hexadecimal digits."""
    if len(index) != 2 or not _id.fullmatch(index):
        raise InvalidName(f"the index {index[:200]!r} is not two lower-case hexadecimal digits")
    return index


def check_number(number: int) -> int:
    """@raise InvalidPart: unless it is the number of a part."""
    if not 1 <= number <= _MAX_NUMBER:
        raise InvalidPart(f"{number} is not the number of a part, which is at least 1 and at most {_MAX_NUMBER}")
    return number


def check_metadata(metadata: Metadata) -> dict[str, list[str]]:
    """
    A copy that nobody else changes.

    @raise InvalidName: if it is no text, or more than L{MAX_METADATA} bytes.
    """
    copy: dict[str, list[str]] = {}
    size = 0
    try:
        for name, values in metadata.items():
            if isinstance(values, str):
                raise InvalidName(f"the metadata {name[:200]!r} is not a list of texts")
            copy[name] = list(values)
            # A byte for each of them, so that their number is bounded too.
            size += sum(1 + len(text.encode()) for text in (name, *copy[name]))
    except UnicodeEncodeError as error:
        raise InvalidName(f"the metadata holds {error.object[:200]!r}, which is not Unicode text") from None
    if size > MAX_METADATA:
        raise InvalidName(f"the metadata has {size} bytes; at most {MAX_METADATA} are allowed")
    return copy


def check_note(note: str) -> str:
    """@raise InvalidName: unless it is a text of at most 1024 bytes of UTF-8."""
    try:
        size = len(note.encode())
    except UnicodeEncodeError:
        raise InvalidName(f"the note {note[:200]!r} is not Unicode text") from None
    if size > _MAX_NOTE:
        raise InvalidName(f"the note has {size} bytes; at most {_MAX_NOTE} are allowed")
    return note


def check_range(offset: int, length: int | None, size: int) -> int:
    """
    @return: the length of the range.
    @raise InvalidRange: unless it lies within C{size} bytes.
    """
    end = size if length is None else offset + length
    if not 0 <= offset <= end <= size:
        raise InvalidRange(offset, length, size)
    return end - offset


def check_order(parts: Sequence[Part]) -> None:
    """
    @raise InvalidPart: if there are none.
    @raise InvalidPartOrder: unless their numbers ascend.
    """
    if not parts:
        raise InvalidPart("an upload cannot be completed with no parts")
    for before, part in pairwise(parts):
        if part.number <= before.number:
            raise InvalidPartOrder(f"part {part.number} follows part {before.number}: part numbers must ascend")


def check_parts(upload_id: str, parts: Sequence[Part], there: Mapping[int, Part]) -> list[Part]:
    """
    Those of C{there} that an upload is to be completed with.

    @raise InvalidPart: if one is not there, or has another etag.
    @raise InvalidPartOrder: unless their numbers ascend.
    """
    check_order(parts)
    chosen = []
    for part in parts:
        stored = there.get(part.number)
        if stored is None:
            raise InvalidPart(f"the upload {upload_id} has no part {part.number}")
        if stored.etag != part.etag:
            raise InvalidPart(
                f"part {part.number} of the upload {upload_id} has the etag {stored.etag}, not {part.etag[:200]}"
            )
        chosen.append(stored)
    return chosen
