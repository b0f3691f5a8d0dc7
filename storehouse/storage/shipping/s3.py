"""
Any server that speaks S3.

Requests are signed with AWS Signature Version 4. Buckets are addressed by path, which needs no DNS name for each bucket.
The SHA-256 of a body is signed, so that the server refuses what it did not get as it was sent; the MD5
that its etags are made of is compared as well. Source: the Amazon S3 API reference.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from urllib.parse import quote, urlencode, urlsplit, urlunsplit
from xml.etree import ElementTree

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from zope.interface import implementer

from storehouse.config.shipping import S3Settings
from storehouse.core.disk import IDisk
from storehouse.core.jobs import deferred
from storehouse.core.sigv4 import EMPTY_SHA256, Signer
from storehouse.core.streams import BytesStream, IByteStream
from storehouse.core.turns import Reactor
from storehouse.errors import InvalidRange, NoSuchKey, RemoteDamaged, RemoteRefused, RemoteUnavailable
from storehouse.storage.shipping.files import hash_range
from storehouse.storage.shipping.http import FileRange, RemoteClient, Response, range_header
from storehouse.storage.shipping.interfaces import IDestination, Listing, LocalFile, Stored
from storehouse.storage.shipping.names import check_name

__all__ = ["S3Destination", "read_uploads"]


#: Parts that an upload may have.
_MAX_PARTS = 10_000

_MIB = 1 << 20

#: Holds the SHA-256 of the whole object.
_SHA256 = "x-amz-meta-sha256"


@implementer(IDestination)
class S3Destination:
    """
    See L{IDestination}.

    @param reactor: for connections and time.
    @param random: makes the pauses between tries uneven.
    """

    _log = Logger()

    def __init__(self, settings: S3Settings, reactor: Reactor, disk: IDisk, random: Random | None = None) -> None:
        self._settings = settings
        self._disk = disk
        self._client = RemoteClient(reactor, disk, settings.connecting, random or Random())
        self._signer = Signer(
            settings.access_key, settings.secret_key, settings.region, token=settings.session_token or ""
        )
        self._endpoint = _signed_endpoint(settings.endpoint)

    def __repr__(self) -> str:
        return f"<S3Destination {self._endpoint}/{self._settings.bucket}>"

    def close(self) -> Deferred[None]:
        return self._client.close()

    # -- what is stored ------------------------------------------------------------------------

    @deferred
    async def stat(self, name: str) -> Stored:
        response = await self._request("HEAD", check_name(name))
        if response.status == 404:
            raise NoSuchKey(f"there is no {name} at {self!r}")
        self._expect(response, 200)
        return Stored(name, int(response.header("content-length")), _tag(response), response.header(_SHA256))

    @deferred
    async def get(self, name: str, offset: int = 0, length: int | None = None) -> IByteStream:
        url = self._url(check_name(name))
        if length == 0:
            return await self._empty(name, offset, length)
        headers = range_header(offset, length)
        response, stream = await self._client.open(url, lambda: self._signed("GET", url, headers, EMPTY_SHA256))
        if stream is not None:
            return stream
        if response.status == 404:
            raise NoSuchKey(f"there is no {name} at {self!r}")
        if response.status == 416:
            return await self._empty(name, offset, length)
        raise self._refusal(response)

    async def _empty(self, name: str, offset: int, length: int | None) -> IByteStream:
        size = (await self.stat(name)).size
        if offset > size:
            raise InvalidRange(offset, length, size)
        return BytesStream()

    @deferred
    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Listing:
        query = {"list-type": "2", "max-keys": str(min(limit, 1000))}
        if prefix:
            query["prefix"] = prefix
        if after:
            query["start-after"] = after
        response = await self._request("GET", "", query)
        if response.status == 404 and _code(response) == "NoSuchBucket":
            return Listing([], None)
        self._expect(response, 200)
        return _read_listing(response.body)

    # -- storing -------------------------------------------------------------------------------

    @deferred
    async def put(self, name: str, file: LocalFile) -> Stored:
        check_name(name)
        if file.size <= self._settings.threshold:
            return await self._put_at_once(name, file)
        return await self._put_in_parts(name, file)

    async def _put_at_once(self, name: str, file: LocalFile) -> Stored:
        headers = {
            "content-type": file.content_type,
            "content-md5": base64.b64encode(bytes.fromhex(file.md5)).decode("ascii"),
            _SHA256: file.sha256,
        }
        response = await self._create_bucket_for(
            lambda: self._request(
                "PUT", name, headers=headers, body=FileRange(file.path, 0, file.size), digest=file.sha256
            )
        )
        self._expect(response, 200)
        self._compare(name, response, _tag(response), file.md5)
        return Stored(name, file.size, _tag(response), file.sha256)

    async def _put_in_parts(self, name: str, file: LocalFile) -> Stored:
        headers = {"content-type": file.content_type, _SHA256: file.sha256}
        response = await self._create_bucket_for(lambda: self._request("POST", name, {"uploads": ""}, headers))
        self._expect(response, 200)
        upload_id = _find_text(response.body, "UploadId")
        if not upload_id:
            raise RemoteUnavailable(f"{self!r} began an upload without an upload ID")
        # An upload that a killed process left open costs its owner money. Only now: before, there may be no bucket.
        await self._abort_others(name, upload_id)
        try:
            parts = await self._put_parts(name, upload_id, file)
            return await self._complete(name, upload_id, file, parts)
        except CancelledError:
            # A stop does not wait for another request; the next attempt aborts this upload.
            raise
        except Exception:
            await self._abort(name, upload_id)
            raise

    async def _put_parts(self, name: str, upload_id: str, file: LocalFile) -> Sequence[tuple[str, bytes]]:
        size = self._settings.part_size
        least = -(-file.size // _MAX_PARTS)
        if size < least:
            size = -(-least // _MIB) * _MIB
        parts = []
        for number, offset in enumerate(range(0, file.size, size), 1):
            length = min(size, file.size - offset)
            sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
            await hash_range(self._disk, file.path, offset, length, sha256, md5)
            response = await self._request(
                "PUT",
                name,
                {"partNumber": str(number), "uploadId": upload_id},
                {"content-md5": base64.b64encode(md5.digest()).decode("ascii")},
                FileRange(file.path, offset, length),
                sha256.hexdigest(),
            )
            self._expect(response, 200)
            tag = _tag(response)
            self._compare(name, response, tag, md5.hexdigest())
            parts.append((tag, md5.digest()))
        return parts

    async def _complete(self, name: str, upload_id: str, file: LocalFile, parts: Sequence[tuple[str, bytes]]) -> Stored:
        body = _completion([tag for tag, _ in parts])
        digest = hashlib.sha256(body).hexdigest()
        response = await self._request(
            "POST", name, {"uploadId": upload_id}, {"content-type": "text/xml"}, body, digest
        )
        if response.status == 404 and _code(response) == "NoSuchUpload":
            # An earlier try of this request may have succeeded, and only its response been lost.
            try:
                stored = await self.stat(name)
            except NoSuchKey:
                pass
            else:
                if (stored.size, stored.sha256) == (file.size, file.sha256):
                    return stored
        self._expect(response, 200)
        if _code(response):
            # S3 sends status 200 before it knows the outcome.
            raise RemoteUnavailable(f"{self!r} failed to complete the upload of {name}: {_code(response)}")
        # Some servers leave the element empty.
        tag = _find_text(response.body, "ETag").strip('"') or (await self.stat(name)).tag
        joined = hashlib.md5(b"".join(md5 for _, md5 in parts), usedforsecurity=False).hexdigest()
        self._compare(name, response, tag, f"{joined}-{len(parts)}")
        return Stored(name, file.size, tag, file.sha256)

    async def _abort(self, name: str, upload_id: str) -> None:
        try:
            response = await self._request("DELETE", name, {"uploadId": upload_id})
            if response.status not in (204, 200, 404):
                raise self._refusal(response)
        except (RemoteRefused, RemoteUnavailable) as error:
            self._log.warn("an upload of {name} is left open: {reason}", name=name, reason=str(error))

    async def _abort_others(self, name: str, upload_id: str) -> None:
        """Abort other uploads of the name: names are made of content, so no other shipper uploads this one."""
        response = await self._request("GET", "", {"uploads": "", "prefix": name, "max-uploads": "1000"})
        if response.status != 200:
            return  # some servers have no such list, and some access keys may not read it
        for key, other in read_uploads(response.body):
            if key == name and other != upload_id:
                await self._abort(name, other)

    async def _create_bucket_for(self, request: Callable[[], Awaitable[Response]]) -> Response:
        """The response to a request that stores; if there is no bucket, it is created, and the request repeated."""
        response = await request()
        if response.status == 404 and _code(response) == "NoSuchBucket" and self._settings.create:
            created = await self._request("PUT", "", body=self._location())
            if created.status != 409:  # another upload has just created it
                self._expect(created, 200)
            response = await request()
        return response

    def _location(self) -> bytes:
        region = self._settings.region
        return b"" if region == "us-east-1" else _location_of(region)

    # -- requests ------------------------------------------------------------------------------

    def _url(self, name: str, query: Mapping[str, str] | None = None) -> str:
        path = quote(f"/{self._settings.bucket}" + (f"/{name}" if name else ""), safe="-_.~/")
        return self._endpoint + path + ("?" + urlencode(sorted(query.items()), quote_via=quote) if query else "")

    def _signed(self, method: str, url: str, headers: Mapping[str, str], digest: str) -> dict[str, str]:
        return {**headers, **self._signer.sign(method, url, headers, digest, time.time())}

    async def _request(
        self,
        method: str,
        name: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | FileRange = b"",
        digest: str = "",
    ) -> Response:
        url = self._url(name, query)
        if not digest:
            assert isinstance(body, bytes)
            digest = hashlib.sha256(body).hexdigest()
        return await self._client.request(method, url, lambda: self._signed(method, url, headers or {}, digest), body)

    def _expect(self, response: Response, status: int) -> None:
        if response.status != status:
            raise self._refusal(response)

    def _refusal(self, response: Response) -> Exception:
        code = _code(response)
        reason = f"{response.status} {code}".strip()
        if code in ("BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody", "InvalidDigest"):
            return RemoteDamaged(f"{self!r} received other bytes than were sent: {reason}")
        if code == "NoSuchUpload":
            # Aborted by another program, or by the server as too old: the next attempt begins another.
            return RemoteUnavailable(f"{self!r} has lost an upload: {reason}")
        if response.status in (401, 403):
            return RemoteRefused(f"{self!r} refuses the credentials, or they do not allow this: {reason}")
        return RemoteRefused(f"{self!r} refuses: {reason}")

    def _compare(self, name: str, response: Response, tag: str, expected: str) -> None:
        """Compare the etag, which is made of MD5s unless the server encrypts with keys that it does not own itself (SSE-KMS)."""
        if response.header("x-amz-server-side-encryption") not in ("", "AES256"):
            return
        if tag != expected:
            raise RemoteDamaged(f"{self!r} has stored something else under {name}: its tag is {tag}, not {expected}")


def _signed_endpoint(endpoint: str) -> str:
    """The endpoint as it is signed: without the default port of its scheme."""
    parts = urlsplit(endpoint.rstrip("/"))
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    if parts.port not in (None, {"http": 80, "https": 443}[parts.scheme]):
        host = f"{host}:{parts.port}"
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def _tag(response: Response) -> str:
    return response.header("etag").strip('"')


# -- XML -------------------------------------------------------------------------------------------

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def _parse(data: bytes) -> ElementTree.Element:
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError:
        raise RemoteUnavailable("an S3 server sent a response that is not XML") from None
    # Some servers send the namespace, some do not.
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _code(response: Response) -> str:
    """The code of an error; empty if the response is none."""
    try:
        root = _parse(response.body) if response.body else None
    except RemoteUnavailable:
        return ""
    return root.findtext("Code", "") if root is not None and root.tag == "Error" else ""


def _find_text(body: bytes, name: str) -> str:
    """The text of an element; empty if there is no such element."""
    return _parse(body).findtext(name, "")


def _read_listing(body: bytes) -> Listing:
    root = _parse(body)
    entries = [
        Stored(each.findtext("Key", ""), int(each.findtext("Size", "0")), each.findtext("ETag", "").strip('"'))
        for each in root.iter("Contents")
    ]
    more = root.findtext("IsTruncated", "") == "true" and bool(entries)
    return Listing(entries, entries[-1].name if more else None)


def read_uploads(body: bytes) -> list[tuple[str, str]]:
    """Keys and upload IDs of the open uploads in the response to C{ListMultipartUploads}."""
    return [(each.findtext("Key", ""), each.findtext("UploadId", "")) for each in _parse(body).iter("Upload")]


def _completion(tags: Sequence[str]) -> bytes:
    root = ElementTree.Element("CompleteMultipartUpload", xmlns=_NAMESPACE)
    for number, tag in enumerate(tags, 1):
        part = ElementTree.SubElement(root, "Part")
        ElementTree.SubElement(part, "PartNumber").text = str(number)
        ElementTree.SubElement(part, "ETag").text = f'"{tag}"'
    return ElementTree.tostring(root)


def _location_of(region: str) -> bytes:
    root = ElementTree.Element("CreateBucketConfiguration", xmlns=_NAMESPACE)
    ElementTree.SubElement(root, "LocationConstraint").text = region
    return ElementTree.tostring(root)
