"""
What chunks are called in the object store: bucket C{sfsp}, key ``<file name>/<id>``.

The name is percent-encoded, every byte but ``A-Z a-z 0-9 - . _ ~``, so that all bytes can be names, and none has a
``/``. The ID has 20 digits, so that keys sort as IDs do. Where that would be more than S3's 1024 bytes, ``sha256:`` and
the digest stand for the name (no encoded name has a ``:``), and the name is in the metadata.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from urllib.parse import quote_from_bytes

import attrs

from storehouse.core.sfsp import MAX_ID

__all__ = ["BUCKET", "FileName", "id_of"]

#: Where chunks are.
BUCKET = "sfsp"

# Bytes that a key may have.
_MAX_KEY = 1024

_DIGITS = 20

# The metadata that has the name where the key has not: percent-encoded, as in keys.
_NAME = "sfsp-name"

_id = re.compile(r"[0-9]{20}", re.ASCII)


@attrs.frozen
class FileName:
    """
    The name of a file, as the object store has it.

    @ivar prefix: what all its keys begin with.
    @ivar metadata: what is kept with each chunk.
    @ivar text: the name, percent-encoded.
    """

    prefix: str
    metadata: Mapping[str, Sequence[str]]
    text: str

    @classmethod
    @lru_cache(256)
    def of(cls, name: bytes) -> FileName:
        """The name that these bytes are."""
        text = quote_from_bytes(name, safe="")
        if len(text) + 1 + _DIGITS <= _MAX_KEY:
            return cls(f"{text}/", {}, text)
        return cls(f"sha256:{hashlib.sha256(name).hexdigest()}/", {_NAME: [text]}, text)

    def key(self, id: int) -> str:
        """The key of a chunk."""
        return f"{self.prefix}{id:020d}"

    def is_of(self, metadata: Mapping[str, Sequence[str]]) -> bool:
        """Whether an object under such a key, with this metadata, is a chunk of this file."""
        return not self.metadata or list(metadata.get(_NAME, ())) == self.metadata[_NAME]


def id_of(digits: str) -> int | None:
    """The ID that stands behind a prefix; C{None} if it is none, since other doors may store anything there."""
    if _id.fullmatch(digits) is None:
        return None
    id = int(digits)
    return id if id <= MAX_ID else None
