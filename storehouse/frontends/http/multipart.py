"""
multipart/form-data as it comes in: bytes to events, without sockets::

    [preamble CRLF] --BOUNDARY CRLF  head CRLF CRLF  bytes  CRLF --BOUNDARY CRLF  head ...  bytes  CRLF --BOUNDARY-- [CRLF epilogue]

Behind a boundary there may be spaces and tabs (RFC 2046: "transport padding"). Anything else there is refused, and so is a
boundary behind the last one: then the sender chose a boundary that a file has in it, and where the file ends nobody can know.

As long as a piece of a part has no boundary in it, one search from its end says so at the speed of memory, whatever the
bytes are (a search from the front is several times slower, and can be made slower still by who chooses them), and the piece
is handed on as it is. Everything else is read by lines, and no part of one, so that it cannot matter how the body is cut.

Sources: RFC 7578, RFC 2046 section 5.1.1.
"""

from __future__ import annotations

from collections.abc import Container, Generator, Iterator
from typing import Literal

import attrs

from storehouse.errors import MalformedBody, TooLarge
from storehouse.frontends.http.parthead import PartBegun, charset_of, read_head

__all__ = ["Event", "Field", "FormLimits", "MultipartReader", "PartBegun", "PartEnded"]

#: Bytes before the first part: more are taken for a body with another boundary.
_MOST_PREAMBLE = 16 << 10

_MOST_HEADERS = 16

#: Bytes of a line with a boundary, behind it.
_MOST_PADDING = 1 << 10

#: The field that says what names and values that are not UTF-8 are written in (RFC 7578, section 4.6).
_CHARSET = "_charset_"

#: Where the next byte belongs: before the first part, behind a boundary, in a head, to the bytes of a part, behind it all.
_Place = Literal["preamble", "boundary", "head", "part", "epilogue"]


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

    @param boundary: see L{boundary_of<storehouse.frontends.http.parthead.boundary_of>}.
    @param wanted: the fields that are no files whose values are given; of others they are only counted. C{None} for all.
    @param files: the fields, in lower case, that are files also if they have no file's name.
    @ivar part: the file that has begun and not ended; C{None} if there is none.
    @ivar parts: how many parts have begun.
    @ivar charset: what the field C{_charset_} said; names and values that are not UTF-8 are read by it.
    """

    def __init__(
        self,
        boundary: bytes,
        limits: FormLimits | None = None,
        wanted: Container[str] | None = None,
        files: Container[str] = (),
    ) -> None:
        self.part: PartBegun | None = None
        self.parts = 0
        self.charset = "utf-8"
        self._limits = limits or FormLimits()
        self._wanted = wanted
        self._files = files
        self._delimiter = b"\r\n--" + boundary
        self._place: _Place = "preamble"
        self._carry = b""  # of a part: its end that may be the beginning of a boundary
        self._line = bytearray()  # a line that is not whole
        self._is_broken = False  # whether the line before it ended otherwise than by CRLF
        self._head: list[bytes] = []
        self._unread = 0  # bytes of lines since the last part ended
        self._begun: PartBegun | None = None
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
            if self._place == "epilogue":
                self._check_epilogue(data[at:])
                return
            if self._place != "part":
                at = yield from self._read_line(data, at)
                continue
            if not self._carry and at == 0 and data.rfind(self._delimiter) < 0:
                keep = self._partial(data)
                if keep:
                    self._carry = data[-keep:]
                    data = data[:-keep]
                if data:
                    yield from self._bytes(data)
                return
            at = yield from self._read_part(data, at)

    def finish(self) -> Iterator[Event]:
        """
        There is no more. What comes of that is made as it is asked for; all of it must be.

        @raise MalformedBody: if the last boundary has not come.
        """
        # No line break needs to be behind it.
        rest = self._line.rstrip(b" \t\r")
        if self._place == "boundary" and rest == b"--":
            self._place = "epilogue"
        elif self._place == "boundary" and not b"--".startswith(rest):
            raise self._unexpected(rest)
        elif self._place == "preamble" and rest == self._delimiter[2:] + b"--":
            self._place = "epilogue"  # of a form without parts
        if self._place == "epilogue":
            yield from self._end_part("epilogue")
            return
        if self.part is not None:
            raise MalformedBody(f"the body ends within the file {(self.part.filename or '')[:200]!r}")
        if self._field is not None:
            raise MalformedBody(f"the body ends within the field {self._field[:200]!r}")
        if self.parts:
            raise MalformedBody("the body ends without its last boundary")
        raise MalformedBody("the body does not have the boundary that its Content-Type names")

    # -- bytes of parts ------------------------------------------------------------------------

    def _partial(self, data: bytes) -> int:
        """How many bytes at the end may be a boundary whose rest is to come."""
        # It has one CR only, at its beginning; a whole one would have been found before.
        at = data.rfind(b"\r", max(0, len(data) - len(self._delimiter) + 1))
        return len(data) - at if at >= 0 and self._delimiter.startswith(data[at:]) else 0

    def _read_part(self, data: bytes, at: int) -> Generator[Event, None, int]:
        """Make events of what is there of a part from an offset on; returns the offset behind it."""
        delimiter = self._delimiter
        if self._carry:
            seam = self._carry + data[at : at + len(delimiter) - len(self._carry)]
            if delimiter.startswith(seam):
                at += len(seam) - len(self._carry)
                self._carry = seam
                if len(seam) == len(delimiter):
                    self._carry, self._place = b"", "boundary"
                return at
            carry, self._carry = self._carry, b""
            yield from self._bytes(carry)
        found = data.find(delimiter, at) if data.rfind(delimiter, at) >= 0 else -1
        rest = data[at : found if found >= 0 else len(data)]
        keep = self._partial(rest) if found < 0 else 0
        if keep:
            self._carry = rest[-keep:]
            rest = rest[:-keep]
        if rest:
            yield from self._bytes(rest)
        if found < 0:
            return len(data)
        self._place = "boundary"
        return found + len(delimiter)

    def _bytes(self, data: bytes) -> Iterator[Event]:
        self._count += len(data)
        if self._field is None:
            yield data
            return
        if self._is_wanted:
            self._value += data
        self._all_values += len(data)
        # Report the limit that was exceeded first, so that the error does not depend on how the body arrives in pieces.
        beyond = self._count - self._limits.field
        if beyond > 0 and beyond >= self._all_values - self._limits.fields:
            raise TooLarge(
                f"the field {self._field[:200]!r} has more than {self._limits.field} bytes and is not a file"
            )
        self._check_values()

    def _end_part(self, place: _Place) -> Iterator[Event]:
        """Go on behind a boundary, with what ends there."""
        self._place = place
        self._unread = 0
        begun, self._begun = self._begun, None
        if begun is None:
            return
        if begun.size not in (None, self._count):
            raise MalformedBody(
                f"part {self.parts} of the form has {self._count} bytes, not {begun.size} as its Content-Length says"
            )
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

    # -- lines ---------------------------------------------------------------------------------

    def _read_line(self, data: bytes, at: int) -> Generator[Event, None, int]:
        """Read a line, or hold what there is of it; returns the offset behind it."""
        end = data.find(b"\n", at) + 1
        self._line += data[at : end or len(data)]
        if not end:
            self._check_unread()
            return len(data)
        line = bytes(self._line)
        self._line.clear()
        self._unread += len(line)
        # Before it is looked at, as if it had come byte by byte.
        self._check_unread()
        is_broken, self._is_broken = self._is_broken, not line.endswith(b"\r\n")
        dashes = self._delimiter[2:]
        if self._place == "boundary":
            yield from self._boundary(line)
        elif self._place == "head":
            yield from self._head_line(line)
        elif line.startswith(dashes) and not is_broken:
            yield from self._boundary(line[len(dashes) :])
        elif dashes in line:
            raise self._malformed("unexpected bytes before the first boundary")
        return end

    def _boundary(self, rest: bytes) -> Iterator[Event]:
        """A line that begins with a boundary; what is behind that."""
        if not rest.endswith(b"\r\n"):
            raise self._malformed("a line break after a boundary is not CRLF")
        rest = rest[:-2].rstrip(b" \t")
        if rest not in (b"", b"--"):
            raise self._unexpected(rest)
        if rest:
            # What is last ends with the body: only then is it clear that this was no line of it.
            self._place, self._carry = "epilogue", b"\r\n"
        else:
            yield from self._end_part("head")

    def _check_epilogue(self, data: bytes) -> None:
        """It says nothing, but for a boundary: then what was taken for the last one is a line of a file."""
        seen = self._carry + data
        if self._delimiter in seen:
            raise self._malformed("a boundary after the last one: the content must not contain the boundary")
        self._carry = seen[1 - len(self._delimiter) :]

    def _head_line(self, line: bytes) -> Iterator[Event]:
        if line == b"\r\n":
            lines, self._head = self._head, []
            yield from self._begin_part(lines)
            return
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise self._malformed("a line break in its head is not CRLF")
        if line[:1] not in (b" ", b"\t"):
            self._head.append(line[:-2])
        elif self._head:
            self._head[-1] += line[:-2]
        else:
            raise self._malformed("its head begins within a header field")
        if len(self._head) > _MOST_HEADERS:
            raise TooLarge(f"the head of part {self.parts + 1} has more than {_MOST_HEADERS} fields")

    def _begin_part(self, lines: list[bytes]) -> Iterator[Event]:
        self.parts += 1
        if self.parts > self._limits.parts:
            raise TooLarge(f"the form has more than {self._limits.parts} files and fields")
        try:
            self._begun = part = read_head(lines, self.charset)
        except MalformedBody as error:
            raise MalformedBody(f"part {self.parts} of the form: {error.detail}") from None
        self._place = "part"
        self._count = self._unread = 0
        if part.filename is None and part.name.lower() not in self._files:
            self._field = part.name
            self._is_wanted = self._wanted is None or part.name in self._wanted or part.name == _CHARSET
            self._all_values += len(part.name)
            self._check_values()
        else:
            self.part = part
            yield part

    # -- bounds --------------------------------------------------------------------------------

    def _check_unread(self) -> None:
        size = self._unread + len(self._line)
        if self._place == "preamble":
            if size > _MOST_PREAMBLE + self._limits.head:
                raise MalformedBody(
                    f"no part begins in the first {size >> 10} KiB: the boundary in the Content-Type may be wrong"
                )
        elif self._place == "boundary":
            self._check_padding()
        elif size > self._limits.head:
            raise TooLarge(f"the head of part {self.parts + 1} has more than {self._limits.head} bytes")

    def _check_padding(self) -> None:
        if self._place == "boundary" and self._unread + len(self._line) > _MOST_PADDING:
            raise self._malformed(f"more than {_MOST_PADDING} bytes after a boundary")

    def _check_values(self) -> None:
        if self._all_values > self._limits.fields:
            raise TooLarge(f"the fields that are not files have more than {self._limits.fields} bytes together")

    def _unexpected(self, rest: bytes | bytearray) -> MalformedBody:
        return self._malformed(
            f"unexpected bytes after a boundary, {bytes(rest[:50])!r}: the content must not contain the boundary"
        )

    def _malformed(self, what: str) -> MalformedBody:
        return MalformedBody(f"part {self.parts + 1} of the form: {what}")
