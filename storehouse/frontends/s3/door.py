"""
The S3 door as a whole: from a request to its handler, and errors as S3 says them.

A request gets an ID, is routed, authenticated and authorized, and only then asked for its body, so that a client that waits
for C{100 Continue} sends nothing that is refused. A preflight of CORS and a form are served without a signature: their
handlers see to who makes them.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import unquote

import attrs
from twisted.web.resource import IResource

from storehouse.errors import StorehouseError
from storehouse.frontends.http.lean import LeanLane
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.http.request import DoorRequest, Leaf, host_name
from storehouse.frontends.s3 import acls as acls
from storehouse.frontends.s3 import appending as appending
from storehouse.frontends.s3 import attributes as attributes
from storehouse.frontends.s3 import buckets as buckets
from storehouse.frontends.s3 import copying as copying
from storehouse.frontends.s3 import cors as cors
from storehouse.frontends.s3 import deleting as deleting
from storehouse.frontends.s3 import fixed as fixed
from storehouse.frontends.s3 import listing as listing
from storehouse.frontends.s3 import multipart as multipart
from storehouse.frontends.s3 import notifying as notifying
from storehouse.frontends.s3 import objects as objects
from storehouse.frontends.s3 import ownership as ownership
from storehouse.frontends.s3 import policies as policies
from storehouse.frontends.s3 import postform as postform
from storehouse.frontends.s3 import renaming as renaming
from storehouse.frontends.s3 import sts
from storehouse.frontends.s3 import tagging as tagging
from storehouse.frontends.s3.access.caller import Caller
from storehouse.frontends.s3.access.owning import audit_refused_signature
from storehouse.frontends.s3.access.policy import ACCOUNT
from storehouse.frontends.s3.call import Call, Door, IAuthenticator
from storehouse.frontends.s3.errors import S3Error, error_reply, s3_error
from storehouse.frontends.s3.fields import check_key
from storehouse.frontends.s3.route import handler_of, operation_of
from storehouse.frontends.s3.signing.presigned import hoist_fields
from storehouse.storage.namespace.values import is_bucket

__all__ = ["S3Door"]

#: Operations that no signature of the request itself is asked for.
_UNSIGNED = frozenset({"Preflight", "PostObject"})

_WITH_BODIES = frozenset({"PUT", "POST"})

#: Operations that take long, and so are counted; the handler of forms counts them itself, once their signer is known.
_TRANSFERS = frozenset(
    {"PutObject", "UploadPart", "AppendObject", "CopyObject", "UploadPartCopy", "CompleteMultipartUpload"}
)


class S3Door:
    """
    @param authenticator: verifies the signatures of requests.
    @param authorize: raises an L{S3Error} unless the caller may do it.
    @ivar resource: the top of its resource tree.
    @ivar lane: serves the same for whole requests with plain heads.
    """

    def __init__(
        self, door: Door, authenticator: IAuthenticator, authorize: Callable[[Call], Awaitable[object]]
    ) -> None:
        self.resource: IResource = _Everything(self)
        self.lane = LeanLane(self.respond)
        self._door = door
        self._authenticator = authenticator
        self._authorize = authorize
        domains = sorted(door.settings.domain, key=len, reverse=True)
        self._domains = [domain.removeprefix("*.").encode("ascii") for domain in domains]

    # -- for the site ----------------------------------------------------------------------------------------------

    def begin(self, request: DoorRequest) -> None:
        """A request begins: give it an ID, which its response has whatever becomes of it."""
        request.request_id = new_request_id()
        request.added = ((b"x-amz-request-id", request.request_id.encode("ascii")),)

    def explain(self, request: DoorRequest, error: BaseException) -> Reply:
        """The response to a request that failed."""
        return error_reply(error, unquote(request.path.decode("ascii", "replace")), request.request_id)

    def explain_refusal(self, error: BaseException) -> Reply:
        """The response to a connection that is one too many, or that brings no request."""
        request_id = new_request_id()
        reply = error_reply(error, "", request_id)
        headers = (*reply.headers, (b"x-amz-request-id", request_id.encode("ascii")))
        return attrs.evolve(reply, headers=headers)

    # -- a request -------------------------------------------------------------------------------------------------

    async def respond(self, request: DoorRequest) -> Reply | None:
        """Serve a request. It is the caller that responds to a failure."""
        bucket, key, is_in_host = self._names(request)
        try:
            _check_names(bucket, key)
            query = _decoded_query(request.fields)
            method = request.method.decode("ascii", "replace")
            hoist_fields(request.requestHeaders, query)
            if method == "POST" and not bucket and sts.is_for_sts(request):
                return await sts.respond(self._call(request, "SecurityToken", "", "", query))
            operation = operation_of(method, bucket, key, query, request.requestHeaders.hasHeader)
            handle = handler_of(operation)
            _check_version(operation, query)
            call = self._call(request, operation, bucket, key, query)
            if request.requestHeaders.hasHeader(b"Origin"):
                await cors.add_fields(call)
            if operation not in _UNSIGNED:
                try:
                    signed = self._authenticator.authenticate(request, query, bucket if is_in_host else "")
                except S3Error as error:
                    audit_refused_signature(call, error)
                    raise
                call.take_caller(signed)
                call.body, call.length = signed.stream(
                    call.body, call.length, self._door.disk, self._door.transfers.batch
                )
                if method in _WITH_BODIES:
                    call.announce_checksums(signed.trailer, signed.trailers)
                await self._authorize(call)
            _check_expected(call)
            try:
                if operation not in _TRANSFERS:
                    return await handle(call)
                with call.transfer():
                    return await handle(call)
            finally:
                call.end()
        except StorehouseError as error:
            raise _located(error, request, bucket, key) from error

    def _call(self, request: DoorRequest, operation: str, bucket: str, key: str, query: Mapping[str, str]) -> Call:
        """The call of a request whose signature is not verified yet."""
        return Call(
            request,
            operation,
            bucket,
            key,
            query,
            Caller(None, "", request.address, request.is_secure),
            request.body,
            request.body.length,
            self._door,
            request.request_id,
            self._authorize,
            self._authenticator,
        )

    def _names(self, request: DoorRequest) -> tuple[str, str, bool]:
        """The bucket and the key that a request names, each empty if it names none; and whether the bucket is in the host."""
        path = request.path[1:]
        host = host_name((request.requestHeaders.getRawHeaders(b"Host") or [b""])[-1]) if self._domains else None
        if host and host not in self._domains:
            for domain in self._domains:
                if host.endswith(b"." + domain):
                    return host[: -len(domain) - 1].decode("latin-1"), _decoded(path), True
        bucket, slash, key = path.partition(b"/")
        if slash and not bucket:
            raise S3Error("InvalidBucketName", BucketName="")
        return _decoded(bucket), _decoded(key), False


class _Everything(Leaf):
    """All paths."""

    takes_rest = True

    def __init__(self, door: S3Door) -> None:
        Leaf.__init__(self)
        self._door = door

    async def respond(self, request: DoorRequest) -> Reply | None:
        """See the base."""
        return await self._door.respond(request)


def new_request_id() -> str:
    """16 hex digits."""
    return os.urandom(8).hex().upper()


def _decoded(data: bytes) -> str:
    try:
        text = data.decode("ascii")
        return unquote(text, errors="strict") if "%" in text else text
    except UnicodeDecodeError:
        raise S3Error("InvalidURI") from None


def _check_names(bucket: str, key: str) -> None:
    if bucket and not is_bucket(bucket) and bucket != "WriteGetObjectResponse":
        raise S3Error("InvalidBucketName", BucketName=bucket[:255])
    check_key(key)


def _decoded_query(fields: Mapping[bytes, bytes]) -> Mapping[str, str]:
    try:
        return {name.decode(): value.decode() for name, value in fields.items()}
    except UnicodeDecodeError:
        raise S3Error("InvalidURI") from None


def _check_version(operation: str, query: Mapping[str, str]) -> None:
    """There is one version of each key, which S3 calls null."""
    version = query.get("versionId")
    if version is None or version == "null":
        return
    if not version:
        raise S3Error(
            "InvalidArgument", "Version id cannot be the empty string", ArgumentName="versionId", ArgumentValue=""
        )
    if operation in _UNVERSIONED:
        raise S3Error(
            "InvalidArgument",
            "This operation does not accept a version-id.",
            ArgumentName="versionId",
            ArgumentValue=version,
        )
    raise S3Error("NoSuchVersion", VersionId=version)


_EXPECTED = frozenset(
    {"x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner", "x-amz-server-side-encryption"}
)


def _check_expected(call: Call) -> None:
    """What a client makes sure of, so that it changes or stores nothing at another place or in another way than it means."""
    if not call.has_any(_EXPECTED):
        return
    for name in ("x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"):
        if call.header(name) not in (None, ACCOUNT):
            raise S3Error("AccessDenied", f"The account of the bucket is not the one in {name}")
    if call.key and not call.door.is_sealed and call.header("x-amz-server-side-encryption") is not None:
        raise S3Error(
            "NotImplemented",
            "Objects are not encrypted here: start the server with a master key, or ask for no encryption",
            Header="x-amz-server-side-encryption",
        )


_UNVERSIONED = frozenset({"PutObject", "CopyObject", "AppendObject", "RenameObject"})


def _located(error: StorehouseError, request: DoorRequest, bucket: str, key: str) -> S3Error:
    """With what S3 says beside some codes."""
    said = s3_error(error)
    if said.code in ("NoSuchBucket", "BucketNotEmpty", "BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
        said.fields.setdefault("BucketName", bucket)
    elif said.code == "NoSuchKey":
        said.fields.setdefault("Key", key)
    elif said.code == "PreconditionFailed":
        is_absent = request.requestHeaders.hasHeader(b"If-None-Match")
        said.fields.setdefault("Condition", "If-None-Match" if is_absent else "If-Match")
    return said
