"""C{GET /get} and C{POST /getMulti}."""

from __future__ import annotations

from struct import Struct
from typing import Any

from storehouse.config.settings import AppendSettings
from storehouse.core.framing import LENGTH_SIZE, pack_length
from storehouse.core.turns import breath
from storehouse.errors import MalformedBody, StorehouseError, TooLarge
from storehouse.frontends.append.params import check_fields, identifier_of, number_of, prefix_of
from storehouse.frontends.http.reply import OCTETS, Reply
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.resource import Leaf
from storehouse.storage.appendlog.interfaces import IAppendLog, IBucket

__all__ = ["Get", "GetMulti", "send_payload"]

_offset = Struct("<Q")

#: The most bytes of a record, or of a piece of one, that is read at once.
_LONG = 1 << 20

#: Answers are sent in pieces of about this many bytes.
_PIECE = 256 * 1024

# What a short record takes in memory beside its bytes: two objects, and their places in a list.
_OVERHEAD = 100

#: Offsets looked up in one go, before other connections may get a turn.
_SLICE = 64


async def send_payload(request: StreamingRequest, record: Any) -> None:
    """Send a record that is not held in memory whole."""
    position = 0
    while position < record.length:
        async with request.ahead(_LONG):
            piece = await record.read_piece(position)
            position += len(piece)
            request.push(piece)
            # What the peer does not take is held by the connection alone.
            del piece
        await request.ready()


async def send_gathered(request: StreamingRequest, pieces: list[bytes]) -> None:
    """Send what was gathered, of which nothing is held here any more while the peer does not take it."""
    data = b"".join(pieces)
    pieces.clear()
    if data:
        request.push(data)
    del data
    await request.ready()


class Get(Leaf):
    """One record."""

    def __init__(self, log: IAppendLog) -> None:
        Leaf.__init__(self)
        self._log = log

    async def handle_GET(self, request: StreamingRequest) -> Reply | None:
        """Give the record."""
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
            await send_payload(request, record)
        return None


class GetMulti(Leaf):
    """Several records, in the order asked."""

    def __init__(self, log: IAppendLog, limits: AppendSettings) -> None:
        Leaf.__init__(self)
        self._log = log
        self._limits = limits

    async def handle_POST(self, request: StreamingRequest) -> Reply | None:
        """
        Answer C{[u32 length][data]} for each offset of the body.

        Failures of the request as a whole are answered like others; that of an offset writes a zero length
        and its text, and ends the answer.
        """
        check_fields(request, frozenset({b"id", b"storagePrefix"}))
        prefix, id = prefix_of(request), identifier_of(request)
        most = self._limits.max_multi * _offset.size
        length = request.body.length
        with request.hold(most if length is None else length) as hold:
            body = await request.body.read_all(most, hold)
            return await self._answer(request, prefix, id, body)

    async def _answer(self, request: StreamingRequest, prefix: str, id: bytes, body: bytes) -> Reply | None:
        answer = _Answer(request, self._limits.max_multi_bytes)
        try:
            if len(body) % _offset.size:
                raise MalformedBody(
                    f"the body has {len(body)} bytes, which are not offsets of {_offset.size} bytes each"
                )
            await self._look_up(prefix, id, body, answer)
        except StorehouseError as error:
            if request.finished or request._disconnected:
                raise
            answer.pieces.append(pack_length(0) + error.detail.encode("utf-8"))
        return await answer.finish()

    async def _look_up(self, prefix: str, id: bytes, body: bytes, answer: _Answer) -> None:
        await answer.request.backlog.room()
        add = answer.pieces.append
        bucket = self._open_bucket(prefix, id)
        for number, (offset,) in enumerate(_offset.iter_unpack(body)):
            if bucket is None or bucket.closed:
                bucket = self._open_bucket(prefix, id)
            payload = bucket.read(offset) if bucket is not None else None
            if payload is None:
                await self._give(await self._log.get(prefix, id, offset), offset, answer)
            else:
                answer.count(len(payload))
                add(pack_length(len(payload)))
                add(payload)
            # Held by the answer alone from here on.
            del payload
            if answer.gathered >= _PIECE:
                await answer.flush()
            if number % _SLICE == _SLICE - 1:
                await breath()

    def _open_bucket(self, prefix: str, id: bytes) -> IBucket | None:
        found = self._log.find_open(prefix, id)
        return None if found is None else found[0]

    async def _give(self, record: Any, offset: int, answer: _Answer) -> None:
        """Answer a record that could not be given at once: it is long, or was not in memory."""
        if not record.length:
            raise StorehouseError(f"the record at offset {offset} is empty, which this answer cannot say otherwise")
        answer.count(record.length)
        answer.pieces.append(pack_length(record.length))
        if record.payload is not None:
            answer.pieces.append(record.payload)
            del record
            if answer.gathered >= _PIECE:
                await answer.flush()
        else:
            await answer.flush()
            await send_payload(answer.request, record)


class _Answer:
    """
    Gathers an answer; a short one is sent whole, with its length.

    @ivar pieces: what is gathered; whoever adds to it calls L{count} before.
    @ivar gathered: bytes of memory that it takes, about.
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
        A record of so many bytes is about to be added.

        @raise TooLarge: if the answer would get too long.
        """
        self.gathered += _OVERHEAD + length
        self._left -= LENGTH_SIZE + length
        if self._left < 0:
            raise TooLarge(f"the answer would have more than {self._limit} bytes (append-max-multi-bytes)")

    async def flush(self) -> None:
        """Send what was gathered."""
        if not self._begun:
            self._begun = True
            self.request.begin(200, OCTETS)
        self.gathered = 0
        await send_gathered(self.request, self.pieces)
        await self.request.backlog.room()

    async def finish(self) -> Reply | None:
        """The answer, if it has not been begun; otherwise send the rest."""
        if not self._begun:
            return Reply(200, b"".join(self.pieces), OCTETS)
        await self.flush()
        return None
