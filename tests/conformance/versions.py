"""What every namespace must do with versions, and a plain model of those of S3: mixed into a test case that makes one."""

from __future__ import annotations

from random import Random
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults

from storehouse.errors import (
    BucketNotEmpty,
    DeleteMarkerFound,
    InvalidBucketState,
    InvalidName,
    NoSuchBucket,
    NoSuchKey,
    NoSuchVersion,
    PreconditionFailed,
)
from storehouse.storage.namespace.interfaces import ENABLED, NULL, OFF, SUSPENDED, Changed, Entry, Usage, VersionPage
from tests.conformance.namespace import NamespaceCase, entry, refuse

__all__ = ["VersionModel", "VersionTestsMixin", "items_of"]


@attrs.define
class VersionModel:
    """
    A bucket as S3's documentation describes it.

    @ivar keys: the versions of each key, from the newest to the oldest: ID, whether it is the null version, whether it is a
        marker, size.
    """

    state: str = OFF
    keys: dict[str, list[tuple[str, bool, bool, int]]] = attrs.Factory(dict)

    def put(self, key: str, id: str, size: int, marker: bool = False) -> list[str]:
        """@return: the IDs of what it replaces."""
        is_null = self.state != ENABLED
        there = self.keys.get(key, [])
        gone = [each for each in there if is_null and each[1]]
        self.keys[key] = [(id, is_null, marker, size), *(each for each in there if each not in gone)]
        return [each[0] for each in gone]

    def remove(self, key: str, id: str | None = None) -> list[str]:
        """Remove a key that never had versions; or one version."""
        there = self.keys[key]
        gone = [each for each in there if id is None or each[0] == id or (id == NULL and each[1])]
        left = [each for each in there if each not in gone]
        if left:
            self.keys[key] = left
        else:
            del self.keys[key]
        return [each[0] for each in gone]

    def live(self) -> list[tuple[str, str]]:
        """The keys of a listing with the IDs of their objects."""
        return [(key, self.keys[key][0][0]) for key in sorted(self.keys, key=str.encode) if not self.keys[key][0][2]]

    def listed(self, prefix: str = "", delimiter: str = "") -> list[tuple[str, str, bool] | str]:
        """ListObjectVersions: key, ID, is it the latest; or a common prefix."""
        items: list[tuple[str, str, bool] | str] = []
        for key in sorted(self.keys, key=str.encode):
            if not key.startswith(prefix):
                continue
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            if found:
                common = prefix + head + delimiter
                items += [] if common in items else [common]
            else:
                items += [(key, id, not at) for at, (id, *_) in enumerate(self.keys[key])]
        return items

    def usage(self) -> Usage:
        current = [versions[0] for versions in self.keys.values() if not versions[0][2]]
        older = [each for versions in self.keys.values() for each in versions[1:] if not each[2]]
        markers = sum(each[2] for versions in self.keys.values() for each in versions)
        return Usage(
            len(current), sum(each[3] for each in current), len(older), sum(each[3] for each in older), markers
        )


def items_of(page: VersionPage) -> list[tuple[str, str, bool] | str]:
    """What a page has, in order."""
    items: list[tuple[bytes, int, tuple[str, str, bool] | str]] = [
        (each.key.encode(), at, (each.key, each.entry.id, each.is_latest)) for at, each in enumerate(page.versions)
    ]
    items += [(prefix.encode(), 0, prefix) for prefix in page.prefixes]
    return [item for _, _, item in sorted(items, key=lambda item: item[:2])]


class VersionTestsMixin(NamespaceCase):
    """Clauses of L{INamespace<storehouse.storage.namespace.interfaces.INamespace>} about versions."""

    async def setUp(self) -> None:
        await super().setUp()
        await self.namespace.set_versioning("bucket", ENABLED)

    async def put(self, key: str, number: int, **options: Any) -> Changed:
        """Publish an entry and settle what it replaced."""
        changed: Changed = await self.namespace.publish("bucket", key, entry(number), **options)
        self.namespace.settle([each.id for each in changed.removed])
        return changed

    async def remove(self, key: str, id: str | None = None, **options: Any) -> Changed:
        changed: Changed = await self.namespace.unpublish("bucket", key, id, **options)
        self.namespace.settle([each.id for each in changed.removed])
        return changed

    async def listed(self, limit: int = 1000, **arguments: Any) -> list[tuple[str, str, bool] | str]:
        """All pages of a listing."""
        items: list[tuple[str, str, bool] | str] = []
        key: str | None = ""
        version = ""
        while key is not None:
            page = await self.namespace.list_versions(
                "bucket", **{**arguments, "key_marker": key, "version_marker": version, "limit": limit}
            )
            found = items_of(page)
            self.assertTrue(len(found) == limit or page.next_key_marker is None, (found, page.next_key_marker))
            self.assertEqual(list(page.damaged), [])
            items += found
            key, version = page.next_key_marker, page.next_version_marker
        return items

    async def ids(self, key: str) -> list[str]:
        """The versions of a key, by listings and by look-ups."""
        listed = [each[1] for each in await self.listed(prefix=key) if each[0] == key]
        try:
            self.assertEqual([each.id for each in await self.namespace.versions("bucket", key)], listed)
        except NoSuchKey:
            self.assertEqual(listed, [])
        return listed

    async def reopened(self) -> None:
        if self.persistent:
            self.namespace = await self.make_namespace()
        self.assertEqual(await self.namespace.check(), [])

    # -- the state -----------------------------------------------------------------------------

    async def test_state(self) -> None:
        """Off, enabled, suspended, enabled: never off again. It lasts, and is a configuration too."""
        names = self.namespace
        made = await names.create_bucket("other", {"a": ["b"]}, "ann")
        self.assertEqual((made.versioning, names.versioning("other"), names.versioning("none")), (OFF, OFF, OFF))
        self.assertIsNone(await names.bucket_config("other", "versioning"))
        self.assertEqual(await names.set_versioning("other", OFF), made)
        for state in (ENABLED, SUSPENDED, ENABLED, ENABLED, SUSPENDED):
            changed = await self.namespace.set_versioning("other", state)
            self.assertEqual(changed, attrs.evolve(made, versioning=state))
            await self.refused(InvalidBucketState, self.namespace.set_versioning("other", OFF))
            await self.refused(InvalidBucketState, self.namespace.set_bucket_config("other", "versioning", None))
            await self.reopened()
            self.assertEqual((await self.namespace.get_bucket("other")).versioning, state)
            self.assertEqual(self.namespace.versioning("other"), state)
            self.assertEqual(await self.namespace.bucket_config("other", "versioning"), state.encode())
        await self.namespace.set_bucket_config("other", "versioning", b"enabled")
        self.assertEqual(self.namespace.versioning("other"), ENABLED)
        await self.namespace.set_bucket_metadata("other", {})
        self.assertEqual(self.namespace.versioning("other"), ENABLED)
        for wrong in ("", "Enabled", "on", "é"):
            await self.refused(InvalidName, self.namespace.set_versioning("other", wrong))
            await self.refused(InvalidName, self.namespace.set_bucket_config("other", "versioning", wrong.encode()))
        await self.refused(NoSuchBucket, self.namespace.set_versioning("none", ENABLED))
        await self.namespace.delete_bucket("other")
        await self.namespace.create_bucket("other")
        self.assertEqual(self.namespace.versioning("other"), OFF)

    async def test_made_enabled(self) -> None:
        """A bucket may have versions from its beginning."""
        made = await self.namespace.create_bucket("other", configs={"versioning": b"enabled"})
        self.assertEqual(made.versioning, ENABLED)
        await self.refused(InvalidName, self.namespace.create_bucket("third", configs={"versioning": b"x"}))
        await self.reopened()
        self.assertEqual(self.namespace.versioning("other"), ENABLED)

    # -- enabled -------------------------------------------------------------------------------

    async def test_kept(self) -> None:
        """Every version stays, under its ID, in the order of storing, whatever the times."""
        for number in (3, 1, 2):
            changed = await self.put("a", number)
            kept = changed.entry
            assert kept is not None
            self.assertEqual(
                (kept.versioned, kept.marker, kept.version, list(changed.removed)), (True, False, kept.id, [])
            )
            self.assertEqual(attrs.evolve(kept, versioned=False, order=0), entry(number))
            self.assertEqual(changed.current, kept)
        for _ in range(2):
            self.assertEqual(await self.ids("a"), [entry(number).id for number in (2, 1, 3)])
            self.assertEqual((await self.namespace.look_up("bucket", "a")).id, entry(2).id)
            for number in (1, 2, 3):
                found = await self.namespace.look_up("bucket", "a", entry(number).id)
                self.assertEqual((found.id, found.created), (entry(number).id, entry(number).created))
            await self.refused(NoSuchVersion, self.namespace.look_up("bucket", "a", NULL))
            await self.refused(NoSuchVersion, self.namespace.look_up("bucket", "a", "abcd"))
            self.assertEqual(await self.namespace.usage("bucket"), Usage(1, 10, 2, 20, 0))
            await self.reopened()
        # The caller's entry may have fields of another version.
        again = attrs.evolve(await self.namespace.look_up("bucket", "a"), id="abcd", order=7)
        self.assertGreater((await self.namespace.publish("bucket", "a", again)).current.rank, kept.rank)

    async def test_null_version(self) -> None:
        """What was there before versioning was enabled is the null version, and stays."""
        await self.namespace.create_bucket("other")
        first = (await self.namespace.publish("other", "a", entry(1))).entry
        self.assertEqual(first, entry(1))
        await self.namespace.set_versioning("other", ENABLED)
        self.assertEqual(await self.namespace.look_up("other", "a", NULL), first)
        await self.namespace.publish("other", "a", entry(2))
        for id in (NULL, entry(1).id):
            found = await self.namespace.look_up("other", "a", id)
            self.assertEqual((found, found.version), (first, NULL))
        changed = await self.namespace.unpublish("other", "a", NULL)
        self.assertEqual((list(changed.removed), changed.current.id), ([first], entry(2).id))
        await self.refused(NoSuchVersion, self.namespace.unpublish("other", "a", NULL))

    async def test_marker(self) -> None:
        """A deleted key does not exist, but keeps all its versions."""
        await self.put("a", 1)
        await self.put("b", 2)
        changed = await self.remove("a")
        marker = changed.entry
        assert marker is not None
        self.assertEqual((marker.marker, marker.size, marker.versioned, list(changed.removed)), (True, 0, True, []))
        self.assertGreaterEqual(len(marker.id), 32)
        for _ in range(2):
            error = await self.refused(DeleteMarkerFound, self.namespace.look_up("bucket", "a"))
            self.assertEqual((error.version, error.created, error.is_current), (marker.id, marker.created, True))
            self.assertEqual(await self.namespace.look_up("bucket", "a", marker.id), marker)
            self.assertEqual((await self.namespace.look_up("bucket", "a", entry(1).id)).id, entry(1).id)
            self.assertEqual([key for key, _ in (await self.namespace.list_keys("bucket")).entries], ["b"])
            self.assertEqual(await self.namespace.list_names("bucket"), ["b"])
            self.assertEqual(await self.ids("a"), [marker.id, entry(1).id])
            self.assertEqual(await self.namespace.usage("bucket"), Usage(1, 10, 1, 10, 1))
            await self.reopened()
        await self.refused(BucketNotEmpty, self.namespace.delete_bucket("bucket"))
        # Another one on it; then both go, and it is there again.
        second = (await self.remove("a")).entry
        assert second is not None
        self.assertEqual(await self.ids("a"), [second.id, marker.id, entry(1).id])
        changed = await self.remove("a", second.id)
        self.assertEqual((list(changed.removed), changed.current), ([second], marker))
        changed = await self.remove("a", marker.id)
        assert changed.current is not None
        self.assertEqual((list(changed.removed), changed.current.id), ([marker], entry(1).id))
        self.assertEqual([key for key, _ in (await self.namespace.list_keys("bucket")).entries], ["a", "b"])
        await self.reopened()
        self.assertEqual(await self.ids("a"), [entry(1).id])

    async def test_marker_of_nothing(self) -> None:
        """Also a key that never was gets one, which goes with its key."""
        given = Entry("abcd", 0, "", 7, system={"owner": "ann"})
        marker = (await self.remove("none", marker=given)).entry
        self.assertEqual(marker, attrs.evolve(given, marker=True, versioned=True))
        self.assertEqual(await self.listed(), [("none", "abcd", True)])
        await self.reopened()
        await self.refused(DeleteMarkerFound, self.namespace.look_up("bucket", "none"))
        changed = await self.remove("none", "abcd")
        self.assertEqual((list(changed.removed), changed.current), ([marker], None))
        await self.refused(NoSuchKey, self.namespace.look_up("bucket", "none"))
        self.assertEqual(await self.listed(), [])
        await self.namespace.delete_bucket("bucket")

    async def test_remove_version(self) -> None:
        """The newest other one becomes the current one."""
        for number in (5, 4, 3, 2, 1):
            await self.put("a", number)
        await self.refused(NoSuchVersion, self.remove_deferred("a", "abcd"))
        await self.refused(NoSuchVersion, self.remove_deferred("b", "abcd"))
        await self.refused(InvalidName, self.remove_deferred("a", "xyz"))
        order = [1, 2, 3, 4, 5]
        for number in (3, 1, 2, 5, 4):
            changed = await self.remove("a", entry(number).id)
            order.remove(number)
            self.assertEqual([each.id for each in changed.removed], [entry(number).id])
            self.assertEqual(changed.current and changed.current.id, entry(order[0]).id if order else None)
            self.assertEqual(await self.ids("a"), [entry(each).id for each in order])
            await self.reopened()
        await self.namespace.delete_bucket("bucket")

    def remove_deferred(self, key: str, id: str) -> Deferred[Changed]:
        return Deferred.fromCoroutine(self.remove(key, id))

    async def test_conditions(self) -> None:
        """They see the current object; a marker is not an object."""
        seen: list[str | None] = []

        def see(there: Entry | None) -> None:
            seen.append(None if there is None else there.id)

        await self.put("a", 1, condition=see)
        await self.put("a", 2, condition=see)
        await self.remove("a", condition=see)
        await self.remove("a", condition=see)
        await self.remove("a", entry(1).id, condition=see)
        await self.put("a", 3, condition=see)
        await self.remove("a", entry(2).id, condition=see)
        self.assertEqual(seen, [None, entry(1).id, entry(2).id, None, None, None, entry(3).id])
        before = await self.listed()
        for waited_for in (
            self.namespace.publish("bucket", "a", entry(9), refuse("no")),
            self.namespace.unpublish("bucket", "a", None, refuse("no")),
            self.namespace.unpublish("bucket", "b", None, refuse("no")),
            self.namespace.unpublish("bucket", "a", entry(3).id, refuse("no")),
        ):
            await self.refused(PreconditionFailed, waited_for)
        self.assertEqual(await self.listed(), before)

    async def test_refused(self) -> None:
        """Requests refused in buckets with versions, or without."""
        await self.put("a", 1)
        for state in (ENABLED, SUSPENDED):
            await self.namespace.set_versioning("bucket", state)
            await self.refused(InvalidBucketState, self.namespace.rename("bucket", "a", "b", entry(2)))
        await self.namespace.create_bucket("other")
        marker = attrs.evolve(entry(3, 0), marker=True)
        await self.refused(InvalidName, self.namespace.publish("other", "a", marker))
        await self.refused(InvalidName, self.namespace.publish("bucket", "a", attrs.evolve(marker, size=1)))
        for arguments in ({"version_marker": "abcd"}, {"prefix": "\ud800"}, {"key_marker": "\ud800"}, {"limit": -1}):
            await self.refused(InvalidName, self.namespace.list_versions("bucket", **arguments))
        await self.refused(NoSuchBucket, self.namespace.list_versions("none"))

    async def test_published_marker(self) -> None:
        """A marker can be published as any version."""
        await self.put("a", 1)
        marker = attrs.evolve(entry(2, 0), marker=True)
        self.assertEqual((await self.namespace.publish("bucket", "a", marker)).removed, [])
        await self.refused(DeleteMarkerFound, self.namespace.look_up("bucket", "a"))

    async def test_revise(self) -> None:
        """What is known of a version is changed where it is."""
        for number in (1, 2):
            await self.put("a", number)

        def change(there: Entry) -> Entry:
            return attrs.evolve(there, system={"tagging": there.id[-1]}, id="ff", size=77, order=1, versioned=False)

        old = await self.namespace.revise("bucket", "a", entry(1).id, change)
        self.assertEqual((old.id, old.size, old.versioned, old.system), (entry(1).id, 10, True, {"tagging": "1"}))
        new = await self.namespace.revise("bucket", "a", None, change)
        for _ in range(2):
            self.assertEqual(await self.namespace.look_up("bucket", "a"), new)
            self.assertEqual(await self.namespace.look_up("bucket", "a", old.id), old)
            self.assertEqual(
                [each.entry for each in (await self.namespace.list_versions("bucket")).versions], [new, old]
            )
            self.assertEqual([each for _, each in (await self.namespace.list_keys("bucket")).entries], [new])
            await self.reopened()
        marker = (await self.remove("a")).entry
        assert marker is not None
        await self.refused(DeleteMarkerFound, self.namespace.revise("bucket", "a", None, change))
        self.assertEqual(
            (await self.namespace.revise("bucket", "a", marker.id, change)).system, {"tagging": marker.id[-1]}
        )
        await self.refused(NoSuchVersion, self.namespace.revise("bucket", "a", "abcd", change))
        await self.refused(NoSuchKey, self.namespace.revise("bucket", "b", None, change))

        def refused(there: Entry) -> Entry:
            raise PreconditionFailed("no")

        await self.refused(PreconditionFailed, self.namespace.revise("bucket", "a", entry(2).id, refused))
        await self.refused(
            InvalidName,
            self.namespace.revise("bucket", "a", entry(2).id, lambda there: attrs.evolve(there, etag="\ud800")),
        )
        self.assertEqual(await self.namespace.look_up("bucket", "a", entry(2).id), new)

    async def test_at_once(self) -> None:
        """Concurrent writers to one key all leave a version; of several that require a new key, one succeeds."""

        def must_be_new(there: Entry | None) -> None:
            if there is not None:
                raise PreconditionFailed("it is there")

        done = await gatherResults([self.namespace.publish("bucket", "a", entry(n)) for n in range(30)])
        self.assertEqual(len({each.entry.rank for each in done}), 30)
        self.assertEqual(sorted(await self.ids("a")), [entry(n).id for n in range(30)])
        asked = [self.namespace.publish("bucket", "b", entry(100 + n), must_be_new) for n in range(20)]
        outcomes = await gatherResults([each.addCallbacks(lambda _: True, lambda _: False) for each in asked])
        self.assertEqual((outcomes.count(True), len(await self.ids("b"))), (1, 1))

    # -- suspended -----------------------------------------------------------------------------

    async def test_suspended(self) -> None:
        """What is stored or deleted replaces the null version, wherever it is, and nothing else."""
        await self.put("a", 1)
        await self.namespace.set_versioning("bucket", SUSPENDED)
        changed = await self.put("a", 2)
        self.assertEqual((changed.entry, changed.removed), (entry(2), []))
        self.assertEqual([each.id for each in (await self.put("a", 3)).removed], [entry(2).id])
        await self.namespace.set_versioning("bucket", ENABLED)
        await self.put("a", 4)
        await self.namespace.set_versioning("bucket", SUSPENDED)
        # Now it is an older one.
        self.assertEqual(await self.ids("a"), [entry(4).id, entry(3).id, entry(1).id])
        self.assertEqual([each.id for each in (await self.put("a", 5)).removed], [entry(3).id])
        await self.reopened()
        self.assertEqual(await self.ids("a"), [entry(5).id, entry(4).id, entry(1).id])
        changed = await self.remove("a")
        marker = changed.entry
        assert marker is not None
        self.assertEqual(
            (marker.version, marker.marker, [each.id for each in changed.removed]), (NULL, True, [entry(5).id])
        )
        error = await self.refused(DeleteMarkerFound, self.namespace.look_up("bucket", "a"))
        self.assertEqual(error.version, NULL)
        self.assertEqual(await self.namespace.look_up("bucket", "a", NULL), marker)
        changed = await self.remove("a")
        self.assertEqual(list(changed.removed), [marker])
        changed = await self.put("a", 6)
        self.assertEqual([each.marker for each in changed.removed], [True])
        await self.reopened()
        self.assertEqual(await self.ids("a"), [entry(6).id, entry(4).id, entry(1).id])
        self.assertEqual(await self.namespace.usage("bucket"), Usage(1, 10, 2, 20, 0))
        # A marker for what never was.
        await self.remove("b")
        marker = await self.namespace.look_up("bucket", "b", NULL)
        self.assertEqual(list((await self.remove("b", NULL)).removed), [marker])
        self.assertEqual(await self.ids("b"), [])

    # -- listings ------------------------------------------------------------------------------

    async def test_pages(self) -> None:
        """Pages of any size are the whole, in order, by keys, versions and common prefixes."""
        model = VersionModel(ENABLED)
        number = 0
        for key, times in (("a", 3), ("a/b", 2), ("a/c", 1), ("b", 1), ("b/x/y", 4), ("é", 2), ("a\0", 2), ("ab", 3)):
            for time in range(times):
                number += 1
                if time == 2:
                    marker = (await self.remove(key)).entry
                    assert marker is not None
                    model.put(key, marker.id, 0, True)
                else:
                    await self.put(key, number)
                    model.put(key, entry(number).id, 10)
        for arguments in (
            {},
            {"prefix": "a"},
            {"delimiter": "/"},
            {"prefix": "a/", "delimiter": "/"},
            {"delimiter": "b"},
        ):
            expected = model.listed(**arguments)
            for limit in (1, 2, 3, 5, 1000):
                self.assertEqual(await self.listed(limit, **arguments), expected, (arguments, limit))
        self.assertEqual(items_of(await self.namespace.list_versions("bucket", limit=0)), [])
        self.assertEqual(
            [(key, found.id) for key, found in (await self.namespace.list_keys("bucket")).entries], model.live()
        )

    async def test_markers_of_pages(self) -> None:
        """A version by its ID is one to continue after; of one that is not there, all of its key is listed."""
        for number in (1, 2, 3):
            await self.put("a", number)
        await self.put("b", 4)
        b = ("b", entry(4).id, True)
        a = [("a", entry(3).id, True), ("a", entry(2).id, False), ("a", entry(1).id, False)]

        async def after(version: str) -> list[Any]:
            return items_of(await self.namespace.list_versions("bucket", key_marker="a", version_marker=version))

        self.assertEqual(await after(""), [b])
        for number in (1, 2, 3):
            self.assertEqual(await after(entry(number).id), [*a[4 - number :], b])
        self.assertEqual(await after("abcd"), [*a, b])
        self.assertEqual(await after(NULL), [*a, b])
        self.assertEqual(items_of(await self.namespace.list_versions("bucket", key_marker="aa")), [b])

    async def test_emptied(self) -> None:
        """A client that removes each page before it asks for the next one sees all versions once."""
        for limit in (1, 2, 3, 4):
            expected = []
            for number in range(9):
                await self.put("ab"[number % 2], number)
                expected.append(entry(number).id)
            marker = (await self.remove("a")).entry
            assert marker is not None
            found: list[str] = []
            key: str | None = ""
            version = ""
            while key is not None:
                page = await self.namespace.list_versions("bucket", "", "", key, version, limit)
                for each in page.versions:
                    found.append(each.entry.id)
                    await self.remove(each.key, each.entry.id)
                key, version = page.next_key_marker, page.next_version_marker
            self.assertEqual(sorted(found), sorted([*expected, marker.id]))
            self.assertEqual(await self.listed(), [])

    async def test_model(self) -> None:
        """A random life, beside the model."""
        for seed in range(3):
            await self.live(Random(seed))
            for key, versions in list(self.model.keys.items()):
                for id, *_ in versions:
                    await self.remove(key, id)
            self.assertEqual(await self.listed(), [])

    model: VersionModel

    async def live(self, random: Random) -> None:
        model = self.model = VersionModel(self.namespace.versioning("bucket"))
        for step in range(60):
            key = random.choice(["a", "a/b", "a/c", "b"])
            there = model.keys.get(key, [])
            choice = random.random()
            if choice < 0.45:
                new = entry(step + random.randrange(3) * 1000, random.randrange(100))
                changed = await self.namespace.publish("bucket", key, new)
                self.assertEqual([each.id for each in changed.removed], model.put(key, new.id, new.size))
            elif choice < 0.6:
                changed = await self.namespace.unpublish("bucket", key)
                self.assertEqual([each.id for each in changed.removed], model.put(key, changed.entry.id, 0, True))
            elif choice < 0.85 and there:
                id, is_null, *_ = random.choice(there)
                changed = await self.namespace.unpublish("bucket", key, NULL if is_null and step % 2 else id)
                self.assertEqual([each.id for each in changed.removed], model.remove(key, id))
                left = model.keys.get(key)
                self.assertEqual(changed.current and changed.current.id, left[0][0] if left else None)
            elif choice < 0.95:
                model.state = random.choice([ENABLED, SUSPENDED])
                await self.namespace.set_versioning("bucket", model.state)
                continue
            else:
                await self.reopened()
                continue
            self.namespace.settle([each.id for each in changed.removed])
            await self.agrees(random)

    async def agrees(self, random: Random) -> None:
        model = self.model
        found = [(key, each.id) for key, each in (await self.namespace.list_keys("bucket")).entries]
        self.assertEqual(found, model.live())
        arguments = random.choice([{}, {"prefix": "a"}, {"delimiter": "/"}, {"prefix": "a/", "delimiter": "/"}])
        self.assertEqual(await self.listed(random.choice([1, 2, 3, 1000]), **arguments), model.listed(**arguments))
        self.assertEqual(await self.namespace.usage("bucket"), model.usage())
        for key, versions in model.keys.items():
            current = await self.namespace.look_up("bucket", key, versions[0][0])
            self.assertEqual(current.marker, versions[0][2])
            for id, is_null, marker, size in versions:
                each = await self.namespace.look_up("bucket", key, NULL if is_null else id)
                self.assertEqual((each.id, each.versioned, each.marker, each.size), (id, not is_null, marker, size))
