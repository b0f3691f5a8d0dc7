"""C{/close}, C{DELETE /prefix} and C{GET /stat}."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from storehouse.core.names import check_prefix
from storehouse.errors import BadRequest
from storehouse.frontends.append.params import check_fields, prefix_of
from storehouse.frontends.http.guard import refuse_browsers
from storehouse.frontends.http.reply import Reply, json_reply
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.resource import Leaf
from storehouse.storage.appendlog.interfaces import IAppendLog

__all__ = ["Close", "Prefix", "Stat"]

_FIELDS = frozenset({b"storagePrefix"})


class _OfPrefixes(Leaf):
    def __init__(self, log: IAppendLog) -> None:
        Leaf.__init__(self)
        self._log = log


class Close(Leaf):
    """
    Close the files of a prefix, so that its directory can be removed.

    @param close: closes one; see L{IAppendLog.close_prefix}.
    """

    def __init__(self, close: Callable[[str], Deferred[None]]) -> None:
        Leaf.__init__(self)
        self._close = close

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        """Close it."""
        check_fields(request, _FIELDS)
        refuse_browsers(request)
        if request.method == b"HEAD":
            raise BadRequest("HEAD would close the prefix; use GET or POST")
        await self._close(prefix_of(request))
        return json_reply({"success": True})

    handle_POST = handle_GET


class Prefix(_OfPrefixes):
    """Remove a prefix."""

    async def handle_DELETE(self, request: StreamingRequest) -> Reply:
        """Remove it, with all its records."""
        check_fields(request, _FIELDS)
        named = request.fields.get(b"storagePrefix")
        if not named:
            raise BadRequest("the query must name the storagePrefix to be removed")
        await self._log.delete_prefix(check_prefix(named))
        return json_reply({"success": True})


class Stat(_OfPrefixes):
    """How much there is."""

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        """The sizes of a prefix, or of all."""
        check_fields(request, _FIELDS)
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
