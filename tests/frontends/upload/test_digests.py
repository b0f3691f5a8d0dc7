"""Checksums of bodies that come."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from typing import Any

from crc32c import crc32c
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.disk import InlineDisk
from storehouse.core.streams import BytesStream, IByteStream, StreamClosed, read_all
from storehouse.errors import ChecksumMismatch
from storehouse.frontends.upload.digests import ALGORITHMS, Checksums, checked
from storehouse.frontends.upload.memory import UploadMemory
from tests.conformance.dataspace import content, pieces_of
from tests.conformance.streams import StageTests, Upstream, begun

KIB = 1 << 10


class SlowDisk:
    """Does what it is given when a test says so."""

    def __init__(self) -> None:
        self._jobs: deque[Callable[[], None]] = deque()

    def run(self, f: Callable[..., Any], *args: Any) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        self._jobs.append(lambda: result.callback(f(*args)))
        return result

    def work(self) -> int:
        """@return: how much there was to do."""
        count = 0
        while self._jobs:
            self._jobs.popleft()()
            count += 1
        return count


class CheckedConformance(StageTests, SynchronousTestCase):
    """L{checked}."""

    def make_stage(self, upstream: Upstream) -> IByteStream:
        checksums = Checksums(ALGORITHMS, InlineDisk(), UploadMemory(64 << 20, 10).join())
        return checked(upstream, checksums, lambda count: None)


class ChecksumsTests(SynchronousTestCase):
    """L{Checksums}, and L{checked}."""

    def setUp(self) -> None:
        self.memory = UploadMemory(64 << 20, 10)
        self.session = self.memory.join()

    def digests(self, data: bytes) -> dict[str, bytes]:
        return {
            "sha1": hashlib.sha1(data).digest(),
            "sha256": hashlib.sha256(data).digest(),
            "crc32c": crc32c(data).to_bytes(4, "big"),
        }

    def test_digests(self) -> None:
        """Of any size, in any pieces."""
        for size in (0, 1, 64 * KIB, 64 * KIB + 1, 256 * KIB, 700 * KIB, 1024 * KIB + 1):
            for sizes in ((size or 1,), (1, 100_000, 65_536)):
                data = content(size)
                counted: list[int] = []
                checksums = Checksums(ALGORITHMS, InlineDisk(), self.session)
                stream = checked(BytesStream(list(pieces_of(data, sizes))), checksums, counted.append)
                self.assertEqual(self.successResultOf(begun(read_all(stream))), data)
                self.assertEqual((sum(counted), self.memory.held), (size, 0))
                for algorithm, digest in self.digests(data).items():
                    checksums.check(algorithm, digest)
                    wrong = bytes([digest[0] ^ 1]) + digest[1:]
                    self.assertRaises(ChecksumMismatch, checksums.check, algorithm, wrong)

    def test_slow_hashing(self) -> None:
        """The reader waits when too much does, all of which is counted; the end waits for the hash."""
        disk = SlowDisk()
        data = content(1024 * KIB)
        checksums = Checksums(["sha256"], disk, self.session)
        pieces = list(pieces_of(data, (64 * KIB,)))
        stream = checked(BytesStream(pieces), checksums, lambda count: None)
        done = begun(read_all(stream))
        self.assertNoResult(done)
        # The first was hashed at once, the second is being hashed, and as much waits as may.
        self.assertEqual(self.memory.held, 64 * KIB + 256 * KIB)
        while disk.work():
            pass
        self.assertEqual(self.successResultOf(done), data)
        checksums.check("sha256", self.digests(data)["sha256"])
        self.assertEqual(self.memory.held, 0)

    def test_nothing_waits_for_more(self) -> None:
        """What came is hashed although nothing more comes: its memory is given back."""
        disk = SlowDisk()
        checksums = Checksums(["sha256"], disk, self.session)
        for size in (60 * KIB, 10 * KIB, 3, 5):
            self.successResultOf(begun(checksums.update(bytes(size))))
        self.assertEqual(self.memory.held, 10 * KIB + 8)
        while disk.work():
            pass
        self.assertEqual(self.memory.held, 0)

    def test_closed(self) -> None:
        """A reader that wants no more ends it, and nothing is left in a thread, nor in memory."""
        disk = SlowDisk()
        upstream = BytesStream(list(pieces_of(content(1024 * KIB), (64 * KIB,))))
        stream = checked(upstream, Checksums(["sha1"], disk, self.session), lambda count: None)
        for _ in range(3):
            self.successResultOf(begun(stream.read()))
        closed = stream.close()
        self.assertNoResult(closed)
        while disk.work():
            pass
        self.successResultOf(closed)
        self.assertEqual(self.memory.held, 0)
        self.failureResultOf(begun(upstream.read()), StreamClosed)
