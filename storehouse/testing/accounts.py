"""Accounts in memory, for tests: gone with the process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed

from storehouse.config.settings import HTTPSSettings
from storehouse.storage.accounts.accounts import SECRET_SIZE, Accounts, Keys, Users

__all__ = ["MemoryAccounts"]


class MemoryAccounts(Accounts):
    """
    L{IAccounts<storehouse.storage.accounts.interfaces.IAccounts>} without files.

    @param secret: the secret that all keys are derived from; random by default.
    """

    def __init__(
        self,
        settings: HTTPSSettings | None = None,
        clock: Callable[[], float] = time.time,
        secret: bytes | None = None,
    ) -> None:
        Accounts.__init__(self, settings, clock)
        self._derived = Keys(os.urandom(SECRET_SIZE) if secret is None else secret)
        self._current = Users()
        self._spent: dict[tuple[str, str], float] = {}
        self._url: str | None = None

    def write_url(self, url: str) -> Deferred[None]:
        self._url = url
        return succeed(None)

    def read_url(self) -> Deferred[str | None]:
        return succeed(self._url)

    def _users(self) -> Users:
        return self._current

    def _keys(self) -> Keys:
        return self._derived

    async def _change(self, step: Callable[[Users], Users]) -> Users:
        self._current = step(self._current)
        return self._current

    def _is_spent(self, kind: str, id: str) -> bool:
        return (kind, id) in self._spent

    async def _spend(self, kind: str, id: str, expires: float, user: str) -> bool:
        now = self._clock()
        self._spent = {spent: until for spent, until in self._spent.items() if until > now}
        if self._is_spent(kind, id):
            return False
        self._spent[kind, id] = expires
        return True
