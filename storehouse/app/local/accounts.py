"""The users of a root, for commands: beside a running service, or without one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from storehouse.app.local.waiting import run
from storehouse.config import Settings
from storehouse.core.disk import InlineDisk
from storehouse.core.keys.vault import Vault
from storehouse.core.linkpaths import link_path
from storehouse.core.rootlock import check_owner
from storehouse.errors import Forbidden, InvalidName, StartFailed
from storehouse.storage.accounts.accounts import AccountSettings
from storehouse.storage.accounts.interfaces import NewKey, User
from storehouse.storage.accounts.keys import KeyringWrap
from storehouse.storage.accounts.local import LocalAccounts

__all__ = ["LocalUsers", "NewKey", "User"]

#: Where the door of uploads is when nobody has said so.
DEFAULT_URL = "https://localhost:6445"


class LocalUsers:
    """
    The users of a root. Every method waits, and raises L{StorehouseError<storehouse.errors.StorehouseError>}s.

    @param may_make: make the root if there is none.
    @param master: the master key, if there is one. It is looked at when the secret of the root is needed: users can be
        listed and disabled without.
    @raise StartFailed: if there is no root, or nothing of users in it, and none may be made.
    """

    def __init__(
        self,
        settings: Settings,
        may_make: bool = False,
        master: bytes | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        root = os.path.abspath(settings.root)
        check_owner(root)
        self._directory = os.path.join(root, "accounts")
        self._keyring = os.path.join(root, "keyring.json")
        self._settings = AccountSettings(settings.https.session_lifetime, settings.https.link_lifetime)
        self._master = master
        self._clock = clock
        if not may_make and not os.path.isdir(self._directory):
            raise StartFailed(
                f"there are no users: {self._directory} is not a directory; start the service, or add a user with 'storehouse user add'"
            )

    def add(self, name: str, is_admin: bool) -> NewKey:
        """Add a user."""
        return run(self._open().add_user(name, is_admin))

    def list(self) -> list[User]:
        """All, by name."""
        return run(self._open(users_only=True).list_users())

    def disable(self, name: str) -> User:
        """Allow a user nothing any more."""
        return run(self._open(users_only=True).disable_user(name))

    def enable(self, name: str) -> User:
        """Undo that."""
        return run(self._open(users_only=True).enable_user(name))

    def rotate(self, name: str) -> NewKey:
        """Another access key for a user."""
        return run(self._open().rotate_key(name))

    def sign_in_url(self, name: str, lifetime: float, url: str | None) -> str:
        """A URL that signs a user in once. @param url: of the door; C{None} for what a service has said."""
        accounts = self._open(users_only=True)
        token = run(accounts.make_sign_in_token(name, lifetime))
        return f"{_base(accounts, url)}/sign-in/{token}"

    def sign(
        self,
        method: str,
        name: str,
        lifetime: float,
        max_bytes: int | None,
        once: bool,
        is_prefix: bool,
        user: str | None,
        url: str | None,
    ) -> str:
        """
        A signed link.

        @param lifetime: seconds from now.
        @param user: who signs; C{None} for the first administrator.
        @param url: as for L{sign_in_url}.
        """
        accounts = self._open()
        users = run(accounts.list_users())
        signers = [
            each for each in users if (each.is_admin and not each.is_disabled if user is None else each.name == user)
        ]
        if not signers:
            raise Forbidden(
                "there is no administrator that could sign: name a user with --as"
                if user is None
                else f"there is no user {user!r}"
            )
        try:
            path = link_path(method, name, is_prefix)
        except UnicodeEncodeError:
            raise InvalidName(f"the name {name!r} is not Unicode text") from None
        signer = min(signers, key=lambda each: each.created)
        query = accounts.sign_link(signer, method, path, self._clock() + lifetime, max_bytes, once, is_prefix)
        return f"{_base(accounts, url)}{path}?{query}"

    def _open(self, users_only: bool = False) -> LocalAccounts:
        wrap = None if users_only else self._wrap()
        accounts = LocalAccounts(self._directory, InlineDisk(), self._settings, wrap, clock=self._clock)
        accounts.start(users_only)
        return accounts

    def _wrap(self) -> KeyringWrap | None:
        """What opens a secret that is sealed. Without a keyring there is none: the service makes it, and seals then."""
        if self._master is None:
            return None
        vault = Vault(self._keyring, "", self._master, False, str, follow=True)
        data = vault.read()
        if data is None:
            return None
        keyring, _ = vault.open(data, self._master)
        return KeyringWrap(lambda: keyring)


def _base(accounts: LocalAccounts, url: str | None) -> str:
    return (url or run(accounts.read_url()) or DEFAULT_URL).rstrip("/")
