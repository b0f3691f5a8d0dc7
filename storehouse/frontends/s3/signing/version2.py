"""
Signature Version 2, of URLs that were signed beforehand and of the policies of forms: boto3 and the aws cli make these unless
they are configured otherwise. In the header it is refused: all that sign there have had Version 4 for years. ::

    AWSAccessKeyId=ID  Expires=SECONDS  Signature=base64(HMAC-SHA1(secret, string to sign))

    string to sign   method LF Content-MD5 LF Content-Type LF Expires LF (name ":" value LF for each x-amz- field) resource
    resource         path, from the bucket on, encoded as it is sent, and "?" with the parameters that count

Only parameters that name a sub-resource are signed. Anybody who has the URL could add another one, and make it a request for
something else: so all that are not known to be harmless are refused. All C{x-amz-} fields are signed; these, C{Content-MD5} and
C{Content-Type} can be in the query instead of the header.

Source: "Signing and Authenticating REST Requests" in the developer guide of S3.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from collections.abc import Mapping

import attrs

from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.signing.claims import Fields, one, shown_time

__all__ = [
    "ALGORITHM",
    "HOISTED",
    "KeyClaim",
    "claim_of_version_2",
    "is_amz_name",
    "is_version_2",
    "sign_version_2",
    "text_to_sign",
]

#: As the policy key C{s3:signatureversion} has it.
ALGORITHM = "AWS"

_PARAMETERS = ("AWSAccessKeyId", "Signature", "Expires")

#: Header fields that count from the query, beside those of C{x-amz-}.
HOISTED = frozenset({"content-md5", "content-type"})

#: Parameters that are signed.
_SIGNED = frozenset(
    [
        "accelerate",
        "acl",
        "analytics",
        "cors",
        "delete",
        "intelligent-tiering",
        "inventory",
        "lifecycle",
        "location",
        "logging",
        "metrics",
        "notification",
        "object-lock",
        "partNumber",
        "policy",
        "replication",
        "requestPayment",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
        "restore",
        "select",
        "select-type",
        "storageClass",
        "tagging",
        "torrent",
        "uploadId",
        "uploads",
        "versionId",
        "versioning",
        "versions",
        "website",
    ]
)

#: Parameters that are not, and only say which part of a list is wanted.
_HARMLESS = frozenset(
    [
        "continuation-token",
        "delimiter",
        "encoding-type",
        "fetch-owner",
        "key-marker",
        "list-type",
        "marker",
        "max-keys",
        "max-parts",
        "max-uploads",
        "part-number-marker",
        "prefix",
        "start-after",
        "upload-id-marker",
        "version-id-marker",
        "x-id",
    ]
)

#: Whether it is the name of a header field, in lower case, that begins with C{x-amz-}.
is_amz_name = re.compile(r"x-amz-[!#$%&'*+\-.^_`|~0-9a-z]{1,256}", re.ASCII).fullmatch

_number = re.compile(r"\d{1,12}", re.ASCII).fullmatch


@attrs.frozen
class KeyClaim:
    """
    @ivar key_id: of the access key.
    @ivar signature: in base64, as it was sent.
    @ivar expires: as it was sent.
    """

    key_id: str
    signature: str
    expires: str = ""


def is_version_2(query: Mapping[str, str]) -> bool:
    """Whether the query has such a signature."""
    return "AWSAccessKeyId" in query and "Signature" in query and "Expires" in query


def claim_of_version_2(query: Mapping[str, str], now: float) -> KeyClaim:
    """
    What the query says.

    @param now: seconds since 1970.
    """
    key_id, signature, expires = (query[name] for name in _PARAMETERS)
    if not _number(expires):
        raise S3Error("AccessDenied", f"Invalid date (should be seconds since epoch): {expires[:64]}")
    if now >= int(expires):
        raise S3Error(
            "AccessDenied",
            "Request has expired",
            Expires=shown_time(min(int(expires), 253402300799)),
            ServerTime=shown_time(now),
        )
    for name in query:
        lower = name.lower()
        if not (name in _SIGNED or name in _HARMLESS or name in _PARAMETERS or lower in HOISTED or is_amz_name(lower)):
            raise S3Error(
                "InvalidRequest",
                f"Signature Version 2 does not sign the parameter {name[:64]}. Please use AWS4-HMAC-SHA256.",
            )
    return KeyClaim(key_id, signature, expires)


def text_to_sign(method: bytes, resource: bytes, query: Mapping[str, str], fields: Fields, expires: str) -> bytes:
    """
    @param resource: the path as it was sent, with the bucket in front if the host names it.
    @param fields: all header fields, those from the query among them.
    """
    custom = sorted(name for name in fields if name.startswith(b"x-amz-"))
    signed = [f"{name}={query[name]}" if query[name] else name for name in sorted(query) if name in _SIGNED]
    return b"\n".join(
        [
            method,
            *(
                (one(fields, name) or "").encode("utf-8", "surrogateescape")
                for name in (b"content-md5", b"content-type")
            ),
            expires.encode(),
            *(name + b":" + b",".join(value.strip() for value in fields[name]) for name in custom),
            resource + (b"?" + "&".join(signed).encode() if signed else b""),
        ]
    )


def sign_version_2(secret: bytes, text: bytes) -> str:
    """A signature, in base64."""
    return b64encode(hmac.digest(secret, text, "sha1")).decode("ascii")
