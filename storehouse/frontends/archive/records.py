"""
Records in requests and responses, in two forms.

C{application/x-ndjson}, a JSON object a line::

    {"metadata":{"name":"value"},"payload":"text"}
    {"metadata":{"name":"value"},"payload_base64":"AP8="}

A response has a line C{{"damaged":{"archive":"...","offset":36,"reason":"..."}}} where records could not be read; it cannot be
posted.

C{application/x-storehouse-records}, records one after another, lengths as 4 bytes, little-endian::

    [u32 metadata length][metadata, a JSON object in UTF-8][u32 payload length][payload]

A record may have 16 MiB and more. What is long is parsed and encoded in steps, between which the reactor serves others.
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
from storehouse.core.jsontext import SHORT, Member, WrongMember, read_members, read_text, take_json
from storehouse.core.turns import breath
from storehouse.errors import BadRequest, DamagedArchive, MalformedBody, TooLarge
from storehouse.storage.streams.interfaces import NewRecord

__all__ = [
    "BINARY",
    "NDJSON",
    "Encoder",
    "count_binary",
    "count_lines",
    "encode_binary",
    "encode_damage",
    "encode_in_steps",
    "encode_lines",
    "format_time",
    "parse_binary",
    "parse_lines",
    "parse_time",
    "payload_of",
]


NDJSON, BINARY = b"application/x-ndjson", b"application/x-storehouse-records"

#: Names in the metadata of one record: each takes many times its bytes in memory.
_MAX_NAMES = 4096

#: Encodes records in one of the forms.
Encoder = Callable[[Sequence[Record]], bytes]

#: Longer lines are parsed in steps.
_LONG_LINE = SHORT

#: Characters of base64 that are decoded at once, and bytes or characters of a payload that are encoded at once. Multiples of 4
#: and 3: base64 of pieces is base64 of the whole then.
_BASE64 = 1 << 18
_PIECE = 3 << 16

#: Records, and bytes or characters of them, that are encoded at once.
_BATCH = 256
_BATCH_SIZE = 1 << 18

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
        raise MalformedBody(f"the metadata of {where} is not a JSON object of texts")
    if len(metadata) > _MAX_NAMES:
        raise TooLarge(f"the metadata of {where} has {len(metadata)} names; at most {_MAX_NAMES} are allowed")
    return metadata


def _check_size(where: str, size: int, most: int) -> None:
    if size > most:
        raise TooLarge(f"{where} has {size} bytes; at most {most} are allowed (archive-max-record)")


def _parse_line(where: str, line: bytes) -> NewRecord:
    try:
        given = take_json(line)
    except ValueError as error:
        raise MalformedBody(f"{where} is not JSON: {error}") from None
    if not isinstance(given, dict):
        raise MalformedBody(f"{where} is not a JSON object")
    if "payload_base64" in given:
        try:
            given["payload_base64"] = b64decode(given["payload_base64"], validate=True)
        except (Base64Error, TypeError, ValueError) as error:
            raise MalformedBody(f"the payload_base64 of {where} is not base64: {error}") from None
    return _record_of(where, given)


async def _parse_long_line(where: str, line: bytes) -> NewRecord:
    return _record_of(where, await _read_long_line(where, line))


def _record_of(where: str, given: Mapping[str, Any]) -> NewRecord:
    # Lines of a response can be posted as they are. The time is ignored: it is that of the writing.
    unknown = sorted(given.keys() - {"metadata", "payload", "payload_base64", "time"})
    if unknown:
        raise MalformedBody(f"{where} has an unknown member {unknown[0]!r}")
    if ("payload" in given) == ("payload_base64" in given):
        raise MalformedBody(f"{where} must have either payload or payload_base64")
    payload: Payload = given["payload" if "payload" in given else "payload_base64"]
    if "payload" in given and not isinstance(payload, str):
        raise MalformedBody(f"the payload of {where} is not text")
    return _check_metadata(where, given.get("metadata", {})), payload


def parse_lines(body: bytes, most: int) -> Iterator[NewRecord | Awaitable[NewRecord]]:
    """
    Parse NDJSON. Empty lines are skipped; what a long line gives is to be awaited.

    @param most: bytes that a line may have.
    @raise MalformedBody: with the number of the line, from 1.
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
            yield _parse_line(where, line) if len(line) <= _LONG_LINE else _parse_long_line(where, line)


def parse_binary(body: bytes, most: int) -> Iterator[NewRecord]:
    """
    Parse the binary form.

    @param most: bytes that metadata and payload of a record may have together.
    @raise MalformedBody: with the number of the record, from 1.
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
        _check_metadata_size(where, len(pieces[0]))
        try:
            metadata = take_json(pieces[0]) if pieces[0] else {}
        except ValueError as error:
            raise MalformedBody(f"the metadata of {where} is not JSON: {error}") from None
        yield _check_metadata(where, metadata), pieces[1]


def _check_metadata_size(where: str, size: int) -> None:
    """@raise TooLarge: for metadata that would take long to parse."""
    if size > SHORT:
        raise TooLarge(f"the metadata of {where} have {size} bytes; at most {SHORT} are allowed")


#: The members of a line; see L{_record_of} for C{time}.
_MEMBERS = {
    "metadata": Member(b"{", "an object of texts", SHORT),
    "payload": Member(b'"', "text"),
    "payload_base64": Member(b'"', "text"),
    "time": Member(b'{["-0123456789tfn', "a value", SHORT),
}


async def _read_long_line(where: str, line: bytes) -> dict[str, object]:
    """
    The members of a line: C{metadata}, C{payload} as text, C{payload_base64} as bytes, C{time} as its JSON.

    @raise MalformedBody: if it is no record.
    @raise TooLarge: if it has too much metadata.
    """
    try:
        texts = await read_members(line, _MEMBERS)
    except WrongMember as error:
        raise MalformedBody(
            f"the {error.name} of {where} is not {error.what}"
            if error.what
            else f"{where} has an unknown member {error.name[:100]!r}"
        ) from None
    except ValueError as error:
        raise MalformedBody(f"{where} is not a JSON object of a record: {error}") from None
    except TooLarge as error:
        raise TooLarge(f"{where}: {error.detail}") from None
    given: dict[str, object] = dict(texts)
    if "metadata" in texts:
        _check_metadata_size(where, len(texts["metadata"]))
        try:
            given["metadata"] = take_json(texts["metadata"])
        except ValueError as error:
            raise MalformedBody(f"the metadata of {where} is not JSON: {error}") from None
    for name in ("payload", "payload_base64"):
        if name in texts:
            try:
                given[name] = await read_text(texts[name])
            except ValueError as error:
                raise MalformedBody(f"the {name} of {where} is not text: {error}") from None
    if isinstance(given.get("payload_base64"), str):
        given["payload_base64"] = await _from_base64(where, str(given["payload_base64"]))
    return given


async def _from_base64(where: str, text: str) -> bytes:
    pieces = []
    try:
        for at in range(0, len(text), _BASE64):
            some = text[at : at + _BASE64]
            piece = b64decode(some, validate=True)
            if at + _BASE64 < len(text) and len(piece) < len(some) // 4 * 3:
                raise ValueError("padding within it")
            pieces.append(piece)
            await breath()
    except (Base64Error, ValueError) as error:
        raise MalformedBody(f"the payload_base64 of {where} is not base64: {error}") from None
    return b"".join(pieces)


def count_lines(body: bytes) -> int:
    """The most records that L{parse_lines} can find."""
    return body.count(b"\n") + (not body.endswith(b"\n"))


async def count_binary(body: bytes, most: int) -> int:
    """
    The most records that L{parse_binary} can find.

    @param most: stop counting there.
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
        line: dict[str, Any] = {"time": format_time(record.time), "metadata": record.metadata}
        if isinstance(record.payload, str):
            line["payload"] = record.payload
        else:
            line["payload_base64"] = b64encode(record.payload).decode("ascii")
        lines.append(_dump(line))
    lines.append("")
    return "\n".join(lines).encode("utf-8")


async def encode_in_steps(encode: Encoder, records: Sequence[Record]) -> bytes:
    """What C{encode} returns for the records, in steps between which the reactor serves others."""
    encoded: list[bytes] = []
    for some in _batches(records):
        if encode is encode_lines and _is_long(some[0].payload):
            (record,) = some
            head = _dump({"time": format_time(record.time), "metadata": record.metadata})
            encoded += await _encode_long_line(head[:-1] + ",", record.payload)
        else:
            encoded.append(encode(some))
        await breath()
    return encoded[0] if len(encoded) == 1 else b"".join(encoded)


def encode_damage(damage: DamagedArchive) -> bytes:
    """The line of a response where records are missing."""
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


def _is_long(payload: Payload) -> bool:
    """Whether a payload is to be encoded in steps."""
    return len(payload) > _BATCH_SIZE


def _batches(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Records that are encoded at once: a long one is alone."""
    start = size = 0
    for number, record in enumerate(records):
        length = len(record.payload)
        if number > start and (number - start >= _BATCH or size + length > _BATCH_SIZE):
            yield records[start:number]
            start, size = number, 0
        size += length
    if start < len(records):
        yield records[start:]


async def _encode_long_line(head: str, payload: Payload) -> list[bytes]:
    """
    A line of a record, in pieces, encoded in steps.

    @param head: the line up to the name of the payload.
    """
    if isinstance(payload, str):
        encoded = [f'{head}"payload":"'.encode()]
        for at in range(0, len(payload), _PIECE):
            encoded.append(_dump(payload[at : at + _PIECE])[1:-1].encode("utf-8"))
            await breath()
    else:
        encoded = [f'{head}"payload_base64":"'.encode()]
        for at in range(0, len(payload), _PIECE):
            encoded.append(b64encode(payload[at : at + _PIECE]))
            await breath()
    encoded.append(b'"}\n')
    return encoded


# -- times -------------------------------------------------------------------------------------------------------------


def format_time(time: int) -> str:
    """A time as in RFC 3339, in UTC, with nanoseconds. @param time: nanoseconds since 1970 UTC."""
    seconds, fraction = divmod(time, _SECOND)
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return str(time)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def parse_time(what: str, text: str, now: float) -> int:
    """
    Nanoseconds since 1970 UTC of a time in one of the forms of L{storehouse.core.times}.

    @param what: the parameter, for the error.
    @param now: seconds since 1970 UTC.
    @raise BadRequest: if it is in none of them.
    """
    try:
        return times.parse_time(text, now)
    except ValueError as error:
        raise BadRequest(f"{what}: {error}") from None
