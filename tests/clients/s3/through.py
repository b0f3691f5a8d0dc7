"""A store behind the S3 door, and a store that asks that door, in one process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer

from storehouse.clients.s3 import S3ObjectStore, Signer
from storehouse.config.settings import ConnectionSettings, S3Settings
from storehouse.core.jobs import deferred
from storehouse.errors import NoSuchKey
from storehouse.events import ObjectChanged, ObjectDeleted, ObjectReplaced, ObjectStored
from storehouse.frontends.http.site import DoorSite
from storehouse.frontends.s3 import multipart
from storehouse.frontends.s3.access.authorize import authorize
from storehouse.frontends.s3.call import Door
from storehouse.frontends.s3.door import S3Door
from storehouse.frontends.s3.fields import ANY_TYPE
from storehouse.frontends.s3.signing.authenticator import Authenticator
from storehouse.storage.objects.interfaces import IMaintained, Indexed, ObjectInfo, Problem
from storehouse.storage.objects.store import LocalObjectStore
from storehouse.storage.objects.values import shown_etag
from storehouse.testing.accounts import MemoryAccounts
from tests.storage.objects.rig import MemoryStoreTestCase

__all__ = ["SeenThroughDoor", "ThroughDoor", "ThroughDoorTestCase", "told"]

reactor: Any = _reactor


@implementer(IMaintained)
class ThroughDoor(S3ObjectStore):
    """A store that is asked over S3, and is looked after where it is."""

    def __init__(self, behind: LocalObjectStore, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.behind = behind

    @property
    def failed(self) -> object:
        return self.behind.failed

    @property
    def _pair(self) -> Any:
        return self.behind._pair

    @deferred
    async def check(self, progress: Callable[[int], object] | None = None, repair: bool = False) -> list[Problem]:
        self.check_running()
        return await self.behind.check(progress, repair)

    @deferred
    async def compare(self, on_problem: Callable[[Problem], object], pace: Callable[[int], Awaitable[bool]]) -> None:
        self.check_running()
        await self.behind.compare(on_problem, pace)

    @deferred
    async def reindex(self, progress: Callable[[int], object] | None = None) -> Indexed:
        self.check_running()
        return await self.behind.reindex(progress)


def told(value: Any) -> Any:
    """What S3 tells of something: no IDs, times in seconds or none, and etags that look like MD5s."""
    if isinstance(value, ObjectInfo):
        content_type = "" if value.content_type == ANY_TYPE else value.content_type
        return attrs.evolve(value, id="", created=0, etag=shown_etag(value.etag), content_type=content_type, system={})
    if isinstance(value, (ObjectStored, ObjectReplaced, ObjectChanged, ObjectDeleted)):
        return type(value)(*(told(each) for each in attrs.astuple(value, recurse=False)))
    if isinstance(value, (list, tuple)):
        return [told(each) for each in value]
    if isinstance(value, dict):
        return {key: told(each) for key, each in value.items()}
    return value


class ThroughDoorTestCase(MemoryStoreTestCase):
    """
    Has an object store that is asked over the S3 door, which listens on loopback.

    @ivar behind: the store behind the door.
    @cvar options: of the client.
    """

    behind: Any = None
    options: Any = {"details": True, "is_extended": True}

    async def make_store(self) -> Any:
        self.behind = await super().make_store()
        # Parts of tests are small.
        self.patch(multipart, "_LEAST", 1)
        self.accounts = MemoryAccounts()
        key = await self.accounts.add_user("ann", is_admin=True)
        shared = Door(self.behind, self.accounts, S3Settings(), reactor, self.disk)
        door = S3Door(shared, Authenticator(self.accounts, reactor.seconds, "us-east-1"), authorize)
        self.site = DoorSite(door.resource, reactor, ConnectionSettings(), name="s3")
        self.site.asks = True
        self.site.begin = door.begin
        self.site.explain = door.explain
        self.site.explain_refusal = door.explain_refusal
        self.port = reactor.listenTCP(0, self.site, interface="127.0.0.1")
        signer = Signer(key.user.key_id, key.secret, "us-east-1")
        self.url = f"http://127.0.0.1:{self.port.getHost().port}"
        self.signer = signer
        self.store = ThroughDoor(self.behind, self.url, signer, reactor, tries=3, pause=0.01, **self.options)
        return self.store

    async def end(self) -> None:
        await self.store.stop()
        await self.port.stopListening()
        await self.site.drain(2.0)
        # What was asked for on a connection that is gone comes to its end.
        while self.behind._pair.operations._running:
            await deferLater(reactor, 0.01)
        self.store = self.behind
        await super().end()


class SeenThroughDoor:
    """Mixed in before what a store must do: what of it is seen through the door."""

    behind: Any
    space: Any

    async def stored_ids(self) -> list[str]:
        """The IDs of all bytes as the client sees them, which are etags; those of bytes without a key as they are."""
        known = {}
        for bucket in await self.behind.list_buckets():
            for info in (await self.behind.list_objects(bucket.name, limit=100_000)).objects:
                known[info.id] = shown_etag(info.etag)
        ids = [id for number in range(256) for id in await self.space.list_ids(f"{number:02x}")]
        return sorted(known.get(id, id) for id in ids)

    async def outcome(self, deferred: Deferred[Any]) -> Any:
        """What it came to, or C{None} if it was cancelled, or there was nothing to be done."""
        try:
            return await deferred
        except (CancelledError, NoSuchKey):
            return None

    def assertEqual(self, first: Any, second: Any, msg: object = None) -> Any:
        """Of what S3 tells."""
        return super().assertEqual(  # type: ignore[misc]
            told(first), told(second), msg
        )
