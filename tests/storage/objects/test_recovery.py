"""What a start makes good. Kills and power cuts are in L{tests.crash.test_store_crashes}."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import TestCase

from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream
from storehouse.errors import NoSpace, StorageFailed, Unavailable
from storehouse.events import Events, ObjectReplaced, ObjectStored
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.namespace.interfaces import Entry, Usage
from storehouse.storage.objects.store import LocalObjectStore
from storehouse.storage.objects.tags import encode_entry
from storehouse.testing.dataspace import MemoryDataSpace
from storehouse.testing.namespace import MemoryNamespace


class TellingNames(MemoryNamespace):
    """
    In memory, with what a crash would have left.

    @ivar failing: what C{publish} fails with.
    @ivar happens: whether it does what it is to do all the same.
    """

    failing: Exception | None = None
    happens = False

    def __init__(self) -> None:
        super().__init__()
        self.settled: set[str] = set()

    def settle(self, ids: Any) -> None:
        self.settled |= set(ids)

    def publish(self, *args: Any, **options: Any) -> Any:
        if self.failing is None:
            return super().publish(*args, **options)
        if self.happens:
            super().publish(*args, **options)
        done: Deferred[Any] = Deferred()
        done.errback(self.failing)
        return done


class RecoveryTests(TestCase):
    """On parts in memory."""

    def setUp(self) -> None:
        self.space = MemoryDataSpace()
        self.space.start()
        self.names = TellingNames()
        self.events = Events()
        self.store = LocalObjectStore(self.space, self.names, InlineDisk(), self.events)
        self.successful(self.names.create_bucket("bucket"))

    def successful(self, deferred: Deferred[Any]) -> Any:
        return self.successResultOf(deferred)

    def bytes_of(self, id: str, key: str = "bucket/key", entry: Entry | None = None) -> None:
        metadata = {"key": [key]}
        if entry is not None:
            metadata["complete"] = [encode_entry(entry)]
        self.successful(self.space.put(id, BytesStream(b"data"), 4, metadata))

    def start(self, *unsettled: str, unpublished: tuple[str, ...] = ()) -> None:
        self.names.unsettled, self.names.unpublished = list(unsettled), list(unpublished)
        self.store.start()
        self.successful(self.store.recovered)

    def ids(self) -> list[str]:
        return [
            id
            for index in self.successful(self.space.list_indexes())
            for id in self.successful(self.space.list_ids(index))
        ]

    def test_orphans(self) -> None:
        """Bytes that a crash left are removed, and what is not there any more is forgotten."""
        self.bytes_of("aa01")
        self.bytes_of("aa02")
        self.bytes_of("aa03")
        self.start("aa01", "aa02", "bb01", unpublished=("aa01",))
        self.assertEqual(self.ids(), ["aa03"])
        self.assertEqual(self.names.settled, {"aa01", "aa02", "bb01"})
        self.assertEqual(self.store._pair.metrics.orphans, 2)

    def test_completion(self) -> None:
        """An upload that was being completed is, and its event is published."""
        heard: list[Any] = []
        self.events.subscribe(ObjectStored, heard.append)
        self.events.subscribe(ObjectReplaced, heard.append)
        entry = Entry("aa01", 4, "etag-1", 17, "a/b", {"é": ["è"]})
        self.bytes_of("aa01", entry=entry)
        self.start("aa01", unpublished=("aa01",))
        found = self.successful(self.names.look_up("bucket", "key"))
        reader = self.successful(self.space.get("aa01"))
        self.assertEqual(found, attrs.evolve(entry, tag=reader.etag))
        self.assertEqual([event.info.id for event in heard], ["aa01"])
        self.assertEqual(self.store._pair.metrics.completed, 1)
        self.assertEqual(self.ids(), ["aa01"])

    def test_completed_and_replaced(self) -> None:
        """What was a key's once does not come back."""
        self.bytes_of("aa01", entry=Entry("aa01", 4, "", 17))
        self.start("aa01")
        self.assertEqual(self.ids(), [])
        self.assertEqual(self.successful(self.names.usage("bucket")), Usage(0, 0))

    def test_completions_that_cannot_be(self) -> None:
        """They go as other orphans do, but for those of a bucket that is not there: perhaps it was renamed."""
        self.bytes_of("aa01", "nowhere/key", Entry("aa01", 4, "", 17))
        self.bytes_of("aa02", entry=Entry("ffff", 4, "", 17))
        for id, text in (("aa03", "{"), ("aa04", "[]"), ("aa05", '{"id": 1}')):
            metadata = {"key": ["bucket/key"], "complete": [text]}
            self.successful(self.space.put(id, BytesStream(b"data"), 4, metadata))
        self.successful(self.space.put("aa06", BytesStream(b"data"), 4, {"key": ["bucket/key"], "complete": []}))
        ids = tuple(self.ids())
        self.start(*ids, unpublished=ids)
        self.assertEqual(self.ids(), ["aa01"])

    def test_completion_fails(self) -> None:
        """For want of room the parts are not given up: the next start tries again."""
        self.bytes_of("aa01", entry=Entry("aa01", 4, "", 17))
        self.names.failing = NoSpace("full")
        self.start("aa01", unpublished=("aa01",))
        self.flushLoggedErrors(NoSpace)
        self.assertEqual(self.ids(), ["aa01"])
        self.assertEqual(self.names.settled, set())

    def test_operations_wait(self) -> None:
        """Nothing is done before; those who do not want to wait any longer leave no trace."""
        waiting: Deferred[Any] = Deferred()
        answers = iter([waiting, succeed({})])
        self.patch(self.space, "get_metadata", lambda id: next(answers))
        self.names.unsettled = self.names.unpublished = ["aa01"]
        self.store.start()
        putting = self.store.put("bucket", "key", BytesStream(b"x"), 1)
        other = self.store.put("bucket", "other", BytesStream(b"x"), 1)
        self.assertNoResult(putting)
        self.assertEqual(self.ids(), [])
        other.cancel()
        self.failureResultOf(other)
        waiting.callback({})
        self.successful(putting)
        self.assertEqual(self.successful(self.store.usage("bucket")), Usage(1, 1))

    def test_publish_that_may_have_happened(self) -> None:
        """After a failed sync nobody knows what is there: the bytes stay, for the next start to look."""
        self.start()
        for happens in (False, True):
            self.names.happens = happens
            self.names.failing = StorageFailed("a sync failed") if happens else NoSpace("full")
            self.failureResultOf(self.store.put("bucket", "key", BytesStream(b"x"), 1), type(self.names.failing))
            self.assertEqual(len(self.ids()), int(happens))
        self.assertEqual(self.successful(self.names.look_up("bucket", "key")).id, self.ids()[0])
        # And if it cannot be asked either.
        self.names.happens = False
        self.patch(self.names, "look_up", lambda *args: _failed(Unavailable("later")))
        self.failureResultOf(self.store.put("bucket", "other", BytesStream(b"x"), 1), StorageFailed)
        self.assertEqual(len(self.ids()), 2)
        self.assertEqual(self.names.settled - set(self.ids()), self.names.settled)

    def test_completion_that_may_have_happened(self) -> None:
        """A data space that fails for good leaves it to the next start what became of the parts."""
        self.start()
        upload_id = self.successful(self.store.begin_upload("bucket", "key"))
        etag = self.successful(self.store.upload_part("bucket", "key", upload_id, 1, BytesStream(b"x"), 1))
        self.patch(self.space, "complete_upload", lambda *args: _failed(StorageFailed("a sync failed")))
        completing = self.store.complete_upload("bucket", "key", upload_id, [Part(1, etag, 1)])
        self.failureResultOf(completing, StorageFailed)
        self.assertEqual(self.names.settled, set())

    def test_bytes_that_cannot_be_removed(self) -> None:
        """They are not forgotten; the operation does not fail for that."""
        self.start()
        self.successful(self.store.put("bucket", "key", BytesStream(b"x"), 1))
        self.patch(self.space, "delete", lambda id: _failed(Unavailable("later")))
        self.successful(self.store.put("bucket", "key", BytesStream(b"y"), 1))
        self.assertEqual(len(self.ids()), 2)
        self.assertEqual(self.names.settled, set())
        self.flushLoggedErrors()


def _failed(error: Exception) -> Deferred[Any]:
    return succeed(None).addCallback(lambda _: _raise(error))


def _raise(error: Exception) -> None:
    raise error
