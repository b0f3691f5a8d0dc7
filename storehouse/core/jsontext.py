"""
JSON texts of clients: strictly RFC 8259, in UTF-8. Long ones are checked in slices, so that other connections are
served.

C{json.loads} accepts more: C{NaN}, a byte order mark, UTF-16. It also accepts less: it converts integers, and refuses
those with more than some thousand digits.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from json import JSONDecoder
from typing import Any

import attrs

from storehouse.core.turns import breath
from storehouse.errors import TooLarge

__all__ = ["SHORT", "Member", "WrongMember", "check_json", "parse_json", "read_members", "read_text", "take_json"]

#: Texts of up to this many bytes are parsed at once, in some ten milliseconds at worst.
SHORT = 64 * 1024

#: Arrays and objects within one another, at most: fewer than make the parser of short texts fail.
_DEEPEST = 500

#: Arrays and objects of a long text that are not plain (see below), at most. Each takes 3 µs or more: 16 MiB of
#: C{[[1]],} would have nearly three million of them.
_MOST_NESTED = 250_000

_UTF8_PIECE = 1 << 20
_STRING_PIECE = 1 << 18

#: Members of a long object whose members are read: requests of ours have a few.
_MOST_MEMBERS = 4096

# Bytes of a long text that are checked before giving way to other connections.
_PIECE = 16 * 1024

# What is plain: scalars, and arrays and objects of scalars, all of bounded length. A regular expression checks them 50
# at a time, at some 20 ns each; all else is checked step by step, in a microsecond or more each. The bounds limit the
# time of one match, which cannot give way.
_SPACE = rb"[ \t\r\n]{0,100}+"
_STRING = rb'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})){0,64}+"'
_NUMBER = rb"-?(?:0|[1-9][0-9]{0,100}+)(?:\.[0-9]{1,100}+)?+(?:[Ee][-+]?[0-9]{1,100}+)?+"
_SCALAR = rb"(?:" + _STRING + rb"|" + _NUMBER + rb"|true|false|null)"
_MEMBER = _STRING + _SPACE + rb":" + _SPACE + _SCALAR + _SPACE
_ARRAY = rb"\[" + _SPACE + rb"(?:" + _SCALAR + _SPACE + rb"(?:," + _SPACE + _SCALAR + _SPACE + rb"){0,64}+)?+\]"
_OBJECT = rb"\{" + _SPACE + rb"(?:" + _MEMBER + rb"(?:," + _SPACE + _MEMBER + rb"){0,64}+)?+\}"
_PLAIN = rb"(?:" + _SCALAR + rb"|" + _ARRAY + rb"|" + _OBJECT + rb")"

_items = re.compile(rb"(?:" + _SPACE + _PLAIN + _SPACE + rb",){0,50}+").match
_members = re.compile(rb"(?:" + _SPACE + _STRING + _SPACE + rb":" + _SPACE + _PLAIN + _SPACE + rb",){0,50}+").match

_may_be_half = re.compile(rb"\\u[Dd][89A-Fa-f]").search

# Bounded as well, at a nanosecond or two for each byte.
_space = re.compile(rb"[ \t\r\n]{0,1000000}+").match
_literal = re.compile(
    rb"-?(?:0|[1-9][0-9]{0,1000000}+)(?:\.[0-9]{1,1000000}+)?+(?:[Ee][-+]?[0-9]{1,1000000}+)?+|true|false|null"
).match
_some_string = re.compile(rb'(?:[^"\\\x00-\x1f]{1,4096}+|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})){0,4096}+').match

# What comes next in a text.
_VALUE, _FIRST_ITEM, _KEY, _FIRST_KEY, _COLON, _IN_KEY, _IN_VALUE, _END = range(8)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def _integer(digits: str) -> Any:
    """Integers that are too long to be converted become floats: their value is not used."""
    return int(digits) if len(digits) < 4000 else float(digits)


_decode = JSONDecoder(parse_int=_integer, parse_constant=_refuse).decode


def parse_json(data: bytes) -> object:
    """
    The value of a short JSON text.

    @raise ValueError: with the reason, if it is not JSON.
    """
    try:
        return _decode(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"the member {twice[:100]!r} is repeated")
    return found


_decode_to_take = JSONDecoder(parse_int=_integer, parse_constant=_refuse, object_pairs_hook=_unique).decode


def take_json(data: bytes) -> object:
    """
    The value of a short JSON text whose members are used by this program. No member may be there twice, since one
    would be dropped; and strings must be Unicode, so that escapes for half a character (lone surrogates) are refused.

    @raise ValueError: with the reason, if it is not such a text.
    """
    try:
        value = _decode_to_take(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if _may_be_half(data):
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("it has an escape for half of a character (a lone surrogate)") from None
    return value


async def check_json(data: bytes) -> None:
    """
    Check that a text of any length is JSON, giving way to other connections.

    @raise ValueError: with the reason, if it is not.
    @raise TooLarge: if it has more than 250,000 arrays and objects within others, of which most plain ones are not
        counted.
    """
    if len(data) <= SHORT:
        parse_json(data)
    else:
        await _check_utf8(data)
        await _Checker(data).check()


@attrs.frozen
class Member:
    """
    What is allowed for a member of an object.

    @ivar begins: the bytes with which its value can begin.
    @ivar what: what such a value is, for error messages.
    @ivar most: bytes of the longest value; C{None} for no limit.
    """

    begins: bytes
    what: str
    most: int | None = None


class WrongMember(ValueError):
    """A member of an object has a value that is not allowed; or, with an empty C{what}, it is unknown."""

    def __init__(self, name: str, what: str = "") -> None:
        super().__init__(f"its {name} is not {what}" if what else f"it has an unknown member {name[:100]!r}")
        self.name, self.what = name, what


async def read_members(data: bytes, known: Mapping[str, Member] | None = None) -> dict[str, bytes]:
    """
    The texts of the values of an object, by name. It can be long: this gives way to other connections.

    @param known: the members that are allowed; others, and values that are not allowed, are refused without reading on.
    @raise ValueError: if it is not JSON or not an object, or has a name twice, too many names, or an unknown one.
    @raise TooLarge: if a value has more bytes than it may have, or see L{check_json}.
    """
    await _check_utf8(data)
    return await _Checker(data).members(known)


async def read_text(data: bytes) -> str:
    """
    The value of a JSON string. It can be long: this gives way to other connections.

    @param data: from L{read_members}, so that it is JSON.
    @raise ValueError: if it is not a string, or has an escape for half of a character.
    """
    data = data.strip(b" \t\r\n")
    if not data.startswith(b'"'):
        raise ValueError("it is not text")
    pieces: list[str] = []
    may_be_half = False
    at, last = 1, len(data) - 1
    while at < last:
        end = _some_string(data, at, min(last, at + SHORT)).end()  # type: ignore[union-attr]
        while end < last and data[end] & 0xC0 == 0x80:
            end -= 1  # a character is not cut
        may_be_half = may_be_half or _may_be_half(data, at, end) is not None
        piece: str = _decode(f'"{data[at:end].decode("utf-8")}"')
        if pieces and "\ud800" <= pieces[-1][-1:] <= "\udbff" and "\udc00" <= piece[:1] <= "\udfff":
            # The halves of one character, in two pieces.
            piece = (pieces[-1][-1] + piece[0]).encode("utf-16-le", "surrogatepass").decode("utf-16-le") + piece[1:]
            pieces[-1] = pieces[-1][:-1]
        pieces.append(piece)
        at = end
        await breath()
    if may_be_half:
        for piece in pieces:
            try:
                piece.encode("utf-8")
            except UnicodeEncodeError:
                raise ValueError("it has an escape for half of a character (a lone surrogate)") from None
            await breath()
    return "".join(pieces)


async def _check_utf8(data: bytes) -> None:
    """In pieces, each of which ends where a character ends."""
    at = 0
    while at < len(data):
        end = min(at + _UTF8_PIECE, len(data))
        while end < len(data) and end > at + _UTF8_PIECE - 4 and data[end] & 0xC0 == 0x80:
            end -= 1
        try:
            data[at:end].decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"it is not UTF-8: {error.reason} at byte {at + error.start}") from None
        at = end
        await breath()


class _Checker:
    """
    Checks one long text.

    @ivar at: the position up to which it was checked.
    """

    def __init__(self, data: bytes) -> None:
        self.at = 0
        self._data = data
        self._open = bytearray()
        self._nested = 0

    async def check(self) -> None:
        """Check all of it."""
        await self.value()
        self._end()

    async def value(self, most: int | None = None) -> None:
        """Check one value, and the space behind it. @param most: bytes of the longest value that is allowed."""
        state = _VALUE
        steps = looked = 0
        end = len(self._data) if most is None else self.at + most
        while state != _END:
            if self.at > end:
                raise TooLarge(f"it has more than {most} bytes; at most {most} are allowed")
            state = self._step(state)
            if state in (_IN_KEY, _IN_VALUE):
                await self._string()
                state = _COLON if state == _IN_KEY else self._after_value()
            steps += 1
            if steps % 64 == 0 or self.at - looked > _PIECE:
                looked = self.at
                await breath()

    async def members(self, known: Mapping[str, Member] | None = None) -> dict[str, bytes]:
        """Check all of it, an object. @return: the texts of its values, by name."""
        found: dict[str, bytes] = {}
        self._take(b"{", "expected an object")
        if self._next() == b"}":
            self.at += 1
        else:
            while True:
                begin = self.at
                self._take(b'"', "expected a name in quotes")
                await self._string()
                if self.at - begin > SHORT:
                    raise ValueError(f"the name at byte {begin} is too long")
                name: Any = parse_json(self._data[begin : self.at])
                if name in found:
                    raise ValueError(f"the member {name[:100]!r} is repeated")
                if len(found) == _MOST_MEMBERS:
                    raise ValueError(f"it has more than {_MOST_MEMBERS} members")
                self._take(b":", "expected a colon")
                self._skip_space()
                begin = self.at
                if known is None:
                    await self.value()
                else:
                    await self._known_value(name, known)
                found[name] = self._data[begin : self.at]
                if self._next() == b"}":
                    self.at += 1
                    break
                self._take(b",", "expected a comma or a bracket")
                self._skip_space()
        self._skip_space()
        self._end()
        return found

    async def _known_value(self, name: str, known: Mapping[str, Member]) -> None:
        member = known.get(name)
        if member is None:
            raise WrongMember(name)
        if self.at < len(self._data) and self._data[self.at] not in member.begins:
            raise WrongMember(name, member.what)
        try:
            await self.value(member.most)
        except TooLarge as error:
            raise TooLarge(f"{name}: {error.detail}") from None

    def _next(self) -> bytes:
        self._skip_space()
        return self._data[self.at : self.at + 1]

    def _take(self, byte: bytes, otherwise: str) -> None:
        if self._next() != byte:
            raise self._unexpected(otherwise)
        self.at += 1

    def _end(self) -> None:
        if self.at < len(self._data):
            raise self._unexpected("extra text after the value")

    def _step(self, state: int) -> int:
        """
        Check the next token, and the plain values before it. @return: what comes next.
        """
        data = self._data
        if self._open and state in (_VALUE, _KEY, _FIRST_ITEM, _FIRST_KEY):
            plain = _members if state in (_KEY, _FIRST_KEY) else _items if self._open[-1] == 0x5B else None
            if plain is not None:
                end = plain(data, self.at).end()  # type: ignore[union-attr]
                if end > self.at:
                    self.at = end
                    state = _KEY if state in (_KEY, _FIRST_KEY) else _VALUE
        self._skip_space()
        byte = data[self.at : self.at + 1]
        if state == _COLON:
            if byte != b":":
                raise self._unexpected("expected a colon")
            self.at += 1
            return _VALUE
        if (byte == b"]" and state == _FIRST_ITEM) or (byte == b"}" and state == _FIRST_KEY):
            self._open.pop()
            self.at += 1
            return self._after_value()
        if byte == b'"':
            self.at += 1
            return _IN_KEY if state in (_KEY, _FIRST_KEY) else _IN_VALUE
        if state in (_KEY, _FIRST_KEY):
            raise self._unexpected("expected a name in quotes")
        if byte in (b"[", b"{") and byte:
            if len(self._open) >= _DEEPEST:
                raise ValueError("it is nested too deeply")
            self._nested += 1
            if self._nested > _MOST_NESTED:
                raise TooLarge(f"it has more than {_MOST_NESTED} arrays and objects within others")
            self._open += byte
            self.at += 1
            return _FIRST_ITEM if byte == b"[" else _FIRST_KEY
        found = _literal(data, self.at)
        if found is None:
            raise self._unexpected("expected a value")
        self.at = found.end()
        return self._after_value()

    def _after_value(self) -> int:
        while self._open:
            self._skip_space()
            byte = self._data[self.at : self.at + 1]
            is_array = self._open[-1] == 0x5B
            if byte == b",":
                self.at += 1
                return _VALUE if is_array else _KEY
            if byte != (b"]" if is_array else b"}"):
                raise self._unexpected("expected a comma or a bracket")
            self._open.pop()
            self.at += 1
        self._skip_space()
        return _END

    def _skip_space(self) -> None:
        self.at = _space(self._data, self.at).end()  # type: ignore[union-attr]

    async def _string(self) -> None:
        """Check the rest of a string, up to the quote that ends it."""
        data = self._data
        while True:
            end = _some_string(data, self.at, self.at + _STRING_PIECE).end()  # type: ignore[union-attr]
            if end == self.at:
                break
            self.at = end
            await breath()
        if data[self.at : self.at + 1] != b'"':
            raise self._unexpected("an unescaped control character in a string")
        self.at += 1

    def _unexpected(self, what: str) -> ValueError:
        if self.at >= len(self._data):
            return ValueError("it ends early")
        return ValueError(f"{what} at byte {self.at}")
