"""C{/objects/BUCKET/KEY}, C{/info/BUCKET/KEY} and C{/copy}."""

from __future__ import annotations

import re
from typing import Any

import attrs
from twisted.logger import Logger
from twisted.web.http import datetimeToString

from storehouse.errors import BadRequest, InvalidRange, PreconditionFailed, StorehouseError
from storehouse.frontends.http.errors import ClientGone, error_reply
from storehouse.frontends.http.fields import check_fields
from storehouse.frontends.http.reply import OCTETS, Reply, json_reply
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.resource import Leaf
from storehouse.frontends.http.sink import AnswerSink
from storehouse.frontends.objects.params import (
    condition_in,
    condition_of,
    content_type_of,
    flag_of,
    json_object,
    key_of,
    metadata_in,
    metadata_of,
    range_of,
)
from storehouse.storage.objects.interfaces import Condition, IObjectReader, IObjectStore, ObjectInfo

__all__ = ["Copy", "Info", "Objects"]

_NO_FIELDS: frozenset[bytes] = frozenset()

# How often an object is opened anew that is replaced between a look at its size and its opening.
_TRIES = 8

_sendable = re.compile(r"[\x21-\x7e][\x20-\x7e]*").fullmatch


def _quoted(etag: str) -> bytes:
    return b'"%b"' % etag.encode("ascii", "replace")


def _fields(info: ObjectInfo) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"ETag", _quoted(info.etag)),
        (b"Last-Modified", datetimeToString(info.created // 10**9)),
        (b"Accept-Ranges", b"bytes"),
    )


def _type(info: ObjectInfo) -> bytes:
    # What is stored may come from elsewhere: it must not end the line.
    return info.content_type.encode("ascii") if _sendable(info.content_type) else OCTETS


class _OfStore(Leaf):
    takes_rest = True

    def __init__(self, store: IObjectStore) -> None:
        Leaf.__init__(self)
        self._store = store


class Objects(_OfStore):
    """The bytes of an object."""

    _log = Logger()

    async def handle_PUT(self, request: StreamingRequest) -> Reply:
        """Store it. Nothing is stored if the body does not come whole."""
        check_fields(request, frozenset({b"md5"}))
        bucket, key = key_of(request)
        info = await self._store.put(
            bucket,
            key,
            request.body,
            request.body.length,
            content_type_of(request),
            metadata_of(request),
            condition_of(request),
            flag_of(request, b"md5"),
        )
        return json_reply(attrs.asdict(info))

    async def handle_DELETE(self, request: StreamingRequest) -> Reply:
        """Remove it."""
        check_fields(request, _NO_FIELDS)
        info = await self._store.delete(*key_of(request), condition_of(request))
        return json_reply(attrs.asdict(info))

    async def handle_GET(self, request: StreamingRequest) -> Reply | None:
        """Give it, or a range of it. If it turns out to be damaged, the connection ends before the damaged block."""
        check_fields(request, _NO_FIELDS)
        bucket, key = key_of(request)
        if request.method == b"HEAD":
            info = await self._store.head(bucket, key)
            _check_match(condition_of(request), info, bucket, key)
            request.begin(200, _type(info), _fields(info), info.size)
            return None
        try:
            reader, partial = await self._open(request, bucket, key)
        except InvalidRange as error:
            return attrs.evolve(error_reply(error), headers=((b"Content-Range", b"bytes */%d" % error.size),))
        try:
            info = reader.info
            fields = _fields(info)
            if partial:
                last = reader.offset + reader.length - 1
                fields += ((b"Content-Range", b"bytes %d-%d/%d" % (reader.offset, last, info.size)),)
            _check_match(condition_of(request), info, bucket, key)
            request.begin(206 if partial else 200, _type(info), fields, reader.length)
            await self._send(request, reader, bucket, key)
        finally:
            reader.close()
        return None

    async def _open(self, request: StreamingRequest, bucket: str, key: str) -> tuple[IObjectReader, bool]:
        if request.requestHeaders.getRawHeaders(b"Range") is None:
            return await self._store.get(bucket, key), False
        for _ in range(_TRIES):
            info = await self._store.head(bucket, key)
            wanted = range_of(request, info.etag, info.size)
            if wanted is None:
                return await self._store.get(bucket, key), False
            if not wanted[1]:
                raise InvalidRange(wanted[0], None, info.size)
            try:
                reader = await self._store.get(bucket, key, *wanted)
            except InvalidRange:
                continue
            if reader.info.id == info.id:
                return reader, True
            reader.close()
        raise BadRequest(f"the object {bucket}/{key} is replaced too often to give a range of it")

    async def _send(self, request: StreamingRequest, reader: IObjectReader, bucket: str, key: str) -> None:
        sink = AnswerSink(request)
        try:
            await reader.deliver(sink)
        except StorehouseError as error:
            if request.gone:
                raise ClientGone("the connection was closed before the answer was whole") from None
            self._log.error(
                "sending {name} broke off after {count} bytes: {error}",
                name=f"{bucket}/{key}",
                count=sink.count,
                error=error.detail,
            )
            # What was verified arrives; that more was announced tells the client that it is not all.
            request.break_off()


def _check_match(condition: Condition, info: ObjectInfo, bucket: str, key: str) -> None:
    if condition.etag not in (None, "*", info.etag):
        raise PreconditionFailed(f"the object {bucket}/{key} has the etag {info.etag}")


class Info(_OfStore):
    """What is known of an object."""

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        """Tell it."""
        check_fields(request, _NO_FIELDS)
        return json_reply(attrs.asdict(await self._store.head(*key_of(request))))


_COPY = {
    "bucket": str,
    "key": str,
    "source_bucket": str,
    "source_key": str,
    "content_type": str,
    "metadata": dict,
    "condition": dict,
    "source_condition": dict,
}


class Copy(_OfStore):
    """An object under another key."""

    takes_rest = False

    async def handle_POST(self, request: StreamingRequest) -> Reply:
        """Store it there."""
        check_fields(request, _NO_FIELDS)
        given: dict[str, Any] = await json_object(request, _COPY)
        for name in ("bucket", "key", "source_bucket", "source_key"):
            if name not in given:
                raise BadRequest(f"the body has no {name}")
        given["condition"] = condition_in(given.get("condition"))
        given["source_condition"] = condition_in(given.get("source_condition"))
        if "metadata" in given:
            given["metadata"] = metadata_in(given["metadata"])
        return json_reply(attrs.asdict(await self._store.copy(**given)))
