"""
Feeds bytes to the decoders of L{storehouse.core.sfsp}, at once and in pieces: both must come to the same.

As a program it does so with atheris until it finds a difference, a failure that is not meant, or the end of its time;
C{python -m tests.fuzz.decoders SECONDS DIRECTORY}.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from storehouse.core.sfsp import (
    Chunk,
    Ids,
    List,
    Receive,
    RequestDecoder,
    ResponseDecoder,
    Send,
    encode_chunk,
    encode_list,
    encode_receive,
    encode_send,
)
from storehouse.errors import InvalidAnswer, InvalidRequest, TooLarge
from tests.fuzz.running import run_fuzzer

__all__ = ["SEEDS", "try_bytes"]

_KINDS = (Send, Receive, List)

#: What a fuzzer may begin with: a byte that says how it is cut, one that says what was asked, and the rest.
SEEDS = [
    b"\0\0" + encode_send(b"name", 1, 4) + b"data" + encode_receive(b"name", 1) + encode_list(b"name"),
    b"\5\1" + encode_chunk(b"name", 1, 4) + b"data",
    b"\3\2" + b"".join(number.to_bytes(8, "little") for number in (10, 2, 1, 2)),
    b"\7\0" + b"".join(number.to_bytes(8, "little") for number in (10, 0)),
    b"\1\1" + b"".join(number.to_bytes(8, "little") for number in (30, 3)) + b"why",
    b"\2\3" + b"".join(number.to_bytes(8, "little") for number in (21, 2)) + b"no",
]


def try_bytes(data: bytes) -> None:
    """@raise AssertionError: if they are not understood in one way only."""
    if len(data) < 2:
        return
    size, asked, data = data[0] % 40 + 1, data[1], data[2:]
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    limit = 64
    outcomes = [_play(RequestDecoder(limit, 1000), [data], limit), _play(RequestDecoder(limit, 1000), pieces, limit)]
    if outcomes[0] != outcomes[1]:
        raise AssertionError(f"requests: {outcomes}")
    outcomes = []
    for given in ([data], pieces):
        decoder = ResponseDecoder(limit, 1000)
        for turn in range(asked % 7):
            decoder.expect(_KINDS[(asked // 7 + turn) % 3])
        outcomes.append(_play(decoder, given, 65536))
    if outcomes[0] != outcomes[1]:
        raise AssertionError(f"answers: {outcomes}")


def _play(decoder: Any, pieces: list[bytes], limit: int) -> Any:
    whole: list[Any] = []
    try:
        for piece in pieces:
            decoder.feed(piece)
            for came in _drain(decoder):
                _add(whole, came)
            if decoder.held > limit + 25 + len(piece):
                raise AssertionError(f"{decoder.held} bytes are held")
    except (InvalidRequest, InvalidAnswer, TooLarge) as error:
        return whole, type(error), str(error)
    return whole, decoder.left, decoder.held


def _drain(decoder: Any) -> Iterator[Any]:
    while (came := decoder.next()) is not None:
        yield came


def _add(whole: list[Any], came: Any) -> None:
    if isinstance(came, (bytes, tuple)):
        if not came:
            raise AssertionError("no bytes, and no IDs, are not something")
        whole[-1] += came
        return
    whole.append(came)
    if isinstance(came, (Send, Chunk)):
        whole.append(b"")
    elif isinstance(came, Ids):
        whole.append(())


if __name__ == "__main__":
    run_fuzzer(try_bytes, [(RequestDecoder, ("next",)), (ResponseDecoder, ("next", "_chunk", "_some_ids"))], 600)
