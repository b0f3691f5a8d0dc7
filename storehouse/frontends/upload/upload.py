"""
C{/upload}, and C{/upload/NAME}: the page where files are chosen, and where they are sent to: as a form, or as the body of a
PUT or a POST, as C{curl -T} sends it.
"""

from __future__ import annotations

from typing import Protocol

from storehouse.errors import BadRequest, DamagedEntry, MalformedBody, NoSuchKey
from storehouse.frontends.http.reply import MethodNotAllowed, Reply
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.resource import Leaf, check_body, check_fields, field_of
from storehouse.frontends.upload import pages
from storehouse.frontends.upload.files import file_reply, key_in_path, said_type
from storehouse.frontends.upload.forms.form import FormUpload
from storehouse.frontends.upload.gate import Gate, Visitor, check_query
from storehouse.frontends.upload.intake import FileHead, Intake, digests_in
from storehouse.frontends.upload.resumable.ietf.fields import asks_for_resumption
from storehouse.storage.objects.interfaces import ALWAYS, Condition

__all__ = ["IResumption", "Upload"]

_NO_FIELDS: frozenset[bytes] = frozenset()


class IResumption(Protocol):
    """Takes requests that begin uploads which can be resumed: those with a field Upload-Complete."""

    async def create(self, request: StreamingRequest) -> Reply | None:
        """Respond to the request that creates an upload."""

    def options(self, request: StreamingRequest) -> None:
        """Respond to OPTIONS with what the protocol supports."""


class Upload(Leaf):
    """
    See the module.

    @param link_lifetime: the seconds for which a link may work, at most.
    """

    takes_rest = True

    def __init__(
        self,
        gate: Gate,
        form: FormUpload,
        intake: Intake,
        resumption: IResumption,
        link_lifetime: float = 604800.0,
    ) -> None:
        Leaf.__init__(self)
        self._gate = gate
        self._form = form
        self._intake = intake
        self._resumption = resumption
        self._link_lifetime = link_lifetime

    async def handle_OPTIONS(self, request: StreamingRequest) -> None:
        """What a file may be like that is sent with Upload-Complete."""
        self._resumption.options(request)

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        """Respond with the page that uploads."""
        if _has_name(request):
            raise MethodNotAllowed(request.method, (b"POST", b"PUT"))
        check_fields(request, _NO_FIELDS)
        visitor = await self._gate.admit(request, "manage")
        return pages.upload(visitor, self._intake.max_size, self._link_lifetime)

    async def handle_POST(self, request: StreamingRequest) -> Reply | None:
        """A form; or a file, to be stored under its name, or what the setting C{upload-names} makes of it."""
        if not _has_name(request):
            return await self._form.post(request)
        _check(request)
        if _may_be_resumed(request):
            return await self._resumption.create(request)
        condition = _condition_of(request)
        visitor, head = await self._admit(request, None if condition == ALWAYS else condition)
        is_new = await self._is_new(head)
        return file_reply(await self._intake.store_file(visitor, request.body, head), is_new)

    async def handle_PUT(self, request: StreamingRequest) -> Reply | None:
        """A file, to be stored under the very name; replaces the one that has it, if the conditions allow it."""
        if b"/" not in request.path[1:]:
            raise MethodNotAllowed(request.method, (b"GET", b"HEAD", b"POST"))
        _check(request)
        if _may_be_resumed(request):
            return await self._resumption.create(request)
        visitor, head = await self._admit(request, _condition_of(request))
        is_new = await self._is_new(head)
        return file_reply(await self._intake.store_file(visitor, request.body, head), is_new)

    async def _admit(self, request: StreamingRequest, condition: Condition | None) -> tuple[Visitor, FileHead]:
        """Who sends a file, and what its request says of it."""
        visitor = await self._gate.admit(request, "put")
        _, _, rest = request.path[1:].partition(b"/")
        key = key_in_path(rest)
        content_type = (field_of(request, b"Content-Type") or b"").decode("latin-1")
        kind = content_type.partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            raise MalformedBody("send a form to /upload; here the body is the file itself")
        head = FileHead(
            key,
            key,
            "put",
            request.body.length,
            said_type(content_type),
            condition,
            _digests_of(request),
        )
        return visitor, head

    async def _is_new(self, head: FileHead) -> bool:
        """Whether a file replaces none."""
        if head.condition is None or head.condition.absent:
            return True
        try:
            await self._intake.store.head(self._intake.bucket, head.key)
        except NoSuchKey:
            return True
        except DamagedEntry:
            pass  # it is there, and is replaced
        return False


def _has_name(request: StreamingRequest) -> bool:
    """A slash with nothing behind it is no name: people write it, and curl -T puts the file's own behind it."""
    return bool(request.path[1:].partition(b"/")[2])


def _may_be_resumed(request: StreamingRequest) -> bool:
    return request.requestHeaders.hasHeader(b"Upload-Complete") and asks_for_resumption(request)


def _check(request: StreamingRequest) -> None:
    """@raise BadRequest: unless the body is the file, or its beginning, as it is."""
    check_query(request)
    check_body(request)
    if request.requestHeaders.hasHeader(b"Upload-Incomplete"):
        # How early drafts of resumable uploads say that this is not all.
        raise BadRequest("the body must be the whole file: Upload-Incomplete is not possible")


def _digests_of(request: StreamingRequest) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name in ("Repr-Digest", "Content-Digest"):
        for algorithm, digest in digests_in(
            name, request.requestHeaders.getRawHeaders(name.encode("ascii"), [])
        ).items():
            if found.setdefault(algorithm, digest) != digest:
                raise BadRequest(f"Repr-Digest and Content-Digest differ in {algorithm}")
    return found


def _condition_of(request: StreamingRequest) -> Condition:
    """
    C{If-Match} and C{If-None-Match}.

    @raise BadRequest: for header fields that do not go with storing a file.
    """
    match, none_match = field_of(request, b"If-Match"), field_of(request, b"If-None-Match")
    if none_match not in (None, b"*"):
        raise BadRequest("If-None-Match must be *: the name must not exist")
    etag = None
    if match is not None:
        etag = match.decode("latin-1")
        if etag != "*" and not (len(etag) > 2 and etag[0] == etag[-1] == '"' and '"' not in etag[1:-1]):
            raise BadRequest("If-Match names one tag, in quotes, or is *")
        etag = etag.strip('"')
    return ALWAYS if match is None and none_match is None else Condition(none_match is not None, etag)
