"""The keyring of a root while it is worked on: read or made at start, replaced in one step."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from storehouse.core.checksummed import decode_checksummed, encode_checksummed
from storehouse.core.files import Files, open_stored, read_regular
from storehouse.core.keys.keyring import Derivation, Keyring, Protector, decode_keyring, encode_keyring
from storehouse.errors import InvalidSetting, StartFailed, WrongMasterKey

__all__ = ["Vault", "decode_marker", "encode_marker"]

# Bytes of the longest file that is read.
_MOST = 64 << 10

_HOW = "set masterkey in the environment, or the setting master-key-file"


def encode_marker(identity: str) -> bytes:
    """The marker beside the objects of a keyring of this L{Keyring.identity}."""
    return encode_checksummed({"format": "sealed", "version": 1, "keyring": identity}) + b"\n"


def decode_marker(data: bytes) -> str | None:
    """
    The identity that L{encode_marker} was given; C{None} if it is empty, as it was before it had any.

    @raise ValueError: if it is damaged.
    """
    if not data:
        return None
    fields: Any
    fields, checked = decode_checksummed(data.removesuffix(b"\n"))
    if not checked or fields.get("format") != "sealed" or not isinstance(fields.get("keyring"), str):
        raise ValueError("it does not name the keyring")
    identity: str = fields["keyring"]
    return identity


class Vault:
    """
    The keys of a root. To be started before what uses them, by a process that has the lock on the root.

    @param path: of the keyring file.
    @param marker: the path of a file beside the objects, which says which keyring there was: one that is lost is not
        replaced by another, nor is that of another root used.
    @param master: the master key; C{None} if there is none.
    @param seal_names: what the setting says.
    @param stored: names what already exists, in words for an error; empty if nothing is. Asked before a keyring is made.
    @param follow: for commands: go by what the keyring says of names, whatever the setting, and make no keyring.
    @param derivation: of the master key, for a new file.
    @param contradicts: whether what is stored is encrypted by keys that a keyring does not have, as far as it was looked
        at. Asked when the marker does not say which keyring it was.
    @ivar failed: C{None}: what can fail here fails at start.
    """

    _log = Logger()

    def __init__(
        self,
        path: str,
        marker: str,
        master: bytes | None,
        seal_names: bool,
        stored: Callable[[], str],
        follow: bool = False,
        files: Files | None = None,
        derivation: Derivation | None = None,
        before: Callable[[], object] = lambda: None,
        contradicts: Callable[[Keyring], bool] = lambda keyring: False,
    ) -> None:
        self._contradicts = contradicts
        self._before = before
        self.path = path
        self.failed = None
        self._marker = marker
        self._master = master
        self._seal_names = seal_names
        self._stored = stored
        self._follow = follow
        self._files = files or Files()
        self._derivation = derivation
        self._keyring: Keyring | None = None

    @property
    def is_open(self) -> bool:
        """Whether it was started with a master key."""
        return self._keyring is not None

    @property
    def keyring(self) -> Keyring:
        """The keys, once it was started with a master key."""
        if self._keyring is None:
            raise StartFailed("the keyring is not open")
        return self._keyring

    def start(self) -> None:
        """
        Open the keyring, or make the first one if there is a master key and nothing is stored yet.

        A keyring that was lost, or taken away, must not be replaced in silence: what was stored under it could not be read
        any more, and what somebody else has put there would be. So where something is stored only L{make} makes one,
        which C{storehouse keys init} asks for.

        @raise WrongMasterKey: if there is a keyring that the master key, or none, does not open. Nothing was changed.
        @raise StartFailed: if it is missing, cannot be read or written, is damaged, or does not fit the settings.
        """
        self._before()
        data = self.read()
        if data is None:
            self.check_not_lost()
        if self._master is None:
            if data is not None:
                raise WrongMasterKey(
                    f"what is stored is encrypted ({self.path} is there), and no master key is set: {_HOW}"
                )
            return
        if data is not None:
            keyring, _ = self.open(data, self._master)
            self._check_names(keyring)
            self._mark(keyring)
            self._keyring = keyring
            return
        if self._follow:
            raise StartFailed(
                f"a master key is set, but there is no keyring {self.path}: start the service on an empty root, or "
                "create one with 'storehouse keys init'"
            )
        if stored := self._stored():
            raise StartFailed(
                f"there is no keyring {self.path}, and {stored}. If this root was encrypted, put the keyring back "
                "from a "
                "copy; if it never was, 'storehouse keys init' makes one, and what already exists stays plain"
            )
        self.make(plain=False)

    def make(self, plain: bool) -> None:
        """
        Make the first keyring of a root, and open it. It is on disk when this returns.

        @param plain: whether there may be objects that are not encrypted.
        @raise StartFailed: if that cannot be done.
        """
        if self._master is None:
            raise InvalidSetting(f"a keyring needs a master key: {_HOW}")
        keyring = Keyring.make(self._seal_names, plain)
        self.write(keyring, Protector.make(self._master, self._derivation))
        self._mark(keyring)
        self._keyring = keyring
        # At a level that is seen: if this was not expected, something was removed.
        self._log.warn(
            "created a keyring, {path}: back it up, and keep the master key elsewhere; without both nothing can be "
            "read",
            path=self.path,
        )

    def check_not_lost(self) -> None:
        """@raise StartFailed: if there was a keyring, by the marker beside the objects. For when there is none."""
        if os.path.lexists(self._marker):
            raise StartFailed(
                f"the keyring {self.path} is missing, and what is stored is encrypted ({self._marker} exists): "
                "restore it from a copy"
            )

    def _mark(self, keyring: Keyring) -> None:
        """See that the marker names this keyring; one that names none, as those from before, gets its name."""
        was_there = os.path.lexists(self._marker)
        named = self._marked() if was_there else None
        if named == keyring.identity:
            return
        if named is not None or self._contradicts(keyring):
            raise StartFailed(
                f"the keyring {self.path} belongs to another store: the objects in {os.path.dirname(self._marker)} "
                "were encrypted with another one, with the same master key; restore that one from a copy"
            )
        if was_there and (os.path.islink(self._marker) or not os.path.isfile(self._marker)):
            return  # not of our making
        try:
            directory = os.path.dirname(self._marker)
            self._files.make_directory(directory)
            # In its place: whatever is left of it by a crash is a marker.
            fd = self._files.open(self._marker, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                self._files.write_at(fd, (encode_marker(keyring.identity),), 0)
                self._files.sync_data(fd)
            finally:
                self._files.close(fd)
            self._files.sync_directory(directory)
        except OSError as error:
            if not was_there:
                raise StartFailed(f"{self._marker} cannot be created: {error.strerror or error}") from None
            self._log.warn("{path} cannot be written: {error}", path=self._marker, error=error.strerror or str(error))

    def _marked(self) -> str | None:
        """Which keyring the marker names; C{None} if it names none, or is damaged."""
        try:
            return decode_marker(read_regular(self._marker, _MOST))
        except (OSError, ValueError):
            return None

    def stop(self) -> Deferred[None]:
        self._keyring = None
        return succeed(None)

    def _check_names(self, keyring: Keyring) -> None:
        if self._follow or self._seal_names == keyring.seal_names:
            return
        if self._seal_names:
            raise InvalidSetting("seal-names cannot be set: this root was created without it, and its names are plain")
        raise InvalidSetting("seal-names must be set: this root was created with it, and its names are encrypted")

    # -- another master key --------------------------------------------------------------------

    def begin_rekey(self, new_master: bytes | None, derivation: Derivation | None = None) -> tuple[Keyring, Protector]:
        """
        Have the keyring opened by another master key, and give it a new current key: on disk when this returns. This vault
        continues with the keys that it has until L{adopt}.

        @param new_master: C{None} to continue a rekey that was begun.
        @raise WrongMasterKey: if there is no master key, or neither opens the keyring.
        @raise InvalidSetting: if the new master key is missing, or is the old one.
        @raise StartFailed: if there is no keyring, or it cannot be read or written.
        """
        master, data = self._master, self.read()
        if data is None:
            raise StartFailed(f"nothing is encrypted here: there is no {self.path}")
        if master is None and new_master is None:
            raise WrongMasterKey("no master key: set masterkey in the environment, or use --master-key-file")
        try:
            keyring, protector = self.open(data, master if master is not None else new_master or b"")
        except WrongMasterKey:
            if master is None or new_master is None:
                raise
            # Perhaps it was ended when the new master key had taken the place of the old one.
            return self.open(data, new_master)
        if keyring.unfinished and (master is None or new_master in (None, master)):
            return keyring, protector
        if master is None or new_master is None:
            raise InvalidSetting("no new master key: set newmasterkey in the environment, or use --new-master-key-file")
        if new_master == master:
            raise InvalidSetting("the new master key is the same as the old one")
        keyring = keyring.begun()
        protector = Protector.make(new_master, derivation)
        self.write(keyring, protector)
        return keyring, protector

    def adopt(self, keyring: Keyring, master: bytes | None) -> None:
        """
        Use these keys, which are on disk, from now on. @param master: opens them; C{None} if it is the one from before.
        """
        self._keyring = keyring
        if master is not None:
            self._master = master

    # -- the file ------------------------------------------------------------------------------

    def read(self) -> bytes | None:
        """
        The file as it is; C{None} if there is none.

        @raise StartFailed: if it cannot be read.
        """
        try:
            with open_stored(self.path, follow=True) as file:
                return file.read(_MOST)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StartFailed(f"the keyring {self.path} cannot be read: {error.strerror or error}") from None

    def open(self, data: bytes, master: bytes) -> tuple[Keyring, Protector]:
        """
        The keys that are in a file.

        @raise WrongMasterKey: if the master key is another one.
        @raise StartFailed: if it is damaged.
        """
        try:
            return decode_keyring(data, master)
        except WrongMasterKey:
            raise WrongMasterKey(f"the master key does not open {self.path}: it is not the one of this root") from None
        except ValueError as error:
            raise StartFailed(f"the keyring {self.path} cannot be used: {error}") from None

    def write(self, keyring: Keyring, protector: Protector) -> None:
        """
        Put a file into its place, in one step; it is on disk when this returns.

        @raise StartFailed: if that cannot be done.
        """
        new = f"{self.path}.new"
        try:
            # Others may not read it: not even for a moment.
            fd = self._files.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                self._files.write_at(fd, (encode_keyring(keyring, protector),), 0)
                self._files.sync_data(fd)
            finally:
                self._files.close(fd)
            self._files.rename(new, self.path)
            self._files.sync_directory(os.path.dirname(self.path))
        except OSError as error:
            raise StartFailed(f"the keyring {self.path} cannot be written: {error.strerror or error}") from None
