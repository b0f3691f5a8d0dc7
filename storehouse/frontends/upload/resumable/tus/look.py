"""C{HEAD /tus/ID}: how far an upload is."""

from __future__ import annotations

from storehouse.frontends.http.reply import Reply
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.upload.resumable.resuming import Resuming
from storehouse.frontends.upload.resumable.tus.answers import expires_of, offset_of, stored_at
from storehouse.frontends.upload.resumable.tus.fields import text_of_metadata, text_of_pieces

__all__ = ["look"]


async def look(resuming: Resuming, request: StreamingRequest) -> Reply:
    """Report the offset, after interrupting any request that may still add bytes: so the offset stays true."""
    _, upload = await resuming.admit(request, interrupt=True)
    headers: tuple[tuple[bytes, bytes], ...] = ((b"Cache-Control", b"no-store"),)
    if upload.is_complete or not upload.pieces:
        headers += offset_of(upload)
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
    return Reply(200, b"", b"", headers + expires_of(upload) + stored_at(upload))
