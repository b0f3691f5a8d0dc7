"""
Requests to any server that speaks S3, for those who store there.

Requests are signed with AWS Signature Version 4. Buckets are addressed by path, which needs no DNS name for each bucket.
Source: the Amazon S3 API reference.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from twisted.internet.defer import Deferred

from storehouse.core.httpclient import Body, RemoteClient, Response
from storehouse.core.sigv4 import EMPTY_SHA256, ChunkSigner, Signer
from storehouse.core.streams import IByteStream
from storehouse.core.xmltext import Node, NotXML, document, element, parse_in_turns, text
from storehouse.errors import RemoteUnavailable

__all__ = [
    "MOST_PARTS",
    "S3Requests",
    "code_of",
    "completion",
    "location",
    "read_document",
    "tag_of",
]

#: Parts that an upload may have.
MOST_PARTS = 10_000

#: Elements of a response, at most: a page of a listing has a thousand items.
_NODES = 50_000


class S3Requests:
    """
    Signed requests to one server.

    @param endpoint: the URL of the server; buckets are behind its path.
    @param client: what sends them.
    @param clock: seconds since 1970 UTC.
    @ivar endpoint: as it is signed: without the default port of its scheme.
    @ivar is_private: whether nobody on the way can read or change what is sent.
    """

    def __init__(
        self,
        endpoint: str,
        signer: Signer,
        client: RemoteClient,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.endpoint = _signed_endpoint(endpoint)
        self.is_private = self.endpoint.startswith("https:")
        self.client = client
        self._signer = signer
        self._clock = clock

    def close(self) -> Deferred[None]:
        """Close connections that are kept open."""
        return self.client.close()

    def url(self, bucket: str = "", key: str = "", query: Mapping[str, str] | None = None) -> str:
        """
        The URL of a bucket or an object, percent-encoded.

        @param bucket: empty for the service.
        @param key: empty for the bucket.
        """
        path = quote(f"/{bucket}" + (f"/{key}" if key else ""), safe="-_.~/")
        return self.endpoint + path + ("?" + urlencode(sorted(query.items()), quote_via=quote) if query else "")

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | Body = b"",
        payload: str = "",
        is_idempotent: bool = True,
        framed: Callable[[ChunkSigner], IByteStream] | None = None,
    ) -> Response:
        """
        Send a request, and read the whole response into memory.

        @param headers: further fields, with names in lower case.
        @param payload: the SHA-256 of the body in hex, or what stands for it; empty to have it computed of one in memory.
        @param is_idempotent: whether it may be repeated if the server may have done it already.
        @param framed: gives the body in signed chunks, in place of C{body}, which has the length of that.
        @return: any response except one that is worth another try.
        @raise RemoteUnavailable: if all tries failed.
        """
        if not payload:
            payload = hashlib.sha256(body).hexdigest() if isinstance(body, bytes) else ""
        chunks: ChunkSigner | None = None

        def signed() -> Mapping[str, str]:
            nonlocal chunks
            found = self._signed(method, url, headers or {}, payload)
            if framed is not None:
                chunks = self._signer.chunks(found)
            return found

        def begin() -> IByteStream:
            if framed is None or chunks is None:
                raise RuntimeError("the body is not framed, or the head not signed")
            return framed(chunks)

        if framed is not None and isinstance(body, Body):
            body = Body(body.length, begin, body.is_once)
        return await self.client.request(method, url, signed, body, is_idempotent=is_idempotent)

    async def open(self, url: str, headers: Mapping[str, str], tries: int = 0) -> tuple[Response, IByteStream | None]:
        """Send a GET request. See L{RemoteClient.open}."""
        return await self.client.open(url, lambda: self._signed("GET", url, headers, EMPTY_SHA256), tries)

    def _signed(self, method: str, url: str, headers: Mapping[str, str], payload: str) -> dict[str, str]:
        # The host, too: it must be sent as it is signed.
        added = self._signer.sign(method, url, headers, payload, self._clock())
        return {**headers, **added, "host": urlsplit(url).netloc}


def _signed_endpoint(endpoint: str) -> str:
    parts = urlsplit(endpoint.rstrip("/"))
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    if parts.port not in (None, {"http": 80, "https": 443}[parts.scheme]):
        host = f"{host}:{parts.port}"
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


# -- responses -------------------------------------------------------------------------------------


def tag_of(response: Response) -> str:
    """The etag of a response, without quotes."""
    return response.header("etag").removeprefix("W/").strip('"')


async def read_document(body: bytes, root: str = "") -> Node:
    """
    A document of a response.

    @param root: its outermost element; empty for any.
    @raise RemoteUnavailable: if it is none: something between has answered, most likely.
    """
    if b"&#" in body:
        # Servers write characters of keys that XML cannot say as references, which no parser takes.
        body = _reference.sub(_sayable, body)
    try:
        return await parse_in_turns(body, root, nodes=_NODES)
    except NotXML as error:
        raise RemoteUnavailable(f"an S3 server sent a response that is not as it should be: {error}") from None


_reference = re.compile(rb"&#(?:x([0-9A-Fa-f]{1,6})|([0-9]{1,7}));")


def _sayable(found: re.Match[bytes]) -> bytes:
    number = int(found[1], 16) if found[1] else int(found[2])
    if number in (9, 10, 13) or 0x20 <= number < 0xD800 or 0xE000 <= number < 0xFFFE or 0x10000 <= number < 0x110000:
        return found[0]
    return b"&#xfffd;"


async def code_of(response: Response) -> str:
    """The code of an error; empty if the response is none."""
    if not response.body:
        return ""
    try:
        root = await read_document(response.body)
    except RemoteUnavailable:
        return ""
    return root.value("Code") if root.name == "Error" else ""


# -- documents of requests -------------------------------------------------------------------------


def completion(parts: Sequence[tuple[int, str]]) -> bytes:
    """
    What completes an upload.

    @param parts: numbers and etags.
    """
    return document(
        "CompleteMultipartUpload",
        *(element("Part", text("PartNumber", number), text("ETag", f'"{tag}"')) for number, tag in parts),
    )


def location(region: str) -> bytes:
    """What creates a bucket in a region; nothing for the usual one, which has no name."""
    if region == "us-east-1":
        return b""
    return document("CreateBucketConfiguration", text("LocationConstraint", region))
