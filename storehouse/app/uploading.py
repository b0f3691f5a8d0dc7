"""
The upload door put together: its certificate, accounts, resumable uploads and resources.

A part of L{storehouse.app.service}: it names concrete classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from storehouse.app.lifecycle import StorehouseService
from storehouse.config import Settings
from storehouse.core.budget import ByteBudget
from storehouse.core.jobs import IDisk, deferred, settled
from storehouse.core.names import UPLOADS
from storehouse.core.tls.server import ServerTLS
from storehouse.core.turns import Reactor
from storehouse.errors import AlreadyExists
from storehouse.frontends.http.site import DoorSite, Guard, security_fields
from storehouse.frontends.upload.door import UploadDoor
from storehouse.storage.accounts.local import LocalAccounts
from storehouse.storage.objects.interfaces import IObjectStore
from storehouse.storage.resumable.local import LocalResumableUploads

__all__ = ["add_uploads"]


class _Bucket:
    """Sees to it that the bucket is there."""

    failed = None

    def __init__(self, store: IObjectStore) -> None:
        self._store = store
        self._making: Deferred[None] | None = None

    def start(self) -> None:
        """Begin to make it."""
        self._making = Deferred.fromCoroutine(self._make())

    async def _make(self) -> None:
        try:
            await self._store.create_bucket(UPLOADS)
        except AlreadyExists:
            pass  # made by an earlier start, or by another door

    @deferred
    async def stop(self) -> None:
        """Wait for that."""
        if self._making is not None:
            await settled(self._making)


def add_uploads(
    service: StorehouseService,
    settings: Settings,
    reactor: Reactor,
    disk: IDisk,
    objects: IObjectStore,
    accounts: LocalAccounts,
    resumable: LocalResumableUploads,
    registry: CollectorRegistry,
    budget: ByteBudget,
    audit: Callable[[object], object],
) -> None:
    """
    Add the door, and what it needs, to a service.

    @param budget: the memory for what is not an upload.
    """
    service.stores["uploads"] = _Bucket(objects)
    tls = cast(ServerTLS, service.tls["https"])
    door = UploadDoor(
        objects,
        accounts,
        resumable,
        settings.https,
        settings.shares.uploads,
        base_url=lambda: settings.https.url.rstrip("/") or service.url("https"),
        directory=settings.objects_directory,
        connections=lambda: len(service.sites["https"].connections),
        registry=registry,
        disk=disk,
        clock=cast(IReactorTime, reactor),
        audit=audit,
    )
    site = DoorSite(
        door.resource,
        cast(IReactorTime, reactor),
        settings.connections,
        access_log=settings.access_log,
        name="https",
        fields=lambda: security_fields(tls.wants_https_only),
        budget=budget,
        trusted=settings.proxies,
        # Its own gate checks the user and the origin of a request.
        guard=Guard(settings.allowed_host | {urlsplit(settings.https.url).hostname or ""}, checks_origins=False),
    )
    site.asks = True
    site.explain = door.explain
    site.end_answers = door.stop
    service.sites["https"] = site
    for collector in (site, *door.collectors):
        registry.register(cast(Collector, collector))  # ours have collect(), but not the library's class
