"""C{POST /append} and C{POST /appendMulti}."""

from __future__ import annotations

import json

import attrs

from storehouse.core.budget import ByteBudget
from storehouse.core.framing import split_records
from storehouse.errors import MalformedBody
from storehouse.frontends.append.params import check_fields, durability_of, identifier_of, prefix_of
from storehouse.frontends.http.reply import JSON, Reply
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.resource import Leaf
from storehouse.storage.appendlog.interfaces import Durability, IAppendLog

__all__ = ["Append", "AppendLimits", "AppendMulti", "append_reply", "multi_reply", "split_lines"]

_FIELDS = frozenset({b"id", b"storagePrefix"})

#: Bodies up to this are held without asking the budget: a connection may have as much in its socket.
FREE = 64 * 1024

_DURABILITY = {level: ((b"Durability", level.value.encode("ascii")),) for level in Durability}


@attrs.frozen
class AppendLimits:
    """
    What one request may ask of the door.

    @ivar max_record: bytes of a record.
    @ivar max_batch: bytes of the body of C{/appendMulti}.
    @ivar max_multi: offsets in one C{/getMulti}.
    @ivar max_multi_bytes: bytes of its answer.
    @ivar memory: bytes of bodies that all requests together hold in memory; further ones wait.
    """

    max_record: int = 64 << 20
    max_batch: int = 16 << 20
    max_multi: int = 65536
    max_multi_bytes: int = 256 << 20
    memory: int = 256 << 20


def append_reply(offset: int, tail: bytes, durability: Durability) -> Reply:
    """The answer to an append."""
    return Reply(200, b'{"offset":%d%b' % (offset, tail), JSON, _DURABILITY[durability])


def multi_reply(offsets: tuple[int, ...], tail: bytes, durability: Durability) -> Reply:
    """The answer to an append of several records."""
    return Reply(
        200, b'{"offsets":[%b]%b' % (",".join(map(str, offsets)).encode("ascii"), tail), JSON, _DURABILITY[durability]
    )


def split_lines(body: bytes, max_record: int) -> list[bytes]:
    """
    Take NDJSON apart: each line a record.

    @raise MalformedBody: if a line is no JSON, or too long; the text names it.
    """
    records = []
    for number, line in enumerate(body.split(b"\n"), start=1):
        line = line.removesuffix(b"\r")
        if not line.strip():
            continue
        if len(line) > max_record:
            raise MalformedBody(f"line {number} has {len(line)} bytes; at most {max_record} are allowed")
        try:
            json.loads(line)
        except (ValueError, RecursionError) as error:
            raise MalformedBody(f"line {number} is no JSON: {error}") from None
        records.append(line)
    return records


class _Appending(Leaf):
    def __init__(self, log: IAppendLog, limits: AppendLimits, budget: ByteBudget) -> None:
        Leaf.__init__(self)
        self._log = log
        self._limits = limits
        self._budget = budget

    async def _append(self, request: StreamingRequest, limit: int, several: bool) -> Reply:
        check_fields(request, _FIELDS)
        prefix, id = prefix_of(request), identifier_of(request)
        durability = durability_of(request, self._log.default_durability)
        length = request.body.length
        # A chunked body might become as long as is allowed.
        async with self._budget.reserved(limit if length is None else length if length > FREE else 0):
            body = await request.body.read(limit)
            records = self._split(request, body) if several else [body]
            appended = await self._log.append(prefix, id, records, durability)
        make = multi_reply if several else _first
        return make(appended.offsets, appended.bucket.json_tail, durability)

    def _split(self, request: StreamingRequest, body: bytes) -> list[bytes]:
        content_type = request.requestHeaders.getRawHeaders(b"Content-Type", [b""])[0]
        if content_type.partition(b";")[0].strip().lower() in (b"application/x-ndjson", b"application/ndjson"):
            return split_lines(body, self._limits.max_record)
        return split_records(body, self._limits.max_record)


def _first(offsets: tuple[int, ...], tail: bytes, durability: Durability) -> Reply:
    return append_reply(offsets[0], tail, durability)


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
