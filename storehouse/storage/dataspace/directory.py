"""
The directory of a Wormer store: where its files are, the disk threads that change them, what failures mean, and when the
files of what was deleted are removed: when the last of those who read it is done.

What is written fills a directory in tmp/, which is brought to disk and renamed to its place. All of that is done in a disk
thread, one staging area by one thread at a time; L{write_beside} brings it what a stream has.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import NoReturn, ParamSpec, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from storehouse.core import root
from storehouse.core.budget import StreamMemory
from storehouse.core.files import NO_SPACE, NO_WAIT, Files, read_exactly, read_regular
from storehouse.core.filesystem import check_together
from storehouse.core.jobs import IDisk, KeyedLocks, whole
from storehouse.core.opening import check_directories, has_flipped_bit, is_json, shown
from storehouse.core.operations import Operations
from storehouse.core.streams import Beside, IByteStream, Piece, PieceBuffer, StreamClosed
from storehouse.errors import (
    AlreadyExists,
    DamagedObject,
    NoSpace,
    SizeMismatch,
    StartFailed,
    StorageFailed,
    StorehouseError,
    StoreUnusable,
    Unavailable,
)
from storehouse.storage.dataspace.formats import (
    HASHES,
    TAG_SIZE,
    ChecksumHeader,
    Hash,
    Hasher,
    encode_header,
    find_hash,
)
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.dataspace.metrics import SpaceMetrics
from storehouse.storage.dataspace.values import Bounds

__all__ = [
    "FORMAT",
    "Holders",
    "Holding",
    "Layout",
    "PartWriter",
    "Receiver",
    "Staging",
    "StoreDirectory",
    "WormerSettings",
    "check_format",
    "checksum_name",
    "names_in",
    "part_name",
    "write_beside",
]


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
        """Its file, to copy into."""
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


P = ParamSpec("P")
T = TypeVar("T")


#: What format.json holds.
FORMAT = b'{"format":"wormer","version":1}\n'

_name = re.compile("[0-9a-f]{2,128}")
_half_done = re.compile(r"(put|deleted)\.[0-9a-f]{24}|kept\.[0-9a-f]{2,128}")


class Layout:
    """
    The paths of a store.

    @ivar root: its directory.
    @ivar indexes: the INDEX directories that are there, on disk.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.data = os.path.join(root, "data")
        self.uploads = os.path.join(root, "uploads")
        self.tmp = os.path.join(root, "tmp")
        self.indexes: set[str] = set()

    def make_index(self, files: Files, path: str, durable: bool) -> None:
        """Make the INDEX directory that C{path} goes into, if it is not there."""
        index = os.path.dirname(path)
        if index not in self.indexes:
            files.mkdir(index)
            if durable:
                files.sync_directory(os.path.dirname(index))
            self.indexes.add(index)

    def object(self, id: str) -> str:
        """The directory of an object; the ID must have been checked."""
        return f"{self.data}/{id[:2]}/{id}"

    def upload(self, upload_id: str) -> str:
        """The directory of an upload; the ID must have been checked."""
        return f"{self.uploads}/{upload_id[:2]}/{upload_id}"

    def incoming(self) -> str:
        """A new name for something on its way in."""
        return f"{self.tmp}/put.{secrets.token_hex(12)}"

    def outgoing(self) -> str:
        """A new name for something on its way out."""
        return f"{self.tmp}/deleted.{secrets.token_hex(12)}"

    def kept(self, id: str) -> str:
        """Where the directory of an object that was removed is while what is removed is kept; the ID must have been checked."""
        return f"{self.tmp}/kept.{id}"

    def prepare(self, files: Files, durable: bool) -> list[str]:
        """
        Make what is missing, on disk when this returns; and bring names to disk whose maker may have been killed before
        doing so.

        @param durable: whether what is written from now on is brought to disk.
        @return: the paths of what is left over in tmp/.
        @raise StartFailed: naming what cannot be used.
        """
        try:
            files.make_directory(self.root)
            check_format(self.root)
            path = os.path.join(self.root, "format.json")
            if not os.path.lexists(path):
                # Renamed to its place: never half written.
                fd = files.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                try:
                    files.write_at(fd, (FORMAT,), 0)
                    files.sync_data(fd)
                finally:
                    files.close(fd)
                files.rename(path + ".new", path)
            check_directories(self.data, self.uploads, self.tmp)
            self._settle_relaxed(files, durable)
            for directory in (self.data, self.uploads, self.tmp):
                files.mkdir(directory)
                _check_writable(directory)
            check_together(self.tmp, self.data, self.uploads)
            # A process that was killed may have made directories whose names never reached the disk; objects in them would
            # be answered as stored, and be lost with the name.
            files.sync_directory(self.root)
            for directory in (self.data, self.uploads):
                # What else is there by such a name is not ours: a scrub tells of it.
                names = [
                    name for name in names_in(directory) if len(name) == 2 and os.path.isdir(f"{directory}/{name}")
                ]
                self.indexes |= {f"{directory}/{name}" for name in names}
                files.sync_directory(directory)
                for name in names:
                    files.sync_directory(f"{directory}/{name}")
            return [os.path.join(self.tmp, name) for name in sorted(os.listdir(self.tmp)) if _half_done.fullmatch(name)]
        except OSError as error:
            raise StartFailed(_why_unusable(self.root, error)) from None

    def _settle_relaxed(self, files: Files, durable: bool) -> None:
        # What was written without syncs must not be built upon as if it were on disk.
        path = os.path.join(self.root, "relaxed")
        if not durable:
            files.close(files.open(path, os.O_WRONLY | os.O_CREAT))
        elif os.path.exists(path):
            files.sync_all()
            files.unlink(path)


def names_in(directory: str) -> list[str]:
    """The IDs or indexes in a directory, in order; none if it is not there. Other names are nobody's of ours."""
    try:
        return sorted(filter(_name.fullmatch, os.listdir(directory)))
    except (FileNotFoundError, NotADirectoryError):
        return []


def check_format(root: str) -> None:
    """
    See whether the store in a directory is one that this program can read.

    @raise StartFailed: if not.
    @raise OSError: if that cannot be found out.
    """
    path = os.path.join(root, "format.json")
    try:
        found = read_regular(path, 1 << 20)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise StoreUnusable(f"{path} cannot be read: {error.strerror}") from None  # it is no file
    if found != FORMAT:
        # Another store keeps everything shut; a damaged one only what needs it.
        if not is_json(found) or found.strip() == FORMAT.strip():
            raise StoreUnusable(f"{path} is damaged: it {shown(found)}, and should hold {FORMAT!r}")
        kind = StoreUnusable if has_flipped_bit(found, FORMAT) else StartFailed
        raise kind(f"the objects in {root} are of another format: {path} {shown(found)}, this program reads {FORMAT!r}")


def _check_writable(directory: str) -> None:
    # Where all is there already, nothing would be written at start, and the first who stores something be told.
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), directory)
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), directory)


def _why_unusable(root: str, error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.errno == errno.EROFS:
        reason = "its file system is read-only"
    elif error.errno in (errno.EACCES, errno.EPERM):
        reason = f"permission denied for {error.filename or root}"
    elif error.errno in (errno.ENOTDIR, errno.EEXIST):
        reason = f"{error.filename or root} is not a directory"
    return f"the objects directory {root} cannot be used: {reason}"


@attrs.frozen
class WormerSettings:
    """
    How a store is kept.

    @ivar directory: an absolute path; made if it is not there.
    @ivar hash: the name of the hash of new parts.
    @ivar block_size: bytes of the blocks of new parts.
    @ivar durable: whether what is acknowledged is on disk, or only with the operating system.
    @ivar memory: bytes that all writers together hold, and that all readers that wait for their consumers hold.
    @ivar bounds: of what is kept with objects and parts.
    @ivar recovered: where a repair puts what it takes out; empty for C{recovered} in the directory.
    """

    directory: str
    hash: str = HASHES[0]
    block_size: int = 1 << 20
    durable: bool = True
    memory: int = 64 << 20
    bounds: Bounds = attrs.Factory(Bounds)
    recovered: str = ""


class Receiver:
    """One part on its way in: what comes is written, in a disk thread."""

    def __init__(self, directory: StoreDirectory, number: int, size: int | None, target: str) -> None:
        self.staging = directory.staging()
        self._directory = directory
        self._number = number
        self._size = size
        self._target = target
        self._writer: PartWriter | None = None

    def write(self, pieces: Sequence[Piece]) -> None:
        """These are next."""
        if self._writer is None:
            if self._target:
                # Better now than after all of it was taken. The rename decides, at the end.
                self._directory.check_absent(self._target)
            self._begin()
        assert self._writer is not None
        self._writer.write(pieces)

    def _begin(self) -> None:
        directory = self._directory
        self._writer = PartWriter(self.staging, self._number, directory.hash, directory.settings.block_size, self._size)

    def finish(self, pieces: Sequence[Piece]) -> Part:
        """These are the last."""
        if self._writer is None:
            self._begin()
        assert self._writer is not None
        self._writer.write(pieces)
        return self._writer.finish()


class _Staged:
    # A class: contextlib's way costs as much as writing a small file.

    def __init__(self, directory: StoreDirectory, staging: Staging) -> None:
        self._directory = directory
        self._staging = staging

    async def __aenter__(self) -> Staging:
        return self._staging

    async def __aexit__(self, kind: object, error: object, traceback: object) -> None:
        if error is not None:
            await self._directory.discard(self._staging)


class StoreDirectory:
    """
    The files of a store, and the disk threads that change them.

    @ivar failed: why nothing is taken any more, or C{None}.
    @ivar kept: paths of what was removed and is kept for a while; C{None} if nothing is.
    """

    _log = Logger()

    def __init__(
        self,
        settings: WormerSettings,
        disk: IDisk,
        on_failure: Callable[[StorehouseError], None],
        files: Files,
    ) -> None:
        self.settings = settings
        self.disk = disk
        self.files = files
        self.hash = find_hash(settings.hash)
        self.layout = Layout(settings.directory)
        self.operations = Operations(
            "the object store",
            "storehouse_objects_operation_seconds",
            "Operations on stored objects; for get until the object is open.",
        )
        self.metrics = SpaceMetrics(self.operations)
        self.objects = KeyedLocks()
        self.uploads = KeyedLocks()
        self.stream_memory = StreamMemory(settings.memory)
        self.failed: StorehouseError | None = None
        self.kept: list[str] | None = None
        self._on_failure = on_failure

    # -- disk threads --------------------------------------------------------------------------

    async def run(self, f: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """
        Run C{f} in a disk thread, to its end.

        @raise StorehouseError: what it raised; or what became of an C{OSError}.
        """
        try:
            return await whole(self.disk, f, *args, **kwargs)
        except (OSError, StorehouseError) as error:
            raise self.explained(error) from None

    def explained(self, error: Exception) -> Exception:
        """The error as users get it. Counts damage, and remembers final failures."""
        if isinstance(error, DamagedObject):
            self.metrics.damaged += 1
            self._log.error(
                "damaged: {id}, part {part}, block {block}: {reason}",
                id=error.id,
                part=error.part,
                block=error.block,
                reason=error.reason,
            )
        elif isinstance(error, StorageFailed):
            self.fail(error)
        elif isinstance(error, OSError):
            return self._explain(error)
        return error

    def _explain(self, error: OSError) -> StorehouseError:
        if error.errno in NO_SPACE:
            return NoSpace("no space on the disk for objects; nothing was changed")
        self._log.error("the object store met {error}", error=str(error))
        if error.errno == errno.EROFS:
            return Unavailable("the file system of the objects is read-only")
        return Unavailable(f"the object store failed: {error.strerror or error}")

    def fail(self, error: StorehouseError) -> None:
        """Nothing may be acknowledged any more."""
        if self.failed is None:
            self.failed = self.operations.refusal = error
            self.metrics.failed = True
            self._on_failure(error)

    # -- writing -------------------------------------------------------------------------------

    def staging(self) -> Staging:
        """A new staging area. Nothing is made yet."""
        return Staging(self.files, self.layout.incoming(), self.settings.durable)

    def staged(self, staging: Staging) -> _Staged:
        """A staging area of which nothing is left behind if what is done with it fails: for C{async with}."""
        return _Staged(self, staging)

    async def discard(self, staging: Staging) -> None:
        """Leave nothing of a staging area. What cannot be removed is left for the next start."""
        try:
            await whole(self.disk, staging.discard)
        except OSError as error:
            self._log.error("{path} could not be removed: {error}", path=staging.path, error=str(error))

    def receive(
        self, receiver: Receiver, stream: IByteStream, size: int | None
    ) -> Coroutine[Deferred[object], object, list[Piece]]:
        """
        Take all that a stream has.

        @return: what has not been written yet, less than a share of the memory.
        """

        # Only what a thread fails with is explained: what the stream fails with is not ours.
        def write(pieces: list[Piece]) -> Deferred[None]:
            return self.disk.run(receiver.write, pieces).addErrback(self._raise_explained)

        return write_beside(stream, self.stream_memory, size, self.settings.block_size, write)

    def _raise_explained(self, failure: Failure) -> NoReturn:
        if isinstance(failure.value, Exception):
            raise self.explained(failure.value) from None
        failure.raiseException()

    def check_absent(self, path: str) -> None:
        """In a disk thread: @raise AlreadyExists: if something is there."""
        if os.path.lexists(path):
            raise AlreadyExists(f"{os.path.basename(path)} already exists")

    def make_index(self, path: str) -> None:
        """In a disk thread: make the INDEX directory that a path goes into. What is in its place is set aside."""
        try:
            self.layout.make_index(self.files, path, self.settings.durable)
        except FileExistsError:
            self.set_aside(os.path.dirname(path), "it was where a directory of objects belongs")
            self.layout.make_index(self.files, path, self.settings.durable)

    def set_aside(self, path: str, why: str) -> str:
        """In a disk thread: take something out of its place, and keep it. @return: where it is now."""
        own = os.path.join(self.layout.root, "recovered")
        kept = _move_aside(self.files, (self.settings.recovered or own, own), path, why)
        self._log.warn("{path} is now {kept}: {why}", path=path, kept=kept, why=why)
        return kept

    # -- removing ------------------------------------------------------------------------------

    def move_out(self, path: str) -> str:
        """
        In a disk thread: take something out of its place for good.

        @return: where it is now.
        @raise FileNotFoundError: if it is not there.
        """
        gone = self.layout.outgoing()
        if self.kept is not None and os.path.dirname(os.path.dirname(path)) == self.layout.data:
            gone = self.layout.kept(os.path.basename(path))
        # What describes it goes first: without that nothing is taken for whole.
        self.files.move(path, gone, ("data.json", "parts.json", "upload.json"))
        # Before the bytes are removed: after a power cut the object is there whole or not at all.
        if self.settings.durable:
            try:
                self.files.sync_directory(os.path.dirname(path))
            except OSError as error:
                raise StorageFailed(
                    f"{os.path.dirname(path)} could not be synced to disk: {error.strerror or error}"
                ) from None
        return gone

    def remove(self, path: str) -> None:
        """In a disk thread: remove what L{move_out} gave. What cannot be removed is left for the next start."""
        kept = self.kept
        if kept is not None and os.path.basename(path).startswith("kept."):
            kept.append(path)
            return
        try:
            if stat.S_ISDIR(os.lstat(path).st_mode):
                self.files.remove_tree(path)
            else:
                self.files.unlink(path)
        except OSError as error:
            self._log.error("{path} could not be removed: {error}", path=path, error=str(error))


def _move_aside(files: Files, places: tuple[str, ...], path: str, why: str) -> str:
    """
    Move a file or directory out of the store. It is on disk where it is then, with its note, when this returns.

    @param places: directories for it; the first that is on its file system is taken.
    @return: where it is now.
    @raise OSError: with it where it was.
    """
    device = os.lstat(path).st_dev
    for place in places:
        files.make_directory(place)
        # A rename is atomic and keeps the bytes as they are; a copy of something damaged might fail or differ.
        if os.stat(place).st_dev != device:
            continue
        try:
            target = root.set_aside(files, place, path, path, why)
        except OSError as error:
            if error.errno == errno.EXDEV:
                continue
            raise
        # The new name is on disk by now (set_aside syncs it); only then may the old one go from the disk.
        files.sync_directory(os.path.dirname(path))
        return target
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)


# -- who reads what --------------------------------------------------------------------------------


class Holders:
    """
    Those who read one object.

    @ivar gone: where its files are, once it was deleted.
    """

    def __init__(self) -> None:
        self.count = 0
        self.gone = ""


class Holding:
    """The readers of each object: the files of a deleted one stay until its last reader is done."""

    _log = Logger()

    def __init__(self, directory: StoreDirectory) -> None:
        self._directory = directory
        self._holders: dict[str, Holders] = {}
        self._deleting: dict[str, list[Deferred[None]]] = {}

    async def hold(self, id: str) -> Holders:
        """One more reads an object, if it is there: its files stay until L{let_go}."""
        while id in self._deleting:
            turn: Deferred[None] = Deferred()
            self._deleting[id].append(turn)
            await turn
        holders = self._holders.setdefault(id, Holders())
        holders.count += 1
        return holders

    def let_go(self, id: str, holders: Holders) -> None:
        """One that L{hold} gave is not needed any more."""
        holders.count -= 1
        if holders.count:
            return
        if self._holders.get(id) is holders:
            del self._holders[id]
        if holders.gone:
            removing = Deferred.fromCoroutine(self._directory.run(self._directory.remove, holders.gone))
            self._directory.operations.track(removing)
            removing.addCallback(self._removed)
            removing.addErrback(lambda failure: self._log.failure("while removing", failure=failure))

    def _removed(self, result: None) -> None:
        self._directory.metrics.staged -= 1

    async def remove(self, id: str, move_out: Callable[[bool], str]) -> None:
        """
        Remove an object. Nobody else may change it meanwhile.

        @param move_out: takes it out of its place, in a disk thread; removes it if called with true, and gives the path
            where it is now.
        """
        waiting: list[Deferred[None]] = []
        self._deleting[id] = waiting
        try:
            holders = self._holders.get(id)
            gone = await self._directory.run(move_out, holders is None)
            if holders is not None and self._holders.get(id) is holders:
                # From now on, opening the ID opens another object.
                del self._holders[id]
                holders.gone = gone
                self._directory.metrics.staged += 1
            elif holders is not None:  # the last of them left meanwhile
                await self._directory.run(self._directory.remove, gone)
        finally:
            del self._deleting[id]
            for turn in waiting:
                turn.callback(None)

    # -- keeping what is removed ---------------------------------------------------------------

    def keep_removed(self) -> None:
        """
        From now on keep the bytes of objects that are removed, as C{tmp/kept.ID}, until L{release_removed} or the next start: so
        who has read a name finds its bytes, although both go.
        """
        if self._directory.kept is None:
            self._directory.kept = []

    def release_removed(self) -> None:
        """Remove what was kept, one after the other, and keep nothing any more."""
        kept, self._directory.kept = self._directory.kept, None
        releasing = Deferred.fromCoroutine(self._release(kept or []))
        self._directory.operations.track(releasing)
        releasing.addErrback(lambda failure: self._log.failure("while removing what was kept", failure=failure))

    async def _release(self, kept: list[str]) -> None:
        for path in kept:
            if self._directory.operations.refusal is not None:
                return  # the next start does it
            await self._directory.run(self._directory.remove, path)
