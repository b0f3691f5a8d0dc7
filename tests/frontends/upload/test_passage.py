"""Bodies on their way into resumable uploads."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from typing import Any

from crc32c import crc32c
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.disk import InlineDisk
from storehouse.core.streams import BytesSource
from storehouse.errors import ChecksumMismatch
from storehouse.frontends.upload.passage import ALGORITHMS, Passage
from tests.conformance.dataspace import content, pieces_of
from tests.conformance.pushed import Sink

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


class PassageTests(SynchronousTestCase):
    """L{Passage}."""

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
                source = BytesSource(list(pieces_of(data, sizes)))
                passage = Passage(source, InlineDisk(), counted.append, ALGORITHMS)
                sink = Sink()
                self.assertEqual(self.successResultOf(passage.deliver(sink)), size)
                self.assertEqual((sink.data, sum(counted), sink.wrong), (data, size, []))
                for algorithm, digest in self.digests(data).items():
                    passage.check(algorithm, digest)
                    wrong = bytes([digest[0] ^ 1]) + digest[1:]
                    self.assertRaises(ChecksumMismatch, passage.check, algorithm, wrong)

    def test_slow_hashing(self) -> None:
        """Who hashes has the source wait when too much does; the end waits for the hash."""
        disk = SlowDisk()
        data = content(1024 * KIB)
        passage = Passage(BytesSource(data), disk, lambda count: None, ["sha256"])
        sink = Sink()
        done = passage.deliver(sink)
        # One batch is being hashed, and as much waits.
        self.assertEqual(len(sink.data), 512 * KIB)
        while disk.work():
            pass
        self.assertEqual(self.successResultOf(done), len(data))
        passage.check("sha256", self.digests(data)["sha256"])

    def test_stopped(self) -> None:
        """A consumer that wants no more ends the source, and nothing is left in a thread."""
        disk = SlowDisk()
        passage = Passage(BytesSource(content(1024 * KIB)), disk, lambda count: None, ["sha1"])
        done = passage.deliver(Sink(lambda sink: sink.producer.stopProducing()))
        while disk.work():
            pass
        self.failureResultOf(done)
