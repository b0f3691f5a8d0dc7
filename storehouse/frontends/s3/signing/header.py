"""
A signature in the header::

    Authorization: AWS4-HMAC-SHA256 Credential=ID/yyyyMMdd/REGION/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=HEX

Source: "Authenticating Requests: Using the Authorization Header" in the API reference of S3.
"""

from __future__ import annotations

from storehouse.core.sigv4 import ALGORITHM
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.signing.claims import (
    Claim,
    Fields,
    check_date,
    check_region,
    check_skew,
    not_supported,
    parse_credential,
    parse_names,
    timestamp_of,
)

__all__ = ["claim_of_header"]

_COMPONENTS = {"Credential", "SignedHeaders", "Signature"}


def _malformed(reason: str) -> S3Error:
    return S3Error("AuthorizationHeaderMalformed", f"The authorization header is malformed; {reason}")


def claim_of_header(authorization: str, fields: Fields, region: str, now: float, service: str = "s3") -> Claim:
    """
    What the header field C{Authorization} says.

    @param region: ours, or C{any}.
    @param now: seconds since 1970.
    @param service: that it must be signed for.
    """
    kind, _, rest = authorization.partition(" ")
    if kind != ALGORITHM:
        if kind == "AWS" or kind.startswith("AWS4-"):
            raise not_supported()
        raise S3Error(
            "InvalidArgument",
            "Unsupported Authorization Type",
            ArgumentName="Authorization",
            # Without what may be a password.
            ArgumentValue=kind[:64],
        )
    components = [part.strip().partition("=") for part in rest.split(",", 3)]
    parts = {name: value for name, _, value in components}
    if len(components) != 3 or parts.keys() != _COMPONENTS:
        raise _malformed(
            "the authorization header requires three components: Credential, SignedHeaders, and Signature."
        )
    key_id, scope = parse_credential(parts["Credential"], _malformed, service)
    names = parse_names(parts["SignedHeaders"], _malformed)
    timestamp, time = timestamp_of(fields)
    check_region(scope, region, _malformed)
    check_date(scope, timestamp, _malformed)
    claim = Claim(key_id, scope, timestamp, time, names, parts["Signature"], "REST-HEADER")
    check_skew(claim, now)
    return claim
