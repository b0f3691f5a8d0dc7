"""What the draft answers: states, problems, interim answers, and at the end what the file's own URL would have said."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs

from storehouse.errors import NotFound, OffsetMismatch, SizeMismatch, StorehouseError, TooLarge
from storehouse.frontends.http.reply import Reply, error_reply, json_reply, status_of
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.upload.files import file_reply, url_of
from storehouse.frontends.upload.intake import Intake
from storehouse.frontends.upload.resumable.ietf.fields import Said, flag_text, limit_text
from storehouse.frontends.upload.resumable.resuming import url_of_upload
from storehouse.storage.resumable.interfaces import ResumableUpload

__all__ = ["Answers", "Headers"]

Headers = tuple[tuple[bytes, bytes], ...]

_PROBLEM = "https://iana.org/assignments/http-problem-types#"

_RESUMABLE = b"Upload Resumption Supported"

# Seconds between two interim answers.
_PAUSE = 1.0


@attrs.frozen
class Answers:
    """
    The answers to one request.

    @param max_size: bytes that an upload may have; 0 for no bound.
    """

    request: StreamingRequest
    said: Said
    intake: Intake
    max_size: int

    def limit(self, upload: ResumableUpload) -> Headers:
        """C{Upload-Limit}."""
        left = None if upload.expires is None else upload.expires - self.intake.activity.now()
        bounds = [bound for bound in (self.max_size, upload.max_bytes) if bound]
        return ((b"Upload-Limit", limit_text(min(bounds, default=0), left, self.said.version)),)

    def location(self, upload: ResumableUpload) -> Headers:
        """The C{Location} where the upload is continued."""
        return ((b"Location", url_of_upload(self.request, "resumable", upload.id)),)

    def state(self, upload: ResumableUpload) -> Headers:
        """How far it is."""
        return (
            (b"Upload-Complete", flag_text(upload.is_complete)),
            (b"Upload-Offset", b"%d" % upload.offset),
        )

    # -- interim answers -----------------------------------------------------------------------

    def announce(self, upload: ResumableUpload) -> None:
        """Tell the client at once where it can go on, should this connection break."""
        if self.said.is_informed:
            self._inform(self.location(upload) + self.limit(upload))

    def progress(self) -> Callable[[int], None] | None:
        """Tells the client, now and then, how much is stored for good."""
        if not self.said.is_informed:
            return None
        last = self.intake.activity.now()

        def tell(offset: int) -> None:
            nonlocal last
            now = self.intake.activity.now()
            if now - last >= _PAUSE:
                last = now
                self._inform(((b"Upload-Offset", b"%d" % offset),))

        return tell

    def _inform(self, headers: Headers) -> None:
        version = (b"Upload-Draft-Interop-Version", b"%d" % self.said.version)
        self.request.inform(104, _RESUMABLE, (version, *headers))

    # -- last ones -----------------------------------------------------------------------------

    async def whole(self, upload: ResumableUpload) -> Reply:
        """What storing the file in one go would have been answered; the same whenever it is asked for."""
        try:
            reply = file_reply(await self.intake.store.head(self.intake.bucket, upload.key), True)
        except NotFound:
            # It was stored; that it was removed since is another matter.
            reply = json_reply({"stored": [{"name": upload.key, "size": upload.offset, "etag": upload.etag}]}, 201)
            reply = attrs.evolve(reply, headers=((b"Location", url_of(upload.key).encode("ascii")),))
        return attrs.evolve(reply, headers=reply.headers + self.state(upload))

    def refused(self, error: StorehouseError, upload: ResumableUpload | None = None) -> Reply:
        """An error, as a problem where the draft has one."""
        reply = error_reply(error)
        headers: Headers = ((b"Upload-Complete", b"?0"),)
        if isinstance(error, OffsetMismatch):
            reply = _problem(
                error,
                "mismatching-upload-offset",
                {"expected-offset": error.expected, "provided-offset": error.given},
            )
            headers += ((b"Upload-Offset", b"%d" % error.expected),)
        elif isinstance(error, SizeMismatch):
            reply = _problem(error, "inconsistent-upload-length", {})
        elif isinstance(error, TooLarge):
            bound = self.max_size if upload is None or upload.max_bytes is None else upload.max_bytes
            headers += ((b"Upload-Limit", limit_text(bound, None)),)
        return attrs.evolve(reply, headers=reply.headers + headers)


def _problem(error: StorehouseError, kind: str, more: dict[str, Any]) -> Reply:
    """RFC 9457."""
    fields = {"type": _PROBLEM + kind, "title": error.detail, "status": status_of(type(error)), **more}
    return Reply(status_of(type(error)), json.dumps(fields).encode("ascii"), b"application/problem+json")
