"""Keys, index and bytes compared with each other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs

from storehouse.core.jobs import finished
from storehouse.errors import (
    Damaged,
    DamagedEntry,
    DamagedObject,
    InvalidName,
    NoSuchBucket,
    NoSuchKey,
    NoSuchObject,
    NoSuchUpload,
    StorageFailed,
    Unavailable,
)
from storehouse.storage.namespace.interfaces import Entry, INamespace
from storehouse.storage.objects.interfaces import Problem
from storehouse.storage.objects.pair import Pair

__all__ = ["check", "compare", "unserved"]

_PAGE = 1000

# Keys that are compared before others have their turn, and what each costs, as against bytes that a scrub reads: a few small
# files are looked at.
_COMPARED = 100
_COST = 4 << 10

# Bytes without a key that are looked for together in all of the namespace.
_MOST_NAMELESS = 10_000

# What is wrong with the index alone: whatever else the namespace tells may be about a key that needs bytes.
_OF_INDEX = {"missing", "different", "index"}


async def check(pair: Pair, progress: Callable[[int], object], repair: bool) -> list[Problem]:
    """See C{IMaintained.check}."""
    return await _Check(pair, progress, repair).run()


async def compare(pair: Pair, on_problem: Callable[[Problem], object], pace: Callable[[int], Awaitable[bool]]) -> None:
    """See C{IMaintained.compare}."""
    for bucket in await pair.names.list_buckets():
        after: tuple[str, str] | None = ("", "")
        while after is not None:
            try:
                page = await pair.names.list_versions(bucket.name, "", "", *after, _COMPARED)
            except NoSuchBucket:
                break
            for each in page.versions:
                if not each.entry.marker and (problem := await _difference(pair, bucket.name, each.key, each.entry)):
                    on_problem(problem)
            after = page.next_markers
            if not await pace(len(page.versions) * _COST):
                return


async def _difference(pair: Pair, bucket: str, key: str, entry: Entry) -> Problem | None:
    """What differs between a key and its bytes; C{None} too if the bytes are damaged by themselves, which a scrub reports."""
    try:
        await pair.space.examine(entry.id, pair.expected_of(entry))
        return None
    except NoSuchObject:
        kind, text = "missing", f"the bytes of {bucket}/{key} are missing, {entry.id}"
    except DamagedObject as error:
        kind, text = "damaged", f"{bucket}/{key}: {error.detail}"
        try:
            await pair.space.examine(entry.id)
        except (DamagedObject, NoSuchObject):
            return None  # the data space reports damaged bytes itself; here only keys count
    try:
        # It may have been replaced or removed meanwhile.
        now: Entry = await pair.names.look_up(bucket, key, entry.id)
    except (NoSuchKey, NoSuchBucket, DamagedEntry):
        return None
    return Problem(kind, bucket, key, entry.id, text, "") if now == entry else None


def unserved(names: INamespace) -> str:
    """What a namespace knows that it cannot serve; empty if there is nothing."""
    if not (names.damaged or names.unknown):
        return ""
    return f"{names.damaged} keys or buckets cannot be read, and {names.unknown} names are neither: 'storehouse fsck' shows which"


@attrs.frozen
class _Nameless:
    """
    Bytes that the key does not have that they say they are of.

    @ivar name: that bucket and key; or something else.
    """

    id: str
    name: str
    bucket: str
    key: str | None


class _Check:
    def __init__(self, pair: Pair, progress: Callable[[int], object], repair: bool) -> None:
        self._pair = pair
        self._progress = progress
        self._repair = repair
        self._count = 0
        self._problems: list[Problem] = []
        self._damaged: set[str] = set()
        self._nameless: list[_Nameless] = []
        # Why nothing is taken out.
        self._doubt = ""

    async def run(self) -> list[Problem]:
        await finished(self._pair.removing.tidy())
        await self._names()
        for bucket in await self._pair.names.list_buckets():
            await self._keys(bucket.name)
        await self._uploads()
        for index in await self._pair.space.list_indexes():
            for id in await self._pair.space.list_ids(index):
                await self._bytes(id)
                self._step()
            if len(self._nameless) >= _MOST_NAMELESS:
                await self._judge()
        await self._judge()
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

    # -- keys ----------------------------------------------------------------------------------

    async def _names(self) -> None:
        """The namespace against its index."""
        names = self._pair.names
        found = await finished(names.check(self._progressed, self._repair))
        rebuild = False
        for problem in found:
            done = ""
            if problem.repairable and problem.kind == "dangling":
                done = "its only version becomes its default"
            elif problem.repairable:
                done = "the index is rebuilt"
                rebuild = True
            self._found(problem.kind, problem.bucket, problem.key, problem.id, problem.text, done)
            if problem.kind not in _OF_INDEX:
                self._doubt = self._doubt or problem.text
        if self._repair and rebuild:
            for problem in await finished(self._pair.restored(names)):
                self._found(problem.kind, problem.bucket, problem.key, problem.id, problem.text, "restored")
            await finished(names.reindex(None))

    async def _keys(self, bucket: str) -> None:
        """Every version of every key has its bytes."""
        after: tuple[str, str] | None = ("", "")
        while after is not None:
            try:
                page = await self._pair.names.list_versions(bucket, "", "", *after, _PAGE)
            except NoSuchBucket:
                return
            except (DamagedEntry, Unavailable) as error:
                if isinstance(error, StorageFailed):
                    raise
                repair = "the index is rebuilt" if isinstance(error, Unavailable) else ""
                text = f"the keys of {bucket} cannot be listed: {error.detail}"
                self._found("index", bucket, None, None, text, repair)
                self._doubt = self._doubt or text
                return
            for each in page.versions:
                if not each.entry.marker:
                    await self._version(bucket, each.key, each.entry)
                self._step()
            after = page.next_markers

    async def _version(self, bucket: str, key: str, entry: Entry) -> None:
        id = entry.id
        try:
            metadata = await self._pair.space.examine(id, self._pair.expected_of(entry))
        except NoSuchObject:
            if await self._is_still(bucket, key, id):
                self._found("missing", bucket, key, id, f"the bytes of {bucket}/{key} are missing, {id}")
        except DamagedObject as error:
            try:
                if not await self._is_still(bucket, key, id):
                    return  # it was replaced or removed meanwhile, and its files are going
            except DamagedEntry:
                pass  # reported already, as are its bytes
            self._damaged.add(id)
            kind = "missing" if error.missing else "damaged"
            self._found(kind, bucket, key, id, f"{bucket}/{key}: {error.detail}")
        else:
            said = next(iter(metadata.get("key", ())), "")
            if said not in ("", key, f"{bucket}/{key}"):
                text = f"the bytes of {bucket}/{key}, {id}, were written for {said}; they are served anyway"
                self._found("renamed", bucket, key, id, text)

    async def _is_still(self, bucket: str, key: str, id: str) -> bool:
        try:
            await self._pair.names.look_up(bucket, key, id)
        except (NoSuchKey, NoSuchBucket):
            return False
        return True

    async def _uploads(self) -> None:
        """Uploads have the parts that they say they have."""
        for upload in await self._pair.space.list_uploads():
            try:
                await self._pair.space.examine_upload(upload.id)
            except NoSuchUpload:
                pass
            except Damaged as error:
                self._found("damaged", "", None, upload.id, f"the upload {error.detail}")
            self._step()

    # -- bytes ---------------------------------------------------------------------------------

    async def _bytes(self, id: str) -> None:
        """Bytes are those of a version of the key that they name."""
        try:
            metadata = await self._pair.space.get_metadata(id)
        except NoSuchObject:
            return
        except DamagedObject as error:
            if id not in self._damaged:
                self._found("damaged", "", None, id, error.detail)
            return
        name = next(iter(metadata.get("key", ())), "")
        bucket, slash, key = name.partition("/")
        # A request that stores it now holds the key, or has not published it: objects on their way are not reported.
        async with self._pair.held(bucket, key):
            try:
                if slash and await self._is_still(bucket, key, id):
                    return
            except InvalidName:
                slash = ""
            except DamagedEntry:
                return  # reported already; its bytes stay
            if not await self._is_there(id):
                return
            self._nameless.append(_Nameless(id, name, bucket if slash else "", key if slash else None))

    async def _is_there(self, id: str) -> bool:
        """Whether it is neither on its way nor on its way out."""
        removing = self._pair.removing
        if id in removing.arriving or id in removing.leaving:
            return False
        try:
            await self._pair.space.get_metadata(id)
        except NoSuchObject:
            return False
        return True

    async def _judge(self) -> None:
        """Bytes that their own key does not have may have another, as in a bucket that was renamed on disk."""
        nameless, self._nameless = self._nameless, []
        if not nameless:
            return
        needed = await finished(self._pair.names.needed([each.id for each in nameless]))
        for each in nameless:
            if each.id in needed.ids:
                continue  # reported with its key
            await self._orphan(each, self._doubt or needed.doubt)

    async def _orphan(self, each: _Nameless, doubt: str) -> None:
        id, name = each.id, each.name
        if each.key is None:
            why = f"names {name!r} as its key, which cannot be one" if name else "does not name its key"
            self._found("unknown", "", None, id, f"{id} {why}")
            return
        text = f"{id} was of {name}, which no longer has it"
        if doubt:
            text = f"{text}; it stays until other problems of the namespace are solved, such as: {doubt}"
            self._found("orphan", each.bucket, each.key, id, text)
            return
        async with self._pair.held(each.bucket, each.key):
            if await self._is_still(each.bucket, each.key, id) or not await self._is_there(id):
                return
            kept = await self._pair.removing.why_kept(name, given_up=True)
            if kept:
                self._found("orphan", each.bucket, each.key, id, f"{text}; it stays: {kept}")
                return
            done = "it is moved to recovered/ in the root, with a note of where it was"
            if self._repair:
                try:
                    done = f"moved to {await self._pair.removing.set_aside(id, text)}"
                except NoSuchObject:
                    return
        self._found("orphan", each.bucket, each.key, id, text, done)
