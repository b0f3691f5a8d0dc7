"""Answers of disk threads that come late."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream
from storehouse.errors import NoSuchUpload
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings


class LateDisk(InlineDisk):
    """
    Does everything at once, and tells of some of it later.

    @ivar holding: whether results of calls come later.
    """

    def __init__(self) -> None:
        self.holding = False
        self._held: list[tuple[Deferred[Any], Any]] = []

    def run(self, f: Callable[..., Any], *args: Any) -> Deferred[Any]:
        done = super().run(f, *args)
        if not self.holding:
            return done
        outcome: list[Any] = []
        done.addBoth(outcome.append)
        later: Deferred[Any] = Deferred()
        self._held.append((later, outcome[0]))
        return later

    def tell(self) -> None:
        """Tell what was done."""
        self.holding = False
        while self._held:
            later, outcome = self._held.pop(0)
            later.callback(outcome)


class LateAnswerTests(SynchronousTestCase):
    """What was read of an upload before it ended says nothing of the next one with its ID."""

    def test_upload_that_ended_meanwhile(self) -> None:
        disk = LateDisk()
        settings = WormerSettings(os.path.abspath(self.mktemp()), durable=False)
        first = WormerDataSpace(settings, disk)
        first.start()
        self.successResultOf(first.init_upload("aa", {}))
        self.successResultOf(first.upload_part("aa", 1, BytesStream(b"old"), 3))
        self.successResultOf(first.stop())

        disk.holding = True
        space = WormerDataSpace(settings, disk)
        space.start()
        disk.tell()
        # Nothing of the upload is remembered yet by a store that has just been started anew.
        space._states.clear()
        disk.holding = True
        listing = space.list_parts("aa")
        disk.holding = False
        aborting = space.abort_upload("aa")
        disk.tell()
        self.assertEqual(len(self.successResultOf(listing)), 1)
        self.assertIsNone(self.successResultOf(aborting))
        self.failureResultOf(space.list_parts("aa"), NoSuchUpload)
        self.successResultOf(space.init_upload("aa", {}))
        self.assertEqual(self.successResultOf(space.list_parts("aa")), [])
