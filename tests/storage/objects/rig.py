"""Stores for tests: on disk with threads, or in memory."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from storehouse.core.jobs import DiskThreads
from storehouse.events import Events
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings
from storehouse.storage.namespace.local import LocalNamespace, NamespaceSettings
from storehouse.storage.objects.store import LocalObjectStore
from storehouse.testing.dataspace import MemoryDataSpace
from storehouse.testing.namespace import MemoryNamespace

__all__ = ["LocalStoreTestCase", "MemoryStoreTestCase"]


class StoreTestCase(TestCase):
    """Has disk threads."""

    store: Any = None
    directory = ""

    def make_disk(self) -> None:
        self.disk = DiskThreads(reactor)
        self.disk.start()
        self.addCleanup(self.disk.stop)
        self.addCleanup(self.end)
        self.events = Events()

    async def stop(self) -> None:
        """Stop all of it, in the order in which a service does."""
        await self.store.stop()
        await self.names.stop()
        await self.space.stop()

    async def end(self) -> None:
        """After a test: what it left running would never end."""
        for each in list(self.store._pair.operations._running):
            each.addErrback(lambda failure: None)
            each.cancel()
        await self.stop()

    def join(self) -> LocalObjectStore:
        """A started store on C{space} and C{names}."""
        store = LocalObjectStore(self.space, self.names, self.disk, self.events)
        store.start()
        return store


class LocalStoreTestCase(StoreTestCase):
    """
    Makes stores in one directory.

    @cvar durable: what needs a disk to be shown is shown in tests.crash.
    """

    durable = False
    keys_in_memory = False

    def new_directory(self) -> str:
        directory = os.path.abspath(self.mktemp())
        os.makedirs(directory)
        return directory

    def make_space(self) -> None:
        self.space = WormerDataSpace(WormerSettings(f"{self.directory}/data", "CRC32C", 4096, self.durable), self.disk)
        self.space.start()

    def make_names(self) -> None:
        settings = NamespaceSettings(f"{self.directory}/names", self.durable, checkpoint_records=50)
        self.names = LocalNamespace(settings, reactor, self.disk)
        self.names.start()

    async def make_store(self) -> LocalObjectStore:
        if self.store is None:
            self.directory = self.new_directory()
            self.make_disk()
        else:
            await self.stop()
        self.make_space()
        self.make_names()
        self.store = self.join()
        await self.store.recovered
        await self.store.tidied
        return self.store


class MemoryStoreTestCase(StoreTestCase):
    """Makes a store of nothing but memory."""

    def make_space(self) -> None:
        self.space = MemoryDataSpace()
        self.space.start()

    async def make_store(self) -> LocalObjectStore:
        self.make_disk()
        self.make_space()
        self.names = MemoryNamespace()
        self.store = self.join()
        await self.store.recovered
        await self.store.tidied
        return self.store
