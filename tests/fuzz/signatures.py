"""
Feeds bytes to what reads signatures of S3: the header field, the query of a signed URL in either version, the policy of a form, and
chunks. Whatever they are, they are understood in one way, or refused as S3 says it.

As a program it does so with atheris until it finds something else, or the end of its time;
C{python -m tests.fuzz.signatures SECONDS DIRECTORY}.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from urllib.parse import parse_qsl

from storehouse.core.sigv4 import Scope, signing_key
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.signing import bodies, claims, header, payload, postpolicy, presigned, version2
from storehouse.frontends.s3.signing.bodies import Chain, Unframing
from storehouse.frontends.s3.signing.payload import SIGNED_CHUNKS_TRAILER, UNSIGNED_CHUNKS_TRAILER, Payload
from tests.fuzz.running import run_fuzzer

__all__ = ["NOW", "SEEDS", "try_bytes"]

#: Seconds since 1970: the time of C{20130524T000000Z}.
NOW = 1369353600.0

_CREDENTIAL = b"AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"

_QUERY = (
    b"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential="
    + _CREDENTIAL.replace(b"/", b"%2F")
    + b"&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature="
    + b"a" * 64
)

_POLICY = (
    b'{"expiration":"2026-12-01T12:00:00.000Z","conditions":[{"bucket":"box"},["starts-with","$key","a/"],'
    b'["content-length-range",1,"10"],["eq","$x-amz-meta-a","b"]]}'
)

_CRC = "x-amz-checksum-crc32c"

_KEY = signing_key(b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", Scope("20130524", "us-east-1"))


#: Seeds: a byte for the kind of input, a byte for how it is cut, and the input.
SEEDS = [
    b"\0\0AWS4-HMAC-SHA256 Credential="
    + _CREDENTIAL
    + b",SignedHeaders=host;x-amz-date,Signature="
    + b"a" * 64
    + b"\n20130524T000000Z\nSTREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER\n5\naws-chunked,gzip\nx-amz-checksum-crc32c",
    b"\0\0AWS AKIAIOSFODNN7EXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg=\nFri, 24 May 2013 00:00:00 GMT\nUNSIGNED-PAYLOAD\n\n\n",
    b"\1\0" + _QUERY + b"&x-amz-acl=private&X-Amz-Security-Token=x",
    b"\1\0AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=vjbyPxybdZaNmGa%2ByT272YEAiv4%3D&Expires=1369353601&acl&uploadId=x",
    b"\2\0" + _POLICY,
    b"\3\0" + b64encode(_POLICY),
    b"\4\3" + b"a\r\n0123456789\r\n0\r\n" + _CRC.encode() + b":sOO8/Q==\r\n\r\n",
    b"\4\1" + b"5\r\n01234\r\n0\r\n\r\n",
    b"\5\2" + b"a;chunk-signature=" + b"b" * 64 + b"\r\n0123456789\r\n0;chunk-signature=" + b"c" * 64
    + b"\r\n" + _CRC.encode() + b":sOO8/Q==\nx-amz-trailer-signature:" + b"d" * 64 + b"\r\n\r\n",
]  # fmt: skip


def try_bytes(data: bytes) -> None:
    """@raise AssertionError: if they do something else."""
    if len(data) < 2:
        return
    kind, size, data = data[0] % 6, data[1] % 16 + 1, data[2:]
    if kind == 0:
        _try(_header, data)
    elif kind == 1:
        _try(_query, data)
    elif kind in (2, 3):
        _try(_policy, b64encode(data) if kind == 2 else data)
    else:
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        outcomes = [_unframed([data], kind == 5), _unframed(pieces, kind == 5)]
        if outcomes[0] != outcomes[1]:
            raise AssertionError(f"in pieces of {size}: {outcomes}")


def _try(read: Any, data: bytes) -> None:
    try:
        read(data)
    except S3Error as error:
        if not 400 <= error.status < 500 and error.code != "NotImplemented":
            raise AssertionError(f"it is refused as {error.code}") from None


def _header(data: bytes) -> None:
    authorization, date, form, length, coding, trailer = [*data.split(b"\n"), *[b""] * 5][:6]
    fields = {b"x-amz-date": [date], b"host": [b"localhost"]}
    for name, value in (
        (b"x-amz-decoded-content-length", length),
        (b"content-encoding", coding),
        (b"x-amz-trailer", trailer),
    ):
        if value:
            fields[name] = [value]
    found = payload.payload_of(form.decode("latin-1"), fields, 1000)
    if not 0 <= found.length < 10**18 or (found.is_signed and not found.is_framed):
        raise AssertionError(f"{found}")
    claim = header.claim_of_header(authorization.decode("latin-1"), fields, "us-east-1", NOW)
    if abs(claim.time - NOW) > 900 or claim.scope.region != "us-east-1" or b"" in claim.names:
        raise AssertionError(f"{claim}")


def _query(data: bytes) -> None:
    query = dict(parse_qsl(data.decode("latin-1"), keep_blank_values=True, max_num_fields=None))
    for name in presigned.hoisted_fields(query):
        if name != name.lower() or not name:
            raise AssertionError(f"a field {name!r}")
    if version2.is_version_2(query):
        version2.claim_of_version_2(query, NOW)
    else:
        claim = presigned.claim_of_query(query, "us-east-1", NOW)
        if not NOW - 7 * 86400 <= claim.time <= NOW + 900 or claim.scope.region != "us-east-1":
            raise AssertionError(f"{claim}")


def _policy(data: bytes) -> None:
    policy = postpolicy.read_policy(data.decode("latin-1"))
    if policy.least < 0 or (policy.most is not None and policy.most < 0):
        raise AssertionError(f"{policy}")
    policy.check({"key": "a/b", "x-amz-meta-a": "b"}, "box", NOW)


def _unframed(pieces: list[bytes], is_signed: bool) -> Any:
    form = SIGNED_CHUNKS_TRAILER if is_signed else UNSIGNED_CHUNKS_TRAILER
    chain = _AnyChain(_KEY, "20130524T000000Z", "scope", "seed") if is_signed else None
    unframing = Unframing(Payload(form, "", True, is_signed, 10, _CRC), chain, {})
    found = b""
    try:
        for piece in pieces:
            found += b"".join(bytes(each) for each in unframing.feed(piece))
            if len(found) > 10 or len(unframing._line) > 1000:
                raise AssertionError(f"{len(found)} bytes, and {len(unframing._line)} of a head")
        unframing.end()
    except S3Error as error:
        # What of a body comes before it fails is more or less, and is not stored.
        return error.code, str(error)
    if len(found) != 10:
        raise AssertionError(f"{len(found)} bytes are taken for 10")
    return found, unframing.trailers, chain.told if chain else None


class _AnyChain(Chain):
    """Takes every signature, and keeps what it gets."""

    def __init__(self, *of: Any) -> None:
        super().__init__(*of)
        self.told: list[tuple[object, str]] = []

    def announce(self, size: int, signature: str) -> None:
        self.told.append((size, signature))

    def announce_trailer(self, fields: str, signature: str) -> None:
        self.told.append((fields, signature))


if __name__ == "__main__":
    run_fuzzer(
        try_bytes,
        [
            (header, ("claim_of_header",)),
            (presigned, ("claim_of_query", "hoisted_fields")),
            (version2, ("claim_of_version_2",)),
            (postpolicy, ("read_policy", "_read_conditions")),
            (claims, ("parse_credential",)),
            (payload, ("payload_of",)),
            (bodies.Unframing, ("feed", "_feed_head", "_begin_chunk", "end", "_read_trailer")),
        ],
        1000,
    )
