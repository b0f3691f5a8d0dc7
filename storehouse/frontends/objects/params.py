"""What requests to the objects door name: buckets, keys, conditions of changes, metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from storehouse.core.jsontext import SHORT, Member, read_members, take_json
from storehouse.core.names import guessed_type
from storehouse.core.turns import breath
from storehouse.errors import BadRequest, MalformedBody, TooLarge
from storehouse.frontends.http.request import StreamingRequest, decoded, field_of
from storehouse.storage.objects.interfaces import ALWAYS, Condition, Metadata

__all__ = [
    "METADATA",
    "condition_in",
    "condition_of",
    "content_type_of",
    "flag_of",
    "json_object",
    "key_of",
    "metadata_in",
    "metadata_of",
    "names_in_path",
]

#: The field of a request whose value is the metadata, as JSON: C{{"name": ["value", ...]}}.
METADATA = b"Storehouse-Metadata"

# Bytes of a member of a long body.
_LONGEST = 128 << 10

#: With what values of a type begin as JSON; C{null} is as if the member were not there.
_BEGINS = {
    dict: b"{n",
    list: b"[n",
    str: b'"n',
    bool: b"tfn",
    int: b"-0123456789tfn",
    float: b"-0123456789n",
    object: b'{["-0123456789tfn',
}

_printable = re.compile(rb"[\x20-\x7e]*\Z").match


def names_in_path(request: StreamingRequest) -> list[str]:
    """What the path has behind its first component, decoded; a slash at the end does not count."""
    _, _, *names = request.path.split(b"/")
    if names and not names[-1]:
        names.pop()
    return [decoded("path", name) for name in names]


def key_of(request: StreamingRequest) -> tuple[str, str]:
    """
    The bucket, which is the second component of the path, and the key, which is all that follows: as it is, with C{..}
    and empty components, once it is decoded.
    """
    _, _, rest = request.path[1:].partition(b"/")
    bucket, slash, key = rest.partition(b"/")
    if not slash:
        raise BadRequest("the path has no key after the bucket")
    return decoded("bucket", bucket), decoded("key", key)


def flag_of(request: StreamingRequest, name: bytes) -> bool:
    """A field of the query that is 0 or 1."""
    value = request.fields.get(name, b"0")
    if value not in (b"0", b"1"):
        raise BadRequest(f"{name.decode('ascii')} is 0 or 1")
    return value == b"1"


# -- fields of the head ----------------------------------------------------------------------------


def _tag(name: str, value: bytes) -> str:
    if not _printable(value) or b"," in value or value.startswith(b"W/"):
        raise BadRequest(f"{name} must be one etag, in quotes, or *")
    text = value.decode("ascii")
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def condition_of(request: StreamingRequest) -> Condition:
    """C{If-Match} and C{If-None-Match} of a request that changes something."""
    match, none_match = field_of(request, b"If-Match"), field_of(request, b"If-None-Match")
    if none_match not in (None, b"*"):
        raise BadRequest("If-None-Match must be *: the key must not exist")
    if match is None and none_match is None:
        return ALWAYS
    return Condition(none_match is not None, None if match is None else _tag("If-Match", match))


def content_type_of(request: StreamingRequest, key: str) -> str:
    """C{Content-Type}; without the field, what the end of the key says."""
    value = field_of(request, b"Content-Type")
    if value is None:
        return guessed_type(key)
    if not _printable(value):
        raise BadRequest("the Content-Type has characters that are not printable ASCII")
    return value.decode("ascii")


def metadata_of(request: StreamingRequest) -> Metadata:
    """L{METADATA}; none without it."""
    value = field_of(request, METADATA)
    if value is None:
        return {}
    try:
        return metadata_in(take_json(value))
    except ValueError:
        raise BadRequest(f"{METADATA.decode('ascii')} is not JSON") from None


# -- JSON ------------------------------------------------------------------------------------------


async def json_object(request: StreamingRequest, known: Mapping[str, type], limit: int = 1 << 20) -> dict[str, object]:
    """
    The body: a JSON object of these members, none of which need be there; C{null} is as if it were not.

    @raise MalformedBody: if it is none.
    """
    with request.hold(limit if request.body.length is None else request.body.length) as hold:
        body = await request.body.read_all(limit, hold, is_small=True)
    try:
        value = take_json(body) if len(body) <= SHORT else await _take_long(body, known)
    except ValueError as error:
        raise MalformedBody(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise MalformedBody("the body is not a JSON object")
    for name, member in value.items():
        if name not in known:
            raise MalformedBody(f"the body has an unknown member {name[:100]!r}; known are {', '.join(sorted(known))}")
        if member is not None and not isinstance(member, known[name]):
            raise MalformedBody(f"{name} in the body has the wrong type")
    return {name: member for name, member in value.items() if member is not None}


async def _take_long(body: bytes, known: Mapping[str, type]) -> Any:
    """The members of a long object, while others are served."""
    found = {}
    members = {name: Member(_BEGINS[kind], "a value of its type", _LONGEST) for name, kind in known.items()}
    try:
        texts = await read_members(body, members)
    except TooLarge as error:
        raise ValueError(error.detail) from None
    for name, text in texts.items():
        if len(text) > _LONGEST:
            raise ValueError(f"{name[:100]!r} has {len(text)} bytes; at most {_LONGEST} are allowed")
        found[name] = take_json(text)
        await breath()
    return found


def metadata_in(value: object) -> Metadata:
    """
    Metadata as JSON has it: a name has a text, or a list of them.

    @raise BadRequest: if it is none.
    """
    if isinstance(value, dict):
        lists = {name: [texts] if isinstance(texts, str) else texts for name, texts in value.items()}
        if all(isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in lists.values()):
            return lists
    raise BadRequest("metadata must be a JSON object of texts or lists of texts")


def condition_in(value: Mapping[str, object] | None) -> Condition:
    """
    A condition as JSON has it: C{{"absent": true}} or C{{"etag": "..."}}.

    @raise BadRequest: if it is none.
    """
    if value is None:
        return ALWAYS
    absent, etag = value.get("absent", False), value.get("etag")
    if not set(value) <= {"absent", "etag"} or not isinstance(absent, bool) or not isinstance(etag, str | None):
        raise BadRequest('a condition must be {"absent": true} or {"etag": "..."}')
    return Condition(absent, etag)
