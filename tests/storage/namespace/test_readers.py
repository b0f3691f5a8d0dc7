"""A reader of a key that is being changed gets what it was, or what it is; never that it is damaged."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import AlreadyExists, BucketNotEmpty, NoSuchBucket, NoSuchKey, PreconditionFailed
from storehouse.storage.namespace.index import Change
from storehouse.storage.namespace.interfaces import Entry
from tests.conformance.namespace import entry
from tests.storage.namespace.rig import Driven, now

#: What an operation on a healthy namespace may fail with, whatever runs beside it.
_FINE = (NoSuchKey, NoSuchBucket, PreconditionFailed, AlreadyExists, BucketNotEmpty)


def must_be_absent(there: Entry | None) -> None:
    """A condition."""
    if there is not None:
        raise PreconditionFailed("it is there")


def must_be_there(there: Entry | None) -> None:
    """A condition."""
    if there is None:
        raise PreconditionFailed("it is not there")


class InterleavingTests(SynchronousTestCase):
    """Between any two calls by which one operation looks at the tree, another one runs, as far as it may."""

    def setUp(self) -> None:
        self.number = 10
        self.calls = 0
        self.at = -1
        self.between: Callable[[], list[Deferred[Any]]] = list
        self.begun: list[Deferred[Any]] = []
        # Every look at the tree is one of these; nothing of a namespace happens between two of them.
        for name in ("readlink", "listdir", "open", "stat", "lstat", "scandir"):
            self.patch(os, name, self.hooked(getattr(os, name)))

    def hooked(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def hook(*args: Any, **options: Any) -> Any:
            if self.at >= 0 and args and isinstance(args[0], str) and "/buckets" in args[0]:
                self.calls += 1
                if self.calls > self.at:
                    self.at = -1
                    self.begun += self.between()
            return call(*args, **options)

        return hook

    def next(self) -> Entry:
        self.number += 1
        return entry(self.number)

    def writers(self, driven: Driven) -> dict[str, Callable[[], list[Deferred[Any]]]]:
        namespace = driven.namespace

        def put() -> Deferred[Any]:
            return namespace.publish("bucket", "a", self.next())

        def remove() -> Deferred[Any]:
            return namespace.unpublish("bucket", "a")

        return {
            "put": lambda: [put()],
            "two puts": lambda: [put(), put()],
            "kept": lambda: [namespace.publish("bucket", "a", self.next(), keep=True)],
            "remove": lambda: [remove()],
            "remove and put": lambda: [remove(), put()],
            "another bucket": lambda: [
                namespace.unpublish("bucket", "a"),
                namespace.delete_bucket("bucket"),
                namespace.create_bucket("bucket"),
                put(),
            ],
            "no bucket": lambda: [remove(), namespace.delete_bucket("bucket")],
        }

    def readers(self, driven: Driven) -> dict[str, Callable[[], Deferred[Any]]]:
        namespace = driven.namespace
        return {
            "look up": lambda: namespace.look_up("bucket", "a"),
            "look up a version": lambda: namespace.look_up("bucket", "a", entry(1).id),
            "versions": lambda: namespace.versions("bucket", "a"),
            "list": lambda: namespace.list_keys("bucket"),
            "list names": lambda: namespace.list_names("bucket"),
            "usage": lambda: namespace.usage("bucket"),
            "check": namespace.check,
            "put if absent": lambda: namespace.publish("bucket", "a", self.next(), must_be_absent),
            "put if there": lambda: namespace.publish("bucket", "a", self.next(), must_be_there),
            "put": lambda: namespace.publish("bucket", "a", self.next()),
            "remove if there": lambda: namespace.unpublish("bucket", "a", condition=must_be_there),
            "remove a version": lambda: namespace.unpublish("bucket", "a", entry(1).id),
        }

    def outcome(self, waited_for: Deferred[Any]) -> Any:
        results: list[Any] = []
        waited_for.addBoth(results.append)
        self.assertEqual(len(results), 1, "nothing happens any more")
        if isinstance(results[0], Failure):
            results[0].trap(*_FINE)
            return results[0].value
        return results[0]

    def state(self, driven: Driven, there: bool, indexed: bool) -> None:
        """The key C{a}, or not; in the index, or not."""
        self.at = -1
        namespace = driven.namespace
        if not any(bucket.name == "bucket" for bucket in now(namespace.list_buckets())):
            driven.create()
        try:
            driven.unpublish("a")
        except NoSuchKey:
            pass
        if there:
            driven.publish("a", entry(1))
            if not indexed:
                index = namespace.upkeep.index
                (number,) = [total.number for total in index.totals()]
                index.apply([Change(number, b"a", (0, b""))])

    def test_all(self) -> None:
        driven = Driven(os.path.join(self.mktemp(), "namespace")).start()
        self.addCleanup(driven.stop)
        self.addCleanup(setattr, self, "at", -1)
        tried = 0
        for reader in self.readers(driven):
            for writer in self.writers(driven):
                for there, indexed in ((True, True), (True, False), (False, True)):
                    for at in range(60):
                        self.state(driven, there, indexed)
                        self.between = self.writers(driven)[writer]
                        self.begun, self.calls, self.at = [], 0, at
                        reading = self.readers(driven)[reader]()
                        if self.at >= 0:
                            self.at = -1
                            self.outcome(reading)
                            break
                        tried += 1
                        what = f"{reader} beside {writer} at {at}, {there}, {indexed}"
                        result = self.outcome(reading)
                        for each in self.begun:
                            self.outcome(each)
                        if reader == "check":
                            self.assertEqual([p for p in result if p.kind in ("damaged", "dangling")], [], what)
                        elif reader == "list":
                            self.assertEqual(list(getattr(result, "damaged", [])), [], what)
                    self.assertEqual(self.settled(driven), [], f"after {reader} beside {writer}")
        self.assertGreater(tried, 200)
        self.assertIsNone(driven.namespace.upkeep.broken)
        self.assertEqual(self.flushLoggedErrors(), [])

    def settled(self, driven: Driven) -> list[Any]:
        """After all of it, and a look at what the index could not say, tree and index agree."""
        if now(driven.namespace.list_buckets()):
            driven.list()
        return driven.check()


class ManyAtOnceTests(SynchronousTestCase):
    """Of many who do the same at once, one has done it."""

    def setUp(self) -> None:
        self.driven = Driven(os.path.join(self.mktemp(), "namespace")).start().create()
        self.addCleanup(self.driven.stop)

    def outcomes(self, enter: Any, leave: Callable[[], None], do: Callable[[], Deferred[Any]]) -> dict[Any, int]:
        """How often 64 got what; all have begun before the first one can go on."""
        now(Deferred.fromCoroutine(enter))
        found: list[Any] = []
        for _ in range(64):
            do().addBoth(found.append)
        self.assertEqual(found, [])
        leave()
        return Counter(each.type if isinstance(each, Failure) else None for each in found)

    def test_delete_bucket(self) -> None:
        gate = self.driven.namespace._gate
        found = self.outcomes(gate.enter(), gate.leave, lambda: self.driven.namespace.delete_bucket("bucket"))
        self.assertEqual(found, {None: 1, NoSuchBucket: 63})

    def test_create_bucket(self) -> None:
        gate = self.driven.namespace._gate
        found = self.outcomes(gate.enter(), gate.leave, lambda: self.driven.namespace.create_bucket("other"))
        self.assertEqual(found, {None: 1, AlreadyExists: 63})

    def test_unpublish(self) -> None:
        self.driven.publish("a", entry(1))
        locks = self.driven.namespace._locks
        found = self.outcomes(
            locks.enter("bucket/a"),
            lambda: locks.leave("bucket/a"),
            lambda: self.driven.namespace.unpublish("bucket", "a"),
        )
        self.assertEqual(found, {None: 1, NoSuchKey: 63})

    def test_bucket_that_is_another(self) -> None:
        """A listing that waited gets the keys of the bucket that there is then."""
        namespace = self.driven.namespace
        now(Deferred.fromCoroutine(namespace._gate.close()))
        pages: list[Any] = []
        removed = namespace.delete_bucket("bucket")
        created = namespace.create_bucket("bucket")
        published = namespace.publish("bucket", "a", entry(1))
        namespace.list_keys("bucket").addBoth(pages.append)
        namespace._gate.open()
        for each in (removed, created, published):
            now(each)
        self.assertEqual(list(pages[0].entries), [("a", entry(1))])
