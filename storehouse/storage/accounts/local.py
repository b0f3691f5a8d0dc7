"""
Accounts in files, below C{ROOT/accounts}::

    users.json    users and sign-in tokens (L{storehouse.storage.accounts.ledger})
    secret.key    what keys are derived from (L{storehouse.storage.accounts.rootsecret})
    spent.log     links that were used up, sessions that were ended (L{storehouse.storage.accounts.spent})
    url           the URL of the door, for who makes links on the command line
    lock          held by who changes one of them; means nothing by itself

Source: docs/accounts.rst.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from storehouse.core.disk import IDisk
from storehouse.core.files import Files
from storehouse.core.jobs import whole
from storehouse.core.streams import deferred
from storehouse.errors import Damaged, NoSpace, StartFailed, StorageFailed
from storehouse.storage.accounts.base import Accounts, AccountSettings
from storehouse.storage.accounts.ground import Ground
from storehouse.storage.accounts.keys import Keys, Wrap
from storehouse.storage.accounts.ledger import Ledger
from storehouse.storage.accounts.rootsecret import load_keys
from storehouse.storage.accounts.spent import Spent

__all__ = ["ADMINISTRATOR", "LocalAccounts"]

#: The name of the user that is made at the first start.
ADMINISTRATOR = "admin"

_USERS = "users.json"
_SPENT = "spent.log"
_URL = "url"

_MAX_URL = 4096

#: What tells one file from another that took its place.
_Mark = tuple[int, int, int, int]


class LocalAccounts(Accounts):
    """
    L{IAccounts<storehouse.storage.accounts.interfaces.IAccounts>} in a directory. A service and any number of commands
    may have it open at the same time.

    @param wrap: seals the secret under the store's master key; C{None} if there is none.
    """

    _log = Logger()

    def __init__(
        self,
        directory: str,
        disk: IDisk,
        settings: AccountSettings | None = None,
        wrap: Wrap | None = None,
        files: Files | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        Accounts.__init__(self, settings, clock)
        self._ground = Ground(os.path.abspath(directory), Files() if files is None else files)
        self._disk = disk
        self._wrap = wrap
        self._derived: Keys | None = None
        self._known = Ledger()
        self._seen: _Mark | None = None
        self._spent = Spent(self._ground, _SPENT)

    @property
    def failed(self) -> Exception | None:
        """Nothing fails for good here: what could not be changed is as it was."""
        return None

    def start(self, users_only: bool = False) -> None:
        """
        Make the directory and the secret if they are missing, and read everything, in the caller's time.

        @param users_only: leave the secret alone, for who lists or disables users without the master key. No key can
            be made or checked then, nor a session or link.
        @raise StartFailed: if something is damaged, or cannot be read or made.
        """
        self._ground.make()
        try:
            with self._ground.locked():
                self._seen, self._known = self._mark(), self._read()
                if not users_only:
                    self._derived = load_keys(self._ground, self._wrap, may_make=not self._known.accounts)
                    self._spent.load()
        except (Damaged, NoSpace, StorageFailed) as error:
            raise StartFailed(error.detail) from None

    def stop(self) -> Deferred[None]:
        """Nothing is open between changes."""
        return succeed(None)

    # -- users.json ----------------------------------------------------------------------------------------------------

    def _ledger(self) -> Ledger:
        mark = self._mark()
        if mark != self._seen:
            # Another process has changed it; or we have, and this is what we know already.
            self._seen = mark
            try:
                self._known = self._read()
            except (Damaged, OSError) as error:
                self._log.error("users stay as they were: {reason}", reason=str(error))
        return self._known

    def _mark(self) -> _Mark | None:
        try:
            stat = os.stat(self._ground.path(_USERS))
        except OSError:
            return None
        return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size

    def _read(self) -> Ledger:
        data = self._ground.read(_USERS)
        path = self._ground.path(_USERS)
        if data is None:
            if self._known.sequence:
                raise Damaged(f"{path} is gone: put it back from a backup")
            return Ledger()
        try:
            return Ledger.decode(data)
        except Damaged as error:
            raise Damaged(f"{path} is damaged: {error}; put it back from a backup") from None

    async def _change(self, step: Callable[[Ledger], Ledger]) -> Ledger:
        ledger = await whole(self._disk, self._apply, step)
        # Another thread may have gone further meanwhile.
        if ledger.sequence > self._known.sequence:
            self._known = ledger
        return ledger

    def _apply(self, step: Callable[[Ledger], Ledger]) -> Ledger:
        with self._ground.locked():
            before = self._read()
            after = step(before)
            if after is not before:
                self._ground.replace(_USERS, after.encode())
            return after

    # -- secret.key and spent.log --------------------------------------------------------------------------------------

    def _keys(self) -> Keys:
        if self._derived is None:
            raise RuntimeError("the accounts were started without their secret")
        return self._derived

    def _is_spent(self, kind: str, id: str) -> bool:
        return self._spent.knows(f"{kind} {id}")

    async def _spend(self, kind: str, id: str, expires: float, user: str) -> bool:
        def spend() -> bool:
            with self._ground.locked():
                return self._spent.add(f"{kind} {id}", expires, self._clock(), user)

        return await whole(self._disk, spend)

    # -- the first start -----------------------------------------------------------------------------------------------

    @deferred
    async def ensure_administrator(self) -> str | None:
        """
        If there are no users, make an administrator, whose key nobody is told.

        @return: fires with the name of an administrator to whom a sign-in link should be shown, since nobody who may
            manage others was ever given a key or signed in by a link; with C{None} if somebody was.
        """
        if not self._ledger().accounts:
            await self._add(ADMINISTRATOR, is_admin=True, is_claimed=False)
        admins = [account for account in self._ledger().accounts.values() if account.user.is_admin]
        if not admins or any(account.is_claimed for account in admins):
            return None
        return min(account.user.name for account in admins)

    @deferred
    async def write_url(self, url: str) -> None:
        """Keep the URL by which others reach the door, for commands that make links."""

        def write() -> None:
            with self._ground.locked():
                if self._ground.read(_URL) != f"{url}\n".encode():
                    self._ground.replace(_URL, f"{url}\n".encode())

        await whole(self._disk, write)

    @deferred
    async def read_url(self) -> str | None:
        """What L{write_url} has kept last; C{None} if nothing was."""
        data = await whole(self._disk, self._ground.read, _URL)
        return None if data is None else data[:_MAX_URL].decode("utf-8", "replace").strip() or None
