"""C{/buckets}, and what is below it."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from storehouse.errors import BadRequest
from storehouse.events import AccessChanged
from storehouse.frontends.http.reply import MethodNotAllowed, Reply, json_reply, long_json_reply
from storehouse.frontends.http.request import Leaf, StreamingRequest, check_fields, number_of, text_of
from storehouse.frontends.objects.params import json_object, metadata_in, names_in_path
from storehouse.storage.objects.interfaces import IObjectStore

__all__ = ["Buckets"]

_NO_FIELDS: frozenset[bytes] = frozenset()
#: Bytes of memory that an object takes on its way into a list, about.
_ROW = 2048

_LISTING = frozenset({b"prefix", b"delimiter", b"after", b"limit"})
_VERSIONS = frozenset({b"prefix", b"delimiter", b"key_marker", b"version_marker", b"limit"})

#: The most keys of a page.
MAX_PAGE = 10_000


class Buckets(Leaf):
    """All buckets, one of them, its usage, its objects."""

    takes_rest = True

    def __init__(
        self, store_for: Callable[[str], IObjectStore], audit: Callable[[object], object] = lambda event: None
    ) -> None:
        Leaf.__init__(self)
        self._audit = audit
        self._store_for = store_for

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        """Tell what is known."""
        names = names_in_path(request)
        if names[1:] == ["objects"]:
            return await self._list(request, names[0])
        if names[1:] == ["versions"]:
            return await self._list_versions(request, names[0])
        check_fields(request, _NO_FIELDS)
        if not names:
            buckets = await self._store_for(request.source).list_buckets()
            return await long_json_reply({"buckets": (attrs.asdict(bucket) for bucket in buckets)}, {})
        if len(names) == 1:
            return json_reply(attrs.asdict(await self._store_for(request.source).get_bucket(names[0])))
        if names[1:] == ["usage"]:
            usage = await self._store_for(request.source).usage(names[0])
            return json_reply(
                {
                    "objects": usage.keys,
                    "bytes": usage.size,
                    "versions": usage.versions,
                    "versions_bytes": usage.versions_size,
                    "markers": usage.markers,
                }
            )
        raise request.no_such_resource()

    async def handle_PUT(self, request: StreamingRequest) -> Reply:
        """Make a bucket; or give one that is there other metadata."""
        names = names_in_path(request)
        changes = names[1:] == ["metadata"]
        name = names[0] if changes else self._bucket(request)
        check_fields(request, _NO_FIELDS)
        given = await json_object(request, {"metadata": dict}) if changes or request.body.length != 0 else {}
        if changes and "metadata" not in given:
            raise BadRequest("the body has no metadata")
        metadata = metadata_in(given.get("metadata", {}))
        store = self._store_for(request.source)
        bucket = await (store.set_bucket_metadata if changes else store.create_bucket)(name, metadata)
        action = "set-bucket-metadata" if changes else "create-bucket"
        # Whether it is public is part of its metadata.
        public = f"public={','.join(metadata.get('public', ()))}"
        self._audit(AccessChanged("objects", "", request.source, action, name, public))
        return json_reply(attrs.asdict(bucket))

    async def handle_DELETE(self, request: StreamingRequest) -> Reply:
        """Remove a bucket."""
        name = self._bucket(request)
        await self._store_for(request.source).delete_bucket(name)
        self._audit(AccessChanged("objects", "", request.source, "delete-bucket", name))
        return json_reply({"success": True})

    def _bucket(self, request: StreamingRequest) -> str:
        check_fields(request, _NO_FIELDS)
        names = names_in_path(request)
        if len(names) != 1:
            raise MethodNotAllowed(request.method, (b"GET", b"HEAD"))
        return names[0]

    async def _list(self, request: StreamingRequest, bucket: str) -> Reply:
        check_fields(request, _LISTING)
        limit = _page_size(request, "keys")
        async with request.ahead(limit * _ROW):
            page = await self._store_for(request.source).list_objects(
                bucket, text_of(request, b"prefix"), text_of(request, b"delimiter"), text_of(request, b"after"), limit
            )
            lists = {"objects": (attrs.asdict(info) for info in page.objects), "prefixes": page.prefixes}
            rest = {"next_after": page.next_after, "damaged": page.damaged, "unknown": page.unknown}
            return await long_json_reply(lists, rest)

    async def _list_versions(self, request: StreamingRequest, bucket: str) -> Reply:
        check_fields(request, _VERSIONS)
        limit = _page_size(request, "versions")
        async with request.ahead(limit * _ROW):
            page = await self._store_for(request.source).list_versions(
                bucket,
                text_of(request, b"prefix"),
                text_of(request, b"delimiter"),
                text_of(request, b"key_marker"),
                text_of(request, b"version_marker"),
                limit,
            )
            lists = {"versions": (attrs.asdict(info) for info in page.versions), "prefixes": page.prefixes}
            rest = {
                "next_key_marker": page.next_key_marker,
                "next_version_marker": page.next_version_marker,
                "damaged": page.damaged,
            }
            return await long_json_reply(lists, rest)


def _page_size(request: StreamingRequest, what: str) -> int:
    limit = number_of(request, b"limit", 1000)
    if limit > MAX_PAGE:
        raise BadRequest(f"a page has at most {MAX_PAGE} {what}")
    return limit
