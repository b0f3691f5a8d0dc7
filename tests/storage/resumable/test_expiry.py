"""Expired uploads are removed now and then."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import Unavailable
from storehouse.storage.resumable.expiry import EXPIRY_INTERVAL, ResumableExpiry


class FakeUploads:
    """Counts how often uploads were to expire."""

    def __init__(self) -> None:
        self.results: list[Deferred[int]] = []

    def expire(self) -> Deferred[int]:
        self.results.append(Deferred())
        return self.results[-1]


class ExpiryTests(SynchronousTestCase):
    """L{ResumableExpiry}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.uploads: Any = FakeUploads()

    def test_hourly(self) -> None:
        """It goes on after a failure, and is waited for."""
        expiry = ResumableExpiry(self.uploads, self.clock, 86400.0)
        expiry.start()
        self.assertEqual(len(self.uploads.results), 0)
        self.clock.advance(EXPIRY_INTERVAL)
        self.uploads.results[0].errback(Unavailable("not now"))
        self.assertEqual(len(self.flushLoggedErrors(Unavailable)), 1)
        self.clock.advance(EXPIRY_INTERVAL)
        self.assertEqual(len(self.uploads.results), 2)
        stopped = expiry.stop()
        self.assertNoResult(stopped)
        self.uploads.results[1].callback(3)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_sooner(self) -> None:
        """If uploads do not live long, it looks more often; if they live for ever, what is known of others goes."""
        for age, interval in ((100.0, 25.0), (0.5, 1.0), (0.0, EXPIRY_INTERVAL)):
            self.uploads.results.clear()
            expiry = ResumableExpiry(self.uploads, self.clock, age)
            expiry.start()
            self.clock.advance(interval)
            self.assertEqual(len(self.uploads.results), 1)
            self.uploads.results[0].callback(0)
            self.successResultOf(expiry.stop())
