"""
Any server that speaks S3.

Requests are signed with AWS Signature Version 4. Buckets are addressed by path. A body's SHA-256 is signed, so that the
server refuses what it did not get as it was sent; the MD5 that its tags are made of is compared as well.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from aws_request_signer import AwsRequestSigner
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from zope.interface import implementer

from storehouse.config.shipping import S3Settings
from storehouse.core.disk import IDisk
from storehouse.core.streams import deferred
from storehouse.errors import InvalidRange, NoSuchKey, RemoteDamaged, RemoteRefused, RemoteUnavailable
from storehouse.storage.shipping import s3_xml
from storehouse.storage.shipping.http import Answer, FileRange, RemoteClient, range_header
from storehouse.storage.shipping.interfaces import IDestination, IRemoteReader, Listing, LocalFile, Stored
from storehouse.storage.shipping.names import check_name
from storehouse.storage.shipping.reading import EmptyReader
from storehouse.storage.shipping.sources import digest_of

__all__ = ["S3Destination"]

#: The most parts that an upload may have.
_MAX_PARTS = 10_000

_MIB = 1 << 20

#: Where the SHA-256 of the whole is kept.
_SHA256 = "x-amz-meta-sha256"

_NOTHING = hashlib.sha256(b"").hexdigest()


@implementer(IDestination)
class S3Destination:
    """
    See L{IDestination}.

    @param reactor: for connections and time.
    """

    _log = Logger()

    def __init__(self, settings: S3Settings, reactor: Any, disk: IDisk, random: Random | None = None) -> None:
        self._settings = settings
        self._disk = disk
        self._client = RemoteClient(reactor, disk, settings.connecting, random or Random())
        self._signer = AwsRequestSigner(
            settings.region, settings.access_key, settings.secret_key, "s3", settings.session_token or None
        )
        self._base = _base(settings.endpoint)

    def __repr__(self) -> str:
        return f"<S3Destination {self._base}/{self._settings.bucket}>"

    def close(self) -> Deferred[None]:
        """See L{IDestination.close}."""
        return self._client.close()

    # -- what is stored ------------------------------------------------------------------------

    @deferred
    async def stat(self, name: str) -> Stored:
        """See L{IDestination.stat}."""
        answer = await self._ask("HEAD", check_name(name))
        if answer.status == 404:
            raise NoSuchKey(f"there is no {name} at {self!r}")
        self._expect(answer, 200)
        return Stored(name, int(answer.header("content-length")), _tag(answer), answer.header(_SHA256))

    @deferred
    async def get(self, name: str, offset: int = 0, length: int | None = None) -> IRemoteReader:
        """See L{IDestination.get}."""
        url = self._url(check_name(name))
        if length == 0:
            return await self._empty(name, offset, length)
        headers = range_header(offset, length)
        answer, reader = await self._client.open(url, lambda: self._signed("GET", url, headers, _NOTHING))
        if reader is not None:
            return reader
        if answer.status == 404:
            raise NoSuchKey(f"there is no {name} at {self!r}")
        if answer.status == 416:
            return await self._empty(name, offset, length)
        raise self._refusal(answer)

    async def _empty(self, name: str, offset: int, length: int | None) -> IRemoteReader:
        size = (await self.stat(name)).size
        if offset > size:
            raise InvalidRange(offset, length, size)
        return EmptyReader()

    @deferred
    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Listing:
        """See L{IDestination.list}."""
        query = {"list-type": "2", "max-keys": str(min(limit, 1000))}
        if prefix:
            query["prefix"] = prefix
        if after:
            query["start-after"] = after
        answer = await self._ask("GET", "", query)
        if answer.status == 404 and _code(answer) == "NoSuchBucket":
            return Listing([], None)
        self._expect(answer, 200)
        return s3_xml.read_listing(answer.body)

    # -- storing -------------------------------------------------------------------------------

    @deferred
    async def put(self, name: str, file: LocalFile) -> Stored:
        """See L{IDestination.put}."""
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
        answer = await self._made(
            lambda: self._ask("PUT", name, headers=headers, body=FileRange(file.path, 0, file.size), digest=file.sha256)
        )
        self._expect(answer, 200)
        self._compare(name, answer, _tag(answer), file.md5)
        return Stored(name, file.size, _tag(answer), file.sha256)

    async def _put_in_parts(self, name: str, file: LocalFile) -> Stored:
        headers = {"content-type": file.content_type, _SHA256: file.sha256}
        answer = await self._made(lambda: self._ask("POST", name, {"uploads": ""}, headers))
        self._expect(answer, 200)
        upload_id = s3_xml.find_text(answer.body, "UploadId")
        if not upload_id:
            raise RemoteUnavailable(f"{self!r} began an upload without saying which")
        # Not before the bucket is there; and one of ours that a killed process left costs its owner money.
        await self._abort_others(name, upload_id)
        try:
            parts = await self._put_parts(name, upload_id, file)
            return await self._complete(name, upload_id, file, parts)
        except CancelledError:
            # Whoever cancels does not wait; the next attempt aborts what this one leaves.
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
            await digest_of(self._disk, file.path, offset, length, sha256, md5)
            answer = await self._ask(
                "PUT",
                name,
                {"partNumber": str(number), "uploadId": upload_id},
                {"content-md5": base64.b64encode(md5.digest()).decode("ascii")},
                FileRange(file.path, offset, length),
                sha256.hexdigest(),
            )
            self._expect(answer, 200)
            tag = _tag(answer)
            self._compare(name, answer, tag, md5.hexdigest())
            parts.append((tag, md5.digest()))
        return parts

    async def _complete(self, name: str, upload_id: str, file: LocalFile, parts: Sequence[tuple[str, bytes]]) -> Stored:
        body = s3_xml.write_completion([tag for tag, _ in parts])
        digest = hashlib.sha256(body).hexdigest()
        answer = await self._ask("POST", name, {"uploadId": upload_id}, {"content-type": "text/xml"}, body, digest)
        if answer.status == 404 and _code(answer) == "NoSuchUpload":
            # An earlier try of this very request may have come through, and only its answer not.
            try:
                stored = await self.stat(name)
            except NoSuchKey:
                pass
            else:
                if (stored.size, stored.sha256) == (file.size, file.sha256):
                    return stored
        self._expect(answer, 200)
        if _code(answer):
            # S3 begins to answer before it knows.
            raise RemoteUnavailable(f"{self!r} failed to complete the upload of {name}: {_code(answer)}")
        # Some servers leave it empty.
        tag = s3_xml.find_text(answer.body, "ETag").strip('"') or (await self.stat(name)).tag
        joined = hashlib.md5(b"".join(md5 for _, md5 in parts), usedforsecurity=False).hexdigest()
        self._compare(name, answer, tag, f"{joined}-{len(parts)}")
        return Stored(name, file.size, tag, file.sha256)

    async def _abort(self, name: str, upload_id: str) -> None:
        try:
            answer = await self._ask("DELETE", name, {"uploadId": upload_id})
            if answer.status not in (204, 200, 404):
                raise self._refusal(answer)
        except (RemoteRefused, RemoteUnavailable) as error:
            self._log.warn("an upload of {name} is left open: {reason}", name=name, reason=str(error))

    async def _abort_others(self, name: str, upload_id: str) -> None:
        """Abort other uploads of the name: names are made of content, so nobody else is at this one."""
        answer = await self._ask("GET", "", {"uploads": "", "prefix": name, "max-uploads": "1000"})
        if answer.status != 200:
            return  # some servers have no such list, some keys may not see it
        for key, other in s3_xml.read_uploads(answer.body):
            if key == name and other != upload_id:
                await self._abort(name, other)

    async def _made(self, ask: Callable[[], Any]) -> Answer:
        """The answer to a request that stores; if there is no bucket, make it and ask again."""
        answer: Answer = await ask()
        if answer.status == 404 and _code(answer) == "NoSuchBucket" and self._settings.create:
            made = await self._ask("PUT", "", body=self._location())
            # Another may have been faster.
            if made.status != 409:
                self._expect(made, 200)
            answer = await ask()
        return answer

    def _location(self) -> bytes:
        region = self._settings.region
        return b"" if region == "us-east-1" else s3_xml.write_location(region)

    # -- requests ------------------------------------------------------------------------------

    def _url(self, name: str, query: Mapping[str, str] | None = None) -> str:
        path = quote(f"/{self._settings.bucket}" + (f"/{name}" if name else ""), safe="-_.~/")
        return self._base + path + ("?" + urlencode(sorted(query.items()), quote_via=quote) if query else "")

    def _signed(self, method: str, url: str, headers: Mapping[str, str], digest: str) -> dict[str, str]:
        return {**headers, **self._signer.sign_with_headers(method, url, headers, digest)}

    async def _ask(
        self,
        method: str,
        name: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | FileRange = b"",
        digest: str = "",
    ) -> Answer:
        url = self._url(name, query)
        if not digest:
            assert isinstance(body, bytes)
            digest = hashlib.sha256(body).hexdigest()
        return await self._client.request(method, url, lambda: self._signed(method, url, headers or {}, digest), body)

    def _expect(self, answer: Answer, status: int) -> None:
        if answer.status != status:
            raise self._refusal(answer)

    def _refusal(self, answer: Answer) -> Exception:
        code = _code(answer)
        said = f"{answer.status} {code}".strip()
        if code in ("BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody", "InvalidDigest"):
            return RemoteDamaged(f"{self!r} did not get what was sent: {said}")
        if code == "NoSuchUpload":
            # Somebody aborted it, or the server cleans up: the next attempt begins another.
            return RemoteUnavailable(f"{self!r} has lost an upload: {said}")
        if answer.status in (401, 403):
            return RemoteRefused(f"{self!r} refuses the credentials, or they do not allow this: {said}")
        return RemoteRefused(f"{self!r} refuses: {said}")

    def _compare(self, name: str, answer: Answer, tag: str, expected: str) -> None:
        """A tag is made of MD5s, unless the server keeps what it stores encrypted with keys of another's."""
        if answer.header("x-amz-server-side-encryption") not in ("", "AES256"):
            return
        if tag != expected:
            raise RemoteDamaged(f"{self!r} has stored something else under {name}: its tag is {tag}, not {expected}")


def _base(endpoint: str) -> str:
    """The endpoint as it is signed: without the port that its scheme has anyway."""
    parts = urlsplit(endpoint.rstrip("/"))
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    if parts.port not in (None, {"http": 80, "https": 443}[parts.scheme]):
        host = f"{host}:{parts.port}"
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def _tag(answer: Answer) -> str:
    return answer.header("etag").strip('"')


def _code(answer: Answer) -> str:
    return s3_xml.read_code(answer.body)
