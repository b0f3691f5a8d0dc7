"""
OpenStack Swift.

Every upload has its MD5 as etag, so that Swift refuses what it did not get as it was sent. A file larger than a threshold
becomes a static large object: Swift segments, in a container of their own, and a manifest that makes them one object in one
step. The names of Swift segments are made of the content, so that a repeat uploads only those that are missing.
Source: the OpenStack API references of Object Storage v1 and Identity v3, and TempAuth in Swift's documentation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from random import Random
from urllib.parse import quote, urlencode

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from storehouse.config.shipping import SwiftSettings
from storehouse.core.httpclient import Body, RemoteClient, Response, range_header
from storehouse.core.jobs import IDisk, deferred
from storehouse.core.streams import BytesStream, IByteStream
from storehouse.core.turns import Reactor
from storehouse.errors import InvalidRange, NoSuchKey, RemoteDamaged, RemoteRefused, RemoteUnavailable
from storehouse.storage.shipping.bodies import file_body
from storehouse.storage.shipping.files import hash_range
from storehouse.storage.shipping.interfaces import IDestination, Listing, LocalFile, Stored
from storehouse.storage.shipping.names import check_name

__all__ = ["SwiftDestination"]

#: Swift segments that a manifest may have, by Swift's defaults.
_MAX_SEGMENTS = 1000

_MIB = 1 << 20

#: Holds the SHA-256 of the whole object.
_SHA256 = "x-object-meta-sha256"


@implementer(IDestination)
class SwiftDestination:
    """
    See L{IDestination}.

    @param reactor: for connections and time.
    @param random: makes the pauses between tries uneven.
    """

    def __init__(self, settings: SwiftSettings, reactor: Reactor, disk: IDisk, random: Random | None = None) -> None:
        self._settings = settings
        self._disk = disk
        self._client = RemoteClient(reactor, random or Random(), **attrs.asdict(settings.connecting))
        self._access: _Access | None = None

    def __repr__(self) -> str:
        return f"<SwiftDestination {self._settings.auth_url} {self._settings.container}>"

    def close(self) -> Deferred[None]:
        return self._client.close()

    # -- what is stored ------------------------------------------------------------------------

    @deferred
    async def stat(self, name: str) -> Stored:
        response = await self._request("HEAD", self._path(check_name(name)))
        if response.status == 404:
            raise NoSuchKey(f"there is no {name} at {self!r}")
        self._expect(response, 200, 204)
        return Stored(name, int(response.header("content-length")), _tag(response), response.header(_SHA256))

    @deferred
    async def get(self, name: str, offset: int = 0, length: int | None = None) -> IByteStream:
        check_name(name)
        if length == 0:
            return await self._empty(name, offset, length)
        headers = range_header(offset, length)
        for renew in (False, True):
            access = await self._authenticate(renew)
            response, stream = await self._open(access, name, headers)
            if response.status != 401:
                break
        if stream is not None:
            return stream
        if response.status == 404:
            raise NoSuchKey(f"there is no {name} at {self!r}")
        if response.status == 416:
            return await self._empty(name, offset, length)
        raise self._refusal(response)

    async def _open(
        self, access: _Access, name: str, headers: Mapping[str, str]
    ) -> tuple[Response, IByteStream | None]:
        url = access.url + self._path(name)
        return await self._client.open(url, lambda: {**headers, "x-auth-token": access.token})

    async def _empty(self, name: str, offset: int, length: int | None) -> IByteStream:
        size = (await self.stat(name)).size
        if offset > size:
            raise InvalidRange(offset, length, size)
        return BytesStream()

    @deferred
    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Listing:
        # One more than wanted, to know whether there are more.
        query = {"format": "json", "limit": str(min(limit, 1000) + 1), "prefix": prefix, "marker": after}
        response = await self._request("GET", self._path(""), {key: value for key, value in query.items() if value})
        if response.status == 404:
            return Listing([], None)
        self._expect(response, 200, 204)
        try:
            found = json.loads(response.body or b"[]")
            entries = [Stored(each["name"], each["bytes"], each.get("hash", "")) for each in found]
        except (ValueError, KeyError, TypeError):
            raise RemoteUnavailable(f"{self!r} sent a listing that is not one of Swift") from None
        page = entries[: min(limit, 1000)]
        return Listing(page, page[-1].name if len(entries) > len(page) else None)

    # -- storing -------------------------------------------------------------------------------

    @deferred
    async def put(self, name: str, file: LocalFile) -> Stored:
        check_name(name)
        if file.size <= self._settings.threshold:
            return await self._put_at_once(name, file)
        return await self._put_in_segments(name, file)

    async def _put_at_once(self, name: str, file: LocalFile) -> Stored:
        headers = {"content-type": file.content_type, "etag": file.md5, _SHA256: file.sha256}
        response = await self._store(self._path(name), {}, headers, file_body(self._disk, file.path, 0, file.size))
        self._compare(name, _tag(response), file.md5)
        return Stored(name, file.size, file.md5, file.sha256)

    async def _put_in_segments(self, name: str, file: LocalFile) -> Stored:
        size = self._settings.segment_size
        least = -(-file.size // _MAX_SEGMENTS)
        if size < least:
            size = -(-least // _MIB) * _MIB
        segments = []
        for number, offset in enumerate(range(0, file.size, size)):
            length = min(size, file.size - offset)
            segment = f"{file.sha256}/{size}/{number:08d}"
            md5 = await self._put_segment(segment, file.path, offset, length)
            path = f"/{self._segments}/{segment}"
            segments.append({"path": path, "etag": md5, "size_bytes": length})
        tag = hashlib.md5("".join(str(each["etag"]) for each in segments).encode("ascii"), usedforsecurity=False)
        headers = {"content-type": file.content_type, _SHA256: file.sha256}
        response = await self._store(
            self._path(name), {"multipart-manifest": "put"}, headers, json.dumps(segments).encode()
        )
        self._compare(name, _tag(response), tag.hexdigest())
        return Stored(name, file.size, tag.hexdigest(), file.sha256)

    async def _put_segment(self, segment: str, path: str, offset: int, length: int) -> str:
        """@return: its MD5."""
        md5 = hashlib.md5(usedforsecurity=False)
        await hash_range(self._disk, path, offset, length, md5)
        digest = md5.hexdigest()
        target = self._path(segment, self._segments)
        present = await self._request("HEAD", target)
        if present.status in (200, 204) and _tag(present) == digest and present.header("content-length") == str(length):
            return digest
        response = await self._store(target, {}, {"etag": digest}, file_body(self._disk, path, offset, length))
        self._compare(segment, _tag(response), digest)
        return digest

    async def _store(
        self, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes | Body
    ) -> Response:
        """Send a PUT request; if there is no container, create it and repeat the request."""
        response = await self._request("PUT", path, query, headers, body)
        if response.status == 404 and self._settings.create:
            for container in (self._settings.container, self._segments):
                self._expect(await self._request("PUT", self._path("", container)), 201, 202)
            response = await self._request("PUT", path, query, headers, body)
        self._expect(response, 201)
        return response

    # -- requests ------------------------------------------------------------------------------

    @property
    def _segments(self) -> str:
        return self._settings.container + "_segments"

    def _path(self, name: str, container: str = "") -> str:
        """The path of an object or container, below that of the account."""
        path = f"/{quote(container or self._settings.container, safe='')}"
        return f"{path}/{quote(name, safe='-_.~/')}" if name else path

    async def _authenticate(self, renew: bool) -> _Access:
        """@param renew: whether to request another token: the last one was refused, perhaps for its age."""
        if self._access is None or renew:
            self._access = None
            self._access = await _request_access(self._client, self._settings)
        return self._access

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | Body = b"",
    ) -> Response:
        for renew in (False, True):
            access = await self._authenticate(renew)
            url = access.url + path + ("?" + urlencode(query, quote_via=quote) if query else "")
            every = {**(headers or {}), "x-auth-token": access.token}
            response = await self._client.request(method, url, lambda every=every: every, body)  # type: ignore[misc]
            if response.status != 401:
                break
        return response

    def _expect(self, response: Response, *statuses: int) -> None:
        if response.status not in statuses:
            raise self._refusal(response)

    def _refusal(self, response: Response) -> Exception:
        if response.status == 422:
            return RemoteDamaged(f"{self!r} received other bytes than were sent: {response.status}")
        if response.status in (401, 403):
            return RemoteRefused(f"{self!r} refuses the credentials, or they do not allow this: {response.status}")
        return RemoteRefused(f"{self!r} refuses: {response.status}")

    def _compare(self, name: str, tag: str, expected: str) -> None:
        if tag != expected:
            raise RemoteDamaged(f"{self!r} has stored something else under {name}: its tag is {tag}, not {expected}")


def _tag(response: Response) -> str:
    return response.header("etag").strip('"')


# -- authentication --------------------------------------------------------------------------------


@attrs.frozen
class _Access:
    """
    A token, and the URL of the account that it is for.

    @ivar url: without a slash at its end.
    """

    url: str
    token: str = attrs.field(repr=False)


async def _request_access(client: RemoteClient, settings: SwiftSettings) -> _Access:
    """@raise RemoteRefused: for wrong credentials."""
    access = await (
        _request_keystone(client, settings) if settings.auth == "v3" else _request_tempauth(client, settings)
    )
    if settings.storage_url:
        access = attrs.evolve(access, url=settings.storage_url)
    if not access.url or not access.token:
        raise RemoteUnavailable(f"{settings.auth_url} returned no token, or no URL of the object store")
    return attrs.evolve(access, url=access.url.rstrip("/"))


def _check(response: Response, settings: SwiftSettings) -> None:
    if response.status in (401, 403):
        raise RemoteRefused(f"{settings.auth_url} refuses the credentials of {settings.user}: {response.status}")
    if not 200 <= response.status < 300:
        raise RemoteRefused(f"{settings.auth_url} refuses to authenticate: {response.status}")


async def _request_tempauth(client: RemoteClient, settings: SwiftSettings) -> _Access:
    headers = {"x-auth-user": settings.user, "x-auth-key": settings.password}
    response = await client.request("GET", settings.auth_url, lambda: headers)
    _check(response, settings)
    return _Access(response.header("x-storage-url"), response.header("x-auth-token"))


async def _request_keystone(client: RemoteClient, settings: SwiftSettings) -> _Access:
    identity = {
        "methods": ["password"],
        "password": {
            "user": {
                "name": settings.user,
                "domain": {"name": settings.user_domain},
                "password": settings.password,
            }
        },
    }
    scope = {"project": {"name": settings.project, "domain": {"name": settings.project_domain}}}
    auth: dict[str, object] = {"identity": identity}
    if settings.project:
        auth["scope"] = scope
    response = await client.request(
        "POST",
        settings.auth_url.rstrip("/") + "/auth/tokens",
        lambda: {"content-type": "application/json"},
        json.dumps({"auth": auth}).encode(),
    )
    _check(response, settings)
    try:
        catalog = json.loads(response.body)["token"].get("catalog", [])
        urls = [
            endpoint["url"]
            for service in catalog
            if service["type"] == "object-store"
            for endpoint in service["endpoints"]
            if endpoint["interface"] == settings.interface
            and settings.region in ("", endpoint.get("region"), endpoint.get("region_id"))
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RemoteUnavailable(f"{settings.auth_url} sent a response that is not Keystone's") from None
    if not urls and not settings.storage_url:
        raise RemoteRefused(f"{settings.auth_url} has no {settings.interface} object store for {settings.user}")
    return _Access(urls[0] if urls else "", response.header("x-subject-token"))
