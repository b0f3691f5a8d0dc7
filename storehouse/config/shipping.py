"""
How files are shipped, and where to: the tables C{[destinations.NAME]} of the file, and their C{shipping}. What is secret is
not shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import attrs

from storehouse.config.option import option
from storehouse.core.values import (
    one_of,
    parse_flag,
    parse_optional,
    parse_path,
    parse_text,
    parse_whole,
    seconds,
    sized,
)
from storehouse.errors import InvalidSetting

__all__ = [
    "KINDS",
    "Connecting",
    "DestinationSettings",
    "S3Settings",
    "ShipperSettings",
    "StoreSettings",
    "SwiftSettings",
]

MIB = 1 << 20

#: The fewest bytes that S3 takes as a part which is not the last, and the most it takes at once.
_SMALLEST_PART, _LARGEST_PART = 5 * MIB, 5 << 30

#: What the servers that there are take, and that is more than Amazon's.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,254}")

COMPRESSIONS = ("none", "gzip", "zstd")


def _positive(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not value > 0:
        raise InvalidSetting(f"{attribute.name} is {value}; it must be more than 0")


def _one_of(*words: str) -> Callable[[object, attrs.Attribute[str], str], None]:
    def check(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
        if value not in words:
            raise InvalidSetting(f"{attribute.name} is {value!r}; it may be {', '.join(words)}")

    return check


def _given(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not value:
        raise InvalidSetting(f"{attribute.name} is missing")


def _key(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    # A line break from where it was copied, most likely. The text is secret.
    if not value.isprintable():
        raise InvalidSetting(f"{attribute.name} contains a control character, such as a line break")


def _bucket(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not _BUCKET.fullmatch(value):
        raise InvalidSetting(
            f"{attribute.name} is {value!r}; S3 has letters, digits, '.', '-', '_' and ':' in such names"
        )


def _url(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and value.isascii()
    except ValueError:
        good = False
    # The text itself may hold a secret, put where it does not belong.
    if not good:
        raise InvalidSetting(f"{attribute.name} is not an http or https URL")
    if parts.username is not None or parts.query or parts.fragment:
        raise InvalidSetting(
            f"{attribute.name} has more than a host, a port and a path; credentials have settings of their own"
        )


@attrs.frozen(kw_only=True)
class Connecting:
    """How another server is connected to. Times are in seconds."""

    timeout: float = option(
        60.0,
        seconds(),
        "DURATION",
        "How long a server may make no progress before it counts as gone. What the operating system has taken, some "
        "MiB, counts as sent: on a link of less than 100 kB/s set more",
        validator=_positive,
    )
    connect_timeout: float = option(20.0, seconds(), "DURATION", "How long connecting may take", validator=_positive)
    tries: int = option(3, parse_whole, "NUMBER", "How often a single request is sent, at most", validator=_positive)
    pause: float = option(
        0.5,
        seconds(),
        "DURATION",
        "Time before the second try of a request, doubled before each further one",
        validator=_positive,
    )
    ca_file: str = option(
        "", parse_path, "FILE", "Certificate authorities to trust, in PEM", shown="those of the system"
    )


@attrs.frozen(kw_only=True)
class StoreSettings:
    """The object store of this process."""

    bucket: str = option(
        "archives", parse_text, "NAME", "The bucket, which is created when it is needed", validator=_given
    )


@attrs.frozen(kw_only=True)
class S3Settings:
    """A server that speaks S3. Buckets are addressed by path."""

    endpoint: str = option(attrs.NOTHING, parse_text, "URL", "The URL of the server", validator=_url)
    bucket: str = option("archives", parse_text, "NAME", "The bucket", validator=[_given, _bucket])
    region: str = option("us-east-1", parse_text, "NAME", "The region that requests are signed for", validator=_given)
    access_key: str = option(attrs.NOTHING, parse_text, "KEY", "The ID of the access key", validator=[_given, _key])
    secret_key: str = option(
        attrs.NOTHING, parse_text, "SECRET", "The secret of the access key", validator=[_given, _key], secret=True
    )
    session_token: str = option(
        "",
        parse_text,
        "SECRET",
        "The token of temporary credentials",
        shown="none",
        validator=_key,
        secret=True,
    )
    create: bool = option(True, parse_flag, "on|off", "Whether to create the bucket if it is not there")
    threshold: int = option(64 * MIB, sized(), "SIZE", "Larger files are uploaded in parts")
    part_size: int = option(
        32 * MIB,
        sized(),
        "SIZE",
        "Bytes of a part, at least 5MiB; more where there would be over 10,000",
    )
    connecting: Connecting = attrs.field(factory=Connecting)

    def __attrs_post_init__(self) -> None:
        if not _SMALLEST_PART <= self.part_size <= _LARGEST_PART:
            raise InvalidSetting(f"part_size is {self.part_size}; S3 takes parts of 5 MiB to 5 GiB")
        if not 0 < self.threshold <= _LARGEST_PART:
            raise InvalidSetting(f"threshold is {self.threshold}; S3 takes up to 5 GiB at once")


@attrs.frozen(kw_only=True)
class SwiftSettings:
    """A container of OpenStack Swift, as a destination: C{kind = "swift"}."""

    auth_url: str = option(
        attrs.NOTHING,
        parse_text,
        "URL",
        "For v1 the whole URL, as https://host/auth/v1.0; for v3 that of Keystone, as https://host/v3",
        validator=_url,
    )
    user: str = option(attrs.NOTHING, parse_text, "NAME", "For v1 with the account, as account:user", validator=_given)
    password: str = option(attrs.NOTHING, parse_text, "SECRET", "The password", validator=_given, secret=True)
    auth: str = option(
        "v1",
        one_of("v1", "v3"),
        "v1|v3",
        "v1, TempAuth; or v3, Keystone with a password",
        validator=_one_of("v1", "v3"),
    )
    project: str = option("", parse_optional, "NAME", "The project, for v3", shown="none")
    user_domain: str = option("Default", parse_text, "NAME", "The domain of the user, for v3")
    project_domain: str = option("Default", parse_text, "NAME", "The domain of the project, for v3")
    region: str = option("", parse_optional, "NAME", "The region, for v3", shown="any")
    interface: str = option(
        "public",
        one_of("public", "internal", "admin"),
        "public|internal|admin",
        "The interface of the object store, for v3",
        validator=_one_of("public", "internal", "admin"),
    )
    storage_url: str = option(
        "",
        parse_text,
        "URL",
        "Where the account is",
        shown="where the response of auth_url says",
        validator=lambda i, a, v: _url(i, a, v) if v else None,
    )
    container: str = option(
        "archives",
        parse_text,
        "NAME",
        "The container; Swift segments go to the one of that name with _segments at its end",
        validator=_given,
    )
    create: bool = option(True, parse_flag, "on|off", "Whether to create the containers if they are not there")
    threshold: int = option(
        1 << 30,
        sized(),
        "SIZE",
        "Larger files are uploaded in Swift segments, as a static large object",
        validator=_positive,
    )
    segment_size: int = option(
        256 * MIB,
        sized(),
        "SIZE",
        "Bytes of a Swift segment; more where there would be over 1000",
        validator=_positive,
    )
    connecting: Connecting = attrs.field(factory=Connecting)

    def __attrs_post_init__(self) -> None:
        if self.segment_size > _LARGEST_PART:
            raise InvalidSetting(f"segment_size is {self.segment_size}; Swift takes segments of up to 5 GiB")


DestinationSettings = StoreSettings | S3Settings | SwiftSettings

#: What C{kind} of a destination may be.
KINDS: dict[str, type[StoreSettings] | type[S3Settings] | type[SwiftSettings]] = {
    "store": StoreSettings,
    "s3": S3Settings,
    "swift": SwiftSettings,
}


@attrs.frozen(kw_only=True)
class ShipperSettings:
    """
    How files are shipped.

    @ivar directory: where the notes and the files on their way are; best in the file system of the files to ship.
    @ivar root: paths of files below it are noted relative to it; absolute, empty for none.
    @ivar delete: whether to remove files once they are there, verified.
    @ivar level: C{None} for 6 with gzip, and 3 with zstd.
    """

    directory: str = attrs.field(validator=_given)
    root: str = ""
    delete: bool = False
    compression: str = option(
        "gzip",
        one_of(*COMPRESSIONS),
        "none|gzip|zstd",
        "How files are compressed; what is compressed already is left as it is",
        validator=_one_of(*COMPRESSIONS),
    )
    level: int | None = option(
        None, parse_whole, "NUMBER", "The level of the compression", shown="6 for gzip, 3 for zstd"
    )
    verify: str = option(
        "read",
        one_of("read", "tag"),
        "read|tag",
        "read: everything is read back, and its SHA-256 compared. tag: size, tag and the SHA-256 in the metadata are "
        "compared, which costs one short request",
        validator=_one_of("read", "tag"),
    )
    concurrency: int = option(
        2, parse_whole, "NUMBER", "Files on their way at once; the oldest go first", validator=_positive
    )
    attempts: int = option(
        20, parse_whole, "NUMBER", "Failures after which a file becomes a dead letter", validator=_positive
    )
    pause: float = option(
        1.0,
        seconds(),
        "DURATION",
        "Time before the second attempt, doubled before each further one; reduced at random by up to half",
        validator=_positive,
    )
    longest_pause: float = option(900.0, seconds(), "DURATION", "The most time between attempts", validator=_positive)

    def __attrs_post_init__(self) -> None:
        if self.longest_pause < self.pause:
            raise InvalidSetting(f"pause is {self.pause}, longer than longest_pause, which is {self.longest_pause}")
        most = {"none": 0, "gzip": 9, "zstd": 22}[self.compression]
        if self.level is not None and not most:
            raise InvalidSetting(f"level is {self.level}; without compression there is none")
        if self.level is not None and not 1 <= self.level <= most:
            raise InvalidSetting(f"level is {self.level}; {self.compression} has 1 to {most}")
