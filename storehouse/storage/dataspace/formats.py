"""
The files that describe objects: data.json, parts.json, upload.json and checksum files, with the hashes that these name.

docs/formats/wormer.md is their description.  All functions here are pure: from bytes to values and back.  Those that
read raise C{ValueError}s that say what is wrong with the bytes.

==============  ======  =====================================================================
hash            bytes   source
==============  ======  =====================================================================
HighwayHash256  32      L{storehouse.core.highwayhash}; with a key of 32 bytes, zero if none
BLAKE3          32      the reference implementation's; with a key of 32 bytes, or none
CRC32C          4       Castagnoli's polynomial, big-endian; without a key
==============  ======  =====================================================================

All of them let go of the interpreter's lock (HighwayHash256 from 32 KiB on), so that they can run in a disk thread.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import attrs
from blake3 import blake3

from storehouse.core.checksummed import encode_checksummed, has_checksum
from storehouse.core.digests import crc32c
from storehouse.core.highwayhash import IS_FAST, highwayhash256
from storehouse.storage.dataspace.interfaces import Metadata, Part

__all__ = [
    "HASHES",
    "MAX_DESCRIPTION",
    "MAX_HEADER",
    "TAG_SIZE",
    "ChecksumHeader",
    "Hash",
    "Hasher",
    "ObjectInfo",
    "check_own",
    "decode_header",
    "decode_object",
    "decode_object_cached",
    "decode_parts",
    "decode_upload",
    "encode_header",
    "encode_object",
    "encode_part",
    "encode_parts",
    "encode_upload",
    "find_hash",
    "is_our_tag",
    "joined_etag",
    "part_tag",
]

#: Bytes of the longest header of a checksum file that is read.
MAX_HEADER = 4096

#: Bytes of the longest JSON file that is read: some 500,000 parts.
MAX_DESCRIPTION = 64 << 20

#: Bytes of the largest blocks that are read: they are verified in memory.
MAX_BLOCK = 64 << 20

#: Bytes of the tags that we make. Longer than an MD5 and a SHA-1: so ours can be told from those of other programs.
TAG_SIZE = 24


_our_tag = re.compile(f"[0-9a-f]{{{2 * TAG_SIZE}}}")


# -- hashes ----------------------------------------------------------------------------------------


class Hasher(Protocol):
    """The hash of one block whose bytes come in pieces."""

    def update(self, data: bytes | memoryview) -> object:
        """These are next."""

    def digest(self) -> bytes:
        """The checksum of all of them."""


@attrs.frozen
class Hash:
    """
    A hash with its key.

    @ivar name: as in checksum files.
    @ivar length: bytes of a checksum.
    @ivar key: as given; empty for none.
    @ivar digest: from a whole block to its checksum.
    @ivar at_once: bytes whose checksum takes no more than some 100 microseconds.
    @ivar start: begins a block that comes in pieces; C{None} if the hash needs its blocks whole.
    """

    name: str
    length: int
    key: bytes
    digest: Callable[[bytes], bytes]
    start: Callable[[], Hasher] | None
    at_once: int


class _CRC32C:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes | memoryview) -> None:
        self._value = crc32c(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


def _highwayhash256(key: bytes) -> Hash:
    used = key or bytes(32)
    # Its twin is another process, and never waited for in the reactor's thread.
    at_once = 512 << 10 if IS_FAST else 0
    return Hash("HighwayHash256", 32, key, lambda block: highwayhash256(used, block), None, at_once)


def _blake3(key: bytes) -> Hash:
    if key:
        return Hash(
            "BLAKE3", 32, key, lambda block: blake3(block, key=key).digest(), lambda: blake3(key=key), 512 << 10
        )
    return Hash("BLAKE3", 32, key, lambda block: blake3(block).digest(), blake3, 512 << 10)


def _crc32c(key: bytes) -> Hash:
    return Hash("CRC32C", 4, key, lambda block: crc32c(block).to_bytes(4, "big"), _CRC32C, 1 << 20)


_makers: dict[str, tuple[Callable[[bytes], Hash], tuple[int, ...]]] = {
    "HighwayHash256": (_highwayhash256, (0, 32)),
    "BLAKE3": (_blake3, (0, 32)),
    "CRC32C": (_crc32c, (0,)),
}

#: The names that there are, the default first.
HASHES = tuple(_makers)


def find_hash(name: str, key: bytes = b"") -> Hash:
    """
    The hash of that name.

    @raise ValueError: naming what is wrong.
    """
    if name not in _makers:
        raise ValueError(f"there is no hash {name[:100]!r}; there are {', '.join(HASHES)}")
    make, lengths = _makers[name]
    if len(key) not in lengths:
        raise ValueError(f"{name} has no keys of {len(key)} bytes")
    return make(key)


# -- descriptions and checksum files ---------------------------------------------------------------


@attrs.frozen
class ObjectInfo:
    """
    What data.json says.

    @ivar parts: in the order of the object's bytes.
    @ivar id: the ID that it was written for; empty if it does not say.
    """

    etag: str
    size: int
    parts: tuple[Part, ...]
    metadata: Mapping[str, Sequence[str]]
    id: str = ""


@attrs.frozen
class ChecksumHeader:
    """
    The first line of a checksum file.

    @ivar hash: how blocks are checked.
    @ivar block_size: bytes of every block but the last.
    @ivar data_length: bytes of the part.
    @ivar line_length: bytes of the checksum line of a block.
    """

    hash: Hash
    block_size: int
    data_length: int

    @property
    def block_count(self) -> int:
        """The number of blocks."""
        return -(-self.data_length // self.block_size)

    @property
    def line_length(self) -> int:
        """Bytes of a block's line."""
        return 2 * self.hash.length + 1

    def line(self, block: bytes) -> bytes:
        """The line that a block must have."""
        return self.hash.digest(block).hex().encode() + b"\n"

    def span(self, block: int) -> tuple[int, int]:
        """@return: where a block begins in the part, and its length."""
        start = block * self.block_size
        return start, min(self.block_size, self.data_length - start)


def joined_etag(etags: Iterable[str]) -> str:
    """The tag of an object, of its parts' tags; that of the only part if there is one."""
    tags = list(etags)
    if len(tags) == 1:
        return tags[0]
    text = "".join(f"{tag}\n" for tag in tags)
    return f"{hashlib.blake2b(text.encode(), digest_size=TAG_SIZE).hexdigest()}-{len(tags)}"


# -- JSON with its own checksum ----------------------------------------------------------------


def _text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _parse(data: bytes) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(items)
        if len(fields) != len(items):
            raise ValueError("a field is repeated")
        return fields

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=pairs)
        if b"\\u" in data:  # an escape may be half a character, which could not be written again
            _text(value)
        return value
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except UnicodeEncodeError:
        raise ValueError("it contains text that is not Unicode") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from None


def _object(
    value: Any, foreign: set[str], ours: set[str], what: str, optional: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """An object that has either the fields of other programs, or ours as well, perhaps C{optional} ones, and no others."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not an object")
    fields = set(value)
    if fields not in (foreign, foreign | ours) and (not ours <= fields or fields - optional != foreign | ours):
        wrong = (fields - optional) ^ (foreign | ours if ours & fields else foreign)
        raise ValueError(f"{what} has missing or unknown fields: {', '.join(sorted(wrong))[:200]}")
    return value


def _decode(data: bytes, foreign: set[str], ours: set[str]) -> dict[str, Any]:
    value = _object(_parse(data), foreign, {*ours, "checksum"}, "it", _ID)
    if "checksum" in value and not has_checksum(data):
        raise ValueError("its checksum is wrong")
    return value


# Files of earlier versions do not say whose they are.
_ID = frozenset({"id"})


def _whole(value: Any, what: str, low: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < low or value >= 1 << 63:
        raise ValueError(f"{what} is {str(value)[:50]}, not a number from {low}")
    return value


def _string(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} is not a text")
    return value


def _metadata(value: Any) -> dict[str, list[str]]:
    if not isinstance(value, dict):
        raise ValueError("metadata is not an object")
    for values in value.values():
        if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
            raise ValueError("a value of metadata is not a list of texts")
    return value


def _part(value: dict[str, Any]) -> Part:
    return Part(
        _whole(value["number"], "the number of a part", 1),
        _string(value["etag"], "the etag of a part"),
        _whole(value["size"], "the size of a part"),
        _string(value.get("note", ""), "the note of a part"),
        _whole(value.get("stored", 0), "the time of a part"),
    )


_PART = {"etag", "number", "size"}
_OF_UPLOAD = frozenset({"note", "stored"})


def _part_fields(part: Part) -> dict[str, Any]:
    fields: dict[str, Any] = {"etag": part.etag, "number": part.number, "size": part.size}
    if part.note:
        fields["note"] = part.note
    return fields


def encode_object(info: ObjectInfo) -> bytes:
    """The bytes of C{data.json}, see docs/formats/wormer.md."""
    return encode_checksummed(
        {
            "etag": info.etag,
            "key": next(iter(info.metadata.get("key", ())), ""),
            "parts": [_part_fields(part) for part in info.parts],
            "size": info.size,
            "metadata": {name: list(values) for name, values in info.metadata.items()},
            **({"id": info.id} if info.id else {}),
        }
    )


def decode_object(data: bytes) -> ObjectInfo:
    """The bytes of C{data.json}, see docs/formats/wormer.md."""
    value = _decode(data, {"etag", "key", "parts", "size"}, {"metadata"})
    if not isinstance(value["parts"], list):
        raise ValueError("parts is not a list")
    key = _string(value["key"], "key")
    noted = {"note"} if "checksum" in value else set[str]()
    parts = tuple(_part(_object(part, _PART, noted, "a part")) for part in value["parts"])
    size = _whole(value["size"], "size")
    if sum(part.size for part in parts) != size:
        raise ValueError(f"its parts do not have {size} bytes together")
    if len({part.number for part in parts}) != len(parts):
        raise ValueError("a part is repeated")
    metadata = _metadata(value.get("metadata", {"key": [key]} if key else {}))
    return ObjectInfo(_string(value["etag"], "etag"), size, parts, metadata, _string(value.get("id", ""), "id"))


# The same bytes mean the same: to read the JSON of a small object again takes longer than to read the object.
decode_object_cached = lru_cache(maxsize=4096)(decode_object)


def encode_part(part: Part) -> bytes:
    """An entry of parts.json."""
    when = {"stored": part.stored} if part.stored else {}
    return b'"%d":%s' % (part.number, encode_checksummed({**_part_fields(part), **when}))


def encode_parts(entries: Mapping[int, bytes]) -> bytes:
    """
    parts.json.

    @param entries: what L{encode_part} gives, by number: to encode all anew for every part takes long.
    """
    return b"{%s}" % b",".join([entries[number] for number in sorted(entries)])


def decode_parts(data: bytes) -> dict[int, Part]:
    """parts.json."""
    value = _parse(data)
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    parts = {}
    ours = False
    for name, entry in value.items():
        part = _part(_object(entry, _PART, {"checksum"}, f"part {name[:20]}", _OF_UPLOAD))
        if name != str(part.number):
            raise ValueError(f"part {name[:20]} says that it is part {part.number}")
        ours = ours or "checksum" in entry
        parts[part.number] = part
    # Each entry holds a checksum of its own: the text must be the very one that we would write.
    if ours and data != encode_parts({number: encode_part(part) for number, part in parts.items()}):
        raise ValueError("a checksum in it is wrong")
    return parts


def encode_upload(created: int, metadata: Metadata, upload_id: str = "") -> bytes:
    """
    upload.json.

    @param created: nanoseconds since 1970 UTC.
    """
    kept = {name: list(values) for name, values in metadata.items()}
    return encode_checksummed({"createdAt": created, "metadata": kept, **({"id": upload_id} if upload_id else {})})


def decode_upload(data: bytes) -> tuple[int, dict[str, list[str]], str]:
    """upload.json: when it was begun, its metadata, and the upload ID that it was written for, or C{""}."""
    value = _decode(data, {"createdAt", "metadata", "checksum"}, set())
    return _whole(value["createdAt"], "createdAt"), _metadata(value["metadata"]), _string(value.get("id", ""), "id")


def check_own(said: str, id: str) -> None:
    """
    That a description is of the object or upload in whose directory it is.

    @param said: the ID that it was written for; empty if it does not say.
    @raise ValueError: if it is of another.
    """
    if said not in ("", id):
        raise ValueError(f"it was written for {said[:200]}: it belongs elsewhere")


# -- checksum files ----------------------------------------------------------------------------


def encode_header(header: ChecksumHeader) -> bytes:
    """The first line of a checksum file, with its newline."""
    hash = header.hash
    return (
        f'{{"hashName":"{hash.name}","hashKey":"{hash.key.hex()}","hashLength":{hash.length},'
        f'"blockSize":{header.block_size},"blockCount":{header.block_count},"dataLength":{header.data_length}}}\n'
    ).encode()


_header_text = lru_cache(maxsize=1024)(encode_header)


def part_tag(header: ChecksumHeader, lines: Iterable[bytes]) -> str:
    """The tag of a part, of its whole checksum file."""
    tag = hashlib.blake2b(digest_size=TAG_SIZE)
    for piece in lines:
        tag.update(piece)
    tag.update(_header_text(header))
    return tag.hexdigest()


def is_our_tag(etag: str) -> bool:
    """Whether the tag of a part is one that L{part_tag} may have given."""
    return _our_tag.fullmatch(etag) is not None


def decode_header(start: bytes) -> tuple[ChecksumHeader, int]:
    """
    The header of a checksum file.

    @param start: its first L{MAX_HEADER} bytes, or all if it has fewer.
    @return: the header, and where the lines begin.
    """
    line, newline, _ = start.partition(b"\n")
    if not newline:
        raise ValueError(f"its first line does not end within {MAX_HEADER} bytes")
    return _decode_header(line), len(line) + 1


# Parts of the same size have the same header: to read the text again takes as long as to read a small file.
@lru_cache(maxsize=1024)
def _decode_header(line: bytes) -> ChecksumHeader:
    value = _parse(line)
    if isinstance(value, dict) and "haskKey" in value and "hashKey" not in value:
        value["hashKey"] = value.pop("haskKey")
    names = {"hashName", "hashKey", "hashLength", "blockSize", "blockCount", "dataLength"}
    value = _object(value, names, set(), "its header")
    try:
        key = bytes.fromhex(_string(value["hashKey"], "hashKey"))
    except ValueError:
        raise ValueError("hashKey is not hexadecimal") from None
    hash = find_hash(_string(value["hashName"], "hashName"), key)
    block_size = _whole(value["blockSize"], "blockSize", 1)
    if block_size > MAX_BLOCK:
        raise ValueError(f"its blocks have {block_size} bytes; at most {MAX_BLOCK} can be read")
    header = ChecksumHeader(hash, block_size, _whole(value["dataLength"], "dataLength"))
    for name, expected in (("hashLength", hash.length), ("blockCount", header.block_count)):
        if _whole(value[name], name) != expected:
            raise ValueError(f"{name} is {value[name]}, not {expected}")
    return header
