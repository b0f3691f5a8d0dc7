"""The fields of tus, taken apart. What is too long is refused by the bound of a request's head. Pure."""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from binascii import Error as BadBase64
from collections.abc import Mapping
from urllib.parse import urlsplit

from storehouse.errors import BadRequest, UnknownAlgorithm
from storehouse.frontends.upload.intake import ALGORITHMS

__all__ = [
    "EXTENSIONS",
    "VERSION",
    "checksum_in",
    "metadata_in",
    "number_in",
    "pieces_in",
    "text_of_metadata",
    "text_of_pieces",
]

VERSION = b"1.0.0"

EXTENSIONS = (
    b"creation,creation-with-upload,creation-defer-length,expiration,checksum,checksum-trailer,termination,"
    b"concatenation,concatenation-unfinished"
)

_number = re.compile(rb"[0-9]{1,18}").fullmatch
_key = re.compile(r"[\x21-\x2b\x2d-\x7e]{1,256}").fullmatch
_piece = re.compile("/tus/([0-9a-f]{32})").fullmatch

_SIZES = {"crc32c": 4, **{name: hashlib.new(name, usedforsecurity=False).digest_size for name in ("sha1", "sha256")}}


def number_in(name: str, value: bytes) -> int:
    """@raise BadRequest: unless it is a number from 0 on."""
    if not _number(value):
        raise BadRequest(f"{name} is {value[:50].decode('latin-1')!r}, not a number from 0 on")
    return int(value)


def _decoded(what: str, text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (BadBase64, ValueError):
        raise BadRequest(f"{what} is not Base64") from None


def metadata_in(value: bytes) -> dict[str, str]:
    """
    C{Upload-Metadata}: keys, and values that are Base64 of UTF-8.

    @raise BadRequest: if it is not of that form.
    """
    found: dict[str, str] = {}
    for pair in value.decode("latin-1").split(","):
        key, _, text = pair.strip(" ").partition(" ")
        if not _key(key) or key in found:
            raise BadRequest(f"Upload-Metadata has an invalid or repeated key: {key[:50]!r}")
        try:
            found[key] = _decoded(f"the value of {key[:50]} in Upload-Metadata", text.strip(" ")).decode()
        except UnicodeDecodeError:
            raise BadRequest(f"the value of {key[:50]} in Upload-Metadata is not UTF-8") from None
    return found


def text_of_metadata(metadata: Mapping[str, str]) -> bytes:
    """C{Upload-Metadata} as it was given."""
    pairs = (f"{key} {b64encode(value.encode()).decode()}" if value else key for key, value in metadata.items())
    return ",".join(pairs).encode("latin-1")


def checksum_in(value: bytes) -> tuple[str, bytes]:
    """
    C{Upload-Checksum}: the algorithm and the digest.

    @raise UnknownAlgorithm: if it cannot be computed here.
    @raise BadRequest: if it is not of that form.
    """
    algorithm, _, text = value.decode("latin-1").partition(" ")
    if algorithm not in ALGORITHMS:
        raise UnknownAlgorithm(f"{algorithm[:50]!r} is not supported; supported are {', '.join(ALGORITHMS)}")
    digest = _decoded("the checksum", text)
    if len(digest) != _SIZES[algorithm]:
        raise BadRequest(f"a checksum of {algorithm} has {_SIZES[algorithm]} bytes, not {len(digest)}")
    return algorithm, digest


def pieces_in(value: bytes) -> list[str] | None:
    """
    C{Upload-Concat}: the IDs of the partial uploads of a final one; C{None} for a partial one.

    @raise BadRequest: if it is not of that form, or names what is no upload of this door.
    """
    kind, semicolon, urls = value.decode("latin-1").partition(";")
    if kind.strip() == "partial" and not semicolon:
        return None
    if kind.strip() != "final" or not urls.strip():
        raise BadRequest("Upload-Concat must be partial, or final; and the URLs of uploads")
    ids = []
    for url in urls.split():
        try:
            found = _piece(urlsplit(url).path)
        except ValueError:
            found = None
        if found is None:
            raise BadRequest(f"Upload-Concat has {url[:100]!r}, which is not an upload here")
        ids.append(found[1])
    return ids


def text_of_pieces(ids: tuple[str, ...]) -> bytes:
    """C{Upload-Concat} of a final upload."""
    return ("final;" + " ".join(f"/tus/{id}" for id in ids)).encode("ascii")
