"""C{/objects/BUCKET/KEY}, C{/info/BUCKET/KEY} and C{/copy}."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import attrs

from storehouse.errors import BadRequest, InvalidRange
from storehouse.frontends.http.reply import OCTETS, Reply, json_reply
from storehouse.frontends.http.request import Leaf, StreamingRequest, check_body, check_fields
from storehouse.frontends.http.sending import (
    content_range,
    open_selected,
    send_stream,
    unsatisfied_reply,
    validators_of,
)
from storehouse.frontends.objects.params import (
    condition_in,
    condition_of,
    content_type_of,
    flag_of,
    json_object,
    key_of,
    metadata_in,
    metadata_of,
)
from storehouse.storage.objects.interfaces import IObjectStore, ObjectInfo

__all__ = ["Copy", "Info", "Objects"]

_NO_FIELDS: frozenset[bytes] = frozenset()

_sendable = re.compile(r"[\x21-\x7e][\x20-\x7e]*").fullmatch


def _type(info: ObjectInfo) -> bytes:
    # What is stored may come from elsewhere: it must not end the line.
    return info.content_type.encode("ascii") if _sendable(info.content_type) else OCTETS


class _OfStore(Leaf):
    takes_rest = True

    def __init__(self, store_for: Callable[[str], IObjectStore]) -> None:
        Leaf.__init__(self)
        self._store_for = store_for


class Objects(_OfStore):
    """The bytes of an object."""

    async def handle_PUT(self, request: StreamingRequest) -> Reply:
        """Store it. Nothing is stored if the body does not come whole."""
        check_fields(request, frozenset({b"md5"}))
        check_body(request)
        bucket, key = key_of(request)
        info = await self._store_for(request.source).put(
            bucket,
            key,
            request.body,
            request.body.length,
            content_type_of(request, key),
            metadata_of(request),
            condition_of(request),
            flag_of(request, b"md5"),
        )
        return json_reply(attrs.asdict(info))

    async def handle_DELETE(self, request: StreamingRequest) -> Reply:
        """Remove the object, if the conditions of the request hold."""
        check_fields(request, _NO_FIELDS)
        info = await self._store_for(request.source).delete(*key_of(request), condition_of(request))
        return json_reply(attrs.asdict(info))

    async def handle_GET(self, request: StreamingRequest) -> Reply | None:
        """Give it, or a range of it. If it turns out to be damaged, the connection ends before the damaged block."""
        check_fields(request, _NO_FIELDS)
        bucket, key = key_of(request)
        try:
            info, selection, reader = await open_selected(
                request,
                lambda: self._store_for(request.source).head(bucket, key),
                lambda offset, length: self._store_for(request.source).get(bucket, key, offset, length),
            )
        except InvalidRange as error:
            return unsatisfied_reply(error)
        fields = validators_of(info).fields
        if selection.status == 304:
            request.begin(304, b"", fields)
            return None
        (span,) = selection.spans
        fields += ((b"Accept-Ranges", b"bytes"),)
        if selection.status == 206:
            fields += ((b"Content-Range", content_range(span, info.size)),)
        if reader is None:
            request.begin(selection.status, _type(info), fields, span.length)
            return None
        try:
            request.begin(selection.status, _type(info), fields, span.length)
            await send_stream(request, reader, f"{bucket}/{key}")
        finally:
            await reader.close()
        return None


class Info(_OfStore):
    """What is known of an object."""

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        """Respond with the object's metadata, as JSON, without opening its bytes."""
        check_fields(request, _NO_FIELDS)
        return json_reply(attrs.asdict(await self._store_for(request.source).head(*key_of(request))))


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
        return json_reply(attrs.asdict(await self._store_for(request.source).copy(**given)))
