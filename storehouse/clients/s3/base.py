"""How the store asks its server."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from urllib.parse import quote

import attrs
from twisted.internet.defer import Deferred

from storehouse.clients.s3.bodies import Taking, framed, framed_length, unframed
from storehouse.clients.s3.fields import info_of, size_of, tagging_of
from storehouse.clients.s3.refusals import error_of, expect, read_answer
from storehouse.core.checksums import Hasher, encoded
from storehouse.core.httpclient import Body, RemoteClient, Response
from storehouse.core.s3 import S3Requests
from storehouse.core.sigv4 import UNSIGNED_PAYLOAD, Signer
from storehouse.core.streams import IByteStream
from storehouse.core.turns import Reactor, breath
from storehouse.errors import (
    InvalidName,
    NoKeyToMatch,
    NoSuchBucket,
    NoSuchKey,
    NotSupported,
    PreconditionFailed,
    StorehouseError,
    Unavailable,
)
from storehouse.storage.objects.interfaces import ALWAYS, Condition, ObjectInfo

__all__ = [
    "CHECKSUMS",
    "HELD",
    "Base",
    "Payload",
    "check_bucket",
    "check_current",
    "check_key",
    "condition_fields",
    "source_field",
]

#: Bytes that are held to be sent again, where more are sent as they are read.
HELD = 1 << 20

#: Bytes that are hashed before others are served.
_SLICE = 1 << 20

#: Algorithms of checksums: those whose checksum of an object follows from those of its parts; and none.
CHECKSUMS = ("crc64nvme", "crc32c", "crc32", "")

_bucket = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII).fullmatch
_address = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+", re.ASCII).fullmatch

_SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
_UNSIGNED_CHUNKS = "STREAMING-UNSIGNED-PAYLOAD"


def check_bucket(name: str) -> None:
    """@raise InvalidName: unless S3 allows the name for a bucket."""
    if not _bucket(name) or ".." in name or _address(name):
        raise InvalidName(f"{name[:200]!r} is not a name of a bucket")


def check_key(key: str) -> None:
    """@raise InvalidName: unless it is 1 to 1024 bytes of UTF-8."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise InvalidName("a key is text, without halves of surrogate pairs") from None
    if not 1 <= size <= 1024:
        raise InvalidName(f"a key has 1 to 1024 bytes of UTF-8, not {size}")


def check_current(version: str | None) -> None:
    """@raise NotSupported: if a version is named: this client reaches the current ones."""
    if version is not None:
        raise NotSupported("this client does not reach the versions of an object")


def condition_fields(condition: Condition) -> dict[str, str]:
    """The header fields of a condition, which is not for something that is there and is not."""
    if condition.absent:
        return {"if-none-match": "*"}
    if condition.etag is None:
        return {}
    return {"if-match": "*" if condition.etag == "*" else f'"{condition.etag}"'}


def source_field(bucket: str, key: str) -> str:
    """C{x-amz-copy-source}."""
    return quote(f"{bucket}/{key}", safe="-_.~/")


@attrs.frozen
class Payload:
    """
    Bytes to be stored.

    @ivar stream: gives them; C{None} if they are held.
    @ivar at_end: called when the stream was read; if it raises, nothing is stored.
    """

    size: int
    data: bytes = b""
    stream: IByteStream | None = None
    at_end: Callable[[], object] = lambda: None


class Base:
    """
    Asks a server, one request at a time, and fails as rooms do.

    @param checksum: the algorithm of the checksums that bodies are sent with; empty for none.
    """

    def __init__(
        self,
        endpoint: str,
        signer: Signer,
        reactor: Reactor,
        client: RemoteClient,
        checksum: str,
    ) -> None:
        if checksum not in CHECKSUMS:
            raise InvalidName(f"bodies are sent with {', '.join(CHECKSUMS[:-1])} or no checksum, not with {checksum!r}")
        self._client = client
        self._requests = S3Requests(endpoint, signer, client, reactor.seconds)
        self._checksum = checksum
        self._is_stopped = False

    def __repr__(self) -> str:
        return f"<S3ObjectStore {self._requests.endpoint}>"

    def stop(self) -> Deferred[None]:
        """Refuse everything from now on. Fires when all connections that were kept are closed."""
        self._is_stopped = True
        return self._requests.close()

    def check_running(self) -> None:
        """@raise Unavailable: after L{stop}."""
        if self._is_stopped:
            raise Unavailable(f"{self!r} was stopped")

    # -- requests ------------------------------------------------------------------------------

    def what(self, bucket: str, key: str = "") -> str:
        """A bucket or an object, for errors."""
        return f"{self._requests.endpoint}/{bucket}" + (f"/{key}" if key else "")

    async def ask(
        self,
        method: str,
        bucket: str,
        key: str = "",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes = b"",
        is_idempotent: bool = True,
    ) -> Response:
        """Send a request with a body in memory that is no object. @return: any response."""
        self.check_running()
        url = self._requests.url(bucket, key, query)
        return await self._requests.request(method, url, headers, data, is_idempotent=is_idempotent)

    async def store(
        self,
        bucket: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        payload: Payload,
        is_idempotent: bool,
    ) -> Response:
        """Send bytes that are to be stored. @return: any response."""
        self.check_running()
        url = self._requests.url(bucket, key, query)
        name = self._checksum
        if payload.stream is None:
            fields = dict(headers)
            is_private = self._requests.is_private and bool(name)
            hasher, digest = Hasher(name) if name else None, hashlib.sha256()
            view = memoryview(payload.data)
            for start in range(0, len(view), _SLICE):
                if hasher is not None:
                    hasher.update(view[start : start + _SLICE])
                if not is_private:
                    digest.update(view[start : start + _SLICE])
                await breath()
            if hasher is not None:
                fields[f"x-amz-checksum-{name}"] = encoded(hasher.digest())
            form = UNSIGNED_PAYLOAD if is_private else digest.hexdigest()
            return await self._requests.request("PUT", url, fields, payload.data, form, is_idempotent)
        is_signed = not self._requests.is_private
        stream, size, at_end = payload.stream, payload.size, payload.at_end
        form = _SIGNED_CHUNKS if is_signed else _UNSIGNED_CHUNKS
        fields = {**headers, "x-amz-decoded-content-length": str(size)}
        if name:
            # Without a trailer the form says all there is to be said, and older servers would keep this with the object.
            coding = fields.get("content-encoding")
            fields["content-encoding"] = f"aws-chunked,{coding}" if coding else "aws-chunked"
            fields["x-amz-trailer"] = f"x-amz-checksum-{name}"
            form += "-TRAILER"
        elif not is_signed:
            # There is no form for chunks with neither signatures nor a trailer.
            body = Body(size, lambda: unframed(stream, size, at_end), True)
            return await self._requests.request("PUT", url, headers, body, UNSIGNED_PAYLOAD, is_idempotent)
        body = Body(framed_length(size, name, is_signed), lambda: stream, True)
        return await self._requests.request(
            "PUT",
            url,
            fields,
            body,
            form,
            is_idempotent,
            lambda chunks: framed(stream, size, name, chunks if is_signed else None, at_end),
        )

    async def payload_of(self, stream: IByteStream, size: int, at_end: Callable[[], object]) -> Payload:
        """What is sent of a stream whose size is known: held, so that it can be sent again, or as it is read."""
        if size > HELD:
            return Payload(size, b"", stream, at_end)
        return Payload(size, await Taking(stream).take_all(size))

    # -- what is there -------------------------------------------------------------------------

    async def head_object(self, bucket: str, key: str, condition: Condition = ALWAYS) -> ObjectInfo:
        """
        What is known of an object.

        @param condition: about a key without one, for the error.
        """
        response = await self.ask("HEAD", bucket, key)
        if response.status == 404:
            raise await self._missing(bucket, key, condition)
        await expect(response, self.what(bucket, key))
        return info_of(key, response, size_of(response), await self.tags_of(bucket, key, response))

    async def _missing(self, bucket: str, key: str, condition: Condition) -> StorehouseError:
        """Which of both is: a response to HEAD says no more than its status."""
        response = await self.ask("HEAD", bucket)
        if response.status == 404:
            return self.no_bucket(bucket)
        if condition.etag is not None:
            return NoKeyToMatch(f"there is no {self.what(bucket, key)}")
        return NoSuchKey(f"there is no {self.what(bucket, key)}")

    def no_bucket(self, name: str) -> NoSuchBucket:
        """The error for a bucket that is not there, where a response says only that."""
        return NoSuchBucket(f"there is no bucket {name} at {self._requests.endpoint}")

    async def tags_of(self, bucket: str, key: str, response: Response) -> str:
        """The tags of an object, which cost a request of their own, if the head of a response says that it has some."""
        if response.header("x-amz-tagging-count") in ("", "0"):
            return ""
        said = await self.ask("GET", bucket, key, {"tagging": ""})
        if said.status == 404:
            return ""  # it was removed meanwhile
        return tagging_of(await read_answer(said, self.what(bucket, key)))

    async def check_condition(self, bucket: str, key: str, condition: Condition) -> None:
        """
        Look at a condition beforehand, so that no byte is taken of what cannot be stored.

        @raise PreconditionFailed: if it does not hold now.
        """
        try:
            info = await self.head_object(bucket, key, condition)
        except NoKeyToMatch:
            raise
        except NoSuchKey:
            return
        self.check_holds(condition, info)

    def check_holds(self, condition: Condition, info: ObjectInfo) -> None:
        """@raise PreconditionFailed: unless a condition holds for an object that is there."""
        if condition.absent or condition.etag not in (None, "*", info.etag):
            raise PreconditionFailed(f"{info.key!r} is not what it was to be: its etag is {info.etag}")

    async def failure(
        self, response: Response, bucket: str, key: str, condition: Condition = ALWAYS
    ) -> StorehouseError:
        """The error that a response says, about a key for which there was a condition."""
        error = await error_of(response, self.what(bucket, key))
        if isinstance(error, NoSuchKey) and condition.etag is not None:
            return NoKeyToMatch(error.detail)
        return error
