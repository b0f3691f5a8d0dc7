"""C{PUT /upload/NAME} or C{POST /upload/NAME} with Upload-Complete: an upload begins, and is often complete at once."""

from __future__ import annotations

from storehouse.core.mediatypes import guessed_type
from storehouse.errors import BadRequest, ChecksumMismatch, SizeMismatch, StorehouseError
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.resource import field_of
from storehouse.frontends.upload.files import content_type_in, key_in_path, said_type
from storehouse.frontends.upload.resumable.ietf.answers import Answers
from storehouse.frontends.upload.resumable.ietf.checking import checking_of
from storehouse.frontends.upload.resumable.resuming import Resuming, object_metadata, quietly_removed
from storehouse.storage.resumable.interfaces import ResumableUpload

__all__ = ["create"]


async def create(resuming: Resuming, answers: Answers) -> Reply:
    """
    Begin an upload, with what the body has of it.

    @raise SizeMismatch: if two lengths are said that differ.
    @raise TooLarge: if it would be.
    """
    request, said = answers.request, answers.said
    names = _names_of(request)
    length = said.length
    if said.complete and request.body.length is not None:
        if length not in (None, request.body.length):
            raise SizeMismatch(f"Upload-Length is {length}, but the whole content has {request.body.length} bytes")
        length = request.body.length
    elif length is not None and request.body.length is not None and request.body.length > length:
        raise SizeMismatch(f"Upload-Length is {length}, and the content has {request.body.length} bytes already")
    algorithms, verify = checking_of(request)
    # Of an upload that comes in one request. If it is interrupted, the rest arrives without what is needed to compute
    # it.
    computed, at_end = checking_of(request, "Repr-Digest") if said.complete else ((), None)
    visitor = await resuming.gate.admit(request, "put")
    key = key_in_path(request.path[1:].partition(b"/")[2])
    names = await resuming.names_for(visitor, key, names)
    resuming.check_size(visitor, length)
    await resuming.gate.use(visitor)
    upload: ResumableUpload = await resuming.uploads.create(
        visitor.name,
        key,
        length,
        content_type_in(said_type((field_of(request, b"Content-Type") or b"").decode("latin-1"))) or guessed_type(key),
        {},
        visitor.max_bytes,
        visitor.grant.nonce if visitor.grant is not None else "",
        object_metadata=object_metadata(visitor, key, "ietf"),
        names=names,
        # An empty upload is not complete before the client asks for that, nor is one that has to be verified.
        awaits_end=(length == 0 and not said.complete) or at_end is not None,
    )
    answers.announce(upload)
    if request.body.length != 0 or (said.complete and not upload.is_complete):
        try:
            upload = await resuming.append(
                request,
                visitor,
                upload,
                0,
                tuple({*algorithms, *computed}),
                verify,
                bool(said.complete),
                answers.progress(),
                at_end,
            )
        except StorehouseError as error:
            if isinstance(error, ChecksumMismatch) and not said.is_informed:
                # The client never got its URL, so nobody can continue it.
                await quietly_removed(resuming.uploads, upload.id)
            raise
    if upload.is_complete:
        return await answers.whole(upload)
    headers = answers.location(upload) + answers.state(upload) + answers.limit(upload)
    return Reply(201, b"", b"", headers)


def _names_of(request: StreamingRequest) -> str:
    """What becomes of a name that is taken: as without Upload-Complete."""
    if field_of(request, b"If-Match") is not None:
        raise BadRequest("If-Match is not possible for a resumable upload: another one may be stored first")
    none_match = field_of(request, b"If-None-Match")
    if none_match not in (None, b"*"):
        raise BadRequest("If-None-Match must be *: the name must not exist")
    if none_match is not None:
        return "refuse"
    return "replace" if request.method == b"PUT" else ""
