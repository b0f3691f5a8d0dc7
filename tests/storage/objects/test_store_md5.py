"""Tests of L{storehouse.storage.objects.store.StreamMD5}; the operations on uploads are in tests.conformance.objectstore."""

from __future__ import annotations

import hashlib

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream, closing, read_all
from storehouse.storage.objects.store import StreamMD5
from tests.conformance.dataspace import content
from tests.conformance.streams import begun
from tests.core.test_jobs import HandDisk

PIECE = 256 << 10


class StreamMD5Tests(SynchronousTestCase):
    """The MD5 of bytes on their way."""

    def test_bytes_and_hash(self) -> None:
        for data in (b"", b"x", content(3 * PIECE + 5)):
            tag = StreamMD5(InlineDisk(), True)
            self.assertEqual(self.successResultOf(begun(read_all(tag.computed(BytesStream(data))))), data)
            self.assertEqual(tag.hexdigest(), hashlib.md5(data).hexdigest())

    def test_no_hash(self) -> None:
        tag = StreamMD5(HandDisk(), False)
        self.assertEqual(self.successResultOf(begun(read_all(tag.computed(BytesStream(b"x"))))), b"x")
        self.assertEqual(tag.hexdigest(), "")

    def test_hash_beside(self) -> None:
        """Large pieces are hashed in a thread, while others come: one at a time, and no more than one waits."""
        disk = HandDisk()
        tag = StreamMD5(disk, True)
        data = content(4 * PIECE)
        taken: list[bytes] = []

        async def read() -> None:
            async with closing(tag.computed(BytesStream(data))) as stream:
                while piece := await stream.read():
                    taken.append(bytes(piece))

        reading: Deferred[None] = begun(read())
        for count in range(1, 4):
            self.assertEqual((len(taken), len(disk.jobs)), (count, 1))
            disk.do()
        self.assertEqual(len(taken), 4)
        self.assertNoResult(reading)
        disk.do()
        self.successResultOf(reading)
        self.assertEqual((b"".join(taken), tag.hexdigest()), (data, hashlib.md5(data).hexdigest()))
