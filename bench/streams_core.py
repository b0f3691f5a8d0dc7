"""
What a stage costs a piece: C{python -m bench.streams_core}.

Prints microseconds a piece for a stream of pieces that are at hand, with 0 to 4 stages that do nothing else over it; the
difference is the cost of a stage.
"""

from __future__ import annotations

import time

from twisted.internet.defer import Deferred

from storehouse.core.streams import BytesStream, IByteStream, counted

PIECES = 100_000


def microseconds(stages: int) -> float:
    """A piece, through so many stages."""
    stream: IByteStream = BytesStream([b"x"] * PIECES)
    for _ in range(stages):
        stream = counted(stream, len_of)

    async def read() -> None:
        while await stream.read():
            pass

    began = time.perf_counter()
    Deferred.fromCoroutine(read())
    return (time.perf_counter() - began) / PIECES * 1e6


def len_of(size: int) -> None:
    """Costs as little as anything."""


def main() -> None:
    """Print the table."""
    best = [min(microseconds(stages) for _ in range(5)) for stages in range(5)]
    for stages, cost in enumerate(best):
        print(f"{stages} stages: {cost:.2f} us a piece")
    print(f"a stage costs {(best[4] - best[0]) / 4:.2f} us a piece")


if __name__ == "__main__":
    main()
