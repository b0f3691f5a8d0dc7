"""The JSON files of a namespace, as bytes (docs/formats/namespace.md)."""

from __future__ import annotations

import calendar
import re
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import attrs

from storehouse.core.sealed import seal, unseal
from storehouse.errors import InvalidName
from storehouse.storage.namespace.interfaces import Bucket, Entry, Metadata
from storehouse.storage.namespace.names import check_id, check_text

__all__ = [
    "MAX_METADATA",
    "checked",
    "checked_metadata",
    "decode_bucket",
    "decode_entry",
    "decode_row",
    "encode_bucket",
    "encode_entry",
    "format_time",
    "parse_time",
]

#: Bytes of UTF-8 that the names and values of one metadata may have together.
MAX_METADATA = 64 << 10

_SECOND = 1_000_000_000
_LAST = 253_402_300_800 * _SECOND

_time = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


@lru_cache(64)
def _format_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).rjust(19, "0")


@lru_cache(4096)
def _parse_second(text: str) -> int:
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%S")) * _SECOND


def format_time(when: int) -> str:
    """Nanoseconds since 1970 UTC as RFC 3339."""
    second, rest = divmod(when, _SECOND)
    return f"{_format_second(second)}.{rest:09d}Z"


def parse_time(text: str) -> int:
    """
    RFC 3339 as nanoseconds since 1970 UTC.

    @raise ValueError: if it is not.
    """
    if len(text) == 30 and text[29] == "Z" and text[19] == "." and text[20:29].isdigit():
        return _parse_second(text[:19]) + int(text[20:29])
    found = _time.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:100]!r} is not a time")
    day, clock, fraction, zone = found.groups()
    offset = "+00:00" if zone in "Zz" else zone
    moment = datetime.fromisoformat(f"{day}T{clock}{offset}").astimezone(UTC)
    return calendar.timegm(moment.timetuple()) * _SECOND + int((fraction or "").ljust(9, "0"))


def checked_metadata(metadata: Metadata, most: int = MAX_METADATA) -> dict[str, list[str]]:
    """
    A copy that nobody else changes.

    @raise InvalidName: if it is no text, or more than C{most} bytes.
    """
    copy = {name: list(values) for name, values in metadata.items()}
    size = sum(len(check_text("metadata", text)) for name, values in copy.items() for text in (name, *values))
    if size > most:
        raise InvalidName(f"the metadata has {size} bytes; at most {most} are allowed")
    return copy


def checked(entry: Entry, most: int = MAX_METADATA) -> Entry:
    """
    An entry that can be written.

    @param most: bytes of its metadata.
    @raise InvalidName: if it cannot.
    """
    check_id(entry.id)
    check_text("etag", entry.etag)
    check_text("tag", entry.tag)
    check_text("content type", entry.content_type)
    if entry.size < 0 or not 0 <= entry.created < _LAST:
        raise InvalidName(f"an entry cannot have {entry.size} bytes and be made at {entry.created}")
    return attrs.evolve(entry, metadata=checked_metadata(entry.metadata, most)) if entry.metadata else entry


def encode_entry(entry: Entry, key: str) -> bytes:
    """An C{<ID>.json}."""
    return seal(
        {
            "default": True,
            "size": entry.size,
            "createdAt": format_time(entry.created),
            "contentType": entry.content_type,
            "metadata": entry.metadata,
            "etag": entry.etag,
            **({"tag": entry.tag} if entry.tag else {}),
            "key": key,
            "id": entry.id,
        }
    )


def _metadata(value: Any) -> dict[str, list[str]]:
    if not isinstance(value, dict):
        raise ValueError("its metadata is not an object")
    metadata = {name: [values] if isinstance(values, str) else values for name, values in value.items()}
    if not all(isinstance(values, list) and all(isinstance(v, str) for v in values) for values in metadata.values()):
        raise ValueError("its metadata is not of texts")
    return metadata


def decode_row(data: bytes) -> tuple[str, Entry]:
    """
    A text that L{encode_entry} gave.

    @raise ValueError: if it is not.
    """
    fields, sealed = unseal(data)
    if not sealed:
        raise ValueError("it has no checksum")
    try:
        return fields["key"], Entry(
            fields["id"],
            fields["size"],
            fields["etag"],
            parse_time(fields["createdAt"]),
            fields["contentType"],
            fields["metadata"],
            fields.get("tag", ""),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"a field is missing or of the wrong kind: {error}") from None


def decode_entry(data: bytes, key: str, id: str) -> Entry:
    """
    An C{<ID>.json}, our own or another program's.

    @raise ValueError: if it is damaged, or not of this key and ID.
    """
    fields, sealed = unseal(data)
    if sealed:
        if fields.get("key") != key:
            raise ValueError(f"it belongs to the key {fields.get('key')!r}")
        if fields.get("id") != id:
            raise ValueError(f"it belongs to the ID {fields.get('id')!r}")
        return decode_row(data)[1]
    if not fields.keys().isdisjoint(("etag", "tag", "key", "id")):
        raise ValueError("it has no checksum")
    size, created, content_type = fields.get("size"), fields.get("createdAt"), fields.get("contentType")
    if type(size) is not int or size < 0 or not isinstance(created, str) or not isinstance(content_type, str):
        raise ValueError("a field is missing or of the wrong kind")
    return checked(Entry(id, size, "", parse_time(created), content_type, _metadata(fields.get("metadata", {}))))


def encode_bucket(bucket: Bucket) -> bytes:
    """A C{bucket.json}."""
    return seal({"name": bucket.name, "createdAt": format_time(bucket.created), "metadata": bucket.metadata})


def decode_bucket(data: bytes, name: str) -> Bucket:
    """
    A C{bucket.json}.

    @raise ValueError: if it is damaged, or of another bucket.
    """
    fields, sealed = unseal(data)
    if not sealed:
        raise ValueError("it has no checksum")
    if fields.get("name") != name:
        raise ValueError(f"it belongs to the bucket {fields.get('name')!r}")
    try:
        return Bucket(name, parse_time(fields["createdAt"]), _metadata(fields["metadata"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"a field is missing or of the wrong kind: {error}") from None
