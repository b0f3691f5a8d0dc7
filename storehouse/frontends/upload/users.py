"""C{/users}: who there is, for administrators."""

from __future__ import annotations

import attrs

from storehouse.frontends.http.reply import Reply, json_reply
from storehouse.frontends.http.request import Leaf, StreamingRequest, check_fields
from storehouse.frontends.upload.gate import Gate
from storehouse.storage.accounts.interfaces import IAccounts

__all__ = ["Users"]

_NO_FIELDS: frozenset[bytes] = frozenset()


class Users(Leaf):
    """All users, without their secrets. They are changed by C{storehouse user}."""

    def __init__(self, gate: Gate, accounts: IAccounts) -> None:
        Leaf.__init__(self)
        self._gate = gate
        self._accounts = accounts

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        """A JSON object with a list of them, by name."""
        await self._gate.admit(request, "admin")
        check_fields(request, _NO_FIELDS)
        return json_reply({"users": [attrs.asdict(user) for user in await self._accounts.list_users()]})
