"""
What tests of the append log share: a log that is driven synchronously, files that fail, and a model of the seed's
program.
"""

from __future__ import annotations

import errno
import os
import shutil
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from storehouse.config.settings import AppendSettings
from storehouse.core.digests import fnv1a32
from storehouse.core.files import Files
from storehouse.core.jobs import InlineDisk
from storehouse.storage.appendlog.interfaces import Durability
from storehouse.storage.appendlog.log import LocalAppendLog
from storehouse.testing.files import UnsyncedFiles
from tests.integration.process import PATIENCE

__all__ = [
    "DISK",
    "OS",
    "Driven",
    "SeedStore",
    "TurningReactor",
    "Watched",
    "contents",
    "flip",
    "id_in_bucket",
]

DISK = Durability.DISK
OS = Durability.OS


def id_in_bucket(bucket: int, buckets: int, number: int = 0) -> bytes:
    """The C{number}th identifier that lives in a bucket."""
    candidate = 0
    while True:
        id = b"id%d" % candidate
        if fnv1a32(id) % buckets == bucket:
            if number == 0:
                return id
            number -= 1
        candidate += 1


def flip(path: str, byte: int, bit: int = 0) -> None:
    """Turn one bit of a file around."""
    with open(path, "r+b") as file:
        file.seek(byte)
        value = file.read(1)[0]
        file.seek(byte)
        file.write(bytes([value ^ 1 << bit]))


def contents(path: str) -> bytes:
    """All bytes of a file."""
    with open(path, "rb") as file:
        return file.read()


class Watched(UnsyncedFiles):
    """
    Notes calls, and fails where a test wants it.

    @ivar calls: C{(name, base name of the file)} of writes, cuts and syncs.
    @ivar fail: asked before a call with its name and path; an error number makes it fail.
    @ivar partial: of a failing write, how many bytes get through first.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.fail: Callable[[str, str], int] = lambda name, path: 0
        self.partial = 0
        self.paths: dict[int, str] = {}

    def open(self, path: str, flags: int) -> int:
        fd = super().open(path, flags)
        self.paths[fd] = path
        return fd

    def _call(self, name: str, path: str) -> None:
        self.calls.append((name, os.path.basename(path)))
        number = self.fail(name, path)
        if number:
            raise OSError(number, os.strerror(number))

    def write_at(self, fd: int, pieces: Sequence[bytes], offset: int) -> None:
        try:
            self._call("write", self.paths[fd])
        except OSError:
            super().write_at(fd, (b"".join(pieces)[: self.partial],), offset)
            raise
        super().write_at(fd, pieces, offset)

    def write_synced(self, fd: int, data: bytes, offset: int) -> None:
        self._call("write_synced", self.paths[fd])
        Files.write_at(self, fd, (data,), offset)

    def truncate(self, fd: int, size: int) -> None:
        self._call("truncate", self.paths[fd])
        super().truncate(fd, size)

    def sync_data(self, fd: int) -> None:
        self._call("sync", self.paths[fd])

    def sync_directory(self, path: str) -> None:
        self._call("sync_directory", path)


def no_space(name: str, path: str) -> Callable[[str, str], int]:
    """A L{Watched.fail} for calls of one name on files whose path ends so."""
    return lambda called, target: errno.ENOSPC if called == name and target.endswith(path) else 0


class _Call:
    def __init__(self, f: Callable[[], object]) -> None:
        self.f: Callable[[], object] | None = f

    def cancel(self) -> None:
        self.f = None

    def __call__(self) -> None:
        if self.f is not None:
            self.f()


class TurningReactor:
    """A reactor that turns while somebody waits for a Deferred. Calls for later than now never come."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def seconds(self) -> float:
        return time.monotonic()

    def callLater(self, delay: float, f: Callable[..., object], *args: Any, **kwargs: Any) -> _Call:
        call = _Call(lambda: f(*args, **kwargs))
        if delay <= 0:
            self._calls.put(call)
        return call

    def callFromThread(self, f: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        self._calls.put(lambda: f(*args, **kwargs))

    def wait(self, deferred: Deferred[Any]) -> Any:
        """Turn until it fires. @return: its result. @raise Exception: its failure."""
        results: list[Any] = []
        deferred.addBoth(results.append)
        self.turn(lambda: bool(results))
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def turn(self, enough: Callable[[], bool]) -> None:
        """Turn until C{enough()}; an hour is a defect, so ten seconds are too."""
        while not enough():
            try:
                self._calls.get(timeout=PATIENCE)()
            except Empty:
                raise AssertionError("nothing happens any more") from None


class Driven:
    """A L{LocalAppendLog} whose methods are waited for."""

    def __init__(self, directory: str, files: Files | None = None, **settings: Any) -> None:
        self.reactor = TurningReactor()
        self.failures: list[Exception] = []
        self.directory = directory
        bounds = {name: settings.pop(name) for name in ("max_open", "log_files") if name in settings}
        self.settings = AppendSettings(directory=directory, **{"buckets": 2, "wal_size": 1, **settings})
        self.log = LocalAppendLog(
            self.settings, self.reactor, InlineDisk(), self.failures.append, files or UnsyncedFiles(), **bounds
        )
        self.running = False

    def start(self) -> Driven:
        self.log.start()
        self.running = True
        return self

    def stop(self) -> None:
        if self.running:
            self.running = False
            self.reactor.wait(self.log.stop())

    def kill(self) -> None:
        """End the threads and close the files, and nothing else: as the kernel does for a process that is killed."""
        if self.running:
            self.running = False
            self.log._commit.stop()
            self.log.checkpointer.stop()
            for prefix in self.log._prefixes.open.values():
                prefix.close(Files())
            self.log.wal.close()

    def path(self, name: str, prefix: str = "default") -> str:
        return os.path.join(self.directory, prefix, name)

    def copy(self, target: str) -> str:
        """What a killed process, or the power cut of a machine that had written everything, leaves."""
        shutil.copytree(self.directory, target)
        return target

    def append(
        self, id: bytes, *payloads: bytes, prefix: str = "default", durability: Durability | None = None
    ) -> tuple[int, ...]:
        return tuple(self.reactor.wait(self.log.append(prefix, id, payloads, durability)).offsets)

    def get(self, id: bytes, offset: int, prefix: str = "default") -> bytes:
        record = self.reactor.wait(self.log.get(prefix, id, offset))
        pieces: list[bytes] = []
        while sum(map(len, pieces)) < record.length:
            pieces.append(self.reactor.wait(Deferred.fromCoroutine(record.read_piece(sum(map(len, pieces))))))
        return b"".join(pieces)

    def scan(self, bucket: int | bytes, start: int = 0, prefix: str = "default") -> list[tuple[int, bytes]]:
        scan = self.reactor.wait(self.log.scan(prefix, bucket, start))
        found: list[tuple[int, bytes]] = []
        try:
            while batch := self.reactor.wait(scan.next_batch()):
                found += [(record.offset, record.payload) for record in batch]
        finally:
            scan.close()
        return found

    def stat(self, prefix: str | None = None) -> Any:
        return self.reactor.wait(self.log.stat(prefix))

    def close(self, prefix: str) -> None:
        self.reactor.wait(self.log.close_prefix(prefix))

    def delete(self, prefix: str) -> None:
        self.reactor.wait(self.log.delete_prefix(prefix))


class SeedStore:
    """
    A model of the files of the seed's program, jackdoe/rochefort at commit 3200416.

    A directory for each prefix, C{append.N.raw} in it, length and payload one after the other; empty records are
    taken as well.
    """

    def __init__(self, root: str, buckets: int) -> None:
        self.root = root
        self.buckets = buckets

    def _path(self, prefix: str, id: bytes) -> str:
        return os.path.join(self.root, prefix or "default", f"append.{fnv1a32(id) % self.buckets}.raw")

    def open(self, prefix: str = "") -> None:
        """Make a prefix."""
        os.makedirs(os.path.join(self.root, prefix or "default"), exist_ok=True)
        for number in range(self.buckets):
            with open(os.path.join(self.root, prefix or "default", f"append.{number}.raw"), "ab"):
                pass

    def append(self, id: bytes, payload: bytes, prefix: str = "") -> int:
        """@return: the offset."""
        self.open(prefix)
        with open(self._path(prefix, id), "ab") as file:
            offset = file.tell()
            file.write(struct.pack("<I", len(payload)) + payload)
        return offset

    def get(self, id: bytes, offset: int, prefix: str = "") -> bytes:
        """Whatever is at an offset, checked by nothing."""
        data = contents(self._path(prefix, id))
        (length,) = struct.unpack_from("<I", data, offset)
        payload = data[offset + 4 : offset + 4 + length]
        if len(payload) < length:
            raise EOFError
        return payload


def raw(*payloads: bytes) -> bytes:
    """A bucket file."""
    return b"".join(struct.pack("<I", len(payload)) + payload for payload in payloads)


def offsets_of(payloads: Iterable[bytes], start: int = 0) -> list[int]:
    """Where records begin that follow one another."""
    offsets = []
    for payload in payloads:
        offsets.append(start)
        start += 4 + len(payload)
    return offsets
