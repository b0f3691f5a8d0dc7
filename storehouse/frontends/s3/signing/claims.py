"""
What a request claims of itself: by which key it was signed, when, for what, and which header fields are.

Three places have it, with names and errors of their own: the header field C{Authorization}
(L{header<storehouse.frontends.s3.signing.header>}), the query of a presigned URL
(L{presigned<storehouse.frontends.s3.signing.presigned>}), and the fields of a form
(L{postpolicy<storehouse.frontends.s3.signing.postpolicy>}).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import attrs

from storehouse.core.sigv4 import TERMINAL, Scope
from storehouse.frontends.s3.errors import S3Error

__all__ = [
    "MAX_SKEW",
    "Claim",
    "Fields",
    "check_date",
    "check_region",
    "check_skew",
    "not_supported",
    "one",
    "parse_credential",
    "parse_names",
    "parse_timestamp",
    "shown_time",
    "timestamp_of",
]

#: Header fields: names in lower case, and all values of each.
Fields = Mapping[bytes, Sequence[bytes]]

#: Makes the error of a place, from what is wrong.
Malformed = Callable[[str], S3Error]

#: Seconds that a request's time can be away from ours.
MAX_SKEW = 900

# More than anybody signs; a head has no more fields.
_MAX_NAMES = 128

_timestamp = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", re.ASCII).fullmatch
_date = re.compile(r"\d{8}", re.ASCII).fullmatch
_region = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII).fullmatch
_names = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+(?:;[!#$%&'*+\-.^_`|~0-9a-z]+)*", re.ASCII).fullmatch


# Characters of a text whose result is remembered.
_REMEMBERED = 512

P = ParamSpec("P")
T = TypeVar("T")


def _remembered(parse: Callable[Concatenate[str, P], T]) -> Callable[Concatenate[str, P], T]:
    """Remember the results for short texts: clients sign all day with one scope, and mostly the same fields."""
    cached: Any = lru_cache(1024)(parse)

    @wraps(parse)
    def parsed(text: str, /, *args: P.args, **kwargs: P.kwargs) -> T:
        found: T = (cached if len(text) <= _REMEMBERED else parse)(text, *args, **kwargs)
        return found

    return parsed


@attrs.frozen
class Claim:
    """
    @ivar key_id: of the access key.
    @ivar timestamp: when it was signed, C{yyyyMMddTHHmmssZ}, and C{time}, in seconds since 1970 UTC.
    @ivar names: of the signed header fields, in lower case, in ascending order.
    @ivar signature: in hex, as it was sent.
    @ivar kind: as the policy key C{s3:authType} has it.
    """

    key_id: str
    scope: Scope
    timestamp: str
    time: float
    names: tuple[bytes, ...]
    signature: str
    kind: str


def one(fields: Fields, name: bytes) -> str | None:
    """
    The value of a header field that can be there once.

    @raise S3Error: if it is there more than once.
    """
    values = fields.get(name)
    if not values:
        return None
    if len(values) > 1:
        shown = name.decode("ascii", "replace")
        raise S3Error("InvalidArgument", f"The header {shown} is there more than once", ArgumentName=shown)
    return values[0].decode("utf-8", "surrogateescape").strip()


def not_supported() -> S3Error:
    """Of other ways to sign: those before and after Signature Version 4."""
    return S3Error(
        "InvalidRequest", "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
    )


@_remembered
def parse_credential(text: str, malformed: Malformed, service: str = "s3") -> tuple[str, Scope]:
    """The ID of a key, and the scope of its signature, from C{ID/yyyyMMdd/REGION/s3/aws4_request}."""
    parts = text.split("/")
    if len(parts) != 5:
        raise malformed('the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".')
    key_id, date, region, given, terminal = parts
    if not key_id:
        raise malformed("a non-empty Access Key (AKID) must be provided in the credential.")
    if not _date(date):
        raise malformed(
            f'incorrect date format "{date[:20]}". This date in the credential must be in the format "yyyyMMdd".'
        )
    if not _region(region):
        raise malformed("the region in the credential is none.")
    if given != service:
        raise malformed(f'incorrect service "{given[:64]}". This endpoint belongs to "{service}".')
    if terminal != TERMINAL:
        raise malformed(f'incorrect terminal "{terminal[:64]}". This endpoint uses "{TERMINAL}".')
    return key_id, Scope(date, region, service)


def check_region(scope: Scope, region: str, malformed: Malformed) -> None:
    """
    @param region: ours, or C{any}.
    """
    if region not in (scope.region, "any"):
        wrong = malformed(f"the region '{scope.region}' is wrong; expecting '{region}'")
        wrong.fields["Region"] = region
        raise wrong


def check_date(scope: Scope, timestamp: str, malformed: Malformed) -> None:
    """The day of the scope must be that of the signature."""
    if scope.date != timestamp[:8]:
        raise malformed(
            f'Invalid credential date "{scope.date}". This date is not the same as X-Amz-Date: "{timestamp[:8]}".'
        )


@_remembered
def parse_names(text: str, malformed: Malformed) -> tuple[bytes, ...]:
    """The names of the signed header fields."""
    if not _names(text):
        raise malformed("SignedHeaders must be names of headers in lower case with semicolons between them.")
    names = tuple(text.encode("ascii").split(b";"))
    if len(names) > _MAX_NAMES or sorted(set(names)) != list(names):
        raise malformed("SignedHeaders must be in ascending order, without any name twice.")
    return names


@lru_cache(64)
def parse_timestamp(text: str) -> float | None:
    """Seconds since 1970 of C{yyyyMMddTHHmmssZ}; C{None} if it is not such a time."""
    found = _timestamp(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = map(int, found.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        return None


def timestamp_of(fields: Fields) -> tuple[str, float]:
    """When a request was signed, by its C{x-amz-date} or its C{Date}."""
    text = one(fields, b"x-amz-date")
    if text is None:
        text = _of_date(one(fields, b"date") or "")
    time = parse_timestamp(text)
    if time is None:
        raise S3Error("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
    return text, time


def _of_date(text: str) -> str:
    if _timestamp(text):
        return text
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:  # "-0000", which RFC 5322 has for UTC of an unknown place
            moment = moment.replace(tzinfo=UTC)
        # In another zone it may be before the first year, or behind the last.
        return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    except (ValueError, OverflowError):
        return ""


def shown_time(time: float) -> str:
    """As messages have it."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_skew(claim: Claim, now: float) -> None:
    """@raise S3Error: if the request was signed at another time than now, by our clock."""
    if abs(now - claim.time) > MAX_SKEW:
        raise S3Error(
            "RequestTimeTooSkewed",
            RequestTime=claim.timestamp,
            ServerTime=shown_time(now),
            MaxAllowedSkewMilliseconds=MAX_SKEW * 1000,
        )
