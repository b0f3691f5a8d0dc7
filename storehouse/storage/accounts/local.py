"""
Accounts in files, in C{ROOT/accounts}::

    users.json    users and sign-in tokens (L{Users<storehouse.storage.accounts.accounts.Users>})
    secret.key    the secret that all keys are derived from
    spent.log     used links that work once, and sessions that were ended early, until they expire
    url           the URL of the door, for commands that make links
    lock          held by the process that changes one of them; its content means nothing

C{secret.key} is one JSON object with a checksum (L{storehouse.core.checksummed}); C{secret} is the 32 bytes, with
C{is_wrapped} encrypted by a key of the keyring::

    {"format":"storehouse secret","version":1,"is_wrapped":false,"secret":"BASE64","checksum":"..."}

C{spent.log} has such an object a line. C{id} is C{link} and the nonce of a link, or C{session} and the ID of a session;
C{by} is the user who signed the link, or the owner of the session; lines of earlier versions do not have it::

    {"id":"link 685444a9a8ffd2f825fc64989cc5b28b","until":1790000060,"by":"ann","checksum":"..."}

A line is on disk before the request that needs it continues. A last line that a crash has cut is dropped; damage elsewhere
keeps the service from starting, since a used link could become valid again. Expired lines are removed when they outnumber the
others.

Source: docs/accounts.rst.
"""

from __future__ import annotations

import os
import sys
import time
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from storehouse.config.settings import HTTPSSettings
from storehouse.core.checksummed import decode_checksummed, encode_checksummed
from storehouse.core.files import NO_SPACE, Files, open_stored, read_exactly
from storehouse.core.jobs import IDisk, deferred, whole
from storehouse.core.platform import optional_module
from storehouse.errors import (
    Damaged,
    NoSpace,
    ShareUsedUp,
    StartFailed,
    StorageFailed,
    StoreUnusable,
    Unavailable,
    WrongMasterKey,
)
from storehouse.storage.accounts.accounts import SECRET_SIZE, Accounts, Keys, Users
from storehouse.storage.sealed.interfaces import ICipher

__all__ = [
    "ADMINISTRATOR",
    "AccountsDirectory",
    "LocalAccounts",
    "SpentLog",
    "needs_master_key",
    "show_first_key",
    "show_sign_in_link",
]

#: The name of the user that the first start creates.
ADMINISTRATOR = "admin"

#: Seconds for which the sign-in link that a start shows can be used.
SIGN_IN_LIFETIME = 3600.0

_USERS = "users.json"
_SECRET = "secret.key"
_SPENT = "spent.log"
_URL = "url"

_MAX_URL = 4096

#: Device, inode, modification time and size: differ when the file was replaced.
_FileState = tuple[int, int, int, int]

#: Seconds to wait for another process to finish its change, and between two tries.
_LOCK_TIMEOUT = 10.0
_LOCK_RETRY = 0.01

#: Seconds for which an entry is kept after it has expired, in case the clock is set back.
_SLACK = 3600

#: A file of up to this many lines is never rewritten.
_SMALL = 1000

# Of secret.key.
_FORMAT = "storehouse secret"
_VERSION = 1

# The file has some 200 bytes; no more than this is read before its format is checked.
_MAX_FILE = 4096

# What is authenticated with the encrypted secret.
_ABOUT = "storehouse accounts 1: secret.key"


class AccountsDirectory:
    """
    A directory of mode 0700 with files of mode 0600. A service and commands change them, one process at a time. Methods
    block, and may be called in any thread.

    When root runs a command, the files it creates get the owner of the directory: otherwise a service that runs as
    another user could not read them any more.
    """

    def __init__(self, path: str, files: Files) -> None:
        self.path = path
        self.files = files

    def file(self, name: str) -> str:
        """The path of a file."""
        return os.path.join(self.path, name)

    def create(self) -> None:
        """Create the directory if it is missing. @raise StartFailed: if that is not possible."""
        is_new = not os.path.isdir(self.path)
        try:
            self.files.make_directory(self.path)
            if is_new and os.geteuid() == 0:
                parent = os.stat(os.path.dirname(self.path))
                os.chown(self.path, parent.st_uid, parent.st_gid)
        except OSError as error:
            raise StartFailed(
                f"the accounts directory {self.path} cannot be created: {error.strerror or error}"
            ) from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """
        Exclude other threads and processes.

        @raise Unavailable: if another process holds the lock for 10 seconds.
        @raise NoSpace: if the block fails because the disk is full.
        @raise StorageFailed: if the block fails with another C{OSError}.
        """
        try:
            fd = self.files.open(self.file("lock"), os.O_RDWR | os.O_CREAT)
            try:
                self._give_to_owner(fd)
                self._lock(fd)
                yield
            finally:
                self.files.close(fd)
        except OSError as error:
            what = f"{error.filename or self.path}: {error.strerror or error}"
            if error.errno in NO_SPACE:
                raise NoSpace(f"the accounts cannot be changed: {what}") from None
            raise StorageFailed(f"the accounts cannot be changed: {what}") from None

    def _lock(self, fd: int) -> None:
        fcntl = optional_module("fcntl")
        if fcntl is None:
            return
        end = time.monotonic() + _LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Unavailable(f"another process is changing the accounts in {self.path}") from None
                time.sleep(_LOCK_RETRY)

    def read(self, name: str) -> bytes | None:
        """The content of a file; C{None} if it does not exist."""
        try:
            with open_stored(self.file(name)) as file:
                return file.readall()
        except FileNotFoundError:
            return None

    def replace(self, name: str, data: bytes) -> None:
        """Replace a file as a whole, or create it. Durable when it returns. Only while L{locked}."""
        new = self.file(name + ".new")
        fd = self.files.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            self._give_to_owner(fd)
            self.files.write_at(fd, (data,), 0)
            self.files.sync_data(fd)
        finally:
            self.files.close(fd)
        self.files.rename(new, self.file(name))
        self.files.sync_directory(self.path)

    def open_log(self, name: str) -> int:
        """Open a file to append to, or create it; its name is durable. Only while L{locked}."""
        is_new = not os.path.lexists(self.file(name))
        fd = self.files.open(self.file(name), os.O_RDWR | os.O_CREAT)
        if is_new:
            try:
                self._give_to_owner(fd)
                self.files.sync_directory(self.path)
            except BaseException:
                self.files.close(fd)
                raise
        return fd

    def _give_to_owner(self, fd: int) -> None:
        if os.geteuid() == 0:
            owner = os.stat(self.path)
            os.fchown(fd, owner.st_uid, owner.st_gid)


class SpentLog:
    """
    A set of IDs with their expiry, on disk.

    L{add} blocks, and may be called in any thread while the directory is locked; C{in} looks in memory only.

    @param limit: entries of each kind and each user. The limit is for each of them apart, so that no user can keep the
        links of others from being used, or their sessions from being ended. The kind is the first word of an ID.
    """

    def __init__(self, directory: AccountsDirectory, name: str, limit: int = 20_000) -> None:
        self._directory = directory
        self._name = name
        self._limit = limit
        # ID: (expiry, user)
        self._entries: dict[str, tuple[float, str]] = {}
        # (kind, user): entries
        self._counts: Counter[tuple[str, str]] = Counter()
        # The file is rewritten without expired lines when it has this many.
        self._max_lines = _SMALL
        self._lines = 0
        # The device and inode of the file that was read, and the end of its last whole line.
        self._file: tuple[int, int] | None = None
        self._end = 0

    def __contains__(self, id: str) -> bool:
        return id in self._entries

    def load(self) -> None:
        """
        Read the file. Only while L{AccountsDirectory.locked}.

        @raise StoreUnusable: if it is damaged.
        """
        fd = self._directory.open_log(self._name)
        try:
            self._read(fd)
        finally:
            self._directory.files.close(fd)

    def add(self, id: str, until: float, now: float, by: str = "") -> bool:
        """
        Add an ID; durable when it returns. Only while L{AccountsDirectory.locked}.

        @param by: the user who signed the link, or owned the session.
        @return: C{False} if it was there already.
        @raise ShareUsedUp: if there are too many of that kind and user.
        """
        fd = self._directory.open_log(self._name)
        try:
            stat = os.fstat(fd)
            if (stat.st_dev, stat.st_ino) != self._file or stat.st_size != self._end:
                # Another process has added lines, or a write of this one has failed.
                self._read(fd)
                self._directory.files.truncate(fd, self._end)
            if id in self._entries:
                return False
            line = _encode_spent(id, until, by)
            share = _kind_of(id), by
            is_full = self._counts[share] >= self._limit
            if is_full and not self._has_expired(share, now):
                # Refused before anything is written: the request may come again and again.
                raise ShareUsedUp(
                    f"{self._limit} {share[0]}s of {by or 'one user'} are recorded as used or ended already:"
                    " try again when some of them have expired"
                )
            if self._lines >= self._max_lines or is_full:
                self._compact(now)
                return self.add(id, until, now, by)
            self._directory.files.write_synced(fd, line, self._end)
            self._end += len(line)
            self._lines += 1
            self._entries[id] = until, by
            self._counts[share] += 1
            return True
        finally:
            self._directory.files.close(fd)

    def _has_expired(self, share: tuple[str, str], now: float) -> bool:
        return any(
            until + _SLACK <= now
            for id, (until, by) in self._entries.items()
            if by == share[1] and _kind_of(id) == share[0]
        )

    def _read(self, fd: int) -> None:
        stat = os.fstat(fd)
        data = read_exactly(fd, stat.st_size, 0)
        *lines, _torn = data.split(b"\n")
        entries: dict[str, tuple[float, str]] = {}
        end = 0
        damaged: int | None = None
        for number, line in enumerate(lines, start=1):
            try:
                fields: Any
                fields, is_checked = decode_checksummed(line)
                if not is_checked:
                    raise ValueError("it has no checksum")
                if damaged is not None:
                    raise StoreUnusable(
                        f"line {damaged} of {self._directory.file(self._name)} is damaged: the file says which links "
                        "and sessions"
                        " must not be used again. Without it all of them can be, until they expire"
                    )
                entries[fields["id"]] = fields["until"], fields.get("by", "")
                end += len(line) + 1
            except (ValueError, KeyError, TypeError):
                # Damage only if a whole line follows; otherwise it is what a power cut has left of the last lines.
                damaged = damaged or number
        self._entries, self._lines, self._max_lines = entries, len(entries), _SMALL
        self._file, self._end = (stat.st_dev, stat.st_ino), end
        self._count_entries()

    def _compact(self, now: float) -> None:
        """Rewrite the file without expired lines."""
        self._entries = {id: (until, by) for id, (until, by) in self._entries.items() if until + _SLACK > now}
        data = b"".join(_encode_spent(id, until, by) for id, (until, by) in self._entries.items())
        self._directory.replace(self._name, data)
        stat = os.stat(self._directory.file(self._name))
        self._file, self._end, self._lines = (stat.st_dev, stat.st_ino), len(data), len(self._entries)
        # Twice what is left, so that each line is rewritten once on average, not with each line that is added.
        self._max_lines = max(_SMALL, 2 * self._lines)
        self._count_entries()

    def _count_entries(self) -> None:
        self._counts = Counter((_kind_of(id), by) for id, (_, by) in self._entries.items())


def _kind_of(id: str) -> str:
    return id.partition(" ")[0]


def _encode_spent(id: str, until: float, by: str) -> bytes:
    return encode_checksummed({"id": id, "until": until, **({"by": by} if by else {})}) + b"\n"


def needs_master_key(directory: str) -> bool:
    """
    Whether the accounts in a directory have a secret that is encrypted. C{False} if it is damaged, which L{load_keys} reports.
    """
    try:
        with open(os.path.join(directory, _SECRET), "rb") as file:
            return _decode_secret(file.read(_MAX_FILE))[1]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def load_keys(directory: AccountsDirectory, cipher: ICipher | None, may_create: bool) -> Keys:
    """
    Read the secret and derive the keys. With a cipher, a secret that was stored plain is encrypted now. Only while
    L{AccountsDirectory.locked}.

    @param may_create: create the secret if it is missing. Not where there are users already, whose access keys were
        encrypted with a secret that is lost.
    @raise StoreUnusable: if it is missing and C{may_create} is false, or is damaged.
    @raise WrongMasterKey: if it is encrypted by another key, or is encrypted and there is no cipher.
    """
    path = directory.file(_SECRET)
    data = directory.read(_SECRET)
    if data is None:
        if not may_create:
            raise StoreUnusable(
                f"{path} is missing: without it no access key, session or link of this root can be checked. Restore "
                "it from"
                " a backup; or remove the directory, and add all users again"
            )
        secret = os.urandom(SECRET_SIZE)
        directory.replace(_SECRET, _encode_secret(secret, cipher))
        return Keys(secret)
    try:
        secret, is_wrapped = _decode_secret(data)
    except (ValueError, KeyError, TypeError) as problem:
        raise StoreUnusable(f"{path} is damaged: {problem}; restore it from a backup") from None
    if is_wrapped:
        if cipher is None:
            raise WrongMasterKey(
                f"{path} is encrypted: give the master key with the environment variable masterkey, or with "
                "master-key-file"
            )
        try:
            secret = cipher.decrypt(_ABOUT, secret)
        except ValueError:
            raise WrongMasterKey(f"{path} is encrypted by a key of another keyring than this root's") from None
    elif cipher is not None:
        directory.replace(_SECRET, _encode_secret(secret, cipher))
    if len(secret) != SECRET_SIZE:
        raise StoreUnusable(f"{path} is damaged: its secret does not have {SECRET_SIZE} bytes")
    return Keys(secret)


def _encode_secret(secret: bytes, cipher: ICipher | None) -> bytes:
    stored = secret if cipher is None else cipher.encrypt(_ABOUT, secret)
    fields = {"format": _FORMAT, "version": _VERSION, "is_wrapped": cipher is not None}
    return encode_checksummed({**fields, "secret": b64encode(stored).decode("ascii")}) + b"\n"


def _decode_secret(data: bytes) -> tuple[bytes, bool]:
    """@return: the secret as it is stored, and whether it is encrypted."""
    fields: Any
    fields, is_checked = decode_checksummed(data.removesuffix(b"\n"))
    if not is_checked or fields["format"] != _FORMAT:
        raise ValueError("it is not a secret with a checksum")
    if fields["version"] != _VERSION:
        raise ValueError(f"its version {fields['version']} is unknown here")
    return b64decode(fields["secret"], validate=True), bool(fields["is_wrapped"])


class LocalAccounts(Accounts):
    """
    L{IAccounts<storehouse.storage.accounts.interfaces.IAccounts>} in a directory. A service and any number of commands
    can have it open at the same time.

    @param cipher: encrypts the secret; C{None} if there is no master key.
    """

    _log = Logger()

    def __init__(
        self,
        directory: str,
        disk: IDisk,
        settings: HTTPSSettings | None = None,
        cipher: ICipher | None = None,
        files: Files | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        Accounts.__init__(self, settings, clock)
        self._directory = AccountsDirectory(os.path.abspath(directory), Files() if files is None else files)
        self._disk = disk
        self._cipher = cipher
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
                    self._derived = load_keys(self._directory, self._cipher, may_create=not self._current.by_name)
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
            # Replaced by another process; or by this one, and then it holds the users in memory.
            self._seen = state
            try:
                self._current = self._read()
            except (Damaged, OSError) as error:
                # Users who are signed in stay so; nothing is changed until the file is restored, since a change
                # reads it.
                self._log.error("users are unchanged: {reason}", reason=str(error))
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


async def show_first_key(
    accounts: LocalAccounts, command: str, stream: TextIO | None = None, log: Logger = LocalAccounts._log
) -> None:
    """
    If no administrator has an access key yet, make one and show it on the terminal, as part of a line that can be tried. It
    is a secret, too: see L{show_sign_in_link}.

    @param command: what to try with the key.
    @param stream: the terminal; by default the standard error of the process.
    """
    name = await accounts.ensure_administrator()
    if name is None:
        return
    stream = sys.__stderr__ if stream is None else stream
    if stream is None or not _is_terminal(stream):
        log.info("nobody has an access key yet: 'storehouse user rotate {name}' gives one", name=name)
        return
    key = await accounts.add_key(name, note="shown at the first start")
    stream.write(f"try: AWS_ACCESS_KEY_ID={key.key_id} AWS_SECRET_ACCESS_KEY={key.secret} {command}\n")
    stream.write(f"(the access key of {name}, which is shown only once)\n")
    stream.flush()


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed, as in a process in the background
        return False
