"""Storage prefixes of an append log whose bucket files are shipped when they are closed."""

from __future__ import annotations

import os
import re
from typing import Any

from twisted.logger import Logger

from storehouse.core.disk import IDisk
from storehouse.core.jobs import whole
from storehouse.core.names import check_prefix
from storehouse.core.streams import deferred
from storehouse.events import ArchiveShipped, Events
from storehouse.storage.appendlog.interfaces import IAppendLog
from storehouse.storage.shipping.interfaces import IShipper

__all__ = ["ShippedPrefixes", "shipped_stream"]

_bucket_file = re.compile(r"append\.\d+\.(raw|idx)", re.ASCII)

#: Inode, size, and time of change.
_Identity = tuple[int, int, int]


def shipped_stream(prefix: str) -> str:
    """
    What the names of a prefix' files at a destination begin with; the bucket follows: C{append.PREFIX/append.9-DIGEST.raw}.
    """
    return f"append.{prefix}"


class ShippedPrefixes:
    """
    Closes prefixes, and hands their bucket files over.

    The local files stay, so that the log can be read on, unless C{delete} is set: then a prefix is removed when all its files
    have arrived, if it is closed still and they are what was handed over. What was on its way when a process ended is not
    removed by the next; closing the prefix again does that.

    @param shipper: where to.
    @param directory: of the append log.
    @param prefixes: those whose files are shipped; C{None} for all.
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
        self._append_log: Any = log
        self._shipper: Any = shipper
        self._directory = directory
        self._prefixes = prefixes
        self._disk = disk
        self._delete = delete
        self._handed: dict[str, dict[str, _Identity]] = {}
        if events is not None and delete:
            events.subscribe(ArchiveShipped, self._arrived)

    @deferred
    async def close_prefix(self, prefix: str) -> None:
        """
        As L{IAppendLog.close_prefix}; fires once the shipper has taken all files over, so whoever is answered knows that they
        arrive. What is appended from then on is for the next closing.
        """
        name = check_prefix(prefix.encode("utf-8", "surrogatepass"))
        is_shipped = self._prefixes is None or name in self._prefixes
        # A name that is too long for what is put before it is refused before anything is done.
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
            self._look(name)

    def _arrived(self, event: ArchiveShipped) -> None:
        name = event.stream.removeprefix(shipped_stream(""))
        if event.stream != name:
            self._look(name, event.name)

    def _look(self, name: str, arrived: str = "") -> None:
        """Remove a prefix of which nothing is on its way any more, nor dead."""
        stream = shipped_stream(name)
        if name not in self._handed or any(
            each.stream == stream and (not arrived or each.name != arrived) for each in self._shipper.shipments()
        ):
            return
        handed = self._handed.pop(name)
        removing = self._append_log.delete_closed_prefix(name, lambda: self._files_of(name) == handed)
        removing.addCallback(self._removed, name)
        removing.addErrback(lambda failure: self._log.failure("{name} cannot be removed", failure, name=name))

    def _removed(self, is_gone: bool, name: str) -> None:
        if not is_gone:
            self._log.warn("the storage prefix {name} was shipped, but stays: it was opened again since", name=name)

    def _files_of(self, name: str) -> dict[str, _Identity]:
        """The bucket files that hold something, and what is kept beside each."""
        directory = os.path.join(self._directory, name)
        try:
            names = sorted(os.listdir(directory))
        except FileNotFoundError:
            return {}
        paths = [os.path.join(directory, each) for each in names if _bucket_file.fullmatch(each)]
        stats = {path: os.stat(path) for path in paths if os.path.getsize(os.path.splitext(path)[0] + ".raw")}
        return {path: (found.st_ino, found.st_size, found.st_mtime_ns) for path, found in stats.items()}
