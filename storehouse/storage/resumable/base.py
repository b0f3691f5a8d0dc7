"""What all that is done with resumable uploads stands on."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, ParamSpec, TypeVar

import attrs
from twisted.logger import Logger

from storehouse.core.disk import IDisk
from storehouse.core.files import NO_SPACE, Files
from storehouse.core.jobs import KeyedLocks, finished, whole
from storehouse.core.operations import Operations
from storehouse.errors import NoSpace, NoSuchUpload, StorehouseError, TooLarge, Unavailable, UploadBusy, UploadGone
from storehouse.storage.objects.interfaces import IObjectStore
from storehouse.storage.resumable.formats import State
from storehouse.storage.resumable.interfaces import ResumableUpload
from storehouse.storage.resumable.known import Known, Memory
from storehouse.storage.resumable.opened import MAX_OPEN, OpenUploads
from storehouse.storage.resumable.states import IBox, PlainBox, States, is_id

__all__ = ["Base", "ResumableSettings"]

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds for which the time of a state may be out of date.
_SLACK = 3600.0

_DAY = 86400.0


@attrs.frozen
class ResumableSettings:
    """
    How uploads are kept.

    @ivar directory: an absolute path; made if it is not there.
    @ivar bucket: where the objects go; must be there.
    @ivar names: what becomes of a name that is taken, one of L{NAME_RULES<storehouse.core.freenames.NAME_RULES>}.
    @ivar max_size: bytes that an upload may have; 0 for no bound.
    @ivar expiry: seconds after which an upload is removed that nobody goes on with; 0 for never.
    @ivar max_open: uploads that a user, or those who have a link, may have that are not complete.
    @ivar durable: whether what is acknowledged is on disk, or only with the operating system.
    """

    directory: str
    bucket: str = "uploads"
    names: str = "rename"
    max_size: int = 0
    expiry: float = 86400.0
    max_open: int = MAX_OPEN
    durable: bool = True


class Base:
    """
    Uploads by their IDs.

    @param clock: has C{seconds}, the time since 1970 UTC, and C{callLater}.
    @ivar turns: numbers for requests, in the order in which they come.
    @ivar find_again: makes a state of one that is open, and whose upload the store does not have.
    @ivar open: those that are not complete.
    """

    _log = Logger()

    def __init__(
        self,
        store: IObjectStore,
        disk: IDisk,
        clock: Any,
        settings: ResumableSettings,
        files: Files | None = None,
        box: IBox | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.settings = settings
        self.bucket = settings.bucket
        self.states = States(settings.directory, files or Files(), settings.durable, box or PlainBox())
        self.memory = Memory()
        self.locks = KeyedLocks()
        self.operations = Operations(
            "the store of resumable uploads",
            "storehouse_resumable_operation_seconds",
            "Operations on resumable uploads; for append until its bytes have come.",
        )
        self.turns = count(1)
        self.find_again: Callable[[State], Any] = lambda state: state
        self.open = OpenUploads(settings.max_open)
        self.slack = min(_SLACK, settings.expiry / 24) if settings.expiry else _SLACK
        #: Seconds for which it is known that an upload was there.
        self.remembered = settings.expiry or _DAY
        self._disk = disk
        self._loading = KeyedLocks()
        self._writing = KeyedLocks()

    def now(self) -> float:
        """Seconds since 1970 UTC."""
        seconds: float = self.clock.seconds()
        return seconds

    async def run(self, f: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """
        Run C{f} in a disk thread.

        @raise StorehouseError: what it raised; or what became of an C{OSError}.
        """
        try:
            return await whole(self._disk, f, *args, **kwargs)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise NoSpace("there is no room on the disk for what is known of uploads") from None
            self._log.error("the store of resumable uploads met {error}", error=str(error))
            if error.errno == errno.EROFS:
                raise Unavailable("the file system of the uploads is read-only") from None
            raise Unavailable(f"the store of resumable uploads failed: {error.strerror or error}") from None

    # -- uploads -------------------------------------------------------------------------------

    async def load(self, id: str) -> Known:
        """
        @raise NoSuchUpload: if there is none.
        @raise UploadGone: if there was one.
        """
        known = await self.find(id)
        if known.state.stage == "gone" or (not known.users and self.is_over(known)):
            raise UploadGone(f"the upload {id} expired, or was given up")
        return known

    async def find(self, id: str) -> Known:
        """As L{load}, those that are gone too."""
        if not is_id(id):
            raise NoSuchUpload(f"there is no upload {id[:100]}")
        known = self.memory.get(id)
        if known is None:
            async with self._loading.held(id):
                known = self.memory.get(id)
                if known is None:
                    known = self.memory.add(await self._read(id))
                    self.settle(known, known.state)
        return known

    async def _read(self, id: str) -> Known:
        state = await self.run(self.states.read, id)
        parts = []
        if state.stage == "open" or (state.stage == "complete" and state.is_partial):
            try:
                parts = await self.store.list_parts(self.bucket, state.name, id)
            except NoSuchUpload:
                state = await self.find_again(state)
        touched = min(self.now(), state.touched + self.slack)
        return Known(state, parts, touched)

    def is_over(self, known: Known) -> bool:
        """Whether its time is."""
        expires = self.expires(known)
        return expires is not None and expires <= self.now()

    def expires(self, known: Known) -> float | None:
        """When it will be."""
        return known.touched + self.settings.expiry if self.settings.expiry else None

    @asynccontextmanager
    async def changing(self, id: str, gives_way: bool = True, seen: int | None = None) -> AsyncIterator[Known]:
        """
        Be the one who changes an upload: whoever is at it is ended, and whoever waits to be gives way.

        @param seen: when the request came; C{None} for now.
        @raise UploadBusy: if somebody else came even later, for those who give way.
        """
        # Before the upload is looked up: those who wait for that need not go on in the order in which they came.
        mine = next(self.turns) if seen is None else seen
        known = await self.load(id)
        with self.memory.used(known):
            if gives_way and known.newest > mine:
                raise UploadBusy(f"another request goes on with the upload {id}")
            known.newest = max(known.newest, mine)
            if known.running is not None:
                known.running.stop(UploadBusy(f"another request goes on with the upload {id}"))
            async with self.locks.held(id):
                if gives_way and known.newest != mine:
                    raise UploadBusy(f"another request goes on with the upload {id}")
                if known.state.stage == "gone":
                    raise UploadGone(f"the upload {id} was given up")
                yield known

    async def write(self, known: Known, **changes: Any) -> None:
        """Change what is kept of an upload."""
        await self.rewrite(known, lambda state: attrs.evolve(state, **changes))

    async def rewrite(self, known: Known, change: Callable[[State], State]) -> None:
        """Change what is kept of an upload, in a way that depends on it."""
        async with self._writing.held(known.state.id):
            known.touched = self.now()
            state = attrs.evolve(change(known.state), touched=known.touched)
            await self.run(self.states.write, state)
            self.settle(known, state)

    def settle(self, known: Known, state: State) -> None:
        """What is known of an upload is this."""
        known.state = state
        self.open.settle(state)

    async def touch(self, known: Known) -> None:
        """Something was done with an upload: that is written down now and then."""
        known.touched = self.now()
        if known.touched - known.state.touched > self.slack:
            await self.write(known)

    async def look_again(self, known: Known) -> None:
        """What parts an upload has is not sure any more."""
        try:
            known.parts = await self.store.list_parts(self.bucket, known.state.name, known.state.id)
        except Exception as error:
            # Whoever comes next looks.
            self._log.warn("the parts of {id} cannot be listed: {error}", id=known.state.id, error=str(error))
            self.memory.forget(known.state.id)

    async def abort(self, name: str, upload_id: str) -> None:
        """Remove the parts of an upload, if they can be."""
        try:
            await finished(self.store.abort_upload(self.bucket, name, upload_id))
        except NoSuchUpload:
            pass
        except StorehouseError as error:
            self._log.error("the parts of {id} could not be removed: {error}", id=upload_id, error=str(error))

    # -- bounds --------------------------------------------------------------------------------

    def check_size(self, size: int, *bounds: int | None) -> None:
        """@raise TooLarge: for more bytes than an upload may have."""
        most = least_of([*bounds, self.settings.max_size or None])
        if most is not None and size > most:
            raise TooLarge(f"the upload has {size} bytes; at most {most} are allowed")

    # -- what others are told ------------------------------------------------------------------

    async def described(self, known: Known, seen: int | None = None) -> ResumableUpload:
        """
        An upload for those who asked.

        @param seen: when that was; C{None} for now.
        """
        if seen is None:
            seen = next(self.turns)
        state = known.state
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
            offset=known.offset,
            length=length,
            max_bytes=state.max_bytes,
            is_partial=state.is_partial,
            pieces=tuple(state.pieces),
            is_complete=state.stage == "complete",
            created=state.created,
            expires=self.expires(known),
            etag=state.etag,
            seen=seen,
        )

    async def length_of(self, pieces: Iterable[str]) -> int | None:
        """The bytes that pieces will have together; C{None} if that is not known."""
        total = 0
        for id in pieces:
            length = (await self.load(id)).state.length
            if length is None:
                return None
            total += length
        return total


def least_of(bounds: Iterable[int | None]) -> int | None:
    """The least of those that are there."""
    return min((bound for bound in bounds if bound is not None), default=None)
