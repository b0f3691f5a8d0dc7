"""C{/} and C{/upload}: the page where files are chosen, and where files are sent to."""

from __future__ import annotations

from storehouse.frontends.http.errors import MethodNotAllowed
from storehouse.frontends.http.fields import check_fields
from storehouse.frontends.http.reply import Reply, text_reply
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.resource import Leaf
from storehouse.frontends.upload import pages
from storehouse.frontends.upload.forms.form import FormUpload
from storehouse.frontends.upload.gate import Gate
from storehouse.frontends.upload.put import FileUpload
from storehouse.frontends.upload.resumable.ietf.door import IETFUploads

__all__ = ["Home", "Upload", "sent_on"]

_NO_FIELDS: frozenset[bytes] = frozenset()


def sent_on(path: str) -> Reply:
    """
    Have a browser go elsewhere.

    @param path: a path of this door, with its query.
    """
    reply = text_reply("", 303)
    return Reply(reply.status, reply.body, reply.content_type, ((b"Location", path.encode("ascii")),))


class Home(Leaf):
    """C{/}: leads to the page."""

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        """Lead there."""
        check_fields(request, _NO_FIELDS)
        return sent_on("/upload")


class Upload(Leaf):
    """
    C{/upload}, and C{/upload/NAME}.

    @param max_size: the most bytes that a file may have; 0 for no bound.
    @param link_lifetime: the seconds for which a link may work, at most.
    """

    takes_rest = True

    def __init__(
        self,
        gate: Gate,
        form: FormUpload,
        files: FileUpload,
        resumption: IETFUploads,
        max_size: int = 0,
        link_lifetime: float = 604800.0,
    ) -> None:
        Leaf.__init__(self)
        self._gate = gate
        self._form = form
        self._files = files
        self._resumption = resumption
        self._max_size = max_size
        self._link_lifetime = link_lifetime

    async def handle_OPTIONS(self, request: StreamingRequest) -> None:
        """What a file may be like that is sent with Upload-Complete."""
        self._resumption.options(request)

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        """The page."""
        if _has_name(request):
            raise MethodNotAllowed(request.method, (b"POST", b"PUT"))
        check_fields(request, _NO_FIELDS)
        visitor = await self._gate.admit(request, "manage")
        return pages.upload(visitor, self._max_size, self._link_lifetime)

    async def handle_POST(self, request: StreamingRequest) -> Reply | None:
        """A form of files, or one file."""
        return await (self._files.post(request) if _has_name(request) else self._form.post(request))

    async def handle_PUT(self, request: StreamingRequest) -> Reply | None:
        """One file."""
        if b"/" not in request.path[1:]:
            raise MethodNotAllowed(request.method, (b"GET", b"HEAD", b"POST"))
        return await self._files.put(request)


def _has_name(request: StreamingRequest) -> bool:
    """A slash with nothing behind it is no name: people write it, and curl -T puts the file's own behind it."""
    return bool(request.path[1:].partition(b"/")[2])
