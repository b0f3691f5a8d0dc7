"""
The head of a part of a form: its name, its file's name, its media type.

Sources: RFC 7578; RFC 5987 and RFC 6266, section 4.3, for C{filename*}; the HTML standard ("multipart/form-data encoding
algorithm") for what browsers write: UTF-8 as it is, with C{"}, CR and LF as C{%22}, C{%0D} and C{%0A}.
"""

from __future__ import annotations

import codecs
import re
from typing import Any
from urllib.parse import unquote_to_bytes

import attrs
from multipart import parse_content_disposition

from storehouse.errors import MalformedBody

__all__ = ["MEDIA_TYPE", "PartBegun", "boundary_of", "charset_of", "read_head"]

#: What forms with files are.
MEDIA_TYPE = "multipart/form-data"

_boundary = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]").fullmatch
_parameter = re.compile(r'\s*;\s*(?:([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;"\s]*))?\s*')
# A quote that is never closed is taken to the end, and for good: looked at from each of its own quotes again, one line could
# take seconds.
_quoted = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)')
_extended = re.compile(r";\s*filename\*\s*=\s*([^;\s]*)", re.IGNORECASE)
_extended_value = re.compile(
    r"(utf-8|iso-8859-1)'[A-Za-z0-9-]*'((?:%[0-9A-Fa-f]{2}|[!#$&+.^_`|~0-9A-Za-z-])*)", re.IGNORECASE
).fullmatch

_PLAIN_ENCODINGS = frozenset({"", "7bit", "8bit", "binary"})

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
    @ivar filename: as the client says it; C{None} for a field that is no file.
    @ivar content_type: as the client says it; may be empty.
    """

    name: str
    filename: str | None
    content_type: str


def boundary_of(content_type: bytes) -> bytes:
    """
    The boundary that a field Content-Type has.

    @raise MalformedBody: if it is not that of a form, or has no boundary that RFC 2046, section 5.1.1, allows.
    """
    kind, semicolon, parameters = content_type.decode("latin-1").partition(";")
    if kind.strip().lower() != MEDIA_TYPE:
        raise MalformedBody(f"the Content-Type is not {MEDIA_TYPE}")
    found = [_unquoted(value) for name, value in _parameters(semicolon + parameters) if name == "boundary"]
    if len(found) != 1:
        raise MalformedBody(f"the Content-Type has {len(found) or 'no'} boundary{'s' if found else ''}")
    if not _boundary(found[0]):
        raise MalformedBody(
            "the boundary is not one: 1 to 70 letters, digits and '()+_,-./:=? and spaces, none at its end"
        )
    return found[0].encode("ascii")


def _parameters(text: str) -> list[tuple[str, str]]:
    parameters = []
    at = 0
    while at < len(text):
        match = _parameter.match(text, at)
        if match is None:
            raise MalformedBody("the Content-Type is not well-formed")
        if match[1]:
            parameters.append((match[1].lower(), match[2]))
        at = match.end()
    return parameters


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value[:1] == '"' else value


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
        raise MalformedBody(f"the field _charset_ names no encoding that is known: {label[:100]!r}")
    return name


def read_head(segment: Any, charset: str) -> PartBegun:
    """
    What a head says.

    @param segment: a C{MultipartSegment} whose fields were read as Latin-1, so that no byte is lost.
    @param charset: the encoding of names that are not UTF-8.
    @raise MalformedBody: if it cannot be understood, or is of a kind that forms do not have.
    """
    dispositions = segment_fields(segment, "Content-Disposition")
    if len(dispositions) != 1:
        raise MalformedBody(f"a part has {len(dispositions)} Content-Disposition fields instead of one")
    _, name, filename = parse_content_disposition(dispositions[0])
    name = _decoded("name of a field", name or "", charset)
    filename = None if filename is None else _decoded("name of a file", filename, charset)
    extended = _extended.search(_quoted.sub('""', dispositions[0]))
    if extended is not None:
        filename = _decoded_extended(extended[1], filename)
    content_type = (segment_fields(segment, "Content-Type") or [""])[0].strip()
    encoding = (segment_fields(segment, "Content-Transfer-Encoding") or [""])[0].strip().lower()
    if encoding not in _PLAIN_ENCODINGS:
        raise MalformedBody(
            f"the part {name[:100]!r} has the Content-Transfer-Encoding {encoding[:50]!r}: send its bytes as they are"
        )
    if filename is None and content_type.lower().startswith("multipart/"):
        raise MalformedBody(
            f"the part {name[:100]!r} is a {content_type.split(';')[0][:50]}: send each file as a part of its own"
        )
    return PartBegun(name, filename, content_type)


def segment_fields(segment: Any, name: str) -> list[str]:
    """The values that a head has for a field."""
    return [value for field, value in segment.headerlist if field == name]


def _decoded(what: str, value: str, charset: str) -> str:
    data = value.encode("latin-1")
    try:
        return data.decode()
    except UnicodeDecodeError:
        if charset != "utf-8":
            return data.decode(charset, "replace")
    raise MalformedBody(
        f"the {what}, {data[:100]!r}, is not UTF-8, nor does a field _charset_ before it say what it is"
    )


def _decoded_extended(value: str, filename: str | None) -> str | None:
    """The value of C{filename*}, which counts more than that of C{filename} if it is understood."""
    match = _extended_value(value)
    if match is not None:
        try:
            return unquote_to_bytes(match[2]).decode(match[1])
        except UnicodeDecodeError:
            pass
    if filename is None:
        raise MalformedBody(f"a part has a filename* that is not understood: {value[:100]!r}")
    return filename
