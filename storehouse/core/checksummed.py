"""
JSON objects that carry their own checksum.

UTF-8, one line, no spaces. The last field, C{checksum}, is the CRC32C, as 8 hex digits, of all bytes before the comma
that precedes it (docs/formats/wormer.md, docs/formats/namespace.md).
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping

from storehouse.core.digests import crc32c

__all__ = ["decode_checksummed", "encode_checksummed", "has_checksum"]

_MARK = b',"checksum":"'
_TAIL = len(_MARK) + 8 + len(b'"}')

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_decode = json.JSONDecoder().decode


def encode_checksummed(fields: Mapping[str, object]) -> bytes:
    """
    The text of an object with its checksum.

    @param fields: at least one.
    @raise UnicodeEncodeError: for text that is not Unicode.
    """
    head = _encode(fields)[:-1].encode()
    return b'%b%b%08x"}' % (head, _MARK, crc32c(head))


def has_checksum(data: bytes) -> bool:
    """
    Whether a text ends with a checksum, which then is right.

    @raise ValueError: if it is wrong.
    """
    if data[-_TAIL : -_TAIL + len(_MARK)] != _MARK or not data.endswith(b'"}'):
        return False
    if data[-10:-2] != b"%08x" % crc32c(data[:-_TAIL]):
        raise ValueError("its checksum is wrong")
    return True


def decode_checksummed(data: bytes) -> tuple[dict[str, object], bool]:
    """
    @return: the members, and whether there is a checksum, which then is right.
    @raise ValueError: if it is wrong, or the text is not a JSON object.
    """
    if has_checksum(data):
        # The checksum is right, so this is what was written.
        return _decode(data[:-_TAIL].decode() + "}"), True
    try:
        # Programs on Windows begin a text with a byte order mark.
        fields = _decode(data.removeprefix(codecs.BOM_UTF8).decode())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(fields, dict):
        raise ValueError("it is not a JSON object")
    if "checksum" in fields:
        raise ValueError("its checksum is not at its end")
    return fields, False
