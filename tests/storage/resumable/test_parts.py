"""How large parts are, and a stream that is cut into them."""

from __future__ import annotations

import random
from typing import Any

from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.streams import BytesStream, IByteStream, read_all
from storehouse.errors import ChecksumMismatch
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.resumable import parts
from storehouse.storage.resumable.parts import MANY, MAX_SECONDS, PartCutter, count_to_join, is_enough, min_size
from tests.conformance.streams import Upstream, begun

MIB = 1 << 20
GIB = 1 << 30


class _Model:
    """Parts as they would become."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.most = self.copied = self.size = 0

    def add(self, size: int) -> None:
        self.parts.append(Part(len(self.parts) + 1, "", size))
        self.size += size
        count = count_to_join(self.parts)
        if count:
            joined = sum(part.size for part in self.parts[-count:])
            self.copied += joined
            self.parts[-count:] = [Part(len(self.parts), "", joined)]
        self.most = max(self.most, len(self.parts))


class SizesTests(SynchronousTestCase):
    """How large parts are, and which are joined."""

    def test_large(self) -> None:
        """What comes fast is cut into some thousand parts, even terabytes."""
        offset = parts = 0
        while offset < 4 << 40:
            offset += min_size(offset)
            parts += 1
        self.assertLess(parts, 5000)

    def test_is_enough(self) -> None:
        """A part is large enough, and took long enough; or is very large."""
        self.assertFalse(is_enough(0, 16 * MIB - 1, 9.0))
        self.assertFalse(is_enough(0, 16 * MIB, 0.4))
        self.assertTrue(is_enough(0, 16 * MIB, 0.5))
        self.assertTrue(is_enough(0, GIB, 0.0))
        self.assertFalse(is_enough(1 << 40, 2 * GIB // 2 - 1, 9.0))

    def test_small(self) -> None:
        """However small the pieces are, the parts stay few, and bytes are copied a few times at most."""
        for size, count in ((1, 20_000), (1000, 20_000), (65_536, 40_000), (5 * MIB, 20_000)):
            model = _Model()
            for _ in range(count):
                model.add(size)
            self.assertLess(model.most, 6 * MANY + model.size // min_size(model.size), size)
            self.assertLess(model.copied, 5 * model.size, size)

    def test_mixed(self) -> None:
        chance = random.Random(1)
        model = _Model()
        for _ in range(20_000):
            model.add(int(2 ** (chance.random() * 24)))
        self.assertLess(model.most, 6 * MANY + model.size // min_size(model.size))
        self.assertLess(model.copied, 5 * model.size)

    def test_few(self) -> None:
        """Nothing is copied where there is nothing to gain."""
        self.assertEqual(count_to_join([]), 0)
        self.assertEqual(count_to_join([Part(number, "", 10) for number in range(MANY - 1)]), 0)
        self.assertEqual(count_to_join([Part(number, "", 32 * MIB) for number in range(4 * MANY)]), 0)
        self.assertEqual(count_to_join([Part(number, "", 10) for number in range(MANY)]), MANY)


class PartCutterTests(SynchronousTestCase):
    """L{PartCutter}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.upstream = Upstream()

    def cutter(self, stream: IByteStream | None = None, **options: Any) -> PartCutter:
        return PartCutter(stream or self.upstream, 0, self.clock, **options)

    def has_more(self, cutter: PartCutter) -> bool:
        return self.successResultOf(begun(cutter.has_more()))

    def reading(self, stream: IByteStream) -> Deferred[bytes]:
        return begun(read_all(stream))

    def close(self, cutter: PartCutter) -> None:
        self.successResultOf(begun(cutter.close()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @given(st.lists(st.binary(max_size=50), max_size=20))
    def test_small(self, pieces: list[bytes]) -> None:
        """A small stream is one part, or none, with the checksum of its bytes."""
        data = b"".join(pieces)
        cutter = self.cutter(BytesStream(pieces))
        found = []
        while self.has_more(cutter):
            part = self.successResultOf(self.reading(cutter.part()))
            self.assertEqual((cutter.size, cutter.crc), (len(part), crc32c(part)))
            found.append(part)
        self.assertEqual((found, cutter.error), ([data] if data else [], None))
        self.close(cutter)

    def test_size(self) -> None:
        """A part ends when it has enough bytes and took long enough; the next one has the rest."""
        self.patch(parts, "_MIN_SIZE", 10)
        cutter = self.cutter()
        for size in (3, 5, 7, 1):
            self.upstream.write(bytes(size))
        self.assertTrue(self.has_more(cutter))
        part = cutter.part()
        for size in (3, 5):
            self.assertEqual(len(self.successResultOf(begun(part.read()))), size)
        self.clock.advance(1)
        self.assertEqual(len(self.successResultOf(begun(part.read()))), 7)
        self.assertEqual(self.successResultOf(begun(part.read())), b"")
        self.assertEqual(self.upstream.waiting, 1)
        self.assertTrue(self.has_more(cutter))
        self.upstream.end()
        self.assertEqual(self.successResultOf(self.reading(cutter.part())), bytes(1))
        self.assertFalse(self.has_more(cutter))
        self.close(cutter)

    def test_time(self) -> None:
        """A part ends after a while, although a piece is waited for, which begins the next one; nothing is read ahead."""
        cutter = self.cutter()
        more = begun(cutter.has_more())
        self.assertNoResult(more)
        self.upstream.write(b"one")
        self.assertTrue(self.successResultOf(more))
        self.upstream.write(b"two")
        self.assertEqual(self.upstream.waiting, 3)
        reading = self.reading(cutter.part())
        self.assertNoResult(reading)
        self.clock.advance(MAX_SECONDS)
        self.assertEqual(self.successResultOf(reading), b"onetwo")
        self.upstream.write(b"three")
        self.upstream.write(b"four")
        self.assertEqual(self.upstream.waiting, 4)
        self.assertTrue(self.has_more(cutter))
        reading = self.reading(cutter.part())
        self.upstream.end()
        self.assertEqual(self.successResultOf(reading), b"threefour")
        self.assertFalse(self.has_more(cutter))
        self.close(cutter)

    def test_time_up_while_stored(self) -> None:
        """A reader that is slow, too, gets no more than what had come in time."""
        cutter = self.cutter()
        self.upstream.write(b"one")
        self.upstream.write(b"two")
        self.assertTrue(self.has_more(cutter))
        part = cutter.part()
        self.assertEqual(self.successResultOf(begun(part.read())), b"one")
        self.clock.advance(MAX_SECONDS)
        self.assertEqual(self.successResultOf(begun(part.read())), b"")
        self.assertTrue(self.has_more(cutter))
        self.close(cutter)

    def test_stopped(self) -> None:
        """What was read before is given, nothing after, and the stream is closed."""
        for is_waiting in (True, False):
            self.upstream = Upstream()
            cutter = self.cutter()
            self.upstream.write(b"one")
            self.assertTrue(self.has_more(cutter))
            part = cutter.part()
            if is_waiting:
                reading = self.reading(part)
                cutter.stop(ZeroDivisionError())
            else:
                self.upstream.write(b"late")
                cutter.stop(ZeroDivisionError())
                reading = self.reading(part)
            self.assertEqual(self.successResultOf(reading), b"one")
            self.assertTrue(self.upstream.is_closed)
            self.assertFalse(self.has_more(cutter))
            self.assertIsInstance(cutter.error, ZeroDivisionError)
            self.close(cutter)

    def test_stopped_too_late(self) -> None:
        """A stream that has come to its end is whole."""
        cutter = self.cutter(BytesStream(b"one"))
        self.assertTrue(self.has_more(cutter))
        self.assertEqual(self.successResultOf(self.reading(cutter.part())), b"one")
        cutter.stop(ZeroDivisionError())
        self.assertIsNone(cutter.error)
        self.close(cutter)

    def test_failed(self) -> None:
        """What came before a failure is a part."""
        cutter = self.cutter()
        self.upstream.write(b"one")
        self.upstream.fail(ZeroDivisionError())
        self.assertTrue(self.has_more(cutter))
        self.assertEqual(self.successResultOf(self.reading(cutter.part())), b"one")
        self.assertFalse(self.has_more(cutter))
        self.assertIsInstance(cutter.error, ZeroDivisionError)
        self.close(cutter)

    def test_cancelled(self) -> None:
        """A wait that is cancelled loses nothing of the stream."""
        cutter = self.cutter()
        more = begun(cutter.has_more())
        more.cancel()
        self.failureResultOf(more, CancelledError)
        self.upstream.write(b"one")
        self.assertTrue(self.has_more(cutter))
        reading = self.reading(cutter.part())
        reading.cancel()
        self.failureResultOf(reading, CancelledError)
        self.upstream.write(b"two")
        self.assertTrue(self.has_more(cutter))
        self.assertEqual(self.successResultOf(begun(cutter.part().read())), b"two")
        self.close(cutter)

    def test_closed(self) -> None:
        """The end of a part closes nothing; that of the cutter does, also while something is waited for."""
        cutter = self.cutter()
        self.upstream.write(b"one")
        self.assertTrue(self.has_more(cutter))
        part = cutter.part()
        read = begun(part.read())
        self.successResultOf(read)
        self.successResultOf(part.close())
        self.assertFalse(self.upstream.is_closed)
        more = begun(cutter.has_more())
        self.close(cutter)
        self.assertFalse(self.successResultOf(more))
        self.assertTrue(self.upstream.is_closed)

    def test_verified(self) -> None:
        """All of it is one part, however long it takes, and fails with what the verification does."""

        def verify() -> None:
            raise ChecksumMismatch("it is another one")

        self.patch(parts, "_MAX_SIZE", 4)
        cutter = self.cutter(verify=verify)
        self.upstream.write(b"one")
        self.assertTrue(self.has_more(cutter))
        reading = self.reading(cutter.part())
        self.clock.advance(10 * MAX_SECONDS)
        self.upstream.write(b"two")
        self.assertNoResult(reading)
        self.upstream.end()
        self.failureResultOf(reading, ChecksumMismatch)
        self.assertEqual(cutter.size, 6)
        self.assertFalse(self.has_more(cutter))
        self.assertIsNone(cutter.error)
        self.close(cutter)

    def test_failed_before_verified(self) -> None:
        """A stream that fails, or is stopped, is not verified: its part fails with it."""
        for fail in (
            lambda cutter: self.upstream.fail(ZeroDivisionError()),
            lambda cutter: cutter.stop(ZeroDivisionError()),
        ):
            self.upstream = Upstream()
            called: list[None] = []
            cutter = self.cutter(verify=lambda: called.append(None))  # noqa: B023
            self.upstream.write(b"one")
            self.assertTrue(self.has_more(cutter))
            reading = self.reading(cutter.part())
            fail(cutter)
            self.failureResultOf(reading, ZeroDivisionError)
            self.assertEqual(called, [])
            self.close(cutter)
