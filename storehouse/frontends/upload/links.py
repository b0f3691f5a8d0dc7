"""C{/links}: makes signed links."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from storehouse.core.jsontext import take_json
from storehouse.core.names import UPLOADS, link_path, rights_link
from storehouse.core.times import parse_lifetime
from storehouse.core.values import parse_size
from storehouse.errors import BadRequest, Forbidden, InvalidName, MalformedBody
from storehouse.events import AccessChanged
from storehouse.frontends.http.reply import Reply, json_reply
from storehouse.frontends.http.request import Leaf, StreamingRequest, accepts_html, check_fields
from storehouse.frontends.upload import pages
from storehouse.frontends.upload.gate import Gate
from storehouse.frontends.upload.sessions import check_form_token
from storehouse.frontends.upload.smallforms import MOST_BYTES, media_type, read_form
from storehouse.storage.accounts.interfaces import IAccounts, Rights

__all__ = ["Links"]

_NO_FIELDS: frozenset[bytes] = frozenset()

#: Seconds for which a link is good that is asked for without a time.
_USUAL = 86400.0

_KNOWN = frozenset({"method", "name", "expires", "max_bytes", "once", "prefix", "permissions", "bucket"})
_SWITCHES = {"": False, "0": False, "off": False, "false": False, "1": True, "on": True, "true": True}


@attrs.frozen
class _Wish:
    """What somebody wants a link for. C{expires}: seconds from now. With C{rights}, C{method} and C{is_prefix} say nothing."""

    method: str
    name: str
    expires: float | None
    max_bytes: int | None
    once: bool
    is_prefix: bool
    rights: Rights | None = None


class Links(Leaf):
    """
    C{POST /links}: a JSON object, or a form with the same fields and C{csrf}. With C{permissions} the link gives these on
    C{bucket}, and on the keys that begin with C{name}; without, it is for a C{method} on C{name}.

    @param base_url: gives the URL of the door, without a slash at its end.
    @param link_lifetime: seconds for which a link may work, at most.
    @param clock: tells the time, seconds since 1970 UTC.
    """

    def __init__(
        self,
        gate: Gate,
        accounts: IAccounts,
        base_url: Callable[[], str],
        link_lifetime: float = 604800.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        Leaf.__init__(self)
        self._gate = gate
        self._accounts = accounts
        self._base_url = base_url
        self._lifetime = link_lifetime
        self._clock = clock

    async def handle_POST(self, request: StreamingRequest) -> Reply:
        """Sign one: C{{"url":..., "expires":...}}, or a page that has it."""
        visitor = await self._gate.admit(request, "manage", token_later=True)
        check_fields(request, _NO_FIELDS)
        is_json = media_type(request) == "application/json"
        form = {} if is_json else await read_form(request)
        check_form_token(self._gate, visitor, request, form)
        form.pop("csrf", None)
        wish = _wish_in(await _json(request) if is_json else form)
        if visitor.user is None:
            raise Forbidden("sign in to create links")
        rights = wish.rights
        try:
            if rights is None:
                path = link_path(wish.method, wish.name, wish.is_prefix)
            else:
                path = rights_link(rights.permissions, rights.bucket, rights.prefix)
        except UnicodeEncodeError:
            raise InvalidName("the name is not Unicode text") from None
        lifetime = min(_USUAL, self._lifetime) if wish.expires is None else wish.expires
        expires = int(self._clock() + lifetime)
        if rights is None:
            query = "?" + self._accounts.sign_link(
                visitor.user, wish.method, path, expires, wish.max_bytes, wish.once, wish.is_prefix
            )
            told = AccessChanged("https", visitor.name, visitor.source, "sign-link", path, wish.method)
        else:
            query = self._accounts.sign_rights(visitor.user, rights, expires, wish.max_bytes, wish.once)
            where = f"{rights.bucket}/{rights.prefix}"
            told = AccessChanged("https", visitor.name, visitor.source, "sign-link", where, str(rights))
        self._gate.audit(told)
        url = f"{self._base_url()}{path}{query}"
        if accepts_html(request):
            can = "read" if rights is None else " and ".join(rights.permissions)
            return pages.link_made(visitor, wish.name or "all files", url, expires, can)
        return json_reply({"url": url, "expires": expires}, 201)


async def _json(request: StreamingRequest) -> dict[str, Any]:
    data = await request.body.read_all(MOST_BYTES)
    try:
        value = take_json(data)
    except ValueError as error:
        raise MalformedBody(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise MalformedBody("the body is not a JSON object")
    return value


def _wish_in(fields: Mapping[str, Any]) -> _Wish:
    """From JSON, or from a form, where all are texts and empty ones say nothing."""
    for field in fields:
        if field not in _KNOWN:
            raise BadRequest(f"a link has no {field[:100]!r}; known are {', '.join(sorted(_KNOWN))}")
    method: Any = fields.get("method", "GET")
    name: Any = fields.get("name")
    rights = _rights_in(fields)
    if method not in ("GET", "PUT"):
        raise BadRequest("the method of a link must be GET, to read, or PUT, to store")
    is_prefix = _switch(fields, "prefix")
    if not isinstance(name, str) or not (name or is_prefix or rights):
        raise BadRequest("a link needs a name")
    expires, max_bytes = fields.get("expires"), fields.get("max_bytes")
    try:
        seconds = None if expires in (None, "") else parse_lifetime(expires, time.time())
        limit = None if max_bytes in (None, "") else parse_size(max_bytes)
    except ValueError as error:
        raise BadRequest(str(error)) from None
    return _Wish(method, name, seconds, limit, _switch(fields, "once"), is_prefix, rights)


def _rights_in(fields: Mapping[str, Any]) -> Rights | None:
    """The rights that a link is to give: C{permissions} (a list, or separated by commas) on keys of C{bucket} that begin with C{name}."""
    permissions, bucket, prefix = fields.get("permissions"), fields.get("bucket", UPLOADS), fields.get("name", "")
    if permissions is None:
        if "bucket" in fields:
            raise BadRequest("a link for a bucket needs permissions")
        return None
    if "method" in fields or "prefix" in fields:
        raise BadRequest("a link has a method, and perhaps prefix, or permissions")
    names = permissions.split(",") if isinstance(permissions, str) else permissions
    if not isinstance(names, list):
        raise BadRequest("permissions must be a list")
    return Rights(names, bucket, prefix)


def _switch(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value is None:
        return False
    if isinstance(value, str):
        value = _SWITCHES.get(value.lower())
    if not isinstance(value, bool):
        raise BadRequest(f"{name} must be true or false")
    return value
