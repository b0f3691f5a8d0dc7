"""Tests of L{storehouse.frontends.sfsp.chunks}."""

from __future__ import annotations

import hashlib
from urllib.parse import unquote_to_bytes

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.sfsp import MAX_ID
from storehouse.frontends.sfsp.chunks import FileName, id_of

_names = st.one_of(st.binary(min_size=1, max_size=50), st.binary(min_size=300, max_size=4096))


class FileNameTests(SynchronousTestCase):
    """L{FileName}."""

    def test_keys(self) -> None:
        for name, key in (
            (b"a", "a/00000000000000000007"),
            (b"report-2.1_b~.pdf", "report-2.1_b~.pdf/00000000000000000007"),
            (b"a/b c", "a%2Fb%20c/00000000000000000007"),
            (b"..", "../00000000000000000007"),
            (b"%", "%25/00000000000000000007"),
            (b"\0\xff+", "%00%FF%2B/00000000000000000007"),
            ("ä".encode(), "%C3%A4/00000000000000000007"),
            (b"sha256:a", "sha256%3Aa/00000000000000000007"),
        ):
            self.assertEqual((FileName.of(name).key(7), FileName.of(name).metadata), (key, {}))
        self.assertEqual(FileName.of(b"a").key(0), "a/" + "0" * 20)
        self.assertEqual(FileName.of(b"a").key(MAX_ID), "a/18446744073709551615")

    def test_long(self) -> None:
        """A key of 1024 bytes is the name; where it would be longer, it is a digest."""
        for name in (b"x" * 1003, b"/" * 334 + b"x"):
            file = FileName.of(name)
            self.assertEqual((len(file.key(1)), file.metadata), (1024, {}))
            name += b"x"
            file = FileName.of(name)
            self.assertEqual(file.prefix, f"sha256:{hashlib.sha256(name).hexdigest()}/")
            self.assertEqual(unquote_to_bytes(file.metadata["sfsp-name"][0]), name)

    @given(st.lists(_names, min_size=2, max_size=5, unique=True), st.integers(0, MAX_ID))
    @settings(max_examples=100, deadline=None)
    def test_any(self, names: list[bytes], id: int) -> None:
        """No two names share keys, none begins with another's prefix, and all can be keys."""
        files = [FileName.of(name) for name in names]
        for name, file in zip(names, files, strict=True):
            key = file.key(id)
            self.assertEqual(id_of(key[len(file.prefix) :]), id)
            self.assertTrue(key.isascii() and len(key) <= 1024, key)
            self.assertEqual(unquote_to_bytes(file.text), name)
            self.assertEqual([other.prefix for other in files if key.startswith(other.prefix)], [file.prefix])

    def test_whose(self) -> None:
        """Behind a digest, the metadata must say the same; behind a name, it says nothing."""
        short, long = FileName.of(b"a"), FileName.of(b"x" * 4096)
        for metadata in ({}, {"sfsp-name": ["b"]}, {"other": ["a"]}):
            self.assertTrue(short.is_of(metadata))
            self.assertFalse(long.is_of(metadata))
        self.assertTrue(long.is_of(long.metadata))
        self.assertTrue(long.is_of({"sfsp-name": ("x" * 4096,), "other": ["1"]}))
        self.assertFalse(long.is_of({"sfsp-name": ["x" * 4096, "y"]}))


class IDTests(SynchronousTestCase):
    """L{id_of}."""

    def test_ids(self) -> None:
        for digits, id in (("0" * 20, 0), ("00000000000000000042", 42), (str(MAX_ID), MAX_ID)):
            self.assertEqual(id_of(digits), id)

    def test_others(self) -> None:
        """Only what this door would write is one."""
        for digits in (
            "", "1", "0" * 19, "0" * 21, str(MAX_ID + 1), "9" * 20, "-" + "0" * 19, "+" + "0" * 19, " " + "0" * 19,
            "0" * 20 + "\n", "0" * 19 + "\n", "0" * 19 + "a", "0" * 20 + "/x", "٠" * 20, "0_" * 10,
        ):  # fmt: skip
            self.assertIsNone(id_of(digits), digits)
