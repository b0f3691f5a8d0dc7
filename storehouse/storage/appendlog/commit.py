"""
Group commit: all appends that arrive while a group is being written go into the next one.

The reactor's thread gathers appends, writes small groups to the page cache and calls back; the commit thread syncs,
and writes large groups. Offsets are assigned when a group is formed, and one group is written at a time, so that a
failed write can give its offsets to the next group.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from storehouse.core.files import NO_SPACE, Files
from storehouse.core.turns import Reactor, is_spent
from storehouse.errors import NoSpace, StorageFailed, StorehouseError
from storehouse.storage.appendlog.bucket import BucketFile, Done
from storehouse.storage.appendlog.checkpoint import Checkpointer
from storehouse.storage.appendlog.formats import ENTRY_SIZE, HEADER_SIZE
from storehouse.storage.appendlog.groups import AT_ONCE, Group, Queued, Run
from storehouse.storage.appendlog.interfaces import Durability
from storehouse.storage.appendlog.wal import WriteAheadLog

__all__ = ["GroupCommit"]

#: Groups of up to this many bytes are written to the page cache in the reactor's thread. In another thread each of
#: these short calls would wait for the interpreter's lock longer than it takes.
_INLINE = 256 * 1024

_DISK = Durability.DISK

# Callbacks between two looks at the clock; each takes some 10 µs. Most groups are smaller, and never look.
_AT_ONCE = 64


class GroupCommit:
    """
    The append path from queue to callback: an L{AppendQueue<storehouse.storage.appendlog.bucket.AppendQueue>}.

    @ivar idle: whether no group is being written, and none is scheduled.
    @ivar refusal: why appends are refused from now on; C{None} while they are taken.
    @ivar unsynced: bucket files with appends of durability C{os} that no sync has covered yet.

    @param on_failure: called once, in the reactor's thread, when a failed write or sync ends the log.
    @param observe: called for each group with the number of its appends, the seconds it took, and whether it was
        synced.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Reactor,
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
        # Written groups whose callbacks have not all been called: a large group may take several turns.
        self._written: deque[Group] = deque()
        self._is_calling_back = False
        # SimpleQueue is implemented in C: handing over a group takes a microsecond.
        self._jobs: SimpleQueue[Group | Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self.unsynced: set[BucketFile] = set()

    def start(self) -> None:
        # Not made before: a fork, by which twistd goes into the background, ends what Python 3.13 holds of threads.
        self._thread = threading.Thread(target=self._work, name="storehouse-commit", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the commit thread after what was handed to it."""
        self._jobs.put(None)
        if self._thread is not None:
            self._thread.join()

    # -- in the reactor's thread --------------------------------------------------------------

    def append(
        self, bucket: BucketFile, payloads: Sequence[bytes], id_hash: int, durability: Durability, done: Done
    ) -> None:
        """See L{IBucketFile.append<storehouse.storage.appendlog.interfaces.IBucketFile.append>}."""
        if self.refusal is not None:
            self.refuse(self.refusal, durability, done)
            return
        self._queue.append((bucket, payloads, id_hash, durability, done))
        count = len(payloads)
        # In units of AT_ONCE: about the microseconds that encoding takes, 1 for a record and 1 for each 8 KiB of a
        # long one.
        self._queued += count if count != 1 else 1 + (len(payloads[0]) >> 13)
        if self.idle:
            self.idle = False
            # Not at once: what other connections send in this turn of the reactor goes into the same group, and shares
            # its sync.
            self._reactor.callLater(0, self._launch)

    def refuse(self, error: StorehouseError, durability: Durability, done: Done) -> None:
        """Call back with an error, after the callbacks of all appends that were queued before it."""
        self._queue_callback(durability, lambda offsets, _, level: done(None, error, level))

    # Refusals and barriers are queued like appends, so that pipelined requests get their responses in order.

    def barrier(self, done: Callable[[], None]) -> None:
        """Call C{done} after the callbacks of everything queued so far."""
        self._queue_callback(Durability.OS, lambda offsets, error, level: done())

    def _queue_callback(self, durability: Durability, done: Done) -> None:
        self._queue.append((None, (), 0, durability, done))
        if self.idle:
            self.idle = False
            self._reactor.callLater(0, self._launch)

    def call_between_groups(self, job: Callable[[], None]) -> None:
        """Call C{job} in the commit thread, after the groups handed to it so far."""
        self._jobs.put(job)

    def _launch(self) -> None:
        if not self._queue:
            self.idle = True
            return
        many = self._queued > AT_ONCE
        queue, self._queue = self._queue, []
        self._queued = 0
        if many:
            forming = Deferred.fromCoroutine(self._launch_large(queue))
            forming.addErrback(lambda failure: self._failed_to_form(failure, queue))
            return
        group = Group()
        try:
            group.add(queue)
            group.encode()
        except Exception:
            self._failed_to_form(Failure(), queue)
            return
        self._write_out(group)

    async def _launch_large(self, queue: list[Queued]) -> None:
        group = Group()
        rest = await group.add_slowly(queue)
        group.encode()
        if rest:
            # First in the next group, before what has been queued meanwhile.
            self._queue[:0] = rest
            self._queued += AT_ONCE + 1
        self._write_out(group)

    def _failed_to_form(self, failure: Failure, queue: Sequence[Queued]) -> None:
        """Memory may be short, or there is a defect. Which offsets these appends were given is unknown: nothing can follow."""
        self._log.failure("a group of appends failed", failure=failure)
        self.fail(failure.value or RuntimeError("unknown"))
        group = Group()
        group.refuse(queue)
        self._finish(group)

    def _write_out(self, group: Group) -> None:
        if self.refusal is not None:
            self._finish(group)
            return
        if group.size <= _INLINE:
            self._write(group)
            if not group.wants_sync:
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
                if not run.wants_sync:
                    bucket.os_appends += 1
                    self.unsynced.add(bucket)
                followed += bucket.followers
        # The next group goes to the commit thread before the callbacks of this one: the disk does not wait for sockets.
        if self._queue:
            if self.idle:
                self.idle = False
            self._launch_next()
        else:
            self.idle = True
        group.refusal = refusal
        self._written.append(group)
        if not self._is_calling_back:
            self._call_back()
        for notice in followed:
            notice()
        self._observe(len(group.callbacks), time.monotonic() - group.began, group.wants_sync)

    def _call_back(self) -> None:
        """Call the callbacks of written groups in order, as many as this turn of the reactor has time for."""
        self._is_calling_back = True
        while self._written:
            group = self._written[0]
            callbacks, refusal = group.callbacks, group.refusal
            first = group.called
            group.called = last = min(first + _AT_ONCE, len(callbacks))
            for done, run, offsets, durability in (
                callbacks if last - first == len(callbacks) else callbacks[first:last]
            ):
                error = None if run is None else refusal or run.error
                try:
                    done(None if error is not None else offsets, error, durability)
                except Exception:
                    self._log.failure("the callback of an append failed")
            if last == len(callbacks):
                self._written.popleft()
            if self._written and is_spent():
                self._reactor.callLater(0, self._call_back)
                return
        self._is_calling_back = False

    def _launch_next(self) -> None:
        # At once only if the commit thread will write the group. One written here waits for the turn's other requests
        # to join it; and since its _finish comes back to here, going on at once would recurse.
        if self.refusal is None and any(item[3] is _DISK for item in self._queue):
            self._launch()
        else:
            self._reactor.callLater(0, self._launch)

    def fail(self, error: BaseException) -> None:
        """Refuse everything from now on: after a failed sync or write it is unknown what is on disk."""
        if self.refusal is not None:
            return
        reason = str(error) or type(error).__name__
        self._log.critical("the append log stops: {reason}", reason=reason)
        self.refusal = StorageFailed(f"the append log has stopped: {reason}")
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
        """Sync the runs that asked for durability C{disk}: by one frame in the write-ahead log, with exceptions."""
        if group.fatal is not None:
            return
        try:
            framed = []
            for run in group.runs:
                if not run.wants_sync or run.error is not None:
                    continue
                bucket = run.bucket
                # Two cases sync the bucket file itself. Records before these that were only in the page cache: a
                # record on disk must not have a hole before it. And a long run, which is cheaper to sync than to write
                # twice.
                if bucket.os_appends != bucket.os_synced or run.size + run.count * ENTRY_SIZE > self._wal.longest_run:
                    self._checkpointer.sync(bucket, run.position + run.count)
                    bucket.os_synced = bucket.os_appends
                else:
                    framed.append(run)
            if framed:
                self._wal.write(framed)
        except BaseException as error:
            # Whatever it was, it is unknown what is on disk: _finish stops the log.
            group.fatal = error

    # -- in either thread ----------------------------------------------------------------------

    def _write(self, group: Group) -> None:
        """Write a group to the page cache."""
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
            # Entries first: so a record without an entry was written by another program (docs/formats/appendlog.md).
            files.write_at(bucket.index_fd, (run.encoded_entries,), HEADER_SIZE + run.position * ENTRY_SIZE)
            files.write_at(bucket.raw_fd, run.pieces, run.offset)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            # A full disk: what was written is cut off, and the appends of this bucket file fail with nothing changed.
            files.truncate(bucket.raw_fd, run.offset)
            files.truncate(bucket.index_fd, HEADER_SIZE + run.position * ENTRY_SIZE)
            run.error = NoSpace(
                f"no space for {run.size} bytes in {bucket.path} ({error.strerror}); nothing was appended"
            )
