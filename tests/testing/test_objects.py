"""L{memory_object_store} is a store that can be used at once."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from storehouse.core.streams import BytesStream, read_all
from storehouse.events import Events, ObjectStored
from storehouse.testing import memory_object_store


class MemoryObjectStoreTests(TestCase):
    """What a store does is tested with tests/storage/objects; here, that this one does it."""

    async def test_used(self) -> None:
        events = Events()
        stored: list[ObjectStored] = []
        events.subscribe(ObjectStored, stored.append)
        store = memory_object_store(events, Clock())
        await store.create_bucket("docs")
        await store.put("docs", "a.txt", BytesStream(b"hello"), 5)
        self.assertEqual([event.key for event in stored], ["a.txt"])
        self.assertEqual(await read_all(await store.get("docs", "a.txt")), b"hello")
        await store.stop()
