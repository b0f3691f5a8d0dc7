"""
Backups of a root, while a service runs on it or without one. Source: docs/backup.rst.

Bytes go one way within a root: from the append log and streams to files on their way, and from those and from uploads to objects.
So they are copied in that order, and what moves on meanwhile is met again.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import attrs

from storehouse.app.local.backup.appendlog import APPEND, back_up_log
from storehouse.app.local.backup.described import Description, files_below, is_within
from storehouse.app.local.backup.names import NAMESPACE, bytes_of_keys
from storehouse.app.local.backup.objects import OBJECTS, Counts, ObjectsBackup
from storehouse.app.local.backup.restore import Restored, restore, size_of_backup
from storehouse.app.local.backup.streams import ARCHIVES, SHIPPING, back_up_shipping, back_up_streams
from storehouse.app.local.backup.target import Target
from storehouse.app.sealing import make_stamps
from storehouse.config import Settings
from storehouse.core.root import RootLock
from storehouse.errors import StartFailed

__all__ = ["Description", "Made", "Restored", "Service", "make_backup", "restore", "size_of", "size_of_backup"]

#: Of a root, what a backup has no use for: rights of processes, room, sockets, what is being made; and events, which were of
#: another time by then.
_LEFT_OUT = frozenset({"lock", "reserve", "objects.sock", "events"})
_ROOMS = frozenset({APPEND, ARCHIVES, SHIPPING, NAMESPACE, OBJECTS, "resumable", "accounts"})

#: Seconds between two signs of life to the service.
_INTERVAL = 10.0


class Service(Protocol):
    """The service that runs on the root: it keeps what is removed meanwhile."""

    def hold(self) -> None:
        """Have the service keep what is removed, until L{release} or a lease that is not renewed ends."""

    def renew(self) -> None:
        """Renew the lease. Raises if it had ended: the backup may lack bytes then."""

    def release(self) -> None:
        """Let the service remove what it kept."""


@attrs.frozen
class Made:
    """
    A backup that was made.

    @ivar lost: names of keys without bytes, some of them.
    @ivar unread_keys: keys of which there is no entry that can be read, in the root neither; C{unread} are some of them.
    @ivar warnings: what it may lack.
    @ivar copied: files that were copied; all others share their bytes with the root or with the older backup.
    """

    description: Description
    lost: list[str]
    unread_keys: int
    unread: list[str]
    warnings: list[str]
    copied: int
    linked: int


def make_backup(
    settings: Settings,
    path: str,
    service: Service | None,
    told: Callable[[int], None],
    clock: Callable[[], float] = time.monotonic,
) -> Made:
    """
    Back up a root. If anything fails, nothing is changed at its place.

    @param path: where it is to be. A backup of the same root that is there is replaced in one step.
    @param service: what runs on the root; C{None} to have the root for oneself.
    @param told: called with the number of bytes that were listed.
    @raise StartFailed: if there is no root, its namespace and objects do not belong together, or there cannot be a backup.
    @raise RootInUse: if something runs on the root all the same.
    @raise StorageFailed: if it cannot be finished.
    """
    root = os.path.abspath(settings.root)
    if not os.path.isdir(root):
        raise StartFailed(f"there is no root: {root} is not a directory")
    directories = {table.name: os.path.abspath(table.directory) for table in settings.tables.streams if table.directory}
    append = os.path.abspath(settings.append_directory)
    objects = os.path.abspath(settings.objects_directory)
    lock = RootLock(root)
    last = clock()

    def alive() -> None:
        nonlocal last
        if service is not None and clock() - last > _INTERVAL:
            service.renew()
            last = clock()

    if service is None:
        lock.acquire()
    try:
        # Half of a store must not take the place of a backup of all of it.
        make_stamps(settings).verify()
        target = Target(path, root, [append, objects, *directories.values()], alive, told)
        try:
            began = time.time_ns()
            if service is not None:
                service.hold()
            try:
                counts = _copy(target, settings, root, append, objects, directories, service is not None)
                if service is not None:
                    # One that was started anew meanwhile has kept nothing.
                    service.renew()
            finally:
                if service is not None:
                    service.release()
            service = None
            description = target.finish(
                began=began,
                ended=time.time_ns(),
                keys=counts.keys,
                lost=counts.lost_keys,
                objects=counts.objects,
                uploads=counts.uploads,
                encrypted=os.path.exists(target.path_of("keyring.json")),
            )
        finally:
            target.abandon()
    finally:
        lock.release()
    return Made(
        description,
        counts.lost,
        counts.unread_keys,
        counts.unread,
        counts.warnings,
        target.copied,
        target.linked,
    )


def _copy(
    target: Target,
    settings: Settings,
    root: str,
    append: str,
    objects: str,
    directories: dict[str, str],
    is_live: bool,
) -> Counts:
    back_up_log(target, append, is_live)
    back_up_streams(target, root, directories)
    back_up_shipping(target, root)
    # States before the uploads that they are of: one that says that it is complete has its object.
    _copy_files(target, os.path.join(root, "resumable"), "resumable", ("tmp/",))
    _copy_files(target, os.path.join(root, "accounts"), "accounts", ("lock",))
    counts = ObjectsBackup(target, os.path.join(root, NAMESPACE), objects, is_live).run()
    _copy_rest_of_namespace(target, root)
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        if (
            entry.name in _ROOMS
            or entry.name in _LEFT_OUT
            or is_within(entry.path, objects)
            or is_within(entry.path, append)
        ):
            continue
        if entry.is_dir(follow_symlinks=False):
            _copy_files(target, entry.path, entry.name)
        else:
            _copy_file(target, entry.path, entry.name)
    return counts


def _copy_rest_of_namespace(target: Target, root: str) -> None:
    directory = os.path.join(root, NAMESPACE)
    if os.path.isdir(directory):
        for entry in os.scandir(directory):
            if entry.name != "journal" and entry.is_file(follow_symlinks=False):
                _copy_file(target, entry.path, f"{NAMESPACE}/{entry.name}")


def _copy_files(target: Target, directory: str, name: str, left_out: tuple[str, ...] = ()) -> None:
    if not os.path.isdir(directory):
        return
    target.make(name)
    for below in files_below(directory):
        if not below.startswith(left_out or ("\0",)):
            _copy_file(target, os.path.join(directory, below), f"{name}/{below}")


def _copy_file(target: Target, path: str, name: str) -> None:
    """What a path is; sockets and pipes are refused, since they cannot be copied."""
    with suppress(FileNotFoundError):
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            target.symlink(os.readlink(path), name)
        elif stat.S_ISREG(mode):
            target.copy(path, name)


def size_of(settings: Settings) -> int:
    """About how many bytes a backup is of, for a progress bar."""
    root = os.path.abspath(settings.root)
    total = bytes_of_keys(os.path.join(root, NAMESPACE))
    for directory in (os.path.abspath(settings.append_directory), os.path.join(root, ARCHIVES)):
        for name in files_below(directory):
            if not name.startswith(".wal/"):
                with suppress(OSError):
                    total += os.lstat(os.path.join(directory, name)).st_size
    return total
