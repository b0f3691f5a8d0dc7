"""Reading records: C{GET /get}, C{POST /getMulti} and C{GET /scan}."""

from __future__ import annotations

from struct import Struct

from storehouse.config.settings import AppendSettings
from storehouse.core.framing import LENGTH_SIZE, pack_length
from storehouse.core.turns import breath
from storehouse.errors import BadRequest, DamagedRecord, MalformedBody, StorehouseError, TooLarge
from storehouse.frontends.append.resource import LogResource, check_fields, identifier_of, number_of, prefix_of
from storehouse.frontends.http.reply import OCTETS, Reply
from storehouse.frontends.http.request import StreamingRequest
from storehouse.storage.appendlog.interfaces import IAppendLog, IBucketFile, IRecord, IScan

__all__ = ["Get", "GetMulti", "Scan"]

_offset = Struct("<Q")
_scan_header = Struct("<IQ")

# Bytes of the longest record that is read whole, and of the pieces of longer ones.
_LONG = 1 << 20

# Responses are sent in pieces of about this many bytes.
_PIECE = 256 * 1024

# Bytes of memory that a short record takes beside its own: two objects, and their places in a list.
_OVERHEAD = 100

# Offsets that are looked up before giving way to other connections.
_SLICE = 64

_SCAN_QUERY = frozenset({b"id", b"bucket", b"storagePrefix", b"offset", b"limit", b"follow"})


async def _send_payload(request: StreamingRequest, record: IRecord) -> None:
    """Send a record that is too long to be held whole."""
    position = 0
    while position < record.length:
        async with request.ahead(_LONG):
            piece = await record.read_piece(position)
            position += len(piece)
            request.push(piece)
            # While the client does not read, only the connection holds the bytes: they are counted there.
            del piece
        await request.ready()


async def _send_pieces(request: StreamingRequest, pieces: list[bytes]) -> None:
    """Send pieces and drop them, so that only the connection holds them while the client does not read."""
    data = b"".join(pieces)
    pieces.clear()
    if data:
        request.push(data)
    del data
    await request.ready()


class Get(LogResource):
    """C{GET /get}: a record by its offset."""

    async def handle_GET(self, request: StreamingRequest) -> Reply | None:
        check_fields(request, frozenset({b"id", b"storagePrefix", b"offset"}))
        prefix, id = prefix_of(request), identifier_of(request)
        offset = number_of(request, b"offset")
        found = self._log.find_open(prefix, id)
        payload = found[0].read(offset) if found is not None else None
        if payload is not None:
            return Reply(200, payload, OCTETS)
        async with request.ahead(_LONG):
            record = await self._log.get(prefix, id, offset)
            if record.payload is not None:
                return Reply(200, record.payload, OCTETS)
        request.begin(200, OCTETS, length=record.length)
        if request.method != b"HEAD":
            await _send_payload(request, record)
        return None


class GetMulti(LogResource):
    """
    C{POST /getMulti}: several records by their offsets, in the order asked.

    The response is C{[u32 length][data]} for each offset of the body. If an offset fails, a zero length and the text
    of the error end it; so an empty record, as other programs write them, is such a failure as well.
    """

    def __init__(self, log: IAppendLog, limits: AppendSettings) -> None:
        LogResource.__init__(self, log)
        self._limits = limits

    async def handle_POST(self, request: StreamingRequest) -> Reply | None:
        check_fields(request, frozenset({b"id", b"storagePrefix"}))
        prefix, id = prefix_of(request), identifier_of(request)
        most = self._limits.max_multi * _offset.size
        length = request.body.length
        with request.hold(most if length is None else length) as hold:
            body = await request.body.read_all(most, hold)
            return await self._respond(request, prefix, id, body)

    async def _respond(self, request: StreamingRequest, prefix: str, id: bytes, body: bytes) -> Reply | None:
        response = _Response(request, self._limits.max_multi_bytes)
        try:
            if len(body) % _offset.size:
                raise MalformedBody(f"the body has {len(body)} bytes, not {_offset.size} bytes for each offset")
            await self._look_up(prefix, id, body, response)
        except StorehouseError as error:
            if request.finished or request._disconnected:
                raise
            response.pieces.append(pack_length(0) + error.detail.encode("utf-8"))
        return await response.finish()

    async def _look_up(self, prefix: str, id: bytes, body: bytes, response: _Response) -> None:
        await response.request.backlog.room()
        add = response.pieces.append
        bucket = self._open_bucket(prefix, id)
        for number, (offset,) in enumerate(_offset.iter_unpack(body)):
            if bucket is None or bucket.closed:
                bucket = self._open_bucket(prefix, id)
            payload = bucket.read(offset) if bucket is not None else None
            if payload is None:
                await self._add(await self._log.get(prefix, id, offset), offset, response)
            else:
                response.count(len(payload))
                add(pack_length(len(payload)))
                add(payload)
            # From here on only the response holds it.
            del payload
            if response.gathered >= _PIECE:
                await response.flush()
            if number % _SLICE == _SLICE - 1:
                await breath()

    def _open_bucket(self, prefix: str, id: bytes) -> IBucketFile | None:
        found = self._log.find_open(prefix, id)
        return None if found is None else found[0]

    async def _add(self, record: IRecord, offset: int, response: _Response) -> None:
        """Add a record that was read from the disk, or is long."""
        if not record.length:
            raise StorehouseError(f"the record at offset {offset} is empty, which this response cannot express")
        response.count(record.length)
        response.pieces.append(pack_length(record.length))
        if record.payload is not None:
            response.pieces.append(record.payload)
            del record
            if response.gathered >= _PIECE:
                await response.flush()
        else:
            await response.flush()
            await _send_payload(response.request, record)


class _Response:
    """
    Gathers a response. A short one is sent whole, with its length.

    @ivar pieces: what is gathered; L{count} is to be called before a record is added.
    @ivar gathered: bytes of memory that these take, about.
    """

    def __init__(self, request: StreamingRequest, limit: int) -> None:
        self.request = request
        self.pieces: list[bytes] = []
        self.gathered = 0
        self._limit = limit
        self._left = limit
        self._begun = False

    def count(self, length: int) -> None:
        """
        @param length: bytes of the record that is about to be added.
        @raise TooLarge: if the response would be too long with it.
        """
        self.gathered += _OVERHEAD + length
        self._left -= LENGTH_SIZE + length
        if self._left < 0:
            raise TooLarge(f"the response would have more than {self._limit} bytes (append-max-multi-bytes)")

    async def flush(self) -> None:
        """Send what is gathered."""
        if not self._begun:
            self._begun = True
            self.request.begin(200, OCTETS)
        self.gathered = 0
        await _send_pieces(self.request, self.pieces)
        await self.request.backlog.room()

    async def finish(self) -> Reply | None:
        """@return: the whole response, or C{None} if it was sent in pieces."""
        if not self._begun:
            return Reply(200, b"".join(self.pieces), OCTETS)
        await self.flush()
        return None


class Scan(LogResource):
    """
    C{GET /scan}: the records of a bucket file or an identifier, in the order of the file.

    The response is C{[u32 length][u64 offset][data]} for each record. At a damaged record a zero length, its offset
    and the text of the error end it.
    """

    async def handle_GET(self, request: StreamingRequest) -> None:
        check_fields(request, _SCAN_QUERY)
        follow = number_of(request, b"follow", 0)
        if follow > 1:
            raise BadRequest("follow must be 0 or 1")
        limit = number_of(request, b"limit", -1)
        scan = await self._log.scan(
            prefix_of(request), self._bucket_of(request), number_of(request, b"offset", 0), bool(follow)
        )
        gone = request.notifyFinish()
        gone.addBoth(lambda _: scan.close())
        request.call_at_input_end(scan.stop_following)
        try:
            request.begin(200, OCTETS)
            if request.method != b"HEAD":
                await self._stream(request, scan, limit)
        finally:
            scan.close()

    def _bucket_of(self, request: StreamingRequest) -> int | bytes:
        if (b"id" in request.fields) == (b"bucket" in request.fields):
            raise BadRequest("the query must have either id or bucket")
        return number_of(request, b"bucket") if b"bucket" in request.fields else identifier_of(request)

    async def _stream(self, request: StreamingRequest, scan: IScan, limit: int) -> None:
        try:
            while limit != 0:
                await breath()
                await request.backlog.room()
                batch = await scan.next_batch()
                if not batch:
                    return
                if 0 < limit < len(batch):
                    batch = batch[:limit]
                limit -= len(batch) if limit > 0 else 0
                pieces: list[bytes] = []
                batch.reverse()
                while batch:
                    record = batch.pop()
                    pieces.append(_scan_header.pack(record.length, record.offset))
                    if record.payload is not None:
                        pieces.append(record.payload)
                    else:
                        await _send_pieces(request, pieces)
                        await _send_payload(request, record)
                    del record
                await _send_pieces(request, pieces)
        except DamagedRecord as error:
            await request.send(_scan_header.pack(0, error.offset) + error.detail.encode("utf-8"))
