"""
The fast lane of the append door: plain appends, batches and reads, with the resources' responses, byte for byte.

This is the hot path, and plain synchronous code: no Deferreds, no request objects, and calls only where they pay.
"""

from __future__ import annotations

import re
from functools import partial
from itertools import chain
from struct import Struct
from typing import Literal

from zope.interface import implementer

from storehouse.config.settings import AppendSettings
from storehouse.core.framing import split_records
from storehouse.core.names import DEFAULT_PREFIX
from storehouse.errors import EmptyRecord, StorehouseError
from storehouse.frontends.append.append import AT_ONCE, MAX_LANE_BODY, append_reply, multi_reply
from storehouse.frontends.http.channel import DoorChannel
from storehouse.frontends.http.lane import DECLINED, FRAMING, OWED, Head, ILane, IRoute
from storehouse.frontends.http.reply import OCTETS, Reply, encode_reply, error_reply
from storehouse.storage.appendlog.interfaces import Durability, IAppendLog, IBucketFile

__all__ = ["AppendLane"]

# Identifiers and prefixes that need no decoding and pass all checks. Requests with others are for the resources.
_is_line = re.compile(
    rb"(POST /append|POST /appendMulti|POST /getMulti|GET /get)\?id=([A-Za-z0-9._-]{1,128})(?:&offset=(\d{1,18}))?"
    rb"(?:&storagePrefix=([A-Za-z0-9_-][A-Za-z0-9._-]{0,127}))? HTTP/1\.1\Z"
).match

_offset = Struct("<Q")

# Records that are read by one request, and bytes of them that are sent: a turn's fair share, and what may wait for a client.
_READ_AT_ONCE = 256
_MAX_FRAMED = 64 << 10

_LEVELS = {level.value.encode("ascii"): level for level in Durability}


@implementer(IRoute)
class _AppendRoute:
    """
    To C{/append} or C{/appendMulti}.

    @ivar found: the bucket file of the identifier, and the identifier's hash, once they were looked up: clients repeat
        requests.
    """

    __slots__ = ("found", "id", "prefix", "several")

    waits: Literal[False] = False
    repeats = True

    def __init__(self, prefix: str, id: bytes, several: bool) -> None:
        self.prefix = prefix
        self.id = id
        self.several = several
        self.found: tuple[IBucketFile, int] | None = None


@implementer(IRoute)
class _GetRoute(tuple[str, bytes, int]):
    """
    To C{/get}: the prefix, the identifier and the offset, as a tuple since that is made fastest. It is not remembered: clients
    seldom ask for the same offset again.
    """

    __slots__ = ()

    waits: Literal[True] = True
    repeats = False


@implementer(IRoute)
class _GetMultiRoute:
    """To C{/getMulti}."""

    __slots__ = ("id", "prefix")

    waits: Literal[True] = True
    repeats = True

    def __init__(self, prefix: str, id: bytes) -> None:
        self.prefix = prefix
        self.id = id


@implementer(ILane)
class AppendLane:
    """See L{ILane}."""

    prefixes = (b"POST /append", b"GET /get?", b"POST /getMulti?")
    fields = frozenset({b"durability", b"content-type"})
    excluded = FRAMING | {b"range", b"authorization", b"content-encoding", b"content-range"}

    def __init__(self, log: IAppendLog, limits: AppendSettings, max_body: int = MAX_LANE_BODY) -> None:
        self._log = log
        self._limits = limits
        self.max_body = min(max_body, limits.max_batch, limits.max_record)
        self._max_offsets = min(_READ_AT_ONCE, limits.max_multi) * _offset.size
        self._max_framed = min(_MAX_FRAMED, limits.max_multi_bytes)
        self._date = b""
        self._disk_template = self._os_template = self._read_template = b""

    def route(self, line: bytes) -> _AppendRoute | _GetRoute | _GetMultiRoute | None:
        match = _is_line(line)
        if match is None:
            return None
        verb, id, offset, named = match.groups()
        prefix = DEFAULT_PREFIX if named is None else named.decode("ascii")
        if verb == b"GET /get":
            return None if offset is None else _GetRoute((prefix, id, int(offset)))
        if offset is not None:
            return None
        if verb == b"POST /getMulti":
            return _GetMultiRoute(prefix, id)
        return _AppendRoute(prefix, id, verb == b"POST /appendMulti")

    # Only routes that it has made itself come.
    def serve(  # type: ignore[override]
        self, route: _AppendRoute | _GetRoute | _GetMultiRoute, head: Head, body: bytes, channel: DoorChannel
    ) -> object:
        date = channel.site.date
        if date is not self._date:
            # Once a second.
            self._set_date(date)
        if route.waits:
            return self._get(route, head) if isinstance(route, _GetRoute) else self._get_multi(route, body)
        found = route.found
        if found is None or found[0].closed:
            found = route.found = self._log.find_open(route.prefix, route.id)
            if found is None:
                return DECLINED
        bucket, id_hash = found
        level = self._log.default_durability
        if head.fields:
            wanted = head.fields.get(b"durability")
            if wanted is not None:
                level = _LEVELS.get(wanted)
                if level is None:
                    return DECLINED
        if route.several:
            return self._append_multi(bucket, id_hash, level, head, body, channel)
        if not body:
            return DECLINED
        bucket.append((body,), id_hash, level, partial(self._appended, channel, bucket))
        return OWED

    def _append_multi(
        self, bucket: IBucketFile, id_hash: int, level: Durability, head: Head, body: bytes, channel: DoorChannel
    ) -> object:
        if head.fields.get(b"content-type", b"").lower().startswith((b"application/x-ndjson", b"application/ndjson")):
            return DECLINED
        try:
            records = split_records(body, self._limits.max_record, min(AT_ONCE, self._limits.max_multi))
        except StorehouseError:
            # The resource finds the same error, and has the words for it.
            return DECLINED
        # No records, which is an error; or so many that the resource has to give way to others meanwhile.
        if not records:
            return DECLINED
        bucket.append(records, id_hash, level, partial(self._appended_multi, channel, bucket))
        return OWED

    def _get(self, route: _GetRoute, head: Head) -> object:
        if head.length:
            return DECLINED
        prefix, id, offset = route
        found = self._log.find_open(prefix, id)
        if found is None:
            return DECLINED
        try:
            payload = found[0].read(offset)
        except StorehouseError as error:
            return encode_reply(error_reply(error), self._date)
        if payload is None:
            return DECLINED
        return self._read_template % (len(payload), payload)

    def _get_multi(self, route: _GetMultiRoute, body: bytes) -> object:
        if not body or len(body) % _offset.size or len(body) > self._max_offsets:
            return DECLINED
        found = self._log.find_open(route.prefix, route.id)
        # What is long, damaged or not there is for the resource, which sends what comes before it.
        framed = found and found[0].read_framed(chain.from_iterable(_offset.iter_unpack(body)), self._max_framed)
        if not framed:
            return DECLINED
        return self._read_template % (len(framed), framed)

    def _set_date(self, date: bytes) -> None:
        # The templates are made by the encoder of all other responses, so that the lane cannot differ from it.
        self._date = date
        self._disk_template = _template(append_reply(0, b"", Durability.DISK), date)
        self._os_template = _template(append_reply(0, b"", Durability.OS), date)
        self._read_template = _template(Reply(200, b"", OCTETS), date)

    def _appended(
        self,
        channel: DoorChannel,
        bucket: IBucketFile,
        offsets: tuple[int, ...] | None,
        error: Exception | None,
        level: Durability,
    ) -> None:
        if offsets is None:
            channel.pay(encode_reply(error_reply(error or EmptyRecord()), self._date))
        else:
            body = b'{"offset":%d%b' % (offsets[0], bucket.json_tail)
            template = self._disk_template if level is Durability.DISK else self._os_template
            channel.pay(template % (len(body), body))

    def _appended_multi(
        self,
        channel: DoorChannel,
        bucket: IBucketFile,
        offsets: tuple[int, ...] | None,
        error: Exception | None,
        level: Durability,
    ) -> None:
        reply = (
            error_reply(error or EmptyRecord()) if offsets is None else multi_reply(offsets, bucket.json_tail, level)
        )
        channel.pay(encode_reply(reply, self._date))


def _template(reply: Reply, date: bytes) -> bytes:
    """The bytes of a response with C{%d} for the length and C{%b} for the body."""
    head, _, _ = encode_reply(Reply(reply.status, b"", reply.content_type, reply.headers), date).partition(b"\r\n\r\n")
    return head.replace(b"%", b"%%").replace(b"Content-Length: 0", b"Content-Length: %d") + b"\r\n\r\n%b"
