"""
Random use of an object store whose files are damaged at random, repaired, and started anew.

What must be true, whatever was done to the files below C{buckets} and C{data}:

- What is served for an ID is what was stored under that ID, to the byte.
- What was readable before a repair, a new index or another start is readable after it, and is the same; but for keys
  of which the index alone still knows: a start gives them up, a repair and a new index those that were renamed.
- A repair removes no bytes: what was in the data space is there, or set aside.
- Nothing keeps a store from starting; a key can be stored anew and be removed, whatever is there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream, read_all
from storehouse.errors import Damaged, InvalidRange, NotFound, StorehouseError
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings
from storehouse.storage.namespace.local import LocalNamespace, NamespaceSettings
from storehouse.storage.objects.store import LocalObjectStore
from storehouse.testing.files import UnsyncedFiles
from tests.soak import count, long_loop, rounds
from tests.storage.namespace.rig import now

BUCKETS = ["one", "two"]
KEYS = ["a", "b", "c/d", "e" * 300, "default.json", "größe"]


def copied(source: str, target: str) -> None:
    """Files alone."""
    if os.path.isfile(source):
        shutil.copyfile(source, target)


class Model:
    """
    A store in a directory, and what was stored in it.

    @ivar stored: ID to bytes, of all that was ever stored.
    """

    def __init__(self, top: str, random: Random) -> None:
        self.top = os.path.abspath(top)
        self.random = random
        self.stored: dict[str, bytes] = {}
        self.uploads: list[tuple[str, str, str]] = []
        self.start()
        for bucket in BUCKETS:
            now(self.store.create_bucket(bucket))

    # -- start and stop ------------------------------------------------------------------------

    def start(self) -> None:
        files = UnsyncedFiles()
        settings = WormerSettings(f"{self.top}/data", "CRC32C", 64, False)
        self.space = WormerDataSpace(settings, InlineDisk(), files=files)
        names = NamespaceSettings(f"{self.top}/names", False, 20)
        self.names = LocalNamespace(names, Clock(), InlineDisk(), files=files)
        self.store = LocalObjectStore(self.space, self.names, InlineDisk())
        for part in (self.space, self.names, self.store):
            part.start()
        now(self.store.recovered)
        now(self.store.tidied)

    def stop(self, killed: bool = False) -> None:
        if killed:
            self.names._timer.stop()  # type: ignore[union-attr]
            self.names.journal.abandon()
            self.names.upkeep.index.close()
            return
        for part in (self.store, self.names, self.space):
            now(part.stop())

    # -- use -----------------------------------------------------------------------------------

    def body(self) -> bytes:
        # Few sizes, so that what is exchanged often has the same.
        return self.random.randbytes(self.random.choice((0, 5, 5, 5, 64, 200)))

    def place(self) -> tuple[str, str]:
        return self.random.choice(BUCKETS), self.random.choice(KEYS)

    def use(self) -> None:
        """One operation. Only what is damaged, or not there, may make it fail."""
        what = self.random.choice(
            (self.put, self.put, self.put, self.delete, self.copy, self.begin, self.part, self.complete)
        )
        try:
            what()
        except (Damaged, NotFound, InvalidRange):
            count("operations refused")
        count("operations")

    def put(self) -> None:
        bucket, key = self.place()
        body = self.body()
        info = now(self.store.put(bucket, key, BytesStream(body), None, md5=bool(self.random.getrandbits(1))))
        self.stored[info.id] = body
        assert self.read(bucket, key) == (info.id, body), (bucket, key)

    def delete(self) -> None:
        bucket, key = self.place()
        now(self.store.delete(bucket, key))
        assert self.read(bucket, key) is None, (bucket, key)

    def copy(self) -> None:
        (bucket, key), (source_bucket, source_key) = self.place(), self.place()
        original = self.read(source_bucket, source_key)
        info = now(self.store.copy(bucket, key, source_bucket, source_key))
        # A damaged block is copied as it is, and cannot be read in the copy either.
        if original is not None:
            self.stored[info.id] = original[1]

    def begin(self) -> None:
        bucket, key = self.place()
        self.uploads.append((bucket, key, now(self.store.begin_upload(bucket, key))))

    def part(self) -> None:
        if self.uploads:
            upload = self.random.choice(self.uploads)
            body = self.body()
            number = self.random.randrange(1, 4)
            now(self.store.upload_part(*upload, number, BytesStream(body), None, note=body.hex))

    def complete(self) -> None:
        if not self.uploads:
            return
        upload = self.uploads.pop(self.random.randrange(len(self.uploads)))
        parts = now(self.store.list_parts(*upload))
        if parts:
            info = now(self.store.complete_upload(*upload, parts))
            # What each part was is noted with it.
            self.stored[info.id] = b"".join(bytes.fromhex(part.note) for part in parts)

    # -- looking -------------------------------------------------------------------------------

    def read(self, bucket: str, key: str) -> tuple[str, bytes] | None:
        """What a key has, if it is readable: then it is what was stored under its ID."""
        try:
            reader = now(self.store.get(bucket, key))
            data: bytes = now(Deferred.fromCoroutine(read_all(reader)))
        except (Damaged, NotFound):
            return None
        assert data == self.stored[reader.info.id], f"{bucket}/{key}: {reader.info.id} gave other bytes"
        count("reads")
        return reader.info.id, data

    def readable(self) -> dict[tuple[str, str], tuple[str, bytes]]:
        found = {}
        for bucket in now(self.store.list_buckets()):
            names = {*KEYS, *(f"{key}2" for key in KEYS)}
            try:
                names |= set(now(self.store.list_keys(bucket.name)))
            except StorehouseError:
                pass  # the index is damaged
            for key in names:
                there = self.read(bucket.name, key)
                if there is not None:
                    found[bucket.name, key] = there
        return found

    def in_tree(self, bucket: str, key: str, id: str) -> bool:
        """Whether the files of a key, damaged as they may be, still name the version that the index has."""
        tree = self.names.tree
        key_path = tree.key_path(bucket, key, key.encode())
        try:
            default = tree.default_of(key_path)
        except Damaged:
            default = None
        ids = tree.ids(key_path)
        return default == id or (id in ids and default not in ids)

    def is_kept(self, bucket: str, key: str, id: str, what: str) -> bool:
        """Whether what the index says of a key outlasts a repair, or a start."""
        if self.in_tree(bucket, key, id):
            return True
        if what not in ("repair", "reindex") or id in now(self.names.needed([id])).ids:
            return False
        # Nothing is written where a link leads.
        key_path = self.names.tree.key_path(bucket, key, key.encode())
        path = key_path.directory
        while path != self.names.tree.buckets:
            if os.path.islink(path) and os.path.isdir(path):
                return False
            path = os.path.dirname(path)
        try:
            return self.names.tree.current(key_path) is None
        except Damaged:
            return False

    def ids(self) -> set[str]:
        """What there is in the data space, and set aside."""
        return {
            name
            for top in (f"{self.top}/data/data", f"{self.top}/data/recovered")
            for _, names, _ in os.walk(top)
            for name in names
            if name in self.stored
        }

    # -- damage --------------------------------------------------------------------------------

    def paths(self) -> Iterator[str]:
        """All that may be damaged, but for what makes a store one."""
        for top in (f"{self.top}/names/buckets", f"{self.top}/data/data", f"{self.top}/data/uploads"):
            for directory, names, files in os.walk(top):
                yield from (os.path.join(directory, name) for name in (*names, *files))

    def damage(self) -> None:
        """One thing is done to a file or a directory."""
        paths = sorted(self.paths())
        if not paths:
            return
        path = self.random.choice(paths)
        kind = self.random.choice(("rename", "exchange", "remove", "truncate", "flip", "foreign", "replace", "copy"))
        is_file = os.path.isfile(path) and not os.path.islink(path)
        if kind == "rename":
            self.rename(path)
        elif kind == "exchange":
            alike = [each for each in paths if os.path.isdir(each) == os.path.isdir(path)]
            alike = [each for each in alike if os.path.basename(each)[:4] == os.path.basename(path)[:4]] or alike
            other = self.random.choice(alike)
            if path.startswith(f"{other}/") or other.startswith(f"{path}/") or path == other:
                return
            os.rename(path, f"{self.top}/x")
            os.rename(other, path)
            os.rename(f"{self.top}/x", other)
        elif kind == "remove":
            self.remove(path)
        elif kind in ("truncate", "flip") and is_file:
            size = os.path.getsize(path)
            if kind == "truncate":
                os.truncate(path, self.random.randrange(size + 20))
            elif size:
                self.flip(path, self.random.randrange(size))
        elif kind == "foreign" and os.path.isdir(path):
            self.foreign(os.path.join(path, self.random.choice(("x", "ab", "abcd.json", "part.9", "%zz", "data.json"))))
        elif kind == "replace":
            self.remove(path)
            self.foreign(path)
        elif kind == "copy" and os.path.isdir(path) and not os.path.lexists(f"{path}2"):
            shutil.copytree(path, f"{path}2", symlinks=True, copy_function=copied, ignore_dangling_symlinks=True)
        else:
            return
        count(f"damage: {kind}")

    def rename(self, path: str) -> None:
        name = os.path.basename(path)
        new = self.random.choice((f"{name}2", f"{name}.bak", "0" + name[1:], "abcd.json", "photos", f"{name[:-1]}x"))
        target = os.path.join(os.path.dirname(path), new)
        if not os.path.lexists(target):
            os.rename(path, target)

    @staticmethod
    def remove(path: str) -> None:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)

    def flip(self, path: str, at: int) -> None:
        # Another file in its place, as a copy would be: hard links share their bytes.
        with open(path, "rb") as file:
            data = bytearray(file.read())
        data[at] ^= 1 << self.random.randrange(8)
        os.unlink(path)
        with open(path, "wb") as file:
            file.write(data)

    def foreign(self, path: str) -> None:
        if os.path.lexists(path):
            return
        kind = self.random.randrange(4)
        if kind == 0:
            with open(path, "wb") as file:
                file.write(self.random.randbytes(9))
        elif kind == 1:
            os.mkdir(path)
        elif kind == 2:
            os.mkfifo(path)
        else:
            os.symlink(self.random.choice(("nothing", "/dev/zero", ".", "abcd.json")), path)


class DamageModelTests(SynchronousTestCase):
    """See the module."""

    @long_loop
    def test_damage(self) -> None:
        for seed in rounds(12):
            top = self.mktemp()
            try:
                self.one(Random(seed), top)
            except Exception as error:
                error.add_note(f"STOREHOUSE_SEED={seed}")
                raise
            shutil.rmtree(top)
        self.flushLoggedErrors()

    def one(self, random: Random, top: str) -> None:
        model = Model(top, random)
        try:
            for _ in range(random.randrange(1, 5)):
                for _ in range(random.randrange(25)):
                    model.use()
                self.damaged(model)
        finally:
            model.stop()

    def damaged(self, model: Model) -> None:
        """Damage, start, repairs, starts; and the store goes on."""
        random = model.random
        model.stop(killed=bool(random.getrandbits(1)))
        for _ in range(random.choice((1, 1, 1, 2, 3, 10))):
            model.damage()
        if random.getrandbits(1):
            shutil.rmtree(f"{model.top}/names/index")
        model.start()
        before, ids = model.readable(), model.ids()
        for _ in range(random.randrange(1, 4)):
            what = random.choice(("repair", "repair", "reindex", "restart", "kill"))
            before = {name: found for name, found in before.items() if model.is_kept(*name, found[0], what)}
            if what == "repair":
                now(model.store.check(None, True))
            elif what == "reindex":
                now(model.store.reindex())
            else:
                model.stop(killed=what == "kill")
                model.start()
            count(f"done: {what}")
            after = model.readable()
            lost = {name: found[0] for name, found in before.items() if after.get(name) != found}
            self.assertEqual(lost, {}, what)
            self.assertEqual(ids - model.ids(), set(), what)
            before, ids = after, model.ids()
            count("readable keys", len(before))
        self.whole_again(model)

    def whole_again(self, model: Model) -> None:
        """Each key can be stored anew, read, and removed."""
        there: dict[str, Any] = {bucket.name: bucket for bucket in now(model.store.list_buckets())}
        for bucket in BUCKETS:
            if bucket not in there:
                continue
            key = model.random.choice(KEYS)
            others = {name: found for name, found in model.readable().items() if name != (bucket, key)}
            body = model.body()
            info = now(model.store.put(bucket, key, BytesStream(body), len(body)))
            model.stored[info.id] = body
            self.assertEqual(model.read(bucket, key), (info.id, body))
            now(model.store.delete(bucket, key))
            self.assertIsNone(model.read(bucket, key))
            now(model.store.tidied)
            after = model.readable()
            lost = {name: found[0] for name, found in others.items() if after.get(name) != found}
            self.assertEqual(lost, {}, f"{bucket}/{key}")
