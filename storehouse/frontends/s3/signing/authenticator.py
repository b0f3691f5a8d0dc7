"""
Authentication: the signature of a request is compared with ours.

Of the header fields C{host} and all C{x-amz-*} must be signed, so that nobody on the way can add what changes a request's
meaning. Signatures are compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping

import attrs

from storehouse.core.jobs import IDisk
from storehouse.core.sigv4 import (
    ALGORITHM,
    UNSIGNED_PAYLOAD,
    Scope,
    canonical_path,
    canonical_query,
    canonical_request,
    canonical_value,
    sign,
    signing_key,
    string_to_sign,
)
from storehouse.core.streams import IByteStream
from storehouse.errors import SignInRefused, TokenExpired, TokenInvalid
from storehouse.frontends.http.request import DoorRequest, lower_fields
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.signing.bodies import BATCH, Chain, body_stream
from storehouse.frontends.s3.signing.claims import Claim, Fields, one
from storehouse.frontends.s3.signing.header import claim_of_header
from storehouse.frontends.s3.signing.payload import Payload, payload_of
from storehouse.frontends.s3.signing.postpolicy import PostPolicy, claim_of_form, read_policy
from storehouse.frontends.s3.signing.presigned import SIGNATURE, claim_of_query, hoisted_fields, is_presigned
from storehouse.frontends.s3.signing.version2 import ALGORITHM as ALGORITHM_2
from storehouse.frontends.s3.signing.version2 import (
    KeyClaim,
    claim_of_version_2,
    is_version_2,
    sign_version_2,
    text_to_sign,
)
from storehouse.storage.accounts.interfaces import IAccounts, User

__all__ = ["Authenticator", "Signed"]

#: Signing keys that are kept, each for a key, a day and a region.
_KEYS = 1024


@attrs.frozen
class Signed:
    """
    The user who signed a request, and how its body comes.

    @ivar user: C{None} if nobody has.
    @ivar key_id: of the access key; empty if nobody has signed it.
    @ivar kind: C{REST-HEADER}, C{REST-QUERY-STRING} or C{POST}, as the policy key C{s3:authType} has it; empty if nobody
        has signed it.
    @ivar age: seconds since it was signed, as the policy key C{s3:signatureAge} has it in milliseconds.
    @ivar algorithm: of the signature, as the policy key C{s3:signatureversion} has it.
    @ivar trailers: once the payload was read to its end, the fields that followed it; names in lower case.
    """

    user: User | None = None
    key_id: str = ""
    kind: str = ""
    age: float = 0.0
    payload: Payload = attrs.field(factory=Payload)
    trailers: dict[str, str] = attrs.field(factory=dict)
    algorithm: str = ALGORITHM
    _chain: Chain | None = attrs.field(default=None, repr=False)

    @property
    def form(self) -> str:
        """C{x-amz-content-sha256}; empty without it."""
        return self.payload.form

    @property
    def trailer(self) -> str:
        """The name of the field that follows the payload, in lower case; empty if none does."""
        return self.payload.trailer

    def stream(
        self, body: IByteStream, length: int | None, disk: IDisk, batch: int = BATCH
    ) -> tuple[IByteStream, int | None]:
        """
        The payload of a body, and how many bytes it has, if that is known: framing is taken off, and what the request
        announced is verified as the bytes pass. What is wrong has a read fail with an L{S3Error}, before the end at the
        latest.

        @param length: bytes of the body as it is sent.
        @param batch: bytes that are hashed at once in a thread.
        """
        return body_stream(self.payload, self._chain, self.trailers, body, length, disk, batch)


class Authenticator:
    """
    Verifies signatures.

    @param clock: seconds since 1970.
    @param region: that requests must be signed for; C{any} for every one.
    """

    def __init__(self, accounts: IAccounts, clock: Callable[[], float], region: str) -> None:
        self._accounts = accounts
        self._clock = clock
        self._region = region
        self._keys: OrderedDict[tuple[str, Scope], tuple[bytes, bytes]] = OrderedDict()

    def authenticate(self, request: DoorRequest, query: Mapping[str, str], host_bucket: str = "") -> Signed:
        """
        @param query: decoded; bytes that are no UTF-8 as surrogates.
        @param host_bucket: the bucket, if the host names it.
        @raise S3Error: if the signature is not right, or the request says in two ways how its body comes.
        """
        fields: Fields = lower_fields(request.requestHeaders)
        length = request.body.length
        authorization = one(fields, b"authorization")
        if is_presigned(query) or is_version_2(query):
            if authorization is not None:
                raise S3Error(
                    "InvalidArgument",
                    "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string "
                    "parameter or the Authorization header should be specified",
                    ArgumentName="Authorization",
                )
            if not is_presigned(query):
                return self._authenticate_2(request, query, fields, host_bucket)
            now = self._clock()
            claim = claim_of_query(query, self._region, now)
            token = query.get("X-Amz-Security-Token")
            form = query.get("X-Amz-Content-Sha256") or one(fields, b"x-amz-content-sha256")
            signed_query = [field for field in query.items() if field[0] != SIGNATURE]
        elif authorization is not None:
            now = self._clock()
            claim = claim_of_header(authorization, fields, self._region, now)
            token = one(fields, b"x-amz-security-token")
            form = one(fields, b"x-amz-content-sha256")
            if form is None:
                raise S3Error("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
            signed_query = list(query.items())
        else:
            return Signed(payload=_unsigned_payload(fields, length))
        payload = payload_of(form, fields, length)
        user, key = self._key_of(claim.key_id, claim.scope, token)
        canonical = canonical_request(
            request.method,
            canonical_path(request.path),
            canonical_query([(_encoded(name), _encoded(value)) for name, value in signed_query])
            if signed_query
            else b"",
            _signed_fields(claim, fields, hoisted_fields(query)),
            _encoded(form or UNSIGNED_PAYLOAD),
        )
        scope = str(claim.scope)
        text = string_to_sign(canonical, claim.timestamp, scope)
        check_signature(claim, sign(key, text), text, canonical)
        chain = Chain(key, claim.timestamp, scope, claim.signature) if payload.is_signed else None
        return Signed(user, claim.key_id, claim.kind, max(0.0, now - claim.time), payload, chain=chain)

    def _authenticate_2(
        self, request: DoorRequest, query: Mapping[str, str], fields: Fields, host_bucket: str
    ) -> Signed:
        claim = claim_of_version_2(query, self._clock())
        payload = _unsigned_payload(fields, request.body.length)
        user, secret = self._secret_of(claim.key_id, one(fields, b"x-amz-security-token"))
        resource = (b"/" + host_bucket.encode() if host_bucket else b"") + request.path
        text = text_to_sign(request.method, resource, query, fields, claim.expires)
        if resource.count(b"/") == 1:
            # Of a bucket some sign the path as it is sent, and some with a slash at its end: it names the same.
            other = text_to_sign(request.method, resource + b"/", query, fields, claim.expires)
            if is_signature(claim.signature, sign_version_2(secret, other)):
                text = other
        check_signature(claim, sign_version_2(secret, text), text)
        return Signed(user, claim.key_id, "REST-QUERY-STRING", payload=payload, algorithm=ALGORITHM_2)

    def authenticate_form(self, fields: Mapping[str, str], bucket: str) -> tuple[Signed, PostPolicy | None]:
        """
        The user who signed the policy of a form, and the policy, which allows the form; C{None} if it has no policy: then nobody
        has signed it. The size of the file is left to L{PostPolicy.sized}.

        @param fields: those before the file, with variables replaced; names in lower case.
        @param bucket: that the form was sent to.
        @raise S3Error: if the signature is not right, or the policy does not allow the form.
        """
        claim = claim_of_form(fields, self._region)
        if claim is None:
            return Signed(), None
        token = fields.get("x-amz-security-token")
        text = _encoded(fields["policy"])
        now = self._clock()
        if isinstance(claim, Claim):
            user, key = self._key_of(claim.key_id, claim.scope, token)
            check_signature(claim, sign(key, text), text)
            signed = Signed(user, claim.key_id, claim.kind, max(0.0, now - claim.time))
        else:
            user, secret = self._secret_of(claim.key_id, token)
            check_signature(claim, sign_version_2(secret, text), text)
            signed = Signed(user, claim.key_id, "POST", algorithm=ALGORITHM_2)
        policy = read_policy(fields["policy"])
        policy.check(fields, bucket, now)
        return signed, policy

    def authenticate_service(self, request: DoorRequest, body: bytes, service: str) -> Signed:
        """
        The user who signed a request to another service at the root of the door, whose whole body is signed.

        @param service: as its scope names it.
        @raise S3Error: if the signature is not right. Without one the user is C{None}.
        """
        fields: Fields = lower_fields(request.requestHeaders)
        authorization = one(fields, b"authorization")
        if authorization is None:
            return Signed()
        now = self._clock()
        claim = claim_of_header(authorization, fields, self._region, now, service)
        user, key = self._key_of(claim.key_id, claim.scope, one(fields, b"x-amz-security-token"))
        query = canonical_query(request.fields.items())
        headers = _signed_fields(claim, fields, {})
        digest = hashlib.sha256(body).hexdigest().encode()
        canonical = canonical_request(request.method, canonical_path(request.path), query, headers, digest)
        text = string_to_sign(canonical, claim.timestamp, str(claim.scope))
        check_signature(claim, sign(key, text), text, canonical)
        return Signed(user, claim.key_id, claim.kind, max(0.0, now - claim.time))

    def _secret_of(self, key_id: str, token: str | None) -> tuple[User, bytes]:
        try:
            if token is not None:
                return self._accounts.user_of_temporary(key_id, token)
            return self._accounts.secret_of_key(key_id)
        except TokenExpired:
            raise S3Error("ExpiredToken") from None
        except TokenInvalid:
            raise S3Error("InvalidToken") from None
        except SignInRefused:
            raise S3Error("InvalidAccessKeyId", AWSAccessKeyId=key_id[:128]) from None

    def _key_of(self, key_id: str, scope: Scope, token: str | None) -> tuple[User, bytes]:
        """The user of an access key, and its signing key."""
        user, secret = self._secret_of(key_id, token)
        place = key_id, scope
        known = self._keys.get(place)
        if known is not None and hmac.compare_digest(known[0], secret):
            self._keys.move_to_end(place)
            return user, known[1]
        key = signing_key(secret, scope)
        self._keys[place] = secret, key
        if len(self._keys) > _KEYS:
            self._keys.popitem(last=False)
        return user, key


def _unsigned_payload(fields: Fields, length: int | None) -> Payload:
    """How the body of a request comes whose signature no chunk can be chained to."""
    payload = payload_of(one(fields, b"x-amz-content-sha256"), fields, length)
    if payload.is_signed:
        raise S3Error(
            "AccessDenied", "A body in signed chunks belongs to a request that is signed with AWS4-HMAC-SHA256"
        )
    return payload


def is_signature(given: str, expected: str) -> bool:
    """Whether they are the same, in constant time."""
    return hmac.compare_digest(expected.encode(), _encoded(given))


def check_signature(claim: Claim | KeyClaim, expected: str, text: bytes, canonical: bytes = b"") -> None:
    """@raise S3Error: if the signature is another; it shows what we have signed, for authors of clients."""
    if is_signature(claim.signature, expected):
        return
    wrong = S3Error(
        "SignatureDoesNotMatch",
        AWSAccessKeyId=claim.key_id,
        StringToSign=text.decode("utf-8", "replace"),
        SignatureProvided=claim.signature,
        StringToSignBytes=text.hex(" "),
    )
    if canonical:
        wrong.fields["CanonicalRequest"] = canonical.decode("utf-8", "replace")
        wrong.fields["CanonicalRequestBytes"] = canonical.hex(" ")
    raise wrong


def _signed_fields(claim: Claim, fields: Fields, hoisted: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    # One that the query has as well is signed with that.
    missing = [
        name
        for name in fields.keys() - claim.names
        if (name.startswith(b"x-amz-") or name == b"host") and list(fields[name]) != [hoisted.get(name)]
    ]
    if missing:
        raise S3Error(
            "AccessDenied",
            "There were headers present in the request which were not signed",
            HeadersNotSigned=", ".join(sorted(name.decode("ascii", "replace") for name in missing)),
        )
    # One that is signed and not there is empty: then nobody on the way can add it either.
    return [(name, canonical_value(fields.get(name, (b"",)))) for name in claim.names]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
