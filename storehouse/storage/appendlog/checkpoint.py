"""
Checkpoints: bucket and index files are synced in the background, so that segments of the write-ahead log can be used
again, and a recovery has little to check.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue

from storehouse.core.files import Files
from storehouse.errors import StorageFailed
from storehouse.storage.appendlog.bucket import BucketFile
from storehouse.storage.appendlog.formats import encode_index_header
from storehouse.storage.appendlog.wal import Segment

__all__ = ["Checkpointer"]


class Checkpointer:
    """
    Syncs bucket files in a thread of its own, since appends must not wait for it: the commit thread continues with the
    next segment.

    @param on_failure: called in that thread with the error of a sync, after which the log must stop.
    @ivar syncs: how many bucket files were synced.
    """

    def __init__(self, files: Files, on_failure: Callable[[BaseException], None]) -> None:
        self._files = files
        self._on_failure = on_failure
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._done: dict[Segment, threading.Event] = {}
        self._error: BaseException | None = None
        self.syncs = 0

    def start(self) -> None:
        # Not made before: a fork, by which twistd goes into the background, ends what Python 3.13 holds of threads.
        self._thread = threading.Thread(target=self._work, name="storehouse-checkpoint", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after what was handed to it."""
        self._jobs.put(None)
        if self._thread is not None:
            self._thread.join()

    def call(self, job: Callable[[], None]) -> None:
        """Call C{job} in the checkpoint thread, in turn."""
        self._jobs.put(job)

    def sync(self, bucket: BucketFile, count: int) -> None:
        """L{sync_marked} for one bucket file."""
        self.sync_marked([(bucket, count)])

    def sync_all(self, buckets: Iterable[BucketFile]) -> None:
        """L{sync_marked} with all records that the bucket files have now."""
        self.sync_marked([(bucket, bucket.count) for bucket in buckets])

    def sync_marked(self, marks: Sequence[tuple[BucketFile, int]]) -> None:
        """
        Sync bucket files, and write to each index how many records are on disk: C{synced_count}.

        This mark is written between the syncs of records and of indexes: it never reaches the disk before the records;
        if it does before their entries, recovery indexes those records again.

        Writeback of all files is started before the first sync: the file system then allocates their blocks in one
        transaction, and not in one for each file, each of which would make appends wait.

        @raise StorageFailed: if an earlier sync has failed.
        """
        if self._error is not None:
            raise StorageFailed(f"an earlier sync failed: {self._error}")
        try:
            self._sync_files([bucket.raw_fd for bucket, _ in marks])
            for bucket, count in marks:
                self._files.write_at(bucket.index_fd, (encode_index_header(count),), 0)
            self._sync_files([bucket.index_fd for bucket, _ in marks])
        except BaseException as error:
            # The kernel may have dropped the dirty pages with the error, so that a later sync succeeds and proves
            # nothing. Set at once, in whichever thread this is: the other one may be about to use a segment again, or
            # to sync the same bucket file.
            self._error = error
            raise
        self.syncs += len(marks)

    def _sync_files(self, fds: Sequence[int]) -> None:
        if len(fds) > 1:
            for fd in fds:
                self._files.begin_writeback(fd)
        for fd in fds:
            self._files.sync_data(fd)

    # -- segments: called by the write-ahead log in the commit thread ---------------------------

    def segment_full(self, segment: Segment) -> None:
        """Begin to sync the bucket files that a segment names; it has just been left."""
        done = self._done[segment] = threading.Event()
        buckets = set(segment.dirty)

        def checkpoint() -> None:
            try:
                self.sync_all(buckets)
            finally:
                done.set()

        self._jobs.put(checkpoint)

    def wait_for(self, segment: Segment) -> None:
        """
        Return when a segment can be used again: backpressure on appends if the disk is that slow.

        @raise StorageFailed: if a sync has failed.
        """
        done = self._done.pop(segment, None)
        if done is not None:
            done.wait()
        if self._error is not None:
            raise StorageFailed(f"a checkpoint failed: {self._error}")

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            try:
                job()
            except BaseException as error:
                self._error = self._error or error
                self._on_failure(error)
