"""
What happened, and who listens.

An event is a frozen value, named in the past tense, and published after what it reports is true and durable.
Listeners are called in the reactor's thread, in the order in which they subscribed; one that fails is logged, and
the others are called nevertheless.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs
from twisted.logger import Logger

__all__ = [
    "AccessChanged",
    "AccessDecided",
    "ArchiveClosed",
    "ArchiveOpened",
    "ArchiveShipped",
    "Events",
    "MarkerAdded",
    "ObjectChanged",
    "ObjectDeleted",
    "ObjectReplaced",
    "ObjectStored",
    "ShippingFailed",
    "StoreFailed",
    "VersionRemoved",
]

E = TypeVar("E")


@attrs.frozen
class StoreFailed:
    """
    A store can acknowledge nothing any more: what it has is safe only if the process ends.

    @ivar store: its name.
    @ivar error: why.
    """

    store: str
    error: Exception


@attrs.frozen
class ObjectStored:
    """
    A key that had no object has one.

    @ivar bucket: the name of the bucket.
    @ivar key: the key.
    @ivar info: the L{ObjectInfo<storehouse.storage.objects.values.ObjectInfo>}, which this module does not import.
    """

    bucket: str
    key: str
    info: object


@attrs.frozen
class ObjectReplaced:
    """
    A key has another object than before.

    @ivar info: of the new object.
    @ivar before: of the one before.
    """

    bucket: str
    key: str
    info: object
    before: object


@attrs.frozen
class ObjectChanged:
    """
    A key has the same object as before, of which something else is known: what doors keep with it.

    @ivar info: of the object now.
    @ivar before: of it before.
    """

    bucket: str
    key: str
    info: object
    before: object


@attrs.frozen
class ObjectDeleted:
    """
    A key has no object any more.

    @ivar before: of the object that it had.
    """

    bucket: str
    key: str
    before: object


@attrs.frozen
class MarkerAdded:
    """
    A key has a delete marker as its current version. If it had an object, L{ObjectDeleted} was published before.

    @ivar info: of the marker.
    """

    bucket: str
    key: str
    info: object


@attrs.frozen
class VersionRemoved:
    """
    A version of a key, or a delete marker, was removed for good, by its ID. If it was the current one, what the key has now is
    published as of any change: L{ObjectDeleted}, L{ObjectReplaced} or L{ObjectStored}.

    @ivar before: what is known of it.
    """

    bucket: str
    key: str
    before: object


@attrs.frozen
class AccessDecided:
    """
    A door has decided whether something may be done.

    @ivar door: its name.
    @ivar user: who asked for it; empty for nobody, and C{link:USER} for a link that the user has signed.
    @ivar address: of the client; empty at a socket file.
    @ivar action: a permission, or an action as policies name them: C{read}, C{s3:GetObject}.
    @ivar resource: C{BUCKET}, C{BUCKET/KEY}, or what else it is about.
    @ivar is_allowed: what was decided.
    @ivar key_id: of the access key, if it was one.
    @ivar request_id: if the request has one.
    """

    door: str
    user: str
    address: str
    action: str
    resource: str
    is_allowed: bool
    key_id: str = ""
    request_id: str = ""


@attrs.frozen
class AccessChanged:
    """
    Access was changed: users, keys, rights, links, or the policy, ACL or another configuration of a bucket.

    @ivar door: where: a door, or C{objects} for the socket file of this machine's commands.
    @ivar user: who changed it; empty for the user of the process, at the socket file.
    @ivar action: what was done: C{grant}, C{add-key}, C{policy} ...
    @ivar resource: what it was done to: the name of a user, a bucket, C{BUCKET/KEY}, or a path.
    @ivar detail: more of it, never a secret.
    """

    door: str
    user: str
    address: str
    action: str
    resource: str
    detail: str = ""
    key_id: str = ""
    request_id: str = ""


@attrs.frozen
class ArchiveOpened:
    """
    A stream has begun a new archive.

    @ivar stream: its name.
    @ivar path: of the archive.
    """

    stream: str
    path: str


@attrs.frozen
class ArchiveClosed:
    """
    An archive of a stream is not written any more; its callbacks follow. Also published for one that a crash had left open,
    once it is recovered, and perhaps again if the process ends just then.

    @ivar stream: the name of the stream.
    @ivar path: of the archive.
    @ivar records: how many it has.
    @ivar size: its bytes.
    @ivar lowest: the lowest time of its records, nanoseconds since 1970 UTC.
    @ivar highest: the highest.
    """

    stream: str
    path: str
    records: int
    size: int
    lowest: int
    highest: int


@attrs.frozen
class ArchiveShipped:
    """
    A closed file is at its destination, verified; the local file is removed, if that was wanted. Published again if the
    process ends just then.

    @ivar stream: the stream that it belongs to.
    @ivar path: where the file was handed over.
    @ivar name: its name at the destination.
    @ivar size: bytes there.
    @ivar digest: SHA-256 of the closed file, in hex.
    @ivar deleted: whether the file at C{path} was removed.
    @ivar destination: what the configuration file calls the destination; empty outside of the service.
    """

    stream: str
    path: str
    name: str
    size: int
    digest: str
    deleted: bool
    destination: str = ""


@attrs.frozen
class ShippingFailed:
    """
    An attempt to ship a closed file failed. The file is kept.

    @ivar stream: the stream that it belongs to.
    @ivar path: where the file was handed over.
    @ivar stage: the stage that it had reached.
    @ivar attempts: how many failed so far.
    @ivar dead: whether this was the last: it is a dead letter now.
    @ivar error: why.
    """

    stream: str
    path: str
    stage: str
    attempts: int
    dead: bool
    error: Exception


class Events:
    """The listeners of one process."""

    _log = Logger()

    def __init__(self) -> None:
        self._listeners: dict[type[Any], list[tuple[Callable[[Any], object], dict[str, object]]]] = {}

    def subscribe(self, kind: type[E], listener: Callable[[E], object], **fields: object) -> Callable[[], None]:
        """
        Have C{listener(event)} called for every event of exactly that class whose fields have these values.

        @return: call it to unsubscribe.
        """
        listeners = self._listeners.setdefault(kind, [])
        subscription = (listener, fields)
        listeners.append(subscription)

        def unsubscribe() -> None:
            if subscription in listeners:
                listeners.remove(subscription)

        return unsubscribe

    def publish(self, event: object) -> None:
        """Call the listeners of the event's class. Never raises."""
        for listener, fields in list(self._listeners.get(type(event), ())):
            try:
                if not fields or all(getattr(event, name) == value for name, value in fields.items()):
                    listener(event)
            except Exception:
                self._log.failure("a listener failed on {event}", event=event)
