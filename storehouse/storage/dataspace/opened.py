"""
Reading what is stored: objects and uploads, held by the descriptors of their directories; their parts; the blocks of those.

Files are opened through the directory, so that they stay readable when it is renamed. All of this runs in a disk thread, but
for small objects that the kernel has in memory (L{read_small}, L{OpenObject.read_at_once}): to tell a thread takes longer.

A L{BlockStream} has the bytes of an open range: blocks are verified in a disk thread, the next ones while these are taken.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Iterator

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from storehouse.core.files import CACHED, NO_WAIT, WAITING, Access, NotCached
from storehouse.core.jobs import IDisk, over
from storehouse.core.streams import PIECE, GeneratorStream, Piece
from storehouse.core.turns import breath
from storehouse.errors import DamagedObject, NoSuchObject, NoSuchUpload, StorehouseError
from storehouse.storage.dataspace.directory import checksum_name, part_name
from storehouse.storage.dataspace.formats import (
    MAX_DESCRIPTION,
    MAX_HEADER,
    Hasher,
    ObjectInfo,
    check_own,
    decode_header,
    decode_object,
    decode_object_cached,
    is_our_tag,
    part_tag,
)
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.dataspace.values import check_expected, check_range

__all__ = [
    "READ_SIZE",
    "BlockStream",
    "OpenObject",
    "OpenPart",
    "OpenUploadPart",
    "ReadMemory",
    "Span",
    "read_description",
    "read_small",
    "spans_of",
]


_READ = os.O_RDONLY | os.O_CLOEXEC | NO_WAIT

# What opening a link says, when it is not followed; and a socket, or a device that is none.
_NOT_REGULAR = frozenset({errno.ELOOP, errno.ENXIO, errno.ENODEV})

# Bytes of the pieces that are given out.
_PIECE = 256 << 10

# Bytes of checksum lines that are read at once.
_LINES = 64 << 10

# Bytes of a checksum file that are read when it is opened: those of a part of some 250 MiB.
_START = 16 << 10

# Checksum files that do not fit, and were compared with the tag of their part before: device, inode, time, size, tag.
_compared: set[tuple[int, int, int, int, str]] = set()
_MOST_COMPARED = 4096


def read_description(directory: int, name: str, id: str, access: Access = WAITING) -> bytes:
    """
    A JSON file of an object or upload.

    @raise DamagedObject: if it is not there, or too long to be one.
    """
    try:
        fd = access.open(name, _READ, directory)
    except FileNotFoundError:
        raise DamagedObject(id, f"{name} is missing") from None
    except OSError as error:
        if error.errno in _NOT_REGULAR:
            raise DamagedObject(id, f"{name} is not a regular file") from None
        raise
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise DamagedObject(id, f"{name} is not a regular file")
        if status.st_size > MAX_DESCRIPTION:
            raise DamagedObject(id, f"{name} has {status.st_size} bytes")
        return access.read(fd, status.st_size, 0)
    finally:
        os.close(fd)


class OpenPart:
    """
    The files of a part.

    @param id: of the object or upload it belongs to, for errors.
    @param compared: whether the tag of the part must be that of its checksums.
    @ivar header: of its checksum file.
    @raise DamagedObject: if they do not belong together.
    """

    def __init__(self, directory: int, id: str, part: Part, access: Access = WAITING, compared: bool = True) -> None:
        self.id = id
        self.part = part
        self.access = access
        self._fd = self._sums = -1
        try:
            self._fd = self._open(directory, part_name(part.number))
            self._sums = self._open(directory, checksum_name(part.number))
            self._size = self._status(self._fd, part_name(part.number)).st_size
            status = self._status(self._sums, checksum_name(part.number))
            self._start = access.read(self._sums, _START, 0)
            try:
                self.header, self._lines_at = decode_header(self._start[:MAX_HEADER])
            except ValueError as error:
                raise self._damaged(f"the header of {checksum_name(part.number)} cannot be read: {error}") from None
            self._check_sizes(status.st_size)
            if compared and is_our_tag(part.etag):
                self._check_tag(status)
        except BaseException:
            self.close()
            raise

    def _damaged(self, reason: str, block: int | None = None, missing: bool = False) -> DamagedObject:
        return DamagedObject(self.id, reason, self.part.number, block, missing)

    def _open(self, directory: int, name: str) -> int:
        try:
            return self.access.open(name, _READ, directory)
        except FileNotFoundError:
            raise self._damaged(f"{name} is missing", missing=name == part_name(self.part.number)) from None
        except OSError as error:
            if error.errno in _NOT_REGULAR:
                raise self._damaged(f"{name} is not a regular file") from None
            raise

    def _status(self, fd: int, name: str) -> os.stat_result:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise self._damaged(f"{name} is not a regular file")
        return status

    def _check_sizes(self, sums_size: int) -> None:
        header = self.header
        for what, number in (("it should have", self.part.size), ("its checksum file is for", header.data_length)):
            if number != self._size:
                raise self._damaged(f"{part_name(self.part.number)} has {self._size} bytes, {what} {number}")
        expected = self._lines_at + header.block_count * header.line_length
        if sums_size != expected:
            raise self._damaged(f"{checksum_name(self.part.number)} has {sums_size} bytes instead of {expected}")

    def _check_tag(self, status: os.stat_result) -> None:
        """The files of another part of the same size agree with each other, too: the tag tells them apart."""
        # What was read at the beginning is all there is of most; a large one is compared once.
        is_large = status.st_size > len(self._start)
        known = (status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size, self.part.etag)
        if is_large and known in _compared:
            return
        if is_large and self.access is CACHED:
            raise NotCached
        if part_tag(self.header, self.all_lines()) != self.part.etag:
            if self.access is CACHED:
                raise NotCached
            # A line may be damaged, and the bytes be right: then only its block is not given out.
            if part_tag(self.header, map(self._line_of, range(self.header.block_count))) != self.part.etag:
                raise self._damaged(f"its etag does not match {checksum_name(self.part.number)}")
        if is_large:
            if len(_compared) >= _MOST_COMPARED:
                _compared.clear()
            _compared.add(known)

    def check_lines(self) -> None:
        """
        Compare all checksum lines with the tag of the part, where that is one of ours. The blocks are not read.

        @raise DamagedObject: if a line is another one: the block that it is of cannot be given out.
        """
        if is_our_tag(self.part.etag) and part_tag(self.header, self.all_lines()) != self.part.etag:
            raise self._damaged(f"its etag does not match {checksum_name(self.part.number)}")

    def _line_of(self, block: int) -> bytes:
        start, size = self.header.span(block)
        return self.header.line(self.access.read(self._fd, size, start))

    @property
    def fd(self) -> int:
        """The file with its bytes."""
        return self._fd

    def lines(self, first: int, count: int) -> bytes:
        """The checksum lines of some blocks, unchecked."""
        length = self.header.line_length
        start = self._lines_at + first * length
        end = start + count * length
        if end <= len(self._start):
            return self._start[start:end]
        return self.access.read(self._sums, end - start, start)

    def all_lines(self) -> Iterator[bytes]:
        """All checksum lines, some at a time."""
        at_once = max(1, _LINES // self.header.line_length)
        for first in range(0, self.header.block_count, at_once):
            yield self.lines(first, min(at_once, self.header.block_count - first))

    def read(self, offset: int, length: int, at_most: int) -> list[bytes]:
        """
        Verified bytes from C{offset} on: C{length}, or as many blocks as make C{at_most}, at least one.

        Bytes before a damaged block are given; the next call, which begins there, raises.

        @raise DamagedObject: at a block that is not what was stored.
        """
        size = self.header.block_size
        end = offset + length
        first = offset // size
        last = min((end - 1) // size, first + max(1, at_most // size) - 1)
        lines = self.lines(first, last - first + 1)
        width = self.header.line_length
        pieces: list[bytes] = []
        for block in range(first, last + 1):
            line = lines[(block - first) * width : (block - first + 1) * width]
            start = block * size
            try:
                pieces += self._block(block, line, max(0, offset - start), end - start)
            except DamagedObject:
                if not pieces:
                    raise
                break
        return pieces

    def read_plain(self, offset: int, length: int) -> list[bytes]:
        """
        Bytes from C{offset} on as they are in the file, verified by nobody, in pieces.

        @raise DamagedObject: if the file has become too short.
        """
        pieces = []
        end = offset + length
        while offset < end:
            piece = self.access.read(self._fd, min(_PIECE, end - offset), offset)
            if not piece:
                raise self._damaged(f"it ends after {offset} of {self.part.size} bytes")
            pieces.append(piece)
            offset += len(piece)
        return pieces

    def _block(self, block: int, line: bytes, low: int, high: int) -> list[bytes]:
        """What lies between two places of a block, in pieces, after all of the block was verified."""
        header = self.header
        start, size = header.span(block)
        if header.hash.start is None or size <= _PIECE:
            data = self.access.read(self._fd, size, start)
            got, checksum = len(data), header.hash.digest(data)
            pieces = [data if low == 0 and high >= size else data[low:high]]
        else:
            got, checksum, pieces = self._hash_in_place(header.hash.start(), start, size, low, min(high, size))
        if got != size:
            raise self._damaged(f"it ends after {got} of {size} bytes", block)
        if checksum.hex().encode() + b"\n" != line:
            raise self._damaged("its checksum is wrong", block)
        return pieces

    def _hash_in_place(
        self, hasher: Hasher, start: int, size: int, low: int, high: int
    ) -> tuple[int, bytes, list[bytes]]:
        """Where the hash permits, bytes are copied only if they are wanted."""
        view = self.access.buffer()
        pieces = []
        got = 0
        while got < size:
            count = self.access.read_into(self._fd, view[: size - got], start + got)
            if not count:
                break
            hasher.update(view[:count])
            for at in range(max(0, low - got), min(count, high - got), _PIECE):
                pieces.append(bytes(view[at : min(at + _PIECE, count, high - got)]))
            got += count
        return got, hasher.digest(), pieces

    def close(self) -> None:
        """Close its files."""
        for fd in (self._fd, self._sums):
            if fd >= 0:
                os.close(fd)
        self._fd = self._sums = -1


_DIRECTORY = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY


@attrs.frozen
class Span:
    """
    A range of one part.

    @ivar offset: where it begins in the part.
    @ivar length: its bytes, 1 or more.
    """

    part: Part
    offset: int
    length: int


def spans_of(parts: tuple[Part, ...], offset: int, length: int) -> Iterator[Span]:
    """What of each part belongs to a range of the object."""
    for part in parts:
        if length <= 0:
            return
        if offset < part.size:
            take = min(length, part.size - offset)
            yield Span(part, offset, take)
            length -= take
            offset = 0
        else:
            offset -= part.size


class OpenObject:
    """
    An object that is held by its directory.

    @param verified: whether its blocks are verified when they are read.
    @param expected: see L{IDataSpace.get<storehouse.storage.dataspace.interfaces.IDataSpace.get>}.
    @ivar info: its data.json.
    @raise NoSuchObject: if it is not there.
    @raise DamagedObject: if its data.json is not what was stored, or not what is expected.
    """

    def __init__(
        self, path: str, id: str, access: Access = WAITING, verified: bool = True, expected: Part | None = None
    ) -> None:
        self.id = id
        self._expected = expected
        self._access = access
        self._verified = verified
        self._part: OpenPart | None = None
        try:
            self.directory = -1
            self.directory = access.open(path, _DIRECTORY)
        except FileNotFoundError:
            raise self._missing() from None
        except NotADirectoryError:
            raise DamagedObject(id, "it is not a directory") from None
        self._path = path
        try:
            self.info = self._describe()
        except DamagedObject as error:
            found = self.or_missing(error)
            self.close()
            raise found from None
        except BaseException:
            self.close()
            raise

    def or_missing(self, error: StorehouseError) -> StorehouseError:
        """
        An error, or that the object is not there if it is not in its place any more: then its files are being removed, and it is
        not damaged.
        """
        try:
            there, mine = os.stat(self._path), os.fstat(self.directory)
        except FileNotFoundError:
            return self._missing()
        except OSError:
            return error
        return error if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino) else self._missing()

    def _missing(self) -> StorehouseError:
        return NoSuchObject(f"there is no object {self.id}")

    def _describe(self) -> ObjectInfo:
        data = read_description(self.directory, "data.json", self.id, self._access)
        try:
            info = decode_object(data)
            check_own(info.id, self.id)
        except ValueError as error:
            raise DamagedObject(self.id, f"data.json cannot be read: {error}") from None
        check_expected(self.id, info.etag, info.size, self._expected)
        return info

    def part(self, part: Part) -> OpenPart:
        """One of its parts, open until the next is asked for."""
        if self._part is None or self._part.part.number != part.number:
            if self._part is not None:
                self._part.close()
                self._part = None
            self._part = OpenPart(self.directory, self.id, part, self._access)
        return self._part

    def read_at_once(self, offset: int, length: int) -> list[bytes]:
        """
        What L{read} gives, if that is quick: for the reactor's thread.  From now on, reads wait for the disk.

        @raise NotCached: if it is not.
        """
        span = next(spans_of(self.info.parts, offset, length))
        part = self.part(span.part)
        at_once = part.header.hash.at_once
        size = part.header.block_size
        last = (span.offset + span.length - 1) // size
        first = span.offset // size
        if sum(part.header.span(last)) - first * size > at_once:
            raise NotCached
        pieces = self._read(part, span, at_once)
        self._access = part.access = WAITING
        return pieces

    def read(self, offset: int, length: int, at_most: int) -> list[bytes]:
        """Bytes from C{offset} on, some or all of C{length}: at most of one part, C{at_most} or one block."""
        span = next(spans_of(self.info.parts, offset, length))
        return self._read(self.part(span.part), span, at_most)

    def _read(self, part: OpenPart, span: Span, at_most: int) -> list[bytes]:
        if self._verified:
            return part.read(span.offset, span.length, at_most)
        return part.read_plain(span.offset, min(span.length, at_most))

    def close(self) -> None:
        """Close all of it."""
        if self._part is not None:
            self._part.close()
            self._part = None
        if self.directory >= 0:
            os.close(self.directory)
            self.directory = -1


class OpenUploadPart(OpenObject):
    """
    A part of an upload as if it were an object. Its files are open at once, since it may be dropped.

    @param path: the directory of the upload.
    @raise NoSuchUpload: if it is not there.
    """

    def __init__(self, path: str, upload_id: str, part: Part) -> None:
        self._only = part
        OpenObject.__init__(self, path, upload_id)

    def _missing(self) -> StorehouseError:
        return NoSuchUpload(f"there is no upload {self.id}")

    def _describe(self) -> ObjectInfo:
        self.part(self._only)
        return ObjectInfo(self._only.etag, self._only.size, (self._only,), {})


# Bytes of the largest object that is read this way.
_SMALL_SIZE = 64 << 10


def read_small(path: str, offset: int, length: int | None, expected: Part | None = None) -> tuple[ObjectInfo, bytes]:
    """
    A range of an object.

    @param path: its directory.
    @param expected: see L{IDataSpace.get<storehouse.storage.dataspace.interfaces.IDataSpace.get>}.
    @raise NotCached: if it is not small, not in memory, or not in order.
    @raise InvalidRange: if the range does not lie within it.
    """
    try:
        info = decode_object_cached(CACHED.read_file(f"{path}/data.json", _SMALL_SIZE))
        if len(info.parts) != 1 or info.size > _SMALL_SIZE or info.id not in ("", path.rpartition("/")[2]):
            raise NotCached
        if expected is not None and (info.size != expected.size or expected.etag not in ("", info.etag)):
            raise NotCached
        part = info.parts[0]
        sums = CACHED.read_file(f"{path}/{checksum_name(part.number)}", _SMALL_SIZE)
        header, start = decode_header(sums)
        data = CACHED.read_file(f"{path}/{part_name(part.number)}", _SMALL_SIZE)
    except (OSError, ValueError):
        raise NotCached from None
    if not len(data) == part.size == header.data_length:
        raise NotCached
    size = header.block_size
    if min(size, len(data)) > header.hash.at_once:
        raise NotCached
    if size >= len(data):
        lines = header.line(data) if data else b""
    else:
        lines = b"".join([header.line(data[at : at + size]) for at in range(0, len(data), size)])
    if sums[start:] != lines or (is_our_tag(part.etag) and part_tag(header, (lines,)) != part.etag):
        raise NotCached
    count = check_range(offset, length, info.size)
    return info, data if count == len(data) else data[offset : offset + count]


#: Bytes that one job in a disk thread reads, unless a block has more.
READ_SIZE = 1 << 20

# Bytes of one read for a waiting reader.
_MOST_READ = 2 << 20


class ReadMemory:
    """
    What streams hold of verified blocks that were not read yet.

    Beyond the total, those that were not read for the longest time let go of theirs, and read again when it is wanted.

    @ivar used: bytes that are held.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self.used = 0
        self._idle: OrderedDict[BlockStream, None] = OrderedDict()

    def hold(self, size: int) -> None:
        """So many bytes more are held; less if negative."""
        self.used += size
        while self.used > self._total and self._idle:
            stream, _ = self._idle.popitem(last=False)
            stream.let_go()

    def idles(self, stream: BlockStream) -> None:
        """A stream is not being read: it may be asked to let go."""
        self._idle[stream] = None
        self.hold(0)

    def goes_on(self, stream: BlockStream) -> None:
        """A stream is being read, or closed: it may not be asked."""
        self._idle.pop(stream, None)


class BlockStream(GeneratorStream):
    """
    A range of an object. See L{Reader<storehouse.storage.dataspace.interfaces.Reader>}.

    @param first: what has been read of the range already.
    @param on_failure: turns the failure of a disk thread into the one that the reader gets.
    @param on_closed: called once, when the object is not read any more.
    @param on_bytes: called with the number of bytes that were read.
    """

    def __init__(
        self,
        opened: OpenObject,
        offset: int,
        length: int,
        first: list[bytes],
        disk: IDisk,
        memory: ReadMemory,
        on_failure: Callable[[Exception], Exception],
        on_closed: Callable[[], None],
        on_bytes: Callable[[int], None],
    ) -> None:
        super().__init__(self._blocks(), release=self._closed)
        self._opened = opened
        self._offset = offset
        self._length = length
        self._disk = disk
        self._memory = memory
        self._on_failure = on_failure
        self._on_closed = on_closed
        self._on_bytes = on_bytes
        self._given = 0  # bytes given out
        self._held = 0  # bytes read and not given out
        self._ahead: deque[bytes] = deque()
        self._at = 0  # bytes of the first of them that were given out
        self._failure: BaseException | None = None
        self._reading: Deferred[list[bytes]] | None = None
        self._read_size = READ_SIZE
        self._take(first)
        memory.idles(self)

    def let_go(self) -> None:
        """For the memory: drop what is held. It is read again when it is wanted."""
        held, self._held = self._held, 0
        self._ahead.clear()
        self._at = 0
        self._failure = None
        self._memory.hold(-held)

    async def _blocks(self) -> AsyncGenerator[Piece, None]:
        while self._given < self._length:
            self._memory.goes_on(self)
            self._read_ahead()
            while not self._ahead:
                if self._failure is not None:
                    raise self._failure
                if self._reading is not None:
                    # A waiting reader gets more at once: a thread that waits for the next request verifies nothing.
                    self._read_size = min(2 * self._read_size, _MOST_READ)
                    await over(self._reading)
                self._read_ahead()
            piece = self._next_piece()
            self._read_ahead()
            self._memory.idles(self)
            # The reader may take everything at once, and need CPU time for each piece, to encrypt it for example.
            await breath()
            yield piece

    def _next_piece(self) -> Piece:
        first = self._ahead[0]
        piece: Piece = first if len(first) <= PIECE else memoryview(first)[self._at : self._at + PIECE]
        self._at += len(piece)
        if self._at == len(first):
            self._ahead.popleft()
            self._at = 0
        self._given += len(piece)
        self._held -= len(piece)
        self._memory.hold(-len(piece))
        self._on_bytes(len(piece))
        return piece

    def _read_ahead(self) -> None:
        """Read what follows what is held, if nothing is being read and little is held."""
        at = self._given + self._held
        if self._reading is not None or self._failure is not None or at >= self._length or self._held > READ_SIZE:
            return
        work = self._disk.run(self._opened.read, self._offset + at, self._length - at, self._read_size)
        self._read_size = READ_SIZE
        self._reading = work
        work.addCallbacks(self._read, self._not_read, callbackArgs=(at,), errbackArgs=(at,))

    def _read(self, pieces: list[bytes], at: int) -> None:
        self._reading = None
        # What was held before it may have been let go meanwhile.
        if at == self._given + self._held and self._closing is None:
            self._take(pieces)
            if not self._is_reading:
                self._memory.idles(self)

    def _not_read(self, failure: Failure, at: int) -> None:
        self._reading = None
        # If what comes before it was let go, it is met again.
        if at == self._given + self._held and self._closing is None:
            error = failure.value
            self._failure = self._on_failure(error) if isinstance(error, Exception) else error

    def _take(self, pieces: list[bytes]) -> None:
        self._ahead.extend(pieces)
        size = sum(map(len, pieces))
        self._held += size
        self._memory.hold(size)

    def _closed(self) -> Deferred[None]:
        self._memory.goes_on(self)
        if self._reading is not None:
            return over(self._reading).addCallback(self._give_back)
        self._give_back(None)
        return succeed(None)

    def _give_back(self, result: None) -> None:
        self.let_go()
        self._opened.close()
        self._on_closed()
