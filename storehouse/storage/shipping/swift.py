"""
OpenStack Swift.

Every upload says its MD5, so that Swift refuses what it did not get as it was sent. What is larger than a threshold is a
static large object: segments, in a container of their own, and a manifest that makes them one in one step. The names of
segments are made of the content, so that a repeat finds those that are there already.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from random import Random
from typing import Any
from urllib.parse import quote, urlencode

from twisted.internet.defer import Deferred
from zope.interface import implementer

from storehouse.config.shipping import SwiftSettings
from storehouse.core.disk import IDisk
from storehouse.core.streams import deferred
from storehouse.errors import InvalidRange, NoSuchKey, RemoteDamaged, RemoteRefused, RemoteUnavailable
from storehouse.storage.shipping.http import Answer, FileRange, RemoteClient, range_header
from storehouse.storage.shipping.interfaces import IDestination, IRemoteReader, Listing, LocalFile, Stored
from storehouse.storage.shipping.names import check_name
from storehouse.storage.shipping.reading import EmptyReader, RemoteReader
from storehouse.storage.shipping.sources import digest_of
from storehouse.storage.shipping.swift_auth import Admission, admit

__all__ = ["SwiftDestination"]

#: The most segments that a manifest may have, as Swift is set up by default.
_MAX_SEGMENTS = 1000

_MIB = 1 << 20

#: Where the SHA-256 of the whole is kept.
_SHA256 = "x-object-meta-sha256"


@implementer(IDestination)
class SwiftDestination:
    """
    See L{IDestination}.

    @param reactor: for connections and time.
    """

    def __init__(self, settings: SwiftSettings, reactor: Any, disk: IDisk, random: Random | None = None) -> None:
        self._settings = settings
        self._disk = disk
        self._client = RemoteClient(reactor, disk, settings.connecting, random or Random())
        self._admission: Admission | None = None

    def __repr__(self) -> str:
        return f"<SwiftDestination {self._settings.auth_url} {self._settings.container}>"

    def close(self) -> Deferred[None]:
        """See L{IDestination.close}."""
        return self._client.close()

    # -- what is stored ------------------------------------------------------------------------

    @deferred
    async def stat(self, name: str) -> Stored:
        """See L{IDestination.stat}."""
        answer = await self._ask("HEAD", self._path(check_name(name)))
        if answer.status == 404:
            raise NoSuchKey(f"there is no {name} at {self!r}")
        self._expect(answer, 200, 204)
        return Stored(name, int(answer.header("content-length")), _tag(answer), answer.header(_SHA256))

    @deferred
    async def get(self, name: str, offset: int = 0, length: int | None = None) -> IRemoteReader:
        """See L{IDestination.get}."""
        check_name(name)
        if length == 0:
            return await self._empty(name, offset, length)
        headers = range_header(offset, length)
        for fresh in (False, True):
            admission = await self._admitted(fresh)
            answer, reader = await self._open(admission, name, headers)
            if answer.status != 401:
                break
        if reader is not None:
            return reader
        if answer.status == 404:
            raise NoSuchKey(f"there is no {name} at {self!r}")
        if answer.status == 416:
            return await self._empty(name, offset, length)
        raise self._refusal(answer)

    async def _open(
        self, admission: Admission, name: str, headers: Mapping[str, str]
    ) -> tuple[Answer, RemoteReader | None]:
        url = admission.url + self._path(name)
        return await self._client.open(url, lambda: {**headers, "x-auth-token": admission.token})

    async def _empty(self, name: str, offset: int, length: int | None) -> IRemoteReader:
        size = (await self.stat(name)).size
        if offset > size:
            raise InvalidRange(offset, length, size)
        return EmptyReader()

    @deferred
    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Listing:
        """See L{IDestination.list}."""
        # One more than asked for says whether there are more.
        query = {"format": "json", "limit": str(min(limit, 1000) + 1), "prefix": prefix, "marker": after}
        answer = await self._ask("GET", self._path(""), {key: value for key, value in query.items() if value})
        if answer.status == 404:
            return Listing([], None)
        self._expect(answer, 200, 204)
        try:
            found = json.loads(answer.body or b"[]")
            entries = [Stored(each["name"], each["bytes"], each.get("hash", "")) for each in found]
        except (ValueError, KeyError, TypeError):
            raise RemoteUnavailable(f"{self!r} gives a listing that is none") from None
        page = entries[: min(limit, 1000)]
        return Listing(page, page[-1].name if len(entries) > len(page) else None)

    # -- storing -------------------------------------------------------------------------------

    @deferred
    async def put(self, name: str, file: LocalFile) -> Stored:
        """See L{IDestination.put}."""
        check_name(name)
        if file.size <= self._settings.threshold:
            return await self._put_at_once(name, file)
        return await self._put_in_segments(name, file)

    async def _put_at_once(self, name: str, file: LocalFile) -> Stored:
        headers = {"content-type": file.content_type, "etag": file.md5, _SHA256: file.sha256}
        answer = await self._store(self._path(name), {}, headers, FileRange(file.path, 0, file.size))
        self._compare(name, _tag(answer), file.md5)
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
        answer = await self._store(
            self._path(name), {"multipart-manifest": "put"}, headers, json.dumps(segments).encode()
        )
        self._compare(name, _tag(answer), tag.hexdigest())
        return Stored(name, file.size, tag.hexdigest(), file.sha256)

    async def _put_segment(self, segment: str, path: str, offset: int, length: int) -> str:
        """@return: its MD5."""
        md5 = hashlib.md5(usedforsecurity=False)
        await digest_of(self._disk, path, offset, length, md5)
        digest = md5.hexdigest()
        target = self._path(segment, self._segments)
        there = await self._ask("HEAD", target)
        if there.status in (200, 204) and _tag(there) == digest and there.header("content-length") == str(length):
            return digest
        answer = await self._store(target, {}, {"etag": digest}, FileRange(path, offset, length))
        self._compare(segment, _tag(answer), digest)
        return digest

    async def _store(
        self, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes | FileRange
    ) -> Answer:
        """Store, in a container that is made if it is not there."""
        answer = await self._ask("PUT", path, query, headers, body)
        if answer.status == 404 and self._settings.create:
            for container in (self._settings.container, self._segments):
                self._expect(await self._ask("PUT", self._path("", container)), 201, 202)
            answer = await self._ask("PUT", path, query, headers, body)
        self._expect(answer, 201)
        return answer

    # -- requests ------------------------------------------------------------------------------

    @property
    def _segments(self) -> str:
        return self._settings.container + "_segments"

    def _path(self, name: str, container: str = "") -> str:
        """Below the account."""
        path = f"/{quote(container or self._settings.container, safe='')}"
        return f"{path}/{quote(name, safe='-_.~/')}" if name else path

    async def _admitted(self, fresh: bool) -> Admission:
        """@param fresh: whether the token that we have was refused, perhaps for its age."""
        if self._admission is None or fresh:
            self._admission = None
            self._admission = await admit(self._client, self._settings)
        return self._admission

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | FileRange = b"",
    ) -> Answer:
        for fresh in (False, True):
            admission = await self._admitted(fresh)
            url = admission.url + path + ("?" + urlencode(query, quote_via=quote) if query else "")
            every = {**(headers or {}), "x-auth-token": admission.token}
            answer = await self._client.request(method, url, lambda every=every: every, body)  # type: ignore[misc]
            if answer.status != 401:
                break
        return answer

    def _expect(self, answer: Answer, *statuses: int) -> None:
        if answer.status not in statuses:
            raise self._refusal(answer)

    def _refusal(self, answer: Answer) -> Exception:
        if answer.status == 422:
            return RemoteDamaged(f"{self!r} did not get what was sent: {answer.status}")
        if answer.status in (401, 403):
            return RemoteRefused(f"{self!r} refuses the credentials, or they do not allow this: {answer.status}")
        return RemoteRefused(f"{self!r} refuses: {answer.status}")

    def _compare(self, name: str, tag: str, expected: str) -> None:
        if tag != expected:
            raise RemoteDamaged(f"{self!r} has stored something else under {name}: its tag is {tag}, not {expected}")


def _tag(answer: Answer) -> str:
    return answer.header("etag").strip('"')
