"""Lists of chunks of which one cannot be read."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.jobs import InlineDisk
from storehouse.errors import DamagedEntry
from storehouse.frontends.sfsp.chunks import Chunks, FileName
from storehouse.storage.objects.interfaces import Listing


class DamagedStore:
    """Has a chunk of which only the key can be read."""

    def __init__(self, key: str) -> None:
        self.key = key

    def list_objects(self, *args: Any) -> Deferred[Listing]:
        """A page of it."""
        return succeed(Listing([], [], None, [self.key]))

    def list_keys(self, *args: Any) -> Deferred[list[str]]:
        """Its name."""
        return succeed([self.key])


class DamagedTests(SynchronousTestCase):
    """No list is short without a word."""

    def ids(self, name: bytes) -> Any:
        file = FileName.of(name)
        chunks: Any = Chunks(DamagedStore(file.key(7)), InlineDisk(), os.path.abspath(self.mktemp()))  # type: ignore[arg-type]
        return Deferred.fromCoroutine(chunks.ids(file))

    def test_short_name(self) -> None:
        """Its ID is in its key."""
        found = self.successResultOf(self.ids(b"a"))
        self.assertEqual(found.size, 8)
        found.close()

    def test_long_name(self) -> None:
        """It may or may not be of the file."""
        self.failureResultOf(self.ids(b"x" * 2000), DamagedEntry)
