"""Keys, index and bytes compared with each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from storehouse.core.jobs import finished
from storehouse.errors import (
    DamagedEntry,
    DamagedObject,
    InvalidName,
    NoSuchBucket,
    NoSuchKey,
    NoSuchObject,
    StorageFailed,
    Unavailable,
)
from storehouse.storage.namespace.interfaces import IChecked
from storehouse.storage.objects.base import Base
from storehouse.storage.objects.interfaces import Problem

__all__ = ["check", "unserved"]

_PAGE = 1000


async def check(base: Base, progress: Callable[[int], object], repair: bool) -> list[Problem]:
    """See C{IMaintained.check}."""
    return await _Check(base, progress, repair).run()


def unserved(names: Any) -> str:
    """What a namespace knows that it cannot serve; empty if there is nothing."""
    if not IChecked.providedBy(names) or not (names.damaged or names.unknown):
        return ""
    return f"{names.damaged} keys cannot be read, and {names.unknown} names are no keys: 'storehouse fsck' tells which"


class _Check:
    def __init__(self, base: Base, progress: Callable[[int], object], repair: bool) -> None:
        self._base = base
        self._progress = progress
        self._repair = repair
        self._count = 0
        self._problems: list[Problem] = []

    async def run(self) -> list[Problem]:
        await self._names()
        for bucket in await self._base.names.list_buckets():
            await self._keys(bucket.name)
        for number in range(256):
            for id in await self._base.space.list_ids(f"{number:02x}"):
                await self._bytes(id)
                self._step()
        return self._problems

    def _progressed(self, count: int) -> None:
        self._count = count
        self._progress(count)

    def _step(self) -> None:
        self._count += 1
        if not self._count % 100:
            self._progress(self._count)

    def _found(self, kind: str, bucket: str, key: str | None, id: str | None, text: str, repair: str = "") -> None:
        self._problems.append(Problem(kind, bucket, key, id, text, repair))

    async def _names(self) -> None:
        """The namespace against its index."""
        names = self._base.names
        if not IChecked.providedBy(names):
            return
        found = await finished(names.check(self._progressed, self._repair))
        rebuild = False
        for problem in found:
            done = ""
            if problem.repairable and problem.kind == "dangling":
                done = "its only version becomes its default"
            elif problem.repairable:
                done = "the index is made anew"
                rebuild = True
            self._found(problem.kind, problem.bucket, problem.key, problem.id, problem.text, done)
        if self._repair and rebuild:
            await finished(names.reindex(None))

    async def _keys(self, bucket: str) -> None:
        """Every version of every key has its bytes."""
        after: str | None = ""
        while after is not None:
            try:
                page = await self._base.names.list_keys(bucket, "", "", after, _PAGE)
            except NoSuchBucket:
                return
            except (DamagedEntry, Unavailable) as error:
                if isinstance(error, StorageFailed):
                    raise
                repair = "the index is made anew" if isinstance(error, Unavailable) else ""
                text = f"the keys of {bucket} cannot be listed: {error.detail}"
                self._found("index", bucket, None, None, text, repair)
                return
            for key, _ in page.entries:
                try:
                    versions = await self._base.names.versions(bucket, key)
                except (NoSuchKey, NoSuchBucket, DamagedEntry):
                    continue  # gone meanwhile; or the namespace has told of it
                for entry in versions:
                    await self._version(bucket, key, entry.id, entry.size)
                    self._step()
            after = page.next_after

    async def _version(self, bucket: str, key: str, id: str, size: int) -> None:
        try:
            # An empty range: what describes the object is read and no block.
            reader = await self._base.space.get(id, 0, 0)
        except NoSuchObject:
            if await self._is_still(bucket, key, id):
                self._found("missing", bucket, key, id, f"{bucket}/{key} has lost its bytes, {id}")
        except DamagedObject as error:
            self._found("damaged", bucket, key, id, f"{bucket}/{key}: {error.detail}")
        else:
            reader.close()
            if reader.size != size:
                self._found(
                    "damaged", bucket, key, id, f"{bucket}/{key} should have {size} bytes; {id} has {reader.size}"
                )

    async def _is_still(self, bucket: str, key: str, id: str) -> bool:
        try:
            await self._base.names.look_up(bucket, key, id)
        except (NoSuchKey, NoSuchBucket):
            return False
        return True

    async def _bytes(self, id: str) -> None:
        """Bytes are those of a version of the key that they name."""
        try:
            metadata = await self._base.space.get_metadata(id)
        except NoSuchObject:
            return
        except DamagedObject as error:
            self._found("damaged", "", None, id, error.detail)
            return
        name = next(iter(metadata.get("key", ())), "")
        bucket, slash, key = name.partition("/")
        if not slash:
            self._found("unknown", "", None, id, f"{id} does not say of which key it is")
            return
        # Who stores it at this moment holds the key, or has not published it: nothing is said of what is on its way.
        async with self._base.held(bucket, key):
            try:
                if await self._is_still(bucket, key, id):
                    return
            except InvalidName:
                self._found("unknown", "", None, id, f"{id} says that it is of {name!r}, which cannot be a key")
                return
            except DamagedEntry:
                return  # told of already; its bytes stay
            if id in self._base.arriving or id in self._base.leaving:
                return
            try:
                await self._base.space.get_metadata(id)
            except NoSuchObject:
                return  # it went while we waited
            self._found("orphan", bucket, key, id, f"{id} was of {name}, which does not have it", "it is removed")
            if self._repair:
                await self._base.drop(id)
                self._base.metrics.orphans += 1
