"""What reads signatures of S3 under a fuzzer, for a few seconds; C{STOREHOUSE_SOAK=1} for minutes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from storehouse.frontends.s3.signing.bodies import Unframing
from tests.fuzz.running import FuzzTestsMixin
from tests.fuzz.signatures import SEEDS, try_bytes


class SignatureFuzzTests(FuzzTestsMixin, SynchronousTestCase):
    """Header fields, queries, policies of forms, and chunks."""

    module = "tests.fuzz.signatures"
    attempt = staticmethod(try_bytes)
    seeds = SEEDS
    cuts = 6
    morsels = (
        b"\r\n", b"\n", b";", b",", b"=", b"/", b"%2F", b"&", b":", b"0", b"ffffffffffffffff", b"-1", b"\0", b"\xff", b" ",
        b"x-amz-", b"X-Amz-", b'"', b"[", b"{", b"99999999999999999999", b"AWS4-", b"Signature=",
    )  # fmt: skip

    def test_seeds_are_understood(self) -> None:
        """Chunks as they should be, so that what is changed of them is near to something."""
        for seed in SEEDS[6], SEEDS[8]:
            self.patch(Unframing, "end", lambda unframing: self.fail("it has come to the end"))
            self.assertRaises(self.failureException, try_bytes, seed)

    def test_it_would_be_found(self) -> None:
        """The harness finds chunks that are taken apart where pieces end."""
        self.patch(Unframing, "feed", lambda unframing, piece: [piece])
        self.patch(Unframing, "end", lambda unframing: None)
        self.assertRaises(AssertionError, try_bytes, b"\4\3" + b"x" * 12)
