"""Tests of L{storehouse.core.proxyprotocol}."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.proxies import TrustedProxies
from storehouse.core.proxyprotocol import ProxiedFactory, decode_proxy
from storehouse.errors import InvalidRequest

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def version_2(first: int, second: int, fields: bytes) -> bytes:
    """A head of version 2."""
    return SIGNATURE + bytes((first, second)) + struct.pack(">H", len(fields)) + fields


V4_FIELDS = bytes((192, 0, 2, 1, 198, 51, 100, 2)) + struct.pack(">HH", 51234, 443)
V6_FIELDS = bytes.fromhex("20010db8000000000000000000000001") * 2 + struct.pack(">HH", 51234, 443)
FURTHER = b"\x04\x00\x01x"

V4 = IPv4Address("TCP", "192.0.2.1", 51234)
V6 = IPv6Address("TCP", "2001:db8::1", 51234)

#: Heads, and whose connections they say that these are.
HEADS: list[tuple[bytes, Any]] = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.2 51234 443\r\n", V4),
    (b"PROXY TCP6 2001:db8::1 2001:db8::2 51234 443\r\n", V6),
    (b"PROXY TCP6 2001:DB8:0:0:0:0:0:1 ::1 51234 0\r\n", V6),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
    (version_2(0x21, 0x11, V4_FIELDS), V4),
    (version_2(0x21, 0x11, V4_FIELDS + FURTHER), V4),
    (version_2(0x21, 0x21, V6_FIELDS), V6),
    (version_2(0x20, 0x00, b""), None),
    (version_2(0x20, 0x11, V4_FIELDS), None),
    (version_2(0x21, 0x00, b""), None),
    (version_2(0x21, 0x31, bytes(216)), None),
]

#: What begins as a head, and is none.
BROKEN = [
    b"PROXY TCP4 192.0.2.1 198.51.100.2 51234\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 51234 443 1\r\n",
    b"PROXY TCP4 192.0.2.256 198.51.100.2 51234 443\r\n",
    b"PROXY TCP4 192.0.2.1 nowhere 51234 443\r\n",
    b"PROXY TCP4 2001:db8::1 2001:db8::2 51234 443\r\n",
    b"PROXY TCP6 192.0.2.1 198.51.100.2 51234 443\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n",
    b"PROXY TCP4  192.0.2.1 198.51.100.2 51234 443\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 51234 443\n",
    b"PROXY UDP4 192.0.2.1 198.51.100.2 51234 443\r\n",
    b"PROXY UNKNOWNX\r\n",
    b"PROXY UNKNOWN " + b"x" * 100,
    version_2(0x11, 0x11, V4_FIELDS),
    version_2(0x22, 0x11, V4_FIELDS),
    version_2(0x21, 0x12, V4_FIELDS),
    version_2(0x21, 0x11, V4_FIELDS[:-1]),
    version_2(0x21, 0x21, V4_FIELDS),
    version_2(0x21, 0x11, bytes(2049)),
]


class DecodeTests(SynchronousTestCase):
    """L{decode_proxy}."""

    def test_every_split(self) -> None:
        """A head is read once it is whole, whatever follows it."""
        for head, address in HEADS:
            for end in range(len(head)):
                self.assertIsNone(decode_proxy(head[:end]), head[:end])
            for rest in (b"", b"GET / HTTP/1.1\r\n", b"PROXY "):
                self.assertEqual(decode_proxy(head + rest), (len(head), address, None))

    def test_tls(self) -> None:
        """What a proxy says of TLS with the client, among further fields; malformed ones say nothing."""
        for further, expected in (
            (b"\x20\x00\x05\x01\0\0\0\0", True),
            (b"\x20\x00\x05\x07\0\0\0\0", True),
            (b"\x20\x00\x05\x00\0\0\0\0", False),
            (b"\x20\x00\x00", False),
            (FURTHER + b"\x20\x00\x0d\x01\0\0\0\0\x21\x00\x05TLSv1", True),
            (FURTHER, None),
            (b"\x20\x00\x05\x01", None),
            (b"\x20\x00", None),
            (b"\x04\xff\xff\x20\x00\x01\x01", None),
        ):
            for second, fields in ((0x11, V4_FIELDS), (0x21, V6_FIELDS)):
                decoded = decode_proxy(version_2(0x21, second, fields + further))
                assert decoded is not None
                self.assertEqual(decoded.is_secure, expected, further)
            local = decode_proxy(version_2(0x20, 0x11, V4_FIELDS + further))
            assert local is not None
            self.assertIsNone(local.is_secure)

    def test_none(self) -> None:
        """What is no head is the client's, from its first byte on."""
        for data in (b"GET / HTTP/1.1", b"PUT /", b"\x16\x03\x01", b"*\1", b"\r\nGET", b"PROXYX", b"PROX\r\n", b"\0"):
            self.assertEqual(decode_proxy(data), (0, None, None))

    def test_broken(self) -> None:
        for data in BROKEN:
            with self.assertRaises(InvalidRequest, msg=data):
                decode_proxy(data)

    @given(
        st.one_of(st.binary(), st.binary().map(lambda data: SIGNATURE + data), st.binary().map(lambda d: b"PROXY " + d))
    )
    def test_any_bytes(self, data: bytes) -> None:
        try:
            decoded = decode_proxy(data)
        except InvalidRequest:
            return
        if decoded is not None:
            self.assertLessEqual(decoded[0], len(data))


class _Echo(Protocol):
    def connectionMade(self) -> None:
        self.factory.made.append(self)  # type: ignore[union-attr]
        self.data = b""

    def dataReceived(self, data: bytes) -> None:
        self.data += data


class _Below(Factory):
    def __init__(self) -> None:
        self.made: list[Any] = []
        self.asked: list[Any] = []

    def buildProtocol(self, addr: Any) -> Any:
        self.asked.append(addr)
        made = _Echo()
        made.factory = self
        return made


class FactoryTests(SynchronousTestCase):
    """L{ProxiedFactory}: heads are taken of proxies that are named, and of no other."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.below = _Below()
        self.factory = ProxiedFactory(self.below, TrustedProxies("10.0.0.0/8, unix"), self.clock, 60.0)

    def connect(self, peer: Any, *pieces: bytes) -> Any:
        """A connection of a peer, whose bytes come in pieces. @return: its transport."""
        protocol = self.factory.buildProtocol(peer)
        transport: Any = StringTransport(peerAddress=peer)
        transport.protocol = protocol
        protocol.makeConnection(transport)
        for piece in pieces:
            transport.protocol.dataReceived(piece)
        return transport

    def test_trusted(self) -> None:
        """Whatever the pieces, the bytes behind the head are the client's, and the peer is the one that is named."""
        for peer in (IPv4Address("TCP", "10.1.2.3", 5), IPv6Address("TCP", "::ffff:10.1.2.3", 5), UNIXAddress(None)):
            for head, address in HEADS:
                data = head + b"bytes of the client"
                for at in range(1, len(data)):
                    transport = self.connect(peer, data[:at], data[at:])
                    made = self.below.made.pop()
                    self.assertEqual((made.data, transport.getPeer()), (b"bytes of the client", address or peer))
                    self.assertEqual(self.below.asked.pop(), address or peer)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_tls(self) -> None:
        """The transport keeps the TLS field for the protocol above it."""
        peer = IPv4Address("TCP", "10.1.2.3", 5)
        transport = self.connect(peer, version_2(0x21, 0x11, V4_FIELDS + b"\x20\x00\x05\x01\0\0\0\0"))
        self.assertTrue(transport.proxied_tls)
        self.assertFalse(hasattr(self.connect(peer, HEADS[0][0]), "proxied_tls"))

    def test_trusted_without_a_head(self) -> None:
        peer = IPv4Address("TCP", "10.1.2.3", 5)
        for at in range(1, 5):
            self.connect(peer, b"PUT /x"[:at], b"PUT /x"[at:])
            self.assertEqual((self.below.made.pop().data, self.below.asked.pop()), (b"PUT /x", peer))

    def test_others(self) -> None:
        """To anybody else a head is nothing but bytes."""
        for peer in (IPv4Address("TCP", "192.0.2.9", 5), IPv6Address("TCP", "fe80::1%eth0", 5)):
            transport = self.connect(peer, HEADS[0][0])
            self.assertEqual((self.below.made[-1].data, transport.getPeer()), (HEADS[0][0], peer))

    def test_broken(self) -> None:
        for data in BROKEN:
            transport = self.connect(IPv4Address("TCP", "10.1.2.3", 5), data)
            self.assertTrue(transport.disconnecting)
        self.assertEqual((self.below.made, self.clock.getDelayedCalls()), ([], []))

    def test_silent(self) -> None:
        transport = self.connect(IPv4Address("TCP", "10.1.2.3", 5), b"PROXY TCP4 1")
        self.clock.advance(59)
        self.assertFalse(transport.disconnecting)
        self.clock.advance(2)
        self.assertTrue(transport.disconnecting)

    def test_leaves(self) -> None:
        transport = self.connect(IPv4Address("TCP", "10.1.2.3", 5), b"PROXY")
        transport.protocol.connectionLost()
        self.assertEqual(self.clock.getDelayedCalls(), [])
