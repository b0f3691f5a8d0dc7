"""What tus answers have in common."""

from __future__ import annotations

from twisted.web.http import datetimeToString

from storehouse.errors import ChecksumMismatch
from storehouse.frontends.http.reply import Reply, error_reply
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.upload.files import url_of
from storehouse.storage.resumable.interfaces import ResumableUpload

__all__ = ["Headers", "expires_of", "mismatch_reply", "no_content", "offset_of", "stored_at"]

Headers = tuple[tuple[bytes, bytes], ...]


def no_content(request: StreamingRequest, headers: Headers) -> None:
    """Answer 204, which has no body, nor says so."""
    request.begin(204, b"", headers)


def offset_of(upload: ResumableUpload) -> Headers:
    """C{Upload-Offset}."""
    return ((b"Upload-Offset", b"%d" % upload.offset),)


def expires_of(upload: ResumableUpload) -> Headers:
    """C{Upload-Expires}, of one that does and has not all its bytes."""
    if upload.expires is None or upload.is_complete:
        return ()
    return ((b"Upload-Expires", datetimeToString(upload.expires)),)


def stored_at(upload: ResumableUpload) -> Headers:
    """C{Content-Location}, of one that is stored: the name may be another than the one that was asked for."""
    return ((b"Content-Location", url_of(upload.key).encode("ascii")),) if upload.key else ()


def mismatch_reply(error: ChecksumMismatch) -> Reply:
    """460, which is tus' own."""
    reply = error_reply(error)
    return Reply(460, reply.body, reply.content_type)
