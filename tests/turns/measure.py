"""
Measure all inputs of the corpus once, and print what they cost.

    python -m tests.turns.measure [WORD...]

WORDs select inputs by their names.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.turns.house import House
from tests.turns.s3 import CORPUS


async def measure(words: list[str]) -> None:
    """Do it."""
    directory = tempfile.mkdtemp()
    shutil.rmtree(directory)
    house = House(directory)
    await house.start()
    prepared = set()
    try:
        for each in CORPUS:
            if words and not any(word in each.name for word in words):
                continue
            try:
                if each.prepare not in prepared:
                    prepared.add(each.prepare)
                    print(
                        f"           (preparing: {1000 * await house.cost(lambda each=each: each.prepare(house)):.0f} ms)"
                    )  # type: ignore[misc]
                began = time.monotonic()
                cost = await house.cost(lambda each=each: each.do(house))  # type: ignore[misc]
                print(f"{1000 * cost:7.1f} ms  {each.name}  ({time.monotonic() - began:.1f} s)", flush=True)
            except Exception as error:
                print(f"FAILED  {each.name}: {type(error).__name__} {error}", flush=True)
    finally:
        await house.stop()
        shutil.rmtree(directory)


def main() -> None:
    running: Any = reactor
    if "-v" in sys.argv:
        sys.argv.remove("-v")
        from twisted.python import log

        log.startLogging(sys.stderr)

    def begin() -> None:
        Deferred.fromCoroutine(measure(sys.argv[1:])).addErrback(lambda failure: failure.printTraceback()).addBoth(
            lambda _: running.stop()
        )

    running.callWhenRunning(begin)
    running.suggestThreadPoolSize(4)
    running.run()


main() if __name__ == "__main__" else None
