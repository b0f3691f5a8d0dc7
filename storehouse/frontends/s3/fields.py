"""
What header fields say of an object, from requests to what an object store keeps, and back; and the forms that times, etags and
sources of copies have in S3.

An etag that is not the MD5 that clients expect, as those of objects of other doors, is shown with C{-1} behind it, if it has no
hyphen: clients compare no MD5 with one that has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from urllib.parse import unquote_to_bytes

import attrs
from twisted.web.http import datetimeToString

from storehouse.core.encodedwords import decoded_words, encoded_words
from storehouse.core.xmltext import Node, text
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.signing.payload import without_framing
from storehouse.frontends.s3.tagsets import check_object_tags, read_tags, write_tags
from storehouse.storage.objects.interfaces import ALWAYS, Condition, Metadata, ObjectInfo
from storehouse.storage.objects.values import is_md5, shown_etag

__all__ = [
    "ANY_TYPE",
    "CONDITIONS",
    "SYSTEM_FIELDS",
    "Field",
    "Source",
    "check_key",
    "check_source",
    "checked_metadata",
    "checked_value",
    "checksum_elements",
    "condition_of",
    "content_type_of",
    "encryption_fields",
    "holds",
    "http_time",
    "iso_time",
    "kept_etag",
    "limit_of",
    "quoted",
    "read_checked_document",
    "seconds_of",
    "source_conditions",
    "source_of",
    "stored_fields",
    "system_of",
    "unquoted",
    "user_metadata",
]

#: Bytes of the longest key.
_MOST_KEY = 1024

#: What an object is that nobody has said the type of.
ANY_TYPE = "binary/octet-stream"

#: Bytes of all names and values of the user's metadata.
_MOST_METADATA = 2048

_META = "x-amz-meta-"

#: Gives a field of a request by its name; C{None} if it does not have it.
Field = Callable[[str], str | None]

#: Fields that are kept and given back as they came, by the names that they are kept by.
_KEPT = {
    "cache-control": b"Cache-Control",
    "content-disposition": b"Content-Disposition",
    "content-encoding": b"Content-Encoding",
    "content-language": b"Content-Language",
    "expires": b"Expires",
    "website-redirect-location": b"x-amz-website-redirect-location",
}

#: Those from which an object can be read at once.
_STORAGE_CLASSES = frozenset(
    {"STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"}
)

#: Headers of what is not there: the object would be without what they ask for.
_NOT_THERE = (
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-server-side-encryption-customer-key-md5",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-context",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-object-lock-legal-hold",
    "x-amz-object-lock-event-hold",
    "x-amz-object-lock-event-hold-duration-days",
    "x-amz-object-lock-event-hold-duration-years",
)

#: Fields that L{system_of} looks at, in lower case.
SYSTEM_FIELDS = frozenset(
    [
        *_NOT_THERE,
        *(header.decode("ascii").lower() for header in _KEPT.values()),
        "x-amz-server-side-encryption",
        "x-amz-storage-class",
        "x-amz-tagging",
    ]
)

#: Fields that L{condition_of} looks at, in lower case.
CONDITIONS = frozenset({"if-match", "if-none-match", "if-modified-since", "if-unmodified-since"})

#: What no header field can have (RFC 9110, section 5.5): clients take no response with it, or others than it is.
_controls = re.compile("[\\x00-\\x08\\x0a-\\x1f\\x7f]")
_name = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch


# -- of requests -----------------------------------------------------------------------------------


def check_key(key: str) -> None:
    """@raise S3Error: C{KeyTooLongError}. To be called before a key is compared with anything."""
    size = len(key.encode("utf-8", "surrogatepass"))
    if size > _MOST_KEY:
        raise S3Error("KeyTooLongError", Size=size, MaxSizeAllowed=_MOST_KEY)


def user_metadata(call: Call) -> Metadata:
    """
    The fields C{x-amz-meta-}: their names without that, in lower case.

    @raise S3Error: if they have more than 2 KiB.
    """
    fields = [(name, values) for name, values in call.fields.items() if name.startswith(_META)]
    return checked_metadata((name, ",".join(map(_text, values))) for name, values in fields) if fields else {}


def checked_metadata(fields: Iterable[tuple[str, str]]) -> Metadata:
    """
    Those of some fields that are C{x-amz-meta-}: their names without that, in lower case. Values that are written as RFC 2047 has
    it are read, as S3 does.

    @raise S3Error: if they have more than 2 KiB.
    """
    found: dict[str, list[str]] = {}
    size = 0
    for field, value in fields:
        name = field.lower()
        if name.startswith(_META):
            name = name[len(_META) :]
            size += len(name.encode("utf-8", "replace")) + len(value.encode("utf-8", "replace"))
            found[name] = [decoded_words(value)]
    if size > _MOST_METADATA:
        raise S3Error("MetadataTooLarge", Size=size, MaxSizeAllowed=_MOST_METADATA)
    return found


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def system_of(field: Field, tags: bool = True) -> dict[str, str]:
    """
    What is to be kept of an object beside its bytes, its type, and the user's own metadata.

    @param field: gives a header field by its name.
    @param tags: whether those of C{x-amz-tagging} are.
    @raise S3Error: C{NotImplemented} for what would be kept, and not be done.
    """
    for name in _NOT_THERE:
        if field(name) is not None:
            raise S3Error("NotImplemented", f"{name} is not implemented", Header=name)
    if field("x-amz-server-side-encryption") not in (None, "AES256"):
        raise S3Error("NotImplemented", "Of server-side encryption, only AES256 is implemented")
    system: dict[str, str] = {}
    for name, header in _KEPT.items():
        value = field(header.decode("ascii"))
        if value is not None:
            system[name] = checked_value(header.decode("ascii"), value)
    _without_framing(system)
    location = system.get("website-redirect-location")
    if location is not None and not location.startswith(("/", "http://", "https://")):
        raise S3Error("InvalidRedirectLocation")
    storage_class = field("x-amz-storage-class")
    if storage_class is not None and storage_class not in _STORAGE_CLASSES:
        raise S3Error("InvalidStorageClass", StorageClassRequested=storage_class[:100])
    if storage_class is not None and storage_class != "STANDARD":
        system["storage-class"] = storage_class
    tagging = field("x-amz-tagging") if tags else None
    if tagging:
        found = read_tags(tagging)
        check_object_tags(found)
        system["tagging"] = write_tags(found)
    return system


def _without_framing(system: dict[str, str]) -> None:
    """What a body was framed in is no encoding of the object."""
    if "content-encoding" in system:
        left = without_framing(system.pop("content-encoding"))
        if left:
            system["content-encoding"] = left


def content_type_of(field: Field) -> str:
    """The media type that an object is to have."""
    return checked_value("Content-Type", field("Content-Type") or ANY_TYPE)


def checked_value(name: str, value: str) -> str:
    """
    A value that responses are to have in a header field, from a form or a query, which can have any characters.

    @param name: of the field that says it.
    @raise S3Error: C{InvalidArgument} if it cannot be there.
    """
    if _controls.search(value):
        raise S3Error(
            "InvalidArgument", "Header value cannot be represented", ArgumentName=name, ArgumentValue=value[:100]
        )
    return value


def condition_of(field: Field) -> Condition:
    """
    What C{If-Match} and C{If-None-Match} of a request that changes a key say.

    @raise S3Error: C{NotImplemented} for all that cannot be looked at in the same step as the change.
    """
    for name in ("If-Modified-Since", "If-Unmodified-Since"):
        if field(name) is not None:
            raise S3Error("NotImplemented", f"{name} is not implemented here", Header=name)
    absent, match = field("If-None-Match"), field("If-Match")
    if absent is not None:
        if match is not None or unquoted(absent) != "*":
            raise S3Error(
                "NotImplemented", "If-None-Match is implemented as * only, without If-Match", Header="If-None-Match"
            )
        return Condition(absent=True)
    if match is None:
        return ALWAYS
    if "," in match:
        raise S3Error("NotImplemented", "A list in If-Match is not implemented", Header="If-Match")
    return Condition(etag=kept_etag(match))


def limit_of(text: str | None, name: str, default: int = 1000, most: int | None = 1000) -> int:
    """
    A number of things that are asked for, from 0 on.

    @param most: more than that is as good as that; C{None} for any.
    @raise S3Error: C{InvalidArgument} for what is none.
    """
    if text is None or text == "":
        return default
    try:
        if not (text.isascii() and text.lstrip("-").isdigit() and len(text) < 20):
            raise ValueError
        number = int(text)
    except ValueError:
        raise S3Error(
            "InvalidArgument",
            f"Provided {name} not an integer or within integer range",
            ArgumentName=name,
            ArgumentValue=text[:100],
        ) from None
    if not 0 <= number < 1 << 31:
        raise S3Error(
            "InvalidArgument",
            f"Argument {name} must be an integer between 0 and 2147483647",
            ArgumentName=name,
            ArgumentValue=text[:100],
        )
    return number if most is None else min(number, most)


#: Of fields that begin like checksums, those that are none.
_NO_CHECKSUMS = ("x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type")


async def read_checked_document(call: Call, root: str, limit: int = 64 << 10, nodes: int = 20_000) -> Node:
    """
    The body of a request as an XML document, as L{Call.read_document} reads it, for operations for which a checksum or the MD5
    of the body must be announced.

    @raise S3Error: C{InvalidRequest} if there is none.
    """
    for name in call.fields:
        if name in ("content-md5", "x-amz-trailer") or (
            name.startswith("x-amz-checksum-") and name not in _NO_CHECKSUMS
        ):
            return await call.read_document(root, limit, nodes)
    raise S3Error("InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")


# -- of responses ----------------------------------------------------------------------------------


def stored_fields(info: ObjectInfo) -> Iterator[tuple[bytes, bytes]]:
    """The fields of a response that say what an object was stored with, but for its type and its checksums."""
    system = info.system
    for name, field in _KEPT.items():
        if name in system:
            yield field, _controls.sub(" ", system[name]).encode("utf-8", "surrogateescape")
    if "storage-class" in system:
        yield b"x-amz-storage-class", system["storage-class"].encode("latin-1", "replace")
    if "tagging" in system:
        yield b"x-amz-tagging-count", b"%d" % len(read_tags(system["tagging"]))
    missing = 0
    for name, values in info.metadata.items():
        value = ",".join(values)
        if not _name(name):
            missing += 1
        else:
            yield (_META + name).encode("ascii"), encoded_words(value).encode("ascii")
    if missing:
        yield b"x-amz-missing-meta", b"%d" % missing


def encryption_fields(call: Call) -> tuple[tuple[bytes, bytes], ...]:
    """The field of a response that says that what it speaks of is encrypted, if all is."""
    return ((b"x-amz-server-side-encryption", b"AES256"),) if call.door.is_sealed else ()


def checksum_elements(system: Mapping[str, str]) -> list[str]:
    """The elements of a document that say the checksums of an object, or of a part, by the names that they are kept by."""
    found = []
    for name, value in system.items():
        if name == "checksum-type":
            found.append(text("ChecksumType", value))
        elif name.startswith("checksum-") and name != "checksum-algorithm":
            found.append(text("Checksum" + name.removeprefix("checksum-").upper(), value))
    return found


def iso_time(nanoseconds: int) -> str:
    """A time in XML: since 1970 UTC, to milliseconds."""
    moment = datetime.fromtimestamp(max(0, nanoseconds) // 10**9, UTC)
    return f"{moment.isoformat()[:19]}.{max(0, nanoseconds) // 10**6 % 1000:03d}Z"


def http_time(nanoseconds: int) -> bytes:
    """A time in a header field: since 1970 UTC, to seconds."""
    return _http_time(max(0, nanoseconds) // 10**9)


@lru_cache(1024)
def _http_time(seconds: int) -> bytes:
    return bytes(datetimeToString(seconds))


def kept_etag(shown: str) -> str:
    """The etag that a client means, as the store has it."""
    etag = unquoted(shown)
    bare = etag.removesuffix("-1")
    return etag if bare == etag or is_md5(bare) else bare


def quoted(etag: str) -> str:
    """An etag of the store as clients see it, in quotes."""
    return f'"{shown_etag(etag)}"'


def unquoted(value: str) -> str:
    """What is in quotes; also of those who leave them out."""
    value = value.strip()
    return value[1:-1] if len(value) >= 2 and value[0] == value[-1] == '"' else value


# -- sources of copies -----------------------------------------------------------------------------


@attrs.frozen
class Source:
    """
    An object that is to be copied or renamed.

    @ivar prefix: of the fields with conditions for it.
    """

    bucket: str
    key: str
    prefix: str


def source_of(value: str, prefix: str) -> Source:
    """
    What C{x-amz-copy-source}, or C{x-amz-rename-source}, names: C{BUCKET/KEY}, percent-encoded, perhaps with a slash before it.
    A plus sign stands for a space there, as in a form: some clients write it so, and all encode one that is meant.

    @param prefix: the name of the field.
    @raise S3Error: C{InvalidArgument} if it names nothing, C{NoSuchVersion} for an invalid version ID.
    """
    path, _, query = value.partition("?")
    try:
        text = unquote_to_bytes(path.replace("+", " ")).decode()
    except UnicodeDecodeError:
        text = ""
    bucket, _, key = text.removeprefix("/").partition("/")
    if not (bucket and key) or bucket.startswith("arn:"):
        raise S3Error(
            "InvalidArgument",
            f"{prefix} should be of the form BUCKET/KEY, percent-encoded",
            ArgumentName=prefix,
            ArgumentValue=value[:1024],
        )
    if query and query not in ("versionId=null", "versionId="):
        raise S3Error("NoSuchVersion", Key=key, VersionId=query.removeprefix("versionId=")[:100])
    check_key(key)
    return Source(bucket, key, prefix)


def source_conditions(call: Call, source: Source) -> dict[str, str]:
    """The conditions of a request for a source, as L{holds} takes them."""
    fields = {name: call.header(f"{source.prefix}-if-{name}") for name in _CONDITIONS}
    return {name: value for name, value in fields.items() if value is not None}


def check_source(call: Call, source: Source, info: ObjectInfo) -> None:
    """@raise S3Error: C{PreconditionFailed} unless the conditions for a source hold."""
    given = source_conditions(call, source)
    if not holds(given, info):
        raise S3Error("PreconditionFailed", Condition=f"{source.prefix}-if-{'/'.join(given)}")


_CONDITIONS = ("match", "none-match", "modified-since", "unmodified-since")


def holds(given: Mapping[str, str], info: ObjectInfo) -> bool:
    """
    Whether conditions hold of an object, in the order of RFC 9110, section 13.2.2.

    @param given: by C{match}, C{none-match}, C{modified-since}, C{unmodified-since}.
    """
    modified = info.created // 10**9
    if "match" in given:
        if not _names(given["match"], info):
            return False
    elif "unmodified-since" in given:
        since = seconds_of(given["unmodified-since"])
        if since is not None and modified > since:
            return False
    if "none-match" in given:
        return not _names(given["none-match"], info)
    if "modified-since" in given:
        since = seconds_of(given["modified-since"])
        return since is None or modified > since
    return True


def _names(value: str, info: ObjectInfo) -> bool:
    """Whether a list of etags names that of an object."""
    return any(unquoted(each) in ("*", info.etag, shown_etag(info.etag)) for each in value.split(","))


def seconds_of(value: str) -> float | None:
    """Seconds since 1970 UTC of a date, in the form of header fields or in that of XML; C{None} for what is none."""
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        pass
    try:
        return datetime.fromisoformat(value).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None
