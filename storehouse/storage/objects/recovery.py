"""What a crash left between bytes and keys, made good before anything else is done."""

from __future__ import annotations

from twisted.logger import Logger

from storehouse.core.jobs import finished
from storehouse.errors import NoSuchBucket, NoSuchObject, StorehouseError
from storehouse.storage.objects.base import Base
from storehouse.storage.objects.uploads import decode_entry

__all__ = ["recover"]

_log = Logger()


async def recover(base: Base) -> None:
    """
    Bytes without a key are removed, but for those of an upload that was being completed: they become the object that
    they were to be, since their parts are nowhere else any more.
    """
    never_published = set(base.names.unpublished)
    for id in list(base.names.unsettled):
        try:
            metadata = await finished(base.space.get_metadata(id))
        except NoSuchObject:
            base.names.settle([id])
            continue
        except StorehouseError as error:
            _log.warn("{id} has no key and cannot be read; it is removed: {error}", id=id, error=str(error))
            metadata = {}
        if id in never_published and await _complete(base, id, metadata):
            base.metrics.completed += 1
            continue
        await base.drop(id)
        base.metrics.orphans += 1
        _log.info("removed {id}, which a crash had left without a key", id=id)


async def _complete(base: Base, id: str, metadata: dict[str, list[str]]) -> bool:
    if "complete" not in metadata or not metadata.get("key"):
        return False
    bucket, _, key = metadata["key"][0].partition("/")
    try:
        entry = decode_entry(metadata["complete"][0])
        if entry.id != id:
            return False
        await base.publish(bucket, key, entry)
    except (ValueError, IndexError, NoSuchBucket) as error:
        _log.warn(
            "the upload for {bucket}/{key} cannot be completed: {error}", bucket=bucket, key=key, error=str(error)
        )
        return False
    _log.info("completed the upload for {bucket}/{key}, which a crash had interrupted", bucket=bucket, key=key)
    return True
