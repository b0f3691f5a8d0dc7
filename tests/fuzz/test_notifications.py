"""Notification configurations under a fuzzer, for a few seconds; C{STOREHOUSE_SOAK=1} for minutes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from storehouse.storage.notifications.values import Rule
from tests.fuzz.notifications import SEEDS, try_bytes
from tests.fuzz.running import FuzzTestsMixin


class NotificationFuzzTests(FuzzTestsMixin, SynchronousTestCase):
    """Read, kept and written."""

    module = "tests.fuzz.notifications"
    attempt = staticmethod(try_bytes)
    seeds = SEEDS
    cuts = 2
    morsels = [
        *(b"<Event>", b"</Event>", b"<Id>", b"</Id>", b"<Filter>", b"</Filter>", b"<S3Key>", b"</S3Key>", b"<Value>"),
        *(
            b"arn:storehouse:",
            b"::",
            b"s3:",
            b":*",
            b"&#10;",
            b"\xc3\xa4",
            b'"',
            b",",
            b"[",
            b"]",
            b"\\ud800",
            b"prefix",
        ),
    ]
    most = 2

    def test_it_would_be_found(self) -> None:
        """The harness finds a rule that matches everything."""
        self.patch(Rule, "matches", lambda *asked: True)
        self.assertRaises(AssertionError, try_bytes, SEEDS[2])
