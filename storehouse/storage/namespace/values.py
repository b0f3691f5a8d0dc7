"""
What every namespace has in common, whatever keeps it: names of buckets, keys and IDs; entries and buckets; and listings.

Names and values are checked here, and written as docs/formats/namespace.md says: the path of a key, the JSON files of versions
and buckets. Listings are pages of keys in order, with common prefixes as in S3, made from the rows of an index in SQLite.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import json
import re
import secrets
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import quote_from_bytes, unquote_to_bytes

import attrs

from storehouse.core.checksummed import decode_checksummed, encode_checksummed, has_checksum
from storehouse.errors import InvalidBucketState, InvalidName, NoSuchKey, NoSuchVersion, TooLarge
from storehouse.storage.namespace.interfaces import ENABLED, NULL, OFF, SUSPENDED, Bucket, Entry, Metadata, System

__all__ = [
    "CURRENT",
    "MAX_CONFIG",
    "MAX_KEY",
    "MAX_METADATA",
    "MAX_SYSTEM",
    "VERSIONING",
    "Item",
    "VersionItem",
    "check_bucket",
    "check_config",
    "check_id",
    "check_key",
    "check_owner",
    "check_text",
    "check_version",
    "check_versioning",
    "checked",
    "checked_metadata",
    "checked_system",
    "common_prefix",
    "config_file",
    "decode_bucket",
    "decode_config",
    "decode_entry",
    "decode_key",
    "decode_row",
    "encode_bucket",
    "encode_config",
    "encode_entry",
    "encode_key",
    "format_time",
    "id_of_file",
    "is_bucket",
    "is_config",
    "is_entry",
    "kind_of_file",
    "list_items",
    "list_names",
    "list_versions",
    "marker_of",
    "no_such_key",
    "no_such_version",
    "page_of",
    "parse_time",
    "revised",
    "start_of",
    "state_of",
]


#: Bytes of UTF-8 that a key may have.
MAX_KEY = 1024

#: The most characters of a directory in the path of a key.
_PIECE = 200

#: The end of directories that are not the last of their key.
_MORE = "+"

_SAFE = "-_~!@=,()'"

_bucket = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_address = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+", re.ASCII)
_id = re.compile(r"[0-9a-f]{2,128}", re.ASCII)
_file = re.compile(r"([0-9a-f]{2,128})\.json", re.ASCII)
_config = re.compile(r"bucket\.([a-z][a-z0-9-]{0,31})\.json", re.ASCII)


#: Bytes of the longest name of an owner.
_MAX_OWNER = 256


def check_bucket(name: str) -> str:
    """@raise InvalidName: unless S3 allows the name for a bucket."""
    if not is_bucket(name):
        raise InvalidName(
            f"{name[:200]!r} is not a name of a bucket: those have 3 to 63 of a-z 0-9 . -, a letter or digit at both "
            "ends, "
            "no two dots together, not an IP address"
        )
    return name


def check_owner(name: str) -> str:
    """@raise InvalidName: unless it is a text of at most 256 bytes; it may be empty."""
    if len(check_text("owner", name)) > _MAX_OWNER:
        raise InvalidName(f"the name of an owner has at most {_MAX_OWNER} bytes of UTF-8")
    return name


def is_bucket(name: str) -> bool:
    """Whether a name can be a bucket's."""
    return bool(_bucket.fullmatch(name)) and ".." not in name and not _address.fullmatch(name)


def check_text(kind: str, text: str) -> bytes:
    """
    The UTF-8 of a text.

    @raise InvalidName: if it has a lone surrogate.
    """
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidName(f"the {kind} {text[:200]!r} is not Unicode text") from None


def check_key(key: str) -> bytes:
    """
    The UTF-8 of a key.

    @raise InvalidName: unless it is 1 to L{MAX_KEY} bytes.
    """
    data = check_text("key", key)
    if not data:
        raise InvalidName("the key is empty")
    if len(data) > MAX_KEY:
        raise InvalidName(f"the key has {len(data)} bytes; at most {MAX_KEY} are allowed")
    return data


def check_id(id: str) -> str:
    """@raise InvalidName: unless it is 2 to 128 lower-case hexadecimal digits."""
    if not _id.fullmatch(id):
        raise InvalidName(f"the ID {id[:200]!r} is not 2 to 128 lower-case hexadecimal digits")
    return id


def check_version(id: str) -> str:
    """@raise InvalidName: unless it is an ID, or L{NULL<storehouse.storage.namespace.interfaces.NULL>}."""
    return id if id == NULL else check_id(id)


def no_such_key(bucket: str, key: str) -> NoSuchKey:
    """The error for a key that is not there."""
    return NoSuchKey(f"the bucket {bucket} has no key {key!r}")


def no_such_version(bucket: str, key: str, id: str) -> NoSuchVersion:
    """The error for a version that is not there."""
    return NoSuchVersion(f"the key {key!r} of the bucket {bucket} has no version {id}")


def id_of_file(name: str) -> str | None:
    """The ID of a file name C{<ID>.json}; C{None} for other names."""
    found = _file.fullmatch(name)
    return found[1] if found else None


def encode_key(key: bytes) -> str:
    """The path of a key below C{objects/}: one component, or several if it is long."""
    text = quote_from_bytes(key, _SAFE)
    if len(text) <= _PIECE:
        return text if text[0] != "." else "%2E" + text[1:]
    pieces = []
    while text:
        end = _PIECE
        if len(text) > _PIECE and "%" in text[_PIECE - 2 : _PIECE]:
            end = text.index("%", _PIECE - 2)
        piece, text = text[:end], text[end:]
        pieces.append("%2E" + piece[1:] if piece[0] == "." else piece)
    return f"{_MORE}/".join(pieces)


def decode_key(path: str) -> str | None:
    """The key of a path below C{objects/}; C{None} if L{encode_key} gives this path for no key."""
    data = unquote_to_bytes(path.replace(f"{_MORE}/", ""))
    try:
        key = data.decode()
    except UnicodeDecodeError:
        return None
    if not 0 < len(data) <= MAX_KEY or encode_key(data) != path:
        return None
    return key


def is_part(name: str) -> bool:
    """Whether a directory is not the last one of its key."""
    return name.endswith(_MORE)


#: Bytes of UTF-8 that the names and values of one metadata may have together.
MAX_METADATA = 64 << 10

#: Bytes of UTF-8 that the names and values of one entry's system metadata may have together.
MAX_SYSTEM = 64 << 10

#: The largest size of an entry: every JSON parser can read it, and an index can add such sizes.
_LARGEST = 1 << 53

_SECOND = 1_000_000_000
#: The times of RFC 3339: the years 1 to 9999.
_FIRST = -62_135_596_800 * _SECOND
_LAST = 253_402_300_800 * _SECOND

_time = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(?:[.,](\d{1,9})\d*)?\s*([Zz]|[+-]\d\d:?\d\d)?", re.ASCII)

# The end of a file of ours, with its checksum, even if the name of that field is damaged.
_summed = re.compile(rb'"[0-9a-f]{8}"\}')


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
    RFC 3339 as nanoseconds since 1970 UTC; without a zone it is UTC. Times outside the years 1 to 9999 UTC become their
    first or last second.

    @raise ValueError: if it is not RFC 3339.
    """
    if len(text) == 30 and text[29] == "Z" and text[19] == "." and text[20:29].isdigit():
        return min(_parse_second(text[:19]) + int(text[20:29]), _LAST - _SECOND)
    found = _time.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:100]!r} is not a time")
    day, minute, second, fraction, zone = found.groups()
    zone = "+00:00" if zone is None or zone in "Zz" else zone
    # A leap second is the last one of its minute.
    moment = datetime.fromisoformat(f"{day}T{minute}:{min(second, '59')}{zone}")
    shift = moment.utcoffset() or timedelta()
    when = (calendar.timegm(moment.timetuple()) - int(shift.total_seconds())) * _SECOND
    return min(max(when + int((fraction or "").ljust(9, "0")), _FIRST), _LAST - _SECOND)


def checked_metadata(metadata: Metadata, most: int = MAX_METADATA) -> dict[str, list[str]]:
    """
    A copy of metadata.

    @raise InvalidName: if it is not Unicode text, or has more than C{most} bytes.
    """
    copy = {name: list(values) for name, values in metadata.items()}
    size = sum(len(check_text("metadata", text)) for name, values in copy.items() for text in (name, *values))
    if size > most:
        raise InvalidName(f"the metadata has {size} bytes; at most {most} are allowed")
    return copy


def checked_system(system: System) -> dict[str, str]:
    """
    A copy of system metadata.

    @raise InvalidName: if it is not Unicode text, or has more than L{MAX_SYSTEM} bytes.
    """
    copy = dict(system)
    size = sum(len(check_text("system metadata", text)) for pair in copy.items() for text in pair)
    if size > MAX_SYSTEM:
        raise InvalidName(f"the system metadata has {size} bytes; at most {MAX_SYSTEM} are allowed")
    return copy


def checked(entry: Entry, most: int = MAX_METADATA, first: int = 0) -> Entry:
    """
    An entry, with a copy of its metadata.

    @param most: the most bytes of its metadata.
    @param first: its earliest time.
    @raise InvalidName: if it cannot be written.
    """
    check_id(entry.id)
    check_text("etag", entry.etag)
    check_text("tag", entry.tag)
    check_text("content type", entry.content_type)
    if not 0 <= entry.size <= _LARGEST or not first <= entry.created < _LAST:
        raise InvalidName(f"an entry cannot have {entry.size} bytes and the time {entry.created}")
    if entry.marker and entry.size:
        raise InvalidName(f"a delete marker cannot have {entry.size} bytes")
    if entry.system:
        entry = attrs.evolve(entry, system=checked_system(entry.system))
    return attrs.evolve(entry, metadata=checked_metadata(entry.metadata, most)) if entry.metadata else entry


def revised(there: Entry, entry: Entry, most: int = MAX_METADATA) -> Entry:
    """
    What is known of a version anew, checked: the ID, the size, and what a namespace sets stay.

    @raise InvalidName: as L{checked} does, and C{TooLarge}.
    """
    kept = attrs.evolve(
        entry, id=there.id, size=there.size, marker=there.marker, versioned=there.versioned, order=there.order
    )
    return checked(kept, most)


def marker_of(marker: Entry | None) -> Entry:
    """The delete marker to be added: one with a new ID and the time of now if none is given."""
    return attrs.evolve(marker or Entry(secrets.token_hex(16), 0, "", time.time_ns()), marker=True)


def encode_entry(entry: Entry, key: str) -> bytes:
    """The bytes of an C{<ID>.json}."""
    return encode_checksummed(
        {
            "default": True,
            "size": entry.size,
            "createdAt": format_time(entry.created),
            "contentType": entry.content_type,
            "metadata": entry.metadata,
            "etag": entry.etag,
            **({"tag": entry.tag} if entry.tag else {}),
            **({"system": entry.system} if entry.system else {}),
            **({"versioned": True} if entry.versioned else {}),
            **({"marker": True} if entry.marker else {}),
            **({"order": entry.order} if entry.order else {}),
            "key": key,
            "id": entry.id,
        }
    )


def _text(value: object) -> str:
    """A value of another program's metadata, as text: numbers and booleans as JSON writes them."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    raise ValueError("its metadata has values that are not text")


def _metadata(value: object) -> dict[str, list[str]]:
    """Metadata as other programs write it, too: a single value instead of a list, and C{null} for none."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("its metadata is not an object")
    return {
        name: [_text(each) for each in (values if isinstance(values, list) else [] if values is None else [values])]
        for name, values in value.items()
    }


def _whole(value: object) -> int:
    """A size as other programs write it, too: 5.0 for 5."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if type(value) is not int:
        raise ValueError("its size is not a whole number")
    return value


_OURS = ("etag", "tag", "system", "versioned", "marker", "order", "key", "id")


def _foreign(data: bytes) -> dict[str, Any]:
    """
    The fields of another program's file.

    @raise ValueError: if it is a damaged file of ours.
    """
    fields, is_checked = decode_checksummed(data)
    if is_checked:
        raise ValueError("it has a checksum, but not the fields of such a file")
    if _summed.fullmatch(data[-11:]) or not fields.keys().isdisjoint(_OURS):
        raise ValueError("it has no checksum")
    return fields


def decode_row(data: bytes) -> tuple[str, Entry]:
    """
    The key and the entry of a text of L{encode_entry}.

    @raise ValueError: if its checksum or its fields are wrong.
    """
    fields: Any
    fields, is_checked = decode_checksummed(data)
    if not is_checked:
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
            fields.get("system", {}),
            fields.get("marker", False),
            fields.get("versioned", False),
            fields.get("order", 0),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"a field is missing or of the wrong kind: {error}") from None


def decode_entry(data: bytes, id: str) -> Entry:
    """
    The entry of an C{<ID>.json}, ours or another program's. The key in it is not compared: it differs after the key was
    renamed or copied on disk.

    @raise ValueError: if it is damaged, or not of this ID.
    """
    if has_checksum(data):
        _, entry = decode_row(data)
        if entry.id != id:
            raise ValueError(f"it belongs to the ID {entry.id!r}")
        if type(entry.size) is not int or not 0 <= entry.size < 1 << 63:
            raise ValueError("its size is invalid")
        return entry
    fields = _foreign(data)
    # Fields that such a program does not know are null, or missing.
    created, content_type = fields.get("createdAt"), fields.get("contentType")
    if not all(value is None or isinstance(value, str) for value in (created, content_type)):
        raise ValueError("a field is of the wrong kind")
    try:
        return checked(
            Entry(
                id,
                _whole(fields.get("size")),
                "",
                parse_time(created) if created else 0,
                content_type or "",
                _metadata(fields.get("metadata")),
            ),
            first=_FIRST,
        )
    except InvalidName as error:
        raise ValueError(str(error)) from None


def is_entry(data: bytes, id: str) -> bool:
    """Whether a text is a valid C{<ID>.json} of this ID, of any key."""
    try:
        if has_checksum(data):
            return decode_row(data)[1].id == id
        decode_entry(data, id)
    except ValueError:
        return False
    return True


def encode_bucket(bucket: Bucket) -> bytes:
    """The bytes of a C{bucket.json}."""
    fields = {"name": bucket.name, "createdAt": format_time(bucket.created), "metadata": bucket.metadata}
    return encode_checksummed({**fields, "owner": bucket.owner} if bucket.owner else fields)


def decode_bucket(data: bytes, name: str, made: int = 0) -> Bucket:
    """
    The bucket of a C{bucket.json}, ours or another program's.

    @param made: its time if another program wrote none: when its directory was last changed.
    @raise ValueError: if it is damaged, or of another bucket.
    """
    is_checked = has_checksum(data)
    fields: Any = decode_checksummed(data)[0] if is_checked else _foreign(data)
    if fields.get("name") != name and (is_checked or fields.get("name") is not None):
        raise ValueError(f"it belongs to the bucket {fields.get('name')!r}")
    created = fields.get("createdAt")
    try:
        if is_checked:
            owner = fields.get("owner", "")
            if not isinstance(owner, str):
                raise TypeError("the owner is no text")
            return Bucket(name, parse_time(fields["createdAt"]), _metadata(fields["metadata"]), owner)
        when = parse_time(created) if created else made
        return Bucket(name, when, checked_metadata(_metadata(fields.get("metadata"))))
    except (KeyError, TypeError, InvalidName) as error:
        raise ValueError(f"a field is missing or of the wrong kind: {error}") from None


#: Bytes of one configuration of a bucket: 1 MiB, and what a namespace adds that encrypts.
MAX_CONFIG = (1 << 20) + 64


def config_file(kind: str) -> str:
    """
    The name of the file with a bucket's configuration of a kind.

    @raise InvalidName: unless the kind is 1 to 32 of a-z 0-9 -, the first a letter.
    """
    name = f"bucket.{kind}.json"
    if not _config.fullmatch(name):
        raise InvalidName(f"{kind[:200]!r} is not a kind of configuration, which has 1 to 32 of a-z 0-9 -")
    return name


def kind_of_file(name: str) -> str | None:
    """The kind of a file name of L{config_file}; C{None} for other names."""
    found = _config.fullmatch(name)
    return found[1] if found else None


def check_config(kind: str, data: bytes | None) -> None:
    """
    @raise InvalidName: unless it is the name of a kind.
    @raise TooLarge: if a configuration has more than L{MAX_CONFIG} bytes.
    """
    config_file(kind)
    if data is not None and len(data) > MAX_CONFIG:
        raise TooLarge(f"the {kind} configuration has {len(data)} bytes; at most {MAX_CONFIG} are allowed")


def encode_config(bucket: str, kind: str, data: bytes) -> bytes:
    """The bytes of a file of L{config_file}."""
    return encode_checksummed({"bucket": bucket, "kind": kind, "data": base64.b64encode(data).decode()})


def decode_config(text: bytes, bucket: str | None, kind: str) -> bytes:
    """
    What L{encode_config} was given.

    @param bucket: C{None} for any.
    @raise ValueError: if it is damaged, or of another bucket or kind.
    """
    fields: Any
    fields, is_checked = decode_checksummed(text)
    if not is_checked:
        raise ValueError("it has no checksum")
    if fields.get("kind") != kind or bucket not in (None, fields.get("bucket")):
        raise ValueError(f"it is the {fields.get('kind')!r} of the bucket {fields.get('bucket')!r}")
    try:
        return base64.b64decode(fields["data"], validate=True)
    except (KeyError, TypeError, binascii.Error) as error:
        raise ValueError(f"a field is missing or of the wrong kind: {error}") from None


def is_config(text: bytes, kind: str) -> bool:
    """Whether a text is a valid configuration of this kind, of any bucket."""
    try:
        decode_config(text, None, kind)
    except ValueError:
        return False
    return True


#: The kind of configuration that has the versioning of a bucket.
VERSIONING = "versioning"


def check_versioning(state: str, before: str = OFF) -> str:
    """
    @param before: what it is now.
    @raise InvalidName: if it is no state of versioning.
    @raise InvalidBucketState: if it would be off after it was not.
    """
    if state not in (OFF, ENABLED, SUSPENDED):
        raise InvalidName(f"{state[:100]!r} is not a state of versioning: those are {OFF}, {ENABLED} and {SUSPENDED}")
    if state == OFF and before != OFF:
        raise InvalidBucketState("versioning was enabled: it can be suspended, but not turned off any more")
    return state


def state_of(data: bytes | None) -> str:
    """
    The state of versioning that a configuration of the kind L{VERSIONING} has.

    @raise InvalidName: if it has none.
    """
    return OFF if data is None else check_versioning(data.decode("latin-1"))


#: A key with its entry, C{None} if its row has none; or a common prefix, with C{False}.
Item = tuple[str, "Entry | bool | None"]


class Selecting(Protocol):
    """An index of keys, with a table C{keys}."""

    def select(self, query: str, values: Mapping[str, object]) -> list[tuple[bytes, ...]]:
        """All rows of a query."""


# The rows come as one text, in a single step: each step releases the interpreter's lock and waits for it.
_PLAIN = """
SELECT CAST(group_concat(hex(key) || ' ' || text, char(10)) AS BLOB) FROM (
    SELECT key, text FROM keys WHERE bucket = :bucket AND key >= :start AND key < :end ORDER BY key LIMIT :limit
)
"""

_NAMES = """
SELECT CAST(group_concat(hex(key), char(10)) AS BLOB) FROM (
    SELECT key FROM keys WHERE bucket = :bucket AND key >= :start AND key < :end ORDER BY key LIMIT :limit
)
"""

# From each key to the next one behind it, or behind its common prefix.
_AT = "instr(substr(k, :length + 1), :delimiter)"
_DELIMITED = f"""
WITH RECURSIVE walk(k) AS (
    SELECT (SELECT key FROM keys WHERE bucket = :bucket AND key >= :start AND key < :end ORDER BY key LIMIT 1)
    UNION ALL
    SELECT (
        SELECT key FROM keys WHERE bucket = :bucket AND key < :end AND key >= CASE {_AT}
            WHEN 0 THEN CAST(k || x'00' AS BLOB)
            ELSE CAST(substr(k, 1, :length + {_AT} - 1) || :beyond AS BLOB)
        END ORDER BY key LIMIT 1
    ) FROM walk WHERE k IS NOT NULL LIMIT :limit
)
SELECT CAST(group_concat(CASE {_AT}
    WHEN 0 THEN hex(k) || ' ' || (SELECT text FROM keys WHERE bucket = :bucket AND key = k)
    ELSE hex(substr(k, 1, :length + {_AT} - 1 + length(:delimiter)))
END, char(10)) AS BLOB) FROM walk WHERE k IS NOT NULL
"""


def _behind(text: bytes) -> bytes:
    """The least text that is greater than all that begin with this one. UTF-8 has no byte FF."""
    return text[:-1] + bytes([text[-1] + 1]) if text else b"\xff"


def common_prefix(key: bytes, prefix: bytes, delimiter: bytes) -> bytes | None:
    """The common prefix by which a listing has a key that begins with C{prefix}; C{None} if it lists the key itself."""
    at = key.find(delimiter, len(prefix)) if delimiter else -1
    return None if at < 0 else key[: at + len(delimiter)]


def start_of(prefix: bytes, delimiter: bytes, after: bytes) -> bytes:
    """The least key that a listing can have."""
    if after < prefix:
        return prefix
    # Only if it is a common prefix are all keys that begin with it left out.
    if after.startswith(prefix) and common_prefix(after, prefix, delimiter) == after:
        return _behind(after)
    return after + b"\0" if after else prefix


def list_items(index: Selecting, bucket: int, prefix: str, delimiter: str, after: str, limit: int) -> list[Item]:
    """
    The first C{limit} keys and common prefixes of a listing, in order.

    @raise InvalidName: if an argument is not Unicode text.
    """
    begins, mark = check_text("prefix", prefix), check_text("delimiter", delimiter)
    values: dict[str, object] = {
        "bucket": bucket,
        "start": start_of(begins, mark, check_text("key to start after", after)),
        "end": _behind(begins),
        "limit": limit,
    }
    if mark:
        values |= {"length": len(begins), "delimiter": mark, "beyond": _behind(mark)}
    ((found,),) = index.select(_DELIMITED if mark else _PLAIN, values)
    lines = found.split(b"\n") if found else []
    items: list[Item] = []
    for line in lines:
        head, space, text = line.partition(b" ")
        try:
            key = bytes.fromhex(head.decode()).decode()
        except ValueError:
            continue  # the rest of a damaged row
        if not space:
            items.append((key, False))
            continue
        try:
            named, entry = decode_row(text)
        except ValueError:
            named, entry = key, None
        items.append((key, entry if named == key else None))
    return items


def list_names(index: Selecting, bucket: int, prefix: str, after: str, limit: int) -> list[str]:
    """
    The first C{limit} keys, in order.

    @raise InvalidName: if an argument is not Unicode text.
    """
    begins = check_text("prefix", prefix)
    values: dict[str, object] = {
        "bucket": bucket,
        "start": start_of(begins, b"", check_text("key to start after", after)),
        "end": _behind(begins),
        "limit": limit,
    }
    ((found,),) = index.select(_NAMES, values)
    return [bytes.fromhex(line).decode() for line in found.decode().split("\n")] if found else []


#: The rank of current versions in an index, which are the first of their keys; that of others is C{-entry.rank}.
CURRENT = -(1 << 63)

#: A version: its key, whether it is the current one, its ID, and its entry, C{None} if its row cannot be read; or a common
#: prefix, with C{None}.
VersionItem = tuple[str, "tuple[bool, str, Entry | None] | None"]

# In one text, as above. The rows of a key in C{keys} are before those in C{versions}, which are all others of its versions.
_LINES = """
SELECT CAST(group_concat(hex(key) || ' ' || (rank = :current) || ' ' || id || ' ' || text, char(10)) AS BLOB) FROM (
    %s
)
"""
_VERSIONS = (
    _LINES
    % """
    SELECT * FROM (
        SELECT key, :current AS rank, '' AS id, text FROM keys
        WHERE bucket = :bucket AND key >= :start AND key < :end ORDER BY key LIMIT :limit
    ) UNION ALL SELECT * FROM (
        SELECT key, rank, id, text FROM versions
        WHERE bucket = :bucket AND key >= :start AND key < :end ORDER BY key, rank, id LIMIT :limit
    ) ORDER BY key, rank, id LIMIT :limit
"""
)
_REST = (
    _LINES
    % """
    SELECT key, rank, id, text FROM versions
    WHERE bucket = :bucket AND key = :key AND (rank, id) > (:rank, :id) ORDER BY rank, id LIMIT :limit
"""
)

# As _DELIMITED, over both tables, without the texts.
_NEXT_KEY = """
    SELECT min(key) FROM (
        SELECT * FROM (SELECT key FROM keys WHERE bucket = :bucket AND key >= {0} AND key < :end ORDER BY key LIMIT 1)
        UNION ALL
        SELECT * FROM (SELECT key FROM versions WHERE bucket = :bucket AND key >= {0} AND key < :end ORDER BY key LIMIT 1)
    )
"""
_NEXT = f"""CASE {_AT}
    WHEN 0 THEN CAST(k || x'00' AS BLOB)
    ELSE CAST(substr(k, 1, :length + {_AT} - 1) || :beyond AS BLOB)
END"""
_WALK = f"""
WITH RECURSIVE walk(k) AS (
    SELECT ({_NEXT_KEY.format(":start")})
    UNION ALL
    SELECT ({_NEXT_KEY.format(_NEXT)}) FROM walk WHERE k IS NOT NULL LIMIT :limit
)
SELECT CAST(group_concat(CASE {_AT}
    WHEN 0 THEN hex(k) || ' '
    ELSE hex(substr(k, 1, :length + {_AT} - 1 + length(:delimiter)))
END, char(10)) AS BLOB) FROM walk WHERE k IS NOT NULL
"""
_LATEST = """
SELECT text FROM keys WHERE bucket = :bucket AND key = :key
UNION ALL SELECT text FROM versions WHERE bucket = :bucket AND key = :key AND rank = :current
"""
_BY_ID = "SELECT rank, id FROM versions WHERE bucket = :bucket AND key = :key AND id = :id"
_NULL = "SELECT rank, id FROM versions WHERE bucket = :bucket AND key = :key AND versioned = 0 ORDER BY rank LIMIT 1"


def list_versions(
    index: Selecting, bucket: int, prefix: str, delimiter: str, key_marker: str, version_marker: str, limit: int
) -> list[VersionItem]:
    """
    The first C{limit} versions and common prefixes of a listing, in order. It costs what it gives.

    @raise InvalidName: if an argument is not Unicode text, or there is a C{version_marker} without a C{key_marker}.
    """
    begins, mark = check_text("prefix", prefix), check_text("delimiter", delimiter)
    after = check_text("key marker", key_marker)
    if version_marker and not key_marker:
        raise InvalidName("a version to continue after is named without its key")
    values: dict[str, object] = {
        "bucket": bucket,
        "start": start_of(begins, mark, after),
        "end": _behind(begins),
        "current": CURRENT,
    }
    items: list[VersionItem] = []
    if version_marker and after.startswith(begins):
        if common_prefix(after, begins, mark) is None:
            items += _rest(index, values, after, version_marker, limit)
        else:
            # What is left of this key is rolled up.
            values["start"] = after
    if not mark:
        return items + _selected(index, _VERSIONS, values | {"limit": limit - len(items)})
    walked = {**values, "length": len(begins), "delimiter": mark, "beyond": _behind(mark), "limit": limit - len(items)}
    ((found,),) = index.select(_WALK, walked)
    # Keys that follow each other without a common prefix between them are listed together.
    first: bytes | None = None
    last = b""
    for line in [*(found.split(b"\n") if found else []), b""]:
        head, space, _ = line.partition(b" ")
        name = bytes.fromhex(head.decode())
        if space:
            first, last = name if first is None else first, name
            continue
        if first is not None:
            run = values | {"start": first, "end": last + b"\0", "limit": limit - len(items)}
            items += _selected(index, _VERSIONS, run)
            first = None
        if len(items) >= limit:
            break
        if line:
            items.append((name.decode(), None))
    return items


def page_of(items: list[VersionItem], limit: int) -> tuple[list[VersionItem], str | None, str]:
    """
    The first items as a page, and both markers of the next one; the key marker is C{None} if there is none.

    @param items: one more than C{limit} if there are so many: that shows that there is another page.
    """
    if not len(items) > limit > 0:
        return items[:limit], None, ""
    last = items[limit - 1]
    return items[:limit], last[0], _marker_after(last)


def _marker_after(item: VersionItem) -> str:
    """The C{version_marker} by which a listing continues after this item."""
    found = item[1]
    if found is None:
        return ""
    _, id, entry = found
    # With its rank, so that it leads on when the version is not there any more.
    return id or "." if entry is None else f"{entry.rank}.{entry.id}"


#: After the current version, which is no row of C{versions} unless it is a marker: IDs have no C{g}.
_AFTER_CURRENT = (CURRENT, b"g")


def _rest(
    index: Selecting, values: Mapping[str, object], key: bytes, version_marker: str, limit: int
) -> list[VersionItem]:
    """The versions of a key that follow one of them, which may have been removed."""
    values = {**values, "key": key}
    rank, dot, id = version_marker.rpartition(".")
    latest = _latest(index, values)
    place: tuple[int, bytes] | None = None
    items: list[VersionItem] = []
    if latest is not None and (id == latest.id or (id == NULL and not latest.versioned)):
        place = _AFTER_CURRENT
    elif id:
        query = _NULL if id == NULL else _BY_ID
        for found_rank, found_id in index.select(query, values | {"id": id.encode()}):
            place = int(found_rank), found_id
    else:
        place = _AFTER_CURRENT  # it could not be read
    if place is None and dot and re.fullmatch("-?[0-9]{1,18}", rank):
        place = (-int(rank), id.encode())
        # What has become the current one since.
        if latest is not None and (-latest.rank, latest.id.encode()) > place:
            items.append((key.decode(), (True, latest.id, latest)))
    elif place is None:
        return _selected(index, _VERSIONS, {**values, "start": key, "end": key + b"\0", "limit": limit})
    more = {**values, "rank": max(place, _AFTER_CURRENT)[0], "id": max(place, _AFTER_CURRENT)[1]}
    return [*items[:limit], *_selected(index, _REST, more | {"limit": limit - len(items[:limit])})]


def _latest(index: Selecting, values: Mapping[str, object]) -> Entry | None:
    for (text,) in index.select(_LATEST, values):
        try:
            return decode_row(text)[1]
        except ValueError:
            pass  # its row is damaged
    return None


def _selected(index: Selecting, query: str, values: Mapping[str, object]) -> list[VersionItem]:
    ((found,),) = index.select(query, values)
    items: list[VersionItem] = []
    for line in found.split(b"\n") if found else []:
        head, _, rest = line.partition(b" ")
        is_latest, _, rest = rest.partition(b" ")
        id, _, text = rest.partition(b" ")
        try:
            key = bytes.fromhex(head.decode()).decode()
        except ValueError:
            continue  # the rest of a damaged row
        try:
            named, entry = decode_row(text)
        except ValueError:
            named, entry = "", None
        if entry is not None and named != key:
            entry = None
        items.append((key, (is_latest == b"1", id.decode("latin-1") if entry is None else entry.id, entry)))
    return items
