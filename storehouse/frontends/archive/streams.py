"""C{/archive}, and what is below it."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Iterator, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.logger import Logger

from storehouse.archive.interfaces import Record
from storehouse.config.settings import ArchiveSettings
from storehouse.core.budget import Hold
from storehouse.core.connections import Ahead
from storehouse.core.turns import breath
from storehouse.errors import BadRequest, DamagedArchive, InvalidRecord, NoSuchStream, StorehouseError, TooLarge
from storehouse.frontends.archive.records import (
    BINARY,
    NDJSON,
    count_binary,
    count_lines,
    encode_binary,
    encode_damage,
    encode_lines,
    encode_slowly,
    parse_binary,
    parse_lines,
    parse_time,
    payload_of,
    written_time,
)
from storehouse.frontends.http.errors import ClientGone
from storehouse.frontends.http.reply import Reply, json_reply
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.resource import Leaf
from storehouse.frontends.http.targets import check_body, check_fields
from storehouse.storage.streams.interfaces import Archive, IStreams, NewRecord

__all__ = ["Streams"]

_NO_FIELDS: frozenset[bytes] = frozenset()
_RANGE = frozenset({b"from", b"to"})

_PREFIX = b"x-meta-"

#: What a record of a batch takes in memory beside its bytes, and so each pair of its metadata.
_RECORD, _PAIR = 400, 150

#: What is held at least to read records: those of a piece of an archive, which take many times its bytes.
_AHEAD = 8 << 20

#: How often a record is held while it is read, taken apart and encoded.
_COPIES = 6

#: Records that are taken apart in one go, before others may get a turn.
_TURN = 64

#: Pairs of metadata, likewise.
_PAIRS = 1000

_quality = re.compile(rb";\s*q=0(\.0*)?\s*\Z", re.IGNORECASE)


class Streams(Leaf):
    """All streams, one of them, its archives."""

    _log = Logger()
    takes_rest = True

    def __init__(self, streams: IStreams, limits: ArchiveSettings) -> None:
        Leaf.__init__(self)
        self._streams = streams
        self._limits = limits

    # -- in ------------------------------------------------------------------------------------------------------------

    async def handle_POST(self, request: StreamingRequest) -> Reply:
        """Write a record, or a batch of them, all or none."""
        check_fields(request, _NO_FIELDS)
        check_body(request)
        names = _names(request)
        if len(names) != 1:
            raise request.no_such_resource() if names[1:] else BadRequest("the path names no stream")
        stream = self._streams.stream(names[0])
        kind = _field(request, b"Content-Type")
        parse = {NDJSON: parse_lines, BINARY: parse_binary}.get(kind.partition(b";")[0].strip().lower())
        limits = self._limits
        limit = limits.max_record if parse is None else limits.max_batch
        length = request.body.length
        if length is not None and length > limit:
            raise TooLarge(f"the body has {length} bytes; at most {limit} are allowed")
        # A chunked body might become as long as is allowed.
        with request.hold(limit if length is None else length) as hold:
            body = await request.body.read_all(limit, hold)
            metadata = _metadata(request)
            if parse is None:
                done = await stream.append([(metadata, payload_of(body, kind))])
            elif metadata:
                raise BadRequest("the records of a batch have metadata of their own: X-Meta- fields would go unread")
            else:
                # Small records take many times the bytes of the body.
                most = limits.max_records
                count = count_lines(body) if parse is parse_lines else await count_binary(body, most + 1)
                if count > most:
                    raise TooLarge(f"the batch has more than {most} records or lines (archive-max-records)")
                await hold.grow(len(body) + count * _RECORD)
                records = await self._gathered(parse(body, limits.max_record), hold)
                if not records:
                    raise BadRequest("there is no record in the body")
                done = await stream.append(records)
        return json_reply({"records": done.records, "stream": stream.name, "sync": done.sync})

    async def _gathered(self, records: Iterator[NewRecord | Awaitable[NewRecord]], hold: Hold) -> list[NewRecord]:
        gathered: list[NewRecord] = []
        pairs = 0
        for each in records:
            record = each if isinstance(each, tuple) else await each
            gathered.append(record)
            pairs += len(record[0])
            if len(gathered) % _TURN == 0 or pairs > _PAIRS:
                await hold.grow(pairs * _PAIR)
                pairs = 0
                await breath()
        await hold.grow(pairs * _PAIR)
        return gathered

    # -- out -----------------------------------------------------------------------------------------------------------

    async def handle_GET(self, request: StreamingRequest) -> Reply | None:
        """Tell what there is, or give records."""
        names = _names(request)
        if len(names) == 1:
            await self._read(request, names[0])
            return None
        check_fields(request, _NO_FIELDS)
        await request.backlog.room()
        if not names:
            return json_reply({"streams": [self._summary(name) for name in self._streams.names()]})
        if names[1:] != ["archives"]:
            raise request.no_such_resource()
        archives = self._streams.stream(names[0]).archives()
        return json_reply({"archives": [_shown(archive) for archive in archives]})

    def _summary(self, name: str) -> dict[str, Any]:
        stream = self._streams.stream(name)
        archives = stream.archives()
        return {
            "name": name,
            "sync": stream.sync,
            "archives": len(archives),
            "records": sum(archive.records for archive in archives),
            "bytes": sum(archive.size for archive in archives),
        }

    async def _read(self, request: StreamingRequest, name: str) -> None:
        check_fields(request, _RANGE)
        bounds = [
            parse_time(field.decode(), request.fields[field].decode("utf-8", "replace"), time.time())
            if field in request.fields
            else None
            for field in (b"from", b"to")
        ]
        binary = _wants_binary(request)
        encode = encode_binary if binary else encode_lines
        source = self._streams.stream(name).read(*bounds)
        request.notifyFinish().addBoth(lambda _: source.close())
        try:
            begun = is_whole = request.method != b"HEAD"
            if not begun:
                request.begin(200, BINARY if binary else NDJSON)
                return
            begun = False
            try:
                more = True
                while more:
                    async with request.ahead(_AHEAD) as ahead:
                        batch = await self._next(source, name, ahead)
                        if not begun:
                            # Not before, so that what cannot be had from the beginning is said as an error.
                            begun = True
                            request.begin(200, BINARY if binary else NDJSON)
                        more = bool(batch)
                        if isinstance(batch, DamagedArchive):
                            is_whole = False
                            data = b"" if binary else encode_damage(batch)
                        else:
                            data = await encode_slowly(encode, batch)
                        # Records take many times the bytes that are sent, and are not held while the client reads.
                        del batch
                        ahead.resize(len(data))
                        await request.send_in_pieces(data)
                if binary and not is_whole:
                    # This form has no place to say it: without its last chunk nobody takes the answer for whole.
                    request.break_off()
            except ClientGone:
                raise
            except StorehouseError as error:
                if request.gone:
                    raise ClientGone("the connection was closed before the answer was whole") from None
                self._log.error("sending {stream} broke off: {error}", stream=name, error=error.detail)
                # What came before arrives; without its last chunk nobody takes the answer for whole.
                request.break_off()
        finally:
            source.close()

    async def _next(self, source: Any, name: str, ahead: Ahead) -> Sequence[Record] | DamagedArchive:
        """The next records, or what keeps some from being given: those behind it follow."""
        try:
            records: Sequence[Record] = await source.next_batch(lambda size: ahead.grow(_COPIES * size))
        except DamagedArchive as damage:
            self._log.error("sending {stream}: {damage}", stream=name, damage=damage.detail)
            return damage
        return records


def _shown(archive: Archive) -> dict[str, Any]:
    return {
        "number": archive.number,
        "state": archive.state,
        "path": archive.path,
        "shipped_as": archive.remote,
        "destination": archive.destination,
        "records": archive.records,
        "bytes": archive.size,
        "created": written_time(archive.created),
        "first": written_time(archive.lowest) if archive.lowest else None,
        "last": written_time(archive.highest) if archive.highest else None,
    }


def _names(request: StreamingRequest) -> list[str]:
    """What the path has behind C{/archive}; a slash at the end does not count."""
    _, _, *names = request.path.split(b"/")
    if names and not names[-1]:
        names.pop()
    try:
        return [unquote_to_bytes(name).decode("utf-8") for name in names]
    except UnicodeDecodeError:
        raise NoSuchStream("no stream has a name that is not UTF-8") from None


def _field(request: StreamingRequest, name: bytes) -> bytes:
    values = request.requestHeaders.getRawHeaders(name, [b""])
    if len(values) > 1:
        raise BadRequest(f"the request has more than one {name.decode()} field")
    return values[0]


def _metadata(request: StreamingRequest) -> dict[str, str]:
    metadata = {}
    for field, values in request.requestHeaders.getAllRawHeaders():
        name = field.lower()
        if not name.startswith(_PREFIX):
            continue
        if len(values) > 1:
            raise BadRequest(f"the request has more than one {name.decode('ascii', 'replace')} field")
        try:
            metadata[name[len(_PREFIX) :].decode("ascii")] = values[0].decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidRecord(f"the value of {name.decode('ascii', 'replace')} is not UTF-8") from None
    return metadata


def _wants_binary(request: StreamingRequest) -> bool:
    """Whether the binary form is asked for. Whatever else is asked for gets lines."""
    for accepted in b",".join(request.requestHeaders.getRawHeaders(b"Accept", [])).split(b","):
        if accepted.partition(b";")[0].strip().lower() == BINARY:
            return _quality.search(accepted) is None
    return False
