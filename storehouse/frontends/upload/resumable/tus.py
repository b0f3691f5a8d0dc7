"""
C{/tus/} and C{/tus/ID}: tus 1.0.0, with the extensions creation, creation-with-upload, creation-defer-length, concatenation,
checksum, checksum-trailer, termination and expiration. Source: https://tus.io/protocols/resumable-upload
"""

from __future__ import annotations

import hashlib
import re
import secrets
from base64 import b64decode, b64encode
from binascii import Error as BadBase64
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

import attrs
from twisted.internet.defer import Deferred
from twisted.web.http import datetimeToString
from twisted.web.server import NOT_DONE_YET

from storehouse.core.names import guessed_type
from storehouse.errors import (
    BadRequest,
    ChecksumMismatch,
    LinkOutOfScope,
    NoSuchUpload,
    SizeMismatch,
    StorehouseError,
    UnknownAlgorithm,
)
from storehouse.frontends.http.reply import MethodNotAllowed, Reply, UnsupportedType, UnsupportedVersion, error_reply
from storehouse.frontends.http.request import Leaf, StreamingRequest, check_body, check_whole, field_of, text_of
from storehouse.frontends.upload.gate import Gate, Visitor, check_query
from storehouse.frontends.upload.intake import (
    ALGORITHMS,
    Checksums,
    Intake,
    content_type_in,
    key_for,
    said_type,
    url_of,
)
from storehouse.frontends.upload.resumable.resuming import (
    Resuming,
    is_his,
    object_metadata,
    path_of,
    quietly_removed,
    url_of_upload,
)
from storehouse.storage.resumable.interfaces import IResumableUploads, ResumableUpload

__all__ = [
    "EXTENSIONS",
    "VERSION",
    "TusUploads",
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


_Headers = tuple[tuple[bytes, bytes], ...]


# A method that changes nothing is never made one that does: what guards the others looks at the method.
_OVERRIDDEN = frozenset({b"POST", b"PUT", b"PATCH", b"DELETE"})

# Those that some clients cannot send. An answer to HEAD would have no body, which who sent another one waits for.
_OVERRIDING = frozenset({b"PATCH", b"DELETE"})


class TusUploads(Leaf):
    """
    See the module.

    @param max_size: bytes that an upload may have; 0 for no bound.
    """

    takes_rest = True

    def __init__(self, gate: Gate, uploads: IResumableUploads, intake: Intake, max_size: int = 0) -> None:
        Leaf.__init__(self)
        self._resuming = Resuming(gate, uploads, intake, "tus")
        self._max_size = max_size

    def render(self, request: StreamingRequest) -> int:
        """Begin to answer: as the method that X-HTTP-Method-Override names, if it does."""
        request.setHeader(b"Tus-Resumable", VERSION)
        override = request.requestHeaders.getRawHeaders(b"X-HTTP-Method-Override")
        if override and request.method in _OVERRIDDEN:
            method = override[0].strip().upper()
            if method not in _OVERRIDING or len(override) > 1:
                error = BadRequest("X-HTTP-Method-Override can only be PATCH or DELETE")
                Deferred.fromCoroutine(self._fail(request, error))
                return NOT_DONE_YET
            request.method = method
        return Leaf.render(self, request)

    def _limits(self) -> _Headers:
        return ((b"Tus-Max-Size", b"%d" % self._max_size),) if self._max_size else ()

    async def handle_OPTIONS(self, request: StreamingRequest) -> None:
        """What is possible here."""
        headers: _Headers = (
            (b"Tus-Version", VERSION),
            (b"Tus-Extension", EXTENSIONS),
            (b"Tus-Checksum-Algorithm", ",".join(ALGORITHMS).encode("ascii")),
        )
        _no_content(request, headers + self._limits())

    async def handle_POST(self, request: StreamingRequest) -> Reply:
        """Begin an upload."""
        if request.path not in (b"/tus", b"/tus/"):
            raise MethodNotAllowed(request.method, (b"DELETE", b"HEAD", b"OPTIONS", b"PATCH"))
        _check(request)
        try:
            return await _create(self._resuming, request)
        except ChecksumMismatch as error:
            return _mismatch_reply(error)

    async def handle_PATCH(self, request: StreamingRequest) -> Reply | None:
        """Continue an upload with the bytes of a request."""
        _check(request)
        try:
            await _append(self._resuming, request)
        except ChecksumMismatch as error:
            return _mismatch_reply(error)
        return None

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        """How far one is, asked by HEAD, after interrupting any request that may still add bytes: so the offset stays true."""
        _check(request)
        _, upload = await self._resuming.admit(request, interrupt=True)
        headers: _Headers = ((b"Cache-Control", b"no-store"),)
        if upload.is_complete or not upload.pieces:
            headers += _offset_of(upload)
        if upload.length is not None:
            headers += ((b"Upload-Length", b"%d" % upload.length),)
        elif not upload.pieces:
            headers += ((b"Upload-Defer-Length", b"1"),)
        if upload.metadata:
            headers += ((b"Upload-Metadata", text_of_metadata(upload.metadata)),)
        if upload.is_partial:
            headers += ((b"Upload-Concat", b"partial"),)
        elif upload.pieces:
            headers += ((b"Upload-Concat", text_of_pieces(tuple(upload.pieces))),)
        return Reply(200, b"", b"", headers + _expires_of(upload) + _stored_at(upload))

    async def handle_DELETE(self, request: StreamingRequest) -> None:
        """Give one up. What it became stays."""
        _check(request)
        _, upload = await self._resuming.admit(request)
        await self._resuming.uploads.remove(upload.id)
        _no_content(request, ())


def _check(request: StreamingRequest) -> None:
    check_query(request)
    if request.requestHeaders.getRawHeaders(b"Tus-Resumable") != [VERSION]:
        request.setHeader(b"Tus-Version", VERSION)
        raise UnsupportedVersion("the request needs Tus-Resumable: 1.0.0, the supported version of tus")


# -- an upload begins ------------------------------------------------------------------------------

_UPLOAD = "/upload/"


@attrs.frozen
class _Wish:
    length: int | None
    pieces: Sequence[str]
    is_partial: bool
    metadata: dict[str, str]

    @property
    def filename(self) -> str:
        return self.metadata.get("filename") or self.metadata.get("name") or ""

    @property
    def content_type(self) -> str:
        said = self.metadata.get("filetype") or self.metadata.get("type") or ""
        return content_type_in(said_type(said, is_form=True))


def _wish_of(request: StreamingRequest) -> _Wish:
    length, deferred = field_of(request, b"Upload-Length"), field_of(request, b"Upload-Defer-Length")
    concat, metadata = field_of(request, b"Upload-Concat"), field_of(request, b"Upload-Metadata")
    pieces = pieces_in(concat) if concat is not None else None
    if deferred not in (None, b"1"):
        raise BadRequest("Upload-Defer-Length can only be 1")
    if pieces is not None and (length is not None or deferred is not None):
        raise BadRequest(
            "a final upload has the length of its parts: send neither Upload-Length nor Upload-Defer-Length"
        )
    if pieces is None and (length is None) == (deferred is None):
        raise BadRequest("the request needs Upload-Length, or Upload-Defer-Length: 1")
    return _Wish(
        number_in("Upload-Length", length) if length is not None else None,
        pieces or (),
        concat is not None and pieces is None,
        metadata_in(metadata) if metadata else {},
    )


def _name_of(request: StreamingRequest, wish: _Wish) -> str:
    """
    The key: the name that the client says; but a link for one name stores under that one, and one for a folder there.
    Whether the link is what it says is found out later, for this very name.
    """
    relative = wish.metadata.get("relativePath", "")
    # Some clients send what JavaScript makes of nothing.
    name = key_for(wish.filename, "" if relative == "null" else relative) if wish.filename or relative else ""
    linked = text_of(request, b"path") if b"signature" in request.fields else ""
    if linked.startswith(_UPLOAD):
        linked = linked.removeprefix(_UPLOAD)
        if b"prefix" not in request.fields:
            return key_for("", linked)
        name = name or _unnamed()
        return name if name.startswith(linked) else key_for("", linked.rpartition("/")[0] + "/" + name)
    return name or _unnamed()


def _unnamed() -> str:
    return f"unnamed-{secrets.token_hex(4)}"


async def _create(resuming: Resuming, request: StreamingRequest) -> Reply:
    """
    Begin an upload, with what the body has of it.

    @raise BadRequest: if it cannot be understood what is wanted.
    @raise LinkOutOfScope: for a partial one by a link that works once: it is not used up by those.
    @raise SizeMismatch: if it is to be empty, and the body is not.
    @raise TooLarge: if it would be.
    """
    if request.requestHeaders.hasHeader(b"Content-Type"):
        check_body(request)
    has_body = request.body.length != 0
    wish = _wish_of(request)
    if has_body:
        _check_type(request)
        if wish.pieces:
            raise BadRequest("a final upload cannot have a body")
        if wish.length == 0 and request.body.length:
            # It would be complete before the first of them.
            raise SizeMismatch(f"Upload-Length is 0, and the body has {request.body.length} bytes")
    algorithms, verify = _checking_of(request)
    name = _name_of(request, wish)
    visitor = await resuming.gate.admit(request, "put", path_of(name))
    if wish.is_partial and visitor.grant is not None and visitor.grant.once:
        raise LinkOutOfScope("a link that works once allows one upload: upload the whole file, not parallel parts")
    await _check_pieces(resuming, visitor, wish.pieces)
    names = await resuming.names_for(visitor, name)
    resuming.check_size(visitor, wish.length)
    if not wish.is_partial:
        await resuming.gate.use(visitor)
    upload = await _begin(resuming, visitor, name, wish, names)
    headers: _Headers = ((b"Location", url_of_upload(request, "tus", upload.id)),)
    if has_body:
        try:
            upload = await resuming.append(request, visitor, upload, 0, algorithms, verify)
        except ChecksumMismatch:
            # The client does not know of it, and will begin anew.
            await quietly_removed(resuming.uploads, upload.id)
            raise
        except StorehouseError:
            if request.gone:
                raise
            upload = await resuming.uploads.get(upload.id)
        headers += _offset_of(upload)
    return Reply(201, b"", b"", headers + _expires_of(upload) + _stored_at(upload))


async def _check_pieces(resuming: Resuming, visitor: Visitor, pieces: Sequence[str]) -> None:
    for id in dict.fromkeys(pieces):
        if not is_his(visitor, await resuming.uploads.get(id)):
            raise NoSuchUpload(f"there is no upload {id}")


async def _begin(resuming: Resuming, visitor: Visitor, name: str, wish: _Wish, names: str) -> ResumableUpload:
    grant = visitor.grant.nonce if visitor.grant is not None else ""
    kept = object_metadata(visitor, wish.filename or name, "tus")
    content_type = wish.content_type or guessed_type(name)
    upload: ResumableUpload
    if wish.pieces:
        upload = await resuming.uploads.concatenate(
            visitor.name, name, wish.pieces, content_type, wish.metadata, grant, kept, names, visitor.max_bytes
        )
    else:
        upload = await resuming.uploads.create(
            visitor.name,
            name,
            wish.length,
            content_type,
            wish.metadata,
            visitor.max_bytes,
            grant,
            wish.is_partial,
            kept,
            names,
        )
    return upload


# -- an upload continues ---------------------------------------------------------------------------

_TYPE = b"application/offset+octet-stream"


def _check_type(request: StreamingRequest) -> None:
    """@raise UnsupportedType: unless the body is of the type that tus has."""
    if (field_of(request, b"Content-Type") or b"").lower() != _TYPE:
        raise UnsupportedType("the Content-Type must be application/offset+octet-stream")


async def _append(resuming: Resuming, request: StreamingRequest) -> None:
    """
    Add the body.

    @raise OffsetMismatch: if it does not begin where the upload ends.
    """
    check_whole(request)
    _check_type(request)
    given = field_of(request, b"Upload-Offset")
    if given is None:
        raise BadRequest("the request needs Upload-Offset")
    offset = number_in("Upload-Offset", given)
    length = field_of(request, b"Upload-Length")
    algorithms, verify = _checking_of(request)
    visitor, upload = await resuming.admit(request)
    added = await resuming.append(
        request,
        visitor,
        upload,
        offset,
        algorithms,
        verify,
        length=number_in("Upload-Length", length) if length is not None else None,
    )
    _no_content(request, _offset_of(added) + _expires_of(added) + _stored_at(added))


# -- whether a body is what was announced ----------------------------------------------------------

_FIELD = b"upload-checksum"


def _checking_of(request: StreamingRequest) -> tuple[tuple[str, ...], Callable[[Checksums], None] | None]:
    """
    What to compute of a body, and how to check it; C{None} if nothing was announced.

    @raise BadRequest: if it is not of the right form.
    """
    value = field_of(request, b"Upload-Checksum")
    if value is not None:
        algorithm, digest = checksum_in(value)
        return (algorithm,), lambda checksums: checksums.check(algorithm, digest)
    announced = b",".join(request.requestHeaders.getRawHeaders(b"Trailer", [])).lower().split(b",")
    if _FIELD not in [name.strip() for name in announced]:
        return (), None

    def check(checksums: Checksums) -> None:
        found = request.body.trailers.get(_FIELD)
        if found is None:
            raise BadRequest(
                "the body has no Upload-Checksum after it, although the Trailer field announced it: nothing is kept"
            )
        checksums.check(*checksum_in(found))

    # Which one it will be is known when it is too late to begin.
    return ALGORITHMS, check


# -- what answers have in common -------------------------------------------------------------------


def _no_content(request: StreamingRequest, headers: _Headers) -> None:
    """Answer 204, which has no body, nor says so."""
    request.begin(204, b"", headers)


def _offset_of(upload: ResumableUpload) -> _Headers:
    """C{Upload-Offset}."""
    return ((b"Upload-Offset", b"%d" % upload.offset),)


def _expires_of(upload: ResumableUpload) -> _Headers:
    """C{Upload-Expires}, of one that does and has not all its bytes."""
    if upload.expires is None or upload.is_complete:
        return ()
    return ((b"Upload-Expires", datetimeToString(upload.expires)),)


def _stored_at(upload: ResumableUpload) -> _Headers:
    """C{Content-Location}, of one that is stored: the name may be another than the one that was asked for."""
    return ((b"Content-Location", url_of(upload.key).encode("ascii")),) if upload.key else ()


def _mismatch_reply(error: ChecksumMismatch) -> Reply:
    """460, which is tus' own."""
    reply = error_reply(error)
    return Reply(460, reply.body, reply.content_type)
