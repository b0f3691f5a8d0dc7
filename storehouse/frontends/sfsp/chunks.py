"""
Chunks in an object store, and what they are called there: bucket C{sfsp}, key ``<file name>/<id>``.

The name is percent-encoded, every byte but ``A-Z a-z 0-9 - . _ ~``, so that all bytes can be names, and none has a
``/``. The ID has 20 digits, so that keys sort as IDs do. Where that would be more than S3's 1024 bytes, ``sha256:`` and
the digest stand for the name (no encoded name has a ``:``), and the name is in the metadata.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from urllib.parse import quote_from_bytes

import attrs

from storehouse.core.jobs import IDisk, KeyedLocks, Slots
from storehouse.core.sfsp import MAX_ID, encode_ids
from storehouse.core.streams import IByteStream
from storehouse.core.turns import breath
from storehouse.errors import AlreadyExists, DamagedEntry, NoSuchBucket, NoSuchKey, NotFound, Unavailable
from storehouse.frontends.sfsp.idlist import SHORT, IdList
from storehouse.storage.objects.interfaces import IObjectStore, ObjectReader

__all__ = ["BUCKET", "Chunks", "FileName", "id_of"]


#: Where chunks are.
BUCKET = "sfsp"

# Bytes that a key may have.
_MAX_KEY = 1024

_DIGITS = 20

# The metadata that has the name where the key has not: percent-encoded, as in keys.
_NAME = "sfsp-name"

_id = re.compile(r"[0-9]{20}", re.ASCII)


@attrs.frozen
class FileName:
    """
    The name of a file, as the object store has it.

    @ivar prefix: what all its keys begin with.
    @ivar metadata: what is kept with each chunk.
    @ivar text: the name, percent-encoded.
    """

    prefix: str
    metadata: Mapping[str, Sequence[str]]
    text: str

    @classmethod
    @lru_cache(256)
    def of(cls, name: bytes) -> FileName:
        """The name that these bytes are."""
        text = quote_from_bytes(name, safe="")
        if len(text) + 1 + _DIGITS <= _MAX_KEY:
            return cls(f"{text}/", {}, text)
        return cls(f"sha256:{hashlib.sha256(name).hexdigest()}/", {_NAME: [text]}, text)

    def key(self, id: int) -> str:
        """The key of a chunk."""
        return f"{self.prefix}{id:020d}"

    def is_of(self, metadata: Mapping[str, Sequence[str]]) -> bool:
        """Whether an object under such a key, with this metadata, is a chunk of this file."""
        return not self.metadata or list(metadata.get(_NAME, ())) == self.metadata[_NAME]


def id_of(digits: str) -> int | None:
    """The ID that stands behind a prefix; C{None} if it is none, since other doors may store anything there."""
    if _id.fullmatch(digits) is None:
        return None
    id = int(digits)
    return id if id <= MAX_ID else None


_TYPE = "application/octet-stream"

# Keys that are listed at once.
_PAGE = 1000

# Short lists, and long ones, that are made at a time; and long ones that there may be, each of which is a file, until
# they were read: further ones wait.
_MAKING = 4
_MOST_LONG = 128


class Chunks:
    """
    The chunks of files, each of them an object.

    @param directory: where lists of many IDs may wait for those who read them.
    @param permitted: gives the store for a client, by its source (the C{source} of the methods), limited to what it is allowed;
        C{None} for no limits.
    """

    def __init__(
        self,
        store: IObjectStore,
        disk: IDisk,
        directory: str,
        permitted: Callable[[str], IObjectStore] | None = None,
    ) -> None:
        self._store_for = permitted or (lambda source: store)
        self._disk = disk
        self._directory = directory
        self._is_made = False
        self._making = KeyedLocks()
        self._short = Slots(_MAKING)
        self._making_long = Slots(_MAKING)
        self._long = Slots(_MOST_LONG)

    async def send(self, name: FileName, id: int, stream: IByteStream, size: int, source: str = "") -> None:
        """
        Store a chunk; replaces the one with that ID, in one step. It is durable when this returns, as far as the store
        is.
        """
        if not self._is_made:
            await self._make_bucket(source)
        try:
            await self._store_for(source).put(BUCKET, name.key(id), stream, size, _TYPE, name.metadata)
        except NotFound:
            # Somebody has removed the bucket; the next one makes it anew.
            self._is_made = False
            raise Unavailable("the bucket of chunks was removed") from None

    async def _make_bucket(self, source: str) -> None:
        # The first of many makes it; each of them would have to have all keys for itself.
        async with self._making.held(BUCKET):
            if self._is_made:
                return
            try:
                await self._store_for(source).create_bucket(BUCKET)
            except AlreadyExists:
                pass  # by an earlier start
            self._is_made = True

    async def open(self, name: FileName, id: int, source: str = "") -> ObjectReader:
        """
        Open a chunk.

        @return: all of it.
        @raise NotFound: if there is none.
        """
        reader = await self._store_for(source).get(BUCKET, name.key(id))
        if not name.is_of(reader.info.metadata):
            await reader.close()
            raise NoSuchKey(f"the object {BUCKET}/{name.key(id)} is not a chunk of that file")
        return reader

    async def ids(self, name: FileName, is_wanted: Callable[[], bool] = lambda: True, source: str = "") -> IdList:
        """
        The IDs of a file's chunks, in ascending order. Few lists are made at a time, and others are served meanwhile.

        @param is_wanted: whether somebody still waits for it.
        @raise Unavailable: if nobody does.
        """
        found = IdList(self._disk, self._directory)
        store = self._store_for(source)
        try:
            # A short one never waits for long ones.
            async with self._short:
                after = await self._add_ids(store, found, name, "", is_wanted, SHORT)
            if after is not None:
                await self._long.enter()
                found.on_closed = self._long.leave
                async with self._making_long:
                    await self._add_ids(store, found, name, after, is_wanted)
            await found.finish()
        except BaseException:
            await found.close()
            raise
        return found

    async def _add_ids(
        self,
        store: IObjectStore,
        found: IdList,
        name: FileName,
        after: str | None,
        is_wanted: Callable[[], bool],
        most: int | None = None,
    ) -> str | None:
        """Add IDs until there are more than so many bytes. @return: what the next ones are after."""
        start = len(name.prefix)
        while after is not None and (most is None or found.size <= most):
            if not is_wanted():
                raise Unavailable("the client no longer waits for the list")
            try:
                keys, after = await self._page(store, name, after)
            except NoSuchBucket:
                return None
            await found.add(encode_ids([id for key in keys if (id := id_of(key[start:])) is not None]))
            await breath()
        return after

    async def _page(self, store: IObjectStore, name: FileName, after: str) -> tuple[list[str], str | None]:
        """Keys of a file, and what the next ones are after."""
        if not name.metadata:
            keys = await store.list_keys(BUCKET, name.prefix, after, _PAGE)
            return keys, keys[-1] if len(keys) == _PAGE else None
        # The metadata must be looked at.
        page = await store.list_objects(BUCKET, name.prefix, "", after, _PAGE)
        for key in page.damaged:
            # It may be one of this file, and a list must not be short without an error.
            raise DamagedEntry(BUCKET, key, None, key, "its metadata cannot be read")
        return [info.key for info in page.objects if name.is_of(info.metadata)], page.next_after
