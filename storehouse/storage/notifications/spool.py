"""
The spool: events that are not delivered yet, in SQLite (docs/formats/events.md).

Concurrent operations are committed together, with one sync. C{storehouse events} works on the file as well, with or without a
running service.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred

from storehouse.core.files import Files
from storehouse.core.jobs import IDisk, finished, settled
from storehouse.errors import NoSpace, StorageFailed, StorehouseError, StoreUnusable, Unavailable
from storehouse.storage.notifications.values import BEHIND, DEAD, INTENDED, READY, Change, Queued
from storehouse.storage.sealed.interfaces import ICipher

__all__ = ["Census", "Spool", "SpoolFile"]

_VERSION = 1

#: The most operations of one commit.
_GROUP = 256

#: Seconds to wait for another process that works on the file.
_PATIENCE = 10.0

#: Bytes that an event takes beside its own.
_OVERHEAD = 200

_SCHEMA = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE events (number INTEGER PRIMARY KEY AUTOINCREMENT, destination TEXT NOT NULL, lane BLOB NOT NULL, "
    "state INTEGER NOT NULL, due REAL NOT NULL, since REAL NOT NULL, attempts INTEGER NOT NULL, error TEXT NOT NULL, "
    "data BLOB NOT NULL)",
    "CREATE INDEX by_due ON events (destination, state, due, since)",
    "CREATE INDEX by_lane ON events (destination, lane, state, number)",
)

_COLUMNS = "number, destination, state, due, since, attempts, error, data"

T = TypeVar("T")


@attrs.frozen
class Census:
    """
    What a destination has in the spool.

    @ivar waiting: events to deliver.
    @ivar dead: dead letters.
    @ivar oldest: when the oldest waiting event was written, seconds since 1970 UTC; 0.0 if there is none.
    """

    waiting: int = 0
    dead: int = 0
    oldest: float = 0.0


class SpoolFile:
    """
    The file. All methods wait for the disk, and may raise C{sqlite3.Error}. Methods that change something are called within
    L{together}, except L{open} and L{close}.

    @param path: its path; the directory is made with it.
    @param cipher: encrypts what names objects; C{None} to keep it plain.
    @ivar size: bytes of the events.
    @ivar last: the highest number that was ever used.
    """

    def __init__(self, path: str, cipher: ICipher | None = None) -> None:
        self.path = path
        self.size = 0
        self.last = 0
        self._cipher = cipher
        self._connection: sqlite3.Connection | None = None
        self._secret = b""

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def open(self, create: bool, with_names: bool = True) -> bool:
        """
        @param with_names: whether what names objects is to be read or written.
        @return: whether it is there.
        @raise StoreUnusable: if it is encrypted, and there is no key, or the reverse; or of a version that is not known here.
        """
        if self._connection is not None:
            return True
        is_new = not os.path.lexists(self.path)
        if is_new:
            if not create:
                return False
            os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchone():
                self._create(connection)
            connection.execute("COMMIT")
            if is_new:
                files = Files()
                files.sync_directory(os.path.dirname(self.path))
                files.sync_directory(os.path.dirname(os.path.dirname(self.path)))
            meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
            if meta.get("version") != _VERSION:
                raise StoreUnusable(f"the spool {self.path} has the version {meta.get('version')!r}, not {_VERSION}")
            if with_names:
                self._secret = self._read_secret(meta)
            row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
            self.last = 0 if row is None else row[0]
            self.size = self._measure(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return True

    def _create(self, connection: sqlite3.Connection) -> None:
        for statement in _SCHEMA:
            connection.execute(statement)
        secret = os.urandom(16)
        kept = secret if self._cipher is None else self._cipher.encrypt("secret", secret)
        values = [("version", _VERSION), ("is_sealed", self._cipher is not None), ("secret", kept)]
        connection.executemany("INSERT INTO meta VALUES (?, ?)", values)

    def _read_secret(self, meta: dict[str, Any]) -> bytes:
        if bool(meta["is_sealed"]) != (self._cipher is not None):
            state = "encrypted, and there is no master key" if meta["is_sealed"] else "not encrypted, and the root is"
            raise StoreUnusable(f"the spool {self.path} is {state}: move it away to begin a new one")
        try:
            return meta["secret"] if self._cipher is None else self._cipher.decrypt("secret", meta["secret"])
        except ValueError as error:
            raise StoreUnusable(f"the spool {self.path} cannot be read: {error}") from None

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @property
    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise Unavailable("the spool of events is not open")
        return self._connection

    def together(self, works: Sequence[Callable[[], object]]) -> list[object]:
        """
        Do several things, all or none; durable when it returns.

        @return: the result of each, or the C{StorehouseError} that it raised before it changed anything.
        """
        connection = self._open
        connection.execute("BEGIN IMMEDIATE")
        results: list[object] = []
        before = self.size
        try:
            for work in works:
                try:
                    results.append(work())
                except StorehouseError as error:
                    results.append(error)
            connection.execute("COMMIT")
        except BaseException:
            self.size = before
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return results

    # -- notes ---------------------------------------------------------------------------------

    def measure(self) -> None:
        """Count L{size} anew: another process may have dropped some."""
        self.size = self._measure(self._open)

    @staticmethod
    def _measure(connection: sqlite3.Connection) -> int:
        row = connection.execute("SELECT TOTAL(LENGTH(data)) + ? * COUNT(*) FROM events", (_OVERHEAD,)).fetchone()
        return int(row[0])

    def insert(self, number: int, destination: str, change: Change | None, body: bytes, now: float) -> None:
        """Write an event; one without a change is ready at once."""
        document = {"change": None if change is None else attrs.asdict(change), "body": body.decode()}
        data = json.dumps(document, separators=(",", ":")).encode()
        if self._cipher is not None:
            data = self._cipher.encrypt(f"event {number}", data)
        lane = b""
        if change is not None:
            name = f"{change.bucket}/{change.key}".encode("utf-8", "surrogatepass")
            lane = hashlib.blake2b(name, digest_size=8, key=self._secret).digest()
        self._open.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, 0, ?, 0, '', ?)",
            (number, destination, lane, READY if change is None else INTENDED, now, data),
        )
        self.size += len(data) + _OVERHEAD

    def make_ready(self, number: int) -> str:
        """The change was made. @return: the destination of the event; empty if it was dropped."""
        self._line_up(number, INTENDED)
        row = self._open.execute("SELECT destination FROM events WHERE number = ?", (number,)).fetchone()
        return "" if row is None else row[0]

    def revive(self, number: int, now: float) -> bool:
        """Deliver a dead letter again. @return: whether there is one of that number."""
        row = self._open.execute("SELECT 1 FROM events WHERE number = ? AND state = ?", (number, DEAD)).fetchone()
        if row is None:
            return False
        self._open.execute("UPDATE events SET since = ?, attempts = 0, due = 0 WHERE number = ?", (now, number))
        self._line_up(number, DEAD)
        return True

    def _line_up(self, number: int, state: int) -> None:
        """Queue an event that has this state, behind waiting events of the same key."""
        self._open.execute(
            "UPDATE events SET state = CASE WHEN lane <> X'' AND EXISTS (SELECT 1 FROM events AS other WHERE other.destination "
            f"= events.destination AND other.lane = events.lane AND other.state IN ({READY}, {BEHIND})) THEN {BEHIND} ELSE {READY} "
            "END WHERE number = ? AND state = ?",
            (number, state),
        )

    def remove(self, number: int) -> bool:
        """Remove a delivered or dropped event. @return: whether it was there."""
        return self._leave(number, dead=False)

    def bury(self, number: int, attempts: int, error: str) -> bool:
        """Make an event a dead letter."""
        self._open.execute("UPDATE events SET attempts = ?, error = ? WHERE number = ?", (attempts, error, number))
        return self._leave(number, dead=True)

    def _leave(self, number: int, dead: bool) -> bool:
        found = self._open.execute(
            "SELECT destination, lane, state, LENGTH(data) FROM events WHERE number = ?", (number,)
        ).fetchone()
        if found is None:
            return False
        destination, lane, state, size = found
        if dead:
            self._open.execute("UPDATE events SET state = ? WHERE number = ?", (DEAD, number))
        else:
            self._open.execute("DELETE FROM events WHERE number = ?", (number,))
            self.size = max(0, self.size - size - _OVERHEAD)
        if state == READY and lane:
            # The next of the key.
            self._open.execute(
                "UPDATE events SET state = ?, due = 0 WHERE number = (SELECT MIN(number) FROM events WHERE destination = ? "
                "AND lane = ? AND state = ?)",
                (READY, destination, lane, BEHIND),
            )
        return True

    def put_off(self, number: int, attempts: int, due: float, error: str) -> None:
        """Deliver it later."""
        self._open.execute(
            "UPDATE events SET attempts = ?, due = ?, error = ? WHERE number = ?", (attempts, due, error, number)
        )

    # -- questions -----------------------------------------------------------------------------

    def due(self, destination: str, now: float, limit: int) -> tuple[list[Queued], float]:
        """
        Events to deliver now, at most so many, each of another key.

        @return: these; and when the first one of the others is, seconds since 1970 UTC, 0.0 if there is none.
        """
        rows = self._open.execute(
            f"SELECT {_COLUMNS} FROM events WHERE destination = ? AND state = ? AND due <= ? ORDER BY due, since LIMIT ?",
            (destination, READY, now, limit),
        ).fetchall()
        later = self._open.execute(
            "SELECT MIN(due) FROM events WHERE destination = ? AND state = ? AND due > ?", (destination, READY, now)
        ).fetchone()[0]
        return [self._read(row) for row in rows], later or 0.0

    def listed(self, destination: str = "", only_dead: bool = False, limit: int = -1, after: int = 0) -> list[Queued]:
        """Events in the order of their numbers."""
        rows = self._open.execute(
            f"SELECT {_COLUMNS} FROM events WHERE number > ? AND (? = '' OR destination = ?) AND (? = 0 OR state = {DEAD}) "
            "ORDER BY number LIMIT ?",
            (after, destination, destination, only_dead, limit),
        ).fetchall()
        return [self._read(row) for row in rows]

    def intended(self) -> list[Queued]:
        """Events of changes that may or may not have been made."""
        rows = self._open.execute(f"SELECT {_COLUMNS} FROM events WHERE state = {INTENDED} ORDER BY number").fetchall()
        return [self._read(row) for row in rows]

    def get(self, number: int) -> Queued | None:
        """An event by its number."""
        row = self._open.execute(f"SELECT {_COLUMNS} FROM events WHERE number = ?", (number,)).fetchone()
        return None if row is None else self._read(row)

    def _read(self, row: tuple[Any, ...]) -> Queued:
        number, data = row[0], row[-1]
        change, body = None, b""
        try:
            if self._cipher is not None:
                data = self._cipher.decrypt(f"event {number}", data)
            document = json.loads(data)
            if document["change"] is not None:
                change = Change(**document["change"])
            body = document["body"].encode()
        except (ValueError, KeyError, TypeError, AttributeError):
            pass  # damaged, or there is no key: it has no body then
        _, destination, state, due, since, attempts, error, _ = row
        return Queued(number, destination, state, due, since, attempts, error, change, body)

    def census(self) -> dict[str, Census]:
        """What each destination has."""
        found: dict[str, Census] = {}
        rows = self._open.execute(
            "SELECT destination, state, COUNT(*), MIN(since) FROM events GROUP BY destination, state"
        ).fetchall()
        for destination, state, count, since in rows:
            known = found.get(destination, Census())
            if state == DEAD:
                known = attrs.evolve(known, dead=count)
            else:
                oldest = min(known.oldest or since, since)
                known = attrs.evolve(known, waiting=known.waiting + count, oldest=oldest)
            found[destination] = known
        return found

    def revive_all(self, destination: str, numbers: Iterable[int], now: float) -> int:
        """Deliver dead letters again: those of these numbers, or all of a destination, or all. @return: how many."""
        wanted = list(numbers) or [each.number for each in self.listed(destination, only_dead=True)]
        return sum(self.revive(number, now) for number in wanted)

    def drop_all(self, destination: str, numbers: Iterable[int], only_dead: bool) -> int:
        """Remove events: those of these numbers, or of a destination. Changes that are being made stay. @return: how many."""
        wanted = list(numbers)
        count = 0
        for each in [self.get(number) for number in wanted] if wanted else self.listed(destination):
            if each is not None and each.state != INTENDED and (not only_dead or each.state == DEAD):
                count += self.remove(each.number)
        return count


class Spool:
    """
    The file, from the reactor's thread: operations that come while the disk is busy are done together.

    @param on_failure: called once, with what it failed with for good.
    @param max_size: bytes of its events.
    @ivar failed: what it failed with for good.
    """

    def __init__(
        self,
        file: SpoolFile,
        disk: IDisk,
        max_size: int,
        on_failure: Callable[[StorehouseError], None] = lambda error: None,
    ) -> None:
        self.file = file
        self.failed: StorehouseError | None = None
        self._disk = disk
        self._max_size = max_size
        self._on_failure = on_failure
        self._queue: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        self._working: Deferred[None] | None = None
        self._is_working = False
        self._last = 0

    def start(self) -> None:
        """Open the file, if it is there; in the caller's time. @raise StoreUnusable: if it cannot be used."""
        try:
            self.file.open(create=False)
        except sqlite3.Error as error:
            raise StoreUnusable(
                f"the spool {self.file.path} cannot be used ({error}): if it is damaged, move it away to begin a new one"
            ) from error

    def number(self, now: float) -> int:
        """
        The number of a new event, once L{opened} has fired: microseconds since 1970, as far as the clock only goes forward.
        Higher than all before, also if the file was removed meanwhile.
        """
        self._last = max(self._last + 1, self.file.last + 1, int(now * 1e6))
        return self._last

    async def opened(self, create: bool) -> bool:
        """Open it. @return: whether it is there."""
        if self.file.is_open:
            return True
        try:
            return await finished(self._disk.run(self.file.open, create))
        except (sqlite3.Error, OSError) as error:
            raise self._translated(error) from error

    def do(self, work: Callable[..., T], *args: object) -> Deferred[T]:
        """Call a method of the file. @return: fires with its result, when that is on disk."""
        result: Deferred[T] = Deferred(lambda _: None)
        self._queue.append((lambda: work(*args), result))
        if not self._is_working:
            self._is_working = True
            self._working = Deferred.fromCoroutine(self._work())
        return result

    def check_room(self) -> None:
        """
        To be called in L{do}, before something is added.

        @raise Unavailable: if the spool is full.
        """
        if self.file.size >= self._max_size:
            self.file.measure()
        if self.file.size >= self._max_size:
            raise Unavailable(
                f"the spool of events is full ({self._max_size} bytes): nothing can be changed that has to be announced, until "
                "some are delivered or dropped"
            )

    async def _work(self) -> None:
        try:
            while self._queue:
                group = self._queue[:_GROUP]
                del self._queue[:_GROUP]
                results: list[Any]
                try:
                    if self.failed is not None:
                        raise self.failed
                    results = await finished(self._disk.run(self.file.together, [work for work, _ in group]))
                except (sqlite3.Error, OSError) as error:
                    results = [self._translated(error)] * len(group)
                except StorehouseError as error:
                    results = [error] * len(group)
                for (_, waiting), result in zip(group, results, strict=True):
                    if isinstance(result, Exception):
                        waiting.errback(result)
                    else:
                        waiting.callback(result)
        finally:
            self._is_working = False

    def _translated(self, error: Exception) -> StorehouseError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return NoSpace("there is no room for the spool of events")
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Unavailable("the spool of events is in use by another process: try again")
        failed = StorageFailed(f"the spool of events failed: {error}")
        if self.failed is None:
            self.failed = failed
            self._on_failure(failed)
        return failed

    async def closed(self) -> None:
        """Finish all operations, and close the file."""
        while self._is_working and self._working is not None:
            await settled(self._working)
        await finished(self._disk.run(self.file.close))
