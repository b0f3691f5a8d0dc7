"""Tests of L{storehouse.clients.s3.bodies}."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any
from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.clients.s3.bodies import CHUNK, Taking, framed, framed_length, received, unframed
from storehouse.core.checksums import Hasher, encoded
from storehouse.core.sigv4 import ChunkSigner
from storehouse.core.streams import BytesStream, IByteStream, read_all
from storehouse.errors import NotSupported, RemoteDamaged, RemoteUnavailable, SizeMismatch
from tests.conformance.dataspace import content, pieces_of

KEY = b"a key of some day"


def signer() -> ChunkSigner:
    return ChunkSigner(KEY, "20261130T000000Z", "20261130/us-east-1/s3/aws4_request", "0" * 64)


def chunks_of(data: bytes) -> tuple[bytes, list[str], list[bytes]]:
    """What a body in chunks is by the reference of S3: the payload, the signatures, and the lines behind the last chunk."""
    payload, signatures = b"", []
    while True:
        head, _, data = data.partition(b"\r\n")
        size, _, signature = head.partition(b";chunk-signature=")
        signatures.append(signature.decode())
        length = int(size, 16)
        if not length:
            lines = data.split(b"\r\n")
            return payload, signatures, lines
        payload += data[:length]
        assert data[length : length + 2] == b"\r\n"
        data = data[length + 2 :]


class Case(SynchronousTestCase):
    def of(self, work: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def failure(self, kind: type[Exception], work: Any) -> Any:
        return self.failureResultOf(Deferred.fromCoroutine(work), kind).value


class FramedTests(Case):
    """Bodies in chunks."""

    def test_chunks(self) -> None:
        """Of all sizes and pieces, signed or not, with a checksum or without."""
        for size in (1, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 5):
            data = content(size)
            for pieces in ((size,), (65_536,), (CHUNK, 3), (3, CHUNK + 7)):
                for name in ("crc64nvme", "crc32", ""):
                    for chunks in (signer(), None):
                        stream = framed(BytesStream(pieces_of(data, pieces)), size, name, chunks)
                        sent = self.of(read_all(stream))
                        self.assertEqual(len(sent), framed_length(size, name, chunks is not None))
                        payload, signatures, lines = chunks_of(sent)
                        self.assertEqual(payload, data)
                        self.compare(data, name, chunks is not None, signatures, lines)

    def compare(self, data: bytes, name: str, is_signed: bool, signatures: list[str], lines: list[bytes]) -> None:
        expected = signer()
        starts = range(0, len(data), CHUNK)
        digests = [hashlib.sha256(data[start : start + CHUNK]).hexdigest() for start in starts]
        wanted = [expected.sign(digest) for digest in [*digests, hashlib.sha256().hexdigest()]]
        self.assertEqual(signatures, wanted if is_signed else [""] * len(wanted))
        trailer = []
        if name:
            hasher = Hasher(name)
            hasher.update(data)
            trailer.append(f"x-amz-checksum-{name}:{encoded(hasher.digest())}".encode())
            if is_signed:
                trailer.append(b"x-amz-trailer-signature:" + expected.sign_trailer(trailer[0] + b"\n").encode())
        self.assertEqual(lines, [*trailer, b"", b""])

    def test_sizes_refused(self) -> None:
        """The end of the last chunk is not sent of a body that has another size than was announced."""
        for size, announced in ((10, 11), (10, 9), (CHUNK, CHUNK - 1), (CHUNK, CHUNK + 1), (0, 1), (3 * CHUNK, CHUNK)):
            sent: list[bytes] = []

            async def send(size: int, announced: int, sent: list[bytes]) -> None:
                stream = framed(BytesStream(content(size)), announced, "crc32", signer())
                while piece := await stream.read():
                    sent.append(bytes(piece))

            self.failure(SizeMismatch, send(size, announced, sent))
            self.assertLess(sum(map(len, sent)), framed_length(announced, "crc32", True) - 2)

    def test_refused_in_the_end(self) -> None:
        def refuse() -> None:
            raise NotSupported("no")

        self.failure(NotSupported, read_all(framed(BytesStream(b"x"), 1, "crc32", None, refuse)))
        self.failure(NotSupported, read_all(unframed(BytesStream(b"x"), 1, refuse)))

    def test_without_chunks(self) -> None:
        """It comes as it is; and not wholly, if it has another size."""
        data = content(1000)
        self.assertEqual(self.of(read_all(unframed(BytesStream(pieces_of(data, (1, 99))), 1000))), data)
        for size in (999, 1001, 2000):
            sent: list[int] = []

            async def send(size: int, sent: list[int]) -> None:
                stream = unframed(BytesStream(pieces_of(content(1000), (100,))), size)
                while piece := await stream.read():
                    sent.append(len(piece))

            self.failure(SizeMismatch, send(size, sent))
            self.assertLess(sum(sent), min(size, 1000))

    def test_failing(self) -> None:
        """What the stream fails with comes through, and it is closed."""

        def pieces() -> Any:
            yield b"some"
            raise KeyError("gone")

        self.failure(KeyError, read_all(framed(BytesStream(pieces()), 10, "crc32", None)))


class TakingTests(Case):
    """So many bytes at a time."""

    @given(st.lists(st.binary(min_size=1, max_size=20)), st.lists(st.integers(0, 30)))
    def test_taken(self, pieces: list[bytes], sizes: list[int]) -> None:
        data = b"".join(pieces)
        taking = Taking(BytesStream(iter(pieces)))
        for size in sizes:
            self.assertEqual(self.of(taking.take(size)), data[:size])
            data = data[size:]
        self.assertEqual(self.of(read_all(taking.stream(len(data) + 5))), data)
        taking.push_back(b"once more")
        taking.push_back(b"")
        self.assertEqual(self.of(taking.take(5)), b"once ")
        self.assertEqual(self.of(read_all(taking.stream(3))), b"mor")
        self.assertEqual(self.of(taking.take(5)), b"e")

    def test_all(self) -> None:
        self.assertEqual(self.of(Taking(BytesStream(b"12345")).take_all(5)), b"12345")
        for size in (0, 4, 6):
            self.failure(SizeMismatch, Taking(BytesStream(b"12345")).take_all(size))


class Broken:
    """A stream that breaks after some bytes, if it is to."""

    def __init__(self, data: bytes, fails: bool) -> None:
        self._stream = BytesStream(pieces_of(data, (1000,)))
        self._fails = fails
        self.closed = False

    async def read(self) -> Any:
        piece = await self._stream.read()
        if not piece and self._fails:
            raise RemoteUnavailable("cut")
        return piece

    def close(self) -> Deferred[None]:
        self.closed = True
        return self._stream.close()


class ReceivedTests(Case):
    """What is read continues where it was."""

    def setUp(self) -> None:
        self.data = content(10_000)
        self.asked: list[int] = []
        self.streams: list[Broken] = []

    def stream(self, start: int, end: int, fails: bool) -> Any:
        self.streams.append(Broken(self.data[start:end], fails))
        return self.streams[-1]

    def read(self, first: int, ends: list[int], tries: int = 2, checksum: tuple[str, str] | None = None) -> Any:
        """@param ends: up to where each further response goes."""

        async def reopen(done: int) -> IByteStream:
            self.asked.append(done)
            end = ends.pop(0)
            found: IByteStream = self.stream(done, end, end < len(self.data))
            return found

        start = self.stream(0, first, first < len(self.data))
        return read_all(received(start, len(self.data), reopen, tries, checksum, "it"))

    def test_continued(self) -> None:
        self.assertEqual(self.of(self.read(3000, [3500, 10_000])), self.data)
        self.assertEqual(self.asked, [3000, 3500])
        self.assertEqual([stream.closed for stream in self.streams], [True] * 3)

    def test_no_progress(self) -> None:
        """So often without a byte in between, and no more."""
        self.failure(RemoteUnavailable, self.read(3000, [3500, 3500, 3500, 3500]))
        self.assertEqual(self.asked, [3000, 3500, 3500])
        self.assertEqual([stream.closed for stream in self.streams], [True] * 4)

    def test_ended_early(self) -> None:
        """A response that ends as if it were complete is not."""
        short = Broken(self.data[:5], False)
        self.failure(RemoteUnavailable, read_all(received(short, 10, None, 3, None, "it")))  # type: ignore[arg-type]

    def test_checksum(self) -> None:
        """Over all of it, from several responses; a wrong one has the last piece withheld."""
        value = encoded(crc32(self.data).to_bytes(4, "big"))
        self.assertEqual(self.of(self.read(3000, [10_000], checksum=("crc32", value))), self.data)
        pieces: list[int] = []

        async def count(stream: Callable[[], IByteStream]) -> None:
            reading = stream()
            while piece := await reading.read():
                pieces.append(len(piece))

        wrong = ("crc32", "AAAAAA==")
        whole = BytesStream(pieces_of(self.data, (1000,)))
        self.failure(RemoteDamaged, count(lambda: received(whole, 10_000, None, 0, wrong, "it")))
        self.assertEqual(sum(pieces), 9000)

    def test_closed(self) -> None:
        """Before it began, and in the midst."""
        for reads in (0, 1):
            stream = self.stream(0, 10_000, False)
            body = received(stream, 10_000, None, 0, None, "it")
            for _ in range(reads):
                self.of(body.read())
            self.successResultOf(body.close())
            self.assertTrue(stream.closed)
