"""
Accounts in files, in C{ROOT/accounts}::

    users.json    users and sign-in tokens (L{storehouse.storage.accounts.users})
    secret.key    the secret that all keys are derived from (L{storehouse.storage.accounts.keys})
    spent.log     used links and ended sessions (L{storehouse.storage.accounts.spent})
    url           the URL of the door, for commands that make links
    lock          held by the process that changes one of them; its content means nothing

Source: docs/accounts.rst.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from storehouse.config.settings import HTTPSSettings
from storehouse.core.disk import IDisk
from storehouse.core.files import Files
from storehouse.core.jobs import whole
from storehouse.core.streams import deferred
from storehouse.errors import Damaged, NoSpace, StartFailed, StorageFailed
from storehouse.storage.accounts.accounts import Accounts
from storehouse.storage.accounts.directory import AccountsDirectory
from storehouse.storage.accounts.keys import Keys, KeyWrap, load_keys
from storehouse.storage.accounts.spent import SpentLog
from storehouse.storage.accounts.users import Users

__all__ = ["ADMINISTRATOR", "LocalAccounts", "show_sign_in_link"]

#: The name of the user that the first start creates.
ADMINISTRATOR = "admin"

#: Seconds for which the sign-in link that a start shows can be used.
SIGN_IN_LIFETIME = 3600.0

_USERS = "users.json"
_SPENT = "spent.log"
_URL = "url"

_MAX_URL = 4096

#: Device, inode, modification time and size: differ when the file was replaced.
_FileState = tuple[int, int, int, int]


class LocalAccounts(Accounts):
    """
    L{IAccounts<storehouse.storage.accounts.interfaces.IAccounts>} in a directory. A service and any number of commands
    can have it open at the same time.

    @param wrap: seals the secret under the store's master key; C{None} if there is none.
    """

    _log = Logger()

    def __init__(
        self,
        directory: str,
        disk: IDisk,
        settings: HTTPSSettings | None = None,
        wrap: KeyWrap | None = None,
        files: Files | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        Accounts.__init__(self, settings, clock)
        self._directory = AccountsDirectory(os.path.abspath(directory), Files() if files is None else files)
        self._disk = disk
        self._wrap = wrap
        self._derived: Keys | None = None
        self._current = Users()
        self._seen: _FileState | None = None
        self._spent = SpentLog(self._directory, _SPENT)

    @property
    def failed(self) -> Exception | None:
        """Always C{None}: a change that fails leaves the files as they were."""
        return None

    def start(self, users_only: bool = False) -> None:
        """
        Create the directory and the secret if they are missing, and read everything. Blocks.

        @param users_only: do not read the secret, so that users can be listed and disabled without the master key.
            Keys, sessions and links can then be neither made nor checked.
        @raise StartFailed: if something is damaged, or cannot be read or created.
        """
        self._directory.create()
        try:
            with self._directory.locked():
                self._seen, self._current = self._file_state(), self._read()
                if not users_only:
                    self._derived = load_keys(self._directory, self._wrap, may_create=not self._current.by_name)
                    self._spent.load()
        except (Damaged, NoSpace, StorageFailed) as error:
            raise StartFailed(error.detail) from None

    def stop(self) -> Deferred[None]:
        """Nothing to close: files are open only during a change."""
        return succeed(None)

    # -- users.json ----------------------------------------------------------------------------------------------------

    def _users(self) -> Users:
        state = self._file_state()
        if state != self._seen:
            # Replaced by another process; or by this one, and then it holds what is known already.
            self._seen = state
            try:
                self._current = self._read()
            except (Damaged, OSError) as error:
                # Users who are signed in can go on; nothing is changed until the file is restored, since a change
                # reads it.
                self._log.error("users stay as they were: {reason}", reason=str(error))
        return self._current

    def _file_state(self) -> _FileState | None:
        try:
            stat = os.stat(self._directory.file(_USERS))
        except OSError:
            return None
        return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size

    def _read(self) -> Users:
        data = self._directory.read(_USERS)
        path = self._directory.file(_USERS)
        if data is None:
            if self._current.sequence:
                raise Damaged(f"{path} is gone: restore it from a backup")
            return Users()
        try:
            return Users.decode(data)
        except Damaged as error:
            raise Damaged(f"{path} is damaged: {error}; restore it from a backup") from None

    async def _change(self, step: Callable[[Users], Users]) -> Users:
        users = await whole(self._disk, self._apply, step)
        # Of two changes in threads, the later one may have come back first.
        if users.sequence > self._current.sequence:
            self._current = users
        return users

    def _apply(self, step: Callable[[Users], Users]) -> Users:
        with self._directory.locked():
            before = self._read()
            after = step(before)
            if after is not before:
                self._directory.replace(_USERS, after.encode())
            return after

    # -- secret.key and spent.log --------------------------------------------------------------------------------------

    def _keys(self) -> Keys:
        if self._derived is None:
            raise RuntimeError("the accounts were started without their secret")
        return self._derived

    def _is_spent(self, kind: str, id: str) -> bool:
        return f"{kind} {id}" in self._spent

    async def _spend(self, kind: str, id: str, expires: float, user: str) -> bool:
        def spend() -> bool:
            with self._directory.locked():
                return self._spent.add(f"{kind} {id}", expires, self._clock(), user)

        return await whole(self._disk, spend)

    # -- the first start -----------------------------------------------------------------------------------------------

    @deferred
    async def ensure_administrator(self) -> str | None:
        """
        Create an administrator if there are no users; its access key is shown to no one.

        @return: fires with the name of an administrator who needs a sign-in link, if no administrator was ever given an
            access key or has used such a link; with C{None} otherwise.
        """
        if not self._users().by_name:
            await self._add_user(ADMINISTRATOR, is_admin=True, is_claimed=False)
        admins = [account for account in self._users().by_name.values() if account.user.is_admin]
        if not admins or any(account.is_claimed for account in admins):
            return None
        return min(account.user.name for account in admins)

    @deferred
    async def write_url(self, url: str) -> None:
        def write() -> None:
            with self._directory.locked():
                if self._directory.read(_URL) != f"{url}\n".encode():
                    self._directory.replace(_URL, f"{url}\n".encode())

        await whole(self._disk, write)

    @deferred
    async def read_url(self) -> str | None:
        data = await whole(self._disk, self._directory.read, _URL)
        return None if data is None else data[:_MAX_URL].decode("utf-8", "replace").strip() or None


async def show_sign_in_link(
    accounts: LocalAccounts, base_url: str, stream: TextIO | None = None, log: Logger = LocalAccounts._log
) -> None:
    """
    If no administrator has signed in yet, make a sign-in link and show it on the terminal.

    The link is a secret, and goes to a terminal only, never to a log. Without a terminal, the log says how to get one.

    @param base_url: of the door, without a slash at its end.
    @param stream: the terminal; by default the standard error of the process.
    """
    name = await accounts.ensure_administrator()
    if name is None:
        return
    # Not sys.stderr, which twistd redirects to its log.
    stream = sys.__stderr__ if stream is None else stream
    if stream is None or not _is_terminal(stream):
        log.info("no administrator has signed in yet: 'storehouse user sign-in {name}' gives a link", name=name)
        return
    token = await accounts.make_sign_in_token(name, SIGN_IN_LIFETIME)
    stream.write(f"sign in once at {base_url}/sign-in/{token}\n(as {name}, within an hour)\n")
    stream.flush()


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed, as in a process in the background
        return False
