"""Bringing an archive whose writer was killed into its final state (docs/formats/archive.md, Recovery)."""

from __future__ import annotations

import os

import attrs
from twisted.logger import Logger

from storehouse.archive.formats2 import Group, encode_footer, seeds_of
from storehouse.archive.reader import ArchiveReader
from storehouse.archive.scan import LARGEST_RECORD
from storehouse.archive.scan2 import Scan2
from storehouse.archive.writer import GROUP_SIZE
from storehouse.core.files import Files
from storehouse.errors import DamagedArchive

__all__ = ["Recovered", "recover_archive"]

_log = Logger()

#: What is copied at once.
_PIECE = 1 << 20


@attrs.frozen
class Recovered:
    """
    What was done to a leftover.

    @ivar path: of the archive.
    @ivar version: of its format.
    @ivar records: how many it has.
    @ivar torn: bytes that were cut off behind the last whole record.
    @ivar kept: the file that keeps them; C{None} if there are none.
    @ivar damages: places within it that cannot be read; they were left as they are.
    @ivar removed: it had no whole record, and is gone.
    """

    path: str
    version: int
    records: int
    torn: int = 0
    kept: str | None = None
    damages: tuple[DamagedArchive, ...] = ()
    removed: bool = False


def recover_archive(path: str, files: Files | None = None) -> Recovered:
    """
    Cut off the torn tail of an archive, keep it beside, and seal the archive. Does nothing to one that is sealed.

    The caller sees to it that nobody writes to it. When this returns, all is on disk.

    @raise UnknownArchiveFormat: if it is no archive. It is left as it is; so it is
    @raise DamagedArchive: if its header is damaged, and
    @raise OSError: for what the disk says. Doing it again is fine.
    """
    files = Files() if files is None else files
    # What was written here may be as large as a record can be: nothing of it is to be cut off.
    with ArchiveReader(path, skip_damaged=True, max_record=LARGEST_RECORD) as reader:
        info = reader.info
        if reader.sealed:
            return Recovered(path, info.version, reader.count or 0)
        scan = reader.scan()
        groups: list[Group] = []
        count = 0
        for _, _, time, offset in scan.walk():
            if not groups or (
                offset != groups[-1].offset
                if info.compression is not None
                else offset - groups[-1].offset >= GROUP_SIZE
            ):
                groups.append(Group(offset, count, time, time))
            group = groups[-1]
            if time < group.lowest or time > group.highest:
                groups[-1] = Group(group.offset, group.first, min(group.lowest, time), max(group.highest, time))
            count += 1
        if isinstance(scan, Scan2) and scan.footer is not None:
            return Recovered(path, info.version, count, damages=tuple(scan.damages))
        # Damage may be the last thing there is.
        end = os.stat(path).st_size - scan.torn
    kept = None
    if scan.torn:
        kept = _keep(path, end, scan.torn, files)
        _log.warn(
            "{path}: a torn tail of {torn} bytes behind the last whole record, at offset {end}, was cut off and is kept as {kept}",
            path=path,
            torn=scan.torn,
            end=end,
            kept=kept,
        )
    for damage in scan.damages:
        _log.error("{path}: {damage}", path=path, damage=damage.detail)
    if not count and not scan.damages:
        files.unlink(path)
        files.sync_directory(os.path.dirname(path) or ".")
        return Recovered(path, info.version, 0, scan.torn, kept, removed=True)
    fd = files.open(path, os.O_RDWR)
    try:
        files.truncate(fd, end)
        if info.version == 2:
            files.write_at(fd, (encode_footer(seeds_of(info.salt), groups, end, count),), end)
        files.sync_data(fd)
        files.sync_directory(os.path.dirname(path) or ".")
    finally:
        files.close(fd)
    return Recovered(path, info.version, count, scan.torn, kept, tuple(scan.damages))


def _keep(path: str, offset: int, size: int, files: Files) -> str:
    """Copy the end of a file to one beside it, and bring that to disk."""
    number = 0
    while True:
        kept = f"{path}.torn" + (f".{number}" if number else "")
        try:
            target = files.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            break
        except FileExistsError:
            number += 1
    source = files.open(path, os.O_RDONLY)
    try:
        at = 0
        while at < size:
            piece = os.pread(source, min(_PIECE, size - at), offset + at)
            if not piece:
                break
            files.write_at(target, (piece,), at)
            at += len(piece)
        files.sync_data(target)
    except BaseException:
        files.unlink(kept)
        raise
    finally:
        files.close(source)
        files.close(target)
    files.sync_directory(os.path.dirname(path) or ".")
    return kept
