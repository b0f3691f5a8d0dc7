"""
A root without a service: what commands do on the files themselves.

Beside L{storehouse.app.service}, the only module that names concrete classes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

from twisted.internet.interfaces import IConsumer
from twisted.internet.task import Clock
from zope.interface import implementer

from storehouse.app.local.comparing import compare_keys
from storehouse.app.local.waiting import result, run
from storehouse.app.sealing import make_names, make_pair, make_space, make_vault, make_wormer
from storehouse.config import Settings
from storehouse.core.disk import InlineDisk
from storehouse.core.keys.masterkey import take_master_key
from storehouse.core.rootlock import RootLock
from storehouse.core.streams import BytesSource
from storehouse.errors import InvalidRange, NoSuchUpload, StartFailed
from storehouse.storage.dataspace.interfaces import Upload
from storehouse.storage.dataspace.layout import Layout, check_format, names_in
from storehouse.storage.dataspace.scrub import Finding, Progress, count, scrub
from storehouse.storage.dataspace.uploads import describe_upload
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings
from storehouse.storage.namespace.interfaces import Bucket
from storehouse.storage.objects.interfaces import (
    ALWAYS,
    Condition,
    Indexed,
    IObjectReader,
    Listing,
    Metadata,
    ObjectInfo,
    Problem,
)
from storehouse.storage.objects.store import LocalObjectStore

__all__ = [
    "ALWAYS",
    "Bucket",
    "Condition",
    "Finding",
    "Indexed",
    "Listing",
    "LocalObjects",
    "LocalReading",
    "LocalStore",
    "Metadata",
    "ObjectInfo",
    "Problem",
    "Progress",
    "Upload",
    "check_pair",
    "join",
]

T = TypeVar("T")


class LocalObjects:
    """
    The objects of a root, on this machine.

    @ivar directory: their directory.
    @raise StartFailed: if there is none.
    """

    def __init__(self, settings: Settings) -> None:
        self._root = os.path.abspath(settings.root)
        self.directory = os.path.abspath(settings.objects_directory)
        self._namespace = os.path.abspath(settings.namespace_directory)
        if not os.path.isdir(self.directory):
            raise StartFailed(f"there are no objects: {self.directory} is not a directory")
        if not any(os.path.lexists(os.path.join(self.directory, name)) for name in ("format.json", "data")):
            raise StartFailed(f"there are no objects: {self.directory} has neither format.json nor data/")
        if not os.access(self.directory, os.R_OK | os.X_OK):
            raise StartFailed(f"the objects directory {self.directory} cannot be read: permission denied")
        self._pair = make_pair(settings)
        self._pair.check()

    def count(self, on_count: Callable[[int], object]) -> int:
        """Bytes of all parts. C{on_count} is told of bytes as they are found."""
        return run(count(self.directory, InlineDisk(), on_count))

    def scrub(
        self, on_finding: Callable[[Finding], object], on_progress: Callable[[Progress], object], total: int | None
    ) -> Progress:
        """
        Verify everything, also beside a running service. Keys are compared with their objects, but for encrypted ones:
        of those the keyring alone can tell size and tag.

        @param total: what L{count} said.
        """
        done = run(scrub(self.directory, InlineDisk(), on_finding, on_progress, total))
        for finding in compare_keys(self._namespace, self.directory):
            on_finding(finding)
        return done

    def uploads(self) -> list[Upload]:
        """
        The uploads that are open, also beside a running service.

        @raise StartFailed: if the store is of another format, or cannot be read.
        """
        layout = Layout(self.directory)
        uploads = []
        try:
            check_format(self.directory)
            for index in names_in(layout.uploads):
                for upload_id in names_in(f"{layout.uploads}/{index}"):
                    try:
                        uploads.append(describe_upload(layout.upload(upload_id), upload_id))
                    except NoSuchUpload:
                        pass  # it ended meanwhile
        except OSError as error:
            raise StartFailed(f"{error.filename or self.directory} cannot be read: {error.strerror}") from None
        return uploads

    def expire_uploads(self, age: float) -> list[Upload]:
        """
        Remove uploads that were not touched for C{age} seconds.

        @return: what they were.
        @raise RootInUse: if a service runs on the root.
        """
        lock = RootLock(self._root)
        lock.acquire()
        try:
            self._pair.verify()
            space = WormerDataSpace(WormerSettings(self.directory), InlineDisk())
            space.start()
            try:
                there = self.uploads()
                expired: list[str] = result(space.expire_uploads(age))
            finally:
                result(space.stop())
        finally:
            lock.release()
        return [upload for upload in there if upload.id in expired]


def check_pair(settings: Settings) -> None:
    """@raise StartFailed: if namespace and data space have stamps of different stores."""
    make_pair(settings).check()


def join(settings: Settings) -> None:
    """
    Make namespace and data space one store, whatever is in them.

    @raise StartFailed: if one of them is not there, or cannot be written.
    @raise RootInUse: if a service runs on the root.
    """
    for directory in (settings.namespace_directory, settings.objects_directory):
        if not os.path.isdir(directory):
            raise StartFailed(f"there is nothing to be joined: {os.path.abspath(directory)} is not a directory")
    lock = RootLock(os.path.abspath(settings.root))
    lock.acquire()
    try:
        make_pair(settings).join()
    finally:
        lock.release()


@implementer(IConsumer)
class _Writing:
    """A consumer that calls a function."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def write(self, data: bytes) -> None:
        """Hand on."""
        self._write(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """It writes as it likes."""

    def unregisterProducer(self) -> None:
        """It has no more."""


class _Interrupted(Exception):
    """Ctrl-C while pieces were taken, as an error that goes the way of errors."""


def _uninterrupted(pieces: Iterable[bytes]) -> Iterator[bytes]:
    try:
        yield from filter(None, pieces)
    except KeyboardInterrupt:
        raise _Interrupted from None


class LocalReading:
    """
    A range of an object, open; to be delivered or closed.

    @ivar length: bytes of the range.
    """

    def __init__(self, reader: IObjectReader) -> None:
        self._reader = reader
        self.length: int = reader.length

    def deliver(self, write: Callable[[bytes], object]) -> None:
        """
        Give all of it.

        @raise DamagedObject: before a block that is.
        """
        result(self._reader.deliver(_Writing(write)))

    def close(self) -> None:
        """Give it up. Harmless at any time."""
        self._reader.close()


class LocalStore:
    """
    The buckets of a root on which no service runs, opened by this process. A context manager: leaving it closes them.

    Its methods are those of an C{IObjectStore} and an C{IMaintained}, but that they wait and give their results.

    @param create: make the root if there is none.
    @raise StartFailed: if it cannot be opened, or holds no buckets.
    @raise WrongMasterKey: if it is encrypted, and the environment or the settings have not its master key.
    @raise RootInUse: if another process works on the root.
    """

    def __init__(self, settings: Settings, create: bool = False) -> None:
        root = os.path.abspath(settings.root)
        directory = os.path.join(root, os.path.relpath(settings.namespace_directory, settings.root))
        self._lock = RootLock(root)
        self._undo: list[Callable[[], object]] = []
        if not create and not os.path.isdir(directory):
            raise StartFailed(f"there are no buckets: {directory} is not a directory")
        disk = InlineDisk()
        # A copy: who runs a command in a program of his own keeps his environment.
        vault = make_vault(settings, take_master_key(dict(os.environ), settings.master_key_file), follow=True)
        try:
            self._lock.acquire()
            self._undo.append(self._lock.release)
            self._start(vault)
            self._start(make_pair(settings))
            wormer = make_wormer(settings, disk, vault.is_open)
            space = make_space(settings, wormer, vault, disk) if vault.is_open else wormer
            # The clock stands still: what a service does now and then is done at the end.
            names = make_names(settings, Clock(), disk, vault, vault.is_open and vault.keyring.seal_names)
            self._store = LocalObjectStore(space, names, disk)
            for part in (space, names):
                self._start(part)
            # A command does what it is to do; a service, or a check, sees to what a crash left.
            self._store.start(tidy=False)
            self._undo.append(lambda: result(self._store.stop()))
        except BaseException:
            self.close()
            raise

    def _start(self, part: Any) -> None:
        part.start()
        self._undo.append(lambda: result(part.stop()))

    def __enter__(self) -> LocalStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Bring everything to disk, and close it."""
        while self._undo:
            self._undo.pop()()

    def create_bucket(self, name: str) -> Bucket:
        """Make a bucket."""
        return result(self._store.create_bucket(name))

    def get_bucket(self, name: str) -> Bucket:
        """What is known of a bucket."""
        return result(self._store.get_bucket(name))

    def set_bucket_metadata(self, name: str, metadata: Metadata) -> Bucket:
        """Give a bucket other metadata."""
        return result(self._store.set_bucket_metadata(name, metadata))

    def delete_bucket(self, name: str) -> None:
        """Remove a bucket."""
        result(self._store.delete_bucket(name))

    def list_buckets(self) -> list[Bucket]:
        """All."""
        return result(self._store.list_buckets())

    def usage(self, bucket: str) -> tuple[int, int]:
        """How many objects a bucket has, and their bytes."""
        return result(self._store.usage(bucket))

    def list_objects(self, bucket: str, prefix: str, delimiter: str, after: str, limit: int = 1000) -> Listing:
        """A page of a bucket."""
        return result(self._store.list_objects(bucket, prefix, delimiter, after, limit))

    def head(self, bucket: str, key: str) -> ObjectInfo:
        """What is known of an object."""
        return result(self._store.head(bucket, key))

    def put(
        self,
        bucket: str,
        key: str,
        pieces: Iterable[bytes],
        size: int | None,
        content_type: str,
        metadata: Metadata,
        condition: Condition,
        md5: bool,
    ) -> ObjectInfo:
        """Store an object; its pieces are taken as they are wanted."""
        source = BytesSource(_uninterrupted(pieces))
        try:
            return result(self._store.put(bucket, key, source, size, content_type, metadata, condition, md5))
        except _Interrupted:
            raise KeyboardInterrupt from None

    def get(self, bucket: str, key: str, offset: int = 0, length: int | None = None) -> LocalReading:
        """
        Open a range of an object: what there is of it.

        @raise InvalidRange: if there is nothing.
        """
        if offset or length is not None:
            size = self.head(bucket, key).size
            if offset >= size:
                raise InvalidRange(offset, length, size)
            length = size - offset if length is None else min(length, size - offset)
        return LocalReading(result(self._store.get(bucket, key, offset, length)))

    def delete(self, bucket: str, key: str) -> ObjectInfo:
        """Remove an object."""
        return result(self._store.delete(bucket, key))

    def copy(
        self,
        bucket: str,
        key: str,
        source_bucket: str,
        source_key: str,
        content_type: str | None,
        metadata: Metadata | None,
        condition: Condition,
    ) -> ObjectInfo:
        """Store an object under another key."""
        return result(self._store.copy(bucket, key, source_bucket, source_key, content_type, metadata, condition))

    def check(self, progress: Callable[[int], object], repair: bool) -> list[Problem]:
        """Compare keys, index and bytes."""
        return result(self._store.check(progress, repair))

    def reindex(self, progress: Callable[[int], object]) -> Indexed:
        """Make the index of keys anew."""
        return result(self._store.reindex(progress))
