"""L{SealedNamespace} does what a namespace must, shows nothing on disk, and finds what was exchanged."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from storehouse.core.jobs import DiskThreads, InlineDisk
from storehouse.errors import DamagedEntry, NoSuchKey, Unavailable
from storehouse.storage.namespace.interfaces import Entry
from storehouse.storage.namespace.local import LocalNamespace, NamespaceSettings
from storehouse.storage.namespace.values import decode_config, encode_config
from storehouse.storage.sealed.namespace import SEALED_METADATA, SealedNamespace
from storehouse.testing.namespace import MemoryNamespace
from tests.conformance.namespace import NamespaceTestsMixin, entry
from tests.conformance.versions import VersionTestsMixin
from tests.storage.namespace import test_local
from tests.storage.sealed.keys import vault_in


class SealedMemoryTestCase(TestCase):
    """On top of memory."""

    async def make_namespace(self) -> SealedNamespace:
        vault = vault_in(self.mktemp())
        vault.start()
        namespace = SealedNamespace(MemoryNamespace(SEALED_METADATA), vault, InlineDisk())
        namespace.start()
        return namespace


class SealedMemoryNamespaceTests(NamespaceTestsMixin, SealedMemoryTestCase):
    """As every namespace."""

    persistent = False


class SealedMemoryVersionTests(VersionTestsMixin, SealedMemoryTestCase):
    """Versions, as in every namespace."""

    persistent = False


class SealedLocalTestCase(test_local.LocalNamespaceTestCase):
    """On top of the one on disk."""

    durable = False

    async def make_namespace(self) -> SealedNamespace:  # type: ignore[override]
        if self.namespace is None:
            self.disk = DiskThreads(reactor)
            self.disk.start()
            self.addCleanup(self.disk.stop)
            self.root = os.path.abspath(self.mktemp())
            self.directory = os.path.join(self.root, "namespace")
            self.addCleanup(lambda: self.namespace.stop())
        else:
            await self.namespace.stop()
        vault = vault_in(self.root)
        vault.start()
        settings = NamespaceSettings(
            self.directory, durable=self.durable, checkpoint_records=7, max_metadata=SEALED_METADATA
        )
        self.inner = LocalNamespace(settings, reactor, self.disk)
        namespace = SealedNamespace(self.inner, vault, self.disk)
        namespace.start()
        return namespace


class SealedLocalVersionTests(VersionTestsMixin, SealedLocalTestCase):
    """Versions, as in every namespace."""


class SealedLocalNamespaceTests(NamespaceTestsMixin, SealedLocalTestCase):
    """As every namespace; and nothing is to be seen."""

    async def test_nothing_to_be_seen(self) -> None:
        """Neither names nor what is known of keys are anywhere on disk."""
        secret = entry(1, metadata={"Author-Name": ["Ada-Lovelace"]})
        secret = attrs.evolve(secret, etag="very-special-etag", content_type="text/x-secret")
        await self.namespace.publish("bucket", "folder/secret-report.pdf", secret)
        await self.namespace.list_keys("bucket")
        await self.namespace.stop()
        words = (b"secret", b"folder", b"Author", b"Lovelace", b"very-special")
        for path in Path(self.root).rglob("*"):
            found = os.fsencode(path.relative_to(self.root)) + (path.read_bytes() if path.is_file() else b"")
            for word in words:
                self.assertNotIn(word, found, path)
        self.namespace = await self.make_namespace()
        self.assertEqual(await self.namespace.look_up("bucket", "folder/secret-report.pdf"), secret)

    async def test_config(self) -> None:
        """What is configured of a bucket is not seen on disk, and is that of its bucket and kind alone."""
        await self.namespace.create_bucket("other")
        await self.namespace.set_bucket_config("bucket", "policy", b"a secret policy")
        directory = os.path.join(self.directory, "buckets", "bucket")
        with open(f"{directory}/bucket.policy.json", "rb") as file:
            text = file.read()
        stored = decode_config(text, "bucket", "policy")
        self.assertEqual((len(stored), b"secret" in stored), (12 + 15 + 16, False))
        for bucket, kind in (("other", "policy"), ("bucket", "cors")):
            with open(os.path.join(self.directory, "buckets", bucket, f"bucket.{kind}.json"), "wb") as file:
                file.write(encode_config(bucket, kind, stored))
            await self.refused(DamagedEntry, self.namespace.bucket_config(bucket, kind))
        self.assertEqual(await self.namespace.bucket_config("bucket", "policy"), b"a secret policy")

    async def test_many(self) -> None:
        """All keys are listed in order after a restart, however many slices they are read in."""
        keys = sorted(f"k{number}" for number in range(600))
        for number, key in enumerate(keys):
            await self.namespace.publish("bucket", key, entry(number))
        self.namespace = await self.make_namespace()
        self.assertEqual(await self.namespace.list_names("bucket"), keys)
        page = await self.namespace.list_keys("bucket", after=keys[299], limit=200)
        self.assertEqual([(key, found.size) for key, found in page.entries], [(key, 10) for key in keys[300:500]])
        self.assertEqual(page.next_after, keys[499])

    async def test_changes_while_the_index_is_made(self) -> None:
        """What is published or removed meanwhile is not undone by what was read before."""
        for number in range(4):
            await self.namespace.publish("bucket", f"k{number}", entry(number))
        self.namespace = await self.make_namespace()
        self.assertFalse(self.namespace._loading.called)
        await self.namespace.publish("bucket", "k1", entry(100))
        await self.namespace.unpublish("bucket", "k2")
        page = await self.namespace.list_keys("bucket")
        self.assertEqual(
            [(key, found.id) for key, found in page.entries],
            [("k0", entry(0).id), ("k1", entry(100).id), ("k3", entry(3).id)],
        )

    async def test_stopped_while_the_index_is_made(self) -> None:
        for number in range(3):
            await self.namespace.publish("bucket", f"k{number}", entry(number))
        self.namespace = await self.make_namespace()
        listing: Deferred[Any] = self.namespace.list_keys("bucket")
        await self.namespace.stop()
        try:
            await listing
        except Unavailable:
            pass
        await self.refused(Unavailable, self.namespace.list_keys("bucket"))

    async def test_damaged(self) -> None:
        """
        A key that cannot be read is listed by its name on disk, by which it can be removed as well; by its own name it is
        replaced.
        """
        for number, key in enumerate(("a", "b", "c")):
            await self.namespace.publish("bucket", key, entry(number))
        stored = {key: self.namespace._stored_key("bucket", key) for key in "ab"}
        await self.namespace.stop()
        for key in "ab":
            path = os.path.join(self.directory, "buckets", "bucket", "objects", stored[key], "default.json")
            os.unlink(path)
            os.symlink("deadbeef.json", path)
        shutil.rmtree(os.path.join(self.directory, "index"))
        self.namespace = await self.make_namespace()
        page = await self.namespace.list_keys("bucket")
        self.assertEqual(([key for key, _ in page.entries], page.damaged), (["c"], sorted(stored.values())))
        self.assertEqual(self.namespace.damaged, 2)
        await self.refused(DamagedEntry, self.namespace.look_up("bucket", "a"))
        await self.namespace.publish("bucket", "a", entry(7))
        self.assertEqual((await self.namespace.list_keys("bucket")).damaged, [stored["b"]])
        await self.namespace.unpublish("bucket", stored["b"])
        page = await self.namespace.list_keys("bucket")
        self.assertEqual(([key for key, _ in page.entries], page.damaged), (["a", "c"], []))
        self.assertEqual(self.namespace.damaged, 0)
        for key in "ac":
            await self.namespace.unpublish("bucket", key)
        await self.namespace.delete_bucket("bucket")
        self.flushLoggedErrors()

    async def test_reindex(self) -> None:
        for number in range(5):
            await self.namespace.publish("bucket", f"k{number}", entry(number))
        self.assertEqual(await self.namespace.reindex(), 5)
        self.assertEqual(await self.namespace.list_names("bucket"), [f"k{number}" for number in range(5)])


class ExchangedTests(TestCase):
    """What an attacker may do to the namespace below is found."""

    async def setUp(self) -> None:  # type: ignore[override]
        vault = vault_in(self.mktemp())
        vault.start()
        self.inner = MemoryNamespace(SEALED_METADATA)
        self.namespace = SealedNamespace(self.inner, vault, InlineDisk())
        self.namespace.start()
        await self.namespace.create_bucket("bucket")
        await self.namespace.create_bucket("other")
        await self.namespace.publish("bucket", "a", entry(1))
        await self.namespace.publish("bucket", "b", entry(2))

    def stored(self, key: str, bucket: str = "bucket") -> str:
        return self.namespace._stored_key(bucket, key)

    async def refuses(self, key: str, stored: Entry, bucket: str = "bucket") -> None:
        await self.inner.publish(bucket, self.stored(key, bucket), stored)
        await self.assertFailure(self.namespace.look_up(bucket, key), DamagedEntry)
        await self.assertFailure(self.namespace.versions(bucket, key), DamagedEntry)

    async def test_of_another_key(self) -> None:
        theirs = await self.inner.look_up("bucket", self.stored("b"))
        await self.refuses("a", theirs)
        await self.refuses("a", theirs, "other")

    async def test_changed(self) -> None:
        mine = await self.inner.look_up("bucket", self.stored("a"))
        for change in ({"id": "ffff"}, {"size": 11}, {"created": 1}):
            await self.refuses("a", attrs.evolve(mine, **change))

    async def test_plain(self) -> None:
        """Nobody can put an entry there that is not encrypted."""
        await self.refuses("a", entry(3))

    async def test_flipped(self) -> None:
        mine = await self.inner.look_up("bucket", self.stored("a"))
        (text,) = mine.metadata["sealed"]
        for place in range(0, len(text) - 4, 7):  # the last bits of base64 may mean nothing
            changed = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
            await self.refuses("a", attrs.evolve(mine, metadata={"sealed": [changed]}))

    async def test_unreadable_when_the_index_is_made(self) -> None:
        """What is not authentic is counted and not listed; all else is."""
        await self.inner.publish("bucket", self.stored("a"), entry(3))
        again = SealedNamespace(self.inner, self.namespace._vault, InlineDisk())
        again.start()
        self.assertEqual(await again.list_names("bucket"), ["b"])
        self.assertEqual(again.damaged, 1)
        self.flushLoggedErrors()
        # It can be replaced, and then is.
        await again.publish("bucket", "a", entry(4))
        self.assertEqual(await again.list_names("bucket"), ["a", "b"])

    async def test_same_key_in_two_buckets(self) -> None:
        """They have nothing in common on disk."""
        self.assertNotEqual(self.stored("a"), self.stored("a", "other"))

    async def test_errors_name_the_key(self) -> None:
        for waited_for in (
            self.namespace.look_up("bucket", "none"),
            self.namespace.versions("bucket", "none"),
            self.namespace.unpublish("bucket", "none"),
        ):
            self.assertIn("'none'", (await self.assertFailure(waited_for, NoSuchKey)).detail)
