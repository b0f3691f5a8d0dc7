"""
The service: one storehouse process, put together.

Beside L{storehouse.app.local}, this, L{storehouse.app.archiving} and L{storehouse.app.sealing} alone name the concrete classes behind the interfaces;
L{storehouse.app.lifecycle} opens and closes what it makes.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

import attrs
from prometheus_client import CollectorRegistry, Info
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.resource import IResource

from storehouse.app.acting import acting_doors, managed, permitted, stream_rights
from storehouse.app.audit import Audit, CommandChanges, journal_of
from storehouse.app.lifecycle import StorehouseService
from storehouse.app.notifying import make_notices, make_targets
from storehouse.app.sealing import (
    make_accounts,
    make_names,
    make_resumable,
    make_space,
    make_stamps,
    make_vault,
    make_wormer,
)
from storehouse.config import Settings
from storehouse.config.shipping import StoreSettings
from storehouse.core.budget import ByteBudget
from storehouse.core.exits import Exits
from storehouse.core.jobs import DiskThreads, deferred, whole
from storehouse.core.names import UPLOADS
from storehouse.core.native import MISSING
from storehouse.core.platform import file_limit
from storehouse.core.root import RootLock
from storehouse.core.turns import Reactor, Turns
from storehouse.errors import InvalidSetting, Unavailable
from storehouse.events import Events, StoreFailed
from storehouse.frontends.admin.door import AdminDoor, ReadinessMetric, versions
from storehouse.frontends.append.door import AppendDoor
from storehouse.frontends.http.lane import ILane
from storehouse.frontends.http.site import DoorSite, Guard
from storehouse.frontends.objects.door import ObjectsDoor
from storehouse.frontends.sfsp.chunks import BUCKET as CHUNKS
from storehouse.frontends.sfsp.chunks import Chunks
from storehouse.frontends.sfsp.factory import SFSPFactory
from storehouse.storage.accounts.interfaces import IAccounts
from storehouse.storage.appendlog.log import LocalAppendLog
from storehouse.storage.dataspace.chores import Expiry, Scrubber
from storehouse.storage.dataspace.holds import Holds
from storehouse.storage.dataspace.scrub import Finding
from storehouse.storage.objects.store import LocalObjectStore
from storehouse.storage.resumable.expiry import ResumableExpiry
from storehouse.storage.sealed.rekey import Rekeying
from storehouse.storage.streams.interfaces import IStreams

if TYPE_CHECKING:
    from storehouse.app.archiving import Shipping

__all__ = ["StorehouseService", "make_service"]

_log = Logger()


def _most_open(settings: Settings) -> int:
    """
    How many prefixes may be open, of two files a bucket each: what connections and other files leave of the
    limit.
    """
    limit = file_limit()
    left = limit - min(settings.connections.max_connections, limit // 4) - 256
    return max(2, min(1024, left // (2 * settings.append.buckets)))


def _within_files(settings: Settings) -> Settings:
    """
    With no more connections and uploads at once than this process may have files: at each door a quarter may be connections, and
    three for each upload are a fifth. Otherwise one client could have all of them, and nobody could connect to any door.
    """
    limit = file_limit()
    most, uploads = max(16, limit // 4), max(8, limit // 16)
    connections, https, s3 = settings.connections, settings.https, settings.s3
    if most < connections.max_connections or uploads < max(https.max_uploads, s3.max_uploads):
        _log.info(
            "this process may open {limit} files: each door serves {most} connections, and receives {uploads} uploads, at once",
            limit=limit,
            most=min(most, connections.max_connections),
            uploads=min(uploads, max(https.max_uploads, s3.max_uploads)),
        )
    return attrs.evolve(
        settings,
        connections=attrs.evolve(connections, max_connections=min(most, connections.max_connections)),
        https=attrs.evolve(https, max_uploads=min(uploads, https.max_uploads)),
        s3=attrs.evolve(s3, max_uploads=min(uploads, s3.max_uploads)),
    )


def _buckets_of_doors(settings: Settings) -> frozenset[str]:
    """The buckets that doors make when they need them, and those that archives are shipped to."""
    destinations = (each.settings for each in settings.tables.destinations)
    return frozenset({UPLOADS, CHUNKS, *(each.bucket for each in destinations if isinstance(each, StoreSettings))})


def make_service(
    settings: Settings,
    reactor: Reactor,
    exits: Exits | None = None,
    master_key: bytes | None = None,
    welcomes: bool = True,
) -> StorehouseService:
    """
    Put a storehouse together.  Nothing is opened before it is started.

    @param reactor: the reactor that will run it.
    @param exits: called when the process cannot start or gives up.
    @param master_key: by which everything is encrypted; C{None} to encrypt nothing.
    @param welcomes: whether a terminal is shown how to get in, as long as nobody is.
    @return: a service to be started before the reactor runs.
    """
    # Paths are relative to the directory in which the command was given; twistd may change to another one
    # before the start.
    settings = attrs.evolve(
        _within_files(settings),
        root=os.path.abspath(settings.root),
        append=attrs.evolve(settings.append, directory=os.path.abspath(settings.append_directory)),
        objects=attrs.evolve(settings.objects, directory=os.path.abspath(settings.objects_directory)),
    )
    if MISSING and settings.objects.hash == "auto":
        _log.warn(
            "new objects are checked by BLAKE3: there is no native module for HighwayHash256 ({reason})", reason=MISSING
        )
    clock = cast(IReactorTime, reactor)
    disk = DiskThreads(reactor)
    service = StorehouseService(settings, reactor, RootLock(settings.root), disk, exits)
    apart = [os.path.abspath(table.directory) for table in settings.tables.streams if table.directory]
    service.directories = [settings.root, settings.append_directory, settings.objects_directory, *apart]
    events = Events()
    events.subscribe(StoreFailed, service.store_failed)
    registry = CollectorRegistry()

    def register(collector: object) -> None:
        # Ours have collect(), but not the library's class.
        registry.register(cast(Collector, collector))

    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    turns = Turns(reactor)
    register(turns)
    Info("storehouse", "Versions of storehouse and of what it runs on.", registry=registry).info(versions())
    budget = ByteBudget(settings.shares.requests, clock, settings.connections.idle_timeout)
    register(budget)
    guard = Guard(settings.allowed_host)

    def add_site(name: str, resource: IResource, lane: ILane | None = None) -> None:
        site = DoorSite(
            resource,
            clock,
            settings.connections,
            lane=lane,
            access_log=settings.access_log,
            name=name,
            # Responses of the admin door are small, and are needed when there is no memory for others.
            budget=None if name == "admin" else budget,
            guard=guard,
            trusted=settings.proxies,
        )
        register(site)
        service.sites[name] = site

    sealed = master_key is not None
    # The first to be started: without the right key, and the right objects, nothing is touched.
    vault = service.stores["keyring"] = make_vault(settings, master_key)
    service.stores["stamps"] = make_stamps(settings)
    wormer = make_wormer(settings, disk, sealed, lambda error: events.publish(StoreFailed("data space", error)))
    space = make_space(settings, wormer, vault, disk) if sealed else wormer
    names = make_names(
        settings,
        clock,
        disk,
        vault,
        settings.seal_names,
        lambda error: events.publish(StoreFailed("namespace", error)),
    )
    notices = make_notices(
        settings, disk, vault if sealed else None, lambda error: events.publish(StoreFailed("spool of events", error))
    )
    objects = LocalObjectStore(space, names, disk, events, notices=notices)
    resumable = make_resumable(settings, clock, disk, objects, vault if sealed else None)
    shipping: Shipping | None = None
    if settings.tables.destinations:
        # Imported where it is asked for, as what the upload door needs is: each is a fifth of what a start costs.
        from storehouse.app.archiving import make_shipping

        shipping = make_shipping(settings, reactor, disk, events, objects)
    log: LocalAppendLog | None = None
    if "append" in settings.doors:
        log = LocalAppendLog(
            settings.append,
            reactor,
            disk,
            on_failure=lambda error: events.publish(StoreFailed("append log", error)),
            max_open=_most_open(settings),
            log_files=settings.log.level == "debug",
        )
        service.stores["append_log"] = log
        register(log)
        close: Callable[[str], Deferred[None]] = log.close_prefix
        if shipping is not None:
            from storehouse.app.archiving import make_closer

            close = make_closer(settings, log, shipping, disk, events)
        door = AppendDoor(
            log,
            limits=settings.append,
            # The lane writes no access log: a line costs more than an append.
            fast_lane=settings.fast_lane and not settings.access_log,
            close=close,
        )
        add_site("append", door.resource, door.lane)
    elif settings.audit.prefix:
        raise InvalidSetting("audit-prefix needs the append log, which is off")
    audit = Audit(
        events,
        reactor.seconds,
        settings.audit.log == "all",
        log if settings.audit.prefix else None,
        settings.audit.prefix,
    )
    service.stores.update(data_space=space, namespace=names, events=notices, objects=objects)
    for collector in (space, names, objects):
        register(collector)
    service.sockets["objects"] = settings.objects_socket

    @deferred
    async def accounts() -> IAccounts:
        """Those of the door of uploads; without such a door they are opened when a command asks for them first."""
        if "accounts" in service.opening.shut:
            raise Unavailable(f"the accounts cannot be opened: {service.opening.shut['accounts']}")
        if "accounts" in service.stores:
            return service.stores["accounts"]  # type: ignore[return-value]
        if not opened:
            made = make_accounts(settings, disk, (lambda: vault.keyring) if sealed else None)
            await whole(disk, made.start)
            opened.append(made)
        return opened[0]

    opened: list[IAccounts] = []
    holds = Holds(wormer.holding, clock)
    rekeying = Rekeying(vault, wormer, disk, lambda: holds.is_held) if sealed else None
    if rekeying is not None:
        holds.refusal = lambda: "the master key is being changed; try again later" if rekeying.is_running else ""
    add_site(
        "objects",
        ObjectsDoor(
            objects,
            holds,
            accounts,
            rekeying,
            events.publish,
            permitted(service, objects, "objects", events.publish),
            managed(service, "objects", events.publish),
        ).resource,
    )
    if shipping is not None:
        service.stores["shipping"] = shipping
        register(shipping)
    if settings.tables.streams:
        from storehouse.app.archiving import make_streams

        streams = make_streams(settings, reactor, disk, events, shipping)
        service.stores["streams"] = streams
        register(streams)
        if "archive" in settings.doors:
            from storehouse.frontends.archive.door import ArchiveDoor

            rights = stream_rights(service, events.publish)
            add_site("archive", ArchiveDoor(streams, settings.archive, rights).resource)
    if "sfsp" in settings.doors:
        factory = SFSPFactory(
            Chunks(objects, disk, settings.root, permitted(service, objects, "sfsp", events.publish)),
            clock,
            settings.sfsp,
            settings.connections,
            settings.shares.chunks,
            settings.access_log,
            budget=budget,
            trusted=settings.proxies,
        )
        register(factory)
        service.sites["sfsp"] = factory
    service.stores["resumable"] = resumable
    register(resumable)
    if acting_doors(settings) or not settings.doors.keys().isdisjoint({"https", "s3"}):
        # Imported here: each is a part of what a start costs.
        from storehouse.app.asking import add_accounts, add_tls

        users = add_accounts(service, settings, disk, vault if sealed else None, welcomes)
        add_tls(service, settings, reactor, disk, registry)
        if "https" in settings.doors:
            from storehouse.app.uploading import add_uploads

            add_uploads(service, settings, reactor, disk, objects, users, resumable, registry, budget, events.publish)
        if "s3" in settings.doors:
            from storehouse.app.s3 import add_s3

            add_s3(
                service,
                settings,
                reactor,
                disk,
                objects,
                users,
                resumable,
                registry,
                budget,
                sealed,
                events.publish,
                _buckets_of_doors(settings),
            )
    pace = settings.objects.scrub_rate, settings.objects.scrub_pause

    def compare(on_finding: Callable[[Finding], object], pace: Callable[[int], Awaitable[bool]]) -> Awaitable[None]:
        return objects.compare(lambda each: on_finding(Finding(each.id or "", None, None, each.text, "key")), pace)

    scrubber = Scrubber(settings.objects_directory, disk, clock, wormer.metrics, *pace, compare=compare)
    expiry = Expiry(space, clock, settings.objects.upload_expiry, resumable.keeps)
    resumable_expiry = ResumableExpiry(resumable, clock, settings.https.upload_expiry)
    changes = CommandChanges(lambda: journal_of(settings.root, reactor.seconds), audit, events, disk)
    service.chores += [scrubber, expiry, resumable_expiry, turns, changes, audit]
    # Also without destinations: the log reports events left in the spool for one that is no longer configured.
    if settings.notify.destinations or os.path.exists(settings.events_path):
        from storehouse.storage.notifications.delivery import Delivery

        targets = make_targets(settings, reactor, log, lambda: cast(IStreams, service.stores["streams"]))
        delivery = Delivery(notices, targets, reactor, settings.notify.keep, settings.notify.concurrency)
        service.chores.append(delivery)
        service.opening.chores.append((delivery, ("events",), ""))
        register(delivery)
    # Each needs all that those need that it needs.
    service.opening.needs.update(
        append=("append_log",),
        archive=("streams",),
        objects=("data_space", "namespace", "events"),
        sfsp=("objects",),
        resumable=("objects",),
        uploads=("objects",),
        https=("accounts", "uploads", "resumable", "objects"),
        s3=("accounts", "objects"),
    )
    for name in acting_doors(settings):
        service.opening.needs[name] = (*service.opening.needs[name], "accounts")
    if any(destination.kind == "store" for destination in settings.tables.destinations):
        service.opening.needs["shipping"] = ("objects",)
    service.opening.chores += [
        (scrubber, ("data_space",), ""),
        (expiry, ("data_space", "resumable"), ""),
        (resumable_expiry, ("resumable",), ""),
    ]
    register(ReadinessMetric(service.parts))
    if "admin" in settings.doors:
        add_site("admin", AdminDoor(registry, service.parts, service.degraded).resource)
    return service
