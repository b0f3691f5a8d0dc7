"""C{/resumable/ID}, and what begins uploads for other resources."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from storehouse.errors import BadRequest, StorehouseError
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.resource import Leaf
from storehouse.frontends.upload.gate import Gate, check_query
from storehouse.frontends.upload.intake import Intake
from storehouse.frontends.upload.resumable.ietf.answers import Answers
from storehouse.frontends.upload.resumable.ietf.append import append
from storehouse.frontends.upload.resumable.ietf.create import create
from storehouse.frontends.upload.resumable.ietf.fields import limit_text, said_in
from storehouse.frontends.upload.resumable.resuming import Resuming
from storehouse.storage.resumable.interfaces import IResumableUploads

__all__ = ["IETFUploads"]


class IETFUploads(Leaf):
    """
    See the module.

    @param max_size: bytes that an upload may have; 0 for no bound.
    @param expiry: seconds after which an abandoned upload is removed; 0 for never.
    """

    takes_rest = True

    def __init__(
        self, gate: Gate, uploads: IResumableUploads, intake: Intake, max_size: int = 0, expiry: float = 0.0
    ) -> None:
        Leaf.__init__(self)
        self._resuming = Resuming(gate, uploads, intake, "ietf")
        self._max_size = max_size
        self._expiry = expiry

    def _answers(self, request: StreamingRequest) -> Answers:
        check_query(request)
        return Answers(request, said_in(request), self._resuming.intake, self._max_size)

    async def create(self, request: StreamingRequest) -> Reply | None:
        """Answer a request to store a file that L{asks_for_resumption} is true of."""
        return await self._answered(request, create)

    def options(self, request: StreamingRequest) -> None:
        """Respond to OPTIONS of a resource where uploads are created or continued."""
        limit = limit_text(self._max_size, self._expiry or None)
        request.begin(204, b"", ((b"Upload-Limit", limit), (b"Accept-Patch", b"application/partial-upload")))

    async def handle_OPTIONS(self, request: StreamingRequest) -> None:
        """What is possible here."""
        self.options(request)

    async def handle_GET(self, request: StreamingRequest) -> None:
        """The offset of an upload, after interrupting any request that adds to it: so the offset stays true."""
        answers = self._answers(request)
        _check_plain(answers)
        _, upload = await self._resuming.admit(request, interrupt=True)
        headers = answers.state(upload) + answers.limit(upload) + ((b"Cache-Control", b"no-store"),)
        if upload.length is not None:
            headers += ((b"Upload-Length", b"%d" % upload.length),)
        request.begin(204, b"", headers)

    async def handle_PATCH(self, request: StreamingRequest) -> Reply | None:
        """Continue an upload with the bytes of a request."""
        return await self._answered(request, append)

    async def handle_DELETE(self, request: StreamingRequest) -> None:
        """Give one up."""
        _check_plain(self._answers(request))
        _, upload = await self._resuming.admit(request)
        await self._resuming.uploads.remove(upload.id)
        request.begin(204, b"", ())

    async def _answered(
        self, request: StreamingRequest, handle: Callable[[Resuming, Answers], Awaitable[Reply | None]]
    ) -> Reply | None:
        answers = self._answers(request)
        try:
            return await handle(self._resuming, answers)
        except StorehouseError as error:
            if request.gone:
                raise
            return answers.refused(error)


def _check_plain(answers: Answers) -> None:
    """@raise BadRequest: for what the older drafts forbid in a request without content."""
    if answers.said.is_old and (answers.said.offset is not None or answers.said.complete is not None):
        raise BadRequest("the request may have neither Upload-Offset nor Upload-Complete")
