"""The keyring of a root on which no service runs: the first one, and another master key for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import attrs

from storehouse.app.local.waiting import run
from storehouse.app.sealing import make_stamps, make_vault, make_wormer
from storehouse.config import Settings
from storehouse.core.jobs import InlineDisk
from storehouse.core.keys.keyring import Derivation
from storehouse.core.root import RootLock
from storehouse.errors import Damaged, InvalidSetting, NoSuchObject, NoSuchUpload, StartFailed
from storehouse.storage.sealed.formats import is_sealed
from storehouse.storage.sealed.rekey import Rewrapped, count, rewrap

__all__ = ["Made", "Rewrapped", "init_keys", "rekey"]


@attrs.frozen
class Made:
    """
    What L{init_keys} has made.

    @ivar path: of the keyring.
    @ivar plain: objects and open uploads from before, which are not encrypted.
    """

    path: str
    plain: int


def init_keys(
    settings: Settings,
    master: bytes | None,
    on_total: Callable[[int], object] = lambda total: None,
    on_progress: Callable[[int], object] = lambda more: None,
) -> Made:
    """
    Make the keyring of a root that has none, whatever is stored there in plain. It is on disk when this returns. What
    is stored stays plain until it is rewritten.

    @param on_total: called with the number of objects, all of which are looked at.
    @param on_progress: called with the number of objects that were looked at since the last call.
    @raise InvalidSetting: if there is no master key, or C{seal-names} is set and there are objects or buckets.
    @raise StartFailed: if there is a keyring, or something is encrypted by one that is missing.
    @raise RootInUse: if a service runs on the root.
    """
    vault = make_vault(settings, master, follow=True)
    lock = RootLock(settings.root)
    lock.acquire()
    try:
        make_stamps(settings).verify()
        if vault.read() is not None:
            raise StartFailed(f"there already is a keyring, {vault.path}: 'storehouse rekey' changes its master key")
        vault.check_not_lost()
        plain = 0
        if os.path.isdir(settings.objects_directory):
            space = make_wormer(settings, InlineDisk(), sealed=False)
            space.start()
            try:
                on_total(run(count(space)))
                plain = run(_count_plain(space, on_progress))
            finally:
                run(space.stop())
        if settings.seal_names and (plain or _has_buckets(settings)):
            raise InvalidSetting(
                "seal-names cannot be set: there are objects or buckets already, and their names are not encrypted"
            )
        vault.make(plain=plain > 0)
        run(vault.stop())
        return Made(vault.path, plain)
    finally:
        lock.release()


def _has_buckets(settings: Settings) -> bool:
    buckets = os.path.join(settings.namespace_directory, "buckets")
    return os.path.isdir(buckets) and bool(os.listdir(buckets))


async def _count_plain(space: Any, progress: Callable[[int], object]) -> int:
    """How many objects and uploads are plain: all, or a keyring is missing."""
    plain = 0
    for index in await space.list_indexes():
        for id in await space.list_ids(index):
            try:
                _refuse_sealed(f"the object {id}", await space.get_metadata(id))
                plain += 1
            except NoSuchObject:
                pass  # removed since it was listed
            except Damaged:
                plain += 1  # what cannot be read is not taken for encrypted; fsck tells of it
            progress(1)
    for upload in await space.list_uploads():
        try:
            _refuse_sealed(f"the upload {upload.id}", (await space.get_upload(upload.id)).metadata)
            plain += 1
        except (NoSuchUpload, Damaged):
            pass  # gone, or unreadable: its parts are lost either way, and a keyring changes nothing
    return plain


def _refuse_sealed(what: str, metadata: dict[str, list[str]]) -> None:
    if is_sealed(metadata):
        raise StartFailed(
            f"{what} is encrypted, by a keyring that is missing: restore keyring.json from a copy; another one cannot "
            "open it"
        )


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
    nobody had before. It can be interrupted at any moment: the next call continues.  The old key is dropped only when
    nothing needs it any more.

    @param master: the master key; the new one to continue an interrupted change.
    @param new_master: the new master key; C{None} to continue a rekey that was begun.
    @param on_total: told how many objects there are.
    @param on_progress: told how many more were looked at.
    @return: what was done. If anything is damaged the old key is kept.
    @raise RootInUse: if a service runs on the root.
    @raise WrongMasterKey: if neither master key opens the keyring.
    """
    lock = RootLock(settings.root)
    lock.acquire()
    try:
        make_stamps(settings).verify()
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
