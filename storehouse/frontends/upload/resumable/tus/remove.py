"""C{DELETE /tus/ID}: the extension termination."""

from __future__ import annotations

from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.upload.resumable.resuming import Resuming
from storehouse.frontends.upload.resumable.tus.answers import no_content

__all__ = ["remove"]


async def remove(resuming: Resuming, request: StreamingRequest) -> None:
    """Give an upload up. What it became stays."""
    _, upload = await resuming.admit(request)
    await resuming.uploads.remove(upload.id)
    no_content(request, ())
