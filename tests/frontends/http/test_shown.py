"""Tests of L{storehouse.frontends.http.shown}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from storehouse.frontends.http.shown import shown


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

    def test_others(self) -> None:
        for uri in (b"/", b"/sign-in", b"/download/sign-in/x?after=1", b"/a?designature=5"):
            self.assertEqual(shown(uri), uri.decode())

    def test_what_cannot_be_printed(self) -> None:
        """Neither begins a line, nor tells a terminal what to do."""
        self.assertEqual(shown(b"/\xff"), "/%FF")
        self.assertEqual(shown(b"\x1b]0;X\x07\x1b[2J\n {a}"), "%1B]0;X%07%1B[2J%0A%20{a}")
