"""
Resources of doors, coroutines that take a request and give an answer; and what these ask of a request: texts in its path and its
query, single fields of its head.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import Deferred
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from storehouse.core.asking import asker
from storehouse.errors import BadRequest, InvalidName, Overloaded
from storehouse.frontends.http.reply import LengthRequired, MethodNotAllowed, Reply
from storehouse.frontends.http.request import DoorRequest, StreamingRequest

__all__ = [
    "Leaf",
    "Root",
    "accepts_html",
    "check_body",
    "check_fields",
    "check_whole",
    "decoded",
    "field_of",
    "is_browser",
    "number_of",
    "text_of",
]


_PREFIX = "handle_"


class Leaf(Resource):
    """
    A resource that is one path, or all that begin with it.

    Subclasses define C{async def handle_GET(self, request) -> Reply | None} and so on for the methods they
    know; C{HEAD} is served by C{handle_GET}.  A handler gives its answer back, or C{None} if it has sent it
    by C{request.begin}, C{send} and C{end}.  What it raises is answered by the error table.
    """

    isLeaf = True

    #: Whether it is all paths below it, too; C{request.postpath} is what follows.
    takes_rest = False

    #: Whether the paths below it may be logged, which hold no secrets then.
    logs_rest = True

    def __init__(self) -> None:
        Resource.__init__(self)
        methods = {name.removeprefix(_PREFIX).encode("ascii") for name in dir(self) if name.startswith(_PREFIX)}
        if b"GET" in methods:
            methods.add(b"HEAD")
        self.allowed = tuple(sorted(methods))

    def render(self, request: StreamingRequest) -> int:
        """Begin to answer."""
        Deferred.fromCoroutine(self._serve(request))
        return NOT_DONE_YET

    async def _serve(self, request: StreamingRequest) -> None:
        asker.set(request)
        try:
            if request.postpath and not self.takes_rest:
                raise request.no_such_resource()
            reply = await self.respond(request)
        except Exception as error:
            await self._fail(request, error)
            return
        if reply is None:
            request.end()
        else:
            await _quietly(request)
            request.answer(reply)

    def respond(self, request: StreamingRequest) -> Awaitable[Reply | None]:
        """Call the handler of the request's method."""
        if request.method not in self.allowed:
            raise MethodNotAllowed(request.method, self.allowed)
        method = b"GET" if request.method == b"HEAD" else request.method
        handler: Callable[[StreamingRequest], Awaitable[Reply | None]] = getattr(self, _PREFIX + method.decode("ascii"))
        return handler(request)

    async def _fail(self, request: StreamingRequest, error: Exception) -> None:
        # Overloaded: there is no memory for its body, so it is not waited for.
        if not request.startedWriting and not isinstance(error, Overloaded):
            await _quietly(request)
        request.fail(error)


async def _quietly(request: StreamingRequest) -> None:
    """Take in a small body that the handler did not want."""
    try:
        if request.body.untouched:
            await request.drain_small_body()
    except Exception:
        # It did not come whole; the answer matters more, and closes the connection.
        return


class _Missing(Leaf):
    """What is at paths that nobody serves."""

    def render(self, request: StreamingRequest) -> int:
        """Answer that there is nothing."""
        Deferred.fromCoroutine(self._fail(request, request.no_such_resource()))
        return NOT_DONE_YET


class Root(Resource):
    """The top of a door: a resource a path; the empty one is the door's own page."""

    def __init__(self, children: Mapping[bytes, IResource]) -> None:
        Resource.__init__(self)
        for name, child in children.items():
            self.putChild(name, child)

    def getChild(self, path: bytes, request: StreamingRequest) -> IResource:
        """Called for paths that are not there."""
        return _Missing()


# -- what handlers ask of a request ----------------------------------------------------------------

_PLAIN = (b"", b"identity")

_number = re.compile(rb"\d{1,19}\Z")
_malformed = re.compile(rb"%(?![0-9A-Fa-f]{2})").search


def decoded(what: str, data: bytes) -> str:
    """
    A part of a path as text, with its percent-encoding undone.

    @raise BadRequest: if that is malformed, or the text is not UTF-8.
    """
    if _malformed(data):
        raise BadRequest(f"the {what} has a % without two hexadecimal digits")
    return _text(what, unquote_to_bytes(data))


def _text(what: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidName(f"the {what} {data[:200]!r} is not UTF-8") from None


def text_of(request: DoorRequest, name: bytes) -> str:
    """A field of the query; empty without one."""
    return _text(name.decode("ascii"), request.fields.get(name, b""))


def field_of(request: DoorRequest, name: bytes) -> bytes | None:
    """
    A field of the head that may be there once.

    @raise BadRequest: if it is there more often.
    """
    values = request.requestHeaders.getRawHeaders(name, [])
    if len(values) > 1:
        raise BadRequest(f"the request has more than one {name.decode('ascii')} field")
    return values[0].strip() if values else None


def check_body(request: DoorRequest) -> None:
    """
    For what stores the body of a request, even an empty one: it must be there, and be L{all there is<check_whole>}. A client
    that lost it, or was given none, is not to replace with nothing what is stored.

    @raise LengthRequired: if the request has neither Content-Length nor Transfer-Encoding.
    @raise BadRequest: as L{check_whole} does.
    """
    headers = request.requestHeaders
    if not (headers.hasHeader(b"Content-Length") or headers.hasHeader(b"Transfer-Encoding")):
        raise LengthRequired("the request has no body: send Content-Length (0 for an empty body)")
    check_whole(request)


def check_whole(request: DoorRequest) -> None:
    """
    For what stores a body as it is: a client that continues an interrupted upload (C{curl -C}) must not replace all of
    it with the rest, and of what is compressed for the way nobody would know later that it is.

    @raise BadRequest: if the request says that its body is a piece, or encoded.
    """
    headers = request.requestHeaders
    name = ""
    if headers.hasHeader(b"Content-Range"):
        name = "Content-Range"
    elif any(value.strip().lower() not in _PLAIN for value in headers.getRawHeaders(b"Content-Encoding", [])):
        name = "Content-Encoding"
    if name:
        raise BadRequest(f"the body is stored unchanged and as a whole: {name} is not possible")


def accepts_html(request: DoorRequest) -> bool:
    """Whether an answer is for people: who asks names C{text/html}, which programs do not; C{format} overrules."""
    wanted = request.fields.get(b"format")
    if wanted is not None:
        if wanted not in (b"html", b"json"):
            raise BadRequest("the format must be html or json")
        return wanted == b"html"
    return any(b"text/html" in value.lower() for value in request.requestHeaders.getRawHeaders(b"Accept", []))


def is_browser(request: DoorRequest) -> bool:
    """
    Whether a browser makes a request, by what every browser sends and hardly a program: its kind of C{User-Agent}, or a field
    that tells which page wants the request, and what for (Fetch Metadata).
    """
    headers = request.requestHeaders
    if any(headers.hasHeader(name) for name in (b"Origin", b"Sec-Fetch-Site", b"Sec-Fetch-Mode", b"Sec-Fetch-Dest")):
        return True
    return any(value.startswith(b"Mozilla/") for value in headers.getRawHeaders(b"User-Agent", []))


def check_fields(request: DoorRequest, known: frozenset[bytes]) -> None:
    """
    @raise BadRequest: if the query has a field that would go unread: a misspelt C{storagePrefix} must not end
    in the wrong directory.
    """
    for name in request.fields:
        if name not in known:
            listed = ", ".join(sorted(field.decode("ascii") for field in known)) or "none"
            raise BadRequest(
                f"the query has an unknown parameter {name.decode('utf-8', 'replace')!r}; known are {listed}"
            )


def number_of(request: DoorRequest, name: bytes, default: int | None = None) -> int:
    """A field that is a number from 0 on."""
    value = request.fields.get(name)
    text = name.decode("ascii")
    if value is None:
        if default is None:
            raise BadRequest(f"the query lacks {text}")
        return default
    if not _number.match(value):
        raise BadRequest(f"the {text} {value.decode('utf-8', 'replace')!r} is not a number, 0 or more")
    return int(value)
