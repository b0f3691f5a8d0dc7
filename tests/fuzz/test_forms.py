"""The reader of forms under a fuzzer, for a few seconds; C{STOREHOUSE_SOAK=1} for minutes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from storehouse.frontends.http.multipart import MultipartReader
from tests.fuzz.forms import SEEDS, try_form
from tests.fuzz.running import FuzzTestsMixin


class FormFuzzTests(FuzzTestsMixin, SynchronousTestCase):
    """Of forms with files and fields."""

    module = "tests.fuzz.forms"
    attempt = staticmethod(try_form)
    seeds = SEEDS
    cuts = 16
    morsels = (
        b"\r\n", b"\r", b"\n", b"--b", b"\r\n--b", b"\r\n--b--", b'"', b";", b":", b"\0", b"\xff", b"filename*=",
    )  # fmt: skip

    def test_it_would_be_found(self) -> None:
        """The harness itself tells what is wrong: here, a reader that loses what may be the beginning of a boundary."""
        self.patch(MultipartReader, "_partial", lambda reader, data: 0)
        self.assertRaises(AssertionError, try_form, b"\2" + SEEDS[0][1:])
