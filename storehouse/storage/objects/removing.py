"""
Which bytes are removed: decided here and nowhere else (docs/architecture.rst, "What removes stored bytes").

Nothing else of the object store calls C{delete} or C{set_aside} of its data space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storehouse.core.jobs import finished, over, settled
from storehouse.errors import BadRequest, Damaged, NoSuchBucket, NoSuchKey, NoSuchObject, StorehouseError, Unavailable
from storehouse.storage.dataspace.interfaces import IDataSpace
from storehouse.storage.namespace.interfaces import Entry, INamespace, Needed
from storehouse.storage.objects.metrics import StoreMetrics

__all__ = ["Removing"]

# Bytes to be freed, in objects, before those who replace more must wait.
_MOST_FREEING = 256


class _Stopping(Exception):
    """The search for names was aborted."""


class Removing:
    """
    See the module.

    @param space: an L{IDataSpace}.
    @param names: an L{INamespace}.
    @param has_bytes: fails unless a key's object has its bytes; with C{NoSuchKey} if there is no such key.
    @ivar arriving: IDs of bytes that have no key yet.
    @ivar leaving: IDs of bytes that have none any more, and are being removed.
    """

    _log = Logger()

    def __init__(
        self,
        space: IDataSpace,
        names: INamespace,
        metrics: StoreMetrics,
        has_bytes: Callable[[str, str], Deferred[object]],
    ) -> None:
        self.arriving: set[str] = set()
        self.leaving: set[str] = set()
        self._space = space
        self._names = names
        self._metrics = metrics
        self._has_bytes = has_bytes
        self._freeing: dict[Deferred[Any], None] = {}
        # IDs that were given up, and that perhaps something else names: with whether a user gave them up in this run.
        self._doubtful: dict[str, bool] = {}
        self._tidying: Deferred[None] | None = None
        self._stopping = False

    def gone(self, id: str) -> None:
        """There are no such bytes."""
        self.arriving.discard(id)
        self.leaving.discard(id)
        self._names.settle([id])

    async def stopped(self) -> None:
        """Wait for what is being removed. What is in doubt is left to the next start."""
        self._stopping = True
        while self._freeing:
            await settled(over(next(iter(self._freeing))))
        if self._tidying is not None and not self._tidying.called:
            await settled(over(self._tidying))

    # -- bytes that never had a key ------------------------------------------------------------

    async def undo(self, id: str) -> None:
        """Remove bytes that were stored by this process under a new ID, and that no key was given."""
        await self._remove(id)

    async def refused(self, bucket: str, key: str, id: str) -> None:
        """
        Remove bytes that a key was not given, unless it has them after all: what fails in the middle, such as a sync,
        may have happened. Then the next start decides.
        """
        try:
            await finished(self._names.look_up(bucket, key, id))
        except (NoSuchKey, NoSuchBucket, BadRequest):
            await self._remove(id)
        except StorehouseError as error:
            self._log.error("{id} may have no key, the next start will check: {error}", id=id, error=str(error))
        else:
            self.arriving.discard(id)

    # -- bytes that a key had ------------------------------------------------------------------

    async def free(self, bucket: str, key: str, entries: Iterable[Entry]) -> None:
        """Have bytes removed, soon, that the namespace says a key does not have any more."""
        for entry in entries:
            if entry.marker:
                self.gone(entry.id)  # it never had bytes
                continue
            self.leaving.add(entry.id)
            freeing = Deferred.fromCoroutine(self._free(bucket, key, entry.id))
            if freeing.called:
                continue
            self._freeing[freeing] = None
            freeing.addBoth(self._freed, freeing)
        # Backpressure: replacing objects faster than their bytes can be removed would fill the disk and memory.
        while len(self._freeing) > _MOST_FREEING:
            await settled(over(next(iter(self._freeing))))

    def _freed(self, result: Any, freeing: Deferred[Any]) -> Any:
        self._freeing.pop(freeing, None)
        return result

    async def _free(self, bucket: str, key: str, id: str) -> None:
        try:
            said = (await finished(self._space.get_metadata(id))).get("key")
        except NoSuchObject:
            self.gone(id)
            return
        except StorehouseError:
            said = None
        # The bytes name the key that they were written for. Only if that agrees, and no key was copied on disk, may they go
        # without asking every key.
        if said and said[0] in (f"{bucket}/{key}", key) and not self._names.shared:
            await self._remove(id)
            return
        # They are those of another key by their own account, as in a bucket that was copied or renamed on disk, or they
        # cannot say, or there are copies of keys: whether they have another name is asked first.
        self._doubtful[id] = True
        if self._tidying is None or self._tidying.called:
            self.tidy()

    async def _remove(self, id: str) -> None:
        """Remove bytes; if that fails, the next start does."""
        try:
            await finished(self._space.delete(id))
        except NoSuchObject:
            pass  # removed by an earlier try, whose result a crash or a failed sync lost
        except Exception as error:
            self._log.error("{id} could not be removed, the next start will: {error}", id=id, error=str(error))
            return
        self.gone(id)

    # -- bytes that may have a name ------------------------------------------------------------

    def leftovers(self, ids: Iterable[str]) -> None:
        """IDs that a crash left without a key, as far as their own key goes. L{tidy} sees to them."""
        for id in ids:
            self._doubtful.setdefault(id, False)

    def tidy(self) -> Deferred[None]:
        """
        Remove bytes that were given up and that nothing names. All keys are looked at for that: other operations go on
        meanwhile.

        @return: fires, always, when that is done.
        """
        if self._tidying is None or self._tidying.called:
            self._tidying = Deferred.fromCoroutine(self._tidy())
            self._tidying.addErrback(lambda failure: self._log.failure("while tidying", failure=failure))
        done: Deferred[None] = Deferred()
        self._tidying.addCallback(lambda _: done.callback(None))
        return done

    async def _tidy(self) -> None:
        while self._doubtful:
            doubtful, self._doubtful = self._doubtful, {}
            try:
                needed = await finished(self._names.needed(list(doubtful), self._going_on))
                for id, given_up in doubtful.items():
                    await self._decide(id, needed, given_up)
                    self._going_on(0)
            except (_Stopping, Unavailable):
                return  # the next start continues

    def _going_on(self, count: int) -> None:
        if self._stopping:
            raise _Stopping

    async def _decide(self, id: str, needed: Needed, given_up: bool) -> None:
        if id in self.arriving:
            return
        if id in needed.ids:
            self.gone(id)  # from where it was, and it has another name
            return
        try:
            reason = needed.doubt or await self._why_kept(id, given_up)
        except NoSuchObject:
            self.gone(id)
            return
        if reason:
            self._log.warn("{id} has no key; it stays: {reason}", id=id, reason=reason)
            return
        await self._remove(id)
        if not given_up:
            self._metrics.orphans += 1
            self._log.info("removed {id}, which a crash had left without a key", id=id)

    async def _why_kept(self, id: str, given_up: bool) -> str:
        try:
            said = (await finished(self._space.get_metadata(id))).get("key") or [""]
        except Damaged as error:
            return "" if given_up else f"it cannot be read: {error.detail}"
        return await self.why_kept(said[0], given_up)

    async def why_kept(self, name: str, given_up: bool = False) -> str:
        """
        Why bytes stay that nothing names; empty if there is no reason. In a copy of a root that was made while it was
        in use, the bytes of the version before may be the only ones there are.

        @param name: the bucket and key that they are of by their own account.
        @param given_up: whether a user gave them up in this run, so that they were seen under their name.
        """
        bucket, slash, key = name.partition("/")
        if not slash:
            return "" if given_up else "it does not name its key"
        try:
            await finished(self._has_bytes(bucket, key))
        except NoSuchKey:
            return ""
        except NoSuchBucket:
            return "" if given_up else f"there is no bucket {bucket[:200]}"
        except BadRequest:
            return "" if given_up else f"{name[:200]!r} cannot be a key"
        except Damaged as error:
            return f"the entry of {bucket}/{key} cannot be read: {error.detail}"
        return ""

    async def set_aside(self, id: str, why: str) -> str:
        """
        Take bytes out that nothing names, as a check has found. They are not removed.

        @return: the path where they are now.
        @raise NoSuchObject: if they are not there any more.
        """
        place: str = await finished(self._space.set_aside(id, why))
        self.gone(id)
        self._metrics.orphans += 1
        return place
