"""
Compression with gzip and zstd.

zstd comes from C{backports.zstd}, the standard library's own module (C{compression.zstd}) for the versions of Python before
3.14.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Any, Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from storehouse.errors import InvalidSetting

__all__ = ["GZIP", "MOST_NESTED", "SUFFIXES", "ZSTD", "Compressor", "Decompressor", "Expander", "check_method"]
__all__ += ["compress_block", "expand_block", "is_compressed", "make_compressor", "make_decompressor", "method_of"]

GZIP, ZSTD = "gzip", "zstd"

#: What the names of compressed files end in.
SUFFIXES = {GZIP: ".gz", ZSTD: ".zst"}

_MAGICS = {b"\x1f\x8b\x08": GZIP, b"\x28\xb5\x2f\xfd": ZSTD}

#: What else begins compressed files, which another compression does not make smaller: xz, bzip2, lz4.
_OTHERS = (b"\xfd7zXZ\x00", b"BZh", b"\x04\x22\x4d\x18")

#: How often a file may have been compressed over: each time takes a window of memory to undo.
MOST_NESTED = 4

#: What is read at once from compressed data.
_PIECE = 1 << 17

#: What one step gives at most.
_STEP = 1 << 18

#: The largest window that is taken: 128 MiB, as the zstd program has it. Memory follows it.
_WINDOW_LOG = 27


class Compressor(Protocol):
    """Makes compressed bytes, piece by piece."""

    def compress(self, data: bytes) -> bytes:
        """What can be given so far."""

    def flush(self) -> bytes:
        """End the stream. @return: the compressed bytes that are left."""


def check_method(method: str) -> str:
    """@raise InvalidSetting: for a method that is not known."""
    if method not in SUFFIXES:
        raise InvalidSetting(f"there is no compression {method!r}; there are {', '.join(SUFFIXES)}")
    return method


def method_of(start: bytes) -> str | None:
    """How a file is compressed that begins with these bytes, 4 or more; C{None} if it is not."""
    return next((method for magic, method in _MAGICS.items() if start.startswith(magic)), None)


def is_compressed(start: bytes) -> bool:
    """Whether a file that begins with these bytes, 6 or more, is compressed as a whole, whatever its name says."""
    return method_of(start) is not None or start.startswith(_OTHERS)


def make_compressor(method: str, level: int | None = None) -> Compressor:
    """What compresses a file as a whole. It puts neither time nor name into it: the same bytes make the same bytes."""
    if method == GZIP:
        return zlib.compressobj(6 if level is None else level, zlib.DEFLATED, 31)
    options: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}
    if level is not None:
        options[zstd.CompressionParameter.compression_level] = level
    return zstd.ZstdCompressor(options=options)


def compress_block(data: bytes, level: int | None = None) -> bytes:
    """One zstd frame."""
    return bytes(zstd.compress(data, level))


def expand_block(data: bytes, size: int) -> bytes:
    """
    What a zstd frame holds.

    @param size: how much that is; no more memory than that is taken.
    @raise ValueError: if it is another amount, or the frame is damaged.
    """
    try:
        expander = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})
        whole = expander.decompress(data, max_length=size + 1)
    except zstd.ZstdError as problem:
        raise ValueError(str(problem)) from None
    if len(whole) != size or not expander.eof or expander.unused_data:
        raise ValueError("a block does not hold as many bytes as it claims")
    return bytes(whole)


class Decompressor:
    """
    Expands data that come from a function, in bounded memory. Several frames, or gzip members, may follow each other.

    @param read: gives the next compressed bytes, none at the end.
    """

    def __init__(self, method: str, read: Callable[[int], bytes]) -> None:
        self._method = method
        self._read = read
        self._expander: Any = None
        self._rest = b""
        self._problem: ValueError | None = None

    def _begin(self) -> Any:
        if self._method == GZIP:
            return zlib.decompressobj(31)
        return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})

    def read(self) -> bytes:
        """
        The next bytes, none at the end.

        @raise ValueError: if the data are damaged or end too early. With gzip, all that can be expanded before is given
            first; with zstd, all but the last of it.
        """
        if self._problem is not None:
            raise self._problem
        while True:
            if (self._expander is None or self._expander.eof) and not self._next_frame():
                return b""
            try:
                data = self._step()
            except (zlib.error, zstd.ZstdError) as problem:
                raise ValueError(str(problem)) from None
            if data:
                return data

    def _next_frame(self) -> bool:
        if self._expander is not None:
            self._rest = bytes(self._expander.unused_data)
            if self._method == GZIP:
                # Tape-like padding, which the gzip program allows too.
                self._rest = self._rest.lstrip(b"\0")
        rest = self._rest or self._read(_PIECE)
        if self._method == GZIP and self._expander is not None:
            rest = rest.lstrip(b"\0")
        if not rest:
            return False
        self._rest = rest
        self._expander = self._begin()
        return True

    def _step(self) -> bytes:
        expander = self._expander
        if self._method == GZIP:
            given = self._rest or expander.unconsumed_tail or self._read(_PIECE)
            before = expander.copy()
            try:
                data = expander.decompress(given, _STEP)
            except zlib.error as problem:
                data = _up_to_damage(before, given)
                if not data:
                    raise
                self._problem = ValueError(str(problem))
        else:
            given = self._rest
            if not given and expander.needs_input:
                given = self._read(_PIECE)
            elif not given:
                given = None
            data = expander.decompress(given or b"", _STEP)
        self._rest = b""
        if given == b"" and not data and not expander.eof:
            raise ValueError("the compressed data end too early")
        return bytes(data)


def _up_to_damage(expander: Any, given: bytes) -> bytes:
    """What comes out before the damage that is in C{given}: a call that meets it gives nothing."""
    pieces = []
    try:
        for at in range(len(given)):
            pieces.append(expander.decompress(given[at : at + 1]))
    except zlib.error:
        pass
    return b"".join(pieces)


class Expander:
    """
    Expands what may have been compressed several times over, in bounded memory. What is not compressed comes as it is.

    @param read: C{read(size)} gives the next bytes, in order, none at the end. What it raises passes through, and the
        call may be repeated then.
    @ivar methods: the compressions, the outermost first, as far as they are known.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self.methods: list[str] = []
        self._next: Any = lambda: read(_PIECE)
        self._start = b""
        self._plain = False

    def read(self) -> bytes:
        """
        The next bytes, none at the end.

        @raise ValueError: as L{Decompressor.read}; also if it was compressed more than C{MOST_NESTED} times over.
        """
        while not self._plain:
            self._look()
        start, self._start = self._start, b""
        return start or self._next()

    def _look(self) -> None:
        """Find out whether what comes next is compressed."""
        while len(self._start) < 4:
            piece = self._next()
            if not piece:
                break
            self._start += piece
        method = method_of(self._start)
        if method is None:
            self._plain = True
            return
        if len(self.methods) == MOST_NESTED:
            raise ValueError(f"it was compressed more than {MOST_NESTED} times")
        self.methods.append(method)
        expander = Decompressor(method, _behind(self._start, self._next))
        self._start, self._next = b"", expander.read


def _behind(start: bytes, following: Any) -> Any:
    """What gives C{start}, and then what C{following} gives."""

    def read(size: int) -> bytes:
        nonlocal start
        first, start = start, b""
        return first or following()

    return read


def make_decompressor(method: str, read: Callable[[int], bytes]) -> Decompressor:
    """What expands a file as a whole. @param read: C{read(size)}, in order."""
    return Decompressor(method, read)
