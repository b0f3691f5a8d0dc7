"""What the query of a request says."""

from __future__ import annotations

import re

from storehouse.errors import BadRequest
from storehouse.frontends.http.request import StreamingRequest

__all__ = ["check_fields", "number_of"]

_number = re.compile(rb"\d{1,19}\Z")


def check_fields(request: StreamingRequest, known: frozenset[bytes]) -> None:
    """
    @raise BadRequest: if the query has a field that would go unread: a misspelt C{storagePrefix} must not end
    in the wrong directory.
    """
    for name in request.fields:
        if name not in known:
            listed = ", ".join(sorted(field.decode("ascii") for field in known)) or "none"
            raise BadRequest(f"the query has an unknown field {name.decode('utf-8', 'replace')!r}; known are {listed}")


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
