"""The reader of XML under a fuzzer, for a few seconds; C{STOREHOUSE_SOAK=1} for minutes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.xmltext import _Reader
from tests.fuzz.documents import SEEDS, try_bytes
from tests.fuzz.running import FuzzTestsMixin


class DocumentFuzzTests(FuzzTestsMixin, SynchronousTestCase):
    """Read at once, in pieces, and by the standard library."""

    module = "tests.fuzz.documents"
    attempt = staticmethod(try_bytes)
    seeds = SEEDS
    cuts = 16
    morsels = (
        b"<", b">", b"/>", b"</A>", b"<A>", b"&", b"&amp;", b"&#0;", b"]]>", b"<![CDATA[", b"<!--", b"-->", b"<?", b"?>",
        b"<!DOCTYPE", b"xmlns", b":", b"=", b'"', b"\0", b"\xff", b"\r\n",
    )  # fmt: skip

    def test_it_would_be_found(self) -> None:
        """The harness finds a reader that loses text."""
        self.patch(_Reader, "_characters", lambda reader, data: reader._texts[-1].append(data[:1]))
        self.assertRaises(AssertionError, try_bytes, SEEDS[0])
