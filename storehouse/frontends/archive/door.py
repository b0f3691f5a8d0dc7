"""The archive door as a whole."""

from __future__ import annotations

from storehouse.config.settings import ArchiveSettings
from storehouse.frontends.archive.streams import Streams
from storehouse.frontends.http.reply import Reply, text_reply
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.resource import Leaf, Root
from storehouse.frontends.http.targets import check_fields
from storehouse.storage.streams.interfaces import IStreams

__all__ = ["ArchiveDoor"]

_INDEX = """storehouse: archives

GET    /archive                       all streams
POST   /archive/STREAM                the body is a record; X-Meta-NAME: VALUE is its metadata
POST   /archive/STREAM                several records, all or none; Content-Type: application/x-ndjson
                                      or application/x-storehouse-records
GET    /archive/STREAM                records in order; from=TIME, to=TIME
GET    /archive/STREAM/archives       its archives
"""


class _Index(Leaf):
    """What this is."""

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        """Text for people."""
        check_fields(request, frozenset())
        return text_reply(_INDEX)


class ArchiveDoor:
    """
    Streams of records over HTTP.

    @ivar resource: the top of its resource tree.
    """

    def __init__(self, streams: IStreams, limits: ArchiveSettings) -> None:
        self.resource = Root({b"": _Index(), b"archive": Streams(streams, limits)})
