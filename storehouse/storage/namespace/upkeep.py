"""The index of a running namespace, kept in agreement with its tree."""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storehouse.core.disk import IDisk
from storehouse.core.jobs import KeyedLocks
from storehouse.errors import DamagedEntry, NoSpace, Unavailable
from storehouse.storage.namespace.concurrency import in_slices
from storehouse.storage.namespace.entries import decode_row
from storehouse.storage.namespace.index import Index, Row, ids_of, is_full
from storehouse.storage.namespace.interfaces import Bucket, Entry
from storehouse.storage.namespace.journal import Journal
from storehouse.storage.namespace.listing import Item, list_items, list_names
from storehouse.storage.namespace.recovery import DAMAGED, KnownRows, bucket_of, mark_of, rebuild, row_of
from storehouse.storage.namespace.tree import KeyPath, Tree

__all__ = ["Upkeep"]

T = TypeVar("T")


class Upkeep:
    """
    The index, its checkpoints, and its repair.

    The index never makes an operation on a key fail: if it cannot be read or written, that is logged, the tree is read
    instead, and the next start rebuilds it. Rows that a full disk has no room for are written later; until then keys are not
    listed.

    @ivar broken: why the index is not used any more, or C{None}.
    @ivar repairs: how many rows were wrong, and were repaired.
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
        self._locks = KeyedLocks()
        self._checkpoints = 0  # under way, or waiting
        # Rows that a full disk had no room for; they are written before the next checkpoint.
        self._owed: dict[tuple[int, bytes], Row | None] = {}
        self._owing = threading.Lock()

    # -- rows: in any thread -------------------------------------------------------------------

    def break_off(self, error: object) -> None:
        """Stop using the index, and have the next start rebuild it."""
        if self.broken is not None:
            return
        self.broken = str(error)
        directory = os.path.dirname(self.index.path)
        self._log.critical(
            "the index in {directory} is damaged ({error}); keys are not listed until it is rebuilt, by a restart "
            "or 'storehouse reindex'",
            directory=directory,
            error=error,
        )
        try:
            with open(os.path.join(directory, DAMAGED), "w") as file:
                file.write(self.broken)
        except OSError as failure:
            self._log.error("the damage of the index cannot be noted for the next start: {error}", error=failure)

    def get(self, number: int, data: bytes, key: str) -> tuple[Entry, frozenset[str]] | None:
        """
        The default version of a key, and the IDs of the others; C{None} if its row is missing or cannot be read. For the
        reactor's thread.
        """
        if self.broken is not None or (number, data) in self._owed:
            return None
        try:
            row = self.index.get(number, data)
            if row is None:
                return None
            named, entry = decode_row(row[0])
        except sqlite3.Error as error:
            self.break_off(error)
            return None
        except ValueError:
            return None
        return (entry, ids_of(row[1])) if named == key else None

    def apply(self, number: int, data: bytes, row: Row | None) -> None:
        """Change a row, after its key was changed."""
        if self.broken is not None:
            return
        if self._owed:
            with self._owing:
                self._owed.pop((number, data), None)
        try:
            self.index.apply([(number, data, row)])
        except sqlite3.Error as error:
            if not is_full(error):
                self.break_off(error)
                return
            self._log.warn(
                "the disk is full: a row of the index {path} is written later ({error})",
                path=self.index.path,
                error=error,
            )
            with self._owing:
                self._owed[number, data] = row

    def _pay(self) -> None:
        """
        Write the rows that a full disk had no room for.

        @raise NoSpace: if it still is full.
        """
        with self._owing:
            try:
                if self._owed and self.broken is None:
                    self.index.apply([(number, data, row) for (number, data), row in self._owed.items()])
            except sqlite3.Error as error:
                if is_full(error):
                    raise NoSpace(
                        f"the disk is full: the index {self.index.path} cannot be written ({error})"
                    ) from error
                self.break_off(error)
            self._owed.clear()

    def repair(self, number: int, data: bytes, key_path: KeyPath) -> Entry | None:
        """
        Read a key from the tree, and repair its row. The caller holds the key.

        @raise DamagedEntry: if its default version cannot be read. A row that has it stays; otherwise the row marks the damage.
        """
        try:
            row = row_of(self._tree, key_path)
        except DamagedEntry as error:
            if self.get_row(number, data, key_path.key) is None:
                self._put_right(number, data, key_path, mark_of(self._tree, key_path, error))
            raise
        self._put_right(number, data, key_path, row)
        return None if row is None else decode_row(row[1])[1]

    def get_row(self, number: int, data: bytes, key: str) -> Entry | None:
        """The default version of a key, by its row; C{None} if that is missing or cannot be read. For any thread."""
        try:
            row = None if self.broken is not None or (number, data) in self._owed else self.index.row(number, data)
            named, entry = decode_row(row[1]) if row is not None else ("", None)
        except sqlite3.Error as error:
            self.break_off(error)
            return None
        except ValueError:
            return None
        return entry if named == key else None

    def _put_right(self, number: int, data: bytes, key_path: KeyPath, row: Row | None) -> None:
        if self.broken is not None:
            return
        try:
            there = self.index.row(number, data)
        except sqlite3.Error as error:
            self.break_off(error)
            return
        if there == row and (number, data) not in self._owed:
            return
        # An older version whose file is missing stays in the row, so that a check can report it.
        if there is not None and row is not None and there[:2] == row[:2] and ids_of(there[2]) > ids_of(row[2]):
            return
        if there is not None and there[1] and row is None and self.get_row(number, data, key_path.key) is None:
            # Perhaps it is the row of another key, which is not listed then.
            self.break_off(f"it has a damaged row, and {key_path.bucket} has no key {key_path.key!r}")
            return
        if there is None and row is not None:
            self.share()  # perhaps it is a copy of another key
        self.apply(number, data, row)
        self.repairs += 1
        self._log.warn(
            "the row of {key} in the index was wrong, and is repaired", key=f"{key_path.bucket}/{key_path.key}"
        )

    def share(self) -> None:
        """Remember that two keys may name the same ID."""
        try:
            if self.broken is None:
                self.index.share()
        except sqlite3.Error as error:
            if not is_full(error):
                self.break_off(error)

    def add_bucket(self, name: str, text: bytes) -> int:
        """@return: its number; one that no bucket has if the index is broken."""
        try:
            return -1 if self.broken is not None else self.index.add_bucket(name, text)
        except sqlite3.Error as error:
            self.break_off(error)
            return -1

    def change_bucket(self, number: int, text: bytes) -> None:
        """Write the C{bucket.json} of a bucket to its row."""
        try:
            if self.broken is None:
                self.index.change_bucket(number, text)
        except sqlite3.Error as error:
            self.break_off(error)

    def drop_bucket(self, number: int) -> None:
        """Remove a bucket and its rows."""
        try:
            if self.broken is None:
                self.index.drop_bucket(number)
        except sqlite3.Error as error:
            self.break_off(error)

    def page(self, number: int, prefix: str, delimiter: str, after: str, limit: int) -> tuple[list[Item], str | None]:
        """
        A page of L{list_items<storehouse.storage.namespace.listing.list_items>}, and the C{after} of the next one.

        @raise Unavailable: if the index is broken.
        @raise NoSpace: if it lacks rows that a full disk has no room for.
        """
        # One more tells whether there is more.
        items = self._listed(list_items, number, prefix, delimiter, after, limit + 1)
        return items[:limit], items[limit - 1][0] if len(items) > limit > 0 else None

    def names(self, number: int, prefix: str, after: str, limit: int) -> list[str]:
        """
        Keys without entries, by L{list_names<storehouse.storage.namespace.listing.list_names>}.

        @raise Unavailable: and L{NoSpace}, as L{page}.
        """
        return self._listed(list_names, number, prefix, after, limit)

    def _listed(self, f: Callable[..., list[T]], *args: Any) -> list[T]:
        if self._owed:
            self._pay()
        self.check_index()
        try:
            return f(self.index, *args)
        except sqlite3.Error as error:
            self.break_off(error)
        self.check_index()
        return []

    def check_index(self) -> None:
        """@raise Unavailable: if the index is broken."""
        if self.broken is not None:
            raise Unavailable(f"the index of keys is damaged, and a restart rebuilds it: {self.broken}")

    def tell_damage(self, damaged: int) -> None:
        """Log the damage that a start found."""
        if damaged or self.unknown:
            self._log.error(
                "in {directory} {damaged} keys or buckets cannot be read, and {unknown} other files are not part of the namespace: 'storehouse fsck' lists them",
                directory=self._tree.directory,
                damaged=damaged,
                unknown=self.unknown,
            )

    @property
    def unknown(self) -> int:
        """How many files were neither keys nor buckets when the index was made."""
        return 0 if self.broken is not None else self.index.unknown

    @property
    def damaged(self) -> int:
        """How many keys the index has whose default version cannot be read."""
        try:
            return 0 if self.broken is not None else self.index.marked()
        except sqlite3.Error as error:
            self.break_off(error)
            return 0

    # -- in the reactor's thread ---------------------------------------------------------------

    def begin_checkpoint(self) -> None:
        """Begin a checkpoint, unless one is under way."""
        if not self._checkpoints:
            Deferred.fromCoroutine(self.checkpoint()).addErrback(
                lambda failure: self._log.error("the checkpoint failed: {error}", error=failure.value)
            )

    async def checkpoint(self) -> None:
        """
        Bring the index to disk, and begin a new journal with the IDs that are still open.

        @raise StorehouseError: if the journal cannot be written.
        """
        self._checkpoints += 1
        try:
            async with self._locks.held("checkpoint"):
                await self._journal.renew(self._sync)
                self.checkpoints += 1
        finally:
            self._checkpoints -= 1

    async def idle(self) -> None:
        """Wait until no checkpoint is under way."""
        async with self._locks.held("checkpoint"):
            pass

    def _sync(self, generation: int) -> None:
        self._pay()
        if self.broken is None:
            try:
                self.index.sync(generation)
            except sqlite3.Error as error:
                if is_full(error):
                    raise NoSpace(
                        f"the disk is full: the index {self.index.path} cannot be written ({error})"
                    ) from error
                self.break_off(error)

    async def reindex(self, progress: Callable[[int], object]) -> tuple[int, dict[str, tuple[int, Bucket]]]:
        """Rebuild the index while nothing else uses it. @return: the number of keys, and the buckets."""
        await self.idle()
        directory = os.path.dirname(self.index.path)
        stamp = secrets.token_hex(8)
        counts = [0]

        def step(count: int) -> None:
            counts[0] = count
            if count % 1000 == 0:
                progress(count)

        # After a crash before the journal has the new stamp, the next start rebuilds the index.
        self.index.close()
        # Keys that only their rows can give are not lost.
        known = None if self.broken is not None or self._owed else KnownRows(directory)
        self.broken = self.broken or "it is being rebuilt"
        self._owed.clear()
        await in_slices(self._disk.run, rebuild(self._tree, directory, stamp, self._journal.generation, known), step)
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
