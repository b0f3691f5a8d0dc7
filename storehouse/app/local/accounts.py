"""The users of a root, for commands where no service runs on it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from storehouse.app.sealing import make_accounts
from storehouse.config import Settings
from storehouse.core.jobs import InlineDisk
from storehouse.core.keys.vault import Vault
from storehouse.core.root import check_owner
from storehouse.errors import StartFailed
from storehouse.storage.accounts.interfaces import NewKey, Rights, TemporaryKey, User
from storehouse.storage.accounts.journal import ChangeJournal

if TYPE_CHECKING:
    from storehouse.storage.accounts.local import LocalAccounts

__all__ = ["JournaledAccounts", "check_accounts", "open_accounts"]


class JournaledAccounts:
    """
    The users of a root, as commands change them: each change goes to a journal, which the next service passes to its audit.
    See L{IAccounts<storehouse.storage.accounts.interfaces.IAccounts>}.
    """

    def __init__(self, accounts: LocalAccounts, journal: ChangeJournal) -> None:
        self._accounts = accounts
        self._journal = journal

    async def add_user(self, name: str, is_admin: bool = False) -> NewKey:
        with self._journal.change("add-user", name, "admin" if is_admin else "") as entry:
            key = await self._accounts.add_user(name, is_admin)
            entry.done = key.key_id
        return key

    async def list_users(self) -> list[User]:
        return await self._accounts.list_users()

    async def disable_user(self, name: str) -> User:
        with self._journal.change("disable", name):
            return await self._accounts.disable_user(name)

    async def enable_user(self, name: str) -> User:
        with self._journal.change("enable", name):
            return await self._accounts.enable_user(name)

    async def rotate_key(self, name: str) -> NewKey:
        with self._journal.change("rotate", name) as entry:
            key = await self._accounts.rotate_key(name)
            entry.done = key.key_id
        return key

    async def add_key(self, name: str, limits: Sequence[Rights] | None = None, note: str = "") -> NewKey:
        with self._journal.change("keys", name, "; ".join(map(str, limits or ()))) as entry:
            key = await self._accounts.add_key(name, limits, note)
            entry.done = key.key_id
        return key

    async def remove_key(self, name: str, key_id: str) -> User:
        with self._journal.change("remove-key", name, key_id):
            return await self._accounts.remove_key(name, key_id)

    async def grant(self, name: str, rights: Rights) -> User:
        with self._journal.change("grant", name, str(rights)):
            return await self._accounts.grant(name, rights)

    async def revoke(self, name: str, rights: Rights | None) -> User:
        with self._journal.change("revoke", name, "all" if rights is None else str(rights)):
            return await self._accounts.revoke(name, rights)

    async def make_sign_in_token(self, name: str, lifetime: float) -> str:
        with self._journal.change("sign-in", name):
            return await self._accounts.make_sign_in_token(name, lifetime)

    def sign_link(
        self,
        user: User,
        method: str,
        path: str,
        expires: float,
        max_bytes: int | None = None,
        once: bool = False,
        is_prefix: bool = False,
    ) -> str:
        with self._journal.change("links", user.name, f"{method} {path}"):
            return self._accounts.sign_link(user, method, path, expires, max_bytes, once, is_prefix)

    def sign_rights(
        self, user: User, rights: Rights, expires: float, max_bytes: int | None = None, once: bool = False
    ) -> str:
        with self._journal.change("links", user.name, str(rights)):
            return self._accounts.sign_rights(user, rights, expires, max_bytes, once)

    def issue_temporary(
        self,
        user: User,
        key_id: str,
        lifetime: float,
        name: str = "",
        rights: Sequence[Rights] | None = None,
        policy: str | None = None,
    ) -> TemporaryKey:
        with self._journal.change("session", user.name, name) as entry:
            key = self._accounts.issue_temporary(user, key_id, lifetime, name, rights, policy)
            entry.done = key.key_id
        return key

    async def read_url(self) -> str | None:
        return await self._accounts.read_url()


def check_accounts(settings: Settings) -> None:
    """@raise StartFailed: if there is no root, or nothing of users in it."""
    directory = os.path.join(os.path.abspath(settings.root), "accounts")
    if not os.path.isdir(directory):
        raise StartFailed(
            f"there are no users: {directory} is not a directory; start the service, or add a user with 'storehouse user add'"
        )


def open_accounts(settings: Settings, master: bytes | None, users_only: bool) -> JournaledAccounts:
    """
    Open them, and make the root if there is none. Nothing has to be closed, and nothing waits
    (L{run<storehouse.app.local.waiting.run>}).

    @param master: the master key; needed in an encrypted root, unless C{users_only}.
    @param users_only: whether nothing is done that needs their secret: users can be listed and disabled without.
    @raise WrongMasterKey: if it does not open the keyring.
    @raise StartFailed: if something cannot be read, or is damaged.
    """
    root = os.path.abspath(settings.root)
    check_owner(root)
    keyring = None
    if master is not None and not users_only:
        vault = Vault(os.path.join(root, "keyring.json"), "", master, False, str, follow=True)
        # Without a keyring there is nothing to open: the service makes it, and encrypts the secret then.
        if (data := vault.read()) is not None:
            keyring, _ = vault.open(data, master)
    accounts = make_accounts(settings, InlineDisk(), None if keyring is None else lambda: keyring)
    accounts.start(users_only)
    return JournaledAccounts(accounts, ChangeJournal(root, time.time))
