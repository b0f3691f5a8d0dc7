"""The decoders of SFSP under a fuzzer, for a few seconds; C{STOREHOUSE_SOAK=1} for minutes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.sfsp import RequestDecoder, encode_send
from tests.fuzz.decoders import SEEDS, try_bytes
from tests.fuzz.running import FuzzTestsMixin


class DecoderFuzzTests(FuzzTestsMixin, SynchronousTestCase):
    """Of requests and of answers."""

    module = "tests.fuzz.decoders"
    attempt = staticmethod(try_bytes)
    seeds = SEEDS
    cuts = 40
    morsels = [bytes([byte]) for byte in b"\0\1\n\x14\x15\x1e*/%\xff"]
    most = 3

    def test_it_would_be_found(self) -> None:
        """The harness itself tells what is wrong: here, a decoder that sees where pieces end."""
        honest = RequestDecoder.feed
        self.patch(RequestDecoder, "feed", lambda decoder, data: honest(decoder, data[:9]))
        self.assertRaises(AssertionError, try_bytes, b"\0\0" + encode_send(b"name", 1, 4))
