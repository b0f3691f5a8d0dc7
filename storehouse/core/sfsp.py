"""
SFSP v0.1.0 on the wire: requests and responses, from bytes and to bytes, without a socket.

All numbers are unsigned, of 64 bits, little-endian::

    send      "*"  name size  name  id  size  data        response  code  message size  message
    receive   "/"  name size  name  id                    response  10  name size  name  id  size  data
                                                                or  20
                                                                or  code  message size  message
    list      "%"  name size  name                        response  10  count  id ...
                                                                or  code  message size  message

Source: the fifth seed; docs/formats/sfsp.md says how what it leaves open is understood.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import IntEnum
from struct import Struct, pack, unpack_from
from typing import TypeVar

import attrs

from storehouse.errors import InvalidAnswer, InvalidRequest, TooLarge

__all__ = [
    "MAX_CHUNK",
    "MAX_ID",
    "MAX_NAME",
    "Chunk",
    "Code",
    "Ids",
    "List",
    "Receive",
    "Request",
    "RequestDecoder",
    "ResponseDecoder",
    "Send",
    "Status",
    "encode_chunk",
    "encode_ids",
    "encode_ids_head",
    "encode_list",
    "encode_receive",
    "encode_send",
    "encode_status",
]

#: The largest ID.
MAX_ID = 2**64 - 1

#: Bytes that a file's name may have, unless a limit is given.
MAX_NAME = 4096

#: Bytes that a chunk may have, unless a limit is given.
MAX_CHUNK = 1 << 32

# Bytes of a message that a response may have.
_MAX_MESSAGE = 64 << 10

# Numbers of a list that are handed out at once, at most.
_MOST_IDS = 8192

_number = Struct("<Q")
_two = Struct("<QQ")
_pack_number = _number.pack
_pack_two = _two.pack

R = TypeVar("R")


class Code(IntEnum):
    """What a response begins with."""

    OK = 10
    NOT_FOUND = 20
    INVALID_REQ = 21
    INTERNAL = 30


@attrs.frozen
class Send:
    """
    A request to store a chunk. Its bytes follow.

    @ivar name: of the file, 1 byte or more.
    @ivar id: of the chunk, 0 to L{MAX_ID}.
    @ivar size: bytes of the chunk.
    """

    name: bytes
    id: int
    size: int


@attrs.frozen
class Receive:
    """A request for a chunk."""

    name: bytes
    id: int


@attrs.frozen
class List:
    """A request for the IDs of all chunks of a file."""

    name: bytes


#: What a client sends.
Request = Send | Receive | List


@attrs.frozen
class Status:
    """
    A response of a code alone, or with a message.

    @ivar message: UTF-8 for people, from our server; anything, from another one.
    """

    code: Code
    message: bytes = b""


@attrs.frozen
class Chunk:
    """A response with a chunk. Its bytes follow."""

    name: bytes
    id: int
    size: int


@attrs.frozen
class Ids:
    """A response with IDs. They follow."""

    count: int


# -- to bytes --------------------------------------------------------------------------------------


def encode_send(name: bytes, id: int, size: int) -> bytes:
    """A request to store a chunk, up to its data."""
    return b"".join((b"*", _pack_number(len(name)), name, _pack_two(id, size)))


def encode_receive(name: bytes, id: int) -> bytes:
    """A request for a chunk."""
    return b"".join((b"/", _pack_number(len(name)), name, _pack_number(id)))


def encode_list(name: bytes) -> bytes:
    """A request for the IDs of a file's chunks."""
    return b"".join((b"%", _pack_number(len(name)), name))


def encode_status(code: Code, message: bytes = b"") -> bytes:
    """A response with a message, which may be empty; C{NOT_FOUND} has none."""
    if code == Code.NOT_FOUND:
        return _pack_number(code)
    return _pack_two(code, len(message)) + message


def encode_chunk(name: bytes, id: int, size: int) -> bytes:
    """A response with a chunk, up to its data."""
    return b"".join((_pack_two(Code.OK, len(name)), name, _pack_two(id, size)))


def encode_ids_head(count: int) -> bytes:
    """A response with IDs, up to the first."""
    return _pack_two(Code.OK, count)


def encode_ids(ids: Sequence[int]) -> bytes:
    """IDs behind L{encode_ids_head}, some at a time."""
    return pack(f"<{len(ids)}Q", *ids)


# -- from bytes ------------------------------------------------------------------------------------


class _Decoder:
    """
    The bytes that have come and are not decoded yet: no more than one head and what was fed last.

    @ivar left: bytes of the data that are still to come.
    """

    def __init__(self) -> None:
        self.left = 0
        self._data = b""
        self._at = 0

    @property
    def held(self) -> int:
        """Bytes that have come and were not returned."""
        return len(self._data) - self._at

    def feed(self, data: bytes) -> None:
        """Take what came next."""
        if self._at < len(self._data):
            data = self._data[self._at :] + data
        self._data = data
        self._at = 0

    def _some_data(self) -> bytes | None:
        """Data of a chunk, as much as there is."""
        data, at = self._data, self._at
        if at >= len(data):
            return None
        if at or len(data) > self.left:
            data = data[at : at + self.left]
        self._at += len(data)
        self.left -= len(data)
        return data


class RequestDecoder(_Decoder):
    """
    What a client sends, request by request.

    @param max_name: bytes that a name may have.
    @param max_chunk: bytes that a chunk may have.
    """

    def __init__(self, max_name: int = MAX_NAME, max_chunk: int = MAX_CHUNK) -> None:
        super().__init__()
        self._max_name = max_name
        self._max_chunk = max_chunk

    @property
    def between(self) -> bool:
        """Whether no request has come in part."""
        return not self.left and not self.held

    def next(self) -> Request | bytes | None:
        """
        The next request; behind a L{Send} the bytes of its chunk, until C{left} is 0; C{None} if more must come.

        @raise InvalidRequest: if it is not a request. Nothing behind it can be decoded.
        @raise TooLarge: if a name or chunk is announced that is larger than allowed; nothing behind it can be decoded either.
        """
        if self.left:
            return self._some_data()
        data, at = self._data, self._at
        size = len(data) - at
        if not size:
            return None
        kind = data[at]
        if kind not in b"*/%":
            raise InvalidRequest(f"a request begins with '*', '/' or '%', not with the byte 0x{kind:02x}")
        if size < 9:
            return None
        (length,) = _number.unpack_from(data, at + 1)
        if length > self._max_name:
            raise TooLarge(f"the file name would have {length} bytes; at most {self._max_name} are allowed")
        if not length:
            raise InvalidRequest("the file name is empty")
        start = at + 9
        end = start + length
        if kind == 0x25:
            if end > len(data):
                return None
            self._at = end
            return List(data[start:end])
        if kind == 0x2F:
            if end + 8 > len(data):
                return None
            self._at = end + 8
            return Receive(data[start:end], _number.unpack_from(data, end)[0])
        if end + 16 > len(data):
            return None
        id, chunk = _two.unpack_from(data, end)
        if chunk > self._max_chunk:
            raise TooLarge(f"the chunk would have {chunk} bytes; at most {self._max_chunk} are allowed")
        self._at = end + 16
        self.left = chunk
        return Send(data[start:end], id, chunk)


class ResponseDecoder(_Decoder):
    """
    What a server sends, response by response. What a response looks like depends on the request, which L{expect} is called with.

    @param max_chunk: bytes that a chunk may have.
    """

    def __init__(self, max_name: int = MAX_NAME, max_chunk: int = MAX_ID) -> None:
        super().__init__()
        self._max_name = max_name
        self._max_chunk = max_chunk
        self._expected: deque[type[Request]] = deque()
        self._ids_left = 0

    def expect(self, kind: type[Request]) -> None:
        """A request of this kind was sent; responses come in the order of requests."""
        self._expected.append(kind)

    @property
    def ids_left(self) -> int:
        """IDs that are still to come."""
        return self._ids_left

    def next(self) -> Status | Chunk | Ids | bytes | tuple[int, ...] | None:
        """
        The next response; behind a L{Chunk} its bytes, until C{left} is 0; behind L{Ids} some of them at a time, until
        C{ids_left} is; C{None} if more must come.

        @raise InvalidAnswer: if it is not a response. Nothing behind it can be decoded.
        """
        if self.left:
            return self._some_data()
        if self._ids_left:
            return self._some_ids()
        data, at = self._data, self._at
        size = len(data) - at
        if size < 8:
            return None
        (number,) = _number.unpack_from(data, at)
        try:
            code = Code(number)
        except ValueError:
            raise InvalidAnswer(f"a response begins with 10, 20, 21 or 30, not with {number}") from None
        # A server may refuse without a request: a connection that was idle for too long.
        kind = self._expected[0] if self._expected else None
        if kind is None and code != Code.INVALID_REQ:
            raise InvalidAnswer(f"a response came, {code.name}, although there was no request")
        if code == Code.NOT_FOUND:
            return self._responded(at + 8, Status(code))
        if size < 16:
            return None
        (length,) = _number.unpack_from(data, at + 8)
        start = at + 16
        if code == Code.OK and kind is List:
            self._ids_left = length
            return self._responded(start, Ids(length))
        if code == Code.OK and kind is Receive:
            return self._chunk(start, length)
        if length > _MAX_MESSAGE:
            raise InvalidAnswer(f"a message of {length} bytes is announced; at most {_MAX_MESSAGE} are taken")
        if start + length > len(data):
            return None
        return self._responded(start + length, Status(code, data[start : start + length]))

    def _chunk(self, start: int, length: int) -> Chunk | None:
        if length > self._max_name:
            raise InvalidAnswer(f"a name of {length} bytes is announced; at most {self._max_name} are taken")
        end = start + length
        if end + 16 > len(self._data):
            return None
        id, size = _two.unpack_from(self._data, end)
        if size > self._max_chunk:
            raise InvalidAnswer(f"a chunk of {size} bytes is announced; at most {self._max_chunk} are taken")
        chunk = Chunk(self._data[start:end], id, size)
        self._responded(end + 16, chunk)
        self.left = size
        return chunk

    def _some_ids(self) -> tuple[int, ...] | None:
        count = min((len(self._data) - self._at) // 8, self._ids_left, _MOST_IDS)
        if not count:
            return None
        ids = unpack_from(f"<{count}Q", self._data, self._at)
        self._at += 8 * count
        self._ids_left -= count
        return ids

    def _responded(self, end: int, response: R) -> R:
        self._at = end
        if self._expected:
            self._expected.popleft()
        return response
