"""
C{/users}, and what is below it: for commands of this machine, so that what needs the secret of the accounts is done by the
service, which has the master key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs

from storehouse.errors import BadRequest
from storehouse.events import AccessChanged
from storehouse.frontends.http.reply import Reply, json_reply, long_json_reply
from storehouse.frontends.http.request import Leaf, StreamingRequest, check_fields
from storehouse.frontends.objects.params import json_object, names_in_path
from storehouse.storage.accounts.interfaces import IAccounts, NewKey, Rights, read_rights

__all__ = ["Users"]

_NO_FIELDS: frozenset[bytes] = frozenset()

_NEW_USER = {"name": str, "is_admin": bool}
_TOKEN = {"lifetime": float}
_KEY = {"limits": list, "note": str}
_REMOVED = {"key_id": str}
_RIGHTS = {"permissions": list, "bucket": str, "prefix": str}
_LINK = {
    "method": str,
    "path": str,
    "expires": float,
    "max_bytes": int,
    "once": bool,
    "is_prefix": bool,
    "permissions": list,
    "bucket": str,
    "prefix": str,
}
_SESSION = {"lifetime": float, "key_id": str, "name": str, "rights": list, "policy": str}

#: What can be done for a user.
_ACTIONS = frozenset(
    {"disable", "enable", "rotate", "keys", "remove-key", "grant", "revoke", "sign-in", "links", "session"}
)


class Users(Leaf):
    """
    The users, their keys, their sign-in links and the links that they sign.

    @param accounts: gives them. Fails with C{StorehouseError} if they cannot be had.
    @param audit: takes in what was changed.
    """

    takes_rest = True

    def __init__(
        self,
        accounts: Callable[[], Awaitable[IAccounts]],
        audit: Callable[[object], object] = lambda event: None,
    ) -> None:
        Leaf.__init__(self)
        self._accounts = accounts
        self._audit = audit

    def _changed(self, request: StreamingRequest, action: str, name: str, detail: str = "") -> None:
        self._audit(AccessChanged("objects", "", request.source, action, name, detail))

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        """All, and the URL of the door of uploads, if one was ever open."""
        check_fields(request, _NO_FIELDS)
        if names_in_path(request):
            raise request.no_such_resource()
        accounts = await self._accounts()
        users = await accounts.list_users()
        return await long_json_reply(
            {"users": (attrs.asdict(user) for user in users)}, {"url": await accounts.read_url()}
        )

    async def handle_POST(self, request: StreamingRequest) -> Reply:
        """Add one; or what the last component of the path says, for one."""
        check_fields(request, _NO_FIELDS)
        names = names_in_path(request)
        if len(names) not in (0, 2):
            raise request.no_such_resource()
        accounts = await self._accounts()
        if not names:
            given = _all_of(await json_object(request, _NEW_USER), "name")
            key = await accounts.add_user(given["name"], given.get("is_admin", False))
            self._changed(request, "add-user", given["name"], "admin" if key.user.is_admin else "")
            return _key_reply(key)
        name, action = names
        if action not in _ACTIONS:
            raise request.no_such_resource()
        reply, detail = await self._act(request, accounts, name, action)
        self._changed(request, action, name, detail)
        return reply

    async def _act(self, request: StreamingRequest, accounts: IAccounts, name: str, action: str) -> tuple[Reply, str]:
        """What the path says. @return: the response, and what an audit shows of it."""
        if action == "disable":
            return json_reply(attrs.asdict(await accounts.disable_user(name))), ""
        if action == "enable":
            return json_reply(attrs.asdict(await accounts.enable_user(name))), ""
        if action == "rotate":
            key = await accounts.rotate_key(name)
            return _key_reply(key), key.key_id
        if action == "keys":
            given: Any = await json_object(request, _KEY)
            limits = read_rights(given["limits"]) if "limits" in given else None
            key = await accounts.add_key(name, limits, given.get("note", ""))
            return _key_reply(key), f"{key.key_id} {'; '.join(map(str, limits or ()))}".rstrip()
        if action == "remove-key":
            given = _all_of(await json_object(request, _REMOVED), "key_id")
            return json_reply(attrs.asdict(await accounts.remove_key(name, given["key_id"]))), given["key_id"]
        if action == "grant":
            rights = _rights_in(await json_object(request, _RIGHTS))
            return json_reply(attrs.asdict(await accounts.grant(name, rights))), str(rights)
        if action == "revoke":
            given = await json_object(request, {**_RIGHTS, "all": bool})
            less = None if given.pop("all", False) else _rights_in(given)
            return json_reply(attrs.asdict(await accounts.revoke(name, less))), "all" if less is None else str(less)
        if action == "sign-in":
            given = _all_of(await json_object(request, _TOKEN), "lifetime")
            return json_reply({"token": await accounts.make_sign_in_token(name, given["lifetime"])}), ""
        if action == "session":
            given = _all_of(await json_object(request, _SESSION), "lifetime")
            user = accounts.user_named(name)
            if "rights" in given:
                given["rights"] = read_rights(given["rights"])
            issued = accounts.issue_temporary(user, given.pop("key_id", user.key_id), **given)
            detail = f"{issued.key_id} until {issued.expires}"
            if given.get("name"):
                detail += f", session {given['name']}"
            return json_reply(attrs.asdict(issued)), detail
        given = _all_of(await json_object(request, _LINK), "expires")
        if "permissions" in given:
            rights = Rights(given.pop("permissions"), given.pop("bucket", ""), given.pop("prefix", ""))
            if unknown := sorted({"method", "path", "is_prefix"} & given.keys()):
                raise BadRequest(f"a link that gives permissions has no {unknown[0]}")
            query = accounts.sign_rights(accounts.user_named(name), rights, **given)
            return json_reply({"query": query}), str(rights)
        given = _all_of(given, "method", "path")
        if unknown := sorted({"bucket", "prefix"} & given.keys()):
            raise BadRequest(f"a link for a method has no {unknown[0]}")
        query = accounts.sign_link(accounts.user_named(name), **given)
        return json_reply({"query": query}), f"{given['method']} {given['path']}"


def _all_of(given: Mapping[str, Any], *names: str) -> dict[str, Any]:
    for name in names:
        if name not in given:
            raise BadRequest(f"the body has no {name}")
    return dict(given)


def _rights_in(given: dict[str, Any]) -> Rights:
    return Rights(**_all_of(given, "permissions", "bucket"))


def _key_reply(key: NewKey) -> Reply:
    return json_reply({"user": attrs.asdict(key.user), "secret": key.secret, "key_id": key.key_id})
