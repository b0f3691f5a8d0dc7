"""A root with objects, made without a service."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.cli import main
from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings

__all__ = ["RootCase"]


class RootCase(SynchronousTestCase):
    """Runs commands on the files of a root."""

    def setUp(self) -> None:
        """Make the root, with its store closed."""
        self.root = Path(os.path.abspath(self.mktemp()))
        self.root.mkdir()
        self.directory = self.root / "objects"
        self.filled(lambda space: [])

    def filled(self, fill: Any, now: float = 1_800_000_000.0) -> None:
        """
        Open the store for as long as it takes to fill it.

        @param fill: given the store, gives the Deferreds of what it does, one after the other.
        """
        settings = WormerSettings(str(self.directory), block_size=4096, durable=False)
        space = WormerDataSpace(settings, InlineDisk(), clock=lambda: now)
        space.start()
        for work in fill(space):
            self.successResultOf(work)
        self.successResultOf(space.stop())

    def put(self, id: str, size: int = 10) -> Path:
        """Store an object. @return: its directory."""
        self.filled(lambda space: [space.put(id, BytesStream(bytes(size)), size, {})])
        return self.directory / "data" / id[:2] / id

    def upload(self, upload_id: str, *sizes: int) -> Path:
        """Begin an upload. @return: its directory."""

        def fill(space: WormerDataSpace) -> Any:
            work: Deferred[Any] = space.init_upload(upload_id, {})
            yield work
            for number, size in enumerate(sizes, 1):
                yield space.upload_part(upload_id, number, BytesStream(bytes(size)), size)

        self.filled(fill)
        return self.directory / "uploads" / upload_id[:2] / upload_id

    def run_command(self, *args: str, status: int = 0, root: str | None = None) -> Result:
        """Run within this process, and check the exit status."""
        words = [*args, "--root", str(self.root) if root is None else root]
        result = CliRunner().invoke(main, words, prog_name="storehouse")
        self.assertEqual(result.exit_code, status, f"{result.stderr} {result.exception!r}")
        return result
