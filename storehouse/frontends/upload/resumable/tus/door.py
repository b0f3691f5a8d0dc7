"""C{/tus/} and C{/tus/ID}: requests by their methods, and what all answers have."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.web.server import NOT_DONE_YET

from storehouse.errors import BadRequest, ChecksumMismatch
from storehouse.frontends.http.reply import MethodNotAllowed, Reply, UnsupportedVersion
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.resource import Leaf
from storehouse.frontends.upload.gate import Gate, check_query
from storehouse.frontends.upload.intake import ALGORITHMS, Intake
from storehouse.frontends.upload.resumable.resuming import Resuming
from storehouse.frontends.upload.resumable.tus.answers import Headers, mismatch_reply, no_content
from storehouse.frontends.upload.resumable.tus.append import append
from storehouse.frontends.upload.resumable.tus.create import create
from storehouse.frontends.upload.resumable.tus.fields import EXTENSIONS, VERSION
from storehouse.frontends.upload.resumable.tus.look import look
from storehouse.frontends.upload.resumable.tus.remove import remove
from storehouse.storage.resumable.interfaces import IResumableUploads

__all__ = ["TusUploads"]

# A method that changes nothing is never made one that does: what guards the others looks at the method.
_OVERRIDDEN = frozenset({b"POST", b"PUT", b"PATCH", b"DELETE"})

# Those that some clients cannot send. An answer to HEAD would have no body, which who sent another one waits for.
_OVERRIDING = frozenset({b"PATCH", b"DELETE"})


class TusUploads(Leaf):
    """
    See the module.

    @param max_size: bytes that an upload may have; 0 for no bound.
    """

    takes_rest = True

    def __init__(self, gate: Gate, uploads: IResumableUploads, intake: Intake, max_size: int = 0) -> None:
        Leaf.__init__(self)
        self._resuming = Resuming(gate, uploads, intake, "tus")
        self._max_size = max_size

    def render(self, request: StreamingRequest) -> int:
        """Begin to answer: as the method that X-HTTP-Method-Override names, if it does."""
        request.setHeader(b"Tus-Resumable", VERSION)
        override = request.requestHeaders.getRawHeaders(b"X-HTTP-Method-Override")
        if override and request.method in _OVERRIDDEN:
            method = override[0].strip().upper()
            if method not in _OVERRIDING or len(override) > 1:
                error = BadRequest("X-HTTP-Method-Override can only be PATCH or DELETE")
                Deferred.fromCoroutine(self._fail(request, error))
                return NOT_DONE_YET
            request.method = method
        return Leaf.render(self, request)

    def _limits(self) -> Headers:
        return ((b"Tus-Max-Size", b"%d" % self._max_size),) if self._max_size else ()

    async def handle_OPTIONS(self, request: StreamingRequest) -> None:
        """What is possible here."""
        headers: Headers = (
            (b"Tus-Version", VERSION),
            (b"Tus-Extension", EXTENSIONS),
            (b"Tus-Checksum-Algorithm", ",".join(ALGORITHMS).encode("ascii")),
        )
        no_content(request, headers + self._limits())

    async def handle_POST(self, request: StreamingRequest) -> Reply:
        """Begin an upload."""
        if request.path not in (b"/tus", b"/tus/"):
            raise MethodNotAllowed(request.method, (b"DELETE", b"HEAD", b"OPTIONS", b"PATCH"))
        _check(request)
        try:
            return await create(self._resuming, request)
        except ChecksumMismatch as error:
            return mismatch_reply(error)

    async def handle_PATCH(self, request: StreamingRequest) -> Reply | None:
        """Continue an upload with the bytes of a request."""
        _check(request)
        try:
            await append(self._resuming, request)
        except ChecksumMismatch as error:
            return mismatch_reply(error)
        return None

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        """How far one is; asked by HEAD."""
        _check(request)
        return await look(self._resuming, request)

    async def handle_DELETE(self, request: StreamingRequest) -> None:
        """Give one up."""
        _check(request)
        await remove(self._resuming, request)


def _check(request: StreamingRequest) -> None:
    check_query(request)
    if request.requestHeaders.getRawHeaders(b"Tus-Resumable") != [VERSION]:
        request.setHeader(b"Tus-Version", VERSION)
        raise UnsupportedVersion("the request needs Tus-Resumable: 1.0.0, the supported version of tus")
