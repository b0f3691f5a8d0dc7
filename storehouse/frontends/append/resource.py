"""What the resources of the append door share: the log, and what requests name (prefix, identifier, durability)."""

from __future__ import annotations

from storehouse.core.names import DEFAULT_PREFIX, check_identifier, check_prefix
from storehouse.errors import BadRequest, InvalidName
from storehouse.frontends.http.request import Leaf, StreamingRequest, check_fields, number_of
from storehouse.storage.appendlog.interfaces import Durability, IAppendLog

__all__ = ["LogResource", "check_fields", "durability_of", "identifier_of", "number_of", "prefix_of"]


class LogResource(Leaf):
    """A resource of one append log."""

    def __init__(self, log: IAppendLog) -> None:
        Leaf.__init__(self)
        self._log = log


def prefix_of(request: StreamingRequest) -> str:
    """The C{storagePrefix} of the query; the default prefix without one."""
    value = request.fields.get(b"storagePrefix")
    return DEFAULT_PREFIX if value is None else check_prefix(value)


def identifier_of(request: StreamingRequest) -> bytes:
    """The C{id} of the query."""
    value = request.fields.get(b"id")
    if value is None:
        raise InvalidName("the query lacks id")
    return check_identifier(value)


def durability_of(request: StreamingRequest, default: Durability) -> Durability:
    """The level in the C{Durability} header field; C{default} without one."""
    values = request.requestHeaders.getRawHeaders(b"Durability", [])
    if not values:
        return default
    if len(values) > 1:
        raise BadRequest("the request has more than one Durability field")
    try:
        return Durability(values[0].decode("ascii", "replace"))
    except ValueError:
        raise BadRequest(f"the Durability {values[0].decode('utf-8', 'replace')!r} is neither disk nor os") from None
