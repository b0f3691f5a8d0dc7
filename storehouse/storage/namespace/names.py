"""Names of buckets, keys and IDs: their rules, and the paths of keys on disk (docs/formats/namespace.md)."""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

from storehouse.errors import InvalidName

__all__ = [
    "MAX_KEY",
    "check_bucket",
    "check_id",
    "check_key",
    "check_text",
    "decode_key",
    "encode_key",
    "id_of_file",
    "is_bucket",
]

#: Bytes of UTF-8 that a key may have.
MAX_KEY = 1024

#: The most characters of a directory in the path of a key.
_PIECE = 200

#: The end of directories that are not the last of their key.
_MORE = "+"

_SAFE = "-_~!@=,()'"

_bucket = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_address = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+", re.ASCII)
_id = re.compile(r"[0-9a-f]{2,128}", re.ASCII)
_file = re.compile(r"([0-9a-f]{2,128})\.json", re.ASCII)


def check_bucket(name: str) -> str:
    """@raise InvalidName: unless S3 allows the name for a bucket."""
    if not is_bucket(name):
        raise InvalidName(
            f"{name[:200]!r} is no name for a bucket, which has 3 to 63 of a-z 0-9 . -, a letter or digit at both ends, "
            "no two dots together, not an IP address"
        )
    return name


def is_bucket(name: str) -> bool:
    """Whether a name can be a bucket's."""
    return bool(_bucket.fullmatch(name)) and ".." not in name and not _address.fullmatch(name)


def check_text(kind: str, text: str) -> bytes:
    """
    The UTF-8 of a text.

    @raise InvalidName: if it has a lone surrogate.
    """
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidName(f"the {kind} {text[:200]!r} is not Unicode text") from None


def check_key(key: str) -> bytes:
    """
    The UTF-8 of a key.

    @raise InvalidName: unless it is 1 to L{MAX_KEY} bytes.
    """
    data = check_text("key", key)
    if not data:
        raise InvalidName("the key is empty")
    if len(data) > MAX_KEY:
        raise InvalidName(f"the key has {len(data)} bytes; at most {MAX_KEY} are allowed")
    return data


def check_id(id: str) -> str:
    """@raise InvalidName: unless it is 2 to 128 lower-case hexadecimal digits."""
    if not _id.fullmatch(id):
        raise InvalidName(f"the ID {id[:200]!r} is not 2 to 128 lower-case hexadecimal digits")
    return id


def id_of_file(name: str) -> str | None:
    """The ID of a file name C{<ID>.json}; C{None} for other names."""
    found = _file.fullmatch(name)
    return found[1] if found else None


def encode_key(key: bytes) -> str:
    """The path of a key below C{objects/}: one component, or several if it is long."""
    text = quote_from_bytes(key, _SAFE)
    if len(text) <= _PIECE:
        return text if text[0] != "." else "%2E" + text[1:]
    pieces = []
    while text:
        end = _PIECE
        if len(text) > _PIECE and "%" in text[_PIECE - 2 : _PIECE]:
            end = text.index("%", _PIECE - 2)
        piece, text = text[:end], text[end:]
        pieces.append("%2E" + piece[1:] if piece[0] == "." else piece)
    return f"{_MORE}/".join(pieces)


def decode_key(path: str) -> str | None:
    """The key of a path below C{objects/}; C{None} if L{encode_key} gives this path for no key."""
    data = unquote_to_bytes(path.replace(f"{_MORE}/", ""))
    try:
        key = data.decode()
    except UnicodeDecodeError:
        return None
    if not 0 < len(data) <= MAX_KEY or encode_key(data) != path:
        return None
    return key


def is_part(name: str) -> bool:
    """Whether a directory is not the last one of its key."""
    return name.endswith(_MORE)
