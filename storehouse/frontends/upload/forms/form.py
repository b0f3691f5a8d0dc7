"""C{POST /upload}: a form with files, as browsers, C{curl -F} and libraries send it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.core.jobs import settled
from storehouse.core.streams import pour
from storehouse.errors import AlreadyExists, InvalidName, LinkOutOfScope, MalformedBody, StorehouseError, TooManyUploads
from storehouse.frontends.http.fields import check_fields
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.targets import check_body, field_of
from storehouse.frontends.upload.answers import form_reply
from storehouse.frontends.upload.forms.multipart import Field, FormLimits, MultipartReader, PartBegun
from storehouse.frontends.upload.forms.parthead import boundary_of
from storehouse.frontends.upload.gate import TOKEN_FIELD, Gate, Visitor
from storehouse.frontends.upload.mediatypes import said_type
from storehouse.frontends.upload.memory import UploadSession
from storehouse.frontends.upload.names import key_for
from storehouse.frontends.upload.pushed import Valve
from storehouse.frontends.upload.receive import FileHead, Intake, Receiving
from storehouse.storage.objects.interfaces import ObjectInfo

__all__ = ["FormUpload"]

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
            raise LinkOutOfScope("a link is for one file, which is sent by PUT: curl -T FILE LINK")
        check_fields(request, _KNOWN)
        boundary = boundary_of(field_of(request, b"Content-Type") or b"")
        reader = MultipartReader(boundary, self._limits, wanted=(_TOKEN, _FOLDERS))
        valve = Valve()
        body = request.body
        wait, go_on = partial(valve.close, "memory"), partial(valve.open, "memory")
        with self._intake.memory.join(wait, go_on, visitor.shares) as session:
            form = _Form(self._gate, self._intake, visitor, session, valve, reader)
            given = field_of(request, TOKEN_FIELD)
            if given is not None:
                form.check_token(given.decode("latin-1"))
            try:
                await form.receive(body)
            except StorehouseError as error:
                return form_reply(request, visitor, form.stored, error)
        return form_reply(request, visitor, form.stored)


class _NoFile:
    """What browsers send for a field of files that nobody chose one for: a part with neither name nor bytes."""

    def write(self, data: bytes) -> None:
        raise InvalidName("a file has no name")


@implementer(IConsumer)
class _Form:
    """
    A form on its way.

    What the reader finds is dealt with at once, as long as nothing has to be waited for: bytes of a file are handed on
    within the call that brought them. At the beginning and at the end of a file the form waits, and its body with it; but
    small files that are whole are stored while the next ones come.
    """

    def __init__(
        self,
        gate: Gate,
        intake: Intake,
        visitor: Visitor,
        session: UploadSession,
        valve: Valve,
        reader: MultipartReader,
    ) -> None:
        self._gate = gate
        self._intake = intake
        self._visitor = visitor
        self._session = session
        self._valve = valve
        self._reader = reader
        self._is_trusted = visitor.session is None
        self._keeps_folders = False
        self._has_files = False
        self._keys: set[str] = set()  # as many as there may be parts
        self._target: Receiving | _NoFile | None = None
        self._events: Iterator[Any] | None = None  # of the piece that is being dealt with
        self._piece = 0  # its size, while something is waited for
        self._queue: deque[bytes] = deque()  # what came meanwhile
        self._at_work: Deferred[None] | None = None
        self._results: list[ObjectInfo | None] = []  # of files that were whole, in the order in which they came
        self._storing: dict[int, tuple[str, Deferred[None]]] = {}  # the keys of those that are not stored yet
        self._held = 0  # bytes that the reader holds, as the session knows
        self._error: BaseException | None = None

    @property
    def stored(self) -> list[ObjectInfo]:
        """The files that are stored, in the order in which they came."""
        return [info for info in self._results if info is not None]

    def check_token(self, text: str) -> None:
        """@raise ForgedRequest: if it is not that of the visitor's session."""
        self._gate.check_token(self._visitor, text)
        self._is_trusted = True

    async def receive(self, body: Any) -> None:
        """
        Take the whole form.

        @raise StorehouseError: if that is not possible; what is not in C{stored} then is not stored.
        """
        self._session.spill = self._refuse
        try:
            try:
                await pour(body, self)
                await self._dealt_with()
                if self._error is None:
                    self._events = self._reader.finish()
                    self._go_on()
                await self._settled()
            except Exception:
                # What the body says then is only that we did not want more.
                if self._error is None:
                    raise
            if self._error is not None:
                raise self._error
            if not self._has_files:
                raise MalformedBody("the form has no file")
        except BaseException as error:
            await self._abandon(error)
            raise

    async def _abandon(self, error: BaseException) -> None:
        await self._settled()
        self._session.hold(-sum(map(len, self._queue)))
        self._queue.clear()
        if isinstance(self._target, Receiving):
            await self._target.abandon(error)
        self._target = None

    async def _dealt_with(self) -> None:
        """All that has come is; files that are whole are perhaps being stored."""
        while self._at_work is not None:
            await settled(self._at_work)

    async def _settled(self) -> None:
        await self._dealt_with()
        while self._storing:
            await self._one_stored()

    # -- IConsumer -----------------------------------------------------------------------------

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take from the body."""
        self._valve.attach(producer)

    def unregisterProducer(self) -> None:
        """It has no more."""
        self._valve.attach(None)

    def write(self, data: bytes) -> None:
        """
        Some bytes more.

        @raise StorehouseError: if they cannot be taken.
        """
        if self._error is not None:
            raise self._error
        if self._at_work is not None:
            self._queue.append(data)
            self._session.hold(len(data))
            return
        self._piece = len(data)
        self._events = self._reader.feed(data)
        self._go_on()

    # -- what comes ----------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Deal with what has come, until something has to be waited for."""
        while True:
            for event in self._events or ():
                if type(event) is bytes:
                    self._target.write(event)  # type: ignore[union-attr]
                elif isinstance(event, Field):
                    self._field(event)
                elif self._waits(self._begin(event) if isinstance(event, PartBegun) else self._end()):
                    return
            self._events = None
            self._account()
            if not self._queue or self._error is not None:
                break
            data = self._queue.popleft()
            self._session.hold(-len(data))
            self._piece = len(data)
            self._events = self._reader.feed(data)
        self._valve.open(self)

    def _waits(self, coroutine: Any) -> bool:
        """Begin something; whether it has not ended at once."""
        outcome: list[Any] = []
        work = Deferred.fromCoroutine(coroutine)
        work.addBoth(outcome.append)
        if outcome:
            if isinstance(outcome[0], Failure):
                outcome[0].raiseException()
            return False
        self._valve.close(self)
        self._session.hold(self._piece)
        self._at_work = work
        work.addCallback(self._done, outcome)
        return True

    def _done(self, result: None, outcome: list[Any]) -> None:
        self._at_work = None
        self._session.hold(-self._piece)
        try:
            if isinstance(outcome[0], Failure):
                outcome[0].raiseException()
            if self._error is None:
                self._go_on()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._valve.stop()

    def _refuse(self) -> None:
        """Others need the memory that this form holds without a file."""
        if self._at_work is not None:
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
            if self._target is None and self._session.has_too_much:
                self._refuse()

    # -- fields and files ----------------------------------------------------------------------

    def _field(self, field: Field) -> None:
        if len(field.value) > _LONGEST:
            raise MalformedBody(f"the field {field.name} has more than {_LONGEST} characters")
        if field.name == _TOKEN:
            if not self._is_trusted:
                self.check_token(field.value)
        elif field.name == _FOLDERS:
            self._keeps_folders = field.value not in ("", "0")

    async def _begin(self, part: PartBegun) -> None:
        if not self._is_trusted:
            # There was no such field: this says so.
            self.check_token("")
        filename = part.filename or ""
        if not filename:
            self._target = _NoFile()
            return
        self._has_files = True
        key = key_for(filename, filename if self._keeps_folders else "")
        if key in self._keys and self._intake.rule == "replace":
            # A directory, whose files lose their folders: nobody sends a file to replace it in the same breath.
            raise AlreadyExists(f"the form has two files that would be stored as {key}: send it with folders=1")
        self._keys.add(key)
        head = FileHead(key, filename, "form", content_type=said_type(part.content_type, is_form=True))
        self._target = await self._intake.begin(self._visitor, self._session, self._valve, head)

    async def _end(self) -> None:
        target, self._target = self._target, None
        self._session.spill = self._refuse
        if not isinstance(target, Receiving):
            return
        while any(key == target.head.key for key, _ in self._storing.values()):
            # Of two files of one name, the first is to have it.
            await self._one_stored()
        number = len(self._results)
        self._results.append(None)
        work = Deferred.fromCoroutine(self._store(target, number))
        if work.called or target.is_spilled:
            await work
            return
        self._storing[number] = target.head.key, work
        work.addErrback(self._not_stored)
        work.addCallback(lambda _: self._storing.pop(number))
        while len(self._storing) >= _AT_ONCE or (self._storing and self._session.is_half_full):
            await self._one_stored()

    def _not_stored(self, failure: Failure) -> None:
        self._fail(failure.value or RuntimeError("a file could not be stored"))

    async def _store(self, target: Receiving, number: int) -> None:
        try:
            self._results[number] = await target.finish()
        except BaseException as error:
            await target.abandon(error)
            raise

    async def _one_stored(self) -> None:
        """Wait for the file that has been waiting longest."""
        await settled(next(iter(self._storing.values()))[1])
