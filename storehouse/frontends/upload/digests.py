"""
Digests that a client sends with a file, so that it is stored only if it has come as it was sent.

Source: RFC 9530: C{Repr-Digest} and C{Content-Digest}, which are the same for a file that is sent whole and as it is.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode
from binascii import Error as BadBase64
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred

from storehouse.core.disk import IDisk
from storehouse.core.jobs import settled
from storehouse.errors import BadRequest, ChecksumMismatch
from storehouse.frontends.upload.memory import UploadSession
from storehouse.frontends.upload.pushed import Pieces, Valve

__all__ = ["Digests", "digests_in"]

# Bytes that are hashed at once in a thread; fewer are not worth one. As many again may wait.
_BATCH = 512 << 10

# Bytes that are hashed here and now at the end: some 100 microseconds.
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


class Digests:
    """
    Computes what bytes have, in a disk thread, as they come, and compares it.

    @param expected: digests by their names for C{hashlib}.
    """

    def __init__(self, expected: dict[str, bytes], disk: IDisk, session: UploadSession, valve: Valve) -> None:
        self._expected = expected
        self._hashes = {name: hashlib.new(name) for name in expected}
        self._disk = disk
        self._session = session
        self._valve = valve
        self._waiting = Pieces()
        self._size = 0
        self._hashing: Deferred[Any] | None = None

    def update(self, data: bytes) -> None:
        """Some bytes more."""
        self._waiting.add(data)
        self._size += len(data)
        self._session.hold(len(data))
        if self._size >= _BATCH or not self._session.may_hold(0):
            if self._hashing is None:
                self._hash_some()
            elif self._size >= _BATCH:
                self._valve.close(self)

    def flush(self) -> None:
        """Wait for no more: hash what there is."""
        if self._hashing is None and self._size:
            self._hash_some()

    async def verify(self) -> None:
        """
        All bytes have come.

        @raise ChecksumMismatch: if a digest is not what was expected.
        """
        while self._hashing is not None:
            await settled(self._hashing)
        size = self._size
        if size > _SMALL:
            self._hash_some()
            while self._hashing is not None:
                await settled(self._hashing)
        else:
            self._update(self._waiting.take())
            self.drop()
        for name, digest in self._expected.items():
            if not hmac.compare_digest(self._hashes[name].digest(), digest):
                raise ChecksumMismatch(
                    f"the {name} of what came is {self._hashes[name].hexdigest()}, and not what was announced: nothing was stored"
                )

    def drop(self) -> None:
        """Hold nothing more."""
        size, self._size = self._size, 0
        self._waiting.take()
        self._session.hold(-size)

    def _hash_some(self) -> None:
        pieces, size, self._size = self._waiting.take(), self._size, 0
        hashing = self._hashing = self._disk.run(self._update, pieces)

        def done(result: Any) -> Any:
            self._hashing = None
            self._session.hold(-size)
            self._valve.open(self)
            return result

        hashing.addBoth(done)

    def _update(self, pieces: list[bytes]) -> None:
        data = b"".join(pieces)
        for computed in self._hashes.values():
            computed.update(data)
