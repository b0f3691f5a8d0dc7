"""Tests of L{storehouse.frontends.upload.names}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import BadRequest, InvalidName, StorehouseError
from storehouse.frontends.upload.names import content_type_in, key_for, key_in_path, url_of


class NameTests(SynchronousTestCase):
    """What becomes of names."""

    def test_of_a_file(self) -> None:
        for name, key in (
            ("a.txt", "a.txt"),
            ("/home/a.txt", "a.txt"),
            ("C:\\home\\a.txt", "a.txt"),
            ("C:/home/a.txt", "a.txt"),
            ("C:\\a.txt", "a.txt"),
            ("c:\\my files\\a;b (1).txt", "a;b (1).txt"),
            ("\\\\server\\share\\a.txt", "a.txt"),
            ("a/b", "b"),
            (" a ", " a "),
            (".profile", ".profile"),
            ("...", "..."),
            ("a\u0308", "a\u0308"),
            ("שלום", "שלום"),
            ('"', '"'),
        ):
            self.assertEqual(key_for(name), key)

    def test_with_folders(self) -> None:
        self.assertEqual(key_for("c", "a/b/c"), "a/b/c")
        self.assertEqual(key_for("c", "a\\b\\c"), "a/b/c")

    def test_refused(self) -> None:
        bad = (
            "",
            ".",
            "..",
            "a/",
            "/",
            "\\",
            "a\\b",
            "a/b\\c",
            "a\\\\b",
            "C:a\\b",
            "C:\\a\\",
            "a\0",
            "a\n",
            "a\r\nb",
            "\x7f",
            "\x85",
            "\u2028",
            "\u202e",
            "\ud800",
        )
        for name in (*bad, "x" * 1025, "ä" * 513):
            self.assertRaises(InvalidName, key_for, name)
        for path in ("/a", "a//b", "../a", "a/../b", "a/.", "a\\..\\b", "a/\0", "a/"):
            self.assertRaises(InvalidName, key_for, "a", path)

    def test_in_a_path(self) -> None:
        self.assertEqual(key_in_path(b"a/k%C3%A4se%20%25.txt"), "a/käse %.txt")
        for path in (
            b"",
            b"/",
            b"%2e%2e/a",
            b"a/%2E%2E",
            b"a%00",
            b"a%0d%0ab",
            b"a%5cb",
            b"a\\b",
            b"%ff",
            b"%2fa",
            b"a//b",
        ):
            self.assertRaises(InvalidName, key_in_path, path)
        self.assertRaises(BadRequest, key_in_path, b"100%")

    @given(st.text(max_size=30) | st.text("./\\:ab\0\r\n", max_size=12))
    def test_any(self, name: str) -> None:
        """A key leads nowhere else, and there is a URL for it that says the same."""
        for names in ((name, ""), ("x", name)):
            try:
                key = key_for(*names)
            except StorehouseError:
                continue
            self.assertFalse({"", ".", ".."} & set(key.split("/")))
            self.assertTrue(key.isprintable() or key.strip(), key)
            url = url_of(key)
            self.assertTrue(url.isascii() and url.startswith("/download/"))
            self.assertNotRegex(url, r"[\s\"<>\\]")
            if "\\" not in key:
                self.assertEqual(key_in_path(url.removeprefix("/download/").encode()), key)

    def test_content_types(self) -> None:
        self.assertEqual(content_type_in(" text/plain; charset=utf-8 "), "text/plain; charset=utf-8")
        for value in ("", "text/plain\r\nX: y", "ä", "x" * 300, "\0"):
            self.assertEqual(content_type_in(value), "")
