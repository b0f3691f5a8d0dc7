"""
Ways to bring small objects to disk, in the layout of a Wormer store, by system calls alone.

C{fsync} syncs each file and directory; C{fsync, begun together} has the system begin with all files of an object before
it waits for the first; C{group} has one thread do so for all objects in flight; C{syncfs} has one thread sync the file
system for all of them, which also waits for whatever else is being written there.
"""

from __future__ import annotations

import ctypes
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.harness import Spread, format_table, progress
from storehouse.core.files import Files

__all__ = ["flush_table"]

_files = Files()
_DATA = os.urandom(4096)
_CONTENTS = (("part.1", _DATA), ("part.1.checksum", b"x" * 180), ("data.json", b"x" * 280))
_SECONDS = 2.0


def _write(directory: str) -> list[int]:
    os.mkdir(directory)
    fds = []
    for name, content in _CONTENTS:
        fds.append(_files.open(f"{directory}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        os.write(fds[-1], content)
    return fds


def _sync(fds: list[int], begun: bool) -> None:
    if begun:
        for fd in fds:
            _files.begin_writeback(fd)
    for fd in fds:
        _files.sync_data(fd)


class _Group:
    """One thread that syncs for all who wait for it."""

    def __init__(self, sync: Callable[[list[int], set[str]], None]) -> None:
        self._queue: queue.SimpleQueue[tuple[list[int], str, threading.Event]] = queue.SimpleQueue()
        self._sync = sync
        threading.Thread(target=self._work, daemon=True).start()

    def wait(self, fds: list[int], directory: str) -> None:
        """Until these are on disk."""
        done = threading.Event()
        self._queue.put((fds, directory, done))
        done.wait()

    def _work(self) -> None:
        while True:
            group = [self._queue.get()]
            while not self._queue.empty():
                group.append(self._queue.get())
            self._sync([fd for fds, _, _ in group for fd in fds], {directory for _, directory, _ in group})
            for _, _, done in group:
                done.set()


def _by_files(fds: list[int], directories: set[str]) -> None:
    _sync(fds, True)
    for directory in directories:
        _files.sync_directory(directory)


def _by_file_system(root: Path) -> Callable[[list[int], set[str]], None]:
    syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    fd = os.open(root, os.O_RDONLY)

    def sync(fds: list[int], directories: set[str]) -> None:
        if syncfs(fd):
            raise OSError(ctypes.get_errno(), "syncfs")

    return sync


def _ways(root: Path) -> dict[str, Callable[[str, str], None]]:
    def alone(begun: bool) -> Callable[[str, str], None]:
        def put(temporary: str, target: str) -> None:
            fds = _write(temporary)
            _sync(fds, begun)
            for fd in fds:
                os.close(fd)
            _files.sync_directory(temporary)
            os.rename(temporary, target)
            _files.sync_directory(os.path.dirname(target))

        return put

    def grouped(group: _Group) -> Callable[[str, str], None]:
        def put(temporary: str, target: str) -> None:
            fds = _write(temporary)
            group.wait(fds, temporary)
            for fd in fds:
                os.close(fd)
            os.rename(temporary, target)
            group.wait([], os.path.dirname(target))

        return put

    return {
        "fsync": alone(False),
        "fsync, begun together": alone(True),
        "group": grouped(_Group(_by_files)),
        "syncfs": grouped(_Group(_by_file_system(root))),
    }


def flush_table(root: Path, rounds: int) -> str:
    """
    Objects of 4 KiB a second, by way and number of threads.

    All go to the same 256 directories: the first directories in a part of the disk take ten times as long.
    """
    (root / "tmp").mkdir()
    for index in range(256):
        (root / "data" / f"{index:02x}").mkdir(parents=True)
    ways = _ways(root)
    threads = (1, 8, 32)
    rates: dict[tuple[str, int], list[float]] = {(way, count): [] for way in ways for count in threads}
    numbers = iter(range(1 << 62))
    for number in range(rounds + 1):
        for (way, count), of_way in rates.items():
            progress(f"flush: round {number} of {rounds}, {way}, {count} threads")
            os.sync()
            rate = _rate(root, ways[way], count, numbers)
            if number:
                of_way.append(rate)
    progress("")
    medians = {key: Spread(tuple(values)).median for key, values in rates.items()}
    rows = [
        [
            way,
            *(f"{medians[way, count]:.0f} ({medians[way, count] / medians['fsync', count]:.2f})" for count in threads),
        ]
        for way in ways
    ]
    head = ["", *(f"{count} threads" for count in threads)]
    return format_table("flush: objects of 4096 bytes on disk a second (ratio to fsync)", head, rows)


def _rate(root: Path, put: Callable[[str, str], None], threads: int, numbers: Iterator[int]) -> float:
    done = [0] * threads
    end = time.monotonic() + _SECONDS

    def work(thread: int) -> None:
        while time.monotonic() < end:
            number = next(numbers)
            put(f"{root}/tmp/put.{number}", f"{root}/data/{number % 256:02x}/{number:032x}")
            done[thread] += 1

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    began = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done) / (time.monotonic() - began)
