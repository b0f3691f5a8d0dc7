"""Which bytes go and which stay, whatever was done to the files of the namespace while nobody looked."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater

from storehouse.errors import Damaged, StorehouseError
from storehouse.storage.objects.interfaces import ObjectInfo, Problem
from tests.conformance.objectstore import StoreTestsMixin
from tests.storage.objects.rig import LocalStoreTestCase
from tests.storage.objects.test_reading_back import resealed
from tests.storage.sealed.test_objects import SealedStoreTestCase


class RemovingTestsMixin(StoreTestsMixin):
    """On a store in files."""

    directory: str
    make_space: Any
    make_names: Any
    join: Any
    stop: Any
    disk: Any

    async def tearDown(self) -> None:
        """What was damaged stays so."""

    def bucket(self, name: str = "bucket") -> str:
        return f"{self.directory}/names/buckets/{name}"

    def data(self, id: str) -> str:
        return f"{self.directory}/data/data/{id[:2]}/{id}"

    def remove_index(self) -> None:
        shutil.rmtree(f"{self.directory}/names/index")

    async def restarted(self, *changes: Callable[[], object], killed: bool = False) -> None:
        """Stop; or end as a kill would; change files; start."""
        if killed:
            shutil.copytree(f"{self.directory}/names", f"{self.directory}/kept", symlinks=True)
        await self.stop()
        if killed:
            shutil.rmtree(f"{self.directory}/names")
            os.rename(f"{self.directory}/kept", f"{self.directory}/names")
        for change in changes:
            change()
        self.make_space()
        self.make_names()
        self.store = self.join()
        await self.store.recovered
        await self.store.tidied

    async def check(self, repair: bool = False) -> list[Problem]:
        problems: list[Problem] = await self.store.check(None, repair)
        return problems

    async def three(self) -> list[ObjectInfo]:
        infos = [await self.put(key, key.encode()) for key in ("a", "b/c", "d")]
        self.before = await self.stored_ids()
        return infos

    async def test_damaged_namespaces(self) -> None:
        """Whatever is lost, renamed, or foreign: no bytes go, neither at a start after a kill nor by a repair."""
        infos = await self.three()
        (key,) = [
            os.path.dirname(os.path.join(top, name))
            for top, _, names in os.walk(self.bucket())
            for name in names
            if name == f"{infos[0].id}.json"
        ]
        default, version = f"{key}/default.json", f"{key}/{infos[0].id}.json"
        changes: dict[str, Callable[[], object]] = {
            "renamed bucket": lambda: os.rename(self.bucket(), self.bucket("pictures")),
            "bucket with a name that is none": lambda: os.rename(self.bucket(), self.bucket("Photos")),
            "renamed key": lambda: os.rename(key, f"{os.path.dirname(key)}/other"),
            "key with a name that is none": lambda: os.rename(key, f"{os.path.dirname(key)}/%zz"),
            "lost version": lambda: os.unlink(version),
            "lost default": lambda: os.unlink(default),
            "both": lambda: (os.unlink(version), os.unlink(default)),
            "default that leads elsewhere": lambda: (os.unlink(default), os.symlink("00ff.json", default)),
            "default that is damaged": lambda: (os.unlink(default), os.symlink(f"{infos[0].id}.jsom", default)),
            "version with another name": lambda: os.rename(version, f"{version}.bak"),
            "version that is empty": lambda: os.truncate(version, 0),
            "version that is a directory": lambda: (os.unlink(version), os.mkdir(version)),
            "file among the keys": lambda: open(f"{self.bucket()}/objects/x", "w").close(),
            "lost objects": lambda: shutil.rmtree(f"{self.bucket()}/objects"),
            "lost buckets": lambda: shutil.rmtree(os.path.dirname(self.bucket())),
            "not a namespace": lambda: shutil.rmtree(f"{self.directory}/names"),
        }
        for what, change in changes.items():
            # So that a start after a kill looks at the key.
            infos[0] = await self.put("a", b"a")
            await self.quiet()
            version = f"{key}/{infos[0].id}.json"
            before = await self.stored_ids()
            shutil.copytree(f"{self.directory}/names", f"{self.directory}/before", symlinks=True)
            gone = [] if what == "not a namespace" else [self.remove_index]
            try:
                await self.restarted(change, *gone, killed=True)
                self.assertEqual(await self.stored_ids(), before)
                await self.check(True)
                self.assertEqual(await self.stored_ids(), before)
                await self.restarted(self.put_back)
                self.assertEqual(await self.get("a"), b"a")
            except (StorehouseError, AssertionError) as error:
                raise AssertionError(f"{what}: {error}") from error
        self.assertFalse(os.path.exists(f"{self.directory}/data/recovered"))

    def put_back(self) -> None:
        shutil.rmtree(f"{self.directory}/names")
        os.rename(f"{self.directory}/before", f"{self.directory}/names")

    async def test_lost_files(self) -> None:
        """What only the index still knows is written anew by a repair, and by a new index, if it has its bytes."""
        await self.three()
        no_bytes = await self.put("x", b"x")
        bucket = self.bucket()
        losses: list[Callable[[], object]] = [
            lambda: [shutil.rmtree(path) for path in self.key_directories()],
            lambda: shutil.rmtree(f"{bucket}/objects"),
            lambda: shutil.rmtree(bucket),
        ]
        shutil.rmtree(self.data(no_bytes.id))
        for repair in (True, False):
            for lose in losses:
                lose()
                before = {key: await self.get(key) for key in ("a", "b/c", "d")}
                if repair:
                    found = await self.check(True)
                    told = sorted((each.key, each.id) for each in found if each.kind == "restored")
                    infos = await self.everything()
                    self.assertEqual(told, sorted((info.key, info.id) for info in infos))
                else:
                    await self.store.reindex()
                self.assertEqual({key: await self.get(key) for key in ("a", "b/c", "d")}, before)
                self.assertEqual([each for each in await self.check() if each.kind not in ("missing", "renamed")], [])
                await self.restarted(self.remove_index)
                self.assertEqual({key: await self.get(key) for key in ("a", "b/c", "d")}, before)
                self.assertEqual(await self.stored_ids(), self.before)

    def key_directories(self) -> list[str]:
        return [top for top, _, names in os.walk(self.bucket()) if any(name.endswith("default.json") for name in names)]

    async def orphan(self) -> tuple[ObjectInfo, str]:
        """A key that was removed while its bytes were not there; where they would be."""
        info = await self.put("gone", b"bytes of nobody")
        place = self.data(info.id)
        os.rename(place, f"{self.directory}/out")
        await self.store.delete("bucket", "gone")
        await self.quiet()
        os.rename(f"{self.directory}/out", place)
        return info, place

    async def test_moved(self) -> None:
        """What nothing names is moved to where nothing is removed, with a note of where it was; so it can come back."""
        await self.three()
        info, place = await self.orphan()
        (problem,) = await self.check()
        self.assertEqual((problem.kind, problem.key, problem.id), ("orphan", "gone", info.id))
        self.assertIn("recovered", problem.repair)
        self.assertTrue(os.path.exists(place))
        (problem,) = await self.check(True)
        self.assertEqual(await self.stored_ids(), self.before)
        (moment,) = os.listdir(f"{self.directory}/data/recovered")
        top = f"{self.directory}/data/recovered/{moment}"
        (note,) = [name for name in os.listdir(top) if name.endswith(".json")]
        kept = f"{top}/{note.removesuffix('.json')}/{info.id}"
        self.assertIn(kept, problem.repair)
        with open(f"{top}/{note}", encoding="utf-8") as file:
            said = json.load(file)
        self.assertEqual(said["path"], place)
        self.assertIn(info.id, said["why"])
        self.assertEqual(sorted(os.listdir(kept)), ["data.json", "part.1", "part.1.checksum"])
        self.assertEqual(await self.check(True), [])
        await self.restarted()
        self.assertTrue(os.path.exists(kept))
        os.rename(kept, said["path"])
        self.assertEqual([each.id for each in await self.check()], [info.id])

    async def test_nothing_is_moved_in_doubt(self) -> None:
        """Anything else that is not in order in the namespace, and an orphan stays."""
        await self.three()
        info, place = await self.orphan()
        path = f"{self.bucket()}/objects/foreign"
        with open(path, "w"):
            pass
        found = {each.kind: each for each in await self.check(True)}
        self.assertEqual(set(found), {"unknown", "orphan"})
        self.assertEqual((found["orphan"].id, found["orphan"].repair), (info.id, ""))
        self.assertIn(path, found["orphan"].text)
        self.assertTrue(os.path.exists(place))
        os.unlink(path)
        await self.check(True)
        self.assertFalse(os.path.exists(place))

    async def test_superseded_bytes_stay(self) -> None:
        """A copy of a root in use: the objects were copied before a key was replaced, the namespace after it."""
        for killed in (False, True):
            first = await self.put("key", b"first")
            await self.quiet()
            shutil.copytree(f"{self.directory}/data", f"{self.directory}/copied")
            second = await self.put("key", b"second")
            await self.quiet()

            def copy() -> None:
                shutil.rmtree(f"{self.directory}/data")
                os.rename(f"{self.directory}/copied", f"{self.directory}/data")

            await self.restarted(copy, killed=killed)
            self.assertEqual(await self.stored_ids(), [first.id])
            await self.refused(Damaged, self.store.get("bucket", "key"))
            found = await self.check(True)
            self.assertEqual(
                sorted((each.kind, each.id) for each in found), sorted([("missing", second.id), ("orphan", first.id)])
            )
            self.assertEqual({each.repair for each in found}, {""})
            await self.restarted()
            self.assertEqual(await self.stored_ids(), [first.id])
            # Once the key has bytes again, nobody needs those before.
            third = await self.put("key", b"third")
            await self.restarted()
            await self.check(True)
            self.assertEqual(await self.stored_ids(), [third.id])


class RemovingTests(RemovingTestsMixin, LocalStoreTestCase):
    """Plain."""

    async def test_renamed_bucket(self) -> None:
        """It is served, reported, and its keys can be replaced and removed, with their bytes."""
        await self.three()
        await self.restarted(lambda: os.rename(self.bucket(), self.bucket("pictures")), self.remove_index)
        problems = await self.check(True)
        renamed = [each for each in problems if each.kind == "renamed"]
        self.assertEqual(
            [(each.bucket, each.key) for each in renamed], [("pictures", key) for key in ("a", "b/c", "d")]
        )
        for each in renamed:
            self.assertIn(f"bucket/{each.key}", each.text)
        self.assertEqual(await self.get("b/c", bucket="pictures"), b"b/c")
        await self.put("a", b"new", "pictures")
        await self.store.delete("pictures", "b/c")
        await self.store.tidied
        await self.quiet()
        self.assertEqual(await self.stored_ids(), sorted(info.id for info in await self.everything("pictures")))
        self.assertEqual(await self.get("a", bucket="pictures"), b"new")
        self.assertEqual(await self.get("d", bucket="pictures"), b"d")

    async def test_renamed_keys(self) -> None:
        """
        They are served and reported, also in another bucket, or as a copy; they can be replaced and removed, and what is
        still there under its own name stays.
        """
        await self.three()
        await self.store.create_bucket("other")
        objects, other = f"{self.bucket()}/objects", f"{self.bucket('other')}/objects"
        await self.restarted(
            lambda: os.rename(f"{objects}/a", f"{objects}/z"),
            lambda: os.rename(f"{objects}/b%2Fc", f"{other}/y"),
            lambda: shutil.copytree(f"{objects}/d", f"{other}/e", symlinks=True),
            self.remove_index,
        )
        for bucket, key, data in (("bucket", "z", b"a"), ("other", "y", b"b/c"), ("other", "e", b"d")):
            self.assertEqual(await self.get(key, bucket=bucket), data)
        for repair in (False, True):
            told = {(each.kind, each.bucket, each.key) for each in await self.check(repair)}
            self.assertEqual(told, {("renamed", "bucket", "z"), ("renamed", "other", "y"), ("renamed", "other", "e")})
        await self.put("z", b"new")
        await self.store.delete("other", "y")
        await self.store.delete("other", "e")
        await self.store.tidied
        await self.quiet()
        self.assertEqual((await self.get("z"), await self.get("d")), (b"new", b"d"))
        self.assertEqual(await self.stored_ids(), sorted(info.id for info in await self.everything("bucket")))
        self.assertEqual(await self.check(), [])

    async def test_copied_bucket(self) -> None:
        """What is removed in the copy stays in the first."""
        await self.three()
        await self.restarted(lambda: shutil.copytree(self.bucket(), self.bucket("pictures"), symlinks=True))
        self.assertEqual(await self.get("a", bucket="pictures"), b"a")
        await self.store.delete("pictures", "a")
        await self.put("b/c", b"new", "pictures")
        await self.store.tidied
        self.assertEqual((await self.get("a"), await self.get("b/c"), await self.get("d")), (b"a", b"b/c", b"d"))

    async def test_first_of_copies_goes(self) -> None:
        """What is removed or replaced in the first stays in the copy, of a bucket or a key, with and without the index."""
        await self.store.create_bucket("other")
        objects, other = f"{self.bucket()}/objects", f"{self.bucket('other')}/objects"
        copies = {
            "copy": lambda: shutil.copytree(self.bucket(), self.bucket("copy"), symlinks=True),
            "key": lambda: shutil.copytree(f"{objects}/a", f"{objects}/z", symlinks=True),
            "key in another bucket": lambda: shutil.copytree(f"{objects}/a", f"{other}/a", symlinks=True),
        }
        places = {"copy": ("copy", "a"), "key": ("bucket", "z"), "key in another bucket": ("other", "a")}
        for what, copy in copies.items():
            for changes in ([copy], [copy, self.remove_index]):
                for replaced in (False, True):
                    await self.put("a", b"a")
                    await self.store.tidied
                    await self.restarted(*changes)
                    self.assertTrue(self.names.shared, what)
                    if replaced:
                        await self.put("a", b"new")
                    else:
                        await self.store.delete("bucket", "a")
                    await self.store.tidied
                    await self.quiet()
                    bucket, key = places[what]
                    self.assertEqual(await self.get(key, bucket=bucket), b"a", what)
                    # Once nothing names the bytes they go.
                    await self.store.delete(bucket, key)
                    if replaced:
                        await self.store.delete("bucket", "a")
                    await self.store.tidied
                    await self.quiet()
                    self.assertEqual(await self.stored_ids(), [], what)
                    if bucket == "copy":
                        await self.store.delete_bucket("copy")
                    # A new index finds that there are no copies any more.
                    await self.store.reindex()
                    self.assertFalse(self.names.shared)

    async def test_copies_after_a_crash(self) -> None:
        """A copy that was made after a crash, beside an index that stays, is found by the first removal."""
        objects = f"{self.bucket()}/objects"
        await self.put("a", b"a")
        await self.put("b", b"b")
        copy = lambda: shutil.copytree(f"{objects}/a", f"{objects}/z", symlinks=True)  # noqa: E731
        await self.restarted(copy, killed=True)
        await self.store.delete("bucket", "b")
        await self.store.tidied
        await self.looked_for_copies()
        self.assertEqual(await self.store.list_keys("bucket"), ["a", "z"])
        await self.store.delete("bucket", "a")
        await self.store.tidied
        await self.quiet()
        self.assertEqual(await self.get("z"), b"a")
        await self.store.delete("bucket", "z")
        await self.restarted(killed=True)
        await self.store.reindex()
        await self.put("c", b"c")
        await self.restarted(killed=True)
        await self.store.delete("bucket", "c")
        await self.store.tidied
        await self.looked_for_copies()
        self.assertFalse(self.names.shared)
        self.assertEqual(await self.stored_ids(), [])

    async def looked_for_copies(self) -> None:
        """The first removal after a crash has them looked for, beside what it does itself."""
        while self.names.upkeep.index.unsure:
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]

    async def test_copies_that_are_found_later(self) -> None:
        """A copy that is made beside a running store is known once somebody has asked for it, or a check has seen it."""
        objects = f"{self.bucket()}/objects"
        for look in (lambda: self.get("z"), self.check):
            await self.put("a", b"a")
            self.assertFalse(self.names.shared)
            shutil.copytree(f"{objects}/a", f"{objects}/z", symlinks=True)
            await look()
            await self.store.delete("bucket", "a")
            await self.store.tidied
            self.assertEqual(await self.get("z"), b"a")
            await self.store.delete("bucket", "z")
            await self.store.reindex()

    async def test_foreign_descriptions(self) -> None:
        """Another program's C{data.json}, which says only the key, or nothing, or of another bucket."""
        for key in ("b/c", "", "nowhere/b/c", "No_Bucket/x", "bucket/other"):
            info = await self.put("b/c", b"bytes")
            await self.store.tidied
            await self.quiet()
            before = await self.stored_ids()
            path = f"{self.data(info.id)}/data.json"
            with open(path, encoding="utf-8") as file:
                fields = json.load(file)
            with open(path, "w", encoding="utf-8") as file:
                json.dump({"etag": fields["etag"], "key": key, "parts": fields["parts"], "size": fields["size"]}, file)
            resealed(f"{self.bucket()}/objects/b%2Fc/{info.id}.json", lambda fields: fields.pop("tag"))
            await self.restarted(self.remove_index, killed=True)
            problems = await self.check(True)
            kinds = set() if key in ("b/c", "") else {("renamed", "b/c", info.id)}
            self.assertEqual({(each.kind, each.key, each.id) for each in problems}, kinds)
            self.assertEqual(await self.stored_ids(), before)
            self.assertEqual(await self.get("b/c"), b"bytes")
        await self.store.delete("bucket", "b/c")
        await self.store.tidied
        await self.quiet()
        self.assertEqual(await self.stored_ids(), [])

    async def test_unreadable_leftovers(self) -> None:
        """What a start cannot read, and does not know to be nobody's, stays."""
        await self.put("key", b"first")
        await self.put("other", b"x")
        kept = f"{self.directory}/kept-data"
        shutil.copytree(f"{self.directory}/data", kept)
        first = (await self.store.head("bucket", "key")).id
        await self.put("key", b"second")
        await self.quiet()
        shutil.copytree(f"{kept}/data/{first[:2]}/{first}", self.data(first))
        os.truncate(f"{self.data(first)}/data.json", 10)
        await self.restarted(killed=True)
        self.assertIn(first, await self.stored_ids())
        await self.check(True)
        self.assertIn(first, await self.stored_ids())

    async def test_damaged_objects_go(self) -> None:
        """When a user removes or replaces one, nobody needs its bytes."""
        infos = [await self.put(key, b"x") for key in ("a", "b")]
        for info in infos:
            os.truncate(f"{self.data(info.id)}/data.json", 10)
        await self.store.delete("bucket", "a")
        await self.put("b", b"y")
        await self.store.tidied
        await self.quiet()
        self.assertEqual(await self.stored_ids(), [info.id for info in await self.everything()])


class SealedRemovingTests(RemovingTestsMixin, SealedStoreTestCase):
    """Encrypted, names too."""
