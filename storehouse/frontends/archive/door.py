"""The archive door: records of streams over HTTP, in and out."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from urllib.parse import unquote_to_bytes

from twisted.logger import Logger

from storehouse.archive.interfaces import Record
from storehouse.config.settings import ArchiveSettings
from storehouse.core.budget import Hold
from storehouse.core.connections import Ahead
from storehouse.core.turns import breath
from storehouse.errors import (
    BadRequest,
    DamagedArchive,
    Forbidden,
    InvalidRecord,
    NoSuchStream,
    StorehouseError,
    TooLarge,
)
from storehouse.frontends.archive.records import (
    BINARY,
    NDJSON,
    count_binary,
    count_lines,
    encode_binary,
    encode_damage,
    encode_in_steps,
    encode_lines,
    format_time,
    parse_binary,
    parse_lines,
    parse_time,
    payload_of,
)
from storehouse.frontends.http.reply import ClientGone, Reply, json_reply, text_reply
from storehouse.frontends.http.request import Leaf, Root, StreamingRequest, check_body, check_fields
from storehouse.storage.streams.interfaces import Archive, IRecordSource, IStreams, NewRecord

__all__ = ["ArchiveDoor"]


_INDEX = """storehouse: archives

GET    /archive                       all streams
POST   /archive/STREAM                the body is a record; X-Meta-NAME: VALUE is its metadata
POST   /archive/STREAM                several records, all or none; Content-Type: application/x-ndjson
                                      or application/x-storehouse-records
GET    /archive/STREAM                records in order; from=TIME, to=TIME
GET    /archive/STREAM/archives       its archives
"""

#: Parameters of a query.
_NONE: frozenset[bytes] = frozenset()
_RANGE = frozenset({b"from", b"to"})

#: Header fields with this prefix are the metadata of a record.
_PREFIX = b"x-meta-"

#: Bytes that a record of a batch takes in memory beside its own, and each pair of its metadata likewise.
_RECORD, _PAIR = 400, 150

#: Bytes of memory that are reserved to read records: those of one slice of an archive take many times its bytes.
_AHEAD = 8 << 20

#: How many copies of a record are in memory while it is read and encoded.
_COPIES = 6

#: Records that are parsed before the reactor may serve others.
_TURN = 64

#: Pairs of metadata that are, likewise.
_PAIRS = 1000

_quality = re.compile(rb";\s*q=0(\.0*)?\s*\Z", re.IGNORECASE)


class _Index(Leaf):
    """C{/}: a text for people."""

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        check_fields(request, frozenset())
        return text_reply(_INDEX)


class _Streams(Leaf):
    """C{/archive}, C{/archive/STREAM} and C{/archive/STREAM/archives}."""

    _log = Logger()
    takes_rest = True

    def __init__(
        self,
        streams: IStreams,
        limits: ArchiveSettings,
        may: Callable[[str, str, str], bool] = lambda permission, name, source: True,
    ) -> None:
        Leaf.__init__(self)
        self._streams = streams
        self._limits = limits
        self._may = may

    def _check(self, request: StreamingRequest, permission: str, name: str) -> None:
        if not self._may(permission, name, request.source):
            raise Forbidden(f"this door has no right to {permission} the stream {name[:100]}")

    # -- in ------------------------------------------------------------------------------------------------------------

    async def handle_POST(self, request: StreamingRequest) -> Reply:
        """Write a record, or a batch of them, all or none."""
        check_fields(request, _NONE)
        check_body(request)
        names = _names(request)
        if len(names) != 1:
            raise request.no_such_resource() if names[1:] else BadRequest("the path does not name a stream")
        self._check(request, "put-new", names[0])
        stream = self._streams.stream(names[0])
        kind = _header(request, b"Content-Type")
        parse = {NDJSON: parse_lines, BINARY: parse_binary}.get(kind.partition(b";")[0].strip().lower())
        limits = self._limits
        limit = limits.max_record if parse is None else limits.max_batch
        length = request.body.length
        if length is not None and length > limit:
            raise TooLarge(f"the body has {length} bytes; at most {limit} are allowed")
        # A body in chunked framing may become as long as is allowed.
        with request.hold(limit if length is None else length) as hold:
            body = await request.body.read_all(limit, hold)
            metadata = _metadata(request)
            if parse is None:
                done = await stream.append([(metadata, payload_of(body, kind))])
            elif metadata:
                raise BadRequest(
                    "the records of a batch have metadata of their own: X-Meta- header fields would be ignored"
                )
            else:
                # Before they are parsed: small records take many times the bytes of the body.
                most = limits.max_records
                count = count_lines(body) if parse is parse_lines else await count_binary(body, most + 1)
                if count > most:
                    raise TooLarge(f"the batch has more than {most} records or lines (archive-max-records)")
                await hold.grow(len(body) + count * _RECORD)
                records = await self._parse(parse(body, limits.max_record), hold)
                if not records:
                    raise BadRequest("the body has no record")
                done = await stream.append(records)
        return json_reply({"records": done.records, "stream": stream.name, "sync": done.sync})

    async def _parse(self, records: Iterator[NewRecord | Awaitable[NewRecord]], hold: Hold) -> list[NewRecord]:
        parsed: list[NewRecord] = []
        pairs = 0
        for each in records:
            record = each if isinstance(each, tuple) else await each
            parsed.append(record)
            pairs += len(record[0])
            if len(parsed) % _TURN == 0 or pairs > _PAIRS:
                await hold.grow(pairs * _PAIR)
                pairs = 0
                await breath()
        await hold.grow(pairs * _PAIR)
        return parsed

    # -- out -----------------------------------------------------------------------------------------------------------

    async def handle_GET(self, request: StreamingRequest) -> Reply | None:
        """Send records, or lists of streams and archives."""
        names = _names(request)
        if len(names) == 1:
            self._check(request, "read", names[0])
            await self._read(request, names[0])
            return None
        check_fields(request, _NONE)
        await request.backlog.room()
        if not names:
            return json_reply(
                {
                    "streams": [
                        self._summary(name) for name in self._streams.names() if self._may("list", name, request.source)
                    ]
                }
            )
        if names[1:] != ["archives"]:
            raise request.no_such_resource()
        self._check(request, "list", names[0])
        archives = self._streams.stream(names[0]).archives()
        return json_reply({"archives": [_described(archive) for archive in archives]})

    def _summary(self, name: str) -> dict[str, object]:
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
                            # Not before, so that a stream that cannot be read at all is reported by the status.
                            begun = True
                            request.begin(200, BINARY if binary else NDJSON)
                        more = bool(batch)
                        if isinstance(batch, DamagedArchive):
                            is_whole = False
                            data = b"" if binary else encode_damage(batch)
                        else:
                            data = await encode_in_steps(encode, batch)
                        # Records take many times the bytes that are sent: not kept while the client reads.
                        del batch
                        ahead.resize(len(data))
                        await request.send_in_pieces(data)
                if binary and not is_whole:
                    # This form cannot report damage: without its last chunk the response is seen to be incomplete.
                    request.break_off()
            except ClientGone:
                raise
            except StorehouseError as error:
                if request.gone:
                    raise ClientGone("the connection was closed before the response was complete") from None
                self._log.error("the response with {stream} was aborted: {error}", stream=name, error=error.detail)
                # What was sent arrives; without its last chunk the response is seen to be incomplete.
                request.break_off()
        finally:
            source.close()

    async def _next(self, source: IRecordSource, name: str, ahead: Ahead) -> Sequence[Record] | DamagedArchive:
        """The next records; or damage, behind which others may follow."""
        try:
            return await source.next_batch(lambda size: ahead.grow(_COPIES * size))
        except DamagedArchive as damage:
            self._log.error("damage in {stream}: {damage}", stream=name, damage=damage.detail)
            return damage


def _described(archive: Archive) -> dict[str, object]:
    return {
        "number": archive.number,
        "state": archive.state,
        "path": archive.path,
        "shipped_as": archive.remote,
        "destination": archive.destination,
        "records": archive.records,
        "bytes": archive.size,
        "created": format_time(archive.created),
        "first": format_time(archive.lowest) if archive.lowest else None,
        "last": format_time(archive.highest) if archive.highest else None,
    }


def _names(request: StreamingRequest) -> list[str]:
    """The components of the path behind C{/archive}; a slash at the end is ignored."""
    _, _, *names = request.path.split(b"/")
    if names and not names[-1]:
        names.pop()
    try:
        return [unquote_to_bytes(name).decode("utf-8") for name in names]
    except UnicodeDecodeError:
        raise NoSuchStream("the name of the stream is not UTF-8") from None


def _header(request: StreamingRequest, name: bytes) -> bytes:
    values = request.requestHeaders.getRawHeaders(name, [b""])
    if len(values) > 1:
        raise BadRequest(f"the request has more than one {name.decode()} header field")
    return values[0]


def _metadata(request: StreamingRequest) -> dict[str, str]:
    metadata = {}
    for field, values in request.requestHeaders.getAllRawHeaders():
        name = field.lower()
        if not name.startswith(_PREFIX):
            continue
        if len(values) > 1:
            raise BadRequest(f"the request has more than one {name.decode('ascii', 'replace')} header field")
        try:
            metadata[name[len(_PREFIX) :].decode("ascii")] = values[0].decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidRecord(f"the value of {name.decode('ascii', 'replace')} is not UTF-8") from None
    return metadata


def _wants_binary(request: StreamingRequest) -> bool:
    """Whether C{Accept} has the binary form. For all other types, and none, the response has lines."""
    for accepted in b",".join(request.requestHeaders.getRawHeaders(b"Accept", [])).split(b","):
        if accepted.partition(b";")[0].strip().lower() == BINARY:
            return _quality.search(accepted) is None
    return False


class ArchiveDoor:
    """
    Streams of records over HTTP.

    @param may: says of a permission, the name of a stream, and where a request comes from, whether the door has it.
    @ivar resource: the top of its resource tree.
    """

    def __init__(
        self,
        streams: IStreams,
        limits: ArchiveSettings,
        may: Callable[[str, str, str], bool] = lambda permission, name, source: True,
    ) -> None:
        self.resource = Root({b"": _Index(), b"archive": _Streams(streams, limits, may)})
