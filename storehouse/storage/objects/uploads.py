"""Which uploads in parts are open, in order, so that a page of them is no read of all."""

from __future__ import annotations

import json
import secrets
from bisect import bisect_left, bisect_right
from collections import OrderedDict

from storehouse.core.jobs import KeyedLocks
from storehouse.core.turns import breath
from storehouse.errors import DamagedObject, NoSuchUpload
from storehouse.storage.dataspace.interfaces import IDataSpace, Upload
from storehouse.storage.namespace.values import check_text
from storehouse.storage.objects.values import ObjectInfo, OpenUpload

__all__ = ["Completed", "UploadIndex", "described", "new_upload_id"]

# Greater than the rest of any ID.
_LAST = "g"

# Uploads that were completed are known for a day, in nanoseconds; so many at most, and those with so many characters of
# metadata.
_DAY = 86_400 * 10**9
_REMEMBERED = 4096
_LONGEST = 8192


def new_upload_id(now: int) -> str:
    """
    An upload ID that nothing has, by which uploads of one key are in the order in which they were begun.

    @param now: nanoseconds since 1970 UTC.
    """
    # The first two digits are the directory on disk: by the time alone all uploads of some years would be in one.
    return f"{secrets.token_hex(1)}{now // 1000 & (1 << 56) - 1:014x}{secrets.token_hex(8)}"


def described(upload: Upload) -> OpenUpload | None:
    """An upload as an object store tells it; C{None} for one that was not begun by one."""
    try:
        bucket, _, key = upload.metadata["key"][0].partition("/")
        metadata = json.loads(upload.metadata["metadata"][0])
        system = json.loads(upload.metadata.get("system", ["{}"])[0])
        return OpenUpload(upload.id, bucket, key, upload.created, upload.metadata["contentType"][0], metadata, system)
    except (KeyError, IndexError, ValueError):
        return None


class Completed:
    """
    What uploads have become that were completed a short time ago: the client may not have got the response. In memory, at
    most some kilobytes for each.
    """

    def __init__(self) -> None:
        self._found: OrderedDict[str, tuple[int, str, ObjectInfo]] = OrderedDict()

    def add(self, upload_id: str, bucket: str, info: ObjectInfo, now: int) -> None:
        """An upload has become this. @param now: nanoseconds since 1970 UTC."""
        texts = (text for name, values in info.metadata.items() for text in (name, *values))
        size = sum(map(len, texts)) + sum(len(name) + len(value) for name, value in info.system.items())
        if size <= _LONGEST:
            self._found[upload_id] = now, bucket, info
        while self._found and (len(self._found) > _REMEMBERED or next(iter(self._found.values()))[0] < now - _DAY):
            self._found.popitem(last=False)

    def get(self, upload_id: str, bucket: str, key: str, now: int) -> ObjectInfo | None:
        """What it has become, if that is of this key."""
        when, of_bucket, info = self._found.get(upload_id, (0, "", None))
        return info if info is not None and (of_bucket, info.key) == (bucket, key) and when >= now - _DAY else None


#: The UTF-8 of a key, and an ID with its time in front.
_Row = tuple[bytes, str]


class UploadIndex:
    """
    The open uploads of all buckets, by key and time, in memory: some 250 bytes for each.

    It is read from the data space when it is first needed. Uploads end there without a word, as by their age: those of a
    page are looked at.
    """

    def __init__(self, space: IDataSpace) -> None:
        self._space = space
        self._rows: dict[str, list[_Row]] = {}
        self._locks = KeyedLocks()
        self._is_read = False
        self._is_complete = False

    def begun(self, bucket: str, key: str, upload_id: str) -> None:
        """An upload is there."""
        if not self._is_read:
            return  # it will be
        rows, row = self._rows.setdefault(bucket, []), _row(key, upload_id)
        at = bisect_left(rows, row)
        if rows[at : at + 1] != [row]:
            rows.insert(at, row)

    def ended(self, bucket: str, key: str, upload_id: str) -> None:
        """An upload is not there any more."""
        rows, row = self._rows.get(bucket, []), _row(key, upload_id)
        at = bisect_left(rows, row)
        if rows[at : at + 1] == [row]:
            del rows[at]
        if not rows:
            self._rows.pop(bucket, None)

    async def all_of(self, bucket: str) -> list[tuple[str, str]]:
        """Key and ID of all of a bucket."""
        await self._loaded()
        return [(row[0].decode(), _id(row)) for row in self._rows.get(bucket, [])]

    async def page(
        self, bucket: str, prefix: str, key_after: str, upload_after: str, limit: int | None
    ) -> list[OpenUpload]:
        """See L{IObjectStore.list_uploads<storehouse.storage.objects.interfaces.IObjectStore>}."""
        await self._loaded()
        begins, start = check_text("prefix", prefix), check_text("key to start after", key_after)
        behind = _row(key_after, upload_after)[1] if upload_after else _LAST
        after: _Row = max((start, behind if start else ""), (begins, ""))
        found: list[OpenUpload] = []
        while limit is None or len(found) < limit:
            rows = self._rows.get(bucket, [])
            at = bisect_right(rows, after)
            if at == len(rows) or not rows[at][0].startswith(begins):
                break
            after = rows[at]
            upload = await self._upload(bucket, after)
            if upload is not None:
                found.append(upload)
            await breath()
        return found

    async def _upload(self, bucket: str, row: _Row) -> OpenUpload | None:
        try:
            return described(await self._space.get_upload(_id(row)))
        except NoSuchUpload:
            self.ended(bucket, row[0].decode(), _id(row))
        except DamagedObject:
            pass  # a check reports it
        return None

    async def _loaded(self) -> None:
        async with self._locks.held("all"):
            if self._is_complete:
                return
            # From now on those that are begun are noted.
            self._is_read = True
            found: dict[str, set[_Row]] = {}
            for upload in map(described, await self._space.list_uploads()):
                if upload is not None:
                    found.setdefault(upload.bucket, set()).add(_row(upload.key, upload.upload_id))
                await breath()
            for bucket, rows in found.items():
                self._rows[bucket] = sorted(rows.union(self._rows.get(bucket, ())))
            self._is_complete = True


def _row(key: str, upload_id: str) -> _Row:
    return key.encode(), upload_id[2:] + upload_id[:2]


def _id(row: _Row) -> str:
    return row[1][-2:] + row[1][:-2]
