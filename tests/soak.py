"""
Long loops: tests that find more the longer they run.

    make soak SECONDS=600

runs each for its share of that time, in a process of its own, as many at a time as there are processors, and prints a
line for each with what it counted. It ends with status 1 if one failed. C{make test} runs them too, for a moment each.

A test is one of them by the decorator L{long_loop}, and does its rounds by L{rounds}::

    @long_loop
    def test_damage(self) -> None:
        for seed in rounds(3):
            damages = self.damage_and_repair(Random(seed))
            count("damages", damages)

A round is run again by C{STOREHOUSE_SEED}, the number that its failure names.
"""

from __future__ import annotations

import argparse
import atexit
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

__all__ = ["SHARE", "SOAK", "count", "long_loop", "rounds", "seconds_left"]

F = TypeVar("F", bound=Callable[..., Any])

#: How long this process has for its loop, in seconds; 0 when this is no soak.
SHARE = float(os.environ.get("STOREHOUSE_SOAK") or 0)

#: Whether there is time.
SOAK = bool(SHARE)

_counts: Counter[str] = Counter()
_began: list[float] = []

# What a line begins with that tells what was counted.
_MARK = "soak: "


def long_loop(test: F) -> F:
    """Make a test method one that C{make soak} runs."""
    test.is_long_loop = True  # type: ignore[attr-defined]
    return test


def seconds_left() -> float:
    """How much of the share is left, in a soak; it begins with the first call."""
    if not _began:
        _began.append(time.monotonic())
    return SHARE - (time.monotonic() - _began[0])


def rounds(few: int) -> Iterator[int]:
    """
    Seeds, one a round: C{few} that are always the same, or in a soak as many as there is time for, which differ from
    run to run. Each is printed as it begins, in a soak.
    """
    again = os.environ.get("STOREHOUSE_SEED")
    if again:
        yield int(again)
        return
    if not SOAK:
        yield from range(few)
        return
    while seconds_left() > 0 or not _counts["rounds"]:
        seed = random.getrandbits(32)
        # Also what is killed in the middle of a round has told how to run it again.
        print(f"\nround {_counts['rounds']}: STOREHOUSE_SEED={seed}", file=sys.stderr, flush=True)
        yield seed
        count("rounds")


def count(what: str, number: int = 1) -> None:
    """Count something that a soak is to tell the number of, in the plural: C{"kills"}."""
    _counts[what] += number


@atexit.register
def _tell() -> None:
    if SOAK and _counts:
        print("\n" + _MARK + ", ".join(f"{number} {what}" for what, number in _counts.items()), flush=True)


def find(names: list[str]) -> list[str]:
    """The full names of all long loops in some modules or packages."""
    from twisted.trial.runner import TestLoader

    def tests(suite: Any) -> Iterator[Any]:
        for test in getattr(suite, "_tests", ()):
            yield from tests(test)
        if hasattr(suite, "_testMethodName"):
            yield suite

    found = set()
    for name in names:
        for test in tests(TestLoader().loadByName(name, recurse=True)):
            if getattr(getattr(test, test._testMethodName, None), "is_long_loop", False):
                found.add(test.id())
    return sorted(found)


class Soak:
    """
    One run of all.

    @param seconds: for all together; the last ones to begin may take a little longer.
    @ivar failed: the names of those that failed.
    """

    def __init__(self, names: list[str], seconds: float, jobs: int) -> None:
        self.failed: list[str] = []
        self._left = list(names)
        self._jobs = jobs
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()

    def run(self) -> None:
        """Do it, and print what comes of each."""
        threads = [threading.Thread(target=self._work, args=(lane,)) for lane in range(self._jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, lane: int) -> None:
        while True:
            with self._lock:
                if not self._left:
                    return
                # What those before it left over is for those that come.
                share = max(1.0, (self._end - time.monotonic()) * self._jobs / max(len(self._left), self._jobs))
                name = self._left.pop(0)
            self._run(name, share, lane)

    def _run(self, name: str, share: float, lane: int) -> None:
        began = time.monotonic()
        environment = {**os.environ, "STOREHOUSE_SOAK": f"{share:.1f}"}
        command = [
            sys.executable,
            "-b",
            "-m",
            "twisted.trial",
            f"--temp-directory=_trial_temp_soak/{lane}",
            "--reporter=verbose",
            name,
        ]
        try:
            done = subprocess.run(
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="backslashreplace",
                timeout=10 * share + 300,
                check=False,
            )
            output, status = done.stdout, done.returncode
        except subprocess.TimeoutExpired as error:
            said = error.stdout or b""
            output = said.decode("utf-8", "backslashreplace") if isinstance(said, bytes) else said
            status = -1
        told = [line.removeprefix(_MARK) for line in output.splitlines() if line.startswith(_MARK)]
        skipped = "skips=" in output.splitlines()[-1] if output.strip() else False
        what = "; ".join(told) or ("skipped" if skipped else "done")
        with self._lock:
            print(
                f"{'ok' if not status else 'FAILED'}  {name.removeprefix('tests.')}: {what}, "
                f"{time.monotonic() - began:.0f} s",
                flush=True,
            )
            if status:
                self.failed.append(name)
                print(output[-20_000:], flush=True)


def main(arguments: list[str]) -> int:
    """What C{make soak} runs. @return: 0 if none failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Run the long loops among the tests.")
    parser.add_argument("--seconds", type=float, default=600, help="for all together (600)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time (the processors)")
    parser.add_argument("names", nargs="*", default=["tests"], help="packages, modules, classes or tests (tests)")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    os.makedirs("_trial_temp_soak", exist_ok=True)
    names = find(given.names)
    if not names:
        print("there are no long loops in", *given.names)
        return 1
    soak = Soak(names, given.seconds, max(1, given.jobs))
    soak.run()
    print(f"{len(names)} loops, {len(soak.failed)} failed, {time.monotonic() - began:.0f} s")
    return 1 if soak.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
