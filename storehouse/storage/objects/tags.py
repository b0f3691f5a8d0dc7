"""Etags of parts, and of objects of parts as S3 makes them; entries that are kept with bytes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence

import attrs

from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.namespace.interfaces import Entry
from storehouse.storage.objects.values import is_md5

__all__ = [
    "MAX_PART",
    "decode_entry",
    "encode_entry",
    "is_of_parts",
    "noted_with",
    "of_parts",
    "told",
    "visible",
]

#: The highest number of a part that S3 has: a rule of those who speak S3. A store takes higher ones.
MAX_PART = 10000

_OF_PARTS = re.compile("-[0-9]+$")


def encode_entry(entry: Entry) -> str:
    """An entry as text, to be kept with bytes that are to become a key's."""
    return json.dumps(attrs.asdict(entry), ensure_ascii=False, separators=(",", ":"))


def decode_entry(text: str) -> Entry:
    """@raise ValueError: if it is none."""
    try:
        return Entry(**json.loads(text))
    except TypeError as error:
        raise ValueError(str(error)) from None


def visible(part: Part) -> str:
    """The etag of a part, as its client got it: the MD5 if there is one."""
    return part.note.partition(" ")[0] or part.etag[:32]


def told(part: Part) -> Part:
    """A part as users know it: with the etag that they were given, and the note that they gave."""
    return attrs.evolve(part, etag=visible(part), note=part.note.partition(" ")[2])


def noted_with(md5: str, note: str) -> str:
    """What the data space keeps with a part: its MD5, if there is one, and after a space what users had noted."""
    return f"{md5} {note}" if note else md5


def is_of_parts(etag: str) -> bool:
    """Whether an etag says that its object was made of parts."""
    return _OF_PARTS.search(etag) is not None


def of_parts(parts: Sequence[Part]) -> str:
    """The etag of an object of parts, as S3 makes it."""
    tags = [visible(part) for part in parts]
    if all(map(is_md5, tags)):
        data = b"".join(map(bytes.fromhex, tags))
    else:
        data = "\n".join(tags).encode()
    return f"{hashlib.md5(data, usedforsecurity=False).hexdigest()}-{len(parts)}"
