"""Tests of L{storehouse.frontends.http.shown}."""

from __future__ import annotations

from types import SimpleNamespace
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.frontends.http.shown import shown, shown_error, shown_name

KNOWN = {
    b"": SimpleNamespace(),
    b"download": SimpleNamespace(logs_rest=True),
    b"upload": SimpleNamespace(),
    b"sign-in": SimpleNamespace(logs_rest=False),
}
SECRET = "K9f3Zq-7hVbX0aWmJ2uYtRcE5sDnLpQg_8oIiTk6GyA"


class ShownTests(SynchronousTestCase):
    """L{shown}."""

    def test_secrets(self) -> None:
        for uri, expected in (
            (b"/upload/a?method=PUT&signature=00ff&x=1", "/upload/a?method=PUT&signature=...&x=1"),
            (b"/upload/a?signature=00ff", "/upload/a?signature=..."),
            (b"/sign-in/TOKEN?next=/", "/sign-in/...?next=/"),
            (b"/sign-in/TOKEN", "/sign-in/..."),
            # As a link is read, whatever it was made of on the way.
            (b"/upload/a?x=1&signatur%65=00ff", "/upload/a?x=1&signature=..."),
            (b"/upload/a?signature=00ff&%73ignature=00ff", "/upload/a?signature=...&signature=..."),
            (b"/%73ign-in/TOKEN", "/sign-in/..."),
            (b"/sign-in%2FTOKEN", "/sign-in/..."),
        ):
            self.assertEqual(shown(uri), expected)
            self.assertNotIn("TOKEN", shown(uri, KNOWN))
            self.assertNotIn("00ff", shown(uri, KNOWN))

    def test_garbled(self) -> None:
        """However a link was copied."""
        for garbled in (
            "/download/a.txt?user=ann&amp;signature=%s",
            "/download/a.txt?user=ann&#38;signature=%s",
            "/download/a.txt%%3Fuser=ann&signature=%s",
            "/download/a.txt%%3Fsignature%%3D%s",
            "/download/a.txt%%253Fsignature%%253D%s",
            "/download/a.txt?user=ann%%26signature=%s",
            "/download/a.txt?user=ann;signature=%s",
            "/download/a.txt?id=ann;signature=%s",
            "/download/a.txt?id=ann%%26signature%%3D%s",
            "/download/a.txt;signature=%s",
            "/download/a.txt&signature=%s",
            "/download/a.txt?Signature=%s",
            "/download/a.txt?signature%%3D%s",
            "/download/a.txt?signature%%253d%s",
            "/download/a.txt?%%2573ignature=%s",
            "/download/a.txt?X-Signature=%s",
            "/download/a.txt?%s",
            "/download/a.txt?%s=1",
            "/download/a.txt??signature=%s",
            "/download/a.txt?a?signature=%s",
            "/download/a.txt?next=/sign-in/%s",
            "/sign-in?next=%%2Fdownload%%2Fa.txt%%3Fsignature%%3D%s",
            "/sign-in?token=%s",
            "/sign-in?%s",
            "/sign-in/%s/",
            "//sign-in/%s",
            "///sign-in/%s",
            "/./sign-in/%s",
            "/download/../sign-in/%s",
            "/download//sign-in/%s",
            "/Sign-In/%s",
            "/sign-in;%s",
            "/sign-in=%s",
            "/sign-in%%252F%s",
            "/%%2573ign-in/%s",
            "/%%2Fsign-in/%s",
            "/signin/%s",
            "/%s",
            "/x/sign-in/%s",
            "/https://files.example/sign-in/%s",
            "/https:/files.example/sign-in/%s",
            "http://files.example/sign-in/%s",
            "https://files.example/download/a.txt?signature=%s",
            "sign-in/%s",
            "/download/a.txt\\?signature=%s",
            "/download/a.txt%%5C?signature%%3d%s",
            "/download/a.txt#signature=%s",
        ):
            uri = (garbled % SECRET).encode()
            self.assertNotIn(SECRET, shown(uri, KNOWN), garbled)

    @given(st.lists(st.sampled_from(["%", "25", "3F", "3D", "26", "2F", "?", "&", "=", ";", "/", "a", "signature"])))
    @settings(max_examples=300, deadline=None)
    def test_any(self, pieces: list[str]) -> None:
        """Behind any sign that separates."""
        before = "".join(pieces)
        for uri in (f"/download/a{before}?signature={SECRET}", f"/download/a%3F{before}={SECRET}"):
            self.assertNotIn(SECRET, shown(uri.encode(), KNOWN))

    def test_others(self) -> None:
        for uri in (
            b"/",
            b"/sign-in",
            b"/download/sign-in/x?after=1",
            b"/a?designature=5",
            b"/append?id=a&offset=13",
            b"*",
        ):
            self.assertEqual(shown(uri), uri.decode())
        for name in ("my holiday.jpg", "Übung (1).txt", "a+b@c,d", "2026/11/30"):
            uri = "/download/" + quote(name)
            self.assertEqual(shown(uri.encode(), KNOWN), uri)
        self.assertEqual(shown(b"/download/", KNOWN), "/download/")
        self.assertEqual(shown(b"/sign-in", KNOWN), "/sign-in")
        self.assertEqual(shown(b"/favicon.ico", KNOWN), "/...")

    def test_errors(self) -> None:
        """The text of an error does not repeat what a URL hides; where it came from stays."""
        for uri in (
            f"/sign-in/{SECRET}",
            f"/download/a?user=ann&signature={SECRET}",
            f"/sign-in/%{ord(SECRET[0]):x}{SECRET[1:]}",
        ):
            for error in (
                KeyError(SECRET),
                ValueError(f"no {SECRET}!"),
                ValueError(("x", SECRET.encode())),
            ):
                try:
                    raise error
                except Exception as raised:
                    found = shown_error(raised, uri.encode(), KNOWN)
                self.assertNotIn(SECRET[1:], repr(found) + str(found))
                self.assertIn(type(error).__name__, str(found))
                self.assertIs(found.__traceback__, error.__traceback__)
                self.assertIsNone(found.__cause__ or found.__context__)
        plain = KeyError("a.txt")
        self.assertIs(shown_error(plain, b"/download/a.txt?user=ann", KNOWN), plain)

    def test_what_cannot_be_printed(self) -> None:
        """Neither begins a line, nor tells a terminal what to do."""
        self.assertEqual(shown(b"/\xff"), "/%FF")
        self.assertEqual(shown_name(b"\x1b]0;X\x07\x1b[2J\n {a}"), "%1B]0;X%07%1B[2J%0A%20{a}")
