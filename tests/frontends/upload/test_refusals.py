"""Tests of L{storehouse.frontends.upload.refusals}."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from storehouse.frontends.upload.refusals import RefusalLog


class RefusalLogTests(SynchronousTestCase):
    """L{RefusalLog}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.log = RefusalLog(self.clock.seconds)

    def test_lines(self) -> None:
        key_id = "SH" + "A2" * 9
        with capturedLogs() as events:
            self.log.key("10.0.0.1", key_id)
            self.log.sign_in("10.0.0.1", key_id)
            self.log.sign_in("10.0.0.1", None)
            self.log.link("10.0.0.1")
            self.log.certificate("10.0.0.1", "ann\x1b")
            self.log.origin("10.0.0.1", b"https://a\x1b", b"b")
        lines = [str(formatEvent(event)) for event in events]
        self.assertEqual(
            lines[:5],
            [
                f"access key {key_id} from 10.0.0.1 refused",
                f"sign-in from 10.0.0.1 refused, by key {key_id}",
                "sign-in from 10.0.0.1 refused, by link",
                "link with a wrong signature from 10.0.0.1 refused",
                "certificate of ann%1B from 10.0.0.1 refused",
            ],
        )
        self.assertIn("a page of https://a%1B made it and this server is called b", lines[5])
        self.assertTrue(all(event["peer"] == "10.0.0.1" for event in events))

    def test_no_secrets(self) -> None:
        """What is in the place of the key ID and does not look like one may be the secret."""
        with capturedLogs() as events:
            for given in ("", "x" * 40, "x" * 21, "SH" + "A" * 18 + "\n", "a b", "a\x1b"):
                self.log.key("10.0.0.1", given)
                self.log.sign_in("10.0.0.1", given)
        self.assertEqual(
            {str(formatEvent(event)) for event in events},
            {
                "access key (malformed) from 10.0.0.1 refused",
                "sign-in from 10.0.0.1 refused, by key (malformed)",
            },
        )

    def test_bounded(self) -> None:
        """For each address, for all together; and it is told how many were left out."""
        with capturedLogs() as events:
            for _ in range(1000):
                self.log.link("10.0.0.1")
            self.assertEqual(len(events), 20)
            for number in range(1000):
                self.log.link(f"10.1.{number // 250}.{number % 250}")
            self.assertEqual(len(events), 100)
            self.clock.advance(3600)
            self.log.link("10.0.0.1")
        self.assertIn("(980 other refusals were not logged)", str(formatEvent(events[20])))
        self.assertIn("(920 other refusals were not logged)", str(formatEvent(events[-1])))
