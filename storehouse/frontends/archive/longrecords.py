"""Records that are so long that others are served while they are read or written as lines of JSON."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterator, Sequence

from storehouse.archive.interfaces import Payload, Record
from storehouse.core.jsontext import SHORT, Member, WrongMember, read_members, read_text, take_json
from storehouse.core.turns import breath
from storehouse.errors import MalformedBody, TooLarge

__all__ = ["check_metadata_size", "encode_long_line", "is_long", "read_long_line", "slices"]

# Characters of base64 that are decoded, and bytes or characters of a payload that are encoded, at once.
_BASE64 = 1 << 18
_PIECE = 3 << 16

# Records, and bytes or characters of them, that are put together at once.
_MOST = 256
_MOST_SIZE = 1 << 18


def check_metadata_size(where: str, size: int) -> None:
    """
    Refuse metadata that take long to read.

    @raise TooLarge: if they are.
    """
    if size > SHORT:
        raise TooLarge(f"the metadata of {where} have {size} bytes; at most {SHORT} are allowed")


#: The time is that of the writing, whatever it says.
_MEMBERS = {
    "metadata": Member(b"{", "object of text to text", SHORT),
    "payload": Member(b'"', "text"),
    "payload_base64": Member(b'"', "text"),
    "time": Member(b'{["-0123456789tfn', "value", SHORT),
}


async def read_long_line(where: str, line: bytes) -> dict[str, object]:
    """
    The members of a line: C{metadata}, C{payload} and C{payload_base64}, of which the last is bytes; and C{time} as its text.

    @raise MalformedBody: if it is none.
    @raise TooLarge: if it has too much metadata.
    """
    try:
        texts = await read_members(line, _MEMBERS)
    except WrongMember as error:
        raise MalformedBody(
            f"the {error.name} of {where} is no {error.what}"
            if error.what
            else f"{where} has an unknown member {error.name[:100]!r}"
        ) from None
    except ValueError as error:
        raise MalformedBody(f"{where} is no JSON object of a record: {error}") from None
    except TooLarge as error:
        raise TooLarge(f"{where}: {error.detail}") from None
    given: dict[str, object] = dict(texts)
    if "metadata" in texts:
        check_metadata_size(where, len(texts["metadata"]))
        try:
            given["metadata"] = take_json(texts["metadata"])
        except ValueError as error:
            raise MalformedBody(f"the metadata of {where} is no JSON: {error}") from None
    for name in ("payload", "payload_base64"):
        if name in texts:
            try:
                given[name] = await read_text(texts[name])
            except ValueError as error:
                raise MalformedBody(f"the {name} of {where} is no text: {error}") from None
    if isinstance(given.get("payload_base64"), str):
        given["payload_base64"] = await _from_base64(where, str(given["payload_base64"]))
    return given


async def _from_base64(where: str, text: str) -> bytes:
    pieces = []
    try:
        for at in range(0, len(text), _BASE64):
            some = text[at : at + _BASE64]
            piece = b64decode(some, validate=True)
            if at + _BASE64 < len(text) and len(piece) < len(some) // 4 * 3:
                raise ValueError("padding within it")
            pieces.append(piece)
            await breath()
    except (Base64Error, ValueError) as error:
        raise MalformedBody(f"the payload_base64 of {where} is no base64: {error}") from None
    return b"".join(pieces)


def is_long(payload: Payload) -> bool:
    """Whether a payload is so long that L{encode_long_line} is for it."""
    return len(payload) > _MOST_SIZE


def slices(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Records that are put together at once: not too many, and a long one alone."""
    start = size = 0
    for number, record in enumerate(records):
        length = len(record.payload)
        if number > start and (number - start >= _MOST or size + length > _MOST_SIZE):
            yield records[start:number]
            start, size = number, 0
        size += length
    if start < len(records):
        yield records[start:]


async def encode_long_line(head: str, payload: Payload, dump: Callable[[str], str]) -> list[bytes]:
    """
    A record as a line, in pieces; others are served meanwhile.

    @param head: the line up to the name of the payload: the beginning of an object.
    @param dump: makes JSON of a text.
    """
    if isinstance(payload, str):
        encoded = [f'{head}"payload":"'.encode()]
        for at in range(0, len(payload), _PIECE):
            encoded.append(dump(payload[at : at + _PIECE])[1:-1].encode("utf-8"))
            await breath()
    else:
        encoded = [f'{head}"payload_base64":"'.encode()]
        for at in range(0, len(payload), _PIECE):
            encoded.append(b64encode(payload[at : at + _PIECE]))
            await breath()
    encoded.append(b'"}\n')
    return encoded
