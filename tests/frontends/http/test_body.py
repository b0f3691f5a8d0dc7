"""Bodies as they come in."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.budget import ByteBudget
from storehouse.core.streams import IByteStream, StreamClosed
from storehouse.errors import BadRequest, Overloaded
from storehouse.frontends.http.body import BodyTooLarge, RequestBody
from storehouse.frontends.http.errors import ClientGone
from tests.conformance.streams import ByteStreamTests, begun


class _Source:
    """Notes what the body asks of its connection."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def pause_body(self) -> None:
        self.asked.append("pause")

    def resume_body(self) -> None:
        self.asked.append("resume")

    def body_wanted(self) -> None:
        self.asked.append("wanted")


class RequestBodyTests(ByteStreamTests, SynchronousTestCase):
    """L{RequestBody} alone."""

    def setUp(self) -> None:
        self.source = _Source()

    def make_stream(self) -> IByteStream:
        body = self.body(len(self.DATA))
        body.received(self.DATA[:3])
        body.received(self.DATA[3:])
        body.finished()
        return body

    def body(self, length: int | None) -> RequestBody:
        return RequestBody(self.source, length)

    def read(self, body: RequestBody, limit: int) -> Deferred[bytes]:
        return Deferred.fromCoroutine(body.read_all(limit))

    def test_piece_by_piece(self) -> None:
        body = self.body(6)
        first = begun(body.read())
        self.assertNoResult(first)
        body.received(b"abc")
        self.assertEqual(self.successResultOf(first), b"abc")
        second, third = begun(body.read()), None
        body.received(b"def")
        self.assertEqual(self.successResultOf(second), b"def")
        third = begun(body.read())
        body.finished()
        self.assertEqual(self.successResultOf(third), b"")
        self.assertEqual((body.came, body.complete), (6, True))
        self.assertEqual(self.source.asked, ["wanted"])

    def test_empty(self) -> None:
        body = self.body(0)
        self.assertTrue(body.complete)
        self.assertEqual(self.successResultOf(self.read(body, 0)), b"")

    def test_waits_until_wanted(self) -> None:
        """What comes early waits with the peer, but for one piece."""
        body = self.body(6)
        body.received(b"abc")
        self.assertEqual(self.source.asked, ["pause"])
        self.assertEqual((body.waiting, body.untouched), (3, True))
        done = self.read(body, 6)
        self.assertEqual(self.source.asked, ["pause", "wanted", "resume"])
        self.assertEqual((body.waiting, body.untouched), (0, False))
        body.received(b"def")
        body.finished()
        self.assertEqual(self.successResultOf(done), b"abcdef")

    def test_whole_before_wanted(self) -> None:
        """A connection that was paused for a body goes on once the body is in."""
        body = self.body(3)
        body.received(b"abc")
        body.finished()
        self.assertEqual(self.source.asked, ["pause", "resume"])
        self.assertEqual(self.successResultOf(self.read(body, 3)), b"abc")
        self.assertEqual(self.source.asked, ["pause", "resume", "wanted"])

    def test_slow_reader(self) -> None:
        """The peer waits while nobody reads, and goes on when somebody does."""
        body = self.body(None)
        first = begun(body.read())
        for _ in range(2):
            body.received(b"abc")
        self.assertEqual(self.successResultOf(first), b"abc")
        self.assertEqual(self.source.asked, ["wanted", "pause"])
        self.assertEqual(self.successResultOf(begun(body.read())), b"abc")
        self.assertEqual(self.source.asked, ["wanted", "pause", "resume"])

    def test_suspended(self) -> None:
        """The peer waits as well if it is to, although somebody reads; and nobody is paused or resumed twice."""
        body = self.body(10)
        first = begun(body.read())
        body.suspend()
        body.suspend()
        body.received(b"on its way")
        self.assertEqual(self.successResultOf(first), b"on its way")
        body.received(b"more")
        self.assertEqual(self.source.asked, ["wanted", "pause"])
        self.assertEqual(self.successResultOf(begun(body.read())), b"more")
        self.assertEqual(self.source.asked, ["wanted", "pause"])
        body.proceed()
        body.proceed()
        self.assertEqual(self.source.asked, ["wanted", "pause", "resume"])

    def test_suspended_at_the_end(self) -> None:
        """A connection does not stay paused for a body that is in, or that nobody wants."""
        ends: list[Callable[[RequestBody], object]] = [RequestBody.finished, RequestBody.close]
        for end in ends:
            self.source.asked.clear()
            body = self.body(3)
            body.suspend()
            body.received(b"abc")
            end(body)
            body.proceed()
            body.suspend()
            self.assertEqual(self.source.asked, ["pause", "resume"])

    def test_account(self) -> None:
        """What waits is told of, until it was read or is not wanted."""
        body = self.body(None)
        counts: list[int] = []
        body.account = counts.append
        body.received(b"abc")
        body.received(b"de")
        self.successResultOf(begun(body.read()))
        body.close()
        self.assertEqual(counts, [3, 2, -3, -2])

    def test_closed(self) -> None:
        """What comes then is thrown away, and the peer does not wait."""
        body = self.body(10)
        body.received(b"abc")
        self.successResultOf(body.close())
        for _ in range(10):
            body.received(b"def")
        body.finished()
        self.assertEqual(self.source.asked, ["pause", "resume"])
        self.failureResultOf(begun(body.read()), StreamClosed)

    def test_fails_later(self) -> None:
        body = self.body(10)
        done = self.read(body, 10)
        body.failed(ClientGone("gone"))
        self.failureResultOf(done, ClientGone)

    def test_failed_before(self) -> None:
        body = self.body(10)
        body.received(b"abc")
        body.failed(ClientGone("gone"))
        self.failureResultOf(self.read(body, 10), ClientGone)

    def test_read_bound(self) -> None:
        """An announced length is refused before a byte is asked for; another as soon as it is passed."""
        self.failureResultOf(self.read(self.body(11), 10), BodyTooLarge)
        self.assertEqual(self.source.asked, [])
        body = self.body(None)
        done = self.read(body, 10)
        body.received(b"x" * 10)
        self.assertNoResult(done)
        body.received(b"x")
        self.failureResultOf(done, BodyTooLarge)
        body.received(b"thrown away")
        self.assertEqual(body.waiting, 0)
        exact = self.body(None)
        done = self.read(exact, 10)
        exact.received(b"x" * 10)
        exact.finished()
        self.assertEqual(self.successResultOf(done), b"x" * 10)

    def test_early_bytes_beyond_the_bound(self) -> None:
        body = self.body(None)
        body.received(b"x" * 11)
        self.failureResultOf(self.read(body, 10), BodyTooLarge)

    def test_no_room(self) -> None:
        """While there is no room for more the peer waits; if its client leaves meanwhile, that is the error."""
        for is_lost in (False, True):
            self.source.asked.clear()
            budget = ByteBudget(4 << 20)
            body = self.body(None)
            with budget.hold(4 << 20) as other, budget.hold(1 << 20) as hold:
                other.count(4 << 20)
                done = Deferred.fromCoroutine(body.read_all(1 << 20, hold))
                body.received(b"x" * 200_000)
                self.assertNoResult(done)
                self.assertEqual(self.source.asked, ["wanted", "pause"])
                body.received(b"y" * 1000)
                self.source.asked.clear()
                if is_lost:
                    body.failed(ClientGone("gone"))
                    self.failureResultOf(done, ClientGone)
                    self.assertEqual(budget.waiting, 0)
                    continue
                other.count(-other.held)
                self.assertEqual(self.source.asked, ["resume"])
                body.finished()
                self.assertEqual(len(self.successResultOf(done)), 201_000)

    def test_no_room_at_all(self) -> None:
        body = self.body(None)
        with ByteBudget(1 << 20).hold(1 << 20) as hold:
            self.patch(hold, "take", lambda size: (_ for _ in ()).throw(Overloaded("full")))
            done = Deferred.fromCoroutine(body.read_all(1 << 20, hold))
            body.received(b"abc")
            self.failureResultOf(done, Overloaded)

    def test_drain(self) -> None:
        """What nobody wants is thrown away; it is over when it has come, or will not."""
        ends: list[Callable[[RequestBody], object]] = [
            RequestBody.finished,
            lambda body: body.failed(ClientGone("gone")),
        ]
        for end in ends:
            body = self.body(10)
            body.received(b"abc")
            done = Deferred.fromCoroutine(body.drain())
            self.assertNoResult(done)
            self.assertEqual((body.waiting, body.untouched, body.is_small), (0, False, True))
            end(body)
            self.successResultOf(done)
            self.successResultOf(Deferred.fromCoroutine(body.drain()))
        self.assertNotIn("wanted", self.source.asked)

    def test_errors_are_the_clients(self) -> None:
        self.assertTrue(issubclass(ClientGone, BadRequest))
