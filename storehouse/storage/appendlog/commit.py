"""
Group commit: all appends that arrive while a group is being written go into the next one.

The reactor's thread gathers, writes small groups to the page cache, since that costs less than handing them to a
thread, and answers; the commit thread syncs, and writes large groups.  Offsets are given when a group is formed, and
one group is written at a time, so a failed write gives its offsets back.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from storehouse.core.files import NO_SPACE, Files
from storehouse.core.turns import is_spent
from storehouse.errors import NoSpace, StorageFailed, StorehouseError
from storehouse.storage.appendlog.bucket import BucketFile, Done
from storehouse.storage.appendlog.checkpoint import Checkpointer
from storehouse.storage.appendlog.formats import ENTRY_SIZE, HEADER_SIZE
from storehouse.storage.appendlog.groups import AT_ONCE, Group, Queued, Run
from storehouse.storage.appendlog.interfaces import Durability
from storehouse.storage.appendlog.wal import WriteAheadLog

__all__ = ["GroupCommit"]

#: Groups of C{os} appends up to this many bytes are written in the reactor's thread.
_INLINE = 256 * 1024

_DISK = Durability.DISK

# Answers from one look at the clock to the next: some 10 us each.
_AT_ONCE = 64


class GroupCommit:
    """
    The append path from queue to answer.

    @ivar idle: no group is being written and none is about to be: whoever queues calls L{wake}.
    @ivar refusal: why nothing is taken any more, or C{None}.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        files: Files,
        wal: WriteAheadLog,
        checkpointer: Checkpointer,
        on_failure: Callable[[StorehouseError], None],
        observe: Callable[[int, float, bool], None] = lambda records, seconds, synced: None,
    ) -> None:
        self._reactor = reactor
        self._files = files
        self._wal = wal
        self._checkpointer = checkpointer
        self._on_failure = on_failure
        self._observe = observe
        self.idle = True
        self.refusal: StorehouseError | None = None
        self._queue: list[Queued] = []
        self._queued = 0
        self._answered: deque[Group] = deque()
        self._is_answering = False
        self._jobs: SimpleQueue[Group | Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="storehouse-commit", daemon=True)
        #: Buckets with C{os} appends that no sync has covered.
        self.unsynced: set[BucketFile] = set()

    def start(self) -> None:
        """Start the commit thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the commit thread after what was handed to it."""
        self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join()

    # -- in the reactor's thread --------------------------------------------------------------

    def append(
        self, bucket: BucketFile, payloads: Sequence[bytes], id_hash: int, durability: Durability, done: Done
    ) -> None:
        """Queue records; see L{IBucket.append<storehouse.storage.appendlog.interfaces.IBucket.append>}."""
        if self.refusal is not None:
            self.refuse(self.refusal, durability, done)
            return
        self._queue.append((bucket, payloads, id_hash, durability, done))
        count = len(payloads)
        # In microseconds or so, of making them ready.
        self._queued += count if count != 1 else 1 + (len(payloads[0]) >> 13)
        if self.idle:
            self.idle = False
            self._reactor.callLater(0, self._launch)

    def refuse(self, error: StorehouseError, durability: Durability, done: Done) -> None:
        """Answer an append with an error, after all that were queued before it."""
        self._queue_answer(durability, lambda offsets, _, level: done(None, error, level))

    def barrier(self, done: Callable[[], None]) -> None:
        """Call C{done} once everything queued so far is answered."""
        self._queue_answer(Durability.OS, lambda offsets, error, level: done())

    def _queue_answer(self, durability: Durability, done: Done) -> None:
        self._queue.append((None, (), 0, durability, done))
        if self.idle:
            self.idle = False
            self._reactor.callLater(0, self._launch)

    def call_between_groups(self, job: Callable[[], None]) -> None:
        """Call C{job} in the commit thread while no group is being written by it."""
        self._jobs.put(job)

    def _launch(self) -> None:
        if not self._queue:
            self.idle = True
            return
        if self._queued > AT_ONCE:
            # A coroutine, from here on: what is queued meanwhile is for the next group.
            Deferred.fromCoroutine(self._launch_large()).addErrback(lambda failure: self._failed_to_form(failure))
            return
        queue, self._queue = self._queue, []
        self._queued = 0
        group = Group()
        group.add(queue)
        self._write_out(group)

    async def _launch_large(self) -> None:
        queue, self._queue = self._queue, []
        self._queued = 0
        group = Group()
        rest = await group.add_slowly(queue)
        if rest:
            # For the next group, before what has been queued meanwhile.
            self._queue[:0] = rest
            self._queued += AT_ONCE + 1
        self._write_out(group)

    def _failed_to_form(self, failure: Failure) -> None:
        """What was to be written is unknown: nothing more is taken."""
        self._log.failure("a group of appends could not be formed", failure=failure)
        self.fail(failure.value or RuntimeError("unknown"))

    def _write_out(self, group: Group) -> None:
        group.seal()
        if self.refusal is not None:
            self._finish(group)
            return
        if group.size <= _INLINE:
            self._write(group)
            if not group.synced:
                self._finish(group)
                return
        self._jobs.put(group)

    def _finish(self, group: Group) -> None:
        if group.fatal is not None and self.refusal is None:
            self.fail(group.fatal)
        refusal = self.refusal
        followed: list[Callable[[], None]] = []
        for run in group.runs:
            if refusal is None and run.error is None:
                bucket = run.bucket
                # Readers in threads take the end first, so the count must never be behind it.
                bucket.count += run.count
                bucket.end = run.end
                if not run.synced:
                    bucket.os_appends += 1
                    self.unsynced.add(bucket)
                followed += bucket.followers
        # The next group is handed over before this one is answered: the disk does not wait for sockets.
        if self._queue:
            if self.idle:
                self.idle = False
            self._launch_next()
        else:
            self.idle = True
        group.refusal = refusal
        self._answered.append(group)
        if not self._is_answering:
            self._answer()
        for notice in followed:
            notice()
        self._observe(len(group.answers), time.monotonic() - group.began, group.synced)

    def _answer(self) -> None:
        """Answer in order, as many in a turn as there is time for."""
        self._is_answering = True
        while self._answered:
            group = self._answered[0]
            answers, refusal = group.answers, group.refusal
            first = group.answered
            group.answered = last = min(first + _AT_ONCE, len(answers))
            for done, run, offsets, durability in answers if last - first == len(answers) else answers[first:last]:
                error = None if run is None else refusal or run.error
                try:
                    done(None if error is not None else offsets, error, durability)
                except Exception:
                    self._log.failure("an append could not be answered")
            if last == len(answers):
                self._answered.popleft()
            if self._answered and is_spent():
                self._reactor.callLater(0, self._answer)
                return
        self._is_answering = False

    def _launch_next(self) -> None:
        # Straight on only if a thread will write: an inline group waits for the turn's other requests, and cannot
        # recurse.
        if self.refusal is None and any(item[3] is _DISK for item in self._queue):
            self._launch()
        else:
            self._reactor.callLater(0, self._launch)

    def fail(self, error: BaseException) -> None:
        """Refuse everything from now on: a sync or a write failed in a way that leaves it open what is on disk."""
        if self.refusal is not None:
            return
        self._log.critical("the append log stops: {error}", error=error)
        self.refusal = StorageFailed(f"the append log has stopped: {error}")
        self._on_failure(self.refusal)

    # -- in the commit thread -----------------------------------------------------------------

    def _work(self) -> None:
        while self._do(self._jobs.get()):
            pass

    def _do(self, job: Group | Callable[[], None] | None) -> bool:
        if job is None:
            return False
        if isinstance(job, Group):
            if not job.written:
                self._write(job)
            self._sync(job)
            self._reactor.callFromThread(self._finish, job)
        else:
            job()
        return True

    def _sync(self, group: Group) -> None:
        """Bring what was written to disk, where it was asked for."""
        if group.fatal is not None:
            return
        try:
            framed = []
            for run in group.runs:
                if not run.synced or run.error is not None:
                    continue
                bucket = run.bucket
                # A record on disk must not have a hole before it; and a long run is cheaper to sync than to write
                # twice.
                if bucket.os_appends != bucket.os_synced or run.size + run.count * ENTRY_SIZE > self._wal.longest_run:
                    self._checkpointer.sync(bucket, run.position + run.count)
                    bucket.os_synced = bucket.os_appends
                else:
                    framed.append(run)
            if framed:
                self._wal.write(framed)
        except BaseException as error:
            group.fatal = error

    # -- in either -----------------------------------------------------------------------------

    def _write(self, group: Group) -> None:
        """
        Write a group to the page cache.

        Small groups in the reactor's thread: in another, each of these short calls would wait for the interpreter's
        lock longer than it takes.
        """
        group.written = True
        try:
            for run in group.runs:
                self._write_run(run)
        except BaseException as error:
            group.fatal = error

    def _write_run(self, run: Run) -> None:
        bucket = run.bucket
        files = self._files
        try:
            files.write_at(bucket.index_fd, (run.encoded_entries,), HEADER_SIZE + run.position * ENTRY_SIZE)
            files.write_at(bucket.raw_fd, run.pieces, run.offset)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            files.truncate(bucket.raw_fd, run.offset)
            files.truncate(bucket.index_fd, HEADER_SIZE + run.position * ENTRY_SIZE)
            run.error = NoSpace(
                f"no room for {run.size} bytes in {bucket.path} ({error.strerror}); nothing was appended"
            )
