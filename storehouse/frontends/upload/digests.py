"""
Checksums that a client sends with bytes, so that they are stored only if they have come as they were sent.

Sources: RFC 9530: C{Repr-Digest} and C{Content-Digest}, which are the same for a file that is sent whole and as it is; and
the extension C{checksum} of tus 1.0.0.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode
from binascii import Error as BadBase64
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

from crc32c import crc32c
from twisted.internet.defer import Deferred

from storehouse.core.disk import IDisk
from storehouse.core.streams import Beside, IByteStream, Piece, stage
from storehouse.errors import BadRequest, ChecksumMismatch
from storehouse.frontends.upload.memory import Pieces, UploadSession

__all__ = ["ALGORITHMS", "Checksums", "checked", "digests_in"]

#: What can be computed, by the names that tus has for it.
ALGORITHMS = ("sha1", "sha256", "crc32c")

# Bytes that may wait while as many are hashed in a thread.
_MOST_WAITING = 256 << 10

# Bytes at the beginning of a body that are hashed in the reactor's thread, in some 100 microseconds: most bodies have no more,
# and are done sooner than a thread is asked.
_SMALL = 64 << 10

#: What is computed, by its name in the field; others are passed over, as RFC 9530 has it.
_ALGORITHMS = {"sha-256": "sha256", "sha-512": "sha512"}

_member = re.compile(r"\s*([a-z*][a-z0-9_.*-]*)\s*=\s*:([A-Za-z0-9+/=]*):\s*").fullmatch


def digests_in(name: str, values: Sequence[bytes]) -> dict[str, bytes]:
    """
    The digests that a field has and that are computed here: the name for C{hashlib}, and the digest.

    @raise BadRequest: if it is no such field.
    """
    found: dict[str, bytes] = {}
    for member in b",".join(values).decode("latin-1").split(",") if values else ():
        match = _member(member)
        try:
            value = b64decode(match[2], validate=True) if match is not None else None
        except BadBase64:
            value = None
        if match is None or value is None:
            raise BadRequest(f"{name} is not of the form sha-256=:BASE64:")
        algorithm = _ALGORITHMS.get(match[1])
        if algorithm is not None:
            if len(value) != hashlib.new(algorithm).digest_size:
                raise BadRequest(f"the {match[1]} in {name} has {len(value)} bytes")
            if found.setdefault(algorithm, value) != value:
                raise BadRequest(f"{name} has more than one {match[1]}")
    return found


class Checksums:
    """
    The checksums of bytes that come, computed beside in a disk thread. To be closed.

    @param algorithms: what is to be computed: of L{ALGORITHMS}, or another one of C{hashlib}'s.
    @param session: what the bytes that wait are counted by. None wait unless others are worked on, so that this memory is
        always given back, however slow the client is.
    """

    def __init__(self, algorithms: Iterable[str], disk: IDisk, session: UploadSession) -> None:
        self._has_crc = "crc32c" in algorithms
        self._crc = 0
        # SHA-1 is what tus demands: it tells bytes that were garbled, and keeps out nobody.
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms if name != "crc32c"}
        self._disk = disk
        self._session = session
        self._count = 0
        self._waiting = Pieces()
        self._size_waiting = 0
        self._beside: Beside[None] = Beside()
        self._is_working = False

    async def update(self, piece: Piece) -> None:
        """Some bytes more. Waits while too many do."""
        if self._has_crc:
            self._crc = crc32c(piece, self._crc)
        if not self._hashes:
            return
        size = len(piece)
        self._count += size
        if self._count <= _SMALL:
            self._hash([piece])
            return
        self._waiting.add(piece)
        self._size_waiting += size
        self._session.hold(size)
        if not self._is_working:
            await self._beside.start(self._work)
        elif self._size_waiting >= _MOST_WAITING:
            await self._beside.result()

    async def finish(self) -> None:
        """All bytes have come."""
        await self._beside.result()

    def check(self, algorithm: str, digest: bytes) -> None:
        """
        To be called after L{finish}.

        @raise ChecksumMismatch: if the bytes have another digest.
        """
        computed = self._crc.to_bytes(4, "big") if algorithm == "crc32c" else self._hashes[algorithm].digest()
        if not hmac.compare_digest(computed, digest):
            raise ChecksumMismatch(
                f"the {algorithm} of what came is {computed.hex()}, and not what was announced: nothing of it is kept"
            )

    async def close(self) -> None:
        """Hold nothing more. Harmless more than once."""
        await self._beside.close()
        self._waiting.take()
        size, self._size_waiting = self._size_waiting, 0
        self._session.hold(-size)

    def _work(self) -> Deferred[None]:
        self._is_working = True
        return Deferred.fromCoroutine(self._hash_waiting())

    async def _hash_waiting(self) -> None:
        try:
            while self._size_waiting:
                pieces, size, self._size_waiting = self._waiting.take(), self._size_waiting, 0
                try:
                    await self._disk.run(self._hash, pieces)
                finally:
                    self._session.hold(-size)
        finally:
            self._is_working = False

    def _hash(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            for computed in self._hashes.values():
                computed.update(piece)


@stage
async def checked(
    stream: IByteStream, checksums: Checksums, count: Callable[[int], object]
) -> AsyncGenerator[Piece, None]:
    """
    Compute checksums of the bytes that pass, and close them at the end.

    @param count: told of the bytes of each piece.
    """
    try:
        while piece := await stream.read():
            count(len(piece))
            await checksums.update(piece)
            yield piece
        await checksums.finish()
    finally:
        await checksums.close()
