"""The interfaces that the object store reports changes to, and that events are sent to."""

from __future__ import annotations

from collections.abc import Container, Sequence

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from storehouse.storage.namespace.interfaces import INamespace
from storehouse.storage.notifications.values import Change

__all__ = ["INotices", "ITarget"]


class INotices(Interface):
    """
    Announces changes of objects.

    Before a change is made, its event is on disk. If the process ends before the event is marked as ready, the next start looks
    whether the change was made, and announces it if it was, or may have been. So every change that was
    made is announced, whether or not it was acknowledged.
    """

    silent: Container[str] = Attribute("buckets that are known to announce nothing")

    def intend(bucket: str, changes: Sequence[Change]) -> Deferred[Sequence[int]]:
        """
        Note changes that are about to be made; the caller holds their keys.

        @return: fires with what L{settle} takes, for changes with events, once the events are on disk. Fails with
            C{Unavailable} if there is no room for them, or C{StorageFailed}.
        """

    def made(numbers: Sequence[int]) -> None:
        """The changes were made: announce them."""

    def settle(numbers: Sequence[int]) -> Deferred[None]:
        """It is unknown whether changes were made: find out, and announce those that were. Never fails."""

    def recover(names: INamespace) -> Deferred[None]:
        """
        L{settle} the changes that the last process left open, before other changes are made. Never fails.

        @param names: where keys are looked up, now and later.
        """

    def configure(bucket: str, data: bytes | None) -> Deferred[None]:
        """
        Check and replace the rules of a bucket, and send a test event to each destination.

        @param data: as L{encode_rules<storehouse.storage.notifications.values.encode_rules>} makes it; C{None} for none.
        @return: fires when it is durable. Fails with C{BadRequest}, or as the namespace does.
        """

    def forget(bucket: str) -> None:
        """A bucket was removed."""


class ITarget(Interface):
    """Where events are sent."""

    def send(number: int, body: bytes) -> Deferred[None]:
        """
        @param number: the same if it is sent again.
        @return: fires when the other side has it for good. Fails with any C{StorehouseError}; it is retried then.
        """

    def close() -> Deferred[None]:
        """Close connections."""
