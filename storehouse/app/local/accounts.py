"""The users of a root, for commands where no service runs on it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from storehouse.app.sealing import make_accounts
from storehouse.config import Settings
from storehouse.core.disk import InlineDisk
from storehouse.core.keys.vault import Vault
from storehouse.core.root import check_owner
from storehouse.errors import StartFailed

if TYPE_CHECKING:
    from storehouse.storage.accounts.local import LocalAccounts

__all__ = ["check_accounts", "open_accounts"]


def check_accounts(settings: Settings) -> None:
    """@raise StartFailed: if there is no root, or nothing of users in it."""
    directory = os.path.join(os.path.abspath(settings.root), "accounts")
    if not os.path.isdir(directory):
        raise StartFailed(
            f"there are no users: {directory} is not a directory; start the service, or add a user with 'storehouse user add'"
        )


def open_accounts(settings: Settings, master: bytes | None, users_only: bool) -> LocalAccounts:
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
    return accounts
