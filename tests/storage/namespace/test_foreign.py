"""What other programs write in the seed's format, and what copying programs make of a tree, is taken or told."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import DamagedEntry, NoSuchKey
from storehouse.storage.namespace.index import Change
from storehouse.storage.namespace.interfaces import Bucket, Entry
from storehouse.storage.namespace.values import decode_bucket, decode_entry, encode_bucket
from tests.conformance.namespace import entry
from tests.storage.namespace.rig import Driven, now

#: What a Go program writes of a key that it knows little of.
SEED = {
    "default": True,
    "size": 17,
    "createdAt": "2024-01-02T03:04:05Z",
    "contentType": "text/x",
    "metadata": {"a": ["b"]},
}
ENTRY = Entry("00ff", 17, "", 1704164645 * 10**9, "text/x", {"a": ["b"]})
_YEAR_1 = -62135596800 * 10**9


def text(**changed: Any) -> bytes:
    fields = {**SEED, **changed}
    return json.dumps({name: value for name, value in fields.items() if value != "left out"}).encode()


class EntryTests(SynchronousTestCase):
    """C{<ID>.json}, as any program of the seed's format may write it."""

    def test_taken(self) -> None:
        for data, changed in (
            (text(), {}),
            (text(default=False), {}),
            (text(default="left out"), {}),
            (text(createdAt="0001-01-01T00:00:00Z"), {"created": _YEAR_1}),
            (text(createdAt="0001-01-01T00:00:00+02:00"), {"created": _YEAR_1}),
            (text(createdAt="1969-12-31T23:59:59Z"), {"created": -(10**9)}),
            (text(createdAt="2024-01-02T04:04:05.5+01:00"), {"created": ENTRY.created + 500_000_000}),
            (text(createdAt="2024-01-02T03:04:05"), {}),
            (text(createdAt=None), {"created": 0}),
            (text(createdAt=""), {"created": 0}),
            (text(createdAt="left out"), {"created": 0}),
            (text(metadata=None), {"metadata": {}}),
            (text(metadata="left out"), {"metadata": {}}),
            (text(metadata={}), {"metadata": {}}),
            (text(metadata={"a": "b"}), {}),
            (text(metadata={"a": None}), {"metadata": {"a": []}}),
            (text(metadata={"a": []}), {"metadata": {"a": []}}),
            (text(metadata={"a": 5, "b": True, "c": [1.5]}), {"metadata": {"a": ["5"], "b": ["true"], "c": ["1.5"]}}),
            (text(contentType=None), {"content_type": ""}),
            (text(contentType="left out"), {"content_type": ""}),
            (text(size=0), {"size": 0}),
            (text(size=17.0), {}),
            (text(size=1 << 53), {"size": 1 << 53}),
            (text(somethingElse=[1, {}]), {}),
            (json.dumps(SEED, indent=4).encode() + b"\r\n", {}),
            (b"\xef\xbb\xbf" + text(), {}),
        ):
            expected = Entry(**{**{name: getattr(ENTRY, name) for name in Entry.__slots__[:6]}, **changed})
            self.assertEqual(decode_entry(data, "00ff"), expected, data)

    def test_refused(self) -> None:
        """Nothing but a C{ValueError}, and quickly."""
        for data in (
            b"",
            b"\0" * 300,
            b"null",
            b"[]",
            b'{"size":',
            b"[" * 200_000,
            b'{"a":' * 50_000,
            b"\xff" + text(),
            text(size=-1),
            text(size=None),
            text(size="17"),
            text(size=True),
            text(size=1 << 64),
            text(size=1.5),
            b'{"size":1e999}',
            b'{"size":NaN}',
            b'{"size":' + b"9" * 5000 + b"}",
            text(createdAt=1704164645),
            text(createdAt="yesterday"),
            text(createdAt="2024-13-01T00:00:00Z"),
            text(contentType=5),
            text(contentType="\ud800"),
            text(metadata=[]),
            text(metadata={"a": {}}),
            text(metadata={"a": [["b"]]}),
            text(metadata={"a": "\ud800"}),
            text(metadata={"a": "x" * 70_000}),
            text(checksum="00000000"),
            text(key="key"),
        ):
            self.assertRaises(ValueError, decode_entry, data, "00ff")

    def test_bucket(self) -> None:
        for data, expected in (
            (b"{}", Bucket("box", 7)),
            (b'{"name":"box","metadata":null}', Bucket("box", 7)),
            (b'{"createdAt":"1970-01-01T00:00:01Z","metadata":{"a":"b"}}', Bucket("box", 10**9, {"a": ["b"]})),
            (b'{"createdAt":"0001-01-01T00:00:00Z"}', Bucket("box", _YEAR_1)),
        ):
            self.assertEqual(decode_bucket(data, "box", 7), expected)
        for data in (b"", b"[]", b'{"name":"other"}', b'{"createdAt":5}', b'{"metadata":{"a":"\\ud800"}}'):
            self.assertRaises(ValueError, decode_bucket, data, "box", 7)

    def test_every_bit_of_a_bucket(self) -> None:
        """Ours is never taken for another program's."""
        data = encode_bucket(Bucket("box", 5, {"public": ["read"]}, "ann"))
        for bit in range(len(data) * 8):
            wrong = bytearray(data)
            wrong[bit // 8] ^= 1 << bit % 8
            self.assertRaises(ValueError, decode_bucket, bytes(wrong), "box", 7)

    def test_bytes_of_a_bucket(self) -> None:
        """The owner is there if there is one, and older files are without."""
        text = b'{"name":"box","createdAt":"1970-01-01T00:00:00.000000005Z","metadata":{},'
        for bucket, owner in ((Bucket("box", 5, {}, "ann"), b'"owner":"ann",'), (Bucket("box", 5), b"")):
            data = encode_bucket(bucket)
            self.assertTrue(data.startswith(text + owner + b'"checksum":"'), data)
            self.assertEqual(decode_bucket(data, "box"), bucket)
        self.assertRaises(ValueError, decode_bucket, encode_bucket(Bucket("box", 5, {}, 7)), "box")  # type: ignore[arg-type]


class ForeignCase(SynchronousTestCase):
    """A namespace with the keys C{a} and C{b}."""

    def setUp(self) -> None:
        self.driven = Driven(os.path.join(self.mktemp(), "namespace")).start().create()
        self.addCleanup(self.flushLoggedErrors)
        self.addCleanup(lambda: self.driven.stop())
        self.driven.publish("a", entry(1))
        self.driven.publish("b", entry(2))

    def copied(self, change: Callable[[str], None]) -> None:
        """Stopped, copied without the index, changed, and started."""
        self.driven.stop()
        target = os.path.join(self.mktemp(), "namespace")
        shutil.copytree(self.driven.directory, target, symlinks=True, ignore=lambda *_: {"index", "tmp"})
        self.driven = Driven(target)
        change(os.path.join(target, "buckets", "bucket", "objects"))
        self.driven.start()

    def file(self, path: str, data: bytes) -> None:
        with open(path, "wb") as file:
            file.write(data)


class TreeTests(ForeignCase):
    """A tree that another program wrote, or copied."""

    def test_one_that_cannot_be_read(self) -> None:
        """Whatever is wrong with one entry, all else goes on; it is listed as damaged."""
        for data in (b"", b"[" * 200_000, text(createdAt="soon"), text(size=1 << 70), text(contentType="\ud800")):

            def change(objects: str, data: bytes = data) -> None:
                os.mkdir(f"{objects}/c")
                self.file(f"{objects}/c/00ff.json", data)
                os.symlink("00ff.json", f"{objects}/c/default.json")

            self.copied(change)
            page = self.driven.list()
            self.assertEqual(([key for key, _ in page.entries], page.damaged), (["a", "b"], ["c"]))
            self.assertRaises(DamagedEntry, self.driven.look_up, "c")
            self.assertEqual([each.kind for each in self.driven.check()], ["damaged"])
            self.assertEqual((self.driven.namespace.damaged, now(self.driven.namespace.usage("bucket")).keys), (1, 3))
            self.driven.unpublish("c")

    def test_queues(self) -> None:
        """Nothing waits for a queue, in whatever place."""

        def change(objects: str) -> None:
            os.mkdir(f"{objects}/c")
            os.mkfifo(f"{objects}/c/00ff.json")
            os.symlink("00ff.json", f"{objects}/c/default.json")
            os.mkdir(f"{objects}/d")
            os.mkfifo(f"{objects}/d/default.json")
            os.mkfifo(f"{objects}/e")
            os.unlink(f"{objects}/../bucket.json")
            os.mkfifo(f"{objects}/../bucket.json")

        self.copied(change)
        self.assertEqual((self.driven.keys(), self.driven.list().damaged), (["a", "b"], ["c", "d"]))
        self.assertEqual({each.kind for each in self.driven.check()}, {"damaged", "dangling", "unknown"})

    def test_a_huge_file(self) -> None:
        """Nobody takes memory for it."""

        def change(objects: str) -> None:
            os.truncate(f"{objects}/b/{entry(2).id}.json", 1 << 40)

        self.copied(change)
        self.assertEqual((self.driven.keys(), self.driven.list().damaged), (["a"], ["b"]))

    def test_plain_default(self) -> None:
        """C{default.json} may be a file: with the name that a link would lead to, or a copy of the version."""
        id = entry(1).id

        def older(objects: str) -> None:
            os.unlink(f"{objects}/a/default.json")
            self.file(f"{objects}/a/00ff.json", text())

        def copy(objects: str) -> None:
            older(objects)
            shutil.copy(f"{objects}/a/{id}.json", f"{objects}/a/default.json")

        def link(objects: str) -> None:
            older(objects)
            os.link(f"{objects}/a/{id}.json", f"{objects}/a/default.json")

        def name(objects: str, what: str) -> None:
            older(objects)
            self.file(f"{objects}/a/default.json", what.encode())

        for change in (
            copy,
            link,
            lambda objects: name(objects, f"{id}.json"),
            lambda objects: name(objects, f"{id}.json\n"),
            lambda objects: name(objects, id),
        ):
            self.copied(change)
            self.assertEqual(self.driven.look_up("a"), entry(1))
            self.assertEqual(self.driven.check(), [])
            self.assertEqual(self.driven.versions("a"), [entry(1), ENTRY])
            self.driven.publish("a", entry(5))
            self.assertTrue(os.path.islink(self.driven.object("a", "default.json")))
            self.driven.unpublish("a", id=entry(5).id)
            self.driven.publish("a", entry(1))
            self.driven.namespace.settle(["00ff", entry(5).id])

    def test_plain_default_of_alike_versions(self) -> None:
        """Two versions may be alike; which one is the default is not guessed."""

        def change(objects: str) -> None:
            os.mkdir(f"{objects}/c")
            for name in ("00ff.json", "00fe.json", "default.json"):
                self.file(f"{objects}/c/{name}", text())

        self.copied(change)
        self.assertEqual(self.driven.list().damaged, ["c"])
        path = self.driven.object("c", "default.json")
        os.unlink(path)
        os.link(self.driven.object("c", "00fe.json"), path)
        self.assertEqual(self.driven.look_up("c").id, "00fe")

    def test_no_bucket_file(self) -> None:
        """A bucket without bucket.json is one, and no problem, unless something was known of it."""
        path = self.driven.path("buckets", "bucket", "bucket.json")
        self.copied(lambda objects: os.unlink(f"{objects}/../bucket.json"))
        self.assertEqual((self.driven.check(), self.driven.keys()), ([], ["a", "b"]))
        self.assertEqual(now(self.driven.namespace.get_bucket("bucket")).metadata, {})
        now(self.driven.namespace.set_bucket_metadata("bucket", {"public": ["read"]}))
        path = self.driven.path("buckets", "bucket", "bucket.json")
        os.unlink(path)
        (problem,) = self.driven.check()
        self.assertEqual(problem.kind, "damaged")
        self.assertIn(path, problem.text)

    def test_damaged_bucket_file(self) -> None:
        """A bucket whose description cannot be read still works; that is reported until it is described anew."""

        def change(objects: str) -> None:
            os.truncate(f"{objects}/../bucket.json", 20)

        self.copied(change)
        self.assertEqual((self.driven.keys(), self.driven.namespace.damaged), (["a", "b"], 1))
        now(self.driven.namespace.set_bucket_metadata("bucket", {"public": ["read"]}))
        self.assertEqual((self.driven.namespace.damaged, self.driven.check()), (0, []))

    def test_foreign_bucket_file(self) -> None:
        def change(objects: str) -> None:
            self.file(f"{objects}/../bucket.json", b'{"name": "bucket", "metadata": {"owner": "me"}}')

        self.copied(change)
        self.assertEqual(now(self.driven.namespace.get_bucket("bucket")).metadata, {"owner": ["me"]})
        self.assertEqual(self.driven.check(), [])


class CopiedTests(ForeignCase):
    """A root that was copied by a program that does not know all that is in it."""

    def without_links(self, objects: str) -> None:
        for base, _, files in os.walk(objects):
            for name in files:
                if os.path.islink(f"{base}/{name}"):
                    os.unlink(f"{base}/{name}")

    def test_without_links(self) -> None:
        """Every key is reported as damaged; those with one version are made whole by a repair."""
        self.driven.publish("c", entry(3))
        self.driven.publish("c", entry(4), keep=True)
        self.copied(self.without_links)
        page = self.driven.list()
        self.assertEqual((page.entries, page.damaged), ([], ["a", "b", "c"]))
        self.assertEqual(self.driven.namespace.damaged, 3)
        found = self.driven.check()
        self.assertEqual([(each.kind, each.repairable) for each in found], [("dangling", n != 2) for n in range(3)])
        self.assertEqual(now(self.driven.namespace.reindex()), 3)
        self.assertEqual(len(now(self.driven.namespace.check(repair=True))), 3)
        self.assertEqual(dict(self.driven.list().entries), {"a": entry(1), "b": entry(2)})
        self.assertEqual((self.driven.list().damaged, len(self.driven.check())), (["c"], 1))
        self.driven.publish("c", entry(5))
        self.assertEqual(self.driven.check(), [])

    def test_links_as_files(self) -> None:
        def change(objects: str) -> None:
            for key in "ab":
                path = f"{objects}/{key}/default.json"
                shutil.copy(path, f"{path}.new", follow_symlinks=True)
                os.replace(f"{path}.new", path)

        self.copied(change)
        self.assertEqual(dict(self.driven.list().entries), {"a": entry(1), "b": entry(2)})
        self.assertEqual(self.driven.check(), [])

    def test_changed_case(self) -> None:
        """Names of another case are not ours: they are reported, and left alone."""
        self.driven.publish("x/y", entry(3))

        def change(objects: str) -> None:
            os.rename(f"{objects}/x%2Fy", f"{objects}/x%2fy")
            os.rename(f"{objects}/a/{entry(1).id}.json", f"{objects}/a/{entry(1).id}.JSON")

        self.copied(change)
        self.assertEqual(self.driven.list().damaged, ["a"])
        self.assertEqual((self.driven.namespace.damaged, self.driven.namespace.unknown), (1, 1))
        self.assertEqual(sorted({each.kind for each in self.driven.check()}), ["dangling", "unknown"])
        self.driven.stop()
        self.driven.start()
        self.assertEqual(self.driven.namespace.unknown, 1)
        os.rename(self.driven.object("x%2fy"), self.driven.object("x%2Fy"))
        now(self.driven.namespace.reindex())
        self.assertEqual((self.driven.namespace.unknown, self.driven.look_up("x/y")), (0, entry(3)))

    def test_upper_case_bucket(self) -> None:
        def change(objects: str) -> None:
            bucket = os.path.dirname(objects)
            os.rename(bucket, os.path.join(os.path.dirname(bucket), "BUCKET"))

        self.copied(change)
        self.assertEqual((now(self.driven.namespace.list_buckets()), self.driven.namespace.unknown), ([], 1))
        now(self.driven.namespace.reindex())
        self.assertEqual(now(self.driven.namespace.list_buckets()), [])

    def test_empty_directories(self) -> None:
        """Only directories were copied."""

        def change(objects: str) -> None:
            for base, _, files in os.walk(objects):
                for name in files:
                    os.unlink(f"{base}/{name}")

        self.copied(change)
        self.assertEqual((self.driven.keys(), {each.kind for each in self.driven.check()}), ([], {"unknown"}))
        self.assertRaises(NoSuchKey, self.driven.look_up, "a")
        self.driven.publish("a", entry(7))
        now(self.driven.namespace.reindex())
        self.assertEqual(self.driven.keys(), ["a"])

    def test_lost_objects(self) -> None:
        """A bucket without C{objects}, which some programs do not copy when it is empty."""
        self.copied(shutil.rmtree)
        self.assertEqual((self.driven.keys(), [each.kind for each in self.driven.check()]), ([], ["damaged"]))
        self.driven.publish("a", entry(7))
        self.assertEqual((self.driven.keys(), self.driven.check()), (["a"], []))


class KilledTests(ForeignCase):
    """One bit of a key's file, on a root that a kill left."""

    def test_flipped(self) -> None:
        """Keys that are not listed as they were are reported, in the listing and in the count."""
        for key in ("a", "b"):
            for published in (False, True):
                if published:
                    self.driven.publish(key, entry(8 if key == "a" else 9))
                id = self.driven.look_up(key).id
                self.driven = self.driven.killed(os.path.join(self.mktemp(), "namespace"))
                path = self.driven.object(key, f"{id}.json")
                with open(path, "r+b") as file:
                    file.seek(30)
                    byte = file.read(1)
                    file.seek(30)
                    file.write(bytes([byte[0] ^ 1]))
                self.driven.start()
                page = self.driven.list()
                self.assertIn(key, [name for name, _ in page.entries] + list(page.damaged))
                self.assertEqual(self.driven.namespace.damaged, len(page.damaged))
                self.assertEqual(now(self.driven.namespace.usage("bucket")).keys, 2)
                with open(path, "r+b") as file:
                    file.seek(30)
                    file.write(byte)

    def test_behind(self) -> None:
        """What the index says is not served if the file that is damaged says something newer."""
        index = self.driven.namespace.upkeep.index
        row = index.row(1, b"a")
        self.driven.publish("a", entry(8))
        index.apply([Change(1, b"a", row)])
        self.driven = self.driven.killed(os.path.join(self.mktemp(), "namespace"))
        os.truncate(self.driven.object("a", f"{entry(8).id}.json"), 40)
        self.driven.start()
        self.assertRaises(DamagedEntry, self.driven.look_up, "a")
        self.assertEqual(self.driven.list().damaged, ["a"])
