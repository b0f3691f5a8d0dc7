"""Tests of L{storehouse.storage.notifications.notices}, with a store over it: what is announced, whenever the process ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail

from storehouse.core.asking import asker, by_form
from storehouse.core.streams import BytesStream
from storehouse.errors import (
    BadRequest,
    Damaged,
    NoSuchKey,
    PreconditionFailed,
    StorageFailed,
    StoreUnusable,
    Unavailable,
)
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.notifications.values import CONFIGURATION, INTENDED, encode_rules, make_rule
from storehouse.storage.objects.values import Condition
from tests.storage.notifications.rig import NoticesCase


class _Cipher:
    """Turns bytes around."""

    def encrypt(self, about: str, data: bytes) -> bytes:
        return about.encode() + b"\0" + data[::-1]

    def decrypt(self, about: str, data: bytes) -> bytes:
        name, _, value = data.partition(b"\0")
        if name != about.encode():
            raise ValueError("not this one")
        return value[::-1]


class AnnouncedTests(NoticesCase):
    """What a bucket announces."""

    def test_nothing(self) -> None:
        """Without a configuration nothing is made, and nothing is asked a second time."""
        self.successResultOf(self.store.create_bucket("box"))
        self.put("a")
        self.assertIn("box", self.notices.silent)
        self.assertFalse(os.path.exists(os.path.dirname(self.path)))
        self.assertEqual(self.target.tried, [])

    def test_operations(self) -> None:
        self.make_bucket()
        store, done = self.store, self.successResultOf
        self.put("a")
        self.put("a", b"again")
        done(store.copy("box", "b", "box", "a"))
        done(store.set_system("box", "a", {"tagging": "x=y"}))
        done(store.set_system("box", "a", {"tagging": None, "owner": "ann"}))
        done(store.set_system("box", "a", {"acl": "{}"}))
        done(store.set_system("box", "a", {"owner": "ann"}))
        done(store.rename("box", "b", "c"))
        upload = done(store.begin_upload("box", "d"))
        etag = done(store.upload_part("box", "d", upload, 1, BytesStream([b"x"]), 1))
        done(store.complete_upload("box", "d", upload, [Part(1, etag, 1)]))
        done(store.append("box", "a", 5, BytesStream([b"!"]), 1))
        done(store.delete("box", "a"))
        self.failureResultOf(store.delete("box", "a"), NoSuchKey)
        self.assertEqual(
            self.target.names,
            [
                "ObjectCreated:Put a",
                "ObjectCreated:Put a",
                "ObjectCreated:Copy b",
                "ObjectTagging:Put a",
                "ObjectTagging:Delete a",
                "ObjectAcl:Put a",
                "ObjectCreated:Copy c",
                "ObjectRemoved:Delete b",
                "ObjectCreated:CompleteMultipartUpload d",
                "ObjectCreated:Put a",
                "ObjectRemoved:Delete a",
            ],
        )
        sequence = [each["Records"][0]["s3"]["object"]["sequencer"] for each in self.target.taken[1:]]
        self.assertEqual(sequence, sorted(set(sequence)))
        self.assertEqual(self.states(), [])

    def test_refused(self) -> None:
        """What is not done is not announced."""
        self.make_bucket()
        self.put("a")
        size = len(self.target.tried)
        stream = BytesStream([b"x"])
        self.failureResultOf(
            self.store.put("box", "a", stream, 1, condition=Condition(absent=True)), PreconditionFailed
        )
        self.failureResultOf(self.store.delete("box", "a", Condition(etag="other")), PreconditionFailed)
        self.failureResultOf(
            self.store.set_system("box", "a", {"tagging": "x=y"}, Condition(etag="other")), PreconditionFailed
        )
        self.assertEqual(len(self.target.tried), size)
        self.assertEqual(self.states(), [])

    def test_versions(self) -> None:
        """Where a bucket keeps versions, each event names its own."""
        self.make_bucket()
        done, store = self.successResultOf, self.store
        self.put("a")
        done(store.set_versioning("box", "enabled"))
        first = self.put("a").version
        done(store.set_system("box", "a", {"tagging": "x=y"}, version="null"))
        marker = done(store.delete("box", "a")).version
        self.failureResultOf(store.delete("box", "none"), NoSuchKey)
        missing = done(store.delete("box", "none", mark_missing=True)).version
        done(store.delete("box", "a", version=marker))
        self.failureResultOf(store.delete("box", "a", version=marker), NoSuchKey)
        done(store.delete("box", "a", version=first))
        done(store.set_versioning("box", "suspended"))
        self.put("a")
        done(store.delete("box", "a"))
        records = [each["Records"][0] for each in self.target.taken if "Records" in each]
        self.assertEqual(
            [(each["eventName"], each["s3"]["object"].get("versionId")) for each in records],
            [
                ("ObjectCreated:Put", None),
                ("ObjectCreated:Put", first),
                ("ObjectTagging:Put", "null"),
                ("ObjectRemoved:DeleteMarkerCreated", marker),
                ("ObjectRemoved:DeleteMarkerCreated", missing),
                ("ObjectRemoved:Delete", marker),
                ("ObjectRemoved:Delete", first),
                ("ObjectCreated:Put", "null"),
                ("ObjectRemoved:DeleteMarkerCreated", "null"),
            ],
        )
        self.assertEqual(self.states(), [])

    def test_filter(self) -> None:
        self.make_bucket("s3:ObjectCreated:Put", prefix="a/", suffix=".jpg")
        for key in ("a/1.jpg", "b/2.jpg", "a/3.png"):
            self.put(key)
        self.successResultOf(self.store.delete("box", "a/1.jpg"))
        self.assertEqual(self.target.names, ["ObjectCreated:Put a/1.jpg"])

    def test_configure(self) -> None:
        self.make_bucket()
        self.assertEqual([each["Event"] for each in self.target.taken], ["s3:TestEvent"])
        self.successResultOf(self.store.set_bucket_config("box", CONFIGURATION, None))
        self.put("a")
        self.assertEqual(self.target.names, [])
        rule = make_rule("a", "Queue", "arn:storehouse:sqs:::unknown", ("s3:ObjectCreated:*",), ())
        self.failureResultOf(self.store.set_bucket_config("box", CONFIGURATION, encode_rules([rule])), BadRequest)
        self.failureResultOf(self.store.set_bucket_config("box", CONFIGURATION, b"{}"), Damaged)
        self.put("a")
        self.assertEqual(self.target.names, [])

    def test_bucket_removed(self) -> None:
        """A bucket of the same name announces nothing."""
        self.make_bucket()
        self.successResultOf(self.store.delete_bucket("box"))
        self.successResultOf(self.store.create_bucket("box"))
        self.put("a")
        self.assertEqual(self.target.names, [])

    def test_asker(self) -> None:
        """Events have the user of a request, if the door sets it."""

        class Request:
            visitor, address, request_id = "ann", "192.0.2.1", "ID"

        self.make_bucket()
        tokens = asker.set(Request()), by_form.set(True)
        self.addCleanup(asker.reset, tokens[0])
        self.addCleanup(by_form.reset, tokens[1])
        self.put("a")
        record = self.target.taken[-1]["Records"][0]
        self.assertEqual(record["eventName"], "ObjectCreated:Post")
        self.assertEqual(record["userIdentity"], {"principalId": "ann"})
        self.assertEqual(record["requestParameters"], {"sourceIPAddress": "192.0.2.1"})
        self.assertEqual(record["responseElements"]["x-amz-request-id"], "ID")

    def test_full(self) -> None:
        """Nothing is lost: what would have to be announced is refused."""
        self.make_bucket()
        self.refuse(1)
        self.put("a")
        self.spool._max_size = 10
        failed = self.failureResultOf(self.store.put("box", "b", BytesStream([b"x"]), 1), Unavailable)
        self.assertIn("spool of events is full", failed.value.detail)
        self.failureResultOf(self.store.head("box", "b"), NoSuchKey)
        self.failureResultOf(self.store.delete("box", "a"), Unavailable)
        self.successResultOf(self.store.create_bucket("silent"))
        self.successResultOf(self.store.put("silent", "b", BytesStream([b"x"]), 1))
        self.clock.advance(2)
        self.put("b")
        self.assertEqual(self.target.names, ["ObjectCreated:Put a", "ObjectCreated:Put b"])

    def test_damaged_rules(self) -> None:
        """If the rules cannot be read, changes are refused until they are repaired."""
        self.make_bucket()
        self.successResultOf(self.names.set_bucket_config("box", CONFIGURATION, b"x"))
        self.notices.forget("box")
        self.failureResultOf(self.store.put("box", "a", BytesStream([b"x"]), 1), Damaged)
        self.successResultOf(self.store.set_bucket_config("box", CONFIGURATION, None))
        self.put("a")

    def test_damaged_spool(self) -> None:
        """A start says which file cannot be used; without it there is a new one."""
        self.make_bucket()
        self.end()
        for end in ("-wal", "-shm"):
            self.assertFalse(os.path.exists(self.path + end))
        with open(self.path, "wb") as file:
            file.write(b"x" * 8192)
        error = self.assertRaises(StoreUnusable, self.begin)
        self.assertIn(self.path, str(error))
        os.unlink(self.path)
        self.begin()
        self.put("a")
        self.assertEqual(self.target.names, ["ObjectCreated:Put a"])


class KilledTests(NoticesCase):
    """The process ends before a change is made, after it, and before anything of that is written down."""

    #: What is done to the object C{a}, and what is announced of it.
    CHANGES: tuple[tuple[str, Callable[[Any], Deferred[Any]], str], ...] = (
        ("publish", lambda store: store.put("box", "a", BytesStream([b"new"]), 3), "ObjectCreated:Put a"),
        ("publish", lambda store: store.copy("box", "a", "box", "b"), "ObjectCreated:Copy a"),
        ("revise", lambda store: store.set_system("box", "a", {"tagging": "x=y"}), "ObjectTagging:Put a"),
        ("unpublish", lambda store: store.delete("box", "a"), "ObjectRemoved:Delete a"),
    )

    def setUp(self) -> None:
        NoticesCase.setUp(self)
        self.make_bucket()
        self.put("a")
        self.put("b")
        self.target.taken.clear()
        self.hung: list[Deferred[None]] = []

    def hang(self, *args: Any, **kwargs: Any) -> Deferred[None]:
        """The process has ended before anything comes of it."""
        self.hung.append(Deferred())
        return self.hung[-1]

    def test_before(self) -> None:
        """It was intended, and not made: nothing is announced."""
        for method, change, _ in self.CHANGES:
            self.patch(self.names, method, self.hang)
            self.hung.append(change(self.store).addErrback(lambda failure: None))
            self.assertEqual(self.states(), [INTENDED])
            delattr(self.names, method)
            self.kill()
            self.assertEqual(self.states(), [])
        self.assertEqual(self.target.names, [])

    def test_after(self) -> None:
        """It was made, and nothing says so: it is announced at the next start."""
        expected = []
        for method, change, name in self.CHANGES:
            real = getattr(self.names, method)

            def hang(*args: Any, real: Any = real, **kwargs: Any) -> Deferred[None]:
                self.successResultOf(real(*args, **kwargs))
                return self.hang()

            self.patch(self.names, method, hang)
            self.hung.append(change(self.store).addErrback(lambda failure: None))
            self.assertEqual(self.states(), [INTENDED])
            delattr(self.names, method)
            self.kill()
            expected.append(name)
            self.assertEqual(self.target.names, expected)

    def test_after_versions(self) -> None:
        """The same of versions and markers."""
        self.successResultOf(self.store.set_versioning("box", "enabled"))
        version = self.put("a").version
        self.target.taken.clear()
        expected = []
        for change, name in (
            (lambda: self.store.delete("box", "a"), "ObjectRemoved:DeleteMarkerCreated a"),
            (lambda: self.store.delete("box", "a", version=version), "ObjectRemoved:Delete a"),
        ):
            real = self.names.unpublish

            def hang(*args: Any, real: Any = real, **kwargs: Any) -> Deferred[None]:
                self.successResultOf(real(*args, **kwargs))
                return self.hang()

            self.patch(self.names, "unpublish", hang)
            self.hung.append(change().addErrback(lambda failure: None))
            del self.names.unpublish
            self.kill()
            expected.append(name)
            self.assertEqual(self.target.names, expected)

    def test_not_delivered(self) -> None:
        """It waits for its delivery, which continues."""
        self.refuse(2)
        self.put("a", b"new")
        self.put("a", b"newer")
        self.kill()
        self.clock.advance(10)
        self.clock.advance(10)
        self.assertEqual(self.target.names, ["ObjectCreated:Put a"] * 2)

    def test_failed(self) -> None:
        """A change fails after it was made: it is announced."""
        real = self.names.publish

        def failing(*args: Any, **kwargs: Any) -> Deferred[None]:
            self.successResultOf(real(*args, **kwargs))
            return fail(StorageFailed("a sync failed"))

        self.patch(self.names, "publish", failing)
        self.failureResultOf(self.store.put("box", "a", BytesStream([b"new"]), 3), StorageFailed)
        self.assertEqual(self.target.names, ["ObjectCreated:Put a"])


class SealedTests(AnnouncedTests):
    """A spool that is encrypted."""

    cipher = _Cipher()

    def test_sealed(self) -> None:
        self.make_bucket()
        self.refuse(1)
        self.put("a-very-secret-name")
        self.spool.file.close()
        for name in os.listdir(os.path.dirname(self.path)):
            with open(os.path.join(os.path.dirname(self.path), name), "rb") as file:
                self.assertNotIn(b"a-very-secret-name", file.read())
        self.cipher = None
        self.assertRaises(StoreUnusable, self.begin)
        self.cipher = _Cipher()
        self.begin()
        self.clock.advance(2)
        self.assertEqual(self.target.names, ["ObjectCreated:Put a-very-secret-name"])
