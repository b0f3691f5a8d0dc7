"""
The head of a part of a form: its name, its file's name, its media type.

A name is understood whole or not at all: files whose names were cut at the same place would replace each other.

Sources: RFC 7578; RFC 2183 and RFC 5987 (C{filename*}) for what may be there; the HTML standard ("multipart/form-data
encoding algorithm") for what browsers write: UTF-8 as it is, with C{"}, CR and LF as C{%22}, C{%0D} and C{%0A}.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from urllib.parse import unquote_to_bytes

import attrs

from storehouse.errors import MalformedBody

__all__ = ["MEDIA_TYPE", "PartBegun", "boundary_of", "charset_of", "read_head", "without_home"]

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
