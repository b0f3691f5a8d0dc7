"""
What is kept with each part of an upload beside its bytes: its checksums, as names and Base64::

    crc32=mO4X5w== crc64nvme=AAAAAAAAAAA=

Other doors keep notes of other forms (which do not end with an equals sign); they are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["read_note", "write_note"]

_entry = re.compile(r"([a-z0-9]+)=([A-Za-z0-9+/]{4,}={1,2})").fullmatch


def write_note(checksums: Mapping[str, str]) -> str:
    """
    @param checksums: by the names of the algorithms in lower case, in Base64.
    """
    return " ".join(f"{name}={value}" for name, value in checksums.items())


def read_note(note: str) -> dict[str, str]:
    """The checksums of a part, by the names that are those of an object's, too: C{checksum-crc32}. Empty if none are known."""
    found = {}
    for entry in note.split(" "):
        match = _entry(entry)
        if match is None:
            return {}
        found[f"checksum-{match[1]}"] = match[2]
    return found
