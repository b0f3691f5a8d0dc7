"""What is answered to those who bring files: which are stored, and why others are not."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from storehouse.errors import StorehouseError
from storehouse.frontends.http.errors import error_reply
from storehouse.frontends.http.reply import Reply, json_reply
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.targets import accepts_html
from storehouse.frontends.upload import pages
from storehouse.frontends.upload.gate import Visitor
from storehouse.frontends.upload.names import url_of
from storehouse.storage.objects.interfaces import ObjectInfo

__all__ = ["file_reply", "form_reply"]


def _told(info: ObjectInfo) -> dict[str, object]:
    return {
        "name": info.key,
        "size": info.size,
        "etag": info.etag,
        "url": url_of(info.key),
        "crc32c": "".join(info.metadata.get("crc32c", ())),
        "filename": "".join(info.metadata.get("filename", ())),
    }


def file_reply(info: ObjectInfo, is_new: bool) -> Reply:
    """One file is stored, that came alone."""
    headers = (
        (b"ETag", b'"%b"' % info.etag.encode("ascii", "replace")),
        (b"Location", url_of(info.key).encode("ascii")),
    )
    return attrs.evolve(json_reply({"stored": [_told(info)]}, 201 if is_new else 200), headers=headers)


def form_reply(
    request: StreamingRequest, visitor: Visitor, stored: Sequence[ObjectInfo], error: StorehouseError | None = None
) -> Reply:
    """
    The files of a form.

    @param error: why what came after those that are stored is not.
    """
    refusal = None if error is None else error_reply(error)
    status = 201 if refusal is None else refusal.status
    headers = () if refusal is None else refusal.headers
    if accepts_html(request):
        files = [
            pages.StoredFile(
                "".join(info.metadata.get("filename", ())),
                info.key,
                info.size,
                [("CRC32C", value) for value in info.metadata.get("crc32c", ())],
            )
            for info in stored
        ]
        page = pages.stored(visitor, files, "" if error is None else error.detail, status)
        return attrs.evolve(page, headers=page.headers + headers)
    told: dict[str, object] = {"stored": [_told(info) for info in stored]}
    if error is not None:
        told |= {"error": type(error).__name__, "detail": error.detail}
    return attrs.evolve(json_reply(told, status), headers=headers)
