"""Tests of L{storehouse.core.streams}."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.jobs import InlineDisk, deferred
from storehouse.core.streams import (
    PIECE,
    Beside,
    BytesStream,
    GeneratorStream,
    IByteStream,
    Piece,
    PieceBuffer,
    PushedStream,
    StreamClosed,
    WholeStream,
    awaiting,
    beside,
    closing,
    counted,
    cut,
    exact,
    joined,
    limited,
    read_all,
    stage,
    updating,
)
from storehouse.errors import InvalidName, SizeMismatch, TooLarge
from tests.conformance.streams import ByteStreamTests, StageTests, Upstream, begun


class HeldDisk:
    """Does what it is given when a test says so."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Deferred[Any], Callable[[], Any]]] = []

    def run(self, f: Callable[..., Any], *args: Any) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        self.jobs.append((result, lambda: f(*args)))
        return result

    def work(self) -> None:
        """Do the first."""
        result, job = self.jobs.pop(0)
        try:
            value = job()
        except Exception:
            result.errback()
        else:
            result.callback(value)


# -- what all keep to ------------------------------------------------------------------------------


class BytesStreamConformance(ByteStreamTests, SynchronousTestCase):
    def make_stream(self) -> IByteStream:
        return BytesStream([self.DATA[:4], b"", memoryview(self.DATA)[4:]])


class WholeStreamConformance(ByteStreamTests, SynchronousTestCase):
    def make_stream(self) -> IByteStream:
        return WholeStream(self.DATA.upper()).then(bytes.lower)


class PushedStreamConformance(StageTests, SynchronousTestCase):
    def make_stage(self, upstream: Upstream) -> IByteStream:
        return upstream


class GeneratorStreamConformance(StageTests, SynchronousTestCase):
    """A generator that yields empty pieces, too, and waits for several things."""

    def make_stage(self, upstream: Upstream) -> IByteStream:
        async def pieces() -> AsyncGenerator[Piece, None]:
            yield b""
            while piece := await upstream.read():
                await succeed(None)
                yield piece
                yield b""

        return GeneratorStream(pieces(), upstream)


class CountedConformance(StageTests, SynchronousTestCase):
    def make_stage(self, upstream: Upstream) -> IByteStream:
        return counted(upstream, lambda size: None)


class LimitedConformance(StageTests, SynchronousTestCase):
    def make_stage(self, upstream: Upstream) -> IByteStream:
        return limited(upstream, len(self.DATA), ZeroDivisionError)


class ExactConformance(StageTests, SynchronousTestCase):
    def make_stage(self, upstream: Upstream) -> IByteStream:
        return exact(upstream, len(self.DATA))


class CutConformance(StageTests, SynchronousTestCase):
    def make_stage(self, upstream: Upstream) -> IByteStream:
        return cut(upstream, 0)


class JoinedConformance(StageTests, SynchronousTestCase):
    OPENS_LATE = True

    def make_stage(self, upstream: Upstream) -> IByteStream:
        return joined([lambda: succeed(BytesStream()), lambda: succeed(upstream)])


class BesideConformance(StageTests, SynchronousTestCase):
    def make_stage(self, upstream: Upstream) -> IByteStream:
        return beside(upstream, InlineDisk(), lambda pieces: None, 1)


class AwaitingConformance(StageTests, SynchronousTestCase):
    def make_stage(self, upstream: Upstream) -> IByteStream:
        return awaiting(upstream, succeed(None))


class ManyStagesConformance(StageTests, SynchronousTestCase):
    """One over the other."""

    def make_stage(self, upstream: Upstream) -> IByteStream:
        stream = exact(counted(upstream, lambda size: None), len(self.DATA))
        return limited(beside(stream, InlineDisk(), lambda pieces: None), 1 << 20, ZeroDivisionError)


# -- each by itself --------------------------------------------------------------------------------


class Tests(SynchronousTestCase):
    def pieces_of(self, stream: IByteStream) -> list[bytes]:
        """All of one that does not wait."""

        async def pieces() -> list[bytes]:
            found = []
            while piece := await stream.read():
                found.append(bytes(piece))
            return found

        return self.successResultOf(begun(pieces()))

    def failure_of(self, stream: IByteStream, error: type[BaseException]) -> list[bytes]:
        """Read it until it fails, as it should. @return: what came before."""
        found = []

        async def read() -> None:
            while piece := await stream.read():
                found.append(bytes(piece))

        self.failureResultOf(begun(read()), error)
        return found


class WholeStreamTests(Tests):
    """L{WholeStream}."""

    def test_steps(self) -> None:
        """Each is given what the one before returned, when the bytes are first read, and once."""
        seen: list[bytes] = []

        def step(data: bytes) -> bytes:
            seen.append(data)
            return data[1:]

        stream = WholeStream(b"abc").then(step).then(step)
        self.assertEqual(seen, [])
        self.assertEqual(self.pieces_of(stream), [b"c"])
        self.assertEqual(seen, [b"abc", b"bc"])

    def test_failure(self) -> None:
        """If a step refuses, no byte is read, however often that is tried, and later steps do not run."""

        def refuse(data: bytes) -> bytes:
            raise ValueError(data)

        stream = WholeStream(b"abc").then(refuse).then(lambda data: self.fail("it goes on"))
        for _ in range(2):
            self.failureResultOf(begun(stream.read()), ValueError)


class BytesStreamTests(Tests):
    def test_sizes(self) -> None:
        """Pieces of bytes have at most 256 KiB; no bytes are no piece."""
        for size, count in ((0, 0), (1, 1), (PIECE - 1, 1), (PIECE, 1), (PIECE + 1, 2), (2 * PIECE, 2)):
            data = bytes(n % 251 for n in range(size))
            pieces = self.pieces_of(BytesStream(data))
            self.assertEqual(b"".join(pieces), data)
            self.assertEqual(len(pieces), count)
            self.assertTrue(all(len(piece) <= PIECE for piece in pieces))

    def test_taken_as_read(self) -> None:
        """Pieces are taken from where they come from one by one; what that raises is the failure."""
        taken = []

        def pieces() -> Iterator[bytes]:
            for n in range(2):
                taken.append(n)
                yield b"%d" % n
            raise ZeroDivisionError

        stream = BytesStream(pieces())
        self.assertEqual((self.successResultOf(begun(stream.read())), taken), (b"0", [0]))
        self.assertEqual(self.failure_of(stream, ZeroDivisionError), [b"1"])
        self.assertEqual(self.failure_of(stream, ZeroDivisionError), [])


class StageDecoratorTests(Tests):
    def test_finally(self) -> None:
        """What is left to do when it is closed is done before what it reads from is closed; it may wait."""
        done: list[str] = []
        turn: Deferred[None] = Deferred()

        class Source(BytesStream):
            def close(self) -> Deferred[None]:
                done.append("closed")
                return super().close()

        @stage
        async def waits(stream: IByteStream) -> AsyncGenerator[Piece, None]:
            try:
                while piece := await stream.read():
                    yield piece
            finally:
                await turn
                done.append("finally")

        stream = waits(Source([b"a", b"b"]))
        self.successResultOf(begun(stream.read()))
        closed = stream.close()
        self.assertNoResult(closed)
        self.assertNoResult(stream.close())
        turn.callback(None)
        self.successResultOf(closed)
        self.assertEqual(done, ["finally", "closed"])

    def test_cancelled_while_thread_works(self) -> None:
        """A read that is cancelled may wait for a thread to be done; so does closing meanwhile."""
        turn: Deferred[None] = Deferred()

        @stage
        async def waits(stream: IByteStream) -> AsyncGenerator[Piece, None]:
            try:
                yield await stream.read()
            finally:
                await turn

        upstream = Upstream()
        stream = waits(upstream)
        read = begun(stream.read())
        read.cancel()
        self.assertNoResult(read)
        closed = stream.close()  # cancels what it waits for now
        self.failureResultOf(read, StreamClosed)
        self.successResultOf(closed)
        self.assertTrue(upstream.is_closed)

    def test_closed_by_its_reader_meanwhile(self) -> None:
        """A reader whose read fails since it is being closed closes it, too: all is let go of once."""
        released: list[None] = []

        def release() -> Deferred[None]:
            released.append(None)
            return succeed(None)

        upstream = Upstream()

        async def pieces() -> AsyncGenerator[Piece, None]:
            yield await upstream.read()

        stream = GeneratorStream(pieces(), upstream, release=release)

        async def read() -> None:
            async with closing(stream):
                await stream.read()

        reading = begun(read())
        self.successResultOf(stream.close())
        self.failureResultOf(reading, StreamClosed)
        self.assertEqual(len(released), 1)

    def test_failing_close(self) -> None:
        """What goes wrong when it is closed is logged, and the rest is closed."""

        @stage
        async def fails(stream: IByteStream) -> AsyncGenerator[Piece, None]:
            try:
                yield await stream.read()
            finally:
                raise ZeroDivisionError

        upstream = Upstream()
        upstream.write(b"a")
        stream = fails(upstream)
        self.successResultOf(begun(stream.read()))
        self.successResultOf(stream.close())
        self.assertTrue(upstream.is_closed)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class PushedStreamTests(Tests):
    def setUp(self) -> None:
        self.calls: list[str] = []

    def make(self, bound: int = 0) -> PushedStream:
        pause, resume, closed = (lambda name=name: self.calls.append(name) for name in ("pause", "resume", "closed"))
        return PushedStream(pause, resume, bound, closed)

    def test_unbuffered(self) -> None:
        """With no bound the peer waits while anything does; a reader that waits gets what comes at once."""
        stream = self.make()
        stream.write(b"a")
        self.assertEqual((self.calls, stream.waiting), (["pause"], 1))
        stream.write(b"b")  # was on its way
        self.assertEqual(self.calls, ["pause"])
        self.successResultOf(begun(stream.read()))
        self.assertEqual(self.calls, ["pause"])
        self.successResultOf(begun(stream.read()))
        self.assertEqual((self.calls, stream.waiting), (["pause", "resume"], 0))
        read = begun(stream.read())
        stream.write(b"c")
        self.assertEqual((self.successResultOf(read), self.calls), (b"c", ["pause", "resume"]))

    def test_bound(self) -> None:
        """Up to the bound may wait, of which many small pieces take more than their bytes."""
        for piece in (b"x" * 1000, b"x"):
            self.calls.clear()
            stream = self.make(10_000)
            count = 0
            while not self.calls:
                stream.write(piece)
                count += 1
            self.assertTrue(count == 10 if len(piece) == 1000 else 100 < count < 200, count)
            self.successResultOf(begun(stream.read()))
            self.assertEqual(self.calls, ["pause", "resume"])

    def test_end_after_pieces(self) -> None:
        stream = self.make()
        stream.write(b"a")
        stream.end()
        self.assertEqual(self.pieces_of(stream), [b"a"])
        stream.close()
        self.assertEqual(self.calls, ["pause", "resume"])

    def test_closed_early(self) -> None:
        """The pusher is told once, and not kept waiting; what comes is dropped."""
        stream = self.make()
        stream.write(b"a")
        self.successResultOf(stream.close())
        self.successResultOf(stream.close())
        self.assertEqual(self.calls, ["pause", "closed", "resume"])
        stream.write(b"b")
        stream.end()
        self.assertEqual((stream.waiting, self.calls), (0, ["pause", "closed", "resume"]))

    def test_lost_after_the_end(self) -> None:
        """What is lost after all has come is not missed."""
        stream = self.make()
        stream.write(b"a")
        stream.end()
        stream.fail(ZeroDivisionError())
        self.assertEqual(self.pieces_of(stream), [b"a"])


class ReadAllTests(Tests):
    def test_all(self) -> None:
        for pieces in ([], [b"ab"], [b"a", memoryview(b"bc")], [memoryview(b"abc")]):
            upstream = Upstream()
            read = begun(read_all(upstream, 3))
            for piece in pieces:
                upstream.write(piece)
            upstream.end()
            result = self.successResultOf(read)
            self.assertIs(type(result), bytes)
            self.assertEqual((result, upstream.is_closed), (b"".join(pieces), True))

    def test_too_large(self) -> None:
        upstream = Upstream()
        read = begun(read_all(upstream, 3))
        upstream.write(b"abc")
        self.assertNoResult(read)
        upstream.write(b"d")
        self.failureResultOf(read, TooLarge)
        self.assertTrue(upstream.is_closed)


class StagesTests(Tests):
    def test_counted(self) -> None:
        counts: list[int] = []
        self.pieces_of(counted(BytesStream([b"a", b"bcd"]), counts.append))
        self.assertEqual(counts, [1, 3])

    def test_limited(self) -> None:
        self.assertEqual(self.pieces_of(limited(BytesStream([b"ab", b"c"]), 3, ZeroDivisionError)), [b"ab", b"c"])
        stream = limited(BytesStream([b"ab", b"cd"]), 3, ZeroDivisionError)
        self.assertEqual(self.failure_of(stream, ZeroDivisionError), [b"ab"])

    def test_exact(self) -> None:
        self.assertEqual(self.pieces_of(exact(BytesStream([b"ab", b"c"]), 3)), [b"ab", b"c"])
        self.assertEqual(self.pieces_of(exact(BytesStream(), 0)), [])
        self.assertEqual(self.failure_of(exact(BytesStream([b"ab", b"c"]), 4), SizeMismatch), [b"ab", b"c"])
        self.assertEqual(self.failure_of(exact(BytesStream([b"ab", b"cd"]), 3), SizeMismatch), [b"ab"])

    def test_cut(self) -> None:
        """Any range; and no more is read than that."""
        data = [b"ab", b"cde", b"f"]
        whole = b"".join(data)
        for offset in range(8):
            for length in (None, *range(8)):
                expected = whole[offset:] if length is None else whole[offset : offset + length]
                pieces = self.pieces_of(cut(BytesStream(data), offset, length))
                self.assertEqual((b"".join(pieces), b"" in pieces), (expected, False))
        upstream = Upstream()
        upstream.write(b"abc")
        self.assertEqual(self.pieces_of(cut(upstream, 1, 2)), [b"bc"])

    def test_joined(self) -> None:
        """Each is opened when it is its turn, and closed when it is over."""
        first, second = Upstream(), Upstream()
        opened: list[Upstream] = []

        def opening(stream: Upstream) -> Callable[[], Deferred[IByteStream]]:
            def opens() -> Deferred[IByteStream]:
                opened.append(stream)
                return succeed(stream)

            return opens

        stream = joined([opening(first), opening(second)])
        read = begun(stream.read())
        self.assertEqual(opened, [first])
        first.write(b"a")
        self.assertEqual(self.successResultOf(read), b"a")
        first.end()
        read = begun(stream.read())
        self.assertEqual((opened, first.is_closed), ([first, second], True))
        second.write(b"b")
        second.end()
        self.assertEqual(self.successResultOf(read), b"b")
        self.assertEqual((self.pieces_of(stream), second.is_closed), ([], True))


class AwaitingTests(Tests):
    def test_end_waits(self) -> None:
        """The bytes pass; the end comes when the other thing has."""
        work: Deferred[object] = Deferred()
        stream = awaiting(BytesStream(b"a"), work)
        self.assertEqual(self.successResultOf(begun(stream.read())), b"a")
        end = begun(stream.read())
        self.assertNoResult(end)
        work.callback(None)
        self.assertEqual(self.successResultOf(end), b"")

    def test_fails_at_once(self) -> None:
        """Also while the next piece is waited for, before it was read, and at the end."""
        for reads in (0, 1, 2):
            work: Deferred[object] = Deferred()
            upstream = Upstream()
            stream = awaiting(upstream, work)
            if reads == 2:
                upstream.end()
            read = begun(stream.read()) if reads else None
            work.errback(ZeroDivisionError())
            self.failureResultOf(read or begun(stream.read()), ZeroDivisionError)
            self.assertTrue(upstream.is_closed or reads == 2)
            self.successResultOf(stream.close())

    def test_closing_waits(self) -> None:
        work: Deferred[object] = Deferred()
        stream = awaiting(BytesStream(b"a"), work)
        self.successResultOf(begun(stream.read()))
        closed = stream.close()
        self.assertNoResult(closed)
        work.errback(ZeroDivisionError())  # which nobody wants to know any more
        self.successResultOf(closed)


class PieceBufferTests(Tests):
    def test_take(self) -> None:
        """So many bytes, in order, of pieces of any size."""
        data = [b"a", b"bcd", memoryview(b"efghij"), b"k"]
        for size in range(12):
            buffer = PieceBuffer()
            for piece in data:
                buffer.add(piece)
            first = buffer.take(size)
            self.assertEqual(buffer.size, 11 - size)
            rest = buffer.take()
            self.assertEqual((b"".join(first), b"".join(rest)), (b"abcdefghijk"[:size], b"abcdefghijk"[size:]))
            self.assertEqual((buffer.size, buffer.take()), (0, []))

    def test_few_bytes_are_copied(self) -> None:
        """A view would keep all of a piece for them; what is left of most of it is not copied."""
        for sizes, kind in (((40,), memoryview), ((60,), bytes), ((20, 20), memoryview), ((20, 40), bytes)):
            buffer = PieceBuffer()
            buffer.add(bytes(100))
            for size in sizes:
                buffer.take(size)
            self.assertEqual([type(left) for left in buffer.take()], [kind])


class BesideReadTests(SynchronousTestCase):
    """L{Beside.run}: a read that goes on while its owner does something else."""

    def setUp(self) -> None:
        self.upstream = Upstream()
        self.reading: Beside[Piece] = Beside()

    def result(self) -> Deferred[Piece | None]:
        return begun(self.reading.result())

    def test_at_hand(self) -> None:
        """What does not wait is over at once; so is what fails."""
        for stream in (BytesStream(b"a"), joined([lambda: succeed(BytesStream(b"a"))])):
            self.reading.run(stream.read())
            self.assertFalse(self.reading.is_running)
            self.assertEqual(self.successResultOf(self.result()), b"a")
            stream.close()
            self.reading.run(stream.read())
            self.failureResultOf(self.result(), StreamClosed)
        self.reading.run(succeed(b"b"))
        self.assertEqual(self.successResultOf(self.result()), b"b")

    def test_waits(self) -> None:
        """Its result comes later, also of several waits in a row, and its failure."""
        stream = limited(self.upstream, 3, ZeroDivisionError)
        self.reading.run(stream.read())
        self.assertTrue(self.reading.is_running)
        result = self.result()
        self.upstream.write(b"abc")
        self.assertEqual(self.successResultOf(result), b"abc")
        self.reading.run(stream.read())
        self.upstream.write(b"d")
        self.failureResultOf(self.result(), ZeroDivisionError)

        async def twice() -> Piece:
            try:
                await first
            except KeyError:
                pass
            return await second

        first: Deferred[None] = Deferred()
        second: Deferred[Piece] = Deferred()
        self.reading.run(twice())
        first.errback(KeyError())
        self.assertTrue(self.reading.is_running)
        second.callback(b"e")
        self.assertEqual(self.successResultOf(self.result()), b"e")

    def test_woken(self) -> None:
        """A wait ends with the work, or when it is woken, or cancelled: the work goes on then."""
        self.reading.run(self.upstream.read())
        waiting = begun(self.reading.wait())
        self.assertNoResult(waiting)
        self.reading.wake()
        self.successResultOf(waiting)
        waiting = begun(self.reading.wait())
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertTrue(self.reading.is_running)
        waiting = begun(self.reading.wait())
        self.upstream.fail(ZeroDivisionError())
        self.successResultOf(waiting)
        self.failureResultOf(self.result(), ZeroDivisionError)
        self.successResultOf(begun(self.reading.wait()))
        self.reading.wake()


class BesideTests(Tests):
    def setUp(self) -> None:
        self.disk = HeldDisk()
        self.seen: list[bytes] = []

    def see(self, pieces: list[Piece]) -> None:
        """Work."""
        self.seen.append(b"".join(pieces))

    def test_runs_beside(self) -> None:
        """Pieces pass while the thread works; the reader waits once it is a whole batch behind."""
        stream = beside(BytesStream([b"ab", b"cd", b"ef", b"gh", b"i"]), self.disk, self.see, 4)
        for piece in (b"ab", b"cd", b"ef"):
            self.assertEqual(self.successResultOf(begun(stream.read())), piece)
        self.assertEqual(len(self.disk.jobs), 1)
        read = begun(stream.read())
        self.assertNoResult(read)
        self.disk.work()
        self.assertEqual((self.successResultOf(read), self.seen, len(self.disk.jobs)), (b"gh", [b"abcd"], 1))
        self.disk.work()
        self.assertEqual((self.pieces_of(stream), self.seen), ([b"i"], [b"abcd", b"efgh", b"i"]))

    def test_done_before_the_end(self) -> None:
        big = b"x" * (64 << 10)
        stream = beside(BytesStream([big, b"y"]), self.disk, self.see)
        for _ in range(2):
            self.successResultOf(begun(stream.read()))
        end = begun(stream.read())
        self.assertNoResult(end)
        self.disk.work()
        self.assertEqual((self.successResultOf(end), self.seen), (b"", [big + b"y"]))

    def test_small(self) -> None:
        """For a few bytes no thread is asked."""
        self.assertEqual(self.pieces_of(beside(BytesStream([b"a", b"b"]), self.disk, self.see)), [b"a", b"b"])
        self.assertEqual((self.seen, self.disk.jobs), ([b"ab"], []))

    def test_many_small_pieces(self) -> None:
        """They do not gather until their bytes are many: each takes far more memory than its byte."""
        stream = beside(BytesStream([b"a"] * 2500), InlineDisk(), self.see)
        self.assertEqual(len(self.pieces_of(stream)), 2500)
        self.assertEqual([len(each) for each in self.seen], [1024, 1024, 452])

    def test_at_end(self) -> None:
        """What is to be looked at when all is done fails the end."""
        ended: list[int] = []
        stream = beside(
            BytesStream([b"ab", b"cd"]), InlineDisk(), self.see, at_end=lambda: ended.append(len(self.seen))
        )
        self.assertEqual((self.pieces_of(stream), ended), ([b"ab", b"cd"], [1]))

        def fails() -> None:
            raise ZeroDivisionError

        for data in ([b"ab"], []):
            stream = beside(BytesStream(data), InlineDisk(), self.see, at_end=fails)
            self.assertEqual(self.failure_of(stream, ZeroDivisionError), data)
        ended.clear()
        stream = beside(BytesStream([b"ab"]), InlineDisk(), lambda pieces: fails(), at_end=lambda: ended.append(1))
        self.assertEqual((self.failure_of(stream, ZeroDivisionError), ended), ([b"ab"], []))

    def test_work_fails(self) -> None:
        def fails(pieces: list[Piece]) -> None:
            raise ZeroDivisionError

        stream = beside(BytesStream([b"ab", b"cd"]), InlineDisk(), fails, 2)
        self.assertEqual(self.failure_of(stream, ZeroDivisionError), [b"ab"])

    def test_work_fails_while_it_is_waited_for(self) -> None:
        going: Beside[None] = Beside()
        work: Deferred[None] = Deferred()
        self.successResultOf(begun(going.start(lambda: work)))
        waiting = begun(going.result())
        self.assertNoResult(waiting)
        work.errback(ZeroDivisionError())
        self.failureResultOf(waiting, ZeroDivisionError)
        self.successResultOf(begun(going.close()))

    def test_work_fails_while_waiting(self) -> None:
        """A reader that waits for the next piece gets the failure at once, and nothing waits for it any more."""

        def fails(pieces: list[Piece]) -> None:
            raise ZeroDivisionError

        upstream = Upstream()
        upstream.write(b"a")
        stream = beside(upstream, self.disk, fails, 1)
        self.successResultOf(begun(stream.read()))
        read = begun(stream.read())
        self.disk.work()
        self.failureResultOf(read, ZeroDivisionError)
        self.assertTrue(upstream.is_closed)

    def test_updating(self) -> None:
        """Hashes are work."""
        sha, md5 = hashlib.sha256(), hashlib.md5()
        self.pieces_of(beside(BytesStream([b"a", memoryview(b"bcd")]), InlineDisk(), updating(sha, md5), 1))
        self.assertEqual(sha.digest(), hashlib.sha256(b"abcd").digest())
        self.assertEqual(md5.digest(), hashlib.md5(b"abcd").digest())

    def test_closed_while_thread_works(self) -> None:
        """Closing waits for the thread, whatever it comes to: it uses what would be let go of."""
        upstream = Upstream()
        stream = beside(upstream, self.disk, self.see, 1)
        for _ in range(2):
            upstream.write(b"a")
        self.successResultOf(begun(stream.read()))
        read = begun(stream.read())
        closed = stream.close()
        self.assertNoResult(closed)
        self.assertFalse(upstream.is_closed)
        self.disk.work()
        self.failureResultOf(read, StreamClosed)
        self.successResultOf(closed)
        self.assertEqual((upstream.is_closed, self.seen), (True, [b"a"]))

    def test_cancelled_while_thread_works(self) -> None:
        """So does a read that is cancelled; the thread is not disturbed, and its failure is nobody's."""

        def fails(pieces: list[Piece]) -> None:
            raise ZeroDivisionError

        stream = beside(BytesStream([b"a", b"b"]), self.disk, fails, 1)
        self.successResultOf(begun(stream.read()))
        read = begun(stream.read())
        read.cancel()
        self.assertNoResult(read)
        self.disk.work()
        self.failureResultOf(read, CancelledError)
        self.successResultOf(stream.close())

    def test_results(self) -> None:
        """L{Beside} gives the result of what was started last, once."""
        going: Beside[int] = Beside()
        self.assertIsNone(self.successResultOf(begun(going.result())))
        self.successResultOf(begun(going.start(self.disk.run, lambda: 1)))
        second = begun(going.start(self.disk.run, lambda: 2))
        self.assertNoResult(second)
        self.disk.work()
        self.successResultOf(second)
        self.disk.work()
        self.assertEqual(self.successResultOf(begun(going.result())), 2)
        self.assertIsNone(self.successResultOf(begun(going.result())))
        self.successResultOf(begun(going.close()))


class DeferredTests(SynchronousTestCase):
    """A coroutine method as one that returns a Deferred."""

    def setUp(self) -> None:
        self.done: list[str] = []

    @deferred
    async def method(self, what: Any, more: str = "") -> str:
        """Says why."""
        self.done.append("begun")
        if isinstance(what, Exception):
            raise what
        if what is not None:
            await what
        self.done.append("ended")
        return more

    def test_result(self) -> None:
        self.assertEqual(self.successResultOf(self.method(None, more="x")), "x")

    def test_error(self) -> None:
        """What it raises before it waits is no exception for the caller."""
        self.failureResultOf(self.method(InvalidName("x")), InvalidName)

    def test_starts_at_once(self) -> None:
        waiting: Deferred[None] = Deferred()
        result = self.method(waiting)
        self.assertEqual(self.done, ["begun"])
        waiting.callback(None)
        self.successResultOf(result)
        self.assertEqual(self.done, ["begun", "ended"])

    def test_cancel(self) -> None:
        """To cancel it is to cancel what it waits for."""
        waiting: Deferred[None] = Deferred()
        result = self.method(waiting)
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertTrue(waiting.called)
        self.assertEqual(self.done, ["begun"])

    def test_name(self) -> None:
        self.assertEqual((self.method.__name__, self.method.__doc__), ("method", "Says why."))
