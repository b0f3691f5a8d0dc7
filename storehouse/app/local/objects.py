"""The objects of a root as files: what can be looked at beside a running service."""

from __future__ import annotations

import os
from collections.abc import Callable

from storehouse.app.local.waiting import run
from storehouse.app.sealing import make_stamps
from storehouse.config import Settings
from storehouse.core.jobs import InlineDisk
from storehouse.core.root import RootLock
from storehouse.errors import DamagedEntry, DamagedObject, NoSuchObject, NoSuchUpload, StartFailed
from storehouse.storage.dataspace.directory import Layout, check_format, names_in
from storehouse.storage.dataspace.interfaces import Upload
from storehouse.storage.dataspace.opened import OpenObject
from storehouse.storage.dataspace.scrub import Finding, Progress, count, scrub
from storehouse.storage.dataspace.uploads import describe_upload
from storehouse.storage.dataspace.values import check_expected
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings
from storehouse.storage.namespace.interfaces import Entry
from storehouse.storage.namespace.tree import KeyPath, Tree
from storehouse.storage.objects.pair import expected_of
from storehouse.storage.sealed.formats import is_sealed

__all__ = ["Finding", "LocalObjects", "Progress", "Upload"]


class LocalObjects:
    """
    The objects of a root, on this machine.

    @ivar directory: their directory.
    @ivar uncompared: after L{scrub}, keys of encrypted objects: of these the keyring alone can tell size and tag.
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
        self.uncompared = 0
        self._stamps = make_stamps(settings)
        self._stamps.check()

    def count(self, on_count: Callable[[int], object]) -> int:
        """Bytes of all parts. C{on_count} is called with the number of bytes as they are found."""
        return run(count(self.directory, InlineDisk(), on_count))

    def scrub(
        self, on_finding: Callable[[Finding], object], on_progress: Callable[[Progress], object], total: int | None
    ) -> Progress:
        """
        Verify everything, also beside a running service, and compare keys with their objects, unless these are encrypted.

        @param total: what L{count} said.
        """
        done = run(scrub(self.directory, InlineDisk(), on_finding, on_progress, total))
        self._compare_keys(on_finding)
        return done

    def _compare_keys(self, on_finding: Callable[[Finding], object]) -> None:
        """
        Find keys whose default version is not what its object is. Not among them: versions and objects that are damaged by
        themselves.
        """
        reader = Tree(self._namespace)
        layout = Layout(self.directory)
        self.uncompared = 0
        for bucket in reader.bucket_names():
            for _, key in reader.walk(bucket):
                if key is None:
                    continue
                key_path = reader.key_path(bucket, key, key.encode())
                entry = _current(reader, key_path)
                if entry is None:
                    continue
                reason = _difference(layout, entry)
                if reason is None:
                    self.uncompared += 1
                # An object that is replaced or removed meanwhile has another entry, or none, before its bytes go.
                elif reason and entry == _current(reader, key_path):
                    on_finding(Finding(entry.id, None, None, f"{bucket}/{key}: {reason}", "key"))

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
            self._stamps.verify()
            space = WormerDataSpace(WormerSettings(self.directory), InlineDisk())
            space.start()
            try:
                there = self.uploads()
                expired: list[str] = run(space.expire_uploads(age))
            finally:
                run(space.stop())
        finally:
            lock.release()
        return [upload for upload in there if upload.id in expired]


def _current(reader: Tree, key_path: KeyPath) -> Entry | None:
    try:
        return reader.current(key_path)
    except DamagedEntry:
        return None


def _difference(layout: Layout, entry: Entry) -> str | None:
    """What differs between an entry and its object; empty for nothing, C{None} for an encrypted object."""
    try:
        opened = OpenObject(layout.object(entry.id), entry.id)
        opened.close()
    except NoSuchObject:
        return "its object is not there"
    except (DamagedObject, OSError):
        return ""
    if is_sealed(opened.info.metadata):
        return None
    try:
        info = opened.info
        check_expected(entry.id, info.etag, info.size, expected_of(entry, WormerDataSpace.tags_by_content))
    except DamagedObject as error:
        return error.reason
    return ""
