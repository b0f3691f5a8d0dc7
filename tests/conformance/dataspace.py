"""What every data space must do with objects: mixed into a test case that makes one; see also dataspace_uploads."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncGenerator, Awaitable, Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater
from zope.interface import implementer
from zope.interface.verify import verifyObject

from storehouse.core.streams import (
    BytesStream,
    GeneratorStream,
    IByteStream,
    Piece,
    PushedStream,
    StreamClosed,
    read_all,
)
from storehouse.errors import (
    AlreadyExists,
    InvalidName,
    InvalidRange,
    NoSuchObject,
    NoSuchUpload,
    SizeMismatch,
    StorehouseError,
    Unavailable,
)
from storehouse.storage.dataspace.interfaces import IDataSpace, IInventory, IUploads, Metadata, Part
from storehouse.storage.dataspace.values import MAX_METADATA
from tests.conformance.streams import begun

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase
else:
    TestCase = object

__all__ = [
    "BLOCK",
    "DataSpaceTestsMixin",
    "PersistentDataSpaceTestsMixin",
    "SpaceTestsMixin",
    "Tap",
    "content",
    "later",
    "turns",
]

BLOCK = 4096
MIB = 1 << 20

#: What is no ID and no upload ID.
INVALID_IDS = (
    "",
    "0",
    "A0",
    "zz",
    "a g",
    "../..",
    "a/b",
    "/etc",
    "0x12",
    "ab\n",
    "\nab",
    "a\x00b",
    "é1",
    "٠١",
    "\udc80\udc80",
    "a" * 129,
)

#: Sizes around those that matter on disk.
SIZES = (0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 5 * BLOCK + 7)


@cache
def content(size: int, seed: int = 0) -> bytes:
    """So many bytes that do not repeat."""
    return random.Random(f"{size} {seed}").randbytes(size)


async def turns(count: int = 1) -> None:
    """Let the reactor do what it has to, so many times."""
    for _ in range(count):
        await deferLater(reactor, 0)


async def pause(seconds: float = 0.03) -> None:
    """Give threads time to do what they should not."""
    await deferLater(reactor, seconds)


@implementer(IByteStream)
class Tap:
    """
    A stream that a test opens and shuts.

    @ivar started: fires when the bytes are wanted.
    @ivar refused: whether it was closed before its end.
    """

    def __init__(self) -> None:
        self.started: Deferred[None] = Deferred()
        self.refused = False
        self._pushed = PushedStream(lambda: None, lambda: None, closed=self._refuse)

    def _refuse(self) -> None:
        self.refused = True

    async def read(self) -> Piece:
        if not self.started.called:
            self.started.callback(None)
        return await self._pushed.read()

    def close(self) -> Deferred[None]:
        return self._pushed.close()

    async def write(self, *pieces: bytes) -> None:
        """Give these, each as soon as the one before was read, for as long as they are wanted."""
        await self.started
        for piece in pieces:
            while self._pushed.waiting:
                await turns()
            self._pushed.write(piece)

    def end(self, error: Exception | None = None) -> None:
        """There is nothing more, or an error."""
        if error is None:
            self._pushed.end()
        else:
            self._pushed.fail(error)


def later(pieces: Iterable[Piece]) -> IByteStream:
    """A stream whose pieces take a turn of the reactor each."""

    async def each() -> AsyncGenerator[Piece, None]:
        for piece in pieces:
            await turns()
            yield piece

    return GeneratorStream(each())


def pieces_of(data: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """The data in pieces of these sizes, over and over."""
    position = 0
    for size in itertools.cycle(sizes):
        if position >= len(data):
            return
        yield data[position : position + size]
        position += size


class SpaceTestsMixin(TestCase):
    """
    What tests of data spaces have in common.

    The test case gives C{make_space(block_size=BLOCK)}, perhaps a coroutine function: a started space on the storage of
    this test, that is stopped at the end of the test; called again it gives another one on the same storage, if that
    is kept, after it has stopped the one before. And it gives C{advance(seconds)}: lets so much time pass by the clock
    of the space, or makes what is stored so much older.

    @ivar equal_etags: whether the same bytes have the same etag each time they are stored.
    """

    equal_etags = True

    space: Any
    make_space: Any
    advance: Any

    async def setUp(self) -> None:  # type: ignore[override]
        await self.reopen()

    async def reopen(self, **settings: int) -> None:
        """Stop the space and start another on what it left."""
        space = self.make_space(**settings)
        self.space = await space if isinstance(space, Awaitable) else space

    async def put(self, id: str, data: bytes, metadata: Metadata | None = None) -> Part:
        part: Part = await self.space.put(id, BytesStream(data), len(data), metadata or {})
        return part

    async def get(self, id: str, offset: int = 0, length: int | None = None) -> bytes:
        reader = await self.space.get(id, offset, length)
        data = await read_all(reader)
        self.assertEqual((reader.offset, reader.length), (offset, len(data)))
        return data

    async def upload(self, upload_id: str, *parts: bytes, metadata: Metadata | None = None) -> list[Part]:
        """An upload of these parts, from 1 on."""
        await self.space.init_upload(upload_id, metadata or {})
        return [await self.part(upload_id, number, data) for number, data in enumerate(parts, 1)]

    async def part(self, upload_id: str, number: int, data: bytes) -> Part:
        etag = await self.space.upload_part(upload_id, number, BytesStream(data), len(data))
        self.assertIsInstance(etag, str)
        return Part(number, etag, len(data))

    async def put_parts(self, id: str, *parts: bytes, metadata: Metadata | None = None) -> Part:
        """An object of several parts."""
        part: Part = await self.space.complete_upload(id, "ff00", await self.upload("ff00", *parts, metadata=metadata))
        return part

    async def refused(self, error: type[Exception], deferred: Deferred[Any]) -> Any:
        """A method has given a Deferred, and it fails so."""
        self.assertIsInstance(deferred, Deferred)
        return await self.assertFailure(deferred, error)

    async def absent(self, *ids: str) -> None:
        """None of these is an object."""
        for id in ids:
            await self.refused(NoSuchObject, self.space.get(id))
            await self.refused(NoSuchObject, self.space.get_metadata(id))
            self.assertNotIn(id, await self.space.list_ids(id[:2]))

    async def outcome(self, deferred: Deferred[Any]) -> bool:
        """Whether it came to its end, although it was cancelled. Then there is time for what should not follow."""
        try:
            await deferred
            return True
        except CancelledError:
            return False
        finally:
            await pause(0.01)

    def check_mismatch(self, error: StorehouseError, announced: int, size: int) -> None:
        """The text names what was announced, and what came; of a body that is too long nobody knows the end."""
        for number in (announced, size) if size < announced else (announced,):
            self.assertRegex(error.detail, rf"\b{number}\b")


class DataSpaceTestsMixin(SpaceTestsMixin):
    """Clauses of L{IDataSpace} and L{Reader} on objects, and those of L{IInventory}."""

    # -- the interfaces ----------------------------------------------------------------------

    async def test_interfaces(self) -> None:
        for interface in (IDataSpace, IUploads, IInventory):
            verifyObject(interface, self.space)
        self.assertIsNone(self.space.failed)
        part = await self.put("ab", b"some text", {"a": ["b"]})
        reader = await self.space.get("ab", 2, 3)
        verifyObject(IByteStream, reader)
        self.assertEqual(
            (reader.id, reader.metadata, reader.etag, reader.size, reader.offset, reader.length),
            ("ab", {"a": ["b"]}, part.etag, 9, 2, 3),
        )
        await reader.close()

    async def test_stop(self) -> None:
        """After a stop everything is refused; a second stop is fine."""
        await self.put("ab", b"x")
        parts = await self.upload("cd", b"x")
        await self.space.stop()
        for deferred in (
            self.space.init_upload("ef", {}),
            self.space.upload_part("cd", 2, BytesStream(b"x"), 1),
            self.space.upload_part_copy("cd", 2, "ab"),
            self.space.complete_upload("ef", "cd", parts),
            self.space.abort_upload("cd"),
            self.space.list_parts("cd"),
            self.space.put("ef", BytesStream(b"x"), 1, {}),
            self.space.get("ab"),
            self.space.get_metadata("ab"),
            self.space.delete("ab"),
            self.space.copy("ef", "ab"),
            self.space.list_uploads(),
            self.space.expire_uploads(0),
            self.space.list_ids("ab"),
        ):
            await self.refused(Unavailable, deferred)
        await self.space.stop()

    # -- round trips -------------------------------------------------------------------------

    async def test_sizes(self) -> None:
        """Objects of all sizes come back, whether their size was known or not."""
        for number, size in enumerate((*SIZES, 3 * MIB + 5)):
            data = content(size)
            for id, announced in ((f"a{number}", size), (f"b{number}", None)):
                part = await self.space.put(id, BytesStream(data), announced, {})
                self.assertEqual(part, Part(1, part.etag, size))
                self.assertEqual(await self.get(id), data)

    async def test_pieces(self) -> None:
        """It does not matter in which pieces the bytes come, empty ones among them."""
        data = content(2 * MIB + 11)
        etags = set()
        for number, sizes in enumerate(
            [(MIB,), (BLOCK,), (BLOCK - 1, 2), (1, 5000, 0, 3, 70_001, 262_145), (len(data),), (len(data) - 1, 1)]
        ):
            pieces = pieces_of(data, sizes)
            size = (len(data), None)[number % 2]
            etags.add((await self.space.put(f"a{number}", BytesStream(pieces), size, {})).etag)
            self.assertEqual(await self.get(f"a{number}"), data)
        self.assertEqual(len(etags), 1 if self.equal_etags else 6)

    async def test_byte_by_byte(self) -> None:
        data = content(BLOCK + 3)
        await self.space.put("ab", BytesStream(pieces_of(data, (1,))), None, {})
        self.assertEqual(await self.get("ab"), data)

    async def test_slow_pieces(self) -> None:
        """Pieces may be at hand or take their time, however many there are."""
        data = content(MIB)
        for number, make in enumerate((BytesStream, later)):
            for size in (len(data), None):
                id = f"a{number}{'0' if size is None else '1'}"
                await self.space.put(id, make(pieces_of(data, (100, 1001))), size, {})
                self.assertEqual(await self.get(id), data)

    async def test_slow_source(self) -> None:
        """Nothing of an object is there before its end."""
        tap = Tap()
        putting = self.space.put("ab", tap, 3 * BLOCK, {"a": ["b"]})
        for number in range(3):
            await tap.write(content(BLOCK, number))
            await turns(5)
            await self.absent("ab")
        tap.end()
        await putting
        self.assertEqual(await self.get("ab"), b"".join(content(BLOCK, number) for number in range(3)))
        self.assertFalse(tap.refused)

    async def test_ids(self) -> None:
        """IDs of all lengths."""
        ids = ["00", "000", "0" * 128, "ff", "f" * 127, "0123456789abcdef"]
        for id in ids:
            await self.put(id, id.encode())
        for id in ids:
            self.assertEqual(await self.get(id), id.encode())

    async def test_invalid_ids(self) -> None:
        """Every method checks every ID."""
        await self.put("ab", b"x")
        parts = await self.upload("cd", b"x")
        for id in INVALID_IDS:
            for deferred in (
                self.space.init_upload(id, {}),
                self.space.upload_part(id, 2, BytesStream(b"x"), 1),
                self.space.upload_part_copy(id, 2, "ab"),
                self.space.upload_part_copy("cd", 2, id),
                self.space.complete_upload(id, "cd", parts),
                self.space.complete_upload("ef", id, parts),
                self.space.abort_upload(id),
                self.space.list_parts(id),
                self.space.put(id, BytesStream(b"x"), 1, {}),
                self.space.get(id),
                self.space.get_metadata(id),
                self.space.delete(id),
                self.space.copy(id, "ab"),
                self.space.copy("ef", id),
            ):
                await self.refused(InvalidName, deferred)
        self.assertEqual(await self.space.list_parts("cd"), parts)

    async def test_unknown(self) -> None:
        await self.refused(NoSuchObject, self.space.get("ab"))
        await self.refused(NoSuchObject, self.space.get("ab", 5, 3))
        await self.refused(NoSuchObject, self.space.get_metadata("ab"))
        await self.refused(NoSuchObject, self.space.delete("ab"))
        await self.refused(NoSuchObject, self.space.copy("cd", "ab"))
        await self.absent("ab", "cd")

    async def test_put_again(self) -> None:
        """An object is never written over, not even one of no bytes."""
        for id, data in (("ab", b"first"), ("cd", b"")):
            part = await self.put(id, data, {"number": ["one"]})
            for size in (None, 6):
                await self.refused(AlreadyExists, self.space.put(id, BytesStream(b"second"), size, {}))
            reader = await self.space.get(id)
            self.assertEqual((reader.etag, reader.metadata), (part.etag, {"number": ["one"]}))
            self.assertEqual(await read_all(reader), data)

    async def test_etags(self) -> None:
        """Tags tell contents apart, and are the same for the same bytes."""
        contents = [b"", b"\0", b"a", b"b", b"\0" * BLOCK, b"\0" * 2 * BLOCK, content(3 * BLOCK), content(3 * BLOCK, 1)]
        contents.append(contents[-1][:-1] + b"!")
        etags = []
        for number, data in enumerate(contents):
            one, other = await self.put(f"a{number}", data, {"n": ["1"]}), await self.put(f"b{number}", data)
            self.assertEqual(one.etag == other.etag, self.equal_etags)
            etags.append(one.etag)
        self.assertEqual(len(set(etags)), len(contents))

    # -- metadata ----------------------------------------------------------------------------

    async def test_metadata(self) -> None:
        """Any text comes back as it was."""
        metadata: Metadata
        for number, metadata in enumerate(
            [
                {},
                {"key": ["value"]},
                {"none": [], "empty": [""], "": ["no name"]},
                {"many": [str(n) for n in range(1000)], "twice": ["same", "same"]},
                {f"name {n}": [f"value {n}"] for n in range(500)},
                {"Größe": ["ñ", "日本語", "\U0001f600", "e\u0301", "\u00e9"], "\u2028": ["\ufeff", "\uffff"]},
                {'quotes"\\/': ["\x00\x01\n\r\t\x7f", '","checksum":"00000000"}', "</script>"]},
                {"key": ["a"], "Key": ["b"], "checksum": ["c"], "metadata": ["d"], "size": ["5"]},
            ]
        ):
            await self.put(f"a{number}", b"x", metadata)
            self.assertEqual(await self.space.get_metadata(f"a{number}"), metadata)
            reader = await self.space.get(f"a{number}")
            self.assertEqual(reader.metadata, metadata)
            await reader.close()

    async def test_metadata_as_tuples(self) -> None:
        await self.put("ab", b"x", {"key": ("a", "b")})
        self.assertEqual(await self.space.get_metadata("ab"), {"key": ["a", "b"]})

    async def test_metadata_is_ours(self) -> None:
        """What a caller does to the metadata it gave or got changes nothing."""
        metadata = {"key": ["value"]}
        putting = self.space.put("ab", BytesStream(b"x"), 1, metadata)
        metadata["key"].append("more")
        metadata["other"] = []
        await putting
        reader = await self.space.get("ab")
        for got in (await self.space.get_metadata("ab"), reader.metadata):
            self.assertEqual(got, {"key": ["value"]})
            got["key"].append("more")
            got.clear()
        await reader.close()
        self.assertEqual(await self.space.get_metadata("ab"), {"key": ["value"]})

    async def test_metadata_at_its_limit(self) -> None:
        """The most there may be, of what takes most room when written down; and one value more. Each text counts one byte more."""
        for number, character in enumerate(("x", "\x01", '"', "é", "\U0001f600")):
            width = len(character.encode())
            values = [character * ((MAX_METADATA - 7) // width)]
            values.append("x" * (MAX_METADATA - 7 - len(values[0].encode())))
            metadata = {"name": values}
            await self.put(f"a{number}", b"x", metadata)
            self.assertEqual(await self.space.get_metadata(f"a{number}"), metadata)
            await self.refused(InvalidName, self.space.put(f"b{number}", BytesStream(b""), 0, {"name": [*values, "x"]}))
            await self.absent(f"b{number}")

    async def test_metadata_refused(self) -> None:
        """Every method that takes metadata refuses what is no text, or too much."""
        await self.put("ab", b"x", {"kept": ["this"]})
        parts = await self.upload("cd", b"x")
        metadata: Metadata
        for metadata in (
            {"a": ["\ud800"]},
            {"\udc80": []},
            {"a": ["fine", "\ud83d\ude00"]},
            {"a": ["x" * MAX_METADATA]},
            {"x" * (MAX_METADATA + 1): []},
            {f"{n:04}": ["x" * 250] for n in range(1025)},
            {"a": [""] * MAX_METADATA},
            {"a": "text"},
        ):
            for deferred in (
                self.space.put("ef", BytesStream(b"x"), 1, metadata),
                self.space.init_upload("ef", metadata),
                self.space.complete_upload("ef", "cd", parts, metadata),
                self.space.copy("ef", "ab", metadata=metadata),
            ):
                error = await self.refused(InvalidName, deferred)
                error.detail.encode()
        await self.absent("ef")
        await self.refused(NoSuchUpload, self.space.list_parts("ef"))
        self.assertEqual(await self.space.list_parts("cd"), parts)

    # -- ranges ------------------------------------------------------------------------------

    async def test_ranges(self) -> None:
        """Every shape of range, of an object of one part and of ones of several."""
        data = content(4 * BLOCK + 5)
        await self.put("aa", data)
        # Borders of parts within a block, at one, and next to one another.
        for id, borders in (("bb", (BLOCK, 3 * BLOCK)), ("cc", (0, 0, 1, BLOCK - 1, BLOCK - 1, 2 * BLOCK + 7))):
            ends = (*borders, len(data))
            await self.put_parts(id, *(data[start:end] for start, end in itertools.pairwise((0, *ends))))
        places = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 6, 2 * BLOCK + 7, 4 * BLOCK, 4 * BLOCK + 4, len(data)]
        for id in ("aa", "bb", "cc"):
            for offset in places:
                self.assertEqual(await self.get(id, offset), data[offset:])
                for end in {*places, offset + 1}:
                    if offset <= end <= len(data):
                        self.assertEqual(await self.get(id, offset, end - offset), data[offset:end], (id, offset, end))

    async def test_range_of_nothing(self) -> None:
        await self.put("ab", b"")
        for length in (0, None):
            self.assertEqual(await self.get("ab", 0, length), b"")
        await self.put("cd", content(BLOCK))
        for offset in (0, 7, BLOCK):
            self.assertEqual(await self.get("cd", offset, 0), b"")

    async def test_invalid_ranges(self) -> None:
        """A range that does not lie within the object is refused, and the error tells the size."""
        for id, size in (("aa", 0), ("bb", 10), ("cc", BLOCK)):
            await self.put(id, content(size))
            await self.upload(id)
            for offset, length in (
                (size + 1, None),
                (size + 1, 0),
                (size, 1),
                (0, size + 1),
                (0, 2**63),
                (2**63, 2**63),
                (2**64, None),
                (-1, None),
                (-1, 1),
                (-size, None),
                (0, -1),
                (size, -1),
                (size, -size),
                (1, size),
            ):
                if (offset, length) in ((0, None), (0, 0)):
                    continue  # -size and size are 0
                for deferred in (
                    self.space.get(id, offset, length),
                    self.space.copy("dd", id, offset, length),
                    self.space.upload_part_copy(id, 1, id, offset, length),
                ):
                    error = await self.refused(InvalidRange, deferred)
                    self.assertEqual(error.size, size)
            self.assertEqual(await self.space.list_parts(id), [])
        await self.absent("dd")

    # -- readers -----------------------------------------------------------------------------

    async def test_ranges_in_pieces(self) -> None:
        """A range comes in pieces, none of them empty, and ends, as often as it is asked."""
        data = content(MIB + 5)
        await self.put("ab", data)
        for offset, length in ((0, None), (5, 2 * BLOCK), (9, 0), (len(data), None)):
            reader = await self.space.get("ab", offset, length)
            end = len(data) if length is None else offset + length
            pieces = []
            while piece := await reader.read():
                pieces.append(bytes(piece))
            self.assertEqual(b"".join(pieces), data[offset:end])
            for _ in range(2):
                self.assertEqual(await reader.read(), b"")
            await reader.close()

    async def test_slow_reader(self) -> None:
        """A slow reader gets all bytes, in order."""
        data = content(3 * MIB + 1)
        await self.put("ab", data)
        reader = await self.space.get("ab")
        await pause()
        random_ = random.Random(1)
        pieces = []
        while piece := await reader.read():
            pieces.append(bytes(piece))
            await turns(random_.randrange(3))
        await reader.close()
        self.assertEqual(b"".join(pieces), data)

    async def test_cancelled_read(self) -> None:
        """A read that is cancelled ends the stream, whenever that is; the object is as before."""
        await self.put("ab", content(3 * MIB))
        for number in (0, 1, 5):
            reader = await self.space.get("ab")
            for _ in range(number):
                await reader.read()
            read = begun(read_all(reader))
            read.cancel()
            try:
                await read  # all was at hand
            except CancelledError:
                pass
            await self.refused(StreamClosed, begun(reader.read()))
        self.assertEqual(await self.get("ab"), content(3 * MIB))

    async def test_close(self) -> None:
        """A reader can be given up, at any time; then nothing is had from it."""
        await self.put("ab", content(3 * MIB))
        for number in (0, 1, 5, 1000):
            reader = await self.space.get("ab")
            for _ in range(number):
                await reader.read()
            for _ in range(2):
                await reader.close()
                await self.refused(StreamClosed, begun(reader.read()))
        self.assertEqual(await self.get("ab"), content(3 * MIB))

    async def test_close_while_reading(self) -> None:
        """What is being read fails, unless it was at hand."""
        await self.put("ab", content(3 * MIB))
        reader = await self.space.get("ab")
        await reader.read()
        read = begun(read_all(reader))
        await reader.close()
        try:
            await read  # all was at hand
        except StreamClosed:
            pass
        self.assertEqual(await self.get("ab"), content(3 * MIB))

    async def test_many_readers(self) -> None:
        """Readers of one object do not disturb one another."""
        data = content(MIB + 77)
        await self.put("ab", data)
        readers = await gatherResults([self.space.get("ab", n * 50_001) for n in range(20)])
        pieces: list[list[bytes]] = [[] for _ in readers]
        while any(not taken or taken[-1] for taken in pieces):
            for reader, taken in zip(readers, pieces, strict=True):
                taken.append(bytes(await reader.read()))
        for n, taken in enumerate(pieces):
            await readers[n].close()
            self.assertEqual(b"".join(taken), data[n * 50_001 :])

    async def test_many_at_once(self) -> None:
        """Several objects written, and then read, at the same time."""
        await gatherResults([Deferred.fromCoroutine(self.put(f"a{n:03}", content(BLOCK * n, n))) for n in range(30)])
        read = [Deferred.fromCoroutine(self.get(f"a{n:03}")) for n in range(30)]
        for n, data in enumerate(await gatherResults(read)):
            self.assertEqual(data, content(BLOCK * n, n))

    # -- deleting ----------------------------------------------------------------------------

    async def test_delete(self) -> None:
        await self.put("ab", b"one", {"a": ["b"]})
        await self.put("abcd", b"two")
        await self.space.delete("ab")
        await self.absent("ab")
        await self.refused(NoSuchObject, self.space.delete("ab"))
        await self.refused(NoSuchObject, self.space.copy("ef", "ab"))
        self.assertEqual(await self.get("abcd"), b"two")
        await self.put("ab", b"another")
        self.assertEqual(await self.get("ab"), b"another")
        self.assertEqual(await self.space.get_metadata("ab"), {})

    async def test_delete_of_parts(self) -> None:
        await self.put_parts("ab", b"one", b"two")
        await self.space.delete("ab")
        await self.absent("ab")

    async def test_delete_twice_at_once(self) -> None:
        """One of them has done it."""
        await self.put("ab", b"x")
        told: list[str] = []
        for deferred in [self.space.delete("ab") for _ in range(5)]:
            deferred.addCallbacks(
                lambda _: told.append("deleted"), lambda f: told.append(f.trap(NoSuchObject).__name__)
            )
            await deferred
        self.assertEqual(sorted(told), ["NoSuchObject"] * 4 + ["deleted"])

    async def test_reader_across_delete(self) -> None:
        """What is open stays readable: before its first byte, and in the middle."""
        data = content(2 * MIB + 3)
        for put in (self.put, self.put_parts):
            await put("ab", data)
            fresh, late = await self.space.get("ab"), await self.space.get("ab", BLOCK + 5, BLOCK)
            begun_ = await self.space.get("ab")
            first = bytes(await begun_.read())
            await self.space.delete("ab")
            await self.absent("ab")
            self.assertEqual(await read_all(fresh), data)
            self.assertEqual(first + await read_all(begun_), data)
            self.assertEqual(await read_all(late), data[BLOCK + 5 :][:BLOCK])
            await self.absent("ab")

    async def test_reader_across_another(self) -> None:
        """What is open stays what it was, when its ID is given to something else."""
        first, second = content(MIB + 3, 1), content(MIB + 3, 2)
        one = await self.put("ab", first, {"number": ["one"]})
        readers = [await self.space.get("ab") for _ in range(3)]
        piece = bytes(await readers[0].read())
        await self.space.delete("ab")
        other = await self.put("ab", second, {"number": ["two"]})
        self.assertNotEqual(one.etag, other.etag)
        self.assertEqual(await self.get("ab"), second)
        self.assertEqual(piece + await read_all(readers[0]), first)
        self.assertEqual(await read_all(readers[1]), first)
        self.assertEqual((readers[2].metadata, readers[2].etag), ({"number": ["one"]}, one.etag))
        await readers[2].close()
        self.assertEqual(await self.get("ab"), second)

    async def test_deleted_and_closed(self) -> None:
        await self.put("ab", b"one")
        readers = [await self.space.get("ab") for _ in range(2)]
        await self.space.delete("ab")
        for reader in readers:
            await reader.close()
        await self.put("ab", b"two")
        self.assertEqual(await self.get("ab"), b"two")

    # -- copies ------------------------------------------------------------------------------

    async def test_copy(self) -> None:
        """Whole objects of one part and of several; the copy of a copy; each lives without the other."""
        data = content(3 * BLOCK + 5)
        for put in (
            lambda: self.put("aa", data, {"a": ["b"]}),
            lambda: self.put_parts("aa", data[:7], data[7:BLOCK], data[BLOCK:], metadata={"a": ["b"]}),
        ):
            part = await put()
            self.assertEqual(await self.space.copy("bb", "aa"), Part(0, part.etag, len(data)))
            self.assertEqual(await self.space.copy("cc", "bb"), Part(0, part.etag, len(data)))
            for deleted, left in (("bb", "aacc"), ("aa", "cc")):
                await self.space.delete(deleted)
                for id in (left[:2], left[2:]):
                    if id:
                        self.assertEqual(await self.get(id), data)
                        self.assertEqual(await self.space.get_metadata(id), {"a": ["b"]})
            await self.absent("aa", "bb")
            await self.space.copy("bb", "cc")
            await self.space.delete("cc")
            self.assertEqual(await self.get("bb", 5, BLOCK), data[5:][:BLOCK])
            await self.space.delete("bb")

    async def test_copy_of_nothing(self) -> None:
        part = await self.put("aa", b"", {"a": ["b"]})
        self.assertEqual(await self.space.copy("bb", "aa"), Part(0, part.etag, 0))
        self.assertEqual(await self.get("bb"), b"")
        self.assertEqual(await self.space.get_metadata("bb"), {"a": ["b"]})

    async def test_copy_metadata(self) -> None:
        """Metadata that are given, be they none at all, are instead of the source's, with nothing mixed."""
        await self.put("aa", b"x", {"a": ["b"], "c": ["d"]})
        for number, metadata in enumerate(({"a": ["other"]}, {}, {"e": []})):
            await self.space.copy(f"b{number}", "aa", metadata=metadata)
            self.assertEqual(await self.space.get_metadata(f"b{number}"), metadata)
        self.assertEqual(await self.space.get_metadata("aa"), {"a": ["b"], "c": ["d"]})

    async def test_copy_ranges(self) -> None:
        """Ranges at blocks and not, within a part and across parts, of nothing, and of all; the source then goes."""
        data = content(6 * BLOCK + 5)
        ranges = [
            (0, len(data)),
            (0, BLOCK),
            (BLOCK, 2 * BLOCK),
            (5 * BLOCK, None),
            (1, BLOCK),
            (BLOCK - 1, 2),
            (2 * BLOCK + 3, None),
            (2 * BLOCK + 3, 3 * BLOCK),
            (0, len(data) - 1),
            (len(data) - 1, 1),
            (0, 0),
            (77, 0),
            (len(data), None),
        ]
        for put in (
            lambda: self.put("aa", data, {"a": ["b"]}),
            lambda: self.put_parts(
                "aa", data[:BLOCK], data[BLOCK : 2 * BLOCK + 3], b"", data[2 * BLOCK + 3 :], metadata={"a": ["b"]}
            ),
        ):
            whole = await put()
            for number, (offset, length) in enumerate(ranges):
                end = len(data) if length is None else offset + length
                part = await self.space.copy(f"b{number:x}", "aa", offset, length)
                self.assertEqual(part, Part(0, part.etag, end - offset))
                if part.size < len(data):
                    self.assertNotEqual(part.etag, whole.etag)
            await self.space.delete("aa")
            for number, (offset, length) in enumerate(ranges):
                expected = data[offset : len(data) if length is None else offset + length]
                self.assertEqual(await self.get(f"b{number:x}"), expected, (offset, length))
                if len(expected) > 2:
                    self.assertEqual(await self.get(f"b{number:x}", 1, len(expected) - 2), expected[1:-1])
                self.assertEqual(await self.space.get_metadata(f"b{number:x}"), {"a": ["b"]})
                await self.space.delete(f"b{number:x}")

    async def test_copy_of_copy_of_range(self) -> None:
        """Ranges of ranges of ranges."""
        data = content(5 * BLOCK)
        await self.put_parts("a0", data[: BLOCK + 1], data[BLOCK + 1 :])
        for number in range(1, 6):
            await self.space.copy(f"a{number}", f"a{number - 1}", 700, None, {"n": [str(number)]})
            await self.space.delete(f"a{number - 1}")
            data = data[700:]
            self.assertEqual(await self.get(f"a{number}"), data)
            self.assertEqual(await self.space.get_metadata(f"a{number}"), {"n": [str(number)]})

    async def test_copy_large(self) -> None:
        data = content(5 * MIB + 7)
        await self.put("aa", data)
        await self.space.copy("bb", "aa")
        await self.space.copy("cc", "aa", 3, 4 * MIB)
        await self.space.delete("aa")
        self.assertEqual(await self.get("bb"), data)
        self.assertEqual(await self.get("cc"), data[3:][: 4 * MIB])

    async def test_copy_onto(self) -> None:
        """A copy is never written over anything, itself included."""
        await self.put("aa", b"one", {"number": ["one"]})
        await self.put("bb", b"", {"number": ["two"]})
        await self.refused(AlreadyExists, self.space.copy("bb", "aa"))
        await self.refused(AlreadyExists, self.space.copy("bb", "aa", 1, 1, {}))
        await self.refused(AlreadyExists, self.space.copy("aa", "aa"))
        self.assertEqual((await self.get("aa"), await self.get("bb")), (b"one", b""))
        self.assertEqual(await self.space.get_metadata("bb"), {"number": ["two"]})

    # -- sizes and failures ------------------------------------------------------------------

    async def test_wrong_sizes(self) -> None:
        """A body of another size than announced is refused, and the error says why."""
        for announced, size in ((10, 0), (10, 9), (10, 12), (0, 1), (BLOCK, BLOCK - 1), (BLOCK, BLOCK + 2), (2, MIB)):
            for stream in (Tap(), BytesStream([content(size)])):
                putting = self.space.put("ab", stream, announced, {})
                if isinstance(stream, Tap):
                    await stream.write(content(size))
                    stream.end()
                self.check_mismatch(await self.refused(SizeMismatch, putting), announced, size)
                await self.absent("ab")
        await self.put("ab", b"fits")
        self.assertEqual(await self.get("ab"), b"fits")

    async def test_too_long_is_stopped(self) -> None:
        """A body that exceeds its size is not waited for to its end."""
        tap = Tap()
        putting = self.space.put("ab", tap, BLOCK + 5, {})
        await tap.write(content(BLOCK), content(5))
        await turns(5)
        self.assertFalse(tap.refused)
        await tap.write(b"!")
        await self.refused(SizeMismatch, putting)
        self.assertTrue(tap.refused)
        await self.absent("ab")

    async def test_source_fails(self) -> None:
        """What a source fails with comes out, and nothing was stored; known sizes reached or not."""
        for size in (None, 2 * BLOCK, 3 * BLOCK):
            for written in (0, 2):
                raised = ZeroDivisionError("a source that failed")
                tap = Tap()
                putting = self.space.put("ab", tap, size, {})
                await tap.started
                await tap.write(*[content(BLOCK)] * written)
                tap.end(raised)
                self.assertIs(await self.refused(ZeroDivisionError, putting), raised)
                await self.absent("ab")
        await self.put("ab", b"fits")

    async def test_source_raises(self) -> None:
        """As well if it does so at once, and if its pieces do."""

        def pieces() -> Iterator[bytes]:
            yield content(BLOCK)
            raise ZeroDivisionError("no more")

        await self.refused(ZeroDivisionError, self.space.put("ab", BytesStream(pieces()), None, {}))
        await self.absent("ab")

    # -- cancelling --------------------------------------------------------------------------

    async def test_cancel(self) -> None:
        """A put that is cancelled stops its source and stores nothing."""
        for pieces in (0, 1, 5):
            for size in (None, 5 * BLOCK):
                tap = Tap()
                putting = self.space.put("ab", tap, size, {})
                await tap.started
                await tap.write(*[content(BLOCK)] * pieces)
                putting.cancel()
                await self.refused(CancelledError, putting)
                self.assertTrue(tap.refused)
                await pause(0.01)
                await self.absent("ab")
        await self.put("ab", b"fits")
        self.assertEqual(await self.get("ab"), b"fits")

    async def test_cancel_at_once(self) -> None:
        """Also before its source was asked for anything, and then it is not asked any more."""
        tap = Tap()
        putting = self.space.put("ab", tap, None, {})
        wanted = tap.started.called
        putting.cancel()
        await self.refused(CancelledError, putting)
        await pause(0.01)
        self.assertEqual(tap.started.called, wanted)
        self.assertTrue(tap.refused)
        await self.absent("ab")

    async def test_cancel_at_the_end(self) -> None:
        """Cancelled while it is being made durable, an object is there exactly if its put has not failed."""
        for number in range(12):
            id = f"a{number:x}"
            putting = self.space.put(id, BytesStream(content(2 * BLOCK)), None, {})
            await turns(number)
            putting.cancel()
            if await self.outcome(putting):
                self.assertEqual(await self.get(id), content(2 * BLOCK))
            else:
                await self.absent(id)
                await self.put(id, b"fits")

    async def test_cancel_delete(self) -> None:
        for number in range(6):
            await self.put("ab", b"x")
            deleting = self.space.delete("ab")
            await turns(number)
            deleting.cancel()
            if not await self.outcome(deleting):
                self.assertEqual(await self.get("ab"), b"x")
                await self.space.delete("ab")
            await self.absent("ab")

    async def test_cancel_copy(self) -> None:
        await self.put("aa", content(MIB))
        for number in range(6):
            copying = self.space.copy("bb", "aa", number)
            await turns(number)
            copying.cancel()
            if await self.outcome(copying):
                self.assertEqual(await self.get("bb"), content(MIB)[number:])
                await self.space.delete("bb")
            await self.absent("bb")

    async def test_cancel_get(self) -> None:
        """A reader that nobody waits for does no harm."""
        await self.put("ab", b"x")
        for number in range(4):
            getting = self.space.get("ab")
            await turns(number)
            getting.cancel()
            try:
                await (await getting).close()
            except CancelledError:
                pass
        self.assertEqual(await self.get("ab"), b"x")

    # -- races -------------------------------------------------------------------------------

    async def test_race(self) -> None:
        """Of two writers of one ID that one wins which ends first; the other leaves no trace."""
        one, other = Tap(), Tap()
        losing = self.space.put("ab", one, None, {"who": ["one"]})
        winning = self.space.put("ab", other, None, {"who": ["other"]})
        await one.write(content(BLOCK, 1))
        await other.write(content(BLOCK, 2), b"more")
        other.end()
        part = await winning
        await one.write(b"much more")
        one.end()
        await self.refused(AlreadyExists, losing)
        self.assertEqual(part.size, BLOCK + 4)
        reader = await self.space.get("ab")
        self.assertEqual((reader.etag, reader.metadata), (part.etag, {"who": ["other"]}))
        self.assertEqual(await read_all(reader), content(BLOCK, 2) + b"more")

    async def test_race_with_one_that_fails(self) -> None:
        """A writer that fails takes nothing from the other."""
        one, other = Tap(), Tap()
        failing, winning = self.space.put("ab", one, None, {}), self.space.put("ab", other, None, {})
        await one.write(b"one")
        await other.write(b"other")
        one.end(ZeroDivisionError())
        await self.refused(ZeroDivisionError, failing)
        other.end()
        await winning
        self.assertEqual(await self.get("ab"), b"other")

    async def test_race_of_many(self) -> None:
        """However an object comes to an ID, only one does."""
        await self.put("aa", b"copied")
        parts = await self.upload("cd", b"uploaded")
        racing = [
            *[self.space.put("ab", BytesStream(b"put %d" % n), None, {}) for n in range(5)],
            self.space.copy("ab", "aa"),
            self.space.complete_upload("ab", "cd", parts),
            self.space.copy("ab", "aa", 1),
        ]
        contents = [*(b"put %d" % n for n in range(5)), b"copied", b"uploaded", b"opied"]
        winners = []
        for number, deferred in enumerate(racing):
            try:
                winners.append((number, await deferred))
            except AlreadyExists:
                pass
        ((winner, part),) = winners
        reader = await self.space.get("ab")
        self.assertEqual(reader.etag, part.etag)
        self.assertEqual(await read_all(reader), contents[winner])

    # -- the inventory -----------------------------------------------------------------------

    async def test_list_ids(self) -> None:
        """All there are, in order, found by their first two digits."""
        ids = ["00", "000", "0000ff", "00ff", "01", "ab", "ab0", "abc" * 40, "ac", "ff" * 64]
        for id in random.Random(1).sample(ids, len(ids)):
            await self.put(id, b"x")
        await self.upload("ab1", b"x")
        found = [await self.space.list_ids(f"{n:02x}") for n in range(256)]
        self.assertEqual(found[0], ["00", "000", "0000ff", "00ff"])
        self.assertEqual(found[0xAB], ["ab", "ab0", "abc" * 40])
        self.assertEqual(list(itertools.chain(*found)), ids)
        self.assertEqual(await self.space.list_indexes(), ["00", "01", "ab", "ac", "ff"])
        await self.space.delete("ab0")
        self.assertEqual(await self.space.list_ids("ab"), ["ab", "abc" * 40])

    async def test_invalid_index(self) -> None:
        for index in (*INVALID_IDS, "000", ".."):
            await self.refused(InvalidName, self.space.list_ids(index))


class PersistentDataSpaceTestsMixin(SpaceTestsMixin):
    """What is stored is there after a restart: for spaces that keep something."""

    async def test_reopen(self) -> None:
        """Everything again, in a space that finds it, and in one that finds it once more."""
        objects: dict[str, tuple[bytes, Metadata, str]] = {}

        def stored(id: str, data: bytes, metadata: Metadata, part: Part) -> None:
            objects[id] = (data, metadata, part.etag)

        for number, size in enumerate((*SIZES, 2 * MIB + 5)):
            data = content(size)
            metadata: Metadata = {"größe": [str(size), ""], "": []}
            stored(f"a{number}", data, metadata, await self.put(f"a{number}", data, metadata))
            halves = (data[: size // 2], data[size // 2 :])
            stored(f"b{number}", data, {}, await self.put_parts(f"b{number}", *halves))
            stored(f"c{number}", data, metadata, await self.space.copy(f"c{number}", f"a{number}"))
            stored(f"d{number}", data, {}, await self.space.copy(f"d{number}", f"b{number}"))
            part = await self.space.copy(f"e{number}", f"b{number}", size // 3, None, metadata)
            stored(f"e{number}", data[size // 3 :], metadata, part)
        for id in ("a6", "b5"):
            await self.space.delete(id)
            del objects[id]
        parts = await self.upload("cd", b"one", b"", content(BLOCK + 1), metadata={"up": ["load"]})
        parts[1] = await self.part("cd", 2, b"replaced")
        await self.upload("ce", b"x")
        await self.space.abort_upload("ce")
        uploads = await self.space.list_uploads()
        for _ in range(2):
            await self.reopen()
            for id, (data, metadata, etag) in objects.items():
                reader = await self.space.get(id)
                self.assertEqual((reader.metadata, reader.etag, reader.size), (metadata, etag, len(data)))
                self.assertEqual(await read_all(reader), data)
                self.assertEqual(await self.get(id, len(data) // 2, None), data[len(data) // 2 :])
                await self.refused(AlreadyExists, self.space.put(id, BytesStream(b""), 0, {}))
            found = [await self.space.list_ids(f"{n:02x}") for n in range(256)]
            self.assertEqual(list(itertools.chain(*found)), sorted(objects))
            await self.absent("a6", "b5")
            self.assertEqual(await self.space.list_parts("cd"), parts)
            self.assertEqual(await self.space.list_uploads(), uploads)
            await self.refused(NoSuchUpload, self.space.list_parts("ce"))
        await self.space.complete_upload("f0", "cd", parts)
        await self.reopen()
        self.assertEqual(await self.get("f0"), b"onereplaced" + content(BLOCK + 1))
        self.assertEqual(await self.space.get_metadata("f0"), {"up": ["load"]})
        self.assertEqual(await self.space.list_uploads(), [])

    async def test_failures_leave_nothing(self) -> None:
        """What failed or was cancelled is not there after a restart either."""
        await self.space.init_upload("cd", {})
        taps = [Tap(), Tap(), Tap(), Tap()]
        waiting = [
            self.space.put("a0", taps[0], None, {}),
            self.space.put("a1", taps[1], None, {}),
            self.space.upload_part("cd", 1, taps[2], None),
            self.space.upload_part("cd", 2, taps[3], None),
        ]
        for tap in taps:
            await tap.write(content(BLOCK), b"x")
        for number, deferred in enumerate(waiting):
            if number % 2:
                deferred.cancel()
            else:
                taps[number].end(CancelledError())
            await self.refused(CancelledError, deferred)
        await self.reopen()
        await self.absent("a0", "a1")
        self.assertEqual(await self.space.list_parts("cd"), [])

    async def test_expire_after_reopen(self) -> None:
        """The age of an upload counts across a restart."""
        await self.upload("aa", b"x")
        self.advance(100)
        await self.upload("bb", b"x")
        await self.reopen()
        self.advance(50)
        self.assertEqual(await self.space.expire_uploads(120), ["aa"])
        await self.reopen()
        self.assertEqual([upload.id for upload in await self.space.list_uploads()], ["bb"])

    async def test_block_sizes(self) -> None:
        """A space with another size of blocks reads, copies and completes what it finds."""
        data = content(5 * BLOCK + 7)
        first = await self.put("aa", data)
        parts = await self.upload("cd", data)
        for number, block_size in enumerate((3 * BLOCK, BLOCK // 2, BLOCK)):
            await self.reopen(block_size=block_size)
            reader = await self.space.get("aa", BLOCK - 1, BLOCK + 2)
            self.assertEqual((reader.etag, await read_all(reader)), (first.etag, data[BLOCK - 1 :][: BLOCK + 2]))
            await self.space.copy(f"b{number}", "aa")
            await self.space.copy(f"c{number}", "aa", BLOCK, 2 * BLOCK)
            parts.append(await self.part("cd", number + 2, data))
            await self.space.upload_part_copy("cd", number + 10, "aa", BLOCK)
        await self.space.delete("aa")
        await self.space.complete_upload("aa", "cd", [*parts, *(await self.space.list_parts("cd"))[-3:]])
        self.assertEqual(await self.get("aa"), 4 * data + 3 * data[BLOCK:])
        self.assertEqual(await self.get("aa", len(data) - 5, 10), data[-5:] + data[:5])
        for number in range(3):
            self.assertEqual(await self.get(f"b{number}"), data)
            self.assertEqual(await self.get(f"c{number}"), data[BLOCK : 3 * BLOCK])
