"""Local files as they are uploaded: read in the disk threads, no faster than they are taken."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IPushProducer
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from storehouse.core.disk import IDisk
from storehouse.core.files import open_regular, open_stored
from storehouse.core.streams import ISource

__all__ = ["FileSource", "digest_of", "digests"]

#: Bytes that are read at once, and held.
_PIECE = 256 * 1024


def digests(path: str, offset: int, length: int, *hashes: Any) -> int:
    """
    Feed a range of a file to hash objects. May wait for the disk.

    @return: bytes that there were.
    """
    count = 0
    with open_stored(path, follow=True) as file:
        file.seek(offset)
        buffer = memoryview(bytearray(min(1 << 20, max(length, 1))))
        while count < length:
            got = file.readinto(buffer[: length - count])
            if not got:
                break
            for each in hashes:
                each.update(buffer[:got])
            count += got
    return count


#: Bytes that are hashed in one go: a disk thread is given back, and a stop heard, after each.
_SLICE = 8 << 20


async def digest_of(disk: IDisk, path: str, offset: int, length: int, *hashes: Any) -> None:
    """
    Feed a range of a file to hash objects, in the disk threads, in slices.

    @raise OSError: also if the file ends too early.
    """
    done = 0
    while done < length:
        wanted = min(_SLICE, length - done)
        if await disk.run(digests, path, offset + done, wanted, *hashes) < wanted:
            raise OSError(f"{path} ends before byte {offset + length}")
        done += wanted


@implementer(ISource, IBodyProducer, IPushProducer)
class FileSource:
    """
    A range of a file: for a consumer of ours, or as the body of a request.

    @ivar length: bytes of the range.
    @param progress: called whenever a piece was taken.
    """

    def __init__(self, disk: IDisk, path: str, offset: int, length: int, progress: Any = None) -> None:
        self.length = length
        self._disk = disk
        self._path = path
        self._offset = offset
        self._end = offset + length
        self._progress = progress
        self._fd = -1
        self._consumer: Any = None
        self._registered = False
        self._done: Deferred[Any] | None = None
        self._paused = False
        self._reading = False

    def deliver(self, consumer: Any) -> Deferred[int]:
        """See L{ISource.deliver}."""
        if self._done is not None:
            return fail(RuntimeError("the bytes were delivered already"))
        done = self._begin(consumer)
        try:
            consumer.registerProducer(self, True)
            self._registered = True
        except Exception as error:
            self._finish(error)
        else:
            self._read()
        return done

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """See L{IBodyProducer.startProducing}."""
        done: Deferred[None] = self._begin(consumer)
        self._read()
        return done

    def _begin(self, consumer: Any) -> Deferred[Any]:
        self._consumer = consumer
        self._done = Deferred(lambda done: self._finish(CancelledError()))
        return self._done

    def pauseProducing(self) -> None:
        """Hand over nothing more for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Go on."""
        self._paused = False
        if self._progress is not None:
            self._progress()
        self._read()

    def stopProducing(self) -> None:
        """Hand over nothing more at all."""
        self._finish(None if self._registered is False else RuntimeError("the bytes were not wanted to their end"))

    def _read(self) -> None:
        if self._reading or self._paused or self._consumer is None:
            return
        self._reading = True
        self._disk.run(self._next).addCallbacks(self._taken, self._failed)

    def _next(self) -> bytes:
        """In a disk thread."""
        if self._fd < 0:
            self._fd = open_regular(self._path, follow=True)
        wanted = min(_PIECE, self._end - self._offset)
        data = os.pread(self._fd, wanted, self._offset)
        if wanted and not data:
            raise OSError(f"{self._path} ends at byte {self._offset} instead of {self._end}")
        return data

    def _taken(self, data: bytes) -> None:
        self._reading = False
        if self._consumer is None:  # stopped meanwhile
            self._close()
            return
        self._offset += len(data)
        if self._progress is not None:
            self._progress()
        try:
            if data:
                self._consumer.write(data)
        except Exception as error:
            self._finish(error)
            return
        if self._offset >= self._end:
            self._finish(None)
        else:
            self._read()

    def _failed(self, failure: Any) -> None:
        self._reading = False
        self._finish(failure.value)
        self._close()

    def _finish(self, error: BaseException | None) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is None or self._done is None:
            return
        if not self._reading:
            self._close()
        if self._registered:
            try:
                consumer.unregisterProducer()
            except Exception as broken:
                error = error or broken
        if error is None:
            if self._offset >= self._end or self._registered:
                self._done.callback(self.length if self._registered else None)
        else:
            self._done.errback(error)

    def _close(self) -> None:
        # Of a file that was only read: nothing to wait for.
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
