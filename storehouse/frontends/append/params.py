"""What requests to the append door name: prefix, identifier, offset, durability."""

from __future__ import annotations

import re

from storehouse.core.names import DEFAULT_PREFIX, check_identifier, check_prefix
from storehouse.errors import BadRequest, InvalidName
from storehouse.frontends.http.request import StreamingRequest
from storehouse.storage.appendlog.interfaces import Durability

__all__ = ["check_fields", "durability_of", "identifier_of", "number_of", "prefix_of"]

_number = re.compile(rb"\d{1,19}\Z")


def check_fields(request: StreamingRequest, known: frozenset[bytes]) -> None:
    """
    @raise BadRequest: if the query has a field that would go unread: a misspelt C{storagePrefix} must not end
    in the wrong directory.
    """
    for name in request.fields:
        if name not in known:
            listed = ", ".join(sorted(field.decode("ascii") for field in known))
            raise BadRequest(f"the query has an unknown field {name.decode('utf-8', 'replace')!r}; known are {listed}")


def prefix_of(request: StreamingRequest) -> str:
    """The storage prefix; the default one if none is named."""
    value = request.fields.get(b"storagePrefix")
    return DEFAULT_PREFIX if value is None else check_prefix(value)


def identifier_of(request: StreamingRequest) -> bytes:
    """The C{id} field."""
    value = request.fields.get(b"id")
    if value is None:
        raise InvalidName("the query has no id")
    return check_identifier(value)


def number_of(request: StreamingRequest, name: bytes, default: int | None = None) -> int:
    """A field that is a number from 0 on."""
    value = request.fields.get(name)
    text = name.decode("ascii")
    if value is None:
        if default is None:
            raise BadRequest(f"the query has no {text}")
        return default
    if not _number.match(value):
        raise BadRequest(f"the {text} {value.decode('utf-8', 'replace')!r} is not a number from 0 on")
    return int(value)


def durability_of(request: StreamingRequest, default: Durability) -> Durability:
    """The C{Durability} header field."""
    values = request.requestHeaders.getRawHeaders(b"Durability", [])
    if not values:
        return default
    if len(values) > 1:
        raise BadRequest("the request has more than one Durability field")
    return parse_durability(values[0])


def parse_durability(value: bytes) -> Durability:
    """@raise BadRequest: if there is no such level."""
    try:
        return Durability(value.decode("ascii", "replace"))
    except ValueError:
        raise BadRequest(f"the Durability {value.decode('utf-8', 'replace')!r} is neither disk nor os") from None
