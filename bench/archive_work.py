"""One piece of work of L{bench.archive}, in a process of its own: C{python -m bench.archive_work TASK}, a JSON object."""

from __future__ import annotations

import gc
import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["main", "records"]

_SAMPLE = Path(__file__).resolve().parent.parent / "tests" / "data" / "shoebox-v1"

#: Settings of the managers, so that each side has a few files.
_ROLL_MB = 100


def records(count: int) -> list[tuple[dict[str, str], str]]:
    """
    Notifications of a real OpenStack, as many as asked for: the sample over and over.
    """
    from storehouse.archive.archive import ArchiveReader

    sample: list[Any] = []
    for path in sorted(_SAMPLE.glob("*.events.gz")):
        with ArchiveReader(path) as reader:
            sample += list(reader)
    return list(itertools.islice(itertools.cycle(sample), count))


def _size(directory: str) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(directory))


def _writing(side: str, directory: str, how: dict[str, Any]) -> Any:
    if side == "shoebox":
        from shoebox import roll_checker, roll_manager  # type: ignore[import-not-found]
    else:
        from storehouse.archive import roll_checker, roll_manager
    checker = roll_checker.SizeRollChecker(roll_size_mb=_ROLL_MB)
    return roll_manager.WritingRollManager("bench_%Y_%m_%d_%H_%M_%S_%f.events", checker, directory, **how)


def _reading(side: str, directory: str) -> tuple[Any, Any]:
    if side == "shoebox":
        from shoebox import roll_manager

        # It matches the whole path.
        return roll_manager.ReadingRollManager("*.events", directory), roll_manager.NoMoreFiles
    from storehouse.archive import roll_manager as ours

    return ours.ReadingRollManager("*.events", directory), ours.NoMoreFiles


def _times() -> tuple[float, float]:
    """The time, and the processor time of this process."""
    return time.perf_counter(), time.process_time()


def _took(start: tuple[float, float]) -> tuple[float, float]:
    now = _times()
    return now[0] - start[0], now[1] - start[1]


def _write(side: str, directory: str, count: int, how: dict[str, Any]) -> tuple[float, float]:
    made = records(count)
    manager = _writing(side, directory, how)
    gc.freeze()
    write = manager.write
    start = _times()
    for metadata, payload in made:
        write(metadata, payload)
    manager.close()
    return _took(start)


def _read(side: str, directory: str, count: int) -> tuple[float, float]:
    manager, end = _reading(side, directory)
    read = manager.read
    got = 0
    start = _times()
    while True:
        try:
            _metadata, _payload = read()
        except end:
            break
        got += 1
    took = _took(start)
    if got != count:
        raise SystemExit(f"{side} read {got} records of {count}")
    return took


def _check(side: str, directory: str, count: int) -> None:
    """Everything comes back as it was written."""
    manager, _ = _reading(side, directory)
    for metadata, payload in records(count):
        found = manager.read()
        if side == "shoebox":
            found = {key.decode(): value.decode() for key, value in found[0].items()}, found[1].decode()
        if found != (metadata, payload):
            raise SystemExit(f"{side} gave another record than was written: {found!r}")


def main() -> None:
    """Do it and print what it took."""
    task = json.loads(sys.argv[1])
    side, directory, count = task["side"], task["directory"], task["count"]
    took = 0.0, 0.0
    if task["what"] == "write":
        took = _write(side, directory, count, task["how"])
    elif task["what"] == "read":
        took = _read(side, directory, count)
    else:
        _check(side, directory, count)
    print(json.dumps({"seconds": took[0], "cpu": took[1], "bytes": _size(directory)}))


if __name__ == "__main__":
    main()
