"""What a check finds, how it names it, and what a repair does about it."""

from __future__ import annotations

import json
import os
import sqlite3
from typing import Any

from twisted.internet.defer import Deferred

from storehouse.core.streams import BytesStream
from storehouse.errors import DamagedEntry
from storehouse.storage.namespace.interfaces import Entry
from storehouse.storage.objects.interfaces import ObjectInfo, Problem
from tests.conformance.dataspace import Tap, content, turns
from tests.conformance.objectstore import StoreTestsMixin
from tests.storage.namespace.rig import flip
from tests.storage.objects.rig import LocalStoreTestCase, MemoryStoreTestCase


class CheckTestsMixin(StoreTestsMixin):
    """On any store."""

    async def tearDown(self) -> None:
        """What was damaged stays so."""

    async def check(self, repair: bool = False) -> list[Problem]:
        problems: list[Problem] = await self.store.check(None, repair)
        return problems

    async def kinds(self, repair: bool = False) -> set[str]:
        return {problem.kind for problem in await self.check(repair)}

    async def bytes_of(self, id: str, data: bytes, metadata: dict[str, list[str]]) -> None:
        """Bytes that no key has."""
        await self.space.put(id, BytesStream(data), len(data), metadata)

    async def test_orphans(self) -> None:
        """They are found, and a repair removes them, and nothing else."""
        info = await self.put("key", b"x")
        for id, name in (("aa01", "bucket/key"), ("bb02", "bucket/nothing"), ("cc03", "nowhere/a/b")):
            await self.bytes_of(id, b"orphan", {"key": [name]})
        expected = [("aa01", "bucket", "key"), ("bb02", "bucket", "nothing"), ("cc03", "nowhere", "a/b")]
        for repair in (False, True):
            problems = await self.check(repair)
            self.assertEqual([(each.id, each.bucket, each.key) for each in problems], expected)
            self.assertEqual({each.kind for each in problems}, {"orphan"})
            for each in problems:
                self.assertIn(each.id or "", each.text)
                self.assertTrue(each.repair)
        self.assertEqual(await self.check(), [])
        self.assertEqual(await self.stored_ids(), [info.id])
        self.assertEqual(self.store._pair.metrics.orphans, 3)

    async def test_unknown_bytes(self) -> None:
        """Files without our mark are reported, and never removed."""
        foreign: dict[str, dict[str, list[str]]] = {
            "aa01": {},
            "bb02": {"key": []},
            "cc03": {"key": ["no slash"]},
            "dd04": {"key": ["No_Bucket/key"]},
            "ee05": {"key": ["bucket/"]},
        }
        for id, metadata in foreign.items():
            await self.bytes_of(id, b"x", metadata)
        for _ in range(2):
            problems = await self.check(True)
            self.assertEqual(
                [(each.kind, each.id, each.repair) for each in problems], [("unknown", id, "") for id in foreign]
            )
        self.assertEqual(await self.stored_ids(), list(foreign))

    async def test_lost_bytes(self) -> None:
        """A key whose bytes are gone is named; nothing is done about it."""
        lost = await self.put("löst", b"x")
        await self.put("key", b"x")
        await self.space.delete(lost.id)
        for _ in range(2):
            (problem,) = await self.check(True)
            self.assertEqual(
                (problem.kind, problem.bucket, problem.key, problem.id, problem.repair),
                ("missing", "bucket", "löst", lost.id, ""),
            )
            self.assertIn("löst", problem.text)
        self.assertEqual(await self.store.head("bucket", "löst"), lost)

    async def test_wrong_size(self) -> None:
        info = await self.put("key", b"12345")
        await self.space.delete(info.id)
        await self.bytes_of(info.id, b"1234567", {"key": ["bucket/key"]})
        (problem,) = await self.check(True)
        self.assertEqual((problem.kind, problem.bucket, problem.key, problem.id), ("damaged", "bucket", "key", info.id))
        self.assertRegex(problem.text, r"\b7\b.*\b5\b")
        self.assertEqual(await self.stored_ids(), [info.id])

    async def compared(self, more: bool = True) -> list[tuple[str, str, str | None, str | None]]:
        found: list[Problem] = []
        self.paced: list[int] = []

        async def pace(cost: int) -> bool:
            self.paced.append(cost)
            return more

        await self.store.compare(found.append, pace)
        return [(each.kind, each.bucket, each.key, each.id) for each in found]

    async def test_compared_by_a_scrub(self) -> None:
        """Objects of another size or tag than their keys say, and those that are not there, are found; nothing is changed."""
        await self.put("fine", b"12345")
        longer = await self.put("longer", b"12345")
        other = await self.put("other", b"12345")
        lost = await self.put("lost", b"12345")
        self.assertEqual(await self.compared(), [])
        await self.space.delete(longer.id)
        await self.bytes_of(longer.id, b"1234567", {"key": ["bucket/longer"]})
        await self.space.delete(other.id)
        await self.bytes_of(other.id, b"54321", {"key": ["bucket/other"]})
        await self.space.delete(lost.id)
        expected = [
            ("damaged", "bucket", "longer", longer.id),
            ("missing", "bucket", "lost", lost.id),
            ("damaged", "bucket", "other", other.id),
        ]
        for _ in range(2):
            self.assertEqual(await self.compared(), expected)
        self.assertEqual(await self.store.head("bucket", "other"), other)
        self.assertEqual(await self.get("fine"), b"12345")

    async def test_compared_as_fast_as_asked(self) -> None:
        """The pace gets the work done so far, and can end it."""
        await self.store.create_bucket("another")
        await self.put("key", b"x")
        await self.compared()
        self.assertEqual(len(self.paced), 2)
        self.assertGreater(sum(self.paced), 0)
        await self.compared(more=False)
        self.assertEqual(self.paced, [0])

    async def test_replaced_while_compared(self) -> None:
        """What is replaced meanwhile is no damage."""
        info = await self.put("key", b"12345")
        examine = self.space.examine

        def late(id: str, expected: Any = None) -> Any:
            async def work() -> Any:
                if id == info.id:
                    await self.put("key", b"new")
                return await examine(id, expected)

            return Deferred.fromCoroutine(work())

        self.patch(self.space, "examine", late)
        self.assertEqual(await self.compared(), [])

    async def test_older_versions(self) -> None:
        """They have their bytes, and these are no orphans; and they may lose them."""
        first = await self.put("key", b"x")
        await self.bytes_of("ab01", b"new", {"key": ["bucket/key"]})
        await self.names.publish("bucket", "key", Entry("ab01", 3, "", first.created + 1), keep=True)
        self.assertEqual(await self.check(True), [])
        self.assertEqual(await self.stored_ids(), sorted([first.id, "ab01"]))
        await self.space.delete(first.id)
        (problem,) = await self.check(True)
        self.assertEqual((problem.kind, problem.id), ("missing", first.id))

    async def test_mid_air(self) -> None:
        """Bytes that are on their way have no key, and are no orphans, wherever they wait."""
        await self.put("from", b"x")
        held = self.store._pair.held("bucket", "key")
        await held.__aenter__()
        tap = Tap()
        waiting = [
            self.store.put("bucket", "key", BytesStream(b"y"), 1),
            self.store.copy("bucket", "key", "bucket", "from"),
            self.store.put("bucket", "tap", tap, None),
        ]
        await tap.write(content(300_000))
        while len(await self.stored_ids()) < 3:
            await turns()
        checked = Deferred.fromCoroutine(self.check(True))
        while not checked.called and len(self.store._pair.locks._queues["bucket/key"]) < 3:
            await turns()
        await held.__aexit__()
        self.assertEqual(await checked, [])
        tap.end()
        for each in waiting:
            await each
        self.assertEqual(await self.get("tap"), content(300_000))
        self.assertIn(await self.get("key"), (b"x", b"y"))
        await self.quiet()

    async def test_stored_and_not_yet_told(self) -> None:
        """Bytes that are in place before who stores them hears of it are no orphans either."""
        await self.put("from", b"x")
        release: Deferred[None] = Deferred()

        def late(method: Any) -> Any:
            async def work(*args: Any, **options: Any) -> Any:
                result = await method(*args, **options)
                waiting: Deferred[None] = Deferred()
                release.addCallback(lambda _: waiting.callback(None))
                await waiting
                return result

            return lambda *args, **options: Deferred.fromCoroutine(work(*args, **options))

        for name in ("put", "copy"):
            self.patch(self.space, name, late(getattr(self.space, name)))
        going = [
            self.store.put("bucket", "key", BytesStream(b"y"), 1),
            self.store.copy("bucket", "copy", "bucket", "from"),
        ]
        while len(await self.stored_ids()) < 3:
            await turns()
        self.assertEqual(await self.check(True), [])
        release.callback(None)
        for each in going:
            await each
        self.assertEqual((await self.get("key"), await self.get("copy")), (b"y", b"x"))
        self.assertEqual(await self.check(), [])


class LocalCheckTests(CheckTestsMixin, LocalStoreTestCase):
    """With files that can be damaged."""

    def key_file(self, key: str, name: str) -> str:
        return f"{self.directory}/names/buckets/bucket/objects/{key}/{name}"

    def data_file(self, id: str, name: str) -> str:
        return f"{self.directory}/data/data/{id[:2]}/{id}/{name}"

    async def three(self) -> ObjectInfo:
        """Three keys; the one in the middle is to be damaged."""
        for key in ("a", "c"):
            await self.put(key, b"fine")
        info = await self.put("b", b"12345")
        # What they replaced goes meanwhile.
        await self.quiet()
        self.before = await self.stored_ids()
        return info

    async def untouched(self) -> None:
        """Other keys are as they were, and no bytes were removed."""
        for key in ("a", "c"):
            self.assertEqual(await self.get(key), b"fine")
        self.assertEqual(await self.stored_ids(), self.before)

    def named(self, problems: list[Problem], key: str | None, *texts: str) -> None:
        """Something is wrong with this key; the report says where."""
        self.assertTrue(problems)
        for each in problems:
            self.assertEqual((each.bucket, each.key), ("bucket", key), each)
        for text in texts:
            self.assertTrue(any(text in each.text for each in problems), (text, problems))

    async def test_exchanged_checksums(self) -> None:
        """Bytes that are right, with the checksum file of other bytes, cannot be read."""
        infos = [await self.put(key, key.encode()) for key in ("a", "b")]
        uploads = [(await self.upload(data, key="open"))[0] for data in (b"1", b"2")]
        paths = [f"{self.directory}/data/data/{info.id[:2]}/{info.id}" for info in infos]
        for one, other in (paths, [f"{self.directory}/data/uploads/{id[:2]}/{id}" for id in uploads]):
            os.rename(f"{one}/part.1.checksum", f"{one}/kept")
            os.rename(f"{other}/part.1.checksum", f"{one}/part.1.checksum")
            os.rename(f"{one}/kept", f"{other}/part.1.checksum")
        found = [(each.kind, each.key, each.id) for each in await self.check()]
        told = [("damaged", info.key, info.id) for info in infos] + [("damaged", None, id) for id in uploads]
        self.assertEqual(sorted(found, key=repr), sorted(told, key=repr))

    async def test_flipped_bits_in_the_tree(self) -> None:
        """Each bit of an entry."""
        info = await self.three()
        path = self.key_file("b", f"{info.id}.json")
        for byte in range(0, os.path.getsize(path), 7):
            flip(path, byte, byte % 8)
            self.named(await self.check(True), "b", path)
            await self.untouched()
            flip(path, byte, byte % 8)
        self.assertEqual(await self.check(), [])
        self.assertEqual(await self.get("b"), b"12345")

    async def test_missing_entry(self) -> None:
        """A key whose file is missing is reported, and keeps its bytes, since it is not known what they were."""
        info = await self.three()
        os.unlink(self.key_file("b", f"{info.id}.json"))
        self.named(await self.check(True), "b", self.key_file("b", ""))
        await self.untouched()

    async def test_missing_default(self) -> None:
        info = await self.three()
        os.unlink(self.key_file("b", "default.json"))
        self.named(await self.check(True), "b", self.key_file("b", "default.json"))
        await self.untouched()
        self.assertIn(info.id, self.before)

    async def test_default_that_leads_elsewhere(self) -> None:
        await self.three()
        os.unlink(self.key_file("b", "default.json"))
        os.symlink("00ff.json", self.key_file("b", "default.json"))
        self.named(await self.check(True), "b", self.key_file("b", "default.json"))
        await self.untouched()

    async def test_missing_key(self) -> None:
        """A directory that is gone leaves a row of the index and bytes; both are reported."""
        info = await self.three()
        os.unlink(self.key_file("b", "default.json"))
        os.unlink(self.key_file("b", f"{info.id}.json"))
        os.rmdir(self.key_file("b", ""))
        kinds = {(each.kind, each.key, each.id) for each in await self.check()}
        self.assertIn(("extra", "b", None), kinds)
        await self.untouched()

    async def test_foreign_files(self) -> None:
        """Foreign files are reported, and stay."""
        await self.three()
        for path in (
            self.key_file("b", "notes.txt"),
            f"{self.directory}/names/buckets/bucket/other",
            f"{self.directory}/names/other",
        ):
            with open(path, "w"):
                pass
            (problem,) = await self.check(True)
            self.assertEqual((problem.kind, problem.repair), ("unknown", ""))
            self.assertIn(path, problem.text)
            os.unlink(path)
        await self.untouched()

    async def test_damaged_data(self) -> None:
        """What describes an object's bytes is damaged."""
        info = await self.three()
        path = self.data_file(info.id, "data.json")
        flip(path, os.path.getsize(path) // 2)
        problems = await self.check(True)
        self.assertEqual({(each.kind, each.id, each.repair) for each in problems}, {("damaged", info.id, "")})
        self.named([each for each in problems if each.key], "b", info.id)
        await self.untouched()

    async def test_damaged_orphan(self) -> None:
        """Bytes that do not say of which key they are stay."""
        await self.bytes_of("ab01", b"x", {"key": ["bucket/key"]})
        path = self.data_file("ab01", "data.json")
        flip(path, os.path.getsize(path) // 2)
        (problem,) = await self.check(True)
        self.assertEqual((problem.kind, problem.id, problem.repair), ("damaged", "ab01", ""))
        self.assertEqual(await self.stored_ids(), ["ab01"])

    async def damage_index(self, sql: str, *args: Any) -> None:
        await self.stop()
        # Changed in the same tick of the clock as the stop, the bucket would be looked at by the start, and its rows made good.
        os.utime(f"{self.directory}/names/buckets/bucket/objects", (0, 0))
        connection = sqlite3.connect(f"{self.directory}/names/index/keys.db")
        connection.execute(sql, args)
        connection.commit()
        connection.close()
        self.make_space()
        self.make_names()
        self.store = self.join()
        await self.store.recovered

    async def test_wrong_index(self) -> None:
        """A row that is missing, or too many, or another: found, named, and made good by a repair."""
        for sql, kind, key in (
            ("DELETE FROM keys WHERE key = CAST('b' AS BLOB)", "missing", "b"),
            ("UPDATE keys SET key = CAST('z' AS BLOB) WHERE key = CAST('b' AS BLOB)", "extra", "z"),
            ("UPDATE keys SET size = size + 1 WHERE key = CAST('b' AS BLOB)", "different", "b"),
        ):
            await self.three()
            await self.damage_index(sql)
            problems = await self.check()
            self.assertIn((kind, "bucket", key), {(each.kind, each.bucket, each.key) for each in problems})
            for each in problems:
                self.assertNotEqual(each.kind, "orphan")
                self.assertTrue(each.repair)
            self.assertNotEqual(await self.check(True), [])
            self.assertEqual(await self.check(), [])
            self.assertEqual([info.key for info in await self.everything()], ["a", "b", "c"])
            await self.untouched()
            self.assertEqual(await self.get("b"), b"12345")
            await self.quiet()

    async def test_torn_index(self) -> None:
        """An index that SQLite cannot read does not keep a check from its work; a repair makes it anew."""
        for number in range(300):
            await self.put(f"k{number}", b"x" * 10, metadata={"a": ["b" * 100]})
        await self.three()
        await self.damage_index("VACUUM")
        path = f"{self.directory}/names/index/keys.db"
        with open(path, "r+b") as file:
            for page in range(2, os.path.getsize(path) // 4096):
                file.seek(page * 4096)
                file.write(b"\xff" * 60)
        problems = await self.check()
        self.assertIn("index", {each.kind for each in problems})
        self.assertTrue(any(path in each.text for each in problems))
        self.assertEqual({each.kind for each in problems} & {"orphan", "missing"}, set())
        self.assertEqual(await self.get("b"), b"12345")
        await self.check(True)
        self.assertEqual(await self.check(), [])
        await self.untouched()
        self.flushLoggedErrors()

    async def without_index(self) -> None:
        """Another start, after the index was lost."""
        await self.stop()
        for name in os.listdir(f"{self.directory}/names/index"):
            os.unlink(f"{self.directory}/names/index/{name}")
        self.make_space()
        self.make_names()
        self.store = self.join()
        await self.store.recovered

    async def test_damaged_keys_are_refused(self) -> None:
        """Not guessed, and their bytes are kept, after another start too. By the index they are served."""
        info = await self.three()
        flip(self.key_file("b", f"{info.id}.json"), 20)
        # Another thing that is wrong has the repair make the index anew.
        os.rename(self.key_file("c", ""), self.key_file("d", ""))
        await self.check(True)
        self.assertEqual((await self.get("b"), await self.get("d")), (b"12345", b"fine"))
        os.rename(self.key_file("d", ""), self.key_file("c", ""))
        await self.without_index()
        for _ in range(2):
            await self.refused(DamagedEntry, self.store.get("bucket", "b"))
            await self.untouched()
            self.assertEqual([each.key for each in await self.everything()], ["a", "c"])
            await self.reopen()

    async def test_index_is_made_anew(self) -> None:
        """One that is gone is there again after a start."""
        await self.three()
        before = await self.everything()
        await self.without_index()
        self.assertEqual(await self.everything(), before)
        self.assertEqual(await self.check(), [])
        with open(self.data_file(before[0].id, "data.json"), "rb") as file:
            self.assertEqual(json.load(file)["metadata"]["key"], ["bucket/a"])


class MemoryCheckTests(CheckTestsMixin, MemoryStoreTestCase):
    """In memory."""
