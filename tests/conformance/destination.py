"""What every destination of closed files must do: mixed into a test case that makes one."""

from __future__ import annotations

import hashlib
import os
import uuid
from random import Random
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from zope.interface.verify import verifyObject

from storehouse.core.streams import IByteStream, StreamClosed, closing, read_all
from storehouse.errors import InvalidName, InvalidRange, NoSuchKey
from storehouse.storage.shipping.interfaces import IDestination, LocalFile, Stored

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase
else:
    TestCase = object

__all__ = ["MIB", "DestinationTestsMixin", "content", "local_file"]

MIB = 1 << 20

#: What file names may come to, after the name of a stream.
ODD_NAMES = (
    "test_Sat Nov 21 12:17:44 2026-00.events",
    "a+b=c&d%20e%25?f#g.events",
    "plus+ and space",
    "~tilde-dash_under.dot",
    "(round) [square] {curly} 'single' \"double\" `back`",
    "comma,semi;colon:at@dollar$bang!star*",
    "back\\slash|pipe^caret<less>greater",
    "Ünïcödé-日本-😀.gz",
    "a" * 200,
)


def content(size: int, seed: int = 1) -> bytes:
    """Bytes that do not compress."""
    return Random(seed).randbytes(size)


def local_file(path: str, data: bytes) -> LocalFile:
    """A file with these bytes."""
    with open(path, "wb") as file:
        file.write(data)
    return LocalFile(path, len(data), hashlib.sha256(data).hexdigest(), hashlib.md5(data).hexdigest(), "text/x-test")


class DestinationTestsMixin(TestCase):
    """
    The test case gives C{make_destination()}: one that works, perhaps used by other tests before. C{large} is a size
    that is uploaded in parts, if there are any.
    """

    destination: Any
    make_destination: Any
    large = 3 * MIB + 1

    async def setUp(self) -> None:  # type: ignore[override]
        self.destination = await self.make_destination()
        self.stream = uuid.uuid4().hex

    def name(self, text: str = "file-0123.gz") -> str:
        """A name that only this test has."""
        return f"{self.stream}/{text}"

    def file(self, data: bytes) -> LocalFile:
        return local_file(self.mktemp(), data)

    async def put(self, name: str, data: bytes) -> Stored:
        stored: Stored = await self.destination.put(name, self.file(data))
        return stored

    async def read(self, name: str, *range: Any) -> bytes:
        stream = await self.destination.get(name, *range)
        verifyObject(IByteStream, stream)
        return await read_all(stream)

    async def refused(self, error: type[BaseException], deferred: Deferred[Any]) -> Any:
        """A method has given a Deferred, and it fails so."""
        self.assertIsInstance(deferred, Deferred)
        return await self.assertFailure(deferred, error)

    async def all_names(self, prefix: str, limit: int = 1000) -> list[str]:
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            page = await self.destination.list(prefix, after, limit)
            self.assertLessEqual(len(page.entries), limit)
            found += [each.name for each in page.entries]
            after = page.next_after
        return found

    # ------------------------------------------------------------------------------------------

    def test_interface(self) -> None:
        verifyObject(IDestination, self.destination)

    async def test_round_trip(self) -> None:
        data = content(100_000)
        stored = await self.put(self.name(), data)
        self.assertEqual((stored.name, stored.size), (self.name(), len(data)))
        self.assertEqual(stored.sha256, hashlib.sha256(data).hexdigest())
        self.assertEqual(await self.destination.stat(self.name()), stored)
        self.assertEqual(await self.read(self.name()), data)

    async def test_sizes(self) -> None:
        for size in (0, 1, 262_143, 262_144, 262_145):
            data = content(size, size)
            stored = await self.put(self.name(str(size)), data)
            self.assertEqual(stored.size, size)
            self.assertEqual((await self.destination.stat(self.name(str(size)))).size, size)
            self.assertEqual(await self.read(self.name(str(size))), data)

    async def test_large(self) -> None:
        """In parts, where there are any."""
        data = content(self.large)
        stored = await self.put(self.name(), data)
        self.assertEqual(stored.sha256, hashlib.sha256(data).hexdigest())
        self.assertEqual(await self.destination.stat(self.name()), stored)
        self.assertEqual(await self.read(self.name()), data)
        self.assertEqual(await self.read(self.name(), self.large // 3, 1000), data[self.large // 3 :][:1000])
        (listed,) = (await self.destination.list(self.name())).entries
        self.assertEqual((listed.name, listed.size), (self.name(), self.large))

    async def test_large_again(self) -> None:
        data = content(self.large, 7)
        first = await self.put(self.name(), data)
        self.assertEqual(await self.put(self.name(), data), first)
        self.assertEqual(await self.read(self.name()), data)

    async def test_again(self) -> None:
        """A repeat is harmless."""
        first = await self.put(self.name(), b"the same")
        self.assertEqual(await self.put(self.name(), b"the same"), first)
        self.assertEqual(await self.all_names(self.stream + "/"), [self.name()])

    async def test_other_content(self) -> None:
        first = await self.put(self.name(), b"first")
        second = await self.put(self.name(), b"second")
        self.assertNotEqual(first.tag, second.tag)
        self.assertEqual(await self.read(self.name()), b"second")

    async def test_absent(self) -> None:
        await self.refused(NoSuchKey, self.destination.stat(self.name()))
        await self.refused(NoSuchKey, self.destination.get(self.name()))
        await self.refused(NoSuchKey, self.destination.get(self.name(), 0, 0))

    async def test_ranges(self) -> None:
        data = content(10_000)
        await self.put(self.name(), data)
        for offset, length in [(0, 1), (0, None), (17, 100), (9_999, 1), (9_000, None), (5, 0), (10_000, None)]:
            expected = data[offset:] if length is None else data[offset : offset + length]
            self.assertEqual(await self.read(self.name(), offset, length), expected, f"{offset} {length}")
        await self.refused(InvalidRange, self.destination.get(self.name(), 10_001))
        await self.refused(InvalidRange, self.destination.get(self.name(), 10_001, 5))

    async def test_odd_names(self) -> None:
        for odd in ODD_NAMES:
            await self.put(self.name(odd), odd.encode())
        for odd in ODD_NAMES:
            self.assertEqual(await self.read(self.name(odd)), odd.encode())
            self.assertEqual((await self.destination.stat(self.name(odd))).name, self.name(odd))
        expected = sorted((self.name(odd) for odd in ODD_NAMES), key=str.encode)
        self.assertEqual(await self.all_names(self.stream + "/"), expected)
        self.assertEqual(await self.all_names(self.stream + "/", 2), expected)

    async def test_invalid_names(self) -> None:
        file = self.file(b"x")
        for name in ("", "/", "a//b", "a/../b", "./a", "a/", "a\nb", "a\0b", "a" * 1025, "a\udcffb"):
            await self.refused(InvalidName, self.destination.put(name, file))
            await self.refused(InvalidName, self.destination.stat(name))
            await self.refused(InvalidName, self.destination.get(name))

    async def test_list(self) -> None:
        names = [self.name(f"{number}-x") for number in range(7)]
        for name in names:
            await self.put(name, name.encode())
        self.assertEqual(await self.all_names(self.stream + "/", 3), names)
        self.assertEqual(await self.all_names(self.stream + "/", 7), names)
        self.assertEqual(await self.all_names(self.stream + "/3"), names[3:4])
        page = await self.destination.list(self.stream + "/", names[4])
        self.assertEqual([(each.name, each.size) for each in page.entries], [(each, len(each)) for each in names[5:]])
        self.assertIsNone(page.next_after)
        self.assertEqual(await self.all_names("no such " + self.stream), [])

    async def test_no_file(self) -> None:
        """A file that is not there is no fault of the destination."""
        file = LocalFile(self.mktemp(), 5, hashlib.sha256(b"12345").hexdigest(), hashlib.md5(b"12345").hexdigest())
        await self.refused(OSError, self.destination.put(self.name(), file))
        await self.refused(NoSuchKey, self.destination.stat(self.name()))

    async def test_short_file(self) -> None:
        """A file that is shorter than it was said to be is not stored."""
        file = self.file(content(300_000))
        os.truncate(file.path, 270_000)
        await self.refused(OSError, self.destination.put(self.name(), file))
        await self.refused(NoSuchKey, self.destination.stat(self.name()))

    async def test_cancelled(self) -> None:
        """Half of a file is nothing."""
        for seconds in (0.0, 0.003, 0.01):
            putting = self.destination.put(self.name(), self.file(content(self.large, 3)))
            await deferLater(reactor, seconds, putting.cancel)  # type: ignore[arg-type]
            try:
                await putting
            except (CancelledError, OSError):
                await self.refused(NoSuchKey, self.destination.stat(self.name()))
            else:
                break  # it was faster
        await self.put(self.name(), b"afterwards")
        self.assertEqual(await self.read(self.name()), b"afterwards")

    async def test_slow_consumer(self) -> None:
        """Backpressure."""
        data = content(3 * MIB)
        await self.put(self.name(), data)
        pieces = []
        async with closing(await self.destination.get(self.name())) as reader:
            while piece := await reader.read():
                pieces.append(piece)
                if len(pieces) < 10:
                    await deferLater(reactor, 0.01, lambda: None)
        self.assertEqual(b"".join(pieces), data)
        self.assertGreater(len(pieces), 2)

    async def test_closed_reader(self) -> None:
        await self.put(self.name(), content(MIB))
        reader = await self.destination.get(self.name())
        await reader.close()
        await reader.close()
        self.assertEqual(len(await self.read(self.name())), MIB)

    async def test_broken_off_reader(self) -> None:
        """A reader that wants no more gets no more."""
        await self.put(self.name(), content(2 * MIB))
        reader = await self.destination.get(self.name())
        self.assertTrue(await reader.read())
        await reader.close()
        await self.refused(StreamClosed, Deferred.fromCoroutine(reader.read()))
        self.assertEqual(len(await self.read(self.name())), 2 * MIB)
