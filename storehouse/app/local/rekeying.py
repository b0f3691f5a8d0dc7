"""Another master key for a root on which no service runs, and other keys by which those of objects are wrapped."""

from __future__ import annotations

from collections.abc import Callable

from storehouse.app.local.waiting import run
from storehouse.app.sealing import make_pair, make_vault, make_wormer
from storehouse.config import Settings
from storehouse.core.disk import InlineDisk
from storehouse.core.keys.keyring import Derivation, Keyring, Protector
from storehouse.core.keys.vault import Vault
from storehouse.core.rootlock import RootLock
from storehouse.errors import InvalidSetting, StartFailed, WrongMasterKey
from storehouse.storage.dataspace.sealed_rekey import Rewrapped, count, rewrap

__all__ = ["Rewrapped", "rekey"]


def rekey(
    settings: Settings,
    master: bytes | None,
    new_master: bytes | None,
    on_total: Callable[[int], object],
    on_progress: Callable[[int], object],
    derivation: Derivation | None = None,
) -> Rewrapped:
    """
    Have the keyring opened by another master key, and wrap the keys of all objects and open uploads by a new key, which
    nobody had before. It may be ended at any moment: done again, it goes on.  The old key is dropped only when nothing
    needs it any more.

    @param master: the master key; or the new one, to go on.
    @param new_master: the new master key; C{None} to go on with one that was begun.
    @param on_total: told how many objects there are.
    @param on_progress: told how many more were looked at.
    @return: what was done. If anything is damaged the old key is kept.
    @raise RootInUse: if a service runs on the root.
    @raise WrongMasterKey: if neither master key opens the keyring.
    """
    lock = RootLock(settings.root)
    lock.acquire()
    try:
        make_pair(settings).verify()
        vault = make_vault(settings, master, follow=True)
        keyring, protector = _begin(vault, master, new_master, derivation)
        if not keyring.unfinished:
            return Rewrapped()
        space = make_wormer(settings, InlineDisk(), sealed=True)
        space.start()
        try:
            on_total(run(count(space)))
            done = run(rewrap(space, keyring, on_progress))
        finally:
            run(space.stop())
        if not done.damaged:
            vault.write(keyring.finished(plain=keyring.plain and done.plain > 0), protector)
        return done
    finally:
        lock.release()


def _begin(
    vault: Vault, master: bytes | None, new_master: bytes | None, derivation: Derivation | None
) -> tuple[Keyring, Protector]:
    """The keyring, with a new current key, under the new master key, on disk."""
    data = vault.read()
    if data is None:
        raise StartFailed(f"nothing is encrypted here: there is no {vault.path}")
    if master is None and new_master is None:
        raise WrongMasterKey("there is no master key: set masterkey in the environment, or use --master-key-file")
    try:
        keyring, protector = vault.open(data, master if master is not None else new_master or b"")
    except WrongMasterKey:
        if master is None or new_master is None:
            raise
        # Perhaps it was ended when the new master key had taken the place of the old one.
        return vault.open(data, new_master)
    if master is None or new_master is None:
        if keyring.unfinished:
            return keyring, protector
        raise InvalidSetting(
            "there is no new master key: set newmasterkey in the environment, or use --new-master-key-file"
        )
    if new_master == master:
        raise InvalidSetting("the new master key is the old one")
    keyring = keyring.begun()
    protector = Protector.make(new_master, derivation)
    vault.write(keyring, protector)
    return keyring, protector
