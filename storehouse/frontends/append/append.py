"""Appending records: C{POST /append} and C{POST /appendMulti}."""

from __future__ import annotations

import re
from collections.abc import Sequence

from storehouse.config.settings import AppendSettings
from storehouse.core.budget import Hold
from storehouse.core.framing import Batch, split_some
from storehouse.core.jsontext import check_json
from storehouse.core.turns import breath
from storehouse.errors import MalformedBody, TooLarge
from storehouse.frontends.append.resource import (
    LogResource,
    check_fields,
    durability_of,
    identifier_of,
    prefix_of,
)
from storehouse.frontends.http.reply import JSON, Reply
from storehouse.frontends.http.request import StreamingRequest, check_body
from storehouse.storage.appendlog.interfaces import Durability, IAppendLog

__all__ = [
    "AT_ONCE",
    "MAX_LANE_BODY",
    "Append",
    "AppendMulti",
    "append_reply",
    "multi_reply",
    "split_batch",
    "split_lines",
]

_QUERY = frozenset({b"id", b"storagePrefix"})

#: Bytes of the longest body that takes the fast lane.
MAX_LANE_BODY = 64 * 1024

#: Records that are handled before giving way to other connections: a millisecond's work.
AT_ONCE = 1000

# Lines that are checked before giving way, and bytes of a line before which it does.
_LINES = 100
_LONG_LINE = 1000

_BLANK = (b"", b" ", b"\t", b"\r")
# Bounded and possessive: one step cannot take long, whatever follows.
_empty_lines = re.compile(rb"(?:[ \t\r]{0,1000}+\n){0,10000}+").match

# Bytes of memory that a record takes beside its own: the object, its index entry, and its places in lists.
_RECORD = 256

_DURABILITY = {level: ((b"Durability", level.value.encode("ascii")),) for level in Durability}


def append_reply(offset: int, tail: bytes, durability: Durability) -> Reply:
    """
    The response to an append.

    @param tail: L{IBucketFile.json_tail<storehouse.storage.appendlog.interfaces.IBucketFile>}.
    """
    return Reply(200, b'{"offset":%d%b' % (offset, tail), JSON, _DURABILITY[durability])


def multi_reply(offsets: Sequence[int], tail: bytes, durability: Durability) -> Reply:
    """The response to an append of several records."""
    return _multi_reply([_encode_offsets(offsets)], tail, durability)


def _encode_offsets(offsets: Sequence[int]) -> bytes:
    return ",".join(map(str, offsets)).encode("ascii")


def _multi_reply(encoded: Sequence[bytes], tail: bytes, durability: Durability) -> Reply:
    return Reply(200, b'{"offsets":[%b]%b' % (b",".join(encoded), tail), JSON, _DURABILITY[durability])


def _too_many(most: int) -> TooLarge:
    return TooLarge(f"the batch has more than {most} records (append-max-multi)")


async def split_batch(body: bytes, max_record: int, most: int) -> Batch:
    """
    Split C{[u32 length][data]...}, giving way to other connections.

    @raise MalformedBody: with the number of the record that is wrong.
    @raise TooLarge: if there are more than C{most} records.
    """
    records = Batch(body)
    at = 0
    while at < len(body):
        if len(records) >= most:
            raise _too_many(most)
        at = split_some(records, at, max_record, min(AT_ONCE, most - len(records)))
        await breath()
    return records


async def split_lines(body: bytes, max_record: int, most: int) -> list[bytes]:
    """
    Split NDJSON: each line is a record, without its end; empty lines are skipped. Gives way to other connections.

    @raise MalformedBody: with the number of the line that is not JSON, or too long.
    @raise TooLarge: if there are more than C{most} records, or a line has very many arrays and objects.
    """
    records: list[bytes] = []
    start = number = 0
    while start < len(body):
        if body[start] in b"\r\n\t ":
            end = _empty_lines(body, start).end()  # type: ignore[union-attr]
            number += body.count(b"\n", start, end)
            if end > start:
                start = end
                await breath()
                continue
        end = body.find(b"\n", start)
        end = len(body) if end < 0 else end
        line = body[start:end].removesuffix(b"\r")
        start = end + 1
        number += 1
        if number % _LINES == 0 or len(line) > _LONG_LINE:
            await breath()
        if line[:1] in _BLANK and not line.strip(b" \t\r"):
            continue
        if len(line) > max_record:
            raise MalformedBody(f"line {number} has {len(line)} bytes; at most {max_record} are allowed")
        if len(records) >= most:
            raise _too_many(most)
        try:
            await check_json(line)
        except ValueError as error:
            raise MalformedBody(f"line {number} is not JSON: {error}") from None
        except TooLarge as error:
            raise TooLarge(f"line {number} is too large: {error.detail}") from None
        records.append(line)
    return records


class Append(LogResource):
    """C{POST /append}: the body is a record."""

    def __init__(self, log: IAppendLog, limits: AppendSettings) -> None:
        LogResource.__init__(self, log)
        self._limits = limits

    async def handle_POST(self, request: StreamingRequest) -> Reply:
        return await self._append(request, self._limits.max_record)

    async def _append(self, request: StreamingRequest, limit: int) -> Reply:
        check_fields(request, _QUERY)
        check_body(request)
        prefix, id = prefix_of(request), identifier_of(request)
        durability = durability_of(request, self._log.default_durability)
        length = request.body.length
        # Memory is taken from the budget as the body arrives; a chunked one may become as long as is allowed.
        with request.hold(limit if length is None else length) as hold:
            body = await request.body.read_all(limit, hold)
            return await self._append_body(request, prefix, id, durability, body, hold)

    async def _append_body(
        self, request: StreamingRequest, prefix: str, id: bytes, durability: Durability, body: bytes, hold: Hold
    ) -> Reply:
        appended = await self._log.append(prefix, id, [body], durability)
        return append_reply(appended.offsets[0], appended.bucket.json_tail, durability)


class AppendMulti(Append):
    """C{POST /appendMulti}: the body has several records, which are appended all or none."""

    async def handle_POST(self, request: StreamingRequest) -> Reply:
        return await self._append(request, self._limits.max_batch)

    async def _append_body(
        self, request: StreamingRequest, prefix: str, id: bytes, durability: Durability, body: bytes, hold: Hold
    ) -> Reply:
        content_type = request.requestHeaders.getRawHeaders(b"Content-Type", [b""])[0]
        is_text = content_type.partition(b";")[0].strip().lower() in (b"application/x-ndjson", b"application/ndjson")
        split = split_lines if is_text else split_batch
        records = await split(body, self._limits.max_record, self._limits.max_multi)
        await hold.grow(len(records) * _RECORD)
        appended = await self._log.append(prefix, id, records, durability)
        encoded = []
        for first in range(0, len(records), AT_ONCE):
            encoded.append(_encode_offsets(appended.offsets[first : first + AT_ONCE]))
            await breath()
        return _multi_reply(encoded, appended.bucket.json_tail, durability)
