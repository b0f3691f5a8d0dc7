"""Who reads which object of a Wormer store: the files of a deleted one stay until its last reader is done."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storehouse.storage.dataspace.directory import StoreDirectory

__all__ = ["Holders", "Holding"]


class Holders:
    """
    Those who read one object.

    @ivar gone: where its files are, once it was deleted.
    """

    def __init__(self) -> None:
        self.count = 0
        self.gone = ""


class Holding:
    """See the module."""

    _log = Logger()

    def __init__(self, directory: StoreDirectory) -> None:
        self._directory = directory
        self._holders: dict[str, Holders] = {}
        self._deleting: dict[str, list[Deferred[None]]] = {}

    async def hold(self, id: str) -> Holders:
        """One more reads an object, if it is there: its files stay until L{let_go}."""
        while id in self._deleting:
            turn: Deferred[None] = Deferred()
            self._deleting[id].append(turn)
            await turn
        holders = self._holders.setdefault(id, Holders())
        holders.count += 1
        return holders

    def let_go(self, id: str, holders: Holders) -> None:
        """One that L{hold} gave is not needed any more."""
        holders.count -= 1
        if holders.count:
            return
        if self._holders.get(id) is holders:
            del self._holders[id]
        if holders.gone:
            removing = Deferred.fromCoroutine(self._directory.run(self._directory.remove, holders.gone))
            self._directory.operations.track(removing)
            removing.addCallback(self._removed)
            removing.addErrback(lambda failure: self._log.failure("while removing", failure=failure))

    def _removed(self, result: None) -> None:
        self._directory.metrics.staged -= 1

    async def remove(self, id: str, move_out: Callable[[bool], str]) -> None:
        """
        Remove an object. Nobody else may change it meanwhile.

        @param move_out: takes it out of its place, in a disk thread; removes it if called with true, and gives the path
            where it is now.
        """
        waiting: list[Deferred[None]] = []
        self._deleting[id] = waiting
        try:
            holders = self._holders.get(id)
            gone = await self._directory.run(move_out, holders is None)
            if holders is not None and self._holders.get(id) is holders:
                # From now on, opening the ID opens another object.
                del self._holders[id]
                holders.gone = gone
                self._directory.metrics.staged += 1
            elif holders is not None:  # the last of them left meanwhile
                await self._directory.run(self._directory.remove, gone)
        finally:
            del self._deleting[id]
            for turn in waiting:
                turn.callback(None)

    # -- keeping what is removed ---------------------------------------------------------------

    def keep_removed(self) -> None:
        """
        From now on keep the bytes of objects that are removed, as C{tmp/kept.ID}, until L{release_removed} or the next start: so
        who has read a name finds its bytes, although both go.
        """
        if self._directory.kept is None:
            self._directory.kept = []

    def release_removed(self) -> None:
        """Remove what was kept, one after the other, and keep nothing any more."""
        kept, self._directory.kept = self._directory.kept, None
        releasing = Deferred.fromCoroutine(self._release(kept or []))
        self._directory.operations.track(releasing)
        releasing.addErrback(lambda failure: self._log.failure("while removing what was kept", failure=failure))

    async def _release(self, kept: list[str]) -> None:
        for path in kept:
            if self._directory.operations.refusal is not None:
                return  # the next start does it
            await self._directory.run(self._directory.remove, path)
