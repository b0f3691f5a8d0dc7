"""
Forms by which a browser uploads: a policy, which somebody with a key has signed, says what its fields can be::

    {"expiration": "2026-12-01T12:00:00.000Z",
     "conditions": [{"bucket": "box"}, ["eq", "$acl", "private"], ["starts-with", "$key", "user/"],
                    ["content-length-range", 1, 1048576]]}

The form has it in base64 in C{policy}, which is what is signed, beside C{x-amz-algorithm}, C{x-amz-credential},
C{x-amz-date} and C{x-amz-signature}; or, of Signature Version 2, C{AWSAccessKeyId} and C{signature}. Each field must have a condition, but for the policy, the signature, the file, and those
that begin with C{x-ignore-}. Names count without regard to case.

Source: "Browser-Based Uploads Using POST (AWS Signature Version 4)" and "POST Policy" in the API reference of S3.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import attrs

from storehouse.core.jsontext import SHORT, parse_json
from storehouse.core.sigv4 import ALGORITHM
from storehouse.core.streams import IByteStream, Piece, stage
from storehouse.core.times import parse_time
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.signing.claims import (
    Claim,
    check_date,
    check_region,
    not_supported,
    parse_credential,
    parse_timestamp,
)
from storehouse.frontends.s3.signing.version2 import KeyClaim

__all__ = ["PostPolicy", "claim_of_form", "read_policy"]

_FIELDS = ("policy", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature")

_FIELDS_2 = ("policy", "awsaccesskeyid", "signature")

#: Fields that need no condition.
_FREE = frozenset({"policy", "x-amz-signature", "file", "awsaccesskeyid", "signature"})

_IGNORED = "x-ignore-"

#: Of the lists that one condition of C{starts-with} is for, each member counts.
_LISTS = frozenset({"content-type"})

_MOST_CONDITIONS = 1000


def _malformed(reason: str) -> S3Error:
    return S3Error("InvalidArgument", reason)


def _bad_credential(reason: str) -> S3Error:
    return S3Error("InvalidArgument", f"Error parsing the x-amz-credential field; {reason}")


def claim_of_form(fields: Mapping[str, str], region: str) -> Claim | KeyClaim | None:
    """
    What a form says of its signature; C{None} if it has neither a policy nor a signature.

    @param fields: those before the file; names in lower case.
    @param region: ours, or C{any}.
    """
    is_version_2 = "x-amz-signature" not in fields and ("awsaccesskeyid" in fields or "signature" in fields)
    needed = _FIELDS_2 if is_version_2 else _FIELDS
    if not any(name in fields for name in needed):
        return None
    for name in needed:
        if not fields.get(name):
            raise S3Error(
                "InvalidArgument",
                f"Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the "
                "fields.",
                ArgumentName=name,
                ArgumentValue="",
            )
    if is_version_2:
        return KeyClaim(fields["awsaccesskeyid"], fields["signature"])
    if fields["x-amz-algorithm"] != ALGORITHM:
        raise not_supported()
    key_id, scope = parse_credential(fields["x-amz-credential"], _bad_credential)
    timestamp = fields["x-amz-date"]
    time = parse_timestamp(timestamp)
    if time is None:
        raise _malformed("x-amz-date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    check_region(scope, region, _bad_credential)
    check_date(scope, timestamp, _malformed)
    return Claim(key_id, scope, timestamp, time, (), fields["x-amz-signature"], "POST")


@attrs.frozen
class PostPolicy:
    """
    @ivar expires: seconds since 1970 UTC.
    @ivar conditions: operator (C{eq} or C{starts-with}), field in lower case, value.
    @ivar least: bytes that the file must have, and C{most}, which it can have; C{None} for no limit.
    """

    expires: float
    conditions: tuple[tuple[str, str, str], ...] = ()
    least: int = 0
    most: int | None = None

    def check(self, fields: Mapping[str, str], bucket: str, now: float) -> None:
        """
        @param fields: those before the file, with variables replaced; names in lower case.
        @param bucket: that the form was sent to.
        @param now: seconds since 1970.
        @raise S3Error: if the policy does not allow this form.
        """
        if now >= self.expires:
            raise _denied("Policy expired.")
        values = {**fields, "bucket": bucket}
        for operator, name, value in self.conditions:
            if not _holds(operator, name, values.get(name), value):
                raise _denied(f'Policy Condition failed: ["{operator}", "${name}", "{value}"]')
        named = {name for _, name, _ in self.conditions}
        for name in fields:
            if name not in named and name not in _FREE and not name.startswith(_IGNORED):
                raise _denied(f"Extra input fields: {name}")

    def sized(self, file: IByteStream) -> IByteStream:
        """The file; a read fails with an L{S3Error} if it is larger or smaller than allowed."""
        return file if self.most is None else _sized(file, self.least, self.most)


@stage
async def _sized(file: IByteStream, least: int, most: int) -> AsyncGenerator[Piece, None]:
    size = 0
    while piece := await file.read():
        size += len(piece)
        if size > most:
            raise S3Error("EntityTooLarge", ProposedSize=size, MaxSizeAllowed=most)
        yield piece
    if size < least:
        raise S3Error("EntityTooSmall", ProposedSize=size, MinSizeAllowed=least)


def _denied(reason: str) -> S3Error:
    return S3Error("AccessDenied", f"Invalid according to Policy: {reason}")


def _holds(operator: str, name: str, given: str | None, value: str) -> bool:
    if given is None:
        return False
    if operator == "eq":
        return given == value
    if name in _LISTS:
        return all(each.strip().startswith(value) for each in given.split(","))
    return given.startswith(value)


# -- reading ---------------------------------------------------------------------------------------


def read_policy(text: str) -> PostPolicy:
    """
    A policy.

    @param text: as the form has it, in base64.
    @raise S3Error: if it is none.
    """
    try:
        data = b64decode("".join(text.split()), validate=True)
    except (NotBase64, ValueError):
        raise _invalid("Invalid Base64.") from None
    if len(data) > SHORT:
        raise _invalid(f"It has more than {SHORT} bytes.")
    try:
        document = parse_json(data)
    except ValueError as problem:
        raise _invalid(f"Invalid JSON: {problem}") from None
    if not isinstance(document, dict):
        raise _invalid("Invalid JSON: it is no object.")
    for name in document:
        if name not in ("expiration", "conditions"):
            raise _invalid(f"Unexpected: '{name[:100]}'.")
    if not isinstance(document.get("expiration"), str):
        raise _invalid("Policy missing expiration.")
    if not isinstance(document.get("conditions"), list):
        raise _invalid("Policy missing conditions.")
    return _read_conditions(document["conditions"], _read_time(document["expiration"]))


def _read_time(text: str) -> float:
    if "T" not in text:  # of the forms that are taken elsewhere this one is an ISO 8601 one
        raise _invalid(f"Invalid 'expiration' value: '{text[:100]}'")
    try:
        return parse_time(text, 0.0) / 10**9
    except ValueError:
        raise _invalid(f"Invalid 'expiration' value: '{text[:100]}'") from None


def _read_conditions(items: list[Any], expires: float) -> PostPolicy:
    if len(items) > _MOST_CONDITIONS:
        raise _invalid(f"It has more than {_MOST_CONDITIONS} conditions.")
    conditions: list[tuple[str, str, str]] = []
    least, most = 0, None
    for item in items:
        if isinstance(item, dict):
            for name, value in item.items():
                conditions.append(("eq", _field(name), _value(value)))
        elif isinstance(item, list) and len(item) == 3 and isinstance(item[0], str):
            operator = item[0].lower()
            if operator == "content-length-range":
                low, high = _size(item[1]), _size(item[2])
                least, most = max(least, low), high if most is None else min(most, high)
            elif operator in ("eq", "starts-with") and isinstance(item[1], str) and item[1].startswith("$"):
                conditions.append((operator, _field(item[1][1:]), _value(item[2])))
            else:
                raise _invalid("Invalid Condition: it is none of eq, starts-with and content-length-range.")
        else:
            raise _invalid("Invalid Condition: it is neither an object nor a list of three.")
    return PostPolicy(expires, tuple(conditions), least, most)


def _field(name: str) -> str:
    return name.lower()


def _value(value: object) -> str:
    if not isinstance(value, str):
        raise _invalid("Invalid Condition: its value is no string.")
    return value


def _size(value: object) -> int:
    # Several clients write the numbers as strings.
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62:
        return value
    raise _invalid("Invalid content-length-range: its limits are no numbers of bytes.")


def _invalid(reason: str) -> S3Error:
    return S3Error("InvalidPolicyDocument", f"Invalid Policy: {reason}")
