"""
Writing: a directory in tmp/ is filled, brought to disk and renamed to its place.

All of that is done in a disk thread, one staging area by one thread at a time; L{write_beside} brings it what a stream has.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress

from twisted.internet.defer import Deferred

from storehouse.core.budget import StreamMemory
from storehouse.core.files import NO_WAIT, Files, read_exactly
from storehouse.core.streams import Beside, IByteStream, Piece, PieceBuffer, StreamClosed
from storehouse.errors import AlreadyExists, SizeMismatch, StorageFailed
from storehouse.storage.dataspace.formats import TAG_SIZE, ChecksumHeader, Hash, Hasher, encode_header
from storehouse.storage.dataspace.interfaces import Part

__all__ = ["PartWriter", "Staging", "checksum_name", "part_name", "write_beside"]

# Bytes after which the kernel is asked to begin writing a file back, so that the sync at the end has little to do.
_WRITEBACK = 16 << 20

# Bytes of checksum lines that are held until the header before them is known.
_HELD_LINES = 1 << 20

# Room for a header whose numbers are not known yet.
_HEADER_ROOM = 256


def part_name(number: int) -> str:
    """The name of a part's file."""
    return f"part.{number}"


def checksum_name(number: int) -> str:
    """The name of the file with a part's checksums."""
    return f"part.{number}.checksum"


class Staging:
    """
    A directory in tmp/ on its way to its place.

    @param path: where it is, in tmp/; made with the first file.
    """

    def __init__(self, files: Files, path: str, durable: bool) -> None:
        self.files = files
        self.path = path
        self._durable = durable
        self._made = False
        self._open: list[int] = []

    def make(self) -> None:
        """Make the directory, if that has not been done."""
        if not self._made:
            self._made = True
            self.files.mkdir(self.path)

    def create(self, name: str) -> int:
        """A new file in it, open for writing until L{flush}."""
        self.make()
        fd = self.files.open(f"{self.path}/{name}", os.O_RDWR | os.O_CREAT | os.O_EXCL)
        self._open.append(fd)
        return fd

    def write(self, name: str, data: bytes) -> None:
        """A new file with this in it."""
        self.files.write_at(self.create(name), (data,), 0)

    def link(self, source: str, name: str) -> None:
        """Another name for a file that is never changed; its bytes are copied where it has too many names already."""
        self.make()
        try:
            self.files.link(source, f"{self.path}/{name}")
        except OSError as error:
            if error.errno not in (errno.EMLINK, errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP):
                raise
            fd = self.files.open(source, os.O_RDONLY | NO_WAIT)
            try:
                self.files.copy_range(fd, self.create(name), os.fstat(fd).st_size, 0, 0)
            finally:
                self.files.close(fd)

    def flush(self) -> None:
        """Bring all of it to disk, and close its files."""
        if self._durable:
            # All begin before the first is waited for: they then share what the file system does for each.
            for fd in self._open:
                self.files.begin_writeback(fd)
            for fd in self._open:
                self.files.sync_data(fd)
        self._close()
        # After the files: a name on disk whose bytes are not would look like damage after a power cut.
        if self._durable:
            self.files.sync_directory(self.path)

    def publish(self, target: str) -> None:
        """
        Rename it to its place, in a directory that is there, and bring that to disk.

        @raise AlreadyExists: if something is there.
        @raise StorageFailed: if it is there now, but perhaps not on disk.
        """
        try:
            self.files.rename(self.path, target)
        except OSError as error:
            # Write-once is decided here, by the file system: a check beforehand would race with other writers.
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise AlreadyExists(f"{os.path.basename(target)} already exists") from None
            raise
        self._made = False
        try:
            self.sync(os.path.dirname(target))
        except OSError as error:
            # It is there, and may be gone after a power cut: neither "stored" nor "not stored" would be true.
            raise StorageFailed(f"{target} could not be synced to disk: {error.strerror or error}") from None

    def move(self, name: str, directory: str) -> None:
        """Rename one of its files into a directory; replaces one that is there."""
        self.files.rename(f"{self.path}/{name}", f"{directory}/{name}")

    def replace(self, name: str, data: bytes, directory: str) -> None:
        """
        Put a file into the place of one of a directory, in one step.

        @raise StorageFailed: if it is there now, but perhaps not on disk.
        """
        # Written and synced under another name, then renamed: a reader, and a start after a crash, see the old file or
        # the new one, never a part of it.
        self.write(name, data)
        self.flush()
        self.move(name, directory)
        try:
            self.sync(directory)
        except OSError as error:
            raise StorageFailed(f"{directory} could not be synced to disk: {error.strerror or error}") from None
        # It is done, whatever becomes of this. What cannot be removed goes with the next start.
        with suppress(OSError):
            self.discard()

    def sync(self, directory: str) -> None:
        """Bring the names in a directory to disk."""
        if self._durable:
            self.files.sync_directory(directory)

    def discard(self) -> None:
        """Leave nothing of it."""
        self._close()
        if self._made:
            self._made = False
            self.files.remove_tree(self.path)

    def leave(self) -> None:
        """Leave all of it to the next start."""
        self._close()
        self._made = False

    def _close(self) -> None:
        while self._open:
            self.files.close(self._open.pop())


class PartWriter:
    """
    One part, written from its first byte to its last, with its checksum file.

    @param size: its bytes, if known: then its checksum lines need not be held.
    @ivar size: bytes written.
    """

    def __init__(self, staging: Staging, number: int, hash: Hash, block_size: int, size: int | None = None) -> None:
        self.staging = staging
        self.number = number
        self.size = 0
        self._hash = hash
        self._block_size = block_size
        self._fd = staging.create(part_name(number))
        self._sums = staging.create(checksum_name(number))
        self._filled = 0  # bytes in the current block
        self._hasher: Hasher | None = None
        self._lines = bytearray()
        self._tag = hashlib.blake2b(digest_size=TAG_SIZE)
        self._written_back = 0
        self._lines_at: int | None = None
        self._expected = size
        self._only = b""  # the current block, if it came in one piece

    @property
    def fd(self) -> int:
        """Its file, for those who copy into it."""
        return self._fd

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """These bytes are next."""
        data = bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)
        if not data:
            return
        self.staging.files.write_at(self._fd, (data,), self.size)
        self.account(data)

    def account(self, data: bytes) -> None:
        """These bytes are next, and are in the file already."""
        at = 0
        while at < len(data):
            take = min(len(data) - at, self._block_size - self._filled)
            piece = data if take == len(data) else data[at : at + take]
            at += take
            self._hash_piece(piece)
        if self.size - self._written_back >= _WRITEBACK:
            self._written_back = self.size
            self.staging.files.begin_writeback(self._fd)

    def _hash_piece(self, piece: bytes) -> None:
        whole = not self._filled and len(piece) == self._block_size
        self._filled += len(piece)
        self.size += len(piece)
        if whole:
            self._end_block(self._hash.digest(piece))
            return
        if self._hasher is None and self._filled == len(piece):
            self._only = piece
        else:
            self._add_piece(piece)
        if self._filled == self._block_size:
            self._end_block(self._last_checksum())

    def _add_piece(self, piece: bytes) -> None:
        only, self._only = self._only, b""
        if self._hash.start is not None:
            if self._hasher is None:
                self._hasher = self._hash.start()
                self._hasher.update(only)
            self._hasher.update(piece)

    def _last_checksum(self) -> bytes:
        """That of the current block, which came in pieces or is shorter than others."""
        hasher, self._hasher = self._hasher, None
        only, self._only = self._only, b""
        if hasher is not None:
            return hasher.digest()
        if not only:
            # This hash needs its block whole; it was too much to be held, and is in the page cache.
            only = read_exactly(self._fd, self._filled, self.size - self._filled)
        return self._hash.digest(only)

    def _end_block(self, checksum: bytes) -> None:
        self._filled = 0
        self.add_lines(checksum.hex().encode() + b"\n")

    def add_lines(self, lines: bytes) -> None:
        """The checksum lines of the next blocks."""
        self._tag.update(lines)
        self._lines += lines
        if len(self._lines) >= _HELD_LINES:
            if self._lines_at is None:
                self._lines_at = _HEADER_ROOM
                if self._expected is not None:
                    header = ChecksumHeader(self._hash, self._block_size, self._expected)
                    self._lines_at = len(encode_header(header))
            self._spill()

    def takes_blocks_of(self, header: ChecksumHeader) -> bool:
        """Whether the next block could be one of another part as it is."""
        same = (self._hash.name, self._hash.key, self._block_size)
        return not self._filled and same == (header.hash.name, header.hash.key, header.block_size)

    def _spill(self) -> None:
        assert self._lines_at is not None
        self.staging.files.write_at(self._sums, (bytes(self._lines),), self._lines_at)
        self._lines_at += len(self._lines)
        self._lines.clear()

    def finish(self) -> Part:
        """That was all. What was written is in the page cache."""
        if self._filled:
            self._end_block(self._last_checksum())
        header = ChecksumHeader(self._hash, self._block_size, self.size)
        text = encode_header(header)
        written = header.block_count * header.line_length - len(self._lines)
        if not written:
            self.staging.files.write_at(self._sums, (text + bytes(self._lines),), 0)
        else:
            assert self._lines_at is not None
            self._spill()
            room = self._lines_at - header.block_count * header.line_length
            self.staging.files.write_at(self._sums, (text[:-1].ljust(room - 1) + b"\n",), 0)
        self._tag.update(text)
        return Part(self.number, self._tag.hexdigest(), self.size)


async def write_beside(
    stream: IByteStream,
    memory: StreamMemory,
    size: int | None,
    block_size: int,
    write: Callable[[list[Piece]], Deferred[None]],
) -> list[Piece]:
    """
    Read a stream to its end, and hand its bytes over to be written, while the next ones come.

    When this returns or raises, nothing is being written any more.

    @param write: writes some bytes in a disk thread; called again when its Deferred has fired.
    @param size: the bytes that must come; C{None} if that is not known.
    @param block_size: where it can, it hands over what completes a block.
    @return: what has not been handed over, less than a share of the memory: the last, or all of a few bytes.
    @raise SizeMismatch: if there are more bytes than they should be, as soon as they are; or fewer.
    """
    pieces = PieceBuffer()
    writing: Beside[None] = Beside(stream)
    count = in_block = 0  # in_block: bytes of the current block that were handed over
    memory.streams += 1
    try:
        while piece := await stream.read():
            count += len(piece)
            if size is not None and count > size:
                raise SizeMismatch(f"the body has more than the {size} bytes that were announced")
            pieces.add(piece)
            while pieces.size >= (want := _next_size(memory.share, block_size - in_block, block_size)):
                await writing.start(write, pieces.take(want))
                in_block = (in_block + want) % block_size
        await writing.result()
    except StreamClosed:
        await writing.result()  # perhaps it is why
        raise
    finally:
        await writing.close()
        memory.streams -= 1
    if size is not None and count != size:
        raise SizeMismatch(f"the body has {count} bytes; {size} were announced")
    return pieces.take()


def _next_size(share: int, left: int, block_size: int) -> int:
    """
    What completes blocks, so that no hash needs to look for a beginning again; or else as much as may be held.

    @param left: bytes that complete the current block.
    """
    return left + (share - left) // block_size * block_size if share >= left else share
