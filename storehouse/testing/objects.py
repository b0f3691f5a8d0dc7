"""An object store in memory."""

from __future__ import annotations

import time

from twisted.internet.interfaces import IReactorTime

from storehouse.core.jobs import InlineDisk
from storehouse.events import Events
from storehouse.storage.notifications.interfaces import INotices
from storehouse.storage.objects.store import LocalObjectStore
from storehouse.testing.dataspace import MemoryDataSpace
from storehouse.testing.namespace import MemoryNamespace

__all__ = ["memory_object_store"]


def memory_object_store(
    events: Events | None = None, clock: IReactorTime | None = None, notices: INotices | None = None
) -> LocalObjectStore:
    """
    A started L{IObjectStore<storehouse.storage.objects.interfaces.IObjectStore>} without files, threads or a reactor: it is
    the store of the service, on a data space and a namespace in memory. All that it is given it keeps in memory.

    @param events: where it reports what happened, such as C{ObjectStored}.
    @param clock: for the times of objects and uploads; the system's if there is none.
    @param notices: announces changes; C{None} for none.
    """
    space = MemoryDataSpace(clock)
    space.start()
    store = LocalObjectStore(
        space, MemoryNamespace(), InlineDisk(), events, time.time if clock is None else clock.seconds, notices
    )
    store.start()
    return store
