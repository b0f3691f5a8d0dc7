"""
Any server that speaks S3.

The SHA-256 of a body is signed, so that the server refuses what it did not get as it was sent; the MD5
that its etags are made of is compared as well. Source: the Amazon S3 API reference.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from zope.interface import implementer

from storehouse.config.shipping import S3Settings
from storehouse.core.httpclient import Body, RemoteClient, Response, range_header
from storehouse.core.jobs import IDisk, deferred
from storehouse.core.s3 import MOST_PARTS, S3Requests, code_of, completion, location, read_document, tag_of
from storehouse.core.sigv4 import Signer
from storehouse.core.streams import BytesStream, IByteStream
from storehouse.core.turns import Reactor
from storehouse.errors import InvalidRange, NoSuchKey, RemoteDamaged, RemoteRefused, RemoteUnavailable
from storehouse.storage.shipping.bodies import file_body
from storehouse.storage.shipping.files import hash_range
from storehouse.storage.shipping.interfaces import IDestination, Listing, LocalFile, Stored
from storehouse.storage.shipping.names import check_name

__all__ = ["S3Destination", "read_uploads"]

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
        client = RemoteClient(reactor, random or Random(), **attrs.asdict(settings.connecting))
        signer = Signer(settings.access_key, settings.secret_key, settings.region, token=settings.session_token)
        self._requests = S3Requests(settings.endpoint, signer, client)

    def __repr__(self) -> str:
        return f"<S3Destination {self._requests.endpoint}/{self._settings.bucket}>"

    def close(self) -> Deferred[None]:
        return self._requests.close()

    # -- what is stored ------------------------------------------------------------------------

    @deferred
    async def stat(self, name: str) -> Stored:
        response = await self._request("HEAD", check_name(name))
        if response.status == 404:
            raise NoSuchKey(f"there is no {name} at {self!r}")
        await self._expect(response, 200)
        return Stored(name, int(response.header("content-length")), tag_of(response), response.header(_SHA256))

    @deferred
    async def get(self, name: str, offset: int = 0, length: int | None = None) -> IByteStream:
        url = self._url(check_name(name))
        if length == 0:
            return await self._empty(name, offset, length)
        response, stream = await self._requests.open(url, range_header(offset, length))
        if stream is not None:
            return stream
        if response.status == 404:
            raise NoSuchKey(f"there is no {name} at {self!r}")
        if response.status == 416:
            return await self._empty(name, offset, length)
        raise await self._refusal(response)

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
        if response.status == 404 and await code_of(response) == "NoSuchBucket":
            return Listing([], None)
        await self._expect(response, 200)
        return await _read_listing(response.body)

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
                "PUT", name, headers=headers, body=file_body(self._disk, file.path, 0, file.size), digest=file.sha256
            )
        )
        await self._expect(response, 200)
        self._compare(name, response, tag_of(response), file.md5)
        return Stored(name, file.size, tag_of(response), file.sha256)

    async def _put_in_parts(self, name: str, file: LocalFile) -> Stored:
        headers = {"content-type": file.content_type, _SHA256: file.sha256}
        response = await self._create_bucket_for(lambda: self._request("POST", name, {"uploads": ""}, headers))
        await self._expect(response, 200)
        upload_id = (await read_document(response.body)).value("UploadId")
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
        least = -(-file.size // MOST_PARTS)
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
                file_body(self._disk, file.path, offset, length),
                sha256.hexdigest(),
            )
            await self._expect(response, 200)
            tag = tag_of(response)
            self._compare(name, response, tag, md5.hexdigest())
            parts.append((tag, md5.digest()))
        return parts

    async def _complete(self, name: str, upload_id: str, file: LocalFile, parts: Sequence[tuple[str, bytes]]) -> Stored:
        body = completion([(number, tag) for number, (tag, _) in enumerate(parts, 1)])
        digest = hashlib.sha256(body).hexdigest()
        response = await self._request(
            "POST", name, {"uploadId": upload_id}, {"content-type": "text/xml"}, body, digest
        )
        if response.status == 404 and await code_of(response) == "NoSuchUpload":
            # An earlier try of this request may have succeeded, and only its response been lost.
            try:
                stored = await self.stat(name)
            except NoSuchKey:
                pass
            else:
                if (stored.size, stored.sha256) == (file.size, file.sha256):
                    return stored
        await self._expect(response, 200)
        if code := await code_of(response):
            # S3 sends status 200 before it knows the outcome.
            raise RemoteUnavailable(f"{self!r} failed to complete the upload of {name}: {code}")
        # Some servers leave the element empty.
        tag = (await read_document(response.body)).value("ETag").strip('"') or (await self.stat(name)).tag
        joined = hashlib.md5(b"".join(md5 for _, md5 in parts), usedforsecurity=False).hexdigest()
        self._compare(name, response, tag, f"{joined}-{len(parts)}")
        return Stored(name, file.size, tag, file.sha256)

    async def _abort(self, name: str, upload_id: str) -> None:
        try:
            response = await self._request("DELETE", name, {"uploadId": upload_id})
            if response.status not in (204, 200, 404):
                raise await self._refusal(response)
        except (RemoteRefused, RemoteUnavailable) as error:
            self._log.warn("an upload of {name} is left open: {reason}", name=name, reason=str(error))

    async def _abort_others(self, name: str, upload_id: str) -> None:
        """Abort other uploads of the name: names are made of content, so no other shipper uploads this one."""
        response = await self._request("GET", "", {"uploads": "", "prefix": name, "max-uploads": "1000"})
        if response.status != 200:
            return  # some servers have no such list, and some access keys may not read it
        for key, other in await read_uploads(response.body):
            if key == name and other != upload_id:
                await self._abort(name, other)

    async def _create_bucket_for(self, request: Callable[[], Awaitable[Response]]) -> Response:
        """The response to a request that stores; if there is no bucket, it is created, and the request repeated."""
        response = await request()
        if response.status == 404 and await code_of(response) == "NoSuchBucket" and self._settings.create:
            created = await self._request("PUT", "", body=location(self._settings.region))
            if created.status != 409:  # another upload has just created it
                await self._expect(created, 200)
            response = await request()
        return response

    # -- requests ------------------------------------------------------------------------------

    def _url(self, name: str, query: Mapping[str, str] | None = None) -> str:
        return self._requests.url(self._settings.bucket, name, query)

    async def _request(
        self,
        method: str,
        name: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | Body = b"",
        digest: str = "",
    ) -> Response:
        return await self._requests.request(method, self._url(name, query), headers, body, digest)

    async def _expect(self, response: Response, status: int) -> None:
        if response.status != status:
            raise await self._refusal(response)

    async def _refusal(self, response: Response) -> Exception:
        code = await code_of(response)
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


# -- XML -------------------------------------------------------------------------------------------


async def _read_listing(body: bytes) -> Listing:
    root = await read_document(body)
    entries = [
        Stored(each.text_of("Key"), int(each.value("Size", "0")), each.value("ETag").strip('"'))
        for each in root.all("Contents")
    ]
    more = root.value("IsTruncated") == "true" and bool(entries)
    return Listing(entries, entries[-1].name if more else None)


async def read_uploads(body: bytes) -> list[tuple[str, str]]:
    """Keys and upload IDs of the open uploads in the response to C{ListMultipartUploads}."""
    return [(each.text_of("Key"), each.value("UploadId")) for each in (await read_document(body)).all("Upload")]
