"""What a command reads: files and standard input, as one record or as a record a line, in bounded memory."""

from __future__ import annotations

import io
import os
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, Protocol, cast

import attrs

from storehouse.cli.client import Body
from storehouse.cli.errors import CommandError, reason_of

__all__ = ["BATCH_BYTES", "BATCH_RECORDS", "MAX_LINE", "LineBatcher", "Source", "open_command", "open_source"]

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
    An open file, standard input, or the output of a program.

    @ivar name: for messages.
    @ivar size: the bytes to come; C{None} if that is not known.
    @ivar descriptor: the number to wait for bytes on; C{None} if there are always some, or the end.
    @ivar check: called at the end, before the last bytes are handed over: raises L{CommandError} if they are not to be
        trusted.
    """

    name: str
    size: int | None
    stream: _Readable
    descriptor: int | None
    check: Callable[[], None] = lambda: None

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
        All of it as the body of a request. The last bytes are given only once it is known that they are the last, and that
        all of them can be trusted: what fails before stores nothing.

        @param sent: told the size of each piece as it is taken.
        """
        if self.size == 0:
            # A reader that learns that nothing comes has all of it at once.
            return Body.of(b"".join(self._all(self.read_some(), sent)))
        if self.size is not None:
            return Body(self._all(self.read_some(), sent), self.size)
        head = self._head()
        if len(head) < READ_SIZE:
            self.check()
            return Body.of(head)
        return Body(self._all(head, sent), None)

    def _head(self) -> bytes:
        """The first L{READ_SIZE} bytes, fewer if there are no more."""
        head = bytearray()
        while len(head) < READ_SIZE and (data := self.read_some()):
            head += data
        return bytes(head)

    def _all(self, data: bytes, sent: Callable[[int], None]) -> Iterator[bytes]:
        count = 0
        while data:
            count += len(data)
            following = self.read_some()
            if self.size is not None and count + len(following) > self.size:
                raise CommandError(f"{self.name} has more than {self.size} bytes; nothing was stored")
            if not following:
                self._check(count)
            yield data
            sent(len(data))
            data = following
        if not count:
            self._check(0)

    def _check(self, count: int) -> None:
        self.check()
        if self.size not in (None, count):
            raise CommandError(f"{self.name} has {count} bytes, not {self.size}; nothing was stored")


@contextmanager
def open_source(path: str, size: int | None = None) -> Iterator[Source]:
    """
    Open a file; C{"-"} is standard input, which stays open.

    @param size: the bytes that it must have; C{None} for any number.
    @raise CommandError: if it cannot be opened.
    """
    if path == "-":
        if sys.stdin is None:
            raise CommandError("standard input is closed")
        yield _source("standard input", sys.stdin.buffer, size)
        return
    try:
        stream = open(path, "rb")  # noqa: SIM115 - the error of opening only
    except OSError as error:
        raise CommandError(f"cannot read {path}: {reason_of(error)}") from None
    with stream:
        yield _source(path, stream, size)


def _source(name: str, stream: BinaryIO, size: int | None) -> Source:
    readable = cast(_Readable, stream)
    try:
        descriptor = stream.fileno()
        state = os.fstat(descriptor)
    except (OSError, io.UnsupportedOperation):
        return Source(name, size, readable, None)
    if not stat.S_ISREG(state.st_mode):
        return Source(name, size, readable, descriptor)

    def check() -> None:
        now = os.fstat(descriptor)
        if (now.st_size, now.st_mtime_ns) != (state.st_size, state.st_mtime_ns):
            raise CommandError(f"{name} changed while it was read; nothing was stored")

    # Files under /proc are regular ones of no size that hold something all the same: their size is not known.
    left = state.st_size - stream.tell()
    if size is not None and left > 0 and left != size:
        raise CommandError(f"{name} has {left} bytes, not {size}; nothing was stored")
    return Source(name, size if left <= 0 else left, readable, None, check)


@contextmanager
def open_command(arguments: Sequence[str], size: int | None = None) -> Iterator[Source]:
    """
    Run a program, whose standard output is to be read. It counts as whole only if the program ends with status 0.

    @raise CommandError: if it cannot be run.
    """
    name = arguments[0]
    try:
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE)
    except (OSError, ValueError) as error:
        raise CommandError(f"cannot run {name}: {reason_of(error)}") from None
    assert process.stdout is not None

    def check() -> None:
        status = process.wait()
        if status < 0:
            raise CommandError(f"{name} was killed by {signal.Signals(-status).name}; nothing was stored")
        if status:
            raise CommandError(f"{name} exited with status {status}; nothing was stored")

    try:
        yield Source(f"the output of {name}", size, cast(_Readable, process.stdout), process.stdout.fileno(), check)
    finally:
        # If it runs still, nobody wants what it has to say.
        process.stdout.close()
        process.terminate()
        process.wait()


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
