"""Resources of doors: coroutines that take a request and give an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from storehouse.errors import Overloaded
from storehouse.frontends.http.errors import MethodNotAllowed
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.http.request import StreamingRequest

__all__ = ["Leaf", "Root"]

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

    def render(self, request: Any) -> int:
        """Begin to answer."""
        Deferred.fromCoroutine(self._serve(request))
        return NOT_DONE_YET

    async def _serve(self, request: StreamingRequest) -> None:
        try:
            if request.postpath and not self.takes_rest:
                raise request.no_such_resource()
            if request.method not in self.allowed:
                raise MethodNotAllowed(request.method, self.allowed)
            method = b"GET" if request.method == b"HEAD" else request.method
            reply: Reply | None = await getattr(self, _PREFIX + method.decode("ascii"))(request)
        except Exception as error:
            await self._fail(request, error)
            return
        if reply is None:
            request.end()
        else:
            await _quietly(request)
            request.answer(reply)

    async def _fail(self, request: StreamingRequest, error: Exception) -> None:
        # There is no room for one that is told so: its body is not waited for.
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

    def render(self, request: Any) -> int:
        """Answer that there is nothing."""
        Deferred.fromCoroutine(self._fail(request, request.no_such_resource()))
        return NOT_DONE_YET


class Root(Resource):
    """The top of a door: a resource a path; the empty one is the door's own page."""

    def __init__(self, children: Mapping[bytes, IResource]) -> None:
        Resource.__init__(self)
        for name, child in children.items():
            self.putChild(name, child)

    def getChild(self, path: bytes, request: Any) -> IResource:
        """Called for paths that are not there."""
        return _Missing()
