"""
What every L{IByteStream} keeps to.

L{ByteStreamTests} is for whatever is a stream; L{StageTests} for what reads from another one, and for edges.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from storehouse.core.streams import IByteStream, PushedStream, StreamClosed

__all__ = ["ByteStreamTests", "StageTests", "Upstream", "begun"]

T = TypeVar("T")

Mixin = SynchronousTestCase if TYPE_CHECKING else object


def begun(awaitable: Awaitable[T]) -> Deferred[T]:
    """Run what can be awaited, so that it can be looked at, and cancelled."""

    async def run() -> T:
        return await awaitable

    return Deferred.fromCoroutine(run())


class Upstream(PushedStream):
    """
    What a stage under test reads from.

    @ivar is_closed: whether it was closed.
    """

    def __init__(self) -> None:
        super().__init__(lambda: None, lambda: None)
        self.is_closed = False

    def close(self) -> Deferred[None]:
        self.is_closed = True
        return super().close()


class ByteStreamTests(Mixin):
    """What all streams do."""

    #: What L{make_stream} gives.
    DATA = b"some bytes"

    def make_stream(self) -> IByteStream:
        """A stream of L{DATA}, all of which is at hand, in at least one piece."""
        raise NotImplementedError

    def rest_of(self, stream: IByteStream) -> bytes:
        """What is left of a stream that does not wait."""

        async def rest() -> bytes:
            pieces = []
            while piece := await stream.read():
                assert isinstance(piece, bytes | memoryview)
                pieces.append(piece)
            return b"".join(pieces)

        return self.successResultOf(begun(rest()))

    def test_interface(self) -> None:
        verifyObject(IByteStream, self.make_stream())

    def test_all(self) -> None:
        """All bytes come; after them the empty piece, each time."""
        stream = self.make_stream()
        self.assertEqual(self.rest_of(stream), self.DATA)
        for _ in range(2):
            self.assertEqual(self.successResultOf(begun(stream.read())), b"")
        self.successResultOf(stream.close())

    def test_closed(self) -> None:
        """One that was closed, at whatever time, gives nothing, not even an end; it can be closed again."""
        for reads in (0, 1, 100):
            stream = self.make_stream()
            for _ in range(reads):
                self.successResultOf(begun(stream.read()))
            for _ in range(2):
                self.successResultOf(stream.close())
            for _ in range(2):
                self.failureResultOf(begun(stream.read()), StreamClosed)


class StageTests(ByteStreamTests):
    """What those do that wait for another stream, or for a peer."""

    #: Whether it gets what it reads from only when it is read.
    OPENS_LATE = False

    def make_stage(self, upstream: Upstream) -> IByteStream:
        """A stream of what this one gives, that gives each of its pieces as soon as it has it."""
        raise NotImplementedError

    def make_stream(self) -> IByteStream:
        upstream = Upstream()
        for byte in self.DATA:
            upstream.write(bytes([byte]))
        upstream.end()
        return self.make_stage(upstream)

    def make_both(self) -> tuple[Upstream, IByteStream]:
        """One, and what it reads from."""
        upstream = Upstream()
        return upstream, self.make_stage(upstream)

    def assert_fails(self, stream: IByteStream, *errors: type[BaseException]) -> None:
        """It fails now, in the same way each time, and not as if it had ended."""
        for _ in range(2):
            self.failureResultOf(begun(stream.read()), *errors)

    def test_waits(self) -> None:
        """A read waits for the next piece, and only for that."""
        upstream, stream = self.make_both()
        read = begun(stream.read())
        self.assertNoResult(read)
        upstream.write(self.DATA[:4])
        self.assertEqual(bytes(self.successResultOf(read)), self.DATA[:4])
        read = begun(stream.read())
        self.assertNoResult(read)
        upstream.write(self.DATA[4:])
        self.assertEqual(bytes(self.successResultOf(read)), self.DATA[4:])
        read = begun(stream.read())
        upstream.end()
        self.assertEqual(self.successResultOf(read), b"")
        self.successResultOf(stream.close())

    def test_views(self) -> None:
        """Pieces may be views."""
        upstream, stream = self.make_both()
        upstream.write(memoryview(self.DATA)[:4])
        upstream.write(memoryview(self.DATA)[4:])
        upstream.end()
        self.assertEqual(self.rest_of(stream), self.DATA)

    def test_many(self) -> None:
        """However many pieces there are at hand, they come without a recursion."""
        upstream, stream = self.make_both()
        read = begun(stream.read())
        upstream.write(self.DATA[:1])
        self.successResultOf(read)
        for byte in self.DATA[1:]:
            upstream.write(bytes([byte]))
        upstream.end()
        self.assertEqual(self.rest_of(stream), self.DATA[1:])

    def test_fails(self) -> None:
        """An error comes after the records that could be read; it never looks like the end."""
        upstream, stream = self.make_both()
        upstream.write(self.DATA[:4])
        upstream.fail(ZeroDivisionError("lost"))
        self.assertEqual(bytes(self.successResultOf(begun(stream.read()))), self.DATA[:4])
        self.assert_fails(stream, ZeroDivisionError)
        self.successResultOf(stream.close())
        self.assert_fails(stream, StreamClosed)

    def test_fails_while_waiting(self) -> None:
        upstream, stream = self.make_both()
        read = begun(stream.read())
        upstream.fail(ZeroDivisionError("lost"))
        self.failureResultOf(read, ZeroDivisionError)
        self.assert_fails(stream, ZeroDivisionError)

    def test_one_reader(self) -> None:
        """A second reader is refused, and does the first no harm."""
        upstream, stream = self.make_both()
        read = begun(stream.read())
        self.failureResultOf(begun(stream.read()), RuntimeError)
        upstream.write(self.DATA)
        self.assertEqual(bytes(self.successResultOf(read)), self.DATA)

    def test_cancelled(self) -> None:
        """A read that is cancelled ends the stream: what comes is not given to anybody as if nothing were missing."""
        upstream, stream = self.make_both()
        read = begun(stream.read())
        read.cancel()
        self.failureResultOf(read, CancelledError)
        upstream.write(self.DATA)
        upstream.end()
        self.assert_fails(stream, CancelledError)
        self.successResultOf(stream.close())
        self.assertTrue(upstream.is_closed)
        self.assert_fails(stream, StreamClosed)

    def test_closed_while_reading(self) -> None:
        """A read that waits fails; all is let go of."""
        for before in (b"", self.DATA[:4]):
            upstream, stream = self.make_both()
            if before:
                upstream.write(before)
                self.successResultOf(begun(stream.read()))
            read = begun(stream.read())
            closed = stream.close()
            self.failureResultOf(read, StreamClosed)
            self.successResultOf(closed)
            self.assertTrue(upstream.is_closed)
            self.assert_fails(stream, StreamClosed)

    def test_closes(self) -> None:
        """Closing it closes what it reads from: before it was read, half read, and at the end."""
        for reads, ended in ((0, False), (1, False), (1, True), (2, True)):
            upstream, stream = self.make_both()
            upstream.write(self.DATA)
            if ended:
                upstream.end()
            for _ in range(reads):
                self.successResultOf(begun(stream.read()))
            self.successResultOf(stream.close())
            self.assertEqual(upstream.is_closed, bool(reads) or not self.OPENS_LATE)

    def test_closing_cancelled(self) -> None:
        """Cancelling who waits for it to be closed does not stop that."""
        upstream, stream = self.make_both()
        read = begun(stream.read())
        stream.close().addErrback(lambda failure: None).cancel()
        self.failureResultOf(read, StreamClosed)
        self.successResultOf(stream.close())
        self.assertTrue(upstream.is_closed)
