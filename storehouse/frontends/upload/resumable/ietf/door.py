"""
C{/resumable/ID}, and what begins uploads for other resources: of a file that is sent with C{Upload-Complete}.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from storehouse.core.names import guessed_type
from storehouse.errors import (
    BadRequest,
    ChecksumMismatch,
    NotFound,
    OffsetMismatch,
    SizeMismatch,
    StorehouseError,
    TooLarge,
)
from storehouse.frontends.http.reply import Reply, UnsupportedType, error_reply, json_reply, status_of
from storehouse.frontends.http.request import Leaf, StreamingRequest, check_body, field_of
from storehouse.frontends.upload.gate import Gate, check_query
from storehouse.frontends.upload.intake import (
    Checksums,
    Intake,
    content_type_in,
    digests_in,
    key_in_path,
    said_type,
    url_of,
)
from storehouse.frontends.upload.resumable.ietf.fields import Said, flag_text, limit_text, said_in
from storehouse.frontends.upload.resumable.resuming import Resuming, object_metadata, quietly_removed, url_of_upload
from storehouse.frontends.upload.upload import file_reply
from storehouse.storage.resumable.interfaces import IResumableUploads, ResumableUpload

__all__ = ["IETFUploads"]

_Headers = tuple[tuple[bytes, bytes], ...]


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

    def _answers(self, request: StreamingRequest) -> _Answers:
        check_query(request)
        return _Answers(request, said_in(request), self._resuming.intake, self._max_size)

    async def create(self, request: StreamingRequest) -> Reply | None:
        """Answer a request to store a file that L{asks_for_resumption} is true of."""
        return await self._answered(request, _create)

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
        return await self._answered(request, _append)

    async def handle_DELETE(self, request: StreamingRequest) -> None:
        """Give one up."""
        _check_plain(self._answers(request))
        _, upload = await self._resuming.admit(request)
        await self._resuming.uploads.remove(upload.id)
        request.begin(204, b"", ())

    async def _answered(
        self, request: StreamingRequest, handle: Callable[[Resuming, _Answers], Awaitable[Reply | None]]
    ) -> Reply | None:
        answers = self._answers(request)
        try:
            return await handle(self._resuming, answers)
        except StorehouseError as error:
            if request.gone:
                raise
            return answers.refused(error)


def _check_plain(answers: _Answers) -> None:
    """@raise BadRequest: for what the older drafts forbid in a request without content."""
    if answers.said.is_old and (answers.said.offset is not None or answers.said.complete is not None):
        raise BadRequest("the request may have neither Upload-Offset nor Upload-Complete")


# -- an upload begins, and is often complete at once -----------------------------------------------


async def _create(resuming: Resuming, answers: _Answers) -> Reply:
    """
    Begin an upload, with what the body has of it.

    @raise SizeMismatch: if the request has two different lengths.
    @raise TooLarge: if it would be.
    """
    request, said = answers.request, answers.said
    names = _names_of(request)
    length = said.length
    if said.complete and request.body.length is not None:
        if length not in (None, request.body.length):
            raise SizeMismatch(f"Upload-Length is {length}, but the whole content has {request.body.length} bytes")
        length = request.body.length
    elif length is not None and request.body.length is not None and request.body.length > length:
        raise SizeMismatch(f"Upload-Length is {length}, and the content has {request.body.length} bytes already")
    algorithms, verify = _checking_of(request)
    # Of an upload that comes in one request. If it is interrupted, the rest arrives without what is needed to compute
    # it.
    computed, at_end = _checking_of(request, "Repr-Digest") if said.complete else ((), None)
    visitor = await resuming.gate.admit(request, "put")
    key = key_in_path(request.path[1:].partition(b"/")[2])
    names = await resuming.names_for(visitor, key, names)
    resuming.check_size(visitor, length)
    await resuming.gate.use(visitor)
    upload: ResumableUpload = await resuming.uploads.create(
        visitor.name,
        key,
        length,
        content_type_in(said_type((field_of(request, b"Content-Type") or b"").decode("latin-1"))) or guessed_type(key),
        {},
        visitor.max_bytes,
        visitor.grant.nonce if visitor.grant is not None else "",
        object_metadata=object_metadata(visitor, key, "ietf"),
        names=names,
        # An empty upload is not complete before the client asks for that, nor is one that has to be verified.
        awaits_end=(length == 0 and not said.complete) or at_end is not None,
    )
    answers.announce(upload)
    if request.body.length != 0 or (said.complete and not upload.is_complete):
        try:
            upload = await resuming.append(
                request,
                visitor,
                upload,
                0,
                tuple({*algorithms, *computed}),
                verify,
                bool(said.complete),
                answers.progress(),
                at_end,
            )
        except StorehouseError as error:
            if isinstance(error, ChecksumMismatch) and not said.is_informed:
                # The client never got its URL, so nobody can continue it.
                await quietly_removed(resuming.uploads, upload.id)
            raise
    if upload.is_complete:
        return await answers.whole(upload)
    headers = answers.location(upload) + answers.state(upload) + answers.limit(upload)
    return Reply(201, b"", b"", headers)


def _names_of(request: StreamingRequest) -> str:
    """What becomes of a name that is taken: as without Upload-Complete."""
    if field_of(request, b"If-Match") is not None:
        raise BadRequest("If-Match is not possible for a resumable upload: another one may be stored first")
    none_match = field_of(request, b"If-None-Match")
    if none_match not in (None, b"*"):
        raise BadRequest("If-None-Match must be *: the name must not exist")
    if none_match is not None:
        return "refuse"
    return "replace" if request.method == b"PUT" else ""


# -- an upload continues ---------------------------------------------------------------------------

_TYPE = b"application/partial-upload"

# The first version that has this type.
_TYPED = 6


async def _append(resuming: Resuming, answers: _Answers) -> Reply | None:
    """
    Add the content.

    @raise OffsetMismatch: if it does not begin where the upload ends.
    @raise SizeMismatch: if the request has another length than an earlier one.
    """
    request, said = answers.request, answers.said
    check_body(request)
    if not 0 < said.version < _TYPED and (field_of(request, b"Content-Type") or b"").lower() != _TYPE:
        raise UnsupportedType("the Content-Type must be application/partial-upload")
    if said.offset is None:
        raise BadRequest("the request needs Upload-Offset, a number, 0 or more")
    if said.complete is None and not 0 < said.version < _TYPED:
        raise BadRequest("the request needs Upload-Complete: ?0, or ?1 if its content is the last")
    algorithms, verify = _checking_of(request)
    visitor, upload = await resuming.admit(request)
    if upload.is_complete:
        return await _replay(answers, upload, said)
    if said.offset == upload.offset:
        _check_length(request, said, upload)
    try:
        upload = await resuming.append(
            request,
            visitor,
            upload,
            said.offset,
            algorithms,
            verify,
            bool(said.complete),
            answers.progress(),
            length=said.length,
        )
    except TooLarge:
        # What the client said of it is not true: it must not be continued.
        await quietly_removed(resuming.uploads, upload.id)
        raise
    if upload.is_complete:
        return await answers.whole(upload)
    if said.is_old:
        return Reply(201, b"", b"", answers.state(upload) + answers.limit(upload))
    request.begin(204, b"", answers.state(upload) + answers.limit(upload))
    return None


async def _replay(answers: _Answers, upload: ResumableUpload, said: Said) -> Reply:
    """The last answer again, to a client that did not get it."""
    if said.offset != upload.offset:
        raise OffsetMismatch(upload.offset, said.offset or 0)
    _check_length(answers.request, said, upload)
    if answers.request.body.length != 0 or not said.complete:
        raise BadRequest("the upload is complete: nothing can be added")
    return await answers.whole(upload)


def _check_length(request: StreamingRequest, said: Said, upload: ResumableUpload) -> None:
    """All that a request says of the length must be the same, and the same as before."""
    lengths = {length for length in (said.length, upload.length) if length is not None}
    if said.complete and request.body.length is not None:
        lengths.add(upload.offset + request.body.length)
    if len(lengths) > 1:
        raise SizeMismatch(
            f"the request gives different lengths of the upload: {' and '.join(map(str, sorted(lengths)))} bytes"
        )


# -- whether what came is what was announced (RFC 9530) --------------------------------------------


def _checking_of(
    request: StreamingRequest, field: str = "Content-Digest"
) -> tuple[tuple[str, ...], Callable[[Checksums], None] | None]:
    """What to compute, and how to check it; C{None} if the request announced nothing that is supported."""
    digests = digests_in(field, request.requestHeaders.getRawHeaders(field.encode("ascii"), []))
    if not digests:
        return (), None

    def check(checksums: Checksums) -> None:
        for name, digest in digests.items():
            checksums.check(name, digest)

    return tuple(digests), check


# -- answers: states, problems, interim ones, and at the end what the file's own URL would have said ---------

_PROBLEM = "https://iana.org/assignments/http-problem-types#"

_RESUMABLE = b"Upload Resumption Supported"

# Seconds between two interim answers.
_PAUSE = 1.0


@attrs.frozen
class _Answers:
    """
    The answers to one request.

    @param max_size: bytes that an upload may have; 0 for no bound.
    """

    request: StreamingRequest
    said: Said
    intake: Intake
    max_size: int

    def limit(self, upload: ResumableUpload) -> _Headers:
        """C{Upload-Limit}."""
        left = None if upload.expires is None else upload.expires - self.intake.activity.now()
        bounds = [bound for bound in (self.max_size, upload.max_bytes) if bound]
        return ((b"Upload-Limit", limit_text(min(bounds, default=0), left, self.said.version)),)

    def location(self, upload: ResumableUpload) -> _Headers:
        """The C{Location} where the upload is continued."""
        return ((b"Location", url_of_upload(self.request, "resumable", upload.id)),)

    def state(self, upload: ResumableUpload) -> _Headers:
        """How far it is."""
        return (
            (b"Upload-Complete", flag_text(upload.is_complete)),
            (b"Upload-Offset", b"%d" % upload.offset),
        )

    # -- interim answers -----------------------------------------------------------------------

    def announce(self, upload: ResumableUpload) -> None:
        """Send the client at once the URL to continue at, should this connection break."""
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

    def _inform(self, headers: _Headers) -> None:
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
        headers: _Headers = ((b"Upload-Complete", b"?0"),)
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
