"""Names and media types of files (L{storehouse.frontends.upload.intake}), and how they are handed out (C{download})."""

from __future__ import annotations

from email import message_from_bytes, policy
from typing import Any
from urllib.parse import unquote

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.names import BY_ENDING, guessed_type
from storehouse.errors import BadRequest, InvalidName, StorehouseError
from storehouse.frontends.upload.download import content_disposition, present
from storehouse.frontends.upload.intake import content_type_in, key_for, key_in_path, said_type, url_of


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
            self.assertNotRegex(key, "[\\x00-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069]")
            url = url_of(key)
            self.assertTrue(url.isascii() and url.startswith("/download/"))
            self.assertNotRegex(url, r"[\s\"<>\\]")
            if "\\" not in key:
                self.assertEqual(key_in_path(url.removeprefix("/download/").encode()), key)

    def test_content_types(self) -> None:
        self.assertEqual(content_type_in(" text/plain; charset=utf-8 "), "text/plain; charset=utf-8")
        for value in ("", "text/plain\r\nX: y", "ä", "x" * 300, "\0"):
            self.assertEqual(content_type_in(value), "")


class GuessTests(SynchronousTestCase):
    """What the names of files say."""

    def test_nothing_that_is_run(self) -> None:
        """No name has a browser take a file for more than data."""
        for ending in ("html", "htm", "xhtml", "svg", "xml", "js", "mjs", "css", "swf", "wasm", "mht", "hta"):
            self.assertEqual(guessed_type(f"a.{ending}"), "")
        for kind in set(BY_ENDING.values()):
            self.assertEqual(present("a", kind, False).content_type.decode(), kind)

    def test_said(self) -> None:
        for value, said, in_form in (
            ("image/png", "image/png", "image/png"),
            ("application/x-www-form-urlencoded", "", ""),
            ("Application/X-WWW-Form-Urlencoded; charset=utf-8", "", ""),
            ("application/octet-stream", "application/octet-stream", ""),
            ("", "", ""),
        ):
            self.assertEqual((said_type(value), said_type(value, is_form=True)), (said, in_form))


class TypeTests(SynchronousTestCase):
    """Which media types are sent, and which are shown."""

    def fields(self, content_type: str, inline: bool = True) -> tuple[str, str, str]:
        """The type, the first word of C{Content-Disposition}, and the policy."""
        how = present("a", content_type, inline)
        fields = dict(how.fields)
        self.assertEqual(fields[b"X-Content-Type-Options"], b"nosniff")
        return (
            how.content_type.decode(),
            fields[b"Content-Disposition"].decode().partition(";")[0],
            fields[b"Content-Security-Policy"].decode(),
        )

    def test_shown(self) -> None:
        for content_type in (
            *("image/png", "image/jpeg", "IMAGE/PNG", "image/vnd.microsoft.icon", "audio/mpeg", "video/mp4"),
            *("text/plain", "text/plain; charset=utf-8", 'video/mp4; codecs="avc1.42E01E, mp4a.40.2"'),
        ):
            told, way, policy = self.fields(content_type)
            self.assertEqual((told, way), (content_type, "inline"))
            self.assertTrue(policy.startswith("sandbox; default-src 'none';"))
            told, way, policy = self.fields(content_type, False)
            self.assertEqual((told, way, policy), (content_type, "attachment", "sandbox; default-src 'none'"))
        told, way, policy = self.fields("application/pdf")
        self.assertEqual((told, way), ("application/pdf", "inline"))
        self.assertTrue(policy.startswith("default-src 'none'"))

    def test_kept(self) -> None:
        """As it is shown, but saved."""
        for content_type in (
            *("application/zip", "application/json", "text/csv; charset=utf-8", "application/octet-stream"),
            *("font/woff2", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ):
            self.assertEqual(self.fields(content_type), (content_type, "attachment", "sandbox; default-src 'none'"))

    def test_dangerous(self) -> None:
        """What browsers would run, or read as something else, is bytes."""
        for content_type in (
            *("text/html", "Text/HTML; charset=utf-8", "application/xhtml+xml", "image/svg+xml", "IMAGE/SVG+XML"),
            *("text/xml", "application/xml", "application/rss+xml", "text/xsl", "text/css", "text/javascript"),
            *("application/javascript", "application/x-javascript", "text/ecmascript", "application/wasm"),
            *("multipart/x-mixed-replace; boundary=x", "message/rfc822", "application/x-shockwave-flash"),
            *("application/vnd.mozilla.xul+xml", "text/cache-manifest", "text/event-stream", "text/plain, text/html"),
            *("image/png\r\nX-Evil: 1", "image/png;\r\n x=1", "text/plain; charset=utf-8; <script>", "image/", "x"),
            *("", "image/svg+xml; charset=utf-8", "image/png; xml=svg\n", "text/html image/png", "\uff49mage/png"),
        ):
            self.assertEqual(
                self.fields(content_type),
                ("application/octet-stream", "attachment", "sandbox; default-src 'none'"),
                content_type,
            )

    @given(st.text(max_size=60))
    def test_never_breaks_the_line(self, text: str) -> None:
        how = present(text, text, True)
        for value in (how.content_type, *(value for _, value in how.fields)):
            self.assertTrue(all(0x20 <= byte < 0x7F for byte in value))


class DispositionTests(SynchronousTestCase):
    """C{Content-Disposition}."""

    def test_table(self) -> None:
        for key, expected in [
            ("a.txt", b'attachment; filename="a.txt"'),
            ("folder/b c.txt", b'attachment; filename="b c.txt"'),
            ("folder/", b'attachment; filename="folder"'),
            ("/", b'attachment; filename="download"'),
            ("k\u00e4se.txt", b"attachment; filename=\"k_se.txt\"; filename*=UTF-8''k%C3%A4se.txt"),
            ("\U0001f600", b"attachment; filename=\"_\"; filename*=UTF-8''%F0%9F%98%80"),
            ('a".exe', b"attachment; filename=\"a_.exe\"; filename*=UTF-8''a%22.exe"),
            ("100%41", b"attachment; filename=\"100_41\"; filename*=UTF-8''100%2541"),
            ("a\\b", b'attachment; filename="a_b"'),
            ("a\r\nSet-Cookie: x", b'attachment; filename="a__Set-Cookie: x"'),
            ("a\u202etxt.exe", b'attachment; filename="a_txt.exe"'),
            ("a;b=c", b'attachment; filename="a;b=c"'),
            # Browsers and Python's email strip spaces at the ends, also within quotation marks, and decode encoded words.
            (" a ", b"attachment; filename=\"_a_\"; filename*=UTF-8''%20a%20"),
            ("=?q?a?=", b"attachment; filename=\"_q?a?=\"; filename*=UTF-8''%3D%3Fq%3Fa%3F%3D"),
        ]:
            self.assertEqual(content_disposition(key), expected)
        self.assertEqual(content_disposition("a", True), b'inline; filename="a"')

    @given(st.text(min_size=1, max_size=50).filter(lambda text: "/" not in text))
    @example(" ")
    @example("=??q??=")
    def test_read_by_another_parser(self, name: str) -> None:
        """The name comes out as it went in, but for what could do harm."""
        try:
            name.encode()
        except UnicodeEncodeError:
            return
        value = content_disposition(name)
        self.assertTrue(value.isascii())
        _, _, extended = value.decode().partition("filename*=UTF-8''")
        if extended:
            found = unquote(extended, errors="strict")
        else:
            message: Any = message_from_bytes(b"Content-Disposition: " + value + b"\r\n\r\n", policy=policy.HTTP)
            found = message.get_filename()
        self.assertEqual(len(found), len(name))
        self.assertTrue(all(one == other or one == "_" for one, other in zip(found, name, strict=True)))
