"""
From bytes to what is stored of them, and back: frames, keys, descriptions and notes (docs/formats/sealed.md).

L{Codec} is all that a data space needs to encrypt, wherever it keeps bytes: it gives streams of frames, metadata and notes to be
stored, and takes them back. It knows nothing of IDs but that they name one content each.

Frames are encrypted about a MiB at a time in a disk thread, where the cipher releases the interpreter's lock. While a thread works
on some, the next ones arrive, and those before are read.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Protocol, TypeVar

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from prometheus_client.core import CounterMetricFamily, Metric
from twisted.logger import Logger

from storehouse.core.budget import StreamMemory
from storehouse.core.jobs import IDisk
from storehouse.core.keys.keyring import KEY_SIZE, TAG_SIZE
from storehouse.core.keys.vault import Vault
from storehouse.core.streams import Beside, IByteStream, Piece, PieceBuffer, StreamClosed, closing, exact, stage
from storehouse.errors import DamagedObject, SizeMismatch
from storehouse.storage.dataspace.interfaces import Metadata, Part, Reader
from storehouse.storage.dataspace.values import check_expected
from storehouse.storage.sealed.formats import (
    FRAME,
    SEALED_FRAME,
    Description,
    SealedPart,
    is_sealed,
    nonce_of,
    open_note,
    open_object,
    open_upload,
    seal_note,
    seal_object,
    seal_upload,
    sealed_size,
    upload_key,
)

__all__ = ["Codec", "Decryptor", "EncryptedStream", "Encryptor", "SealedMetrics", "UploadCodec", "coded"]

T = TypeVar("T")

# Bytes of the pieces that a stream gives where frames are whole.
_PIECE = 256 << 10

# Bytes that are worked on in the caller's thread: some 50 microseconds, less than it takes to hand them to another and back.
_SMALL = 128 << 10

# Frames that are decrypted at once: of parts of a few bytes there may be many.
_MAX_FRAMES = 512

# Descriptions that are cached, and parts of all of them.
_CACHED = 1024
_CACHED_PARTS = 50_000

#: What a batch became, as far as all is well; and what is wrong.
Coded = tuple[list[bytes], Exception | None]


class SealedMetrics:
    """
    The counters of one data space that encrypts.

    @ivar sealed: objects and parts that were encrypted.
    @ivar opened: objects and parts that were opened for reading.
    @ivar bytes_sealed: their bytes.
    @ivar bytes_opened: bytes that were decrypted and read.
    @ivar failures: how often something encrypted was not authentic.
    """

    _log = Logger()

    def __init__(self) -> None:
        self.sealed = 0
        self.opened = 0
        self.bytes_sealed = 0
        self.bytes_opened = 0
        self.failures = 0

    def damaged(self, error: DamagedObject) -> None:
        """Count and log something that is not authentic, or plain where all must be encrypted."""
        self.failures += 1
        self._log.error(
            "damaged: {id}, part {part}, frame {block}: {reason}",
            id=error.id,
            part=error.part,
            block=error.block,
            reason=error.reason,
        )

    def collect(self) -> Iterable[Metric]:
        for name, text, value in (
            ("sealed", "Objects and parts that were encrypted.", self.sealed),
            ("opened", "Objects and parts that were opened to be decrypted.", self.opened),
            ("sealed_bytes", "Bytes that were encrypted.", self.bytes_sealed),
            ("opened_bytes", "Bytes that were decrypted.", self.bytes_opened),
            ("failures", "Encrypted objects, parts and names that were not authentic.", self.failures),
        ):
            yield CounterMetricFamily(f"storehouse_encryption_{name}", text, value=value)


# -- frames ----------------------------------------------------------------------------------------


@attrs.frozen
class Batch:
    """
    Bytes that are encrypted or decrypted at once.

    @ivar size: how many.
    @ivar code: called with them, in a disk thread if they are many; one call follows the other.
    """

    size: int
    code: Callable[[Sequence[Piece]], Coded]


class Coder(Protocol):
    """Encrypts or decrypts the bytes of a stream."""

    @property
    def done(self) -> bool:
        """Whether all bytes that it needs are in batches."""

    def next_batch(self, available: int, most: int, ended: bool) -> Batch | None:
        """
        The next batch; C{None} if there are too few bytes.

        @param available: bytes that have been read, and are in no batch yet.
        @param most: bytes that it should have at most; it may have one frame more.
        @param ended: whether no more bytes will be read.
        """


@stage
async def coded(stream: IByteStream, coder: Coder, disk: IDisk, memory: StreamMemory) -> AsyncGenerator[Piece, None]:
    """
    A stage: what a coder makes of a stream.

    @param memory: its share is encrypted or decrypted at once; as much again is read meanwhile, and as much waits to be read.
    @raise SizeMismatch: if the stream ends before the coder has all that it needs.
    """
    pieces = PieceBuffer()
    working: Beside[Coded] = Beside(stream)
    ended = False
    memory.streams += 1
    try:
        while True:
            while (batch := coder.next_batch(pieces.size, memory.share, ended)) is None and not ended:
                if piece := await stream.read():
                    pieces.add(piece)
                else:
                    ended = True
            results = [await working.result()]
            if batch is not None and batch.size > _SMALL:
                await working.start(disk.run, batch.code, pieces.take(batch.size))
            elif batch is not None:
                results.append(batch.code(pieces.take(batch.size)))
            for result in results:
                if result is not None:
                    for done in result[0]:
                        yield done
                    if result[1] is not None:
                        raise result[1]
            if batch is None:
                break
        if not coder.done:
            raise SizeMismatch(f"the bytes end early, with {pieces.size} left over")
    except StreamClosed:
        await working.result()  # its failure may be why
        raise
    finally:
        await working.close()
        memory.streams -= 1


class _Splitter:
    """Splits pieces into others of given sizes; copies only what lies in several of them."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = iter(pieces)
        self._left = memoryview(b"")

    def take(self, size: int) -> Piece:
        taken, self._left = self._left[:size], self._left[size:]
        if len(taken) == size:
            return taken
        parts = [taken]
        size -= len(taken)
        while size:
            piece = memoryview(next(self._pieces))
            parts.append(piece[:size])
            self._left = piece[size:]
            size -= len(parts[-1])
        return b"".join(parts) if len(parts) > 2 or len(parts[0]) else parts[1]


class Encryptor:
    """
    A coder that makes frames of the bytes of a part.

    @param key: of the part; for these bytes alone.
    @ivar size: bytes that are in batches.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._frame = 0
        self.done = False
        self.size = 0

    def next_batch(self, available: int, most: int, ended: bool) -> Batch | None:
        if self.done:
            return None
        count = max(1, most // FRAME) * FRAME
        if available <= count:
            # The last frame may be among these, and is encrypted as such.
            if not ended:
                return None
            count = available
            self.done = True
        first = self._frame
        self.size += count
        self._frame += -(-count // FRAME)
        return Batch(count, partial(self._encrypt, first, count, self.done))

    def _encrypt(self, first: int, size: int, is_end: bool, pieces: Sequence[Piece]) -> Coded:
        splitter = _Splitter(pieces)
        encrypt = self._cipher.encrypt
        whole, rest = divmod(size, FRAME)
        lengths = [FRAME] * whole + ([rest] if rest or not size else [])
        frames = []
        for index, length in enumerate(lengths):
            last = is_end and index == len(lengths) - 1
            frames.append(encrypt(nonce_of(first + index, last), splitter.take(length), None))
        return frames, None


@attrs.frozen
class _Frame:
    """
    A frame to decrypt.

    @ivar sealed: its bytes as it is stored.
    @ivar start: the first of its bytes that is wanted.
    @ivar end: behind the last one.
    """

    part: int
    number: int
    sealed: int
    last: bool
    start: int
    end: int


class Decryptor:
    """
    A coder that makes a range of an object of its frames.

    @param offset: where the range begins, in bytes of the object.
    @param id: of the object, for errors.
    @param number: of a part of an upload that is read alone.
    @ivar start: the offset of the first frame, in what is stored.
    @ivar length: bytes of all frames.
    @ivar wrong: a frame that is not authentic, once one was found.
    """

    def __init__(self, id: str, description: Description, offset: int, length: int, number: int | None = None) -> None:
        self._id = id
        self._number = number
        self._parts = description.parts
        self._part = -1
        self._cipher: AESGCM | None = None
        self._gathered: list[_Frame] = []
        self._wanted = 0
        self._next: _Frame | None = None
        self.wrong: DamagedObject | None = None
        self.start = self.length = 0
        if length or not description.size:
            first, begin, last, end = 0, 0, len(self._parts) - 1, 0  # without bytes there is a frame, too
            if length:
                first, begin = description.locate(offset)
                last, end = description.locate(offset + length - 1)
            starts = description.sealed_starts
            self.start = starts[first] + begin // FRAME * SEALED_FRAME
            stop = starts[last] + (end // FRAME + 1) * SEALED_FRAME
            self.length = min(stop, starts[last + 1]) - self.start
            self._frames = self._walk(first, begin, last, end + 1)
            self._next = next(self._frames)

    def _walk(self, first: int, begin: int, last: int, end: int) -> Iterator[_Frame]:
        for part in range(first, last + 1):
            size = self._parts[part].size
            start = begin if part == first else 0
            stop = min(end, size) if part == last else size
            frame = start // FRAME
            while True:
                base = frame * FRAME
                length = min(FRAME, size - base)
                is_last = base + length == size
                yield _Frame(
                    part, frame, length + TAG_SIZE, is_last, max(0, start - base), max(0, min(stop - base, length))
                )
                if is_last or base + FRAME >= stop:
                    break
                frame += 1

    @property
    def done(self) -> bool:
        return self._next is None and not self._wanted

    def next_batch(self, available: int, most: int, ended: bool) -> Batch | None:
        while self._next is not None and self._wanted < most and len(self._gathered) < _MAX_FRAMES:
            self._gathered.append(self._next)
            self._wanted += self._next.sealed
            self._next = next(self._frames, None)
        if not self._wanted or available < self._wanted:
            return None
        count, self._wanted = self._wanted, 0
        frames, self._gathered = self._gathered, []
        return Batch(count, partial(self._decrypt, frames))

    def _decrypt(self, frames: list[_Frame], pieces: Sequence[Piece]) -> Coded:
        splitter = _Splitter(pieces)
        opened: list[bytes] = []
        try:
            for frame in frames:
                if frame.part != self._part or self._cipher is None:
                    self._part, self._cipher = frame.part, AESGCM(self._parts[frame.part].key)
                nonce = nonce_of(frame.number, frame.last)
                data = self._cipher.decrypt(nonce, splitter.take(frame.sealed), None)
                if frame.end - frame.start < len(data):
                    data = data[frame.start : frame.end]
                if data:
                    opened.append(data)
        except InvalidTag:
            number = self._part + 1 if self._number is None else self._number
            self.wrong = DamagedObject(self._id, "the encrypted bytes are not authentic", number, frame.number)
        return _joined(opened), self.wrong


def _joined(frames: list[bytes]) -> list[bytes]:
    """Frames as pieces that are not small, nor too large."""
    each = max(1, _PIECE // FRAME)
    if max(map(len, frames), default=FRAME) < FRAME // 4:
        each = len(frames)
    return [b"".join(frames[start : start + each]) for start in range(0, len(frames), each)]


class EncryptedStream:
    """
    Bytes on their way to be stored, encrypted with a key of their own.

    @ivar stream: the frames.
    @ivar size: their bytes; C{None} if that is not known.
    """

    def __init__(self, stream: IByteStream, size: int | None, disk: IDisk, memory: StreamMemory) -> None:
        self._key = os.urandom(KEY_SIZE)
        self._encryptor = Encryptor(self._key)
        whole = stream if size is None else exact(stream, size)
        self.stream = coded(whole, self._encryptor, disk, memory)
        self.size = None if size is None else sealed_size(size)

    @property
    def part(self) -> SealedPart:
        """Their size and key, once the stream was read to its end."""
        return SealedPart(self._encryptor.size, self._key)


# -- what is stored --------------------------------------------------------------------------------


@attrs.frozen
class _Cached:
    texts: tuple[str, ...]
    description: Description


class Codec:
    """
    See the module.

    @param memory: bytes that all streams being encrypted may hold together, and all being decrypted.
    """

    def __init__(self, vault: Vault, disk: IDisk, memory: int) -> None:
        self.metrics = SealedMetrics()
        self._disk = disk
        # Apart, so that many readers do not slow writers down.
        self._incoming = StreamMemory(memory)
        self._outgoing = StreamMemory(memory)
        self._vault = vault
        self._cache: OrderedDict[str, _Cached] = OrderedDict()
        self._cached_parts = 0

    @property
    def allows_plain(self) -> bool:
        """Whether there may be objects and uploads from before there was a master key."""
        return self._vault.keyring.plain

    # -- bytes ---------------------------------------------------------------------------------

    def encrypt(self, stream: IByteStream, size: int | None) -> EncryptedStream:
        """New bytes. Once they are stored, L{count} them."""
        return EncryptedStream(stream, size, self._disk, self._incoming)

    def count(self, part: SealedPart) -> None:
        """Count what was encrypted and stored."""
        self.metrics.sealed += 1
        self.metrics.bytes_sealed += part.size

    def decrypt(
        self, stored: Reader, description: Description, offset: int, length: int, decryptor: Decryptor
    ) -> Reader:
        """
        A range of what is encrypted. A byte is read only once its frame was found authentic.

        @param stored: of the very frames that C{decryptor} needs.
        """
        self.metrics.opened += 1
        metadata = {name: list(values) for name, values in description.metadata.items()}
        stream = _decrypted(stored.stream, decryptor, self._disk, self._outgoing, self.metrics)
        return Reader(stored.id, metadata, description.etag, description.size, offset, length, stream)

    # -- objects -------------------------------------------------------------------------------

    def seal_object(self, id: str, parts: Iterable[SealedPart], metadata: Metadata) -> dict[str, list[str]]:
        """The metadata to store for an object of these parts. Its key is wrapped by the current one of the keyring."""
        return seal_object(self._vault.keyring, id, parts, metadata)

    def cached(self, id: str) -> Description | None:
        """What L{open_object} returned last for an ID. It may be another object by now."""
        cached = self._cache.get(id)
        return None if cached is None else cached.description

    def open_object(self, id: str, metadata: Metadata) -> Description | None:
        """
        What L{seal_object} was given; C{None} if the object is plain.

        @raise DamagedObject: if the metadata is not authentic, or is plain and may not be.
        """
        if self._is_plain(id, metadata):
            return None
        texts = tuple(metadata["sealed"])
        cached = self._cache.get(id)
        if cached is not None and cached.texts == texts:
            self._cache.move_to_end(id)
            return cached.description
        description = self._checked(
            id, "its description cannot be read", lambda: open_object(self._vault.keyring, id, metadata)
        )
        self.forget(id)
        self._cache[id] = _Cached(texts, description)
        self._cached_parts += len(description.parts)
        while len(self._cache) > _CACHED or (self._cached_parts > _CACHED_PARTS and len(self._cache) > 1):
            self.forget(next(iter(self._cache)))
        return description

    def check_expected(self, id: str, description: Description, expected: Part | None) -> None:
        """@raise DamagedObject: unless an object is the one that is meant."""
        try:
            check_expected(id, description.etag, description.size, expected)
        except DamagedObject as error:
            self.metrics.damaged(error)
            raise

    def forget(self, id: str) -> None:
        """Drop what is cached of an ID."""
        cached = self._cache.pop(id, None)
        if cached is not None:
            self._cached_parts -= len(cached.description.parts)

    # -- uploads -------------------------------------------------------------------------------

    def begin_upload(self, upload_id: str, metadata: dict[str, list[str]]) -> tuple[UploadCodec, dict[str, list[str]]]:
        """A new key for an upload, and the metadata to store for it."""
        key, sealed = seal_upload(self._vault.keyring, upload_id, metadata)
        return UploadCodec(self, upload_id, key, metadata), sealed

    def open_upload(self, upload_id: str, metadata: Metadata) -> UploadCodec | None:
        """
        That of an upload, from its stored metadata; C{None} if the upload is plain.

        @raise DamagedObject: if the metadata is not authentic, or is plain and may not be.
        """
        if self._is_plain(upload_id, metadata):
            return None

        def work() -> UploadCodec:
            key = upload_key(self._vault.keyring, upload_id, metadata)
            return UploadCodec(self, upload_id, key, open_upload(key, upload_id, metadata))

        return self._checked(upload_id, "its description cannot be read", work)

    # -- damage --------------------------------------------------------------------------------

    def damaged(self, id: str, reason: str, part: int | None = None) -> DamagedObject:
        """An error to raise for stored bytes that are not what was stored. It is counted."""
        error = DamagedObject(id, reason, part)
        self.metrics.damaged(error)
        return error

    def _is_plain(self, id: str, metadata: Metadata) -> bool:
        if is_sealed(metadata):
            return False
        if not self.allows_plain:
            raise self.damaged(id, "it is not encrypted, but everything here is")
        return True

    def _checked(self, id: str, what: str, work: Callable[[], T], part: int | None = None) -> T:
        try:
            return work()
        except ValueError as error:
            raise self.damaged(id, f"{what}: {error}", part) from None


@attrs.frozen
class UploadCodec:
    """
    Seals and opens notes of the parts of one upload, by its key.

    @ivar metadata: that of the upload.
    """

    _codec: Codec = attrs.field(repr=False)
    upload_id: str
    _key: bytes = attrs.field(repr=False)
    metadata: dict[str, list[str]]

    def seal_note(self, number: int, part: SealedPart, note: str) -> str:
        """The note to store for a part, with what is needed to read the part."""
        return seal_note(self._key, self.upload_id, number, part, note)

    def open_note(self, number: int, text: str) -> tuple[SealedPart, str]:
        """
        What L{seal_note} was given.

        @raise DamagedObject: if it is not authentic, or is of another part or upload.
        """
        return self._codec._checked(
            self.upload_id,
            "its note cannot be read",
            lambda: open_note(self._key, self.upload_id, number, text),
            number,
        )


@stage
async def _decrypted(
    stream: IByteStream, decryptor: Decryptor, disk: IDisk, memory: StreamMemory, metrics: SealedMetrics
) -> AsyncGenerator[Piece, None]:
    async with closing(coded(exact(stream, decryptor.length), decryptor, disk, memory)) as plain:
        try:
            while piece := await plain.read():
                metrics.bytes_opened += len(piece)
                yield piece
        except DamagedObject as error:
            if error is decryptor.wrong:
                metrics.damaged(error)
            raise
