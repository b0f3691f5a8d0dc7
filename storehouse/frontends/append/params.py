"""What requests to the append door name: prefix, identifier, offset, durability."""

from __future__ import annotations

from storehouse.core.names import DEFAULT_PREFIX, check_identifier, check_prefix
from storehouse.errors import BadRequest, InvalidName
from storehouse.frontends.http.fields import check_fields, number_of
from storehouse.frontends.http.request import StreamingRequest
from storehouse.storage.appendlog.interfaces import Durability

__all__ = ["check_fields", "durability_of", "identifier_of", "number_of", "prefix_of"]


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
