"""Tests of L{storehouse.core.encodedwords}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.encodedwords import decoded_words, encoded_words


class EncodedWordsTests(SynchronousTestCase):
    """Any text fits into a header field."""

    def test_written(self) -> None:
        for text, written in (
            ("", ""),
            ("a b", "a b"),
            (" a", "=?UTF-8?B?IGE=?="),
            ("a\n", "=?UTF-8?B?YQo=?="),
            ("日", "=?UTF-8?B?5pel?="),
            ("=?UTF-8?B?5pel?=", "=?UTF-8?B?PT9VVEYtOD9CPzVwZWw/PQ==?="),
        ):
            self.assertEqual((encoded_words(text), decoded_words(written)), (written, text))

    def test_of_others(self) -> None:
        for written, text in (
            ("=?utf-8?q?caf=C3=A9?=", "café"),
            ("=?ISO-8859-1?B?6Q==?=", "é"),
            ("=?UTF-8?B?5pel?= =?UTF-8?B?5pys?=", "日本"),
            ("=?UTF-8?B?x?=", "=?UTF-8?B?x?="),
            ("=?nothing?B?6Q==?=", "=?nothing?B?6Q==?="),
            ("=?UTF-8?B?6Q==?=", "=?UTF-8?B?6Q==?="),
        ):
            self.assertEqual(decoded_words(written), text)

    @given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("=?B \n")))
    def test_round_trip(self, text: str) -> None:
        written = encoded_words(text)
        self.assertEqual(decoded_words(written), text)
        self.assertTrue(written.isascii() and (written.isprintable() or not written))
        self.assertEqual(written.strip(), written)

    @given(st.text())
    def test_anything(self, text: str) -> None:
        decoded_words(text)
        self.assertTrue(encoded_words(text).isascii())
