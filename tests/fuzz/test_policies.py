"""Bucket policies under a fuzzer, for a few seconds; C{STOREHOUSE_SOAK=1} for minutes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from storehouse.frontends.s3.access.policy import Policy
from tests.fuzz.policies import SEEDS, try_bytes
from tests.fuzz.running import FuzzTestsMixin


class PolicyFuzzTests(FuzzTestsMixin, SynchronousTestCase):
    """Read and asked."""

    module = "tests.fuzz.policies"
    attempt = staticmethod(try_bytes)
    seeds = SEEDS
    cuts = 40
    morsels = [
        *(b"*", b"?", b"${", b"}", b'"', b"[", b"]", b"{", b":", b",", b"\\u0000", b"Not", b"IfExists", b"ForAnyValue:")
    ]
    most = 1

    def test_it_would_be_found(self) -> None:
        """The harness itself tells what is wrong."""
        self.patch(Policy, "verdict", lambda *asked: "perhaps")
        self.assertRaises(AssertionError, try_bytes, SEEDS[0])
