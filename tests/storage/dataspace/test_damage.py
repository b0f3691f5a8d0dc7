"""Damage of every kind, in every kind of file: it is reported with its place, and never served."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream, closing
from storehouse.errors import DamagedObject, StartFailed
from storehouse.storage.dataspace import directory as writing
from storehouse.storage.dataspace.formats import HASHES
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.dataspace.scrub import Finding, scrub
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings
from storehouse.testing.files import UnsyncedFiles
from tests.conformance.streams import begun
from tests.crash import rounds
from tests.soak import SOAK, long_loop

BLOCK = 512

_KINDS = {"object": "data", "upload": "uploads"}


def wait(deferred: Deferred[Any]) -> Any:
    """The result of a call."""
    outcome: list[Any] = []
    deferred.addBoth(outcome.append)
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    return outcome[0]


class Place:
    """
    One file, under all its names.

    @ivar path: one of them.
    @ivar owners: C{(kind, ID, part)} of what it belongs to: kind C{data} or C{uploads}, part C{None} for descriptions.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.owners: set[tuple[str, str, int | None]] = set()
        with open(path, "rb") as file:
            self.content = file.read()

    def write(self, content: bytes) -> None:
        with open(self.path, "r+b") as file:
            file.truncate(len(content))
            file.write(content)


class DamageTests(SynchronousTestCase):
    """
    A store with everything in it.

    @ivar truth: objects by ID: bytes and metadata.
    @ivar parts: parts of uploads, by upload ID.
    @ivar places: files, by kind.
    """

    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        self.truth: dict[str, tuple[bytes, dict[str, list[str]]]] = {}
        self.parts: dict[str, list[Part]] = {}
        random = Random(1)
        for number, hash in enumerate(HASHES):
            self.fill(self.open(hash), str(number), random)
        self.foreign(random)
        self.places = self.find_places()
        self.before = self.names()

    def open(self, hash: str = HASHES[0]) -> WormerDataSpace:
        space = WormerDataSpace(WormerSettings(self.root, hash, BLOCK), InlineDisk(), files=UnsyncedFiles())
        space.start()
        return space

    def fill(self, space: WormerDataSpace, digit: str, random: Random) -> None:
        def put(id: str, size: int, **metadata: list[str]) -> None:
            data = random.randbytes(size)
            # Of unknown size and with few lines held, there is padding behind the header.
            wait(space.put(id, BytesStream(data), None, metadata))
            self.truth[id] = data, metadata

        put(f"{digit}a01", 1300, key=["a name"], other=["one", "two"])
        put(f"{digit}a02", 0)
        put(f"{digit}b03", 512)
        held = writing._HELD_LINES
        writing._HELD_LINES = 1
        put(f"{digit}b04", 2000, key=["\u00fc\U0001f600"])
        writing._HELD_LINES = held
        wait(space.copy(f"{digit}c05", f"{digit}a01", metadata={}))
        self.truth[f"{digit}c05"] = self.truth[f"{digit}a01"][0], {}
        for id, upload_id, last in ((f"{digit}c06", f"{digit}d07", 3), ("", f"{digit}d08", 2)):
            wait(space.init_upload(upload_id, {"key": ["upload"]}))
            pieces = [random.randbytes(size) for size in (700, 0, 1024)[:last]]
            for number, data in enumerate(pieces, 1):
                wait(space.upload_part(upload_id, number * 2, BytesStream(data), len(data)))
            parts = wait(space.list_parts(upload_id))
            if id:
                wait(space.complete_upload(id, upload_id, parts))
                self.truth[id] = b"".join(pieces), {"key": ["upload"]}
            else:
                self.parts[upload_id] = parts
        wait(space.init_upload(f"{digit}e09", {}))
        self.parts[f"{digit}e09"] = []

    def foreign(self, random: Random) -> None:
        """An object as another program leaves it."""
        space = self.open()
        data = random.randbytes(1500)
        wait(space.put("ff00", BytesStream(data), len(data), {}))
        path = f"{self.root}/data/ff/ff00/data.json"
        with open(path, encoding="utf-8") as file:
            described = json.load(file)
        with open(path, "w", encoding="utf-8") as file:
            fields = {name: described[name] for name in ("etag", "parts", "size")}
            json.dump({"key": "a key", **fields, "etag": "0123456789abcdef"}, file, indent=1)
        self.truth["ff00"] = data, {"key": ["a key"]}

    def names(self) -> list[str]:
        return sorted(os.path.join(path, name) for path, _, names in os.walk(self.root) for name in names)

    def find_places(self) -> dict[str, list[Place]]:
        places: dict[str, list[Place]] = {}
        inodes: dict[int, Place] = {}
        for path in self.names():
            kind, _, rest = os.path.relpath(path, self.root).partition("/")
            if not rest:
                continue
            _, id, name = rest.split("/")
            fields = name.split(".")
            inode = os.stat(path).st_ino
            if inode not in inodes:
                inodes[inode] = Place(path)
                what = name if fields[0] != "part" else "checksum" if len(fields) == 3 else "part"
                places.setdefault("foreign" if id == "ff00" and name == "data.json" else what, []).append(inodes[inode])
            inodes[inode].owners.add((kind, id, int(fields[1]) if fields[0] == "part" else None))
        return places

    # -- looking -------------------------------------------------------------------------------

    def read(self, space: WormerDataSpace, id: str, offset: int, length: int | None) -> DamagedObject | None:
        """Read a range. @return: what is the matter with it. What is served must be true in any case."""
        truth = self.truth[id][0][offset:] if length is None else self.truth[id][0][offset : offset + length]
        pieces: list[bytes] = []

        async def read() -> None:
            async with closing(await space.get(id, offset, length)) as stream:
                while piece := await stream.read():
                    pieces.append(bytes(piece))

        try:
            wait(begun(read()))
        except DamagedObject as error:
            served = b"".join(pieces)
            self.assertEqual(served, truth[: len(served)])
            self.assertEqual(error.id, id)
            self.assertIn(id, str(error))
            if error.block is not None:
                # Up to the damage everything could be had.
                self.assertGreaterEqual(
                    len(served) + offset, self.start_of(space, id, error.part) + error.block * BLOCK
                )
            return error
        self.assertEqual(b"".join(pieces), truth)
        return None

    def start_of(self, space: WormerDataSpace, id: str, number: int | None) -> int:
        reader = wait(space.get(id, 0, 0))
        reader.close()
        with open(f"{self.root}/data/{id[:2]}/{id}/data.json", encoding="utf-8") as file:
            parts = json.load(file)["parts"]
        start = 0
        for part in parts:
            if part["number"] == number:
                break
            start += part["size"]
        return start

    def look(self, foreign: bool = False, seed: int = 0) -> dict[str, DamagedObject]:
        """
        Read everything.

        @param foreign: whether the metadata of the other program's object may be wrong.
        @return: by ID, what is damaged.
        """
        random = Random(seed)
        found = {}
        space = self.open()
        for id, (data, metadata) in self.truth.items():
            error = self.read(space, id, 0, None)
            if error is not None:
                found[id] = error
            offset = random.randint(0, len(data))
            ranged = self.read(space, id, offset, random.randint(0, len(data) - offset))
            if ranged is not None:
                self.assertIn(id, found)
            try:
                told = wait(space.get_metadata(id))
            except DamagedObject as error:
                self.assertEqual((error.id, error.part), (id, None))
                self.assertIn(id, found)
            else:
                if not (foreign and id == "ff00"):
                    self.assertEqual(told, metadata)
        for upload_id, parts in self.parts.items():
            try:
                self.assertEqual(wait(space.list_parts(upload_id)), parts)
            except DamagedObject as error:
                self.assertEqual((error.id, error.part), (upload_id, None))
                found[upload_id] = error
        wait(space.stop())
        self.assertEqual([name for name in self.names() if name not in self.before], [])
        return found

    def scrub(self) -> list[Finding]:
        """What a scrub finds."""
        findings: list[Finding] = []
        wait(Deferred.fromCoroutine(scrub(self.root, InlineDisk(), findings.append)))
        return findings

    def damage(self, kind: str, place: Place, content: bytes, seed: int = 0) -> dict[str, DamagedObject]:
        """
        Have another content in a file, look, and put it right again.

        @return: by ID, what is damaged, as readers see it.
        """
        place.write(content)
        try:
            found = self.look(kind == "foreign", seed)
            owners = {id for _, id, _ in place.owners}
            self.assertEqual(found.keys() - owners, set(), "what is intact is not readable")
            for id, error in found.items():
                numbers = {part for _, owner, part in place.owners if owner == id}
                # A foreign description may lead to parts that are not there.
                self.assertTrue(error.part in numbers or kind == "foreign", f"{error}, not {numbers}")
            findings = self.scrub()
            if kind != "foreign":
                self.assertEqual({(_KINDS[one.kind], one.id, one.part) for one in findings}, place.owners)
                for id, error in found.items():
                    blocks = {one.block for one in findings if one.id == id}
                    self.assertIn(error.block, blocks)
            elif found:
                self.assertEqual({one.id for one in findings}, owners)
        finally:
            place.write(place.content)
        self.assertEqual(self.names(), self.before)
        return found

    # -- damage --------------------------------------------------------------------------------

    def test_intact(self) -> None:
        """All of it is there, and of every kind."""
        self.assertEqual(self.look(), {})
        self.assertEqual(
            {kind: len(places) for kind, places in self.places.items()},
            {"data.json": 18, "foreign": 1, "part": 28, "checksum": 28, "parts.json": 6, "upload.json": 6},
        )
        self.assertEqual(self.scrub(), [])

    def flip(self, kind: str, random: Random) -> tuple[Place, int, bytes]:
        places = [place for place in self.places[kind] if place.content]
        place = random.choice(places)
        at = random.randrange(len(place.content))
        if kind == "checksum" and random.random() < 0.5:
            at = random.randrange(place.content.index(b"\n") + 1)
        content = bytearray(place.content)
        content[at] ^= 1 << random.randrange(8)
        return place, at, bytes(content)

    @long_loop
    def test_bits(self) -> None:
        """A bit is flipped, somewhere."""
        for seed in rounds(1):
            random = Random(seed)
            for number in range(360 if SOAK else 120):
                kind = sorted(self.places)[number % len(self.places)]
                place, at, content = self.flip(kind, random)
                try:
                    found = self.damage(kind, place, content, seed)
                    self.check_flip(kind, place, at, found)
                except Exception as error:
                    raise AssertionError(
                        f"seed {seed}, flip {number}: {place.path} at {at}, {place.content[at]:#x} to "
                        f"{content[at]:#x}: {error!r}"
                    ) from error

    def check_flip(self, kind: str, place: Place, at: int, found: dict[str, DamagedObject]) -> None:
        objects = {id for where, id, _ in place.owners if where == "data"}
        header = place.content.index(b"\n") + 1 if kind == "checksum" else 0
        if kind in ("data.json", "parts.json", "upload.json"):
            # These have checksums of their own.
            self.assertEqual(found.keys(), {id for _, id, _ in place.owners})
        elif kind == "part" or (kind == "checksum" and at >= header):
            self.assertEqual(found.keys(), objects)
            for error in found.values():
                line = place.content.index(b"\n", header) + 1 - header if kind == "checksum" else 0
                self.assertEqual(error.block, at // BLOCK if kind == "part" else (at - header) // line)
        # Of a header with another size of blocks, the blocks seem damaged.

    def test_sizes(self) -> None:
        """Files that are shorter or longer than they were, or empty."""
        random = Random(1)
        changes: tuple[Callable[[bytes], bytes], ...] = (
            lambda content: content[: random.randrange(max(1, len(content)))],
            lambda content: content + random.randbytes(random.randint(1, 600)),
            lambda content: content + b"\0",
            lambda content: content[:-1],
            lambda content: b"",
        )
        for kind, places in self.places.items():
            for change in changes:
                place = random.choice(places)
                content = change(place.content)
                if content == place.content:
                    continue
                found = self.damage(kind, place, content)
                if kind not in ("part", "checksum"):
                    self.assertEqual(found.keys(), {id for _, id, _ in place.owners})
                elif not self.is_empty(place):
                    self.assertEqual(found.keys(), {id for where, id, _ in place.owners if where == "data"})

    def is_empty(self, place: Place) -> bool:
        """Whether it belongs to a part without bytes: readers pass it by, a scrub does not."""
        return b'"dataLength":0}' in place.content or not place.content

    def test_missing(self) -> None:
        """Files that are not there."""
        for kind, places in self.places.items():
            for place in places:
                away = self.root + ".away"
                os.rename(place.path, away)
                where, _, id, name = place.path.split("/")[-4:]
                number = int(name.split(".")[1]) if kind in ("part", "checksum") else None
                try:
                    found = self.look()
                    findings = self.scrub()
                finally:
                    os.rename(away, place.path)
                # An upload without metadata is not from this store, but an upload.
                wanted = {(where, id, number)} if kind != "upload.json" else set()
                self.assertEqual({(_KINDS[one.kind], one.id, one.part) for one in findings}, wanted)
                if kind not in ("part", "checksum"):
                    self.assertEqual(found.keys(), {id for _, id, _ in wanted})
                elif not self.is_empty(place):
                    self.assertEqual(found.keys(), {id for where, id, _ in wanted if where == "data"})

    def test_format(self) -> None:
        """A store that does not say what it is, or says so wrongly, is not opened."""
        path = os.path.join(self.root, "format.json")
        with open(path, "rb") as file:
            content = file.read()
        for at in range(len(content)):
            with open(path, "wb") as file:
                file.write(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
            self.assertRaises(StartFailed, self.open)
            self.assertEqual([(one.kind, one.id) for one in self.scrub()], [("store", "format.json")])
        os.unlink(path)
        self.assertEqual(self.look(), {})

    def test_damaged_parts_are_completed(self) -> None:
        """A part of an upload whose bytes are damaged may become an object, and is then found out."""
        for place in self.places["part"]:
            for where, upload_id, number in place.owners:
                if where != "uploads" or not place.content:
                    continue
                place.write(bytes([place.content[0] ^ 4]) + place.content[1:])
                copy = self.root + ".copy"
                shutil.copytree(self.root, copy)
                root, self.root = self.root, copy
                space = self.open()
                wait(space.complete_upload("aa99", upload_id, self.parts[upload_id]))
                reader = wait(space.get("aa99", 0, 0))
                reader.close()
                error = self.assertRaises(DamagedObject, wait, space.get("aa99"))
                self.assertEqual((error.id, error.part, error.block), ("aa99", number, 0))
                shutil.rmtree(copy)
                self.root = root
                place.write(place.content)
