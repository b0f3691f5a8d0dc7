"""Tests of L{storehouse.core.addresses}."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.addresses import Address, find_address


class AddressTests(SynchronousTestCase):
    """What an endpoint string would listen on."""

    def test_local(self) -> None:
        for endpoint, url in [
            ("tcp:8001:interface=127.0.0.1", "http://127.0.0.1:8001"),
            ("tcp:8001:interface=127.1.2.3", "http://127.1.2.3:8001"),
            ("tcp:8001:interface=localhost", "http://localhost:8001"),
            ("tcp6:8001:interface=\\:\\:1", "http://[::1]:8001"),
            ("unix:/run/x", "unix:/run/x"),
        ]:
            address = find_address(endpoint)
            self.assertTrue(address.is_local, endpoint)
            self.assertEqual(address.url, url)

    def test_not_local(self) -> None:
        for endpoint, host in [
            ("tcp:8001", "all interfaces"),
            ("tcp:8001:interface=0.0.0.0", "0.0.0.0"),
            ("tcp:8001:interface=192.0.2.1", "192.0.2.1"),
            ("tcp6:8001", "::"),
            ("tcp:8001:interface=storage.example", "storage.example"),
        ]:
            address = find_address(endpoint)
            self.assertFalse(address.is_local, endpoint)
            self.assertIn(host, (address.host_text, "all interfaces"))

    def test_not_known(self) -> None:
        self.assertFalse(Address("").is_local)
        self.assertEqual(Address("").host_text, "an address that is not known")

    def test_all_interfaces_are_asked_on_loopback(self) -> None:
        self.assertEqual(find_address("tcp:80").url, "http://127.0.0.1:80")

    def test_no_endpoints(self) -> None:
        for endpoint in ["tcp:x", "tcp", "", "nonsense:1", "ssl:443:privateKey=/nonexistent"]:
            self.assertRaises(ValueError, find_address, endpoint)

    def test_what_is_wrong(self) -> None:
        """It is told in words for who wrote the endpoint."""
        directory = self.mktemp()
        os.mkdir(directory)
        for endpoint, reason in [
            ("tcp:99999", "99999 is not a port"),
            ("tcp:-1:interface=127.0.0.1", "-1 is not a port"),
            ("haproxy:tcp:65536", "65536 is not a port"),
            ("tcp:x", "'x' is not a number"),
            ("unix:x:mode=9", "'9' is not a number (of base 8)"),
            ("tcp", "it has no port"),
            ("unix:", "it has no path"),
            ("tcp:1:nonsense=2", "it takes no 'nonsense'"),
            ("tcp:1:2:3:4:5", "it has too many parts"),
            ("nonsense:1", "Unknown endpoint type"),
            ("ssl:1:privateKey=/nonexistent", "/nonexistent cannot be read: No such file"),
            (f"ssl:1:privateKey={directory}", "is a directory"),
        ]:
            self.assertIn(reason, str(self.assertRaises(ValueError, find_address, endpoint)))
