"""
Records as they go over the wire, in two forms.

C{application/x-ndjson}, a JSON object a line::

    {"metadata":{"name":"value"},"payload":"text"}
    {"metadata":{"name":"value"},"payload_base64":"AP8="}

An answer has a line C{{"damaged":{"archive":"...","offset":36,"reason":"..."}}} where records could not be read; it cannot be
posted.

C{application/x-storehouse-records}, one behind the other, lengths as 4 bytes, little-endian::

    [u32 metadata length][metadata, a JSON object in UTF-8][u32 payload length][payload]
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any

from storehouse.archive.interfaces import Payload, Record
from storehouse.core import times
from storehouse.core.jsontext import SHORT, take_json
from storehouse.core.turns import breath
from storehouse.errors import BadRequest, DamagedArchive, MalformedBody, TooLarge
from storehouse.frontends.archive.longrecords import (
    check_metadata_size,
    encode_long_line,
    is_long,
    read_long_line,
    slices,
)
from storehouse.storage.streams.interfaces import NewRecord

__all__ = [
    "BINARY",
    "NDJSON",
    "Encoder",
    "count_binary",
    "count_lines",
    "encode_binary",
    "encode_damage",
    "encode_lines",
    "encode_slowly",
    "parse_binary",
    "parse_lines",
    "parse_time",
    "payload_of",
    "written_time",
]

NDJSON, BINARY = b"application/x-ndjson", b"application/x-storehouse-records"

#: Names in the metadata of one record: each takes many times its bytes in memory.
_MOST_PAIRS = 4096

#: Makes the bytes of records.
Encoder = Callable[[Sequence[Record]], bytes]

_u32 = Struct("<I")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 1_000_000_000

_dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


# -- in ----------------------------------------------------------------------------------------------------------------


def payload_of(body: bytes, content_type: bytes) -> Payload:
    """Text, if the media type says so and it is UTF-8; bytes otherwise."""
    kind = content_type.partition(b";")[0].strip().lower()
    if kind.startswith(b"text/") or kind == b"application/json":
        try:
            return body.decode("utf-8")
        except UnicodeDecodeError:
            pass
    return body


def _check_metadata(where: str, metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise MalformedBody(f"the metadata of {where} is no object of text to text")
    if len(metadata) > _MOST_PAIRS:
        raise TooLarge(f"the metadata of {where} has {len(metadata)} names; at most {_MOST_PAIRS} are allowed")
    return metadata


def _check_size(where: str, size: int, most: int) -> None:
    if size > most:
        raise TooLarge(f"{where} has {size} bytes; at most {most} are allowed (archive-max-record)")


def _parse_line(where: str, line: bytes) -> NewRecord:
    try:
        given = take_json(line)
    except ValueError as error:
        raise MalformedBody(f"{where} is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise MalformedBody(f"{where} is no JSON object")
    if "payload_base64" in given:
        try:
            given["payload_base64"] = b64decode(given["payload_base64"], validate=True)
        except (Base64Error, TypeError, ValueError) as error:
            raise MalformedBody(f"the payload_base64 of {where} is no base64: {error}") from None
    return _record_of(where, given)


async def _parse_long_line(where: str, line: bytes) -> NewRecord:
    return _record_of(where, await read_long_line(where, line))


def _record_of(where: str, given: Mapping[str, Any]) -> NewRecord:
    # What a GET has given can be posted as it is; the time is that of the writing.
    unknown = sorted(given.keys() - {"metadata", "payload", "payload_base64", "time"})
    if unknown:
        raise MalformedBody(f"{where} has an unknown member {unknown[0]!r}")
    if ("payload" in given) == ("payload_base64" in given):
        raise MalformedBody(f"{where} has either a payload or a payload_base64")
    payload: Payload = given["payload" if "payload" in given else "payload_base64"]
    if "payload" in given and not isinstance(payload, str):
        raise MalformedBody(f"the payload of {where} is no text")
    return _check_metadata(where, given.get("metadata", {})), payload


def parse_lines(body: bytes, most: int) -> Iterator[NewRecord | Awaitable[NewRecord]]:
    """
    Take NDJSON apart. Empty lines do not count. A long line is to be awaited.

    @param most: bytes that a line may have.
    @raise MalformedBody: naming the line.
    @raise TooLarge: likewise.
    """
    number = start = 0
    while start < len(body):
        number += 1
        end = body.find(b"\n", start)
        end = len(body) if end < 0 else end
        _check_size(f"line {number}", end - start, most)
        line = body[start:end]
        start = end + 1
        if line.strip(b" \t\r"):
            where = f"line {number}"
            yield _parse_line(where, line) if len(line) <= SHORT else _parse_long_line(where, line)


def parse_binary(body: bytes, most: int) -> Iterator[NewRecord]:
    """
    Take the binary form apart.

    @param most: bytes that metadata and payload of a record may have together.
    @raise MalformedBody: naming the record, from 1.
    @raise TooLarge: likewise.
    """
    at = number = 0
    while at < len(body):
        number += 1
        where = f"record {number}"
        begin = at
        pieces = []
        for what in ("metadata", "payload"):
            if len(body) - at < _u32.size:
                raise MalformedBody(f"the body ends within the length of the {what} of {where}")
            (length,) = _u32.unpack_from(body, at)
            at += _u32.size
            _check_size(where, at + length - begin - _u32.size, most)
            if len(body) - at < length:
                raise MalformedBody(f"the body ends within the {what} of {where}")
            pieces.append(body[at : at + length])
            at += length
        check_metadata_size(where, len(pieces[0]))
        try:
            metadata = take_json(pieces[0]) if pieces[0] else {}
        except ValueError as error:
            raise MalformedBody(f"the metadata of {where} is no JSON: {error}") from None
        yield _check_metadata(where, metadata), pieces[1]


def count_lines(body: bytes) -> int:
    """How many records L{parse_lines} can give of it at most."""
    return body.count(b"\n") + (not body.endswith(b"\n"))


async def count_binary(body: bytes, most: int) -> int:
    """
    How many records L{parse_binary} can give of it at most; others are served meanwhile.

    @param most: beyond that they are not counted.
    """
    at = count = 0
    unpack, size, end = _u32.unpack_from, _u32.size, len(body) - _u32.size
    while at < len(body) and count < most:
        count += 1
        for _ in range(2):
            at += size + (unpack(body, at)[0] if at <= end else 0)
        if count % 1000 == 0:
            await breath()
    return count


# -- out ---------------------------------------------------------------------------------------------------------------


def encode_lines(records: Sequence[Record]) -> bytes:
    """Records as NDJSON."""
    lines = []
    for record in records:
        line: dict[str, Any] = {"time": written_time(record.time), "metadata": record.metadata}
        if isinstance(record.payload, str):
            line["payload"] = record.payload
        else:
            line["payload_base64"] = b64encode(record.payload).decode("ascii")
        lines.append(_dump(line))
    lines.append("")
    return "\n".join(lines).encode("utf-8")


async def encode_slowly(encode: Encoder, records: Sequence[Record]) -> bytes:
    """What C{encode} makes of records; others are served meanwhile."""
    encoded: list[bytes] = []
    for some in slices(records):
        if encode is encode_lines and is_long(some[0].payload):
            (record,) = some
            head = _dump({"time": written_time(record.time), "metadata": record.metadata})
            encoded += await encode_long_line(head[:-1] + ",", record.payload, _dump)
        else:
            encoded.append(encode(some))
        await breath()
    return encoded[0] if len(encoded) == 1 else b"".join(encoded)


def encode_damage(damage: DamagedArchive) -> bytes:
    """A line that stands where records are missing."""
    line = {"damaged": {"archive": damage.file, "offset": damage.offset, "reason": damage.reason}}
    return f"{_dump(line)}\n".encode("utf-8", "backslashreplace")


def encode_binary(records: Sequence[Record]) -> bytes:
    """Records in the binary form."""
    pieces = []
    for record in records:
        metadata = _dump(record.metadata).encode("utf-8")
        payload = record.payload.encode("utf-8") if isinstance(record.payload, str) else record.payload
        pieces += [_u32.pack(len(metadata)), metadata, _u32.pack(len(payload)), payload]
    return b"".join(pieces)


# -- times -------------------------------------------------------------------------------------------------------------


def written_time(time: int) -> str:
    """RFC 3339, in UTC, with nanoseconds, of which nothing is lost."""
    seconds, fraction = divmod(time, _SECOND)
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return str(time)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def parse_time(what: str, text: str, now: float) -> int:
    """
    Nanoseconds since 1970 UTC, of a time as L{storehouse.core.times} has it.

    @param now: seconds since 1970.
    @raise BadRequest: if it is none.
    """
    try:
        return times.parse_time(text, now)
    except ValueError as error:
        raise BadRequest(f"{what}: {error}") from None
