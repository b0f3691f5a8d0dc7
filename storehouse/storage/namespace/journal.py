"""
The journal: the keys and IDs that recovery must look at after a crash (docs/formats/namespace.md).

Lines C{CRC32C-as-8-hex-digits JSON}: a header, then one line for each group of intents that one sync brought to disk.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from storehouse.core.digests import crc32c
from storehouse.core.files import NO_SPACE, Files, open_stored
from storehouse.core.jobs import IDisk
from storehouse.errors import NoSpace, StorageFailed, StorehouseError, Unavailable

__all__ = ["KEPT", "LEAVING", "NEW", "Found", "Intent", "Journal", "moved_from", "moved_to", "read_journal"]

#: Bucket, key (empty for the bucket itself), IDs, and what becomes of them: L{NEW}, L{KEPT}, L{LEAVING}, the ID that is
#: published in their place, or that and the key that has it (L{moved_to}).
Intent = tuple[str, str, Sequence[str], str]

#: Bytes reserved at its end: so that removals can be recorded on a full disk.
_AHEAD = 64 * 1024

#: Intents: IDs that will be published.
NEW = "new"
#: They were published, and are kept as older versions.
KEPT = "kept"
#: They may be removed.
LEAVING = ""


def moved_to(id: str, key: str) -> str:
    """Of a key that is renamed: its IDs may be removed once another key of the bucket has this ID as its default."""
    return f"{id} {key}"


def moved_from(how: str) -> tuple[str, str] | None:
    """What L{moved_to} was given; C{None} for what else becomes of IDs."""
    id, space, key = how.partition(" ")
    return (id, key) if space else None


@attrs.frozen
class Found:
    """
    The content of a journal.

    @ivar stamp: of the index it belongs to.
    @ivar intents: all of them.
    @ivar clean: whether it was ended, with nothing open.
    @ivar damage: why some of it cannot be read; C{None} if all can.
    """

    stamp: str
    generation: int
    intents: list[Intent]
    clean: bool
    damage: str | None


def _line(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return b"%08x %b\n" % (crc32c(text), text)


def _value(line: bytes) -> Any:
    if len(line) < 9 or line[:9] != b"%08x " % crc32c(line[9:]):
        raise ValueError
    return json.loads(line[9:])


def read_journal(path: str) -> Found:
    """
    Read a journal.

    @raise OSError: if it is not there, or cannot be read.
    """
    with open_stored(path) as file:
        *lines, rest = file.readall().split(b"\n")
    intents: list[Intent] = []
    clean = False
    damage = None
    try:
        header = _value(lines[0])
        if (header["format"], header["version"]) != ("journal", 1):
            raise ValueError
        stamp, generation = str(header["stamp"]), int(header["generation"])
    except (ValueError, LookupError, TypeError):
        return Found("", 0, [], False, "its first line is not a header")
    for number, line in enumerate(lines[1:], 2):
        try:
            value = _value(line)
        except ValueError:
            # A torn last line is an interrupted write. Lines before it were whole once, or the next would not follow.
            if number < len(lines) or rest:
                damage = f"its line {number} is damaged"
            clean = False
            continue
        clean = isinstance(value, dict)
        if not clean:
            intents += [(bucket, key, ids, how) for bucket, key, ids, how in value]
    return Found(stamp, generation, intents, clean and not rest, damage)


class Journal:
    """
    The journal of a running namespace.

    @ivar open: IDs that are not settled, each with its bucket, its key and what becomes of it.
    @ivar count: intents in the file.
    @ivar syncs: groups brought to disk.
    @ivar generation: of the file.
    """

    def __init__(
        self,
        directory: str,
        files: Files,
        disk: IDisk,
        durable: bool,
        on_failure: Callable[[StorehouseError], None],
    ) -> None:
        self.path = os.path.join(directory, "journal")
        self._tmp = os.path.join(directory, "tmp")
        self._files = files
        self._disk = disk
        self._durable = durable
        self._on_failure = on_failure
        self.open: dict[str, tuple[str, str, str]] = {}
        self.count = 0
        self.syncs = 0
        self.stamp = ""
        self.generation = 0
        self._fd = -1
        self._end = 0
        self._kept = 0
        self._queue: list[tuple[Intent | None, Deferred[None]]] = []
        self._writing: list[tuple[Intent | None, Deferred[None]]] = []
        self._busy = False
        self._idle: Deferred[None] | None = None
        self._failed: StorageFailed | None = None
        self._since: list[Intent] | None = None

    # -- blocking ------------------------------------------------------------------------------

    def begin(self, intents: Sequence[Intent]) -> None:
        """
        Replace the journal by one of L{stamp} and L{generation} with these intents. Blocks.
        """
        files = self._files
        data = _line({"format": "journal", "version": 1, "stamp": self.stamp, "generation": self.generation})
        if intents:
            data += _line([(bucket, key, list(ids), how) for bucket, key, ids, how in intents])
        path = os.path.join(self._tmp, f"journal.{secrets.token_hex(8)}")
        fd = files.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            files.write_at(fd, (data,), 0)
            if self._durable:
                files.sync_data(fd)
            files.rename(path, self.path)
            if self._durable:
                files.sync_directory(os.path.dirname(self.path))
        except BaseException:
            files.close(fd)
            if os.path.exists(path):
                files.unlink(path)
            raise
        if self._fd >= 0:
            files.close(self._fd)
        self._fd, self._end, self.count = fd, len(data), len(intents)
        self._keep_room()

    def resume(self) -> None:
        """
        Continue the journal of the generation before, when the disk is too full for a new one. Blocks.

        @raise OSError: if it cannot be continued.
        """
        found = read_journal(self.path)
        if found.damage is not None or (found.stamp, found.generation) != (self.stamp, self.generation - 1):
            raise OSError(errno.ENOSPC, f"no space for a new journal, and {self.path} is of another index")
        with open_stored(self.path) as file:
            end = file.readall().rindex(b"\n") + 1
        self._fd = self._files.open(self.path, os.O_RDWR)
        self._files.truncate(self._fd, end)
        self.generation, self._end, self.count = found.generation, end, len(found.intents)
        self._keep_room()

    def _keep_room(self) -> None:
        self._kept = self._end + _AHEAD
        self._files.keep_room(self._fd, self._end, _AHEAD)

    def end(self) -> None:
        """Close, and note that the stop is clean if nothing is open. Blocks."""
        if self._fd < 0:
            return
        if not self.open:
            self._write(_line({"clean": True}))
        self._files.close(self._fd)
        self._fd = -1

    def abandon(self) -> None:
        """Close without that note: the next start looks at all intents."""
        if self._fd >= 0:
            self._files.close(self._fd)
            self._fd = -1

    def _write(self, data: bytes) -> None:
        try:
            if self._durable:
                self._files.write_synced(self._fd, data, self._end)
            else:
                self._files.write_at(self._fd, (data,), self._end)
        except OSError:
            self._files.truncate(self._fd, self._end)
            raise
        self._end += len(data)
        if self._end > self._kept - _AHEAD // 2:
            self._keep_room()

    # -- in the reactor's thread ---------------------------------------------------------------

    def intend(self, bucket: str, key: str, ids: Iterable[str], how: str = LEAVING) -> Deferred[None]:
        """Record these IDs, in one group with those of other callers meanwhile. Fires once they are durable."""
        if self._failed is not None:
            return fail(self._failed)
        asked = list(ids)
        fresh = asked if how == KEPT else [id for id in asked if id not in self.open]
        written: Deferred[None] = Deferred()
        if fresh:
            if how != KEPT:
                self.open.update((id, (bucket, key, how)) for id in fresh)
            intent = (bucket, key, fresh, how)
            if self._since is not None:
                self._since.append(intent)
            self.count += 1
            self._queue.append((intent, written))
            if not self._busy:
                self._next()
        # Other callers recorded the same, and it is not durable yet.
        elif _names(self._queue, asked):
            self._queue.append((None, written))
        elif _names(self._writing, asked):
            self._writing.append((None, written))
        else:
            written.callback(None)
        return written

    def settle(self, ids: Iterable[str]) -> None:
        """These IDs are no longer open: the next L{renew} leaves them out."""
        for id in ids:
            self.open.pop(id, None)

    def _next(self) -> None:
        if self._failed is not None:
            self._refuse(self._failed)
        elif self._fd < 0:
            self._refuse(Unavailable(f"the journal {self.path} is closed"))
        if not self._queue:
            return
        self._writing, self._queue = self._queue, []
        self._busy = True
        data = _line([intent for intent, _ in self._writing if intent is not None])
        if self._durable:
            self._disk.run(self._write, data).addBoth(self._written)
            return
        # A short write to the page cache takes less time than a job for a thread.
        try:
            self._write(data)
        except Exception as error:
            self._written(error)
        else:
            self._written(None)

    def _written(self, result: Failure | Exception | None) -> None:
        group, self._writing = self._writing, []
        self._busy = False
        self.syncs += 1
        error = result.value if isinstance(result, Failure) else result
        if isinstance(error, OSError):
            if error.errno in NO_SPACE:
                error = NoSpace(
                    f"the disk is full: the journal {self.path} cannot be written, and nothing was changed "
                    f"({error.strerror})"
                )
            else:
                error = self._failed = StorageFailed(f"the journal {self.path} cannot be written: {error}")
                self._on_failure(error)
        if error is not None:
            self._forget(group)
        if self._idle is not None:
            idle, self._idle = self._idle, None
            idle.callback(None)
        else:
            self._next()
        for _, written in group:
            if error is None:
                written.callback(None)
            else:
                written.errback(error)

    def _refuse(self, error: StorehouseError) -> None:
        group, self._queue = self._queue, []
        self._forget(group)
        for _, written in group:
            written.errback(error)

    def _forget(self, group: Sequence[tuple[Intent | None, object]]) -> None:
        for intent, _ in group:
            if intent is not None:
                self.count -= 1
                if intent[3] != KEPT:
                    self.settle(intent[2])

    async def renew(self, sync_index: Callable[[int], None]) -> None:
        """
        Bring the index to disk, then begin a new journal with the IDs that are open and those intended meanwhile.

        @param sync_index: called in a disk thread with the number of the new generation.
        @raise NoSpace: if the disk is full; the old journal continues.
        @raise StorageFailed: after C{on_failure} was called.
        """
        if self._since is not None:
            return
        since = self._since = [(bucket, key, [id], how) for id, (bucket, key, how) in self.open.items()]
        try:
            await self._disk.run(sync_index, self.generation + 1)
            # No group is written while the file is replaced; those queued by then are in the new one already.
            if self._busy:
                self._idle = Deferred()
                await self._idle
            self._busy = True
            queued = self._queue
            self._queue = []
            self._since = None
            self.generation += 1
            try:
                await self._disk.run(self.begin, since)
            except BaseException as error:
                self.generation -= 1
                self._queue[:0] = queued
                queued = []
                if not isinstance(error, OSError):
                    raise
                if error.errno in NO_SPACE:
                    raise NoSpace(
                        f"the disk is full: the journal {self.path} cannot be written ({error.strerror})"
                    ) from error
                self._failed = StorageFailed(f"the journal {self.path} cannot be written: {error}")
                self._on_failure(self._failed)
                raise self._failed from error
            finally:
                self._busy = False
                self._next()
            self.count += len(self._queue) + len(self._writing)
            for _, written in queued:
                written.callback(None)
        finally:
            self._since = None


def _names(group: Sequence[tuple[Intent | None, object]], ids: Sequence[str]) -> bool:
    return any(intent is not None and not set(ids).isdisjoint(intent[2]) for intent, _ in group)
