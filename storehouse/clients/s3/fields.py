"""
What is known of an object beside its bytes, as header fields of S3, and back.

S3 keeps less than our stores do: names of metadata are tokens in lower case with one value each, and of what doors keep it
has the fields of L{SYSTEM}. What it has no place for is refused, rather than dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote, unquote_plus

from storehouse.core.encodedwords import decoded_words, encoded_words
from storehouse.core.httpclient import Response
from storehouse.core.s3 import tag_of
from storehouse.core.xmltext import Node
from storehouse.errors import InvalidName, NotSupported, RemoteUnavailable
from storehouse.storage.objects.interfaces import Metadata, ObjectInfo, System

__all__ = [
    "ANY_TYPE",
    "SYSTEM",
    "decoded_text",
    "id_of",
    "info_of",
    "seconds_of",
    "sent_fields",
    "size_of",
    "tagging_of",
    "time_of",
]

#: What S3 says of an object that nobody has said the type of.
ANY_TYPE = "binary/octet-stream"

_META = "x-amz-meta-"

#: What doors keep, by our names, and the header fields for it.
SYSTEM: Mapping[str, str] = {
    "cache-control": "cache-control",
    "content-disposition": "content-disposition",
    "content-encoding": "content-encoding",
    "content-language": "content-language",
    "expires": "expires",
    "storage-class": "x-amz-storage-class",
    "tagging": "x-amz-tagging",
    "website-redirect-location": "x-amz-website-redirect-location",
}

_name = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+").fullmatch
_plain = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?").fullmatch


def sent_fields(content_type: str, metadata: Metadata, system: System) -> dict[str, str]:
    """
    The header fields of a request that stores an object.

    @raise NotSupported: for what S3 cannot keep.
    """
    fields: dict[str, str] = {}
    if content_type and content_type != ANY_TYPE:
        fields["content-type"] = _field("the media type", content_type)
    for name, values in metadata.items():
        if not _name(name):
            raise NotSupported(f"S3 has no metadata of the name {name!r}: only a-z, 0-9 and some punctuation")
        if len(values) != 1:
            raise NotSupported(f"S3 keeps one value of {name!r}, not {len(values)}")
        try:
            values[0].encode()
        except UnicodeEncodeError:
            raise InvalidName(f"the value of {name!r} is no text") from None
        fields[_META + name] = encoded_words(values[0])
    for name, value in system.items():
        if name not in SYSTEM:
            raise NotSupported(f"S3 keeps no {name!r} with an object")
        fields[SYSTEM[name]] = _field(name, value)
    return fields


def _field(name: str, value: str) -> str:
    if not _plain(value) or not value:
        raise NotSupported(f"S3 keeps printable ASCII as {name}, and not {value[:200]!r}")
    return value


def info_of(key: str, response: Response, size: int, tagging: str) -> ObjectInfo:
    """
    What the head of a response says of an object.

    @param size: of the whole object.
    @param tagging: its tags, which no head says.
    """
    metadata: dict[str, list[str]] = {}
    for raw, values in response.headers.getAllRawHeaders():
        name = raw.decode("latin-1").lower()
        if name.startswith(_META):
            metadata[name[len(_META) :]] = [
                decoded_words(",".join(value.decode("utf-8", "replace") for value in values))
            ]
    system = {name: response.header(field) for name, field in SYSTEM.items() if response.header(field)}
    # Which some servers keep, though it is of how the object came.
    coding = system.pop("content-encoding", "")
    left = [each for each in map(str.strip, coding.split(",")) if each not in ("", "aws-chunked")]
    if left:
        system["content-encoding"] = ",".join(left) if "aws-chunked" in coding else coding
    if tagging:
        system["tagging"] = tagging
    content_type = response.header("content-type")
    etag = tag_of(response)
    return ObjectInfo(
        key,
        id_of(response, etag),
        size,
        etag,
        time_of(response.header("last-modified")),
        "" if content_type == ANY_TYPE else content_type,
        metadata,
        system,
    )


def id_of(response: Response, etag: str) -> str:
    """The ID of the bytes: the version's where there are versions, and else the etag: the same bytes have the same then."""
    version = response.header("x-amz-version-id")
    return version if version not in ("", "null") else etag


def size_of(response: Response) -> int:
    """Bytes of the whole object, of which the response may have a range."""
    value = response.header("content-range").rpartition("/")[2] or response.header("content-length")
    if not value and response.length is not None:
        return response.length  # of one with a body Twisted keeps the field to itself
    if not (value.isascii() and value.isdigit()):
        raise RemoteUnavailable("an S3 server sent a response without the size of the object")
    return int(value)


def time_of(text: str) -> int:
    """
    A time of a header field or a document as nanoseconds since 1970 UTC, in whole seconds, since header fields have no more;
    0 for what is none.
    """
    return seconds_of(text) * 10**9


def seconds_of(text: str) -> int:
    """L{time_of}, in seconds."""
    read: tuple[Callable[[str], datetime], ...] = (parsedate_to_datetime, datetime.fromisoformat)
    for parse in read:
        try:
            moment = parse(text)
            return int((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp())
        except (ValueError, TypeError, OverflowError):
            pass
    return 0


def decoded_text(text: str, root: Node) -> str:
    """A key or a prefix of a listing that was asked for with C{encoding-type=url}, which some servers do not know."""
    return unquote_plus(text) if root.value("EncodingType") == "url" else text


def tagging_of(root: Node) -> str:
    """Tags of a document, as C{x-amz-tagging} has them."""
    found = root.child("TagSet")
    tags = [] if found is None else [(tag.text_of("Key"), tag.text_of("Value")) for tag in found.all("Tag")]
    return "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in tags)
