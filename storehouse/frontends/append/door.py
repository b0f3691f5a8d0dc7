"""The append door as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from storehouse.config.settings import AppendSettings
from storehouse.frontends.append.append import Append, AppendMulti
from storehouse.frontends.append.get import Get, GetMulti
from storehouse.frontends.append.lane import AppendLane
from storehouse.frontends.append.prefix import Close, Prefix, Stat
from storehouse.frontends.append.scan import Scan
from storehouse.frontends.http.fields import check_fields
from storehouse.frontends.http.reply import Reply, text_reply
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.resource import Leaf, Root
from storehouse.storage.appendlog.interfaces import IAppendLog

__all__ = ["AppendDoor"]

_INDEX = """storehouse: the append log

POST   /append?id=ID                  the body is a record; answers its offset
GET    /get?id=ID&offset=N            the record at an offset
POST   /getMulti?id=ID                several records by their offsets (8 bytes little-endian each)
POST   /appendMulti?id=ID             several records, all or none
GET    /scan?id=ID | ?bucket=N        records in order; offset=N, limit=N, follow=1
GET    /stat                          how much there is
GET    /close?storagePrefix=NAME      close the files of a prefix
DELETE /prefix?storagePrefix=NAME     remove a prefix

All take storagePrefix=NAME.
"""


class _Index(Leaf):
    """What this is."""

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        """Text for people."""
        check_fields(request, frozenset())
        return text_reply(_INDEX)


class AppendDoor:
    """
    The append log over HTTP.

    @ivar resource: the top of its resource tree.
    @ivar lane: its fast lane.
    """

    def __init__(
        self,
        log: IAppendLog,
        limits: AppendSettings,
        fast_lane: bool = True,
        close: Callable[[str], Deferred[None]] | None = None,
    ) -> None:
        """@param close: closes a prefix instead of the log itself."""
        self.resource = Root(
            {
                b"": _Index(),
                b"append": Append(log, limits),
                b"appendMulti": AppendMulti(log, limits),
                b"get": Get(log),
                b"getMulti": GetMulti(log, limits),
                b"scan": Scan(log),
                b"stat": Stat(log),
                b"close": Close(close or log.close_prefix),
                b"prefix": Prefix(log),
            }
        )
        self.lane: Any = AppendLane(log, limits) if fast_lane else None
