"""
Keeps the catalogue of a stream true: callbacks of its manager, before, around and behind those that are configured.

The manager calls them in the thread that opens or closes an archive, and again after a restart if they had not succeeded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.archive.archive import ArchiveReader
from storehouse.archive.interfaces import IArchiveCallback
from storehouse.core.jobs import IDisk
from storehouse.core.turns import Reactor
from storehouse.storage.streams.catalogue import Catalogue
from storehouse.storage.streams.interfaces import Archive, State

__all__ = ["Tracker"]


class Tracker:
    """
    The callbacks of one stream's manager.

    @ivar running: callbacks that are at work.
    @param sync: C{sync(path)} makes a file and its name durable.
    @param changed: called in the reactor's thread with C{opened}, C{closed}, C{finished} or C{gone}, and the archive.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        max_record: int,
        disk: IDisk,
        reactor: Reactor,
        changed: Callable[[str, Archive], object],
        sync: Callable[[str], object],
    ) -> None:
        self.catalogue = catalogue
        self.disk = disk
        self.reactor = reactor
        self.running: set[Deferred[str | None]] = set()
        self._max_record = max_record
        self._changed = changed
        self._sync = sync

    def callbacks(self, configured: Sequence[IArchiveCallback]) -> list[IArchiveCallback]:
        """The configured callbacks, and around them those that note what happens."""
        return [
            _NoteClosed(self),
            *(_InDiskThread(self, callback) for callback in configured),
            _InDiskThread(self, _NoteFinished(self)),
        ]

    def _open(self, path: str) -> ArchiveReader:
        return ArchiveReader(path, max_record=self._max_record)

    def opened(self, path: str) -> None:
        """Note that an archive was created."""
        with self._open(path) as reader:
            info = reader.info
        archive = self.catalogue.add(path, salt=info.salt, created=info.created)
        self.reactor.callFromThread(self._changed, "opened", archive)

    def closed(self, path: str) -> None:
        """Note that an archive was closed."""
        # Also at level "os": after a power cut the catalogue must not say more than the archive has.
        self._sync(path)
        with self._open(path) as reader:
            info, count, times, size = reader.info, reader.count, reader.times, os.stat(path).st_size
        found = self.catalogue.find(path)
        if found is None or found.salt != info.salt:
            # Created just before a crash, or on a full disk.
            found = self.catalogue.add(path, salt=info.salt, created=info.created)
        lowest, highest = times or (0, 0)
        archive = self.catalogue.change(
            found.number,
            state=State.CLOSED,
            path=path,
            records=count or 0,
            size=size,
            lowest=lowest,
            highest=highest,
        )
        if archive is not None:
            self.reactor.callFromThread(self._changed, "closed", archive)

    def find(self, path: str) -> Archive | None:
        """The archive of a path, by its salt if its new path was not noted before a crash."""
        found = self.catalogue.find(os.path.abspath(path))
        if found is None and os.path.exists(path):
            with self._open(path) as reader:
                salt = reader.info.salt
            found = next((archive for archive in self.catalogue.all() if salt and archive.salt == salt), None)
        return found

    def moved(self, number: int, path: str | None) -> None:
        """Note that a callback has renamed or removed an archive. @param path: C{None} if it is where it was, or is gone."""
        archive = self.catalogue.get(number)
        if archive is None or archive.state != State.CLOSED:
            return  # the last callback was faster
        if path is not None:
            self.catalogue.moved(number, os.path.abspath(path))
        elif not os.path.lexists(archive.path):
            self.catalogue.remove(number)
            self.reactor.callFromThread(self._changed, "gone", archive)

    def finished(self, path: str) -> None:
        """Note that all callbacks of an archive are done."""
        found = self.find(path)
        if found is not None:
            self._sync(path)
            archive = self.catalogue.change(found.number, state=State.FINISHED, path=os.path.abspath(path))
            if archive is not None:
                self.reactor.callFromThread(self._changed, "finished", archive)


@implementer(IArchiveCallback)
class _NoteClosed:
    """Is called before all other callbacks."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def on_open(self, filename: str) -> None:
        self._tracker.opened(filename)

    def on_close(self, filename: str) -> str:
        self._tracker.closed(filename)
        return filename


@implementer(IArchiveCallback)
class _NoteFinished:
    """Is called once all other callbacks have succeeded."""

    #: It removes nothing, but callbacks that remove files are the last ones.
    removes_file = True
    #: If another callback has removed the file, the chain does not log that it is missing.
    is_note = True

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def on_open(self, filename: str) -> None:
        pass

    def on_close(self, filename: str) -> str:
        self._tracker.finished(filename)
        return filename


@implementer(IArchiveCallback)
class _InDiskThread:
    """
    Calls another callback in a disk thread, so that no writer waits for a compression, and notes the outcome.

    @ivar wrapped: the callback.
    """

    def __init__(self, tracker: Tracker, wrapped: IArchiveCallback) -> None:
        self._tracker = tracker
        self.wrapped = wrapped
        self.removes_file = bool(getattr(wrapped, "removes_file", False))
        self.is_note = bool(getattr(wrapped, "is_note", False))

    def __repr__(self) -> str:
        return f"<{type(self.wrapped).__name__} in a disk thread>"

    def on_open(self, filename: str) -> object:
        return self.wrapped.on_open(filename)

    def poll(self) -> None:
        """The manager polls callbacks that have this method."""
        poll = getattr(self.wrapped, "poll", None)
        if poll is not None:
            poll()

    def on_close(self, filename: str) -> Deferred[str | None]:
        done: Deferred[str | None] = Deferred()
        # At once, and not in _begin: a stop waits for what is running.
        self._tracker.running.add(done)
        self._tracker.reactor.callFromThread(self._begin, filename, done)
        return done

    def _begin(self, filename: str, done: Deferred[str | None]) -> None:
        Deferred.fromCoroutine(self._call(filename)).addBoth(self._end, done)

    def _end(self, result: str | Failure | None, done: Deferred[str | None]) -> None:
        if isinstance(result, Failure):
            done.errback(result)
        else:
            done.callback(result)
        # Only now: by done the next callback has begun, and a stop sees that one.
        self._tracker.running.discard(done)

    async def _call(self, filename: str) -> str | None:
        tracker = self._tracker
        archive = await tracker.disk.run(tracker.find, filename)
        called = await tracker.disk.run(self.wrapped.on_close, filename)
        result = await called if isinstance(called, Deferred) else called
        if archive is not None:
            await tracker.disk.run(tracker.moved, archive.number, None if result is None else os.fspath(result))
        return result
