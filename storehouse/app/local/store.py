"""The object store of a root on which no service runs, opened by this process."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

from twisted.internet.task import Clock
from zope.interface import implementer

from storehouse.app.notifying import make_notices
from storehouse.app.sealing import make_names, make_space, make_stamps, make_vault, make_wormer
from storehouse.config import Settings
from storehouse.core.jobs import IDisk, InlineDisk, deferred
from storehouse.core.keys.masterkey import take_master_key
from storehouse.core.root import RootLock
from storehouse.core.streams import IByteStream, Piece
from storehouse.errors import StartFailed
from storehouse.storage.accounts.journal import ChangeJournal
from storehouse.storage.namespace.interfaces import Bucket, Metadata
from storehouse.storage.objects.store import LocalObjectStore
from storehouse.storage.objects.values import ObjectInfo

__all__ = ["LocalStore", "check_stamps", "join", "open_store"]


class _Interrupted(Exception):
    """Ctrl-C while a piece was read, as an error that goes the way of errors, so that all is cleaned up."""


class _Stream(Protocol):
    """What a command stores."""

    def read(self) -> Awaitable[Piece]: ...

    def close(self) -> Awaitable[object]: ...


@implementer(IByteStream)
class _Uninterrupted:
    """Another stream, which may be of a kind that knows nothing of Twisted."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    async def read(self) -> Piece:
        try:
            piece: Piece = await self._stream.read()
        except KeyboardInterrupt:
            raise _Interrupted from None
        return piece

    @deferred
    async def close(self) -> None:
        await self._stream.close()


class LocalStore(LocalObjectStore):
    """The store, for a command that can be interrupted where it reads what it stores."""

    journal: ChangeJournal

    @deferred
    async def set_bucket_metadata(self, name: str, metadata: Metadata) -> Bucket:
        """See the base; the audit of the next service records it."""
        with self.journal.change("set-bucket-metadata", name, f"public={','.join(metadata.get('public', ()))}"):
            return await super().set_bucket_metadata(name, metadata)

    @deferred
    async def put(self, bucket: str, key: str, stream: _Stream, *args: object, **kwargs: object) -> ObjectInfo:
        """See L{IObjectStore.put<storehouse.storage.objects.interfaces.IObjectStore.put>}."""
        try:
            return await super().put(bucket, key, _Uninterrupted(stream), *args, **kwargs)  # type: ignore[arg-type]
        except _Interrupted:
            raise KeyboardInterrupt from None


@asynccontextmanager
async def open_store(settings: Settings, create: bool = False, disk: IDisk | None = None) -> AsyncIterator[LocalStore]:
    """
    Open it. When it is left, everything is on disk and closed.

    @param create: make the root if there is none.
    @param disk: where files are read and written; C{None} for the thread that calls, so that nothing waits
        (L{run<storehouse.app.local.waiting.run>}).
    @raise StartFailed: if it cannot be opened, or holds no buckets.
    @raise WrongMasterKey: if it is encrypted, and the environment or the settings have not its master key.
    @raise RootInUse: if another process works on the root.
    """
    root = os.path.abspath(settings.root)
    directory = os.path.join(root, os.path.relpath(settings.namespace_directory, settings.root))
    if not create and not os.path.isdir(directory):
        raise StartFailed(f"there are no buckets: {directory} is not a directory")
    disk = InlineDisk() if disk is None else disk
    # A copy: who runs a command in a program of his own keeps his environment.
    vault = make_vault(settings, take_master_key(dict(os.environ), settings.master_key_file), follow=True)
    lock = RootLock(root)
    async with AsyncExitStack() as opened:

        def start(part: Any) -> None:
            part.start()
            opened.push_async_callback(part.stop)

        lock.acquire()
        opened.callback(lock.release)
        start(vault)
        start(make_stamps(settings))
        wormer = make_wormer(settings, disk, vault.is_open)
        space = make_space(settings, wormer, vault, disk) if vault.is_open else wormer
        # The clock stands still: what a service does now and then is done at the end.
        names = make_names(settings, Clock(), disk, vault, vault.is_open and vault.keyring.seal_names)
        # A service will deliver what is announced.
        notices = make_notices(settings, disk, vault if vault.is_open else None)
        store = LocalStore(space, names, disk, notices=notices)
        store.journal = ChangeJournal(root, time.time)
        start(space)
        start(names)
        start(notices)
        # A command does what it is to do; a service, or a check, sees to what a crash left.
        store.start(tidy=False)
        opened.push_async_callback(store.stop)
        yield store


def check_stamps(settings: Settings) -> None:
    """@raise StartFailed: if namespace and data space have stamps of different stores."""
    make_stamps(settings).check()


def join(settings: Settings) -> None:
    """
    Make namespace and data space one store, whatever is in them.

    @raise StartFailed: if one of them is not there, or cannot be written.
    @raise RootInUse: if a service runs on the root.
    """
    for directory in (settings.namespace_directory, settings.objects_directory):
        if not os.path.isdir(directory):
            raise StartFailed(f"nothing to join: {os.path.abspath(directory)} is not a directory")
    lock = RootLock(os.path.abspath(settings.root))
    lock.acquire()
    try:
        make_stamps(settings).join()
    finally:
        lock.release()
