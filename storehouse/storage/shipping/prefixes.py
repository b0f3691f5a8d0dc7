"""Storage prefixes of an append log whose bucket files are shipped when the prefix is closed."""

from __future__ import annotations

import os
import re

from twisted.logger import Logger

from storehouse.core.jobs import IDisk, deferred, whole
from storehouse.core.names import check_prefix
from storehouse.events import ArchiveShipped, Events
from storehouse.storage.appendlog.interfaces import IAppendLog
from storehouse.storage.shipping.interfaces import IShipper

__all__ = ["ShippedPrefixes", "shipped_stream"]

_bucket_file = re.compile(r"append\.\d+\.(raw|idx)", re.ASCII)

#: Inode, size, and time of change.
_Identity = tuple[int, int, int]


def shipped_stream(prefix: str) -> str:
    """
    What the names of a prefix's files at a destination begin with: C{append.PREFIX/append.9-DIGEST.raw}.
    """
    return f"append.{prefix}"


class ShippedPrefixes:
    """
    Closes prefixes, and hands their bucket files to a shipper.

    The local files stay, so that the log can still be read, unless C{delete} is set: then a prefix is removed when all its
    files have arrived, if it is still closed and they are what was handed over. After a restart nothing is removed of what was
    on its way before; to close the prefix again does that.

    @param directory: of the append log.
    @param prefixes: those whose files are shipped; C{None} for all.
    @param events: for the news that files have arrived. Needed for C{delete}.
    """

    _log = Logger()

    def __init__(
        self,
        log: IAppendLog,
        shipper: IShipper,
        directory: str,
        prefixes: frozenset[str] | None,
        disk: IDisk,
        events: Events | None = None,
        delete: bool = False,
    ) -> None:
        self._append_log = log
        self._shipper = shipper
        self._directory = directory
        self._prefixes = prefixes
        self._disk = disk
        self._delete = delete
        # Prefixes that are to be removed, and the files that were handed over of each.
        self._handed: dict[str, dict[str, _Identity]] = {}
        if events is not None and delete:
            events.subscribe(ArchiveShipped, self._arrived)

    @deferred
    async def close_prefix(self, prefix: str) -> None:
        """
        L{IAppendLog.close_prefix}, and then ship.

        @return: fires once the shipper has taken all files over: from then on they arrive. What is appended after that is for
            the next closing.
        """
        name = check_prefix(prefix.encode("utf-8", "surrogatepass"))
        is_shipped = self._prefixes is None or name in self._prefixes
        # Checked first: with "append." before it the name may be too long.
        stream = check_prefix(shipped_stream(name).encode("utf-8")) if is_shipped else ""
        await self._append_log.close_prefix(name)
        if not is_shipped:
            return
        self._handed.pop(name, None)
        found = await whole(self._disk, self._files_of, name)
        for path in found:
            await self._shipper.ship(path, stream, False)
        self._log.info("{count} files of the storage prefix {name} are on their way", count=len(found), name=name)
        if self._delete and found:
            self._handed[name] = found
            self._remove_arrived(name)

    def _arrived(self, event: ArchiveShipped) -> None:
        name = event.stream.removeprefix(shipped_stream(""))
        if event.stream != name:
            self._remove_arrived(name, event.name)

    def _remove_arrived(self, name: str, arrived: str = "") -> None:
        """Remove a prefix all files of which have arrived. @param arrived: one that the shipper still lists, since it reports first."""
        stream = shipped_stream(name)
        if name not in self._handed or any(
            each.stream == stream and (not arrived or each.name != arrived) for each in self._shipper.shipments()
        ):
            return
        handed = self._handed.pop(name)
        removing = self._append_log.delete_closed_prefix(name, lambda: self._files_of(name) == handed)
        removing.addCallback(self._removed, name)
        removing.addErrback(
            lambda failure: self._log.failure("the storage prefix {name} cannot be removed", failure, name=name)
        )

    def _removed(self, is_gone: bool, name: str) -> None:
        if not is_gone:
            self._log.warn("the storage prefix {name} was shipped, but stays: it was used again since", name=name)

    def _files_of(self, name: str) -> dict[str, _Identity]:
        """The bucket files that have records, and their index files."""
        directory = os.path.join(self._directory, name)
        try:
            names = sorted(os.listdir(directory))
        except FileNotFoundError:
            return {}
        paths = [os.path.join(directory, each) for each in names if _bucket_file.fullmatch(each)]
        stats = {path: os.stat(path) for path in paths if os.path.getsize(os.path.splitext(path)[0] + ".raw")}
        return {path: (found.st_ino, found.st_size, found.st_mtime_ns) for path, found in stats.items()}
