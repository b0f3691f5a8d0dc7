"""
multipart/form-data as it comes in: bytes to events, without sockets::

    [preamble CRLF] --BOUNDARY CRLF  head CRLF CRLF  bytes  CRLF --BOUNDARY CRLF  head ...  bytes  CRLF --BOUNDARY-- [epilogue]

The parser of the package C{multipart} reads boundaries and heads. The bytes of parts never go through it: as long as a
piece has no boundary in it, one search from its end says so at the speed of memory, whatever the bytes are (a search from
the front is several times slower, and can be made slower still by who chooses them), and the piece is handed on as it is.

Sources: RFC 7578, RFC 2046 section 5.1.
"""

from __future__ import annotations

from collections.abc import Container, Generator, Iterator

import attrs
from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser

from storehouse.errors import MalformedBody, TooLarge
from storehouse.frontends.upload.parthead import PartBegun, charset_of, read_head

__all__ = ["Field", "FormLimits", "MultipartReader", "PartBegun", "PartEnded"]

#: Bytes before the first part: more are taken for a body with another boundary.
_MOST_PREAMBLE = 16 << 10

_MOST_HEADERS = 16

#: The field that says what names and values that are not UTF-8 are written in (RFC 7578, section 4.6).
_CHARSET = "_charset_"


@attrs.frozen
class FormLimits:
    """
    What a form may have.

    @ivar parts: files and fields.
    @ivar head: bytes of the head of a part.
    @ivar field: bytes of the value of a field that is no file.
    @ivar fields: bytes of all of them, with their names.
    """

    parts: int = 1000
    head: int = 16 << 10
    field: int = 64 << 10
    fields: int = 1 << 20


@attrs.frozen
class Field:
    """A field that is no file, whole."""

    name: str
    value: str


class PartEnded:
    """The file that began last has all its bytes."""


_ENDED = PartEnded()

#: A file begins (L{PartBegun}), some bytes of it, its end; or a field.
Event = PartBegun | bytes | PartEnded | Field


class MultipartReader:
    """
    Takes a body apart.

    @param boundary: see L{boundary_of<storehouse.frontends.upload.parthead.boundary_of>}.
    @param wanted: the fields that are no files whose values are given; of others they are only counted. C{None} for all.
    @ivar part: the file that has begun and not ended; C{None} if there is none.
    @ivar parts: how many parts have begun.
    @ivar charset: what the field C{_charset_} said; names and values that are not UTF-8 are read by it.
    """

    def __init__(self, boundary: bytes, limits: FormLimits | None = None, wanted: Container[str] | None = None) -> None:
        self.part: PartBegun | None = None
        self.parts = 0
        self.charset = "utf-8"
        self._limits = limits = limits or FormLimits()
        self._wanted = wanted
        # Read as Latin-1 no byte of a head is lost; what encoding it is in is found out later.
        self._parser = PushMultipartParser(
            boundary, max_header_size=limits.head, max_header_count=_MOST_HEADERS, header_charset="latin-1"
        )
        self._delimiter = b"\r\n--" + boundary
        # With the two bytes behind it, which tell whether it is the last.
        self._unit = len(self._delimiter) + 2
        self._in_body = False
        self._is_over = False
        self._carry = b""  # of a body: its end that may be the beginning of a boundary
        self._line = bytearray()  # of a head, or of what is before the first part: a line that is not whole
        self._unread = 0  # bytes of lines since the last part ended
        self._segment: MultipartSegment | None = None
        self._count = 0  # bytes of the part
        self._field: str | None = None
        self._is_wanted = False
        self._value = bytearray()
        self._all_values = 0

    @property
    def held(self) -> int:
        """Bytes in memory here, about."""
        return len(self._carry) + len(self._value) + len(self._line) + self._unread

    def feed(self, data: bytes) -> Iterator[Event]:
        """
        Take the next bytes. What comes of them is made as it is asked for; all of it must be, before there are more.

        @raise MalformedBody: saying what is wrong. After that, nothing can be made of the rest.
        @raise TooLarge: if a limit is exceeded.
        """
        at, size = 0, len(data)
        while at < size:
            if self._is_over:
                return  # an epilogue, which says nothing
            if self._in_body:
                if not self._carry and at == 0 and data.rfind(self._delimiter) < 0:
                    keep = self._partial(data)
                    if keep:
                        self._carry = data[-keep:]
                        data = data[:-keep]
                    if data:
                        yield from self._bytes(data)
                    return
                at = yield from self._read_body(data, at)
            else:
                at = yield from self._read_head(data, at)

    def finish(self) -> None:
        """
        There is no more.

        @raise MalformedBody: if the last boundary has not come.
        """
        if self._is_over:
            return
        if self.part is not None:
            raise MalformedBody(f"the body ends within the file {(self.part.filename or '')[:200]!r}")
        if self._field is not None:
            raise MalformedBody(f"the body ends within the field {self._field[:200]!r}")
        for _ in self._parsed(bytes(self._line)) if self._line else ():
            pass  # perhaps the last boundary of a form without parts
        try:
            self._parser.close()
        except MultipartError:
            if self.parts:
                raise MalformedBody("the body ends without its last boundary") from None
            raise MalformedBody("the body does not have the boundary that its Content-Type names") from None

    # -- bodies --------------------------------------------------------------------------------

    def _partial(self, data: bytes) -> int:
        """How many bytes at the end may be a boundary whose rest is to come."""
        # It has one CR only, at its beginning.
        at = data.rfind(b"\r", max(0, len(data) - self._unit + 1))
        if at < 0:
            return 0
        size = len(data) - at
        # What is longer than the delimiter begins with it: a whole one would have been found before.
        return size if self._delimiter.startswith(data[at : at + len(self._delimiter)]) else 0

    def _read_body(self, data: bytes, at: int) -> Generator[Event, None, int]:
        """Make events of what is there of a body from an offset on; returns the offset behind it."""
        delimiter = self._delimiter
        if self._carry:
            need = self._unit - len(self._carry)
            seam = self._carry + data[at : at + need]
            if seam[: len(delimiter)] == delimiter[: len(seam)]:
                self._carry = seam
                at += need
                if len(seam) == self._unit:
                    self._carry = b""
                    yield from self._end_part(seam)
                return min(at, len(data))
            carry, self._carry = self._carry, b""
            yield from self._bytes(carry)
        found = data.find(delimiter, at) if data.rfind(delimiter, at) >= 0 else -1
        if found >= 0 and found + self._unit <= len(data):
            if found > at:
                yield from self._bytes(data[at:found])
            yield from self._end_part(data[found : found + self._unit])
            return found + self._unit
        rest = data[at:]
        keep = len(data) - found if found >= 0 else self._partial(rest)
        if keep:
            self._carry = rest[-keep:]
            rest = rest[:-keep]
        if rest:
            yield from self._bytes(rest)
        return len(data)

    def _bytes(self, data: bytes) -> Iterator[Event]:
        self._count += len(data)
        if self._field is None:
            yield data
            return
        if self._is_wanted:
            self._value += data
        self._all_values += len(data)
        if self._count > self._limits.field:
            raise TooLarge(f"the field {self._field[:200]!r} has more than {self._limits.field} bytes, and is no file")
        self._check_values()

    def _end_part(self, unit: bytes) -> Iterator[Event]:
        """A boundary, with the two bytes behind it."""
        self._in_body = False
        self._is_over = unit.endswith(b"--")
        self._unread = 0
        if self._segment is not None:
            # The parser looks whether they are as many as the part's Content-Length says, if it has one; not whether
            # they are more.
            self._segment.bytes_received = self._count
            if self._count > int(self._segment.header("Content-Length", self._count)):
                raise MalformedBody(f"part {self.parts} of the form is longer than its Content-Length says")
        for _ in self._parsed(unit):
            pass  # that the part is over, and nothing else
        if self._field is None:
            self.part = None
            yield _ENDED
            return
        name, self._field = self._field, None
        if not self._is_wanted:
            return
        value = bytes(self._value)
        self._value.clear()
        if name == _CHARSET:
            self.charset = charset_of(value.decode("latin-1"))
        try:
            text = value.decode()
        except UnicodeDecodeError:
            if self.charset == "utf-8":
                raise MalformedBody(f"the field {name[:200]!r} is not UTF-8") from None
            text = value.decode(self.charset, "replace")
        yield Field(name, text)

    # -- heads ---------------------------------------------------------------------------------

    def _read_head(self, data: bytes, at: int) -> Generator[Event, None, int]:
        """
        Have the parser read a line, and no part of one, so that it cannot matter how the body is cut; returns the offset
        behind it.
        """
        end = data.find(b"\n", at) + 1
        self._line += data[at : end or len(data)]
        if end:
            line = bytes(self._line)
            self._line.clear()
            self._unread += len(line)
            for event in self._parsed(line):
                if isinstance(event, MultipartSegment):
                    yield from self._begin_part(event)
        if not self._in_body:
            self._check_unread()
        return end or len(data)

    def _begin_part(self, segment: MultipartSegment) -> Iterator[Event]:
        self.parts += 1
        if self.parts > self._limits.parts:
            raise TooLarge(f"the form has more than {self._limits.parts} files and fields")
        if sum(len(name) + len(value) + 4 for name, value in segment.headerlist) > self._limits.head:
            raise self._head_too_large(self.parts)
        self._in_body = True
        self._segment = segment
        self._count = self._unread = 0
        part = read_head(segment, self.charset)
        if part.filename is None:
            self._field = part.name
            self._is_wanted = self._wanted is None or part.name in self._wanted or part.name == _CHARSET
            self._all_values += len(part.name)
            self._check_values()
        else:
            self.part = part
            yield part

    def _check_unread(self) -> None:
        size = self._unread + len(self._line)
        if self.parts and size > self._limits.head:
            raise self._head_too_large(self.parts + 1)
        if not self.parts and size > _MOST_PREAMBLE + self._limits.head:
            raise MalformedBody(
                f"no part begins in the first {size >> 10} KiB: the boundary in the Content-Type may be another one"
            )

    def _check_values(self) -> None:
        if self._all_values > self._limits.fields:
            raise TooLarge(f"the fields that are no files have more than {self._limits.fields} bytes together")

    def _head_too_large(self, number: int) -> TooLarge:
        return TooLarge(f"the head of part {number} has more than {self._limits.head} bytes")

    def _parsed(self, data: bytes) -> Iterator[MultipartSegment | bytes | bytearray | None]:
        try:
            yield from self._parser.parse(data)
        except ParserLimitReached as error:
            raise TooLarge(f"the head of part {self.parts + 1} is too large: {str(error).lower()}") from None
        except MultipartError as error:
            # Its texts begin with a capital letter, and end without a full stop.
            text = str(error.args[0]) if error.args else "malformed"
            raise MalformedBody(f"part {self.parts + 1} of the form: {text[:1].lower()}{text[1:]}") from None
