"""
C{/upload}, and C{/upload/NAME}: the page where files are chosen, and where they are sent to: as a form with files, as browsers,
C{curl -F} and libraries send it, or as the body of a PUT or a POST, as C{curl -T} does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred

from storehouse.core.jobs import settled
from storehouse.core.streams import GeneratorStream, Piece
from storehouse.core.turns import breath
from storehouse.errors import (
    AlreadyExists,
    BadRequest,
    DamagedEntry,
    InvalidName,
    LinkOutOfScope,
    MalformedBody,
    NoSuchKey,
    StorehouseError,
    TooManyUploads,
)
from storehouse.frontends.http.multipart import Event, Field, FormLimits, MultipartReader, PartBegun, boundary_of
from storehouse.frontends.http.reply import MethodNotAllowed, Reply, error_reply, json_reply
from storehouse.frontends.http.request import (
    Leaf,
    RequestBody,
    StreamingRequest,
    accepts_html,
    check_body,
    check_fields,
    field_of,
)
from storehouse.frontends.upload import pages
from storehouse.frontends.upload.gate import TOKEN_FIELD, Gate, Visitor, check_query
from storehouse.frontends.upload.intake import (
    FileHead,
    IncomingFile,
    Intake,
    UploadSession,
    digests_in,
    key_for,
    key_in_path,
    said_type,
    url_of,
)
from storehouse.frontends.upload.resumable.ietf.fields import asks_for_resumption
from storehouse.storage.objects.interfaces import ALWAYS, Condition, ObjectInfo

__all__ = ["FormUpload", "IResumption", "Upload", "file_reply", "form_reply"]


#: The field that repeats the session's token, before the first file.
_TOKEN = "csrf"

#: The field that has files keep their folders, before the first of them: browsers send those of a chosen directory with
#: their paths in it.
_FOLDERS = "folders"

_KNOWN = frozenset({b"format"})

#: The longest value that a field has that is looked at.
_LONGEST = 4096

#: Files of one form that are brought to disk at once, while the next ones come: each waits for the disk several times.
_AT_ONCE = 8


class FormUpload:
    """
    Takes in forms.

    @param gate: a L{Gate}.
    @param most_parts: files and fields that a form may have.
    """

    def __init__(self, gate: Gate, intake: Intake, most_parts: int = 1000) -> None:
        self._gate = gate
        self._intake = intake
        self._limits = FormLimits(parts=most_parts)

    async def post(self, request: StreamingRequest) -> Reply:
        """
        Store the files of a form, one after the other. The answer says which are stored, also when one of them, or what
        came then, could not be.
        """
        check_body(request)
        visitor = await self._gate.admit(request, "put", token_later=True)
        if visitor.grant is not None:
            raise LinkOutOfScope("a link takes one file, sent by PUT: curl -T FILE LINK")
        check_fields(request, _KNOWN)
        boundary = boundary_of(field_of(request, b"Content-Type") or b"")
        reader = MultipartReader(boundary, self._limits, wanted=(_TOKEN, _FOLDERS))
        async with self._intake.memory.receiving(request.body, visitor.shares) as session:
            form = _Form(self._gate, self._intake, visitor, session, request.body, reader)
            given = field_of(request, TOKEN_FIELD)
            if given is not None:
                form.check_token(given.decode("latin-1"))
            try:
                await form.receive()
            except StorehouseError as error:
                return form_reply(request, visitor, form.stored, error)
        return form_reply(request, visitor, form.stored)


class _Form:
    """
    A form on its way: its parts are taken one after the other. Small files that are whole are stored while the next ones
    come.
    """

    def __init__(
        self,
        gate: Gate,
        intake: Intake,
        visitor: Visitor,
        session: UploadSession,
        body: RequestBody,
        reader: MultipartReader,
    ) -> None:
        self._gate = gate
        self._intake = intake
        self._visitor = visitor
        self._session = session
        self._body = body
        self._reader = reader
        self._is_trusted = visitor.session is None
        self._keeps_folders = False
        self._has_files = False
        self._keys: set[str] = set()  # as many as there may be parts
        self._events: Iterator[Event] = iter(())  # of the piece that is being dealt with
        self._piece = 0  # its size
        self._has_ended = False  # whether that is the last
        self._results: list[ObjectInfo | None] = []  # of files that were whole, in the order in which they came
        self._storing: dict[int, tuple[str, Deferred[None]]] = {}  # the keys of those that are not stored yet
        self._held = 0  # bytes that the reader holds, as the session knows
        self._waits_for_store = False
        self._error: BaseException | None = None

    @property
    def stored(self) -> list[ObjectInfo]:
        """The files that are stored, in the order in which they came."""
        return [info for info in self._results if info is not None]

    def check_token(self, text: str) -> None:
        """@raise ForgedRequest: if it is not that of the visitor's session."""
        self._gate.check_token(self._visitor, text)
        self._is_trusted = True

    async def receive(self) -> None:
        """
        Take the whole form.

        @raise StorehouseError: if that is not possible; what is not in C{stored} then is not stored.
        """
        self._session.spill = self._refuse
        try:
            try:
                while (event := await self._next()) is not None:
                    if isinstance(event, Field):
                        self._field(event)
                    elif isinstance(event, PartBegun):
                        await self._file(event)
                    await breath()
            finally:
                while self._storing:
                    await self._one_stored()
        except Exception:
            # What the body says then is only that it was closed.
            if self._error is not None:
                raise self._error from None
            raise
        if self._error is not None:
            raise self._error
        if not self._has_files:
            raise MalformedBody("the form has no file")

    async def _next(self) -> Event | None:
        """What comes next; C{None} behind the last part."""
        while (event := next(self._events, None)) is None:
            self._account()
            if self._error is not None:
                raise self._error
            if self._has_ended:
                return None
            piece = await self._body.read()
            self._piece = len(piece)
            self._has_ended = not piece
            self._events = self._reader.feed(bytes(piece)) if piece else self._reader.finish()
        return event

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._body.close()

    def _refuse(self) -> None:
        """Others need the memory that this form holds without a file."""
        if self._waits_for_store:
            return  # what is held now waits for the store only
        self._fail(
            TooManyUploads("the memory for uploads is used up by heads and fields of forms: try again in a moment")
        )

    def _account(self) -> None:
        if self._reader.part is not None and not self._held:
            return  # within a file, it holds less than a boundary
        held = self._reader.held
        if held != self._held:
            self._session.hold(held - self._held)
            self._held = held
            if self._reader.part is None and self._session.has_too_much:
                self._refuse()

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """The store is waited for: so does the rest of the piece that is being dealt with."""
        size = self._piece
        self._session.hold(size)
        self._waits_for_store = True
        try:
            yield
        finally:
            self._waits_for_store = False
            self._session.hold(-size)

    # -- fields and files ----------------------------------------------------------------------

    def _field(self, field: Field) -> None:
        if len(field.value) > _LONGEST:
            raise MalformedBody(f"the field {field.name} has more than {_LONGEST} characters")
        if field.name == _TOKEN:
            if not self._is_trusted:
                self.check_token(field.value)
        elif field.name == _FOLDERS:
            self._keeps_folders = field.value not in ("", "0")

    async def _file(self, part: PartBegun) -> None:
        if not self._is_trusted:
            # There was no such field: this says so.
            self.check_token("")
        filename = part.filename or ""
        stream = GeneratorStream(self._bytes())
        if not filename:
            # What browsers send for a field of files that nobody chose one for: a part with neither name nor bytes.
            if await stream.read():
                raise InvalidName("a file has no name")
            return
        self._has_files = True
        key = key_for(filename, filename if self._keeps_folders else "")
        if key in self._keys and self._intake.rule == "replace":
            # A directory, whose files lose their folders: no form means to replace its own files.
            raise AlreadyExists(f"the form has two files that would be stored as {key}: send it with folders=1")
        self._keys.add(key)
        head = FileHead(key, filename, "form", content_type=said_type(part.content_type, is_form=True))
        with self._waiting():
            file = await self._intake.begin(self._visitor, self._session, stream, head)
        is_passed_on = False
        try:
            await file.gather()
            if file.is_spilled:
                self._results.append(await file.store())
            else:
                self._session.spill = self._refuse
                is_passed_on = True
                with self._waiting():
                    await self._store_beside(file)
        finally:
            if not is_passed_on:
                await file.close()
            self._session.spill = self._refuse

    async def _bytes(self) -> AsyncGenerator[Piece, None]:
        """Those of the file that has begun."""
        while isinstance(event := await self._next(), bytes):
            yield event

    async def _store_beside(self, file: IncomingFile) -> None:
        """Store a file that is whole; returns when the next ones may come."""
        key = file.head.key
        while any(key == other for other, _ in self._storing.values()):
            # Of two files of one name, the first is to have it.
            await self._one_stored()
        number = len(self._results)
        self._results.append(None)
        work = Deferred.fromCoroutine(self._store(file, number))
        self._storing[number] = key, work
        work.addErrback(lambda failure: self._fail(failure.value or RuntimeError("a file could not be stored")))
        work.addCallback(lambda _: self._storing.pop(number))
        while len(self._storing) >= _AT_ONCE or (self._storing and self._session.is_half_full):
            await self._one_stored()

    async def _store(self, file: IncomingFile, number: int) -> None:
        try:
            self._results[number] = await file.store()
        finally:
            await file.close()

    async def _one_stored(self) -> None:
        """Wait for the file that has been waiting longest."""
        await settled(next(iter(self._storing.values()))[1])


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
        """The user who sends a file, and what the request says of the file."""
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
        told |= {"error": error.kind, "detail": error.detail}
    return attrs.evolve(json_reply(told, status), headers=headers)
