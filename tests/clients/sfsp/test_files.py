"""Tests of files as chunks: L{storehouse.clients.sfsp.files} and C{ranges}."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from storehouse.clients.sfsp import Incomplete, Ranges, get_file, missing, put_file, resume_file, stream_file
from storehouse.clients.sfsp.files import hand_over, spread
from storehouse.core.jobs import InlineDisk
from storehouse.core.sfsp import Code, List, Receive, Send, Status
from storehouse.core.streams import BytesStream, read_all
from storehouse.errors import AlreadyExists, Conflict, NoSuchChunk, RemoteUnavailable
from tests.clients.sfsp.case import ModelCase
from tests.conformance.streams import Upstream, begun


class LateDisk(InlineDisk):
    """Its results come when the clock moves."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock

    def run(self, f: Any, *args: Any, **kwargs: Any) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        self.clock.callLater(0.001, InlineDisk.run(self, f, *args, **kwargs).chainDeferred, result)
        return result


class RangesTests(SynchronousTestCase):
    """L{Ranges} is a set."""

    @given(st.lists(st.lists(st.integers(0, 30) | st.integers(2**64 - 5, 2**64 - 1), max_size=8)), st.integers(0, 40))
    def test_is_a_set(self, batches: list[list[int]], count: int) -> None:
        ranges, model = Ranges(), set[int]()
        for batch in batches:
            ranges.add_all(batch)
            model.update(batch)
        self.assertEqual(list(ranges), sorted(model))
        self.assertEqual(ranges.count, len(model))
        self.assertEqual(bool(ranges), bool(model))
        self.assertEqual(list(ranges.gaps(count)), [number for number in range(count) if number not in model])
        for number in (*range(32), 2**64 - 1):
            self.assertEqual(number in ranges, number in model)
        half = len(batches) // 2
        parts = [Ranges(), Ranges()]
        for at, batch in enumerate(batches):
            parts[at < half].add_all(batch)
        self.assertEqual(Ranges.union(*parts), ranges)
        if model:
            self.assertEqual((ranges.first, ranges.last), (min(model), max(model)))

    def test_text(self) -> None:
        self.assertEqual(str(Ranges([(3, 3), (5, 6), (8, 10)])), "3, 5, 6, 8 to 10")
        self.assertEqual(str(Ranges([(n, n) for n in range(0, 20, 2)])), "0, 2, 4, 6, 8, 10, 12, 14 and 2 more")

    def test_many_take_little(self) -> None:
        ranges = Ranges()
        for start in range(0, 1_000_000, 8192):
            ranges.add_all(tuple(range(start, start + 8192)))
        self.assertEqual(len(ranges.spans), 1)


class FilesCase(ModelCase):
    """Has a disk and local files."""

    def setUp(self) -> None:
        super().setUp()
        self.disk = LateDisk(self.clock)
        self.directory = self.mktemp()
        os.makedirs(self.directory)
        self.reports: list[tuple[int, int | None]] = []

    def local(self, data: bytes, name: str = "local") -> str:
        """A file."""
        path = os.path.join(self.directory, name)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def report(self, done: int, total: int | None) -> None:
        """Remember it."""
        self.reports.append((done, total))

    def put(self, data: bytes, chunk: int = 100, **kwargs: Any) -> Deferred[Any]:
        """Put a file."""
        self.up = self.client(retries=kwargs.pop("retries", 5))
        return put_file(self.up, self.disk, b"n", self.local(data), chunk, report=self.report, **kwargs)

    def resume(self, data: bytes, chunk: int | None = None, verify: bool = False) -> Deferred[Any]:
        """Resume one."""
        return resume_file(self.client(), self.disk, b"n", self.local(data), chunk, verify, self.report)

    def descriptors(self) -> int:
        """How many files this process has open."""
        return len(os.listdir("/proc/self/fd"))


class PutTests(FilesCase):
    """L{put_file} and L{resume_file}."""

    def test_sizes(self) -> None:
        """A file of any size; the last chunk is sent before all others."""
        before = self.descriptors()
        for size in (0, 1, 99, 100, 101, 200, 950, 1_000_000):
            self.model.files.clear()
            self.model.seen.clear()
            self.reports.clear()
            data = os.urandom(size)
            chunk = 100 if size < 1000 else 300_000
            done = self.wait(self.put(data, chunk))
            self.assertEqual(self.model.content(b"n"), data)
            count = max(1, -(-size // chunk))
            self.assertEqual((done.count, done.sent, done.size), (count, count, size))
            self.assertEqual(sorted(self.model.files[b"n"]), list(range(count)))
            sends = [request.id for request in self.model.seen if isinstance(request, Send)]
            self.assertEqual(sends[0], count - 1)
            if size:
                self.assertEqual(self.reports[-1], (size, size))
        self.assertEqual(self.descriptors(), before)

    def test_already_there(self) -> None:
        """What is there is replaced only if that is said; and not if chunks would be left over."""
        self.model.put(b"n", b"a", b"b")
        self.fails(self.put(b"x" * 150), AlreadyExists, "already has chunks of 'n': 0, 1")
        self.assertEqual(self.model.content(b"n"), b"ab")
        self.wait(self.put(b"x" * 150, overwrite=True))
        self.assertEqual(self.model.content(b"n"), b"x" * 150)
        self.fails(self.put(b"x" * 50, overwrite=True), Conflict, "up to 1; this file has only 1")

    def test_no_file(self) -> None:
        """No file, or none that has a size."""
        client = self.client()
        self.fails(put_file(client, self.disk, b"n", "not there"), FileNotFoundError)
        self.fails(put_file(client, self.disk, b"n", "/dev/null"), Conflict, "not a regular file")
        self.assertEqual(self.model.seen, [])

    def test_changes(self) -> None:
        """A file that changes while it is sent."""
        path: list[str] = []

        def early(request: Any) -> None:
            if isinstance(request, Send) and not path:
                path.append(self.local(b"y" * 950))

        self.model.early = early
        self.fails(self.put(b"x" * 950), Conflict, "changed while it was sent")
        self.model.files.clear()
        self.model.early = lambda request: os.truncate(path[0], 10) if isinstance(request, Send) else None
        self.fails(self.put(b"x" * 950), Conflict, "changed while it was sent")
        # Nor is a chunk sent of which there are fewer bytes now than were announced.
        self.fails(self.put(bytes(2_000_000), 2_000_000), Conflict, "changed while it was sent")
        # Not even the one chunk of a small file was whole.
        self.assertEqual(self.model.files, {})

    def test_dropped_connections(self) -> None:
        """Wherever they break, nothing is missing afterwards, or the missing IDs are reported."""
        data = os.urandom(950)
        for limit in range(0, 400, 7):
            self.model.files.clear()
            self.model.limits = [None] * self.model.sessions + [limit, 2 * limit, None, limit]
            self.wait(self.put(data))
            self.assertEqual(self.model.content(b"n"), data)
        failures = 0
        for limit in range(0, 500, 7):
            self.model.files.clear()
            # The first connections have room for some chunks; then there is nobody any more.
            sessions = self.model.sessions
            self.model.limits = [None] * sessions + [9 + 1 + limit] * 4 + [0] * 1000
            put = self.put(data, retries=1)
            outcome: list[Any] = []
            put.addBoth(outcome.append)
            self.wait(put)
            there = set(self.model.files.get(b"n", {}))
            if isinstance(outcome[0], Failure):
                error = outcome[0].value
                self.assertIsInstance(error, Incomplete)
                self.assertIn("the connection broke", str(error))
                self.assertTrue(set(range(10)) - there <= set(error.missing))
                failures += 1
            else:
                self.assertEqual(len(there), 10)
            self.model.limits = []
            self.assertEqual(self.wait(missing(self.client(), b"n", 10)).count, 10 - len(there))
            done = self.wait(self.resume(data, 100))
            self.assertEqual(done.sent, 10 - len(there))
            self.assertEqual(self.model.content(b"n"), data)
        self.assertGreater(failures, 10)

    def test_some_fail(self) -> None:
        """What is missing is reported exactly; a file that is not whole has a gap before its end."""
        self.model.early = lambda request: (
            Status(Code.INTERNAL, b"disk full") if isinstance(request, Send) and request.id in (3, 7, 8) else None
        )
        error = self.fails(
            self.put(b"x" * 1000), Incomplete, "chunks 3, 7, 8 of 'n' were not stored: the server failed: disk full"
        )
        self.assertIsInstance(error, Incomplete)
        self.assertEqual(sorted(self.model.files[b"n"]), [0, 1, 2, 4, 5, 6, 9])
        self.model.early = lambda request: Status(Code.INTERNAL, b"") if isinstance(request, Send) else None
        self.model.files.clear()
        self.fails(self.put(b"x" * 1000), Incomplete, "chunks 0 to 9 of 'n' were not stored")

    def test_resume_finds_the_size(self) -> None:
        """From whatever is there; only what is missing is sent, and two chunks are compared."""
        data = os.urandom(950)
        chunks = {id: data[100 * id : 100 * id + 100] for id in range(10)}
        for there in ([9], [0], [4, 9], [0, 9], [5, 6], [0, 1, 2, 4, 5, 6, 7, 8, 9], list(range(10)), []):
            self.model.files = {b"n": {id: chunks[id] for id in there}} if there else {}
            self.model.seen.clear()
            done = self.wait(self.resume(data, None if there else 100))
            self.assertEqual((done.sent, done.chunk), (10 - len(there), 100))
            self.assertEqual(self.model.files[b"n"], chunks)
            compared = {request.id for request in self.model.seen if isinstance(request, Receive)}
            self.assertEqual(compared, {there[0], there[-1]} if there else set())
        self.model.files = {b"n": {4: chunks[4]}}
        self.wait(self.resume(data, 100))
        self.assertEqual(self.model.files[b"n"], chunks)
        for small in (b"", b"abc"):
            self.model.put(b"n", small)
            self.assertEqual(self.wait(self.resume(small)).sent, 0)

    def test_resume_another_file(self) -> None:
        """Nothing is sent where another file, or one cut differently, is."""
        data = os.urandom(950)
        chunks = [data[at : at + 100] for at in range(0, 950, 100)]
        for there, words in (
            ({9: b"x" * 50}, "chunk 9 has other bytes"),
            ({9: b"x" * 51}, "a chunk 9 of 51 bytes cannot be the last one of 950 bytes"),
            ({0: chunks[0], 9: chunks[8]}, "chunk 9 has 100 bytes, not 50"),
            ({0: chunks[0], 10: b"x"}, "it has a chunk 10"),
            ({0: data[:99], 1: chunks[1]}, "chunk 1 has"),
            ({0: data + b"x"}, "chunk 0 has 951 bytes, not 950"),
            ({0: b""}, "chunk 0 has 0 bytes"),
        ):
            self.model.files = {b"n": dict(there)}
            self.fails(self.resume(data), Conflict, words)
            self.assertEqual(self.model.files, {b"n": there})
        self.model.files = {b"n": dict(enumerate(chunks[:9]))}
        self.fails(self.resume(data, 200), Conflict, "its chunks have 100 bytes, not 200")
        self.model.files[b"n"][5] = b"y" * 100
        self.fails(self.resume(data, verify=True), Conflict, "chunk 5 has other bytes")
        self.wait(self.resume(data))

    def test_cancel(self) -> None:
        """No file stays open."""
        before = self.descriptors()
        put = self.put(b"x" * 1_000_000, 100_000)
        while not any(isinstance(request, Send) for request in self.model.seen):
            self.clock.advance(0.001)
        put.cancel()
        self.fails(put, CancelledError)
        self.wait(self.up.close())
        self.clock.advance(1)
        self.assertEqual(self.descriptors(), before)


class GetTests(FilesCase):
    """L{get_file} and L{stream_file}."""

    def get(self) -> Deferred[int]:
        """Fetch into the file "got"."""
        self.up = self.client()
        return get_file(self.up, self.disk, b"n", os.path.join(self.directory, "got"), self.report)

    def got(self) -> bytes:
        """What was fetched; nothing is left beside it."""
        self.assertEqual([name for name in os.listdir(self.directory) if name.endswith(".part")], [])
        with open(os.path.join(self.directory, "got"), "rb") as file:
            return file.read()

    def stream(self, client: Any = None) -> tuple[Deferred[int], list[bytes]]:
        """Fetch in order."""
        pieces: list[bytes] = []
        stream = stream_file(client or self.client(connections=1), b"n", self.report)
        return begun(hand_over(stream, lambda data, position: self.disk.run(pieces.append, data))), pieces

    def check(self, *chunks: bytes) -> None:
        """Fetch a file in both ways."""
        self.model.put(b"n", *chunks)
        whole = b"".join(chunks)
        self.assertEqual(self.wait(self.get()), len(whole))
        self.assertEqual(self.got(), whole)
        done, pieces = self.stream()
        self.assertEqual(self.wait(done), len(whole))
        self.assertEqual(b"".join(pieces), whole)

    def test_sizes(self) -> None:
        """Chunks of one size, and others."""
        self.check(b"")
        self.check(b"abc")
        self.check(*[os.urandom(100)] * 50, b"x")
        self.assertIn((5001, 5001), self.reports)
        self.check(os.urandom(700_000), os.urandom(700_000), os.urandom(3))
        self.check(b"a" * 10, b"b" * 100, b"c" * 1000)
        self.check(b"a" * 1000, b"b" * 100, b"", b"c" * 2000, b"d")
        self.check(b"", b"a", b"")

    def test_dropped_connections(self) -> None:
        """Wherever they break, nothing is missing and nothing comes twice."""
        chunks = [os.urandom(100_000) for _ in range(5)]
        for limit in range(0, 100, 6):
            self.model.limits = [None] * self.model.sessions + [limit, 30, None, limit]
            self.check(*chunks)
        lost = 0

        def lose() -> None:
            nonlocal lost
            lost += 1
            for wire in self.endpoint.wires[-4:]:
                wire.lose(ConnectionError("cut"))
            if lost < 5:
                self.clock.callLater(0.003, lose)

        self.clock.callLater(0.002, lose)
        self.check(*chunks)
        self.assertGreater(lost, 1)

    def test_missing(self) -> None:
        """A file that is not whole is not fetched; what was there stays."""
        with open(os.path.join(self.directory, "got"), "wb") as file:
            file.write(b"old")
        self.model.files[b"n"] = {1: b"b", 3: b"d", 6: b"e"}
        for deferred in (self.get(), self.stream()[0]):
            error = self.fails(deferred, Incomplete, "chunks 0, 2, 4, 5 of 'n' were not stored")
            self.assertEqual(list(getattr(error, "missing")), [0, 2, 4, 5])  # noqa: B009
        self.model.files.clear()
        for deferred in (self.get(), self.stream()[0]):
            self.fails(deferred, NoSuchChunk, "there is no file 'n'")
        self.model.put(b"n", *[b"x"] * 10)
        self.model.early = lambda request: Status(Code.NOT_FOUND) if request == Receive(b"n", 7) else None
        for deferred in (self.get(), self.stream()[0]):
            self.fails(deferred, NoSuchChunk, "chunk 7 of 'n' changed during")
        self.model.early = lambda request: Status(Code.INTERNAL, b"") if request != List(b"n") else None
        self.fails(self.get(), RemoteUnavailable)
        self.assertEqual(self.got(), b"old")

    def test_place(self) -> None:
        """A link leads on, a mode stays, a directory that is not there is an error."""
        os.symlink("real", os.path.join(self.directory, "got"))
        path = self.local(b"old", "real")
        os.chmod(path, 0o640)
        self.check(b"new")
        self.assertTrue(os.path.islink(os.path.join(self.directory, "got")))
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o640)
        self.fails(get_file(self.client(), self.disk, b"n", "not/there"), FileNotFoundError)

    def test_cancel(self) -> None:
        """Nothing is left."""
        before = self.descriptors()
        self.model.put(b"n", *[bytes(100_000)] * 10)

        def early(request: Any) -> None:
            if request == Receive(b"n", 5):
                self.clock.callLater(0, got.cancel)

        self.model.early = early
        got = self.get()
        self.fails(got, CancelledError)
        self.clock.advance(1)
        self.assertEqual(os.listdir(self.directory), [])
        self.wait(self.up.close())
        self.assertEqual(self.descriptors(), before)

    def test_output_fails(self) -> None:
        """Its error comes out, once."""
        self.model.put(b"n", bytes(1_000_000), b"")

        def write(data: bytes, position: int) -> Deferred[Any]:
            return self.disk.run(os.write, -1, data)

        self.fails(begun(hand_over(stream_file(self.client(), b"n"), write)), OSError)

    def test_replaced_meanwhile(self) -> None:
        """A chunk of another size is no continuation of the one that broke."""
        self.model.put(b"n", bytes(300_000))
        client = self.client(connections=1)
        stream = stream_file(client, b"n")
        self.wait(begun(stream.read()))
        self.model.put(b"n", bytes(300_001))
        self.endpoint.wires[-1].lose(ConnectionError("cut"))
        self.fails(begun(read_all(stream)), NoSuchChunk, "chunk 0 of 'n' changed during")

    def test_closed_early(self) -> None:
        """A stream that is not read to its end leaves the client as it was."""
        self.model.put(b"n", bytes(300_000), b"x")
        client = self.client(connections=1)
        stream = stream_file(client, b"n")
        self.wait(begun(stream.read()))
        self.wait(stream.close())
        self.assertEqual(self.wait(client.fetch(b"n", 1, read_all)), b"x")


class SpreadTests(SynchronousTestCase):
    """L{spread}."""

    def test_cancel(self) -> None:
        """All are, and who cancelled hears of it when they have ended."""
        going: list[Deferred[None]] = []
        cleaning: Deferred[None] = Deferred()

        async def work(item: int) -> None:
            going.append(Deferred())
            try:
                await going[-1]
            finally:
                if item == 2:
                    await cleaning

        spreading = Deferred.fromCoroutine(spread(range(10), work, 3))
        outcome: list[Any] = []
        spreading.addBoth(outcome.append)
        spreading.cancel()
        self.assertEqual((len(going), outcome), (3, []))
        cleaning.callback(None)
        self.assertTrue(outcome[0].check(CancelledError))

    def test_failure(self) -> None:
        """No more are going, those that were are finished."""
        going: list[Deferred[None]] = []

        def work(item: int) -> Deferred[None]:
            going.append(Deferred())
            return going[-1]

        spreading = Deferred.fromCoroutine(spread(range(10), work, 3))
        going[1].errback(ZeroDivisionError())
        going[0].callback(None)
        self.assertNoResult(spreading)
        going[2].callback(None)
        self.failureResultOf(spreading, ZeroDivisionError)
        self.assertEqual(len(going), 3)


class HandOverTests(SynchronousTestCase):
    """L{hand_over}."""

    def setUp(self) -> None:
        self.writes: list[tuple[bytes, Deferred[None]]] = []
        self.upstream = Upstream()

    def write(self, data: bytes, position: int) -> Deferred[None]:
        self.assertEqual(position, sum(len(data) for data, _ in self.writes))
        self.writes.append((data, Deferred()))
        return self.writes[-1][1]

    def test_waits(self) -> None:
        """It holds no more than a piece beside the one that is being written."""
        count = 0

        def pieces() -> Any:
            nonlocal count
            for _ in range(20):
                count += 100_000
                yield bytes(100_000)

        done = begun(hand_over(BytesStream(pieces()), self.write))
        while not done.called:
            self.assertLess(count - sum(len(data) for data, _ in self.writes[:-1]), 1 << 20)
            self.writes[-1][1].callback(None)
        self.assertEqual(self.successResultOf(done), 2_000_000)
        self.assertEqual(sum(len(data) for data, _ in self.writes), 2_000_000)

    def test_work_fails(self) -> None:
        """While the stream is waited for: it is closed, and the error is that of the work."""
        done = begun(hand_over(self.upstream, self.write))
        self.upstream.write(bytes(300_000))
        self.writes[0][1].errback(ZeroDivisionError())
        self.failureResultOf(done, ZeroDivisionError)
        self.assertTrue(self.upstream.is_closed)

    def test_stream_fails(self) -> None:
        """It waits for the work that runs."""
        done = begun(hand_over(self.upstream, self.write))
        self.upstream.write(bytes(300_000))
        self.upstream.fail(ZeroDivisionError())
        self.assertNoResult(done)
        self.writes[0][1].callback(None)
        self.failureResultOf(done, ZeroDivisionError)

    def test_cancelled(self) -> None:
        """So does who cancels it."""
        done = begun(hand_over(self.upstream, self.write))
        self.upstream.write(bytes(300_000))
        outcome: list[Any] = []
        done.addBoth(outcome.append)
        done.cancel()
        self.assertEqual(outcome, [])
        self.writes[0][1].callback(None)
        self.assertTrue(outcome[0].check(CancelledError))
        self.assertTrue(self.upstream.is_closed)
