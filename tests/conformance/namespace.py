"""What every namespace must do: mixed into a test case that makes one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, gatherResults
from zope.interface.verify import verifyObject

from storehouse.errors import (
    AlreadyExists,
    BucketNotEmpty,
    InvalidName,
    NoSuchBucket,
    NoSuchKey,
    PreconditionFailed,
    TooLarge,
    Unavailable,
)
from storehouse.storage.namespace.interfaces import Entry, INamespace, Page, Usage

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase
else:
    TestCase = object

__all__ = ["ODD_KEYS", "NamespaceCase", "NamespaceTestsMixin", "entry", "refuse"]

#: Keys that are hard to keep apart, or to keep in place.
ODD_KEYS = [
    *(
        "a",
        "a/",
        "a//",
        "a/b",
        "/a",
        "/",
        "//",
        ".",
        "..",
        "../..",
        "../../etc/passwd",
        "./a",
        "...",
        ".a",
        "a.",
        "a..b",
    ),
    *("default.json", "00ff.json", "bucket.json", "objects", "objects/", "a+", "a+/b", "a%2Fb", "%", "%%", "%2E", "+"),
    *(
        "\0",
        "a\0",
        "a\0b",
        "\n",
        "\r\n",
        "\x7f",
        " ",
        "  ",
        "a b",
        "\\",
        "a\\b",
        "*",
        "?",
        "~",
        "-",
        "--",
        "'",
        '"',
        "A",
    ),
    *("é", "e\u0301", "日本語", "😀", "\ufeff", "\ufffd", "\uffff", "\U0010ffff", "\u2028", "\u202e", "ﬀ", "K"),
    *("x" * 200, "x" * 201, "x" * 400, "x" * 401, "x" * 1024, "é" * 512, "😀" * 256, "." * 1024, "/" * 1024),
    *("x" * 200 + "/..", "x" * 200 + "..", "x" * 199 + "/", "x" * 198 + "/" + "y", "x" * 197 + "//..", "x" * 200 + "+"),
]


def entry(number: int, size: int = 10, **fields: Any) -> Entry:
    """An entry; a greater number is a later one."""
    return Entry(f"{number:032x}", size, f"etag{number}", 1_700_000_000_000_000_000 + number, "text/plain", **fields)


def refuse(reason: str) -> Any:
    """A condition that is never met."""

    def condition(there: Entry | None) -> None:
        raise PreconditionFailed(reason)

    return condition


class NamespaceCase(TestCase):
    """
    What tests of namespaces have in common.

    The test case gives C{make_namespace()}: a started namespace on the storage of this test, that is stopped at the
    end of the test; called again it gives another one on the same storage, after it has stopped the one before.
    """

    namespace: Any
    make_namespace: Any
    persistent = True

    async def setUp(self) -> None:
        self.namespace = await self.make_namespace()
        await self.namespace.create_bucket("bucket")

    async def refused(self, error: type[Exception], waited_for: Deferred[Any]) -> Any:
        """A method has given a Deferred, and it fails so."""
        self.assertIsInstance(waited_for, Deferred)
        return await self.assertFailure(waited_for, error)


class NamespaceTestsMixin(NamespaceCase):
    """Clauses of L{INamespace}."""

    async def publish(self, key: str, number: int, **options: Any) -> list[Entry]:
        """Publish an entry and settle what it replaced."""
        gone = list((await self.namespace.publish("bucket", key, entry(number), **options)).removed)
        self.namespace.settle([each.id for each in gone])
        return gone

    async def listed(self, **arguments: Any) -> tuple[list[str], list[str], str | None]:
        """Keys, common prefixes, and what the next page is after."""
        page = await self.namespace.list_keys("bucket", **arguments)
        self.assertIsInstance(page, Page)
        return [key for key, _ in page.entries], list(page.prefixes), page.next_after

    # -- the interface -----------------------------------------------------------------------

    def test_interface(self) -> None:
        verifyObject(INamespace, self.namespace)

    # -- buckets -----------------------------------------------------------------------------

    async def test_buckets(self) -> None:
        """Made, found, listed in order, removed."""
        made = await self.namespace.create_bucket("a-bucket", {"owner": ["me", "you"]})
        self.assertEqual((made.name, made.metadata), ("a-bucket", {"owner": ["me", "you"]}))
        self.assertEqual(await self.namespace.get_bucket("a-bucket"), made)
        self.assertEqual([each.name for each in await self.namespace.list_buckets()], ["a-bucket", "bucket"])
        await self.refused(AlreadyExists, self.namespace.create_bucket("a-bucket"))
        self.assertEqual(await self.namespace.get_bucket("a-bucket"), made)
        await self.namespace.delete_bucket("a-bucket")
        await self.refused(NoSuchBucket, self.namespace.get_bucket("a-bucket"))
        await self.refused(NoSuchBucket, self.namespace.delete_bucket("a-bucket"))
        await self.namespace.create_bucket("a-bucket")

    async def test_owner(self) -> None:
        """A bucket has the one that it was made with, whatever else of it changes."""
        made = await self.namespace.create_bucket("a-bucket", {"a": ["b"]}, "änn")
        self.assertEqual((made.owner, made.metadata), ("änn", {"a": ["b"]}))
        changed = await self.namespace.set_bucket_metadata("a-bucket", {})
        if self.persistent:
            self.namespace = await self.make_namespace()
        self.assertEqual([each.owner for each in await self.namespace.list_buckets()], ["änn", ""])
        self.assertEqual(await self.namespace.get_bucket("a-bucket"), changed)
        for wrong in ("x" * 257, "\udcff"):
            await self.refused(InvalidName, self.namespace.create_bucket("b-bucket", {}, wrong))

    async def test_bucket_config(self) -> None:
        """One of each kind, of each bucket; it goes with its bucket."""
        names = self.namespace
        await names.create_bucket("b-bucket")
        kept = {("bucket", "cors"): b"", ("bucket", "policy"): bytes(range(256)) * 4096, ("b-bucket", "cors"): b"<a>"}
        for (bucket, kind), data in kept.items():
            self.assertIsNone(await names.bucket_config(bucket, kind))
            await names.set_bucket_config(bucket, kind, b"before")
            await names.set_bucket_config(bucket, kind, data)
        await names.set_bucket_config("bucket", "x" * 32, b"removed")
        await names.set_bucket_config("bucket", "x" * 32, None)
        await names.set_bucket_config("bucket", "x-9", None)
        for _ in range(2 if self.persistent else 1):
            for (bucket, kind), data in kept.items():
                self.assertEqual(await self.namespace.bucket_config(bucket, kind), data)
            self.assertIsNone(await self.namespace.bucket_config("bucket", "x" * 32))
            self.assertEqual(await self.namespace.check(), [])
            if self.persistent:
                self.namespace = await self.make_namespace()
        await self.namespace.delete_bucket("b-bucket")
        await self.namespace.create_bucket("b-bucket")
        self.assertIsNone(await self.namespace.bucket_config("b-bucket", "cors"))
        self.assertEqual(await self.namespace.bucket_config("bucket", "cors"), b"")

    async def test_made_with_configs(self) -> None:
        """A bucket has them from the beginning, or there is none."""
        names = self.namespace
        await names.create_bucket("a-bucket", None, "ann", {"cors": b"1", "x-9": b"\0\xff"})
        for wrong in ({"A": b""}, {"cors": b"1", "a/b": b""}):
            await self.refused(InvalidName, names.create_bucket("b-bucket", configs=wrong))
        await self.refused(TooLarge, names.create_bucket("b-bucket", configs={"cors": bytes((1 << 20) + 65)}))
        await self.refused(AlreadyExists, names.create_bucket("a-bucket", configs={"cors": b"2"}))
        if self.persistent:
            self.namespace = await self.make_namespace()
        found = [await self.namespace.bucket_config("a-bucket", kind) for kind in ("cors", "x-9", "policy")]
        self.assertEqual(found, [b"1", b"\0\xff", None])
        await self.refused(NoSuchBucket, self.namespace.get_bucket("b-bucket"))
        await self.namespace.delete_bucket("a-bucket")
        await self.namespace.create_bucket("a-bucket")
        self.assertIsNone(await self.namespace.bucket_config("a-bucket", "cors"))

    async def test_bucket_config_refused(self) -> None:
        names = self.namespace
        for kind in ("", "a.b", "../a", "A", "-a", "9", "a\n", "é", "x" * 33):
            await self.refused(InvalidName, names.bucket_config("bucket", kind))
            for data in (b"x", None):
                await self.refused(InvalidName, names.set_bucket_config("bucket", kind, data))
        await self.refused(TooLarge, names.set_bucket_config("bucket", "cors", bytes((1 << 20) + 65)))
        self.assertIsNone(await names.bucket_config("bucket", "cors"))
        await self.refused(NoSuchBucket, names.bucket_config("nothing", "cors"))
        for change in (b"x", None):
            await self.refused(NoSuchBucket, names.set_bucket_config("nothing", "cors", change))

    async def test_set_bucket_metadata(self) -> None:
        """All of it is another; everything else of the bucket stays."""
        await self.publish("a", 1)
        made = await self.namespace.create_bucket("a-bucket", {"owner": ["me"], "kept": []})
        metadata = {"public": ["read"], "name": ["é\n", ""]}
        changed = await self.namespace.set_bucket_metadata("a-bucket", metadata)
        self.assertEqual((changed.name, changed.created, changed.metadata), ("a-bucket", made.created, metadata))
        metadata["public"].append("more")
        self.assertEqual(await self.namespace.get_bucket("a-bucket"), changed)
        self.assertEqual((await self.namespace.list_buckets())[0], changed)
        await self.namespace.set_bucket_metadata("bucket", {"public": ["read"]})
        self.assertEqual(await self.namespace.usage("bucket"), Usage(1, 10))
        if self.persistent:
            self.namespace = await self.make_namespace()
            self.assertEqual(await self.namespace.get_bucket("a-bucket"), changed)
            self.assertEqual((await self.namespace.get_bucket("bucket")).metadata, {"public": ["read"]})
            self.assertEqual(await self.namespace.usage("bucket"), Usage(1, 10))
        await self.namespace.set_bucket_metadata("a-bucket", {})
        self.assertEqual((await self.namespace.get_bucket("a-bucket")).metadata, {})
        await self.refused(NoSuchBucket, self.namespace.set_bucket_metadata("other", {}))
        await self.refused(InvalidName, self.namespace.set_bucket_metadata("Other", {}))
        for wrong in ({"a": ["x" * 70_000]}, {"a": ["\udcff"]}):
            await self.refused(InvalidName, self.namespace.set_bucket_metadata("a-bucket", wrong))
        self.assertEqual((await self.namespace.get_bucket("a-bucket")).metadata, {})

    async def test_bucket_names(self) -> None:
        """The rules of S3."""
        for name in ("abc", "a.b", "a-b", "0ab", "a" * 63, "1.2.3", "1.2.3.4.5", "a--b"):
            await self.namespace.create_bucket(name)
        for name in (
            *(
                "",
                "ab",
                "a" * 64,
                "Abc",
                "a_b",
                "-ab",
                "ab-",
                ".ab",
                "ab.",
                "a..b",
                "1.2.3.4",
                "a/b",
                "../x",
                "abc\n",
                "é" * 3,
            ),
            *("..", "...", "a\0b", "\udcff" * 3),
        ):
            await self.refused(InvalidName, self.namespace.create_bucket(name))
            await self.refused(InvalidName, self.namespace.get_bucket(name))

    async def test_not_empty(self) -> None:
        """A bucket with keys is not removed; one that had some is."""
        for key in ("a", "x" * 900):
            await self.publish(key, 1)
            await self.refused(BucketNotEmpty, self.namespace.delete_bucket("bucket"))
            await self.namespace.unpublish("bucket", key)
        await self.namespace.delete_bucket("bucket")
        await self.refused(NoSuchBucket, self.namespace.look_up("bucket", "a"))

    async def test_no_bucket(self) -> None:
        """Nothing is done in a bucket that is not there."""
        for waited_for in (
            self.namespace.publish("other", "a", entry(1)),
            self.namespace.look_up("other", "a"),
            self.namespace.versions("other", "a"),
            self.namespace.unpublish("other", "a"),
            self.namespace.list_keys("other"),
            self.namespace.intend("other", "a", ["00ff"]),
            self.namespace.delete_bucket("other"),
        ):
            await self.refused(NoSuchBucket, waited_for)

    # -- publishing --------------------------------------------------------------------------

    async def test_publish(self) -> None:
        """All of an entry comes back."""
        first = entry(1, 5, metadata={"name": ["é\n", ""], "": [], "key": ["x"]})
        self.assertEqual((await self.namespace.publish("bucket", "a", first)).removed, [])
        self.assertEqual(await self.namespace.look_up("bucket", "a"), first)
        self.assertEqual(await self.namespace.look_up("bucket", "a", first.id), first)
        self.assertEqual(await self.namespace.versions("bucket", "a"), [first])
        page = await self.namespace.list_keys("bucket")
        self.assertEqual((list(page.entries), list(page.prefixes), page.next_after), ([("a", first)], [], None))

    async def test_replace(self) -> None:
        """What is replaced is given back, and is no version any more."""
        self.assertEqual(await self.publish("a", 1), [])
        self.assertEqual(await self.publish("a", 2), [entry(1)])
        self.assertEqual(await self.namespace.look_up("bucket", "a"), entry(2))
        await self.refused(NoSuchKey, self.namespace.look_up("bucket", "a", entry(1).id))
        self.assertEqual(await self.namespace.versions("bucket", "a"), [entry(2)])

    async def test_same_id(self) -> None:
        """An entry can be replaced by another one of the same ID: nothing is to be freed."""
        await self.publish("a", 1)
        self.assertEqual((await self.namespace.publish("bucket", "a", entry(1, 77))).removed, [])
        self.assertEqual(await self.namespace.versions("bucket", "a"), [entry(1, 77)])

    async def test_keep(self) -> None:
        """Older versions are kept if so asked, and not lost by what follows."""
        await self.publish("a", 1)
        for number in (3, 2):
            self.assertEqual(await self.publish("a", number, keep=True), [])
        self.assertEqual(await self.namespace.versions("bucket", "a"), [entry(2), entry(3), entry(1)])
        self.assertEqual(await self.namespace.look_up("bucket", "a", entry(1).id), entry(1))
        self.assertEqual(await self.publish("a", 4), [entry(2)])
        self.assertEqual(await self.namespace.versions("bucket", "a"), [entry(4), entry(3), entry(1)])
        # An older one can become the default again.
        self.assertEqual(await self.publish("a", 1, keep=True), [])
        self.assertEqual(await self.namespace.versions("bucket", "a"), [entry(1), entry(4), entry(3)])

    async def test_condition(self) -> None:
        """The condition sees what is there, and what it raises leaves it there."""
        seen: list[Entry | None] = []
        await self.refused(PreconditionFailed, self.namespace.publish("bucket", "a", entry(1), refuse("no")))
        await self.refused(NoSuchKey, self.namespace.look_up("bucket", "a"))
        await self.publish("a", 1, condition=seen.append)
        await self.publish("a", 2, condition=seen.append)
        error = await self.refused(
            PreconditionFailed, self.namespace.publish("bucket", "a", entry(3), refuse("not so"))
        )
        self.assertEqual(error.detail, "not so")
        self.assertEqual(await self.namespace.versions("bucket", "a"), [entry(2)])
        await self.refused(PreconditionFailed, self.namespace.unpublish("bucket", "a", None, refuse("no")))
        await self.refused(PreconditionFailed, self.namespace.unpublish("bucket", "none", None, refuse("no")))
        await self.namespace.unpublish("bucket", "a", None, seen.append)
        self.assertEqual(seen, [None, entry(1), entry(2)])

    async def test_one_wins(self) -> None:
        """Of many who want to be the first, one is; of many who replace, each frees what was there before it."""

        def must_be_new(there: Entry | None) -> None:
            if there is not None:
                raise PreconditionFailed("it is there")

        waiting = [self.namespace.publish("bucket", "a", entry(n), must_be_new) for n in range(20)]
        outcomes = await gatherResults([each.addCallbacks(lambda _: True, lambda _: False) for each in waiting])
        self.assertEqual(outcomes.count(True), 1)
        winner = await self.namespace.look_up("bucket", "a")
        self.assertEqual(winner, entry(outcomes.index(True)))
        freed = await gatherResults([self.publish_as_deferred("a", n) for n in range(100, 120)])
        last = await self.namespace.look_up("bucket", "a")
        self.assertEqual(
            sorted([each.id for gone in freed for each in gone] + [last.id]),
            sorted([winner.id] + [entry(n).id for n in range(100, 120)]),
        )

    def publish_as_deferred(self, key: str, number: int) -> Deferred[list[Entry]]:
        return Deferred.fromCoroutine(self.publish(key, number))

    async def test_intend(self) -> None:
        """Intending changes nothing that can be seen."""
        await gatherResults([self.namespace.intend("bucket", "a", [entry(1).id]) for _ in range(3)])
        await self.refused(NoSuchKey, self.namespace.look_up("bucket", "a"))
        await self.publish("a", 1)
        await self.namespace.intend("bucket", "a", [entry(2).id, entry(3).id])
        self.namespace.settle([entry(2).id, entry(3).id, "ffff"])
        self.assertEqual(await self.namespace.versions("bucket", "a"), [entry(1)])
        self.assertEqual(self.namespace.unsettled, [])
        await self.refused(InvalidName, self.namespace.intend("bucket", "a", ["../x"]))

    async def test_needed(self) -> None:
        """Of the IDs that are asked for, those that a version of a key has."""
        for number, keep in ((1, False), (2, True), (3, False)):
            await self.namespace.publish("bucket", "key", entry(number), keep=keep)
        await self.namespace.publish("bucket", "other", entry(4))
        ids = [entry(number).id for number in (1, 2, 3, 5)]
        found = await self.namespace.needed(ids)
        self.assertEqual((found.ids, found.doubt), (frozenset((ids[0], ids[2])), ""))

    async def test_invalid(self) -> None:
        """Keys and IDs that are none."""
        for key in ("", "x" * 1025, "é" * 513, "\ud800", "a\udfff"):
            await self.refused(InvalidName, self.namespace.publish("bucket", key, entry(1)))
            await self.refused(InvalidName, self.namespace.look_up("bucket", key))
            await self.refused(InvalidName, self.namespace.unpublish("bucket", key))
        for id in ("", "0", "FF", "default", "../..", "0" * 129, "00\n"):
            await self.refused(InvalidName, self.namespace.publish("bucket", "a", Entry(id, 1, "", 0)))
            await self.publish("b", 1)
            await self.refused(InvalidName, self.namespace.look_up("bucket", "b", id))
            await self.refused(InvalidName, self.namespace.unpublish("bucket", "b", id))
        for bad in (Entry("00", -1, "", 0), Entry("00", 1, "", -1), Entry("00", 1, "\ud800", 0)):
            await self.refused(InvalidName, self.namespace.publish("bucket", "a", bad))
        await self.refused(InvalidName, self.namespace.publish("bucket", "a", entry(1, metadata={"a": ["x" * 70000]})))
        for arguments in ({"prefix": "\ud800"}, {"delimiter": "\ud800"}, {"after": "\ud800"}, {"limit": -1}):
            await self.refused(InvalidName, self.namespace.list_keys("bucket", **arguments))

    async def test_odd_keys(self) -> None:
        """Every key is one of its own, whatever it looks like."""
        await gatherResults(
            [self.namespace.publish("bucket", key, entry(n)) for n, key in enumerate(ODD_KEYS)], consumeErrors=True
        )
        for again in range(2):
            for n, key in enumerate(ODD_KEYS):
                self.assertEqual(await self.namespace.look_up("bucket", key), entry(n))
            self.assertEqual((await self.listed())[0], sorted(ODD_KEYS, key=str.encode))
            if again == 0 and self.persistent:
                self.namespace = await self.make_namespace()
        for n, key in enumerate(ODD_KEYS):
            self.assertEqual((await self.namespace.unpublish("bucket", key)).removed, [entry(n)])
        await self.namespace.delete_bucket("bucket")

    # -- unpublishing ------------------------------------------------------------------------

    async def test_unpublish(self) -> None:
        """A key goes with all its versions."""
        await self.publish("a", 1)
        await self.publish("a", 2, keep=True)
        gone = (await self.namespace.unpublish("bucket", "a")).removed
        self.assertEqual(sorted(each.id for each in gone), [entry(1).id, entry(2).id])
        await self.refused(NoSuchKey, self.namespace.unpublish("bucket", "a"))
        await self.refused(NoSuchKey, self.namespace.versions("bucket", "a"))
        self.assertEqual(await self.listed(), ([], [], None))

    async def test_unpublish_version(self) -> None:
        """When the default goes, the newest of the others takes its place."""
        for number in (1, 3, 2, 4):
            await self.publish("a", number, keep=True)
        await self.refused(NoSuchKey, self.namespace.unpublish("bucket", "a", "ffff"))
        await self.refused(NoSuchKey, self.namespace.unpublish("bucket", "b", "ffff"))
        self.assertEqual((await self.namespace.unpublish("bucket", "a", entry(2).id)).removed, [entry(2)])
        self.assertEqual(await self.namespace.look_up("bucket", "a"), entry(4))
        self.assertEqual((await self.namespace.unpublish("bucket", "a", entry(4).id)).removed, [entry(4)])
        self.assertEqual(await self.namespace.look_up("bucket", "a"), entry(3))
        page = await self.namespace.list_keys("bucket")
        self.assertEqual(list(page.entries), [("a", entry(3))])
        for number in (3, 1):
            self.assertEqual((await self.namespace.unpublish("bucket", "a", entry(number).id)).removed, [entry(number)])
        await self.refused(NoSuchKey, self.namespace.look_up("bucket", "a"))

    # -- listing -----------------------------------------------------------------------------

    async def test_rename(self) -> None:
        """A key goes, with all its versions, and another one has the new entry."""
        await self.publish("a", 1)
        await self.publish("a", 2, keep=True)
        gone = await self.namespace.rename("bucket", "a", "b", entry(3))
        self.assertEqual((gone[0], sorted(each.id for each in gone[1])), ([], [entry(1).id, entry(2).id]))
        self.namespace.settle([entry(1).id, entry(2).id])
        await self.publish("c/d", 4)
        gone = await self.namespace.rename("bucket", "b", "c/d", entry(5, 20))
        self.assertEqual(gone, ([entry(4)], [entry(3)]))
        self.namespace.settle([entry(3).id, entry(4).id])
        for _ in range(2 if self.persistent else 1):
            self.assertEqual(await self.listed(), (["c/d"], [], None))
            self.assertEqual(await self.namespace.versions("bucket", "c/d"), [entry(5, 20)])
            self.assertEqual(await self.namespace.usage("bucket"), Usage(1, 20))
            self.assertEqual((await self.namespace.check(), self.namespace.unsettled), ([], []))
            for key in ("a", "b"):
                await self.refused(NoSuchKey, self.namespace.look_up("bucket", key))
            if self.persistent:
                self.namespace = await self.make_namespace()

    async def test_rename_keeps_older_versions(self) -> None:
        """Those of the key that is published over, as publish does."""
        await self.publish("a", 1)
        await self.publish("b", 2)
        await self.publish("b", 3, keep=True)
        self.assertEqual(await self.namespace.rename("bucket", "a", "b", entry(4)), ([entry(3)], [entry(1)]))
        self.assertEqual(await self.namespace.versions("bucket", "b"), [entry(4), entry(2)])

    async def test_rename_conditions(self) -> None:
        """Each gets what its key has; nothing is changed if one does not hold."""
        told: list[Entry | None] = []
        await self.publish("a", 1)
        await self.publish("b", 2)
        rename = self.namespace.rename
        for conditions in ({"condition": refuse("target")}, {"source_condition": refuse("source")}):
            await self.refused(PreconditionFailed, rename("bucket", "a", "b", entry(3), **conditions))
        await self.refused(NoSuchKey, rename("bucket", "nothing", "b", entry(3), source_condition=told.append))
        await self.refused(NoSuchBucket, rename("nothing", "a", "b", entry(3)))
        for key, new_key in (("a", "a"), ("", "b"), ("a", ""), ("a", "\ud800")):
            await self.refused(InvalidName, rename("bucket", key, new_key, entry(3)))
        await self.refused(InvalidName, rename("bucket", "a", "b", entry(1)))
        await self.refused(InvalidName, rename("bucket", "a", "b", entry(3, -1)))
        self.assertEqual(
            [each.id for _, each in (await self.namespace.list_keys("bucket")).entries], [entry(1).id, entry(2).id]
        )
        await rename("bucket", "a", "b", entry(3), told.append, told.append)
        await rename("bucket", "b", "c", entry(4), told.append, told.append)
        self.assertEqual(told, [None, entry(1), entry(2), entry(3), None])

    async def test_renames_at_once(self) -> None:
        """In circles: none waits for another for ever, and each sees all of what another did."""
        keys = ["a", "b", "c", "x" * 450]
        for number, key in enumerate(keys):
            await self.publish(key, number + 1)
        renames = [
            self.namespace.rename("bucket", key, keys[(at + step) % 4], entry(10 * step + at))
            for step in (1, 2, 3)
            for at, key in enumerate(keys)
        ]
        outcomes = await gatherResults([each.addErrback(lambda failure: failure.trap(NoSuchKey)) for each in renames])
        done = [each for each in outcomes if isinstance(each, tuple)]
        gone = [entry.id for freed in done for entries in freed for entry in entries]
        self.assertEqual(len(gone), len(set(gone)))
        self.namespace.settle(gone)
        left = [each.id for _, each in (await self.namespace.list_keys("bucket")).entries]
        self.assertEqual(len(left), len(set(left)))
        self.assertEqual((len(left) + len(gone), await self.namespace.check()), (4 + len(done), []))

    async def test_pages(self) -> None:
        """Keys and common prefixes are counted together, and a page goes on after either."""
        for n, key in enumerate(["a", "a/1", "a/2", "b", "b/1", "c/x/y", "c/z", "d"]):
            await self.publish(key, n)
        items = ["a", "a/", "b", "b/", "c/", "d"]
        for limit in range(1, 8):
            found: list[str] = []
            after: str | None = ""
            while after is not None:
                keys, prefixes, after = await self.listed(delimiter="/", after=after, limit=limit)
                self.assertLessEqual(len(keys) + len(prefixes), limit)
                found += sorted(keys + prefixes)
            self.assertEqual(found, items)
        self.assertEqual(await self.listed(limit=0), ([], [], None))
        self.assertIsNone((await self.listed(limit=8))[2])

    async def test_names(self) -> None:
        """Keys alone are those of the listing, in the same order."""
        for n, key in enumerate(["a", "ab", "ab\n", "ab/c", "abc", "b", "é", "éa", "\U0001f600"]):
            await self.publish(key, n)
        names = self.namespace.list_names
        for prefix in ("", "ab", "é", "zz"):
            keys, _, _ = await self.listed(prefix=prefix)
            self.assertEqual(await names("bucket", prefix), keys)
            for limit in range(len(keys) + 2):
                self.assertEqual(await names("bucket", prefix, "", limit), keys[:limit])
            for at, key in enumerate(keys):
                self.assertEqual(await names("bucket", prefix, key), keys[at + 1 :])
        self.assertEqual(await names("bucket", "ab", "b"), [])
        with self.assertRaises(NoSuchBucket):
            await names("nothing")
        with self.assertRaises(InvalidName):
            await names("bucket", "\ud800")

    async def test_prefix(self) -> None:
        """A prefix is bytes at the beginning, and may end within a component or hold the delimiter."""
        for n, key in enumerate(["a", "ab", "ab/c", "ab/d/e", "ab/d/f", "abc", "b", "é", "éa", "ê"]):
            await self.publish(key, n)
        self.assertEqual(await self.listed(prefix="ab"), (["ab", "ab/c", "ab/d/e", "ab/d/f", "abc"], [], None))
        self.assertEqual(await self.listed(prefix="ab", delimiter="/"), (["ab", "abc"], ["ab/"], None))
        self.assertEqual(await self.listed(prefix="ab/", delimiter="/"), (["ab/c"], ["ab/d/"], None))
        self.assertEqual(await self.listed(prefix="ab/d", delimiter="/"), ([], ["ab/d/"], None))
        self.assertEqual(await self.listed(prefix="é"), (["é", "éa"], [], None))
        self.assertEqual(await self.listed(prefix="zz"), ([], [], None))
        self.assertEqual(await self.listed(prefix="b", after="a"), (["b"], [], None))
        self.assertEqual(await self.listed(prefix="b", after="c"), ([], [], None))
        self.assertEqual(await self.listed(prefix="ab/", delimiter="d/"), (["ab/c"], ["ab/d/"], None))
        self.assertEqual(
            await self.listed(delimiter="b/d"), (["a", "ab", "ab/c", "abc", "b", "é", "éa", "ê"], ["ab/d"], None)
        )

    async def test_after(self) -> None:
        """
        Only greater keys are looked at, and they may be rolled up into what is not greater; a common prefix that was
        given is not given again.
        """
        for n, key in enumerate(["a/1", "a/2", "a0", "b/1"]):
            await self.publish(key, n)
        self.assertEqual(await self.listed(delimiter="/", after="a"), (["a0"], ["a/", "b/"], None))
        self.assertEqual(await self.listed(delimiter="/", after="a/"), (["a0"], ["b/"], None))
        self.assertEqual(await self.listed(delimiter="/", after="a/1"), (["a0"], ["a/", "b/"], None))
        self.assertEqual(await self.listed(delimiter="/", after="a/1", limit=1), ([], ["a/"], "a/"))
        self.assertEqual(await self.listed(delimiter="/", after="a/2"), (["a0"], ["b/"], None))
        self.assertEqual(await self.listed(delimiter="/", after="a/2/"), (["a0"], ["b/"], None))
        self.assertEqual(await self.listed(delimiter="/", prefix="a/", after="a/"), (["a/1", "a/2"], [], None))
        self.assertEqual(await self.listed(delimiter="/", prefix="a/", after="a/1"), (["a/2"], [], None))
        self.assertEqual(await self.listed(delimiter="/", after="a0"), ([], ["b/"], None))
        self.assertEqual(await self.listed(after="a/1"), (["a/2", "a0", "b/1"], [], None))

    async def test_after_deeper(self) -> None:
        """What only looks like a common prefix, of another delimiter or prefix, is a key like others."""
        for n, key in enumerate(["a/b/1", "a/b/2", "a/c/1", "a/c-d/1"]):
            await self.publish(key, n)
        self.assertEqual(await self.listed(delimiter="/", after="a/b/"), ([], ["a/"], None))
        self.assertEqual(await self.listed(delimiter="/", prefix="a/", after="a/b/"), ([], ["a/c-d/", "a/c/"], None))
        self.assertEqual(
            await self.listed(delimiter="/", prefix="a/", after="a/b/1"), ([], ["a/b/", "a/c-d/", "a/c/"], None)
        )
        self.assertEqual(await self.listed(delimiter="-", after="a/b/"), (["a/b/1", "a/b/2", "a/c/1"], ["a/c-"], None))
        self.assertEqual(await self.listed(delimiter="/", after="a/"), ([], [], None))
        self.assertEqual(await self.listed(after="a/"), (["a/b/1", "a/b/2", "a/c-d/1", "a/c/1"], [], None))

    async def test_many_wait(self) -> None:
        """Thousands that want one key, and are refused as soon as they have it, all end."""
        await self.publish("a", 1)
        waiting = [self.namespace.publish("bucket", "a", entry(n), refuse("no")) for n in range(3000)]
        outcomes = await gatherResults([each.addCallbacks(lambda _: True, lambda _: False) for each in waiting])
        self.assertEqual(outcomes, [False] * 3000)
        self.assertEqual(await self.namespace.look_up("bucket", "a"), entry(1))

    async def test_stop_under_load(self) -> None:
        """Whatever is asked for before a stop, or while it stops, ends; what succeeded is there afterwards."""
        asked: list[Deferred[Any]] = []
        for n in range(100):
            asked.append(self.namespace.publish("bucket", f"k{n % 30}", entry(n), keep=True))
            asked.append(self.namespace.intend("bucket", "k", [entry(1000 + n).id]))
            asked.append(self.namespace.list_keys("bucket"))
        stopping = [self.namespace.stop(), self.namespace.stop()]
        asked += [self.namespace.intend("bucket", "k", ["00ff"]), self.namespace.publish("bucket", "z", entry(1))]
        outcomes = await gatherResults(
            [each.addCallbacks(lambda _: None, lambda failed: failed.value) for each in asked]
        )
        await gatherResults(stopping)
        for error in filter(None, outcomes):
            self.assertIsInstance(error, Unavailable)
        if self.persistent:
            self.namespace = await self.make_namespace()
            known = {each.id for n in range(30) for each in await self.versions_of(f"k{n}")}
            done = {entry(n).id for n in range(100) if outcomes[3 * n] is None}
            self.assertLessEqual(done, known)

    async def versions_of(self, key: str) -> list[Entry]:
        try:
            found: list[Entry] = await self.namespace.versions("bucket", key)
        except NoSuchKey:
            return []
        return found

    async def test_order(self) -> None:
        """The order is that of UTF-8 bytes, not of UTF-16 units nor of words."""
        keys = ["Z", "a", "\uffff", "\U00010000", "é", "\0", "a\0", "a/", "a!"]
        for n, key in enumerate(keys):
            await self.publish(key, n)
        self.assertEqual((await self.listed())[0], sorted(keys, key=str.encode))

    # -- start and stop ----------------------------------------------------------------------

    async def test_reopen(self) -> None:
        """All of it is there after a restart."""
        if not self.persistent:
            return
        await self.publish("a", 1)
        await self.publish("a", 2, keep=True)
        await self.publish("b", 3)
        await self.namespace.unpublish("bucket", "b")
        self.namespace.settle([entry(3).id])
        buckets = await self.namespace.list_buckets()
        self.namespace = await self.make_namespace()
        self.assertEqual(await self.namespace.list_buckets(), buckets)
        self.assertEqual(await self.namespace.versions("bucket", "a"), [entry(2), entry(1)])
        self.assertEqual((await self.listed())[0], ["a"])
        self.assertEqual(self.namespace.unsettled, [])

    async def test_stop(self) -> None:
        """What was begun is finished; then everything is refused; a second stop is fine."""
        waiting = [self.namespace.publish("bucket", f"k{n}", entry(n)) for n in range(10)]
        await self.namespace.stop()
        await gatherResults(waiting)
        for waited_for in (
            self.namespace.publish("bucket", "a", entry(1)),
            self.namespace.look_up("bucket", "a"),
            self.namespace.list_keys("bucket"),
            self.namespace.create_bucket("other"),
            self.namespace.list_buckets(),
        ):
            await self.refused(Unavailable, waited_for)
        await self.namespace.stop()
