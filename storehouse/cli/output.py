"""Where the bytes of a command go."""

from __future__ import annotations

import io
import os
import sys
from types import TracebackType
from typing import BinaryIO

from storehouse.cli.errors import CommandError, reason_of

__all__ = ["Output", "human_size", "silence_stdout"]


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


class Output:
    """
    Standard output, or a file that is opened (and emptied) with the first write, so that a request that fails leaves
    it as it was.

    A context manager: leaving it flushes, and closes the file.

    @param path: the file; C{None} or C{"-"} for standard output.
    """

    def __init__(self, path: str | None = None) -> None:
        self._path = None if path == "-" else path
        self._stream: BinaryIO | None = None

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_terminal(self) -> bool:
        """Whether the bytes go before somebody's eyes."""
        return self._path is None and sys.stdout is not None and sys.stdout.isatty()

    def open(self) -> BinaryIO:
        """The stream, opened if it is not yet."""
        if self._stream is None:
            if self._path is not None:
                try:
                    self._stream = open(self._path, "wb")  # noqa: SIM115 - close() does
                except OSError as error:
                    raise self._failed(error) from None
            elif sys.stdout is None:
                raise CommandError("standard output is closed")
            else:
                self._stream = sys.stdout.buffer
        return self._stream

    def write(self, data: bytes) -> None:
        """
        Write all the bytes; may wait for whoever reads them.

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
        """Flush; close the file if it is one. Raises as L{write} does."""
        stream, path = self._stream, self._path
        if stream is None:
            return
        if path is None:
            self.flush()
            return
        self._stream = None
        try:
            stream.close()
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> Exception:
        if self._path is None:
            if isinstance(error, BrokenPipeError):
                return error
            silence_stdout()
        return CommandError(f"cannot write {self._path or 'standard output'}: {reason_of(error)}")
