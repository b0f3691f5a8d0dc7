"""L{storehouse.storage.objects.permitted}."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.streams import BytesStream
from storehouse.errors import AlreadyExists, Forbidden, NoSuchBucket, PreconditionFailed
from storehouse.storage.accounts.interfaces import Rights, User
from storehouse.storage.objects.interfaces import Condition
from storehouse.storage.objects.permitted import PermittedStore, rights_of
from storehouse.testing.objects import memory_object_store


class PermittedTests(SynchronousTestCase):
    """L{PermittedStore}."""

    def setUp(self) -> None:
        inner = self.inner = memory_object_store()
        self.addCleanup(lambda: self.successResultOf(inner.stop()))
        self.successResultOf(inner.create_bucket("box", owner="ann"))
        self.successResultOf(inner.create_bucket("other"))
        self.user = User("ed", "SH", False, False, 0.0, 0.0, ())
        self.decided: list[tuple[str, str, str, bool]] = []
        self.store: Any = PermittedStore(
            inner, rights_of(inner, lambda: self.user), lambda *what: self.decided.append(what)
        )
        self.put(inner, "a")

    def rights(self, *permissions: str, bucket: str = "box", prefix: str = "", **more: Any) -> None:
        """The user has these, alone."""
        self.user = attrs.evolve(self.user, rights=[Rights(permissions, bucket, prefix)], **more)

    def put(self, store: Any, key: str, condition: Condition | None = None) -> None:
        """Store an object."""
        self.successResultOf(store.put("box", key, BytesStream([b"x"]), 1, condition=condition or Condition()))

    def refused(self, work: Any, kind: type[Exception] = Forbidden) -> None:
        """It fails."""
        self.failureResultOf(work, kind)

    def test_nothing(self) -> None:
        store = self.store
        for work in (
            store.get("box", "a"),
            store.head("box", key="a"),
            store.delete("box", "a"),
            store.list_objects("box"),
            store.list_keys("box", "a"),
            store.usage("box"),
            store.get_bucket("box"),
            store.put("box", "b", BytesStream([b"x"]), 1),
            store.copy("box", "b", "box", "a"),
            store.create_bucket("new"),
            store.delete_bucket("box"),
            store.set_bucket_metadata("box", {}),
            store.bucket_config("box", "policy"),
            store.set_bucket_config("box", "policy", b"{}"),
            store.begin_upload("box", "a"),
            store.upload_part("box", "a", "1", 1, BytesStream([b"x"]), 1),
            store.upload_part_copy("box", "b", "1", 1, "box", "a"),
            store.upload_part_link("box", "a", "1", 1, "2", [1]),
            store.get_part("box", "a", "1", 1),
            store.complete_upload("box", "a", "1", []),
            store.abort_upload("box", "a", "1"),
            store.list_parts("box", "a", "1"),
            store.get_upload("box", "a", "1"),
            store.list_uploads("box"),
            store.list_object_parts("box", "a"),
            store.rename("box", "a", "b"),
            store.append("box", "a", 1, BytesStream([b"x"]), 1),
            store.set_system("box", "a", {}),
        ):
            self.refused(work)
        self.assertEqual(self.successResultOf(store.list_buckets()), [])
        self.assertNotIn(True, [allowed for *_, allowed in self.decided])
        self.assertIn(("read", "box", "a", False), self.decided)

    def test_some(self) -> None:
        self.rights("read", "list", prefix="a")
        self.assertEqual(self.successResultOf(self.store.head("box", "a")).size, 1)
        self.successResultOf(self.store.list_objects("box", prefix="ab"))
        self.refused(self.store.list_objects("box"))
        self.refused(self.store.delete("box", "a"))
        self.rights("list")
        self.assertEqual([each.name for each in self.successResultOf(self.store.list_buckets())], ["box"])

    def test_new_alone(self) -> None:
        self.rights("put-new", "read")
        self.put(self.store, "b")
        self.refused(self.store.put("box", "b", BytesStream([b"y"]), 1))
        self.refused(self.store.put("box", "b", BytesStream([b"y"]), 1, condition=Condition(etag="*")))
        self.refused(
            self.store.put("box", "b", BytesStream([b"y"]), 1, condition=Condition(absent=True)), PreconditionFailed
        )
        self.refused(self.store.copy("box", "b", "box", "a"))
        self.successResultOf(self.store.copy("box", "c", "box", "a"))

    def test_replacing_alone(self) -> None:
        self.rights("overwrite")
        self.put(self.store, "a")
        self.refused(self.store.put("box", "b", BytesStream([b"y"]), 1))
        self.refused(self.store.copy("box", "a", "other", "a"))

    def test_conditions(self) -> None:
        """A condition on an etag needs the right to read; one on existence only needs a right to change."""
        etag = self.successResultOf(self.inner.head("box", "a")).etag
        self.rights("put-new", "overwrite", "delete")
        for condition in (Condition(etag=etag), Condition(etag="other")):
            self.refused(self.store.put("box", "a", BytesStream([b"y"]), 1, condition=condition))
            self.refused(self.store.append("box", "a", 1, BytesStream([b"y"]), 1, condition=condition))
            self.refused(self.store.set_system("box", "a", {"x": "y"}, condition))
            self.refused(self.store.delete("box", "a", condition))
        self.put(self.store, "a", Condition(etag="*"))
        self.successResultOf(self.store.delete("box", "a", Condition(etag="*")))
        self.put(self.inner, "a")
        self.rights("overwrite", "read")
        self.put(self.store, "a", Condition(etag=self.successResultOf(self.inner.head("box", "a")).etag))

    def test_uploads_in_parts(self) -> None:
        """What is new can be stored in parts, too, and what is there is safe until the end."""
        self.rights("put-new")
        for key, allowed in (("b", True), ("a", False)):
            upload = self.successResultOf(self.store.begin_upload("box", key))
            self.successResultOf(self.store.upload_part("box", key, upload, 1, BytesStream([b"y"]), 1))
            (part,) = self.successResultOf(self.store.list_parts("box", key, upload))
            work = self.store.complete_upload("box", key, upload, [part])
            if allowed:
                self.successResultOf(work)
            else:
                self.refused(work)
                self.successResultOf(self.store.abort_upload("box", key, upload))
        self.assertEqual(self.successResultOf(self.inner.head("box", "a")).size, 1)

    def test_renaming(self) -> None:
        """It takes an object away from one key, shows it at another, and may replace there."""
        self.put(self.inner, "b")
        self.rights("put-new", "read")
        self.refused(self.store.rename("box", "a", "c"))
        self.rights("put-new", "delete")
        self.refused(self.store.rename("box", "a", "c"))
        self.rights("put-new", "delete", "read")
        self.refused(self.store.rename("box", "a", "b"))
        self.successResultOf(self.store.rename("box", "a", "c"))
        self.rights("put-new")
        self.refused(self.store.append("box", "new", 0, BytesStream([b"x"]), 1))
        self.rights("put-new", "overwrite")
        self.successResultOf(self.store.append("box", "new", 0, BytesStream([b"x"]), 1))

    def test_buckets(self) -> None:
        self.refused(self.store.create_bucket("box"), AlreadyExists)
        self.rights("create", bucket="n*")
        self.assertEqual(self.successResultOf(self.store.create_bucket("new")).owner, "")
        self.refused(self.store.get("none", "a"))
        self.rights("read", bucket="*")
        self.refused(self.store.get("none", "a"), NoSuchBucket)

    def test_administrator(self) -> None:
        self.rights(is_admin=True)
        self.assertIsNone(self.successResultOf(self.store.bucket_config("box", "policy")))
        self.successResultOf(self.store.delete("box", "a"))
        self.successResultOf(self.store.delete_bucket("box"))
        self.user = attrs.evolve(self.user, is_disabled=True)
        self.refused(self.store.bucket_config("box", "policy"))
