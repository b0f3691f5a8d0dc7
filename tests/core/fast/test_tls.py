"""Tests of L{storehouse.core.fast.transports}: no sockets; the client is that of the standard library."""

from __future__ import annotations

import datetime
import os
import ssl
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from storehouse.core.fast import transports as transports
from storehouse.core.fast.transports import LargePiecesTLS, missing_for_tls, secured_factory
from storehouse.core.tls.certificates import make_self_signed
from storehouse.core.tls.contexts import make_context

_pair = make_self_signed({"localhost"}, datetime.datetime.now(datetime.UTC))
_context = make_context(_pair)


@implementer(IOpenSSLServerConnectionCreator)
class Creator:
    """Connections with a certificate for tests."""

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        return SSL.Connection(_context)


class Recorder(Protocol):
    """Keeps what it is given, piece by piece."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.lost: Failure | None = None
        self.react: Callable[[Recorder, bytes], None] = lambda protocol, data: None
        self.greeting = b""

    def connectionMade(self) -> None:
        if self.greeting:
            self.transport.write(self.greeting)  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self.pieces.append(data)
        self.react(self, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class Below(StringTransport):
    """The connection below TLS: counts what is sent, and in how many pieces."""

    bufferSize = 65536

    def __init__(self) -> None:
        StringTransport.__init__(self)
        self.sent: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError(type(data))
        if not self.disconnecting:
            self.sent.append(data)

    def take(self) -> bytes:
        """What was sent since the last time."""
        sent, self.sent = self.sent, []
        return b"".join(sent)


class Client:
    """Both ends: a client, and C{protocol} behind the server's TLS."""

    def __init__(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, greeting: bytes = b"") -> None:
        self.protocol = Recorder()
        self.protocol.greeting = greeting
        factory = Factory.forProtocol(lambda: self.protocol)  # type: ignore[arg-type]
        self.clock = Clock()
        self.tls: Any = secured_factory(Creator(), factory, self.clock).buildProtocol(None)  # type: ignore[arg-type]
        self.below = Below()
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.maximum_version = version
        context.load_verify_locations(cadata=_pair.certificate.public_bytes(serialization.Encoding.PEM).decode("ascii"))
        self.ssl = context.wrap_bio(self._in, self._out, server_hostname="localhost")

    def shake(self) -> Client:
        """Have the handshake."""
        self.tls.makeConnection(self.below)
        for _ in range(10):
            try:
                self.ssl.do_handshake()
            except ssl.SSLWantReadError:
                pass
            if data := self._out.read():
                self.tls.dataReceived(data)
            self.clock.advance(0)
            self._in.write(self.below.take())
        return self

    def encrypt(self, data: bytes) -> bytes:
        """What the client sends for this."""
        while data:
            data = data[self.ssl.write(data) :]
        return self._out.read()

    def read(self) -> bytes:
        """What the client understands of what was sent."""
        self.clock.advance(0)
        self._in.write(self.below.take())
        got = []
        while True:
            try:
                data = self.ssl.read(1 << 20)
            except ssl.SSLWantReadError:
                return b"".join(got)
            if not data:
                return b"".join(got)
            got.append(data)

    def end(self) -> bytes:
        """The client's last words."""
        try:
            self.ssl.unwrap()
        except ssl.SSLWantReadError:
            pass
        return self._out.read()


class LargePiecesTests(SynchronousTestCase):
    """L{LargePiecesTLS}."""

    def test_names_are_there(self) -> None:
        """With the releases that we are tested with."""
        self.assertEqual(missing_for_tls(), [])
        self.assertIs(type(Client().tls), LargePiecesTLS)

    def test_one_piece(self) -> None:
        """What one read brought is one piece, and what one write makes too."""
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            client = Client(version).shake()
            data = os.urandom(250_000)
            client.tls.dataReceived(client.encrypt(data))
            self.assertEqual(client.protocol.pieces, [data])
            client.below.take()
            client.tls.write(data)
            self.assertEqual(len(client.below.sent), 1)
            self.assertEqual(client.read(), data)
            client.tls.writeSequence([b"a", b"b"])
            self.assertEqual(len(client.below.sent), 1)
            self.assertEqual(client.read(), b"ab")

    def test_more_than_fits(self) -> None:
        client = Client().shake()
        data = os.urandom(3 << 20)
        client.tls.dataReceived(client.encrypt(data))
        self.assertEqual(b"".join(client.protocol.pieces), data)
        self.assertLess(max(map(len, client.protocol.pieces)), 400_000)
        client.tls.write(data)
        self.assertLess(max(map(len, client.below.sent)), 400_000)
        self.assertEqual(client.read(), data)

    @settings(max_examples=30, deadline=None)
    @given(
        sizes=st.lists(st.integers(1, 40_000), min_size=1, max_size=6),
        cuts=st.lists(st.integers(1, 30_000), min_size=1, max_size=8),
    )
    def test_any_pieces(self, sizes: list[int], cuts: list[int]) -> None:
        """However records and reads lie."""
        client = Client().shake()
        data = [os.urandom(size) for size in sizes]
        wire = b"".join(map(client.encrypt, data))
        at, turn = 0, 0
        while at < len(wire):
            cut = cuts[turn % len(cuts)]
            client.tls.dataReceived(wire[at : at + cut])
            at, turn = at + cut, turn + 1
        self.assertEqual(b"".join(client.protocol.pieces), b"".join(data))
        self.assertNotIn(b"", client.protocol.pieces)

    def test_every_split_of_a_record(self) -> None:
        for cut in range(1, 40):
            client = Client().shake()
            wire = client.encrypt(b"hello")
            client.tls.dataReceived(wire[:cut])
            client.tls.dataReceived(wire[cut:])
            self.assertEqual(client.protocol.pieces, [b"hello"])

    def test_answers_at_once(self) -> None:
        """Writing while something is handed out harms nobody, nor do other connections."""
        one, two = Client().shake(), Client().shake()

        def react(protocol: Recorder, data: bytes) -> None:
            protocol.transport.write(data)  # type: ignore[union-attr]
            two.tls.dataReceived(two.encrypt(data[::-1]))

        one.protocol.react = react
        data = os.urandom(700_000)
        one.tls.dataReceived(one.encrypt(data))
        self.assertEqual(one.read(), data)
        self.assertEqual(b"".join(one.protocol.pieces), data)
        self.assertEqual([piece[::-1] for piece in two.protocol.pieces], one.protocol.pieces)

    def test_the_client_ends(self) -> None:
        client = Client().shake()
        last = client.encrypt(b"last")
        client.tls.dataReceived(last + client.end())
        self.assertEqual(client.protocol.pieces, [b"last"])
        self.assertTrue(client.below.disconnecting)
        client.tls.write(b"late")
        client.tls.connectionLost(Failure(connectionDone.value))
        assert client.protocol.lost is not None

    def test_we_end(self) -> None:
        """What was written is out, the client is told that this is all, and need not answer that."""
        client = Client().shake()
        client.tls.write(b"bye")
        client.tls.loseConnection()
        self.assertTrue(client.below.disconnecting)
        self.assertEqual(client.read(), b"bye")
        self.assertEqual(client.ssl.read(100), b"")

    def test_we_end_with_a_producer(self) -> None:
        """It may write until it has no more."""

        class Producer:
            def pauseProducing(self) -> None: ...

            def resumeProducing(self) -> None: ...

            def stopProducing(self) -> None: ...

        client = Client().shake()
        client.tls.registerProducer(Producer(), True)
        client.tls.loseConnection()
        client.tls.write(b"bye")
        self.assertFalse(client.below.disconnecting)
        client.tls.unregisterProducer()
        self.assertTrue(client.below.disconnecting)
        self.assertEqual(client.read(), b"bye")
        self.assertEqual(client.ssl.read(100), b"")

    def test_garbage(self) -> None:
        """What was good before it is handed out; the connection ends with the reason."""
        client = Client().shake()
        good = client.encrypt(b"good")
        client.tls.dataReceived(good + b"\x17\x03\x03\x00\x20" + bytes(32))
        self.assertEqual(client.protocol.pieces, [b"good"])
        self.assertTrue(client.below.disconnecting)
        client.tls.connectionLost(Failure(connectionDone.value))
        assert client.protocol.lost is not None
        self.assertIsInstance(client.protocol.lost.value, SSL.Error)
        self.assertIn("bad", str(client.protocol.lost.value).lower())
        # Others do not learn of it.
        other = Client().shake()
        other.tls.dataReceived(other.encrypt(b"x"))
        self.assertEqual(other.protocol.pieces, [b"x"])

    def test_cut_off(self) -> None:
        """A connection that ends without a word of TLS is lost, not done."""
        client = Client().shake()
        client.tls.dataReceived(client.encrypt(b"x")[:-3])
        client.tls.connectionLost(Failure(connectionDone.value))
        assert client.protocol.lost is not None
        self.assertIsInstance(client.protocol.lost.value, ConnectionLost)

    def test_broken_off(self) -> None:
        """A client that disconnects gets no more."""
        client = Client().shake()
        client.protocol.react = lambda protocol, data: protocol.transport.abortConnection()  # type: ignore[union-attr]
        client.tls.dataReceived(client.encrypt(os.urandom(1 << 20)))
        self.assertEqual(len(client.protocol.pieces), 1)
        client.tls.dataReceived(client.encrypt(b"more"))
        self.assertEqual(len(client.protocol.pieces), 1)

    def test_before_the_handshake(self) -> None:
        """What is written then waits for its end."""
        greeting = os.urandom(100_000)
        client = Client(greeting=greeting)
        client.shake()
        self.assertEqual(client.read(), greeting)

    def test_size_of_reads(self) -> None:
        """It can be chosen through TLS, which does not read by itself."""
        client = Client().shake()
        self.assertEqual(client.tls.bufferSize, 65536)
        client.tls.bufferSize = 262144
        self.assertEqual(client.below.bufferSize, 262144)
        del client.below
        plain: Any = StringTransport()
        client.tls.transport = plain
        self.assertEqual(getattr(client.tls, "bufferSize", 0), 0)

    def test_fallback(self) -> None:
        """Without the names it is Twisted's own TLS, which serves as well."""
        self.patch(transports, "_lib", None)
        self.assertEqual(missing_for_tls(), ["SSL._lib", "SSL._ffi"])
        client = Client()
        self.assertNotIsInstance(client.tls, LargePiecesTLS)
        self.assertIsInstance(client.tls, TLSMemoryBIOProtocol)
        client.shake()
        data = os.urandom(100_000)
        client.tls.dataReceived(client.encrypt(data))
        self.assertEqual(b"".join(client.protocol.pieces), data)
        client.tls.write(data)
        self.assertEqual(client.read(), data)
