"""
multipart/form-data as it comes in: bytes to events, without sockets::

    [preamble CRLF] --BOUNDARY CRLF  head CRLF CRLF  bytes  CRLF --BOUNDARY CRLF  head ...  bytes  CRLF --BOUNDARY-- [CRLF epilogue]

Behind a boundary there may be spaces and tabs (RFC 2046: "transport padding"). Anything else there is refused, and so is a
boundary behind the last one: then the sender chose a boundary that a file has in it, and where the file ends nobody can know.

As long as a piece of a part has no boundary in it, one search from its end says so at the speed of memory, whatever the
bytes are (a search from the front is several times slower, and an attacker can make it slower still), and the piece
is handed on as it is. Everything else is read by lines, and no part of one, so that it cannot matter how the body is cut.

The head of a part has its name, its file's name and its media type. A name is understood whole or not at all: files whose names were
cut at the same place would replace each other.

Sources: RFC 7578, RFC 2046 section 5.1.1; RFC 2183 and RFC 5987 (C{filename*}) for what may be in a head; the HTML standard
("multipart/form-data encoding algorithm") for what browsers write: UTF-8 as it is, with C{"}, CR and LF as C{%22}, C{%0D} and
C{%0A}.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Container, Generator, Iterator, Sequence
from typing import Literal
from urllib.parse import unquote_to_bytes

import attrs

from storehouse.errors import MalformedBody, TooLarge

__all__ = [
    "MEDIA_TYPE",
    "Event",
    "Field",
    "FormLimits",
    "MultipartReader",
    "PartBegun",
    "PartEnded",
    "boundary_of",
    "charset_of",
    "read_head",
    "without_home",
]


#: What forms with files are.
MEDIA_TYPE = "multipart/form-data"

_boundary = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]").fullmatch
_field_name = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
# A quoted value ends at its quote, any other one at the next semicolon: nothing of it is left over. Quotes that are never
# closed are looked at once.
_parameter = re.compile(
    r""";[ \t]*(?:([!#$%&'*+.^_`|~0-9A-Za-z-]++)[ \t]*=[ \t]*("[^"\\]*+(?:\\.[^"\\]*+)*+"|[^;"]*+)[ \t]*)?+""",
    re.DOTALL,
)
_extended_value = re.compile(
    r"([!#$%&+^_`{}~0-9A-Za-z-]+)'[A-Za-z0-9-]*'((?:%[0-9A-Fa-f]{2}|[!#$&+.^_`|~0-9A-Za-z-])*)"
).fullmatch
# A whole path, with the drive or the server that it is on.
_at_home = re.compile(r"(?:[A-Za-z]:(?=[\\/])|\\\\[^\\/]).*[\\/]", re.DOTALL).match
_encoded_word = re.compile(r"=\?[^?\s]+\?[BbQq]\?").search
_size = re.compile(rb"0|[1-9][0-9]{0,18}").fullmatch

#: Names and values in one field.
_MOST_PARAMETERS = 32

#: Characters of a name that is percent-encoded: a key has at most 1024 bytes.
_MOST_EXTENDED = 4096

_PLAIN_ENCODINGS = frozenset({"", "7bit", "8bit", "binary"})

# What may stand beside a file's name that is not in quotes. Of anything else it cannot be known whether it is a parameter
# or the rest of the name.
_BESIDE = frozenset({"name", "name*", "filename", "filename*"})

# What forms are written in, by the names that Python has for them: no codec that does more than to map letters.
_CHARSETS = frozenset(
    {"utf-8", "ascii", "big5", "euc_jp", "euc_kr", "gb18030", "gb2312", "gbk", "koi8-r", "koi8-u", "shift_jis"}
    | {f"iso8859-{number}" for number in (*range(1, 12), 13, 14, 15, 16)}
    | {f"cp{number}" for number in (866, 874, 932, 949, *range(1250, 1259))}
)


@attrs.frozen
class PartBegun:
    """
    A part begins.

    @ivar name: of the field.
    @ivar filename: as the client says it, without the folders of old browsers; C{None} for a field that is no file.
    @ivar content_type: as the client says it; may be empty.
    @ivar size: the bytes that it says it has; C{None} if it does not.
    """

    name: str
    filename: str | None
    content_type: str
    size: int | None = None


def boundary_of(content_type: bytes) -> bytes:
    """
    The boundary that a field Content-Type has.

    @raise MalformedBody: if it is not that of a form, or has no boundary that RFC 2046, section 5.1.1, allows.
    """
    kind, semicolon, parameters = content_type.decode("latin-1").partition(";")
    if kind.strip(" \t").lower() != MEDIA_TYPE:
        raise MalformedBody(f"the Content-Type is not {MEDIA_TYPE}")
    found = [value for name, value in _parameters("Content-Type", semicolon + parameters) if name == "boundary"]
    if len(found) != 1:
        raise MalformedBody("the Content-Type has " + (f"{len(found)} boundaries" if found else "no boundary"))
    boundary = re.sub(r"\\(.)", r"\1", found[0][1:-1]) if found[0][:1] == '"' else found[0]
    if not _boundary(boundary):
        raise MalformedBody("the boundary must be 1 to 70 letters, digits and '()+_,-./:=? and spaces, none at its end")
    return boundary.encode("ascii")


def _parameters(field: str, text: str) -> Iterator[tuple[str, str]]:
    """
    The parameters of a field: names in lower case, values as they are there, in quotes if they are.

    @raise MalformedBody: if there is anything else.
    """
    at = count = 0
    while at < len(text):
        count += 1
        if count > _MOST_PARAMETERS:
            raise MalformedBody(f"the {field} has more than {_MOST_PARAMETERS} parameters")
        match = _parameter.match(text, at)
        if match is None:
            raise MalformedBody(f"the {field} is not well-formed at {text[at : at + 50]!r}: names belong in quotes")
        if match[1]:
            yield match[1].lower(), match[2].rstrip(" \t")
        at = match.end()


def charset_of(label: str) -> str:
    """
    The encoding that the field C{_charset_} names (RFC 7578, section 4.6).

    @raise MalformedBody: if it is none that forms are written in.
    """
    try:
        name = codecs.lookup(label.strip()).name
    except (LookupError, ValueError):
        name = ""
    if name not in _CHARSETS:
        raise MalformedBody(f"the field _charset_ names an unknown encoding: {label[:100]!r}")
    return name


def read_head(lines: Sequence[bytes], charset: str) -> PartBegun:
    """
    What a head says.

    @param lines: its fields, unfolded.
    @param charset: the encoding of names that are not UTF-8.
    @raise MalformedBody: if it cannot be understood, or is of a kind that forms do not have.
    """
    fields = _fields_in(lines)
    name, filename = _names_in(fields.get(b"content-disposition"), charset)
    content_type = fields.get(b"content-type", b"").decode("latin-1")
    encoding = fields.get(b"content-transfer-encoding", b"").decode("latin-1").lower()
    if encoding not in _PLAIN_ENCODINGS:
        raise MalformedBody(
            f"the part {name[:100]!r} has the Content-Transfer-Encoding {encoding[:50]!r}: send its bytes as they are"
        )
    if filename is None and content_type.lower().startswith("multipart/"):
        raise MalformedBody(
            f"the part {name[:100]!r} is a {content_type.split(';')[0][:50]}: send each file as a part of its own"
        )
    size = fields.get(b"content-length")
    if size is not None and not _size(size):
        raise MalformedBody(f"the part {name[:100]!r} has a Content-Length that is not a number of bytes")
    return PartBegun(name, filename, content_type, None if size is None else int(size))


def _fields_in(lines: Sequence[bytes]) -> dict[bytes, bytes]:
    """By their names in lower case."""
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not (colon and _field_name(name)):
            raise MalformedBody(f"a part has a header field that is not well-formed: {line[:100]!r}")
        name = name.lower()
        if name in fields and name.startswith(b"content-"):
            raise MalformedBody(f"a part has 2 {name.decode('ascii').title()} fields instead of one")
        fields[name] = value.strip(b" \t")
    return fields


def _names_in(disposition: bytes | None, charset: str) -> tuple[str, str | None]:
    """The name of the field, and that of the file, if it is one."""
    if disposition is None:
        raise MalformedBody("a part has no Content-Disposition field")
    # Before it is taken apart: in some encodings, what looks like a backslash is the half of a letter.
    text = _decoded(disposition, charset)
    kind, semicolon, rest = text.partition(";")
    if kind.strip(" \t").lower() != "form-data":
        raise MalformedBody(f"the Content-Disposition of a part is of the wrong type: {kind[:50]!r}, not form-data")
    given: dict[str, str] = {}
    for parameter, value in _parameters("Content-Disposition", semicolon + rest):
        if parameter in given:
            raise MalformedBody(f"the Content-Disposition has more than one {parameter[:50]}")
        if parameter.startswith(("name*", "filename*")) and parameter not in _BESIDE:
            raise MalformedBody(f"the Content-Disposition has a name in pieces, {parameter[:50]}: send it whole")
        given[parameter] = value
    name = _whole(given, "name") or ""
    filename = _whole(given, "filename")
    if given.get("filename", '"')[:1] != '"' and not given.keys() <= _BESIDE:
        raise MalformedBody(f"the file's name {filename!r} is not in quotes, and may be cut: put it in quotes")
    return name, filename


def _decoded(data: bytes, charset: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        pass  # browsers send the form's charset, which _charset_ may name
    if charset != "utf-8":
        try:
            return data.decode(charset)
        except UnicodeDecodeError:
            raise MalformedBody(f"the Content-Disposition {data[:200]!r} is not {charset}") from None
    raise MalformedBody(
        f"the Content-Disposition {data[:200]!r} is not UTF-8, nor does a field _charset_ before it say what it is"
    )


def _whole(given: dict[str, str], parameter: str) -> str | None:
    """A name that a Content-Disposition gives, in either form; C{None} without one."""
    plain, extended = given.get(parameter), given.get(f"{parameter}*")
    if plain is not None:
        plain = without_home(_plain(plain))
        if extended is None and _encoded_word(plain):
            raise MalformedBody(f"the name {plain[:200]!r} is encoded by RFC 2047: send it in UTF-8 as it is")
    return plain if extended is None else _extended(extended, plain)


def without_home(filename: str) -> str:
    """
    A name without the drive and the folders that old browsers send with it: C{C:\\home\\a.txt} is C{a.txt}. Any other
    backslash may as well be a letter of the name, and stays.
    """
    home = _at_home(filename)
    return filename[home.end() :] if home is not None else filename


def _plain(value: str) -> str:
    if value[:1] != '"':
        return value
    value = value[1:-1]
    if '\\"' in value:
        # As mail has it, and browsers once had.
        return "\\".join(piece.replace('\\"', '"') for piece in value.split("\\\\"))
    return value.replace("%0D", "\r").replace("%0A", "\n").replace("%22", '"')


def _extended(value: str, plain: str | None) -> str:
    """The value of C{filename*}, which counts more than that of C{filename} if its encoding is known."""
    match = _extended_value(value[1:-1] if value[:1] == '"' else value) if len(value) <= _MOST_EXTENDED else None
    if match is not None:
        if match[1].lower() in ("utf-8", "iso-8859-1"):
            try:
                return unquote_to_bytes(match[2]).decode(match[1])
            except UnicodeDecodeError:
                pass
        if plain is not None:
            return plain
    raise MalformedBody(f"a part has an invalid filename*: {value[:100]!r}")


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

    @param boundary: see L{boundary_of<storehouse.frontends.http.multipart.boundary_of>}.
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
        Take the next bytes, and yield their results; take all of these before the next call.

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
        End the input, and yield the last results; take all of them.

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
