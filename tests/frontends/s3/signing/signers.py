"""Requests that others sign: botocore in the header and in the query, and what a door sees of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch
from urllib.parse import quote, urlsplit

import attrs
from botocore.auth import HmacV1QueryAuth, S3SigV4Auth, S3SigV4PostAuth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream, IByteStream, read_all
from storehouse.frontends.http.request import parse_query
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.signing.authenticator import Authenticator, Signed
from storehouse.frontends.s3.signing.claims import shown_time
from storehouse.testing.accounts import MemoryAccounts

__all__ = [
    "NOW",
    "REGION",
    "Seen",
    "SigningCase",
    "Unread",
    "at_time",
    "presign",
    "presign_2",
    "seen",
    "sign_header",
    "signed_policy",
    "stamp",
]

#: Seconds since 1970 UTC.
NOW = 1_790_000_000.0

REGION = "eu-central-1"


@attrs.frozen
class Unread:
    """A body that nobody has read."""

    length: int | None


@attrs.define
class Seen:
    """A request as a door sees it."""

    method: bytes
    path: bytes
    fields: dict[bytes, bytes]
    requestHeaders: Headers
    body: Unread

    @property
    def query(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.fields.items()}


def stamp(time: float) -> str:
    """A time as signatures have it."""
    return shown_time(time).replace("-", "").replace(":", "")


def at_time(time: float) -> Any:
    """Have botocore sign as if it were then."""
    moment = datetime.fromtimestamp(time, UTC)
    return patch("botocore.auth.get_current_datetime", lambda remove_tzinfo=True: moment.replace(tzinfo=None))


def sign_header(
    key: Any,
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    time: float = NOW,
    region: str = REGION,
    payload: str | None = None,
    service: str = "s3",
) -> Any:
    """A request that botocore signed in the header."""
    request = AWSRequest(method=method, url=url, headers=dict(headers or {}), data=body)
    signer = S3SigV4Auth(Credentials(key.user.key_id, key.secret), service, region)
    if payload is not None:
        signer.payload = lambda request: payload  # type: ignore[method-assign]
    with at_time(time):
        signer.add_auth(request)
    return request


def presign(
    key: Any,
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    time: float = NOW,
    region: str = REGION,
    expires: int = 3600,
) -> Any:
    """A request whose URL botocore signed."""
    request = AWSRequest(method=method, url=url, headers=dict(headers or {}))
    with at_time(time):
        S3SigV4QueryAuth(Credentials(key.user.key_id, key.secret), "s3", region, expires=expires).add_auth(request)
    return request


def presign_2(key: Any, method: str, url: str, headers: Mapping[str, str] | None = None, time: float = NOW) -> Any:
    """A request whose URL botocore signed in Version 2."""
    request = AWSRequest(method=method, url=url, headers=dict(headers or {}), auth_path=urlsplit(url).path)
    with patch("botocore.auth.time.time", lambda: time):
        HmacV1QueryAuth(Credentials(key.user.key_id, key.secret)).add_auth(request)
    return request


def signed_policy(
    key: Any, conditions: list[Any], expiration: str, time: float = NOW, region: str = REGION
) -> dict[str, str]:
    """The fields of a form that botocore signed."""
    fields: dict[str, str] = {}
    request = AWSRequest(method="POST", url="http://localhost/box")
    request.context["s3-presign-post-fields"] = fields
    request.context["s3-presign-post-policy"] = {"expiration": expiration, "conditions": list(conditions)}
    with at_time(time):
        S3SigV4PostAuth(Credentials(key.user.key_id, key.secret), "s3", region).add_auth(request)
    return fields


def seen(request: Any, length: int | None = 0, extra: Iterable[tuple[str, str]] = ()) -> Seen:
    """What a door sees of it."""
    url = urlsplit(request.url)
    headers = Headers()
    headers.addRawHeader(b"Host", url.netloc.encode())
    for name, value in [*request.headers.items(), *extra]:
        if name.lower() != "host":
            text = value if isinstance(value, bytes) else str(value).encode()
            headers.addRawHeader(name.encode(), text)
    query = url.query
    if request.params:
        pairs = [f"{quote(n, safe='~')}={quote(v, safe='~')}" for n, v in request.params.items()]
        query = "&".join([query] * bool(query) + pairs)
    return Seen(request.method.encode(), url.path.encode(), parse_query(query.encode()), headers, Unread(length))


class SigningCase(SynchronousTestCase):
    """
    @ivar key: an access key.
    """

    region = REGION

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.rightNow = NOW
        self.accounts = MemoryAccounts(clock=self.clock.seconds)
        self.key = self.successResultOf(self.accounts.add_user("ann"))
        self.authenticator = Authenticator(self.accounts, self.clock.seconds, self.region)
        self.disk = InlineDisk()

    def authenticate(self, request: Seen) -> Signed:
        return self.authenticator.authenticate(request, request.query)  # type: ignore[arg-type]

    def granted(self, request: Seen) -> Signed:
        """A request that the key has signed."""
        signed = self.authenticate(request)
        self.assertEqual((signed.user and signed.user.name, signed.key_id), ("ann", self.key.user.key_id))
        return signed

    def refused(self, code: str, request: Seen, part: str = "") -> S3Error:
        """What is said of one that is refused."""
        error = self.assertRaises(S3Error, self.authenticate, request)
        self.assertEqual(error.code, code, error)
        self.assertIn(part, error.detail)
        self.assertNotIn(self.key.secret, str(error) + repr(error.fields))
        return error

    def payload(self, signed: Signed, pieces: list[bytes] | bytes, length: int | None = None) -> bytes:
        """What a body comes to."""
        stream, _ = signed.stream(BytesStream(pieces), length, self.disk)
        return self.all_of(stream)

    def all_of(self, stream: IByteStream) -> bytes:
        return self.successResultOf(Deferred.fromCoroutine(read_all(stream)))

    def payload_refused(self, code: str, signed: Signed, pieces: list[bytes] | bytes) -> S3Error:
        """What is said of a body that is refused."""
        stream, _ = signed.stream(BytesStream(pieces), None, self.disk)
        error = self.failureResultOf(Deferred.fromCoroutine(read_all(stream)), S3Error).value
        self.assertEqual(error.code, code, error)
        return error
