"""C{POST /append} and C{POST /appendMulti}."""

from __future__ import annotations

import re
from collections.abc import Sequence

from storehouse.config.settings import AppendSettings
from storehouse.core.framing import Batch, split_some
from storehouse.core.jsontext import check_json
from storehouse.core.turns import breath
from storehouse.errors import MalformedBody, TooLarge
from storehouse.frontends.append.params import check_fields, durability_of, identifier_of, prefix_of
from storehouse.frontends.http.reply import JSON, Reply
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.resource import Leaf
from storehouse.frontends.http.targets import check_body
from storehouse.storage.appendlog.interfaces import Durability, IAppendLog

__all__ = [
    "AT_ONCE",
    "FREE",
    "Append",
    "AppendMulti",
    "append_reply",
    "multi_reply",
    "split_batch",
    "split_lines",
]

_FIELDS = frozenset({b"id", b"storagePrefix"})

#: The longest bodies that take the fast lane.
FREE = 64 * 1024

#: Records that are handled before others may be served: a millisecond.
AT_ONCE = 1000

# Lines that are looked at likewise, and bytes of one that is looked at alone.
_LINES = 100
_LONG_LINE = 1000

_BLANK = (b"", b" ", b"\t", b"\r")
_empty_lines = re.compile(rb"(?:[ \t\r]{0,1000}+\n){0,10000}+").match

# Bytes of memory that a record takes beside its own, on its way through.
_RECORD = 256

_DURABILITY = {level: ((b"Durability", level.value.encode("ascii")),) for level in Durability}


def append_reply(offset: int, tail: bytes, durability: Durability) -> Reply:
    """The answer to an append."""
    return Reply(200, b'{"offset":%d%b' % (offset, tail), JSON, _DURABILITY[durability])


def multi_reply(offsets: Sequence[int], tail: bytes, durability: Durability) -> Reply:
    """The answer to an append of several records."""
    return _multi_reply([encode_offsets(offsets)], tail, durability)


def encode_offsets(offsets: Sequence[int]) -> bytes:
    """As JSON has them, with commas between them."""
    return ",".join(map(str, offsets)).encode("ascii")


def _multi_reply(encoded: Sequence[bytes], tail: bytes, durability: Durability) -> Reply:
    return Reply(200, b'{"offsets":[%b]%b' % (b",".join(encoded), tail), JSON, _DURABILITY[durability])


def _too_many(most: int) -> TooLarge:
    return TooLarge(f"the batch has more than {most} records (append-max-multi)")


async def split_batch(body: bytes, max_record: int, most: int) -> Batch:
    """
    Take C{[u32 length][data]...} apart; others are served meanwhile.

    @raise MalformedBody: naming the record.
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
    Take NDJSON apart: each line a record; empty lines do not count. Others are served meanwhile.

    @raise MalformedBody: if a line is not JSON, or too long; the text names it.
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


class _Appending(Leaf):
    def __init__(self, log: IAppendLog, limits: AppendSettings) -> None:
        Leaf.__init__(self)
        self._log = log
        self._limits = limits

    async def _append(self, request: StreamingRequest, limit: int, several: bool) -> Reply:
        check_fields(request, _FIELDS)
        check_body(request)
        prefix, id = prefix_of(request), identifier_of(request)
        durability = durability_of(request, self._log.default_durability)
        length = request.body.length
        # A chunked body might become as long as is allowed.
        with request.hold(limit if length is None else length) as hold:
            body = await request.body.read_all(limit, hold)
            if not several:
                appended = await self._log.append(prefix, id, [body], durability)
                return append_reply(appended.offsets[0], appended.bucket.json_tail, durability)
            records = await self._split(request, body)
            await hold.grow(len(records) * _RECORD)
            appended = await self._log.append(prefix, id, records, durability)
            encoded = []
            for first in range(0, len(records), AT_ONCE):
                encoded.append(encode_offsets(appended.offsets[first : first + AT_ONCE]))
                await breath()
            return _multi_reply(encoded, appended.bucket.json_tail, durability)

    async def _split(self, request: StreamingRequest, body: bytes) -> list[bytes]:
        content_type = request.requestHeaders.getRawHeaders(b"Content-Type", [b""])[0]
        is_text = content_type.partition(b";")[0].strip().lower() in (b"application/x-ndjson", b"application/ndjson")
        split = split_lines if is_text else split_batch
        return await split(body, self._limits.max_record, self._limits.max_multi)


class Append(_Appending):
    """One record."""

    async def handle_POST(self, request: StreamingRequest) -> Reply:
        """Append the body."""
        return await self._append(request, self._limits.max_record, several=False)


class AppendMulti(_Appending):
    """Several records, all or none."""

    async def handle_POST(self, request: StreamingRequest) -> Reply:
        """Append the records of the body."""
        return await self._append(request, self._limits.max_batch, several=True)
