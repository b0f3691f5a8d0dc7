"""What every data space checks of what it is given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import attrs

from storehouse.errors import DamagedObject, InvalidName, InvalidPart, InvalidPartOrder, InvalidRange, NoSuchUpload
from storehouse.storage.dataspace.interfaces import LAST_NUMBER, Metadata, Part

__all__ = [
    "MAX_METADATA",
    "MAX_NOTE",
    "Bounds",
    "check_expected",
    "check_free",
    "check_id",
    "check_index",
    "check_metadata",
    "check_note",
    "check_number",
    "check_order",
    "check_parts",
    "check_range",
    "check_same",
    "choose_parts",
    "extended",
]

#: Bytes of UTF-8 that the names and values of one object's metadata may have together, each with one more: enough for an
#: entry of a namespace, as text, with all that it may have.
MAX_METADATA = 256 << 10

_id = re.compile(r"[0-9a-f]{2,128}")
_MAX_NUMBER = (1 << 31) - 1

#: Bytes of UTF-8 of a part's note.
MAX_NOTE = 1024


@attrs.frozen
class Bounds:
    """
    What a data space lets be kept with objects and parts, in bytes of UTF-8. One that works on another adds something.

    @ivar metadata: of an object or upload: names and values, each with one more.
    @ivar note: of a part.
    """

    metadata: int = MAX_METADATA
    note: int = MAX_NOTE


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


def check_number(number: int, count: int = 1) -> None:
    """@raise InvalidPart: unless it is the number of a part, and of the first of so many that follow one another."""
    for each in (number, number + max(count, 1) - 1):
        if not 1 <= each <= _MAX_NUMBER:
            raise InvalidPart(f"{each} is not the number of a part, which is at least 1 and at most {_MAX_NUMBER}")


def check_same(upload_id: str, is_same: bool) -> None:
    """@raise NoSuchUpload: unless an upload is the one that it was when a part of it began to come."""
    if not is_same:
        raise NoSuchUpload(f"the upload {upload_id} ended, and another one may have begun with its ID")


def check_metadata(metadata: Metadata, most: int = MAX_METADATA) -> dict[str, list[str]]:
    """
    A copy that nobody else changes.

    @raise InvalidName: if it is not text, or more than C{most} bytes.
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
        raise InvalidName(f"the metadata contains {error.object[:200]!r}, which is not Unicode text") from None
    if size > most:
        raise InvalidName(f"the metadata has {size} bytes; at most {most} are allowed")
    return copy


def check_expected(id: str, etag: str, size: int, expected: Part | None) -> None:
    """
    That an object is the one that is meant.

    @param expected: the size that it must have, and the tag, unless that is empty; C{None} for whatever it is.
    @raise DamagedObject: if it is another.
    """
    if expected is None:
        return
    if size != expected.size:
        raise DamagedObject(id, f"it has {size} bytes instead of {expected.size}")
    if expected.etag and etag != expected.etag:
        raise DamagedObject(id, f"its tag is {etag[:200]} instead of {expected.etag[:200]}: it is another object")


def check_free(upload_id: str, there: Mapping[int, Part], first: int, count: int) -> None:
    """@raise InvalidPart: unless an upload has none of these parts."""
    for number in range(first, first + count):
        if number in there:
            raise InvalidPart(f"the upload {upload_id} already has a part {number}")


def extended(there: Sequence[Part], note: str) -> list[Part]:
    """
    The parts of an object, as they are in one that has one more.

    @param note: of the only one, if that has none.
    """
    if len(there) == 1 and not there[0].note:
        there = [attrs.evolve(there[0], note=note)]
    if there and there[-1].number >= LAST_NUMBER:
        return [attrs.evolve(part, number=number) for number, part in enumerate(there, 1)]
    return list(there)


def choose_parts(upload_id: str, there: Mapping[int, Part], numbers: Sequence[int]) -> list[Part]:
    """
    Parts of an upload by their numbers.

    @raise InvalidPart: if there are no numbers, or no such part.
    """
    if not numbers:
        raise InvalidPart("no parts are named")
    for number in numbers:
        if number not in there:
            raise InvalidPart(f"the upload {upload_id} has no part {number}")
    return [there[number] for number in numbers]


def check_note(note: str, most: int = MAX_NOTE) -> str:
    """@raise InvalidName: unless it is a text of at most so many bytes of UTF-8."""
    try:
        size = len(note.encode())
    except UnicodeEncodeError:
        raise InvalidName(f"the note {note[:200]!r} is not Unicode text") from None
    if size > most:
        raise InvalidName(f"the note has {size} bytes; at most {most} are allowed")
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
