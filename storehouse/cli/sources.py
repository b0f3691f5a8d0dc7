"""What a command reads: files and standard input, as one record or as a record a line, in bounded memory."""

from __future__ import annotations

import io
import os
import select
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol, cast

import attrs

from storehouse.cli.client import Body
from storehouse.cli.errors import CommandError, reason_of

__all__ = ["BATCH_BYTES", "BATCH_RECORDS", "MAX_LINE", "LineBatcher", "Source", "open_source"]

#: The most bytes read at once.
READ_SIZE = 256 * 1024

#: The most bytes of a batch, framing included, unless a single record has more.
BATCH_BYTES = 1024 * 1024

#: The most records of a batch.
BATCH_RECORDS = 10_000

#: The most bytes of a line.
MAX_LINE = 64 * 1024 * 1024

_FRAMING = 4


class _Readable(Protocol):
    """The part of C{io.BufferedReader} that is needed; C{read1} gives what is there without waiting for more."""

    def read1(self, size: int, /) -> bytes: ...


@attrs.frozen
class Source:
    """
    An open file, or standard input.

    @ivar name: for messages.
    @ivar size: the bytes to come; C{None} if that is not known.
    @ivar descriptor: the number to wait for bytes on; C{None} if there are always some, or the end.
    """

    name: str
    size: int | None
    stream: _Readable
    descriptor: int | None

    def read_some(self) -> bytes:
        """Wait for bytes; none at the end."""
        try:
            return self.stream.read1(READ_SIZE)
        except OSError as error:
            raise CommandError(f"cannot read {self.name}: {reason_of(error)}") from None

    def has_more_now(self) -> bool:
        """Whether L{read_some} would not wait."""
        if self.descriptor is None:
            return True
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(0))

    def as_body(self, sent: Callable[[int], None]) -> Body:
        """
        All of it as the body of a request.

        @param sent: told the size of each piece as it is taken.
        """
        if self.size is not None:
            return Body(self._exactly(self.size, sent), self.size)
        head = self._head()
        if len(head) < READ_SIZE:
            return Body.of(head)
        return Body(self._all(head, sent), None)

    def _head(self) -> bytes:
        """The first L{READ_SIZE} bytes, fewer if there are no more."""
        head = bytearray()
        while len(head) < READ_SIZE and (data := self.read_some()):
            head += data
        return bytes(head)

    def _exactly(self, size: int, sent: Callable[[int], None]) -> Iterator[bytes]:
        """The bytes that were announced: a file that grows meanwhile is cut, one that shrinks is an error."""
        while size:
            data = self.read_some()[:size]
            if not data:
                raise CommandError(f"{self.name} became shorter while it was sent")
            size -= len(data)
            yield data
            sent(len(data))

    def _all(self, head: bytes, sent: Callable[[int], None]) -> Iterator[bytes]:
        data = head
        while data:
            yield data
            sent(len(data))
            data = self.read_some()


@contextmanager
def open_source(path: str) -> Iterator[Source]:
    """
    Open a file; C{"-"} is standard input, which stays open.

    @raise CommandError: if it cannot be opened.
    """
    if path == "-":
        if sys.stdin is None:
            raise CommandError("standard input is closed")
        yield _source("standard input", sys.stdin.buffer)
        return
    try:
        stream = open(path, "rb")  # noqa: SIM115 - the error of opening only
    except OSError as error:
        raise CommandError(f"cannot read {path}: {reason_of(error)}") from None
    with stream:
        yield _source(path, stream)


def _source(name: str, stream: BinaryIO) -> Source:
    readable = cast(_Readable, stream)
    try:
        descriptor = stream.fileno()
        state = os.fstat(descriptor)
    except (OSError, io.UnsupportedOperation):
        return Source(name, None, readable, None)
    if not stat.S_ISREG(state.st_mode):
        return Source(name, None, readable, descriptor)
    # Files under /proc are regular ones of no size that hold something all the same: their size is not known.
    left = state.st_size - stream.tell()
    return Source(name, left if left > 0 else None, readable, None)


class LineBatcher:
    """
    Gathers lines into batches of at most L{BATCH_BYTES} and L{BATCH_RECORDS}. A line is a record, without its
    newline; empty lines are left out.

    @param name: of what is read, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._batch: list[bytes] = []
        self._size = 0
        # The pieces of a line whose end has not come.
        self._open: list[bytes] = []
        self._open_size = 0
        #: The number of empty lines left out.
        self.empty = 0

    def feed(self, data: bytes) -> Iterator[list[bytes]]:
        """
        Take bytes in and give the batches that are full. To be run to its end before the next call.

        @raise CommandError: if a line has more than L{MAX_LINE} bytes.
        """
        *lines, rest = data.split(b"\n")
        for line in lines:
            if self._open:
                self._hold(line)
                yield from self._add(self._joined())
            else:
                yield from self._add(line)
        if rest:
            self._hold(rest)

    def take(self) -> list[bytes]:
        """The whole lines that were not given yet."""
        batch = self._batch
        self._batch, self._size = [], 0
        return batch

    def finish(self) -> Iterator[list[bytes]]:
        """The input has ended: give what is left. A last line without a newline is one too."""
        if self._open:
            yield from self._add(self._joined())
        if batch := self.take():
            yield batch

    def _add(self, line: bytes) -> Iterator[list[bytes]]:
        if not line:
            self.empty += 1
            return
        size = _FRAMING + len(line)
        if self._batch and (self._size + size > BATCH_BYTES or len(self._batch) == BATCH_RECORDS):
            yield self.take()
        self._batch.append(line)
        self._size += size

    def _hold(self, data: bytes) -> None:
        self._open_size += len(data)
        if self._open_size > MAX_LINE:
            raise CommandError(f"{self._name} has a line of more than {MAX_LINE} bytes")
        self._open.append(data)

    def _joined(self) -> bytes:
        line = b"".join(self._open)
        self._open, self._open_size = [], 0
        return line
