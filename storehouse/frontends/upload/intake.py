"""
Files that come in, by whichever way, until they are objects of the store; and what goes through the door: bytes by the second and by
the minute, transfers that run, uploads that are done.

A key never becomes a path here, and a name is none either; but what is stored is downloaded again by people whose systems make
paths of names, so that no key has anything in it that leads out of a folder.

While a file is small it stays in memory, and is stored in one go when it is whole; beyond its session's share of the memory it
goes to the store as it comes. That is the second seed's hybrid: "keeps a reasonable amount of data in memory without ever
writing it to disk, and flushes to disk when a session is going to begin to use unfair amounts of memory".

The budget is for all sessions together. Three quarters of it are divided equally among those that are there: a file that
is whole before it exceeds its session's share is written once, and one that exceeds it goes to the store as it comes, what
was held first. As sessions join, shares shrink, and what exceeds them then begins to go to the store as well. The last
quarter is for what is on its way there: when half of that is taken, too, all clients wait until there is room. Shares are
given back by those that wait for nobody but the store, so that there is always room again, however slow the clients are.

Checksums that a client sends with bytes are compared before these are stored. Sources: RFC 9530: C{Repr-Digest} and
C{Content-Digest}, which are the same for a file that is sent whole and as it is; and the extension C{checksum} of tus 1.0.0.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode
from binascii import Error as BadBase64
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol
from urllib.parse import quote

import attrs
from crc32c import crc32c
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from storehouse.core.budget import Shares
from storehouse.core.jobs import IDisk, over
from storehouse.core.names import UPLOADS, candidates, claim, guessed_type
from storehouse.core.streams import Beside, BytesStream, GeneratorStream, IByteStream, Piece, stage
from storehouse.errors import (
    AlreadyExists,
    BadRequest,
    ChecksumMismatch,
    DamagedEntry,
    Forbidden,
    InvalidName,
    NoSuchKey,
    PreconditionFailed,
    SizeMismatch,
    TooLarge,
    TooManyUploads,
)
from storehouse.frontends.http.multipart import without_home
from storehouse.frontends.http.reply import OCTETS
from storehouse.frontends.http.request import RequestBody, decoded
from storehouse.frontends.upload.gate import LINK, Visitor
from storehouse.storage.objects.interfaces import ALWAYS, Condition, IObjectStore, ObjectInfo

__all__ = [
    "ALGORITHMS",
    "JOINED",
    "MOST_BYTES",
    "SMALL",
    "Activity",
    "Checksums",
    "Download",
    "FileHead",
    "IGate",
    "IncomingFile",
    "Intake",
    "Pieces",
    "RecentUpload",
    "Series",
    "Upload",
    "UploadMemory",
    "UploadSession",
    "checked",
    "content_type_in",
    "digests_in",
    "key_for",
    "key_in_path",
    "said_type",
    "url_of",
]


# -- names -----------------------------------------------------------------------------------------

#: Bytes of UTF-8 that a key may have.
MOST_BYTES = 1024

_control = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]").search

# Characters that only change the direction of text: with them, a name looks like another one (Unicode
# Technical Report 36, section 2.10.1). Letters of scripts that run from right to left are as good as others.
_turning = re.compile(r"[\u202a-\u202e\u2066-\u2069]").search

_media_type = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}").fullmatch


def key_for(filename: str, relative_path: str = "") -> str:
    """
    The key for a file, by its name: as it was given, but without the folders it had at home.

    @param filename: as the client says it; perhaps a whole path.
    @param relative_path: its folders and its name, if it is to keep its folders: what browsers call
        C{webkitRelativePath}.
    @raise InvalidName: if it is empty, longer than 1024 bytes, has a control character or one that turns the direction
        of writing, or a folder without a name, or one that leads out: C{.} or C{..}; and for a backslash of which it is
        not clear whether it ends a folder.
    """
    if relative_path:
        return _checked(relative_path.replace("\\", "/"))
    return _checked(_without_backslash(without_home(filename)).rpartition("/")[2])


def key_in_path(path: bytes) -> str:
    """
    The key that a URL names.

    @param path: what follows the door's own part of the path; percent-encoded.
    @raise InvalidName: as L{key_for} does, and for a backslash, which could be meant either way.
    @raise BadRequest: if it is not percent-encoded as it should be.
    """
    return _checked(_without_backslash(decoded("name", path)))


def _without_backslash(name: str) -> str:
    if "\\" in name:
        raise InvalidName(f"the name {name[:200]!r} has a backslash; folders end with a slash")
    return name


def _checked(key: str) -> str:
    if not key:
        raise InvalidName("the file has no name")
    size = len(key.encode("utf-8", "surrogatepass"))
    if size > MOST_BYTES:
        raise InvalidName(f"the name {key[:50]!r}... has {size} bytes; at most {MOST_BYTES} are allowed")
    if _control(key):
        raise InvalidName(f"the name {key!r} contains a control character")
    if _turning(key):
        raise InvalidName(f"the name {key!r} contains a character that changes the direction of writing")
    for component in key.split("/"):
        if component in ("", ".", ".."):
            what = f"the folder {component!r}" if component else "a folder without a name"
            raise InvalidName(f"the name {key[:200]!r} has {what}")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise InvalidName(f"the name {key[:200]!r} is not Unicode text") from None
    return key


def url_of(key: str) -> str:
    """Where what is stored under a key is downloaded: a path, percent-encoded."""
    return "/download/" + quote(key, safe="/")


def content_type_in(value: str) -> str:
    """A media type as a client says it; empty if it could not be sent in the head of an answer."""
    value = value.strip()
    return value if _media_type(value) else ""


#: What clients say of a body when they know nothing of it: curl of data, and many of parts of a form.
_URLENCODED = "application/x-www-form-urlencoded"
_UNKNOWN = OCTETS.decode("ascii")


def said_type(value: str, is_form: bool = False) -> str:
    """
    The media type that a client means; empty if it only says what it says of everything.

    @param is_form: whether it is of a part of a form, or of an upload by tus: of files that they do not know, these say that
        they are bytes.
    """
    kind = value.partition(";")[0].strip().lower()
    return "" if kind == _URLENCODED or (is_form and kind == _UNKNOWN) else value


# -- memory ----------------------------------------------------------------------------------------

#: No share is larger: more in memory makes nothing faster.
_LARGEST_SHARE = 8 << 20

#: Pieces of fewer bytes are joined: an object for each of few bytes takes many times as much memory as they do.
SMALL = 8 << 10

#: Bytes that are joined at most.
JOINED = 64 << 10


class Pieces:
    """Bytes that are held, in few objects."""

    def __init__(self) -> None:
        self._whole: list[Piece] = []
        self._small = bytearray()

    def add(self, data: Piece) -> None:
        """Hold these, too."""
        if len(data) >= SMALL:
            self._join()
            self._whole.append(data)
            return
        self._small += data
        if len(self._small) >= JOINED:
            self._join()

    def take(self) -> list[Piece]:
        """All of them, which are not held here any more."""
        self._join()
        whole, self._whole = self._whole, []
        return whole

    def _join(self) -> None:
        if self._small:
            self._whole.append(bytes(self._small))
            self._small = bytearray()


class UploadSession:
    """
    One request that brings files. For C{with}: it leaves at the end.

    @ivar held: bytes in memory that are this session's.
    @ivar holders: whose shares of the sessions it is in.
    @ivar spill: called when the session has to let go of what it holds; C{None} if nothing it holds can be let go of.
    """

    def __init__(
        self,
        memory: UploadMemory,
        stop: Callable[[], None],
        go_on: Callable[[], None],
        holders: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.held = 0
        self.holders = holders
        self.spill: Callable[[], None] | None = None
        self.stop = stop
        self.go_on = go_on
        self._memory = memory

    def __enter__(self) -> UploadSession:
        return self

    def __exit__(self, *error: object) -> None:
        self.leave()

    def hold(self, size: int) -> None:
        """Some bytes more are in memory; or less, if it is negative."""
        self.held += size
        self._memory.holds(size)

    def may_hold(self, size: int) -> bool:
        """Whether so many bytes more may stay in memory until the file is whole."""
        return self.held + size <= self._memory.share and not self._memory.is_full

    @property
    def is_half_full(self) -> bool:
        """Whether half of the session's share is held, or more."""
        return self.held * 2 >= self._memory.share

    @property
    def has_too_much(self) -> bool:
        """Whether more is held than the session's share."""
        return self.held > self._memory.share

    def stored(self, spilled: bool) -> None:
        """Count a file that was stored."""
        self._memory.count(spilled)

    def leave(self) -> None:
        """The request is over. Harmless when it is already."""
        self._memory.left(self)


class UploadMemory:
    """
    The budget and who has it.

    @param budget: bytes.
    @param most_sessions: sessions at once.
    @ivar held: bytes in memory now.
    @ivar peak: the most that there ever were.
    @ivar refused: sessions that were one too many.
    """

    def __init__(self, budget: int, most_sessions: int) -> None:
        self.budget = budget
        self.held = 0
        self.peak = 0
        self.refused = 0
        self._most_sessions = most_sessions
        self._sessions: dict[UploadSession, None] = {}
        self._shares: Shares[tuple[str, str]] = Shares(most_sessions)
        self._most_of_link = max(1, most_sessions // 2)
        self._divided = budget * 3 // 4
        self._full = budget * 7 // 8
        self._waiting = False
        self._files = {True: 0, False: 0}

    @property
    def sessions(self) -> int:
        """How many there are."""
        return len(self._sessions)

    @property
    def share(self) -> int:
        """Bytes that one session may hold."""
        return min(_LARGEST_SHARE, self.budget // 8, self._divided // max(1, len(self._sessions)))

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be held by anybody."""
        return self.held >= self._full

    def join(
        self,
        stop: Callable[[], None] = lambda: None,
        go_on: Callable[[], None] = lambda: None,
        holders: Sequence[tuple[str, str]] = (),
    ) -> UploadSession:
        """
        A request that brings files begins. To be called before any of its body is wanted.

        @param stop: has the client wait.
        @param go_on: undoes that.
        @param holders: whose shares of the sessions it is in: an address, a user, a link, each with its kind; see L{Shares}.
        @raise TooManyUploads: if there are as many as may be, or as one of the holders may have.
        """
        if len(self._sessions) >= self._most_sessions:
            self.refused += 1
            raise TooManyUploads(f"{self._most_sessions} uploads are being received, the limit: try again in a moment")
        refused = next(
            (each for each in holders if each[0] == LINK and self._shares.count(each) >= self._most_of_link), None
        )
        refused = refused or self._shares.refused(holders)
        if refused is not None:
            self.refused += 1
            raise TooManyUploads(f"this {refused[0]} has reached its limit of uploads at once: try again in a moment")
        self._shares.enter(holders)
        session = UploadSession(self, stop, go_on, holders)
        self._sessions[session] = None
        if self._waiting:
            stop()
        share = self.share
        if self.held > share:  # or else nobody has too much
            for other in list(self._sessions):
                if other.held > share and other.spill is not None:
                    other.spill()
        return session

    @asynccontextmanager
    async def receiving(
        self, body: RequestBody, holders: Sequence[tuple[str, str]] = ()
    ) -> AsyncIterator[UploadSession]:
        """
        A session for one request: what waits of its body is counted, and the client waits when the memory is full. The body
        is closed at the end.

        @raise TooManyUploads: as L{join} does.
        """
        with self.join(body.suspend, body.proceed, holders) as session:
            body.account = session.hold
            session.hold(body.waiting)
            try:
                yield session
            finally:
                await body.close()
                body.account = None

    # -- for sessions --------------------------------------------------------------------------

    def holds(self, size: int) -> None:
        """See L{UploadSession.hold}."""
        self.held += size
        if size > 0:
            self.peak = max(self.peak, self.held)
        if not self._waiting and self.held >= self._full:
            self._waiting = True
            for session in list(self._sessions):
                session.stop()
        elif self._waiting and self.held <= (self._divided + self._full) // 2:
            self._waiting = False
            for session in list(self._sessions):
                # The first ones may fill it again at once.
                if self._waiting:
                    break
                session.go_on()

    def count(self, spilled: bool) -> None:
        """See L{UploadSession.stored}."""
        self._files[spilled] += 1

    def left(self, session: UploadSession) -> None:
        """See L{UploadSession.leave}."""
        if self._sessions.pop(session, 0) is None:
            self._shares.leave(session.holders)
            session.spill = None
            session.hold(-session.held)

    # -- metrics -------------------------------------------------------------------------------

    def collect(self) -> Iterable[Metric]:
        """Metric families, for a C{prometheus_client} registry."""
        name = "storehouse_upload_memory"
        for suffix, text, value in (
            ("budget_bytes", "Bytes of uploads that may be in memory together.", self.budget),
            ("held_bytes", "Bytes of uploads that are in memory.", self.held),
            ("peak_bytes", "The most bytes of uploads that were in memory at once.", self.peak),
            ("share_bytes", "Bytes that each session may hold until its file is whole.", self.share),
        ):
            yield GaugeMetricFamily(f"{name}_{suffix}", text, value=value)
        yield GaugeMetricFamily("storehouse_upload_sessions", "Requests with files in progress.", value=self.sessions)
        yield GaugeMetricFamily(
            "storehouse_upload_sessions_limit",
            "Requests with files that are allowed at once.",
            value=self._most_sessions,
        )
        yield CounterMetricFamily(
            "storehouse_upload_sessions_refused",
            "Requests with files refused because there were too many.",
            value=self.refused,
        )
        files = CounterMetricFamily(
            "storehouse_upload_files",
            "Files that were stored: from memory, or while they arrived.",
            labels=["way"],
        )
        files.add_metric(["memory"], self._files[False])
        files.add_metric(["spilled"], self._files[True])
        yield files


# -- checksums -------------------------------------------------------------------------------------

#: What can be computed, by the names that tus has for it.
ALGORITHMS = ("sha1", "sha256", "crc32c")

# Bytes that may wait while as many are hashed in a thread.
_MOST_WAITING = 256 << 10

# Bytes at the beginning of a body that are hashed in the reactor's thread, in some 100 microseconds: most bodies have no more,
# and are done sooner than a thread is asked.
_SMALL = 64 << 10

#: What is computed, by its name in the field; others are passed over, as RFC 9530 has it.
_ALGORITHMS = {"sha-256": "sha256", "sha-512": "sha512"}

_member = re.compile(r"\s*([a-z*][a-z0-9_.*-]*)\s*=\s*:([A-Za-z0-9+/=]*):\s*").fullmatch


def digests_in(name: str, values: Sequence[bytes]) -> dict[str, bytes]:
    """
    The digests that a field has and that are computed here: the name for C{hashlib}, and the digest.

    @raise BadRequest: if it is no such field.
    """
    found: dict[str, bytes] = {}
    for member in b",".join(values).decode("latin-1").split(",") if values else ():
        match = _member(member)
        try:
            value = b64decode(match[2], validate=True) if match is not None else None
        except BadBase64:
            value = None
        if match is None or value is None:
            raise BadRequest(f"{name} is not of the form sha-256=:BASE64:")
        algorithm = _ALGORITHMS.get(match[1])
        if algorithm is not None:
            if len(value) != hashlib.new(algorithm).digest_size:
                raise BadRequest(f"the {match[1]} in {name} has {len(value)} bytes")
            if found.setdefault(algorithm, value) != value:
                raise BadRequest(f"{name} has more than one {match[1]}")
    return found


class Checksums:
    """
    The checksums of bytes that come, computed beside in a disk thread. To be closed.

    @param algorithms: what to compute: of L{ALGORITHMS}, or another one of C{hashlib}'s.
    @param session: what the bytes that wait are counted by. None wait unless others are worked on, so that this memory is
        always given back, however slow the client is.
    """

    def __init__(self, algorithms: Iterable[str], disk: IDisk, session: UploadSession) -> None:
        self._has_crc = "crc32c" in algorithms
        self._crc = 0
        # SHA-1 is what tus demands: it tells bytes that were garbled, and keeps out nobody.
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms if name != "crc32c"}
        self._disk = disk
        self._session = session
        self._count = 0
        self._waiting = Pieces()
        self._size_waiting = 0
        self._beside: Beside[None] = Beside()
        self._is_working = False

    async def update(self, piece: Piece) -> None:
        """Some bytes more. Waits while too many do."""
        if self._has_crc:
            self._crc = crc32c(piece, self._crc)
        if not self._hashes:
            return
        size = len(piece)
        self._count += size
        if self._count <= _SMALL:
            self._hash([piece])
            return
        self._waiting.add(piece)
        self._size_waiting += size
        self._session.hold(size)
        if not self._is_working:
            await self._beside.start(self._work)
        elif self._size_waiting >= _MOST_WAITING:
            await self._beside.result()

    async def finish(self) -> None:
        """All bytes have come."""
        await self._beside.result()

    def check(self, algorithm: str, digest: bytes) -> None:
        """
        To be called after L{finish}.

        @raise ChecksumMismatch: if the bytes have another digest.
        """
        computed = self._crc.to_bytes(4, "big") if algorithm == "crc32c" else self._hashes[algorithm].digest()
        if not hmac.compare_digest(computed, digest):
            raise ChecksumMismatch(
                f"the {algorithm} of the received bytes is {computed.hex()}, not what was announced: nothing is kept"
            )

    async def close(self) -> None:
        """Hold nothing more. Harmless more than once."""
        await self._beside.close()
        self._waiting.take()
        size, self._size_waiting = self._size_waiting, 0
        self._session.hold(-size)

    def _work(self) -> Deferred[None]:
        self._is_working = True
        return Deferred.fromCoroutine(self._hash_waiting())

    async def _hash_waiting(self) -> None:
        try:
            while self._size_waiting:
                pieces, size, self._size_waiting = self._waiting.take(), self._size_waiting, 0
                try:
                    await self._disk.run(self._hash, pieces)
                finally:
                    self._session.hold(-size)
        finally:
            self._is_working = False

    def _hash(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            for computed in self._hashes.values():
                computed.update(piece)


@stage
async def checked(
    stream: IByteStream, checksums: Checksums, count: Callable[[int], object]
) -> AsyncGenerator[Piece, None]:
    """
    Compute checksums of the bytes that pass, and close them at the end.

    @param count: called with the number of bytes of each piece.
    """
    try:
        while piece := await stream.read():
            count(len(piece))
            await checksums.update(piece)
            yield piece
        await checksums.finish()
    finally:
        await checksums.close()


# -- files -----------------------------------------------------------------------------------------


class IGate(Protocol):
    """What is asked of L{Gate<storehouse.frontends.upload.gate.Gate>}."""

    async def use(self, visitor: Visitor) -> None:
        """Use up a link that works once."""

    async def put_condition(self, visitor: Visitor, key: str, condition: Condition) -> Condition:
        """The condition by which a visitor can store an object."""


@attrs.frozen
class FileHead:
    """
    What is known of a file before its bytes come.

    @ivar key: its name in the bucket; see L{key_for}.
    @ivar filename: its name as it was given.
    @ivar via: the way: C{form} or C{put}.
    @ivar size: bytes that it has; C{None} if that is not known.
    @ivar content_type: its media type; empty to guess it from the name.
    @ivar condition: what must be true of the key; C{None} to do what the setting C{upload-names} says.
    @ivar digests: what must be true of the bytes: digests by their names for C{hashlib}.
    """

    key: str
    filename: str
    via: str
    size: int | None = None
    content_type: str = ""
    condition: Condition | None = None
    digests: Mapping[str, bytes] = attrs.Factory(dict)

    @property
    def media_type(self) -> str:
        """What it is stored as."""
        return content_type_in(self.content_type) or guessed_type(self.key)


class Intake:
    """
    Where files come in.

    @param max_size: bytes that a file may have; 0 for no bound.
    @param rule: what is done about names that are taken; see L{storehouse.core.names}.
    @ivar memory: the memory for all of them.
    @ivar max_size: as it was given.
    """

    def __init__(
        self,
        store: IObjectStore,
        memory: UploadMemory,
        gate: IGate,
        activity: Activity,
        disk: IDisk,
        max_size: int = 0,
        rule: str = "rename",
        bucket: str = UPLOADS,
    ) -> None:
        self.store = store
        self.memory = memory
        self.gate = gate
        self.activity = activity
        self.disk = disk
        self.rule = rule
        self.bucket = bucket
        self.max_size = max_size
        self._claimed: set[str] = set()

    def limit_of(self, visitor: Visitor) -> int | None:
        """Bytes that a file of this visitor may have; C{None} for no bound."""
        bounds = [bound for bound in (self.max_size or None, visitor.max_bytes) if bound is not None]
        return min(bounds, default=None)

    async def begin(
        self, visitor: Visitor, session: UploadSession, stream: IByteStream, head: FileHead
    ) -> IncomingFile:
        """
        A file is going to come. Whatever can be refused without its bytes is refused here.

        @raise TooLarge: if it says so itself.
        @raise LinkUsed: if the visitor's link was used up.
        @raise PreconditionFailed: if the condition does not hold.
        @raise AlreadyExists: if the name is taken, and that is refused.
        """
        limit = self.limit_of(visitor)
        if limit is not None and head.size is not None and head.size > limit:
            raise TooLarge(f"the file has {head.size} bytes; at most {limit} are allowed")
        wanted = head.condition or (ALWAYS if self.rule == "replace" else Condition(absent=True))
        condition = await self.gate.put_condition(visitor, head.key, wanted)
        is_narrowed = condition != wanted
        if is_narrowed:
            head = attrs.evolve(head, condition=condition)
        with _as_forbidden(is_narrowed, visitor, head.key):
            await self._check_key(head)
        await self.gate.use(visitor)
        return IncomingFile(self, visitor, session, stream, head, limit, is_narrowed)

    async def store_file(self, visitor: Visitor, body: RequestBody, head: FileHead) -> ObjectInfo:
        """
        Store a file that comes alone.

        @return: what was stored, once it is durable.
        @raise TooManyUploads: at once.
        @raise StorehouseError: as L{begin} does, and the store, and what C{body} failed with. Nothing is stored then.
        """
        async with self.memory.receiving(body, visitor.shares) as session:
            file = await self.begin(visitor, session, body, head)
            try:
                await file.gather()
                return await file.store()
            finally:
                await file.close()

    # -- names ---------------------------------------------------------------------------------

    async def _check_key(self, head: FileHead) -> None:
        condition = head.condition
        if condition == ALWAYS or (condition is None and self.rule != "refuse"):
            return
        try:
            etag = (await self.store.head(self.bucket, head.key)).etag
        except NoSuchKey:
            if condition is not None and condition.etag is not None:
                raise PreconditionFailed(f"there is no {head.key}") from None
            return
        except DamagedEntry:
            # Something is there, and no etag is the one that it has.
            etag = ""
        if condition is None:
            raise AlreadyExists(f"there is a {head.key} already")
        if condition.absent:
            raise PreconditionFailed(f"there is a {head.key} already")
        if condition.etag not in (None, "*", etag):
            # Without its etag: a visitor that may only store must not learn it.
            raise PreconditionFailed(f"{head.key} has another etag")

    async def put_renamed(self, head: FileHead, pieces: list[Piece], metadata: Mapping[str, list[str]]) -> ObjectInfo:
        """Store what is there whole, under its key or what L{rule} makes of it."""
        size = sum(map(len, pieces))

        async def store(key: str, is_absent: bool) -> ObjectInfo:
            if is_absent and key in self._claimed:
                raise PreconditionFailed(f"{key} is being stored")
            condition = Condition(absent=True) if is_absent else ALWAYS
            return await self.store.put(
                self.bucket, key, BytesStream(pieces), size, head.media_type, metadata, condition
            )

        return await claim(head.key, self.rule, store)

    async def put_claimed(self, head: FileHead, stream: IByteStream, metadata: Mapping[str, list[str]]) -> ObjectInfo:
        """
        Store what is still coming, under its key or what L{rule} makes of it: it cannot be tried again under another one, so
        that the key is claimed first.
        """
        key = await self._claim(head.key)
        try:
            return await self.store.put(
                self.bucket, key, stream, head.size, head.media_type, metadata, Condition(absent=True)
            )
        except PreconditionFailed:
            raise AlreadyExists(f"another file was stored as {key} during the upload: send it again") from None
        finally:
            self._claimed.discard(key)

    async def _claim(self, key: str) -> str:
        for candidate in candidates(key) if self.rule == "rename" else (key,):
            if candidate in self._claimed:
                continue
            # Before the look, so that nobody else looks meanwhile.
            self._claimed.add(candidate)
            try:
                await self.store.head(self.bucket, candidate)
            except NoSuchKey:
                return candidate
            except DamagedEntry:
                pass  # it is taken
            except BaseException:
                self._claimed.discard(candidate)
                raise
            self._claimed.discard(candidate)
        raise AlreadyExists(f"{key} already exists")


@contextmanager
def _as_forbidden(is_narrowed: bool, visitor: Visitor, key: str) -> Iterator[None]:
    """Where the condition that fails is what a visitor has a right to, that right is missing."""
    try:
        yield
    except (PreconditionFailed, AlreadyExists):
        if not is_narrowed:
            raise
        raise Forbidden(f"{visitor.name} has no right to do that with {key}") from None


class IncomingFile:
    """
    One file that is being received: L{gather} it, then L{store} it, and L{close} it in any case.

    @ivar head: what was known of it before.
    @ivar count: bytes that have come.
    @ivar is_spilled: whether the store gets it as it comes.
    """

    def __init__(
        self,
        intake: Intake,
        visitor: Visitor,
        session: UploadSession,
        stream: IByteStream,
        head: FileHead,
        limit: int | None,
        is_narrowed: bool = False,
    ) -> None:
        self.head = head
        self._visitor = visitor
        self._is_narrowed = is_narrowed  # its condition is the visitor's rights, not the request's
        self.count = 0
        self.is_spilled = head.size is not None and not session.may_hold(head.size)
        self._crc = 0
        self._intake = intake
        self._session = session
        self._stream = stream
        self._limit = limit
        self._metadata = {"filename": [head.filename], "uploader": [visitor.name], "via": [head.via]}
        self._upload = intake.activity.begin_upload(head.via, head.key, visitor.name)
        self._checksums = Checksums(head.digests, intake.disk, session) if head.digests else None
        self._held = Pieces()
        self._size_held = 0
        self._reading: Deferred[None] | None = None  # a read that runs while the held memory is released
        self._read_piece: Piece = b""  # what it gave
        self._read_error: BaseException | None = None
        self._waiting: Deferred[None] | None = None  # fires when it is over, or the held memory must be released
        self._lets_go = False
        session.spill = self._let_go

    async def gather(self) -> None:
        """
        Hold what comes in memory until it is whole, or more than its share: then L{store} reads on.

        @raise TooLarge: if there are too many bytes.
        @raise SizeMismatch: if they are not as many as was said.
        @raise ChecksumMismatch: if they do not have the digest that was announced.
        """
        while not self.is_spilled:
            piece = await self._next()
            if piece is None:
                self.is_spilled = True
            elif not piece:
                await self._verify()
                return
            else:
                self.is_spilled = not self._hold(piece)

    async def store(self) -> ObjectInfo:
        """
        Store it: what is in memory, or as it comes.

        @return: what was stored; it is durable.
        @raise StorehouseError: as L{gather} does.
        """
        intake, head = self._intake, self.head
        condition = head.condition or (ALWAYS if intake.rule == "replace" else None)
        # What is in memory stays counted until it is stored.
        pieces = [] if self.is_spilled else self._held.take()
        stream = GeneratorStream(self._pieces(), self._stream) if self.is_spilled else BytesStream(pieces)
        try:
            if condition is not None:
                size = head.size if self.is_spilled else self.count
                with _as_forbidden(self._is_narrowed, self._visitor, head.key):
                    info = await intake.store.put(
                        intake.bucket, head.key, stream, size, head.media_type, self._metadata, condition
                    )
            elif self.is_spilled:
                info = await intake.put_claimed(head, stream, self._metadata)
            else:
                info = await intake.put_renamed(head, pieces, self._metadata)
        finally:
            await stream.close()
        self._session.stored(self.is_spilled)
        self._upload.end(info.key, info.size)
        return info

    async def close(self) -> None:
        """Hold nothing more. What was not stored will not be."""
        if self._reading is not None:
            await self._stream.close()
        if self._checksums is not None:
            await self._checksums.close()
        self._held.take()
        size, self._size_held = self._size_held, 0
        self._session.hold(-size)
        self._upload.fail()

    # -- what comes ----------------------------------------------------------------------------

    async def _pieces(self) -> AsyncGenerator[Piece, None]:
        """For the store: what is held first, then the rest as it comes; small pieces are joined, for few objects."""
        is_due, has_ended = True, False
        while True:
            if is_due:
                held = deque(self._held.take())
                while held:
                    piece: Piece | None = held.popleft()
                    assert piece
                    self._size_held -= len(piece)
                    self._session.hold(-len(piece))
                    yield piece
                is_due = self._lets_go = False
            if has_ended:
                break
            piece = await self._next()
            if piece is None:
                is_due = True
            elif not piece:
                is_due = has_ended = True
            elif len(piece) >= SMALL and not self._size_held:
                yield piece
            else:
                may_stay = self._hold(piece)
                is_due = len(piece) >= SMALL or self._size_held >= JOINED or not may_stay
        # The store keeps nothing if this raises, for it has not seen the end.
        await self._verify()

    async def _next(self) -> Piece | None:
        """
        The next piece, counted; C{None} if the held memory must be released first, since others need it: the
        client may take its time with the next one.
        """
        if self._reading is None and not self._size_held:
            piece = await self._stream.read()
        elif self._lets_go:
            return None
        else:
            if self._reading is None:
                self._reading = Deferred.fromCoroutine(self._read())
            if not self._reading.called:
                self._waiting = over(self._reading)
                await self._waiting
                if not self._reading.called:
                    return None
            self._reading = None
            if self._read_error is not None:
                raise self._read_error
            piece, self._read_piece = self._read_piece, b""
        size = len(piece)
        self.count += size
        if self._limit is not None and self.count > self._limit:
            raise TooLarge(f"the file {self.head.key} has more than {self._limit} bytes, the most that are allowed")
        self._crc = crc32c(piece, self._crc)
        self._upload.add(size)
        if self._checksums is not None:
            await self._checksums.update(piece)
        return piece

    async def _read(self) -> None:
        try:
            self._read_piece = await self._stream.read()
        except BaseException as error:
            self._read_error = error

    def _hold(self, piece: Piece) -> bool:
        """Keep it in memory. @return: whether it may stay there."""
        size = len(piece)
        may_stay = self._session.may_hold(size)
        self._held.add(piece)
        self._size_held += size
        self._session.hold(size)
        return may_stay

    def _let_go(self) -> None:
        self._lets_go = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)

    async def _verify(self) -> None:
        """All bytes have come."""
        if self.head.size is not None and self.count != self.head.size:
            raise SizeMismatch(f"the file {self.head.key} has {self.count} bytes; {self.head.size} were announced")
        if self._checksums is not None:
            await self._checksums.finish()
            for algorithm, digest in self.head.digests.items():
                self._checksums.check(algorithm, digest)
        self._metadata["crc32c"] = [f"{self._crc:08x}"]


#: How many uploads that are done are remembered.
_RECENT = 100

_SECONDS = 600
_MINUTES = 1440


@attrs.frozen
class RecentUpload:
    """
    An upload that is done.

    @ivar name: the key that it was stored under.
    @ivar size: bytes of the file.
    @ivar kind: by which way it came: C{form}, C{put}, C{tus} or C{ietf}.
    @ivar ended: seconds since 1970 UTC.
    @ivar seconds: how long it took.
    """

    name: str
    size: int
    user: str
    kind: str
    ended: float
    seconds: float

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.size / self.seconds if self.seconds > 0 else 0.0


@attrs.frozen
class Series:
    """
    Bytes that went through in equal stretches of time.

    @ivar step: seconds of a stretch.
    @ivar until: when the last one ended, in seconds since 1970 UTC.
    @ivar received: bytes that came in each, the oldest first.
    @ivar sent: bytes that went out.
    """

    step: int
    until: int
    received: list[int]
    sent: list[int]


class _Ring:
    """
    The last so many stretches.

    @ivar until: when the last one ended, and the one that runs began.
    """

    def __init__(self, step: int, length: int, now: int) -> None:
        self.until = now
        self._step = step
        self._length = length
        self._received: deque[int] = deque(maxlen=length)
        self._sent: deque[int] = deque(maxlen=length)
        self._before = (0, 0)

    def advance(self, now: int, received: int, sent: int) -> None:
        """
        It is so late, and what was received and sent until now came since L{until}: this is called before more is
        counted in a later stretch.
        """
        if now < self.until:
            self.until = now  # the clock was set back: the stretch that runs takes longer
            return
        stretches = (now - self.until) // self._step
        if stretches:
            self._received.append(received - self._before[0])
            self._sent.append(sent - self._before[1])
            self._before = (received, sent)
            silent = min(stretches - 1, self._length)
            self._received.extend([0] * silent)
            self._sent.extend([0] * silent)
            self.until += stretches * self._step

    def series(self) -> Series:
        return Series(self._step, self.until, list(self._received), list(self._sent))


class _Transfer:
    """
    Something on its way.

    @ivar name: the name of the file; empty while it is not known.
    @ivar count: bytes of it so far.
    @ivar began: seconds since 1970 UTC.
    """

    def __init__(self, activity: Activity, kind: str, name: str, user: str) -> None:
        self.kind = kind
        self.name = name
        self.user = user
        self.count = 0
        self.began: float = activity.now()
        self._activity = activity
        self._running = True
        activity.began(self)

    def fail(self) -> None:
        """The transfer failed. Does nothing once it is over."""
        self._over("failed")

    def _over(self, outcome: str) -> bool:
        was_running, self._running = self._running, False
        if was_running:
            self._activity.over(self, outcome)
        return was_running


class Upload(_Transfer):
    """An upload that is being received; one of L{end}, L{fail} and L{suspend} is called in the end."""

    def add(self, count: int) -> None:
        """Bytes have come. For the path of every byte."""
        self.count += count
        self._activity.add_received(count)

    def end(self, name: str, size: int, seconds: float | None = None) -> None:
        """
        The file is stored.

        @param name: its key.
        @param seconds: how long that took, if not since L{Activity.begin_upload}.
        """
        if self._over("done"):
            now = self._activity.now()
            taken = max(0.0, now - self.began) if seconds is None else seconds
            self._activity.recent.append(RecentUpload(name, size, self.user, self.kind, now, taken))

    def suspend(self) -> None:
        """It is suspended until the client resumes it: neither done nor failed. Does nothing once it is over."""
        self._over("suspended")


class Download(_Transfer):
    """A file that is being sent; L{end} or L{fail} is called in the end."""

    def add(self, count: int) -> None:
        """Bytes have gone. For the path of every byte."""
        self.count += count
        self._activity.add_sent(count)

    def end(self) -> None:
        """All of it that was asked for was sent."""
        self._over("done")


class Activity:
    """
    What goes through the door.

    Bytes are added up as they pass; the first ones of a second have what came before put down.

    @param clock: C{IReactorTime}, whose seconds are those since 1970 UTC.
    @ivar received: bytes of uploads that came.
    @ivar sent: bytes of downloads that went.
    @ivar counts: how many transfers there were, by C{(kind, outcome)}: C{begun}, C{done}, C{failed}, C{suspended}.
        Those of the kind C{download} are downloads.
    @ivar recent: the last uploads that are done, the latest last.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.received = 0
        self.sent = 0
        self.counts: Counter[tuple[str, str]] = Counter()
        self.recent: deque[RecentUpload] = deque(maxlen=_RECENT)
        self._running: dict[_Transfer, None] = {}
        self._clock = clock
        self._second = int(clock.seconds())
        self._seconds = _Ring(1, _SECONDS, self._second)
        self._minutes = _Ring(60, _MINUTES, self._second)

    def now(self) -> float:
        """Seconds since 1970 UTC."""
        seconds: float = self._clock.seconds()
        return seconds

    # -- transfers ---------------------------------------------------------------------------

    def begin_upload(self, kind: str, name: str = "", user: str = "") -> Upload:
        """
        An upload begins or is resumed.

        @param kind: C{form}, C{put}, C{tus} or C{ietf}.
        @param user: the name of the user who sends it.
        """
        return Upload(self, kind, name, user)

    def begin_download(self, name: str, user: str = "") -> Download:
        """A file begins to be sent."""
        return Download(self, "download", name, user)

    def began(self, transfer: _Transfer) -> None:
        """For transfers."""
        self._running[transfer] = None
        self.counts[transfer.kind, "begun"] += 1

    def over(self, transfer: _Transfer, outcome: str) -> None:
        """For transfers."""
        self._running.pop(transfer, None)
        self.counts[transfer.kind, outcome] += 1

    @property
    def uploads(self) -> list[Upload]:
        """Those that are being received, the oldest first."""
        return [transfer for transfer in self._running if isinstance(transfer, Upload)]

    @property
    def downloads(self) -> list[Download]:
        """Those that are being sent, the oldest first."""
        return [transfer for transfer in self._running if isinstance(transfer, Download)]

    # -- throughput --------------------------------------------------------------------------

    def add_received(self, count: int) -> None:
        """For transfers: bytes have come."""
        now = int(self._clock.seconds())
        if now != self._second:
            self._turn(now)
        self.received += count

    def add_sent(self, count: int) -> None:
        """For transfers: bytes have gone."""
        now = int(self._clock.seconds())
        if now != self._second:
            self._turn(now)
        self.sent += count

    def seconds(self) -> Series:
        """The last ten minutes by the second."""
        self._turn(int(self._clock.seconds()))
        return self._seconds.series()

    def minutes(self) -> Series:
        """The last day by the minute."""
        self._turn(int(self._clock.seconds()))
        return self._minutes.series()

    def _turn(self, now: int) -> None:
        """It is so late: put down what came before."""
        self._second = now
        self._seconds.advance(now, self.received, self.sent)
        self._minutes.advance(now, self.received, self.sent)

    # -- metrics -----------------------------------------------------------------------------

    def collect(self) -> Iterable[Metric]:
        """Metric families, for a C{prometheus_client} registry."""
        yield CounterMetricFamily(
            "storehouse_upload_received_bytes", "Bytes of uploads that were received.", value=self.received
        )
        yield CounterMetricFamily("storehouse_upload_sent_bytes", "Bytes of downloads that were sent.", value=self.sent)
        transfers = CounterMetricFamily(
            "storehouse_upload_transfers",
            "Uploads by protocol, and downloads: begun, done, failed, and suspended until they are resumed.",
            labels=["kind", "outcome"],
        )
        for (kind, outcome), count in sorted(self.counts.items()):
            transfers.add_metric([kind, outcome], count)
        yield transfers
        running = GaugeMetricFamily("storehouse_upload_transfers_running", "Transfers in progress.", labels=["kind"])
        kinds = Counter(transfer.kind for transfer in self._running)
        for kind in sorted({kind for kind, _ in self.counts}):
            running.add_metric([kind], kinds[kind])
        yield running
