"""
A signature in the query: a URL that was signed beforehand, for a time of up to a week::

    X-Amz-Algorithm=AWS4-HMAC-SHA256  X-Amz-Credential=ID/yyyyMMdd/REGION/s3/aws4_request  X-Amz-Date=yyyyMMddTHHmmssZ
    X-Amz-Expires=SECONDS  X-Amz-SignedHeaders=host  X-Amz-Signature=HEX

All of the query but C{X-Amz-Signature} is signed. Source: "Authenticating Requests: Using Query Parameters" in the API
reference of S3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from twisted.web.http_headers import Headers

from storehouse.core.sigv4 import ALGORITHM
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.signing.claims import (
    MAX_SKEW,
    Claim,
    check_date,
    check_region,
    not_supported,
    parse_credential,
    parse_names,
    parse_timestamp,
    shown_time,
)
from storehouse.frontends.s3.signing.version2 import HOISTED, is_amz_name, is_version_2

__all__ = ["SIGNATURE", "claim_of_query", "hoist_fields", "hoisted_fields", "is_presigned"]

#: The parameter that is not signed.
SIGNATURE = "X-Amz-Signature"

_PARAMETERS = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    SIGNATURE,
    "X-Amz-Date",
    "X-Amz-SignedHeaders",
    "X-Amz-Expires",
)

_OF_SIGNATURE = frozenset(
    {*(name.lower() for name in _PARAMETERS), "x-amz-security-token", "x-amz-content-sha256", "x-amz-user-agent"}
)

_WEEK = 604800

_number = re.compile(r"-?\d{1,18}", re.ASCII).fullmatch


def _malformed(reason: str) -> S3Error:
    return S3Error("AuthorizationQueryParametersError", reason)


def _bad_credential(reason: str) -> S3Error:
    return _malformed(f"Error parsing the X-Amz-Credential parameter; {reason}")


def is_presigned(query: Mapping[str, str]) -> bool:
    """Whether the query has a signature, or what belongs to one."""
    return "X-Amz-Algorithm" in query or "X-Amz-Credential" in query or SIGNATURE in query


def hoisted_fields(query: Mapping[str, str]) -> dict[bytes, bytes]:
    """
    The header fields that a presigned URL has in its query, where several clients put those that begin with C{x-amz-}: names
    in lower case.
    """
    if SIGNATURE in query:
        others, except_for = frozenset[str](), _OF_SIGNATURE
    elif is_version_2(query):
        others, except_for = HOISTED, frozenset()
    else:
        return {}
    return {
        lower.encode(): value.encode()
        for lower, value in ((name.lower(), value) for name, value in query.items())
        if (is_amz_name(lower) and lower not in except_for) or lower in others
    }


def hoist_fields(headers: Headers, query: Mapping[str, str]) -> None:
    """Put the header fields that a presigned URL has in its query among the others. One that is there stays as it is."""
    for name, value in hoisted_fields(query).items():
        if not headers.hasHeader(name):
            headers.setRawHeaders(name, [value])


def claim_of_query(query: Mapping[str, str], region: str, now: float) -> Claim:
    """
    What the query says.

    @param region: ours, or C{any}.
    @param now: seconds since 1970.
    """
    if not all(query.get(name) for name in _PARAMETERS):
        raise _malformed(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, "
            "X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
        )
    algorithm, credential, signature, timestamp, names, expires = (query[name] for name in _PARAMETERS)
    if algorithm != ALGORITHM:
        if algorithm.startswith("AWS4-"):
            raise not_supported()
        raise _malformed(f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    key_id, scope = parse_credential(credential, _bad_credential)
    time = parse_timestamp(timestamp)
    if time is None:
        raise _malformed("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    lifetime = _lifetime(expires)
    signed_names = parse_names(names, _malformed)
    check_region(scope, region, _bad_credential)
    check_date(scope, timestamp, _malformed)
    if time > now + MAX_SKEW:
        raise S3Error("AccessDenied", "Request is not yet valid", ServerTime=shown_time(now))
    if now >= time + lifetime:
        expired = S3Error(
            "AccessDenied", "Request has expired", Expires=shown_time(time + lifetime), ServerTime=shown_time(now)
        )
        expired.fields["X-Amz-Expires"] = expires
        raise expired
    return Claim(key_id, scope, timestamp, time, signed_names, signature, "REST-QUERY-STRING")


def _lifetime(text: str) -> int:
    if not _number(text):
        raise _malformed("X-Amz-Expires should be a number")
    lifetime = int(text)
    if lifetime < 0:
        raise _malformed("X-Amz-Expires must be non-negative")
    if lifetime > _WEEK:
        raise _malformed(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than "
            f"{_WEEK} seconds"
        )
    return lifetime
