"""
The stamps by which a namespace and a data space are known to belong together: each has that of their store, the file C{stamp} in
its directory.

It is a line of JSON with a checksum (L{storehouse.core.checksummed}): C{{"format":"stamp","version":1,"store":ID,...}}, ID 32
random hex digits. Without it a data space that was forgotten, exchanged or lost would be taken for an empty
one, and a check would call everything in it, or in the namespace, lost (docs/formats/namespace.md).
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterable
from itertools import islice

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from storehouse.core.checksummed import decode_checksummed, encode_checksummed
from storehouse.core.files import NO_SPACE, Files
from storehouse.errors import StartFailed, StorehouseError

__all__ = ["STAMPS", "Stamps"]

#: The names of the files in both directories.
STAMPS = frozenset({"stamp", "stamp.new"})

#: IDs that are looked for before two directories without stamps are taken for those of different stores.
_MOST = 1000


class Stamps:
    """
    The stamps of a namespace and a data space, to be started before both of them.

    @param names: the directory of the namespace.
    @param objects: the directory of the data space.
    @param ids: gives IDs that keys have, of as many buckets as there are, in no order.
    @param is_there: whether the data space has an ID.
    @param has_objects: whether it has any.
    @param has_buckets: whether the namespace has any.
    @ivar failed: C{None}: it cannot fail once it is started.
    """

    _log = Logger()
    failed: StorehouseError | None = None

    def __init__(
        self,
        names: str,
        objects: str,
        ids: Callable[[], Iterable[str]],
        is_there: Callable[[str], bool],
        has_objects: Callable[[], bool],
        has_buckets: Callable[[], bool],
        durable: bool = True,
        files: Files | None = None,
    ) -> None:
        self._names = names
        self._objects = objects
        self._ids = ids
        self._is_there = is_there
        self._has_objects = has_objects
        self._has_buckets = has_buckets
        self._durable = durable
        self._files = files or Files()

    def start(self) -> None:
        """
        Check that they belong together, and write the stamp where it is missing: they do if both are empty, or a key has its bytes.

        @raise StartFailed: if they do not, or that cannot be found out; nothing was changed.
        """
        try:
            store = self._store()
            if _read(self._names) == _read(self._objects) == store:
                return
            self._stamp(store)
        except OSError as error:
            if error.errno in NO_SPACE:
                self._log.warn("no space for the stamps of namespace and data space; the next start tries again")
                return
            if error.errno == errno.EISDIR:
                # That they belong together was found out without it.
                self._log.warn("{stamp} cannot be written: it is a directory", stamp=error.filename)
                return
            raise StartFailed(f"{error.filename or self._names} cannot be used: {error.strerror or error}") from error

    def stop(self) -> Deferred[None]:
        return succeed(None)

    def verify(self) -> None:
        """
        Without changing anything: check that they belong together, or that there is only a data space and it has no stamp.

        @raise StartFailed: if they do not, or that cannot be found out.
        """
        try:
            if os.path.isdir(self._names) or _read(self._objects) is not None:
                self._store()
        except OSError as error:
            raise StartFailed(f"{error.filename or self._names} cannot be used: {error.strerror or error}") from error

    def check(self) -> None:
        """
        The quick check, for commands that use one of them alone, also beside a service.

        @raise StartFailed: if both have stamps, and not the same.
        """
        try:
            names, objects = _read(self._names), _read(self._objects)
        except OSError:
            return  # without the right to look at them they cannot be used either
        if names is not None and objects is not None and names != objects:
            raise self._different("they have the stamps of different stores")

    def join(self) -> None:
        """
        Give both the same stamp, whatever is in them.

        @raise StartFailed: if that cannot be done.
        """
        try:
            self._stamp(_read(self._names) or secrets.token_hex(16))
        except OSError as error:
            raise StartFailed(f"{error.filename or self._names} cannot be used: {error.strerror or error}") from error

    def _store(self) -> str:
        """The stamp that both have, or are to have."""
        names, objects = _read(self._names), _read(self._objects)
        if names is not None and names == objects:
            return names
        if names is not None and objects is not None:
            raise self._different("they have the stamps of different stores")
        # A start ended while it was writing both.
        if names is not None and names == _read(self._objects, "stamp.new"):
            return names
        ids = list(islice(self._ids(), _MOST))
        if any(map(self._is_there, ids)):
            return names or objects or secrets.token_hex(16)
        if names is not None:
            raise self._different(f"{self._objects} lacks the stamp of {self._names}")
        if objects is not None:
            raise self._different(f"{self._names} lacks the stamp of {self._objects}")
        if not ids:
            if not self._has_objects() or self._has_buckets():
                return secrets.token_hex(16)
            raise self._different(f"there are objects in {self._objects}, and no buckets in {self._names}")
        if not self._has_objects():
            raise self._different(f"there are keys in {self._names}, and no objects in {self._objects}")
        raise self._different(f"none of {len(ids)} IDs of keys is among the objects")

    def _different(self, reason: str) -> StartFailed:
        return StartFailed(
            f"the namespace in {self._names} and the objects in {self._objects} do not belong together: {reason}. "
            "Perhaps --root or --objects-dir was changed, or one of them was lost or restored from another copy. To "
            "make them one store anyway, use 'storehouse fsck --join'"
        )

    def _stamp(self, store: str) -> None:
        files = self._files
        for directory in (self._objects, self._names):
            files.make_directory(directory)
        text = encode_checksummed({"format": "stamp", "version": 1, "store": store})
        # As long as only one has it, the other one has it as stamp.new.
        self._write(os.path.join(self._objects, "stamp.new"), text)
        self._sync(self._objects)
        if _read(self._names) != store:
            self._write(os.path.join(self._names, "stamp.new"), text)
            files.rename(os.path.join(self._names, "stamp.new"), os.path.join(self._names, "stamp"))
            self._sync(self._names)
        files.rename(os.path.join(self._objects, "stamp.new"), os.path.join(self._objects, "stamp"))
        self._sync(self._objects)

    def _write(self, path: str, text: bytes) -> None:
        files = self._files
        fd = files.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            files.write_at(fd, (text,), 0)
            if self._durable:
                files.sync_data(fd)
        finally:
            files.close(fd)

    def _sync(self, path: str) -> None:
        if self._durable:
            self._files.sync_directory(path)


def _read(directory: str, name: str = "stamp") -> str | None:
    """The stamp in a directory; C{None} if there is none, or it is damaged."""
    try:
        fd = os.open(os.path.join(directory, name), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fields, is_checked = decode_checksummed(os.read(fd, 4096))
    except (OSError, ValueError):
        return None
    finally:
        os.close(fd)
    store = fields.get("store")
    return store if is_checked and fields.get("format") == "stamp" and isinstance(store, str) else None
