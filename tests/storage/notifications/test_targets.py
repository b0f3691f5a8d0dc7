"""Tests of L{storehouse.storage.notifications.targets}."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from storehouse.errors import RemoteUnavailable
from storehouse.storage.notifications.targets import HTTPTarget, key_of, signature

BODY = b'{"a":1}'


class SignatureTests(SynchronousTestCase):
    """Standard Webhooks."""

    def test_example(self) -> None:
        """The one that the specification's libraries are tested by."""
        key = key_of(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        self.assertEqual(
            signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}'),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        )

    def test_keys(self) -> None:
        for secret, key in ((b"plain", b"plain"), (b"whsec_AAEC", b"\0\1\2"), (b"whsec_!", b"whsec_!")):
            self.assertEqual(key_of(secret), key)


class _Endpoint(Protocol):
    """Answers by what its factory has, or not at all."""

    data = b""

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        head, end, body = self.data.partition(b"\r\n\r\n")
        if end and len(body) >= len(BODY):
            self.factory.requests.append((head, body))
            answer = self.factory.answers.pop(0)
            if answer is None:
                return
            self.transport.write(answer)
            if b"Content-Length: 0" not in answer:
                self.transport.loseConnection()
            self.data = b""


class HTTPTests(TestCase):
    """An endpoint that is stubborn."""

    def setUp(self) -> None:
        self.factory: Any = Factory.forProtocol(_Endpoint)
        self.factory.requests, self.factory.answers = [], []
        port: Any = reactor.listenTCP(0, self.factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}/hook?a=b"
        self.target = self.make(10.0)

    def make(self, timeout: float) -> HTTPTarget:
        target = HTTPTarget(self.url, b"secret", reactor, timeout)  # type: ignore[arg-type]
        self.addCleanup(target.close)
        return target

    @inlineCallbacks
    def test_taken(self) -> Any:
        self.factory.answers += [b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"]
        yield self.target.send(0x1234, BODY)
        ((head, body),) = self.factory.requests
        self.assertEqual(body, BODY)
        first, *lines = head.decode().split("\r\n")
        self.assertEqual(first, "POST /hook?a=b HTTP/1.1")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self.assertEqual(fields["webhook-id"], "0000000000001234")
        self.assertEqual(fields["content-type"], "application/json")
        signed = f"{fields['webhook-id']}.{fields['webhook-timestamp']}.".encode() + BODY
        digest = base64.b64encode(hmac.new(b"secret", signed, hashlib.sha256).digest()).decode()
        self.assertEqual(fields["webhook-signature"], f"v1,{digest}")
        self.assertNotIn(b"secret", head + body)

    @inlineCallbacks
    def test_refused(self) -> Any:
        """Anything but 2xx, also a redirection, is tried again, by the delivery alone."""
        statuses = (500, 503, 404, 302, 429)
        for status in statuses:
            self.factory.answers.append(
                b"HTTP/1.1 %d No\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n" % status
            )
            error = yield self.assertFailure(self.target.send(1, BODY), RemoteUnavailable)
            self.assertIn(str(status), error.detail)
            self.assertNotIn("secret", error.detail)
            self.assertNotIn("hook", error.detail)
        self.assertEqual(len(self.factory.requests), len(statuses))

    @inlineCallbacks
    def test_half(self) -> Any:
        for answer in (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", b"HTTP/1.1 20", b"what?\r\n\r\n"):
            self.factory.answers.append(answer)
            error = yield self.assertFailure(self.target.send(1, BODY), RemoteUnavailable)
            self.assertNotIn("hook", error.detail)

    def test_silent(self) -> Deferred[Any]:
        self.factory.answers.append(None)
        return self.assertFailure(self.make(0.2).send(1, BODY), RemoteUnavailable)
