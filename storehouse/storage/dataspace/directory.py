"""The directory of a Wormer store: its settings, its files, the disk threads that change them, and what failures mean."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import attrs
from twisted.logger import Logger

from storehouse.core import root
from storehouse.core.budget import StreamMemory
from storehouse.core.disk import IDisk
from storehouse.core.files import NO_SPACE, Files
from storehouse.core.jobs import KeyedLocks, whole
from storehouse.core.operations import Operations
from storehouse.core.streams import IByteStream, Piece
from storehouse.errors import AlreadyExists, DamagedObject, NoSpace, StorageFailed, StorehouseError, Unavailable
from storehouse.storage.dataspace.hashes import HASHES, find_hash
from storehouse.storage.dataspace.incoming import write_beside
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.dataspace.layout import Layout
from storehouse.storage.dataspace.metrics import SpaceMetrics
from storehouse.storage.dataspace.staging import PartWriter, Staging
from storehouse.storage.dataspace.values import Bounds

__all__ = ["Receiver", "StoreDirectory", "WormerSettings"]

P = ParamSpec("P")
T = TypeVar("T")


@attrs.frozen
class WormerSettings:
    """
    How a store is kept.

    @ivar directory: an absolute path; made if it is not there.
    @ivar hash: the name of the hash of new parts.
    @ivar block_size: bytes of the blocks of new parts.
    @ivar durable: whether what is acknowledged is on disk, or only with the operating system.
    @ivar memory: bytes that all writers together hold, and that all readers that wait for their consumers hold.
    @ivar bounds: of what is kept with objects and parts.
    @ivar recovered: where a repair puts what it takes out; empty for C{recovered} in the directory.
    """

    directory: str
    hash: str = HASHES[0]
    block_size: int = 1 << 20
    durable: bool = True
    memory: int = 64 << 20
    bounds: Bounds = attrs.Factory(Bounds)
    recovered: str = ""


class Receiver:
    """One part on its way in: what comes is written, in a disk thread."""

    def __init__(self, directory: StoreDirectory, number: int, size: int | None, target: str) -> None:
        self.staging = directory.staging()
        self._directory = directory
        self._number = number
        self._size = size
        self._target = target
        self._writer: PartWriter | None = None

    def write(self, pieces: Sequence[Piece]) -> None:
        """These are next."""
        if self._writer is None:
            if self._target:
                # Better now than after all of it was taken. The rename decides, at the end.
                self._directory.check_absent(self._target)
            self._begin()
        assert self._writer is not None
        self._writer.write(pieces)

    def _begin(self) -> None:
        directory = self._directory
        self._writer = PartWriter(self.staging, self._number, directory.hash, directory.settings.block_size, self._size)

    def finish(self, pieces: Sequence[Piece]) -> Part:
        """These are the last."""
        if self._writer is None:
            self._begin()
        assert self._writer is not None
        self._writer.write(pieces)
        return self._writer.finish()


class _Staged:
    # A class: contextlib's way costs as much as writing a small file.

    def __init__(self, directory: StoreDirectory, staging: Staging) -> None:
        self._directory = directory
        self._staging = staging

    async def __aenter__(self) -> Staging:
        return self._staging

    async def __aexit__(self, kind: object, error: object, traceback: object) -> None:
        if error is not None:
            await self._directory.discard(self._staging)


class StoreDirectory:
    """
    See the module.

    @ivar failed: why nothing is taken any more, or C{None}.
    @ivar kept: paths of what was removed and is kept for a while; C{None} if nothing is.
    """

    _log = Logger()

    def __init__(
        self,
        settings: WormerSettings,
        disk: IDisk,
        on_failure: Callable[[StorehouseError], None],
        files: Files,
    ) -> None:
        self.settings = settings
        self.disk = disk
        self.files = files
        self.hash = find_hash(settings.hash)
        self.layout = Layout(settings.directory)
        self.operations = Operations(
            "the object store",
            "storehouse_objects_operation_seconds",
            "Operations on stored objects; for get until the object is open.",
        )
        self.metrics = SpaceMetrics(self.operations)
        self.objects = KeyedLocks()
        self.uploads = KeyedLocks()
        self.stream_memory = StreamMemory(settings.memory)
        self.failed: StorehouseError | None = None
        self.kept: list[str] | None = None
        self._on_failure = on_failure

    # -- disk threads --------------------------------------------------------------------------

    async def run(self, f: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """
        Run C{f} in a disk thread, to its end.

        @raise StorehouseError: what it raised; or what became of an C{OSError}.
        """
        try:
            return await whole(self.disk, f, *args, **kwargs)
        except (OSError, StorehouseError) as error:
            raise self.explained(error) from None

    def explained(self, error: Exception) -> Exception:
        """The error as users get it. Counts damage, and remembers final failures."""
        if isinstance(error, DamagedObject):
            self.metrics.damaged += 1
            self._log.error(
                "damaged: {id}, part {part}, block {block}: {reason}",
                id=error.id,
                part=error.part,
                block=error.block,
                reason=error.reason,
            )
        elif isinstance(error, StorageFailed):
            self.fail(error)
        elif isinstance(error, OSError):
            return self._explain(error)
        return error

    def _explain(self, error: OSError) -> StorehouseError:
        if error.errno in NO_SPACE:
            return NoSpace("no space on the disk for objects; nothing was changed")
        self._log.error("the object store met {error}", error=str(error))
        if error.errno == errno.EROFS:
            return Unavailable("the file system of the objects is read-only")
        return Unavailable(f"the object store failed: {error.strerror or error}")

    def fail(self, error: StorehouseError) -> None:
        """Nothing may be acknowledged any more."""
        if self.failed is None:
            self.failed = self.operations.refusal = error
            self.metrics.failed = True
            self._on_failure(error)

    # -- writing -------------------------------------------------------------------------------

    def staging(self) -> Staging:
        """A new staging area. Nothing is made yet."""
        return Staging(self.files, self.layout, self.settings.durable)

    def staged(self, staging: Staging) -> _Staged:
        """A staging area of which nothing is left behind if what is done with it fails: for C{async with}."""
        return _Staged(self, staging)

    async def discard(self, staging: Staging) -> None:
        """Leave nothing of a staging area. What cannot be removed is left for the next start."""
        try:
            await whole(self.disk, staging.discard)
        except OSError as error:
            self._log.error("{path} could not be removed: {error}", path=staging.path, error=str(error))

    async def receive(self, receiver: Receiver, stream: IByteStream, size: int | None) -> list[Piece]:
        """
        Take all that a stream has.

        @return: what has not been written yet, less than a share of the memory.
        """
        failed: list[Exception] = []

        def write(pieces: list[Piece]) -> None:
            try:
                receiver.write(pieces)
            except Exception as error:
                failed.append(error)
                raise

        try:
            return await write_beside(stream, self.disk, self.stream_memory, size, self.settings.block_size, write)
        except Exception as error:
            # What the stream failed with is not ours to explain.
            if error not in failed:
                raise
            raise self.explained(error) from None

    def check_absent(self, path: str) -> None:
        """In a disk thread: @raise AlreadyExists: if something is there."""
        if os.path.lexists(path):
            raise AlreadyExists(f"{os.path.basename(path)} already exists")

    def make_index(self, path: str) -> None:
        """In a disk thread: make the INDEX directory that a path goes into. What is in its place is set aside."""
        try:
            self.layout.make_index(self.files, path, self.settings.durable)
        except FileExistsError:
            self.set_aside(os.path.dirname(path), "it was where a directory of objects belongs")
            self.layout.make_index(self.files, path, self.settings.durable)

    def set_aside(self, path: str, why: str) -> str:
        """In a disk thread: take something out of its place, and keep it. @return: where it is now."""
        own = os.path.join(self.layout.root, "recovered")
        kept = _move_aside(self.files, (self.settings.recovered or own, own), path, why)
        self._log.warn("{path} is now {kept}: {why}", path=path, kept=kept, why=why)
        return kept

    # -- removing ------------------------------------------------------------------------------

    def move_out(self, path: str) -> str:
        """
        In a disk thread: take something out of its place for good.

        @return: where it is now.
        @raise FileNotFoundError: if it is not there.
        """
        gone = self.layout.outgoing()
        if self.kept is not None and os.path.dirname(os.path.dirname(path)) == self.layout.data:
            gone = self.layout.kept(os.path.basename(path))
        # What describes it goes first: without that nothing is taken for whole.
        self.files.move(path, gone, ("data.json", "parts.json", "upload.json"))
        # Before the bytes are removed: after a power cut the object is there whole or not at all.
        if self.settings.durable:
            try:
                self.files.sync_directory(os.path.dirname(path))
            except OSError as error:
                raise StorageFailed(
                    f"{os.path.dirname(path)} could not be synced to disk: {error.strerror or error}"
                ) from None
        return gone

    def remove(self, path: str) -> None:
        """In a disk thread: remove what L{move_out} gave. What cannot be removed is left for the next start."""
        kept = self.kept
        if kept is not None and os.path.basename(path).startswith("kept."):
            kept.append(path)
            return
        try:
            if stat.S_ISDIR(os.lstat(path).st_mode):
                self.files.remove_tree(path)
            else:
                self.files.unlink(path)
        except OSError as error:
            self._log.error("{path} could not be removed: {error}", path=path, error=str(error))


def _move_aside(files: Files, places: tuple[str, ...], path: str, why: str) -> str:
    """
    Move a file or directory out of the store. It is on disk where it is then, with its note, when this returns.

    @param places: directories for it; the first that is on its file system is taken.
    @return: where it is now.
    @raise OSError: with it where it was.
    """
    device = os.lstat(path).st_dev
    for place in places:
        files.make_directory(place)
        # A rename is atomic and keeps the bytes as they are; a copy of something damaged might fail or differ.
        if os.stat(place).st_dev != device:
            continue
        try:
            target = root.set_aside(files, place, path, path, why)
        except OSError as error:
            if error.errno == errno.EXDEV:
                continue
            raise
        # The new name is on disk by now (set_aside syncs it); only then may the old one go from the disk.
        files.sync_directory(os.path.dirname(path))
        return target
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
