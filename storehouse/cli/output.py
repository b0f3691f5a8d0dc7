"""Where the bytes of a command go."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Container, Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from stat import S_IMODE, S_ISREG
from types import FrameType, TracebackType
from typing import BinaryIO, NoReturn

from storehouse.cli.errors import CommandError, reason_of

__all__ = ["Output", "TidyEnd", "columns", "counted", "human_size", "same_file", "silence_stdout", "time_text"]

#: What ends a process that is asked to, and not only by Ctrl-C.
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def silence_stdout() -> None:
    """
    Point standard output at nothing, after a write to it has failed: what is still buffered would fail again, loudly,
    when the interpreter ends.
    """
    try:
        descriptor = sys.stdout.fileno()
    except (AttributeError, ValueError, io.UnsupportedOperation):
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, descriptor)
    os.close(nothing)


def human_size(size: float) -> str:
    """A number of bytes for people: C{"1.5 MiB"}."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 999.95 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def same_file(path: str, other: str) -> bool:
    """
    Whether two paths lead to one file, by whatever names: links, also hard ones, and relative paths. What is not there is
    no file.
    """
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False


class TidyEnd:
    """
    A context manager: while it is entered, a process that is asked to end leaves by an exception, so that what it has
    begun is cleared away. Only in the main thread; elsewhere it does nothing.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> TidyEnd:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, _end)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before.clear()


def _end(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


class Output:
    """
    Standard output, or a file. The file is written under another name beside its place and takes that when it is whole
    and on disk, so a failure leaves the old file as it was. A symbolic link keeps pointing to the file. What is no
    regular file (C{/dev/null}, a FIFO) is written to as it is.

    A context manager: leaving it flushes, and puts the file into its place, or removes it again after an exception.

    @param path: the file; C{None} or C{"-"} for standard output.
    """

    def __init__(self, path: str | None = None) -> None:
        self._path = None if path == "-" else path
        self._stream: BinaryIO | None = None
        self._temporary = self._target = ""
        self._ending = ExitStack()

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._ending:
            if kind is None or not self._temporary:
                self.close()
            else:
                self._discard()

    @property
    def is_terminal(self) -> bool:
        """Whether the bytes go before somebody's eyes."""
        return self._path is None and sys.stdout is not None and sys.stdout.isatty()

    def refuse_inputs(self, inputs: Iterable[str]) -> None:
        """
        To be called before anything is written.

        @param inputs: paths of what is read.
        @raise CommandError: if one of them is what is written to, under whatever name.
        """
        for path in inputs:
            if same_file(path, self._path) if self._path is not None else self._is_stdout(path):
                raise CommandError(
                    f"{path} is an input, so it cannot be the output as well ({self._path or 'standard output'})"
                )

    def _is_stdout(self, path: str) -> bool:
        try:
            there, here = os.fstat(sys.stdout.fileno()), os.stat(path)
        except (AttributeError, ValueError, OSError):
            return False
        return S_ISREG(there.st_mode) and os.path.samestat(there, here)

    def open(self) -> BinaryIO:
        """The stream, opened if it is not yet."""
        if self._stream is None:
            if self._path is not None:
                try:
                    self._stream = self._open_file(self._path)
                except OSError as error:
                    raise self._failed(error) from None
            elif sys.stdout is None:
                raise CommandError("standard output is closed")
            else:
                self._stream = sys.stdout.buffer
        return self._stream

    def _open_file(self, path: str) -> BinaryIO:
        target = os.path.realpath(path)
        try:
            # Not of where it leads to: a descriptor (/dev/stdout) is a link to what has no name.
            found: os.stat_result | None = os.stat(path)
        except FileNotFoundError:
            found = None
        if path.endswith("/"):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        if found is not None and (not S_ISREG(found.st_mode) or not os.path.exists(target)):
            return open(path, "wb")  # close() does
        if found is not None and not os.access(target, os.W_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        import secrets

        # Readers of archives leave out files that are called so.
        temporary = os.path.join(os.path.dirname(target), f".storehouse-{secrets.token_hex(8)}.tmp")
        self._ending.enter_context(TidyEnd())
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._temporary, self._target = temporary, target
        if found is not None:
            os.fchmod(fd, S_IMODE(found.st_mode))
        return os.fdopen(fd, "wb")

    def write(self, data: bytes | memoryview) -> None:
        """
        Write all the bytes; may wait for the reader.

        @raise BrokenPipeError: if the reader of standard output has left.
        @raise CommandError: if it fails otherwise.
        """
        try:
            (self._stream or self.open()).write(data)
        except OSError as error:
            raise self._failed(error) from None

    def flush(self) -> None:
        """Hand over what is buffered. Raises as L{write} does."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except OSError as error:
                raise self._failed(error) from None

    def close(self) -> None:
        """Flush; if it is a file, close it and put it into its place. Raises as L{write} does."""
        stream, path = self._stream, self._path
        if stream is None:
            return
        if path is None:
            self.flush()
            return
        try:
            if self._temporary:
                stream.flush()
                os.fsync(stream.fileno())
            self._stream = None
            stream.close()
            if self._temporary:
                os.rename(self._temporary, self._target)
                self._temporary = ""
                # Imported here, as above: most commands write no file.
                from storehouse.core.files import Files

                Files().sync_directory(os.path.dirname(self._target))
        except OSError as error:
            self._discard()
            raise self._failed(error) from None

    def _discard(self) -> None:
        """Close and remove what was written beside the place of the file."""
        stream, self._stream = self._stream, None
        temporary, self._temporary = self._temporary, ""
        try:
            if stream is not None:
                stream.close()
        except OSError:
            pass  # it is of no use any more
        try:
            if temporary:
                os.unlink(temporary)
        except OSError:
            pass

    def _failed(self, error: OSError) -> Exception:
        if self._path is None:
            if isinstance(error, BrokenPipeError):
                return error
            silence_stdout()
        return CommandError(f"cannot write {self._path or 'standard output'}: {reason_of(error)}")


def counted(number: int, one: str, many: str) -> str:
    """C{"1 record"}, C{"2 records"}."""
    return f"{number} {one if number == 1 else many}"


def columns(lines: Sequence[Sequence[str]], right: Container[int] = ()) -> str:
    """Lines of cells as a table. @param right: the numbers of columns that stand to the right, such as numbers."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        [
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    )
    return "".join(f"{'  '.join(cells).rstrip()}\n" for cells in padded)


def time_text(seconds: float) -> str:
    """A time for people, UTC to the second; a dash for 0, which stands for a time that is not known."""
    # Not by strftime alone: it writes years before 1000 with fewer digits.
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0") if seconds else "-"
