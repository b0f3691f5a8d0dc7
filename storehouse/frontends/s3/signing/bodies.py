"""
Bodies: framing is taken off as they come, and what is signed of them is verified beside.

A body in chunks (C{aws-chunked})::

    SIZE[;chunk-signature=HEX] CR LF  BYTES CR LF     once for each chunk; the size in hex; all but the last have 8 KiB or more
    0[;chunk-signature=HEX] CR LF
    [NAME:VALUE CR LF                                 what x-amz-trailer announced
     [x-amz-trailer-signature:HEX CR LF]]
    CR LF

Each signature is made over the one before, that of the head at first. Clients end the lines of the trailer in several ways,
and have empty lines before and after each; so what is behind the last chunk counts as lines that end with LF.

Bytes are passed on as they come, before their chunk is complete, since a chunk may be of any size. When its signature is not
right the stream fails, before its end: nothing of it is stored.

Source: "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks" and "...Including
Trailing Headers" in the API reference of S3.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import deque
from collections.abc import AsyncGenerator
from functools import partial

from storehouse.core.jobs import IDisk
from storehouse.core.sigv4 import EMPTY_SHA256, chunk_to_sign, sign
from storehouse.core.streams import IByteStream, Piece, WholeStream, beside, stage, updating
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.signing.payload import FRAMING, SIGNED_CHUNKS_TRAILER, Payload

__all__ = ["BATCH", "Chain", "Unframing", "body_stream"]

#: Bytes that all chunks but the last must have.
LEAST = 8192

#: The field of the trailer that has its signature.
TRAILER_SIGNATURE = "x-amz-trailer-signature"

# A head of a chunk with its signature has about 100 bytes, and a trailer about 200.
_MAX_HEAD = 256
_MAX_TRAILER = 4096

#: Bytes that are hashed at once in a thread; no more than twice that is kept for it.
BATCH = 256 << 10

# Bytes that are copied rather than referred to.
_SMALL = 1024

_unsigned_head = re.compile(rb"([0-9A-Fa-f]{1,16})\Z").match
_signed_head = re.compile(rb"([0-9A-Fa-f]{1,16});chunk-signature=([0-9a-f]{64})\Z").match


class Chain:
    """
    The signatures of chunks, each over the one before.

    Chunks are announced as their heads are read, and their bytes given afterwards, perhaps in another thread. A chunk is
    compared when the bytes after it are given, or at the end.

    @param signature: that of the head of the request.
    """

    def __init__(self, key: bytes, timestamp: str, scope: str, signature: str) -> None:
        self._key = key
        self._timestamp = timestamp
        self._scope = scope
        self._previous = signature
        self._expected: deque[tuple[int, str]] = deque()  # bytes until the chunk ends, and its signature
        self._hashed = 0
        self._announced = 0
        self._hash = hashlib.sha256()
        self._trailer: tuple[str, str] | None = None

    def announce(self, size: int, signature: str) -> None:
        """A chunk begins."""
        self._announced += size
        self._expected.append((self._announced, signature))

    def hash(self, pieces: list[Piece]) -> None:
        """The next bytes, of chunks that were announced. @raise S3Error: if a chunk's signature is not right."""
        # Joined, since a loop over many small pieces would hold the interpreter's lock.
        view = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        at = 0
        while at < len(view):
            end = self._expected[0][0]
            if end == self._hashed:
                self._compare()
                continue
            size = min(end - self._hashed, len(view) - at)
            self._hash.update(view[at : at + size])
            self._hashed += size
            at += size

    def announce_trailer(self, fields: str, signature: str) -> None:
        """
        @param fields: C{NAME:VALUE LF} for each.
        """
        self._trailer = hashlib.sha256(fields.encode("utf-8", "surrogateescape")).hexdigest(), signature

    def finish(self) -> None:
        """All bytes were given. @raise S3Error: if a signature is not right."""
        while self._expected:
            self._compare()
        if self._trailer is not None:
            self._follow("TRAILER", *self._trailer)

    def _compare(self) -> None:
        _, signature = self._expected.popleft()
        digest, self._hash = self._hash.hexdigest(), hashlib.sha256()
        self._follow("PAYLOAD", f"{EMPTY_SHA256}\n{digest}", signature)

    def _follow(self, what: str, signed: str, signature: str) -> None:
        text = chunk_to_sign(what, self._timestamp, self._scope, self._previous, signed)
        expected = sign(self._key, text)
        if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogateescape")):
            raise S3Error("SignatureDoesNotMatch", StringToSign=text.decode(), SignatureProvided=signature)
        self._previous = expected


class Unframing:
    """
    Takes chunks apart. It holds no payload: what it is given, it returns as views.

    @param chain: what signed chunks are announced to; C{None} if they are not signed.
    @ivar trailers: once L{end} was called, the fields that followed the chunks; names in lower case.
    """

    def __init__(self, payload: Payload, chain: Chain | None, trailers: dict[str, str]) -> None:
        self._payload = payload
        self._chain = chain
        self.trailers = trailers
        self._left = 0  # bytes of the chunk that have not come
        self._line = b""  # of a head that is not complete
        self._is_first = True
        self._last_size = LEAST  # of the chunk before
        self._chunks = 0
        self._came = 0
        self._trailer: bytearray | None = None  # what came behind the last chunk

    def feed(self, piece: Piece) -> list[Piece]:
        """
        The payload in a piece.

        @raise S3Error: if this cannot be what was announced.
        """
        view = memoryview(piece)
        found: list[Piece] = []
        at, size = 0, len(view)
        while at < size:
            if self._left:
                taken = min(self._left, size - at)
                data = view[at : at + taken]
                # A view keeps all of the piece, and takes more memory than a few bytes.
                found.append(data if taken > _SMALL else bytes(data))
                self._left -= taken
                at += taken
            elif self._trailer is not None:
                self._trailer += view[at:]
                if len(self._trailer) > _MAX_TRAILER:
                    raise S3Error(
                        "MalformedTrailerError", f"What follows the chunks has more than {_MAX_TRAILER} bytes"
                    )
                at = size
            else:
                at = self._feed_head(view, at)
        return found

    def _feed_head(self, view: memoryview, at: int) -> int:
        kept = len(self._line)
        line = self._line + view[at : at + _MAX_HEAD - kept]
        # The bytes of the chunk before have a CR LF behind them.
        start = 0 if self._is_first else 2
        if not self._is_first and not line.startswith(b"\r\n"[: len(line)]):
            raise _malformed(f"the bytes of chunk {self._chunks} do not end where its size says")
        end = line.find(b"\r\n", start)
        if end < 0:
            if len(line) == _MAX_HEAD:
                raise _malformed(f"the head of chunk {self._chunks + 1} has more than {_MAX_HEAD} bytes")
            self._line = line
            return at + len(line) - kept
        self._line = b""
        self._begin_chunk(line[start:end])
        return at + end + 2 - kept

    def _begin_chunk(self, head: bytes) -> None:
        match = (_unsigned_head if self._chain is None else _signed_head)(head)
        self._chunks += 1
        if match is None:
            raise _malformed(f"the head of chunk {self._chunks} is malformed")
        size = int(match[1], 16)
        if size:
            if self._last_size < LEAST:
                raise S3Error("InvalidChunkSizeError", Chunk=self._chunks, BadChunkSize=self._last_size)
            self._last_size = size
            self._came += size
            if self._came > self._payload.length:
                raise S3Error(
                    "IncompleteBody",
                    f"The chunks have more than the {self._payload.length} bytes of x-amz-decoded-content-length",
                )
        if self._chain is not None:
            self._chain.announce(size, match[2].decode("ascii"))
        self._left = size
        self._is_first = False
        if not size:
            self._trailer = bytearray()

    def end(self) -> None:
        """
        All of it has come.

        @raise S3Error: if it is not complete.
        """
        if self._trailer is None:
            raise S3Error("IncompleteBody", "The request body terminated unexpectedly")
        if self._came != self._payload.length:
            raise S3Error(
                "IncompleteBody",
                f"The chunks have {self._came} bytes; x-amz-decoded-content-length is {self._payload.length}",
            )
        signature = self._read_trailer(bytes(self._trailer))
        if self._payload.trailer and self._payload.trailer not in self.trailers:
            raise _bad_trailer(f"x-amz-trailer announces {self._payload.trailer}, which did not come")
        if self._chain is not None and self._payload.form == SIGNED_CHUNKS_TRAILER and (self.trailers or signature):
            self._chain.announce_trailer(
                "".join([f"{each}:{self.trailers[each]}\n" for each in self.trailers]), signature
            )

    def _read_trailer(self, section: bytes) -> str:
        signature = ""
        for line in section.split(b"\n"):
            text = line.decode("utf-8", "surrogateescape").strip()
            if not text:
                continue
            name, colon, value = text.partition(":")
            name, value = name.rstrip().lower(), value.strip()
            if name == TRAILER_SIGNATURE and self._payload.form == SIGNED_CHUNKS_TRAILER and not signature and value:
                signature = value
            elif colon and name and name == self._payload.trailer and name not in self.trailers and not signature:
                self.trailers[name] = value
            else:
                raise _bad_trailer("what follows the chunks is not what x-amz-trailer announces")
        return signature


def _malformed(reason: str) -> S3Error:
    return S3Error("IncompleteBody", f"The body is not in {FRAMING} as it should be: {reason}")


def _bad_trailer(reason: str) -> S3Error:
    return S3Error(
        "MalformedTrailerError",
        "The request contained trailing data that was not well-formed or did not conform to our published schema: "
        + reason,
    )


@stage
async def unframed(body: IByteStream, unframing: Unframing) -> AsyncGenerator[Piece, None]:
    """The payload of a body in chunks."""
    while piece := await body.read():
        for data in unframing.feed(piece):
            yield data
    unframing.end()


def _unframed_whole(unframing: Unframing, chain: Chain | None, data: bytes) -> bytes:
    pieces = unframing.feed(data)
    unframing.end()
    if chain is not None:
        if pieces:
            chain.hash(pieces)
        chain.finish()
    return b"".join(pieces)


def body_stream(
    payload: Payload,
    chain: Chain | None,
    trailers: dict[str, str],
    body: IByteStream,
    length: int | None,
    disk: IDisk,
    batch: int = BATCH,
) -> tuple[IByteStream, int | None]:
    """
    The payload of a body, and its length if that is known. See
    L{Signed.stream<storehouse.frontends.s3.signing.authenticator.Signed.stream>}.
    """
    if payload.is_framed:
        unframing = Unframing(payload, chain, trailers)
        if isinstance(body, WholeStream):
            return body.then(partial(_unframed_whole, unframing, chain)), payload.length
        stream = unframed(body, unframing)
        if chain is not None:
            stream = beside(stream, disk, chain.hash, batch, chain.finish)
        return stream, payload.length
    if payload.digest:
        hashed = hashlib.sha256()

        def compare() -> None:
            if not hmac.compare_digest(hashed.hexdigest(), payload.digest):
                raise S3Error(
                    "XAmzContentSHA256Mismatch",
                    ClientComputedContentSHA256=payload.digest,
                    S3ComputedContentSHA256=hashed.hexdigest(),
                )

        if isinstance(body, WholeStream):

            def compared(data: bytes) -> bytes:
                hashed.update(data)
                compare()
                return data

            return body.then(compared), length
        return beside(body, disk, updating(hashed), batch, compare), length
    return body, length
