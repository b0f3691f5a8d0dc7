"""How the index of a running namespace is kept in agreement with its tree."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storehouse.core.disk import IDisk
from storehouse.errors import DamagedEntry, StorehouseError, Unavailable
from storehouse.storage.namespace.check import check_bucket_rows, check_key, check_top
from storehouse.storage.namespace.entries import decode_row, encode_entry
from storehouse.storage.namespace.index import Index
from storehouse.storage.namespace.interfaces import Bucket, Entry, Problem
from storehouse.storage.namespace.journal import Journal
from storehouse.storage.namespace.listing import Item, list_items
from storehouse.storage.namespace.locks import KeyLocks
from storehouse.storage.namespace.rebuild import bucket_of, in_slices, rebuild
from storehouse.storage.namespace.recovery import DAMAGED
from storehouse.storage.namespace.tree import Place, Tree

__all__ = ["Upkeep"]


class Upkeep:
    """
    The index, and what is done when it is wrong.

    The index never fails an operation on a key: if it cannot be read or written, that is logged, the tree answers, and
    the next start makes it anew.

    @ivar broken: why the index is not used any more, or C{None}.
    @ivar repairs: rows that were wrong and were made good.
    @ivar checkpoints: how often the index was brought to disk.
    """

    _log = Logger()

    def __init__(self, tree: Tree, journal: Journal, disk: IDisk) -> None:
        self.index = Index(os.path.join(tree.directory, "index"))
        self.broken: str | None = None
        self.repairs = 0
        self.checkpoints = 0
        self._tree = tree
        self._journal = journal
        self._disk = disk
        self._locks = KeyLocks()

    # -- rows: in any thread -------------------------------------------------------------------

    def break_off(self, error: object) -> None:
        """Use the index no more, and have the next start make it anew."""
        if self.broken is not None:
            return
        self.broken = str(error)
        directory = os.path.dirname(self.index.path)
        self._log.critical(
            "the index in {directory} is damaged ({error}); keys are not listed until it is made anew, by a restart "
            "or 'storehouse reindex'",
            directory=directory,
            error=error,
        )
        try:
            with open(os.path.join(directory, DAMAGED), "w") as file:
                file.write(self.broken)
        except OSError as failure:
            self._log.error("this could not be noted for the next start: {error}", error=failure)

    def get(self, number: int, data: bytes, key: str) -> Entry | None:
        """The default version of a key, if the index has it and it is fine. For the reactor's thread."""
        if self.broken is not None:
            return None
        try:
            text = self.index.get(number, data)
            if text is None:
                return None
            named, entry = decode_row(text)
        except sqlite3.Error as error:
            self.break_off(error)
            return None
        except ValueError:
            return None
        return entry if named == key else None

    def apply(self, number: int, data: bytes, row: tuple[int, bytes] | None) -> None:
        """Change a row, after its key was changed."""
        if self.broken is not None:
            return
        try:
            self.index.apply([(number, data, row)])
        except sqlite3.Error as error:
            self.break_off(error)

    def repair(self, number: int, data: bytes, place: Place) -> Entry | None:
        """
        Read a key from the tree, and make its row good. To be called while nobody changes the key.

        @raise DamagedEntry: and then there is no row.
        """
        try:
            entry = self._tree.current(place)
        except DamagedEntry:
            self._put_right(number, data, place, None)
            raise
        self._put_right(number, data, place, None if entry is None else (entry.size, encode_entry(entry, place.key)))
        return entry

    def _put_right(self, number: int, data: bytes, place: Place, row: tuple[int, bytes] | None) -> None:
        if self.broken is not None:
            return
        try:
            if self.index.row(number, data) == row:
                return
            self.index.apply([(number, data, row)])
        except sqlite3.Error as error:
            self.break_off(error)
            return
        self.repairs += 1
        self._log.warn("the row of {key} in the index was wrong: repaired", key=f"{place.bucket}/{place.key}")

    def add_bucket(self, name: str, text: bytes) -> int:
        """@return: its number; one that no bucket has if the index is broken."""
        try:
            return -1 if self.broken is not None else self.index.add_bucket(name, text)
        except sqlite3.Error as error:
            self.break_off(error)
            return -1

    def drop_bucket(self, number: int) -> None:
        """Forget a bucket."""
        try:
            if self.broken is None:
                self.index.drop_bucket(number)
        except sqlite3.Error as error:
            self.break_off(error)

    def list_items(self, number: int, bucket: str, prefix: str, delimiter: str, after: str, limit: int) -> list[Item]:
        """
        See L{list_items<storehouse.storage.namespace.listing.list_items>}; what is damaged is read from the tree.

        @raise Unavailable: if the index is broken.
        """
        if self.broken is None:
            try:
                items = list_items(self.index, number, prefix, delimiter, after, limit)
            except sqlite3.Error as error:
                self.break_off(error)
        if self.broken is not None:
            raise Unavailable(f"the index of keys is damaged, and is made anew by a restart: {self.broken}")
        whole: list[Item] = []
        for key, entry in items:
            if entry is None:
                self.repairs += 1
                self._log.warn("the row of {key} in the index is damaged", key=f"{bucket}/{key}")
                entry = self._tree.current(self._tree.place(bucket, key, key.encode()))
                if entry is None:
                    self.break_off(f"it has a damaged row, and no key {key!r} is in {bucket}")
                    continue
                self.index.apply([(number, key.encode(), (entry.size, encode_entry(entry, key)))])
            whole.append((key, entry))
        return whole

    def check_key(self, number: int, data: bytes, place: Place) -> list[Problem]:
        """What is wrong with one key. To be called while nobody changes it."""
        return check_key(self._tree, self.index, number, data, place)

    # -- in the reactor's thread ---------------------------------------------------------------

    def begin_checkpoint(self) -> None:
        """Begin one, if none is under way."""
        if not self._locks:
            Deferred.fromCoroutine(self.checkpoint()).addErrback(
                lambda failure: self._log.error("the checkpoint failed: {error}", error=failure.value)
            )

    async def checkpoint(self) -> None:
        """
        Bring the index to disk, and begin the journal anew with what is still open.

        @raise StorehouseError: if the journal cannot be written.
        """
        await self._locks.acquire("checkpoint")
        try:
            await self._journal.renew(self._sync)
            self.checkpoints += 1
        finally:
            self._locks.release("checkpoint")

    async def idle(self) -> None:
        """Wait until no checkpoint is under way."""
        await self._locks.acquire("checkpoint")
        self._locks.release("checkpoint")

    def _sync(self, generation: int) -> None:
        if self.broken is None:
            try:
                self.index.sync(generation)
            except sqlite3.Error as error:
                self.break_off(error)

    async def reindex(self, progress: Callable[[int], None]) -> tuple[int, dict[str, tuple[int, Bucket]]]:
        """Make the index anew while nobody uses it. @return: the number of keys, and the buckets."""
        await self.idle()
        directory = os.path.dirname(self.index.path)
        stamp = secrets.token_hex(8)
        counts = [0]

        def step(count: int) -> None:
            counts[0] = count
            if count % 1000 == 0:
                progress(count)

        # Until the journal of the new stamp is there, a start makes the index anew.
        self.index.close()
        self.broken = self.broken or "it is being made anew"
        await in_slices(self._disk, rebuild(self._tree, directory, stamp, self._journal.generation), step)
        if os.path.exists(os.path.join(directory, DAMAGED)):
            os.unlink(os.path.join(directory, DAMAGED))
        self.index = Index(directory)
        self.index.open()
        self._journal.stamp = stamp
        self.broken = None
        await self.checkpoint()
        buckets = {
            total.name: (total.number, bucket_of(self._tree, total.name))
            for total in await self._disk.run(self.index.totals)
        }
        return counts[0], buckets

    async def check(
        self,
        numbers: dict[str, int],
        found: Callable[[Problem], object],
        look_closer: Callable[[str, str], Coroutine[Any, Any, None]],
        progress: Callable[[int], None],
    ) -> None:
        """
        Walk through everything.

        @param numbers: of the buckets.
        @param look_closer: called with each key that may have a problem.
        """
        count = [0]
        suspects: list[tuple[str, str]] = []

        def take(item: Problem | tuple[str, str] | None) -> None:
            if isinstance(item, Problem):
                found(item)
            elif item is not None:
                suspects.append(item)
            else:
                count[0] += 1
                if count[0] % 1000 == 0:
                    progress(count[0])

        if self.broken is not None:
            found(Problem("index", "", None, None, f"{self.index.path} is damaged: {self.broken}", True))
        for text in await self._disk.run(self.index.faults):
            found(Problem("index", "", None, None, f"{self.index.path} is damaged: {text}; a rebuild helps", True))
        await in_slices(self._disk, check_top(self._tree, self._journal.path, numbers), take)
        for name, number in numbers.items():
            await in_slices(self._disk, check_bucket_rows(self._tree, self.index, number, name), take)
            for bucket, key in suspects:
                try:
                    await look_closer(bucket, key)
                except StorehouseError as error:
                    found(Problem("damaged", bucket, key, None, str(error), False))
            suspects.clear()
        progress(count[0])
