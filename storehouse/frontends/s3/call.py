"""A request to the S3 door as its handlers see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import attrs
from twisted.internet.interfaces import IReactorTime

from storehouse.config.settings import S3Settings
from storehouse.core.connections import Ahead
from storehouse.core.jobs import IDisk
from storehouse.core.streams import IByteStream
from storehouse.core.xmltext import Node, parse_in_turns
from storehouse.frontends.http.request import DoorRequest, lower_fields
from storehouse.frontends.s3.access.caller import Caller
from storehouse.frontends.s3.access.state import Access
from storehouse.frontends.s3.checksums import Checksums, checksums_of
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.signing.postpolicy import PostPolicy
from storehouse.frontends.s3.transfers import Transfers
from storehouse.storage.accounts.interfaces import IAccounts, User
from storehouse.storage.objects.interfaces import IObjectStore
from storehouse.storage.resumable.interfaces import IResumableUploads

__all__ = ["Call", "Door", "IAuthenticator", "ISigned"]

#: Operations whose checksums are those of an object, not of the body.
_OF_OBJECTS = frozenset({"CompleteMultipartUpload", "CopyObject", "CreateMultipartUpload", "UploadPartCopy"})

#: Operations that have a body to store; and bytes up to which that is small.
_RECEIVING = frozenset({"PutObject", "UploadPart", "AppendObject", "PostObject"})
_SMALL = 64 << 10

#: Bytes of memory that an element takes, about.
_NODE = 400

#: Bytes of a document that a request brings, at most, unless its handler says otherwise.
_MOST_DOCUMENT = 1 << 20


class ISigned(Protocol):
    """What the signature of a request says."""

    @property
    def user(self) -> User | None: ...

    @property
    def key_id(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def age(self) -> float: ...

    @property
    def algorithm(self) -> str: ...

    @property
    def form(self) -> str: ...

    @property
    def trailer(self) -> str: ...

    @property
    def trailers(self) -> Mapping[str, str]: ...

    def stream(
        self, body: IByteStream, length: int | None, disk: IDisk, batch: int
    ) -> tuple[IByteStream, int | None]: ...


class IAuthenticator(Protocol):
    """Verifies signatures."""

    def authenticate(self, request: DoorRequest, query: Mapping[str, str], host_bucket: str = "") -> ISigned: ...

    def authenticate_service(self, request: DoorRequest, body: bytes, service: str) -> ISigned: ...

    def authenticate_form(self, fields: Mapping[str, str], bucket: str) -> tuple[ISigned, PostPolicy | None]: ...


@attrs.frozen(eq=False)
class Door:
    """
    What every call shares.

    @ivar is_sealed: whether all that is stored is encrypted.
    @ivar access: what is configured of the access to buckets.
    @ivar audit: takes in L{AccessDecided<storehouse.events.AccessDecided>} and
        L{AccessChanged<storehouse.events.AccessChanged>}.
    @ivar resumable: the uploads of other doors, which are abandoned by them.
    @ivar transfers: the uploads and copies that are on their way.
    @ivar reserved: names of buckets that other doors make when they need them. Only administrators can make these here: a user
        who owned one would own what all others store by those doors.
    """

    store: IObjectStore
    accounts: IAccounts
    settings: S3Settings
    clock: IReactorTime
    disk: IDisk
    is_sealed: bool = False
    access: Access = attrs.Factory(Access)
    audit: Callable[[object], object] = lambda event: None
    resumable: IResumableUploads | None = None
    reserved: frozenset[str] = frozenset()
    transfers: Transfers = attrs.Factory(Transfers)

    @property
    def region(self) -> str:
        """The region of buckets that clients see."""
        return "us-east-1" if self.settings.region == "any" else self.settings.region


@attrs.define(eq=False)
class Call:
    """
    One request.

    @ivar request: as HTTP has it; handlers send by it what they do not give back as a L{Reply}.
    @ivar operation: its name in S3's reference.
    @ivar bucket: empty at the level of the service.
    @ivar key: empty at the level of a bucket.
    @ivar query: decoded; a parameter without a value has an empty one.
    @ivar body: the payload, without the framing of signed chunks. Its last read fails unless the digest, signatures, length and
        checksums that the request announced are right: what reads it to its end and stores nothing before can store
        nothing wrong.
    @ivar length: bytes of the payload; C{None} if they are not announced.
    @ivar request_id: as the response and the access log have it.
    @ivar authenticator: verifies signatures; a form's is left to its handler.
    @ivar checksums: what the request announces of its body, and what was computed of it once it was read.
    @ivar narrowed: the store as the caller may use it, if that is not all of it: one that may only add, say.
    @ivar only_own: whether of uploads the caller may abort only those that the same user has begun.
    @ivar form: gives the fields of a form, which say what header fields of other requests do; C{None} without one.
    @ivar authorize: raises an L{S3Error} unless a call may be made; that this one may has been seen to before its handler runs.
    """

    request: DoorRequest
    operation: str
    bucket: str
    key: str
    query: Mapping[str, str]
    caller: Caller
    body: IByteStream
    length: int | None
    door: Door
    request_id: str
    authorize: Callable[[Call], Awaitable[object]]
    authenticator: IAuthenticator
    checksums: Checksums = attrs.field(factory=Checksums)
    narrowed: IObjectStore | None = None
    only_own: bool = False
    form: Callable[[str], str | None] | None = None
    _fields: Mapping[str, Sequence[bytes]] | None = attrs.field(default=None, init=False)
    _ahead: Ahead | None = attrs.field(default=None, init=False)

    async def check(self, operation: str, bucket: str, key: str) -> Call:
        """
        Make sure that the caller may do something else, too, which is part of this operation: read the source of a copy, say.

        @return: the call that it would be by itself, whose store lets the caller do no more than that.
        @raise S3Error: C{AccessDenied}.
        """
        other = attrs.evolve(self, operation=operation, bucket=bucket, key=key)
        await self.authorize(other)
        return other

    @property
    def source(self) -> str:
        """Where it comes from, for the audit: the address of the client, or what is known of the peer at a socket file."""
        return self.caller.address or self.request.source

    @property
    def store(self) -> IObjectStore:
        """Where buckets and objects are, as far as the caller may change them."""
        return self.door.store if self.narrowed is None else self.narrowed

    @property
    def fields(self) -> Mapping[str, Sequence[bytes]]:
        """All header fields, by their names in lower case."""
        if self._fields is None:
            # Handlers ask for some forty that are rarely there.
            self._fields = {
                name.decode("latin-1"): values for name, values in lower_fields(self.request.requestHeaders).items()
            }
        return self._fields

    def has_any(self, names: frozenset[str]) -> bool:
        """Whether the request has any of these header fields, or they are a form's to say; names in lower case."""
        return self.form is not None or not names.isdisjoint(self.fields)

    def header(self, name: str) -> str | None:
        """
        A header field, without spaces around it; C{None} without one.

        @raise S3Error: C{InvalidRequest} if there are several, or it is not UTF-8.
        """
        values = self.fields.get(name.lower())
        if not values:
            return None
        if len(values) > 1:
            raise S3Error("InvalidRequest", f"The request has more than one {name} header")
        try:
            return values[0].strip().decode()
        except UnicodeDecodeError:
            raise S3Error("InvalidRequest", f"The {name} header is not UTF-8") from None

    def take_caller(self, signed: ISigned) -> None:
        """The request, or its form, was signed like this."""
        before = self.caller
        self.caller = Caller(
            signed.user,
            signed.key_id,
            before.address,
            before.is_secure,
            signed.kind,
            signed.age,
            signed.form,
            signed.algorithm,
        )
        self.request.visitor = self.caller.name

    def transfer(self) -> AbstractContextManager[None]:
        """
        Be one of the uploads and copies that are on their way, unless the body is small.

        @raise TooManyUploads: if it is one too many. Nobody has asked for the body by then.
        """
        is_form = self.operation == "PostObject"
        length = self.request.body.length if is_form else self.length
        if self.operation in _RECEIVING and length is not None and length <= _SMALL:
            return nullcontext()
        return self.door.transfers.one(self.caller, is_form)

    def announce_checksums(self, trailer: str, trailers: Mapping[str, str]) -> None:
        """
        Have the checksums that the request announces verified as its body is read.

        @param trailer: the name of the field that follows the body; empty if none does.
        @param trailers: gets it.
        @raise S3Error: if what is announced is malformed.
        """
        names = list(self.fields)
        if self.operation in _OF_OBJECTS:
            self.checksums = checksums_of(
                (), lambda name: self.header(name) if name == "content-md5" else None, trailer
            )
        else:
            self.checksums = checksums_of(names, self.header, trailer)
        self.body = self.checksums.stream(self.body, self.door.disk, trailers, self.door.transfers.batch)

    def check_body(self) -> None:
        """
        For what stores the payload, even an empty one: it must be there, and be all there is. A client that lost it is not to
        replace with nothing what is stored.

        @raise S3Error: C{MissingContentLength}; C{NotImplemented} for a piece of something.
        """
        headers = self.request.requestHeaders
        if not (headers.hasHeader(b"Content-Length") or headers.hasHeader(b"Transfer-Encoding")):
            raise S3Error("MissingContentLength")
        if headers.hasHeader(b"Content-Range"):
            raise S3Error("NotImplemented", Header="Content-Range")

    async def read_body(self, limit: int = _MOST_DOCUMENT) -> bytes:
        """
        The whole payload, which is counted in the door's memory while it comes.

        @raise S3Error: C{MaxMessageLengthExceeded} if it has more than C{limit} bytes.
        """
        if self.length is not None and self.length > limit:
            raise S3Error("MaxMessageLengthExceeded", MaxMessageLengthBytes=limit)
        self.request.body.is_small = True
        pieces: list[bytes] = []
        left = limit
        with self.request.hold(limit if self.length is None else self.length) as hold:
            while piece := await self.body.read():
                left -= len(piece)
                if left < 0:
                    raise S3Error("MaxMessageLengthExceeded", MaxMessageLengthBytes=limit)
                if (room := hold.take(len(piece))) is not None:
                    await room
                pieces.append(bytes(piece))
        return b"".join(pieces)

    async def read_document(self, root: str, limit: int = _MOST_DOCUMENT, nodes: int = 20_000) -> Node:
        """
        The payload as an XML document.

        @param root: its outermost element.
        @raise S3Error: C{MissingRequestBodyError} if there is none.
        @raise NotXML: C{MalformedXML}, if it is not of that form.
        """
        found = await self.read_optional_document(root, limit, nodes)
        if found is None:
            raise S3Error("MissingRequestBodyError")
        return found

    async def read_optional_document(self, root: str, limit: int = _MOST_DOCUMENT, nodes: int = 20_000) -> Node | None:
        """L{read_document}, or C{None} if the payload is empty."""
        data = await self.read_body(limit)
        if not data.strip():
            return None
        # What is made of it stays in memory as long as the handler works: texts, with up to four bytes for each, and elements.
        times = 2 if data.isascii() and b"&#" not in data else 5
        self._ahead = Ahead(self.request.backlog)
        await self._ahead.grow(times * len(data) + _NODE * min(nodes, data.count(b"<")))
        return await parse_in_turns(data, root, nodes=nodes)

    def end(self) -> None:
        """The handler has ended: give back the memory of the document that it read."""
        if self._ahead is not None:
            self._ahead.resize(0)
