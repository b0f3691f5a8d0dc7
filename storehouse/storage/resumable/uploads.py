"""Uploads by their IDs: those in use are in memory, the states of all in files, the bytes in the object store; and how many may be open."""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from typing import NamedTuple, ParamSpec, TypeVar

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from storehouse.core.files import NO_SPACE, Files
from storehouse.core.jobs import IDisk, KeyedLocks, finished, whole
from storehouse.core.names import candidates
from storehouse.errors import (
    Conflict,
    DamagedEntry,
    NoSpace,
    NoSuchBucket,
    NoSuchKey,
    NoSuchUpload,
    StorehouseError,
    TooLarge,
    Unavailable,
    UploadBusy,
    UploadGone,
)
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.objects.interfaces import IObjectStore, ObjectInfo
from storehouse.storage.resumable.interfaces import ResumableUpload
from storehouse.storage.resumable.parts import PartCutter
from storehouse.storage.resumable.states import State, States, is_id
from storehouse.storage.sealed.interfaces import ICipher

__all__ = ["MAX_OPEN", "CachedUpload", "OpenUploads", "ResumableSettings", "Uploads", "completed", "least_of"]


#: Uploads that are not complete, for each user, and for each link: with room for the partial ones of a final one.
MAX_OPEN = 2000


class _Open(NamedTuple):
    """
    @ivar created: seconds since 1970 UTC.
    @ivar claim: bytes of the bound of its link that it has for itself.
    """

    created: float
    claim: int


class OpenUploads:
    """
    Uploads that are not complete, by their owners and links.

    @param most: how many an owner, or a link, may have.
    """

    def __init__(self, most: int = MAX_OPEN) -> None:
        self._most = most
        self._groups: dict[tuple[str, str], dict[str, _Open]] = {}
        # Claims of those that are being begun, and have no ID yet.
        self._beginning: dict[tuple[str, str], list[int]] = {}

    def ids(self, owner: str | None = None) -> list[str]:
        """Those of one owner or all, oldest first."""
        found = [
            (upload.created, id)
            for (each_owner, _), group in self._groups.items()
            if owner in (None, each_owner)
            for id, upload in group.items()
        ]
        return [id for _, id in sorted(found)]

    @contextmanager
    def beginning(self, state: State) -> Iterator[None]:
        """
        One is being begun, and counts from now on.

        @raise Conflict: if there are as many as there may be.
        @raise TooLarge: if the partial ones of a link could have more bytes together than one upload by it.
        """
        group, claim = _group_of(state), _claim_of(state)
        claims = [upload.claim for upload in self._groups.get(group, {}).values()] + self._beginning.get(group, [])
        if len(claims) >= self._most:
            raise Conflict(f"{len(claims)} uploads are open, the limit: complete or remove some")
        together = sum(claims) + claim
        if claim and state.max_bytes is not None and together > state.max_bytes:
            raise TooLarge(
                f"the partial uploads by this link could have {together} bytes together; "
                f"at most {state.max_bytes} are allowed"
            )
        self._beginning.setdefault(group, []).append(claim)
        try:
            yield
        finally:
            self._beginning[group].remove(claim)
            if not self._beginning[group]:
                del self._beginning[group]

    def update(self, state: State) -> None:
        """Take the state of an upload, new or changed."""
        group = _group_of(state)
        if state.stage == "open":
            self._groups.setdefault(group, {})[state.id] = _Open(state.created, _claim_of(state))
        elif group in self._groups:
            self._groups[group].pop(state.id, None)
            if not self._groups[group]:
                del self._groups[group]


def _group_of(state: State) -> tuple[str, str]:
    return state.owner, state.grant


def _claim_of(state: State) -> int:
    """Partial uploads become one, so that together they may have as many bytes as one. Others are counted by themselves."""
    if not state.is_partial or not state.grant or state.max_bytes is None:
        return 0
    return state.max_bytes if state.length is None else state.length


P = ParamSpec("P")
T = TypeVar("T")

# Seconds that a state on disk may lag behind: an upload that gets a part a second is not written down each time.
_MAX_LAG = 3600.0

# Uploads that stay in memory while nobody uses them.
_MAX_CACHED = 1024

_DAY = 86400.0


@attrs.frozen
class ResumableSettings:
    """
    How uploads are kept.

    @ivar directory: an absolute path; made if it is not there.
    @ivar bucket: where the objects go; must be there.
    @ivar names: what becomes of a name that is taken, one of L{NAME_RULES<storehouse.core.names.NAME_RULES>}.
    @ivar max_size: bytes that an upload may have; 0 for no bound.
    @ivar expiry: seconds without a request after which an upload is removed; 0 for never.
    @ivar max_open: uploads that are not complete, for each user, and for each link.
    @ivar durable: whether what is acknowledged is on disk, or only with the operating system.
    """

    directory: str
    bucket: str = "uploads"
    names: str = "rename"
    max_size: int = 0
    expiry: float = 86400.0
    max_open: int = MAX_OPEN
    durable: bool = True


class CachedUpload:
    """
    An upload in memory.

    @ivar state: what its file says.
    @ivar parts: those of the object store's upload, in order; none once its object is stored.
    @ivar touched: when something was last done with it.
    @ivar incoming: what is being added to it now.
    @ivar newest: the number of the newest request that changes it: older ones are stale.
    @ivar users: requests that use it.
    """

    def __init__(self, state: State, parts: list[Part], touched: float) -> None:
        self.state = state
        self.parts = parts
        self.touched = touched
        self.incoming: PartCutter | None = None
        self.newest = 0
        self.users = 0

    @property
    def offset(self) -> int:
        """Bytes that are durable."""
        if self.state.stage == "complete":
            return self.state.size
        return sum(part.size for part in self.parts)

    @property
    def has_all(self) -> bool:
        """Whether it has as many bytes as it will have. Never of one that is made of others."""
        state = self.state
        return not (state.pieces or state.awaits_end) and state.length is not None and self.offset == state.length

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """It stays in memory, and does not expire, meanwhile."""
        self.users += 1
        try:
            yield
        finally:
            self.users -= 1


class Uploads:
    """
    See the module.

    @param clock: seconds since 1970 UTC.
    @ivar turns: numbers for requests, in the order in which they come.
    @ivar locks: held by requests that change an upload; see L{changing}.
    @ivar open: those that are not complete.
    """

    _log = Logger()

    def __init__(
        self,
        store: IObjectStore,
        disk: IDisk,
        clock: IReactorTime,
        settings: ResumableSettings,
        files: Files | None = None,
        cipher: ICipher | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.settings = settings
        self.bucket = settings.bucket
        self.states = States(settings.directory, files or Files(), settings.durable, cipher)
        self.locks = KeyedLocks()
        self.turns = count(1)
        self.open = OpenUploads(settings.max_open)
        #: Seconds for which it is remembered that an upload was there.
        self.remembered = settings.expiry or _DAY
        self._max_lag = min(_MAX_LAG, settings.expiry / 24) if settings.expiry else _MAX_LAG
        self._disk = disk
        self._cached: OrderedDict[str, CachedUpload] = OrderedDict()  # the least recently used first
        self._loading = KeyedLocks()
        self._writing = KeyedLocks()

    def now(self) -> float:
        """Seconds since 1970 UTC."""
        return self.clock.seconds()

    async def run(self, f: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """
        Run C{f} in a disk thread.

        @raise StorehouseError: what it raised; or what became of an C{OSError}.
        """
        try:
            return await whole(self._disk, f, *args, **kwargs)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise NoSpace("no space on the disk for the states of uploads") from None
            self._log.error("the store of resumable uploads met {error}", error=str(error))
            if error.errno == errno.EROFS:
                raise Unavailable("the file system of the uploads is read-only") from None
            raise Unavailable(f"the store of resumable uploads failed: {error.strerror or error}") from None

    # -- finding -------------------------------------------------------------------------------

    async def load(self, id: str) -> CachedUpload:
        """
        @raise NoSuchUpload: if there is none.
        @raise UploadGone: if there was one.
        """
        upload = await self.find(id)
        if upload.state.stage == "gone" or (not upload.users and self.is_expired(upload)):
            raise UploadGone(f"the upload {id} has expired, or was abandoned")
        return upload

    async def find(self, id: str) -> CachedUpload:
        """As L{load}, those that are gone too."""
        if not is_id(id):
            raise NoSuchUpload(f"there is no upload {id[:100]}")
        upload = self.cached(id)
        if upload is None:
            async with self._loading.held(id):
                upload = self.cached(id)
                if upload is None:
                    upload = self.add(await self._read(id))
        return upload

    async def _read(self, id: str) -> CachedUpload:
        state = await self.run(self.states.read, id)
        parts: list[Part] = []
        if state.stage == "open" or (state.stage == "complete" and state.is_partial):
            try:
                parts = await self.store.list_parts(self.bucket, state.name, id)
            except NoSuchUpload:
                state = await self._recover(state)
        touched = min(self.now(), state.touched + self._max_lag)
        return CachedUpload(state, parts, touched)

    async def _recover(self, state: State) -> State:
        """
        The store does not have the upload of a state that is open: the process ended while it was being completed, or
        somebody aborted it.
        """
        found = None if state.is_partial else await self._find_object(state)
        if found is None:
            self._log.warn("the parts of {id} are gone, and it did not become an object", id=state.id)
            state = attrs.evolve(state, stage="gone", touched=self.now())
        else:
            self._log.info("{id} had become {key} when the process ended", id=state.id, key=found.key)
            state = completed(state, found)
        await self.run(self.states.write, state)
        return state

    async def _find_object(self, state: State) -> ObjectInfo | None:
        names = candidates(state.name) if state.names == "rename" else iter([state.name])
        for key in names:
            try:
                info = await self.store.head(self.bucket, key)
            except (NoSuchKey, NoSuchBucket):
                # It would have taken this name, or one before it.
                return None
            except DamagedEntry:
                continue  # another object, as far as can be seen
            if list(info.metadata.get("upload", ())) == [state.id]:
                return info
        return None

    # -- in memory -----------------------------------------------------------------------------

    def cached(self, id: str) -> CachedUpload | None:
        """One, if it is in memory."""
        upload = self._cached.get(id)
        if upload is not None:
            self._cached.move_to_end(id)
        return upload

    def add(self, upload: CachedUpload) -> CachedUpload:
        """Keep one in memory, in place of others that are not in use."""
        self._cached[upload.state.id] = upload
        surplus = len(self._cached) - _MAX_CACHED
        if surplus > 0:
            idle = [id for id, each in self._cached.items() if not each.users and each is not upload]
            for id in idle[:surplus]:
                del self._cached[id]
        self.open.update(upload.state)
        return upload

    def forget(self, id: str) -> None:
        """Read it anew when it is needed again."""
        self._cached.pop(id, None)

    def stop_incoming(self, error: Exception) -> None:
        """End all that is being added, and keep what has come of it."""
        for upload in list(self._cached.values()):
            if upload.incoming is not None:
                upload.incoming.stop(error)

    def is_expired(self, upload: CachedUpload) -> bool:
        """Whether it may be removed."""
        expires = self.expires(upload)
        return expires is not None and expires <= self.now()

    def expires(self, upload: CachedUpload) -> float | None:
        """When it may be; C{None} for never."""
        return upload.touched + self.settings.expiry if self.settings.expiry else None

    # -- changing ------------------------------------------------------------------------------

    @asynccontextmanager
    async def changing(self, id: str, gives_way: bool = True, seen: int | None = None) -> AsyncIterator[CachedUpload]:
        """
        Hold the lock of an upload, as the newest request for it: one that is adding to it is ended, and those that wait
        for the lock fail.

        @param gives_way: whether this one fails, too, when a newer one comes while it waits.
        @param seen: the number of this request; C{None} for the newest.
        @raise UploadBusy: if there is a newer one.
        """
        # Before the upload is loaded: those that wait for that need not continue in the order in which they came.
        turn = next(self.turns) if seen is None else seen
        upload = await self.load(id)
        with upload.in_use():
            if gives_way and upload.newest > turn:
                raise UploadBusy(f"a newer request continues the upload {id}")
            upload.newest = max(upload.newest, turn)
            if upload.incoming is not None:
                upload.incoming.stop(UploadBusy(f"a newer request continues the upload {id}"))
            async with self.locks.held(id):
                if gives_way and upload.newest != turn:
                    raise UploadBusy(f"a newer request continues the upload {id}")
                if upload.state.stage == "gone":
                    raise UploadGone(f"the upload {id} was abandoned")
                yield upload

    async def change(self, upload: CachedUpload, change: Callable[[State], State]) -> None:
        """Write another state of an upload, made of the one that it has then."""
        async with self._writing.held(upload.state.id):
            upload.touched = self.now()
            state = attrs.evolve(change(upload.state), touched=upload.touched)
            await self.run(self.states.write, state)
            self.set_state(upload, state)

    def set_state(self, upload: CachedUpload, state: State) -> None:
        """Take a state as that of an upload, in memory."""
        upload.state = state
        self.open.update(state)

    async def touch(self, upload: CachedUpload) -> None:
        """A request had to do with an upload: that is written down now and then."""
        upload.touched = self.now()
        if upload.touched - upload.state.touched > self._max_lag:
            await self.change(upload, lambda state: state)

    async def reload_parts(self, upload: CachedUpload) -> None:
        """Something failed after which it is not certain what parts an upload has."""
        try:
            upload.parts = await self.store.list_parts(self.bucket, upload.state.name, upload.state.id)
        except Exception as error:
            # The next request for it tries again.
            self._log.warn("the parts of {id} cannot be listed: {error}", id=upload.state.id, error=str(error))
            self.forget(upload.state.id)

    async def abort(self, name: str, upload_id: str) -> None:
        """Remove the parts of an upload; a failure is logged."""
        try:
            await finished(self.store.abort_upload(self.bucket, name, upload_id))
        except NoSuchUpload:
            pass  # an earlier try removed them
        except StorehouseError as error:
            self._log.error("the parts of {id} could not be removed: {error}", id=upload_id, error=str(error))

    # -- sizes and descriptions ----------------------------------------------------------------

    def check_size(self, size: int, *bounds: int | None) -> None:
        """@raise TooLarge: for more bytes than an upload may have."""
        most = least_of([*bounds, self.settings.max_size or None])
        if most is not None and size > most:
            raise TooLarge(f"the upload has {size} bytes; at most {most} are allowed")

    async def length_of(self, pieces: Iterable[str]) -> int | None:
        """The bytes that pieces will have together; C{None} if that is not known."""
        total = 0
        for id in pieces:
            length = (await self.load(id)).state.length
            if length is None:
                return None
            total += length
        return total

    async def describe(self, upload: CachedUpload, seen: int | None = None) -> ResumableUpload:
        """
        An upload as callers see it.

        @param seen: the number of the request; C{None} for the newest.
        """
        if seen is None:
            seen = next(self.turns)
        state = upload.state
        length = state.length
        if state.pieces and state.stage == "open":
            length = await self.length_of(state.pieces)
        return ResumableUpload(
            id=state.id,
            owner=state.owner,
            grant=state.grant,
            name=state.name,
            key=state.key,
            content_type=state.content_type,
            metadata=dict(state.metadata),
            offset=upload.offset,
            length=length,
            max_bytes=state.max_bytes,
            is_partial=state.is_partial,
            pieces=tuple(state.pieces),
            is_complete=state.stage == "complete",
            created=state.created,
            expires=self.expires(upload),
            etag=state.etag,
            seen=seen,
        )


def completed(state: State, info: ObjectInfo) -> State:
    """The state of an upload that has become an object."""
    return attrs.evolve(state, stage="complete", key=info.key, etag=info.etag, size=info.size, length=info.size)


def least_of(bounds: Iterable[int | None]) -> int | None:
    """The least of those that are not C{None}; C{None} if all are."""
    return min((bound for bound in bounds if bound is not None), default=None)
