"""Tests of L{storehouse.core.addresses}."""

from __future__ import annotations

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

    def test_cannot_be_told(self) -> None:
        self.assertFalse(Address("").is_local)
        self.assertEqual(Address("").host_text, "an address that cannot be told")

    def test_all_interfaces_are_asked_on_loopback(self) -> None:
        self.assertEqual(find_address("tcp:80").url, "http://127.0.0.1:80")

    def test_no_endpoints(self) -> None:
        for endpoint in ["tcp:x", "tcp", "", "nonsense:1", "ssl:443:privateKey=/nonexistent"]:
            self.assertRaises(ValueError, find_address, endpoint)
