"""C{PUT /upload/NAME} and C{POST /upload/NAME}: the body is the file, as C{curl -T} sends it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from storehouse.errors import BadRequest, DamagedEntry, MalformedBody, NoSuchKey
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.targets import check_body, field_of
from storehouse.frontends.upload.answers import file_reply
from storehouse.frontends.upload.digests import digests_in
from storehouse.frontends.upload.gate import Gate, check_query
from storehouse.frontends.upload.mediatypes import said_type
from storehouse.frontends.upload.names import key_in_path
from storehouse.frontends.upload.receive import FileHead, Intake
from storehouse.frontends.upload.resumable.ietf.fields import asks_for_resumption
from storehouse.storage.objects.interfaces import ALWAYS, Condition

__all__ = ["FileUpload"]

#: Takes a request that speaks of resumption, and answers it.
Resumption = Callable[[StreamingRequest], Awaitable[Reply | None]]


class FileUpload:
    """
    Takes in files that come alone.

    @param gate: a L{Gate}.
    @param resumption: what requests are handed to that have a field Upload-Complete; C{None} to take them as any other.
    """

    def __init__(self, gate: Gate, intake: Intake, resumption: Resumption | None = None) -> None:
        self._gate = gate
        self._intake = intake
        self._resumption = resumption

    async def put(self, request: StreamingRequest) -> Reply | None:
        """Store a file under the very name; replaces the one that has it, if the conditions of the request allow it."""
        _check(request)
        if self._resumption is not None and _may_be_resumed(request):
            return await self._resumption(request)
        return await self._receive(request, _condition_of(request))

    async def post(self, request: StreamingRequest) -> Reply | None:
        """Store a file under the name, or what the setting C{https-names} makes of it."""
        _check(request)
        if self._resumption is not None and _may_be_resumed(request):
            return await self._resumption(request)
        condition = _condition_of(request)
        return await self._receive(request, None if condition == ALWAYS else condition)

    async def _receive(self, request: StreamingRequest, condition: Condition | None) -> Reply:
        visitor = await self._gate.admit(request, "put")
        _, _, rest = request.path[1:].partition(b"/")
        key = key_in_path(rest)
        content_type = (field_of(request, b"Content-Type") or b"").decode("latin-1")
        kind = content_type.partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            raise MalformedBody("a form is sent to /upload; what is sent here is a file as it is")
        head = FileHead(
            key,
            key,
            "put",
            request.body.length,
            said_type(content_type),
            condition,
            _digests_of(request),
        )
        is_new = condition is None or condition.absent or not await self._is_there(key)
        info = await self._intake.store_file(visitor, request.body, head)
        return file_reply(info, is_new)

    async def _is_there(self, key: str) -> bool:
        try:
            await self._intake.store.head(self._intake.bucket, key)
        except NoSuchKey:
            return False
        except DamagedEntry:
            pass  # it is there, and is replaced
        return True


def _may_be_resumed(request: StreamingRequest) -> bool:
    return request.requestHeaders.hasHeader(b"Upload-Complete") and asks_for_resumption(request)


def _check(request: StreamingRequest) -> None:
    """@raise BadRequest: unless the body is the file, or its beginning, as it is."""
    check_query(request)
    check_body(request)
    if request.requestHeaders.hasHeader(b"Upload-Incomplete"):
        # How early drafts of resumable uploads say that this is not all.
        raise BadRequest("the body is all of the file: Upload-Incomplete is not possible")


def _digests_of(request: StreamingRequest) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name in ("Repr-Digest", "Content-Digest"):
        for algorithm, digest in digests_in(
            name, request.requestHeaders.getRawHeaders(name.encode("ascii"), [])
        ).items():
            if found.setdefault(algorithm, digest) != digest:
                raise BadRequest(f"Repr-Digest and Content-Digest have not the same {algorithm}")
    return found


def _condition_of(request: StreamingRequest) -> Condition:
    """
    C{If-Match} and C{If-None-Match}.

    @raise BadRequest: for what cannot be said of a file that is to be stored.
    """
    match, none_match = field_of(request, b"If-Match"), field_of(request, b"If-None-Match")
    if none_match not in (None, b"*"):
        raise BadRequest("If-None-Match can only be *: there is no file of that name")
    etag = None
    if match is not None:
        etag = match.decode("latin-1")
        if etag != "*" and not (len(etag) > 2 and etag[0] == etag[-1] == '"' and '"' not in etag[1:-1]):
            raise BadRequest("If-Match names one tag, in quotes, or is *")
        etag = etag.strip('"')
    return ALWAYS if match is None and none_match is None else Condition(none_match is not None, etag)
