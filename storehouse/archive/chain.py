"""Callbacks one after the other, each on its own: one that fails is tried again later, and keeps none from being called."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.archive.callbacks import check_compressed_once, move_file
from storehouse.archive.clocks import monotonic_of
from storehouse.archive.interfaces import IArchiveCallback
from storehouse.archive.plugins import CALLBACKS, make
from storehouse.core.files import Files
from storehouse.errors import InvalidSetting

__all__ = ["CallbackChain", "Job"]


@attrs.define
class Job:
    """
    A closed archive on its way through the callbacks.

    @ivar filename: where it is now; C{None} once it is gone.
    @ivar remaining: positions of the callbacks that have not succeeded.
    @ivar attempts: passes that ended with a failure.
    @ivar given_up: it has failed for the last time.
    @ivar buried: it has been moved to the dead letters.
    @ivar done: it is over, one way or the other.
    """

    filename: str | None
    remaining: list[int]
    noted: Callable[[Job], object]
    attempts: int = 0
    given_up: bool = False
    buried: bool = False
    done: bool = False
    due: float = 0.0
    todo: list[int] = attrs.Factory(list)
    failed: bool = False
    running: bool = False
    finished: Deferred[str | None] | None = None


@implementer(IArchiveCallback)
class CallbackChain:
    """
    Calls callbacks in order, each with the file name that the one before gave.

    One that fails, at once or through its Deferred, is logged. The others are called nevertheless, but for those that take
    the file away for good (C{removes_file}): these wait until all before them have succeeded. What failed is called
    again when L{poll} is called after C{delay} seconds, then twice that, and so on up to C{most_delay}; after C{attempts}
    passes the file is moved into C{dead_letter} if that is given, otherwise it is left where it is, and that is logged.

    Methods may be called by any thread; Deferreds fire in their own.
    """

    _log = Logger()

    #: Its own removing callbacks wait by themselves.
    removes_file = False

    def __init__(
        self,
        *,
        callbacks: Iterable[Any] = (),
        attempts: int = 8,
        delay: float = 1.0,
        most_delay: float = 300.0,
        dead_letter: str | None = None,
        clock: Any = None,
        files: Files | None = None,
    ) -> None:
        """
        @param callbacks: callbacks, or what L{make<storehouse.archive.plugins.make>} makes them from.
        @raise InvalidSetting: if one cannot be made, or two compress.
        """
        if attempts < 1 or delay < 0 or most_delay < 0:
            raise InvalidSetting("attempts is 1 or more, and no delay is negative")
        self.callbacks = tuple(make(CALLBACKS, callback) for callback in callbacks)
        check_compressed_once(self.callbacks)
        self._attempts = attempts
        self._delay = delay
        self._most_delay = most_delay
        self._dead_letter = dead_letter
        self._seconds = monotonic_of(clock)
        self._files = Files() if files is None else files
        self._lock = threading.Lock()
        self._jobs: list[Job] = []

    @property
    def pending(self) -> tuple[Job, ...]:
        """What is not done: waiting for a Deferred, or for its next attempt."""
        with self._lock:
            return tuple(self._jobs)

    # -- as a callback -------------------------------------------------------------------------------------------------

    def on_open(self, filename: str) -> None:
        """Tell all. What fails is logged."""
        for callback in self.callbacks:
            try:
                result = callback.on_open(filename)
            except Exception:
                self._log.failure("{callback} failed at the opening of {path}", callback=_name(callback), path=filename)
                continue
            if isinstance(result, Deferred):
                result.addErrback(self._opening_failed, callback, filename)

    def _opening_failed(self, failure: Failure, callback: Any, filename: str) -> None:
        self._log.failure(
            "{callback} failed at the opening of {path}", failure, callback=_name(callback), path=filename
        )

    def on_close(self, filename: str) -> Any:
        """
        Call all.

        @return: where the file is then, or C{None}; a Deferred of that if it takes longer. It never fails.
        """
        finished: Deferred[str | None] = Deferred()
        job = self._submit(Job(filename, list(range(len(self.callbacks))), lambda job: None, finished=finished))
        return job.filename if job.done else finished

    def submit(
        self, filename: str, remaining: Iterable[int] | None = None, noted: Callable[[Job], object] = lambda job: None
    ) -> Job:
        """
        Begin to call callbacks for a file; when this returns, those that are no Deferreds have been called once.

        @param remaining: positions of the callbacks to be called; all if C{None}.
        @param noted: called whenever the job's file name, its remaining callbacks or its end change.
        """
        every = range(len(self.callbacks))
        positions = list(every) if remaining is None else [at for at in remaining if at in every]
        return self._submit(Job(filename, positions, noted))

    def _submit(self, job: Job) -> Job:
        job.todo, job.running = job.remaining.copy(), True
        with self._lock:
            self._jobs.append(job)
        self._run(job)
        return job

    def poll(self) -> None:
        """Try again what is due, and let those of the callbacks that are chains do so too."""
        now = self._seconds()
        with self._lock:
            due = [job for job in self._jobs if not job.running and job.due <= now]
            for job in due:
                job.running, job.failed, job.todo = True, False, job.remaining.copy()
        for job in due:
            self._run(job)
        for callback in self.callbacks:
            poll = getattr(callback, "poll", None)
            if poll is not None:
                try:
                    poll()
                except Exception:
                    self._log.failure("{callback} failed", callback=_name(callback))

    def abandon(self) -> None:
        """Forget what waits for its next attempt."""
        with self._lock:
            self._jobs = [job for job in self._jobs if job.running]

    # -- a pass --------------------------------------------------------------------------------------------------------

    def _run(self, job: Job) -> None:
        """Call what is to be called in this pass, up to the first Deferred that has not fired."""
        while job.todo and job.filename is not None:
            at = job.todo.pop(0)
            callback = self.callbacks[at]
            if job.failed and getattr(callback, "removes_file", False):
                continue
            try:
                result = callback.on_close(job.filename)
            except Exception:
                self._failed(Failure(), job, at)
                continue
            if isinstance(result, Deferred):
                result.addCallbacks(self._succeeded, self._failed, callbackArgs=(job, at), errbackArgs=(job, at))
                result.addCallback(lambda _: self._run(job))
                result.addErrback(lambda failure: self._log.failure("a chain of callbacks failed", failure))
                return
            self._succeeded(result, job, at)
        self._pass_over(job)

    def _succeeded(self, result: Any, job: Job, at: int) -> None:
        job.remaining.remove(at)
        if isinstance(result, (str, os.PathLike)):
            job.filename = os.fspath(result)
        elif job.filename is not None and not os.path.lexists(job.filename):
            job.filename = None
        self._note(job)

    def _failed(self, failure: Failure, job: Job, at: int) -> None:
        job.failed = True
        self._log.failure(
            "{callback} failed at the closing of {path}, for the {attempt}. time",
            failure,
            callback=_name(self.callbacks[at]),
            path=job.filename,
            attempt=job.attempts + 1,
        )

    def _pass_over(self, job: Job) -> None:
        if job.filename is None or not job.remaining:
            if any(not getattr(self.callbacks[at], "is_note", False) for at in job.remaining):
                self._log.warn("a file is gone before all its callbacks succeeded: {left}", left=self._names(job))
            self._end(job)
            return
        job.attempts += 1
        if job.attempts < self._attempts:
            job.due = self._seconds() + min(self._most_delay, self._delay * 2 ** (job.attempts - 1))
            job.running = False
            return
        job.given_up = True
        if self._dead_letter is not None:
            try:
                self._files.make_directory(self._dead_letter)
                target = os.path.join(self._dead_letter, os.path.basename(job.filename))
                job.filename = move_file(job.filename, target, self._files)
                job.buried = True
            except OSError:
                self._log.failure("{path} cannot be moved to the dead letters", path=job.filename)
        self._log.error(
            "{path}: given up after {attempts} attempts, without {left}",
            path=job.filename,
            attempts=job.attempts,
            left=self._names(job),
        )
        self._end(job)

    def _end(self, job: Job) -> None:
        job.done = True
        with self._lock:
            self._jobs.remove(job)
        self._note(job)
        if job.finished is not None:
            job.finished.callback(job.filename)

    def _note(self, job: Job) -> None:
        try:
            job.noted(job)
        except Exception:
            self._log.failure("what is left to do with {path} cannot be noted", path=job.filename)

    def _names(self, job: Job) -> str:
        return ", ".join(_name(self.callbacks[at]) for at in job.remaining)


def _name(callback: Any) -> str:
    # One that wraps another is of no interest.
    while (wrapped := getattr(callback, "wrapped", None)) is not None:
        callback = wrapped
    return type(callback).__name__
