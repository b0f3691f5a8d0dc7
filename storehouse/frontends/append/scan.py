"""C{GET /scan}."""

from __future__ import annotations

from struct import Struct

from storehouse.core.turns import breath
from storehouse.errors import BadRequest, DamagedRecord
from storehouse.frontends.append.get import send_gathered, send_payload
from storehouse.frontends.append.params import check_fields, identifier_of, number_of, prefix_of
from storehouse.frontends.http.reply import OCTETS
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.resource import Leaf
from storehouse.storage.appendlog.interfaces import IAppendLog

__all__ = ["Scan"]

_frame = Struct("<IQ")
_FIELDS = frozenset({b"id", b"bucket", b"storagePrefix", b"offset", b"limit", b"follow"})


class Scan(Leaf):
    """The records of a bucket or an identifier, in the order of the file."""

    def __init__(self, log: IAppendLog) -> None:
        Leaf.__init__(self)
        self._log = log

    async def handle_GET(self, request: StreamingRequest) -> None:
        """
        Stream C{[u32 length][u64 offset][data]}; damage is a zero length, its offset, and the error's text to
        the end.
        """
        check_fields(request, _FIELDS)
        follow = number_of(request, b"follow", 0)
        if follow > 1:
            raise BadRequest("follow is 0 or 1")
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
            raise BadRequest("the query must have either an id or a bucket")
        return number_of(request, b"bucket") if b"bucket" in request.fields else identifier_of(request)

    async def _stream(self, request: StreamingRequest, scan: object, limit: int) -> None:
        try:
            while limit != 0:
                await breath()
                await request.backlog.room()
                batch = await scan.next_batch()  # type: ignore[attr-defined]
                if not batch:
                    return
                if 0 < limit < len(batch):
                    batch = batch[:limit]
                limit -= len(batch) if limit > 0 else 0
                pieces: list[bytes] = []
                batch.reverse()
                while batch:
                    record = batch.pop()
                    pieces.append(_frame.pack(record.length, record.offset))
                    if record.payload is not None:
                        pieces.append(record.payload)
                    else:
                        await send_gathered(request, pieces)
                        await send_payload(request, record)
                    del record
                await send_gathered(request, pieces)
        except DamagedRecord as error:
            await request.send(_frame.pack(0, error.offset) + error.detail.encode("utf-8"))
