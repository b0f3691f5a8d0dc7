"""What the namespace says of an object, what the data space has, and that neither is served for the other."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from storehouse.core.digests import crc32c
from storehouse.core.streams import BytesStream, read_all
from storehouse.errors import Damaged, DamagedObject
from storehouse.storage.objects.interfaces import ObjectInfo
from tests.conformance.dataspace import content
from tests.conformance.objectstore import StoreTestsMixin
from tests.storage.objects.rig import LocalStoreTestCase
from tests.storage.sealed.test_objects import SealedStoreTestCase

SIZES = (0, 5, 4096, 70_001)


def exchange(first: str, second: str) -> None:
    """Two names change places."""
    os.rename(first, f"{first}.x")
    os.rename(second, first)
    os.rename(f"{first}.x", second)


def resealed(path: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the fields of a file, with the right checksum."""
    with open(path, encoding="utf-8") as file:
        fields = json.load(file)
    del fields["checksum"]
    change(fields)
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))[:-1]
    with open(path, "w", encoding="utf-8") as file:
        file.write(f'{text},"checksum":"{crc32c(text.encode()):08x}"}}')


class ReadingBackTestsMixin(StoreTestsMixin):
    """On a store in files."""

    directory: str

    async def tearDown(self) -> None:
        """What was damaged stays so."""

    def of(self, info: ObjectInfo) -> str:
        """The directory of an object."""
        return f"{self.directory}/data/data/{info.id[:2]}/{info.id}"

    async def two(self, size: int, one: str = "one", other: str = "two") -> tuple[ObjectInfo, ObjectInfo]:
        return await self.put(one, content(size, 1)), await self.put(other, content(size, 2))

    async def damaged(self, *infos: ObjectInfo) -> None:
        """Nothing of these is given out, whatever is asked for; a check tells of them; they can be replaced, and removed."""
        for info in infos:
            for offset, length in ((0, None), (0, 0), (0, min(3, info.size))):
                await self.not_given(info, offset, length)
            await self.refused(Damaged, self.store.copy("bucket", "copy", "bucket", info.key))
            upload_id, _ = await self.upload(key="parts")
            copying = self.store.upload_part_copy("bucket", "parts", upload_id, 1, "bucket", info.key)
            await self.refused(Damaged, copying)
            await self.store.abort_upload("bucket", "parts", upload_id)
        for repair in (False, True):
            found = {(each.kind, each.key) for each in await self.store.check(None, repair) if each.key is not None}
            self.assertLessEqual({("damaged", info.key) for info in infos}, found)
        await self.reopen()
        for info in infos:
            await self.not_given(info, 0, None)
        replaced = await self.put(infos[0].key, b"replaced")
        self.assertEqual(await self.get(infos[0].key), b"replaced")
        await self.store.delete("bucket", replaced.key)
        for info in infos[1:]:
            await self.store.delete("bucket", info.key)

    async def not_given(self, info: ObjectInfo, offset: int, length: int | None) -> None:
        try:
            reader = await self.store.get("bucket", info.key, offset, length)
            data = await read_all(reader)
        except Damaged:
            return
        # Files of parts are looked at when bytes of them are wanted.
        self.assertEqual((data, length), (b"", 0))

    async def test_entries_have_the_tag(self) -> None:
        """Also those of copies and of uploads that were completed, and after another start."""
        await self.put("put", b"12345", md5=True)
        await self.store.copy("bucket", "copy", "bucket", "put")
        for key, parts in (("one", (b"x",)), ("several", (b"x", b"", b"z"))):
            upload_id, chosen = await self.upload(*parts, key=key)
            await self.store.complete_upload("bucket", key, upload_id, chosen)
        for _ in range(2):
            for key in ("put", "copy", "one", "several"):
                entry = await self.names.look_up("bucket", key)
                reader = await self.space.get(entry.id, 0, 0)
                reader.close()
                self.assertTrue(entry.tag)
                self.assertEqual((reader.etag, reader.size), (entry.tag, entry.size))
            self.assertEqual(await self.store.check(), [])
            await self.reopen()

    async def test_exchanged_directories(self) -> None:
        for size in SIZES:
            one, two = await self.two(size)
            exchange(self.of(one), self.of(two))
            await self.damaged(one, two)

    async def test_exchanged_descriptions(self) -> None:
        for size in SIZES:
            one, two = await self.two(size)
            exchange(f"{self.of(one)}/data.json", f"{self.of(two)}/data.json")
            await self.damaged(one, two)

    async def test_one_instead_of_the_other(self) -> None:
        """Of which the directory is there twice."""
        one, two = await self.two(5)
        shutil.rmtree(self.of(two))
        shutil.copytree(self.of(one), self.of(two))
        await self.damaged(two)
        self.assertEqual(await self.get("one"), content(5, 1))

    async def test_exchanged_entries(self) -> None:
        """What the namespace has of two versions."""
        first = await self.put("key", b"12345")
        path = self.names.tree.key_path("bucket", "key", b"key").directory if hasattr(self.names, "tree") else ""
        if not path:
            return  # encrypted entries are bound to their places
        kept = {name: os.readlink(f"{path}/{name}") for name in os.listdir(path) if name == "default.json"}
        with open(f"{path}/{first.id}.json", "rb") as file:
            old = json.load(file)
        second = await self.put("key", b"67890")
        with open(f"{path}/{second.id}.json", "rb") as file:
            new = json.load(file)
        text = json.dumps({**new, "tag": old["tag"]}, separators=(",", ":"))
        text = text[: text.rindex(',"checksum"')]
        await self.stop()
        with open(f"{path}/{second.id}.json", "wb") as changed:
            changed.write(f'{text},"checksum":"{crc32c(text.encode()):08x}"}}'.encode())
        shutil.rmtree(f"{self.directory}/names/index")
        self.assertTrue(kept)
        self.make_space()
        self.make_names()
        self.store = self.join()
        await self.store.recovered
        await self.damaged(second)

    stop: Any
    make_names: Any
    join: Any

    async def parts(self, key: str, seed: int) -> ObjectInfo:
        upload_id, chosen = await self.upload(content(9, seed), content(9, seed + 1), key=key)
        info: ObjectInfo = await self.store.complete_upload("bucket", key, upload_id, chosen)
        return info

    async def test_exchanged_files(self) -> None:
        """The files of a part of another object, or of another part, agree with each other: their tag tells."""
        for size in SIZES[1:]:
            one, two = await self.two(size)
            for name in ("part.1", "part.1.checksum"):
                exchange(f"{self.of(one)}/{name}", f"{self.of(two)}/{name}")
            await self.damaged(one, two)
        info = await self.parts("parts", 5)
        for name in ("part.{}", "part.{}.checksum"):
            exchange(f"{self.of(info)}/{name.format(1)}", f"{self.of(info)}/{name.format(2)}")
        await self.damaged(info)

    async def test_exchanged_objects_of_parts(self) -> None:
        one, two = await self.parts("one", 5), await self.parts("two", 7)
        exchange(self.of(one), self.of(two))
        await self.damaged(one, two)

    async def test_other_size(self) -> None:
        one, two = await self.put("one", b"12345"), await self.put("two", b"1234567")
        exchange(self.of(one), self.of(two))
        await self.damaged(one, two)

    async def test_files(self) -> None:
        """One that is missing, shorter or longer than it should be, or no file: found by a check, too."""
        changes: dict[str, Callable[[str], None]] = {
            "missing": os.unlink,
            "shorter": lambda path: os.truncate(path, os.path.getsize(path) - 1),
            "longer": lambda path: os.truncate(path, os.path.getsize(path) + 1),
            "a directory": lambda path: (os.unlink(path), os.mkdir(path))[1],
            "a FIFO": lambda path: (os.unlink(path), os.mkfifo(path))[1],
            "a link": lambda path: (os.rename(path, f"{path}.x"), os.symlink(f"{path}.x", path))[1],
            "a link to nothing": lambda path: (os.unlink(path), os.symlink("nothing", path))[1],
            "a device": lambda path: (os.unlink(path), os.symlink("/dev/zero", path))[1],
        }
        for size in (5, 70_001):
            for name in ("part.1", "part.1.checksum", "data.json"):
                for what, change in changes.items():
                    info = await self.put("key", content(size, 1))
                    change(f"{self.of(info)}/{name}")
                    await self.refused(DamagedObject, self.store.get("bucket", "key"))
                    found = [each for each in await self.store.check(None, True) if each.key == "key"]
                    kind = "missing" if (what, name) == ("missing", "part.1") else "damaged"
                    self.assertEqual([each.kind for each in found], [kind], (what, name))
                    self.assertIn(name, found[0].text)
                    await self.reopen()
                    await self.put("key", b"other")
                    self.assertEqual(await self.get("key"), b"other")

    async def test_directories(self) -> None:
        """What is in the place of an object's directory, or of an index, is no object, and keeps nothing from starting."""
        info = await self.put("key", b"x")
        changes: tuple[Callable[[str], object], ...] = (
            lambda path: Path(path).touch(),
            os.mkfifo,
            lambda path: os.symlink("nothing", path),
        )
        for change in changes:
            shutil.rmtree(self.of(info))
            change(self.of(info))
            await self.reopen()
            await self.refused(DamagedObject, self.store.get("bucket", "key"))
            self.assertTrue(await self.store.check(None, True))
            info = await self.put("key", b"other")
            self.assertEqual(await self.get("key"), b"other")
        index = os.path.dirname(self.of(info))
        shutil.rmtree(index)
        with open(index, "w"):
            pass
        await self.reopen()
        await self.refused(DamagedObject, self.store.get("bucket", "key"))
        await self.store.delete("bucket", "key")

    async def test_file_in_the_place_of_an_index(self) -> None:
        """It is set aside when something is stored there."""
        for number in range(256):
            path = f"{self.directory}/data/data/{number:02x}"
            if not os.path.lexists(path):
                Path(path).touch()
        await self.reopen()
        await self.put("key", b"x")
        self.assertEqual(await self.get("key"), b"x")
        self.assertTrue(os.listdir(f"{self.directory}/data/recovered"))

    async def test_exchanged_uploads(self) -> None:
        """Neither has a part of the other."""
        made = [await self.upload(content(9, seed), key="key") for seed in (1, 2)]
        paths = [f"{self.directory}/data/uploads/{id[:2]}/{id}" for id, _ in made]
        await self.reopen()
        exchange(*paths)
        for upload_id, chosen in made:
            await self.refused(DamagedObject, self.store.get_part("bucket", "key", upload_id, 1))
            await self.refused(DamagedObject, self.store.complete_upload("bucket", "key", upload_id, chosen))
        self.assertEqual(len([each for each in await self.store.check() if each.kind == "damaged"]), 2)
        exchange(*paths)
        await self.reopen()
        for name in ("part.1", "part.1.checksum"):
            exchange(*[f"{path}/{name}" for path in paths])
        for upload_id, _ in made:
            await self.refused(DamagedObject, self.store.get_part("bucket", "key", upload_id, 1))
        self.assertEqual(len([each for each in await self.store.check() if each.kind == "damaged"]), 2)
        await self.reopen()
        upload_id = made[0][0]
        await self.store.upload_part("bucket", "key", upload_id, 1, BytesStream(b"x"), 1)
        await self.store.abort_upload("bucket", "key", upload_id)


class ReadingBackTests(ReadingBackTestsMixin, LocalStoreTestCase):
    """Plain."""

    async def test_without_own_ids(self) -> None:
        """Objects from before descriptions said whose they are: the tag tells; the etag if entries have none either."""
        await self.old(lambda key: None)

    async def test_without_tags(self) -> None:
        await self.old(lambda key: resealed(key, lambda fields: fields.pop("tag")))

    async def old(self, change: Callable[[str], object]) -> None:
        one, two = await self.two(5)
        for info in (one, two):
            change(f"{self.names.tree.key_path('bucket', info.key, info.key.encode()).directory}/{info.id}.json")
        for info in (one, two):
            path = f"{self.of(info)}/data.json"
            with open(path, encoding="utf-8") as file:
                text = file.read()
            text = text[: text.rindex(',"id"')]
            with open(path, "w", encoding="utf-8") as changed:
                changed.write(f'{text},"checksum":"{crc32c(text.encode()):08x}"}}')
        await self.stop()
        shutil.rmtree(f"{self.directory}/names/index")
        self.make_space()
        self.make_names()
        self.store = self.join()
        await self.store.recovered
        self.assertEqual(await self.get("one"), content(5, 1))
        self.assertEqual(await self.store.check(), [])
        exchange(self.of(one), self.of(two))
        await self.damaged(one, two)

    async def test_large_checksum_files(self) -> None:
        """More lines than are read at once: they are compared with the tag once, and the part is read."""
        size = 4096 * 4000
        one, two = await self.two(size)
        for _ in range(2):
            self.assertEqual(await self.get("one", size - 9), content(size, 1)[-9:])
        for name in ("part.1", "part.1.checksum"):
            exchange(f"{self.of(one)}/{name}", f"{self.of(two)}/{name}")
        await self.refused(DamagedObject, self.store.get("bucket", "one", size - 9))
        await self.refused(DamagedObject, self.store.get("bucket", "two"))


class SealedReadingBackTests(ReadingBackTestsMixin, SealedStoreTestCase):
    """Encrypted, names too."""
