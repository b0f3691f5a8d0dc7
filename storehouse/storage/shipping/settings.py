"""How files are shipped, and where to. What is secret is not shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import attrs

from storehouse.errors import InvalidSetting

__all__ = ["Connecting", "S3Settings", "ShipperSettings", "StoreSettings", "SwiftSettings"]

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
        raise InvalidSetting(f"{attribute.name} holds a control character, such as a line break")


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
            f"{attribute.name} holds more than a host, a port and a path; credentials have settings of their own"
        )


@attrs.frozen(kw_only=True)
class Connecting:
    """
    How another server is talked to.

    @ivar timeout: seconds after which a server that makes no progress counts as gone.
    @ivar connect_timeout: seconds that a connection may take to be made.
    @ivar tries: how often a single request is sent, at most.
    @ivar pause: seconds before the second try, twice as many before each further one.
    @ivar ca_file: a file of the certificates to trust, in PEM; empty for those that the system trusts.
    """

    timeout: float = attrs.field(default=60.0, validator=_positive)
    connect_timeout: float = attrs.field(default=20.0, validator=_positive)
    tries: int = attrs.field(default=3, validator=_positive)
    pause: float = attrs.field(default=0.5, validator=_positive)
    ca_file: str = ""


@attrs.frozen(kw_only=True)
class StoreSettings:
    """
    The object store of this process.

    @ivar bucket: made if it is not there.
    """

    bucket: str = attrs.field(default="archives", validator=_given)


@attrs.frozen(kw_only=True)
class S3Settings:
    """
    A server that speaks S3.

    @ivar endpoint: its URL. Buckets are addressed by path.
    @ivar bucket: where to store.
    @ivar create: whether to make the bucket if it is not there.
    @ivar session_token: for credentials that last only a while; empty for none.
    @ivar threshold: files of more bytes are uploaded in parts.
    @ivar part_size: bytes of a part, at least 5 MiB; more if there would be over 10000.
    """

    endpoint: str = attrs.field(validator=_url)
    bucket: str = attrs.field(default="archives", validator=[_given, _bucket])
    access_key: str = attrs.field(validator=[_given, _key])
    secret_key: str = attrs.field(validator=[_given, _key], repr=False)
    session_token: str = attrs.field(default="", validator=_key, repr=False)
    region: str = attrs.field(default="us-east-1", validator=_given)
    create: bool = True
    threshold: int = attrs.field(default=64 * MIB)
    part_size: int = attrs.field(default=32 * MIB)
    connecting: Connecting = attrs.field(factory=Connecting)

    @part_size.validator
    def _check_part_size(self, attribute: attrs.Attribute[int], value: int) -> None:
        if not _SMALLEST_PART <= value <= _LARGEST_PART:
            raise InvalidSetting(f"part_size is {value}; S3 takes parts of 5 MiB to 5 GiB")

    @threshold.validator
    def _check_threshold(self, attribute: attrs.Attribute[int], value: int) -> None:
        if not 0 < value <= _LARGEST_PART:
            raise InvalidSetting(f"threshold is {value}; S3 takes up to 5 GiB at once")


@attrs.frozen(kw_only=True)
class SwiftSettings:
    """
    OpenStack Swift.

    @ivar auth_url: for C{v1} the whole URL, as C{https://host/auth/v1.0}; for C{v3} that of Keystone, to C{/v3}.
    @ivar auth: C{v1} (TempAuth and its like), or C{v3} (Keystone, with a password).
    @ivar user: for C{v1} with the account, as C{account:user}.
    @ivar project: for C{v3}, as are C{user_domain}, C{project_domain}, C{region} (empty for any) and C{interface}.
    @ivar storage_url: where the account is; empty for where the answer of C{auth_url} says.
    @ivar container: where to store. Segments go to the container of that name with C{_segments} at its end.
    @ivar create: whether to make the containers if they are not there.
    @ivar threshold: larger files are uploaded in segments, as a static large object.
    @ivar segment_size: bytes of a segment; more if there would be over 1000.
    """

    auth_url: str = attrs.field(validator=_url)
    user: str = attrs.field(validator=_given)
    password: str = attrs.field(validator=_given, repr=False)
    auth: str = attrs.field(default="v1", validator=_one_of("v1", "v3"))
    project: str = ""
    user_domain: str = "Default"
    project_domain: str = "Default"
    region: str = ""
    interface: str = attrs.field(default="public", validator=_one_of("public", "internal", "admin"))
    storage_url: str = attrs.field(default="", validator=lambda i, a, v: _url(i, a, v) if v else None)
    container: str = attrs.field(default="archives", validator=_given)
    create: bool = True
    threshold: int = attrs.field(default=1 << 30, validator=_positive)
    segment_size: int = attrs.field(default=256 * MIB, validator=_positive)
    connecting: Connecting = attrs.field(factory=Connecting)

    def __attrs_post_init__(self) -> None:
        if self.segment_size > _LARGEST_PART:
            raise InvalidSetting(f"segment_size is {self.segment_size}; Swift takes segments of up to 5 GiB")


@attrs.frozen(kw_only=True)
class ShipperSettings:
    """
    How files are shipped.

    @ivar directory: where the notes and the files on their way are; best in the file system of the files to ship.
    @ivar root: paths of files below it are noted relative to it; absolute, empty for none.
    @ivar compression: C{none}, C{gzip} or C{zstd}. What is compressed already is left as it is.
    @ivar level: of the compression; C{None} for 6 with gzip, and 3 with zstd.
    @ivar verify: C{read} to read everything back, C{tag} to compare size, tag and the checksum kept as metadata.
    @ivar delete: whether to remove files once they are there, verified.
    @ivar concurrency: files on their way at once.
    @ivar attempts: so many failures make a dead letter.
    @ivar pause: seconds before the second attempt, twice as many before each further one.
    @ivar longest_pause: but no more than these.
    """

    directory: str = attrs.field(validator=_given)
    root: str = ""
    compression: str = attrs.field(default="gzip", validator=_one_of(*COMPRESSIONS))
    level: int | None = attrs.field(default=None)
    verify: str = attrs.field(default="read", validator=_one_of("read", "tag"))
    delete: bool = False
    concurrency: int = attrs.field(default=2, validator=_positive)
    attempts: int = attrs.field(default=20, validator=_positive)
    pause: float = attrs.field(default=1.0, validator=_positive)
    longest_pause: float = attrs.field(default=900.0)

    @longest_pause.validator
    def _check_longest_pause(self, attribute: attrs.Attribute[float], value: float) -> None:
        _positive(self, attribute, value)
        if value < self.pause:
            raise InvalidSetting(f"pause is {self.pause}, longer than longest_pause, which is {value}")

    @level.validator
    def _check_level(self, attribute: attrs.Attribute[int], value: int | None) -> None:
        most = {"none": 0, "gzip": 9, "zstd": 22}[self.compression]
        if value is not None and not most:
            raise InvalidSetting(f"level is {value}; without compression there is none")
        if value is not None and not 1 <= value <= most:
            raise InvalidSetting(f"level is {value}; {self.compression} has 1 to {most}")
