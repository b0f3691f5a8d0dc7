"""
Feeds bytes to L{storehouse.frontends.http.multipart}, at once and in pieces: both must come to the same, and hold little.

As a program it does so with atheris until it finds a difference, a failure that is not meant, or the end of its time;
C{python -m tests.fuzz.forms SECONDS DIRECTORY}.
"""

from __future__ import annotations

from typing import Any

from storehouse.errors import MalformedBody, TooLarge
from storehouse.frontends.http.multipart import FormLimits, MultipartReader, PartBegun, PartEnded, boundary_of
from storehouse.frontends.upload.intake import key_for
from tests.fuzz.running import run_fuzzer

__all__ = ["SEEDS", "try_form"]

_LIMITS = FormLimits(parts=4, head=200, field=50, fields=100)

_HEAD = b'Content-Disposition: form-data; name="f"'

#: What a fuzzer may begin with: a byte that says how it is cut, and a body whose boundary is C{b}.
SEEDS = [
    b"\x00--b\r\n" + _HEAD + b'; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\n\r\n--\r\n--\r\n--b--\r\n',
    b"\x05--b\r\n" + _HEAD + b"\r\n\r\nvalue\r\n--b\r\n" + _HEAD + b"; filename*=UTF-8''a%20b\r\n\r\n\r\n--b--",
    b"\x02preamble\r\n--b\r\n" + _HEAD + b'; filename="%22\\"\\\\"\r\nContent-Length: 1\r\n\r\n1\r\n--b--epilogue',
    b'\x07--b\r\nContent-Disposition: form-data; name="_charset_"\r\n\r\nkoi8-r\r\n--b\r\n'
    + _HEAD
    + b"\r\n\r\n\xc1\r\n--b--",
    b"\x01--b--",
    b"\x03--b\r\n" + _HEAD + b"\r\nContent-Transfer-Encoding: 8bit\r\n folded\r\n\r\n\r\n--b\r\n\r\n--b--",
]


def try_form(data: bytes) -> None:
    """@raise AssertionError: if it is not understood in one way only."""
    if not data:
        return
    size, body = data[0] % 16 + 1, data[1:]
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    outcomes = [_play([body]), _play(pieces)]
    if outcomes[0] != outcomes[1]:
        raise AssertionError(f"in pieces of {size}: {outcomes}")
    try:
        boundary = boundary_of(b"multipart/form-data; boundary=" + body[:100])
    except MalformedBody:
        return
    if not 1 <= len(boundary) <= 70 or b"\r" in boundary or b"\n" in boundary:
        raise AssertionError(f"a boundary: {boundary!r}")


def _play(pieces: list[bytes]) -> Any:
    found: list[Any] = []
    reader = MultipartReader(b"b", _LIMITS)
    try:
        # Asked for at the end, after all pieces.
        for piece in [*pieces, None]:
            for event in reader.feed(piece) if piece is not None else reader.finish():
                if isinstance(event, bytes):
                    if not event or not isinstance(found[-1], list):
                        raise AssertionError(f"bytes of nothing: {found}")
                    found[-1][-1] += event
                elif isinstance(event, PartBegun):
                    found.append([event, _key(event.filename or ""), b""])
                elif isinstance(event, PartEnded):
                    found[-1] = tuple(found[-1])
                else:
                    found.append(event)
            if reader.held > 17_000 + len(piece or b""):
                raise AssertionError(f"{reader.held} bytes are held")
    except (MalformedBody, TooLarge) as error:
        # What came of a part that is not whole may be more or less.
        if found and isinstance(found[-1], list):
            found[-1] = found[-1][:2]
        return found, type(error), str(error)
    return found


def _key(filename: str) -> str:
    from storehouse.errors import InvalidName

    try:
        key = key_for(filename)
    except InvalidName:
        return ""
    if any(ord(letter) < 32 or letter in "/\\\x7f" for letter in key) or key in ("", ".", ".."):
        raise AssertionError(f"a key: {key!r}")
    return key


if __name__ == "__main__":
    run_fuzzer(
        try_form,
        [
            (
                MultipartReader,
                ("feed", "_read_part", "_read_line", "_boundary", "_end_part", "_begin_part", "_partial", "finish"),
            )
        ],
        600,
    )
