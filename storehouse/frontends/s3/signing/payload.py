"""
How a body comes, by what its request says of it.

========================================== ======= ==============================================================
x-amz-content-sha256                       framing verified
========================================== ======= ==============================================================
64 hex digits                              none    the SHA-256 of the body
UNSIGNED-PAYLOAD                           none    nothing
STREAMING-AWS4-HMAC-SHA256-PAYLOAD         chunks  a signature of each chunk
STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER chunks  a signature of each chunk and one of the trailer
STREAMING-UNSIGNED-PAYLOAD-TRAILER         chunks  nothing here; the trailer has a checksum
========================================== ======= ==============================================================

A request without it, which nobody has signed or whose URL was signed beforehand, is like UNSIGNED-PAYLOAD.

Chunks come with C{Content-Encoding: aws-chunked}, which several clients leave out, and which some send with
UNSIGNED-PAYLOAD, or without anything if they have no key. Framing must never be stored as if it were data: what announces it
in any way is taken as framed, and contradictions are refused.

Source: "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks" in the API reference of
S3.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

from storehouse.core.sigv4 import UNSIGNED_PAYLOAD
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.signing.claims import Fields, not_supported, one

__all__ = [
    "FRAMING",
    "SIGNED_CHUNKS",
    "SIGNED_CHUNKS_TRAILER",
    "UNSIGNED_CHUNKS_TRAILER",
    "Payload",
    "payload_of",
    "without_framing",
]

#: The content coding of chunks.
FRAMING = "aws-chunked"

SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_CHUNKS_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_CHUNKS_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

_ASYMMETRIC = ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER")

_digest = re.compile(r"[0-9a-f]{64}", re.ASCII | re.IGNORECASE).fullmatch
_size = re.compile(r"\d{1,18}", re.ASCII).fullmatch
_field_name = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]{1,128}", re.ASCII).fullmatch


_OF_FRAMING = frozenset({b"content-encoding", b"x-amz-decoded-content-length", b"x-amz-trailer"})


@attrs.frozen
class Payload:
    """
    @ivar form: the value of C{x-amz-content-sha256}; empty if there is none.
    @ivar digest: the SHA-256 of the body in hex; empty if it is not announced.
    @ivar is_framed: whether the body is in chunks.
    @ivar is_signed: whether each of them is signed.
    @ivar length: bytes of the payload, if the body is framed.
    @ivar trailer: the name of the field that follows the chunks, in lower case; empty if none does.
    """

    form: str = ""
    digest: str = ""
    is_framed: bool = False
    is_signed: bool = False
    length: int = 0
    trailer: str = ""


def payload_of(form: str | None, fields: Fields, length: int | None) -> Payload:
    """
    @param form: C{x-amz-content-sha256}, of the header, or of the query of a presigned URL.
    @param length: bytes of the body as it is sent; C{None} if they are not announced.
    @raise S3Error: if the form is unknown, or other header fields contradict it.
    """
    form = form or ""
    is_signed = form in (SIGNED_CHUNKS, SIGNED_CHUNKS_TRAILER)
    is_stream = is_signed or form == UNSIGNED_CHUNKS_TRAILER
    digest = form.lower() if _digest(form) else ""
    if form in _ASYMMETRIC:
        raise not_supported()
    if not (is_stream or digest or form in ("", UNSIGNED_PAYLOAD)):
        raise S3Error(
            "InvalidArgument",
            f"x-amz-content-sha256 must be {UNSIGNED_PAYLOAD}, {UNSIGNED_CHUNKS_TRAILER}, {SIGNED_CHUNKS}, "
            f"{SIGNED_CHUNKS_TRAILER} or a valid sha256 value.",
            ArgumentName="x-amz-content-sha256",
            ArgumentValue=form[:256],
        )
    if not is_stream and _OF_FRAMING.isdisjoint(fields):
        return Payload(form, digest)
    decoded = _decoded_length(fields)
    trailer = (one(fields, b"x-amz-trailer") or "").lower()
    codings = [coding.lower() for coding in _codings(fields.get(b"content-encoding", ()))]
    if codings.count(FRAMING) > 1:
        raise S3Error("InvalidArgument", f"Content-Encoding names {FRAMING} more than once")
    # A request without a body, such as a copy, may have header fields that a client got with an object.
    if not is_stream and (FRAMING not in codings or length == 0):
        if trailer or (decoded is not None and decoded != length):
            raise S3Error(
                "InvalidRequest",
                "x-amz-trailer and x-amz-decoded-content-length are for bodies in chunks, with an x-amz-content-sha256 "
                "that begins with STREAMING-",
            )
        return Payload(form, digest)
    if digest:
        raise S3Error(
            "InvalidRequest", f"With Content-Encoding: {FRAMING}, x-amz-content-sha256 must begin with STREAMING-"
        )
    if decoded is None:
        raise S3Error("MissingContentLength", "You must provide the x-amz-decoded-content-length HTTP header.")
    if trailer and (form == SIGNED_CHUNKS or not _field_name(trailer)):
        raise S3Error("InvalidRequest", "The value specified in the x-amz-trailer header is not supported")
    return Payload(form, "", True, is_signed, decoded, trailer)


def _decoded_length(fields: Fields) -> int | None:
    decoded = one(fields, b"x-amz-decoded-content-length")
    if decoded is not None and not _size(decoded):
        raise S3Error(
            "InvalidArgument",
            "x-amz-decoded-content-length must be a number of bytes.",
            ArgumentName="x-amz-decoded-content-length",
            ArgumentValue=decoded[:64],
        )
    return None if decoded is None else int(decoded)


def without_framing(coding: str) -> str:
    """A C{Content-Encoding} as it is kept with an object: without that of the chunks. It may be empty then."""
    if FRAMING not in coding.lower():
        return coding
    names = [name.strip() for name in coding.split(",")]
    return ",".join(name for name in names if name and name.lower() != FRAMING)


def _codings(values: Sequence[bytes]) -> list[str]:
    return [name.strip().decode("ascii", "replace") for value in values for name in value.split(b",")]
