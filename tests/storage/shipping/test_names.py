"""Tests of L{storehouse.storage.shipping.names}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import InvalidName
from storehouse.storage.shipping.names import check_name, object_name


class NameTests(SynchronousTestCase):
    """Names at destinations."""

    def test_object_name(self) -> None:
        digest = "0123456789abcdef" + "f" * 48
        for path, compression, name in [
            ("/a/b.events", "gzip", "s/b-0123456789abcdef.events.gz"),
            ("/a/b.events", "zstd", "s/b-0123456789abcdef.events.zst"),
            ("/a/b.events", "none", "s/b-0123456789abcdef.events"),
            ("b", "gzip", "s/b-0123456789abcdef.gz"),
            ("/a/.b", "none", "s/.b-0123456789abcdef"),
            ("/a/a.b.c", "none", "s/a.b-0123456789abcdef.c"),
            ("/a/a\x01b", "none", "s/a_b-0123456789abcdef"),
        ]:
            self.assertEqual(object_name("s", path, digest, compression), name)

    def test_long(self) -> None:
        name = object_name("s" * 128, "é" * 127, "0" * 64, "gzip")
        self.assertLess(len(name.encode()), 1024)
        check_name("a" * 1024)
        self.assertRaises(InvalidName, check_name, "a" * 1025)
