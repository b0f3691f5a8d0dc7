"""Tests of L{storehouse.core.proxies}."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.proxies import TrustedProxies


class TrustedTests(SynchronousTestCase):
    """Which they are."""

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
