"""The append door: its resources, and those for whole prefixes (C{/stat}, C{/close}, C{/prefix})."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from storehouse.config.settings import AppendSettings
from storehouse.core.names import check_prefix
from storehouse.errors import BadRequest
from storehouse.frontends.append.append import Append, AppendMulti
from storehouse.frontends.append.lane import AppendLane
from storehouse.frontends.append.read import Get, GetMulti, Scan
from storehouse.frontends.append.resource import LogResource, check_fields, prefix_of
from storehouse.frontends.http.lane import ILane
from storehouse.frontends.http.reply import Reply, json_reply, text_reply
from storehouse.frontends.http.request import Leaf, Root, StreamingRequest
from storehouse.frontends.http.site import refuse_browsers
from storehouse.storage.appendlog.interfaces import IAppendLog

__all__ = ["AppendDoor"]

_PREFIX_QUERY = frozenset({b"storagePrefix"})

_INDEX = """storehouse: the append log

POST   /append?id=ID                  append the body as a record; returns its offset
GET    /get?id=ID&offset=N            the record at an offset
POST   /getMulti?id=ID                several records by their offsets (8 bytes little-endian each)
POST   /appendMulti?id=ID             several records, all or none
GET    /scan?id=ID | ?bucket=N        records in order; offset=N, limit=N, follow=1
GET    /stat                          the number of records and bytes
GET    /close?storagePrefix=NAME      close the files of a prefix
DELETE /prefix?storagePrefix=NAME     remove a prefix

All take storagePrefix=NAME.
"""


class AppendDoor:
    """
    The append log over HTTP (docs/append.rst).

    @param close: closes a prefix, in place of C{log.close_prefix}.
    @ivar resource: the root resource.
    @ivar lane: the fast lane, if there is one.
    """

    def __init__(
        self,
        log: IAppendLog,
        limits: AppendSettings,
        fast_lane: bool = True,
        close: Callable[[str], Deferred[None]] | None = None,
    ) -> None:
        self.resource = Root(
            {
                b"": _Index(),
                b"append": Append(log, limits),
                b"appendMulti": AppendMulti(log, limits),
                b"get": Get(log),
                b"getMulti": GetMulti(log, limits),
                b"scan": Scan(log),
                b"stat": _Stat(log),
                b"close": _Close(close or log.close_prefix),
                b"prefix": _Prefix(log),
            }
        )
        self.lane: ILane | None = AppendLane(log, limits) if fast_lane else None


class _Index(Leaf):
    """C{GET /}: a list of the paths, for people."""

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        check_fields(request, frozenset())
        return text_reply(_INDEX)


class _Close(Leaf):
    """
    C{/close}: close the files of a prefix, so that its directory can be removed. By GET, since the first program has
    it so.

    @param close: as L{IAppendLog.close_prefix}.
    """

    def __init__(self, close: Callable[[str], Deferred[None]]) -> None:
        Leaf.__init__(self)
        self._close = close

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        check_fields(request, _PREFIX_QUERY)
        refuse_browsers(request)
        if request.method == b"HEAD":
            raise BadRequest("HEAD would close the prefix; use GET or POST")
        await self._close(prefix_of(request))
        return json_reply({"success": True})

    handle_POST = handle_GET


class _Prefix(LogResource):
    """C{DELETE /prefix}: remove a prefix with all its records."""

    async def handle_DELETE(self, request: StreamingRequest) -> Reply:
        check_fields(request, _PREFIX_QUERY)
        named = request.fields.get(b"storagePrefix")
        if not named:
            raise BadRequest("the query must have the storagePrefix to remove")
        await self._log.delete_prefix(check_prefix(named))
        return json_reply({"success": True})


class _Stat(LogResource):
    """C{GET /stat}: the sizes of a prefix, or of all."""

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        check_fields(request, _PREFIX_QUERY)
        named = b"storagePrefix" in request.fields
        stats = await self._log.stat(prefix_of(request) if named else None)
        return json_reply(
            {
                "prefixes": {
                    name: {
                        "records": stat.records,
                        "bytes": stat.size,
                        "files": stat.files,
                        "buckets": stat.buckets,
                        "open": stat.is_open,
                    }
                    for name, stat in stats.items()
                }
            }
        )
