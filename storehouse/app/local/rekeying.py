"""Another master key for a root on which no service runs, and other keys by which those of objects are wrapped."""

from __future__ import annotations

from collections.abc import Callable

from storehouse.app.local.waiting import run
from storehouse.app.sealing import make_pair, make_vault, make_wormer
from storehouse.config import Settings
from storehouse.core.disk import InlineDisk
from storehouse.core.keys.keyring import Derivation
from storehouse.core.rootlock import RootLock
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
        keyring, protector = vault.begin_rekey(new_master, derivation)
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
