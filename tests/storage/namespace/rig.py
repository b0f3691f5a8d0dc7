"""What tests of the namespace share: one that is driven synchronously, and ways to damage it."""

from __future__ import annotations

import os
import shutil
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from storehouse.core.files import Files
from storehouse.core.jobs import InlineDisk
from storehouse.storage.namespace.interfaces import Entry, Page, Problem
from storehouse.storage.namespace.local import LocalNamespace, NamespaceSettings
from storehouse.testing.files import UnsyncedFiles

__all__ = ["Driven", "contents", "flip", "now"]


def now(waited_for: Deferred[Any]) -> Any:
    """The result of a Deferred that has fired. @raise Exception: its failure."""
    results: list[Any] = []
    waited_for.addBoth(results.append)
    assert results, "nothing happens any more"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


def flip(path: str, byte: int, bit: int = 0) -> None:
    """Turn one bit of a file around."""
    with open(path, "r+b") as file:
        file.seek(byte)
        value = file.read(1)[0]
        file.seek(byte)
        file.write(bytes([value ^ 1 << bit]))


def contents(path: str) -> bytes:
    """All bytes of a file."""
    with open(path, "rb") as file:
        return file.read()


class Driven:
    """A L{LocalNamespace} without threads, whose methods give their results."""

    def __init__(self, directory: str, files: Files | None = None, **settings: Any) -> None:
        self.directory = os.path.abspath(directory)
        self.files = files or UnsyncedFiles()
        self.settings = NamespaceSettings(self.directory, **settings)
        self.failures: list[Exception] = []
        self.running = False
        self.clock = Clock()

    def start(self) -> Driven:
        self.namespace = LocalNamespace(self.settings, self.clock, InlineDisk(), self.failures.append, self.files)
        self.namespace.start()
        self.running = True
        return self

    def stop(self) -> None:
        if self.running:
            self.running = False
            now(self.namespace.stop())

    def abandon(self) -> None:
        """Close the files, and nothing else, so that nothing is left open after a test."""
        if self.running:
            self.running = False
            self.namespace.journal.abandon()
            self.namespace.upkeep.index.close()

    def killed(self, target: str) -> Driven:
        """A copy, as it would be found after a kill now; not started. This one is abandoned."""
        shutil.copytree(self.directory, target, symlinks=True)
        self.abandon()
        return Driven(
            target,
            UnsyncedFiles(),
            durable=self.settings.durable,
            checkpoint_records=self.settings.checkpoint_records,
            checkpoint_interval=self.settings.checkpoint_interval,
        )

    def path(self, *names: str) -> str:
        return os.path.join(self.directory, *names)

    def object(self, name: str, *names: str, bucket: str = "bucket") -> str:
        """A path in the tree; C{name} as it is encoded."""
        return self.path("buckets", bucket, "objects", name, *names)

    def create(self, bucket: str = "bucket") -> Driven:
        now(self.namespace.create_bucket(bucket))
        return self

    def publish(self, key: str, entry: Entry, bucket: str = "bucket", **options: Any) -> list[Entry]:
        return list(now(self.namespace.publish(bucket, key, entry, **options)).removed)

    def unpublish(self, key: str, bucket: str = "bucket", **options: Any) -> list[Entry]:
        return list(now(self.namespace.unpublish(bucket, key, **options)).removed)

    def look_up(self, key: str, id: str | None = None, bucket: str = "bucket") -> Any:
        return now(self.namespace.look_up(bucket, key, id))

    def versions(self, key: str, bucket: str = "bucket") -> list[Entry]:
        return list(now(self.namespace.versions(bucket, key)))

    def list(self, bucket: str = "bucket", **arguments: Any) -> Page:
        page = now(self.namespace.list_keys(bucket, **arguments))
        assert isinstance(page, Page)
        return page

    def keys(self, bucket: str = "bucket") -> list[str]:
        return [key for key, _ in self.list(bucket).entries]

    def check(self) -> list[Problem]:
        return list(now(self.namespace.check()))
