"""Tests of L{storehouse.core.peers}."""

from __future__ import annotations

import os
import socket
import sys

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.peers import TrustedProxies, network_of, source_of


class PeerTests(SynchronousTestCase):
    """Addresses."""

    def test_networks(self) -> None:
        """One host has 2^64 addresses of IPv6, and one of IPv4, however that is written."""
        for address, network in (
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::ffff:c000:201", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:DB8:1:2::", "2001:db8:1:2::"),
            ("fe80::1%eth0", "fe80::"),
            ("::1", "::"),
            ("", ""),
            ("no:address", "no:address"),
        ):
            self.assertEqual(network_of(address), network)

    def test_source(self) -> None:
        """Where a connection comes from: at a socket file the process at its other end, where the system says."""

        class Transport:
            peer: object = UNIXAddress(None)

            def getPeer(self) -> object:
                return self.peer

        class WithHandle(Transport):
            def getHandle(self) -> socket.socket:
                return ours

        ours, theirs = socket.socketpair(socket.AF_UNIX)
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        found = source_of(WithHandle())
        if sys.platform == "linux":
            self.assertEqual(found, f"unix uid={os.getuid()} pid={os.getpid()}")
        self.assertEqual(source_of(Transport()), "unix")
        ours.close()
        self.assertEqual(source_of(WithHandle()), "unix")
        tcp = Transport()
        tcp.peer = IPv4Address("TCP", "192.0.2.1", 5)
        self.assertEqual(source_of(tcp), "192.0.2.1")
        self.assertEqual(source_of(object()), "")

    def test_trusted(self) -> None:
        trusted = TrustedProxies(" 10.0.0.0/8,192.0.2.1, 2001:db8::/32 ,unix")
        for address in ("10.255.0.1", "192.0.2.1", "2001:db8:9::1", "::ffff:10.0.0.1"):
            self.assertTrue(trusted.trusts(address), address)
        for address in ("11.0.0.1", "192.0.2.2", "2001:db9::1", "::1", "", "localhost", "10.0.0.1.example"):
            self.assertFalse(trusted.trusts(address), address)
        self.assertTrue(trusted.trusts_peer(UNIXAddress(None)))
        self.assertTrue(trusted.trusts_peer(IPv4Address("TCP", "10.0.0.1", 1)))
        for text in ("", "192.0.2.1"):
            self.assertFalse(TrustedProxies(text).trusts_peer(UNIXAddress(None)))
        self.assertFalse(TrustedProxies())
        for text in (",", " , ,"):
            self.assertRaises(ValueError, TrustedProxies, text)

    def test_no_network(self) -> None:
        """What is wrong is named: a network with bits of a host, too."""
        for text in ("10.0.0.1/8", "localhost", "10.0.0.0/33", "10.0.0", "::1/129"):
            error = self.assertRaises(ValueError, TrustedProxies, f"192.0.2.1,{text}")
            self.assertIn(repr(text), str(error))
