"""Whether a condition holds."""

from __future__ import annotations

from storehouse.errors import PreconditionFailed
from storehouse.storage.namespace.interfaces import Entry
from storehouse.storage.objects.interfaces import Condition, ObjectInfo

__all__ = ["check_condition", "info_of"]


def check_condition(condition: Condition, entry: Entry | None, bucket: str, key: str) -> None:
    """
    @param entry: what the key has, or C{None}.
    @raise PreconditionFailed: if the condition does not hold.
    """
    if condition.absent and entry is not None:
        raise PreconditionFailed(f"there is an object {bucket}/{key} already")
    if condition.etag is None:
        return
    if entry is None:
        raise PreconditionFailed(f"there is no object {bucket}/{key}, and one was to be replaced")
    if entry.size < 0 and condition.etag != "*":
        raise PreconditionFailed(f"what is known of the object {bucket}/{key} cannot be read, its etag neither")
    if condition.etag not in ("*", entry.etag):
        raise PreconditionFailed(f"the object {bucket}/{key} has the etag {entry.etag}, not {condition.etag[:100]}")


def info_of(key: str, entry: Entry) -> ObjectInfo:
    """An entry of a namespace as an object store tells it."""
    return ObjectInfo(key, entry.id, entry.size, entry.etag, entry.created, entry.content_type, entry.metadata)
