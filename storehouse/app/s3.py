"""
The S3 door put together.

A part of L{storehouse.app.service}: it names concrete classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector
from twisted.internet.interfaces import IReactorTime

from storehouse.app.lifecycle import StorehouseService
from storehouse.config import Settings
from storehouse.core.budget import ByteBudget
from storehouse.core.jobs import IDisk
from storehouse.core.turns import Reactor
from storehouse.frontends.http.site import DoorSite, Guard
from storehouse.frontends.s3.access.authorize import authorize
from storehouse.frontends.s3.call import Door
from storehouse.frontends.s3.door import S3Door
from storehouse.frontends.s3.signing.authenticator import Authenticator
from storehouse.frontends.s3.transfers import Transfers
from storehouse.storage.accounts.interfaces import IAccounts
from storehouse.storage.objects.interfaces import IObjectStore
from storehouse.storage.resumable.interfaces import IResumableUploads

__all__ = ["add_s3"]


def add_s3(
    service: StorehouseService,
    settings: Settings,
    reactor: Reactor,
    disk: IDisk,
    objects: IObjectStore,
    accounts: IAccounts,
    resumable: IResumableUploads,
    registry: CollectorRegistry,
    budget: ByteBudget,
    is_sealed: bool,
    audit: Callable[[object], object],
    reserved: frozenset[str],
) -> None:
    """
    Add the door to a service.

    @param budget: the memory for requests and responses.
    @param is_sealed: whether all that is stored is encrypted.
    @param audit: gets authorization decisions, and changes of rights.
    @param reserved: see L{Door}.
    """
    shared = Door(
        objects,
        accounts,
        settings.s3,
        cast(IReactorTime, reactor),
        disk,
        is_sealed,
        audit=audit,
        resumable=resumable,
        reserved=reserved,
        transfers=Transfers(settings.s3.max_uploads, settings.memory // 16),
    )
    door = S3Door(shared, Authenticator(accounts, reactor.seconds, settings.s3.region), authorize)
    below = {f"*.{domain.removeprefix('*.')}" for domain in settings.s3.domain}
    site = DoorSite(
        door.resource,
        cast(IReactorTime, reactor),
        settings.connections,
        door.lane if settings.fast_lane else None,
        access_log=settings.access_log,
        name="s3",
        budget=budget,
        trusted=settings.proxies,
        # Requests are signed; what pages of other sites may ask for, CORS says.
        guard=Guard(settings.allowed_host | settings.s3.domain | below, checks_origins=False),
    )
    site.asks = True
    site.begin = door.begin
    site.explain = door.explain
    site.explain_refusal = door.explain_refusal
    service.sites["s3"] = site
    if not settings.s3.endpoint:
        service.optional.add("s3")
    registry.register(cast(Collector, site))
    registry.register(cast(Collector, shared.transfers))
