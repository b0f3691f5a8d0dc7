"""Tests of L{storehouse.core.tls.contexts}: real sockets on the loopback interface."""

from __future__ import annotations

import datetime
import os
import socket
import ssl
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from storehouse.core.jobs import InlineDisk
from storehouse.core.tls.certificates import make_self_signed, read_pair
from storehouse.core.tls.contexts import (
    completed,
    endpoint_pair,
    own_names,
    peer_common_name,
    secured_endpoint,
    server_endpoint,
)
from storehouse.core.tls.server import OfEndpoint, ServerTLS
from tests.core.tls.certificates import Authority
from tests.integration.process import PATIENCE


class Greeter(Protocol):
    """Answers each piece with itself, in capitals."""

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data.upper())  # type: ignore[union-attr]


def talk(port: int, context: ssl.SSLContext | None) -> bytes:
    """What a server answers; nothing, if it does not serve us."""
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as plain:
            if context is None:
                plain.sendall(b"hello")
                return plain.recv(100)
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
                connection.sendall(b"hello")
                return connection.recv(100)
    except (ssl.SSLError, ConnectionError):
        return b""


class TLSCase(TestCase):
    """A server with a certificate."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        self.authority = Authority(self.directory)
        self.other = Authority(self.directory, "other")
        own = self.authority.sign("server")
        self.description = f"ssl:0:privateKey={own}:certKey={own}:interface=127.0.0.1"

    async def listen(self, client_ca: str, description: str = "") -> int:
        endpoint = server_endpoint(reactor, description or self.description, client_ca)
        verifyObject(IStreamServerEndpoint, endpoint)
        port: Any = await endpoint.listen(Factory.forProtocol(Greeter))
        self.addCleanup(port.stopListening)
        self.assertEqual(port.getHost().host, "127.0.0.1")
        return int(port.getHost().port)

    async def talk(self, port: int, context: ssl.SSLContext | None) -> bytes:
        return await deferToThread(talk, port, context)


class ClientCertificateTests(TLSCase):
    """Only those whom one of the certificates vouches for."""

    async def test_who_is_served(self) -> None:
        port = await self.listen(self.authority.path)
        good = self.authority.sign("client")
        foreign = self.other.sign("foreign")
        expired = self.authority.sign("expired", days=-1)
        self.assertEqual(await self.talk(port, self.authority.client(good)), b"HELLO")
        for context in (
            self.authority.client(),
            self.authority.client(foreign),
            self.authority.client(expired),
            None,
        ):
            self.assertEqual(await self.talk(port, context), b"")
        # Those who were not have done no harm.
        self.assertEqual(await self.talk(port, self.authority.client(good)), b"HELLO")

    async def test_several_authorities(self) -> None:
        """A file may have more than one, and text around them."""
        both = os.path.join(self.directory, "both.pem")
        with open(both, "wb") as file:
            for authority in (self.other, self.authority):
                with open(authority.path, "rb") as one:
                    file.write(b"Subject: somebody\n" + one.read() + b"\n\n")
        port = await self.listen(both)
        for signer in (self.authority, self.other):
            context = self.authority.client(signer.sign("a-client"))
            self.assertEqual(await self.talk(port, context), b"HELLO")

    async def test_protocols(self) -> None:
        """TLS 1.2 and 1.3 are spoken."""
        port = await self.listen(self.authority.path)
        for version, answer in (
            (ssl.TLSVersion.TLSv1_2, b"HELLO"),
            (ssl.TLSVersion.TLSv1_3, b"HELLO"),
        ):
            context = self.authority.client(self.authority.sign("client"))
            context.maximum_version = context.minimum_version = version
            self.assertEqual(await self.talk(port, context), answer, version)

    async def test_resumed(self) -> None:
        """A client that comes back with the session it had is served again."""
        port = await self.listen(self.authority.path)
        context = self.authority.client(self.authority.sign("client"))
        context.maximum_version = ssl.TLSVersion.TLSv1_2

        def twice() -> list[bytes]:
            session = None
            heard = []
            for _ in range(2):
                with socket.create_connection(("127.0.0.1", port), PATIENCE) as plain:
                    with context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as connection:
                        connection.sendall(b"hello")
                        heard.append(connection.recv(100))
                        session = connection.session
            return heard

        self.assertEqual(await deferToThread(twice), [b"HELLO", b"HELLO"])

    async def test_not_asked(self) -> None:
        """Without an authority, everybody is served."""
        port = await self.listen("")
        for context in (self.authority.client(), self.authority.client(self.other.sign("foreign"))):
            self.assertEqual(await self.talk(port, context), b"HELLO")


class BadFilesTests(SynchronousTestCase):
    """What cannot be used is said in one line, which names the file."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        self.authority = Authority(self.directory)
        self.own = self.authority.sign("server")

    def refused(self, client_ca: str, own: str = "", key: str = "") -> str:
        description = f"ssl:0:privateKey={key or own or self.own}:certKey={own or self.own}:interface=127.0.0.1"
        text = str(self.assertRaises(ValueError, server_endpoint, reactor, description, client_ca))
        self.assertNotIn("\n", text)
        self.assertTrue(text)
        return text

    def write(self, data: bytes) -> str:
        path = os.path.join(self.directory, "bad.pem")
        with open(path, "wb") as file:
            file.write(data)
        return path

    def test_no_file(self) -> None:
        missing = os.path.join(self.directory, "missing.pem")
        text = self.refused(missing)
        self.assertIn(missing, text)
        self.assertIn("No such file", text)
        self.assertIn(self.directory, self.refused(self.directory))

    def test_no_certificate(self) -> None:
        for data in (b"", b"text\n", os.urandom(100), b"-----BEGIN CERTIFICATE-----\n"):
            path = self.write(data)
            self.assertIn(f"{path} has no certificate in PEM", self.refused(path))

    def test_broken_certificate(self) -> None:
        begin, end = b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n"
        for data in (begin + b"AAAA\n" + end, begin + b"?\n" + end, begin + b"\n" + end):
            path = self.write(data)
            self.assertIn(path, self.refused(path))

    def test_other_endpoints(self) -> None:
        """Certificates can be asked for with TLS only."""
        for description in ("tcp:0:interface=127.0.0.1", f"unix:{self.directory}/socket"):
            error = self.assertRaises(ValueError, server_endpoint, reactor, description, self.authority.path)
            self.assertIn("ssl: endpoint", str(error))
        self.assertEqual([name for name in os.listdir(self.directory) if name == "socket"], [])

    def test_no_key(self) -> None:
        """Nor with a server's own certificate that is missing or broken, with or without those of clients."""
        broken = self.write(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        empty = os.path.join(self.directory, "empty.pem")
        open(empty, "wb").close()
        for client_ca in (self.authority.path, ""):
            for own in (broken, empty, os.path.join(self.directory, "missing.pem")):
                self.refused(client_ca, own)
            # The certificate alone, and the key of another one.
            self.refused(client_ca, own=self.authority.path, key=self.own)


class CompletedTests(SynchronousTestCase):
    """L{completed}."""

    def test_defaults(self) -> None:
        """What is said stands, however it is written."""
        for given, whole in [
            ("tcp:0", "tcp:0:backlog=1024"),
            ("tcp:0:backlog=5:interface=x", "tcp:0:backlog=5:interface=x"),
            ("tcp6:0:interface=\\:\\:1", "tcp6:0:interface=\\:\\:1:backlog=1024"),
            ("unix:/run/x", "unix:/run/x:backlog=1024:mode=600"),
            ("unix:/run/x:mode=666:backlog=2", "unix:/run/x:mode=666:backlog=2"),
            ("unix:/run/x\\:mode=666", "unix:/run/x\\:mode=666:backlog=1024:mode=600"),
            ("systemd:domain=INET:index=0", "systemd:domain=INET:index=0"),
        ]:
            self.assertEqual(completed(given), whole)

    def test_socket_file(self) -> None:
        """It is for the user of the process."""
        memory: Any = MemoryReactor()
        for description, mode in (("unix:x", 0o600), ("unix:x:mode=660", 0o660)):
            server_endpoint(memory, description).listen(Factory())
            self.assertEqual(memory.unixServers[-1][2:4], (1024, mode))


class SecuredTests(TLSCase):
    """L{secured_endpoint} and L{peer_common_name}."""

    async def test_kinds(self) -> None:
        """TLS comes with every kind of endpoint that it can be added to."""
        tls = ServerTLS(OfEndpoint(self.description), reactor, InlineDisk())
        tls.check()
        for description in (self.description, "tcp:0:interface=127.0.0.1", "tcp6:0:interface=\\:\\:1"):
            endpoint = secured_endpoint(reactor, description, tls)
            verifyObject(IStreamServerEndpoint, endpoint)
            port: Any = await endpoint.listen(Factory.forProtocol(Greeter))
            self.addCleanup(port.stopListening)
            if "tcp6" not in description:
                self.assertEqual(port.getHost().host, "127.0.0.1")
                self.assertEqual(await self.talk(port.getHost().port, self.authority.client()), b"HELLO")
                self.assertEqual(await self.talk(port.getHost().port, None), b"")
        for description in ("tls:0", "stdio:", "nonsense:1"):
            self.assertRaises(ValueError, secured_endpoint, reactor, description, tls)
        missing = os.path.join(self.directory, "missing.pem")
        for use in (endpoint_pair, lambda description: secured_endpoint(reactor, description, tls)):
            error = self.assertRaises(ValueError, use, f"ssl:0:privateKey={missing}")
            self.assertIn(missing, str(error))

    def test_own_names(self) -> None:
        """Of the certificate that a connection is served with."""

        class Transport:
            def __init__(self, certificate: Any) -> None:
                context = SSL.Context(SSL.TLS_METHOD)
                if certificate is not None:
                    context.use_certificate(certificate)
                self.connection = SSL.Connection(context)

            def getPeerCertificate(self) -> None: ...

            def getHandle(self) -> Any:
                return self.connection

        now = datetime.datetime.now(datetime.UTC)
        pair = make_self_signed(["Files.example.com", "127.0.0.1"], now)
        self.assertEqual(own_names(Transport(pair.certificate)), {"files.example.com"})
        path = self.authority.sign("numbers")
        self.assertEqual(own_names(Transport(read_pair(path, path).certificate)), set())
        for transport in (Transport(None), object()):
            self.assertEqual(own_names(transport), set())

    def test_whose(self) -> None:
        """Only a certificate that was asked for and verified, and is still good, says who it is."""

        class Transport:
            def __init__(self, certificate: Any, mode: int = SSL.VERIFY_PEER) -> None:
                self.certificate, self.mode = certificate, mode

            def getPeerCertificate(self) -> None: ...

            def getHandle(self) -> Any:
                return self

            def get_verify_mode(self) -> int:
                return self.mode

            def get_peer_certificate(self, as_cryptography: bool) -> Any:
                return self.certificate

        def load(name: str, days: int = 1) -> Any:
            path = self.authority.sign(name, days)
            return read_pair(path, path).certificate

        alice = load("alice")
        self.assertEqual(peer_common_name(Transport(alice)), "alice")
        self.assertEqual(peer_common_name(Transport(alice, SSL.VERIFY_NONE)), "")
        self.assertEqual(peer_common_name(Transport(None)), "")
        self.assertEqual(peer_common_name(Transport(load("late", days=-1))), "")
        self.assertEqual(peer_common_name(object()), "")
