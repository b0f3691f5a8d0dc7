"""
Checkpoints: bucket and index files are brought to disk in the background, so that stretches of the write-ahead log
can be used again and a recovery has little to look at.
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
    Syncs buckets, in a thread of its own.

    @ivar on_failure: called, in that thread, with the error of a sync; final.
    """

    def __init__(self, files: Files, on_failure: Callable[[BaseException], None]) -> None:
        self._files = files
        self._on_failure = on_failure
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="storehouse-checkpoint", daemon=True)
        self._done: dict[Segment, threading.Event] = {}
        self._error: BaseException | None = None
        self.syncs = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after what was handed to it."""
        self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def call(self, job: Callable[[], None]) -> None:
        """Call C{job} in the checkpoint thread, in turn."""
        self._jobs.put(job)

    def sync(self, bucket: BucketFile, count: int) -> None:
        """L{sync_marked} one."""
        self.sync_marked([(bucket, count)])

    def sync_all(self, buckets: Iterable[BucketFile]) -> None:
        """L{sync_marked} several, with all the records that they have now."""
        self.sync_marked([(bucket, bucket.count) for bucket in buckets])

    def sync_marked(self, marks: Sequence[tuple[BucketFile, int]]) -> None:
        """
        Bring buckets to disk, and mark the first C{count} records of each so.

        The marks are written between the syncs of records and of indexes: a mark never reaches the disk before
        the records, and if it does before their entries, recovery indexes those records again.

        Writing back is begun for all files before the first is waited for: the blocks that they need are then
        allocated in one transaction of the file system, and not in one for each file, which would make every
        append wait each time.
        """
        if self._error is not None:
            raise StorageFailed(f"an earlier sync failed: {self._error}")
        try:
            self._sync_files([bucket.raw_fd for bucket, _ in marks])
            for bucket, count in marks:
                self._files.write_at(bucket.index_fd, (encode_index_header(count),), 0)
            self._sync_files([bucket.index_fd for bucket, _ in marks])
        except BaseException as error:
            # The kernel may have dropped dirty pages with the error, so a later sync that succeeds proves
            # nothing. Noted at once, whichever thread it is: another one may be waiting to use a segment
            # again, or about to sync the same bucket.
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
        """A segment was left: begin to sync what it names."""
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
        Return when the segment may be used again: back-pressure on appends if the disk is that slow.

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
