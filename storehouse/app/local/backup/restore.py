"""A root made of a backup, which stays as it is: nothing is shared with it. Source: docs/backup.rst."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable

import attrs

from storehouse.app.local.backup.described import (
    DESCRIPTION,
    LISTED,
    Description,
    files_below,
    is_within,
    listed,
    read_description,
)
from storehouse.app.local.backup.names import NAMESPACE, keys_in
from storehouse.app.local.backup.objects import OBJECTS
from storehouse.app.local.waiting import run
from storehouse.core.digests import crc32c
from storehouse.core.files import Files
from storehouse.core.jobs import InlineDisk
from storehouse.errors import BadRequest, Damaged, StartFailed
from storehouse.storage.dataspace.directory import Layout, names_in
from storehouse.storage.dataspace.scrub import Finding, scrub

__all__ = ["Restored", "restore", "size_of_backup"]

_PIECE = 1 << 20


@attrs.frozen
class Restored:
    """
    A root that was restored.

    @ivar findings: objects that were damaged in the backup, for people; they are in the root as they are.
    """

    description: Description
    findings: list[str]


def size_of_backup(source: str) -> int:
    """Its bytes, each file counted. @raise StartFailed: if it is none."""
    try:
        read_description(source)
    except BadRequest as error:
        raise StartFailed(error.detail) from None
    return sum(os.lstat(os.path.join(source, name)).st_size for name in files_below(source))


def restore(source: str, root: str, told: Callable[[int], None]) -> Restored:
    """
    Restore a root from a backup. If anything fails, nothing is at its place.

    @param root: not there, or empty.
    @param told: called with the number of bytes that were copied.
    @raise StartFailed: if there is no backup, or there cannot be a root.
    @raise Damaged: if the backup lacks something, or what is no object is not as it was. (Damaged objects are restored as
        they are, and told.)
    """
    source, root = os.path.realpath(source), os.path.realpath(root)
    try:
        description = read_description(source)
        files = listed(source, description)
    except BadRequest as error:
        raise StartFailed(error.detail) from None
    if is_within(root, source) or is_within(source, root):
        raise StartFailed(f"{root} and {source} contain one another")
    parent, name = os.path.split(root)
    if os.path.lexists(root) and (not os.path.isdir(root) or os.listdir(root)):
        raise StartFailed(f"a backup is restored to an empty or new directory: {root} is neither")
    if not os.path.isdir(parent):
        raise StartFailed(f"{parent} is not a directory")
    if os.path.ismount(root):
        raise StartFailed(f"a file system is mounted at {root}: name a directory in it")
    partial = os.path.join(parent, f".{name}.restoring")
    try:
        os.mkdir(partial, 0o700)
    except FileExistsError:
        raise StartFailed(
            f"{partial} is left from a restore that was interrupted or is running: remove it first"
        ) from None
    except OSError as error:
        raise StartFailed(f"{partial} cannot be created: {error.strerror}") from None
    try:
        _copy_all(source, partial, description, files, told)
        findings = _verify(partial, description)
        Files().sync_all()
        os.rename(partial, root)
        Files().sync_directory(parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return Restored(description, findings)


def _copy_all(
    source: str,
    target: str,
    description: Description,
    files: dict[str, tuple[int, str | None]],
    told: Callable[[int], None],
) -> None:
    is_superuser = os.geteuid() == 0
    if is_superuser:
        state = os.stat(source)
        os.chown(target, state.st_uid, state.st_gid)
    left = dict(files)
    todo = [name for name in description.contents if name not in (DESCRIPTION, LISTED)]
    while todo:
        name = todo.pop()
        path, place = os.path.join(source, name), os.path.join(target, name)
        try:
            state = os.lstat(path)
        except FileNotFoundError:
            raise Damaged(f"the backup has lost {name}") from None
        if stat.S_ISDIR(state.st_mode):
            os.mkdir(place, 0o700)
            todo += [f"{name}/{each}" for each in os.listdir(path)]
        elif stat.S_ISLNK(state.st_mode):
            os.symlink(os.readlink(path), place)
        else:
            size, checksum = _copy_file(path, place, state, told)
            expected = left.pop(name, None)
            if expected is not None and (size != expected[0] or expected[1] not in (None, checksum)):
                raise Damaged(f"{path} was changed since the backup was made")
        if is_superuser:
            os.chown(place, state.st_uid, state.st_gid, follow_symlinks=False)
    if left:
        raise Damaged(f"the backup has lost {min(left)}")


def _copy_file(path: str, place: str, state: os.stat_result, told: Callable[[int], None]) -> tuple[int, str]:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        target = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            checksum = done = 0
            while data := os.read(fd, _PIECE):
                Files().write_at(target, (data,), done)
                checksum = crc32c(data, checksum)
                done += len(data)
                told(len(data))
            os.fchmod(target, stat.S_IMODE(state.st_mode) & 0o700)
            os.utime(target, ns=(state.st_mtime_ns, state.st_mtime_ns))
        finally:
            os.close(target)
    finally:
        os.close(fd)
    return done, f"{checksum:08x}"


def _verify(root: str, description: Description) -> list[str]:
    """
    Count what must be there, and verify every block of every object.

    @raise Damaged: if something is missing.
    """
    findings: list[Finding] = []
    objects = os.path.join(root, OBJECTS)
    layout = Layout(objects)
    found = {"keys": 0, "objects": 0, "open uploads": 0, "versions without bytes": 0}
    for _, is_whole, ids in keys_in(os.path.join(root, NAMESPACE)):
        found["keys"] += is_whole
        found["versions without bytes"] += sum(not os.path.isdir(layout.object(id)) for id in ids)
    if os.path.isdir(layout.data):
        for what, place in (("objects", layout.data), ("open uploads", layout.uploads)):
            found[what] = sum(len(names_in(f"{place}/{index}")) for index in names_in(place))
        run(scrub(objects, InlineDisk(), findings.append, lambda progress: None, None))
    expected = {
        "keys": description.keys,
        "objects": description.objects,
        "open uploads": description.uploads,
        "versions without bytes": description.lost,
    }
    for what, count in found.items():
        if count != expected[what]:
            raise Damaged(f"the backup has {count} {what}, and had {expected[what]}")
    return [_text(finding) for finding in findings]


def _text(finding: Finding) -> str:
    part = "" if finding.part is None else f", part {finding.part}"
    block = "" if finding.block is None else f", block {finding.block}"
    return f"{finding.id}{part}{block}: {finding.reason}"
