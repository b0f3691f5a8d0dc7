"""C{POST /tus/}: the extensions creation, creation-with-upload, creation-defer-length and concatenation."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import attrs

from storehouse.core.mediatypes import guessed_type
from storehouse.errors import BadRequest, ChecksumMismatch, LinkOutOfScope, NoSuchUpload, SizeMismatch, StorehouseError
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.resource import check_body, field_of, text_of
from storehouse.frontends.upload.files import content_type_in, key_for, said_type
from storehouse.frontends.upload.gate import Visitor
from storehouse.frontends.upload.resumable.resuming import (
    Resuming,
    is_his,
    object_metadata,
    path_of,
    quietly_removed,
    url_of_upload,
)
from storehouse.frontends.upload.resumable.tus.answers import expires_of, offset_of, stored_at
from storehouse.frontends.upload.resumable.tus.append import check_type
from storehouse.frontends.upload.resumable.tus.checking import checking_of
from storehouse.frontends.upload.resumable.tus.fields import metadata_in, number_in, pieces_in
from storehouse.storage.resumable.interfaces import ResumableUpload

__all__ = ["create"]

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


async def create(resuming: Resuming, request: StreamingRequest) -> Reply:
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
        check_type(request)
        if wish.pieces:
            raise BadRequest("a final upload cannot have a body")
        if wish.length == 0 and request.body.length:
            # It would be complete before the first of them.
            raise SizeMismatch(f"Upload-Length is 0, and the body has {request.body.length} bytes")
    algorithms, verify = checking_of(request)
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
    headers: tuple[tuple[bytes, bytes], ...] = ((b"Location", url_of_upload(request, "tus", upload.id)),)
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
        headers += offset_of(upload)
    return Reply(201, b"", b"", headers + expires_of(upload) + stored_at(upload))


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
