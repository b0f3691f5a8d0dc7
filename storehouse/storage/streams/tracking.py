"""What keeps the catalogue of a stream true: callbacks of its manager, before, around and behind those that are configured."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from storehouse.core.disk import IDisk
from storehouse.storage.streams.catalogue import Catalogue
from storehouse.storage.streams.interfaces import Archive, Library, State

__all__ = ["Followed", "Tracker"]


class Tracker:
    """
    The callbacks of one stream's manager.

    @ivar running: what callbacks are at work for.
    @param sync: C{sync(path)} brings a file and its name to disk.
    @param from_thread: C{from_thread(f, *args)} has C{f(*args)} called in the reactor's thread.
    @param changed: called in the reactor's thread with what happened, C{opened}, C{closed}, C{finished} or C{gone}, and the
        archive.
    """

    _log = Logger()

    def __init__(
        self,
        catalogue: Catalogue,
        library: Library,
        disk: IDisk,
        from_thread: Callable[..., object],
        changed: Callable[[str, Archive], object],
        sync: Callable[[str], object],
    ) -> None:
        self.catalogue = catalogue
        self.disk = disk
        self.from_thread = from_thread
        self.running: set[Deferred[Any]] = set()
        self._library = library
        self._changed = changed
        self._sync = sync

    def callbacks(self, configured: tuple[Any, ...]) -> list[Any]:
        """What the manager is to be given."""
        return [_First(self), *(Followed(self, callback) for callback in configured), Followed(self, _Last(self))]

    def opened(self, path: str) -> Archive:
        """An archive was made."""
        with self._library.open_reader(path) as reader:
            info = reader.info
        archive = self.catalogue.add(path, salt=info.salt, created=info.created)
        self.from_thread(self._changed, "opened", archive)
        return archive

    def closed(self, path: str) -> None:
        """It was closed."""
        # A catalogue that is on disk must not say more than what is there after a power cut, whatever was promised.
        self._sync(path)
        with self._library.open_reader(path) as reader:
            info, count, times, size = reader.info, reader.count, reader.times, os.stat(path).st_size
        found = self.catalogue.find(path)
        if found is None or found.salt != info.salt:
            # Made just before a crash, or while there was no room to note it.
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
            self.from_thread(self._changed, "closed", archive)

    def find(self, path: str) -> Archive | None:
        """The archive of a path; also if a crash came between a callback and the note of it."""
        found = self.catalogue.find(os.path.abspath(path))
        if found is None and os.path.exists(path):
            with self._library.open_reader(path) as reader:
                salt = reader.info.salt
            found = next((archive for archive in self.catalogue.all() if salt and archive.salt == salt), None)
        return found

    def moved(self, number: int, path: str | None) -> None:
        """A callback is done with it."""
        archive = self.catalogue.get(number)
        if archive is None or archive.state != State.CLOSED:
            return  # it has come further since
        if path is not None:
            self.catalogue.moved(number, os.path.abspath(path))
        elif not os.path.lexists(archive.path):
            self.catalogue.remove(number)
            self.from_thread(self._changed, "gone", archive)

    def finished(self, path: str) -> None:
        """All its callbacks are done."""
        found = self.find(path)
        if found is not None:
            self._sync(path)
            archive = self.catalogue.change(found.number, state=State.FINISHED, path=os.path.abspath(path))
            if archive is not None:
                self.from_thread(self._changed, "finished", archive)


class _First:
    """Is told before all others."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def on_open(self, filename: str) -> None:
        """Note it."""
        self._tracker.opened(filename)

    def on_close(self, filename: str) -> str:
        """Note it."""
        self._tracker.closed(filename)
        return filename


class _Last:
    """Is told once all others have succeeded."""

    #: It removes nothing, but is not to be called before the others have succeeded.
    removes_file = True
    #: Nothing is missed of a file that another callback has removed as configured.
    is_note = True

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def on_open(self, filename: str) -> None:
        """Nothing to be done."""

    def on_close(self, filename: str) -> str:
        """Note it."""
        self._tracker.finished(filename)
        return filename


class Followed:
    """
    A callback that is called in a disk thread of its own, so that nobody who writes waits for a compression, and whose outcome
    the catalogue learns of.

    @ivar wrapped: the callback.
    """

    def __init__(self, tracker: Tracker, wrapped: Any) -> None:
        self._tracker = tracker
        self.wrapped = wrapped
        self.removes_file = bool(getattr(wrapped, "removes_file", False))
        self.is_note = bool(getattr(wrapped, "is_note", False))

    def __repr__(self) -> str:
        return f"<Followed {type(self.wrapped).__name__}>"

    def on_open(self, filename: str) -> Any:
        """Tell it."""
        return self.wrapped.on_open(filename)

    def poll(self) -> None:
        """Tell it, if it wants to be told."""
        poll = getattr(self.wrapped, "poll", None)
        if poll is not None:
            poll()

    def on_close(self, filename: str) -> Deferred[Any]:
        """Have it called."""
        done: Deferred[Any] = Deferred()
        # Counted at once: who stops waits for it.
        self._tracker.running.add(done)
        self._tracker.from_thread(self._begin, filename, done)
        return done

    def _begin(self, filename: str, done: Deferred[Any]) -> None:
        Deferred.fromCoroutine(self._call(filename)).addBoth(self._over, done)

    def _over(self, result: Any, done: Deferred[Any]) -> None:
        if isinstance(result, Failure):
            done.errback(result)
        else:
            done.callback(result)
        # Only now, since the next callback has begun.
        self._tracker.running.discard(done)

    async def _call(self, filename: str) -> Any:
        tracker = self._tracker
        archive = await tracker.disk.run(tracker.find, filename)
        result = await tracker.disk.run(self.wrapped.on_close, filename)
        if isinstance(result, Deferred):
            result = await result
        if archive is not None:
            await tracker.disk.run(tracker.moved, archive.number, None if result is None else os.fspath(result))
        return result
