"""Bodies as they come in."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from storehouse.errors import BadRequest
from storehouse.frontends.http.body import BodyTooLarge, RequestBody
from storehouse.frontends.http.errors import ClientGone, LengthMismatch


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


@implementer(IConsumer)
class _Consumer:
    def __init__(self) -> None:
        self.data = b""
        self.producer: Any = None
        self.registered = 0

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer
        self.streaming = streaming
        self.registered += 1

    def unregisterProducer(self) -> None:
        self.registered -= 1

    def write(self, data: bytes) -> None:
        self.data += data


class RequestBodyTests(SynchronousTestCase):
    """L{RequestBody} alone."""

    def setUp(self) -> None:
        self.source = _Source()
        self.consumer = _Consumer()

    def body(self, length: int | None) -> RequestBody:
        return RequestBody(self.source, length)

    def read(self, body: RequestBody, limit: int) -> Deferred[bytes]:
        return Deferred.fromCoroutine(body.read(limit))

    def test_deliver(self) -> None:
        body = self.body(6)
        done = body.deliver(self.consumer)
        self.assertTrue(self.consumer.streaming)
        body.received(b"abc")
        self.assertNoResult(done)
        body.received(b"def")
        body.finished()
        self.assertEqual(self.successResultOf(done), 6)
        self.assertEqual((self.consumer.data, self.consumer.registered), (b"abcdef", 0))
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
        done = self.read(body, 6)
        self.assertEqual(self.source.asked, ["pause", "wanted", "resume"])
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

    def test_paused_at_the_end(self) -> None:
        """So does one that the consumer paused with its last bytes."""
        body = self.body(3)
        done = body.deliver(self.consumer)
        self.consumer.producer.pauseProducing()
        body.received(b"abc")
        body.finished()
        self.assertEqual(self.source.asked.count("pause"), self.source.asked.count("resume"))
        self.assertEqual(self.successResultOf(done), 3)

    def test_once(self) -> None:
        body = self.body(3)
        body.deliver(self.consumer)
        self.assertRaises(RuntimeError, body.deliver, _Consumer())
        self.assertFalse(body.untouched)

    def test_consumer_pauses(self) -> None:
        body = self.body(None)
        body.deliver(self.consumer)
        self.consumer.producer.pauseProducing()
        self.consumer.producer.pauseProducing()
        self.assertEqual(self.source.asked, ["wanted", "pause"])
        self.consumer.producer.resumeProducing()
        self.consumer.producer.resumeProducing()
        self.assertEqual(self.source.asked, ["wanted", "pause", "resume"])

    def test_consumer_pauses_at_once(self) -> None:
        """Then the peer goes on waiting, although somebody has asked for the body."""
        for early in (b"", b"early"):
            self.setUp()
            body = self.body(10)
            if early:
                body.received(early)
            self.assertEqual(body.waiting, len(early))
            self.patch(self.consumer, "registerProducer", lambda producer, streaming: producer.pauseProducing())
            body.deliver(self.consumer)
            self.assertEqual(body.waiting, 0)
            self.assertNotIn("resume", self.source.asked)
            body.resumeProducing()
            self.assertEqual(self.source.asked[-1], "resume")

    def test_consumer_fails(self) -> None:
        """What its C{write} raises is the result; the rest is thrown away."""

        def write(data: bytes) -> None:
            raise OSError("the disk is gone")

        self.consumer.write = write  # type: ignore[method-assign]
        body = self.body(10)
        done = body.deliver(self.consumer)
        body.received(b"abc")
        self.failureResultOf(done, OSError)
        self.assertEqual(self.consumer.registered, 0)
        body.received(b"def")
        body.finished()

    def test_consumer_stops(self) -> None:
        body = self.body(10)
        done = body.deliver(self.consumer)
        body.received(b"abc")
        self.consumer.producer.stopProducing()
        self.failureResultOf(done, LengthMismatch)
        body.received(b"def")
        self.assertEqual((self.consumer.data, self.consumer.registered), (b"abc", 0))

    def test_fails_later(self) -> None:
        body = self.body(10)
        done = body.deliver(self.consumer)
        body.failed(ClientGone("gone"))
        self.failureResultOf(done, ClientGone)
        self.assertEqual(self.consumer.registered, 0)

    def test_failed_before(self) -> None:
        body = self.body(10)
        body.received(b"abc")
        body.failed(ClientGone("gone"))
        self.failureResultOf(body.deliver(self.consumer), ClientGone)
        self.assertEqual(self.consumer.registered, 0)

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
        exact = self.body(None)
        done = self.read(exact, 10)
        exact.received(b"x" * 10)
        exact.finished()
        self.assertEqual(self.successResultOf(done), b"x" * 10)

    def test_early_bytes_beyond_the_bound(self) -> None:
        body = self.body(None)
        body.received(b"x" * 11)
        self.failureResultOf(self.read(body, 10), BodyTooLarge)

    def test_discard(self) -> None:
        body = self.body(None)
        body.received(b"abc")
        body.discard()
        self.assertEqual(self.source.asked, ["pause", "resume"])
        for _ in range(10):
            body.received(b"def")
        self.assertEqual(self.source.asked, ["pause", "resume"])

    def test_errors_are_the_clients(self) -> None:
        self.assertTrue(issubclass(LengthMismatch, BadRequest) and issubclass(ClientGone, BadRequest))
