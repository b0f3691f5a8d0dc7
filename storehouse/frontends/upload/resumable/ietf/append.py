"""C{PATCH /resumable/ID}: more content."""

from __future__ import annotations

from storehouse.errors import BadRequest, OffsetMismatch, SizeMismatch, TooLarge
from storehouse.frontends.http.reply import Reply, UnsupportedType
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.resource import check_body, field_of
from storehouse.frontends.upload.resumable.ietf.answers import Answers
from storehouse.frontends.upload.resumable.ietf.checking import checking_of
from storehouse.frontends.upload.resumable.ietf.fields import Said
from storehouse.frontends.upload.resumable.resuming import Resuming, quietly_removed
from storehouse.storage.resumable.interfaces import ResumableUpload

__all__ = ["append"]

_TYPE = b"application/partial-upload"

# The first version that has this type.
_TYPED = 6


async def append(resuming: Resuming, answers: Answers) -> Reply | None:
    """
    Add the content.

    @raise OffsetMismatch: if it does not begin where the upload ends.
    @raise SizeMismatch: if a length is said that is not the one that was said before.
    """
    request, said = answers.request, answers.said
    check_body(request)
    if not 0 < said.version < _TYPED and (field_of(request, b"Content-Type") or b"").lower() != _TYPE:
        raise UnsupportedType("the Content-Type must be application/partial-upload")
    if said.offset is None:
        raise BadRequest("the request needs Upload-Offset, a number, 0 or more")
    if said.complete is None and not 0 < said.version < _TYPED:
        raise BadRequest("the request needs Upload-Complete: ?0, or ?1 if its content is the last")
    algorithms, verify = checking_of(request)
    visitor, upload = await resuming.admit(request)
    if upload.is_complete:
        return await _replay(answers, upload, said)
    if said.offset == upload.offset:
        _check_length(request, said, upload)
    try:
        upload = await resuming.append(
            request,
            visitor,
            upload,
            said.offset,
            algorithms,
            verify,
            bool(said.complete),
            answers.progress(),
            length=said.length,
        )
    except TooLarge:
        # What the client said of it is not true: it must not be continued.
        await quietly_removed(resuming.uploads, upload.id)
        raise
    if upload.is_complete:
        return await answers.whole(upload)
    if said.is_old:
        return Reply(201, b"", b"", answers.state(upload) + answers.limit(upload))
    request.begin(204, b"", answers.state(upload) + answers.limit(upload))
    return None


async def _replay(answers: Answers, upload: ResumableUpload, said: Said) -> Reply:
    """The last answer again, to a client that did not get it."""
    if said.offset != upload.offset:
        raise OffsetMismatch(upload.offset, said.offset or 0)
    _check_length(answers.request, said, upload)
    if answers.request.body.length != 0 or not said.complete:
        raise BadRequest("the upload is complete: nothing can be added")
    return await answers.whole(upload)


def _check_length(request: StreamingRequest, said: Said, upload: ResumableUpload) -> None:
    """All that a request says of the length must be the same, and the same as before."""
    lengths = {length for length in (said.length, upload.length) if length is not None}
    if said.complete and request.body.length is not None:
        lengths.add(upload.offset + request.body.length)
    if len(lengths) > 1:
        raise SizeMismatch(
            f"the request gives different lengths of the upload: {' and '.join(map(str, sorted(lengths)))} bytes"
        )
