"""Archives of a stream whose catalogue was damaged: found again where they were shipped to, if that is a store of our own."""

from __future__ import annotations

import re
from typing import Any

import attrs
from twisted.logger import Logger

from storehouse.core.disk import IDisk
from storehouse.core.jobs import whole
from storehouse.errors import StorehouseError, Unavailable
from storehouse.storage.streams.interfaces import Archive, Library, State
from storehouse.storage.streams.reading import header_of
from storehouse.storage.streams.stream import Stream

__all__ = ["find_shipped"]

_log = Logger()

#: What the shipper's names have behind that of the file: the beginning of a digest.
_is_shipped = re.compile(r".*-[0-9a-f]{16}(?:\.[^/]*)?", re.DOTALL).fullmatch


async def find_shipped(stream: Stream, destination: Any, library: Library, disk: IDisk) -> int:
    """
    Put into the catalogue what is at the destination under the stream's name, and not known: its header says which archive it
    is, and when it was made. What is no archive is left alone.

    @return: how many were found.
    @raise StorehouseError: if the destination cannot be asked. Nothing is changed then, and it can be tried again.
    @raise OSError: if the catalogue cannot be written now; what was found is known nevertheless.
    """
    found: list[Archive] = []
    # One of two copies of an archive, compressed in different ways, is enough.
    after: str | None = ""
    while after is not None:
        page = await destination.list(f"{stream.name}/", after)
        after = page.next_after
        known = {archive.remote for archive in stream.archives()}
        for entry in page.entries:
            if entry.name in known or not _is_shipped(entry.name):
                continue
            archive = Archive(
                0,
                "",
                state=State.SHIPPED,
                remote=entry.name,
                remote_size=entry.size,
                destination=stream.settings.ship,
            )
            try:
                info = await header_of(disk, destination, archive, library)
            except Unavailable:
                raise
            except StorehouseError as problem:
                _log.warn(
                    "{name} does not become part of the stream: {problem}", name=entry.name, problem=problem.detail
                )
                continue
            if info.salt:
                found.append(attrs.evolve(archive, salt=info.salt, created=info.created))
    count: int = await whole(disk, stream.catalogue.put_between, found)
    return count
