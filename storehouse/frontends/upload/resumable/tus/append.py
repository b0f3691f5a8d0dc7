"""C{PATCH /tus/ID}: more bytes."""

from __future__ import annotations

from storehouse.errors import BadRequest
from storehouse.frontends.http.reply import UnsupportedType
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.resource import check_whole, field_of
from storehouse.frontends.upload.resumable.resuming import Resuming
from storehouse.frontends.upload.resumable.tus.answers import expires_of, no_content, offset_of, stored_at
from storehouse.frontends.upload.resumable.tus.checking import checking_of
from storehouse.frontends.upload.resumable.tus.fields import number_in

__all__ = ["append", "check_type"]

_TYPE = b"application/offset+octet-stream"


def check_type(request: StreamingRequest) -> None:
    """@raise UnsupportedType: unless the body is of the type that tus has."""
    if (field_of(request, b"Content-Type") or b"").lower() != _TYPE:
        raise UnsupportedType("the Content-Type must be application/offset+octet-stream")


async def append(resuming: Resuming, request: StreamingRequest) -> None:
    """
    Add the body.

    @raise OffsetMismatch: if it does not begin where the upload ends.
    """
    check_whole(request)
    check_type(request)
    given = field_of(request, b"Upload-Offset")
    if given is None:
        raise BadRequest("the request needs Upload-Offset")
    offset = number_in("Upload-Offset", given)
    length = field_of(request, b"Upload-Length")
    algorithms, verify = checking_of(request)
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
    no_content(request, offset_of(added) + expires_of(added) + stored_at(added))
