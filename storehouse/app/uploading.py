"""
The upload door put together: its certificate, accounts, resumable uploads and resources.

A part of L{storehouse.app.service}: it names concrete classes.
"""

from __future__ import annotations

from typing import cast
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storehouse.app.lifecycle import StorehouseService
from storehouse.app.sealing import BUCKET, make_accounts
from storehouse.config import Settings
from storehouse.core.budget import ByteBudget
from storehouse.core.disk import IDisk
from storehouse.core.jobs import deferred, settled
from storehouse.core.keys.vault import Vault
from storehouse.core.tls.server import ServerTLS, choose_source
from storehouse.core.turns import Reactor
from storehouse.errors import AlreadyExists
from storehouse.frontends.http.site import DoorSite, Guard, security_fields
from storehouse.frontends.upload.door import UploadDoor
from storehouse.storage.accounts.local import LocalAccounts, show_sign_in_link
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
            await self._store.create_bucket(BUCKET)
        except AlreadyExists:
            pass  # made by an earlier start, or by another door

    @deferred
    async def stop(self) -> None:
        """Wait for that."""
        if self._making is not None:
            await settled(self._making)


class _Welcome:
    """Writes down where the door is, and lets in who starts a storehouse for the first time."""

    _log = Logger()

    def __init__(self, accounts: LocalAccounts, service: StorehouseService, settings: Settings) -> None:
        self._accounts = accounts
        self._service = service
        self._settings = settings
        self._telling: Deferred[None] | None = None

    @property
    def url(self) -> str:
        """The base of the door's URLs."""
        return self._settings.https.url.rstrip("/") or self._service.url("https")

    def start(self) -> None:
        """Check in the background whether anybody can sign in, and log a link if nobody can."""
        self._telling = Deferred.fromCoroutine(self._tell())
        self._telling.addErrback(
            lambda failure: self._log.failure("while checking whether anybody can sign in", failure=failure)
        )

    async def _tell(self) -> None:
        await self._accounts.write_url(self.url)
        await show_sign_in_link(self._accounts, self.url)

    @deferred
    async def stop(self) -> None:
        """Wait for that."""
        if self._telling is not None:
            await settled(self._telling)


def add_uploads(
    service: StorehouseService,
    settings: Settings,
    reactor: Reactor,
    disk: IDisk,
    objects: IObjectStore,
    resumable: LocalResumableUploads,
    registry: CollectorRegistry,
    vault: Vault | None,
    budget: ByteBudget,
) -> None:
    """
    Add the door, and what it needs, to a service.

    @param vault: the keys by which the secret of the accounts is encrypted; C{None} to leave it plain.
    @param budget: the memory for what is not an upload.
    """
    accounts = make_accounts(settings, disk, None if vault is None else lambda: vault.keyring)
    welcome = _Welcome(accounts, service, settings)
    service.stores.update(accounts=accounts, uploads=_Bucket(objects))
    service.chores.append(welcome)
    service.opening.chores.append((welcome, ("accounts",), "https"))
    source = choose_source(
        settings.https.endpoint, settings.tls_directory, settings.https.cert, settings.https.key, settings.https.url
    )
    tls = service.tls["https"] = ServerTLS(source, reactor, disk, settings.https.client_ca)
    service.chores.append(tls)
    service.opening.chores.append((tls, (), "https"))
    door = UploadDoor(
        objects,
        accounts,
        resumable,
        settings.https,
        settings.shares.uploads,
        base_url=lambda: welcome.url,
        directory=settings.objects_directory,
        connections=lambda: len(service.sites["https"].connections),
        registry=registry,
        disk=disk,
        clock=reactor,
    )
    site = DoorSite(
        door.resource,
        reactor,
        settings.connections,
        access_log=settings.access_log,
        name="https",
        fields=lambda: security_fields(tls.wants_https_only),
        budget=budget,
        trusted=settings.proxies,
        # Who makes a request, and from which page, its own gate asks.
        guard=Guard(settings.allowed_host | {urlsplit(settings.https.url).hostname or ""}, checks_origins=False),
    )
    site.asks = True
    site.explain = door.explain
    site.end_answers = door.stop
    service.sites["https"] = site
    for collector in (site, tls, *door.collectors):
        registry.register(cast(Collector, collector))  # ours have collect(), but not the library's class
