"""
AWS Signature Version 4: what is signed, and by which key. Nothing here depends on whether a request is made or verified.

::

    signature          hex(HMAC-SHA256(signing key, string to sign))
    signing key        HMAC-SHA256 of "aws4_request" by that of the service, by that of the region, by that of the date, by
                       "AWS4" + secret
    string to sign     "AWS4-HMAC-SHA256" LF timestamp LF scope LF hex(SHA-256(canonical request))
    timestamp          yyyyMMdd "T" HHmmss "Z"
    scope              date "/" region "/" service "/aws4_request"
    canonical request  method LF path LF query LF (name ":" value LF for each signed header field) LF
                       names of these, with ";" between them LF hex SHA-256 of the body, or what stands for it

Source: "AWS Signature Version 4 for API requests" in the IAM User Guide, and "Authenticating Requests (AWS Signature Version
4)" in the API reference of S3, where a path is encoded once and never normalized.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote_from_bytes, unquote_to_bytes, urlsplit

import attrs

__all__ = [
    "ALGORITHM",
    "EMPTY_SHA256",
    "TERMINAL",
    "UNSIGNED_PAYLOAD",
    "ChunkSigner",
    "Scope",
    "Signer",
    "canonical_path",
    "canonical_query",
    "canonical_request",
    "canonical_value",
    "chunk_to_sign",
    "sign",
    "signing_key",
    "string_to_sign",
]

ALGORITHM = "AWS4-HMAC-SHA256"

#: The last member of a scope.
TERMINAL = "aws4_request"

#: In place of a body's digest: the body is not signed.
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"

#: The digest of an empty body.
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

_is_plain = re.compile(rb"[A-Za-z0-9\-._~/]*\Z").match


@attrs.frozen
class Scope:
    """
    What a signing key is for.

    @ivar date: the day, C{yyyyMMdd}.
    """

    date: str
    region: str
    service: str = "s3"

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/{TERMINAL}"


def canonical_path(path: bytes) -> bytes:
    """A path as it is signed, from one as it is sent: clients do not all encode the same characters."""
    if _is_plain(path):
        return path
    return quote_from_bytes(unquote_to_bytes(path), "/~").encode("ascii")


def canonical_query(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A query as it is signed, from its decoded fields in any order."""
    encoded = sorted((quote_from_bytes(name, "~"), quote_from_bytes(value, "~")) for name, value in fields)
    return "&".join([f"{name}={value}" for name, value in encoded]).encode("ascii")


def canonical_value(values: Sequence[bytes]) -> bytes:
    """The value of a header field as it is signed, from all of that name: without spaces around it, and one between words."""
    if len(values) == 1:
        return b" ".join(values[0].split())
    return b",".join([b" ".join(value.split()) for value in values])


def canonical_request(
    method: bytes, path: bytes, query: bytes, headers: Sequence[tuple[bytes, bytes]], payload: bytes
) -> bytes:
    """
    What the string to sign has the digest of.

    @param path: see L{canonical_path}.
    @param query: see L{canonical_query}.
    @param headers: names in lower case, in ascending order, and values. See L{canonical_value}.
    @param payload: the SHA-256 of the body in hex, or what stands for it.
    """
    lines = [method, path, query]
    lines += [b"%b:%b" % header for header in headers]
    lines += (b"", b";".join([name for name, _ in headers]), payload)
    return b"\n".join(lines)


def string_to_sign(request: bytes, timestamp: str, scope: str) -> bytes:
    """
    What is signed of a canonical request.

    @param timestamp: C{yyyyMMddTHHmmssZ}.
    """
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n{hashlib.sha256(request).hexdigest()}".encode()


def signing_key(secret: bytes, scope: Scope) -> bytes:
    """The key that signs within a scope."""
    key = b"AWS4" + secret
    for member in (scope.date, scope.region, scope.service, TERMINAL):
        key = hmac.digest(key, member.encode(), "sha256")
    return key


def sign(key: bytes, text: bytes) -> str:
    """A signature, in hex."""
    return hmac.digest(key, text, "sha256").hex()


def chunk_to_sign(what: str, timestamp: str, scope: str, previous: str, signed: str) -> bytes:
    """
    What is signed of a chunk of a body, or of the trailer behind the chunks.

    @param what: C{PAYLOAD}, or C{TRAILER}.
    @param previous: the signature before: that of the chunk, and of the head before the first one.
    @param signed: of a chunk, L{EMPTY_SHA256}, a line feed and the SHA-256 of its bytes; of a trailer, the SHA-256 of its
        lines C{NAME:VALUE LF}.
    """
    return f"{ALGORITHM}-{what}\n{timestamp}\n{scope}\n{previous}\n{signed}".encode()


class ChunkSigner:
    """
    Signs the chunks of one body, and what follows them, each over the one before.

    @param previous: the signature of the head of the request.
    """

    def __init__(self, key: bytes, timestamp: str, scope: str, previous: str) -> None:
        self._key = key
        self._timestamp = timestamp
        self._scope = scope
        self._previous = previous

    def sign(self, digest: str) -> str:
        """
        The signature of the next chunk.

        @param digest: the SHA-256 of its bytes, in hex.
        """
        return self._follow("PAYLOAD", f"{EMPTY_SHA256}\n{digest}")

    def sign_trailer(self, lines: bytes) -> str:
        """
        @param lines: C{NAME:VALUE LF} for each field.
        """
        return self._follow("TRAILER", hashlib.sha256(lines).hexdigest())

    def _follow(self, what: str, signed: str) -> str:
        text = chunk_to_sign(what, self._timestamp, self._scope, self._previous, signed)
        self._previous = sign(self._key, text)
        return self._previous


@attrs.frozen
class Signer:
    """
    Signs requests in their headers.

    @ivar key_id: of the access key.
    @ivar token: of temporary credentials; empty for others.
    """

    key_id: str
    secret: str = attrs.field(repr=False)
    region: str
    service: str = "s3"
    token: str = attrs.field(default="", repr=False)

    def sign(self, method: str, url: str, headers: Mapping[str, str], payload: str, time: float) -> dict[str, str]:
        """
        The header fields to send beside those that the request has, all of which are signed.

        @param url: its host is signed as it is written here.
        @param payload: the SHA-256 of the body in hex, or what stands for it.
        @param time: seconds since 1970 UTC.
        """
        timestamp = datetime.fromtimestamp(time, UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = Scope(timestamp[:8], self.region, self.service)
        added = {"x-amz-content-sha256": payload, "x-amz-date": timestamp}
        if self.token:
            added["x-amz-security-token"] = self.token
        parts = urlsplit(url)
        signed = {name.lower(): value for name, value in {**headers, **added, "host": parts.netloc}.items()}
        fields = [(name.encode(), canonical_value([signed[name].encode()])) for name in sorted(signed)]
        query = parse_qsl(parts.query, keep_blank_values=True)
        request = canonical_request(
            method.encode(),
            canonical_path(parts.path.encode() or b"/"),
            canonical_query((name.encode(), value.encode()) for name, value in query),
            fields,
            payload.encode(),
        )
        signature = sign(signing_key(self.secret.encode(), scope), string_to_sign(request, timestamp, str(scope)))
        names = ";".join(sorted(signed))
        added["Authorization"] = (
            f"{ALGORITHM} Credential={self.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return added

    def chunks(self, signed: Mapping[str, str]) -> ChunkSigner:
        """
        What signs the chunks of a body.

        @param signed: the fields of its request, as L{sign} returned them.
        """
        timestamp = signed["x-amz-date"]
        scope = Scope(timestamp[:8], self.region, self.service)
        signature = signed["Authorization"].rpartition("Signature=")[2]
        return ChunkSigner(signing_key(self.secret.encode(), scope), timestamp, str(scope), signature)
